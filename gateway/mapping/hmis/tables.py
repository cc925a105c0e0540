"""Mapping tables of HMIS files read, checked and bound to a source: parts (resources of a row) and their blocks."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from gateway.kernel.errors import Invalid
from gateway.kernel.fhir import CONFIDENTIALITY, DOORWAY, LEVEL, JsonObject
from gateway.mapping.hmis.care import CARE
from gateway.mapping.hmis.conversions import BASIC, Binding, Block, Maker, Slot, Source, list_chooser, lists_of
from gateway.mapping.hmis.people import PEOPLE
from gateway.mapping.hmis.roi import ROI
from gateway.mapping.hmis.spec import File, Read, Spec
from gateway.mapping.hmis.values import code_text
from gateway.mapping.table import TableRow, read_table

CONVERSIONS: Final[dict[str, Maker]] = {**BASIC, **PEOPLE, **CARE, **ROI}
COLUMNS: Final = ("column", "part", "element", "convert", "list", "value", "label", "note")
COMPUTED: Final = (
    "@exit",
    "@organization",
    "@projecttype",
    "@enrolled",
    "@location",
    "@funders",
    "@today",
    "@source",
    "@always",
)
AUDIT: Final = {
    "DateCreated": "created",
    "DateUpdated": "updated",
    "UserID": "user",
    "DateDeleted": "deleted",
    "ExportID": "export",
    "DataCollectionStage": "stage",
}
ROW_EXTENSION: Final = f"{DOORWAY}/StructureDefinition/hmis-row"
RECORD_EXTENSION: Final = f"{DOORWAY}/StructureDefinition/hmis-record"
CELLS_EXTENSION: Final = f"{DOORWAY}/StructureDefinition/hmis-cells"
NO_LEVEL: Final = "N"  # directory data: of organizations, not of a person


@dataclass(frozen=True, slots=True)
class ValueLabels:
    """Labels that some codes of a column call for. A cell that is no code of its list may mean any of them: all."""

    codes: Mapping[str, str]
    known: frozenset[str]

    def of(self, cell: str) -> list[str]:
        """The labels of a cell."""
        code = code_text(cell)
        if not code or code in self.codes or code in self.known:
            return self.codes.get(code, "").split()
        return " ".join(self.codes.values()).split()


@dataclass(frozen=True, slots=True)
class Part:
    """One resource that a row becomes."""

    name: str
    resource: str
    level: str
    anchor: bool  # carries the row's key and audit columns
    always: bool  # made even when none of its cells is filled
    when: tuple[str, tuple[str, ...]] | None  # column and codes; ("", ()) for "none of the others"
    constants: tuple[tuple[str, Any], ...]  # element (with [] when it repeats), value
    profiles: tuple[tuple[str, str], ...]  # URL, and the element (and system of its code) that it takes; "" for always
    deleted: Mapping[str, Any]  # element -> value instead, when DateDeleted is filled
    blocks: tuple[Block, ...]
    audit: tuple[str, ...]
    labels: frozenset[str]  # of columns, whatever their value
    value_labels: Mapping[str, "ValueLabels"]  # by column
    places: Mapping[str, str]  # column -> mappings/...:line

    @property
    def tag(self) -> str:
        """What stands after the type in its name: with file and type it names the part in the row extension."""
        return self.name.partition(":")[2]

    @property
    def owns(self) -> tuple[str, ...]:
        """The columns that come back from this resource."""
        return tuple(name for block in self.blocks for name in block.owns) + self.audit


@dataclass(frozen=True, slots=True, eq=False)
class FileMap:
    """One HMIS file's mapping, bound to a source; itself and no other, so that what is made of it can be kept."""

    file: File
    source: Source
    parts: tuple[Part, ...]
    labels: "Labels"
    person: str | None  # the column that names the client

    def anchor_of(self, cells: Mapping[str, str]) -> Part:
        """The part that carries the key of this row."""
        return next(part for part in self.parts_of(cells) if part.anchor)

    def parts_of(self, cells: Mapping[str, str]) -> list[Part]:
        """The parts whose condition this row meets."""
        held = {
            i
            for i, p in enumerate(self.parts)
            if p.when and p.when[0] and code_text(cells.get(p.when[0], "")) in p.when[1]
        }
        other = not any(self.parts[i].anchor for i in held)
        return [
            part for i, part in enumerate(self.parts) if part.when is None or i in held or (not part.when[0] and other)
        ]

    @property
    def personal(self) -> bool:
        """Whether its rows are about clients."""
        return self.person is not None


