"""A kept message becomes stored FHIR: converted outside the transaction, applied inside one, together with "processed".

State is a fold over the accepted messages of a person, in the order in which things happened, not in which messages
came. The usual message is the newest of its lane and is merged into what is stored. A late one, or one that takes an
earlier one back (A11, A12, A13 …), makes the lane be folded again from the messages kept in the inbox, the events that
were taken back left out: so any order of arrival within a lane ends in the same state, and a cancel restores what was.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from gateway.codecs.ack import Outcome, acknowledge, answer_of, due, enhanced
from gateway.codecs.er7 import Message
from gateway.codecs.json_text import read
from gateway.consent.labels import is_claim, security_of
from gateway.exchange.directory import Directory
from gateway.exchange.identity_events import ENDS_VISIT, NO_VISIT, RENUMBERS, apply_effects, refuse_circles
from gateway.exchange.ports.inbox import Attempt, Received, State, lanes_of
from gateway.exchange.ports.resources import Draft, Stored
from gateway.exchange.ports.store import Unit
from gateway.exchange.referral_answers import ReferralAnswers
from gateway.exchange.save import Saver
from gateway.exchange.snapshots import LABELS, record_of, relisted, replace_sets, restored, stand_by
from gateway.kernel.errors import Busy, DoorwayError, Fault, Gone, Invalid
from gateway.kernel.fhir import JsonObject, Resource
from gateway.mapping.hl7v2.conversion import Conversion, Snapshot
from gateway.mapping.hl7v2.effects import VisitEvent, surviving, visit_status
from gateway.mapping.hl7v2.identity import SHARED
from gateway.mapping.hl7v2.model import Trigger

Merge: TypeAlias = "Callable[[Resource | None, Resource, Sequence[str]], Resource]"  # stored, said, deleted elements
RETRIES: Final = 5  # tries after which a message that meets a busy store or a defect of ours is parked
_BACK_OFF_US: Final = 2_000_000


def nothing_arrived(_unit: Unit, _stored: Sequence[Stored], _now_us: int) -> None:
    """Nobody wants to hear of new records."""


@dataclass(frozen=True, slots=True)
class Processing:
    """What processing needs of the other parts.

    Args:
        convert: the tables, bound to the feed of the sender (gateway.mapping.hl7v2.convert).
        merge: what is stored and what a message says, to what is to be stored (gateway.mapping.hl7v2.update).
        triggers: the meaning of each event (mappings/hl7v2/triggers.csv).
        saver: labels and stores.
        arrived: told of every version written, in the same transaction (linking, alerts).
        directory: which organizations messages mean.
        speaks_for: by source, the ``Organization/id`` for which it speaks.
        charsets: by source, (charset when MSH-18 is empty, charset whatever MSH-18 says).
    """

    convert: Callable[[Message, str], Conversion]
    merge: Merge
    triggers: Mapping[str, Trigger]
    saver: Saver
    arrived: Callable[[Unit, Sequence[Stored], int], None] = nothing_arrived
    answers: ReferralAnswers = field(default_factory=ReferralAnswers)
    directory: Directory = field(default_factory=Directory)
    speaks_for: Mapping[str, str] = field(default_factory=dict)
    default_charset: str = "utf-8"
    charsets: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Work:
    """A message understood, ready to be applied."""

    received: Received
    message: Message = field(repr=False)
    conversion: Conversion = field(repr=False)
    ours: frozenset[str] = frozenset()  # references of what is not the sender's: it answers a referral of ours


class Stage(Exception):
    """A failure on the way, with its stage."""

    def __init__(self, stage: str, error: DoorwayError) -> None:
        super().__init__(stage)
        self.stage = stage
        self.error = error


def understand(received: Received, processing: Processing) -> Work:
    """Parse and convert; pure.

    Raises:
        Stage: the message cannot be converted.
    """
    try:
        default, always = processing.charsets.get(received.source, (processing.default_charset, ""))
        message = Message.parse(received.body, default_charset=default, charset=always)
        if message.doubtful:  # a guess at a name would go into matching
            raise Invalid("bytes that are not of the charset", at="MSH-18", fix="set the sender's charset, then replay")
    except DoorwayError as error:
        raise Stage("parse", error) from error
    try:
        return Work(received, message, processing.convert(message, received.source))
    except DoorwayError as error:
        raise Stage("convert", error) from error
    except (RecursionError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise Stage("convert", Fault("a defect in the mapping")) from error


def apply(
    unit: Unit, work: Work, processing: Processing, *, now_us: int, ack_id: str, reason: str = ""
) -> Received | None:
    """Everything that the message changes, and that it is processed, in the caller's transaction.

    None when another worker has it or it is done already.

    Raises:
        DoorwayError: the transaction is to be undone; then record it with :func:`failed`.
    """
    received = unit.inbox.claim(work.received.id)
    if received is None:
        return None
    stored = [] if _asks(work, processing) else save_conversion(unit, work, processing, now_us=now_us)
    processing.arrived(unit, stored, now_us)
    done = received._replace(
        state=State.PROCESSED,
        attempts=received.attempts + 1,
        result=_result(received, work.message, now_us=now_us, ack_id=ack_id),
    )
    outputs = tuple(f"{one.reference}/_history/{one.version}" for one in stored)
    attempt = Attempt(received.id, done.attempts, now_us, State.PROCESSED, reason=reason, outputs=outputs)
    unit.inbox.settle(done, attempt)
    return done


def save_conversion(unit: Unit, work: Work, processing: Processing, *, now_us: int) -> list[Stored]:
    """Write what the message says, merged in as the newest of its lane, or folded in where it belongs."""
    received = work.received
    for lane in sorted(lanes_of(received)):
        unit.resources.hold(f"lane {lane}")
    work = _answering(unit, work, processing)
    conversion = work.conversion
    newest = [found for lane in lanes_of(received) if (found := unit.inbox.newest(lane)) is not None]
    late = any(one > (received.event_us, received.received_us) for one in newest)
    cancels = any(effect.kind == "cancel" for effect in conversion.effects)
    state = _State(unit, processing.merge, received.source)
    refuse_circles(conversion.effects, state.get)
    labels: dict[str, tuple[JsonObject, ...]] = {
        **{record_of(one.owner): LABELS for one in conversion.snapshots},
        **conversion.labels,
    }
    if late or cancels:
        again = [_again(one, processing) for one in _history(unit, received)]
        past = [_answering(unit, one, processing) for one in again if not _asks(one, processing)]
        events = sorted([*past, work], key=lambda one: _order(one.received))
        state.fold(events, processing.triggers, arriving=work)
        for one in past:
            labels = {**{record_of(s.owner): LABELS for s in one.conversion.snapshots}, **labels}
            labels = {**one.conversion.labels, **labels}
    else:
        state.add(conversion)
        replace_sets(conversion.snapshots, state.get, state.put)
        apply_effects(conversion.effects, state.get, state.put)
    owner = processing.speaks_for.get(received.source, "")
    drafts = [
        Draft(
            resource,
            source=received.source,
            labels=labels.get(reference),
            owner=owner,
            shared=state.owners.get(reference, owner or received.source) not in {owner, received.source},
        )
        for reference, resource in state.changed.items()
    ]
    return processing.saver.save(unit, drafts, now_us=now_us)


def _asks(work: Work, processing: Processing) -> bool:
    """Whether it asks for something and changes nothing (REF^I15)."""
    row = processing.triggers.get(work.conversion.event)
    return row is not None and row.effect == "ask"


def _answering(unit: Unit, work: Work, processing: Processing) -> Work:
    """The work with whom and what of ours the message means, in place of the sender's copies of them."""
    sender, answered = work.received.source, work.message.get("MSA-2") or ""
    meant = processing.directory.resolve(unit, work.conversion, sender=sender)
    conversion, ours = processing.answers.resolve(unit, meant, sender=sender, answers=answered)
    return replace(work, conversion=conversion, ours=frozenset(ours)) if conversion is not work.conversion else work


