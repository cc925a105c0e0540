"""The facts about FHIR R4 that ship with Doorway: elements, invariants, required bindings and their codes.

They stand as compact tables in profiles/r4 (see profiles/README.md) and are parsed type by type, on first use.
"""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeAlias

Codes: TypeAlias = Mapping[str, frozenset[str]]  # code system URL -> codes

RESOURCE_BASES: Final = ("Resource", "DomainResource")


@dataclass(frozen=True, slots=True)
class TypeUse:
    """One type that an element may have; ``targets`` are the resource types a Reference may point to (empty: any)."""

    code: str
    targets: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a type. A choice (``value[x]``) has its base name and ``choice``; ``many`` means max ``*``."""

    name: str
    minimum: int
    many: bool
    types: tuple[TypeUse, ...]
    choice: bool = False

    def json_names(self) -> tuple[tuple[str, TypeUse], ...]:
        """The JSON property names it can have, each with its type."""
        if not self.choice:
            return ((self.name, self.types[0]),)
        return tuple((self.name + use.code[0].upper() + use.code[1:], use) for use in self.types)


@dataclass(frozen=True, slots=True)
class Type:
    """A data type, resource or backbone element (``Patient.contact``) with all its elements, the inherited included."""

    path: str
    base: str
    elements: tuple[Element, ...]


@dataclass(frozen=True, slots=True)
class Invariant:
    """A rule in FHIRPath about one element."""

    key: str
    severity: str
    expression: str


def _one(name: str, code: str, *, many: bool = False) -> Element:
    return Element(name, 0, many, (TypeUse(code),))


ELEMENT: Final = (_one("id", "string"), _one("extension", "Extension", many=True))
_MODIFIER: Final = _one("modifierExtension", "Extension", many=True)
_RESOURCE: Final = (_one("id", "id"), _one("meta", "Meta"), _one("implicitRules", "uri"), _one("language", "code"))
_COMMON: Final[Mapping[str, tuple[Element, ...]]] = {
    "Element": ELEMENT,
    "BackboneElement": (*ELEMENT, _MODIFIER),
    "Resource": _RESOURCE,
    "DomainResource": (
        *_RESOURCE,
        _one("text", "Narrative"),
        _one("contained", "Resource", many=True),
        ELEMENT[1],
        _MODIFIER,
    ),
}


def _uses(text: str) -> tuple[TypeUse, ...]:
    uses = []
    for word in text.split():
        code, _, targets = word.rstrip(")").partition("(")
        uses.append(TypeUse(code, frozenset(targets.split(",")) if targets else frozenset()))
    return tuple(uses)


class Facts:
    """The tables of profiles/r4, lazily parsed.

    Args:
        read: gives the text of a shipped file such as ``profiles/r4/elements.csv``.
    """

    def __init__(self, read: Callable[[str], str]) -> None:
        self._read = read
        self._types: dict[str, Type] = {}
        self._codes: dict[str, Codes] = {}

    @cached_property
    def _lines(self) -> Mapping[str, list[str]]:
        grouped: dict[str, list[str]] = {}
        for line in self._read("profiles/r4/elements.csv").split("\n")[1:]:
            grouped.setdefault(line.partition(",")[0].partition(".")[0], []).append(line)
        grouped.pop("", None)
        return grouped

    @cached_property
    def resource_types(self) -> frozenset[str]:
        """Every concrete resource type of R4."""
        ends = tuple(f",,,,{base}" for base in RESOURCE_BASES)
        return frozenset(root for root, lines in self._lines.items() if lines[0].endswith(ends))

    def type(self, path: str) -> Type | None:
        """The type or backbone element of that name, None when R4 has none."""
        found = self._types.get(path)
        if found is None:
            root = path.partition(".")[0]
            if root in self._types or root not in self._lines:
                return None
            self._parse(root)
            found = self._types.get(path)
        return found

    def _parse(self, root: str) -> None:
        elements: dict[str, list[Element]] = {}
        bases: dict[str, str] = {}
        for path, name, minimum, maximum, types in csv.reader(self._lines[root]):
            if not name:
                bases[path] = types
                elements[path] = list(_COMMON[types])
            else:
                elements[path].append(
                    Element(
                        name.removesuffix("[x]"),
                        int(minimum),
                        maximum != "1",
                        _uses(types),
                        name.endswith("[x]"),
                    )
                )
        made = {path: Type(path, base, tuple(elements[path])) for path, base in bases.items()}
        self._types.update(made)  # at once: another thread sees all of a type or nothing

    @cached_property
    def _invariants(self) -> Mapping[str, tuple[Invariant, ...]]:
        out: dict[str, tuple[Invariant, ...]] = {}
        for row in csv.DictReader(self._read("profiles/r4/invariants.csv").splitlines()):
            rule = Invariant(row["key"], row["severity"], row["expression"])
            out[row["element"]] = (*out.get(row["element"], ()), rule)
        return out

    def invariants(self, path: str) -> tuple[Invariant, ...]:
        """The rules stated on a type (``Period``) or an element (``Patient.contact``)."""
        return self._invariants.get(path, ())

    @cached_property
    def _summaries(self) -> Mapping[str, frozenset[str]]:
        rows = csv.DictReader(self._read("profiles/r4/summary.csv").splitlines())
        return {row["type"]: frozenset(one.removesuffix("[x]") for one in row["elements"].split(" ")) for row in rows}

    def summary(self, type_: str) -> frozenset[str] | None:
        """The top-level elements that R4 marks as summary, choices without ``[x]``; None for a type without a row."""
        return self._summaries.get(type_)

    @cached_property
    def _bindings(self) -> Mapping[str, str]:
        rows = csv.DictReader(self._read("profiles/r4/bindings.csv").splitlines())
        return {row["element"]: row["valueset"] for row in rows}

    def binding(self, path: str) -> str | None:
        """The value set that an element (``Patient.gender``) must draw its code from."""
        return self._bindings.get(path)

    @cached_property
    def _code_rows(self) -> Mapping[str, list[tuple[str, str]]]:
        out: dict[str, list[tuple[str, str]]] = {}
        for row in csv.DictReader(self._read("profiles/r4/codes.csv").splitlines()):
            out.setdefault(row["valueset"], []).append((row["system"], row["codes"]))
        return out

    def codes(self, valueset: str) -> Codes | None:
        """The codes of a value set that R4 binds as required, by system; None when it is not in the tables."""
        found = self._codes.get(valueset)
        if found is None and valueset in self._code_rows:
            found = {system: frozenset(codes.split(" ")) for system, codes in self._code_rows[valueset]}
            self._codes[valueset] = found
        return found
