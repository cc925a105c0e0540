"""Issues of an OperationOutcome: what is wrong, where, and what to do, in one shape for every use case."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.kernel.errors import Category, Conflict, DoorwayError, Invalid, PreconditionFailed
from gateway.kernel.fhir import JsonObject

ERRORS: Final = frozenset({"fatal", "error"})
_IN_ENTRY: Final = {  # what is a header or part of the address outside of a Bundle, by where an entry says it
    "If-Match": "request.ifMatch", "If-None-Match": "request.ifNoneMatch", "If-None-Exist": "request.ifNoneExist",
    "criteria": "request.url", "address": "request.url", "method": "request.method", "Authorization": "request",
    "resourceType": "resource", "id": "resource.id", "body": "resource",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Issue:
    """One issue: severity and code of R4, text without values of a record, ``at`` as FHIRPath or name of a place."""

    severity: str
    code: str
    text: str
    at: str = ""
    fix: str = ""

    def as_fhir(self) -> JsonObject:
        """As an element of ``OperationOutcome.issue``."""
        text = ": ".join(part for part in (self.at, self.text) if part) + (f" ({self.fix})" if self.fix else "")
        made: JsonObject = {"severity": self.severity, "code": self.code, "diagnostics": text}
        if self.at:
            made["expression"] = [self.at]
        return made

    def below(self, prefix: str, *, relative: bool = False) -> "Issue":
        """The same issue of an entry that stands at ``prefix`` (``Bundle.entry[2]``): as an expression of that Bundle.

        Args:
            relative: the place is one of the entry's resource, even where that is a Bundle too.
        """
        at = self.at
        if not relative and (at == prefix or at.startswith(f"{prefix}.")):
            return self
        if at in _IN_ENTRY:
            return replace(self, at=f"{prefix}.{_IN_ENTRY[at]}")
        if at.startswith(("request", "resource")):
            return replace(self, at=f"{prefix}.{at}")
        if at[:1].isupper() and "?" not in at:
            tail = at.partition(".")[2]
            return replace(self, at=f"{prefix}.resource.{tail}" if tail else f"{prefix}.resource")
        told = replace(self, text=": ".join(part for part in (at, self.text) if part))  # a parameter, a step of a patch
        return replace(told, at=f"{prefix}.request.url" if "?" in at or at.startswith("_") else prefix)


class Rejected(Invalid):
    """A resource that the rules refuse, with everything that is wrong with it."""

    def __init__(self, issues: Sequence[Issue]) -> None:
        self.issues = tuple(issues)
        first = next((issue for issue in issues if issue.severity in ERRORS), issues[0])
        super().__init__(first.text, at=first.at, fix=first.fix)


class Coded(DoorwayError):
    """A failure whose category, issue code and very words a standard fixes."""

    def __init__(self, category: Category, code: str, words: str) -> None:
        self.category = category  # type: ignore[misc]
        self.code = code
        super().__init__(words)


class ManyMatches(PreconditionFailed):
    """A conditional interaction found more than one match among what the caller may see."""

    def __init__(self, at: str) -> None:
        super().__init__("more than one match", at=at, fix="make the condition name one resource")


class EntriesFailed(DoorwayError):
    """A transaction that is undone because entries failed: each with its place in the Bundle."""

    def __init__(self, failed: Sequence[tuple[int, DoorwayError]]) -> None:
        self.failed = tuple(failed)
        first = failed[0][1]
        self.category = first.category  # type: ignore[misc]
        super().__init__(first.message, at=f"Bundle.entry[{failed[0][0]}]", fix=first.fix)


def issues_of(error: DoorwayError, code: str) -> list[Issue]:
    """Every issue that an error carries; ``code`` is the issue type for a plain one."""
    if isinstance(error, EntriesFailed):
        return [
            issue.below(f"Bundle.entry[{index}]", relative=isinstance(each, Rejected))
            for index, each in error.failed
            for issue in issues_of(each, code)
        ]
    if isinstance(error, Rejected):
        return list(error.issues)
    if isinstance(error, Coded):
        code = error.code
    elif isinstance(error, ManyMatches):
        code = "multiple-matches"
    elif isinstance(error, Conflict):
        code = "conflict"
    return [Issue("error", code, error.message, error.at, error.fix)]
