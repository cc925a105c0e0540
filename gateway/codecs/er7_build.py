"""Writing HL7 v2: values go in as plain text, and none of them can end its field or begin a segment.

A field is given as ``str`` (one value), as ``tuple`` (components, each a ``str`` or a tuple of subcomponents), or as
``list`` (repetitions of those). ``None`` and "" leave it empty; ``NULL`` writes the explicit delete (two quotes)::

    build([("MSH", {9: ("ADT", "A01", "ADT_A01"), 10: "17"}),
           ("PID", {3: [("123", None, None, ("WEST", "1.2.3", "ISO"), "MR")], 5: ("Doe", "Jo"), 8: NULL})])

Every delimiter, control character and line separator in a value is escaped (found in libraries: a CR in a name makes a
new OBX). Fields of type FT are named in ``FormattedText`` so that their lines become ``\\.br\\``.
"""

import codecs
import re
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from gateway.codecs.er7 import DELETE, HEADERS, Delimiters
from gateway.codecs.er7_charset import codec_named
from gateway.codecs.er7_escape import escape_value
from gateway.kernel.errors import Invalid

STANDARD: Final = Delimiters()
_WIDE: Final = {"utf-16": codecs.BOM_UTF16_LE, "utf-32": codecs.BOM_UTF32_LE}
_NAME: Final = re.compile(r"[A-Z][A-Z0-9]{2}")


class Null(str):
    """The explicit delete; only :data:`NULL` is one, so no value from outside can become a delete."""


class FormattedText(str):
    """A value of type FT: line ends are written as ``\\.br\\``."""


class OwnText(str):
    """Text copied from a message with the same delimiters, escapes already in it (an HD, a control id).

    Line ends and framing bytes are still escaped.
    """


NULL: Final = Null(DELETE)
Component: TypeAlias = "str | tuple[str | None, ...] | None"
Value: TypeAlias = "str | tuple[Component, ...] | list[str | tuple[Component, ...] | None] | None"
Fields: TypeAlias = Mapping[int, Value]


def build(
    segments: Iterable[tuple[str, Fields]], *, delimiters: Delimiters = STANDARD, charset: str = "utf-8"
) -> bytes:
    """The bytes of a message: each segment ended by CR. Delimiters fields of a header are written by themselves.

    Raises:
        Invalid: a segment name or field number that cannot be, or a character that the charset does not have.
    """
    codec = codec_named(charset)
    if codec is None:
        raise Invalid("a charset that nobody knows", at="charset", fix="use a value of table 0211, or utf-8")
    text = "".join(segment_text(name, fields, delimiters=delimiters, codec=codec) + "\r" for name, fields in segments)
    try:
        return _WIDE[codec] + text.encode(f"{codec}-le") if codec in _WIDE else text.encode(codec)
    except UnicodeEncodeError:
        raise Invalid("a character that the charset of the receiver lacks", at="MSH-18", fix="send UTF-8") from None


def segment_text(name: str, fields: Fields, *, delimiters: Delimiters = STANDARD, codec: str = "utf-8") -> str:
    """One segment without its CR; empty fields at the end are left out.

    Raises:
        Invalid: a segment name or field number that cannot be.
    """
    header = name in HEADERS
    if _NAME.fullmatch(name) is None or any(number < (3 if header else 1) for number in fields):
        raise Invalid("no such segment or field", at=name if _NAME.fullmatch(name) else "segment")
    out = [name, delimiters.msh_2] if header else [name]
    shift = 1 if header else 0
    for number in range(3 if header else 1, max(fields, default=0) + 1):
        out.append(_field(fields.get(number), delimiters, codec))
    while len(out) > 1 + shift and not out[-1]:
        out.pop()
    return delimiters.field.join(out)


def _field(value: Value, marks: Delimiters, codec: str) -> str:
    if isinstance(value, list):
        if len(value) > 1 and not marks.repetition:
            raise Invalid("the delimiters have no repetition separator", at="MSH-2")
        return marks.repetition.join(_repetition(one, marks, codec) for one in value)
    return _repetition(value, marks, codec)


def _repetition(value: "str | tuple[Component, ...] | None", marks: Delimiters, codec: str) -> str:
    if not isinstance(value, tuple):
        return _text(value, marks, codec)
    parts = [
        _joined([_text(sub, marks, codec) for sub in part], marks.subcomponent)
        if isinstance(part, tuple)
        else _text(part, marks, codec)
        for part in value
    ]
    return _joined(parts, marks.component)


def _joined(parts: list[str], mark: str) -> str:
    while parts and not parts[-1]:
        parts.pop()
    if len(parts) > 1 and not mark:
        raise Invalid("the delimiters cannot hold this many parts", at="MSH-2")
    return mark.join(parts)


def _text(value: str | None, marks: Delimiters, codec: str) -> str:
    if not value:
        return ""
    if value is NULL:
        return DELETE
    if isinstance(value, OwnText):
        return escape_value(value, {}, marks.escape or "\\", codec) if value != DELETE else DELETE
    return escape_value(value, marks.marks, marks.escape, codec, formatted=isinstance(value, FormattedText))