class Labels:
    """Security labels by short name (mappings/hmis/labels.csv)."""

    def __init__(self, rows: Mapping[str, JsonObject]) -> None:
        self._rows = rows

    @classmethod
    def load(cls, read: Read) -> "Labels":
        """Read the table."""
        path = "mappings/hmis/labels.csv"
        rows = {}
        for row in read_table(
            read(path), file=path, columns=("label", "system", "code", "display", "note"), required=("label",)
        ):
            rows[row["label"]] = {"system": row["system"], "code": row["code"]}
        return cls(rows)

    def check(self, names: str, place: str) -> frozenset[str]:
        """The labels named, separated by spaces.

        Raises:
            Invalid: a label that the table does not have.
        """
        for name in names.split():
            if name not in self._rows:
                raise Invalid(f"unknown label {name!r}", at=place, fix="see mappings/hmis/labels.csv")
        return frozenset(names.split())

    def security(self, level: str, names: frozenset[str]) -> list[JsonObject]:
        """meta.security: visibility level, confidentiality, and what kind of sensitive it is."""
        site = "SITE" in names
        names = names - {"SITE"} | ({"LOCIS"} if site and "SDV" in names else frozenset())
        if level == NO_LEVEL:
            if "LOCIS" not in names:
                return []
            names = frozenset({"LOCIS"})
        shown = "L3" if names else level
        codings = [{"system": LEVEL, "code": shown}, {"system": CONFIDENTIALITY, "code": "R" if names else "N"}]
        return codings + [self._rows[name] for name in sorted(names)]


_FOLDERS: Final = {
    "2024": ("mappings/hmis/fy2024", "mappings/hmis/fy2026"),
    "2026": ("mappings/hmis/fy2026",),
    "hifis": ("mappings/hifis/tables",),
}


@lru_cache(maxsize=8)
def load_maps(read: Read, spec: Spec, source: Source, overlays: tuple[str, ...] = ()) -> Mapping[str, FileMap]:
    """Every file's mapping for a format year; a file of ``fy2024`` or of an overlay folder replaces the one below.

    Those of the last sources are kept: what imports and exports one source again does not read the tables again.

    Raises:
        Invalid: any fault in a table, with file:line.
    """
    labels = Labels.load(read)
    folders = [*overlays, *_FOLDERS[spec.version]]
    maps = {}
    for name, file in spec.files.items():
        for folder in folders:
            path = f"{folder}/{name}.csv"
            try:
                text = read(path)
            except FileNotFoundError:
                continue
            maps[name] = load_map(text, path, spec, file, source, labels)
            break
    return maps


def load_map(text: str, path: str, spec: Spec, file: File, source: Source, labels: Labels) -> FileMap:
    """One table.

    Raises:
        Invalid: an unknown column, conversion or label; a column that no row carries; with file:line.
    """
    rows: dict[str, list[TableRow]] = {}
    for row in read_table(text, file=path, columns=COLUMNS, required=("part", "convert")):
        rows.setdefault(row["part"], []).append(row)
    parts = tuple(_part(name, its, spec, file, source, labels) for name, its in rows.items())
    carried = {column for part in parts for column in part.owns}
    for column in file.columns:
        if column.name not in carried:
            raise Invalid(f"no row for column {column.name}", at=path)
    return FileMap(file, source, parts, labels, _person_column(file))


def _person_column(file: File) -> str | None:
    """The column that names the client, by the specification's keys."""
    if file.name == "Client":
        return file.key
    return next((column.name for column in file.columns if column.key.startswith("FK Client.")), None)


_DIRECT: Final = ("resource", "level", "when", "constant", "when-deleted", "always", "row-audit", "profile")


