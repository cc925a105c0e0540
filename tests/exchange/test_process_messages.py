"""Processing: one transaction, order by lane, any order of arrival to one end, cancels and merges undone."""

import itertools
from collections.abc import Sequence

import pytest

from gateway.adapters.memory.store import MemoryStore
from gateway.adapters.worker import InboxWorker
from gateway.codecs.er7 import Message
from gateway.codecs.json_text import read
from gateway.exchange.ports.inbox import State
from gateway.exchange.ports.store import Store
from gateway.exchange.process_messages import Processing, plain_merge
from gateway.exchange.receive import Feed, Reply, admit, prepare, result_of
from gateway.exchange.save import Saver
from gateway.kernel.errors import Invalid
from gateway.kernel.fhir import Resource
from gateway.mapping.hl7v2.convert import Conversion
from gateway.mapping.hl7v2.effects import Effect
from gateway.mapping.hl7v2.model import Trigger

ROWS = {
    "ADT^A05": ("planned", ()),
    "ADT^A01": ("in-progress", ()),
    "ADT^A02": ("keep", ()),
    "ADT^A03": ("finished", ()),
    "ADT^A08": ("keep", ()),
    "ADT^A11": ("", ("ADT^A01",)),
    "ADT^A13": ("", ("ADT^A03",)),
}
TRIGGERS = {event: Trigger("", event, "", status, cancels, "upsert", "") for event, (status, cancels) in ROWS.items()}


def convert(message: Message, sender: str) -> Conversion:
    """A mapping of a few lines: the tables are tested where they are."""
    event = f"{message.kind}^{message.trigger}"
    mrn = message.get("PID-3") or ""
    if mrn == "poison":
        raise Invalid("cannot be mapped", at="PID-3")
    patient: Resource = {"resourceType": "Patient", "id": mrn, "identifier": [{"system": "WEST", "value": mrn}]}
    if family := message.get("PID-5"):
        patient["name"] = [{"family": family}]
    resources, effects = [patient], list[Effect]()
    if message.first("PV1") is not None:
        row = TRIGGERS.get(event)
        visit: Resource = {"resourceType": "Encounter", "id": f"v{mrn}", "subject": {"reference": f"Patient/{mrn}"}}
        if row is not None and row.status not in {"", "keep"}:
            visit["status"] = row.status
        if ward := message.get("PV1-3"):
            visit["location"] = [{"location": {"display": ward}}]
        if end := message.get("PV1-45"):
            visit["period"] = {"end": end}
        resources.append(visit)
        if row is not None and row.cancels:
            effects.append(Effect("cancel", f"Encounter/v{mrn}", detail=",".join(row.cancels)))
    if prior := message.get("MRG-1"):
        gone = ({"system": "WEST", "value": prior},)
        effects.append(Effect("merge-patient", f"Patient/{mrn}", f"Patient/{prior}", identifiers=gone))
    if message.trigger == "A37":
        other = message.all("PID")[1].get(3)
        effects.append(Effect("unlink", f"Patient/{mrn}", f"Patient/{other}"))
    return Conversion(
        message.kind, message.trigger, message.structure, message.control_id, sender, tuple(resources), tuple(effects)
    )


PROCESSING = Processing(convert, plain_merge, TRIGGERS, Saver(lambda _resource: ()))


