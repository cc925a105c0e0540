"""Criteria as SQL over the narrow index tables, in two forms: a set of keys, and a probe for one known resource.

The same text runs on both databases, but for placeholders and the name of one function.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from gateway.adapters.db.search_index import (
    LONG_US,
    SEVERAL,
    identified,
    number_of,
    text_number,
    token_hash,
    token_run,
    type_hash,
)
from gateway.adapters.db.session import DialectName, Session
from gateway.exchange.search import AnyOf, Chain, Criterion, Has, Match, Missing
from gateway.exchange.search_match import URI_LIMIT, approximation
from gateway.exchange.search_text import (
    CompositeValue,
    DateValue,
    LinkValue,
    OfTypeValue,
    QuantityValue,
    TextValue,
    TokenValue,
    Value,
)
from gateway.kernel.identifiers import key_of
from gateway.profiles.search_parameters import Parameter

_TOP: Final = "\U0010ffff"
_MS: Final = 1_000
_GONE: Final = "'DELETE'"


@dataclass(frozen=True, slots=True)
class KeySet:
    """Keys of resources by one criterion: rows of an index table under a condition, with ``@`` before its columns."""

    table: str
    condition: str
    column: str = "key"
    ordered: str = ""  # the column whose index holds the set as one run, where more than one index might be taken
    branches: tuple[tuple[str, str], ...] = ()  # conditions that give it together, each with the column of its index

    def probe(self, key: str, words: "Words") -> str:
        """Whether the resource with the key belongs to it.

        The key is to be looked up, not the value: an expression around the value keeps planners from its index.
        """
        condition = _VALUE.sub(lambda found: _HIDDEN[found[1]], self.condition).replace("@", "x.")
        return f"EXISTS (SELECT 1 FROM {self.table} x WHERE x.{self.column} = {key} AND {condition}{words.apart})"

    def keys(self) -> str:
        """All its keys, with doubles."""
        return " UNION ALL ".join(self._select(condition) for condition, _ in self._runs())

    def first_keys(self, words: "Words") -> str:
        """As :meth:`keys`, to be followed by a LIMIT.

        PostgreSQL thinks that a few rows of anything are found soon in whatever it walks, and walks the keys of
        everybody; the order that only the right index gives keeps it to that one.
        """
        if words.dialect == "sqlite":
            return self.keys()
        ways = [
            self._select(condition) + (f" ORDER BY x.{ordered}" if ordered else "")
            for condition, ordered in self._runs()
        ]
        return ways[0] if len(ways) == 1 else " UNION ALL ".join(f"SELECT * FROM ({way}) u" for way in ways)

    def _runs(self) -> tuple[tuple[str, str], ...]:
        return self.branches or ((self.condition, self.ordered),)

    def _select(self, condition: str) -> str:
        return f"SELECT x.{self.column} AS key FROM {self.table} x WHERE {condition.replace('@', 'x.')}"


_VALUE: Final = re.compile(r"@(low|high|target|value)\b")
_HIDDEN: Final = {"low": "+x.low", "high": "+x.high", "target": "+x.target", "value": "(x.value || '')"}


class Bounds(NamedTuple):
    """What follows for a range [low, high) from a test of a date: none where nothing does."""

    from_: int | None = None  # low is at least this
    to: int | None = None  # low is before this
    above: int | None = None  # high is behind this


def bounds_of(value: DateValue) -> Bounds:
    """What follows for the dates that a value matches."""
    a, b = value.low, value.high
    match value.prefix:
        case "eq":
            return Bounds(a, b)
        case "gt":
            return Bounds(above=b)
        case "ge":
            return Bounds(above=a)
        case "lt":
            return Bounds(to=a)
        case "le":
            return Bounds(to=b)
        case "sa":
            return Bounds(b)
        case "eb":
            return Bounds(to=a + 1)
        case "ap":
            margin = approximation(value)
            return Bounds(to=b + margin, above=a - margin)
    return Bounds()


@dataclass(frozen=True, slots=True)
class Within:
    """Several criteria about one date, each with one value: the two ends of a range."""

    matches: tuple[Match, ...]

    @property
    def parameter(self) -> Parameter:
        """The date."""
        return self.matches[0].parameter

    @property
    def values(self) -> tuple[DateValue, ...]:
        """What it is compared with."""
        return tuple(value for one in self.matches for value in one.values if isinstance(value, DateValue))


def ranges(criteria: Sequence[Criterion]) -> dict[tuple[int, ...], Within]:
    """Criteria that are the ends of one range, by their places."""
    found: dict[str, list[int]] = {}
    for index, one in enumerate(criteria):
        if isinstance(one, Match) and one.parameter.kind == "date" and not one.modifier and len(one.values) == 1:
            found.setdefault(one.parameter.name, []).append(index)
    return {
        tuple(places): Within(tuple(one for place in places if isinstance(one := criteria[place], Match)))
        for places in found.values()
        if len(places) > 1
    }


@dataclass(slots=True)
class Words:
    """Values bound by name, in the driver's own way of writing them."""

    dialect: DialectName
    values: dict[str, Any] = field(default_factory=dict)

    def bind(self, value: Any) -> str:
        """The placeholder for a value."""
        name = f"v{len(self.values)}"
        self.values[name] = value
        return f":{name}" if self.dialect == "sqlite" else f"%({name})s"

    @property
    def join(self) -> str:
        """An inner join that is walked from left to right, where the database can be told so."""
        return "CROSS JOIN" if self.dialect == "sqlite" else "JOIN"

    @property
    def apart(self) -> str:
        """Ends a probe: PostgreSQL would make a join of it, beginning at the set that is only to be looked into."""
        return "" if self.dialect == "sqlite" else " OFFSET 0"

    def every(self, values: Sequence[int], kind: str) -> str:
        """A table of the values with one column ``value``."""
        if self.dialect == "sqlite":
            return f"(SELECT value FROM json_each({self.bind('[' + ','.join(map(str, values)) + ']')}))"
        return f"(SELECT unnest({self.bind(list(values))}::{kind}[]) AS value)"

    def among(self, column: str, values: Sequence[Any]) -> str:
        """``column`` equals one of the values."""
        if len(values) == 1:
            return f"{column} = {self.bind(values[0])}"
        if self.dialect == "sqlite":
            return f"{column} IN ({', '.join(self.bind(value) for value in values)})"
        return f"{column} = ANY({self.bind(list(values))})"


