"""The review queue: what a reviewer sees, and same / not the same / cannot tell; and the exact undo of a link."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any, Final, Literal, TypeAlias

import orjson

from gateway.exchange.link import Linker
from gateway.exchange.link_people import component, vetoed
from gateway.exchange.ports.audit import AuditReader, AuditRecord
from gateway.exchange.ports.links import Edge, EdgeState
from gateway.exchange.ports.outbox import Delivery, OutState
from gateway.exchange.ports.store import Reading, Unit
from gateway.exchange.save import Saver
from gateway.kernel.errors import Conflict, Invalid, NotFound
from gateway.kernel.fhir import Resource
from gateway.linkage.scoring import Contribution
from gateway.linkage.traits import Traits, unpack

Readable: TypeAlias = "Reading | Unit"
Decision: TypeAlias = Literal["same", "not-same", "cannot-tell"]
_MOST_MESSAGES: Final = 1_000_000
_SHOWN: Final = {
    "given": ("given", "givens"), "middle": ("middle",), "last": ("last", "lasts"), "suffix": ("suffix",),
    "dob": ("year", "month", "day"), "sex": ("sex",), "ssn": ("ssn", "ssn4"), "health": ("health",),
    "phone": ("phone",), "place": ("address", "city", "postal"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One trait of a pair: what agrees and what it is worth; values only when the reviewer may see both records."""

    comparison: str
    level: str
    bits: float
    one: str = field(default="", repr=False)
    other: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Case:
    """A pair as a reviewer sees it."""

    edge: Edge
    lines: tuple[Line, ...]
    waiting_s: int


