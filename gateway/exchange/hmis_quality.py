"""Data-quality rules of an export as data: conditions (checks-rules.csv) over views of its files (checks-views.sql).

The rows are kept by a :class:`Tables`, outside of memory, so an export of any size can be joined. Conditions are SQL as
SQLite reads it: the one language for sets of rows that a data analyst of an HMIS knows already.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from gateway.exchange.hmis_convert import FileSeen
from gateway.kernel.errors import Invalid
from gateway.mapping.hmis.spec import Column, File, Read, Spec
from gateway.mapping.table import read_table

VIEWS: Final = "mappings/hmis/checks-views.sql"
RULES: Final = "mappings/hmis/checks-rules.csv"
LIMITS: Final = "mappings/hmis/checks-limits.csv"
BATCH_ROWS: Final = 5_000
_COLUMNS: Final = ("id", "view", "when", "file", "row", "column", "project", "needs", "whole")
_SAME: Final = {"HispanicLatinaeo": "HispanicLatinao"}  # FY2024's spelling of the same column
_CLIENT_LEVEL: Final = "PersonalID"


class Tables(Protocol):
    """Rows that can be asked in SQL (adapters.files.hmis_tables)."""

    def create(self, table: str, columns: Sequence[tuple[str, str]], key: str) -> None:
        """A table with ``nr`` and columns of the kinds whole, amount, day, text and filled."""
        ...

    def add(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """Rows as their number and their cells in the order of the columns."""
        ...

    def run(self, script: str) -> None:
        """Statements without an answer."""
        ...

    def ask(self, query: str) -> Iterator[tuple[Any, ...]]:
        """The rows of an answer."""
        ...


@dataclass(frozen=True, slots=True)
class Condition:
    """One row of checks-rules.csv: where in a view a rule does not hold, and which place is told."""

    id: str
    view: str
    when: str
    file: str
    row: str
    column: str
    project: str
    needs: tuple[str, ...]  # files without which nothing can be said
    whole: bool  # concludes from rows that are not there: not for a delta export

    @property
    def query(self) -> str:
        """Row number, column and project of every place."""
        column = self.column[1:] if self.column.startswith("=") else f"'{self.column}'"
        return f"SELECT {self.row}, {column}, {self.project or 'NULL'} FROM {self.view} WHERE {self.when}"


def load_conditions(read: Read) -> list[Condition]:
    """The rows of checks-rules.csv.

    Raises:
        Invalid: a fault in the table, with file:line.
    """
    needed = ("id", "view", "when", "file", "row", "column")
    return [
        Condition(
            row["id"],
            row["view"],
            row["when"],
            row["file"],
            row["row"],
            row["column"],
            row["project"],
            needs=tuple(row["needs"].split()),
            whole=row["whole"] == "Y",
        )
        for row in read_table(read(RULES), file=RULES, columns=_COLUMNS, required=needed)
    ]


def load_limits(read: Read, given: Mapping[str, int]) -> dict[str, int]:
    """Days by the limit's name; ``given`` replaces what the table says.

    Raises:
        Invalid: an unknown name, or a fault in the table.
    """
    rows = read_table(read(LIMITS), file=LIMITS, columns=("name", "days", "note"), required=("name", "days"))
    limits = {row["name"]: int(row["days"]) for row in rows}
    for name in given:
        if name not in limits:
            raise Invalid("no such limit", at="--limit", fix="limits: " + ", ".join(sorted(limits)))
    return limits | dict(given)


class Quality:
    """Takes the rows of an export, then tells where conditions hold.

    Args:
        limits: days of the local settings (checks-limits.csv) that a site has chosen.
    """

    def __init__(self, read: Read, spec: Spec, tables: Tables, limits: Mapping[str, int]) -> None:
        self._views, self._tables = read(VIEWS), tables
        self.conditions = load_conditions(read)
        self._limits = load_limits(read, limits)
        text = " ".join([self._views, *(c.query for c in self.conditions)])
        words = frozenset(re.findall(r"\w+", text))
        self._columns = {
            name: [
                column for column in file.columns if _SAME.get(column.name, column.name) in words or column.key == "PK"
            ]
            for name, file in spec.files.items()
            if name in words
        }
        self._batches: dict[str, list[list[Any]]] = {}
        for name, columns in self._columns.items():
            file = spec.files[name]
            kinds = [(_SAME.get(column.name, column.name), _kind(file, column)) for column in columns]
            tables.create(name, kinds, file.key)

    def taker(self, seen: FileSeen) -> "Taker | None":
        """What is given each row of a file; None for files that no condition asks."""
        columns = self._columns.get(seen.name)
        return None if columns is None else Taker(self._tables, seen, columns)

    def found(self, present: frozenset[str], delta: bool) -> Iterator[tuple[Condition, int, str, str]]:
        """Condition, row, column and project of every place, by condition."""
        names = ", ".join(f"{days} AS {name}" for name, days in self._limits.items())
        self._tables.run(f"CREATE TABLE limits AS SELECT {names};\n{self._views}")
        for condition in self.conditions:
            if (condition.whole and delta) or not present.issuperset(condition.needs):
                continue
            for row, column, project in self._tables.ask(condition.query):
                yield condition, int(row or 0), str(column), "" if project is None else str(project)


class Taker:
    """Rows of one file on their way into its table; deleted rows are left out."""

    def __init__(self, tables: Tables, seen: FileSeen, columns: Sequence[Column]) -> None:
        self._tables, self._name = tables, seen.name
        self._at = [seen.header.position.get(column.name, -1) for column in columns]
        self._deleted = seen.header.position.get("DateDeleted", -1)
        self._rows: list[list[Any]] = []

    def take(self, number: int, cells: Sequence[str]) -> None:
        """A row as it stands."""
        size = len(cells)
        if 0 <= self._deleted < size and cells[self._deleted].strip():
            return
        self._rows.append([number, *[cells[i] if 0 <= i < size else "" for i in self._at]])
        if len(self._rows) >= BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        if self._rows:
            self._tables.add(self._name, self._rows)
            self._rows = []


def _kind(file: File, column: Column) -> str:
    """How a column is kept: a client's free text only as being there."""
    if column.key or column.name in ("HouseholdID", "EnrollmentCoC"):
        return "text"
    if column.type in ("D", "T"):
        return "day"
    if column.type == "I":
        return "whole"
    if column.type.startswith("M"):
        return "amount"
    return "filled" if file.column(_CLIENT_LEVEL) is not None else "text"
