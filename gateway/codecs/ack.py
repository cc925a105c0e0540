"""Acknowledgements of HL7 v2 (v2.5.1 ch. 2.9): which are due, with which code, and their text.

==========================  =========================================================================================
MSH-15 and MSH-16           meaning
==========================  =========================================================================================
both empty                  original mode: one application acknowledgement, AA AE AR
one or both valued          enhanced mode: MSH-15 rules the accept acknowledgement (CA CE CR), MSH-16 that of the
                            application; an empty one counts as NE; a value that is not of table 0155 as empty
AL NE ER SU                 always; never; on error or reject; on success
==========================  =========================================================================================

A message that is not accepted (CE, CR) never reaches the application, so no second answer follows; when MSH-15 does
not want to hear of it, the application acknowledgement says so, if MSH-16 wants it. NE and NE: silence, as asked.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from typing import Final

from gateway.codecs.er7 import Delimiters, Segment
from gateway.codecs.er7_batch import Batch, Interchange
from gateway.codecs.er7_escape import escape_value
from gateway.kernel.errors import Category, DoorwayError, Malformed

TABLE_0155: Final = frozenset({"AL", "NE", "ER", "SU"})


class Outcome(Enum):
    """How a step ended: the letters of the accept and of the application acknowledgement."""

    OK = ("CA", "AA")
    ERROR = ("CE", "AE")
    REJECT = ("CR", "AR")


@dataclass(frozen=True, slots=True)
class Due:
    """The codes to send for a message: at once, and after processing; None where nothing is due."""

    accept: str | None
    application: str | None


def wants(condition: str, outcome: Outcome) -> bool:
    """Whether a value of table 0155 asks for an acknowledgement of ``outcome``."""
    return condition == "AL" or condition == ("SU" if outcome is Outcome.OK else "ER")


def wants_any(condition: str) -> bool:
    """Whether a value of table 0155 asks for an acknowledgement of any outcome."""
    return condition in {"AL", "ER", "SU"}


def enhanced(msh_15: str, msh_16: str) -> bool:
    """Whether the two fields ask for enhanced mode."""
    return msh_15 in TABLE_0155 or msh_16 in TABLE_0155


def due(msh_15: str, msh_16: str, accepted: Outcome, processed: Outcome = Outcome.OK) -> Due:
    """What to answer when the message was ``accepted`` (durably stored, or refused) and then ``processed``."""
    final = processed if accepted is Outcome.OK else accepted
    if not enhanced(msh_15, msh_16):
        return Due(None, final.value[1])
    at_once = accepted.value[0] if wants(msh_15, accepted) else None
    later = final.value[1] if wants(msh_16, final) else None
    if accepted is not Outcome.OK and at_once is not None:
        later = None
    return Due(at_once, later)


@dataclass(frozen=True, slots=True)
class Answer:
    """How a category of failure is said in HL7: outcome and condition code (table 0357)."""

    outcome: Outcome
    code: str
    text: str


ANSWERS: Final = {
    Category.MALFORMED: Answer(Outcome.REJECT, "100", "Segment sequence error"),
    Category.INVALID: Answer(Outcome.ERROR, "102", "Data type error"),
    Category.UNSUPPORTED: Answer(Outcome.REJECT, "200", "Unsupported message type"),
    Category.UNAUTHORIZED: Answer(Outcome.REJECT, "207", "Application internal error"),
    Category.NOT_FOUND: Answer(Outcome.ERROR, "204", "Unknown key identifier"),
    Category.GONE: Answer(Outcome.ERROR, "204", "Unknown key identifier"),
    Category.FORBIDDEN: Answer(Outcome.REJECT, "207", "Application internal error"),
    Category.CONFLICT: Answer(Outcome.ERROR, "205", "Duplicate key identifier"),
    Category.PRECONDITION: Answer(Outcome.ERROR, "204", "Unknown key identifier"),
    Category.TOO_LARGE: Answer(Outcome.REJECT, "104", "Value too long"),
    Category.BUSY: Answer(Outcome.ERROR, "206", "Application record locked"),
    Category.EXHAUSTED: Answer(Outcome.REJECT, "207", "Application internal error"),
    Category.FAULT: Answer(Outcome.ERROR, "207", "Application internal error"),
}
_CONTROLS: Final = re.compile(r"[\x00-\x1f]")
_BY_PLACE: Final = {  # an unsupported value in the header has a code of its own
    "MSH-9.2": Answer(Outcome.REJECT, "201", "Unsupported event code"),
    "MSH-11": Answer(Outcome.REJECT, "202", "Unsupported processing id"),
    "MSH-12": Answer(Outcome.REJECT, "203", "Unsupported version id"),
    "MSH-13": Answer(Outcome.ERROR, "207", "Application internal error"),  # out of sequence: no code of its own
}
_PLACED: Final = frozenset({Category.UNSUPPORTED, Category.PRECONDITION})
_PLACE: Final = re.compile(r"([A-Z][A-Z0-9]{2})(?:\[(\d+)\])?(?:-(\d+)(?:\[(\d+)\])?(?:\.(\d+)(?:\.(\d+))?)?)?")


def answer_of(error: DoorwayError) -> Answer:
    """The HL7 way to say ``error``."""
    if error.category in _PLACED and error.at in _BY_PLACE:
        return _BY_PLACE[error.at]
    if error.category is Category.INVALID and "missing" in error.message:
        return Answer(Outcome.ERROR, "101", "Required field missing")
    return ANSWERS[error.category]


def acknowledge(
    head: Segment | None,
    code: str,
    *,
    control_id: str,
    now_us: int,
    error: DoorwayError | None = None,
    text: str = "",
    expected: int | None = None,
) -> bytes:
    """The bytes of an ACK.

    Args:
        head: MSH of the message answered; None when it had none that could be read.
        code: MSA-1.
        control_id: MSH-10 of the ACK, unique.
        now_us: MSH-7, microseconds since 1970 UTC.
        error: told in ERR with its place and a condition code; its words hold no value of a record.
        text: MSA-3.
        expected: MSA-4, of the sequence number protocol.
    """
    if head is None:
        marks, codec, asked = Delimiters(), "utf-8", [""] * 19
        asked[11:13] = ["P", "2.5.1"]
    else:
        marks, codec = head.message.delimiters, head.message.codec
        asked = [*head.fields[:19], *[""] * (19 - len(head.fields))]
        if _CONTROLS.search(head.text):  # a broken line inside MSH must not begin a segment of ours
            asked = [_CONTROLS.sub(" ", field) for field in asked]
    f = marks.field
    sent = stamp(now_us)
    trigger = "" if head is None else head.message.trigger
    kind = marks.component.join(["ACK", trigger, "ACK"]) if trigger and marks.component else "ACK"
    own = "NE" if code[0] == "A" and enhanced(asked[15], asked[16]) else ""
    out = [
        f"MSH{f}{marks.msh_2 if head is None else asked[2]}{f}{asked[5]}{f}{asked[6]}{f}{asked[3]}{f}{asked[4]}{f}"
        f"{sent}{f}{f}{kind}{f}{control_id}{f}{asked[11] or 'P'}{f}{asked[12] or '2.5.1'}"
    ]
    if own or asked[18]:
        out[0] += f"{f * 3}{own}{f}{own}{f * 2}{asked[18]}".rstrip(f)
    said = text if error is None else f"{error.message}"
    number = "" if expected is None else str(expected)
    out.append(f"MSA{f}{code}{f}{asked[10]}{f}{_safe(said, marks, codec)}{f}{number}".rstrip(f))
    if error is not None:
        out.append(_err(error, marks, codec, asked[12]))
    return ("\r".join(out) + "\r").encode(
        codec, "surrogateescape" if codec[:3] != "utf" or codec == "utf-8" else "replace"
    )


def stamp(now_us: int) -> str:
    """MSH-7 of an acknowledgement: microseconds since 1970 UTC to the second."""
    return _stamp(now_us // 1_000_000)


@lru_cache(8)
def _stamp(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%d%H%M%S+0000")


def _safe(text: str, marks: Delimiters, codec: str) -> str:
    return escape_value(text, marks.marks, marks.escape or "\\", codec) if text else ""


def _err(error: DoorwayError, marks: Delimiters, codec: str, version: str) -> str:
    f, c, answer = marks.field, marks.component or " ", answer_of(error)
    found = _PLACE.fullmatch(error.at)
    segment, sequence, number, repetition, component, sub = found.groups() if found else ("",) * 6
    coded = [answer.code, answer.text, "HL70357"]
    if version[:3] in {"2.1", "2.2", "2.3", "2.4"}:  # ERR-1 (ELD) until 2.4
        inner = marks.subcomponent or " "
        place = c.join([segment or "", (sequence or "1") if segment else "", number or "", inner.join(coded)])
        return f"ERR{f}{place}"
    parts = [
        segment or "",
        (sequence or "1") if segment else "",
        number or "",
        repetition or "",
        component or "",
        sub or "",
    ]
    if number and not repetition:
        parts[3] = "1"
    place = c.join(parts).rstrip(c)
    said = _safe(error.message + (f"; {error.fix}" if error.fix else ""), marks, codec)
    return f"ERR{f}{f}{place}{f}{c.join(coded)}{f}E{f}{f}{f}{f}{said}"


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What an acknowledgement says."""

    code: str  # MSA-1
    control_id: str  # MSA-2 as it stands
    conditions: tuple[str, ...] = ()  # table 0357 codes of its ERR segments

    @property
    def outcome(self) -> Outcome:
        """OK, ERROR or REJECT by the second letter."""
        return {"A": Outcome.OK, "E": Outcome.ERROR, "R": Outcome.REJECT}[self.code[1]]


