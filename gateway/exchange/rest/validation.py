"""Validation as the REST API needs it: the findings of profiles/ as issues, and which elements a type must have."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Protocol

from gateway.exchange.rest.issues import Issue
from gateway.kernel.fhir import Resource
from gateway.profiles.facts import Facts


class Finding(Protocol):
    """One finding of a validator (profiles/issues.py)."""

    @property
    def severity(self) -> str:
        """``error``, ``warning`` or ``information``."""
        ...

    @property
    def code(self) -> str:
        """Code of R4's issue types."""
        ...

    @property
    def expression(self) -> str:
        """FHIRPath of the element."""
        ...

    @property
    def diagnostics(self) -> str:
        """What is wrong, without a value of the resource."""
        ...


def checker(validate: Callable[[Resource], Sequence[Finding]]) -> Callable[[Resource], Sequence[Issue]]:
    """The validator, its findings as issues of an OperationOutcome."""

    def check(resource: Resource) -> Sequence[Issue]:
        return [Issue(one.severity, one.code, one.diagnostics, one.expression) for one in validate(resource)]

    return check


def mandatory_of(facts: Facts) -> Callable[[str], frozenset[str]]:
    """The elements that a resource of a type must have."""

    @cache
    def mandatory(type_: str) -> frozenset[str]:
        shape = facts.type(type_)
        return frozenset(one.name for one in shape.elements if one.minimum) if shape is not None else frozenset()

    return mandatory
