"""Partial dates and times that keep the precision they came with (FHIR R4 date/dateTime, HL7 v2 DTM)."""

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from typing import Final, Self

from gateway.kernel.errors import Invalid

_HL7: Final = re.compile(
    r"(?P<y>\d{4})(?:(?P<m>\d\d)(?:(?P<d>\d\d)(?:(?P<H>\d\d)(?:(?P<M>\d\d)(?:(?P<S>\d\d)(?P<f>\.\d{1,4})?)?)?)?)?)?"
    r"(?P<z>[+-]\d{4})?",
    re.ASCII,
)
_FHIR: Final = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class PartialDate:
    """A calendar date with year, year-month or year-month-day precision; no time zone.

    HL7 v2 DTM (v2.5.1 ch. 2A.22) and FHIR date (R4 Datatypes) both allow it; inventing a month would corrupt linkage.
    """

    year: int
    month: int | None = None
    day: int | None = None

    @classmethod
    def from_hl7(cls, text: str, *, at: str) -> Self:
        """Read the date part of a DTM; any time of day is dropped.

        Raises:
            Invalid: not ``YYYY[MM[DD[HH[MM[SS[.S]]]]]][+/-ZZZZ]``; the message names ``at`` only.
        """
        found = _HL7.fullmatch(text)
        if found is None:
            raise Invalid("not a date", at=at, fix="write YYYY[MM[DD]]")
        return cls._checked(found["y"], found["m"], found["d"], at)

    @classmethod
    def from_fhir(cls, text: str, *, at: str) -> Self:
        """Read ``YYYY``, ``YYYY-MM`` or ``YYYY-MM-DD``; a dateTime's time part is dropped.

        Raises:
            Invalid: another form, or no such day.
        """
        found = _FHIR.fullmatch(text.split("T")[0])
        if found is None:
            raise Invalid("not a date", at=at, fix="write YYYY[-MM[-DD]]")
        return cls._checked(found[1], found[2], found[3], at)

    @classmethod
    def _checked(cls, year: str, month: str | None, day: str | None, at: str) -> Self:
        y, m, d = int(year), int(month) if month else None, int(day) if day else None
        if y == 0 or (m is not None and not 1 <= m <= 12) or (d is not None and not 1 <= d <= monthrange(y, m or 1)[1]):
            raise Invalid("no such day", at=at)
        return cls(y, m, d)

    def first_day(self) -> date:
        """The earliest day it can mean."""
        return date(self.year, self.month or 1, self.day or 1)

    def last_day(self) -> date:
        """The latest day it can mean."""
        month = self.month or 12
        return date(self.year, month, self.day or monthrange(self.year, month)[1])

    def __str__(self) -> str:
        return "-".join([f"{self.year:04d}"] + [f"{part:02d}" for part in (self.month, self.day) if part is not None])


def hl7_to_fhir_datetime(text: str, *, at: str, default_zone: str = "") -> str:
    """A DTM as FHIR dateTime, precision kept; a time needs a zone (R4), so without one only the date part is given.

    Args:
        default_zone: ``+hh:mm`` or ``Z`` of the sender, used when the DTM has a time and no zone.

    Raises:
        Invalid: not a DTM, or no such instant.
    """
    found = _HL7.fullmatch(text)
    if found is None:
        raise Invalid("not a date or time", at=at, fix="write YYYY[MM[DD[HH[MM[SS]]]]][+/-ZZZZ]")
    day = str(PartialDate._checked(found["y"], found["m"], found["d"], at))
    zone = f"{found['z'][:3]}:{found['z'][3:]}" if found["z"] else default_zone
    if found["H"] is None or found["M"] is None or not zone:
        return day
    if int(found["H"]) > 23 or int(found["M"]) > 59 or int(found["S"] or 0) > 59:
        raise Invalid("no such time of day", at=at)
    return f"{day}T{found['H']}:{found['M']}:{found['S'] or '00'}{found['f'] or ''}{zone}"
