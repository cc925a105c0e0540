"""What validation has to say: an issue names a place and what is wrong with it, never a value from the record."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from gateway.kernel.fhir import JsonObject

Severity: TypeAlias = Literal["error", "warning", "information"]

ERROR: Final = "error"
WARNING: Final = "warning"
INFORMATION: Final = "information"


@dataclass(frozen=True, slots=True)
class Issue:
    """One finding.

    ``code`` is of R4 IssueType (``structure``, ``required``, ``value``, ``code-invalid``, ``invariant``, ``not-found``,
    ``not-supported`` for what was not checked); ``expression`` is a simple FHIRPath that resolves in the input
    (``Patient.contact[0].name``): the element itself, or its parent when it is missing.
    """

    severity: Severity
    code: str
    expression: str
    diagnostics: str


def has_errors(issues: Iterable[Issue]) -> bool:
    """Whether the resource must be refused."""
    return any(issue.severity == ERROR for issue in issues)


def outcome(issues: Iterable[Issue]) -> JsonObject:
    """An R4 OperationOutcome; without any issue it holds one of severity information, since R4 wants at least one."""
    entries = [
        {
            "severity": issue.severity,
            "code": issue.code,
            "diagnostics": issue.diagnostics,
            **({"expression": [issue.expression]} if issue.expression else {}),
        }
        for issue in issues
    ]
    if not entries:
        entries = [{"severity": INFORMATION, "code": "informational", "diagnostics": "No issues found."}]
    return {"resourceType": "OperationOutcome", "issue": entries}
