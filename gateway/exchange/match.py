"""Patient/$match (FHIR R4), $ihe-pix (IHE ITI-83) and the search behind PDQ: graded, bounded by consent, and mute.

What may be learned is what the asker may see anyway: candidates go through the gate before they are scored, and what
is scored is what the gate leaves of them. So a client who did not consent and a person whom nobody knows give the same
bytes, and an element that the asker may not see moves no score. Too thin a question is refused, because a name alone is
fishing.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import orjson

from gateway.consent.release import Released
from gateway.exchange.link import Linker
from gateway.exchange.link_people import component, one_person
from gateway.exchange.ports.resources import ResourceReader, Stored
from gateway.exchange.ports.store import Reading, Unit
from gateway.kernel.errors import Invalid, NotFound
from gateway.kernel.fhir import JsonObject, Resource
from gateway.linkage.blocking import index_keys, search_keys
from gateway.linkage.grades import Grade
from gateway.linkage.judge import judge
from gateway.linkage.patient import traits_of
from gateway.linkage.scoring import Scorer
from gateway.linkage.traits import Traits, unpack

MATCH_GRADE: Final = "http://hl7.org/fhir/StructureDefinition/match-grade"
MOST_ANSWERS: Final = 50
_POINTS: Final = {  # after the HL7 Identity Matching guide (STU 2): what a question is worth
    "number": 10, "ssn": 10, "last four": 4, "name": 3, "dob": 4, "part of dob": 1, "phone": 4, "address": 4,
}  # fmt: skip
MINIMUM_POINTS: Final = 9
Readable: TypeAlias = "Reading | Unit"


_BLOCK: Final = 100  # records of one key that a question looks at; a commoner key says nothing of anybody
_POPULATION: Final = 100_000  # a fixed size: the answer must not tell how many people are held


class Everywhere:
    """Values as common as the model believes: a score must not depend on records that the asker may not see."""

    records = _POPULATION

    def expect(self, people: Iterable[Traits]) -> None:
        """Nobody is counted."""

    def count(self, name: str, value: str) -> int:
        """Nobody is counted."""
        return 0

    def others(self, name: str, value: str, u: float, smoothing: float) -> float:
        """The model's own chance."""
        return u