def _history(unit: Unit, received: Received) -> list[Received]:
    """Every processed message of the lanes of a message, and of the lanes that a merge or a link ties to them.

    A merge writes both records, so either is built anew only from what both lanes say.

    Raises:
        Gone: some of it is no longer kept.
    """
    found: dict[str, Received] = {}
    lanes, open_lanes = set(lanes_of(received)), list(lanes_of(received))
    while open_lanes:
        lane = open_lanes.pop()
        unit.resources.hold(f"lane {lane}")  # two workers would each miss what the other is about to write
        for one in unit.inbox.folded(lane):
            if one.id != received.id:
                found[one.id] = one
            tied = [other for other in lanes_of(one) if other not in lanes]
            lanes.update(tied)
            open_lanes += tied
    if not all(one.body for one in found.values()):
        raise Gone("what it comes after is no longer kept", at="history", fix="tell the sender to send the state anew")
    return sorted(found.values(), key=_order)


def _order(one: Received) -> tuple[int, int, str]:
    return one.event_us, one.received_us, one.id


def _again(received: Received, processing: Processing) -> Work:
    try:
        return understand(received, processing)
    except Stage as failure:
        raise failure.error from failure


class _State:
    """The resources that a message touches: read when first asked for, changed in memory, written at the end."""

    def __init__(self, unit: Unit, merge: Merge, source: str) -> None:
        self._unit = unit
        self._merge = merge
        self._source = source
        self._found: dict[str, Resource | None] = {}
        self.changed: dict[str, Resource] = {}
        # whose own what is stored is: numbers make ids, so who tells first of a hospital's patient by the hospital's
        # number would own what that hospital tells of him later
        self.owners: dict[str, str] = {}

    def get(self, reference: str) -> Resource | None:
        """The resource as it would be stored now."""
        if reference not in self._found:
            stored = self._unit.resources.get(*reference.split("/", 1))
            parsed = None if stored is None or stored.deleted else read(stored.body, at=reference).resource
            if stored is not None and parsed is not None:
                self.owners[reference] = stored.owner
            self._found[reference] = _as_sent(parsed, self._source) if parsed is not None else None
        return self._found[reference]

    def put(self, resource: Resource) -> None:
        """Change it."""
        reference = f"{resource['resourceType']}/{resource['id']}"
        self._found[reference] = self.changed[reference] = resource

    def add(self, conversion: Conversion, *, only: "Callable[[str], bool] | None" = None) -> None:
        """Merge what one message says into what is there."""
        kept: dict[str, list[str]] = {}
        for effect in conversion.effects:
            if effect.kind == "keep":
                kept.setdefault(effect.survivor, []).extend(effect.detail.split())
        again = relisted(conversion.snapshots, self.get)
        for said in conversion.resources:
            reference = f"{said['resourceType']}/{said['id']}"
            if only is not None and not only(reference):
                continue
            before = self.get(reference)
            if reference in kept and before is not None:
                told = {one.split("|")[0] for one in kept[reference] if any(name in before for name in one.split("|"))}
                said = {name: value for name, value in said.items() if name not in told}
            deleted = (*conversion.deletions.get(reference, ()), *conversion.renewed.get(reference, ()))
            if before is not None and reference in again:
                before, deleted = restored(before), (*deleted, *again[reference])
            self.put(self._merge(before, said, deleted))

    def _new_or_own(self, reference: str) -> bool:
        """Whether a late message may write it: what others share only where nobody has told of it yet."""
        return _not_shared(reference) or self.get(reference) is None

    def fold(self, works: Sequence[Work], triggers: Mapping[str, Trigger], *, arriving: Work) -> None:
        """Build the lane's resources anew from its messages in order of event; shared things are only added to."""
        visits = events_of(works)
        stands = {event.at for events in visits.values() for event in surviving(events, triggers)}
        newest = works[-1]
        touched = {f"{r['resourceType']}/{r['id']}" for work in works for r in work.conversion.resources}
        touched |= {record_of(one.owner) for work in works for one in work.conversion.snapshots}
        answered = {reference: work for work in works for reference in work.ours}
        for reference in touched - answered.keys():
            if reference.split("/", 1)[0] not in SHARED:
                self.get(reference)  # for its owner
                self._found[reference] = None
        sets: dict[tuple[str, str], Snapshot] = {}
        for work in works:
            mine = visits_of(work.conversion.resources)
            taken_back = bool(mine) and work.received.id not in stands
            cancelling = any(effect.kind == "cancel" for effect in work.conversion.effects)
            if taken_back and not cancelling:
                self.add(work.conversion, only=lambda reference: not reference.startswith("Encounter/"))
            else:
                only = _everything if work is newest else self._new_or_own if work is arriving else _not_shared
                # what is not the sender's is not folded: others move it too, so only what arrives is added, if newest
                passed = {one for one in work.ours if work is not arriving or answered[one] is not work}
                self.add(work.conversion, only=_without(only, passed))
                apply_effects(work.conversion.effects, self.get, self.put)
            replace_sets(work.conversion.snapshots, self.get, self.put)
            for one in work.conversion.snapshots:  # what a person has is told whatever becomes of the visit
                key, void = (one.owner, one.segment), taken_back and one.owner.startswith("Encounter/")
                sets[key] = sets.get(key, replace(one, members=())) if void and not cancelling else one
        stand_by(list(sets.values()), self.get, self.put)
        for visit, events in visits.items():
            encounter = self.get(visit)
            if encounter is not None:
                default = str(encounter.get("status", "unknown"))
                self.put({**encounter, "status": visit_status(events, triggers, default=default)})


