"""Answers for people: why, who sees what, what would change, as of when."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import orjson

from gateway.consent.asked import Asked
from gateway.consent.engine import UNTOLD, VERIFICATION, WITHDRAWN, Program
from gateway.consent.forms import form_signed
from gateway.consent.labels import BASIS, security_of
from gateway.consent.reference import closed, data_holds, request_holds
from gateway.consent.request import AccessRequest
from gateway.consent.rules import DataGroup, Enforcement, RequestGroup, Verdict
from gateway.consent.view import STRANGER, ResourceView
from gateway.exchange.disclose import Gate, Knowledge
from gateway.exchange.ports.resources import ResourceReader, Stored
from gateway.exchange.ruling import Ruling
from gateway.kernel.fhir import LEVEL, JsonObject, Resource

_RULES: Final[Mapping[str, str]] = {  # rule -> what it means, and what would have to differ
    "own-records": "the asking organization made this record itself",
    "own-access": "the person asks for the own record",
    "directory": "it names no person",
    "stranger": "it names a person by no reference (Patient/id), so nobody can tell whose Consent counts",
    "addressed": "it is a notice of the gateway to the asking organization",
    "stand-in": "it is judged by what it tells of: a Provenance by its targets, a Binary by the document it belongs to",
    "joined": "it joins records of one person, seen or not; Patient.link tells what may be told",
    "agreement": "the asking organization has no agreement in force; doorway client agreement records one",
    "labels": "it names an organization whose flags have just changed, and is shown when it has been labelled anew",
    "no-consent": "no Consent in force says anything to this asker; a Consent that names it would be needed",
    "default": "no Consent says anything, and the domain permits by default",
    "break-glass": "emergency access was declared",
    "deleted": "it was deleted",
    "victim-service": "a victim service provider's record never leaves it, whatever the person signs",
    "restricted-record": "its agency closed the record to all others; only that agency can open it",
    "embargo": "it is kept back until the day on its label",
    "part-2": "a Part 2 record needs a permission that names substance use information; a general one is not enough",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one resource is shown or not, in words and with places."""

    reference: str
    permit: bool
    rule: str
    text: str
    because: tuple[str, ...]
    labels: tuple[str, ...]  # code (basis)
    citation: str = ""
    would_need: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()  # of each Consent that decided: which form in which version, and when it was given

    def told(self) -> JsonObject:
        """For machines."""
        return {
            "reference": self.reference, "decision": "permit" if self.permit else "deny", "rule": self.rule,
            "text": self.text, "because": list(self.because), "labels": list(self.labels),
            "citation": self.citation, "would_need": list(self.would_need), "forms": list(self.forms),
        }  # fmt: skip


def explain(
    resources: ResourceReader, request: AccessRequest, knowledge: Knowledge, stored: Iterable[Stored]
) -> list[Explanation]:
    """Why each of the resources is shown to the asker or not."""
    gate = Gate(resources, request, knowledge)
    return [_explained(gate, resources, knowledge, one) for one in stored]


def _explained(gate: Gate, resources: ResourceReader, knowledge: Knowledge, stored: Stored) -> Explanation:
    ruling, view = gate.rule(stored), knowledge.view(stored)
    citation = next((rule.citation for rule in knowledge.law.rules if rule.name == ruling.rule), "")
    needed: tuple[str, ...] = ()
    if not ruling.permit and ruling.rule in ("consent", "no-consent"):
        needed = tuple(_denials(ruling)) or tuple(_missing(gate, resources, knowledge, view))
    return Explanation(
        stored.reference, ruling.permit, ruling.rule, _sentence(ruling), ruling.because, tuple(_labels(stored)),
        citation, needed, tuple(_forms(resources, ruling)),
    )  # fmt: skip


def _forms(resources: ResourceReader, ruling: Ruling) -> Iterator[str]:
    """Each Consent that decided, with the form that was signed and the day."""
    for reference in dict.fromkeys(reason.consent for reason in ruling.reasons):
        type_, _, id_ = reference.partition("/")
        stored = resources.get(type_, id_)
        consent = orjson.loads(stored.body) if stored is not None and stored.body else {}
        form = form_signed(consent) or "names no form"
        yield f"{reference}: {form}" + (f", given {consent['dateTime']}" if "dateTime" in consent else "")


def _denials(ruling: Ruling) -> Iterator[str]:
    """What denies, which would have to end before any permission counts."""
    for reason in ruling.reasons:
        if reason.verdict is Verdict.DENY:
            where = f"{reason.consent} {reason.provision}".strip()
            yield f"{where}: " + (
                "its denial would have to end" if reason.provision else "it would have to be corrected"
            )