def read_acknowledgement(raw: bytes) -> Acknowledged:
    """Read MSA and ERR of a reply.

    Raises:
        Malformed: no MSA with a code of table 0008; such a reply counts as none.
    """
    from gateway.codecs.er7 import Message

    message = Message.parse(raw)
    msa = message.first("MSA")
    code = msa.raw(1) if msa is not None else ""
    if msa is None or code not in {"AA", "AE", "AR", "CA", "CE", "CR"}:
        raise Malformed("a reply without MSA-1", at="MSA-1")
    conditions = [value for err in message.all("ERR") if (value := err.get(3) or err.get(1, 1, 4))]
    return Acknowledged(code, msa.raw(2), tuple(conditions))


def batch_acknowledgement(
    asked: Interchange, answers: Sequence[Sequence[bytes]], *, control_id: str, now_us: int
) -> bytes:
    """The ACKs of each batch in BHS and BTS, and in FHS and FTS when a file came, names swapped (v2.5.1 ch. 2.10.3).

    Args:
        answers: the ACKs due, by batch of ``asked``.
    """
    out = []
    if asked.header:
        out.append(_envelope(b"FHS", asked.header, f"{control_id}F", now_us))
    for number, (batch, acks) in enumerate(zip(asked.batches, answers, strict=True), start=1):
        out.append(_envelope(b"BHS", _header_of(batch, asked), f"{control_id}{number}", now_us))
        out.extend(acks)
        out.append(b"BTS" + _mark_of(_header_of(batch, asked)) + str(len(acks)).encode() + b"\r")
    if asked.header:
        out.append(b"FTS" + _mark_of(asked.header) + str(len(asked.batches)).encode() + b"\r")
    return b"".join(out)


def _header_of(batch: Batch, asked: Interchange) -> bytes:
    return batch.header or asked.header


def _mark_of(header: bytes) -> bytes:
    return header[3:4] or b"|"


def _envelope(name: bytes, header: bytes, control_id: str, now_us: int) -> bytes:
    mark = _mark_of(header)
    fields = re.split(rb"[\r\n]", header)[0].split(mark)
    fields += [b""] * (12 - len(fields))
    sent = stamp(now_us).encode()
    parts = [name, fields[1] or b"^~\\&", fields[4], fields[5], fields[2], fields[3], sent, b"", b"", b""]
    return mark.join([*parts, control_id.encode(), fields[10]]).rstrip(mark) + b"\r"
