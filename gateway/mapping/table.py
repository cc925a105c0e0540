"""Mapping tables as rows that remember where they stand, so that every complaint names file and line."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from gateway.kernel.errors import Invalid


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row of a mapping table; cells are stripped, a missing cell is the empty string."""

    file: str
    line: int
    cells: Mapping[str, str]

    @property
    def place(self) -> str:
        """``file:line``."""
        return f"{self.file}:{self.line}"

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")


def read_table(text: str, *, file: str, columns: Iterable[str], required: Iterable[str] = ()) -> Iterator[TableRow]:
    """The rows of a CSV table with a header; blank rows and rows whose first cell starts with ``#`` are skipped.

    Raises:
        Invalid: an unknown or missing column, a row with too many cells, or an empty required cell, with file:line.
    """
    known, needed = list(columns), list(required)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = [cell.strip() for cell in next(reader, [])]
    for cell in header:
        if cell not in known:
            raise Invalid(f"unknown column {cell!r}", at=f"{file}:1", fix="columns: " + ", ".join(known))
    for cell in needed:
        if cell not in header:
            raise Invalid(f"column {cell!r} is missing", at=f"{file}:1")
    for cells in reader:
        line, cells = reader.line_num, [cell.strip() for cell in cells]
        if not any(cells) or cells[0].startswith("#"):
            continue
        if len(cells) > len(header):
            raise Invalid(f"{len(cells)} cells under {len(header)} columns", at=f"{file}:{line}")
        row = TableRow(file, line, dict(zip(header, cells, strict=False)))
        for name in needed:
            if not row[name]:
                raise Invalid(f"column {name!r} is empty", at=row.place)
        yield row
