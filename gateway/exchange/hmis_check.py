"""Rule check of an HMIS export: structure, references and code lists from the specification as data (mappings/hmis).

The data-quality rules about enrollments, households and projects are in hmis_quality.py. Findings name file, row and
column and never a value. A row's number counts rows below the header from 1; ``line`` is what a spreadsheet shows.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.exchange.hmis_convert import Conversion, FileSeen
from gateway.exchange.hmis_keys import Seen
from gateway.kernel.fhir import JsonObject
from gateway.mapping.hmis import values
from gateway.mapping.hmis.conversions import list_chooser
from gateway.mapping.hmis.people import hashed
from gateway.mapping.hmis.spec import Column, File, Read
from gateway.mapping.table import read_table

FINDINGS_KEPT: Final = 200_000
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?", re.ASCII)
_RULE_OF_CODE: Final = {
    ("CurrentLivingSituation", "CurrentLivingSituation"): "55",
    ("Exit", "Destination"): "54",
    ("Enrollment", "DisablingCondition"): "51",
    ("Enrollment", "LivingSituation"): "52",
    ("Enrollment", "RelationshipToHoH"): "53",
}
_HASHED: Final = ("FirstName", "MiddleName", "LastName", "SSN")


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of mappings/hmis/checks.csv."""

    id: str
    scope: str
    severity: str
    issue: str
    fix: str


@dataclass(frozen=True, slots=True)
class Found:
    """One place where a rule does not hold."""

    rule: str
    file: str
    row: int
    column: str = ""
    project: str = ""


@dataclass(slots=True)
class Checked:
    """What a check found. ``counts`` go on when ``found`` is full."""

    version: str
    rules: dict[str, Rule]
    unknowns: bool = False
    rows: int = 0
    found: list[Found] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    projects: dict[str, dict[str, int]] = field(default_factory=dict)
    completeness: dict[str, int] = field(default_factory=dict)

    def say(self, rule: str, file: str, row: int, column: str = "", project: str = "") -> None:
        """Note a finding; honest answers such as "client does not know" only count, unless asked for."""
        if self.rules[rule].scope == "unknown" and not self.unknowns:
            self.completeness[rule] = self.completeness.get(rule, 0) + 1
            return
        self.counts[rule] = self.counts.get(rule, 0) + 1
        if project:
            own = self.projects.setdefault(project, {})
            own[rule] = own.get(rule, 0) + 1
        if len(self.found) < FINDINGS_KEPT:
            self.found.append(Found(rule, file, row, column, project))

    def as_json(self) -> JsonObject:
        """The report for machines."""
        return {
            "version": self.version,
            "rows": self.rows,
            "counts": self.counts,
            "projects": self.projects,
            "completeness": self.completeness,
            "findings": [
                {
                    "rule": f.rule,
                    "severity": self.rules[f.rule].severity,
                    "file": f"{f.file}.csv",
                    "row": f.row,
                    "line": f.row + 1,
                    "column": f.column,
                    "project": f.project,
                    "issue": self.rules[f.rule].issue,
                    "fix": self.rules[f.rule].fix,
                }
                for f in self.found
            ],
        }


def load_rules(read: Read) -> dict[str, Rule]:
    """The rules by id.

    Raises:
        Invalid: a fault in the table, with file:line.
    """
    path = "mappings/hmis/checks.csv"
    columns = ("id", "scope", "severity", "issue", "fix")
    rows = read_table(read(path), file=path, columns=columns, required=columns)
    return {row["id"]: Rule(*(row[column] for column in columns)) for row in rows}


def check_export(
    conversion: Conversion, read: Read, *, unknowns: bool = False, tick: Callable[[int], None] = lambda _: None
) -> Checked:
    """Check everything. Enrollments and clients are held in memory while their rules run."""
    from gateway.exchange.hmis_quality import check_quality

    checked = Checked(conversion.version, load_rules(read), unknowns)
    check = _Check(conversion, read, checked)
    check.set()
    for seen in conversion.seen:
        if seen.name:
            check.file(seen, conversion.spec.files[seen.name])
        tick(seen.bytes)
    check.references()
    check_quality(conversion, checked)
    order = {name: i for i, name in enumerate(conversion.spec.files)}
    checked.found.sort(key=lambda f: (order.get(f.file, 99), f.row, f.column, f.rule))
    return checked


