"""The formats of FHIR R4 primitives (R4 Datatypes, JSON): each check answers what is wrong, or None."""

import re
from calendar import monthrange
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import orjson

Fault: TypeAlias = str | None
Primitive: TypeAlias = Callable[[Any], Fault]

_STRING_LIMIT_CHARACTERS: Final = 1024 * 1024
_WRONG_TEXT: Final = "must be a JSON string"

_TIME: Final = r"(?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d+)?"
_ZONE: Final = r"(?:Z|[+-](?:(?:0\d|1[0-3]):[0-5]\d|14:00))"
_DATE: Final = re.compile(r"(\d{4})(?:-(0[1-9]|1[0-2])(?:-(0[1-9]|[12]\d|3[01]))?)?", re.ASCII)
_DATETIME: Final = re.compile(
    rf"(\d{{4}})(?:-(0[1-9]|1[0-2])(?:-(0[1-9]|[12]\d|3[01])(?:T{_TIME}{_ZONE})?)?)?", re.ASCII
)
_INSTANT: Final = re.compile(rf"(\d{{4}})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T{_TIME}{_ZONE}", re.ASCII)


def words(text: str) -> frozenset[str]:
    """The words of a text, for tables that are lists of names."""
    return frozenset(text.split())


def _text(pattern: str, fault: str) -> Primitive:
    fullmatch = re.compile(pattern, re.ASCII).fullmatch

    def check(value: Any) -> Fault:
        if type(value) is not str:
            return _WRONG_TEXT
        return None if fullmatch(value) else fault

    return check


def _dated(pattern: re.Pattern[str], fault: str) -> Primitive:
    fullmatch = pattern.fullmatch

    def check(value: Any) -> Fault:
        if type(value) is not str:
            return _WRONG_TEXT
        found = fullmatch(value)
        if found is None or found[1] == "0000":
            return fault
        if found[3] is not None and found[3] > "28" and int(found[3]) > monthrange(int(found[1]), int(found[2]))[1]:
            return "there is no such day"
        return None

    return check


def _integer(low: int, fault: str) -> Primitive:
    def check(value: Any) -> Fault:
        if type(value) is not int:
            return "must be a JSON number without a fraction"
        return None if low <= value <= 2147483647 else fault

    return check


def _string(value: Any) -> Fault:
    if type(value) is not str:
        return _WRONG_TEXT
    if not value or value.isspace():
        return "must not be empty"
    if len(value) > _STRING_LIMIT_CHARACTERS:
        return "must not exceed 1 MB"
    if not value.isprintable() and _CONTROL(value):
        return "must not hold control characters"
    return None


_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]").search  # what XML cannot hold either


def _boolean(value: Any) -> Fault:
    return None if value is True or value is False else "must be true or false, without quotes"


def _decimal(value: Any) -> Fault:
    if isinstance(value, (int, float)) and type(value) is not bool:
        return None
    return None if type(value) is orjson.Fragment else "must be a JSON number"  # a Fragment holds a decimal's own text


def _base64(value: Any) -> Fault:
    if type(value) is not str:
        return _WRONG_TEXT
    compact = "".join(value.split()) if not value.isalnum() else value
    if not compact or len(compact) % 4 or not _BASE64(compact):
        return "must be base64"
    return None


_BASE64: Final = re.compile(r"[0-9A-Za-z+/]*={0,2}", re.ASCII).fullmatch
_UUID: Final = r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_OID: Final = r"urn:oid:[0-2](?:\.(?:0|[1-9]\d*))+"
_URN: Final = re.compile(rf"{_OID}|{_UUID}", re.ASCII | re.IGNORECASE).fullmatch
_SPACED: Final = re.compile(r"\s").search


def _uri(value: Any) -> Fault:
    if type(value) is not str:
        return _WRONG_TEXT
    if not value or _SPACED(value):
        return "must be a URI, without spaces"
    if value.startswith(("urn:oid:", "urn:uuid:")) and _URN(value) is None:
        return "must be a well-formed urn:oid: or urn:uuid:"
    return None


