"""FHIR search as data: a query string becomes a tree of criteria that every store understands alike (R4, 3.1.1).

:func:`parse_query` reads; ``exchange/search_run.py`` holds ``search(resources, query, visibility) -> Page``, the one
entry for REST, ``$everything`` and reports. Nothing is ignored silently: what cannot be honoured is an error under
strict handling, and is listed in ``Query.ignored`` under lenient handling.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, TypeAlias

from gateway.exchange.search_text import (
    Codes,
    CompositeValue,
    DateValue,
    LinkValue,
    QuantityValue,
    TextValue,
    TokenValue,
    Value,
    read_values,
)
from gateway.kernel.errors import Invalid, TooLarge
from gateway.profiles.search_parameters import ANY, Definitions, Parameter
from gateway.profiles.search_paths import compile_path

COUNT_DEFAULT: Final = 50
COUNT_LIMIT: Final = 1_000
HOPS: Final = 3  # chains and _has within one another
CRITERIA_LIMIT: Final = 64

__all__ = [
    "AnyOf", "Chain", "CompositeValue", "Criterion", "DateValue", "Has", "Include", "LinkValue", "Match", "Missing",
    "QuantityValue", "Query", "Sort", "TextValue", "TokenValue", "Value", "parse_query",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Match:
    """A parameter that has one of the values; with the modifier ``not`` it has none of them."""

    parameter: Parameter
    modifier: str
    values: tuple[Value, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Missing:
    """A parameter that finds nothing (or something, when ``missing`` is False)."""

    parameter: Parameter
    missing: bool


@dataclass(frozen=True, slots=True)
class Chain:
    """A reference to a visible resource of type ``target`` that fulfils ``inner``."""

    parameter: Parameter
    target: str
    inner: "Criterion"


@dataclass(frozen=True, slots=True)
class Has:
    """Some visible resource of ``parameter.type`` refers here by ``parameter`` and fulfils ``inner`` (``_has``)."""

    parameter: Parameter
    inner: "Criterion"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of the criteria holds."""

    criteria: tuple["Criterion", ...]


Criterion: TypeAlias = Match | Missing | Chain | Has | AnyOf


@dataclass(frozen=True, slots=True)
class Grant:
    """Consents of these forms permit the asker something, but nothing of a kind in ``without`` (consent.outline)."""

    forms: tuple[int, ...]
    without: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """The residual of an asker's Consents as a store can apply it: leaves out only what the asker cannot see.

    What is left holds the asker's own records (``creators``, ``maker``), what names no patient, and what a Consent in
    force at ``now_us`` may permit; the engine judges each of them. ``decided`` are forms on which kinds decide alone.
    """

    now_us: int
    grants: tuple[Grant, ...]
    creators: tuple[str, ...] = ()
    maker: str = ""
    kinds: frozenset[int] = frozenset()  # those that were looked at
    decided: frozenset[int] = frozenset()

    def may(self, form: int, kind: int) -> bool:
        """Whether a Consent of the form may show resources of the kind."""
        return any(form in grant.forms and kind not in grant.without for grant in self.grants)

    def surely(self, form: int, kind: int) -> bool:
        """Whether a Consent of the form alone shows resources of the kind, with nothing left to be judged."""
        return form in self.decided and kind in self.kinds and self.may(form, kind)


@dataclass(frozen=True, slots=True)
class Sort:
    """One sort key; resources without a value come last in both directions."""

    parameter: Parameter
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Include:
    """``_include`` by parameters of ``type``, or ``_revinclude`` when ``reverse``; ``target``: of one type only."""

    type: str
    parameters: tuple[Parameter, ...]
    target: str = ""
    iterate: bool = False
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """A search for resources of one type: all criteria hold."""

    type: str
    criteria: tuple[Criterion, ...] = ()
    sort: tuple[Sort, ...] = ()
    count: int = COUNT_DEFAULT  # 0: only the total is wanted
    includes: tuple[Include, ...] = ()
    total: str = ""  # none, estimate, accurate; empty: not asked for
    summary: str = ""
    elements: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()  # parameters left out under lenient handling
    used: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # name and value as applied, for the self link

    @property
    def digest(self) -> str:
        """Which search this is, but for the size of its pages: a cursor belongs to one search."""
        told = [pair for pair in self.used if pair[0] not in {"_count", "_total", "_elements", "_summary"}]
        return sha256(repr((self.type, told)).encode()).hexdigest()[:16]


_CONTROLS: Final = frozenset({"_count", "_sort", "_include", "_revinclude", "_total", "_summary", "_elements"})
_TRANSPORT: Final = frozenset({"_format", "_pretty"})  # read by the door itself
_TOTALS: Final = frozenset({"none", "estimate", "accurate"})
_SUMMARIES: Final = frozenset({"true", "false", "text", "data", "count"})
_SAFE: Final = re.compile(r"[A-Za-z0-9_:.\-*]{1,80}")


