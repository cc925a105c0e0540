"""A referral that went to an HMIS in a delta and comes back as an Event of its own is one referral, not two.

What a delta export sent is remembered. The Event that comes back is known by the EventID that was sent or, when the
HMIS gave it one of its own, by client, day, code and target; then its Task is part of the Task that was sent
(SDOH Clinical Care: a coordination platform's Task is partOf the source's), its ServiceRequest is based on the one
behind it, and what the HMIS says of the outcome is carried to the Task that the sender looks at.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from gateway.codecs.json_text import read_own, with_last_member, write
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.store import Reading, Unit
from gateway.exchange.save import Saver
from gateway.kernel.fhir import Resource

SENT: Final = "~sent"  # no file of an export is called so
FORMAT: Final = "~format"  # nor so: which format the source's latest export had, and of when it was
JOINED: Final = "joined"  # in the facts of an Event: Task and ServiceRequest that it is part of
_KEY: Final = ("PersonalID", "EventDate", "Event", "LocationCrisisOrPHHousing")
_ENDED: Final = frozenset({"rejected", "cancelled", "failed", "completed", "entered-in-error"})
_CARRIED: Final = ("status", "businessStatus", "statusReason", "lastModified")


@dataclass(frozen=True, slots=True)
class Sent:
    """One referral as it was sent: its EventID, what it says, and as which EventID it came back (empty: not yet)."""

    event: str
    told: Mapping[str, str]
    task: str
    request: str
    came: str = ""

    @property
    def text(self) -> str:
        """As it is kept."""
        told = {name: self.told.get(name, "") for name in _KEY}
        return json.dumps({"told": told, "task": self.task, "request": self.request, "came": self.came})


def sent_of(reading: Reading, source: str, events: Sequence[str]) -> dict[str, Sent]:
    """What was sent under these EventIDs."""
    return {key: _sent(key, text) for key, text in reading.rows.extras(source, SENT, events).items()}


def sent_all(reading: Reading, source: str) -> Iterator[Sent]:
    """Everything that was sent to the source."""
    after = ""
    while page := reading.rows.extra_page(source, SENT, after, 1_000):
        for key, text in page:
            yield _sent(key, text)
        after = page[-1][0]


def _sent(key: str, text: str) -> Sent:
    found = json.loads(text)
    return Sent(key, found["told"], found["task"], found["request"], found["came"])


def came_back(unit: Unit, source: str, events: Mapping[str, Mapping[str, str]]) -> dict[str, Sent]:
    """Which of these Events (cells by EventID) are referrals that were sent; each is claimed by one Event for good."""
    open_: dict[tuple[str, ...], list[Sent]] = {}
    out: dict[str, Sent] = {}
    for sent in sorted(sent_all(unit, source), key=lambda one: one.event):
        own = sent.came or sent.event
        if own in events:
            out[own] = sent
        elif not sent.came:
            open_.setdefault(tuple(sent.told.get(name, "") for name in _KEY), []).append(sent)
    for event in sorted(events.keys() - out.keys()):
        waiting = open_.get(tuple(events[event].get(name, "").strip() for name in _KEY))
        if waiting:
            out[event] = waiting.pop(0)
    claimed = {sent.event: replace(sent, came=event).text for event, sent in out.items() if sent.came != event}
    if claimed:
        unit.rows.put_extras(source, SENT, claimed)
    return out


def joined(drafts: Sequence[Draft], told: str) -> list[Draft]:
    """The resources of an Event with the Task and the ServiceRequest that they are part of."""
    task, _, request = told.partition(" ")
    members = {"Task": ("partOf", task), "ServiceRequest": ("basedOn", request)}
    out = []
    for draft in drafts:
        name, reference = members.get(draft.resource["resourceType"], ("", ""))
        if reference and draft.document is not None:
            body = with_last_member(draft.document, name, [{"reference": reference}])
            document = read_own(body.decode())
            draft = replace(draft, resource=document.resource, body=body, document=document)
        out.append(draft)
    return out


def carry_outcomes(unit: Unit, saver: Saver, source: str, drafts: Sequence[Draft], now_us: int) -> None:
    """What an HMIS says of the outcome, on the Task that was sent; one that has ended is left as it is."""
    outcomes = {}
    for draft in drafts:
        parents = draft.resource.get("partOf") if draft.resource["resourceType"] == "Task" else None
        if parents and draft.resource.get("status") not in ("requested", "entered-in-error"):
            outcomes[str(parents[0]["reference"])] = draft.resource
    moved = []
    for reference, stored in unit.resources.many(outcomes).items():
        task: Resource = json.loads(stored.body, parse_float=Decimal)
        told = outcomes[reference]
        if task.get("status") in _ENDED or task.get("status") == told.get("status"):
            continue
        kept = {name: value for name, value in task.items() if name not in _CARRIED}
        after = kept | {name: told[name] for name in _CARRIED if name in told}
        moved.append(Draft(after, write(_plain(after)), source=source))
    if moved:
        saver.save(unit, moved, now_us=now_us)


def _plain(value: Resource) -> Resource:
    """Decimals as numbers that the writer takes; a Task holds none that anybody measured."""
    plain: Resource = json.loads(json.dumps(value, default=float))
    return plain