_TAG: Final = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)((?:\s+[\w:.-]+\s*=\s*(?:\"[^\"<]*\"|'[^'<]*'))*)\s*(/?)>")
_ATTRIBUTE: Final = re.compile(r"([\w:.-]+)\s*=")
_TAGS: Final = words(
    """p br div h1 h2 h3 h4 h5 h6 a span b em i strong small big tt dfn q var abbr acronym cite blockquote hr
    address bdo kbd code samp sub sup pre ins del ul ol li dl dt dd table caption colgroup col thead tr tfoot tbody th
    td img map area"""
)
_ATTRIBUTES: Final = words(
    """abbr accesskey align alt axis bgcolor border cellhalign cellpadding cellspacing cellvalign char charoff charset
    cite class colspan compact coords dir frame headers height href hreflang hspace id lang longdesc name nowrap rel
    rev rowspan rules scope shape span src start style summary tabindex title type valign value vspace width xml:lang
    xmlns"""
)


def _without_comments(text: str) -> str:
    """The text without XML comments; one that does not end stays, and is found as a stray ``<`` (linear on purpose)."""
    kept, at = [], 0
    while (start := text.find("<!--", at)) >= 0:
        end = text.find("-->", start + 4)
        if end < 0:
            break
        kept.append(text[at:start])
        at = end + 3
    return "".join(kept) + text[at:]


def _xhtml(value: Any) -> Fault:
    """R4 Narrative, txt-1 and txt-2: basic formatting only, well formed, something in it."""
    if type(value) is not str:
        return _WRONG_TEXT
    text = _without_comments(value.strip())
    if not text.startswith("<div") or "<!DOCTYPE" in text or "<![CDATA" in text:
        return "must be one <div> of XHTML"
    open_tags: list[str] = []
    content, end = False, 0
    for tag in _TAG.finditer(text):
        between = text[end : tag.start()]
        content = content or bool(between.strip())
        end_before, end = end, tag.end()
        if "<" in between or (end_before and not open_tags):
            return "must be well-formed XHTML with one root"
        name = tag[2]
        if tag[1]:
            if not open_tags or open_tags.pop() != name:
                return "must be well-formed XHTML: a tag is not closed"
            continue
        if name not in _TAGS or any(a not in _ATTRIBUTES for a in _ATTRIBUTE.findall(_QUOTED.sub('""', tag[3]))):
            return "txt-1: only basic formatting is allowed"
        content = content or name == "img"
        if not tag[4]:
            open_tags.append(name)
    if open_tags or text[end:].strip():
        return "must be well-formed XHTML with one root"
    return None if content else "txt-2: must hold something to read"


_QUOTED: Final = re.compile(r"\"[^\"]*\"|'[^']*'")

PRIMITIVES: Final[Mapping[str, Primitive]] = {
    "base64Binary": _base64,
    "boolean": _boolean,
    "canonical": _uri,
    "code": _text(r"[^\s]+(?:[ ][^\s]+)*", "must be a code: no leading, trailing or double spaces"),
    "date": _dated(_DATE, "must be a date: YYYY, YYYY-MM or YYYY-MM-DD"),
    "dateTime": _dated(_DATETIME, "must be YYYY, YYYY-MM, YYYY-MM-DD or a time with seconds and zone"),
    "decimal": _decimal,
    "id": _text(r"[A-Za-z0-9.-]{1,64}", "must be 1 to 64 letters, digits, dashes or dots"),
    "instant": _dated(_INSTANT, "must be YYYY-MM-DDThh:mm:ss with a zone"),
    "integer": _integer(-2147483648, "must fit in 32 bits"),
    "markdown": _string,
    "oid": _text(_OID, "must be urn:oid: and an OID"),
    "positiveInt": _integer(1, "must be 1 or more"),
    "string": _string,
    "time": _text(_TIME, "must be hh:mm:ss"),
    "unsignedInt": _integer(0, "must be 0 or more"),
    "uri": _uri,
    "url": _uri,
    "uuid": _text(_UUID, "must be urn:uuid: and a UUID in lower case"),
    "xhtml": _xhtml,
}
