"""Rule check of an HMIS export: structure, references and code lists from the specification as data (mappings/hmis).

The data-quality rules about enrollments, households and projects are conditions over views: hmis_quality.py. Findings
name file, row and column and never a value. A row's number counts rows below the header from 1; ``line`` is what a
spreadsheet shows.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.codecs.hmis_csv import Header
from gateway.exchange.hmis_convert import Conversion, FileSeen
from gateway.exchange.hmis_keys import Seen
from gateway.exchange.hmis_quality import Quality, Tables, Taker
from gateway.exchange.hmis_rows import ORDER
from gateway.exchange.hmis_versions import CSV_VERSION
from gateway.kernel.fhir import JsonObject
from gateway.mapping.hmis import values
from gateway.mapping.hmis.conversions import list_chooser
from gateway.mapping.hmis.people import hashed
from gateway.mapping.hmis.roi import UNLIMITED
from gateway.mapping.hmis.spec import Column, File, Read, Spec, load_spec
from gateway.mapping.table import read_table

FINDINGS_KEPT: Final = 200_000
CELLS_REMEMBERED: Final = 10_000  # of a column
EACH: Final = "each "  # before a list: the cell holds several codes, separated by semicolons
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd]")
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
_HASHES: Final = ("2", "3", "4")  # HashStatus: SHA-1, another, SHA-256


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of mappings/hmis/checks.csv."""

    id: str
    scope: str
    severity: str
    issue: str
    fix: str
    not_computed: str = ""  # why it cannot be told from an export


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
    delta: bool = False  # rules that conclude from absent rows were not run
    rows: int = 0
    found: list[Found] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    projects: dict[str, dict[str, int]] = field(default_factory=dict)
    completeness: dict[str, int] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)  # the keys in Project.csv
    lead: dict[str, int] = field(default_factory=dict)  # by file: rows before the header

    def say(self, rule: str, file: str, row: int, column: str = "", project: str = "") -> None:
        """Note a finding; honest answers such as "client does not know" only count, unless asked for."""
        if self.rules[rule].scope == "unknown" and not self.unknowns:
            self.completeness[rule] = self.completeness.get(rule, 0) + 1
            return
        self.counts[rule] = self.counts.get(rule, 0) + 1
        project = project if project in self.known else ""  # a cell that is no project's key may be anything
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
            "delta": self.delta,
            "findings_not_listed": sum(self.counts.values()) - len(self.found),
            "counts": self.counts,
            "projects": self.projects,
            "completeness": self.completeness,
            "findings": [
                {
                    "rule": f.rule,
                    "severity": self.rules[f.rule].severity,
                    "file": f"{f.file}.csv",
                    "row": f.row,
                    "line": f.row + 1 + self.lead.get(f.file, 0),
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
    columns = ("id", "scope", "severity", "issue", "fix", "not_computed")
    rows = read_table(read(path), file=path, columns=columns, required=columns[:5])
    return {row["id"]: Rule(*(row[column] for column in columns)) for row in rows}


def check_export(
    conversion: Conversion,
    read: Read,
    tables: Tables,
    *,
    unknowns: bool = False,
    limits: Mapping[str, int] | None = None,
    tick: Callable[[int], None] = lambda _: None,
) -> Checked:
    """Check everything: each file is read once; what rules join is kept in ``tables``, not in memory.

    Args:
        limits: days that replace those of mappings/hmis/checks-limits.csv.

    Raises:
        Invalid: a limit that there is none of.
    """
    checked = Checked(conversion.version, load_rules(read), unknowns)
    checked.delta = any(row.get("ExportDirective", "").strip() == "1" for row in conversion.export[:1])
    quality = Quality(read, conversion.spec, tables, limits or {})
    check = _Check(conversion, read, checked)
    check.set(read)
    files = {seen.name: seen for seen in conversion.seen if seen.name}
    for name in dict.fromkeys(("Export", "User", *ORDER, *files)):  # what is referred to, before what refers
        if name in files:
            check.file(files[name], conversion.spec.files[name], quality.taker(files[name]))
            tick(files[name].bytes)
    check.references()
    for condition, row, column, project in quality.found(frozenset(files), checked.delta):
        checked.say(condition.id, condition.file, row, column, project)
    order = {name: i for i, name in enumerate(conversion.spec.files)}
    checked.found.sort(key=lambda f: (order.get(f.file, 99), f.row, f.column, f.rule))
    return checked


class _Check:
    """Structure, references and codes."""

    def __init__(self, conversion: Conversion, read: Read, checked: Checked) -> None:
        self._conversion, self._checked = conversion, checked
        self._export = {row.get("ExportID", "").strip() for row in conversion.export}
        told = (row.get("HashStatus", "").strip() for row in conversion.export)
        self._hash_status = next((status for status in told if status), "")
        self._keys: dict[str, Seen] = {}
        self._targets = {
            column.key.split()[1].partition(".")[0]
            for file in conversion.spec.files.values()
            for column in file.columns
            if column.key.startswith("FK")
        }
        self._users = Seen()
        self._later: dict[tuple[str, str, str], list[tuple[str, int]]] = {}
        self._at: Mapping[str, int] = {}
        path = "mappings/hmis/spec/not-allowed.csv"
        self._not_allowed = {
            (row["file"], row["column"]): frozenset(row["codes"].split())
            for row in read_table(read(path), file=path, columns=("file", "column", "codes"))
        }

    def set(self, read: Read) -> None:
        """Files, their folder and the version."""
        conversion, say = self._conversion, self._checked.say
        present = {seen.name: seen for seen in conversion.seen if seen.name}
        self._checked.lead = {name: seen.heading.rows - 1 for name, seen in present.items()}
        self._checked.known = {row.get("ProjectID", "").strip() for row in conversion.dicts("Project")}
        for name in conversion.spec.files:
            if name != "Consent" and (name not in present or not present[name].header.cells):
                say("125", name, 0)  # a file without even a header is none
        folders = {seen.path.rpartition("/")[0] for seen in present.values()}
        if len(folders) > 1:
            say("122", "Export", 0)
        if len(conversion.export) > 1:
            say("140", "Export", 2)
        told = next(iter(conversion.export), {}).get("CSVVersion", "")
        if conversion.export and (f"{conversion.version[2:]}" not in told or self._of_another_year(read)):
            say("124", "Export", 1, "CSVVersion")

    def _of_another_year(self, read: Read) -> bool:
        """Whether the headers are those of another format year than Export.csv says."""

        def absent(spec: Spec) -> int:
            """Columns that a file of the year must have and the files do not."""
            named = [(seen, spec.files[seen.name]) for seen in self._conversion.seen if seen.name in spec.files]
            return sum(
                len(
                    {c.name for c in file.columns if not c.optional}
                    & set(Header.of(list(seen.header.cells), [c.name for c in file.columns]).missing)
                )
                for seen, file in named
                if seen.header.certain
            )

        here = absent(self._conversion.spec)
        return here > 0 and any(absent(load_spec(read, year)) < here for year in CSV_VERSION)

    def file(self, seen: FileSeen, file: File, taker: "Taker | None") -> None:
        """One file's header and rows."""
        self._header(seen, file)
        say, name, position = self._checked.say, file.name, seen.header.position
        width, keys = len(seen.header.cells), self._keys.setdefault(name, Seen())
        here = [(column, position[column.name]) for column in file.columns if column.name in position]
        readers = [(column.name, index, self._reader(column)) for column, index in here]
        links = [(column, index) for column, index in here if column.key.startswith("FK")]
        key_at, project_at = position.get(file.key, -1), position.get("ProjectID", -1)
        names = _Names(self._hash_status) if name == "Client" else None
        rows = 0
        for number, cells in enumerate(self._conversion.rows(seen), 1):
            if not cells:
                continue
            rows += 1
            if taker is not None:
                taker.take(number, cells)
            if len(cells) != width:
                say("ragged", name, number)
                cells = cells + [""] * (width - len(cells))
            for column, index, judge in readers:
                rule = judge(cells[index], cells)
                if rule:
                    say(rule, name, number, column, cells[project_at].strip() if project_at >= 0 else "")
            for link, index in links:
                self._refer(name, link, cells[index].strip(), number)
            own = cells[key_at].strip() if key_at >= 0 else ""
            if own and keys.add(own):
                say({"Client": "7", "Enrollment": "8"}.get(name, "key"), name, number, file.key)
            if names is not None:
                names.take(number, cells, position)
        if taker is not None:
            taker.flush()
        if names is not None and names.wrong:
            say("126", *names.wrong)
        self._checked.rows += rows
        if name not in self._targets:  # nobody asks for its keys again: memory is that of the largest file
            del self._keys[name]
        if name == "Enrollment" and rows == 0 and not self._checked.delta:
            say("101", name, 0)

    def _header(self, seen: FileSeen, file: File) -> None:
        missing = {c.name for c in file.columns if not c.optional} & set(seen.header.missing)
        for absent in sorted(missing) if seen.header.cells else ():
            self._checked.say("12", file.name, 0, absent)
        for index in seen.header.extra:
            self._checked.say("82", file.name, 0, seen.header.told(index))
        self._at = seen.header.position

    def _refer(self, name: str, column: Column, key: str, number: int) -> None:
        """Every row that names what is not there; of a User only the first, since users are often not exported."""
        if not key:
            return
        target = column.key.split()[1].partition(".")[0]
        if target == "Export":
            if self._export and key not in self._export:
                self._checked.say("49", name, number, column.name)
            return
        known = self._keys.setdefault(target, Seen())
        if not known.holds(key) and not (target == "User" and self._users.add(key)):
            if target == name:
                self._later.setdefault((name, column.name, target), []).append((key, number))
            else:
                self._checked.say({"Client": "9", "Project": "10"}.get(target, "ref"), name, number, column.name)

    def references(self) -> None:
        """Identifiers of a row further down in the same file that never came."""
        for (name, column, target), wanted in self._later.items():
            for key, number in wanted:
                if not self._keys[target].holds(key):
                    self._checked.say("ref", name, number, column)

    def _reader(self, column: Column) -> Callable[[str, Sequence[str]], str]:
        """The function that judges a cell of a column, given its row: a rule's id, or empty.

        What a cell alone decides is remembered, since the cells of a column repeat.
        """
        by, by_type = self._by_type(column)
        deleted, others = self._at.get("DateDeleted", -1), [self._at.get(name, -1) for name in by]
        known: dict[str, str] = {}

        def judge(cell: str) -> str:
            found = "134" if _CONTROL.search(cell) else by_type(cell.strip(), ())
            if len(known) < CELLS_REMEMBERED:
                known[cell] = found
            return found

        def read(cell: str, row: Sequence[str]) -> str:
            if not cell or cell.isspace():
                return "" if column.nullable or (deleted >= 0 and row[deleted].strip()) else "6"
            if by:
                told = [row[index].strip() if index >= 0 else "" for index in others]
                return "134" if _CONTROL.search(cell) else by_type(cell.strip(), told)
            found = known.get(cell)
            return judge(cell) if found is None else found

        return read

    def _by_type(self, column: Column) -> tuple[Sequence[str], Callable[[str, Sequence[str]], str]]:
        """The columns that choose a cell's list, and the function that judges a cell given theirs."""
        required = not column.nullable
        if column.list:
            return self._coded(column)
        if column.type == "I":
            return (), lambda text, _: "" if re.fullmatch(r"-?\d+", text) else "13" if required else "48"
        if column.type.startswith("M"):
            sign = "" if column.type == "M+" else "-?"
            return (), lambda text, _: "" if re.fullmatch(sign + r"\d+(\.\d+)?", text) else "48"
        if column.type == "D":
            wrong = "11" if required else "47"
            return (), lambda text, _: "" if _DAY.fullmatch(text) and values.day_of(text) else wrong
        if column.type == "T":
            return (), lambda text, _: "" if _TIME.fullmatch(text) and values.day_of(text) else "47"
        size = int(column.type[1:] or 0)
        if self._hash_status in _HASHES and column.name in _HASHED:
            return (), lambda text, _: ""
        return (), lambda text, _: "length" if size and len(text) > size and not hashed(text) else ""

    def _coded(self, column: Column) -> tuple[Sequence[str], Callable[[str, Sequence[str]], str]]:
        by, choose = list_chooser(column.list)
        spec, version = self._conversion.spec, self._conversion.version
        wrong = _RULE_OF_CODE.get((column.file, column.name), "50" if column.file == "Client" else "code")
        barred = self._not_allowed.get((column.file, column.name), frozenset())
        if column.list.startswith(EACH):
            known = spec.lists[column.list.removeprefix(EACH)]

            def each(text: str, _: Sequence[str]) -> str:
                parts = [part.strip() for part in text.split(";") if part.strip()]
                return (
                    ""
                    if text.casefold() in UNLIMITED or all(p in known or p.upper() in known for p in parts)
                    else wrong
                )

            return (), each

        def read(text: str, told: Sequence[str]) -> str:
            list_ = choose(list(told))
            if not list_:
                return "" if by else wrong
            code = spec.code(list_, text)
            return wrong if code is None or version not in code.years or text in barred else ""

        return by, read


class _Names:
    """Whether the names are what HashStatus says: 4 is SHA-256 (64 hexadecimal digits), 1 is none."""

    def __init__(self, status: str) -> None:
        self._status = status
        self.wrong: tuple[str, int, str] | None = None

    def take(self, number: int, cells: Sequence[str], at: Mapping[str, int]) -> None:
        """The names of a client; the first one that contradicts counts."""
        for column in ("FirstName", "LastName"):
            name = cells[at[column]].strip() if column in at else ""
            if not name or self.wrong is not None:
                continue
            if self._status not in _HASHES and hashed(name):
                self.wrong = ("Export", 1, "HashStatus")
            elif self._status in _HASHES and (not hashed(name) or (self._status == "4" and len(name) != 64)):
                self.wrong = ("Client", number, column)