class _Check:
    """Structure, references and codes."""

    def __init__(self, conversion: Conversion, read: Read, checked: Checked) -> None:
        self._conversion, self._checked = conversion, checked
        self._export = {row.get("ExportID", "") for row in conversion.export[:1]}
        self._hashed = any(row.get("HashStatus", "").strip() in ("2", "3", "4") for row in conversion.export)
        self._keys: dict[str, Seen] = {}
        self._wanted: dict[tuple[str, str, str], dict[str, int]] = {}
        path = "mappings/hmis/spec/not-allowed.csv"
        self._not_allowed = {
            (row["file"], row["column"]): frozenset(row["codes"].split())
            for row in read_table(read(path), file=path, columns=("file", "column", "codes"))
        }

    def set(self) -> None:
        """Files, their folder and the version."""
        conversion, say = self._conversion, self._checked.say
        present = {seen.name: seen for seen in conversion.seen if seen.name}
        for name in conversion.spec.files:
            if name not in present and name != "Consent":
                say("125", name, 0)
        folders = {seen.path.rpartition("/")[0] for seen in present.values()}
        if len(folders) > 1:
            say("122", "Export", 0)
        if len(conversion.export) > 1:
            say("140", "Export", 2)
        told = next(iter(conversion.export), {}).get("CSVVersion", "")
        if conversion.export and f"{conversion.version[2:]}" not in told:
            say("124", "Export", 1, "CSVVersion")

    def file(self, seen: FileSeen, file: File) -> None:
        """One file's header and rows."""
        say, name = self._checked.say, file.name
        missing = {c.name for c in file.columns if not c.optional} & set(seen.header.missing)
        for absent in sorted(missing):
            say("12", name, 0, absent)
        for index in seen.header.extra:
            say("82", name, 0, seen.header.cells[index])
        width, keys = len(seen.header.cells), self._keys.setdefault(name, Seen())
        columns = [
            (column, seen.header.position[column.name])
            for column in file.columns
            if column.name in seen.header.position
        ]
        readers = [(column, index, self._reader(column)) for column, index in columns]
        rows = 0
        for number, cells in enumerate(self._conversion.rows(seen), 1):
            if not cells:
                continue
            rows += 1
            if len(cells) != width:
                say("ragged", name, number)
            own = {column.name: cells[index] if index < len(cells) else "" for column, index in columns}
            for column, _, reader in readers:
                rule = reader(own[column.name], own)
                if rule:
                    say(rule, name, number, column.name, own.get("ProjectID", ""))
                elif column.key.startswith("FK") and own[column.name].strip():
                    self._refer(name, column, own[column.name].strip(), number)
            if own.get(file.key, "").strip() and keys.add(own[file.key].strip()):
                say({"Client": "7", "Enrollment": "8"}.get(name, "key"), name, number, file.key)
        self._checked.rows += rows
        if name == "Enrollment" and rows == 0:
            say("101", name, 0)

    def _refer(self, name: str, column: Column, key: str, number: int) -> None:
        target = column.key.split()[1].partition(".")[0]
        if target == "Export":
            if self._export and key not in self._export:
                self._checked.say("49", name, number, column.name)
            return
        known = self._keys.get(target)
        if known is None or not known.holds(key):
            self._wanted.setdefault((name, column.name, target), {}).setdefault(key, number)

    def references(self) -> None:
        """Identifiers whose row never came; the first row that names each is said. Users are often not exported."""
        for (name, column, target), wanted in self._wanted.items():
            known = self._keys.get(target, Seen())
            rule = {"Client": "9", "Project": "10"}.get(target, "ref")
            for key, number in wanted.items():
                if not known.holds(key):
                    self._checked.say(rule, name, number, column)

    def _reader(self, column: Column) -> Callable[[str, dict[str, str]], str]:
        """The function that judges a cell of a column: a rule's id, or empty."""
        by_type = self._by_type(column)

        def read(cell: str, row: dict[str, str]) -> str:
            text = cell.strip()
            if not text:
                return "" if column.nullable or row.get("DateDeleted", "").strip() else "6"
            if _CONTROL.search(cell):
                return "134"
            return by_type(text, row)

        return read

    def _by_type(self, column: Column) -> Callable[[str, dict[str, str]], str]:
        required = not column.nullable
        if column.list:
            return self._coded(column)
        if column.type == "I":
            return lambda text, row: "" if re.fullmatch(r"-?\d+", text) else "13" if required else "48"
        if column.type.startswith("M"):
            sign = "" if column.type == "M+" else "-?"
            return lambda text, row: "" if re.fullmatch(sign + r"\d+(\.\d+)?", text) else "48"
        if column.type == "D":
            return lambda text, row: "" if _DAY.fullmatch(text) and values.day_of(text) else "11" if required else "47"
        if column.type == "T":
            return lambda text, row: "" if _TIME.fullmatch(text) and values.day_of(text) else "47"
        size = int(column.type[1:] or 0)
        if self._hashed and column.name in _HASHED:
            return lambda text, row: ""
        return lambda text, row: "length" if size and len(text) > size and not hashed(text) else ""

    def _coded(self, column: Column) -> Callable[[str, dict[str, str]], str]:
        by, choose = list_chooser(column.list)
        spec, version = self._conversion.spec, self._conversion.version
        wrong = _RULE_OF_CODE.get((column.file, column.name), "50" if column.file == "Client" else "code")
        barred = self._not_allowed.get((column.file, column.name), frozenset())

        def read(text: str, row: dict[str, str]) -> str:
            list_ = choose([row.get(name, "").strip() for name in by])
            if not list_:
                return "" if by else wrong
            code = spec.code(list_, text)
            return wrong if code is None or version not in code.years or text in barred else ""

        return read


def rows_of(conversion: Conversion, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a HUD file with their numbers, trimmed."""
    seen = conversion.file(name)
    if seen is not None:
        at = list(seen.header.position.items())
        for number, row in enumerate(conversion.rows(seen), 1):
            if row:
                yield number, {column: row[i].strip() if i < len(row) else "" for column, i in at}
