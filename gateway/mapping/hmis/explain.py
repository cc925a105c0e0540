"""One row to its resources, slowly and with reasons: the twin that the generated code is tested against.

It also says which cells the FHIR form cannot give back; those, and only those, travel beside it as they stood.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.kernel.fhir import JsonObject, Resource
from gateway.kernel.origin import Origin
from gateway.mapping.hmis import values
from gateway.mapping.hmis.tables import AUDIT, COMPUTED, RECORD_EXTENSION, ROW_EXTENSION, FileMap, Part, claims

SOURCE_PART = "Organization:source"  # of Export rows; further rows of one Export.csv have their own (@source)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about a row beyond its own cells.

    ``row`` is its position in the file (None in a store, where position means nothing); ``labels`` come from its
    project and funder, by name, separated by spaces; ``computed`` are the ``@`` columns; ``width`` is the number of
    cells when it differs from the header.
    """

    row: int | None = None
    labels: str = ""
    computed: Mapping[str, str] = field(default_factory=dict)
    width: int | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """One resource of a row with the table rows that made its elements."""

    part: Part
    resource: Resource = field(repr=False)
    origins: tuple[tuple[str, Origin], ...]  # element, where it comes from


def convert_row(table: FileMap, cells: Mapping[str, str], facts: Facts) -> list[Made]:
    """The resources of a row; ``cells`` by the specification's column names, missing ones are empty.

    Never fails on content: a cell that has no FHIR form is kept in the row extension of the resource it belongs to.
    """
    made = []
    known = {name: facts.computed.get(name, "") for name in COMPUTED} | dict(cells)
    for part in table.parts_of(known):
        resource, origins, filled = _build(table, part, known)
        residue = _residue(part, known, resource)
        for name in part.audit:
            if known.get(name) and values.text_of(known[name]) != known[name]:
                residue[name] = known[name]
        if part.anchor or part.always or filled or residue:
            resource["meta"] = _meta(table, part, known, facts, residue, resource)
            made.append(Made(part, resource, tuple(origins)))
    return made


def _build(table: FileMap, part: Part, cells: Mapping[str, str]) -> tuple[Resource, list[tuple[str, Origin]], bool]:
    key = cells.get(table.file.key, "").strip()
    if part.name == SOURCE_PART:
        key = cells.get("@source", "")
    resource: Resource = {"resourceType": part.resource, "id": part_id(table, part, key)}
    deleted = bool(cells.get("DateDeleted"))
    for element, value in part.constants:
        if element.endswith("[]"):
            resource.setdefault(element[:-2], []).append(value)
        elif not (deleted and element in part.deleted):
            resource[element] = value
    if deleted:
        resource.update({element: value for element, value in part.deleted.items() if value != ""})
    origins, filled = [], False
    for block in part.blocks:
        out = block.forward(tuple(cells.get(name, "") for name in block.reads))
        if out is None:
            continue
        filled = filled or bool(block.owns)
        if isinstance(out, list):
            resource.setdefault(block.element[:-2], []).extend(out)
        else:
            resource.update(out)
        for name in block.owns:
            origins.append(
                (block.element, Origin(table.source.name, f"{table.file.name}.csv {name}", part.places.get(name, "")))
            )
    return resource, origins, filled


def part_id(table: FileMap, part: Part, key: str) -> str:
    """The stable id of a part of a row. The source's organization is one for all exports: its key is empty."""
    return table.source.id(table.file.name, key) if part.anchor else table.source.id(table.file.name, key, part.name)


def _residue(part: Part, cells: Mapping[str, str], resource: Resource) -> dict[str, str]:
    out = {}
    for block in part.blocks:
        owned = block.owns
        if owned:
            for name, back in zip(owned, block.inverse(resource), strict=True):
                if back != cells.get(name, ""):
                    out[name] = cells.get(name, "")
    return out


def _meta(
    table: FileMap,
    part: Part,
    cells: Mapping[str, str],
    facts: Facts,
    residue: Mapping[str, str],
    resource: Resource,
) -> JsonObject:
    extensions: list[JsonObject] = [{"url": ROW_EXTENSION, "valueString": place_of(table.file.name, part, facts.row)}]
    told: list[JsonObject] = []
    for url, text in record_of(part.audit, [cells.get(name, "") for name in part.audit]):
        told.append({"url": url, "valueString": text})
    if facts.width is not None and part.anchor:
        told.append({"url": "width", "valueInteger": facts.width})
    if residue:
        told.append({"url": "cells", "valueString": json.dumps(residue, ensure_ascii=True, sort_keys=True)})
    if told:
        extensions.append({"url": RECORD_EXTENSION, "extension": told})
    meta: JsonObject = {"extension": extensions, "source": source_uri(table)}
    claimed = [profile[0] for profile in part.profiles if claims(profile, resource)]
    if claimed and _answers(resource):
        meta["profile"] = claimed
    security = table.labels.security(part.level, labels_of(part, cells, facts.labels))
    return meta | ({"security": security} if security else {})


