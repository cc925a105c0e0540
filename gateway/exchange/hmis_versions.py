"""FY2024 rows in FY2026's columns and back, with a list of what cannot be carried. Sex is never made of gender."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from gateway.codecs.hmis_csv import Header
from gateway.mapping.hmis.conversions import list_chooser
from gateway.mapping.hmis.spec import File, Spec

SAME: Final = {"HispanicLatinaeo": "HispanicLatinao", "HispanicLatinao": "HispanicLatinaeo"}
CSV_VERSION: Final = {"2024": "2024 v1.3", "2026": "2026 v1.0"}


@dataclass(slots=True)
class Lost:
    """What the other format year has no place for: counts by ``File.Column``, and the rows of a Custom file."""

    columns: dict[str, int] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    empty: dict[str, int] = field(default_factory=dict)

    def lines(self, version: str) -> list[str]:
        """For a person."""
        no_column = f"values have no column in FY{version}: see the Custom file"
        no_code = f"codes are not in FY{version}'s list; written as they are"
        long = f"texts are longer than FY{version} allows; written as they are"
        empty = f"rows have no value that FY{version} requires; none is made up"
        told = ((self.columns, no_column), (self.codes, no_code), (self.lengths, long), (self.empty, empty))
        return sorted(f"{name}: {count:,} {what}" for counts, what in told for name, count in counts.items())


class Revision:
    """One file's rows on the way from one format year to another."""

    def __init__(self, old: Spec, new: Spec, name: str, header: tuple[str, ...], lost: Lost) -> None:
        self._new, self._old_file, self._file, self._lost = new, old.files[name], new.files[name], lost
        found = Header.of(list(header), [column.name for column in self._old_file.columns])
        self._at = found.position
        self._extra = found.extra
        names = {column.name for column in self._file.columns}
        self.dropped = [c for c in self._at if c not in names and SAME.get(c) not in names]
        self.columns = [c.name for c in self._file.columns if not c.optional or c.name in self._at]
        self.header = self.columns + [header[i] for i in found.extra]
        self.drops = False  # whether a row had a value that the other year has no column for
        self._choosers = {c.name: list_chooser(c.list) for c in self._file.columns if c.list}
        self._old = old
        self._old_lists = {c.name: list_chooser(c.list)[1] for c in self._old_file.columns if c.list}
        before = {SAME.get(c.name, c.name) if c.name not in names else c.name: c for c in self._old_file.columns}
        pairs = [
            (self.columns.index(c.name), c, before.get(c.name)) for c in self._file.columns if c.name in self.columns
        ]
        self._shorter = [(at, c) for at, c, was in pairs if was is not None and 0 < _size(c.type) < _size(was.type)]
        self._needed = [(at, c) for at, c, was in pairs if not c.nullable and (was is None or was.nullable)]

    def rows(self, rows: Iterable[list[str]]) -> Iterator[list[str]]:
        """The rows in the new columns; what is dropped is counted and kept for :attr:`custom`."""
        for row in rows:
            if not row:
                yield row
                continue
            cells = self._cells(row)
            gone = [cells[name] for name in self.dropped]
            if any(gone):
                for name, cell in zip(self.dropped, gone, strict=True):
                    if cell:
                        self._count(self._lost.columns, name)
                self.drops = True
            out = [cells.get(name, cells.get(SAME.get(name, ""), "")) for name in self.columns]
            if self._file.name == "Export":
                out[self.columns.index("CSVVersion")] = CSV_VERSION[self._new.version]
            self._codes(dict(zip(self.columns, out, strict=True)))
            for at, column in self._shorter:
                if len(out[at]) > _size(column.type):
                    self._count(self._lost.lengths, column.name)
            for at, column in self._needed if not cells.get("DateDeleted") else ():
                if not out[at].strip():
                    self._count(self._lost.empty, column.name)
            yield out + [row[i] if i < len(row) else "" for i in self._extra]

    def _cells(self, row: list[str]) -> dict[str, str]:
        return {name: row[i] if i < len(row) else "" for name, i in self._at.items()}

    def custom(self, rows: Iterable[list[str]]) -> Iterator[list[str]]:
        """Key and dropped values of the rows that have any, for a file of their own: read again, so nothing is held."""
        for cells in map(self._cells, rows):
            gone = [cells[name] for name in self.dropped]
            if any(gone):
                yield [cells.get(self._file.key, ""), *gone]

    @property
    def custom_header(self) -> list[str]:
        """Key and dropped columns."""
        return [self._file.key, *self.dropped]

    def _count(self, counts: dict[str, int], column: str) -> None:
        name = f"{self._file.name}.{column}"
        counts[name] = counts.get(name, 0) + 1

    def _codes(self, cells: dict[str, str]) -> None:
        for name, (by, choose) in self._choosers.items():
            cell = cells.get(name, "").strip()
            if cell:
                others = [cells.get(other, "") for other in by]
                code = self._new.code(choose(others), cell)
                if code is None and name in self._old_lists:  # the old list may know what the new one does not
                    code = self._old.code(self._old_lists[name](others), cell)
                    if code is not None:
                        self._count(self._lost.codes, name)
                elif code is not None and self._new.version not in code.years:
                    self._count(self._lost.codes, name)


def _size(type_: str) -> int:
    """How long a text may be; 0: as long as it is."""
    return int(type_[1:]) if type_[:1] == "S" and type_[1:].isdigit() else 0


def columns_of(file: File) -> list[str]:
    """The header of a file that is written afresh: optional columns are left out, but not of our own companion."""
    return [column.name for column in file.columns if not column.optional or file.name == "Consent"]
