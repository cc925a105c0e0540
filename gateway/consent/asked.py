"""The request made ready to be compared: everyone the caller is, what the purposes imply, the instant in numbers."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.consent.codes import Vocabulary
from gateway.consent.read import identifiers_of
from gateway.consent.request import AccessRequest
from gateway.consent.rules import Named
from gateway.consent.times import instant_us, span_of
from gateway.consent.view import local
from gateway.kernel.fhir import ACT_REASON, JsonObject, Resource

_GROUPS: Final = ("Group/", "CareTeam/")  # whether somebody is in one of these, only the resource itself can say


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, ready for rules.

    ``keys`` is the closure of the caller: references and ``system|value`` of the person, roles, organizations and
    their parents, groups. ``known`` are references whose resource is at hand. ``nameless`` says that the caller has a
    name that leads nowhere (an identifier that no resource carries), ``bare`` one whose identifiers are not at hand.
    ``purposes`` holds for each declared purpose everything that covers it; empty: none declared.
    """

    now_us: int
    keys: frozenset[str]
    known: frozenset[str] = frozenset()
    nameless: bool = False
    bare: bool = False
    purposes: tuple[frozenset[str], ...] = ()
    purposes_exact: frozenset[str] = frozenset()
    action: str = "access"
    environment: str = ""
    custodian: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    classes: frozenset[str] | None = None  # content that is asked for, when no resource is at hand
    codes: frozenset[str] | None = None
    every_purpose: bool = False  # a permission must cover all declared purposes, not just one
    verified: bool = False  # the domain demands that a Consent was verified before it permits
    links: Mapping[str, frozenset[str]] = field(default_factory=dict)  # instance named by a rule -> what it refers to
    answers: dict[int, bool] = field(init=False, default_factory=dict, compare=False, repr=False)  # the engine's own

    @property
    def any_purpose(self) -> frozenset[str]:
        """Everything that covers one of the declared purposes."""
        return frozenset().union(*self.purposes)

    def is_one_of(self, named: Named) -> bool | None:
        """Whether the caller is among ``named``; None when nobody can tell."""
        if not self.keys.isdisjoint(named.references) or not self.keys.isdisjoint(named.identifiers):
            return True
        if named.unreadable or not self.keys:
            return None
        for reference in named.references:
            if reference not in self.known and (self.nameless or reference.startswith(_GROUPS)):
                return None
        if named.identifiers and self.bare:
            return None
        return False


@dataclass(slots=True)
class _Closure:
    keys: set[str]
    known: set[str] = field(default_factory=set)


def ask(
    request: AccessRequest, vocabulary: Vocabulary, related: Iterable[Resource] = (), *,
    classes: frozenset[str] | None = None, codes: frozenset[str] | None = None, every_purpose: bool = False,
    verified: bool = False, links: Mapping[str, frozenset[str]] | None = None,
) -> Asked:  # fmt: skip
    """Make a request ready: the caller's closure over ``related``, purposes with what covers them.

    Args:
        related: resources that names may resolve to: Organization, Practitioner, PractitionerRole, Group, CareTeam …
    """
    now_us = instant_us(request.now)
    everyone = request.everyone
    closure = _Closure({local(key) if "|" not in key else key for actor in everyone for key in actor.keys})
    _close(closure, [r for r in related if isinstance(r, dict)], now_us, request)
    literal = [local(actor.reference) for actor in everyone if actor.reference]
    lone = [f"{actor.system}|{actor.value}" for actor in everyone if actor.value and not actor.reference]
    purposes = tuple(_purpose(p, vocabulary) for p in request.purposes)
    return Asked(
        now_us=now_us,
        keys=frozenset(closure.keys),
        known=frozenset(closure.known | set(literal)),
        nameless=any(key not in closure.known for key in lone),
        bare=any(reference not in closure.known for reference in literal) and not lone,
        purposes=purposes,
        purposes_exact=frozenset(_purpose_key(p, vocabulary) for p in request.purposes),
        action=request.action.lower(),
        environment=request.environment,
        custodian=frozenset(key for key in (local(request.custodian),) if key),
        categories=frozenset(request.category),
        classes=classes,
        codes=codes,
        every_purpose=every_purpose,
        verified=verified,
        links=links or {},
    )


def _purpose_key(purpose: str, vocabulary: Vocabulary) -> str:
    if "|" in purpose:
        return purpose
    key = f"{ACT_REASON}|{purpose}"
    return key if vocabulary.knows(key) else f"|{purpose}"


def _purpose(purpose: str, vocabulary: Vocabulary) -> frozenset[str]:
    return vocabulary.self_and_above(_purpose_key(purpose, vocabulary))


def _close(closure: _Closure, related: list[Resource], now_us: int, request: AccessRequest) -> None:
    """Add what the caller also is, until nothing new is found."""
    for resource in related:
        closure.known |= _names(resource)
    before = -1
    while before != len(closure.keys):
        before = len(closure.keys)
        for resource in related:
            names = _names(resource)
            if not closure.keys.isdisjoint(names) or _counts_in(resource, closure.keys, now_us, request):
                closure.keys |= names
                closure.keys |= set(_also(resource))


def _names(resource: Resource) -> set[str]:
    own = {f"{resource.get('resourceType')}/{resource['id']}"} if isinstance(resource.get("id"), str) else set()
    return own | identifiers_of(resource)


def _literal(node: Any) -> Iterator[str]:
    for one in node if isinstance(node, list) else [node]:
        if isinstance(one, dict) and isinstance(one.get("reference"), str):
            yield local(one["reference"])


def _also(resource: Resource) -> Iterator[str]:
    """What somebody is who is this resource."""
    kind = resource.get("resourceType")
    if kind == "PractitionerRole" and resource.get("active") is not False:
        yield from _literal(resource.get("practitioner"))
        yield from _literal(resource.get("organization"))
    elif kind == "Organization":
        yield from _literal(resource.get("partOf"))
    elif kind == "Device":
        yield from _literal(resource.get("owner"))
    elif kind == "HealthcareService":
        yield from _literal(resource.get("providedBy"))


def _counts_in(resource: Resource, keys: set[str], now_us: int, request: AccessRequest) -> bool:
    """Whether a role or group counts one of ``keys`` as its own at this instant."""
    kind = resource.get("resourceType")
    if kind == "PractitionerRole" and resource.get("active") is not False:
        return _open(resource.get("period"), now_us, request) and not keys.isdisjoint(
            _literal(resource.get("practitioner"))
        )
    if kind == "Group" and resource.get("active") is not False and resource.get("actual") is not False:
        return any(
            not keys.isdisjoint(_member(m, "entity")) and m.get("inactive") is not True
            and _open(m.get("period"), now_us, request)
            for m in _objects(resource.get("member"))
        )  # fmt: skip
    if kind == "CareTeam" and resource.get("status") in (None, "active"):
        return any(
            not keys.isdisjoint(_member(m, "member")) and _open(m.get("period"), now_us, request)
            for m in _objects(resource.get("participant"))
        )
    return False


def _member(node: JsonObject, element: str) -> set[str]:
    inner = node.get(element)
    found = set(_literal(inner))
    if isinstance(inner, dict):
        found |= identifiers_of(inner)
    return found


def _objects(node: Any) -> list[JsonObject]:
    return [one for one in node if isinstance(one, dict)] if isinstance(node, list) else []


def _open(period: Any, now_us: int, request: AccessRequest) -> bool:
    if not isinstance(period, dict):
        return True
    span = span_of(period.get("start"), period.get("end"), request.zone)
    return span is not None and (span[0] is None or span[0] <= now_us) and (span[1] is None or now_us <= span[1])
