"""Who asks, for what and when: everything about the caller that a decision may depend on (R4 Consent, phase one)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Final, Self

from gateway.kernel.errors import Invalid

BREAK_GLASS: Final = "BTG"  # v3 ActReason: declared by name only, never implied by TREAT or ETREAT


@dataclass(frozen=True, slots=True, order=True)
class Actor:
    """One name of the caller: a literal reference (``Organization/h7``) or an identifier (system, value), or both."""

    reference: str = ""
    system: str = ""
    value: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        """What a rule's actor is compared with: the reference, and ``system|value``."""
        return tuple(key for key in (self.reference, f"{self.system}|{self.value}" if self.value else "") if key)


@dataclass(frozen=True, slots=True)
class BreakGlass:
    """Emergency access that the caller declares; the law layer and a BTG denial stand above it.

    ``reason`` is free text of the person who asks, ``until`` the instant at which it ends, ``privileged`` whether the
    gate found the person in the group that may do it.
    """

    reason: str = field(repr=False)
    until: datetime
    privileged: bool = False

    def holds(self, now: datetime) -> bool:
        """Whether every condition but the declared purpose is met."""
        return self.privileged and bool(self.reason.strip()) and now <= self.until


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """One question to the gate. ``now`` is aware and stands in the civil zone in which consent dates begin and end.

    ``organization`` is the asking Organization (``Organization/id``), under whose agreement everything stands; it is
    an actor too. ``actors`` is everyone and everything that the caller is (person, role, organizations above it,
    groups, device). ``roles`` are ``system|code``, ``purposes`` v3 PurposeOfUse codes, ``action`` a consentaction code.
    ``category`` holds ``system|code`` of the scopes or categories of Consents that count; empty: all.
    """

    now: datetime
    organization: str = ""
    actors: tuple[Actor, ...] = ()
    roles: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    action: str = "access"
    environment: str = ""
    custodian: str = ""
    category: tuple[str, ...] = ()
    break_glass: BreakGlass | None = None
    client: str = ""  # the registered client or feed that carries the request, for the audit record

    def __post_init__(self) -> None:
        if self.now.tzinfo is None:
            raise Invalid("the instant of a request needs a zone", at="now")

    @classmethod
    def of_organization(cls, organization: str, *, now: datetime, purposes: Iterable[str] = ("TREAT",)) -> Self:
        """The plain case: an Organization asks for a purpose."""
        return cls(now=now, organization=organization, purposes=tuple(purposes))

    @property
    def zone(self) -> tzinfo:
        """The civil zone in which days begin and end."""
        return self.now.tzinfo or UTC

    @property
    def everyone(self) -> tuple[Actor, ...]:
        """The actors, the asking Organization among them."""
        own = Actor(self.organization)
        return self.actors if not self.organization or own in self.actors else (own, *self.actors)

    @property
    def actor_keys(self) -> frozenset[str]:
        """Every reference and ``system|value`` of the caller."""
        return frozenset(key for actor in self.everyone for key in actor.keys)
