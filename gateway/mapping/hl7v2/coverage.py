"""Our tables laid beside HL7's guide, row by row: executed, replaced, or left with a reason; and the conditions."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.kernel.errors import Invalid
from gateway.mapping.hl7v2.conditions import Ref, parse_condition
from gateway.mapping.hl7v2.model import Row, Tables
from gateway.mapping.table import read_table

EXECUTED, REPLACED, LEFT, OPEN = "executed", "replaced", "left", "no target"
_NAME: Final = re.compile(r"R4_ (.*?)(?: - [^/]*)?\.csv$")
_CODES: Final = re.compile(r"Concept Map_ (.*?) - Sheet1\.csv$")
_UNREAD: Final = "no row of ours reads it; a value goes to the residue"
_PLACE: Final = re.compile(r"([A-Z][A-Z0-9]{1,2})[-.](\d+)")


@dataclass(frozen=True, slots=True)
class GuideRow:
    """One row of the guide and what became of it."""

    kind: str  # messages, segments, datatypes, codesystems
    map: str  # PID[Patient]
    line: int  # in the guide's file
    source: str
    target: str
    status: str
    ours: str  # file:line of our row; "" when left
    reason: str


@dataclass(frozen=True, slots=True)
class Ruling:
    """One row of guide.csv: our name for a map of the guide, or why it is left."""

    ours: str
    reason: str


def read_rulings(text: str, *, file: str) -> dict[tuple[str, str], Ruling]:
    """``guide.csv``: (kind, the guide's map) to what we do with it; of kind ``rows``, a map and one of its fields."""
    rows = read_table(text, file=file, columns=("kind", "guide", "ours", "reason"), required=("kind", "guide"))
    return {(row["kind"], row["guide"]): Ruling(row["ours"], row["reason"]) for row in rows}


def guide_rows(
    guide: Mapping[str, str], tables: Tables, rulings: Mapping[tuple[str, str], Ruling]
) -> Iterator[GuideRow]:
    """Every row of the guide with its status.

    Args:
        guide: path below the guide's folder (``segments/HL7 Segment - FHIR R4_ PID[Patient] - PID.csv``) to text.
    """
    for path in sorted(guide):
        kind = path.split("/", 1)[0]
        found = (_CODES if kind == "codesystems" else _NAME).search(path)
        if found is None or kind not in _READ:
            continue
        rows = list(csv.reader(io.StringIO(guide[path].removeprefix("\ufeff"))))
        yield from _READ[kind](found[1], rows, tables, rulings)


def _cells(rows: Sequence[Sequence[str]], width: int) -> Iterator[tuple[int, list[str]]]:
    for number, row in enumerate(rows[2:], 3):
        cells = [cell.strip() for cell in row] + [""] * width
        if any(cells):
            yield number, cells


def _fields(
    kind: str, name: str, rows: Sequence[Sequence[str]], tables: Tables, rulings: Mapping[tuple[str, str], Ruling]
) -> Iterator[GuideRow]:
    ruling = rulings.get((kind, name), Ruling("", ""))
    maps = tables.segments if kind == "segments" else tables.datatypes
    source = name.split("[")[0]
    own = maps.get(ruling.ours or name)
    others = [m for m in maps.values() if m.source == source or (kind == "datatypes" and m.source == ruling.ours)]
    for number, cells in _cells(rows, 20):
        place, target = cells[1], cells[9] or cells[10]
        found = _PLACE.search(place)
        field = int(found[2]) if found else 0
        mine = [r for r in (own.rows if own else ()) if r.source.field == field]
        alike = [r for r in mine if _same_target(r, target)]
        elsewhere = [r for m in others for r in m.rows if r.source.field == field and (r.target or r.extension)]
        said = rulings.get(("rows", f"{name} {place}"), ruling)
        yield _judged(kind, name, number, place, target, alike, [*_mapped(mine), *elsewhere], mine, said)


def _judged(
    kind: str, name: str, line: int, source: str, target: str, alike: Sequence[Row], replacing: Sequence[Row],
    mine: Sequence[Row], ruling: Ruling,
) -> GuideRow:  # fmt: skip
    def made(status: str, ours: str = "", reason: str = "") -> GuideRow:
        return GuideRow(kind, name, line, source, target, status, ours, reason)

    if not target:
        return (
            made(REPLACED, replacing[0].place, "ours, where the guide has no target")
            if replacing
            else made(OPEN, "", "the guide has no target")
        )
    if alike:
        return made(EXECUTED, alike[0].place)
    if replacing:
        return made(REPLACED, replacing[0].place, ruling.reason or "another element or extension says it")
    if mine:
        return made(LEFT, mine[0].place, next((row.note for row in mine if row.note), "") or ruling.reason)
    return made(LEFT, "", ruling.reason or _UNREAD)


def _mapped(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row.target or row.extension]


def _same_target(row: Row, target: str) -> bool:
    """The same element, whatever instance numbers say; url and value rows of one extension are one row of ours."""
    bare = _plain(target)
    if re.match(r"(.*\.)?extension", bare):
        return bool(row.extension)
    return bool(row.target) and (_plain(row.target) == bare or (row.target in ("$this", "$value") and bare == "$this"))


def _plain(path: str) -> str:
    """A path without instances, blanks, leading point and the word for the whole: ``$this`` where nothing is left."""
    bare = re.sub(r"\[[^\]]*\]|\s", "", path).split("=")[0].removeprefix(".")
    return bare.replace("$value", "$this") or "$this"


def _segments(
    name: str, rows: Sequence[Sequence[str]], tables: Tables, rulings: Mapping[tuple[str, str], Ruling]
) -> Iterator[GuideRow]:
    return _fields("segments", name, rows, tables, rulings)


def _datatypes(
    name: str, rows: Sequence[Sequence[str]], tables: Tables, rulings: Mapping[tuple[str, str], Ruling]
) -> Iterator[GuideRow]:
    return _fields("datatypes", name, rows, tables, rulings)


def _messages(
    name: str, rows: Sequence[Sequence[str]], tables: Tables, rulings: Mapping[tuple[str, str], Ruling]
) -> Iterator[GuideRow]:
    message = tables.messages.get(rulings.get(("messages", name), Ruling("", "")).ours or name)
    for number, cells in _cells(rows, 20):
        segment = cells[1].rsplit(".", 1)[-1]
        target, map_name = cells[9], cells[10]
        mine = [r for r in (message.rows if message else ()) if r.segment == segment]
        same = [r for r in mine if r.map and r.map == map_name]
        acting = [r for r in mine if r.map]
        said = rulings.get(("rows", f"{name} {segment}")) or rulings.get(("segments", map_name), Ruling("", ""))
        if not target:
            status = (REPLACED, acting[0].place, "ours") if acting else (OPEN, "", "the guide has no target")
        elif same:
            status = (EXECUTED, same[0].place, "")
        elif acting:
            read_by = ", ".join(dict.fromkeys(row.map for row in acting))
            status = (REPLACED, acting[0].place, said.reason or f"the segment is read by {read_by}")
        else:
            status = (LEFT, "", said.reason or "the segment goes to the residue")
        yield GuideRow("messages", name, number, cells[1], f"{target} {map_name}".strip(), *status)


def _codes(
    name: str, rows: Sequence[Sequence[str]], tables: Tables, rulings: Mapping[tuple[str, str], Ruling]
) -> Iterator[GuideRow]:
    ruling = rulings.get(("codesystems", name), Ruling("", ""))
    vocabulary = tables.vocabularies.get(ruling.ours or name.replace("[", "-").replace("]", ""))
    for number, cells in _cells(rows, 14):
        code, target, system = cells[0], cells[6], cells[9]
        if not code:
            continue
        ours = vocabulary.codes.get(code) if vocabulary else None
        reason = rulings.get(("rows", f"{name} {code}"), ruling).reason
        if not target:
            status = (REPLACED, "ours, where the guide has no target") if ours else (OPEN, "the guide has no target")
        elif ours is not None and ours.code == target:
            status = (EXECUTED, "")
        elif ours is not None:
            status = (REPLACED, reason or "another target: see the equivalence in our concept map")
        elif target == code:
            status = (EXECUTED, "the code is kept as it is, in its v2 system")
        else:
            status = (LEFT, reason or "the sender's code is kept as it is")
        place = f"v2-{vocabulary.name}" if vocabulary else ""
        yield GuideRow("codesystems", name, number, code, f"{target} {system}".strip(), status[0], place, status[1])


_READ: Final = {"segments": _segments, "datatypes": _datatypes, "messages": _messages, "codesystems": _codes}


@dataclass(frozen=True, slots=True)
class GuideCondition:
    """One condition cell of the guide: it compiles, or why it does not."""

    map: str
    line: int
    text: str
    problem: str


def guide_conditions(guide: Mapping[str, str]) -> Iterator[GuideCondition]:
    """Every computable condition of the guide, read with our grammar."""
    for path in sorted(guide):
        kind = path.split("/", 1)[0]
        found = _NAME.search(path)
        if found is None or kind == "codesystems":
            continue
        for number, cells in _cells(list(csv.reader(io.StringIO(guide[path].removeprefix("\ufeff")))), 20):
            text = cells[6]
            if not text:
                continue
            place = _PLACE.search(cells[1])
            subject = Ref(place[1], (int(place[2]),)) if place else Ref(found[1].split("[")[0])
            try:
                parse_condition(text, at="condition", subject=subject)
                problem = ""
            except Invalid as error:
                problem = error.message
            yield GuideCondition(found[1], number, text, problem)
