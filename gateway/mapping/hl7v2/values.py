"""Texts of HL7 v2 as FHIR values: times, numbers, codes, systems (v2.5.1 ch. 2A; R4). None: it cannot be one."""

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from gateway.codecs.json_text import Exact
from gateway.kernel.dates import PartialDate, hl7_to_fhir_datetime
from gateway.kernel.errors import Invalid
from gateway.kernel.fhir import DOORWAY, JsonObject
from gateway.mapping.hl7v2.model import Code

ZoneOf: TypeAlias = Callable[[int, int, int, int, int], str]  # local year, month, day, hour, minute -> "+hh:mm" or "Z"
SID: Final = f"{DOORWAY}/sid"

_DECIMAL: Final = re.compile(r"[+-]?(\d+)(\.\d+)?", re.ASCII)
_BARE_POINT: Final = re.compile(r"([+-]?)\.(\d+)", re.ASCII)
_DTM: Final = re.compile(
    r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(\.\d{1,9})?)?)?)?)?)?([+-]\d{4}|Z)?", re.ASCII
)
_DAY: Final = r"([12]\d{3})(0[1-9]|1[0-2])(0[1-9]|1\d|2[0-8])"  # of every month
_USUAL_DATE: Final = re.compile(_DAY, re.ASCII)
_USUAL_TIME: Final = re.compile(_DAY + r"([01]\d|2[0-3])([0-5]\d)([0-5]\d)([+-]\d{4})?", re.ASCII)
_ISO: Final = re.compile(r"\d{4}-\d\d(-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?([+-]\d\d:?\d\d|Z)?)?)?", re.ASCII)
_OID: Final = re.compile(r"[0-2](\.(0|[1-9]\d*))+", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}", re.ASCII)
_TOKEN: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,38}[A-Za-z0-9])?", re.ASCII)  # as table 0396 names systems
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+", re.ASCII)


class Stamps:
    """Dates and times of one sender; its zone is used where a time has none (R4 demands one)."""

    def __init__(self, zone: ZoneOf) -> None:
        self.datetime: Callable[[str], str | None] = lru_cache(4096)(lambda text: to_datetime(text, zone))
        self.instant: Callable[[str], str | None] = lru_cache(1024)(lambda text: to_instant(text, zone))


NO_STAMPS: Final = Stamps(lambda *_: "Z")  # for constants of tables


def coding_of(code: Code) -> JsonObject:
    """A FHIR Coding."""
    made: JsonObject = {"system": code.system, "code": code.code}
    if code.display:
        made["display"] = code.display
    return made


@lru_cache(4096)
def _sid(name: str) -> str:
    """The identifier system of a namespace that no table knows: the same text is the same system, whoever sends it."""
    return f"{SID}/{_word(name)}"


def universal_uri(text: str) -> str | None:
    """A universal id as the URI that it is (R4: a value of system ``urn:ietf:rfc:3986``); None when it is none."""
    text = text.strip()
    if _OID.fullmatch(text):
        return f"urn:oid:{text}"
    if _UUID.fullmatch(text):
        return f"urn:uuid:{text.lower()}"
    return text if _URI.fullmatch(text) and _well_formed(text) else None


def system_of(name: str, universal: str, kind: str, authorities: Mapping[str, str]) -> str | None:
    """Identifier system of an assigning authority: its universal id, else a URL of ours from its namespace id."""
    if universal:
        known = authorities.get(universal)
        if known:
            return known
        if kind == "ISO" or (not kind and _OID.fullmatch(universal)):
            return f"urn:oid:{universal}" if _OID.fullmatch(universal) else _sid(universal)
        if kind in ("UUID", "GUID"):
            return f"urn:uuid:{universal.lower()}" if _UUID.fullmatch(universal) else _sid(universal)
        if kind == "URI" and _well_formed(universal):
            return universal
        if kind == "DNS" and " " not in universal:
            return f"urn:dns:{universal}"
        return _sid(universal)
    if not name:
        return None
    known = authorities.get(name) or authorities.get(name.upper())
    if known:
        return known
    return f"urn:oid:{name}" if _OID.fullmatch(name) else _sid(name)


def _well_formed(uri: str) -> bool:
    """A URI, and where it claims to be an OID or UUID, a right one."""
    if uri.startswith("urn:oid:"):
        return _OID.fullmatch(uri[8:]) is not None
    if uri.startswith("urn:uuid:"):
        return _UUID.fullmatch(uri[9:]) is not None
    return _URI.fullmatch(uri) is not None


