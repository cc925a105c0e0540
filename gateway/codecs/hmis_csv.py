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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from gateway.kernel.errors import Malformed

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


def _as_windows(error: UnicodeError) -> tuple[str, int]:
    """Bytes that are no UTF-8 are read as Windows-1252: systems paste old text into new files."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("cp1252", "doorway-1252"), error.end


def _fill_holes(error: UnicodeError) -> tuple[str, int]:
    """The five bytes that Windows-1252 does not define become the C1 control of the same number (as WHATWG has it)."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(_C1.get(byte, 0xFFFD)) for byte in error.object[error.start : error.end]), error.end


codecs.register_error("doorway-1252", _fill_holes)
codecs.register_error("doorway-mixed", _as_windows)
_ERRORS: Final = {"cp1252": "doorway-1252", "utf-8": "doorway-mixed", "utf-8-sig": "doorway-mixed"}
_SAMPLE_BYTES: Final = 4096  # in which zero bytes are counted, to tell UTF-16 without a mark


def _errors_of(encoding: str) -> str:
    return _ERRORS.get(encoding, "replace")


class _Utf8Count:
    """How many bytes follow the first one of a character in UTF-8, and how many are none."""

    def __init__(self) -> None:
        self.whole = self.broken = 0
        self._rest = b""

    def feed(self, data: bytes, final: bool = False) -> None:
        """Count in the next bytes, which hold some beyond ASCII."""
        data, start = self._rest + data, 0
        self._rest = b""
        while start < len(data):
            try:
                self.whole += len(data) - start - len(data[start:].decode())
                return
            except UnicodeDecodeError as error:
                self.whole += error.start - len(data[start : start + error.start].decode())
                if not final and start + error.end == len(data) and error.reason == "unexpected end of data":
                    self._rest = data[start + error.start :]
                    return
                self.broken += error.end - error.start
                start += error.end
                if self.broken > _BROKEN_COUNTED:
                    return


_BROKEN_COUNTED: Final = 1000  # per piece: enough to judge by, and a file of another encoding costs no more
_ASCII: Final = bytes(range(128))


class EncodingSniffer:
    """Finds the encoding of a file from all of its bytes, fed in pieces; memory stays flat."""

    def __init__(self) -> None:
        self._head = b""
        self._utf8 = _Utf8Count()
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
        if self._bytes < _SAMPLE_BYTES:
            even, sample = self._bytes % 2, data[: _SAMPLE_BYTES - self._bytes]
            self._zeros[0] += sample[even::2].count(0)
            self._zeros[1] += sample[1 - even :: 2].count(0)
        self._bytes += len(data)
        joined = bytes([self._last]) + data if self._last == 13 else data
        self._lone_cr += joined.count(b"\r") - joined.count(b"\r\n") - (1 if data.endswith(b"\r") else 0)
        self._last = data[-1]
        if not data.isascii():
            self._high.update(data.translate(None, _ASCII))
            self._utf8.feed(data)

    def finish(self) -> str:
        """The Python name of the encoding: utf-8, utf-8-sig, utf-16(-le, -be), utf-32, cp1252 or mac_roman.

        A file of which most is UTF-8 is that, though some bytes of it are not (a cut-off end, text pasted in).
        """
        for bom, name in _BOMS:
            if self._head.startswith(bom):
                return name
        sample = min(self._bytes, _SAMPLE_BYTES)
        if self._bytes >= 4 and max(self._zeros) > sample / 8 and min(self._zeros) * 8 < max(self._zeros):
            return "utf-16-be" if self._zeros[0] > self._zeros[1] else "utf-16-le"
        self._utf8.feed(b"", final=True)
        return "utf-8" if self._utf8.whole >= self._utf8.broken else self._single_byte()

    def _single_byte(self) -> str:
        def score(encoding: str) -> int:
            total = 0
            for byte, count in self._high.items():
                letter = bytes([byte]).decode(encoding, "replace")
                known = 3 if letter.islower() else 2  # capitals with accents are rarer
                total += count * (known if letter in _LETTERS else 1 if letter in _MARKS else -2)
            return total

        mac, windows = score("mac_roman") + (1 if self._lone_cr else 0), score("cp1252")
        return "mac_roman" if mac > windows else "cp1252"


def decoder_of(encoding: str) -> codecs.IncrementalDecoder:
    """An incremental decoder that never fails: what cannot be decoded is read as Windows-1252, or becomes U+FFFD."""
    return codecs.getincrementaldecoder(encoding)(_errors_of(encoding))


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


