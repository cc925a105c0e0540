"""One cell as a FHIR value and back. Whatever does not come back as it went is said by the caller's comparison."""

import re
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final

from gateway.kernel.fhir import DOORWAY, JsonObject
from gateway.mapping.hmis.spec import ABSENT, LIST_SYSTEM, Code, Spec

ELEMENT_SYSTEM: Final = f"{DOORWAY}/CodeSystem/hmis-element"
INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,8})", re.ASCII)
_LOOSE: Final = re.compile(r"\+?0*([0-9]{1,9})(?:\.0*)?", re.ASCII)
MONEY: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,11})(?:\.[0-9]{1,4})?", re.ASCII)
_DAY: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
_OTHER_DAY: Final = re.compile(r"(\d{1,2})[/-](\d{1,2})[/-](\d{4})(?:[ T].*)?", re.ASCII)  # US order: HUD is a US form
_YEAR_FIRST: Final = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})(?:[ T].*)?|(\d{4})(\d\d)(\d\d)", re.ASCII)
_MONTH_NAMED: Final = re.compile(r"(\d{1,2})[- ]([A-Za-z]{3})[a-z]*[- ](\d{4})(?:[ T].*)?", re.ASCII)
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_GROUPED: Final = re.compile(r"-?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?", re.ASCII)
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
LONGEST_STRING: Final = 1_000_000


def text_of(cell: str) -> str | None:
    """A cell as a FHIR string: trimmed; None when nothing printable is left (R4 string may not be empty)."""
    text = cell.strip()
    if not text or len(text) > LONGEST_STRING or _UNPRINTABLE.search(text):
        return None
    return text


@lru_cache(maxsize=1 << 14)  # days repeat within an export; a birth date is looked at once
def day_of(cell: str) -> str | None:
    """A cell as ``YYYY-MM-DD``; other orders that say which is which are read too (2026/3/9, 20260309, 9-Mar-2026).

    Of two numbers before a year the first one is the month, as in the US; a year of two digits is not guessed.

    None: empty, or no such day.
    """
    text = cell.strip()
    found = _DAY.fullmatch(text)
    parts = found.groups() if found else None
    if parts is None:
        parts = _other_order(text)
    if parts is None:
        return None
    try:
        return date(int(parts[0]), int(parts[1]), int(parts[2])).isoformat()
    except ValueError:
        return None


def _other_order(text: str) -> tuple[str, ...] | None:
    """Year, month and day of a date that is not written YYYY-MM-DD."""
    if found := _OTHER_DAY.fullmatch(text):
        return found[3], found[1], found[2]
    if found := _YEAR_FIRST.fullmatch(text):
        return tuple(part for part in found.groups() if part)
    found = _MONTH_NAMED.fullmatch(text)
    if found and found[2].casefold() in _MONTHS:
        return found[3], str(_MONTHS.index(found[2].casefold()) + 1), found[1]
    return None


def integer_of(cell: str) -> int | None:
    """A cell as a whole number; ``01``, ``+1``, ``1.0`` and ``1.`` are read as 1."""
    text = cell.strip()
    if not INTEGER.fullmatch(text):
        found = _LOOSE.fullmatch(text)
        return int(found[1]) if found else None
    number = int(text)
    return number if text != "-0" else None


@lru_cache(maxsize=1 << 12)
def code_text(cell: str) -> str:
    """A coded cell as lists and tables write it: ``" 08"`` and ``8.0`` are 8; what is no number is only trimmed.

    Whatever depends on a code (labels, parts, lists chosen by another column) compares this: a spelling that becomes
    the code in FHIR must not slip past its label.
    """
    number = integer_of(cell)
    return cell.strip() if number is None else str(number)


def money_of(cell: str) -> Decimal | None:
    """A cell as an amount, digits kept; dollar sign and thousands separators are read past, a decimal comma is not."""
    text = cell.strip()
    if not MONEY.fullmatch(text):
        text = text.replace("$", "", 1).strip()
        text = text.replace(",", "") if _GROUPED.fullmatch(text) else text
    if not MONEY.fullmatch(text) or text == "-0":
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def code_of(spec: Spec, list_: str, cell: str) -> Code | None:
    """The list's code that a cell means: exact, else trimmed, else as a whole number (``01``, ``1.0``)."""
    found = spec.code(list_, cell)
    if found is None:
        number = integer_of(cell)
        found = spec.code(list_, cell.strip()) or (spec.code(list_, str(number)) if number is not None else None)
    return found


def absent_coding(code: str) -> JsonObject:
    """A data-absent-reason coding."""
    return {"system": ABSENT, "code": code}


def concept_of(spec: Spec, list_: str, code: Code) -> JsonObject:
    """A CodeableConcept: HUD's coding, the standard ones, and why there is no answer where that is what it says."""
    codings = spec.codings(list_, code)
    if code.absent:
        codings = [*codings, absent_coding(code.absent)]
    return {"coding": codings}


def typed(spec: Spec, type_: str, list_: str, cell: str) -> tuple[str, Any] | None:
    """A cell as (suffix of value[x], value): ``("Integer", 3)``.

    The suffix ``Absent`` stands for a CodeableConcept of dataAbsentReason. A code that no list knows becomes text.
    """
    if not cell:
        return None
    if list_:
        code = code_of(spec, list_, cell)
        if code is not None:
            return ("Absent" if code.absent else "CodeableConcept"), concept_of(spec, list_, code)
        text = text_of(cell)
        return None if text is None else ("CodeableConcept", {"text": text})
    if type_ == "I":
        number = integer_of(cell)
        return None if number is None else ("Integer", number)
    if type_.startswith("M"):
        amount = money_of(cell)
        if amount is None:
            return None
        return "Quantity", {"value": amount, "unit": "USD", "system": "urn:iso:std:iso:4217", "code": "USD"}
    if type_ == "D":
        day = day_of(cell)
        return None if day is None else ("DateTime", day)
    text = text_of(cell)
    return None if text is None else ("String", text)


def hud_code(concept: Any, list_system: str = LIST_SYSTEM) -> str:
    """The HUD code of a CodeableConcept, else its text, else empty."""
    if not isinstance(concept, dict):
        return ""
    for coding in concept.get("coding", ()):
        if str(coding.get("system", "")).startswith(list_system):
            return str(coding.get("code", ""))
    return str(concept.get("text", ""))


def cell_of(holder: JsonObject, prefix: str = "value") -> str:
    """The cell that an element's value[x] (or dataAbsentReason) stands for."""
    for name, value in holder.items():
        if name == "dataAbsentReason":
            return hud_code(value)
        if name.startswith(prefix) and len(name) > len(prefix) and name[len(prefix)].isupper():
            return plain(value)
    return ""


def plain(value: Any) -> str:
    """A FHIR value as a cell."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, dict):
        if "coding" in value or "text" in value:
            return hud_code(value)
        if "code" in value and "value" not in value:
            return str(value["code"])
        return plain(value.get("value", ""))
    return str(value)