class Gateway:
    """Takes and processes messages, one clock tick each."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.at = 1_000
        self.finished: list[str] = []
        self.worker = InboxWorker(store, PROCESSING, self.tick, self.finished.extend)

    def tick(self) -> int:
        self.at += 1
        return self.at

    def take(self, payload: bytes, feed: Feed = Feed()) -> Reply:  # noqa: B008  immutable
        prepared = prepare(payload, feed, now_us=self.tick(), ack_id=f"A{self.at}")
        return self.store.write(lambda unit: admit(unit, prepared))

    def work(self) -> None:
        while self.worker.turn():
            pass

    def resource(self, reference: str) -> Resource | None:
        with self.store.reading() as reading:
            stored = reading.resources.get(*reference.split("/"))
            if stored is None:
                return None
            found = read(stored.body, at=reference).resource
            return {name: value for name, value in found.items() if name != "meta"}

    def states(self) -> list[str]:
        with self.store.reading() as reading:
            return sorted(state for (_, state), number in reading.inbox.counts().items() for _ in range(number))


def adt(
    event: str, control_id: str, minute: int, *rest: str, mrn: str = "17", name: str = "Zqvale", pv1: str = "PV1|1|I"
) -> bytes:
    """An ADT recorded at a minute of 2026-01-05."""
    stamp = f"2026010510{minute:02d}"
    lines = [f"MSH|^~\\&|EHR|WEST|||{stamp}||ADT^{event}|{control_id}|P|2.5.1", f"EVN||{stamp}"]
    return "\r".join([*lines, f"PID|1||{mrn}^^^WEST^MR||{name}", *([pv1] if pv1 else []), *rest, ""]).encode()


@pytest.fixture
def gateway(store: Store) -> Gateway:
    return Gateway(store)


def test_a_message_is_stored_once_however_often_it_comes(gateway: Gateway) -> None:
    first = gateway.take(adt("A01", "1", 1))
    gateway.work()
    for _ in range(3):
        assert gateway.take(adt("A01", "1", 1)).answer == first.answer
        gateway.work()
    assert gateway.states() == ["processed"]
    with gateway.store.reading() as reading:
        stored = reading.resources.get("Patient", "17")
        assert stored is not None
        assert stored.version == 1
        attempts = reading.inbox.attempts(first.id)
    assert [one.outputs for one in attempts] == [("Patient/17/_history/1", "Encounter/v17/_history/1")]


def test_a_failure_parks_its_lane_only(gateway: Gateway) -> None:
    gateway.take(adt("A01", "1", 1, mrn="poison"))
    gateway.take(adt("A08", "2", 2, mrn="poison"))
    gateway.take(adt("A01", "3", 3, mrn="18"))
    gateway.work()
    assert gateway.states() == ["parked", "processed", "received"]
    with gateway.store.reading() as reading:
        parked = reading.inbox.in_state(State.PARKED)[0]
    assert (parked.category, parked.place, parked.attempts) == ("invalid", "PID-3", 1)


def test_an_older_snapshot_does_not_overwrite_a_newer_one(gateway: Gateway) -> None:
    gateway.take(adt("A08", "2", 9, name="New"))
    gateway.work()
    gateway.take(adt("A08", "1", 3, name="Old"))
    gateway.work()
    assert (gateway.resource("Patient/17") or {})["name"] == [{"family": "New"}]
    assert gateway.states() == ["processed", "processed"]


FEED = (
    adt("A05", "1", 1, pv1="PV1|1|P|WAIT"),
    adt("A01", "2", 2, pv1="PV1|1|I|WARD1"),
    adt("A03", "3", 3, pv1="PV1|1|I|WARD1" + "|" * 42 + "2026"),
    adt("A13", "4", 4, pv1="PV1|1|I|WARD1"),
    adt("A08", "5", 5, name="Zqother", pv1="PV1|1|I|WARD2"),
)


def state_after(order: Sequence[bytes]) -> tuple[Resource | None, Resource | None]:
    gateway = Gateway(MemoryStore())
    for payload in order:
        gateway.take(payload)
        gateway.work()
    return gateway.resource("Patient/17"), gateway.resource("Encounter/v17")


def test_any_order_of_arrival_ends_in_the_same_state() -> None:
    expected = state_after(FEED)
    assert expected[1] == {
        "resourceType": "Encounter",
        "id": "v17",
        "status": "in-progress",
        "subject": {"reference": "Patient/17"},
        "location": [{"location": {"display": "WARD2"}}],
    }
    for order in itertools.permutations(FEED):
        assert state_after(order) == expected


def test_a_cancelled_admission_is_what_it_was_before(gateway: Gateway) -> None:
    gateway.take(adt("A05", "1", 1))
    gateway.take(adt("A01", "2", 2))
    gateway.take(adt("A11", "3", 3))
    gateway.work()
    assert (gateway.resource("Encounter/v17") or {})["status"] == "planned"
    gateway.take(adt("A01", "4", 4, mrn="18"))
    gateway.take(adt("A11", "5", 5, mrn="18"))
    gateway.work()
    assert (gateway.resource("Encounter/v18") or {})["status"] == "cancelled"


def test_a_merge_keeps_the_old_number_and_unlinking_restores_both(gateway: Gateway) -> None:
    gateway.take(adt("A28", "1", 1, pv1=""))
    gateway.take(adt("A28", "2", 2, mrn="99", name="Zqold", pv1=""))
    gateway.work()
    before = gateway.resource("Patient/17"), gateway.resource("Patient/99")
    gateway.take(adt("A40", "3", 3, "MRG|99^^^WEST^MR", pv1=""))
    gateway.work()
    survivor, loser = gateway.resource("Patient/17") or {}, gateway.resource("Patient/99") or {}
    assert survivor["identifier"][1] == {"system": "WEST", "value": "99", "use": "old"}
    assert survivor["link"] == [{"other": {"reference": "Patient/99"}, "type": "replaces"}]
    assert loser["active"] is False
    assert loser["link"] == [{"other": {"reference": "Patient/17"}, "type": "replaced-by"}]
    gateway.take(adt("A37", "4", 4, "PID|2||99^^^WEST^MR||Zqold", pv1=""))
    gateway.work()
    after = gateway.resource("Patient/17") or {}, gateway.resource("Patient/99") or {}
    assert [{n: v for n, v in one.items() if n != "active"} for one in after] == list(before)
    assert [one["active"] for one in after] == [True, True]


def test_a_merge_in_a_circle_is_refused_at_mrg_1(gateway: Gateway) -> None:
    gateway.take(adt("A40", "1", 1, "MRG|99^^^WEST^MR", pv1=""))
    gateway.work()
    gateway.take(adt("A40", "2", 2, "MRG|17^^^WEST^MR", mrn="99", pv1=""))
    gateway.work()
    with gateway.store.reading() as reading:
        parked = reading.inbox.in_state(State.PARKED)[0]
    assert (parked.place, parked.category) == ("MRG-1", "conflict")


def test_bytes_that_are_not_of_the_charset_are_set_aside_not_guessed(gateway: Gateway) -> None:
    gateway.take(adt("A01", "1", 1).replace(b"Zqvale", b"Zqv\xe4le"))
    gateway.work()
    assert gateway.states() == ["quarantined"]
    assert gateway.resource("Patient/17") is None


def test_a_repeat_with_other_content_is_set_aside_with_an_alarm(gateway: Gateway) -> None:
    gateway.take(adt("A01", "1", 1))
    other = adt("A01", "1", 1, name="Zqelse")
    reply = gateway.take(other)
    assert "other content: quarantined" in reply.alarm
    assert b"MSA|AE|1|" in reply.answer
    assert gateway.take(other).answer == reply.answer
    gateway.work()
    assert gateway.states() == ["processed", "quarantined"]
    assert gateway.take(adt("A01", "2", 2, name="A"), Feed(conflict="accept")).alarm == ""
    assert "accepted" in gateway.take(adt("A01", "2", 2, name="B"), Feed(conflict="accept")).alarm


def test_the_application_acknowledgement_follows_processing(gateway: Gateway) -> None:
    payload = adt("A01", "1", 1).replace(b"|P|2.5.1", b"|P|2.5.1|||AL|AL")
    reply = gateway.take(payload)
    assert reply.waits
    assert b"MSA|CA|1" in reply.answer
    gateway.work()
    assert gateway.finished == [reply.id]
    again = gateway.take(payload)
    assert (again.waits, again.answer) == (False, reply.answer)
    assert b"MSA|AA|1" in again.result
    bad = gateway.take(adt("A01", "2", 2, mrn="poison").replace(b"|P|2.5.1", b"|P|2.5.1|||NE|ER"))
    assert (bad.answer, bad.waits) == (b"", True), "whether it fails is not known yet"
    quiet = gateway.take(adt("A01", "3", 3).replace(b"|P|2.5.1", b"|P|2.5.1|||NE|ER"))
    with gateway.store.reading() as reading:
        assert result_of(reading.inbox, bad.id) is None
    gateway.work()
    with gateway.store.reading() as reading:
        assert result_of(reading.inbox, quiet.id) == b"", "it wants none, and nobody waits for it"
        assert b"MSA|AE|2" in (result_of(reading.inbox, bad.id) or b"")


def test_a_late_event_after_what_is_no_longer_kept_is_set_aside_and_holds_up_nobody(gateway: Gateway) -> None:
    """Folded from a part of its history, the visit would go back to a state that it never had."""
    gateway.take(adt("A01", "1", 1))
    gateway.take(adt("A03", "2", 5))
    gateway.work()
    before = gateway.resource("Encounter/v17")
    gateway.store.write(lambda unit: unit.inbox.forget(bodies_before_us=10**15, keys_before_us=0, limit=10))
    late = gateway.take(adt("A02", "3", 3))
    newer = gateway.take(adt("A08", "4", 9, name="Zqnew"))
    gateway.work()
    assert gateway.states() == ["processed", "processed", "processed", "quarantined"]
    assert gateway.resource("Encounter/v17") == before
    assert (gateway.resource("Patient/17") or {})["name"] == [{"family": "Zqnew"}]
    with gateway.store.reading() as reading:
        assert reading.inbox.attempts(late.id)[0].category == "gone"
        assert reading.inbox.attempts(newer.id)[0].state is State.PROCESSED