def read_rows(chunks: Iterable[bytes], encoding: str, delimiter: str = ",") -> Iterator[list[str]]:
    """The rows of a file, header first; a blank line is an empty list. Line ends may be mixed.

    Raises:
        Malformed: a cell beyond the limit: mostly a quote that is never closed.
    """
    csv.field_size_limit(FIELD_LIMIT_CHARACTERS)
    buffer = io.BufferedReader(_Chunks(chunks), 1 << 16)
    text = io.TextIOWrapper(buffer, encoding=encoding, errors=_errors_of(encoding), newline="")
    reader, number = csv.reader(text, delimiter=delimiter), 0
    try:
        for row in reader:
            number += 1
            yield row
    except csv.Error:
        raise _endless(f"row {number}") from None


def _endless(at: str) -> Malformed:
    return Malformed("a cell of more than 16 MiB", at=at, fix="close the quotation mark that a cell of this row opens")


BLOCK_BYTES: Final = 1 << 16
_ASCII_LIKE: Final = {  # encodings in which every byte below 128 is its character: lines can be cut before decoding
    "utf-8": ("utf-8", "doorway-mixed"),
    "utf-8-sig": ("utf-8", "doorway-mixed"),
    "cp1252": ("cp1252", "doorway-1252"),
    "mac_roman": ("mac_roman", "replace"),
}


class Block:
    """Some neighbouring rows of a file: as cells, or as lines without any quote, which need no parser."""

    __slots__ = ("_delimiter", "_lines", "_rows", "size")

    def __init__(
        self, lines: list[str] | None, rows: list[list[str]] | None = None, size: int = 0, delimiter: str = ","
    ) -> None:
        self._lines, self._rows, self._delimiter = lines, rows, delimiter
        self.size = size  # bytes in the file; 0: not known

    def __len__(self) -> int:
        rows = self._rows if self._lines is None else self._lines
        return len(rows or ())

    def drop_first(self, count: int = 1) -> None:
        """Leave out the first rows: the header, and what stands before it."""
        del (self._lines if self._lines is not None else self._rows or [])[:count]

    def rows(self) -> list[list[str]]:
        """The cells of each row; a blank line is an empty list."""
        if self._lines is None:
            return self._rows or []
        rows = [line.split(self._delimiter) for line in self._lines]
        return [row if row != [""] else [] for row in rows] if "" in self._lines else rows

    def row(self, index: int) -> list[str]:
        """The cells of one row."""
        if self._lines is None:
            return (self._rows or [])[index]
        line = self._lines[index]
        return line.split(self._delimiter) if line else []

    def columns(self, *indexes: int) -> list[list[str]]:
        """Some cells of each row, by column; empty where a row does not reach so far."""
        cut = max(indexes) + 1
        rows = self.rows() if self._lines is None else [line.split(self._delimiter, cut) for line in self._lines]
        try:
            return [[row[index] for row in rows] for index in indexes]
        except IndexError:
            return [[row[index] if index < len(row) else "" for row in rows] for index in indexes]


def read_blocks(
    chunks: Iterable[bytes], encoding: str, size: int | None = None, delimiter: str = ","
) -> Iterator[Block]:
    """The rows of :func:`read_rows`, header first, many at a time.

    A block without a quote and with one kind of line end is cut at its line ends and commas, which is twice as fast as
    the parser; every other block goes through it, with as many of the following as a quoted cell runs on into.

    Raises:
        Malformed: a cell beyond the limit.
    """
    if encoding not in _ASCII_LIKE:
        rows = read_rows(chunks, encoding, delimiter)
        while batch := list(islice(rows, 512)):
            yield Block(None, batch)
        return
    name, errors = _ASCII_LIKE[encoding]
    pieces = _cut(chunks, size or BLOCK_BYTES, encoding == "utf-8-sig")
    number = 0
    for raw in pieces:
        plain = raw.replace(b"\r\n", b"\n") if b"\r" in raw else raw
        if b'"' in plain or b"\r" in plain:
            csv.field_size_limit(FIELD_LIMIT_CHARACTERS)
            lines = _Lines(raw, pieces, name, errors)
            reader = csv.reader(lines, delimiter=delimiter)
            found = []
            try:
                while lines.more:
                    found.append(next(reader))
            except csv.Error:
                raise _endless(f"row {number + len(found)}") from None
            number += len(found)
            yield Block(None, found, lines.size)
            continue
        text = str(plain, name, errors).split("\n")
        if not text[-1]:
            text.pop()
        number += len(text)
        yield Block(text, None, len(raw), delimiter)


