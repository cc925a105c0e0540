"""Issues of an OperationOutcome: what is wrong, where, and what to do, in one shape for every use case."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.kernel.errors import Conflict, DoorwayError, Invalid, PreconditionFailed
from gateway.kernel.fhir import JsonObject

ERRORS: Final = frozenset({"fatal", "error"})


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

    def below(self, prefix: str) -> "Issue":
        """The same issue of a resource that stands inside a Bundle at ``prefix``."""
        rest = self.at
        head, _, tail = rest.partition(".")
        place = f"{prefix}.{tail}" if tail and head[:1].isupper() else (prefix if head[:1].isupper() else "")
        return replace(self, at=place or (f"{prefix} {rest}" if rest else prefix))


class Rejected(Invalid):
    """A resource that the rules refuse, with everything that is wrong with it."""

    def __init__(self, issues: Sequence[Issue]) -> None:
        self.issues = tuple(issues)
        first = next((issue for issue in issues if issue.severity in ERRORS), issues[0])
        super().__init__(first.text, at=first.at, fix=first.fix)


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
            issue.below(f"Bundle.entry[{index}]" + (".resource" if isinstance(each, Rejected) else ""))
            for index, each in error.failed
            for issue in issues_of(each, code)
        ]
    if isinstance(error, Rejected):
        return list(error.issues)
    if isinstance(error, ManyMatches):
        code = "multiple-matches"
    elif isinstance(error, Conflict):
        code = "conflict"
    return [Issue("error", code, error.message, error.at, error.fix)]
