"""The CSV tables of terminology/ as FHIR resources: CodeSystem, ValueSet and ConceptMap (see terminology/README.md)."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.kernel.errors import Invalid
from gateway.kernel.fhir import DATA_ABSENT_REASON, JsonObject

CODE_SYSTEM: Final = ".codesystem.csv"
VALUE_SET: Final = ".valueset.csv"
CONCEPT_MAP: Final = ".conceptmap.csv"
CANONICAL: Final = ".canonical.csv"

_COLUMNS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {  # all columns, required ones
    CODE_SYSTEM: (("system", "code", "display", "definition", "parent", "retired"), ("system", "code")),
    VALUE_SET: (("valueset", "system", "code", "display"), ("valueset", "system")),
    CONCEPT_MAP: (
        (
            "map",
            "source_system",
            "source_code",
            "source_display",
            "equivalence",
            "target_system",
            "target_code",
            "target_display",
            "note",
        ),
        ("map", "source_system", "source_code", "equivalence"),
    ),
    CANONICAL: (("url", "name", "title", "version", "status", "note"), ("url", "name")),
}
EQUIVALENCES: Final = frozenset(
    [
        "equal",
        "equivalent",
        "wider",
        "narrower",
        "subsumes",
        "specializes",
        "relatedto",
        "inexact",
        "unmatched",
        "disjoint",
    ]
)
WITHOUT_TARGET: Final = frozenset({"unmatched", "disjoint"})


@dataclass(frozen=True, slots=True)
class _Row:
    file: str
    line: int
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")

    def wrong(self, message: str, fix: str = "") -> Invalid:
        """A complaint about this row."""
        return Invalid(message, at=f"{self.file}:{self.line}", fix=fix)


def suffix_of(file: str) -> str | None:
    """Which of the four kinds a file is, by the end of its name; None for another table."""
    return next((suffix for suffix in _COLUMNS if file.endswith(suffix)), None)


def read_rows(text: str, file: str) -> Iterator[_Row]:
    """The rows of one table.

    Raises:
        Invalid: unknown or missing column, too many cells, or an empty required cell, with file:line.
    """
    suffix = suffix_of(file)
    if suffix is None:
        raise Invalid("not a terminology table", at=file, fix=f"end its name with {', '.join(_COLUMNS)}")
    known, required = _COLUMNS[suffix]
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = [cell.strip() for cell in next(reader, [])]
    for cell in header:
        if cell not in known:
            raise Invalid(f"unknown column {cell!r}", at=f"{file}:1", fix="columns: " + ", ".join(known))
    for cell in required:
        if cell not in header:
            raise Invalid(f"column {cell!r} is missing", at=f"{file}:1")
    for cells in reader:
        if not any(cell.strip() for cell in cells) or cells[0].lstrip().startswith("#"):
            continue
        row = _Row(file, reader.line_num, {n: c.strip() for n, c in zip(header, cells, strict=False)})
        if len(cells) > len(header):
            raise row.wrong(f"{len(cells)} cells under {len(header)} columns")
        for cell in required:
            if not row[cell]:
                raise row.wrong(f"column {cell!r} is empty")
        yield row


@dataclass
class Tables:
    """The resources that the tables make, by resource type and canonical URL."""

    resources: dict[tuple[str, str], JsonObject] = field(default_factory=dict)
    seen: dict[tuple[int, str], JsonObject] = field(default_factory=dict)  # what a code has become, while reading

    def find(self, kind: str, canonical: str) -> JsonObject | None:
        """A resource by canonical URL; a version that is asked for must be the one stated."""
        url, _, version = canonical.partition("|")
        found = self.resources.get((kind, url))
        return None if found is None or (version and found.get("version", version) != version) else found

    def every(self, kind: str) -> Iterator[JsonObject]:
        """All resources of a kind, by URL."""
        return (value for (one, _), value in sorted(self.resources.items()) if one == kind)


def read_tables(files: Iterable[tuple[str, str]]) -> Tables:
    """All tables together.

    Args:
        files: (name, text) pairs; names of other shapes are passed over.

    Raises:
        Invalid: any mistake, with file:line.
    """
    made = Tables()
    named: dict[str, _Row] = {}
    for file, text in files:
        suffix = suffix_of(file)
        if suffix is None:
            continue
        for row in read_rows(text, file):
            if suffix == CANONICAL:
                named[row["url"]] = row
            else:
                _READERS[suffix](made, row)
    for (_, url), resource in made.resources.items():
        for group in resource.get("group", ()):
            if not group["element"]:  # only a rule for the rest: R4 wants an element all the same
                group["element"] = [{"extension": [{"url": DATA_ABSENT_REASON, "valueCode": "not-applicable"}]}]
        _name(resource, url, named.get(url))
    made.seen.clear()
    return made


def _start(made: Tables, kind: str, url: str) -> JsonObject:
    found = made.resources.get((kind, url))
    if found is None:
        found = made.resources[kind, url] = {"resourceType": kind, "url": url}
    return found


def _name(resource: JsonObject, url: str, row: _Row | None) -> None:
    words = url.rstrip("/").rpartition("/")[2].replace(".", "-").split("-")
    default = "".join(word[:1].upper() + word[1:] for word in words if word)
    resource["name"] = row["name"] if row else (default if default[:1].isalpha() else f"N{default}")
    for name in ("title", "version"):
        if row and row[name]:
            resource[name] = row[name]
    resource["status"] = (row["status"] if row else "") or "active"


def _code_system(made: Tables, row: _Row) -> None:
    system = _start(made, "CodeSystem", row["system"])
    system.setdefault("status", "active")
    system.setdefault("caseSensitive", True)
    system.setdefault("content", "complete")
    concepts = system.setdefault("concept", [])
    if (id(concepts), row["code"]) in made.seen:
        raise row.wrong("the code stands twice in its system")
    concept: JsonObject = {"code": row["code"]}
    made.seen[id(concepts), row["code"]] = concept
    for name in ("display", "definition"):
        if row[name]:
            concept[name] = row[name]
    properties = [{"code": "parent", "valueCode": parent} for parent in row["parent"].split()]
    if row["retired"] not in ("", "true", "false"):
        raise row.wrong("retired must be true, false or empty")
    if row["retired"] == "true":
        properties.append({"code": "status", "valueCode": "retired"})
    if properties:
        concept["property"] = properties
        _declare(system, {p["code"] for p in properties})
    concepts.append(concept)


_PROPERTIES: Final[Mapping[str, str]] = {
    "parent": "http://hl7.org/fhir/concept-properties#parent",
    "status": "http://hl7.org/fhir/concept-properties#status",
}


def _declare(system: JsonObject, codes: set[str]) -> None:
    declared = system.setdefault("property", [])
    for code in sorted(codes - {p["code"] for p in declared}):
        declared.append({"code": code, "uri": _PROPERTIES[code], "type": "code"})


def _value_set(made: Tables, row: _Row) -> None:
    include = _start(made, "ValueSet", row["valueset"]).setdefault("compose", {"include": []})["include"]
    if row["system"].startswith("valueset:"):
        include.append({"valueSet": [row["system"].removeprefix("valueset:")]})
        return
    part = next((p for p in include if p.get("system") == row["system"]), None)
    if part is None:
        part = {"system": row["system"]}
        include.append(part)
    if row["code"]:
        concept = {"code": row["code"]} | ({"display": row["display"]} if row["display"] else {})
        part.setdefault("concept", []).append(concept)


def _concept_map(made: Tables, row: _Row) -> None:
    if row["equivalence"] not in EQUIVALENCES:
        raise row.wrong("no such equivalence", "one of " + ", ".join(sorted(EQUIVALENCES)))
    without = row["equivalence"] in WITHOUT_TARGET
    if not without and not row["target_code"] and row["source_code"] != "*":
        raise row.wrong("the target code is empty", "give it, or say unmatched")
    groups = _start(made, "ConceptMap", row["map"]).setdefault("group", [])
    sides = (row["source_system"], row["target_system"])
    if not groups or (groups[-1]["source"], groups[-1].get("target", "")) != sides:
        groups.append({"source": sides[0]} | ({"target": sides[1]} if sides[1] else {}) | {"element": []})
    group = groups[-1]
    if row["source_code"] == "*":
        group["unmapped"] = _unmapped(row)
        return
    elements = group["element"]
    element = made.seen.get((id(elements), row["source_code"]))
    if element is None:
        element = made.seen[id(elements), row["source_code"]] = {"code": row["source_code"]}
        if row["source_display"]:
            element["display"] = row["source_display"]
        element["target"] = []
        elements.append(element)
    target: JsonObject = {}
    for name, column in (("code", "target_code"), ("display", "target_display")):
        if row[column]:
            target[name] = row[column]
    target["equivalence"] = row["equivalence"]
    if row["note"]:
        target["comment"] = row["note"]
    elif row["equivalence"] in ("narrower", "inexact"):
        target["comment"] = "the target says less or something else"  # R4 cmd-1 wants a word on these two
    element["target"].append(target)


def _unmapped(row: _Row) -> JsonObject:
    if not row["target_code"]:
        return {"mode": "provided"}
    fixed: JsonObject = {"mode": "fixed", "code": row["target_code"]}
    return fixed | ({"display": row["target_display"]} if row["target_display"] else {})


_READERS: Final = {CODE_SYSTEM: _code_system, VALUE_SET: _value_set, CONCEPT_MAP: _concept_map}
