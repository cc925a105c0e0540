r"""HL7 v2 text (ER7): an own, lazy tokenizer; what is stored and forwarded is always the bytes as received.

How to read a message (HL7 v2.5.1 ch. 2; positions count from 1, ``PID-5.1`` is component 1 of field 5). A file or frame
may hold several messages: cut it with ``er7_batch.split_interchange(raw).messages`` first. ::

    message = Message.parse(raw)                  # raises Malformed when there is no usable MSH; nothing else is judged
    message.raw                                   # the received bytes, for keeping and forwarding
    message.kind, message.trigger                 # MSH-9.1 and 9.2: "ADT", "A01" (from 9.3 or EVN-1 where left empty)
    message.structure                             # MSH-9.3, or what table 0354 says
    message.control_id, message.version           # MSH-10; MSH-12.1 or "" when missing
    message.segments                              # every Segment in order; .first("PID"), .all("OBX")
    message.get("PID-3[2].4.1")                   # decoded value by path: None absent, DELETE for "", else str
    message.get("OBX[3]-5")                       # third OBX

    pid = message.first("PID")                    # Segment or None
    pid.id, pid.index, pid.occurrence             # "PID"; place in the message from 0; which PID from 1
    pid.place(5)                                  # "PID-5", or "OBX[3]-5": for errors and origins
    pid.get(5), pid.get(3, 2, 4, 1)               # decoded value of field, repetition, component, subcomponent
    pid.raw(5)                                    # the field's own text, escapes untouched; "" when absent
    pid.repetitions(3)                            # own texts of the repetitions: ["1^^^A", "2^^^B"]; [] when absent
    pid.field(5)                                  # Field: .present .deleted .value .repetitions .component(n, rep)

Fast path for compiled code, no object a value: ``segment.fields`` (list of own texts, index = field number, so 1 and 2
of MSH are the delimiters), ``str.split`` by ``message.delimiters.repetition/.component/.subcomponent``, then
``message.unescape(text)`` (returns its argument when there is nothing to do). An own text equal to ``DELETE`` means
"delete this value"; an empty or missing one means "unchanged" (v2.5.1 ch. 2.5.3). ``DELETE`` is the two quotes, so
compare with ``==``; a value that merely decodes to two quotes cannot be sent without an escape, and counts as text.

``message.tree()`` is the full parse: segment > field > repetition > component > subcomponent, decoded.
``message.doubtful`` tells that some bytes are not of the charset (their places hold U+FFFD in values);
``message.oddities`` lists what was tolerated. Files and batches: er7_batch. Writing: er7_build.
"""

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final, TypeAlias

from gateway.codecs.er7_charset import codec_named, decode, presentable, wide_codec
from gateway.codecs.er7_escape import unescape
from gateway.codecs.er7_structure import structure_for
from gateway.kernel.errors import Invalid, Malformed

DELETE: Final = '""'  # the explicit null of v2.5.1 ch. 2.5.3: delete what is stored
HEADERS: Final = frozenset({"MSH", "FHS", "BHS"})  # segments whose first two fields declare the delimiters
Tree: TypeAlias = list[list[list[list[list[str]]]]]
_FRAMING: Final = frozenset({b"\x1c", b"\x0b"})
_HEADER_BYTES: Final = 4_096  # where MSH-18 stands
_SEGMENT: Final = re.compile(r"[A-Z][A-Z0-9]{2}")
_PATH: Final = re.compile(r"([A-Z][A-Z0-9]{2})(?:\[(\d+)\])?-(\d+)(?:\[(\d+)\])?(?:\.(\d+))?(?:\.(\d+))?")