def events_of(works: Iterable[Work]) -> dict[str, list[VisitEvent]]:
    """The events of each visit, in the order of the works; those of a number that was changed are the new number's."""
    visits: dict[str, list[VisitEvent]] = {}
    for work in works:
        ends = [e for e in work.conversion.effects if e.kind in ENDS_VISIT and e.loser != e.survivor]
        for effect in ends:
            if effect.kind == RENUMBERS and effect.loser in visits:
                visits[effect.survivor] = [*visits.pop(effect.loser), *visits.get(effect.survivor, ())]
        ended = {effect.loser for effect in ends}
        for visit in visits_of(work.conversion.resources):
            told = VisitEvent(work.conversion.event, work.received.id, NO_VISIT if visit in ended else "")
            visits.setdefault(visit, []).append(told)
    return visits


def _everything(_reference: str) -> bool:
    return True


def _without(only: Callable[[str], bool], passed: set[str]) -> Callable[[str], bool]:
    return lambda reference: reference not in passed and only(reference)


def _not_shared(reference: str) -> bool:
    return reference.split("/", 1)[0] not in SHARED


def _as_sent(resource: Resource, source: str) -> Resource:
    """Version and time are the store's, labels the gateway's; profiles, tags and what this sender claimed stay."""
    meta = {k: v for k, v in resource.get("meta", {}).items() if k not in {"versionId", "lastUpdated", "security"}}
    claims = [label for label in security_of(resource) if is_claim(label, source)]
    if claims:  # absent is unchanged: what it says of its own record holds until it says otherwise
        meta["security"] = [{"system": label["system"], "code": label["code"]} for label in claims]
    out = {name: value for name, value in resource.items() if name != "meta"}
    return {**out, "meta": meta} if meta else out


