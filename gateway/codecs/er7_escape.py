r"""Escape sequences of HL7 v2 (v2.5.1 ch. 2.7), read and written; no written value can end a field or segment.

=============================  ===================================================================================
sequence                       becomes
=============================  ===================================================================================
``\F\ \S\ \T\ \R\ \E\ \P\``    the delimiter that the message declares (``P``: truncation, v2.7)
``\X0D0A\``                    those bytes in the charset of the message; neighbours are read as one run of bytes
``\Cxxyy\ \Mxxyyzz\``          a switch of the character set (ISO 2022) for the text that follows
``\.br\ \.sp2\ \.ce\``         line ends (``sp`` one and n more; a centred line begins on a line of its own)
``\.sk3\ \.ti4\ \.in+2\``      spaces (skip; temporary and lasting indent)
``\.fi\ \.nf\``                nothing: word wrap is the reader's affair
``\H\ \N\``                    nothing: highlighting on and off
``\Z..\``, anything else       kept as it stands, as is an escape character without a partner
=============================  ===================================================================================
"""

import re
from typing import Final

from gateway.codecs.er7_charset import presentable

# After ESC, the rest of the switch as HL7 writes it in hex: what reads the bytes that follow.
_G0: Final = {"2842": "iso2022_jp", "284A": "iso2022_jp", "2442": "iso2022_jp", "242844": "iso2022_jp_1"}
_G1: Final = {
    "2949": "shift_jis",
    "2D41": "iso8859-1",
    "2D42": "iso8859-2",
    "2D43": "iso8859-3",
    "2D44": "iso8859-4",
    "2D46": "iso8859-7",
    "2D47": "iso8859-6",
    "2D48": "iso8859-8",
    "2D4C": "iso8859-5",
    "2D4D": "iso8859-9",
    "242943": "euc_kr",
    "242941": "gb2312",
}
_MUST_ESCAPE: Final = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")
_FORMAT: Final = re.compile(r"\.(br|sp|in|ti|fi|nf|ce|sk)\s*([+-]?\d{1,4})?", re.IGNORECASE)
_WIDEST: Final = 1000  # lines or spaces that one formatting command may ask for


def unescape(text: str, marks: "dict[str, str]", escape: str, codec: str) -> str:
    """Decode every escape sequence of one value.

    Args:
        marks: letter (F S T R E P) to the delimiter of this message.
        escape: the escape character of MSH-2.
        codec: Python codec of the message, for ``X``.
    """
    parts = text.split(escape)
    out = [parts[0]]
    pending = bytearray()
    switch = ""
    position, last = 1, len(parts) - 1
    while position <= last:
        if position == last:  # no partner: the character stands for itself
            _flush(out, pending, codec)
            out.append(escape + parts[position])
            break
        name, after = parts[position], parts[position + 1]
        if name[:1] == "X" and _is_hex(name[1:]):
            pending += bytes.fromhex(name[1:])
        else:
            _flush(out, pending, codec)
            found = _meaning(name, marks)
            if found is None and (code := _switch(name)) is not None:
                switch, found = code, ""
            if found is None:  # unknown: keep it, and let its closing character open the next
                out.append(escape + name)
                position += 1
                continue
            out.append(found)
        if after:
            _flush(out, pending, codec)
            out.append(_switched(after, switch, codec) if switch else after)
        position += 2
    _flush(out, pending, codec)
    return presentable("".join(out))


def _flush(out: list[str], pending: bytearray, codec: str) -> None:
    if pending:
        try:
            out.append(bytes(pending).decode(codec))
        except UnicodeDecodeError:
            out.append(bytes(pending).decode("ascii" if pending.isascii() else codec, "replace"))
        pending.clear()


def _is_hex(text: str) -> bool:
    return len(text) >= 2 and len(text) % 2 == 0 and all(c in "0123456789abcdefABCDEF" for c in text)


def _meaning(name: str, marks: "dict[str, str]") -> str | None:
    mark = marks.get(name)
    if mark is not None:
        return mark
    if name in {"H", "N"}:
        return ""
    command = _FORMAT.fullmatch(name)
    if command is None:
        return None
    what, number = command[1].lower(), min(abs(int(command[2] or 0)), _WIDEST)
    if what in {"br", "ce"}:
        return "\n"
    if what == "sp":
        return "\n" * max(number, 1)
    return " " * number if what in {"sk", "ti", "in"} else ""


def _switch(name: str) -> str | None:
    code = name[1:].upper()
    return code if name[:1] in {"C", "M"} and (code in _G0 or code in _G1) else None


def _switched(text: str, code: str, codec: str) -> str:
    try:
        raw = text.encode(codec, "surrogateescape")
        if code in _G1:
            return raw.decode(_G1[code])
        return (b"\x1b" + bytes.fromhex(code) + raw).decode(_G0[code])
    except UnicodeError:
        return text


def escape_value(text: str, marks: "dict[str, str]", escape: str, codec: str, *, formatted: bool = False) -> str:
    r"""Encode one value so that it cannot end its component, field or segment, whatever it holds.

    Args:
        formatted: the type is FT: a line end becomes ``\.br\`` instead of ``\X0A\``.
    """
    table = {ord(mark): f"{escape}{letter}{escape}" for letter, mark in marks.items()}
    if formatted:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        table[ord("\n")] = f"{escape}.br{escape}"
    out = presentable(text).translate(table)
    if out == '""':  # two quotes alone would mean: delete
        out = _hex_of('"', escape, codec) + '"'
    return _MUST_ESCAPE.sub(lambda found: _hex_of(found[0], escape, codec), out)


def _hex_of(character: str, escape: str, codec: str) -> str:
    try:
        raw = character.encode(f"{codec}-le" if codec in {"utf-16", "utf-32"} else codec)
    except UnicodeEncodeError:
        return " "  # a line separator that the charset does not have
    return f"{escape}X{raw.hex().upper()}{escape}"
