"""Which parts of a message are only copied, so that messages which differ in nothing else have one shape.

A part is a *slot* when the tables do nothing with it but copy it, read it as a date or number, or look up what the
text stands for (a doctor, a place, a code): no row compares it and no condition looks inside it. Everything else
(delimiters, types, codes that decide something, free text that no row maps) stays in the shape as it is, so two
messages of one shape take the same way through every row. :mod:`shapes` converts a shape once and fills its slots.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from gateway.codecs.er7 import Delimiters
from gateway.mapping.hl7v2.conditions import Both, Compare, Condition, Either, Not, Ref, Valued
from gateway.mapping.hl7v2.generate import CODED, Coded
from gateway.mapping.hl7v2.model import Row, Tables
from gateway.mapping.hl7v2.plan import TEXTS, Placed, Plan

SLOT: Final = "\ue000"  # a slot in a shape; no text with characters of this private area is ever cut
UNSAID: Final = "\ue001"  # a field that some row rules out: its text goes nowhere
PAD: Final = "\ue002"  # makes a slot as long as its text where a condition asks how long it is
MARKS: Final = re.compile("[\ue000-\uf8ff]")
READ: Final = frozenset({"date", "dateTime", "instant", "time", "decimal", "integer", "positiveInt", "unsignedInt"})
_HEADER: Final = frozenset({7, 10})  # time and control id: what differs in a header; the rest chooses rows and senders
_DECIDING: Final = frozenset({"status", "code", "use", "system"})  # elements that are looked at after they were filled


@dataclass(frozen=True, slots=True)
class Slots:
    """What of one field is a slot."""

    kind: str  # whole (each repetition), single (a field of one part), parts (components), unsaid
    components: tuple[int, ...] = ()  # from 0
    measured: bool = False  # a condition asks how long the field is
    unless: tuple[int, ...] = ()  # fields whose rows look inside this one: with one of them it is no slot
    simple: bool = False  # whole, and nothing else to heed


class _Looks:
    """Where conditions and assignments look, by segment field or data type component."""

    def __init__(self, tables: Tables) -> None:
        self.compared: dict[tuple[str, int], set[int]] = defaultdict(set)  # components; 0 the whole
        self.measured: set[tuple[str, int]] = set()
        self.inside: dict[tuple[str, int], set[tuple[str, int]]] = defaultdict(set)  # from segment and field
        self.asked: set[tuple[str, int]] = set()  # in any way
        for table in (*tables.segments.values(), *tables.datatypes.values()):
            for row in table.rows:
                self._condition(row.condition, table.source, row.source.field)
                for kind, text in row.assignment or ():
                    if kind == "ref":
                        self._inside(_ref(text), table.source, row.source.field)
        for message in tables.messages.values():
            for line in message.rows:
                self._condition(line.condition, "", 0)

    def _condition(self, tree: Condition | None, name: str, number: int) -> None:
        for test in _tests(tree):
            ref = test.ref
            if not ref.parts:
                continue
            self.asked.add((ref.name, ref.parts[0]))
            if isinstance(test, Valued):
                self._inside(ref, name, number)
                continue
            if test.measure == "count":
                continue
            if test.measure:
                self.measured.add((ref.name, ref.parts[0]))
                if ref.parts[1:]:
                    self.compared[ref.name, ref.parts[0]].add(ref.parts[1])
                continue
            for one in (ref, *(value for value in test.values if isinstance(value, Ref) and value.parts)):
                self.asked.add((one.name, one.parts[0]))
                self.compared[one.name, one.parts[0]].add(one.parts[1] if one.parts[1:] else 1)

    def _inside(self, ref: Ref, name: str, number: int) -> None:
        self.asked.add((ref.name, ref.parts[0]) if ref.parts else (ref.name, 0))
        if len(ref.parts) > 1:
            self.inside[ref.name, ref.parts[0]].add((name, number))


def _tests(tree: Condition | None) -> Iterator[Valued | Compare]:
    if isinstance(tree, (Both, Either)):
        for term in tree.terms:
            yield from _tests(term)
    elif isinstance(tree, Not):
        yield from _tests(tree.term)
    elif tree is not None:
        yield tree


def _ref(text: str) -> Ref:
    name, *parts = text.replace("-", ".").split(".")
    return Ref(name, tuple(map(int, parts)))


class Cutter:
    """Cuts messages into a shape and the texts of its slots, by what the tables do with each field."""

    def __init__(self, tables: Tables, planned: Mapping[str, Plan]) -> None:
        self._tables, self._planned = tables, planned
        self._coded = Coded(planned)
        self._looks = _Looks(tables)
        self._parts: dict[str, frozenset[int]] = {}
        self._never = {("EVN", 1)}  # the header may leave the event to it
        for segment, rows in tables.actions.items():
            self._never |= {(segment, number) for row in rows for number in (row.action, row.field)}
        self._never |= {(row.segment, row.action) for row in tables.snapshots}
        self._slots: dict[str, dict[int, Slots]] = {}

    def slots(self, segment: str) -> Mapping[int, Slots]:
        """The slots of a segment, by field number."""
        known = self._slots.get(segment)
        if known is None:
            known = self._slots[segment] = dict(self._found(segment))
        return known

    def refuse(self, segment: str, number: int) -> None:
        """Never take a field for a slot again: something looked at what was made of it."""
        self._never.add((segment, number))
        self._slots.clear()

    def _found(self, segment: str) -> Iterator[tuple[int, Slots]]:
        maps = [table for table in self._tables.segments.values() if table.source == segment]
        for number in sorted({row.source.field for table in maps for row in table.rows}):
            if number and (segment, number) not in self._never and (segment != "MSH" or number in _HEADER):
                found = self._field(segment, number, [self._planned[table.name] for table in maps])
                if found is not None:
                    yield number - (segment == "MSH"), found  # a header's first field is its delimiter

    def _field(self, segment: str, number: int, plans: Iterable[Plan]) -> Slots | None:
        key, looks = (segment, number), self._looks
        compared, inside = looks.compared.get(key, set()), looks.inside.get(key, set())
        placed = [p for plan in plans for group in plan.groups for p in group.rows if p.row.source.field == number]
        if any(p.row.source.whole for p in placed):
            return None
        said = [p for p in placed if p.row.target or p.row.extension]
        if not said:
            ruled = key not in looks.asked and all(p.row.condition is None for p in placed)
            return Slots("unsaid") if ruled else None  # where another map leaves the field over, the shape is refused
        reading = [p for p in said if not p.row.constant]
        rows = [p.row for p in reading]
        if not rows or any(row.source.component for row in rows):
            return None
        measured = key in looks.measured
        unless = tuple(sorted({field for name, field in inside if name == segment}))
        closed = not compared and number not in unless and all(name == segment and field for name, field in inside)
        if closed and (all(p.shared for p in reading) or all(self._stands_for(p) for p in reading)):
            return Slots("whole", (), measured, unless, not measured and not unless)
        if not compared and all(_plain(row) for row in rows):
            return Slots("single", (), measured)
        if any("[" not in row.datatype or row.vocabulary for row in rows) or any(p.shared for p in reading):
            return None
        kept = frozenset.intersection(*(self.parts(row.datatype) for row in rows)) - compared
        return Slots("parts", tuple(sorted(n - 1 for n in kept)), measured) if kept else None

    def _stands_for(self, placed: Placed) -> bool:
        """Whether the text is looked up as a code is, and nothing looks at the outcome."""
        row = placed.row
        if placed.shared or "[" not in row.datatype or not self._coded.pure(row.datatype):
            return False
        if row.datatype.split("[")[0] not in CODED:
            return False
        element = row.steps[-1].name if row.steps and not row.extension else ""
        return not (self._tables.datatypes[row.datatype].returns_value and element in _DECIDING)

    def parts(self, name: str) -> frozenset[int]:
        """Components of a data type that its map only copies or reads."""
        known = self._parts.get(name)
        if known is None:
            self._parts[name] = frozenset()  # a map that uses itself
            known = self._parts[name] = frozenset(self._copied(name))
        return known

    def _copied(self, name: str) -> Iterator[int]:
        table = self._tables.datatypes[name]
        if any(row.source.field == 0 and not row.constant for row in table.rows):
            return
        for number in sorted({row.source.field for row in table.rows}):
            rows = [row for row in table.rows if row.source.field == number]
            said = [row for row in rows if not row.constant and (row.target or row.extension)]
            key = (table.source, number)
            free = not self._looks.compared.get(key) and key not in self._looks.measured
            if number and said and free and all(self._copies(row) for row in said):
                yield number

    def _copies(self, row: Row) -> bool:
        if row.source.component > 1 or row.vocabulary:
            return False
        if "[" in row.datatype:
            return not any(step.refers for step in row.steps) and 1 in self.parts(row.datatype)
        return _plain(row)

    def cut(self, texts: Iterable[str], marks: Delimiters) -> tuple[str, list[str]]:
        """The shape (segments with CR, slots marked) and the texts of the slots in their order."""
        field, composed = marks.field, marks.component
        repeated, divided = marks.repetition, marks.subcomponent
        shape: list[str] = []
        values: list[str] = []
        known = self._slots
        slots: Mapping[int, Slots] | None
        for text in texts:
            name = text[:3]
            slots = known.get(name)
            if slots is None:
                slots = self.slots(name)
            if not slots:
                shape.append(text)
                continue
            fields = text.split(field)
            for number, own in [one for one in enumerate(fields) if one[1]]:
                slot = slots.get(number)
                if slot is None:
                    continue
                if slot.simple and repeated not in own and own[0] != composed:  # as most are: a doctor, a bed, a code
                    values.append(own)
                    fields[number] = SLOT
                elif slot.kind == "unsaid":
                    fields[number] = UNSAID
                elif slot.unless and any(other < len(fields) and fields[other] for other in slot.unless):
                    continue
                elif repeated not in own:
                    fields[number] = _one(own, slot, composed, divided, values)
                elif slot.kind != "single":
                    fields[number] = repeated.join(
                        [_one(one, slot, composed, divided, values) if one else one for one in own.split(repeated)]
                    )
            shape.append(field.join(fields))
        return "\r".join(shape), values


def _one(own: str, slot: Slots, composed: str, divided: str, values: list[str]) -> str:
    """One repetition of a field with its slots marked; their texts go to ``values``."""
    if slot.kind != "parts":
        if slot.kind == "single" and (composed in own or divided in own):
            return own
        if own[0] == composed and not own.strip(composed + divided):  # delimiters alone say nothing
            return own
        values.append(own)
        return SLOT + PAD * (len(own) - 1) if slot.measured else SLOT
    parts = own.split(composed)
    count = len(parts)
    for index in slot.components:
        if index >= count:
            break
        part = parts[index]
        if part and divided not in part:
            values.append(part)
            parts[index] = SLOT + PAD * (len(part) - 1) if slot.measured else SLOT
    return composed.join(parts)


def _plain(row: Row) -> bool:
    """Whether a row copies the text or reads it as a date or number."""
    if row.assignment is not None:
        return True
    if row.special not in ("", "$value") or row.vocabulary:
        return False
    return row.datatype == "ssn" or (not row.datatype and (row.type in TEXTS or row.type in READ))


def copied(slots: list[str], marks: Delimiters) -> bool:
    """Whether texts of slots mean their characters and nothing more: no escapes, quotes, blanks at ends of parts."""
    field = marks.field
    joined = field.join(["", *slots, ""])
    if not joined.isprintable() or '"' in joined or "\\" in joined or (marks.escape and marks.escape in joined):
        return False
    at = joined.find(" ")
    while at >= 0:
        if joined[at - 1] in (beside := _beside(marks)) or joined[at + 1] in beside:
            return False
        at = joined.find(" ", at + 1)
    return True


@lru_cache(64)
def _beside(marks: Delimiters) -> str:
    """What no blank stands beside: the ends of parts, and another blank."""
    return f" {marks.field}{marks.component}{marks.repetition}{marks.subcomponent}"
