"""Validation of one resource: structure and rules of R4 first, then the profiles that it claims or is asked to meet."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from gateway.kernel.fhir import Resource
from gateway.profiles.contexts import may_stand
from gateway.profiles.facts import Facts
from gateway.profiles.invariants import compile_rule
from gateway.profiles.issues import ERROR, INFORMATION, WARNING, Issue
from gateway.profiles.items import Item
from gateway.profiles.profile import Definitions, NoDefinitions, Profiles
from gateway.profiles.run import NoTerminology, Run, Terminology
from gateway.profiles.structure import Structure

_ISSUE_LIMIT: Final = 500  # of one resource: nobody reads more, and a hostile one could make millions


_LOINC: Final = "http://loinc.org"
_VITAL_SIGNS: Final = {  # R4 "Vital Signs": who records one of these codes follows its profile
    "85353-1": "vitalspanel", "9279-1": "resprate", "8867-4": "heartrate", "2708-6": "oxygensat", "8310-5": "bodytemp",
    "8302-2": "bodyheight", "9843-4": "headcircum", "29463-7": "bodyweight", "39156-5": "bmi", "85354-9": "bp",
}  # fmt: skip


def _signs(observation: Resource) -> list[str]:
    """The profiles of the vital signs that an Observation says it is."""
    code = observation.get("code")
    codings = code.get("coding") if type(code) is dict else None
    found = []
    for coding in codings if type(codings) is list else ():
        if type(coding) is dict and coding.get("system") == _LOINC:
            name = _VITAL_SIGNS.get(str(coding.get("code")))
            if name is not None:
                found.append(f"http://hl7.org/fhir/StructureDefinition/{name}")
    return found


def _kept(issues: Iterable[Issue]) -> tuple[Issue, ...]:
    """Without doubles, and cut to the limit with errors first."""
    found = tuple(dict.fromkeys(issues))
    if len(found) <= _ISSUE_LIMIT:
        return found
    kept = sorted(found, key=lambda issue: issue.severity != ERROR)[:_ISSUE_LIMIT]
    rest = Issue(INFORMATION, "too-costly", "", f"{len(found) - _ISSUE_LIMIT} further findings are not listed")
    return (*kept, rest)


class Validator:
    """Everything that is known about the shape of resources; safe to share, each call has its own state.

    Args:
        read: gives the text of a shipped file, such as ``profiles/r4/elements.csv``.
        definitions: finds StructureDefinitions by canonical URL.
        terminology: tells whether a value set holds a code.
    """

    def __init__(
        self,
        read: Callable[[str], str],
        definitions: Definitions | None = None,
        terminology: Terminology | None = None,
    ) -> None:
        self.facts = Facts(read)
        self.structure = Structure(self.facts, compile_rule)
        self.profiles = Profiles(self.facts, definitions or NoDefinitions())
        self._terminology = terminology or NoTerminology()
        self._signs_known: dict[str, bool] = {}
        self.structure.after_resource = self._claimed
        self.structure.after_extension = self._extension

    def validate(self, resource: Resource, profiles: Iterable[str] = ()) -> tuple[Issue, ...]:
        """Every finding, without doubles; empty when there is nothing to say.

        Args:
            resource: parsed FHIR JSON.
            profiles: canonical URLs to check against besides those of ``meta.profile``; one that is not loaded is an
                error, since the caller asked for it.
        """
        if type(resource) is not dict:
            return (Issue(ERROR, "structure", "", "must be a JSON object"),)
        kind = resource.get("resourceType")
        path = kind if isinstance(kind, str) and kind in self.facts.resource_types else "Resource"
        run = Run(resource, self._terminology, path)
        self.structure.resource(resource, path, run)
        for profile in profiles:
            if self.profiles.check(profile) is None:
                run.error("not-found", path, f"{profile} is not loaded")
            else:
                self._meet(profile, resource, path, run)
        return _kept(run.issues)

    def _has_sign(self, profile: str) -> bool:
        """:meth:`knows` of the profile of a vital sign, asked once: each heart rate would look for it in vain."""
        found = self._signs_known.get(profile)
        if found is None:
            found = self._signs_known[profile] = self.knows(profile)
        return found

    def knows(self, profile: str) -> bool:
        """Whether a profile with this canonical URL can be checked."""
        return self.profiles.check(profile) is not None

    def _claimed(self, resource: Any, path: str, run: Run) -> None:
        """The profiles of meta.profile; without one that is at hand, that of a vital sign.

        A claimed profile is the closer word: US Core's oxygen saturation has a component that R4's does not foresee.
        """
        meta = resource.get("meta")
        claims = meta.get("profile") if type(meta) is dict else None
        known = type(claims) is list and any(type(one) is str and self.knows(one) for one in claims)
        if resource.get("resourceType") == "Observation" and not known:
            for profile in _signs(resource):
                if self._has_sign(profile):
                    self._meet(profile, resource, path, run)
        for profile in claims if type(claims) is list else ():
            if type(profile) is not str:
                continue
            if self.profiles.check(profile) is None:
                run.unchecked(path, "not checked: a profile that meta.profile claims is not loaded")
            else:
                self._meet(profile, resource, path, run)

    def _meet(self, profile: str, resource: Resource, path: str, run: Run) -> None:
        check = self.profiles.check(profile)
        kind = resource.get("resourceType")
        if check is None:
            return
        if kind != self.profiles.type_of(profile) and not self.profiles.is_base(profile):
            run.error("structure", path, f"{profile} is for another resource type")
        elif self.profiles.is_base(profile) and self.profiles.type_of(profile) not in (
            kind,
            "Resource",
            "DomainResource",
        ):
            run.error("structure", path, f"{profile} is another resource type")
        else:
            check(Item(resource, None, str(kind), path), run)

    def _extension(self, node: Any, path: str, run: Run) -> None:
        """An extension whose definition is loaded must meet it, wherever it stands."""
        url = node.get("url")
        if type(url) is str and ":" in url and not self.profiles.is_base(url):
            check = self.profiles.check(url)
            if check is not None and self.profiles.type_of(url) == "Extension":
                if not may_stand(self.profiles.contexts_of(url), path, run, self.facts):
                    run.add(WARNING, "structure", path, "this extension is not defined for this element")
                check(Item(node, None, "Extension", path), run)
