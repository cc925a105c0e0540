"""What a full refresh no longer has: rows of its projects and its period that are stored and did not come.

Authority is source x projects of Project.csv x period. Clients, projects, organizations and users are never deleted by
absence, and a file that is not in the export says nothing about its rows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from gateway.exchange.hmis_convert import Conversion
from gateway.exchange.hmis_keys import Seen
from gateway.exchange.hmis_rows import ABSENT_MEANS_DELETED, ORDER, facts_in
from gateway.exchange.ports.rows import RowPlace, pages_of
from gateway.exchange.ports.store import Reading
from gateway.mapping.hmis.values import day_of


@dataclass(slots=True)
class Absent:
    """How many rows the export speaks for, and the keys of those that it no longer has, by file."""

    stored: int = 0
    keys: dict[str, list[str]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many rows would be deleted."""
        return sum(len(keys) for keys in self.keys.values())


def absent_rows(conversion: Conversion, reading: Reading) -> Absent:
    """Compare what is stored with the keys of the export; each is passed through once."""
    source, absent = conversion.source.name, Absent()
    hud = set(conversion.spec.files) <= set(ORDER)
    names = ABSENT_MEANS_DELETED if hud else [name for name in conversion.spec.files if name not in _KEPT]
    ways = (reading.rows.page, reading.rows.waiting)
    if not any(read(source, name, "", 1) for name in names for read in ways):
        return absent  # a first import: nothing to compare with, so its keys need not be read
    speaks = _scope(conversion, reading) if hud else None
    for name in names:
        if conversion.file(name) is None:
            continue
        in_export = _keys(conversion, name)
        gone = []
        for place in _places(reading, source, name):
            if speaks is None or speaks(name, place):
                absent.stored += 1
                if not in_export.holds(place.key):
                    gone.append(place.key)
        if gone:
            absent.keys[name] = gone
    return absent


def _places(reading: Reading, source: str, name: str) -> Iterator[RowPlace]:
    """Rows of a file that are live, and those that would be once what they wait for comes."""
    yield from pages_of(reading.rows.places, source, name)
    for state in pages_of(reading.rows.waiting, source, name):
        if not state.deleted:
            yield RowPlace(state.key, state.enrollment, state.project, state.facts)


_KEPT = ("Client", "Organization", "Consent")


def _keys(conversion: Conversion, name: str) -> Seen:
    seen, keys = conversion.file(name), Seen()
    at = -1 if seen is None else seen.header.position.get(conversion.maps[name].file.key, -1)
    if seen is not None and at >= 0:
        for cells in conversion.rows(seen):
            if at < len(cells):
                keys.add(cells[at].strip())
    return keys


def _scope(conversion: Conversion, reading: Reading) -> Callable[[str, RowPlace], bool]:
    projects = {row.get("ProjectID", "").strip() for row in conversion.dicts("Project")}
    enrollments = Seen()
    for key in _enrollments(conversion, reading, projects):
        enrollments.add(key)
    of_projects = {
        name
        for name, table in conversion.maps.items()
        if name != "Enrollment" and table.file.column("ProjectID") is not None
    }

    def speaks(name: str, place: RowPlace) -> bool:
        return place.project in projects if name in of_projects else enrollments.holds(place.enrollment)

    return speaks


def _enrollments(conversion: Conversion, reading: Reading, projects: set[str]) -> Iterator[str]:
    """Stored enrollments of the projects that were active in the period."""
    first = conversion.export[0] if conversion.export else {}
    start, end = day_of(first.get("ExportStartDate", "")) or "", day_of(first.get("ExportEndDate", "")) or "9999"
    for place in _places(reading, conversion.source.name, "Enrollment"):
        if place.project in projects:
            facts = facts_in(place.facts)
            if facts.get("EntryDate", "") <= end and (facts.get("exit") or "9999") >= start:
                yield place.key