def parse_query(
    type_: str,
    pairs: Sequence[tuple[str, str]],
    definitions: Definitions,
    *,
    strict: bool = True,
    base: str = "",
    within: str = "",
    codes: Codes | None = None,
) -> Query:
    """Read a search.

    Args:
        type_: the resource type searched.
        pairs: names and decoded values in order, of the URL and of a POST ``_search`` body; without the door's cursor.
        strict: refuse what cannot be honoured; else leave it out and say so in ``ignored``.
        base: this server's own base URL; absolute references below it are taken as relative.
        within: ``Patient/id`` and the like: only resources of that compartment.
        codes: what sets and hierarchies of codes come to; without it ``:in`` and the like are refused.

    Raises:
        Invalid: an unknown parameter, modifier or value; the message names the parameter, never its value.
        TooLarge: more criteria than this server takes.
    """
    reader = _Reader(type_, definitions, base, codes)
    if len(pairs) > CRITERIA_LIMIT:
        raise TooLarge("too many search parameters", at=f"{type_}?", fix=f"at most {CRITERIA_LIMIT}")
    criteria, used, ignored = [], [], []
    for name, text in pairs:
        if name in _TRANSPORT:
            continue
        try:
            if name.partition(":")[0] in _CONTROLS:
                reader.control(name, text)
            else:
                criteria.append(reader.criterion(type_, name, text))
        except Invalid:
            if strict:
                raise
            ignored.append(name)
            continue
        used.append((name, text))
    if within:
        criteria.append(reader.compartment(within))
    return Query(type_, tuple(criteria), used=tuple(used), ignored=tuple(ignored), **reader.controls)


