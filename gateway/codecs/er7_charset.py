"""Character sets of HL7 v2 (MSH-18, table 0211) and what the bytes of a message say about theirs.

Decoding never fails: bytes that are not of the charset become lone surrogates (PEP 383), so that nothing is lost and
the message can be told to be in doubt. Values that leave the codec have U+FFFD in those places, never a guess.
"""

import codecs
from contextlib import suppress
from functools import lru_cache
from typing import Final

_TABLE_0211: Final = {
    "ASCII": "ascii",
    "ISO IR6": "ascii",
    "8859/1": "iso8859-1",
    "8859/2": "iso8859-2",
    "8859/3": "iso8859-3",
    "8859/4": "iso8859-4",
    "8859/5": "iso8859-5",
    "8859/6": "iso8859-6",
    "8859/7": "iso8859-7",
    "8859/8": "iso8859-8",
    "8859/9": "iso8859-9",
    "8859/15": "iso8859-15",
    "UNICODE UTF-8": "utf-8",
    "UNICODE": "utf-8",  # withdrawn since 2.6; a UTF-16 text is told by its zero bytes, so this names the other
    "UNICODE UTF-16": "utf-16",
    "UNICODE UTF-32": "utf-32",
    "JAS2020": "iso2022_jp_2",
    "JIS X 0202": "iso2022_jp",
    "ISO IR14": "shift_jis",
    "ISO IR87": "iso2022_jp",
    "ISO IR159": "iso2022_jp_1",
    "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr",
    "BIG-5": "big5",
}
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WIDE: Final = ((4, "utf-32"), (2, "utf-16"))
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_SURROGATES: Final = dict.fromkeys(range(0xD800, 0xE000), REPLACEMENT)


@lru_cache(64)
def codec_named(name: str) -> str | None:
    """The Python codec of a table 0211 value or of a usual name of a charset (``UTF-8``, ``windows-1252``).

    None when nobody knows the name.
    """
    found = _TABLE_0211.get(name.strip().upper().replace("ISO-8859-", "8859/").replace("8859-", "8859/"))
    if found is not None:
        return found
    try:
        info = codecs.lookup(name.strip())
    except (LookupError, ValueError):
        return None
    return info.name if info._is_text_encoding else None


def wide_codec(raw: bytes) -> tuple[str, int] | None:
    """(codec, length of the byte order mark) where the bytes show it: a mark, or the zero bytes of UTF-16."""
    if raw.startswith(b"MSH") and raw[3:4] != b"\x00":
        return None
    for mark, name in _BOMS:
        if raw.startswith(mark):
            return name, len(mark)
    head = raw[:8]
    for width, name in _WIDE:
        if len(head) >= width and head[0] and not any(head[1:width]):
            return f"{name}-le", 0
        if len(head) >= width and head[width - 1] and not any(head[: width - 1]):
            return f"{name}-be", 0
    return None


def decode(raw: bytes, codec: str) -> tuple[str, bool]:
    """The text, and whether every byte was of the charset; bytes that were not are kept as lone surrogates."""
    with suppress(UnicodeDecodeError):
        return raw.decode(codec), True
    if codec.startswith(("utf-16", "utf-32")):
        return raw.decode(codec, "replace"), False  # half a code unit cannot be kept as a surrogate
    try:
        return raw.decode(codec, "surrogateescape"), False
    except UnicodeDecodeError:  # the multi-byte codecs refuse a surrogate in the middle of a sequence
        return raw.decode("ascii", "surrogateescape"), False


def presentable(text: str) -> str:
    """``text`` with U+FFFD for every byte that could not be read, fit for JSON."""
    return text.translate(_SURROGATES)