class Compiler:
    """Turns criteria about resources of one type into SQL; some of it only narrows down (:func:`inexact`)."""

    def __init__(self, words: Words, session: Session) -> None:
        self.words = words
        self._session = session

    # -- the two forms -------------------------------------------------------------------------------------------------

    def probe(self, criterion: Criterion, type_: str, row: str) -> str:
        """A condition on the resource row with alias ``row``."""
        match criterion:
            case AnyOf(criteria):
                return "(" + " OR ".join(self.probe(one, type_, row) for one in criteria) + ")"
            case Chain(parameter, target, inner):
                return self._across(parameter, target, target, inner, row, ("key", "target"))
            case Has(parameter, inner):
                return self._across(parameter, type_, parameter.type, inner, row, ("target", "key"))
            case Missing(parameter, missing):
                return self._present(parameter, row, missing)
            case Match(parameter, "not", values):
                return "NOT " + self._any(parameter, "", values, row) if not _in_runs(values) else "(1 = 1)"
            case Match(parameter, modifier, values):
                return self._any(parameter, modifier, values, row)

    def keys(self, criterion: Criterion | Within, type_: str, *, live: bool = True) -> str:
        """A SELECT of the keys of the resources of a type that fulfil the criterion; a LIMIT follows.

        Args:
            live: only those that are not deleted; else times are looked up in their index alone.
        """
        if isinstance(criterion, Within):
            if not by_time(criterion.matches[0]):
                return self._dates(criterion.parameter, criterion.values).first_keys(self.words)
            tests = " AND ".join(self.probe(one, type_, "r") for one in criterion.matches)
            of_type = f"r.type = {self.words.bind(type_)}" + (" AND r.method <> 'DELETE'" if live else "")
            return f"SELECT r.key FROM resource r WHERE {of_type} AND {tests} ORDER BY r.updated_us"
        positive = self.set_of(criterion)
        if positive is not None:
            return positive.first_keys(self.words)
        if isinstance(criterion, AnyOf):
            return " UNION ALL ".join(f"SELECT * FROM ({self.keys(one, type_)}) u" for one in criterion.criteria)
        row = f"r{len(self.words.values)}"
        timed = by_time(criterion)
        return (
            f"SELECT {row}.key FROM resource {row} WHERE {row}.type = {self.words.bind(type_)}"
            f"{'' if timed and not live else f' AND {row}.method <> {_GONE}'} AND {self.probe(criterion, type_, row)}"
            f"{f' ORDER BY {row}.updated_us' if timed else ''}"
        )

    def set_of(self, criterion: Criterion) -> KeySet | None:
        """The criterion as one set of keys from one index table; None when it is no such thing."""
        match criterion:
            case Match(parameter, modifier, values) if modifier != "not" and parameter.kind != "composite":
                if parameter.code in {"_id", "_lastUpdated"}:
                    return None
                return self._set(parameter, modifier, values)
        return None

    def walkable(self, criterion: Criterion) -> KeySet | None:
        """Its set, if that is one run of an index in the order of keys."""
        if not isinstance(criterion, Match) or criterion.modifier not in {"", "identifier", "of-type"}:
            return None
        if (
            criterion.parameter.code in {"_id", "_lastUpdated"}
            or len(criterion.values) != 1
            or _in_runs(criterion.values)
        ):
            return None
        first = criterion.values[0]
        if isinstance(first, (TokenValue, OfTypeValue)) or (
            isinstance(first, LinkValue) and first.identifier is not None
        ):
            hashes = self.hashes(criterion.parameter, criterion.values)
            return KeySet("search_hash", f"@h = {self.words.bind(hashes[0])}") if len(hashes) == 1 else None
        if isinstance(first, LinkValue) and len(first.targets) == 1 and len(criterion.parameter.sources) == 1:
            return self._set(criterion.parameter, criterion.modifier, criterion.values)
        return None

    def one_each(self, parameter: Parameter) -> bool:
        """Whether no resource has several of this date, so that all criteria about it are about the same one."""
        if parameter.code == "_lastUpdated":
            return True
        return len(parameter.sources) == 1 and SEVERAL not in self._systems(parameter.sources[0])

    def begins(self, parameter: Parameter, values: Sequence[Value], low: str) -> list[str]:
        """Conditions on the beginning of a date that fulfils all the values, of which a resource has one."""
        bounds = [bounds_of(value) for value in values if isinstance(value, DateValue)]
        tests = [f"{low} >= {self.words.bind(one.from_)}" for one in bounds if one.from_ is not None]
        tests += [f"{low} < {self.words.bind(one.to)}" for one in bounds if one.to is not None]
        above = max((one.above for one in bounds if one.above is not None), default=None)
        if above is not None:
            words = Words(self._session.dialect)
            long = f"x.high > x.low + {LONG_US} AND x.high > {words.bind(above)}"
            text = f"SELECT 1 FROM search_date x WHERE x.p = {words.bind(number_of(parameter.sources[0]))} AND {long}"
            text += f"{' ORDER BY x.high' if words.dialect == 'postgresql' else ''} LIMIT 1"
            if self._session.connection.execute(text, words.values).fetchone() is None:
                tests.append(f"{low} > {self.words.bind(above - LONG_US)}")
        return tests

    def sources(self, parameter: Parameter, column: str) -> str:
        """A condition that an index row belongs to one of the sources of a parameter."""
        return self.words.among(column, [number_of(source) for source in parameter.sources])

    def _across(
        self, parameter: Parameter, pointed: str, other: str, inner: Criterion, row: str, ends: tuple[str, str]
    ) -> str:
        """A chain or ``_has`` for one row: what stands at the other end of its links is looked up, then probed.

        Args:
            pointed: the type that the reference leads to.
            other: the type that stands at the other end.
            ends: columns of search_link at this end and at the other.
        """
        if parameter.narrowed and pointed not in parameter.narrowed:
            return "(1 = 0)"
        link, far = f"l{len(self.words.values)}", f"y{len(self.words.values)}"
        here, there = ends
        return (
            f"EXISTS (SELECT 1 FROM search_link {link} {self.words.join} resource {far}"
            f" ON {far}.type = {self.words.bind(other)} AND {far}.key = {link}.{there}"
            f" WHERE {self.sources(parameter, f'{link}.p')} AND {link}.{here} = {row}.key AND {far}.method <> 'DELETE'"
            f" AND {self.probe(inner, other, far)}{self.words.apart})"
        )

    # -- leaves --------------------------------------------------------------------------------------------------------

    def _any(self, parameter: Parameter, modifier: str, values: tuple[Value, ...], row: str) -> str:
        if parameter.code == "_id":
            keys = [key_of(f"{parameter.type}/{value.code}") for value in values if isinstance(value, TokenValue)]
            return "(" + self.words.among(f"{row}.key", keys) + ")"
        if parameter.code == "_lastUpdated":
            dates = [self._updated(value, row) for value in values if isinstance(value, DateValue)]
            return "(" + " OR ".join(dates) + ")"
        if parameter.kind == "composite":
            return "(" + " OR ".join(self._composite(parameter, value, row) for value in values) + ")"
        if _in_runs(values):
            return "(1 = 1)"  # a run of hashes cannot be probed: the evaluator decides
        return self._set(parameter, modifier, values).probe(f"{row}.key", self.words)

    def _composite(self, parameter: Parameter, value: Value, row: str) -> str:
        """Each part by the parameter that it is made of; whether they meet in one node is for the evaluator to say."""
        assert isinstance(value, CompositeValue)
        pairs = zip(parameter.components, value.parts, strict=True)
        return "(" + " AND ".join(self._any(part, "", (one,), row) for part, one in pairs) + ")"

    def _set(self, parameter: Parameter, modifier: str, values: tuple[Value, ...]) -> KeySet:
        first = values[0]
        if isinstance(first, (TokenValue, OfTypeValue)):
            return self._tokens(parameter, values)
        if isinstance(first, LinkValue):
            if first.identifier is not None:
                return self._tokens(parameter, values)
            targets = [key_of(target) for value in values if isinstance(value, LinkValue) for target in value.targets]
            return KeySet("search_link", f"{self.sources(parameter, '@p')} AND {self.words.among('@target', targets)}")
        if isinstance(first, TextValue):
            token = parameter.kind == "token"
            numbers = [text_number(one) if token else number_of(one) for one in parameter.sources]
            tests = [self._text(parameter, modifier, value) for value in values if isinstance(value, TextValue)]
            condition = f"{self.words.among('@p', numbers)} AND ({' OR '.join(tests)})"
            return KeySet("search_text", condition, ordered="value" if len(numbers) == len(tests) == 1 else "")
        p = self.sources(parameter, "@p")
        if isinstance(first, DateValue):
            wanted = [value for value in values if isinstance(value, DateValue)]
            if len(wanted) == 1:
                return self._dates(parameter, wanted)
            return KeySet("search_date", f"{p} AND ({' OR '.join(map(self._date, wanted))})")
        tests = [self._number(value) for value in values if isinstance(value, QuantityValue)]
        return KeySet("search_number", f"{p} AND ({' OR '.join(tests)})")

    def _dates(self, parameter: Parameter, values: Sequence[DateValue]) -> KeySet:
        """Rows that all the values match.

        How a range begins is in an index; how it ends only where it is long, for what is short begins soon before it
        ends: so the ends of a period bound both what is read of the one and of the other.
        """
        tests = [self.sources(parameter, "@p"), *map(self._date, values)]
        bounds = [bounds_of(value) for value in values]
        tests += [f"@low >= {self.words.bind(one.from_)}" for one in bounds if one.from_ is not None]
        tests += [f"@low < {self.words.bind(one.to)}" for one in bounds if one.to is not None]
        plain, single = " AND ".join(tests), len(parameter.sources) == 1
        above = [one.above for one in bounds if one.above is not None]
        if not above or any(one.from_ is not None for one in bounds):
            bounded = any(one.from_ is not None or one.to is not None for one in bounds)
            return KeySet("search_date", plain, ordered="low" if single and bounded else "")
        high = max(above)
        short = f"{plain} AND @low > {self.words.bind(high - LONG_US)}"
        ends = plain.replace("@low", "+@low")  # hidden: it is the index of the ends that is to be read
        long = f"{ends} AND @high > @low + {LONG_US} AND @high > {self.words.bind(high)}"
        return KeySet(
            "search_date", plain, branches=((short, "low" if single else ""), (long, "high" if single else ""))
        )

    def _tokens(self, parameter: Parameter, values: tuple[Value, ...]) -> KeySet:
        tests = []
        for value in values:
            if isinstance(value, TokenValue) and value.code is None and value.system is not None:
                for source in parameter.sources if parameter.system in (None, value.system) else ():
                    low, high = token_run(source, value.system)
                    tests.append(f"@h BETWEEN {self.words.bind(low)} AND {self.words.bind(high)}")
        hashes = self.hashes(parameter, values)
        if hashes or not tests:
            tests.append(self.words.among("@h", hashes or [-1]))
        return KeySet("search_hash", f"({' OR '.join(tests)})")

    def hashes(self, parameter: Parameter, values: tuple[Value, ...]) -> list[int]:
        """The hashes under which tokens with these codes stand; of several only those that there are."""
        found: list[int] = []
        for value in values:
            for source in parameter.sources:
                if isinstance(value, OfTypeValue):
                    found.append(type_hash(source, value.system, value.code, value.value))
                elif isinstance(value, LinkValue):
                    found += self._hashes(identified(source), value.identifier, None)
                elif isinstance(value, TokenValue):
                    found += self._hashes(source, value, parameter.system)
        if len(found) < 2:
            return found
        words = Words(self._session.dialect)
        listed = words.every(found, "bigint")
        query = f"SELECT q.value FROM {listed} q WHERE EXISTS (SELECT 1 FROM search_hash x WHERE x.h = q.value)"
        return [row[0] for row in self._session.connection.execute(query, words.values)]

    def _hashes(self, source: str, wanted: TokenValue | None, only: str | None) -> list[int]:
        if wanted is None or wanted.code is None:
            return []
        if wanted.system is not None:
            return [token_hash(source, wanted.system, wanted.code)] if only in (None, wanted.system) else []
        if only is not None:
            return [token_hash(source, only, wanted.code)]
        return [token_hash(source, system, wanted.code) for system in self._systems(source)]

    def _systems(self, source: str) -> list[str]:
        """What stands for a source in search_system; remembered as long as nothing changes."""
        memo, key = self._session.memo, ("systems", source)
        known = memo.get(key)
        if known is None:
            words = Words(self._session.dialect)
            query = f"SELECT system FROM search_system WHERE p = {words.bind(number_of(source))}"
            rows = self._session.connection.execute(query, words.values).fetchall()
            known = memo[key] = [system for (system,) in rows]
        found: list[str] = known
        return found

    def _present(self, parameter: Parameter, row: str, missing: bool) -> str:
        if parameter.code in {"_id", "_lastUpdated"}:
            return "(1 = 0)" if missing else "(1 = 1)"
        if parameter.kind == "composite" and not missing:
            return "(" + " AND ".join(self._present(part, row, missing=False) for part in parameter.components) + ")"
        if not parameter.bit:
            return "(1 = 1)"  # the evaluator decides
        return f"({row}.present & {self.words.bind(parameter.bit)}) {'=' if missing else '<>'} 0"

    def _text(self, parameter: Parameter, modifier: str, value: TextValue) -> str:
        bind = self.words.bind
        if parameter.kind == "uri":
            text = value.text[:URI_LIMIT]
            if modifier == "below":
                return f"(@value >= {bind(text)} AND @value < {bind(text + _TOP)})"
            if modifier == "above":
                starts = [text[:size] for size in range(1, len(text) + 1)]
                return self.words.among("@value", starts)
            return f"@value = {bind(text)}"
        if modifier == "exact":
            return f"@value = {bind(value.folded)}"
        if modifier == "contains":
            find = "instr" if self.words.dialect == "sqlite" else "strpos"
            return f"{find}(@value, {bind(value.folded)}) > 0"
        return f"(@value >= {bind(value.folded)} AND @value < {bind(value.folded + _TOP)})"

    def _date(self, value: DateValue) -> str:
        bind = self.words.bind
        a, b = bind(value.low), bind(value.high)
        match value.prefix:
            case "eq":
                return f"(@low >= {a} AND @low < {b} AND @high <= {b})"
            case "ne":
                return f"(@low < {a} OR @high > {b})"
            case "gt":
                return f"@high > {b}"
            case "lt":
                return f"@low < {a}"
            case "ge":  # the first condition follows from the second and gives the index its range
                return f"(@high > {a} AND (@high > {b} OR @low >= {a}))"
            case "le":
                return f"(@low < {b} AND (@low < {a} OR @high <= {b}))"
            case "sa":
                return f"@low >= {b}"
            case "eb":
                return f"@high <= {a}"
        margin = approximation(value)
        return f"(@low < {bind(value.high + margin)} AND @high > {bind(value.low - margin)})"

    def _updated(self, value: DateValue, row: str) -> str:
        """As :meth:`_date` for meta.lastUpdated, which tells milliseconds of the microseconds that are kept."""
        column, bind = f"{row}.updated_us", self.words.bind
        a, b = _from(value.low), _above(value.high)
        match value.prefix:
            case "eq":
                return f"({column} >= {bind(a)} AND {column} < {bind(b)})"
            case "ne":
                return f"({column} < {bind(a)} OR {column} >= {bind(b)})"
            case "gt":
                return f"{column} >= {bind(b)}"
            case "lt":
                return f"{column} < {bind(a)}"
            case "ge":  # above the range or inside
                return f"{column} >= {bind(min(a, b))}"
            case "le":
                return f"{column} < {bind(max(a, b))}"
            case "sa":
                return f"{column} >= {bind(_from(value.high))}"
            case "eb":
                return f"{column} < {bind(_above(value.low))}"
        margin = approximation(value)
        return f"({column} < {bind(_from(value.high + margin))} AND {column} >= {bind(_above(value.low - margin))})"

    def _number(self, value: QuantityValue) -> str:
        bind = self.words.bind
        number, low, high = value.value, value.low, value.high
        match value.prefix:
            case "eq":
                test = f"@low >= {bind(low)} AND @high < {bind(high)}"
            case "ne":
                test = f"(@low < {bind(low)} OR @high >= {bind(high)})"
            case "gt":
                test = f"@high > {bind(number)}"
            case "lt":
                test = f"@low < {bind(number)}"
            case "ge":
                test = f"@high >= {bind(number)}"
            case "le":
                test = f"@low <= {bind(number)}"
            case "sa":
                test = f"@low > {bind(number)}"
            case "eb":
                test = f"@high < {bind(number)}"
            case _:
                near = abs(number) * 0.1
                test = f"@high >= {bind(number - near)} AND @low <= {bind(number + near)}"
        return f"({test})"