def _part(name: str, rows: list[TableRow], spec: Spec, file: File, source: Source, labels: Labels) -> Part:
    one = {row["convert"]: row["value"] for row in rows if row["convert"] in ("resource", "level", "when")}
    static: frozenset[str] = frozenset()
    by_value: dict[str, dict[str, str]] = {}
    for row in rows:
        plain = " ".join(word for word in row["label"].split() if "@" not in word)
        static |= labels.check(plain, row.place)
        for word in row["label"].split():
            label, at, code = word.partition("@")
            if at:
                labels.check(label, row.place)
                column = by_value.setdefault(row["column"].removeprefix("~"), {})
                column[code] = f"{column.get(code, '')} {label}".strip()
    audit = tuple(row["column"] for row in rows if row["convert"] == "row-audit")
    return Part(
        name=name,
        resource=one.get("resource", name.split(":")[0]),
        level=one.get("level", "L3"),
        anchor=any(row["convert"] in ("identifier", "identifier-single") for row in rows),
        always=any(row["convert"] == "always" for row in rows),
        when=_when(one.get("when", "")),
        constants=tuple((row["element"], constant(row["value"])) for row in rows if row["convert"] == "constant"),
        profiles=tuple((row["value"], row["element"]) for row in rows if row["convert"] == "profile"),
        deleted={row["element"]: constant(row["value"]) for row in rows if row["convert"] == "when-deleted"},
        blocks=_blocks([row for row in rows if row["convert"] not in _DIRECT], spec, file, source),
        audit=audit,
        labels=static,
        value_labels=_value_labels(rows, spec, by_value),
        places={row["column"].removeprefix("~"): row.place for row in rows if row["column"]},
    )


def _value_labels(
    rows: list[TableRow], spec: Spec, by_value: Mapping[str, Mapping[str, str]]
) -> Mapping[str, ValueLabels]:
    lists = {row["column"].removeprefix("~"): row["list"] for row in rows if row["column"] and row["list"]}
    out = {}
    for column, codes in by_value.items():
        known = frozenset(code for list_ in lists_of(lists.get(column, "")) for code in spec.lists.get(list_, ()))
        out[column] = ValueLabels(codes, known)
    return out


def _when(text: str) -> tuple[str, tuple[str, ...]] | None:
    if not text:
        return None
    if text == "else":
        return "", ()
    column, _, codes = text.partition(" in ")
    return column.strip(), tuple(codes.split())


def claims(profile: tuple[str, str], members: Mapping[str, Any]) -> bool:
    """Whether a resource with these members may claim a profile: what that takes is there."""
    element, _, system = profile[1].partition(" ")
    if not system:
        return not element or element in members
    return any(coding.get("system") == system for coding in (members.get(element) or {}).get("coding", ()))


def constant(text: str) -> Any:
    """A constant cell: JSON when it looks like it, else the text itself."""
    return json.loads(text) if text.startswith(("{", "[", '"')) or text in ("true", "false") else text


def _blocks(rows: list[TableRow], spec: Spec, file: File, source: Source) -> tuple[Block, ...]:
    groups: dict[tuple[str, ...], list[TableRow]] = {}
    for row in rows:
        name, _, role = row["convert"].partition(".")
        if name not in CONVERSIONS:
            raise Invalid(f"unknown conversion {name!r}", at=row.place, fix="see mappings/hmis/README.md")
        grouped = role and name not in ("reference", "reference-derived", "part-reference")
        shared = row["convert"] if name == "choices" else name  # each question has its own choices
        groups.setdefault((row["element"], shared) if grouped else (row["element"], name, row["column"]), []).append(
            row
        )
    return tuple(_block(its, spec, file, source) for its in groups.values())


def _block(rows: list[TableRow], spec: Spec, file: File, source: Source) -> Block:
    slots = []
    for row in rows:
        plain = row["column"].lstrip("~")
        column = file.column(plain)
        if column is None and plain not in COMPUTED:
            raise Invalid(f"{file.name} has no column {plain!r}", at=row.place)
        type_ = column.type if column else "S"
        role = row["convert"].partition(".")[2]
        slots.append(Slot(row["column"], role, type_, row["list"], f"{file.name}.{plain}"))
    name = rows[0]["convert"].partition(".")[0]
    if name == "choices" and len({row["label"] for row in rows}) > 1:
        fix = "give each its own part: what is withheld for one would be withheld for all"
        raise Invalid("columns of different labels in one component", at=rows[0].place, fix=fix)
    binding = Binding(spec, source, file.name, rows[0]["element"], tuple(slots))
    forward, inverse = CONVERSIONS[name](binding)
    by, _ = list_chooser(slots[0].list)
    for other in by:
        if file.column(other) is None:
            raise Invalid(f"{file.name} has no column {other!r}", at=rows[0].place)
    return Block(binding.element, name, tuple(slots), tuple(slot.name for slot in slots) + by, forward, inverse)
