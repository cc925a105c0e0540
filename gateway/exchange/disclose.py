"""The gate at every door: loads Consents and agreements, judges, releases, and writes the audit record of it."""

from collections.abc import Callable, Iterable, Sequence
from csv import DictReader
from dataclasses import dataclass, field
from io import StringIO
from typing import Final, TypeAlias

from gateway.consent.codes import Vocabulary, read_vocabulary
from gateway.consent.release import Judgement, Released, release
from gateway.consent.request import AccessRequest
from gateway.exchange.ports.resources import ResourceReader, Stored
from gateway.kernel.fhir import Resource

Disclosure: TypeAlias = Released[Stored]
ReadData: TypeAlias = Callable[[str], str]  # adapters.files.data.read_data

NOBODY_NAMED: Final = "no-person"  # rule that lets out what names no patient


def read_vocabulary_from(read_data: ReadData) -> Vocabulary:
    """The hierarchies and roles of terminology/consent, through whatever reads shipped files."""
    return read_vocabulary(
        DictReader(StringIO(read_data("terminology/consent/hierarchy.csv"))),
        DictReader(StringIO(read_data("terminology/consent/roles.csv"))),
    )


@dataclass(frozen=True)
class Knowledge:
    """What decisions rest on beside Consents; built once by :func:`read_knowledge`, shared by all requests."""

    vocabulary: Vocabulary = field(repr=False)


class Gate:
    """One asker in front of one snapshot (or transaction). Make a new one for every request, never keep one.

    It is the :class:`~gateway.exchange.ports.visibility.Visibility` that searches are bound to, and the judge of
    everything that leaves.
    """

    def __init__(self, resources: ResourceReader, request: AccessRequest, knowledge: Knowledge) -> None:
        self._resources = resources
        self._request = request
        self._knowledge = knowledge

    def visible(self, candidates: Sequence[Stored]) -> Sequence[bool]:
        """For each candidate, in order, whether the asker may see it. Unknown means no."""
        return [self._judge(candidate).permit for candidate in candidates]

    def release(self, candidates: Iterable[Stored]) -> Disclosure:
        """Cut the candidates to what the asker may see; bodies are untouched bytes unless something is redacted."""
        return release(self._request.organization, candidates, self._judge)

    def event(self, released: Disclosure, *, activity: str, address: str = "", id_: str = "") -> Resource:
        """The AuditEvent (IHE BALP) of a disclosure or of its refusal, to be appended before the first byte leaves.

        Args:
            activity: the FHIR interaction: ``read``, ``vread``, ``search``, ``history``, ``operation``, ``export`` …
            address: network address of the peer.
            id_: the request id (X-Request-Id).
        """
        raise NotImplementedError

    def _judge(self, candidate: Stored) -> Judgement:
        return Judgement(False)
