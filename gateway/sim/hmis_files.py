"""The CSV files of a synthetic export, and what real exports have wrong with them."""

import csv
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final

from gateway.mapping.hmis.spec import Read, load_spec

START: Final = date(2025, 7, 1)
END: Final = date(2026, 6, 30)
EXPORTED: Final = "2026-07-01 06:00:00"
SOURCE: Final = "riverton-hmis"  # ImplementationID
ODDITIES: Final = {
    "bom": "UTF-8 with a byte order mark",
    "utf-16": "UTF-16 with a byte order mark",
    "windows-1252": "Windows-1252 instead of UTF-8",
    "mac-roman": "MacRoman, lines that end with CR",
    "semicolons": "semicolons between the cells",
    "trailing-commas": "a comma more at the end of every line",
    "mixed-line-ends": "LF and CRLF in one file",
    "ragged": "every 50th row lacks its last cells",
    "truncated": "the last line of every file is cut off",
    "header-case": "other header spellings",
    "column-order": "columns in reverse order",
    "export-rows": "several rows in Export.csv",
    "short-years": "record stamps like 03-11-26 10:00",
    "unknown-users": "UserIDs without a User row",
    "retired-codes": "funders that HUD retired",
    "custom-files": "an extra Custom file",
    "decimal-codes": "codes like 1.0, as a spreadsheet leaves them",
    "hash-flag": "HashStatus 4 though the names are plain",
    "no-version": "no CSVVersion",
    "victim-services": "client-level rows of a victim service provider",
}


@dataclass(slots=True)
class Told:
    """What was written."""

    rows: dict[str, int] = field(default_factory=dict)
    clients: int = 0
    people: int = 0


class Files:
    """The CSV files of the set, one row at a time."""

    def __init__(self, read: Read, out: Path, version: str, oddities: frozenset[str]) -> None:
        self._stack = ExitStack()
        self._spec = load_spec(read, version)
        self._odd = oddities
        self.told = Told()
        self.used: set[str] = set()  # projects that somebody entered
        self._writers: dict[str, Any] = {}
        self._coded: dict[str, set[int]] = {}  # by file: places of columns with a code list
        self._handles: dict[str, TextIOWrapper] = {}
        out.mkdir(parents=True, exist_ok=True)
        self._out = out
        for name, file in self._spec.files.items():
            columns = [column.name for column in file.columns if not column.optional or name == "Consent"]
            self._open(name, columns)

    def _open(self, name: str, columns: list[str]) -> None:
        encodings = {"bom": "utf-8-sig", "utf-16": "utf-16", "windows-1252": "cp1252", "mac-roman": "mac_roman"}
        encoding = next((encodings[odd] for odd in encodings if odd in self._odd), "utf-8")
        handle = self._stack.enter_context((self._out / f"{name}.csv").open("w", encoding=encoding, newline=""))
        if "column-order" in self._odd:
            columns = columns[::-1]
        old = {"HispanicLatinao": "HispanicLatinaeo"} if self._spec.version == "2024" else {}
        header = [old.get(column, column) for column in columns]
        if "header-case" in self._odd:
            header = [column.replace("HoH", "HOH").replace("TCell", "Tcell").replace("ZIP", "Zip") for column in header]
        if "trailing-commas" in self._odd:
            header.append("")
        delimiter, end = ";" if "semicolons" in self._odd else ",", "\r" if "mac-roman" in self._odd else "\r\n"
        writer = csv.writer(handle, lineterminator=end, delimiter=delimiter)
        writer.writerow(header)
        file = self._spec.files[name]
        self._coded[name] = {at for at, column in enumerate(columns) if (known := file.column(column)) and known.list}
        self._writers[name], self._handles[name] = (writer, columns), handle

    def write(self, name: str, row: Mapping[str, Any]) -> None:
        """One row; audit columns are filled in."""
        writer, columns = self._writers[name]
        count = self.told.rows[name] = self.told.rows.get(name, 0) + 1
        stamp = str(row.get("DateUpdated") or f"{END.isoformat()} 09:00:00")
        audit = {"DateCreated": stamp, "DateUpdated": stamp, "UserID": "U1", "ExportID": "E1"}
        if "short-years" in self._odd:
            audit |= {k: f"{v[5:7]}-{v[8:10]}-{v[2:4]} {v[11:16]}" for k, v in audit.items() if k.startswith("Date")}
        if "unknown-users" in self._odd and name != "User":
            audit["UserID"] = f"U{900 + count % 7}"
        filled = {
            **row,
            **{k: v for k, v in audit.items() if k in columns and not (name == "Export" and k == "ExportID")},
        }
        if name == "User":
            filled["UserID"] = row["UserID"]
        cells = [str(filled.get(column, "")) for column in columns]
        if "decimal-codes" in self._odd:
            coded = self._coded[name]
            cells = [f"{cell}.0" if at in coded and cell.isdecimal() else cell for at, cell in enumerate(cells)]
        if "trailing-commas" in self._odd:
            cells.append("")
        if "ragged" in self._odd and count % 50 == 0:
            cells = cells[:-3]
        writer.writerow(cells)
        if "mixed-line-ends" in self._odd and count % 3 == 0:
            self._handles[name].write("\n")

    def close(self) -> None:
        """Finish the files."""
        self._stack.close()
        if "truncated" in self._odd:
            for name in self._writers:
                place = self._out / f"{name}.csv"
                data = place.read_bytes()
                place.write_bytes(data[: max(len(data) - 9, 0)] if data.count(b"\n") > 1 else data)