def _sentence(ruling: Ruling) -> str:
    if ruling.rule != "consent":
        return _RULES.get(ruling.rule, ruling.rule)
    first = ruling.reasons[0]
    word = (
        "permits"
        if ruling.permit
        else "permits only something else"
        if first.verdict is Verdict.WEAK_DENY
        else "denies"
    )
    if first.element == WITHDRAWN:
        return f"{first.consent} permitted it, and a later Consent of the same form was ended, which took that back"
    if first.element == UNTOLD:
        return f"{first.consent} permits it once what the client was told is recorded again, as its form demands"
    if first.element == VERIFICATION:
        return (
            f"{first.consent} permits it once Consent.verification says that it was verified, which this domain demands"
        )
    if not first.provision:
        return f"{first.consent} cannot be enforced ({first.element}), so it denies"
    return f"{first.consent} {word}: {first.provision}" + (f", by {first.element}" if first.element != "type" else "")


def _labels(stored: Stored) -> Iterator[str]:
    for label in security_of(orjson.loads(stored.body)) if stored.body else ():
        basis = next((e["valueCoding"] for e in label.get("extension", ()) if e.get("url") == BASIS), None)
        why = f"{basis.get('code')} {basis.get('version')}" if basis else "mapping"
        yield f"{label.get('code')} ({why})"


def _parts(group: RequestGroup) -> Iterator[tuple[str, RequestGroup]]:
    """Each stated element of a request group alone."""
    if group.periods or group.period_unreadable:
        yield "period", RequestGroup(periods=group.periods, period_unreadable=group.period_unreadable)
    for name, element in (
        ("actors", "actor"), ("actions", "action"), ("purposes", "purpose"), ("custodians", "custodian"),
        ("environments", "environment"), ("asked_codes", "code"),
    ):  # fmt: skip
        value = getattr(group, name)
        if value is not None:
            yield element, replace(RequestGroup(), **{name: value})


_DATA: Final = (
    (("labels", "confidentiality"), "securityLabel"), (("classes",), "class"), (("codes", "code_prefixes"), "code"),
    (("period", "period_unreadable", "strict_period"), "dataPeriod"), (("data",), "data"), (("authors",), "actor"),
    (("sources",), "source"), (("tags",), "tag"), (("unreadable",), "expression"),
)  # fmt: skip


def _data_parts(group: DataGroup) -> Iterator[tuple[str, DataGroup]]:
    """Each stated element of a data group alone."""
    for names, element in _DATA:
        alone = replace(DataGroup(), **{name: getattr(group, name) for name in names})
        if not alone.empty:
            yield element, alone


def unmet(program: Program, asked: Asked, view: ResourceView | None = None) -> list[tuple[str, tuple[str, ...]]]:
    """For each permission of a Consent that does not reach the request: its place and the elements that fail.

    Args:
        view: the resource that is asked for; None: of the resource nothing is said.
    """
    dialect = program.directive.dialect
    found = []
    for node in program.nodes:
        if not node.permit:
            continue
        failing = tuple(
            element
            for element, alone in _parts(node.request)
            if not closed(True, request_holds(alone, asked, dialect, True))
        )
        if not failing and view is not None:
            failing = tuple(
                element
                for element, alone in _data_parts(node.rule.data)
                if not closed(True, data_holds(alone, view, asked, dialect, True))
            )
        if failing:
            found.append((node.rule.path, failing))
    return found


def _missing(gate: Gate, resources: ResourceReader, knowledge: Knowledge, view: ResourceView) -> Iterator[str]:
    """What would have to differ for a permission to reach the asker."""
    asked = gate.asked()
    for stored in resources.consents([one for one in view.patients if one != STRANGER]):
        program = knowledge.program(stored)
        d = program.directive
        if d.status is Enforcement.INACTIVE:
            yield f"{d.consent}: it is not active"
        for path, elements in unmet(program, asked, view):
            yield f"{d.consent} {path}: {', '.join(elements)} would have to match"


# ---- who can see what


@dataclass(frozen=True, slots=True)
class Sight:
    """How much of one client's records one organization sees, by level; ``total`` is how many there are.

    ``party``: whether it has an agreement in force; without one it sees its own records only.
    """

    organization: str
    seen: Mapping[str, int]
    total: Mapping[str, int]
    party: bool = True


def level_of(view: ResourceView) -> str:
    """L1, L2 or L3; ``none`` for a record without a level."""
    return max((label.rpartition("|")[2] for label in view.labels if label.startswith(f"{LEVEL}|")), default="none")


def who_sees(
    resources: ResourceReader, patients: Sequence[str], organizations: Iterable[str], request: AccessRequest,
    knowledge: Knowledge,
) -> list[Sight]:  # fmt: skip
    """The matrix of organization x level for one client's records."""
    records = [stored for stored in resources.compartment(patients) if not stored.deleted]
    total: dict[str, int] = {}
    for stored in records:
        level = level_of(knowledge.view(stored))
        total[level] = total.get(level, 0) + 1
    rows = []
    for organization in organizations:
        gate = Gate(resources, replace(request, organization=organization, actors=(), client=""), knowledge)
        seen = dict.fromkeys(sorted(total), 0)
        for stored, shown in zip(records, gate.visible(records), strict=True):
            if shown:
                seen[level_of(knowledge.view(stored))] += 1
        rows.append(Sight(organization, seen, total, gate.party))
    return rows


