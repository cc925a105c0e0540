"""Files and batches of HL7 v2 messages (v2.5.1 ch. 2.10.3): FHS [BHS messages BTS]... FTS, and bare rows of messages.

Cutting is done on the received bytes; each message keeps exactly its own.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from gateway.codecs.er7_charset import wide_codec

_STARTS: Final = re.compile(rb"(?:\A|(?<=[\r\n\x0b\x1c]))[ \t]*(MSH|FHS|BHS|BTS|FTS)(?![A-Za-z0-9 ])")


@dataclass(frozen=True, slots=True)
class Batch:
    """The messages between a BHS and its BTS; without them (``header`` empty) a bare row of messages."""

    messages: tuple[bytes, ...] = field(repr=False)
    header: bytes = field(default=b"", repr=False)  # BHS as received
    trailer: bytes = field(default=b"", repr=False)  # BTS as received


@dataclass(frozen=True, slots=True)
class Interchange:
    """Everything that came in one file or one frame."""

    batches: tuple[Batch, ...]
    header: bytes = field(default=b"", repr=False)  # FHS
    trailer: bytes = field(default=b"", repr=False)  # FTS
    problems: tuple[str, ...] = ()  # counts that do not fit, missing trailers, bytes outside: places, never values

    @property
    def messages(self) -> tuple[bytes, ...]:
        """Every message in order."""
        return tuple(message for batch in self.batches for message in batch.messages)

    @property
    def enveloped(self) -> bool:
        """Whether a file or batch header came with it, so that the answer is a batch too."""
        return bool(self.header or any(batch.header for batch in self.batches))


def split_interchange(raw: bytes) -> Interchange:
    """Cut a file or frame into batches and messages; one bare message is one batch of one.

    Nothing is refused here: bytes before the first header are a problem named in the result, and a file without any
    header has no messages.
    """
    wide = wide_codec(raw)
    if wide is not None and not wide[0].startswith("utf-8"):
        return _split_wide(raw, *wide)
    body = raw[3:] if raw.startswith(b"\xef\xbb\xbf") else raw
    starts = [(found.start(1), found[1]) for found in _STARTS.finditer(body)]
    pieces = [
        (name, body[start : starts[i + 1][0] if i + 1 < len(starts) else len(body)])
        for i, (start, name) in enumerate(starts)
    ]
    if len(pieces) == 1 and pieces[0][0] == b"MSH":
        return Interchange((Batch((raw,)),))
    lead = body[: starts[0][0]] if starts else body
    return _assembled(pieces, ["bytes before the first header"] if lead.strip(b"\r\n \t\x0b\x1c") else [])


def _split_wide(raw: bytes, codec: str, mark: int) -> Interchange:
    """UTF-16 and UTF-32: cut the text, then give each message its bytes again, with the mark."""
    text = raw[mark:].decode(codec, "replace").encode("utf-8")
    found = split_interchange(text)
    if found.messages == (text,):
        return Interchange((Batch((raw,)),))

    def back(piece: bytes) -> bytes:
        return raw[:mark] + piece.decode("utf-8").encode(codec) if piece else b""

    return Interchange(
        tuple(Batch(tuple(map(back, b.messages)), back(b.header), back(b.trailer)) for b in found.batches),
        back(found.header),
        back(found.trailer),
        found.problems,
    )


def _assembled(pieces: list[tuple[bytes, bytes]], problems: list[str]) -> Interchange:
    batches: list[Batch] = []
    file_header = file_trailer = b""
    header, messages = b"", list[bytes]()
    for name, piece in pieces:
        piece = piece.strip(b"\x0b\x1c") if name == b"MSH" else piece.strip(b"\r\n\x0b\x1c")
        if name == b"MSH":
            messages.append(piece)
        elif name == b"FHS":
            file_header = piece
        elif name == b"BHS":
            if header:
                problems.append(f"batch {len(batches) + 1} has no BTS")
            if header or messages:
                batches.append(Batch(tuple(messages), header))
            header, messages = piece, []
        elif name == b"BTS":
            _check_count(piece, len(messages), f"BTS-1 of batch {len(batches) + 1}", problems)
            batches.append(Batch(tuple(messages), header, piece))
            header, messages = b"", []
        else:
            file_trailer = piece
    if header:
        problems.append(f"batch {len(batches) + 1} has no BTS")
    if header or messages:
        batches.append(Batch(tuple(messages), header))
    if file_header and not file_trailer:
        problems.append("the file has no FTS")
    if file_trailer:
        with_header = sum(1 for batch in batches if batch.header)
        _check_count(file_trailer, with_header or len(batches), "FTS-1", problems)
    return Interchange(tuple(batches), file_header, file_trailer, tuple(problems))


def _check_count(trailer: bytes, counted: int, at: str, problems: list[str]) -> None:
    said = trailer[4:].split(trailer[3:4], 1)[0].strip() if len(trailer) > 4 else b""
    if not said:
        return
    if not said.isdigit():
        problems.append(f"{at} is not a number")
    elif int(said) != counted:
        problems.append(f"{at} does not fit: {counted} came")