def visits_of(resources: Iterable[Resource]) -> list[str]:
    """``Encounter/id`` of the visits among resources."""
    return [f"Encounter/{r['id']}" for r in resources if r["resourceType"] == "Encounter"]


def failed(
    unit: Unit, received: Received, failure: Stage, *, now_us: int, ack_id: str, reason: str = ""
) -> Received | None:
    """Record a failure: a busy store and a defect are tried again for a while, everything else parks its lane."""
    current = unit.inbox.claim(received.id)
    if current is None:
        return None
    error = failure.error
    attempts = current.attempts + 1
    again = isinstance(error, (Busy, Fault)) and attempts < RETRIES
    charset = failure.stage == "parse"
    aside = charset or isinstance(error, Gone)  # for a human; nothing that comes later would mend it
    state = State.RECEIVED if again else State.QUARANTINED if aside else State.PARKED
    result = b"" if again else _refusal(current, error, now_us=now_us, ack_id=ack_id)
    done = current._replace(
        state=state,
        attempts=attempts,
        not_before_us=now_us + _BACK_OFF_US * 2**attempts if again else 0,
        category=error.category.value,
        place=error.at,
        fault=error.message,
        result=result,
    )
    tried = Attempt(
        current.id, attempts, now_us, state, failure.stage, error.category.value, error.at, error.message, reason
    )
    unit.inbox.settle(done, tried)
    return done


def _result(received: Received, message: Message, *, now_us: int, ack_id: str) -> bytes:
    head = message.header
    owed = due(head.raw(15), head.raw(16), Outcome.OK)
    if owed.application is None or (received.answer and not enhanced(head.raw(15), head.raw(16))):
        return b""
    return acknowledge(head, owed.application, control_id=ack_id, now_us=now_us)


def _refusal(received: Received, error: DoorwayError, *, now_us: int, ack_id: str) -> bytes:
    """The application acknowledgement of a failure, where one is due."""
    try:
        head = Message.parse(received.body).header
    except DoorwayError:
        return b""
    outcome = answer_of(error).outcome
    owed = due(head.raw(15), head.raw(16), Outcome.OK, outcome)
    if owed.application is None or (received.answer and not enhanced(head.raw(15), head.raw(16))):
        return b""
    return acknowledge(head, owed.application, control_id=ack_id, now_us=now_us, error=error)


def plain_merge(before: Resource | None, said: Resource, deleted: Sequence[str]) -> Resource:
    """Absent is unchanged, present replaces, deleted goes: for mappings that have no finer rule."""
    out = {**(before or {}), **said}
    for element in deleted:
        out.pop(element, None)
    return out
