"""A synthetic hospital's ADT feed about the people of population.py: one pathway each, with a truth file.

A pathway is a row of ``PATHWAY_EVENTS``: what is sent, how many hours later, and what is special about it. Same seed,
same bytes. ``truth.ndjson`` says, for each record, whose it is, how each visit ends, and what it was merged into.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from gateway.codecs.er7_build import Fields, Value, build
from gateway.sim.population import HOSPITAL, Person, Population, Record

AUTHORITY: Final = ("RGH", "2.16.840.1.113883.19.500", "ISO")
SSA: Final = ("USSSA", "2.16.840.1.113883.4.1", "ISO")
START: Final = datetime(2026, 7, 1, 6, 0, tzinfo=UTC)
PER_FILE: Final = 500  # messages in a file, one after another, as hospitals' archives have them


@dataclass(frozen=True, slots=True)
class Event:
    """One message of a pathway.

    ``happened_h`` is when it happened, ``sent_h`` when it is sent (late messages), both in hours from the start.
    """

    trigger: str
    happened_h: float
    sent_h: float = -1.0
    visit_class: str = "E"
    place: str = "ED"
    service: str = "MED"
    disposition: str = ""
    special: str = ""  # what else is different: see _Story

    @property
    def order(self) -> float:
        """When it goes out."""
        return self.happened_h if self.sent_h < 0 else self.sent_h


def _ward(
    trigger: str,
    happened_h: float,
    *,
    place: str = "4W",
    sent_h: float = -1.0,
    disposition: str = "",
    special: str = "",
) -> Event:
    """An event of an inpatient stay."""
    service = "PSY" if place == "PSY" else "MED"
    return Event(trigger, happened_h, sent_h, "I", place, service, disposition, special)


def _clinic(trigger: str, happened_h: float) -> Event:
    return Event(trigger, happened_h, visit_class="O", place="CLINIC")


PATHWAY_EVENTS: Final[dict[str, tuple[Event, ...]]] = {
    "unknown-address": (Event("A04", 0), Event("A03", 5, disposition="01")),
    "shelter-as-address": (Event("A04", 0), Event("A03", 3, disposition="01")),
    "alias": (Event("A04", 0), Event("A08", 1), Event("A03", 6, disposition="01")),
    "left-without-being-seen": (Event("A04", 0), Event("A03", 2, disposition="07")),
    "psychiatric-pending-discharge": (_ward("A01", 0, place="PSY"), _ward("A16", 96, place="PSY")),
    "merge": (Event("A04", 0, special="second-number"), Event("A04", 1), Event("A40", 2, special="merge")),
    "merge-undone": (
        Event("A04", 0, special="second-number"),
        Event("A04", 1),
        Event("A24", 2, special="link"),
        Event("A37", 30, special="unlink"),
    ),
    "newborn": (_ward("A01", 0), _ward("A01", 9, special="newborn"), _ward("A03", 60)),
    "transfer": (_ward("A01", 0), _ward("A02", 20, place="6E"), _ward("A03", 70, place="6E")),
    "cancelled-admit": (_ward("A01", 0), _ward("A11", 1)),
    "late-message": (_ward("A01", 0), _ward("A03", 40), _ward("A08", 2, sent_h=41, special="old-phone")),
    "duplicated-message": (Event("A04", 0), Event("A04", 0, sent_h=0.5, special="again"), Event("A03", 4)),
    "name-change": (Event("A04", 0), Event("A08", 2, special="new-name"), Event("A03", 5)),
    "twins": (Event("A28", 0, special="no-visit"), Event("A04", 1), Event("A03", 3)),
    "deceased": (_ward("A01", 0), _ward("A03", 30, disposition="20", special="deceased")),
    "planned-discharge": (_ward("A01", 0), _ward("A16", 48)),
    "outpatient": (_clinic("A05", 0), _clinic("A04", 20), _clinic("A03", 21)),
}
ENDS: Final = {  # Encounter.status that a visit ends with, where it is not finished
    "cancelled-admit": "cancelled",
    "psychiatric-pending-discharge": "in-progress",
    "planned-discharge": "in-progress",
    "merge": "in-progress",
    "merge-undone": "in-progress",
}
STRUCTURES: Final = {
    "A02": "ADT_A02", "A03": "ADT_A03", "A05": "ADT_A05", "A11": "ADT_A09", "A16": "ADT_A16", "A24": "ADT_A24",
    "A28": "ADT_A05", "A37": "ADT_A37", "A40": "ADT_A39",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sent:
    """One message on its way: when, and its bytes."""

    at: datetime
    text: bytes = field(repr=False)


@dataclass(slots=True)
class Told:
    """What was written."""

    patients: int = 0
    messages: int = 0
    pathways: dict[str, int] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)


class Hospital:
    """The feed of one hospital about a population."""

    def __init__(self, population: Population) -> None:
        self._population = population

    def patients(self) -> Iterator[tuple[Person, Record]]:
        """Everybody who is known to the hospital."""
        for person in self._population:
            record = self._population.hospital_record(person)
            if record is not None:
                yield person, record

    def messages(self, person: Person, record: Record) -> list[Sent]:
        """The messages about one person, in the order in which they are sent."""
        start = START + timedelta(hours=person.index % 480, minutes=person.index // 480 % 60)
        out: list[Sent] = []
        events = sorted(enumerate(PATHWAY_EVENTS[person.pathway]), key=lambda pair: (pair[1].order, pair[0]))
        for number, event in events:
            if event.special == "again":
                out.append(replace(out[-1], at=start + timedelta(hours=event.order)))
                continue
            story = _Story(self._population.seed, person, record, event, number, start)
            out.append(Sent(start + timedelta(hours=event.order), story.message()))
        return out

    def truth(self, person: Person, record: Record) -> list[dict[str, object]]:
        """What a receiver must end with: one line a medical record number."""
        visits = {_visit(record.key): ENDS.get(person.pathway, "finished")}
        own: dict[str, object] = {
            "person": person.index, "system": HOSPITAL, "MRN": record.key, "pathway": person.pathway, "active": True,
            "visits": visits,
        }  # fmt: skip
        lines = [own]
        if person.pathway in {"merge", "merge-undone"}:
            merged = person.pathway == "merge"
            second = {"person": person.index, "system": HOSPITAL, "MRN": _second(record.key), "active": not merged}
            lines.append(second | ({"merged_into": record.key} if merged else {}))
        if person.pathway == "newborn":
            baby = {"person": f"{person.index}-newborn", "system": HOSPITAL, "MRN": _baby(record.key), "active": True}
            lines.append(baby | {"visits": {_visit(_baby(record.key)): "in-progress"}})
        return lines


def _second(key: str) -> str:
    return f"{key}T"


def _baby(key: str) -> str:
    return f"{key}B"


def _visit(key: str) -> str:
    return f"V{key.removeprefix('MRN')}"


class _Story:
    """One message of one person: the segments that its event calls for."""

    def __init__(self, seed: int, person: Person, record: Record, event: Event, number: int, start: datetime) -> None:
        self._seed, self._person, self._event, self._number = seed, person, event, number
        self._happened = start + timedelta(hours=event.happened_h)
        self._sent = start + timedelta(hours=event.order)
        self._start = start
        self._record = self._told(record)

    def _told(self, record: Record) -> Record:
        special = self._event.special
        if special == "second-number":
            return replace(record, key=_second(record.key), ssn="", phone="")
        if special == "newborn":
            born = self._happened.date().isoformat()
            return replace(
                record, key=_baby(record.key), given="Baby", middle="", alias="", suffix="", birth=born, ssn="",
                health_number="", phone="", veteran=False,
            )  # fmt: skip
        if special == "old-phone":
            return replace(record, phone="4065550000")
        if special == "new-name":
            return replace(record, family=f"{record.given[:3]}sonzq", alias=record.family)
        return record

    def message(self) -> bytes:
        """The bytes."""
        event = self._event
        msh: Fields = {
            3: ("ADT1", AUTHORITY[1], "ISO"), 4: AUTHORITY, 5: "DOORWAY", 6: "RIVERTON", 7: _time(self._sent),
            9: ("ADT", event.trigger, STRUCTURES.get(event.trigger, "ADT_A01")),
            10: f"{self._seed}-{self._person.index}-{self._number}", 11: "P", 12: "2.5.1", 18: "UNICODE UTF-8",
        }  # fmt: skip
        segments: list[tuple[str, Fields]] = [
            ("MSH", msh), ("EVN", {2: _time(self._sent), 6: _time(self._happened)}), ("PID", self._pid()),
        ]  # fmt: skip
        other = _second(self._record.key)
        if event.special == "merge":
            segments.append(("MRG", {1: [(other, None, None, AUTHORITY, "MR")]}))
        elif event.special in {"link", "unlink"}:
            if event.special == "link":
                segments.append(("PV1", {1: "1", 2: "N"}))
            segments.append(("PID", {1: "2", 3: [(other, None, None, AUTHORITY, "MR")], 5: self._names()}))
        elif event.special == "no-visit":
            segments.append(("PV1", {1: "1", 2: "N"}))
        else:
            segments.append(("PV1", self._pv1()))
        return build(segments)

    def _names(self) -> Value:
        r = self._record
        names: list[str | tuple[str | tuple[str | None, ...] | None, ...] | None]
        names = [(r.family, r.given, r.middle, r.suffix, None, None, "L")]
        if r.alias:
            names.append((r.alias, r.given, None, None, None, None, "A"))
        return names

    def _pid(self) -> Fields:
        r = self._record
        numbers: list[str | tuple[str | tuple[str | None, ...] | None, ...] | None]
        numbers = [(r.key, None, None, AUTHORITY, "MR")]
        if len(r.ssn) == 9 and r.ssn.isdigit():
            numbers.append((r.ssn, None, None, SSA, "SS"))
        line, city, postal = r.address
        fields: dict[int, Value] = {
            1: "1", 3: numbers, 5: self._names(), 7: r.birth.replace("-", ""), 8: r.sex,
            11: [(line, None, city, "MT" if city else None, postal, "USA" if city else None, "H" if city else "BA")],
            13: [(None, "PRN", "PH", None, None, r.phone[:3], r.phone[3:])] if r.phone else None,
        }  # fmt: skip
        if self._event.special == "newborn":
            fields[21] = [(self._record.key.removesuffix("B"), None, None, AUTHORITY, "MR")]
        if self._event.special == "deceased":
            fields |= {29: _time(self._happened), 30: "Y"}
        return fields

    def _pv1(self) -> Fields:
        event = self._event
        fields: dict[int, Value] = {
            1: "1", 2: event.visit_class, 3: (event.place, str(100 + self._person.index % 60), "A", AUTHORITY),
            7: [("D17", "Attending", "Avery", None, None, "DR", None, None, AUTHORITY)], 10: event.service,
            19: (_visit(self._record.key), None, None, AUTHORITY, "VN"), 36: event.disposition,
            44: _time(self._start if event.special != "newborn" else self._happened),
        }  # fmt: skip
        if event.trigger == "A02":
            fields[6] = ("4W", str(100 + self._person.index % 60), "A", AUTHORITY)
        if event.trigger == "A03":
            fields[45] = _time(self._happened)
        return fields


def _time(at: datetime) -> str:
    return f"{at:%Y%m%d%H%M%S}+0000"


def write_feed(out: Path, *, seed: int, patients: int) -> Told:
    """Write ``feed-0001.hl7`` …, ``truth.ndjson`` and ``truth.json``; ``patients`` is the size of the community.

    Messages of different people interleave as time goes by within each block of people; those of one person keep
    their order.
    """
    out.mkdir(parents=True, exist_ok=True)
    hospital, told = Hospital(Population(seed, patients)), Told()
    block: list[Sent] = []
    with (out / "truth.ndjson").open("w", encoding="utf-8") as truth:
        for person, record in hospital.patients():
            told.patients += 1
            told.pathways[person.pathway] = told.pathways.get(person.pathway, 0) + 1
            block.extend(hospital.messages(person, record))
            for line in hospital.truth(person, record):
                truth.write(json.dumps(line) + "\n")
            if len(block) >= PER_FILE:
                _write_block(out, block, told)
        _write_block(out, block, told)
    summary = {"seed": seed, "people": patients, "patients": told.patients, "messages": told.messages}
    text = json.dumps({**summary, "pathways": told.pathways}, indent=1)
    (out / "truth.json").write_text(text + "\n", encoding="utf-8")
    return told


def _write_block(out: Path, block: list[Sent], told: Told) -> None:
    if not block:
        return
    name = f"feed-{len(told.files) + 1:04d}.hl7"
    block.sort(key=lambda sent: sent.at)  # stable: one person's messages keep their order
    (out / name).write_bytes(b"".join(sent.text for sent in block))
    told.messages += len(block)
    told.files.append(name)
    block.clear()
