"""Criteria as SQL over the narrow index tables, in two forms: a set of keys, and a probe for one known resource.

The same text runs on both databases, but for placeholders and the name of one function.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.adapters.db.engine import DialectName
from gateway.adapters.db.search_index import (
    identifier_hash,
    number_of,
    present_hash,
    text_number,
    token_hash,
    type_hash,
    unit_hash,
)
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


@dataclass(frozen=True, slots=True)
class KeySet:
    """Keys of resources by one criterion: rows of an index table under a condition, with ``@`` before its columns."""

    table: str
    condition: str
    column: str = "key"

    def probe(self, key: str) -> str:
        """Whether the resource with the key belongs to it.

        The key is to be looked up, not the value: an expression around the value keeps planners from its index.
        """
        condition = _VALUE.sub(lambda found: _HIDDEN[found[1]], self.condition).replace("@", "x.")
        return f"EXISTS (SELECT 1 FROM {self.table} x WHERE x.{self.column} = {key} AND {condition})"

    def keys(self) -> str:
        """All its keys, with doubles."""
        return f"SELECT x.{self.column} AS key FROM {self.table} x WHERE {self.condition.replace('@', 'x.')}"


_VALUE: Final = re.compile(r"@(low|high|target|value)\b")
_HIDDEN: Final = {"low": "+x.low", "high": "+x.high", "target": "+x.target", "value": "(x.value || '')"}


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

    def among(self, column: str, values: Sequence[Any]) -> str:
        """``column`` equals one of the values."""
        if len(values) == 1:
            return f"{column} = {self.bind(values[0])}"
        if self.dialect == "sqlite":
            return f"{column} IN ({', '.join(self.bind(value) for value in values)})"
        return f"{column} = ANY({self.bind(list(values))})"


class Compiler:
    """Turns criteria about resources of one type into SQL."""

    def __init__(self, words: Words) -> None:
        self.words = words
        self.confirm = False  # the SQL only narrows down: evaluate the criteria on what it finds

    # -- the two forms -------------------------------------------------------------------------------------------------

    def probe(self, criterion: Criterion, type_: str, row: str) -> str:
        """A condition on the resource row with alias ``row``."""
        match criterion:
            case AnyOf(criteria):
                return "(" + " OR ".join(self.probe(one, type_, row) for one in criteria) + ")"
            case Chain(parameter, target, inner):
                return self._refers(parameter, target, inner, row)
            case Has(parameter, inner):
                return self._referred(parameter, inner, row)
            case Missing(parameter, missing):
                return ("NOT " if missing else "") + self._present(parameter, row)
            case Match(parameter, "not", values):
                return "NOT " + self._any(parameter, "", values, row)
            case Match(parameter, modifier, values):
                return self._any(parameter, modifier, values, row)

    def keys(self, criterion: Criterion, type_: str) -> str:
        """A SELECT of the keys of the live resources of a type that fulfil the criterion."""
        positive = self.set_of(criterion)
        if positive is not None and not isinstance(criterion, Has):
            return positive.keys()
        if isinstance(criterion, AnyOf):
            return " UNION ALL ".join(self.keys(one, type_) for one in criterion.criteria)
        row = f"r{len(self.words.values)}"
        condition = f"{row}.key IN ({positive.keys()})" if positive else self.probe(criterion, type_, row)
        return (  # through the resources, since what is referred to may be gone
            f"SELECT {row}.key FROM resource {row} WHERE {row}.type = {self.words.bind(type_)}"
            f" AND {row}.method <> 'DELETE' AND {condition}"
        )

    def set_of(self, criterion: Criterion) -> KeySet | None:
        """The criterion as one set of keys from one index table; None when it is no such thing."""
        match criterion:
            case Match(parameter, modifier, values) if modifier != "not" and parameter.kind != "composite":
                if parameter.code in {"_id", "_lastUpdated"}:
                    return None
                return self._set(parameter, modifier, values)
            case Chain(parameter, target, inner):
                return KeySet("search_link", f"{self._p(parameter)} AND @target IN ({self.keys(inner, target)})")
            case Has(parameter, inner):
                keys = self.keys(inner, parameter.type)
                return KeySet("search_link", f"{self._p(parameter)} AND @key IN ({keys})", "target")
        return None

    def _refers(self, parameter: Parameter, target: str, inner: Criterion, row: str) -> str:
        """A chain for one row: what it points to is looked up, then probed, however many others would do."""
        if of_row(inner):
            link = KeySet("search_link", f"{self._p(parameter)} AND @target IN ({self.keys(inner, target)})")
            return link.probe(f"{row}.key")
        other = f"y{len(self.words.values)}"
        number = self.words.bind(number_of(parameter.name))
        reached = f"SELECT l.target AS key FROM search_link l WHERE l.p = {number} AND l.key = {row}.key"
        condition = self.probe(inner, target, other)
        if self.set_of(inner) is None or isinstance(inner, Has):  # no index row vouches that the target is there
            kind = self.words.bind(target)
            condition += (
                f" AND EXISTS (SELECT 1 FROM resource e WHERE e.type = {kind} AND e.key = {other}.key"
                " AND e.method <> 'DELETE')"
            )
        return f"EXISTS (SELECT 1 FROM ({reached}) {other} WHERE {condition})"

    def _referred(self, parameter: Parameter, inner: Criterion, row: str) -> str:
        """``_has`` for one row: what points to it is looked up, then probed."""
        if of_row(inner):
            keys = self.keys(inner, parameter.type)
            return (
                f"{row}.key IN ({KeySet('search_link', f'{self._p(parameter)} AND @key IN ({keys})', 'target').keys()})"
            )
        other = f"y{len(self.words.values)}"
        number = self.words.bind(number_of(parameter.name))
        return (
            f"EXISTS (SELECT 1 FROM search_link {other} WHERE {other}.p = {number} AND {other}.target = {row}.key"
            f" AND {self.probe(inner, parameter.type, other)})"
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
            self.confirm = True
            return "(" + " OR ".join(self._composite(parameter, value, row) for value in values) + ")"
        return self._set(parameter, modifier, values).probe(f"{row}.key")

    def _composite(self, parameter: Parameter, value: Value, row: str) -> str:
        """Each part by the parameter that it is made of; whether they meet in one node is for the evaluator to say."""
        assert isinstance(value, CompositeValue)
        pairs = zip(parameter.components, value.parts, strict=True)
        return "(" + " AND ".join(self._any(part, "", (one,), row) for part, one in pairs) + ")"

    def _set(self, parameter: Parameter, modifier: str, values: tuple[Value, ...]) -> KeySet:
        first = values[0]
        if isinstance(first, (TokenValue, OfTypeValue)):
            hashes = [_token(parameter, value) for value in values]
            return KeySet("search_hash", self.words.among("@h", hashes))
        if isinstance(first, LinkValue):
            if first.identifier is not None:
                found = [value.identifier for value in values if isinstance(value, LinkValue) and value.identifier]
                hashes = [identifier_hash(parameter, one.system, one.code) for one in found]
                return KeySet("search_hash", self.words.among("@h", hashes))
            targets = [key_of(target) for value in values if isinstance(value, LinkValue) for target in value.targets]
            return KeySet("search_link", f"{self._p(parameter)} AND {self.words.among('@target', targets)}")
        if isinstance(first, TextValue):
            number = text_number(parameter) if parameter.kind == "token" else number_of(parameter.name)
            tests = [self._text(parameter, modifier, value) for value in values if isinstance(value, TextValue)]
            return KeySet("search_text", f"@p = {self.words.bind(number)} AND ({' OR '.join(tests)})")
        if isinstance(first, DateValue):
            tests = [self._date(value) for value in values if isinstance(value, DateValue)]
            return KeySet("search_date", f"{self._p(parameter)} AND ({' OR '.join(tests)})")
        tests = [self._number(value) for value in values if isinstance(value, QuantityValue)]
        return KeySet("search_number", f"{self._p(parameter)} AND ({' OR '.join(tests)})")

    def _p(self, parameter: Parameter) -> str:
        return f"@p = {self.words.bind(number_of(parameter.name))}"

    def _present(self, parameter: Parameter, row: str) -> str:
        if parameter.code in {"_id", "_lastUpdated"}:
            return "(1 = 1)"
        if parameter.kind == "composite":
            self.confirm = True
            return "(" + " AND ".join(self._present(part, row) for part in parameter.components) + ")"
        if parameter.kind == "token":
            return KeySet("search_hash", f"@h = {self.words.bind(present_hash(parameter))}").probe(f"{row}.key")
        probe = KeySet(_TABLES[parameter.kind], self._p(parameter)).probe(f"{row}.key")
        if parameter.kind == "reference":
            identified = KeySet("search_hash", f"@h = {self.words.bind(present_hash(parameter))}")
            return f"({probe} OR {identified.probe(f'{row}.key')})"
        return probe

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
            self.confirm = True
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

        def from_(edge: int) -> str:  # the millisecond begins at the edge or later; NOT of it: before
            return f"{column} >= {bind(-(-edge // _MS) * _MS)}"

        def above(edge: int) -> str:  # the millisecond ends behind the edge; NOT of it: at the edge or before
            return f"{column} >= {bind(edge // _MS * _MS)}"

        a, b = value.low, value.high
        match value.prefix:
            case "eq":
                return f"({from_(a)} AND NOT {above(b)})"
            case "ne":
                return f"(NOT {from_(a)} OR {above(b)})"
            case "gt":
                return above(b)
            case "lt":
                return f"(NOT {from_(a)})"
            case "ge":
                return f"({above(b)} OR ({from_(a)} AND NOT {above(b)}))"
            case "le":
                return f"(NOT {from_(a)} OR ({from_(a)} AND NOT {above(b)}))"
            case "sa":
                return from_(b)
            case "eb":
                return f"(NOT {above(a)})"
        margin = approximation(value)
        return f"(NOT {from_(b + margin)} AND {above(a - margin)})"

    def _number(self, value: QuantityValue) -> str:
        bind = self.words.bind
        unit = f"@unit = {bind(unit_hash(value.system, value.code))}"
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
        return f"({unit} AND {test})"


_TABLES: Final = {
    "string": "search_text",
    "uri": "search_text",
    "date": "search_date",
    "number": "search_number",
    "quantity": "search_number",
    "reference": "search_link",
}


def of_row(criterion: Criterion) -> bool:
    """Whether the probe looks at the resource's own columns, not only at its key."""
    if isinstance(criterion, AnyOf):
        return any(map(of_row, criterion.criteria))
    return isinstance(criterion, (Match, Missing)) and criterion.parameter.code == "_lastUpdated"


def _token(parameter: Parameter, value: Value) -> int:
    if isinstance(value, OfTypeValue):
        return type_hash(parameter, value.system, value.code, value.value)
    assert isinstance(value, TokenValue)
    return token_hash(parameter, value.system, value.code)
