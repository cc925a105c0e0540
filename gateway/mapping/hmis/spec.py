"""The HUD HMIS CSV specification as data: files, columns, types, code lists (mappings/hmis/spec, terminology/hud)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from gateway.kernel.errors import Unsupported
from gateway.kernel.fhir import DOORWAY, JsonObject
from gateway.mapping.table import read_table

VERSIONS: Final = ("2024", "2026", "hifis")  # hifis: another source by the same engine, tables only
ABSENT: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
LIST_SYSTEM: Final = f"{DOORWAY}/CodeSystem/hud-"
Read = Callable[[str], str]  # shipped file -> text


@dataclass(frozen=True, slots=True)
class Column:
    """One column: HUD type (S<n>, S, I, D, T, M, M+), list id or the rule that chooses a list by other columns."""

    file: str
    name: str
    type: str
    nullable: bool
    list: str
    key: str
    optional: bool
    condition: str

    @property
    def element(self) -> str:
        """``File.Column``, the code that marks the column in FHIR."""
        return f"{self.file}.{self.name}"


@dataclass(frozen=True, slots=True)
class File:
    """One file of the set; columns in HUD's order."""

    name: str
    columns: tuple[Column, ...]

    @property
    def key(self) -> str:
        """The primary key column."""
        return next((c.name for c in self.columns if c.key == "PK"), self.columns[0].name)

    def column(self, name: str) -> Column | None:
        """A column by name."""
        return next((c for c in self.columns if c.name == name), None)


@dataclass(frozen=True, slots=True)
class Code:
    """A code of a HUD list: where it is valid, and the standard codings that stand beside it."""

    code: str
    label: str
    years: tuple[str, ...]
    beside: tuple[JsonObject, ...] = ()
    absent: str = ""  # data-absent-reason code, when the answer is that there is none


@dataclass(frozen=True, slots=True, eq=False)  # load_spec gives one object a year: it is its own key
class Spec:
    """One format year."""

    version: str
    files: Mapping[str, File]
    lists: Mapping[str, Mapping[str, Code]]

    def code(self, list_: str, code: str) -> Code | None:
        """A code of either year; None when no year has it."""
        return self.lists.get(list_, {}).get(code)

    def codings(self, list_: str, code: Code) -> list[JsonObject]:
        """HUD's coding first, the standard ones after it; what they are called is in terminology/."""
        return [{"system": LIST_SYSTEM + list_.lower(), "code": code.code}, *code.beside]


_SPEC: Final = ("file", "column", "type", "nullable", "list", "key", "optional", "condition")
_CONCEPTS: Final = (
    "map",
    "source_system",
    "source_code",
    "source_display",
    "equivalence",
    "target_system",
    "target_code",
    "target_display",
    "note",
)


@cache
def load_spec(read: Read, version: str) -> Spec:
    """The specification of a format year.

    Raises:
        Unsupported: a year that there are no tables for.
        Invalid: a fault in the tables, with file:line.
    """
    if version not in VERSIONS:
        raise Unsupported(f"no tables for HMIS CSV {version}", fix="known: " + ", ".join(VERSIONS))
    path = "mappings/hifis/spec.csv" if version == "hifis" else f"mappings/hmis/spec/fy{version}.csv"
    files: dict[str, list[Column]] = {}
    for row in read_table(read(path), file=path, columns=_SPEC, required=("file", "column", "type")):
        files.setdefault(row["file"], []).append(
            Column(
                row["file"],
                _RENAMED.get(row["column"], row["column"]),
                row["type"],
                row["nullable"] == "Y",
                row["list"],
                row["key"],
                row["optional"] == "Y",
                row["condition"],
            )
        )
    return Spec(
        version, {name: File(name, tuple(columns)) for name, columns in files.items()}, _load_lists(read, version)
    )


_RENAMED: Final = {"TcellCount": "TCellCount", "TcellSource": "TCellSource"}  # FY2024's spelling of the same column


def _load_lists(read: Read, version: str) -> dict[str, dict[str, Code]]:
    path = "terminology/hud/lists.conceptmap.csv"
    beside: dict[tuple[str, str], list[JsonObject]] = {}
    absent: dict[tuple[str, str], str] = {}
    for row in read_table(read(path), file=path, columns=_CONCEPTS, required=("map", "equivalence")):
        key = (row["source_system"].removeprefix(LIST_SYSTEM), row["source_code"])
        if row["target_system"] == ABSENT:
            absent[key] = row["target_code"]
        elif row["target_code"]:
            beside.setdefault(key, []).append({"system": row["target_system"], "code": row["target_code"]})
    lists: dict[str, dict[str, Code]] = {}
    paths = ["mappings/hmis/spec/lists.csv", *(["mappings/hifis/lists.csv"] if version == "hifis" else [])]
    columns = ("list", "code", "years", "label")
    for row in (r for path in paths for r in read_table(read(path), file=path, columns=columns, required=columns[:2])):
        key = (row["list"].lower(), row["code"])
        lists.setdefault(row["list"], {})[row["code"]] = Code(
            row["code"], row["label"], tuple(row["years"].split()), tuple(beside.get(key, ())), absent.get(key, "")
        )
    return lists
