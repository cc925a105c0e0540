"""HUD HMIS CSV as bytes: which encoding, which cells; and cells back to bytes.

Real exports come in UTF-8 with and without BOM, UTF-16, Windows-1252 and MacRoman, with CRLF, LF and lone CR mixed,
ragged rows and a truncated last line. Reading never refuses a row: what it means is for others to judge. The cells are
those that Python's csv module sees (RFC 4180 quoting, stray quotes kept).
"""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

FIELD_LIMIT_CHARACTERS: Final = 16 * 1024 * 1024
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LETTERS: Final = frozenset("áéíóúñüçàèìòùâêîôûäëïöåøæßãõÁÉÍÓÚÑÜÇÀÈÌÒÙÂÊÎÔÛÄËÏÖÅØÆÃÕœŒÿ")
_MARKS: Final = frozenset("’‘“”–—…•°®©™ªº€£¡¿«»\xa0")
_C1: Final = {byte: byte for byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D)}  # holes of Windows-1252, kept as C1 controls


def _fill_holes(error: UnicodeError) -> tuple[str, int]:
    """The five bytes that Windows-1252 does not define become the C1 control of the same number (as WHATWG has it)."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(_C1.get(byte, 0xFFFD)) for byte in error.object[error.start : error.end]), error.end


codecs.register_error("doorway-1252", _fill_holes)


class EncodingSniffer:
    """Finds the encoding of a file from all of its bytes, fed in pieces; memory stays flat."""

    def __init__(self) -> None:
        self._head = b""
        self._decoder: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")()
        self._high: Counter[int] = Counter()
        self._lone_cr = 0
        self._last = 0
        self._zeros = [0, 0]
        self._bytes = 0

    def feed(self, data: bytes) -> None:
        """Look at the next bytes."""
        if not data:
            return
        if self._bytes == 0:
            self._head = data[:4]
        if self._bytes < 4096:
            even = self._bytes % 2
            self._zeros[0] += data[even::2].count(0)
            self._zeros[1] += data[1 - even :: 2].count(0)
        self._bytes += len(data)
        joined = bytes([self._last]) + data if self._last == 13 else data
        self._lone_cr += joined.count(b"\r") - joined.count(b"\r\n") - (1 if data.endswith(b"\r") else 0)
        self._last = data[-1]
        if not data.isascii():
            self._high.update(byte for byte in data if byte > 127)
        if self._decoder is not None:
            try:
                self._decoder.decode(data)
            except UnicodeDecodeError:
                self._decoder = None

    def finish(self) -> str:
        """The Python name of the encoding: utf-8, utf-8-sig, utf-16(-le, -be), utf-32, cp1252 or mac_roman."""
        for bom, name in _BOMS:
            if self._head.startswith(bom):
                return name
        if self._bytes >= 4 and max(self._zeros) > self._bytes / 8 and min(self._zeros) * 8 < max(self._zeros):
            return "utf-16-be" if self._zeros[0] > self._zeros[1] else "utf-16-le"
        if self._decoder is not None:
            try:
                self._decoder.decode(b"", final=True)
                return "utf-8"
            except UnicodeDecodeError:
                pass  # a character cut off at the end of the file: judged below with the rest
        return self._single_byte()

    def _single_byte(self) -> str:
        def score(encoding: str) -> int:
            total = 0
            for byte, count in self._high.items():
                letter = bytes([byte]).decode(encoding, "replace")
                total += count * (3 if letter in _LETTERS else 1 if letter in _MARKS else -2)
            return total

        mac, windows = score("mac_roman") + (1 if self._lone_cr else 0), score("cp1252")
        return "mac_roman" if mac > windows else "cp1252"


def decoder_of(encoding: str) -> codecs.IncrementalDecoder:
    """An incremental decoder that never fails: what cannot be decoded becomes C1 controls (1252) or U+FFFD."""
    return codecs.getincrementaldecoder(encoding)("doorway-1252" if encoding == "cp1252" else "replace")


def sniff(data: bytes) -> str:
    """The encoding of a whole file in memory."""
    sniffer = EncodingSniffer()
    sniffer.feed(data)
    return sniffer.finish()


class _Chunks(io.RawIOBase):
    """A byte stream over pieces, so that the text layer's own line splitter (CR, LF, CRLF mixed) can be used."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Fill from the next piece."""
        while not self._rest:
            piece = next(self._chunks, None)
            if piece is None:
                return 0
            self._rest = piece
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def read_rows(chunks: Iterable[bytes], encoding: str) -> Iterator[list[str]]:
    """The rows of a file, header first; a blank line is an empty list. Line ends may be mixed."""
    csv.field_size_limit(FIELD_LIMIT_CHARACTERS)
    text = io.TextIOWrapper(
        io.BufferedReader(_Chunks(chunks), 1 << 16),
        encoding=encoding,
        errors="doorway-1252" if encoding == "cp1252" else "replace",
        newline="",
    )
    yield from csv.reader(text)


def write_rows(rows: Iterable[list[str]]) -> Iterator[str]:
    """CSV text, a row a piece; CRLF ends (RFC 4180), so that a lone CR or LF inside a cell is quoted too."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    for row in rows:
        writer.writerow(row)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate(0)


_PLAIN: Final = re.compile(r"[^a-z0-9]+")
_SAME: Final = {"hispaniclatinaeo": "hispaniclatinao", "hispaniclatinx": "hispaniclatinao"}


def column_key(name: str) -> str:
    """A header spelling without case, spaces and punctuation: ``HoHLeaseholder`` and ``HOHLeaseholder`` are one."""
    plain = _PLAIN.sub("", name.casefold())
    return _SAME.get(plain, plain)


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a file as it stands, and where each known column is found in it."""

    cells: tuple[str, ...]
    position: dict[str, int]  # spec column -> index in the row
    extra: tuple[int, ...]  # indexes of columns that the specification does not know, and of repeated ones
    missing: tuple[str, ...]

    @classmethod
    def of(cls, cells: list[str], columns: Iterable[str]) -> "Header":
        """Match a header with the specification's columns."""
        found: dict[str, int] = {}
        by_key: dict[str, int] = {}
        for index, cell in enumerate(cells):
            by_key.setdefault(column_key(cell.lstrip("\ufeff")), index)
        for column in columns:
            index_of = by_key.pop(column_key(column), None)
            if index_of is not None:
                found[column] = index_of
        known = set(found.values())
        return cls(
            tuple(cells),
            found,
            tuple(index for index in range(len(cells)) if index not in known),
            tuple(column for column in columns if column not in found),
        )
