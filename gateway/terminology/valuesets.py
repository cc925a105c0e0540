"""Whether a FHIR ValueSet holds a code, by the definitions at hand; three answers, as much content lies elsewhere."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import RLock
from typing import Any, Final, TypeAlias

from gateway.kernel.fhir import JsonObject

Find: TypeAlias = Callable[[str, str], JsonObject | None]  # (resource type, canonical) -> definition
Test: TypeAlias = Callable[[str], bool | None]  # code -> is it in

_DEPTH_LIMIT: Final = 20


@dataclass(frozen=True, slots=True)
class Concept:
    """A code of a system."""

    system: str
    code: str
    display: str = ""


class ValueSets:
    """Membership in value sets, compiled on first use.

    Args:
        find: gives a ValueSet or CodeSystem by canonical URL, None when it is not at hand.
    """

    def __init__(self, find: Find) -> None:
        self._find = find
        self._sets: dict[str, _ValueSet] = {}
        self._systems: dict[str, System] = {}
        self._compiling: set[str] = set()
        self._lock = RLock()

    def holds(self, valueset: str, system: str | None, code: str) -> bool | None:
        """Whether ``valueset`` holds the code; None when the content needed is not at hand.

        Args:
            valueset: canonical URL, ``|version`` allowed.
            system: the code's system; None for a plain ``code``, whose system the value set implies.
            code: compared exactly.
        """
        found = self._set(valueset, 0)
        return None if found is None else found.holds(system, code)

    def defines(self, system: str, code: str) -> bool | None:
        """Whether a code system has a code; None when its whole content is not at hand."""
        content = self.system(system)
        if content is None or not content.complete:
            return None
        return code in content.concepts or (not content.case_sensitive and code.casefold() in content.folded)

    def display(self, valueset: str, system: str, code: str) -> str:
        """The word that the value set itself, or else the code system, has for a code; empty when neither has one."""
        found = self._set(valueset, 0)
        own = found.display(system, code) if found is not None else ""
        content = self.system(system) if not own else None
        return own or (content.concepts.get(code, "") if content is not None else "")

    def codes(self, valueset: str) -> list[Concept] | None:
        """Every code of a value set; None when it is not at hand or not all of it can be named here."""
        found = self._set(valueset, 0)
        return None if found is None else found.codes()

    def knows(self, valueset: str) -> bool:
        """Whether the value set is at hand."""
        return self._set(valueset, 0) is not None

    def system(self, url: str) -> "System | None":
        """The content of a code system at hand."""
        known = self._systems.get(url)
        if known is None:
            found = self._find("CodeSystem", url)
            if found is None:
                return None
            known = self._systems[url] = System(found)
        return known

    def _set(self, canonical: str, depth: int) -> "_ValueSet | None":
        known = self._sets.get(canonical)
        if known is not None:
            return known
        found = self._find("ValueSet", canonical) if depth < _DEPTH_LIMIT else None
        if found is None:
            return None  # not remembered: a sender could name any number of them
        with self._lock:
            if canonical in self._compiling:
                return None  # a set that leads back to itself adds nothing
            self._compiling.add(canonical)
            try:
                made = self._compile(found, depth)
            finally:
                self._compiling.discard(canonical)
            if made is not None:
                self._sets[canonical] = made
            return made

    def _compile(self, valueset: JsonObject, depth: int) -> "_ValueSet | None":
        compose = valueset.get("compose")
        if compose is None:
            contains = valueset.get("expansion", {}).get("contains")
            return None if not contains else _ValueSet([_listed(s, c) for s, c in _expanded(contains).items()], [])
        return _ValueSet(
            [self._part(include, depth) for include in compose.get("include", ())],
            [self._part(exclude, depth) for exclude in compose.get("exclude", ())],
        )

    def _part(self, include: JsonObject, depth: int) -> "_Part":
        sets = tuple(self._set(canonical, depth + 1) for canonical in include.get("valueSet", ()))
        system = include.get("system")
        if system is None:
            return _Part(None, None, sets, None)
        content = self.system(system)
        if "concept" in include:
            known = content.concepts if content is not None else {}
            given = {c["code"]: c.get("display") or known.get(c["code"], "") for c in include["concept"]}
            return _Part(system, given.__contains__, sets, given)
        listed = content.concepts if content is not None and content.complete else None
        return _Part(system, self._filtered(system, include.get("filter", ())), sets, listed)

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

    __slots__ = ("_listed", "_sets", "_test", "system")

    def __init__(
        self,
        system: str | None,
        test: Test | None,
        sets: "tuple[_ValueSet | None, ...]",
        listed: Mapping[str, str] | None,
    ) -> None:
        self._listed = listed  # the codes that can be named, with their displays
        self.system = system
        self._test = test
        self._sets = sets

    def holds(self, system: str | None, code: str) -> bool | None:
        """Whether it holds a code; None when it cannot be told."""
        if self.system is not None and system is not None and system != self.system:
            return False
        said = [] if self._test is None else [self._test(code)]
        said.extend(None if one is None else one.holds(system, code) for one in self._sets)
        return False if False in said else None if None in said else True

    def display(self, system: str, code: str) -> str:
        """The word that it has for a code, itself or in a set that it draws on; empty when it has none."""
        own = self._listed.get(code, "") if self._listed is not None and self.system == system else ""
        return own or next((word for one in self._sets if one and (word := one.display(system, code))), "")

    def codes(self) -> list[Concept] | None:
        """Every code of it, None when they cannot all be named here."""
        if self.system is None:
            first = self._sets[0].codes() if self._sets and self._sets[0] is not None else None
            if first is None:
                return None
            said = [(concept, self.holds(concept.system, concept.code)) for concept in first]
        else:
            if self._listed is None:
                return None
            said = [(Concept(self.system, c, d), self.holds(self.system, c)) for c, d in self._listed.items()]
        return None if any(one is None for _, one in said) else [concept for concept, one in said if one]


def _listed(system: str, codes: Mapping[str, str]) -> _Part:
    return _Part(system, codes.__contains__, (), codes)


class _ValueSet:
    """Includes less excludes."""

    __slots__ = ("_excludes", "_includes")

    def __init__(self, includes: list[_Part], excludes: list[_Part]) -> None:
        self._includes = includes
        self._excludes = excludes

    def holds(self, system: str | None, code: str) -> bool | None:
        """Whether it holds a code; None when it cannot be told."""
        said = [part.holds(system, code) for part in self._includes]
        inside = True if True in said else None if None in said else False
        if inside is False:
            return False
        out = [part.holds(system, code) for part in self._excludes]
        return False if True in out else None if None in out else inside

    def display(self, system: str, code: str) -> str:
        """The word that it has for a code; empty when it has none."""
        return next((word for part in self._includes if (word := part.display(system, code))), "")

    def codes(self) -> list[Concept] | None:
        """Every code, in order and without doubles; None when they cannot all be named here."""
        found: dict[tuple[str, str], Concept] = {}
        for part in self._includes:
            codes = part.codes()
            if codes is None:
                return None
            for concept in codes:
                found.setdefault((concept.system, concept.code), concept)
        said = [(c, [p.holds(c.system, c.code) for p in self._excludes]) for c in found.values()]
        if any(None in one for _, one in said):
            return None
        return [concept for concept, one in said if True not in one]


def _expanded(contains: Iterable[JsonObject]) -> Mapping[str, Mapping[str, str]]:
    found: dict[str, dict[str, str]] = {}
    stack = list(contains)[::-1]
    while stack:
        one = stack.pop()
        if "code" in one and not one.get("abstract"):
            found.setdefault(one.get("system", ""), {})[one["code"]] = one.get("display", "")
        stack.extend(reversed(one.get("contains", ())))
    return found


class System:
    """A code system's codes with their parents and properties."""

    __slots__ = (
        "_parents",
        "case_sensitive",
        "complete",
        "concepts",
        "definitions",
        "designations",
        "folded",
        "name",
        "properties",
        "version",
    )

    def __init__(self, system: JsonObject) -> None:
        self.name: str = system.get("name") or system.get("url", "")
        self.version: str = system.get("version", "")
        self.complete = system.get("content") == "complete" and bool(system.get("concept"))
        self.case_sensitive = system.get("caseSensitive") is not False
        self.definitions: dict[str, str] = {}
        self.concepts: dict[str, str] = {}  # code -> display
        self.designations: dict[str, frozenset[str]] = {}  # code -> its other words, in any language
        self._parents: dict[str, set[str]] = {}
        self.properties: dict[str, dict[str, list[Any]]] = {}
        self._read(system.get("concept", ()), None)
        self.folded = frozenset() if self.case_sensitive else frozenset(code.casefold() for code in self.concepts)

    def _read(self, concepts: Iterable[JsonObject], parent: str | None) -> None:
        for concept in concepts:
            code = concept["code"]
            self.concepts[code] = concept.get("display", "")
            if "designation" in concept:
                self.designations[code] = frozenset(str(one.get("value", "")) for one in concept["designation"])
            if "definition" in concept:
                self.definitions[code] = concept["definition"]
            if parent is not None:
                self._parents.setdefault(code, set()).add(parent)
            for one in concept.get("property", ()):
                value = next((v for k, v in one.items() if k.startswith("value")), None)
                if one["code"] in ("parent", "subsumedBy"):
                    self._parents.setdefault(code, set()).add(str(value))
                self.properties.setdefault(code, {}).setdefault(one["code"], []).append(value)
            self._read(concept.get("concept", ()), code)

    def parents(self, code: str) -> frozenset[str]:
        """The codes right above."""
        return frozenset(self._parents.get(code, ()))

    def children(self, code: str) -> list[str]:
        """The codes right below, in the order of the system."""
        return [one for one in self.concepts if code in self._parents.get(one, ())]

    def retired(self, code: str) -> bool:
        """Whether it may be read and should not be written."""
        properties = self.properties.get(code, {})
        return "retired" in properties.get("status", ()) or True in properties.get("inactive", ())

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


def _filter(content: System, one: JsonObject) -> Test:
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