@dataclass(frozen=True, slots=True)
class Delimiters:
    """Field separator (MSH-1) and encoding characters (MSH-2); ``truncation`` is "" before v2.7 unless declared."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"
    truncation: str = ""

    @property
    def msh_2(self) -> str:
        """The encoding characters as MSH-2 writes them."""
        return self.component + self.repetition + self.escape + self.subcomponent + self.truncation

    @property
    def marks(self) -> dict[str, str]:
        """Letter of the escape sequence to the delimiter it stands for."""
        return _marks(self)

    def _marks(self) -> dict[str, str]:
        marks = {"F": self.field, "S": self.component, "R": self.repetition, "E": self.escape, "T": self.subcomponent}
        if self.truncation:
            marks["P"] = self.truncation
        return {letter: mark for letter, mark in marks.items() if mark}

    @classmethod
    def of_header(cls, text: str, oddities: list[str]) -> "Delimiters":
        """Read them from the text of an MSH, FHS or BHS segment.

        Raises:
            Malformed: too short, or the characters cannot tell the parts of a message apart.
        """
        if len(text) < 5:
            at = f"{text[:3]}-2"
            raise Malformed("the header ends before its encoding characters", at=at, fix=r"send MSH|^~\&|")
        end = text.find(text[3], 4)
        found, tolerated = _delimiters(text[: end if end > 0 else len(text)])
        if tolerated:
            oddities.extend(tolerated)
        return found

    @classmethod
    def _read(cls, text: str, oddities: list[str]) -> "Delimiters":
        at, mark, chars = f"{text[:3]}-2", text[3], text[4:]
        if len(chars) == 5 and chars[2] == chars[3]:
            oddities.append(f"{at} has its escape character doubled")
            chars = chars[:3] + chars[4]
        if len(chars) > 5:
            raise Malformed("more than five encoding characters", at=at, fix=r"send ^~\& or ^~\&#")
        used = mark + chars
        if not chars or len(set(used)) != len(used) or any(c.isalnum() or c.isspace() or c == '"' for c in used):
            raise Malformed("encoding characters that cannot be told apart", at=at, fix=r"send ^~\&")
        if len(chars) < 4:
            oddities.append(f"{at} declares fewer than four characters")
        return cls(mark, *(chars[i] if i < len(chars) else "" for i in range(5)))


@lru_cache(64)
def _delimiters(text: str) -> tuple[Delimiters, tuple[str, ...]]:
    oddities: list[str] = []
    return Delimiters._read(text, oddities), tuple(oddities)


@lru_cache(64)
def _marks(delimiters: Delimiters) -> dict[str, str]:
    return delimiters._marks()


class Field:
    """One field, read only when asked."""

    __slots__ = ("_message", "_texts", "raw")

    def __init__(self, message: "Message", raw: str, texts: list[str]) -> None:
        self._message = message
        self.raw: Final = raw  # own text, escapes untouched
        self._texts = texts

    @property
    def present(self) -> bool:
        """Whether anything stands there, a delete included."""
        return bool(self.raw)

    @property
    def deleted(self) -> bool:
        """Whether the sender asks to delete the value (two quotes)."""
        return self.raw == DELETE

    @property
    def repetitions(self) -> list[list[str]]:
        """Own texts of the components of each repetition."""
        mark = self._message.delimiters.component
        return [text.split(mark) if mark else [text] for text in self._texts]

    @property
    def value(self) -> str | None:
        """First component of the first repetition, decoded; None absent, ``DELETE`` to delete."""
        return self.component(1)

    def component(self, number: int, repetition: int = 1, subcomponent: int = 1) -> str | None:
        """One decoded value; None absent, ``DELETE`` to delete."""
        if not 0 < repetition <= len(self._texts):
            return None
        return self._message.value_in(self._texts[repetition - 1], number, subcomponent)


class Segment:
    """One segment; its fields are split when first asked for."""

    __slots__ = ("_fields", "_looked", "id", "index", "message", "occurrence", "text")

    def __init__(self, message: "Message", text: str, index: int, occurrence: int) -> None:
        self.message: Final = message
        self.text: Final = text
        self.id: Final = text[:3]
        self.index: Final = index
        self.occurrence: Final = occurrence
        self._fields: list[str] | None = None
        self._looked = False

    @property
    def fields(self) -> list[str]:
        """Own texts by field number; 0 is the segment's name, 1 and 2 of a header are its delimiters."""
        fields = self._fields
        if fields is None:
            mark = self.message.delimiters.field
            fields = self.text.split(mark)
            if fields[0] in HEADERS:
                fields.insert(1, mark)
            self._fields = fields
        return fields

    def raw(self, number: int) -> str:
        """The field's own text, escapes untouched; empty when absent."""
        fields = self._fields
        if fields is None and not self._looked and self.id not in HEADERS:  # who looks once needs no more than that
            self._looked = True
            fields = self.text.split(self.message.delimiters.field, number + 1)
        elif fields is None:
            fields = self.fields
        return fields[number] if number < len(fields) else ""

    def place(self, number: int) -> str:
        """``PID-5``, or ``OBX[3]-5`` for a later segment of the same name."""
        return f"{self.id}-{number}" if self.occurrence == 1 else f"{self.id}[{self.occurrence}]-{number}"

    def repetitions(self, number: int) -> list[str]:
        """Own texts of the repetitions; empty when the field is absent."""
        raw = self.raw(number)
        if not raw:
            return []
        mark = self.message.delimiters.repetition
        return raw.split(mark) if mark and mark in raw and not (number <= 2 and self.id in HEADERS) else [raw]

    def field(self, number: int) -> Field:
        """The field as an object; an absent one is there too, and not ``present``."""
        return Field(self.message, self.raw(number), self.repetitions(number))

    def get(self, number: int, repetition: int = 1, component: int = 1, subcomponent: int = 1) -> str | None:
        """One decoded value; None absent, ``DELETE`` to delete."""
        if number <= 2 and self.id in HEADERS:
            return self.raw(number) or None
        texts = self.repetitions(number)
        if not 0 < repetition <= len(texts):
            return None
        return self.message.value_in(texts[repetition - 1], component, subcomponent)

    def __repr__(self) -> str:
        return f"Segment({self.id}[{self.occurrence}])"  # never its content


