"""MLLP frames (HL7 v2 Transport Specification: MLLP, releases 1 and 2): a byte stream in, payloads out; no sockets.

A frame is VT payload FS CR. Tolerated, because real senders do it: CR, LF or FS between frames; FS without CR before
the next VT or when nothing more comes (:meth:`FrameDecoder.finish`); two FS; a message that begins without VT; FS
inside a payload (only FS CR ends it, so no message is cut short and acknowledged). A frame that begins again before it
ended (VT MSH inside a payload) is given up, and never swallows the next.

Release 2: the receiver says with one byte in a frame of its own that it has the message safe (06) or not (15).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from gateway.kernel.errors import Malformed

VT: Final = b"\x0b"
FS: Final = b"\x1c"
END: Final = b"\x1c\r"
COMMIT_ACK: Final = b"\x06"
COMMIT_NAK: Final = b"\x15"
_BETWEEN: Final = b"\r\n\x1c"  # harmless between frames
_HEADS: Final = (b"MSH", b"FHS", b"BHS")
_RESTARTS: Final = tuple(VT + head for head in _HEADS)
_KEPT_OF_OVERSIZE: Final = 4096  # enough for the MSH, so that the refusal can name the message

Trouble: TypeAlias = Literal["", "too-large", "interrupted", "unframed"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. With ``trouble`` it is not a message: ``payload`` is then what is kept for diagnosis."""

    payload: bytes = field(repr=False)
    trouble: Trouble = ""
    size: int = 0  # bytes of the payload as sent


def encode_frame(payload: bytes) -> bytes:
    """VT payload FS CR."""
    return VT + payload + END


class FrameDecoder:
    """Splits a byte stream into frames; one instance for one connection.

    Args:
        max_bytes: longest payload. Of a longer one the beginning is kept, the rest is passed over as it comes, so
            memory stays bounded and the sender can be told.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._searched = 0  # bytes known to hold no end, so a slow sender costs O(n), not O(n*n)
        self._skipped = 0  # bytes of an oversize payload passed over
        self._head = b""  # the kept beginning of it
        self._inside = False

    @property
    def idle(self) -> bool:
        """Between frames: nothing has begun."""
        return not self._inside

    @property
    def ends_with_fs(self) -> bool:
        """An FS has come and its CR not yet: if nothing more comes, call :meth:`finish`."""
        return self._inside and self._buffer.endswith(FS)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield each frame completed by ``data``.

        Raises:
            Malformed: bytes that are neither in a frame nor the beginning of one: out of step, close the connection.
        """
        if (
            not self._inside
            and not self._buffer
            and data[:1] == VT
            and data.find(END) == len(data) - 2 > 0 > data.find(VT, 1)
        ):
            yield self._frame(data[1:-2])  # the usual case: one frame, whole, alone
            return
        self._buffer += data
        while self._buffer:
            if not self._inside and not self._begin():
                return
            end = self._end_of_frame()
            if end < 0:
                self._searched = max(len(self._buffer) - 4, 0)  # an end or a restart may be split across two reads
                self._shed()
                return
            frame = self._cut(end)
            if frame is not None:
                yield frame

    def finish(self) -> Iterator[Frame]:
        """The sender is silent after FS: take the frame as ended."""
        if self.ends_with_fs:
            yield self._frame(bytes(self._buffer))
            self._reset(len(self._buffer))

    def leftover(self) -> bytes:
        """What had come of a frame that never ended; for diagnosis."""
        return self._head or bytes(self._buffer[:_KEPT_OF_OVERSIZE])

    def _begin(self) -> bool:
        """Pass over what is harmless and the VT; False when more bytes are needed."""
        skip = 0
        while skip < len(self._buffer) and self._buffer[skip] in _BETWEEN:
            skip += 1
        del self._buffer[:skip]
        if not self._buffer:
            return False
        if self._buffer.startswith(VT):
            del self._buffer[:1]
        elif not any(self._buffer.startswith(head[: len(self._buffer)]) for head in _HEADS):
            raise Malformed("bytes outside an MLLP frame", at="frame", fix="send VT, message, FS, CR")
        elif len(self._buffer) < 3:
            return False
        self._inside, self._searched = True, 0
        return True

    def _end_of_frame(self) -> int:
        """Where the payload ends; a negative number when it has not ended yet."""
        start = self._searched
        ends = [self._buffer.find(END, start), self._buffer.find(FS + VT, start)]
        ends += [place for restart in _RESTARTS if (place := self._buffer.find(restart, start)) >= 0]
        return min((end for end in ends if end >= 0), default=-1)

    def _cut(self, end: int) -> Frame | None:
        payload = bytes(memoryview(self._buffer)[:end])
        if self._buffer[end : end + 1] == VT:  # begun again before it had ended
            self._reset(end)
            return Frame(payload[:_KEPT_OF_OVERSIZE], "interrupted", end) if payload.strip(_BETWEEN) else None
        frame = self._frame(payload)
        self._reset(end + (2 if self._buffer[end + 1 : end + 2] == b"\r" else 1))
        return frame

    def _frame(self, payload: bytes) -> Frame:
        size = self._skipped + len(payload)
        if self._skipped or size > self._max_bytes:
            return Frame(self._head or payload[:_KEPT_OF_OVERSIZE], "too-large", size)
        payload = payload.rstrip(FS) if payload.endswith(FS) else payload
        return Frame(payload, size=len(payload))

    def _shed(self) -> None:
        if self._skipped or len(self._buffer) > self._max_bytes + len(END):
            self._head = self._head or bytes(self._buffer[:_KEPT_OF_OVERSIZE])
            keep = 4
            self._skipped += max(len(self._buffer) - keep, 0)
            del self._buffer[:-keep]
            self._searched = 0

    def _reset(self, used: int) -> None:
        del self._buffer[:used]
        self._searched = self._skipped = 0
        self._head = b""
        self._inside = False