@lru_cache(4096)
def code_system_of(text: str, sender: str) -> str | None:
    """URI of a coding system that table 0396 does not know: an OID, a URI, a v2 table, else local to the sender."""
    text = text.strip()
    if not text:
        return None
    if _OID.fullmatch(text):
        return f"urn:oid:{text}"
    if _URI.fullmatch(text) and _well_formed(text):
        return text
    table = re.fullmatch(r"(?:HL7)?-?0*(\d{1,4})", text)
    if table:
        return f"http://terminology.hl7.org/CodeSystem/v2-{int(table[1]):04d}"
    return f"{DOORWAY}/CodeSystem/local-{quote(sender, safe='')}/{_word(text)}"


def _word(text: str) -> str:
    """A name of a coding system or assigning authority as part of a URL.

    Free text, which a shifted component may fill with a person's name, becomes an opaque word, the same for the same
    text: a URL goes into logs and indexes.
    """
    return text if _TOKEN.fullmatch(text) else f"x-{sha256(text.encode('utf-8', 'replace')).hexdigest()[:16]}"


# -- primitives: text to JSON value, or None ------------------------------------------------------------------------


def to_string(text: str) -> str | None:
    """Not blank."""
    text = text.strip()
    return text or None


def to_code(text: str) -> str | None:
    """No space at the ends, single ones inside (R4 code)."""
    return " ".join(text.split()) or None


def to_uri(text: str) -> str | None:
    """No space at all."""
    text = text.strip()
    return None if not text or any(c.isspace() for c in text) else text


@lru_cache(8192)
def to_date(text: str) -> str | None:
    """A DTM or ISO date, precision kept, time dropped."""
    usual = _USUAL_DATE.fullmatch(text)
    return "-".join(usual.groups()) if usual else _any_date(text)


def _any_date(text: str) -> str | None:
    text = text.strip()
    try:
        if _ISO.fullmatch(text):
            return str(PartialDate.from_fhir(text[:10], at="date"))
        found = _DTM.fullmatch(text)
        return str(PartialDate.from_hl7("".join(p for p in found.groups()[:3] if p), at="date")) if found else None
    except Invalid:
        return None


def _compact(text: str) -> str:
    text = text.strip()
    if _ISO.fullmatch(text):
        day, time = text[:10].replace("-", ""), text[10:].lstrip("T ")
        zone = re.search(r"([+-]\d\d):?(\d\d)$|Z$", time)
        clock = time[: zone.start()] if zone else time
        suffix = "" if zone is None else ("Z" if zone[0] == "Z" else zone[1] + zone[2])
        return day + clock.replace(":", "") + suffix
    return text


def to_datetime(text: str, zone: ZoneOf) -> str | None:
    """A DTM as dateTime: precision kept, the sender's zone where a time has none; an hour alone gives the date."""
    return _usual_time(text, zone) or _any_time(text, zone)


def _usual_time(text: str, zone: ZoneOf) -> str | None:
    """What nearly every message sends, seconds and all; None of any other text, and where its offset is none."""
    usual = _USUAL_TIME.fullmatch(text)
    if usual is None:
        return None
    year, month, day, hour, minute, second, offset = usual.groups()
    try:
        shift = zone_of(offset) if offset else zone(int(year), int(month), int(day), int(hour), int(minute))
    except ValueError:
        return None
    return f"{year}-{month}-{day}T{hour}:{minute}:{second}{shift}" if shift else None


def _any_time(text: str, zone: ZoneOf) -> str | None:
    found = _DTM.fullmatch(_compact(text))
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, offset = found.groups()
    digits = "".join(part for part in (year, month, day, hour, minute, second) if part)
    try:
        if minute is None:
            return hl7_to_fhir_datetime(digits, at="dateTime")
        if offset == "Z":
            shift = "Z"
        elif offset:
            shift = zone_of(offset)
            if not shift:
                return None
        else:
            PartialDate.from_hl7(digits[:8], at="dateTime")
            shift = zone(int(year), int(month), int(day), min(int(hour), 23), min(int(minute), 59))
        made = hl7_to_fhir_datetime(digits, at="dateTime", default_zone=shift)
        return made.replace(shift, fraction + shift) if fraction else made
    except (Invalid, ValueError):
        return None


@lru_cache(256)
def zone_of(offset: str) -> str:
    """``-0500`` as ``-05:00``; empty when there is no such offset (R4: at most 14 hours)."""
    if len(offset) != 5 or offset[0] not in "+-" or not offset[1:].isdigit():
        return ""
    hour, minute = int(offset[1:3]), int(offset[3:])
    return f"{offset[:3]}:{offset[3:]}" if minute < 60 and (hour < 14 or (hour == 14 and not minute)) else ""


