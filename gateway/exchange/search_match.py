"""The meaning of one criterion on one parsed resource: the obvious evaluator that the SQL is tested against.

It also has the last word where an index can only narrow down: composites and ``:exact``.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias, TypeVar

from gateway.exchange.search import (
    AnyOf,
    Chain,
    CompositeValue,
    Criterion,
    DateValue,
    Has,
    LinkValue,
    Match,
    Missing,
    QuantityValue,
    Sort,
    TextValue,
    TokenValue,
    Value,
)
from gateway.exchange.search_text import OfTypeValue
from gateway.kernel.fhir import Resource
from gateway.profiles.search_parameters import Parameter
from gateway.profiles.search_values import (
    NEVER,
    NO_BOUND,
    Link,
    Quantity,
    Token,
    dates,
    folded,
    links,
    quantities,
    strings,
    token_texts,
    tokens,
    uris,
)

URI_LIMIT: Final = 600  # characters of a URI that are compared
Joined: TypeAlias = Callable[[Chain | Has, Resource], bool]  # decides what hangs on other resources
SortValue: TypeAlias = str | int | float
Place: TypeAlias = tuple[SortValue, ...]
T = TypeVar("T")


def holds(criterion: Criterion, resource: Resource, joined: Joined) -> bool:
    """Whether the resource (with its id and meta) fulfils the criterion; ``joined`` decides chains and ``_has``."""
    match criterion:
        case AnyOf(criteria):
            return any(holds(one, resource, joined) for one in criteria)
        case Chain() | Has():
            return joined(criterion, resource)
        case Missing(parameter, missing):
            return present(parameter, resource) is not missing
        case Match(parameter, "not", values):
            return not any(_matches(parameter, "", value, resource) for value in values)
        case Match(parameter, modifier, values):
            return any(_matches(parameter, modifier, value, resource) for value in values)


def present(parameter: Parameter, resource: Resource) -> bool:
    """Whether the parameter finds a value that can be compared."""
    if parameter.kind == "composite":
        return any(all(present(part, node) for part in parameter.components) for node in parameter.values(resource))
    return next(iter(_FOUND[parameter.kind](parameter, resource)), None) is not None


_FOUND: Final[dict[str, Callable[[Parameter, Resource], Iterable[object]]]] = {
    "token": tokens,
    "string": strings,
    "uri": uris,
    "date": dates,
    "number": quantities,
    "quantity": quantities,
    "reference": links,
}


def _matches(parameter: Parameter, modifier: str, value: Value, resource: Resource) -> bool:
    match value:
        case TokenValue(_, code) if parameter.code == "_id":
            return resource.get("id") == code
        case TokenValue():
            return any(_token(value, found) for found in tokens(parameter, resource))
        case OfTypeValue(system, code, text):
            return any((system, code) in found.types and found.code == text for found in tokens(parameter, resource))
        case TextValue():
            return _text(parameter, modifier, value, resource)
        case DateValue():
            return any(_date(value, low, high) for low, high in dates(parameter, resource))
        case QuantityValue():
            return any(_quantity(value, found) for found in quantities(parameter, resource))
        case LinkValue(targets, None):
            return any(found.target in targets for found in links(parameter, resource) if found.target)
        case LinkValue(_, identifier):
            return any(_identified(identifier, found) for found in links(parameter, resource))
        case CompositeValue(parts):
            pairs = tuple(zip(parameter.components, parts, strict=True))
            nodes = parameter.values(resource)
            return any(all(_matches(part, "", wanted, node) for part, wanted in pairs) for node in nodes)


def _token(wanted: TokenValue, found: Token) -> bool:
    return wanted.system in (None, found.system) and wanted.code in (None, found.code)


def _identified(wanted: TokenValue | None, found: Link) -> bool:
    return wanted is not None and found.identifier is not None and _token(wanted, found.identifier)


def _text(parameter: Parameter, modifier: str, wanted: TextValue, resource: Resource) -> bool:
    if parameter.kind == "uri":
        text = wanted.text[:URI_LIMIT]
        found = (uri[:URI_LIMIT] for uri in uris(parameter, resource))
        if modifier == "below":
            return any(uri.startswith(text) for uri in found)
        return any(text.startswith(uri) if modifier == "above" else uri == text for uri in found)
    if parameter.kind == "token":
        return any(text.startswith(wanted.folded) for text in token_texts(parameter, resource))
    if modifier == "exact":
        return any(text == wanted.text for text in strings(parameter, resource))
    texts = (folded(text) for text in strings(parameter, resource))
    if modifier == "contains":
        return any(wanted.folded in text for text in texts)
    return any(text.startswith(wanted.folded) for text in texts)


def _date(wanted: DateValue, low: int, high: int) -> bool:
    """The target range [low, high) against the range of the query (R4 3.1.1.4.5, prefixes 3.1.1.4.4)."""
    a, b = wanted.low, wanted.high
    match wanted.prefix:
        case "eq":
            return low >= a and high <= b
        case "ne":
            return low < a or high > b
        case "gt":
            return high > b
        case "lt":
            return low < a
        case "ge":
            return high > b or (low >= a and high <= b)
        case "le":
            return low < a or (low >= a and high <= b)
        case "sa":
            return low >= b
        case "eb":
            return high <= a
    margin = approximation(wanted)
    return low < b + margin and high > a - margin


def approximation(wanted: DateValue) -> int:
    """How far ``ap`` reaches beyond the range: as far again as the range is long; the day is not at hand here."""
    return wanted.high - wanted.low


def _quantity(wanted: QuantityValue, found: Quantity) -> bool:
    if wanted.code is not None:
        if wanted.system is None:
            if wanted.code not in (found.code, found.unit):
                return False
        elif (wanted.system, wanted.code) != (found.system, found.code):
            return False
    elif wanted.system is not None and wanted.system != found.system:
        return False
    low, high, value = found.low, found.high, wanted.value
    match wanted.prefix:
        case "eq":
            return low >= wanted.low and high < wanted.high
        case "ne":
            return low < wanted.low or high >= wanted.high
        case "gt":
            return high > value
        case "lt":
            return low < value
        case "ge":
            return high >= value
        case "le":
            return low <= value
        case "sa":
            return low > value
        case "eb":
            return high < value
    return high >= value - abs(value) * 0.1 and low <= value + abs(value) * 0.1


def sort_value(sort: Sort, resource: Resource, updated_us: int) -> SortValue:
    """What a resource is sorted by: its least value, or its greatest when descending; without one it comes last."""
    if sort.parameter.code == "_lastUpdated":
        return updated_us
    if sort.parameter.code == "_id":
        return str(resource["id"])
    found = _sortable(sort.parameter, resource)
    if sort.descending:
        return max(found, default=last_value(sort))
    return min(found, default=last_value(sort))


def last_value(sort: Sort) -> SortValue:
    """What stands for a missing value: it sorts behind everything, in either direction."""
    if sort.parameter.kind == "date":
        return -(NEVER + 1) if sort.descending else NEVER + 1
    if sort.parameter.kind in ("number", "quantity"):
        return -NO_BOUND * 10 if sort.descending else NO_BOUND * 10
    return "" if sort.descending else "\U0010ffff"


def _sortable(parameter: Parameter, resource: Resource) -> list[SortValue]:
    match parameter.kind:
        case "date":
            return [low for low, _ in dates(parameter, resource)]
        case "number" | "quantity":
            return [found.low for found in quantities(parameter, resource)]
        case "string":
            return [folded(text) for text in strings(parameter, resource)]
        case "uri":
            return [uri[:URI_LIMIT] for uri in uris(parameter, resource)]
        case "token":
            return [token.code for token in tokens(parameter, resource)]
        case "reference":
            return [link.target for link in links(parameter, resource) if link.target]
    return []


def in_order(places: Iterable[tuple[Place, T]], sorts: Sequence[Sort], after: Place | None) -> list[tuple[Place, T]]:
    """Things by their places (sort values, then key), cut to those behind ``after``."""
    found = sorted(places, key=lambda one: one[0][-1])
    for index in range(len(sorts) - 1, -1, -1):  # stable: the last key first
        found.sort(key=lambda one: one[0][index], reverse=sorts[index].descending)
    if after is None:
        return found
    return [one for one in found if _behind(one[0], after, sorts)]


def _behind(place: Place, after: Place, sorts: Sequence[Sort]) -> bool:
    for index, (one, other) in enumerate(zip(place, after, strict=True)):
        if one != other:
            descending = index < len(sorts) and sorts[index].descending
            return (one < other) if descending else (one > other)  # type: ignore[operator]
    return False
