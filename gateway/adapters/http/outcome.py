"""Errors as HTTP: each category has one status and one issue code; every answer is an OperationOutcome.

An OperationOutcome says what is wrong, where (an expression, a header, a parameter) and what to do, and never holds a
value of a record or of the request.
"""

from collections.abc import Sequence
from typing import ClassVar, Final

from gateway.codecs import json_text
from gateway.exchange.rest.issues import Issue, issues_of
from gateway.kernel.errors import Category, DoorwayError, Fault
from gateway.kernel.fhir import JsonObject

STATUS: Final[dict[Category, tuple[int, str]]] = {
    Category.MALFORMED: (400, "structure"),
    Category.INVALID: (422, "invalid"),
    Category.UNSUPPORTED: (400, "not-supported"),
    Category.UNAUTHORIZED: (401, "login"),
    Category.NOT_FOUND: (404, "not-found"),
    Category.GONE: (410, "deleted"),
    Category.FORBIDDEN: (403, "forbidden"),
    Category.CONFLICT: (409, "conflict"),
    Category.PRECONDITION: (412, "conflict"),
    Category.TOO_LARGE: (413, "too-long"),
    Category.BUSY: (503, "transient"),
    Category.EXHAUSTED: (429, "throttled"),
    Category.FAULT: (500, "exception"),
}


class HttpError(DoorwayError):
    """A failure of the HTTP exchange itself, with its own status."""

    category: ClassVar[Category] = Category.UNSUPPORTED
    status: ClassVar[int] = 400
    code: ClassVar[str] = "not-supported"


class NotAllowed(HttpError):
    """The address is right, the method is not; ``allow`` lists those that are."""

    status = 405

    def __init__(self, allow: Sequence[str]) -> None:
        self.allow = tuple(allow)
        super().__init__("method not allowed here", at="method", fix=", ".join(self.allow))


class NotAcceptable(HttpError):
    """None of the formats asked for is one of ours."""

    status = 406


class UnsupportedMedia(HttpError):
    """The body is in a format that is not ours."""

    status = 415


class TooMany(HttpError):
    """Too many requests of one client; ``retry_after_s`` says when to come back."""

    status = 429
    code = "throttled"

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message, fix=f"come back after {retry_after_s} s")


class TimedOut(HttpError):
    """The request did not arrive in time."""

    status = 408
    code = "timeout"


def status_of(error: DoorwayError) -> int:
    """The HTTP status for an error."""
    return error.status if isinstance(error, HttpError) else STATUS[error.category][0]


def code_of(error: DoorwayError) -> str:
    """The issue code for an error."""
    return error.code if isinstance(error, HttpError) else STATUS[error.category][1]


def outcome_of(error: DoorwayError, *, incident: str = "") -> bytes:
    """The OperationOutcome for an error, as JSON.

    Args:
        incident: the request's id, given with a fault so that its log line can be found.
    """
    issues = issues_of(error, code_of(error))
    if isinstance(error, Fault) or error.category is Category.FAULT:
        issues = [Issue("fatal", "exception", "a defect of ours", fix=f"report incident {incident}")]
    return json_text.write(outcome(issues))


def outcome(issues: Sequence[Issue]) -> JsonObject:
    """An OperationOutcome of some issues."""
    return {"resourceType": "OperationOutcome", "issue": [issue.as_fhir() for issue in issues]}


def headers_of(error: DoorwayError) -> list[tuple[str, str]]:
    """The headers that the status asks for: Allow, Accept-Encoding, Retry-After, WWW-Authenticate."""
    if isinstance(error, NotAllowed):
        return [("Allow", ", ".join(error.allow))]
    if isinstance(error, UnsupportedMedia) and error.at == "Content-Encoding":
        return [("Accept-Encoding", "gzip")]
    if isinstance(error, TooMany):
        return [("Retry-After", str(error.retry_after_s))]
    if error.category is Category.UNAUTHORIZED:
        return [("WWW-Authenticate", 'Bearer realm="doorway"')]
    if error.category is Category.BUSY:
        return [("Retry-After", "1")]
    if error.category is Category.EXHAUSTED:
        return [("Retry-After", "900")]
    if error.category is Category.TOO_LARGE:
        return [("Retry-After", "3600")]  # the limit does not change by itself
    return []


def preferred(returning: str, body: bytes, status: int) -> bytes:
    """The body of a write as Prefer asks for it."""
    if returning == "minimal":
        return b""
    if returning == "OperationOutcome":
        text = "created" if status == 201 else "updated"
        return json_text.write(outcome([Issue("information", "informational", text)]))
    return body