class _Lines(Iterator[str]):
    """The lines of a piece, then those of the pieces after it, for a parser that stops at the end of a row."""

    def __init__(self, raw: bytes, pieces: Iterator[bytes], encoding: str, errors: str) -> None:
        self._pieces, self._encoding, self._errors = pieces, encoding, errors
        self.size = 0
        self._take(raw)

    def _take(self, raw: bytes) -> None:
        self.size += len(raw)
        self._lines = list(io.StringIO(str(raw, self._encoding, self._errors), newline=""))
        self._at = 0

    @property
    def more(self) -> bool:
        """Whether the piece has lines left."""
        return self._at < len(self._lines)

    def __next__(self) -> str:
        while not self.more:
            self._take(next(self._pieces))
        self._at += 1
        return self._lines[self._at - 1]


def _cut(chunks: Iterable[bytes], size: int, marked: bool) -> Iterator[bytes]:
    """The bytes in pieces of about ``size`` that end with a line; ``marked``: a byte order mark comes first."""
    rest = b""
    for chunk in chunks:
        rest += chunk
        if marked and len(rest) >= len(codecs.BOM_UTF8):
            rest, marked = rest.removeprefix(codecs.BOM_UTF8), False
        start = 0
        while len(rest) - start > size:
            end = rest.find(b"\n", start + size) + 1
            if not end and len(rest) - start > _LONGEST_LINE:  # old Macs end lines with CR only
                end = rest.rfind(b"\n", start) + 1 or rest.rfind(b"\r", start, len(rest) - 1) + 1
            if not end and len(rest) - start > FIELD_LIMIT_CHARACTERS:
                raise Malformed("a line of more than 16 MiB", at="its rows", fix="end each row with a line end")
            if not end:
                break
            yield rest[start:end]
            start = end
        rest = rest[start:]
    if rest:
        yield rest


_LONGEST_LINE: Final = 1 << 22


def write_rows(rows: Iterable[list[str]]) -> Iterator[str]:
    """CSV text, a row a piece; CRLF ends (RFC 4180), so that a lone CR or LF inside a cell is quoted too."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    for row in rows:
        writer.writerow(row)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate(0)


NAME_LIMIT: Final = 64
DELIMITERS: Final = (",", ";", "\t", "|")
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

    @property
    def certain(self) -> bool:
        """Whether this is a header and no row of data: several columns of the specification stand in it."""
        return len(self.position) >= min(3, len(self.cells))

    def told(self, index: int) -> str:
        """How a column that the specification does not know is named in reports; never by what may be a cell."""
        name = self.cells[index]
        sound = name.strip() != "" and name.isprintable() and len(name) <= NAME_LIMIT
        return name if self.certain and sound else f"column {index + 1}"

    @classmethod
    def of(cls, cells: list[str], columns: Iterable[str]) -> "Header":
        """Match a header with the specification's columns."""
        columns = list(columns)
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


@dataclass(frozen=True, slots=True)
class Heading:
    """How a file begins: its header, the delimiter that it is written with, and the rows before it."""

    header: Header
    delimiter: str
    blank: int  # blank rows
    more: int  # a line ``sep=;``, which is for spreadsheets

    @property
    def rows(self) -> int:
        """Rows that are no data."""
        return self.blank + self.more + 1


def read_heading(
    chunks: Callable[[], Iterable[bytes]], encoding: str, columns: Iterable[str], spoken: str = ","
) -> Heading:
    """The heading of a file; ``chunks`` gives its bytes anew. Commas, unless another delimiter finds more columns.

    Args:
        columns: those that are looked for; none of a file that nobody knows.
        spoken: the delimiter of the files beside it, which such a file has where it finds no comma.
    """
    columns, best = list(columns), None
    if not columns and spoken != ",":
        plain, other = (_heading(read_rows(chunks(), encoding, each), [], each) for each in (",", spoken))
        return other if len(plain.header.cells) < 2 <= len(other.header.cells) else plain
    for delimiter in DELIMITERS:
        found = _heading(read_rows(chunks(), encoding, delimiter), columns, delimiter)
        if best is None or len(found.header.position) > len(best.header.position):
            best = found
        if len(best.header.position) > 1 or not columns:
            break
    assert best is not None  # there are delimiters
    return best


def _heading(rows: Iterator[list[str]], columns: list[str], delimiter: str) -> Heading:
    blank = more = 0
    for row in islice(rows, _LEAD_ROWS):
        if not row:
            blank += 1
        elif row[0].lstrip("\ufeff").casefold().startswith("sep=") and not more:
            more += 1
        else:
            return Heading(Header.of(row, columns), delimiter, blank, more)
    return Heading(Header.of([], columns), delimiter, 0, 0)


_LEAD_ROWS: Final = 20