class Message:
    """One HL7 v2 message over its received bytes. Make it with :meth:`parse`."""

    def __init__(self, raw: bytes, texts: list[str], codec: str, delimiters: Delimiters) -> None:
        self.raw: Final = raw
        self.codec: Final = codec  # Python name of the charset it was read with
        self.delimiters: Final = delimiters
        self.doubtful = False  # some bytes were not of the charset
        self._header: Segment | None = None
        self._typed: tuple[str, str, str] | None = None
        self.oddities: list[str] = []  # what was tolerated, as sentences with places, never values
        self._texts = texts

    @classmethod
    def parse(cls, raw: bytes, *, default_charset: str = "utf-8", charset: str = "") -> "Message":
        """Find the header, its delimiters and charset, and cut the segments; fields wait until asked for.

        Args:
            default_charset: what this sender uses when MSH-18 is empty (table 0211 value or codec name).
            charset: what this sender uses whatever MSH-18 says; empty to believe MSH-18.

        Raises:
            Malformed: no MSH at the start, or delimiters that cannot be used.
            Invalid: a configured charset that nobody knows.
        """
        oddities: list[str] = []
        text, codec, clean = _text_of(raw, default_charset, charset, oddities)
        texts = _segment_texts(text, oddities)
        message = cls(raw, texts, codec, Delimiters.of_header(texts[0], oddities))
        message.doubtful = not clean
        message.oddities = oddities
        return message

    # -- segments ----------------------------------------------------------------------------------------------------

    @property
    def texts(self) -> list[str]:
        """The own texts of the segments in order."""
        return self._texts

    @cached_property
    def segments(self) -> list[Segment]:
        """Every segment in order."""
        seen: dict[str, int] = {}
        out = []
        for index, text in enumerate(self._texts):
            name = text[:3]
            seen[name] = number = seen.get(name, 0) + 1
            out.append(Segment(self, text, index, number))
        return out

    def first(self, name: str) -> Segment | None:
        """The first segment of that name."""
        for segment in self.segments:
            if segment.id == name:
                return segment
        return None

    def all(self, name: str) -> list[Segment]:
        """Every segment of that name, in order."""
        return [segment for segment in self.segments if segment.id == name]

    def get(self, path: str) -> str | None:
        """A decoded value by path: ``PID-5``, ``PID-3[2].4.1``, ``OBX[3]-5``; None absent, ``DELETE`` to delete.

        Raises:
            Invalid: not a path.
        """
        found = _PATH.fullmatch(path)
        if found is None:
            raise Invalid("not a path into a message", at="path", fix="write SEG[n]-field[rep].component.sub")
        wanted = int(found[2] or 1)
        for segment in self.segments:
            if segment.id == found[1] and segment.occurrence == wanted:
                return segment.get(int(found[3]), int(found[4] or 1), int(found[5] or 1), int(found[6] or 1))
        return None

    # -- values ------------------------------------------------------------------------------------------------------

    def unescape(self, text: str) -> str:
        """Decode the escapes of one value; bytes that could not be read become U+FFFD."""
        escape = self.delimiters.escape
        if escape and escape in text:
            return unescape(text, self.delimiters.marks, escape, self.codec)
        return presentable(text) if self.doubtful else text

    def value_in(self, text: str, component: int = 1, subcomponent: int = 1) -> str | None:
        """A decoded value inside the own text of one repetition; None absent, ``DELETE`` to delete."""
        if text == DELETE:
            return DELETE
        delimiters = self.delimiters
        mark = delimiters.component
        parts = text.split(mark) if mark else [text]
        if not 0 < component <= len(parts):
            return None
        text = parts[component - 1]
        mark = delimiters.subcomponent
        if mark and mark in text and text != DELETE:
            parts = text.split(mark)
            if not 0 < subcomponent <= len(parts):
                return None
            text = parts[subcomponent - 1]
        elif subcomponent != 1:
            return None
        return self.unescape(text) or None

    def tree(self) -> Tree:
        """The full parse: segment > field > repetition > component > subcomponent, all decoded.

        Field 0 is the segment's name; fields 1 and 2 of a header stand undivided.
        """
        marks, out = self.delimiters, []
        quick = bool(marks.repetition and marks.component and marks.subcomponent) and not self.doubtful
        for text in self._texts:
            fields = text.split(marks.field)
            own: list[list[list[list[str]]]] = []
            begun = 0
            if fields[0] in HEADERS:
                own, begun = [[[[part]]] for part in (fields[0], marks.field, *fields[1:2])], 2
                begins = len(text) - len(marks.field.join(fields[2:]))
            else:
                begins = 0
            if quick and not (marks.escape and text.find(marks.escape, begins) >= 0):
                own += _undecoded(fields[begun:], marks)
            else:
                own += [self._parts(one, marks) for one in fields[begun:]]
            out.append(own)
        return out

    def _parts(self, text: str, marks: Delimiters) -> list[list[list[str]]]:
        repeated, composed, divided = marks.repetition, marks.component, marks.subcomponent
        plain = self.unescape
        out = []
        for repetition in text.split(repeated) if repeated and repeated in text else (text,):
            if composed and composed in repetition:
                parts = repetition.split(composed)
                if divided and divided in repetition:
                    out.append([[plain(sub) for sub in part.split(divided)] for part in parts])
                else:
                    out.append([[plain(part)] for part in parts])
            elif divided and divided in repetition:
                out.append([[plain(sub) for sub in repetition.split(divided)]])
            else:
                out.append([[plain(repetition)]])
        return out

    # -- header ------------------------------------------------------------------------------------------------------

    @property
    def header(self) -> Segment:
        """MSH."""
        if self._header is None:
            self._header = Segment(self, self._texts[0], 0, 1)
        return self._header

    @property
    def _type(self) -> tuple[str, str, str]:
        """MSH-9 as (type, trigger, structure), completed from what the message does say."""
        if self._typed is None:
            self._typed = self._read_type()
        return self._typed

    def _read_type(self) -> tuple[str, str, str]:
        own, marks = self.header.raw(9), self.delimiters
        if marks.repetition and marks.repetition in own:
            own = own.split(marks.repetition, 1)[0]
        parts = [*(own.split(marks.component) if marks.component else [own]), "", ""]
        kind, trigger, structure = ("" if p == DELETE else self.unescape(p) for p in parts[:3])
        if not trigger and "_" in kind:  # some write the structure, or ADT_A01, in the first component
            kind, trigger = kind.split("_", 1)
        if not trigger and kind == "ADT":
            trigger = self.get("EVN-1") or ""
        return kind, trigger, structure or structure_for(kind, trigger)

    @property
    def kind(self) -> str:
        """MSH-9.1, such as ``ADT``; empty when missing."""
        return self._type[0]

    @property
    def trigger(self) -> str:
        """MSH-9.2, such as ``A01``; from EVN-1 when an ADT leaves it empty."""
        return self._type[1]

    @property
    def structure(self) -> str:
        """MSH-9.3, or what table 0354 gives for type and trigger."""
        return self._type[2]

    @property
    def control_id(self) -> str:
        """MSH-10 verbatim (own text, for MSA-2); empty when missing."""
        own = self.header.raw(10)
        return presentable(own) if self.doubtful else own

    @property
    def version(self) -> str:
        """MSH-12.1; empty when missing."""
        return self.header.get(12) or ""

    @property
    def processing_id(self) -> str:
        """MSH-11.1; ``P`` when missing."""
        return self.header.get(11) or "P"

    def __repr__(self) -> str:
        return f"Message({self.kind}^{self.trigger}, {len(self._texts)} segments)"  # never its content


