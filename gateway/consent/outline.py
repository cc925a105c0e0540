"""What a store may know of a decision without opening a body: the kind of a resource, and the form of a Consent.

Resources of one kind (labels and classes alike) are judged alike by every rule that looks at nothing else. Consents of
one form say the same in the same words, whosever they are and whenever given; a period that all of it shares stands
apart, so that a thousand clients who signed one form on a thousand days are one form. A search uses both to leave out
what cannot be visible; what is left is judged by the engine.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum
from functools import lru_cache
from typing import Any, Final

import orjson

from gateway.consent.codes import Vocabulary
from gateway.consent.read import read_consent
from gateway.consent.rules import Directive, Enforcement, Rule, Span
from gateway.consent.view import pack, view_of
from gateway.kernel.fhir import Resource
from gateway.kernel.identifiers import key_of

NEVER: Final = 0  # the form of a Consent that permits nothing to anybody: inactive, or not to be enforced
_ALWAYS: Final = (-(1 << 62), 1 << 62)  # microseconds since 1970 UTC: open at both ends
_UNSAID: Final = frozenset(
    {
        "consent",
        "version",
        "patients",
        "organizations",
        "form",
        "given_us",
        "starts",
        "replaces",
        "verified",
        "warnings",
        "withdraws",
        "untold",
    }
)  # whose and when: no part of what it says


@dataclass(frozen=True, slots=True)
class Outline:
    """The form of one Consent, and between which instants (closed, microseconds) it can permit at all."""

    form: int
    low_us: int
    high_us: int


def packed_with_outline(
    zone: Any, vocabulary: Vocabulary, domain_permit: bool
) -> Callable[[Resource, Iterable[str] | None], bytes]:
    """What the store keeps beside a body: :func:`gateway.consent.view.pack`, and for a Consent its outline.

    The function takes a resource and its references, None when they are not at hand.
    """

    def packed(resource: Resource, literals: Iterable[str] | None) -> bytes:
        facets = pack(view_of(resource, zone, literals))
        if resource.get("resourceType") != "Consent":
            return facets
        read = read_consent(resource, zone=zone, vocabulary=vocabulary, base_permit=domain_permit)
        found = outline(read)
        return facets + b"\n" + orjson.dumps([found.form, found.low_us, found.high_us])

    return packed


def outline(directive: Directive) -> Outline:
    """The outline of a Consent as read."""
    if directive.status is not Enforcement.ENFORCEABLE:
        return Outline(NEVER, *_ALWAYS)
    span = _shared_span(directive)
    low, high = span if span is not None else (None, None)
    form = key_of(_written(timeless(directive))) or 1
    return Outline(form, _ALWAYS[0] if low is None else low, _ALWAYS[1] if high is None else high)


def timeless(directive: Directive) -> Directive:
    """The Consent without the period that all of its rules share."""
    span = _shared_span(directive)
    return directive if span is None else replace(directive, rules=tuple(_without(rule) for rule in directive.rules))


def _shared_span(directive: Directive) -> Span | None:
    """The first period of every rule, when it is one and the same."""
    first = {rule.request.periods[:1] for root in directive.rules for rule in root.walk()}
    return next(iter(first))[0] if len(first) == 1 and first != {()} else None


def _without(rule: Rule) -> Rule:
    request = replace(rule.request, periods=rule.request.periods[1:])
    return replace(rule, request=request, children=tuple(_without(child) for child in rule.children))


def _written(thing: Any) -> str:
    """The same text for equal things, in every process."""
    if isinstance(thing, Directive):
        said = [f.name for f in fields(thing) if f.name not in _UNSAID]
        return "|".join(f"{name}={_written(getattr(thing, name))}" for name in said)
    if is_dataclass(thing):
        return "(" + ",".join(_written(getattr(thing, f.name)) for f in fields(thing)) + ")"
    if isinstance(thing, (frozenset, set)):
        return "{" + ",".join(sorted(map(_written, thing))) + "}"
    if isinstance(thing, (tuple, list)):
        return "[" + ",".join(map(_written, thing)) + "]"
    return repr(thing.value if isinstance(thing, Enum) else thing)


# ---- read back by a store


@dataclass(frozen=True, slots=True)
class Traits:
    """The columns that a store keeps of facets: kind, and the one maker (0: none, -1: several), as short keys."""

    kind: int = 0
    maker: int = 0
    outline: Outline | None = None


def traits_of(facets: bytes) -> Traits:
    """What stands in packed facets; nothing in b"" and in what another release wrote."""
    parts = facets.split(b"\n")
    if len(parts) < 4 or parts[0] != _SHAPE:
        return Traits()
    found = Outline(*orjson.loads(parts[4])) if len(parts) == 5 else None
    return Traits(_kind_of(parts[1]), _maker_of(parts[2]), found)


@lru_cache(maxsize=8_192)  # many resources are of one kind
def _kind_of(packed: bytes) -> int:
    """The number of everything alike in type, classes and labels; the same in every process."""
    type_, classes, _codes, labels, labelled, confidential, _rank = orjson.loads(packed)
    return key_of(orjson.dumps([type_, classes, labels, labelled, confidential]).decode())


@lru_cache(maxsize=1_024)  # the resources of one person come together
def _maker_of(packed: bytes) -> int:
    makers = orjson.loads(packed)[1]
    return 0 if not makers else key_of(makers[0]) if len(makers) == 1 else -1


_SHAPE: Final = b"1"  # consent.view.pack
