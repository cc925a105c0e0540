"""MLLP frames (HL7 v2 Transport Specification: MLLP, releases 1 and 2): a byte stream in, payloads out; no sockets.

A frame is VT payload FS CR. Tolerated, because real senders do it: CR, LF or FS between frames; FS without CR before
the next VT or when nothing more comes (:meth:`FrameDecoder.finish`); two FS; a message that begins without VT; FS
inside a payload (only FS CR ends it, so no message is cut short and acknowledged). A frame that begins again before it
ended (VT MSH inside a payload) is given up, and never swallows the next.

Release 2: the receiver says with one byte in a frame of its own that it has the message safe (06) or not (15).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Final, Literal, TypeAlias

from gateway.kernel.errors import Malformed

VT: Final = b"\x0b"
FS: Final = b"\x1c"
END: Final = b"\x1c\r"
COMMIT_ACK: Final = b"\x06"
COMMIT_NAK: Final = b"\x15"
_BETWEEN: Final = b"\r\n\x1c"  # harmless between frames
_HEADS: Final = (b"MSH", b"FHS", b"BHS")
_HELD: Final = 3  # bytes that may begin an end (FS CR) or a restart (VT MSH)
_VT_BYTE: Final = VT[0]
_FS_BYTE: Final = FS[0]
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

    What has come of a frame is kept once, and handed out without another copy when it is whole: a connection costs
    little more than the longest payload, whatever the other side does.

    Args:
        max_bytes: longest payload. Of a longer one the beginning is kept, the rest is passed over as it comes, so
            memory stays bounded and the sender can be told.
    """

    __slots__ = ("_body", "_head", "_held", "_inside", "_max_bytes", "_size", "_skipped")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._body: BytesIO | None = None  # bytes of the payload that hold no end; made when a frame comes in pieces
        self._size = 0  # of it
        self._held = b""  # the last bytes that came: an end or a restart may be split across two reads
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
        return self._inside and self._held.endswith(FS)

    def whole(self, data: bytes) -> bytes | None:
        """The payload when ``data`` is one frame, whole, alone, and nothing came before it: the usual case."""
        size = len(data) - 2
        if (
            self._inside
            or self._held
            or data[:1] != VT
            or not 0 < size <= self._max_bytes + 1
            or data.find(FS) != size
            or data[-1:] != b"\r"
            or data.find(VT, 1) >= 0
        ):
            return None
        return data[1:-2]

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield each frame completed by ``data``.

        Raises:
            Malformed: bytes that are neither in a frame nor the beginning of one: out of step, close the connection.
        """
        window, at = self._held + data if self._held else data, 0
        self._held = b""
        while at < len(window):
            if not self._inside:
                at = self._begin(window, at)
                continue
            end = _end_of_frame(window, at)
            if end < 0:
                self._hold(window, at)
                return
            frame = self._cut(window, at, end)
            at = end if window[end] == _VT_BYTE else end + (2 if window[end + 1 : end + 2] == b"\r" else 1)
            if frame is not None:
                yield frame

    def finish(self) -> Iterator[Frame]:
        """The sender is silent after FS: take the frame as ended."""
        if self.ends_with_fs:
            held, self._held = self._held, b""
            yield self._frame(self._payload(held, 0, len(held)))

    def leftover(self) -> bytes:
        """What had come of a frame that never ended; for diagnosis."""
        begun = b"" if self._body is None else bytes(self._body.getbuffer()[:_KEPT_OF_OVERSIZE])
        return self._head or (begun + self._held)[:_KEPT_OF_OVERSIZE]

    def _begin(self, window: bytes, at: int) -> int:
        """Pass over what is harmless and the VT; where the payload begins, or where the bytes end before it does."""
        while window[at] in _BETWEEN:
            at += 1
            if at == len(window):
                return at
        if window[at] == _VT_BYTE:
            self._inside = True
            return at + 1
        beginning = window[at : at + 3]
        if not any(head.startswith(beginning) for head in _HEADS):
            self._held = window[at : at + _KEPT_OF_OVERSIZE]
            raise Malformed("bytes outside an MLLP frame", at="frame", fix="send VT, message, FS, CR")
        if len(beginning) < 3:
            self._held = beginning
            return len(window)
        self._inside = True
        return at

    def _hold(self, window: bytes, at: int) -> None:
        """Keep the bytes from ``at`` on until more come; those of a payload that is too long are only counted."""
        cut = max(len(window) - _HELD, at)
        self._held = window[cut:]
        if self._skipped:
            self._skipped += cut - at
            return
        if self._body is None:
            self._body = BytesIO()
        self._size += self._body.write(memoryview(window)[at:cut])
        if self._size + len(self._held) > self._max_bytes + len(END):
            self._head = bytes(self._body.getbuffer()[:_KEPT_OF_OVERSIZE])
            self._skipped, self._size, self._body = self._size, 0, None

    def _cut(self, window: bytes, at: int, end: int) -> Frame | None:
        size = self._skipped + self._size + end - at
        payload = self._payload(window, at, end)
        if window[end] != _VT_BYTE:
            return self._frame(payload, size)
        begun, self._head, self._skipped = self._head or payload, b"", 0  # and begun again before it had ended
        return Frame(begun[:_KEPT_OF_OVERSIZE], "interrupted", size) if begun.strip(_BETWEEN) else None

    def _payload(self, window: bytes, at: int, end: int) -> bytes:
        """What was kept of the payload and its last bytes; between frames again."""
        body, self._body, self._size, self._inside = self._body, None, 0, False
        if body is None:
            return window[at:end]
        body.write(memoryview(window)[at:end])
        return body.getvalue()  # its own buffer, not a copy of it

    def _frame(self, payload: bytes, size: int = 0) -> Frame:
        size = size or self._skipped + len(payload)
        head, self._head, self._skipped = self._head, b"", 0
        if size > self._max_bytes:
            return Frame(head or payload[:_KEPT_OF_OVERSIZE], "too-large", size)
        payload = payload.rstrip(FS) if payload.endswith(FS) else payload
        return Frame(payload, size=len(payload))


def _end_of_frame(window: bytes, at: int) -> int:
    """Where the payload that goes on at ``at`` ends (FS CR, FS VT) or begins anew (VT MSH); negative: not in here."""
    end = window.find(END, at)
    until = end if end >= 0 else len(window)
    again = window.find(VT, at, until)
    while again >= 0:
        if again > at and window[again - 1] == _FS_BYTE:
            return again - 1
        if window[again + 1 : again + 4] in _HEADS:
            return again
        again = window.find(VT, again + 1, until)
    return end