def to_instant(text: str, zone: ZoneOf) -> str | None:
    """A DTM as instant: what is missing of the day's time is the day's beginning (R4 instant has no less)."""
    return _usual_time(text, zone) or _any_instant(text, zone)


def _any_instant(text: str, zone: ZoneOf) -> str | None:
    found = _DTM.fullmatch(_compact(text))
    if found is None or found[3] is None:
        return None
    clock = (found[4] or "00") + (found[5] or "00") + (found[6] or "00")
    digits = found[1] + found[2] + found[3] + clock + (found[7] or "") + (found[8] or "")
    return to_datetime(digits, zone)


def to_time(text: str) -> str | None:
    """A TM as time."""
    found = re.fullmatch(r"(\d\d):?(\d\d)(?::?(\d\d)(\.\d+)?)?([+-]\d{4})?", text.strip(), re.ASCII)
    if found is None or int(found[1]) > 23 or int(found[2]) > 59 or int(found[3] or 0) > 59:
        return None
    return f"{found[1]}:{found[2]}:{found[3] or '00'}{found[4] or ''}"


def to_decimal(text: str) -> float | int | None:
    """A number with its digits."""
    text = text.strip()
    text = _BARE_POINT.sub(r"\g<1>0.\2", text) if text[:2].lstrip("+-").startswith(".") else text
    text = text[:-1] if text.endswith(".") else text
    found = _DECIMAL.fullmatch(text)
    if found is None or len(text) > 40:
        return None
    text = text.removeprefix("+")
    sign = "-" if text.startswith("-") else ""
    whole = found[1].lstrip("0") or "0"
    if found[2] is None and len(whole) <= 15:
        return int(sign + whole)
    return Exact(sign + whole + (found[2] or ""))


def to_integer(text: str) -> int | None:
    """A signed 32-bit integer."""
    text = text.strip()
    if not re.fullmatch(r"[+-]?\d{1,10}", text, re.ASCII):
        return None
    value = int(text)
    return value if -(2**31) <= value < 2**31 else None


def to_positive(text: str) -> int | None:
    """1 or more."""
    value = to_integer(text.strip().removesuffix(".0"))
    return value if value and value > 0 else None


def to_unsigned(text: str) -> int | None:
    """0 or more."""
    value = to_integer(text)
    return value if value is not None and value >= 0 else None


def to_ssn(text: str) -> str | None:
    """A social number: nine digits without dashes, anything else as it is."""
    bare = text.replace("-", "").replace(" ", "")
    return bare if bare.isdigit() and len(bare) == 9 else text.strip() or None


def to_boolean(text: str) -> bool | None:
    """Table 0136 and the spellings that senders use."""
    return {"Y": True, "YES": True, "TRUE": True, "T": True, "1": True, "N": False, "NO": False, "FALSE": False,
            "F": False, "0": False}.get(text.strip().upper())  # fmt: skip


def to_base64(text: str) -> str | None:
    """The UTF-8 text encoded."""
    if not text.strip():
        return None
    return base64.b64encode(text.encode("utf-8")).decode("ascii")


def checked_base64(text: str) -> str | None:
    """Base64 without spaces; None when it is none."""
    bare = "".join(text.split())
    try:
        base64.b64decode(bare, validate=True)
    except (binascii.Error, ValueError):
        return None
    return bare or None


CONVERSIONS: Final[dict[str, Callable[[str, Stamps], Any]]] = {
    "string": lambda text, _: to_string(text),
    "markdown": lambda text, _: to_string(text),
    "code": lambda text, _: to_code(text),
    "id": lambda text, _: text if re.fullmatch(r"[A-Za-z0-9.-]{1,64}", text) else None,
    "uri": lambda text, _: to_uri(text),
    "url": lambda text, _: to_uri(text),
    "canonical": lambda text, _: to_uri(text),
    "oid": lambda text, _: to_uri(text),
    "uuid": lambda text, _: to_uri(text),
    "date": lambda text, _: to_date(text),
    "dateTime": lambda text, stamp: stamp.datetime(text),
    "instant": lambda text, stamp: stamp.instant(text),
    "time": lambda text, _: to_time(text),
    "decimal": lambda text, _: to_decimal(text),
    "integer": lambda text, _: to_integer(text),
    "positiveInt": lambda text, _: to_positive(text),
    "unsignedInt": lambda text, _: to_unsigned(text),
    "boolean": lambda text, _: to_boolean(text),
    "base64Binary": lambda text, _: checked_base64(text),
}
