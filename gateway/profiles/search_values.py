"""What a search parameter finds in a resource, as values that can be compared: the one truth for index and evaluator.

Dates are half-open ranges of microseconds since 1970 UTC; a date without a zone is meant in UTC (R4 Search leaves it to
the server). Numbers and quantities are closed ranges of floats. Text is folded: no accents, no case, single spaces.
"""

import re
import unicodedata
from calendar import isleap, monthrange
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from gateway.kernel.fhir import Resource
from gateway.profiles.search_parameters import Parameter

NEVER: Final = 1 << 62  # beyond any instant: an open end
NO_BOUND: Final = 1.0e300
TEXT_LIMIT: Final = 200  # characters that are compared; index rows must stay small

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT: Final = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d):(\d\d)(?::([0-5]\d|60)(\.\d+)?)?"
    r"(Z|[+-](?:0\d|1[0-4]):?[0-5]\d)?)?)?)?",  # offsets and leap seconds as R4 dateTime has them
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A code, identifier, contact point, boolean or string; ``code`` is in lower case (R4 3.1.1.4.10)."""

    system: str
    code: str
    types: tuple[tuple[str, str], ...] = ()  # codings of Identifier.type, for :of-type


@dataclass(frozen=True, slots=True)
class Quantity:
    """A closed range with its unit; numbers have none."""

    low: float
    high: float
    system: str = ""
    code: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """A reference: what it points to (``Type/id`` or a URL, no version), or only an identifier."""

    target: str
    identifier: Token | None = None


def folded(text: str) -> str:
    """Text as string search compares it: case, accents and runs of spaces do not count (R4 3.1.1.4.8)."""
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text)
        text = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return " ".join(text.casefold().split())[:TEXT_LIMIT]


def span_of(text: str) -> tuple[int, int] | None:
    """The half-open range of microseconds that a date or time of any precision means; None if it is none."""
    found = _INSTANT.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    try:
        start = datetime(int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), 0, 0, UTC)
    except ValueError:
        return None
    low = (start - _EPOCH) // timedelta(microseconds=1)
    if hour is None:
        days = 1 if day else monthrange(start.year, start.month)[1] if month else 365 + isleap(start.year)
        return low, low + days * 86_400_000_000
    size = 60_000_000
    if second is not None:
        low, size = low + int(second) * 1_000_000, 1_000_000
    if fraction is not None:
        digits = fraction[1:7]
        low, size = low + int(digits.ljust(6, "0")), int(10 ** (6 - len(digits)))
    if zone not in (None, "Z"):
        offset = int(zone[1:3]) * 60 + int(zone[-2:])
        low -= (offset if zone[0] == "+" else -offset) * 60_000_000
    return low, low + size


def tokens(parameter: Parameter, resource: Resource) -> Iterator[Token]:
    """The tokens at a token parameter."""
    for value in parameter.values(resource):
        yield from tokens_of(value)


def tokens_of(value: Any) -> Iterator[Token]:
    """A value of any type that a token parameter may meet."""
    if isinstance(value, bool):
        yield Token("http://hl7.org/fhir/special-values", "true" if value else "false")
    elif isinstance(value, str):
        yield Token("", value.casefold())
    elif isinstance(value, dict):
        if isinstance(value.get("coding"), list):
            for coding in value["coding"]:
                yield from tokens_of(coding)
        elif isinstance(value.get("code"), str):
            yield Token(_text(value, "system"), value["code"].casefold())
        elif isinstance(value.get("value"), str):  # Identifier or ContactPoint
            kind = value.get("type")
            types = tuple((one.system, one.code) for one in tokens_of(kind)) if isinstance(kind, dict) else ()
            yield Token(_text(value, "system"), value["value"].casefold(), types)
        elif isinstance(value.get("system"), str):
            yield Token(value["system"], "")
        elif "reference" in value or "identifier" in value:
            yield from tokens_of(value.get("identifier"))


def token_texts(parameter: Parameter, resource: Resource) -> Iterator[str]:
    """Folded displays and texts of a token parameter, for ``:text``."""
    for value in parameter.values(resource):
        if not isinstance(value, dict):
            continue
        concept = value.get("type") if "value" in value else value
        for node in (concept, *(concept.get("coding") or () if isinstance(concept, dict) else ())):
            if isinstance(node, dict):
                yield from (folded(node[name]) for name in ("text", "display") if isinstance(node.get(name), str))


def _text(node: Any, name: str) -> str:
    value = node.get(name)
    return value if isinstance(value, str) else ""


_PARTS: Final = (
    "text", "family", "given", "prefix", "suffix", "line", "city", "district", "state", "postalCode", "country",
)  # fmt: skip


def strings(parameter: Parameter, resource: Resource, without: Collection[str] = ()) -> Iterator[str]:
    """The texts, as written, at a string parameter; names and addresses give each of their parts.

    Args:
        without: parts that are not wanted.
    """
    for value in parameter.values(resource):
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            for part in _PARTS:
                inner = value.get(part) if part not in without else None
                for one in inner if isinstance(inner, list) else (inner,):
                    if isinstance(one, str):
                        yield one


def dates(parameter: Parameter, resource: Resource) -> Iterator[tuple[int, int]]:
    """The half-open ranges at a date parameter."""
    for value in parameter.values(resource):
        found = _range_of(value)
        if found is not None:
            yield found


def _range_of(value: Any) -> tuple[int, int] | None:
    if isinstance(value, str):
        return span_of(value)
    if not isinstance(value, dict):
        return None
    if "event" in value or "repeat" in value:  # Timing: its outer bounds
        repeat = value.get("repeat")
        inside = [_range_of(one) for one in value.get("event") or ()]
        inside.append(_range_of(repeat.get("boundsPeriod")) if isinstance(repeat, dict) else None)
        known = [one for one in inside if one is not None]
        return (min(one[0] for one in known), max(one[1] for one in known)) if known else None
    start, end = span_of(_text(value, "start")), span_of(_text(value, "end"))
    if start is None and end is None:
        return None
    return (start[0] if start else -NEVER), (end[1] if end else NEVER)


def quantities(parameter: Parameter, resource: Resource) -> Iterator[Quantity]:
    """The numbers or quantities at a number or quantity parameter."""
    for value in parameter.values(resource):
        found = _quantity_of(value)
        if found is not None:
            yield found


def _quantity_of(value: Any) -> Quantity | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return Quantity(float(value), float(value))
    if not isinstance(value, dict):
        return None
    if "low" in value or "high" in value:
        low, high = _quantity_of(value.get("low")), _quantity_of(value.get("high"))
        known = low or high
        if known is None:
            return None
        least, most = (low.low if low else -NO_BOUND), (high.high if high else NO_BOUND)
        return Quantity(least, most, known.system, known.code, known.unit)
    number = value.get("value")
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        return None
    if "currency" in value:
        return Quantity(float(number), float(number), "urn:iso:std:iso:4217", _text(value, "currency"))
    return Quantity(float(number), float(number), _text(value, "system"), _text(value, "code"), _text(value, "unit"))


def links(parameter: Parameter, resource: Resource) -> Iterator[Link]:
    """The references at a reference parameter; links into the resource itself (``#``) are left out."""
    for value in parameter.values(resource):
        if isinstance(value, str):
            yield Link(value)
            if "|" in value:  # a canonical with its version is found without it too
                yield Link(value.split("|")[0])
        elif isinstance(value, dict):
            identifier = next(tokens_of(value.get("identifier")), None)
            target = _text(value, "reference").split("/_history/")[0]
            if target.startswith("#"):
                target = ""
            if target or identifier:
                yield Link(target, identifier)


def uris(parameter: Parameter, resource: Resource) -> Iterator[str]:
    """The URIs, as written, at a uri parameter."""
    return (value for value in parameter.values(resource) if isinstance(value, str))


def precision_range(text: str) -> tuple[float, float, float] | None:
    """A number of a query as (value, low, high): ``5.4`` means 5.35 up to 5.45 (R4 3.1.1.4.7); None if it is none."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if not number.is_finite() or abs(number.adjusted()) > 290:
        return None
    half = Decimal(5).scaleb(int(number.as_tuple().exponent) - 1)
    return float(number), float(number - half), float(number + half)