def case_of(
    linker: Linker, unit: Readable, edge: Edge, *, now_us: int, values: bool, seen: Mapping[str, Traits] | None = None
) -> Case:
    """The evidence of a pair as the records stand now.

    Args:
        values: whether the reviewer may see both records whole.
        seen: both records as the reviewer may see them, instead; None when it may not see both.

    Raises:
        NotFound: one of the records is in the index no more.
    """
    known = unit.links.known((edge.one, edge.other))
    if len(known) < 2:
        raise NotFound("no such pair")
    a, b = unpack(known[edge.one].traits), unpack(known[edge.other].traits)
    score = linker.scorer(unit, b).explain(a, b)
    one, other = (a, b) if seen is None else (seen[edge.one], seen[edge.other])
    lines = tuple(_line(part, one, other, values=values or seen is not None) for part in score.evidence)
    return Case(edge, lines, max(now_us - edge.since_us, 0) // 1_000_000)


def _line(part: Contribution, a: Traits, b: Traits, *, values: bool) -> Line:
    names = _SHOWN.get(part.comparison, ()) if values else ()
    return Line(part.comparison, part.level, round(part.bits, 2), _told(a, names), _told(b, names))


def _told(person: Traits, names: Sequence[str]) -> str:
    out = []
    for name in names:
        value = getattr(person, name)
        out.append(" ".join(sorted(value)) if isinstance(value, frozenset) else value)
    return " / ".join(dict.fromkeys(part for part in out if part))


def decide(
    linker: Linker,
    unit: Unit,
    one: str,
    other: str,
    decision: Decision,
    *,
    saver: Saver,
    by: str,
    why: str,
    now_us: int,
) -> Edge:
    """A reviewer's word on a pair; with the two-person rule, the first "same" waits for a second reviewer.

    Raises:
        Invalid: no reviewer or no reason is named, or one record twice.
        NotFound: no such records.
        Conflict: the second signature is of the same person, or a person said before that they are not the same, or
            that other records are, which join them.
    """
    if not by.strip() or not why.strip():
        raise Invalid("a decision needs a name and a reason", at="--by, --why")
    if one == other:
        raise Invalid("one record is named twice", fix="name two records")
    one, other = sorted((one, other))
    if len(unit.resources.many((one, other))) < 2:
        raise NotFound("no such pair")
    edge = unit.links.edge(one, other) or Edge(one, other, EdgeState.REVIEW, "possible", 0.0, now_us, by)
    if decision == "not-same":
        return _veto(linker, unit, edge, saver, by, why, now_us)
    if decision == "cannot-tell":
        if edge.state in {EdgeState.LINKED, EdgeState.VETO}:
            raise Conflict("these two are decided already", fix="doorway link undo takes a wrong link back")
        linker.scribe.note(unit, "unsure", one, other, by=by, why=why, now_us=now_us)
        held = replace(edge, state=EdgeState.UNSURE, by=by, since_us=now_us)
        unit.links.hold(held)
        return held
    return _same(linker, unit, edge, saver, by, why, now_us)


def _same(linker: Linker, unit: Unit, edge: Edge, saver: Saver, by: str, why: str, now_us: int) -> Edge:
    one, other = edge.one, edge.other
    if edge.state is EdgeState.VETO:
        raise Conflict("a person said that these are not the same")
    if edge.state is EdgeState.LINKED:
        return edge
    if len(unit.links.known((one, other))) < 2:
        raise NotFound("no such pair, or it may not be compared")
    if vetoed(unit.links, component(unit.links, (one,)), component(unit.links, (other,))):
        raise Conflict(
            "a person said that records which these are linked with are not the same",
            fix="doorway link explain shows the links; undo the wrong one first",
        )
    if linker.rules.two_people and not edge.seconds:
        linker.scribe.note(unit, "review", one, other, by=by, why=f"first signature: {why}", now_us=now_us)
        held = replace(edge, state=EdgeState.REVIEW, seconds=by)
        unit.links.hold(held)
        return held
    if linker.rules.two_people and _name(edge.seconds) == _name(by):
        raise Conflict("the second signature must be of another person", at="--by")
    linker.scribe.note(unit, "link", one, other, by=by, why=why, now_us=now_us)
    held = replace(edge, state=EdgeState.LINKED, by=by, since_us=now_us)
    unit.links.hold(held)
    linker.persons.join(unit, one, other, saver=saver, now_us=now_us)
    return held


def _name(by: str) -> str:
    """Who signed, however it was typed."""
    return " ".join(by.split()).casefold()


def _veto(linker: Linker, unit: Unit, edge: Edge, saver: Saver, by: str, why: str, now_us: int) -> Edge:
    """Not the same, for good: no later record, score or import joins these two again, and no third record does."""
    was_linked = edge.state is EdgeState.LINKED
    linker.scribe.note(unit, "unlink" if was_linked else "veto", edge.one, edge.other, by=by, why=why, now_us=now_us)
    held = replace(edge, state=EdgeState.VETO, by=by, since_us=now_us, seconds="")
    unit.links.hold(held)
    if was_linked:
        linker.persons.split(unit, edge.one, edge.other, saver=saver, now_us=now_us)
    if not linker.separate(unit, edge.one, edge.other, saver=saver, now_us=now_us):
        raise Conflict(
            "other decisions say that these two are one person, by way of other records",
            fix="doorway link explain shows the links; undo the wrong one first",
        )
    return held


def given_to_reviewers(linker: Linker, unit: Readable, waiting: int) -> int:
    """How many of the ``waiting`` pairs reviewers are given, best first: the model's budget over the records held.

    The rest waits behind, counted and told, and moves up as pairs are decided; nothing is dropped.
    """
    budget = ceil(linker.model.review_budget_per_1000 * unit.links.records() / 1000)
    return min(waiting, budget)


@dataclass(frozen=True, slots=True)
class Undone:
    """What an undo did: what the link had caused, and the words that the privacy officer may send."""

    edge: Edge
    linked_us: int
    disclosures: tuple[AuditRecord, ...] = field(repr=False)
    messages: tuple[Delivery, ...] = field(repr=False)  # to other systems, sent or still to be sent
    notice: str = field(repr=False)


def undo(linker: Linker, unit: Unit, one: str, other: str, *, saver: Saver, by: str, why: str, now_us: int) -> Undone:
    """Split a wrong link exactly and for good, and list what it caused.

    Raises:
        NotFound: the two are not linked directly.
        Invalid: no name or reason.
    """
    one, other = sorted((one, other))
    edge = unit.links.edge(one, other)
    if edge is None or edge.state is not EdgeState.LINKED:
        raise NotFound("these two records are not linked directly", fix="doorway link explain shows what joins them")
    group = {known.patient for known in linker.persons.records(unit, one)} | {one, other}
    caused = tuple(disclosures_since(unit.audit, frozenset(group), since_us=edge.since_us))
    messages = tuple(_messages_since(unit, frozenset(group), since_us=edge.since_us))
    held = decide(linker, unit, one, other, "not-same", saver=saver, by=by, why=why, now_us=now_us)
    return Undone(held, edge.since_us, caused, messages, _notice(edge, len(caused), len(messages)))


def disclosures_since(audit: AuditReader, patients: frozenset[str], *, since_us: int) -> Iterator[AuditRecord]:
    """Every disclosure of these records since the link was made: complete, so some may have come without it."""
    for record in audit.records(since_us=since_us):
        if record.event.get("outcome") != "0":
            continue
        named = {_bare(entity) for entity in record.event.get("entity", ())}
        if named & patients:
            yield record


def _messages_since(unit: Unit, patients: frozenset[str], *, since_us: int) -> Iterator[Delivery]:
    """Messages to other systems that tell of these records or of what is about them, oldest first."""
    named = tuple(f'"{patient}"'.encode() for patient in sorted(patients))
    found = [d for state in OutState for d in unit.outbox.in_state(state, limit=_MOST_MESSAGES)]
    for delivery in sorted(found, key=lambda d: (d.created_us, d.id)):
        if delivery.created_us < since_us or delivery.state is OutState.WITHHELD:
            continue
        told = unit.resources.many(delivery.references).values()
        if patients & set(delivery.references) or any(name in stored.body for stored in told for name in named):
            yield delivery


def _bare(entity: dict[str, Any]) -> str:
    reference = str((entity.get("what") or {}).get("reference", ""))
    return reference.partition("/_history")[0]


def _notice(edge: Edge, count: int, messages: int) -> str:
    return (
        f"The records {edge.one} and {edge.other} were held to be of one person by mistake. They have been separated."
        f" While they were joined, {count} disclosure(s) named one of them and {messages}"
        " message(s) to other systems told of them; the lists are attached. Recipients must"
        " delete what they received of the other person and confirm it."
    )


def state_digest(reading: Reading | Unit, types: Sequence[str] = ("Patient", "Person", "Consent")) -> str:
    """SHA-256 over the content of the live resources and over who belongs to whom; versions and times left out.

    Equal to the digest of a store where the link was never made: events and vetoes are history, not state.
    """
    digest = hashlib.sha256()
    for type_ in types:
        for stored in sorted(reading.resources.of_type(type_), key=lambda s: s.id):
            digest.update(orjson.dumps(_content(orjson.loads(stored.body)), option=orjson.OPT_SORT_KEYS))
    for known in reading.links.every():
        digest.update(orjson.dumps([known.patient, known.person]))
        for edge in reading.links.edges(known.patient):
            if edge.state is EdgeState.LINKED and edge.one == known.patient:
                digest.update(orjson.dumps([edge.one, edge.other]))
    return digest.hexdigest()


def _content(resource: Resource) -> Resource:
    meta = {
        name: value for name, value in (resource.get("meta") or {}).items() if name not in {"versionId", "lastUpdated"}
    }
    return {**resource, "meta": meta}