def _undecoded(fields: list[str], marks: Delimiters) -> list[list[list[list[str]]]]:
    """The parts of fields that hold no escape: what ``Message._parts`` finds, without a look at each value."""
    repeated, composed, divided = marks.repetition, marks.component, marks.subcomponent
    return [
        [[[field]]]
        if not field or field.isalnum() or not (composed in field or repeated in field or divided in field)
        else [[part.split(divided) for part in one.split(composed)] for one in field.split(repeated)]
        for field in fields
    ]


def _text_of(raw: bytes, default_charset: str, charset: str, oddities: list[str]) -> tuple[str, str, bool]:
    """(text from MSH on, codec, every byte understood)."""
    wide = wide_codec(raw)
    if wide is not None:
        codec, mark = wide
        text, clean = decode(raw[mark:], codec)
        return _from_header(text), codec, clean
    start = raw.find(b"MSH")
    codec = _codec_of(raw, _line_at(raw[: start + _HEADER_BYTES], max(start, 0)), default_charset, charset, oddities)
    text, clean = decode(raw, codec)
    if not clean:
        oddities.append("bytes that are not of the charset")
    return _from_header(text), codec, clean


def _from_header(text: str) -> str:
    start = text.find("MSH")
    if start < 0 or text[:start].strip("\r\n\t \x0b\x1c\ufeff"):
        raise Malformed("no MSH segment at the start", at="MSH", fix="send one message that begins with MSH")
    return text[start:].rstrip("\x1c\r\n\x0b") if start or text[-1:] in "\x1c\x0b" else text


