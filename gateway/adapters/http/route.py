"""Addresses of the FHIR REST API: which interaction a path and method mean (R4 "RESTful API", summary table)."""

import re
from dataclasses import dataclass
from typing import Final

from gateway.kernel.errors import NotFound

_TYPE: Final = re.compile(r"[A-Z][A-Za-z]{1,60}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """What a path names. ``kind`` is a key of :data:`METHODS`."""

    kind: str
    type: str = ""
    id: str = ""
    rest: str = ""  # version, operation (``$everything``) or the type searched in a compartment


METHODS: Final[dict[str, tuple[str, ...]]] = {
    "base": ("GET", "POST"),
    "base_search": ("POST",),
    "base_history": ("GET",),
    "metadata": ("GET",),
    "type": ("GET", "POST", "PUT", "PATCH", "DELETE"),
    "type_search": ("POST",),
    "type_history": ("GET",),
    "instance": ("GET", "PUT", "PATCH", "DELETE"),
    "instance_history": ("GET",),
    "version": ("GET",),
    "compartment": ("GET",),
    "compartment_search": ("POST",),
    "operation": ("GET", "POST"),
    "job": ("GET", "DELETE"),
}
_BASE: Final = {"metadata": "metadata", "_search": "base_search", "_history": "base_history"}
COMPARTMENTS: Final = frozenset({"Patient", "Encounter", "Practitioner", "RelatedPerson", "Device"})


def place_of(path: str, types: frozenset[str]) -> Place:
    """The place that a path below the base names; slashes at the end are tolerated.

    Raises:
        NotFound: no such address, or a resource type that is not served.
    """
    parts = [part for part in path.split("/") if part]
    if not parts:
        return Place("base")
    head = parts[0]
    if len(parts) == 1 and head in _BASE:
        return Place(_BASE[head])
    if head.startswith("$") and len(parts) == 1:
        return Place("operation", rest=head)
    if head == "_export" and len(parts) in {2, 3}:
        return Place("job", id=parts[1], rest=parts[2] if len(parts) == 3 else "")
    if head not in types:
        known = bool(_TYPE.fullmatch(head))
        raise NotFound("this resource type is not served" if known else "no such address", at="address")
    place = _in_type(head, parts[1:])
    if place is None:
        raise NotFound("no such address", at="address")
    return place


def _in_type(type_: str, rest: list[str]) -> Place | None:
    match rest:
        case []:
            return Place("type", type_)
        case ["_search"]:
            return Place("type_search", type_)
        case ["_history"]:
            return Place("type_history", type_)
        case [name] if name.startswith("$"):
            return Place("operation", type_, rest=name)
        case [id_]:
            return Place("instance", type_, id_)
        case [id_, "_history"]:
            return Place("instance_history", type_, id_)
        case [id_, "_history", version]:
            return Place("version", type_, id_, version)
        case [id_, name] if name.startswith("$"):
            return Place("operation", type_, id_, name)
        case [id_, other] if type_ in COMPARTMENTS and (_TYPE.fullmatch(other) or other == "*"):
            return Place("compartment", type_, id_, other)
        case [id_, other, "_search"] if type_ in COMPARTMENTS and _TYPE.fullmatch(other):
            return Place("compartment_search", type_, id_, other)
    return None
