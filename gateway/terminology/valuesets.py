"""Whether a FHIR ValueSet holds a code, from the definitions at hand; three answers, since much content lies elsewhere."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from gateway.kernel.fhir import JsonObject

Find: TypeAlias = Callable[[str, str], JsonObject | None]  # (resource type, canonical) -> definition
Test: TypeAlias = Callable[[str], bool | None]  # code -> is it in

_DEPTH_LIMIT: Final = 20


class ValueSets:
    """Membership in value sets, compiled on first use.

    Args:
        find: gives a ValueSet or CodeSystem by canonical URL, None when it is not at hand.
    """

    def __init__(self, find: Find) -> None:
        self._find = find
        self._sets: dict[str, _ValueSet | None] = {}
        self._systems: dict[str, _System | None] = {}

    def holds(self, valueset: str, system: str | None, code: str) -> bool | None:
        """Whether ``valueset`` holds the code; None when the content needed is not at hand.

        Args:
            valueset: canonical URL, ``|version`` allowed.
            system: the code's system; None for a plain ``code``, whose system the value set implies.
            code: compared exactly.
        """
        found = self._set(valueset, 0)
        return None if found is None else found.holds(system, code)

    def system(self, url: str) -> "_System | None":
        """The content of a code system at hand."""
        if url not in self._systems:
            found = self._find("CodeSystem", url)
            self._systems[url] = _System(found) if found is not None else None
        return self._systems[url]

    def _set(self, canonical: str, depth: int) -> "_ValueSet | None":
        if canonical not in self._sets:
            found = self._find("ValueSet", canonical) if depth < _DEPTH_LIMIT else None
            self._sets[canonical] = None
            if found is not None:
                self._sets[canonical] = self._compile(found, depth)
        return self._sets[canonical]

    def _compile(self, valueset: JsonObject, depth: int) -> "_ValueSet | None":
        compose = valueset.get("compose")
        if compose is None:
            contains = valueset.get("expansion", {}).get("contains")
            return (
                _ValueSet([_Part(s, codes.__contains__, ()) for s, codes in _expanded(contains).items()], [], True)
                if contains
                else None
            )
        return _ValueSet(
            [self._part(include, depth) for include in compose.get("include", ())],
            [self._part(exclude, depth) for exclude in compose.get("exclude", ())],
            False,
        )

    def _part(self, include: JsonObject, depth: int) -> "_Part":
        sets = tuple(self._set(canonical, depth + 1) for canonical in include.get("valueSet", ()))
        system = include.get("system")
        if system is None:
            return _Part(None, None, sets)
        if "concept" in include:
            codes = frozenset(concept["code"] for concept in include["concept"])
            return _Part(system, codes.__contains__, sets)
        return _Part(system, self._filtered(system, include.get("filter", ())), sets)

    def _filtered(self, url: str, filters: Iterable[JsonObject]) -> Test:
        content = self.system(url)
        if content is None:
            return lambda code: None
        tests = [_filter(content, one) for one in filters]

        def test(code: str) -> bool | None:
            if code not in content.concepts:
                return False if content.complete else None
            said = [one(code) for one in tests]
            return False if False in said else None if None in said else True

        return test


class _Part:
    """One include: a system with a test of its codes, and value sets that must hold the code as well."""

    __slots__ = ("_sets", "_test", "system")

    def __init__(self, system: str | None, test: Test | None, sets: "tuple[_ValueSet | None, ...]") -> None:
        self.system = system
        self._test = test
        self._sets = sets

    def holds(self, system: str | None, code: str) -> bool | None:
        if self.system is not None and system is not None and system != self.system:
            return False
        said = [] if self._test is None else [self._test(code)]
        said.extend(None if one is None else one.holds(system, code) for one in self._sets)
        return False if False in said else None if None in said else True


class _ValueSet:
    """Includes less excludes."""

    __slots__ = ("_excludes", "_includes")

    def __init__(self, includes: list[_Part], excludes: list[_Part], expanded: bool) -> None:
        self._includes = includes
        self._excludes = excludes

    def holds(self, system: str | None, code: str) -> bool | None:
        said = [part.holds(system, code) for part in self._includes]
        inside = True if True in said else None if None in said else False
        if inside is False:
            return False
        out = [part.holds(system, code) for part in self._excludes]
        return False if True in out else None if None in out else inside


def _expanded(contains: Iterable[JsonObject]) -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    stack = list(contains)
    while stack:
        one = stack.pop()
        if "code" in one and not one.get("abstract"):
            found.setdefault(one.get("system", ""), set()).add(one["code"])
        stack.extend(one.get("contains", ()))
    return {system: frozenset(codes) for system, codes in found.items()}


class _System:
    """A code system's codes with their parents and properties."""

    __slots__ = ("_parents", "complete", "concepts", "properties")

    def __init__(self, system: JsonObject) -> None:
        self.complete = system.get("content") == "complete"
        self.concepts: dict[str, str] = {}  # code -> display
        self._parents: dict[str, set[str]] = {}
        self.properties: dict[str, dict[str, list[Any]]] = {}
        self._read(system.get("concept", ()), None)

    def _read(self, concepts: Iterable[JsonObject], parent: str | None) -> None:
        for concept in concepts:
            code = concept["code"]
            self.concepts[code] = concept.get("display", "")
            if parent is not None:
                self._parents.setdefault(code, set()).add(parent)
            for one in concept.get("property", ()):
                value = next((v for k, v in one.items() if k.startswith("value")), None)
                if one["code"] in ("parent", "subsumedBy"):
                    self._parents.setdefault(code, set()).add(str(value))
                self.properties.setdefault(code, {}).setdefault(one["code"], []).append(value)
            self._read(concept.get("concept", ()), code)

    def ancestors(self, code: str) -> set[str]:
        """Every code above ``code``."""
        found: set[str] = set()
        stack = [code]
        while stack:
            for parent in self._parents.get(stack.pop(), ()):
                if parent not in found:
                    found.add(parent)
                    stack.append(parent)
        return found


def _filter(content: _System, one: JsonObject) -> Test:
    """One compose.include.filter as a test of codes that the system has (R4 FilterOperator)."""
    name, operator, value = str(one.get("property")), str(one.get("op")), str(one.get("value"))
    if operator == "is-a":
        return lambda code: code == value or value in content.ancestors(code)
    if operator == "descendent-of":
        return lambda code: value in content.ancestors(code)
    if operator == "is-not-a":
        return lambda code: code != value and value not in content.ancestors(code)
    if operator == "regex" and name == "code":
        pattern = re.compile(value)
        return lambda code: pattern.fullmatch(code) is not None
    if operator in ("=", "in"):
        wanted = {value} if operator == "=" else {v.strip() for v in value.split(",")}
        if name in ("code", "concept"):
            return lambda code: code in wanted
        return lambda code: any(_plain(v) in wanted for v in content.properties.get(code, {}).get(name, ()))
    if operator == "exists":
        return lambda code: (name in content.properties.get(code, {})) is (value == "true")
    return lambda code: None


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value["code"]) if isinstance(value, dict) and "code" in value else str(value)
