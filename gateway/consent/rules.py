"""A Consent as rules: what it says, resolved and typed, nothing left to guess at decision time."""

from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum

from gateway.consent.dialects import Dialect

Span = tuple[int | None, int | None]  # closed interval in microseconds since 1970 UTC; None: open


class Verdict(IntEnum):
    """What one Consent, or all of them, say about one resource; the greater wins."""

    NONE = 0  # nothing applies
    WEAK_DENY = 1  # a Consent permits only something else (closed world)
    PERMIT = 2
    DENY = 3
    BREAK_GLASS = 4
    LAW_DENY = 5

    @property
    def permits(self) -> bool:
        """Whether it lets the resource out."""
        return self in (Verdict.PERMIT, Verdict.BREAK_GLASS)


class Enforcement(StrEnum):
    """What the engine can do with a Consent; ``unsupported`` and ``quarantined`` deny, they never vanish."""

    ENFORCEABLE = "enforceable"
    INACTIVE = "inactive"
    UNSUPPORTED = "unsupported"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class Named:
    """Actors of a provision: keys to compare with, and whether an entry names nobody that could be compared."""

    references: frozenset[str] = frozenset()
    identifiers: frozenset[str] = frozenset()
    unreadable: bool = False

    @property
    def keys(self) -> frozenset[str]:
        """References and identifiers together."""
        return self.references | self.identifiers


@dataclass(frozen=True, slots=True)
class RequestGroup:
    """What a rule asks of the request; None means not stated. ``periods`` must all hold (own and the parents')."""

    periods: tuple[Span, ...] = ()
    period_unreadable: bool = False
    actors: Named | None = None
    custodians: Named | None = None
    actions: frozenset[str] | None = None
    purposes: frozenset[str] | None = None
    environments: frozenset[str] | None = None
    asked_codes: frozenset[str] | None = None  # MII: the kind of use

    def below(self, parent: "RequestGroup") -> "RequestGroup":
        """The group of a child: each missing element taken over, periods intersected."""
        return RequestGroup(
            periods=tuple(dict.fromkeys((*parent.periods, *self.periods))),
            period_unreadable=self.period_unreadable or parent.period_unreadable,
            actors=parent.actors if self.actors is None else self.actors,
            custodians=parent.custodians if self.custodians is None else self.custodians,
            actions=parent.actions if self.actions is None else self.actions,
            purposes=parent.purposes if self.purposes is None else self.purposes,
            environments=parent.environments if self.environments is None else self.environments,
            asked_codes=parent.asked_codes if self.asked_codes is None else self.asked_codes,
        )


@dataclass(frozen=True, slots=True)
class DataGroup:
    """What a rule asks of the resource; None means not stated.

    ``labels`` are sensitivity codes with everything below them, ``confidentiality`` stated codes of that system; both
    are one element (securityLabel), so either may match. ``data`` holds (meaning, references).
    """

    classes: tuple[frozenset[str], ...] | None = None  # R5 splits class in two elements, so each entry must match
    codes: frozenset[str] | None = None
    code_prefixes: tuple[str, ...] = ()
    labels: frozenset[str] | None = None
    confidentiality: frozenset[str] = frozenset()
    period: Span | None = None
    period_unreadable: bool = False
    strict_period: bool = False
    data: tuple[tuple[str, frozenset[str]], ...] | None = None
    authors: Named | None = None
    sources: frozenset[str] | None = None
    tags: frozenset[str] | None = None
    unreadable: bool = False  # holds something that cannot be evaluated (R5 expression): always unknown
    union: bool = False

    @property
    def empty(self) -> bool:
        """Whether nothing is asked: the rule covers every resource."""
        return (
            self.classes is None and self.codes is None and self.labels is None and self.period is None
            and not self.period_unreadable and self.data is None and self.authors is None and self.sources is None
            and self.tags is None and not self.unreadable
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """One provision with everything inherited already in place; ``permit`` is its effect, ``path`` its place.

    ``stated`` are the codings of each element as written, for the residual and for people.
    """

    permit: bool
    path: str
    request: RequestGroup
    data: DataGroup
    children: tuple["Rule", ...] = ()
    stated: tuple[tuple[str, tuple[object, ...]], ...] = field(default=(), repr=False)

    def walk(self) -> "list[Rule]":
        """The rule and everything below it, parents first."""
        found = [self]
        for child in self.children:
            found += child.walk()
        return found

    def without_children(self) -> "Rule":
        """The rule alone."""
        return replace(self, children=())


@dataclass(frozen=True, slots=True)
class Directive:
    """A Consent as read: whose it is, whether it counts, and its rules.

    ``patients`` are all names of the patient (reference, identifiers); empty for a policy about every patient.
    ``periods`` is the validity of the root provision, which decides on eligibility. ``categories`` are scope and
    category keys. ``form`` identifies the form that was signed; empty when it is not told.
    ``untold``: what the client was told is not on record any more, so it permits nothing; its denials hold.
    ``withdraws`` says of an inactive Consent that it takes back the permissions of those that it would replace.
    """

    consent: str
    version: str
    status: Enforcement
    dialect: Dialect
    rules: tuple[Rule, ...]
    patients: frozenset[str] = field(default=frozenset(), repr=False)
    for_everyone: bool = False
    categories: frozenset[str] = frozenset()
    organizations: frozenset[str] = frozenset()
    form: str = ""
    given_us: int | None = None
    starts: int | None = None
    replaces: frozenset[str] = frozenset()
    verified: bool | None = None
    withdraws: bool = False
    untold: bool = False
    warnings: tuple[str, ...] = ()
