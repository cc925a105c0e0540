"""One vocabulary of failure inside; each edge translates it (HTTP status, HL7 acknowledgement, exit code)."""

import traceback
from enum import StrEnum
from typing import ClassVar


class Category(StrEnum):
    """What kind of failure it is, and so who must act."""

    MALFORMED = "malformed"  # the sender must fix the bytes
    INVALID = "invalid"  # the sender must fix the content
    UNSUPPORTED = "unsupported"  # nobody built it, or it cannot be honoured
    UNAUTHORIZED = "unauthorized"  # no proof of who is calling
    NOT_FOUND = "not-found"
    GONE = "gone"
    FORBIDDEN = "forbidden"  # consent or scope says no
    CONFLICT = "conflict"
    PRECONDITION = "precondition"  # If-Match or another stated condition does not hold
    TOO_LARGE = "too-large"
    BUSY = "busy"  # try again later, unchanged
    EXHAUSTED = "exhausted"  # the caller has had what it may have for now
    FAULT = "fault"  # our bug


class DoorwayError(Exception):
    """A failure with its place and its mend; never with a value from a record.

    Args:
        message: what is wrong, in words that hold no data of a person.
        at: where: ``PID-7``, ``Client.csv:12 DOB``, ``Patient.birthDate``.
        fix: what the reader can do about it; empty when the message says it.
    """

    category: ClassVar[Category] = Category.FAULT

    def __init__(self, message: str, *, at: str = "", fix: str = "") -> None:
        self.message = message
        self.at = at
        self.fix = fix
        super().__init__(": ".join(part for part in (at, message) if part) + (f" ({fix})" if fix else ""))


class Malformed(DoorwayError):
    """The bytes do not follow their format."""

    category = Category.MALFORMED


class Invalid(DoorwayError):
    """The bytes are well formed, the content is not allowed."""

    category = Category.INVALID


class Unsupported(DoorwayError):
    """Something that this gateway does not do, said instead of ignored."""

    category = Category.UNSUPPORTED


class Unauthorized(DoorwayError):
    """The caller has not proved who it is."""

    category = Category.UNAUTHORIZED


class NotFound(DoorwayError):
    """No such thing, or nothing that the caller may know of: the two must look alike."""

    category = Category.NOT_FOUND


class Gone(DoorwayError):
    """It was here and was deleted."""

    category = Category.GONE


class Forbidden(DoorwayError):
    """Consent, law or scope says no."""

    category = Category.FORBIDDEN


class Conflict(DoorwayError):
    """The request contradicts what is stored."""

    category = Category.CONFLICT


class PreconditionFailed(DoorwayError):
    """A condition that the caller stated does not hold."""

    category = Category.PRECONDITION


class TooLarge(DoorwayError):
    """More bytes, rows or nesting than the configured limit."""

    category = Category.TOO_LARGE


class Busy(DoorwayError):
    """Try again later, unchanged."""

    category = Category.BUSY


class Exhausted(DoorwayError):
    """The caller's budget for this kind of question is spent for now."""

    category = Category.EXHAUSTED


class Fault(DoorwayError):
    """A defect of ours."""

    category = Category.FAULT


def trace_of(error: BaseException) -> str:
    """Type and frames of ``error`` without its text, which may quote a record; fit for a log line."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} at " + " < ".join(f"{f.filename}:{f.lineno}" for f in reversed(frames))