def _codec_of(raw: bytes, header: bytes, default_charset: str, charset: str, oddities: list[str]) -> str:
    """The codec of a message: what is set, what MSH-18 of ``header`` says, the default, in this order."""
    mark = header[3:4]
    declared = b""
    if not charset and mark and header.count(mark) > 16:
        declared = header.split(mark, 18)[17]
    codec, oddity = _codec_declared(declared, default_charset, charset)
    if oddity:
        oddities.append(oddity)
    if codec == "ascii" and not raw.isascii():
        codec = codec_named(default_charset) or codec
        oddities.append("MSH-18 says ASCII and the bytes are not; the sender's default is used")
    if codec in {"utf-16", "utf-32"}:
        oddities.append("MSH-18 names a wide charset and the bytes are not; UTF-8 is used")
        codec = "utf-8"
    return codec


@lru_cache(256)
def _codec_declared(field: bytes, default_charset: str, charset: str) -> tuple[str, str]:
    """(codec, what is odd about MSH-18)."""
    oddity = ""
    declared = charset or re.split(rb"[~^]", field, maxsplit=1)[0].decode("ascii", "replace").strip()
    if not charset and declared and declared != DELETE and codec_named(declared) is None:
        oddity = "MSH-18 names a charset that nobody knows; the sender's default is used"
        declared = ""
    codec = codec_named(declared if declared and declared != DELETE else default_charset)
    if codec is None:
        raise Invalid("a charset that nobody knows", at="charset", fix="use a value of table 0211, or utf-8")
    return codec, oddity


