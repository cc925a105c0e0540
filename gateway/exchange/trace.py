"""One message through all its stages, and processing it again safely.

A trace starts from anything that names a message: our id of it, its MSH-10, ``Type/id`` of a resource that it wrote, or
an id or MSH-10 of the outbox. It tells places, states and ids, never content.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.codecs.json_text import read
from gateway.exchange.parties import reference_of
from gateway.exchange.ports.inbox import Attempt, Received, State
from gateway.exchange.ports.outbox import Delivery
from gateway.exchange.ports.resources import parsed
from gateway.exchange.ports.store import Reading, Store, Unit
from gateway.exchange.process_messages import Processing, Stage, Work, apply, failed, save_conversion, understand
from gateway.kernel.errors import Conflict, DoorwayError, Gone, NotFound
from gateway.kernel.fhir import Resource

REPLAYABLE: Final = frozenset({State.PARKED, State.QUARANTINED, State.PROCESSED})


@dataclass(frozen=True, slots=True)
class Trace:
    """A message and what became of it."""

    received: Received
    attempts: tuple[Attempt, ...]
    behind: str = ""  # the open message of its lane that it waits for
    asks: tuple[str, ...] = ()  # who is asked by the referrals that it wrote, where only its sender knows them


@dataclass(frozen=True, slots=True)
class Change:
    """What a replay does to one resource: new, changed or same; names of the elements, never values."""

    reference: str
    effect: str
    elements: tuple[str, ...] = ()


def trace(reading: Reading, wanted: str) -> tuple[list[Trace], list[Delivery]]:
    """Everything that ``wanted`` names: messages in, deliveries out.

    Raises:
        NotFound: nothing has that id.
    """
    one = reading.inbox.get(wanted)
    if one is not None:
        found = [one]
    elif "/" in wanted:
        found = reading.inbox.that_wrote(wanted.split("/_history")[0])
    else:
        found = reading.inbox.find(wanted)
    delivery = reading.outbox.get(wanted)
    out = [delivery] if delivery is not None else reading.outbox.find(wanted)
    if not found and not out:
        raise NotFound("no message, delivery or written resource has this id", at=wanted)
    return [_traced(reading, each) for each in found], out


def _traced(reading: Reading, one: Received) -> Trace:
    attempts = tuple(reading.inbox.attempts(one.id))
    return Trace(one, attempts, _behind(reading, one), _strangers(reading, one, attempts))


def _strangers(reading: Reading, one: Received, attempts: Sequence[Attempt]) -> tuple[str, ...]:
    """Organizations of the sender's own that a referral of the message asks: nobody here is told of it."""
    written = (output.split("/_history")[0] for attempt in attempts for output in attempt.outputs)
    tasks = reading.resources.many([name for name in written if name.startswith("Task/")]).values()
    asked = {reference_of(parsed(task).get("owner")) for task in tasks if not task.deleted}
    named = reading.resources.many(sorted(name for name in asked if name.startswith("Organization/")))
    return tuple(reference for reference, stored in named.items() if stored.source == one.source)


def _behind(reading: Reading, one: Received) -> str:
    return reading.inbox.in_front_of(one) if one.state is State.RECEIVED else ""


class _Undo(Exception):
    def __init__(self, changes: list[Change]) -> None:
        super().__init__("dry run")
        self.changes = changes


def preview(store: Store, id_: str, processing: Processing, *, now_us: int) -> list[Change]:
    """What processing the message now would change; nothing of it stays.

    Raises:
        NotFound, Conflict: there is no such message, or it cannot be replayed.
        DoorwayError: processing fails, with the place.
    """

    def work(unit: Unit) -> None:
        raise _Undo(_changes(unit, _understood(_replayable(unit, id_), processing), processing, now_us))

    try:
        store.write(work)
    except _Undo as undone:
        return undone.changes
    return []


def _changes(unit: Unit, work: Work, processing: Processing, now_us: int) -> list[Change]:
    before: dict[str, Resource] = {}

    def remember(reference: str) -> None:
        stored = unit.resources.get(*reference.split("/", 1))
        if stored is not None and not stored.deleted:
            before[reference] = read(stored.body, at=reference).resource

    out = []
    for resource in work.conversion.resources:
        remember(f"{resource['resourceType']}/{resource['id']}")
    for stored in save_conversion(unit, work, processing, now_us=now_us):
        old = before.get(stored.reference)
        new = read(stored.body, at=stored.reference).resource
        if old is None:
            out.append(Change(stored.reference, "new", tuple(sorted(new))))
            continue
        names = sorted(name for name in {*old, *new} - {"meta"} if old.get(name) != new.get(name))
        out.append(Change(stored.reference, "changed" if names else "same", tuple(names)))
    return out


def replay(
    store: Store, id_: str, processing: Processing, *, now_us: Callable[[], int], ack_id: str, reason: str
) -> Received:
    """Process a message again, as a new attempt tied to the old ones; replayed twice it changes nothing more.

    What it causes to leave is decided by consent when it leaves, as always.

    Raises:
        NotFound: no such message.
        Conflict: it was refused at the door, waits for its turn anyway, or another process has it.
        DoorwayError: processing failed again; that is recorded as an attempt.
    """

    def work(unit: Unit) -> Received:
        understood = _understood(_replayable(unit, id_), processing)
        unit.inbox.reopen(id_)
        done = apply(unit, understood, processing, now_us=now_us(), ack_id=ack_id, reason=reason)
        if done is None:
            raise Conflict("another process works on this message", at=id_, fix="try again")
        return done

    try:
        return store.write(work)
    except (NotFound, Conflict, Gone):
        raise
    except DoorwayError as error:
        failure = error
        store.write(lambda unit: _failed_again(unit, id_, failure, now_us=now_us(), ack_id=ack_id, reason=reason))
        raise


def _failed_again(unit: Unit, id_: str, error: DoorwayError, *, now_us: int, ack_id: str, reason: str) -> None:
    received = unit.inbox.get(id_)
    if received is None or received.state is State.PROCESSED:
        return  # what was processed stays processed
    unit.inbox.reopen(id_)
    failed(unit, received, Stage("replay", error), now_us=now_us, ack_id=ack_id, reason=reason)


def set_aside(store: Store, id_: str, *, now_us: int, reason: str) -> Received:
    """Quarantine a parked message, so that the later ones of its lane go on.

    Raises:
        NotFound: no such message.
        Conflict: it is not parked.
    """

    def work(unit: Unit) -> Received:
        received = unit.inbox.get(id_)
        if received is None:
            raise NotFound("no such message", at=id_)
        if received.state is not State.PARKED:
            raise Conflict(f"the message is {received.state.value}, not parked", at=id_)
        aside = received._replace(state=State.QUARANTINED, attempts=received.attempts + 1)
        unit.inbox.settle(aside, Attempt(id_, aside.attempts, now_us, State.QUARANTINED, "operator", reason=reason))
        return aside

    return store.write(work)


def _understood(received: Received, processing: Processing) -> Work:
    try:
        return understand(received, processing)
    except Stage as failure:
        raise failure.error from failure


def _replayable(unit: Unit, id_: str) -> Received:
    received = unit.inbox.get(id_)
    if received is None:
        raise NotFound("no such message", at=id_, fix="doorway trace finds ids by MSH-10")
    if received.state not in REPLAYABLE:
        raise Conflict(f"the message is {received.state.value}", at=id_, fix="only accepted ones can be replayed")
    if not received.body:
        raise Gone("the bytes of this message are no longer kept", at=id_, fix="setting mllp_keep_bodies_days")
    return received