class Gate(Protocol):
    """The gate of one asker: lets out what it may see, cut where consent cuts."""

    def release(self, candidates: Iterable[Stored]) -> Released[Stored]:
        """The candidates that the asker may see, in order, as the asker sees them."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """One answer: the stored Patient, its grade, and the chance that it is the person asked for."""

    stored: Stored
    grade: Grade
    score: float  # 0..1


def strength(person: Traits) -> int:
    """What a question is worth in points; :data:`MINIMUM_POINTS` are needed."""
    points = 0
    if person.numbers or person.health:
        points += _POINTS["number"]
    if person.ssn:
        points += _POINTS["ssn"]
    elif person.ssn4:
        points += _POINTS["last four"]
    if len(person.given) > 1 and len(person.last) > 1:
        points += _POINTS["name"]
    if person.dob:
        points += _POINTS["dob"]
    elif person.year:
        points += _POINTS["part of dob"]
    if person.phone:
        points += _POINTS["phone"]
    if person.address and person.city:
        points += _POINTS["address"]
    return points


def match(
    linker: Linker,
    reading: Readable,
    gate: Gate,
    asked: Resource,
    *,
    only_certain: bool = False,
    count: int = 10,
    asking: Callable[[Traits], None] = lambda _: None,
) -> list[Found]:
    """Who it may be, most likely first; nothing is written.

    Args:
        gate: of the asker: what it may not see does not exist; answers are to be released by it again.
        asked: a Patient as ``$match`` takes it; its id does not matter.
        asking: called with what is asked, once it is strong enough to be a question; it may refuse.
        count: answers at most.

    Raises:
        Invalid: not a Patient, or too little to go on.
    """
    if asked.get("resourceType") != "Patient":
        raise Invalid("not a Patient", at="Parameters.resource")
    person = traits_of({**asked, "id": "asked"}, linker.reader)
    if strength(person) < MINIMUM_POINTS:
        raise Invalid(
            "too little to match on", at="Parameters.resource",
            fix="give an identifier with its system, or name and birth date with phone, address or last four of SSN",
        )  # fmt: skip
    asking(person)
    scorer = Scorer(linker.model, Everywhere(), population=_POPULATION)
    keys = search_keys(person, linker.root)
    by_reference, people = _as_shown(_found(reading, scorer, person, keys), gate, linker, keys)
    answers = []
    for found in judge(scorer, person, people):
        grade = Grade.CERTAIN if _same_number(person, found.candidate) and not found.guards else found.grade
        if only_certain and grade is not Grade.CERTAIN:
            continue
        chance = 1.0 / (1.0 + 2.0 ** -max(min(found.bits, 60.0), -60.0))
        answers.append(Found(by_reference[found.candidate.key], grade, round(chance, 4)))
    if only_certain and len(answers) > 1 and not _one_person(reading, gate, answers):
        return []  # several certain ones who are not one person: none is certain
    return answers[: max(0, min(count, MOST_ANSWERS))]


def _found(reading: Readable, scorer: Scorer, person: Traits, keys: frozenset[int]) -> list[Stored]:
    """Records that share a key and that, whatever of them is hidden, could be possible matches; by reference.

    All keys are searched at once: were a finer key tried where a coarse one has too many, the crowd of hidden records
    would decide whether a visible one is found.
    """
    blocks = reading.links.blocks(sorted(keys), _BLOCK)
    numbers = {number for block in blocks if len(block) <= _BLOCK for number in block}
    entries = reading.links.numbered(sorted(numbers)).values()
    floor = scorer.model.grades.possible
    wanted = [known.patient for known in entries if scorer.at_most(unpack(known.traits), person) >= floor]
    stored = reading.resources.many(wanted)
    return [stored[reference] for reference in sorted(stored)]


def _as_shown(
    found: Sequence[Stored], gate: Gate, linker: Linker, keys: frozenset[int]
) -> tuple[dict[str, Stored], list[Traits]]:
    """What the asker sees of the records: one that only a hidden element leads to is no candidate, and a hidden
    element neither raises nor lowers the score of one that is."""
    originals = {stored.reference: stored for stored in found}
    by_reference: dict[str, Stored] = {}
    people = []
    for shown in gate.release(found).resources:
        patient = orjson.loads(shown.body)
        seen = traits_of({**patient, "id": shown.id}, linker.reader)
        if not keys.isdisjoint(index_keys(seen, linker.root)):
            by_reference[seen.key] = originals[shown.reference]
            people.append(seen)
    return by_reference, people


def _same_number(a: Traits, b: Traits) -> bool:
    return not a.numbers.isdisjoint(b.numbers)


def _one_person(reading: Readable, gate: Gate, answers: Sequence[Found]) -> bool:
    """Whether the answers are records of one person, by links between records that the asker may see."""
    first = answers[0].stored.reference
    stored = list(reading.resources.many(one_person(reading.links, first)).values())
    seen = {s.reference for s in gate.release(stored).resources}
    return {found.stored.reference for found in answers} <= component(reading.links, (first,), seen)


def entry_of(found: Found, base: str) -> JsonObject:
    """A Bundle entry with ``search.score`` and the match-grade extension; the resource is what the gate released."""
    return {
        "fullUrl": f"{base}/{found.stored.reference}",
        "resource": orjson.Fragment(found.stored.body),
        "search": {
            "extension": [{"url": MATCH_GRADE, "valueCode": found.grade.value}], "mode": "match", "score": found.score,
        },
    }  # fmt: skip


def bundle_of(found: Sequence[Found], base: str) -> JsonObject:
    """The searchset; no match is an empty one, not an error."""
    out: JsonObject = {"resourceType": "Bundle", "type": "searchset", "total": len(found)}
    if found:
        out["entry"] = [entry_of(one, base) for one in found]
    return out


Identifiers: TypeAlias = list[JsonObject]


def cross_reference(
    reading: Readable,
    gate: Gate,
    by_identifier: Callable[[str, str], Sequence[Stored]],
    source: tuple[str, str],
    targets: Sequence[str] = (),
    *,
    server: str = "",
) -> tuple[Identifiers, list[str]]:
    """``$ihe-pix``: (identifiers, references) of the other records of the person that a source identifier names.

    Args:
        by_identifier: live Patients with (system, value).
        targets: systems wanted; empty for all.
        server: the system whose values are references to Patients here (ITI-83, 2:3.83.4.1.2.1), as base URL.

    Raises:
        NotFound: no such identifier, or nobody that the asker may see: the two look alike (ITI-83, 2:3.83.4.2.3).
    """
    here = bool(server) and source[0] == server
    named_here = [source[1]] if source[1].startswith("Patient/") else []
    # a number that consent cuts out of a record neither finds it nor is told: only released text is looked at
    own = gate.release(reading.resources.many(named_here).values() if here else by_identifier(*source)).resources
    seen = [one for one in own if not one.deleted and (here or any(_pair(i) == source for i in _identifiers(one)))]
    if not seen:
        raise NotFound("sourceIdentifier Patient Identifier not found")
    references = {reference for stored in seen for reference in one_person(reading.links, stored.reference)}
    others = gate.release(list(reading.resources.many(sorted(references)).values())).resources
    known = {stored.reference for stored in others}  # who is joined by a hidden record only is not told to be joined
    asked = {stored.reference for stored in seen}
    joined = component(reading.links, asked, known)
    every = not targets or server in targets
    identifiers: Identifiers = []
    named: list[str] = []
    for stored in sorted((s for s in others if s.reference in joined), key=lambda s: s.reference):
        found = [i for i in _identifiers(stored) if _wanted(i, source, targets)]
        identifiers.extend(found)
        if (found and not (here and stored.reference in asked)) or (every and stored.reference not in asked):
            named.append(stored.reference)
    return identifiers, named


def _identifiers(stored: Stored) -> list[JsonObject]:
    listed = orjson.loads(stored.body).get("identifier", ())
    return [one for one in listed if isinstance(one, dict)]


def _pair(identifier: JsonObject) -> tuple[str, str]:
    return str(identifier.get("system", "")), str(identifier.get("value", ""))


def _wanted(identifier: JsonObject, source: tuple[str, str], targets: Sequence[str]) -> bool:
    system, _ = pair = _pair(identifier)
    return bool(system) and pair != source and (not targets or system in targets)


def demographics_query(
    linker: Linker,
    reading: Readable,
    gate: Gate,
    asked: Resource,
    *,
    count: int = MOST_ANSWERS,
    asking: Callable[[Traits], None] = lambda _: None,
) -> list[Found]:
    """The search behind PDQ (QBP^Q22, ITI-21): as ``$match``, probable and better only."""
    found = match(linker, reading, gate, asked, count=count, asking=asking)
    return [one for one in found if one.grade in {Grade.CERTAIN, Grade.PROBABLE}]


__all__ = [
    "Found", "Gate", "ResourceReader", "bundle_of", "cross_reference", "demographics_query", "entry_of", "match",
    "strength",
]  # fmt: skip
