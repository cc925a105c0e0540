"""What an event does beyond upserting resources, and the state of a visit as a fold over its accepted events.

The meaning of each trigger is a row of mappings/hl7v2/triggers.csv, argued there against the standard (v2.8.2 ch. 3).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.mapping.hl7v2.model import Trigger

KINDS: Final = (
    "merge-patient",  # loser becomes inactive and points to the survivor; its visits now belong to the survivor
    "merge-account",
    "merge-visit",  # the loser was never a visit of its own: entered in error; the survivor keeps its number as old
    "move-visit",  # the visit now belongs to `survivor`
    "move-account",
    "move-identifier",  # `identifiers` are no longer those of the record `loser`
    "change-identifier",  # the old identifier of the same person ends
    "change-visit-identifier",
    "link",  # two records of one person
    "unlink",
    "cancel",  # the event named in `cancels` no longer counts
    "supersede",  # the document `loser` is replaced by `survivor`
    "swap",  # two visits exchange their locations
    "keep",  # elements that this event does not tell (names, a|b for a choice): keep what is stored
    "delete",  # the record was entered in error
)


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing to do with stored state. References are ``Type/id``."""

    kind: str
    survivor: str  # the resource that goes on
    loser: str = ""  # the one that ends or is related
    detail: str = ""  # element for keep; events taken back for cancel
    identifiers: tuple[Mapping[str, object], ...] = field(default=(), repr=False)  # those of the loser


@dataclass(frozen=True, slots=True)
class VisitEvent:
    """One accepted event of a visit, in the order in which it happened (EVN-6, EVN-2 or MSH-7), not of arrival."""

    event: str  # ADT^A01
    at: str = ""  # FHIR dateTime, for the caller's ordering; the fold does not look at it
    status: str = ""  # what it sets on this visit, whatever its row says: that of a number which a merge retires


def visit_status(events: Iterable[VisitEvent], triggers: Mapping[str, Trigger], *, default: str = "unknown") -> str:
    """Encounter.status after these events.

    An event that sets a status counts until an event that cancels it; a cancel takes back the latest event of the kinds
    that its row names, and does nothing when there is none. When every setting event was taken back the visit is
    cancelled; when no event said anything, ``default``. A number that a merge retires (A42) has the status of the merge
    until an event of its own says another: a cancel of what came before it changes nothing.
    """
    standing: list[tuple[str, str]] = []
    taken_back = False
    for happened in events:
        row = triggers.get(happened.event)
        if row is None:
            continue
        if row.cancels:
            found = next((i for i in range(len(standing) - 1, -1, -1) if standing[i][0] in row.cancels), None)
            if found is not None:
                del standing[found]
                taken_back = True
        elif (says := happened.status or row.status) and says != "keep":
            standing.append((row.event, says))
    if standing:
        return standing[-1][1]
    return "cancelled" if taken_back else default


def surviving(events: Sequence[VisitEvent], triggers: Mapping[str, Trigger]) -> tuple[VisitEvent, ...]:
    """The events that no later event took back, cancels left out: what the state of a visit is folded from."""
    standing: list[VisitEvent] = []
    for happened in events:
        row = triggers.get(happened.event)
        if row is not None and row.cancels:
            found = next((i for i in range(len(standing) - 1, -1, -1) if standing[i].event in row.cancels), None)
            if found is not None:
                del standing[found]
        else:
            standing.append(happened)
    return tuple(standing)
