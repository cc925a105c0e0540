"""One row to its resources, slowly and with reasons: the twin that the generated code is tested against.

It also says which cells the FHIR form cannot give back; those, and only those, travel beside it as they stood.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.kernel.fhir import JsonObject, Resource
from gateway.kernel.origin import Origin
from gateway.mapping.hmis import values
from gateway.mapping.hmis.tables import AUDIT, COMPUTED, ROW_EXTENSION, FileMap, Part

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
            resource["meta"] = _meta(table, part, known, facts, residue)
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


def _meta(table: FileMap, part: Part, cells: Mapping[str, str], facts: Facts, residue: Mapping[str, str]) -> JsonObject:
    row: list[JsonObject] = [
        {"url": "file", "valueCode": table.file.name},
        {"url": "part", "valueCode": part.name},
    ]
    if facts.row is not None:
        row.append({"url": "row", "valueInteger": facts.row})
    for name in part.audit:
        text = values.text_of(cells.get(name, ""))
        if text is not None:
            row.append({"url": AUDIT[name], **audit_value(name, text)})
    if facts.width is not None and part.anchor:
        row.append({"url": "width", "valueInteger": facts.width})
    if residue:
        row.append({"url": "cells", "valueString": json.dumps(residue, ensure_ascii=True, sort_keys=True)})
    meta: JsonObject = {"extension": [{"url": ROW_EXTENSION, "extension": row}], "source": source_uri(table)}
    security = table.labels.security(part.level, labels_of(part, cells, facts.labels))
    return meta | ({"security": security} if security else {})


def source_uri(table: FileMap) -> str:
    """meta.source: the implementation that the row comes from."""
    return table.source.base


def audit_value(name: str, text: str) -> JsonObject:
    """An audit cell; the user is a logical reference, since exports name users that they do not contain."""
    if name == "UserID":
        return {"valueReference": {"type": "Practitioner", "identifier": {"value": text}}}
    return {"valueString": text}


def labels_of(part: Part, cells: Mapping[str, str], inherited: str) -> frozenset[str]:
    """Labels of the columns, of the values and of the project."""
    names = set(part.labels) | set(inherited.split())
    for column, codes in part.value_labels.items():
        names.update(codes.get(cells.get(column, "").strip(), "").split())
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
    return out


def row_of(resource: Resource) -> dict[str, Any] | None:
    """The row extension of a resource as name -> value; None when it has none."""
    for extension in (resource.get("meta") or {}).get("extension", ()):
        if extension.get("url") == ROW_EXTENSION:
            out: dict[str, Any] = {}
            for part in extension.get("extension", ()):
                value = next((v for k, v in part.items() if k.startswith("value")), "")
                out[part["url"]] = (
                    (value.get("identifier") or {}).get("value", "") if isinstance(value, dict) else value
                )
            return out
    return None


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
