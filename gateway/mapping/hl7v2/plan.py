"""What a table means, step by step: shared by the generated Python and by the interpreter, so that they cannot differ.

A map is a list of groups, one for each field (segment map) or component (data type map). In a group the rows that read
the message come first, then the rows with constants, which need an instance made by the rows before them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

from gateway.mapping.hl7v2.model import PRIMITIVES, Map, Row, Step, Tables

SHARED: Final = frozenset({"Organization", "Location", "Practitioner", "PractitionerRole", "Device"})
TEXTS: Final = frozenset({"string", "markdown"})


@dataclass(frozen=True, slots=True)
class Placed:
    """A row with what it needs to run."""

    row: Row
    guard: str  # name of the instance that must exist already; "" when the row may make its own
    shared: str = ""  # type of a shared thing (Practitioner …) that this row alone makes from its text, so it is cached


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of one field or component."""

    position: int  # field number; in a data type map component number; 0 the whole
    whole: bool  # reads all repetitions as one text
    loops: bool  # once for every repetition
    rows: tuple[Placed, ...]
    fresh: tuple[str, ...]  # instances that begin anew with each repetition
    always: bool  # some row of the field has no condition, so the value counts as dealt with
    first: bool = True  # of the groups of this field
    last: bool = True

    @property
    def silent(self) -> bool:
        """Nothing but a rule that the field is not mapped."""
        return all(not (p.row.target or p.row.extension) and p.row.condition is None for p in self.rows)


@dataclass(frozen=True, slots=True)
class Plan:
    """A map, ready to run."""

    map: Map
    groups: tuple[Group, ...]
    names: tuple[str, ...]  # every instance variable
    handled: frozenset[int]  # fields or components that some row deals with or ignores
    consumes: bool  # a row reads the whole text of the data type, so no component is left over

    @property
    def of_segment(self) -> bool:
        """Segment map (its numbers are fields), or data type map (components)."""
        return len(self.map.source) == 3 and self.map.file.find("/segments/") >= 0


def plan_of(table: Map, tables: Tables) -> Plan:
    """Order the rows of one map into groups and name its instances."""
    segment = "/segments/" in table.file
    groups = []
    names: list[str] = []
    ordered = sorted(table.rows, key=lambda row: row.source.field != 0)  # the segment itself first, else as written
    position = {key: i for i, key in enumerate(dict.fromkeys((r.source.field, r.source.whole) for r in ordered))}
    ordered.sort(key=lambda row: position[row.source.field, row.source.whole])
    for (number, whole), rows in groupby(ordered, key=lambda row: (row.source.field, row.source.whole)):
        group = _group(number, whole, list(rows), segment)
        groups.append(group)
        names += [name for placed in group.rows for name in instances(placed.row) if name not in names]
    uses = Counter(name for group in groups for name in {name for p in group.rows for name in instances(p.row)})
    groups = [replace(_among(group, groups), fresh=_fresh(group, uses)) for group in groups]
    alone = Counter(name for row in table.rows for name in instances(row))
    groups = [replace(group, rows=tuple(_shared(p, alone) for p in group.rows)) for group in groups]
    ignored = {_number(source, table.source) for source in tables.ignored if _number(source, table.source)}
    handled = frozenset({0} | {group.position for group in groups} | ignored)
    consumes = any(
        not row.constant and "[" not in row.datatype and row.source.field == 0 and row.target for row in table.rows
    ) and not any(row.source.field for row in table.rows)
    return Plan(table, tuple(groups), tuple(names), handled, consumes)


def _shared(placed: Placed, alone: Mapping[str, int]) -> Placed:
    row = placed.row
    if not row.steps or row.extension or row.steps[-1].refers not in SHARED or "[" not in row.datatype:
        return placed
    *_, (_, name) = walk(row.steps)
    return replace(placed, shared=row.steps[-1].refers) if alone[name] == 1 else placed


def _among(group: Group, groups: list[Group]) -> Group:
    same = [other for other in groups if other.position == group.position]
    return replace(group, always=any(other.always for other in same), first=same[0] is group, last=same[-1] is group)


def _fresh(group: Group, uses: Mapping[str, int]) -> tuple[str, ...]:
    """The instances that begin anew with each repetition of the field.

    A resource that the whole segment speaks of stays the same one when the field repeats something inside it: two
    phones of a provider (PRD-5) are not two providers.
    """
    stays: set[str] = set()
    for placed in group.rows:
        steps = list(walk(placed.row.steps))
        for index, (step, name) in enumerate(steps):
            inside = any(deeper.repeats for deeper, _ in steps[index + 1 :])
            if step.refers and inside and (not step.repeats or uses[name] > 1):
                stays.add(name)
    return tuple(name for name in group.fresh if name not in stays)


def _number(source: str, name: str) -> int:
    head, mark, tail = source.partition("-" if "-" in source else ".")
    return int(tail) if mark and head == name and tail.isdigit() else 0


def _group(number: int, whole: bool, rows: list[Row], segment: bool) -> Group:
    made = {name for row in rows if not row.constant for name in instances(row)}
    placed = [Placed(row, "") for row in rows if not row.constant]
    for row in rows:
        if row.constant:
            guard = [name for name in instances(row) if name in made]
            placed.append(Placed(row, guard[-1] if guard else ""))
    many = any(row.extension or any(step.repeats for step in row.steps) for row in rows)
    loops = segment and number > 0 and not whole and many
    fresh = tuple(dict.fromkeys(name for row in rows for name in instances(row))) if loops else ()
    return Group(number, whole, loops, tuple(placed), fresh, any(row.condition is None for row in rows))


def instances(row: Row) -> Iterator[str]:
    """Names of the instances on a row's path: repeating elements, resources referred to, parts of extensions."""
    path = ""
    for index, step in enumerate(row.steps):
        path += ("." if path else "") + step.label
        last = index == len(row.steps) - 1 and not row.extension
        if step.refers or (step.repeats and not (last and row.type in PRIMITIVES) and not step.primitive):
            yield path
        if step.refers:
            path += "()"
    if "#" in row.extension and "##" not in row.extension:
        yield f"{path}|{row.extension.split('#')[0]}"


def walk(steps: tuple[Step, ...]) -> Iterator[tuple[Step, str]]:
    """Each step with the name of its instance."""
    path = ""
    for step in steps:
        path += ("." if path else "") + step.label
        yield step, path
        if step.refers:
            path += "()"


def value_key(type_: str) -> str:
    """``valueCodeableConcept`` of a type."""
    bare = type_.split("(")[0]
    return f"value{bare[0].upper()}{bare[1:]}"


def plans(tables: Tables) -> Mapping[str, Plan]:
    """Every map of the tables, by name; data types and segments share one name space (``CX[..]``, ``PID[..]``)."""
    return {m.name: plan_of(m, tables) for m in (*tables.datatypes.values(), *tables.segments.values())}