def _from(edge: int) -> int:
    """The first microsecond whose millisecond begins at the edge or later."""
    return -(-edge // _MS) * _MS


def _above(edge: int) -> int:
    """The first microsecond whose millisecond ends behind the edge."""
    return edge // _MS * _MS


def by_time(criterion: Criterion) -> bool:
    """Whether it is about when a resource was stored."""
    return isinstance(criterion, Match) and criterion.parameter.code == "_lastUpdated"


def of_row(criterion: Criterion) -> bool:
    """Whether the probe looks at the resource's own columns, not only at its key."""
    if isinstance(criterion, AnyOf):
        return any(map(of_row, criterion.criteria))
    return isinstance(criterion, Missing) or by_time(criterion)


def inexact(criterion: Criterion) -> bool:
    """Whether the index only narrows it down, here or in what it is joined to: the evaluator has the last word."""
    match criterion:
        case AnyOf(criteria):
            return any(map(inexact, criteria))
        case Chain(_, _, inner) | Has(_, inner):
            return inexact(inner)
        case Missing(parameter):
            return parameter.kind == "composite" or (not parameter.bit and not _own(parameter))
        case Match(parameter, modifier, values):
            return (
                modifier == "exact"
                or parameter.kind == "composite"
                or any(_inexact_value(parameter, value) for value in values)
            )


def _inexact_value(parameter: Parameter, value: Value) -> bool:
    if isinstance(value, QuantityValue):  # the unit is not kept
        return value.system is not None or value.code is not None
    if isinstance(value, LinkValue) and parameter.narrowed:
        starts = tuple(f"{type_}/" for type_ in parameter.narrowed)
        return value.identifier is not None or not all(target.startswith(starts) for target in value.targets)
    return _in_runs((value,)) and not _own(parameter)


def _in_runs(values: Sequence[Value]) -> bool:
    """Whether all codes of a system are asked for; a few hashes of others lie in the same run."""
    tokens = [value.identifier if isinstance(value, LinkValue) else value for value in values]
    return any(isinstance(one, TokenValue) and one.code is None for one in tokens)


def _own(parameter: Parameter) -> bool:
    return parameter.code in {"_id", "_lastUpdated"}
