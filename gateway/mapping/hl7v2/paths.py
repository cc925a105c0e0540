"""FHIR paths of the mapping tables, checked against R4 (mappings/hl7v2/r4-elements.csv).

``location[1].location(Location.operationalStatus)``: elements separated by dots, ``[n]`` for an instance of a repeating
element, a resource type in parentheses to create that resource and refer to it, and to go on inside it.
"""

import re
from collections.abc import Mapping
from typing import Final, TypeAlias

from gateway.kernel.errors import Invalid
from gateway.mapping.hl7v2.model import PRIMITIVES, Source, Step
from gateway.mapping.table import read_table

Elements: TypeAlias = Mapping[str, tuple[str, bool]]

_STEP: Final = re.compile(r"([A-Za-z]+)(?:\[(\d+|\+)\])?")
_SOURCE: Final = re.compile(r"([A-Z][A-Z0-9]{1,2})(?:[-.](\d+)(\[\*\])?(?:\.(\d+))?(?:\.(\d+))?)?")
NEW: Final = 0  # instance number of [+]: always a new one


def read_elements(text: str, *, file: str) -> dict[str, tuple[str, bool]]:
    """Path to (type, repeats) of the R4 elements that tables may name.

    Raises:
        Invalid: the file is damaged.
    """
    rows = read_table(text, file=file, columns=("path", "type", "max"), required=("path", "max"))
    return {row["path"]: (row["type"], row["max"] == "*") for row in rows}


def element_type(elements: Elements, owner: str, name: str) -> tuple[str, str, bool] | None:
    """(path, type, repeats) of element ``name`` inside ``owner`` (``Patient``, ``Patient.contact``, ``HumanName``)."""
    path = f"{owner}.{name}"
    found = elements.get(path)
    if found is None:
        return None
    return path, found[0], found[1]


def _inside(path: str, type_: str) -> str:
    """Where the children of an element are listed: below itself for a backbone, else below its data type."""
    if type_ in ("BackboneElement", "Element"):
        return path
    if type_.startswith("#"):
        return type_[1:]
    return {"SimpleQuantity": "Quantity", "Duration": "Quantity", "Age": "Quantity", "Money": "Money"}.get(type_, type_)


def parse_path(text: str, *, owner: str, elements: Elements, at: str) -> tuple[tuple[Step, ...], str]:
    """The steps of a target and the type of its last element.

    Raises:
        Invalid: no such element in R4, or a path that cannot be read.
    """
    steps: list[Step] = []
    rest, type_, closing = text.strip(), owner, 0
    while rest:
        found = _STEP.match(rest)
        if found is None:
            raise Invalid(f"cannot read the path at {rest!r}", at=at, fix="write element[n].element(Type.element)")
        name, rest = found[1], rest[found.end() :]
        known = element_type(elements, owner, name)
        if known is None:
            raise Invalid(f"R4 has no element {owner}.{name}", at=at)
        path, type_, repeats = known
        if found[2] and not repeats and found[2] not in ("1", "+"):
            raise Invalid(f"{path} does not repeat, so [{found[2]}] has no meaning", at=at)
        refers = ""
        owner = _inside(path, type_)
        if rest.startswith("("):
            inner = re.match(r"\(([A-Z][A-Za-z]+)", rest)
            if inner is None or type_ != "Reference":
                raise Invalid(f"{path} is no reference, so it leads to no resource", at=at)
            refers, rest, closing = inner[1], rest[inner.end() :], closing + 1
            if f"{refers}.id" not in elements:
                raise Invalid(f"resource type {refers} is not in r4-elements.csv", at=at)
            owner = refers
        instance = NEW if found[2] == "+" else int(found[2] or 1)
        steps.append(Step(name, repeats, instance, refers, type_ in PRIMITIVES, found[2] is not None))
        while rest.startswith(")"):
            rest, closing = rest[1:], closing - 1
        if rest and not rest.startswith("."):
            raise Invalid(f"cannot read the path at {rest!r}", at=at)
        rest = rest[1:]
    if closing:
        raise Invalid("parentheses of the path do not close", at=at)
    return tuple(steps), type_


def parse_source(text: str, *, of: str, at: str) -> Source:
    """``PID-3``, ``PID-3.1``, ``OBX-5[*]`` (all repetitions as one), ``CX.4``, or the segment or type itself.

    Raises:
        Invalid: not a place inside ``of``.
    """
    if not text:
        return Source()
    found = _SOURCE.fullmatch(text)
    if found is None or found[1] != of:
        raise Invalid(f"{text!r} is no place in {of}", at=at, fix=f"write {of}-3, {of}-3.1 or {of}.4")
    return Source(int(found[2] or 0), int(found[4] or 0), int(found[5] or 0), bool(found[3]))