def _segment_texts(text: str, oddities: list[str]) -> list[str]:
    """Cut at CR, LF or CR LF; a piece that is no segment is the rest of a broken line and goes back to its segment."""
    if "\n" in text:
        if "\r" in text and text.count("\r\n") != text.count("\n"):
            oddities.append("segments end in different ways")
        text = text.replace("\r\n", "\r").replace("\n", "\r")
    mark = text[3:4]
    texts: list[str] = []
    for piece in text.split("\r"):
        if piece[3:4] == mark or len(piece) == 3:
            if _SEGMENT.match(piece):
                texts.append(piece)
                continue
        elif not piece or not piece.strip("\x0b\x1c \t"):
            continue
        if not texts:
            raise Malformed("no MSH segment at the start", at="MSH")
        bare = piece.lstrip(" \t")
        if bare[3:4] == mark and _SEGMENT.match(bare):
            oddities.append("spaces before a segment")
            texts.append(bare)
            continue
        oddities.append(f"a line end inside segment {len(texts)} ({texts[-1][:3]})")
        texts[-1] = f"{texts[-1]}\n{piece}"
    return texts


def peek(
    raw: bytes, names: frozenset[bytes] = frozenset(), *, default_charset: str = "utf-8", charset: str = ""
) -> dict[str, Segment]:
    """MSH and the first of each segment named (``b"PID"``), without reading the rest: a look from the wire.

    The answer always has ``MSH``; other segments only when they are there. Indexes of the segments are not counted.

    Raises:
        Malformed: no MSH at the start, or delimiters that cannot be used.
    """
    oddities: list[str] = []
    begins = raw[:4]
    usual = begins[:3] == b"MSH" and begins[3:] != b"\x00"
    if not usual and wide_codec(raw) is not None:
        message = Message.parse(raw, default_charset=default_charset, charset=charset)
        wanted = {name.decode("ascii") for name in names}
        found = {s.id: s for s in reversed(message.segments) if s.id in wanted}
        return {**found, "MSH": message.header}
    start = 0 if usual else raw.find(b"MSH")
    line = _line_at(raw, max(start, 0))
    codec = _codec_of(raw, line[:_HEADER_BYTES], default_charset, charset, oddities)
    if start < 0 or (start and raw[:start].strip(b"\r\n\t \x0b\x1c")):
        raise Malformed("no MSH segment at the start", at="MSH", fix="send one message that begins with MSH")
    head, clean = decode(line, codec)
    message = Message(raw, [head], codec, Delimiters.of_header(head, oddities))
    message.doubtful = not clean
    out = {"MSH": message.header}
    mark = message.delimiters.field.encode(codec, "replace") if names else b""
    for name in names:
        place = _line_with(raw, name + mark, start)
        if place:
            text, clean = decode(_line_at(raw, place), codec)
            message.doubtful = message.doubtful or not clean
            out[text[:3]] = Segment(message, text, 1, 1)
    return out


def _line_with(raw: bytes, beginning: bytes, start: int) -> int:
    place = raw.find(b"\r" + beginning, start)
    return (place if place >= 0 else raw.find(b"\n" + beginning, start)) + 1


def _line_at(raw: bytes, start: int) -> bytes:
    end = raw.find(b"\r", start)
    line = raw[start:end] if end >= 0 else raw[start:]
    if b"\n" in line:
        line = line[: line.index(b"\n")]
    return line.rstrip(b"\x1c\x0b") if line[-1:] in _FRAMING else line