def _answers(resource: Resource) -> bool:
    """Whether an Observation says anything in FHIR: only then may it claim a profile (US Core us-core-2)."""
    said = any(name.startswith("value") or name in ("component", "dataAbsentReason") for name in resource)
    return said or resource["resourceType"] != "Observation"


def record_of(columns: Sequence[str], cells: Sequence[str]) -> list[tuple[str, str]]:
    """Members of the record extension (url, text) for audit columns; ``recorded`` is created and updated at once."""
    said = {AUDIT[name]: text for name, cell in zip(columns, cells, strict=True) if (text := values.text_of(cell))}
    if "created" in said and said["created"] == said.get("updated"):
        said = {"recorded": said["created"]} | {u: text for u, text in said.items() if u not in ("created", "updated")}
    return list(said.items())


def place_of(file: str, part: Part, row: int | None) -> str:
    """Where a resource comes from: ``File``, ``/part`` unless the type says it, ``#row`` where rows have an order."""
    return file + (f"/{part.tag}" if part.tag else "") + ("" if row is None else f"#{row}")


def source_uri(table: FileMap) -> str:
    """meta.source: the implementation that the row comes from."""
    return table.source.base


def labels_of(part: Part, cells: Mapping[str, str], inherited: str) -> frozenset[str]:
    """Labels of the columns, of the values and of the project."""
    names = set(part.labels) | set(inherited.split())
    for column, labels in part.value_labels.items():
        names.update(labels.of(cells.get(column, "")))
    return frozenset(names)


def read_back(part: Part, resource: Resource) -> dict[str, str]:
    """The cells that a resource stands for, without what travelled beside it."""
    out: dict[str, str] = {}
    for block in part.blocks:
        if block.owns:
            out.update(zip(block.owns, block.inverse(resource), strict=True))
    row = row_of(resource) or {}
    for name in part.audit:
        out[name] = row.get(AUDIT[name], "")
    if "recorded" in row:
        out |= {name: row["recorded"] for name in ("DateCreated", "DateUpdated") if name in out}
    return out


_PLACE: Final = re.compile(r"([^/#]+)(?:/([^#]*))?(?:#(\d+))?")


def row_of(resource: Resource) -> dict[str, Any] | None:
    """What a resource's extensions say of its row; None when they say nothing.

    ``file``, ``part``, ``row`` (int) where rows have an order, and the record's own members: recorded, created,
    updated, user, deleted, export, stage, width, cells.
    """
    out: dict[str, Any] = {}
    for extension in (resource.get("meta") or {}).get("extension", ()):
        url = extension.get("url")
        if url == ROW_EXTENSION:
            found = _PLACE.fullmatch(str(extension.get("valueString", "")))
            if found:
                kind = str(resource.get("resourceType"))
                out |= {"file": found[1], "part": f"{kind}:{found[2]}" if found[2] else kind}
                out |= {"row": int(found[3])} if found[3] else {}
        elif url == RECORD_EXTENSION:
            for part in extension.get("extension", ()):
                out[str(part.get("url"))] = next((v for k, v in part.items() if k.startswith("value")), "")
    return out if "file" in out else None


def restore_row(table: FileMap, found: Mapping[str, Resource]) -> dict[str, str]:
    """A row from its parts (by part name); see :func:`merge_row`."""
    cells: dict[str, str] = {}
    beside: dict[str, str] = {}
    for part in table.parts:
        resource = found.get(part.name)
        if resource is not None:
            cells.update(read_back(part, resource))
            beside.update(beside_of(resource))
    return merge_row(table, cells, beside)


def beside_of(resource: Resource) -> dict[str, str]:
    """The cells that travelled beside a resource, as they stood."""
    carried = (row_of(resource) or {}).get("cells")
    return {str(k): str(v) for k, v in json.loads(carried).items()} if carried else {}


def merge_row(table: FileMap, cells: Mapping[str, str], beside: Mapping[str, str]) -> dict[str, str]:
    """Every cell of a row as FHIR says it, or as it stood where FHIR has not changed.

    A cell that travelled beside the resource is used only while the resource still says what it said when the cell
    was converted; after an edit in FHIR the edit wins.
    """
    out = {column.name: cells.get(column.name, "") for column in table.file.columns}
    if beside:
        canonical: dict[str, str] = {}
        for made in convert_row(table, {**out, **beside}, Facts()):
            canonical.update(read_back(made.part, made.resource))
        for name, text in beside.items():
            if canonical.get(name, "") == out.get(name, ""):
                out[name] = text
    return out
