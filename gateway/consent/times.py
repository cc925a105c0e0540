"""Instants and civil dates of consents and resources as closed intervals of microseconds (R4 dateTime, Period)."""

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any, Final

from gateway.kernel.errors import Invalid

_MOMENT: Final = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?\s*(Z|z|[+-]\d\d:?\d\d)?)?)?)?", re.ASCII
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO: Final = timedelta(microseconds=1)


@lru_cache(maxsize=4_096)  # days repeat
def bounds_of(text: str, zone: tzinfo) -> tuple[int, int]:
    """The first and the last microsecond that a FHIR date, dateTime or instant can mean.

    Without a zone it is meant in the civil ``zone``: a day begins and ends at that zone's midnight, daylight saving
    included.

    Raises:
        Invalid: not a date or no such day; the message does not quote it.
    """
    found = _MOMENT.fullmatch(text.strip())
    if found is None:
        raise Invalid("not a date or time", fix="write YYYY[-MM[-DD[Thh:mm:ss+zz:zz]]]")
    year, month, day, hour, minute, second, fraction, offset = found.groups()
    try:
        if hour is None:
            return _civil_days(int(year), month, day, zone)
        where = zone if offset is None else _offset(offset)
        micros = int((fraction or "0")[:6].ljust(6, "0"))
        whole = datetime(
            int(year), int(month), int(day), int(hour), int(minute), min(int(second or 0), 59), micros, tzinfo=where
        )
    except ValueError:
        raise Invalid("no such day or time of day") from None
    width = 60_000_000 if second is None else 1_000_000 if fraction is None else 10 ** max(0, 6 - len(fraction))
    first = _us(whole)
    return first, first + width - 1


def span_of(start: Any, end: Any, zone: tzinfo) -> tuple[int | None, int | None] | None:
    """The closed interval from the first moment of ``start`` to the last of ``end``; None when neither can be read."""
    first = last = None
    try:
        if isinstance(start, str):
            first = bounds_of(start, zone)[0]
        if isinstance(end, str):
            last = bounds_of(end, zone)[1]
    except Invalid:
        return None
    return None if first is None and last is None else (first, last)


def instant_of(text: str) -> datetime:
    """An ISO 8601 instant with zone.

    Raises:
        Invalid: not one, or without a zone.
    """
    found = _MOMENT.fullmatch(text.strip())
    if found is None or found[4] is None or found[8] is None:
        raise Invalid("not an instant with a zone", fix="write YYYY-MM-DDThh:mm:ss+zz:zz")
    first = bounds_of(text, UTC)[0]
    try:
        return (_EPOCH + first * _MICRO).astimezone(_offset(found[8]))
    except OverflowError:  # within a day of the first or last instant that there is
        raise Invalid("no such instant in its zone") from None


def instant_us(moment: datetime) -> int:
    """Microseconds since 1970 UTC of an aware instant."""
    return _us(moment)


def moment_of(us: int, zone: tzinfo) -> datetime:
    """The instant of microseconds since 1970 UTC, told in a zone."""
    return (_EPOCH + us * _MICRO).astimezone(zone)


def _us(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICRO


def _offset(text: str) -> tzinfo:
    if text in "Zz":
        return UTC
    minutes = int(text[1:3]) * 60 + int(text[-2:])
    if minutes > 14 * 60 or int(text[-2:]) > 59:
        raise ValueError
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))


def _civil_days(year: int, month: str | None, day: str | None, zone: tzinfo) -> tuple[int, int]:
    first = datetime(year, int(month or 1), int(day or 1), tzinfo=zone)
    last_month = int(month or 12)
    last_day = datetime(year, last_month, int(day or monthrange(year, last_month)[1]))  # noqa: DTZ001 - zone set below
    if (last_day.year, last_day.month, last_day.day) == (9999, 12, 31):
        return _us(first), _us(datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))
    after = (last_day + timedelta(days=1)).replace(tzinfo=zone)
    return _us(first), _us(after) - 1