class _Reader:
    """Reads the parameters of one query."""

    def __init__(self, type_: str, definitions: Definitions, base: str, codes: Codes | None) -> None:
        self._type = type_
        self._codes = codes
        self._definitions = definitions
        self._base = base.rstrip("/") + "/" if base else ""
        self.controls: dict[str, Any] = {}

    # -- criteria ------------------------------------------------------------------------------------------------------

    def criterion(self, type_: str, name: str, text: str, hops: int = 0) -> Criterion:
        """One criterion; chains and ``_has`` go through here again, so modifiers work inside them too."""
        if hops > HOPS:
            raise Invalid("too many chained parameters", at=_place(type_, name), fix=f"at most {HOPS}")
        if name.startswith("_has:"):
            return self._has(type_, name, text, hops)
        head, dot, rest = name.partition(".")
        if dot:
            return self._chain(type_, head, rest, text, hops)
        code, colon, modifier = name.partition(":")
        parameter = self._parameter(type_, code)
        if colon and not modifier:
            raise Invalid("a modifier is wanted behind the colon", at=_place(type_, name))
        if modifier == "missing":
            if text not in {"true", "false"}:
                raise Invalid("true or false is wanted", at=_place(type_, name))
            return Missing(parameter, text == "true")
        at = _place(type_, name)
        return Match(parameter, *read_values(parameter, modifier, text, at=at, base=self._base, codes=self._codes))

    def _parameter(self, type_: str, code: str, kind: str = "") -> Parameter:
        found = self._definitions.of(type_).get(code)
        if found is None or (kind and found.kind != kind):
            fix = "see search parameters in /metadata"
            raise Invalid("no such search parameter here", at=_place(type_, code), fix=fix)
        return found

    def _has(self, type_: str, name: str, text: str, hops: int) -> Criterion:
        parts = name.split(":", 3)
        if len(parts) != 4:
            raise Invalid("not _has:Type:reference:parameter", at=_place(type_, name))
        _, other, code, rest = parts
        parameter = self._parameter(other, code, "reference")
        if ANY not in parameter.targets and type_ not in parameter.targets:
            raise Invalid(f"does not refer to {type_}", at=_place(other, code))
        return Has(parameter, self.criterion(other, rest, text, hops + 1))

    def _chain(self, type_: str, head: str, rest: str, text: str, hops: int) -> Criterion:
        code, _, target = head.partition(":")
        parameter = self._parameter(type_, code, "reference")
        targets = (target,) if target else parameter.targets
        if ANY in targets:
            raise Invalid("may refer to any type", at=_place(type_, code), fix=f"write {code}:Type.parameter")
        if target and ANY not in parameter.targets and target not in parameter.targets:
            raise Invalid(f"does not refer to {target}", at=_place(type_, code))
        chains: list[Criterion] = []
        problem: Invalid | None = None
        for one in targets:
            try:
                chains.append(Chain(parameter, one, self.criterion(one, rest, text, hops + 1)))
            except Invalid as error:  # not every possible target has the parameter; one that has it is enough
                problem = problem or error
        if not chains:
            raise problem or Invalid("refers to nothing", at=_place(type_, code))
        return chains[0] if len(chains) == 1 else AnyOf(tuple(chains))

    def compartment(self, within: str) -> Criterion:
        """Membership in the compartment of ``within``."""
        name = within.partition("/")[0]
        codes = self._definitions.compartment(name, self._type)
        known = self._definitions.of(self._type)
        own = (Match(known["_id"], "", (TokenValue(None, within.partition("/")[2]),)),) if name == self._type else ()
        members = tuple(Match(known[code], "", (LinkValue((within,)),)) for code in codes if code in known)
        if not own + members:
            raise Invalid("no such compartment", at=f"{name}/…/{self._type}")
        return AnyOf(own + members)

    # -- controls ------------------------------------------------------------------------------------------------------

    def control(self, name: str, text: str) -> None:
        """A parameter about the answer, not about the resources."""
        plain, _, modifier = name.partition(":")
        if plain in {"_include", "_revinclude"}:
            if modifier not in {"", "iterate", "recurse"}:
                raise Invalid("no such modifier", at=_place("", name))
            if text == "*" and plain == "_revinclude":
                found = self._everything_pointing(iterate=bool(modifier))
            else:
                found = (self._include(text, iterate=bool(modifier), reverse=plain == "_revinclude"),)
            self.controls["includes"] = (*self.controls.get("includes", ()), *found)
        elif modifier:
            raise Invalid("takes no modifier", at=_place("", name))
        elif plain == "_count":
            if not text.isdecimal() or not text.isascii() or len(text) > 9:
                raise Invalid("a number is wanted", at="_count")
            self.controls["count"] = min(int(text), COUNT_LIMIT)
        elif plain == "_sort":
            self.controls["sort"] = tuple(self._sort(key) for key in text.split(","))
        elif plain == "_elements":
            self.controls["elements"] = tuple(part for part in text.split(",") if part)
        else:
            allowed = _TOTALS if plain == "_total" else _SUMMARIES
            if text not in allowed:
                raise Invalid("no such value", at=plain, fix=f"one of {', '.join(sorted(allowed))}")
            self.controls[plain[1:]] = text

    def _sort(self, key: str) -> Sort:
        parameter = self._definitions.of(self._type).get(key.removeprefix("-"))
        if parameter is None or parameter.kind == "composite":
            fix = f"write [-]code of a search parameter of {self._type}"
            raise Invalid("cannot be sorted by that", at="_sort", fix=fix)
        return Sort(parameter, key.startswith("-"))

    def _everything_pointing(self, *, iterate: bool) -> tuple[Include, ...]:
        """``_revinclude=*``: whatever refers to what is searched, by any parameter; iterated, by any at all."""
        found = []
        for type_ in sorted(self._definitions.types):
            parameters = tuple(
                one
                for one in self._definitions.of(type_).values()
                if one.kind == "reference" and (iterate or ANY in one.targets or self._type in one.targets)
            )
            if parameters:
                found.append(Include(type_, parameters, "", iterate, reverse=True))
        return tuple(found)

    def _include(self, text: str, *, iterate: bool, reverse: bool) -> Include:
        type_, _, rest = (f"{self._type}:*" if text == "*" and not reverse else text).partition(":")
        code, _, target = rest.partition(":")
        known = self._definitions.of(type_) if type_ in self._definitions.types else {}
        if code == "*":
            parameters = tuple(one for one in known.values() if one.kind == "reference")
        else:
            parameters = tuple(one for one in known.values() if one.code == code and one.kind == "reference")
        if not parameters:
            raise Invalid("not Type:parameter[:Type] of a reference", at="_revinclude" if reverse else "_include")
        if target and not any(ANY in one.targets or target in one.targets for one in parameters):
            raise Invalid("the parameter does not refer to that type", at="_revinclude" if reverse else "_include")
        return Include(type_, parameters, target, iterate, reverse)


def _place(type_: str, name: str) -> str:
    """The place for a message; a name that is no name is not repeated."""
    return f"{type_}?{name if _SAFE.fullmatch(name) else '…'}"


def joins(criteria: Iterable[Criterion]) -> bool:
    """Whether other resources than the ones searched decide about a match."""
    return any(isinstance(one, (Chain, Has)) or (isinstance(one, AnyOf) and joins(one.criteria)) for one in criteria)


def own_id(type_: str) -> Parameter:
    """The parameter ``_id`` of a type, for criteria that are made here."""
    return Parameter(type_, "_id", "token", "id", values=compile_path("id"))