def organizations_of(resources: ResourceReader, patients: Sequence[str], knowledge: Knowledge) -> list[str]:
    """Every organization that is known, or that a Consent of these patients names."""
    found = {stored.reference for stored in resources.of_type("Organization")}
    for stored in resources.consents(patients):
        for node in knowledge.program(stored).nodes:
            if node.request.actors is not None:
                found |= {one for one in node.request.actors.references if one.startswith("Organization/")}
    return sorted(found)


# ---- another state of the store


@dataclass(frozen=True)
class Draft:
    """A reader in which some Consents are other than they are: drafts put in, others revoked."""

    inner: ResourceReader
    put: Mapping[str, Stored] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()

    def consents(self, patients: Iterable[str]) -> list[Stored]:
        """As the store has them, with the drafts, and the revoked as they stand once revoked: inactive, not gone."""
        wanted = set(patients)
        found = [s for s in self.inner.consents(wanted) if s.reference not in self.put]
        kept = [_revoked(s) if s.reference in self.gone else s for s in found]
        return kept + [s for s in self.put.values() if s.type == "Consent" and _patient_of(s) in wanted]

    def get(self, type_: str, id_: str) -> Stored | None:
        """The draft where there is one."""
        return self.put.get(f"{type_}/{id_}") or self.inner.get(type_, id_)

    def many(self, references: Iterable[str]) -> dict[str, Stored]:
        """The drafts where there are some."""
        wanted = list(references)
        return self.inner.many(wanted) | {one: self.put[one] for one in wanted if one in self.put}

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


@dataclass(frozen=True)
class AsOf:
    """A reader that shows the store as it was at an instant (microseconds since 1970 UTC)."""

    inner: ResourceReader
    at_us: int

    def _then(self, stored: Stored | None) -> Stored | None:
        while stored is not None and stored.updated_us > self.at_us:
            stored = self.inner.version(stored.type, stored.id, stored.version - 1) if stored.version > 1 else None
        return stored

    def get(self, type_: str, id_: str) -> Stored | None:
        """The version of that instant."""
        return self._then(self.inner.get(type_, id_))

    def many(self, references: Iterable[str]) -> dict[str, Stored]:
        """The versions of that instant."""
        then = ((reference, self._then(stored)) for reference, stored in self.inner.many(references).items())
        return {reference: stored for reference, stored in then if stored is not None and not stored.deleted}

    def consents(self, patients: Iterable[str]) -> list[Stored]:
        """The Consents as they stood."""
        return [s for s in map(self._then, self.inner.consents(patients)) if s is not None and not s.deleted]

    def compartment(self, patients: Iterable[str]) -> Iterator[Stored]:
        """What there was of these patients."""
        return (s for s in map(self._then, self.inner.compartment(patients)) if s is not None and not s.deleted)

    def of_type(self, type_: str) -> Iterator[Stored]:
        """What there was of a type."""
        return (s for s in map(self._then, self.inner.of_type(type_)) if s is not None and not s.deleted)

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


def _revoked(stored: Stored) -> Stored:
    consent = orjson.loads(stored.body) | {"status": "inactive"}
    return replace(stored, body=orjson.dumps(consent), facets=b"")


def _patient_of(stored: Stored) -> str:
    resource: Resource = orjson.loads(stored.body)
    node = resource.get("patient") or resource.get("subject")
    return str(node.get("reference", "")) if isinstance(node, dict) else ""


# ---- yesterday's requests again


def replayed(
    events: Iterable[Resource],
    before: ResourceReader,
    after: ResourceReader,
    request: AccessRequest,
    knowledge: Knowledge,
) -> Iterator[JsonObject]:
    """Requests of the audit trail that would come out otherwise: what they would lose, and what they would win."""
    for event in events:
        organization = next(
            (a["who"]["reference"] for a in event.get("agent", ()) if "reference" in a.get("who", {})), ""
        )
        named = [str(e.get("what", {}).get("reference", "")) for e in event.get("entity", ())]
        patients = [one for one in named if one.startswith("Patient/") and "/_history/" not in one]
        if not organization or not patients:
            continue
        purposes = tuple(c["code"] for p in event.get("purposeOfEvent", ()) for c in p.get("coding", ()))
        asks = replace(request, organization=organization, purposes=purposes or request.purposes)
        records = list(before.compartment(patients))
        was = Gate(before, asks, knowledge).visible(records)
        would = Gate(after, asks, knowledge).visible(records)
        lost = [s.reference for s, a, b in zip(records, was, would, strict=True) if a and not b]
        won = [s.reference for s, a, b in zip(records, was, would, strict=True) if b and not a]
        if lost or won:
            yield {"recorded": event.get("recorded"), "organization": organization, "lost": lost, "won": won}
