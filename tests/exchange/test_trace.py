"""Trace finds a message by anything that names it; a replay is a new attempt, and twice is once."""

from dataclasses import replace

import pytest

from gateway.adapters.memory.store import MemoryStore
from gateway.exchange.ports.inbox import State
from gateway.exchange.ports.outbox import Delivery
from gateway.exchange.ports.store import Store
from gateway.exchange.trace import Change, preview, replay, set_aside, trace
from gateway.kernel.errors import Conflict, Gone, Invalid, NotFound
from gateway.mapping.hl7v2.convert import Conversion
from tests.exchange.test_process_messages import PROCESSING, Gateway, adt


@pytest.fixture
def gateway() -> Gateway:
    return Gateway(MemoryStore())


def again(gateway: Gateway, id_: str, reason: str = "asked") -> State:
    return replay(gateway.store, id_, PROCESSING, now_us=gateway.tick, ack_id="R", reason=reason).state


def test_a_message_is_found_by_id_by_control_id_and_by_what_it_wrote(store: Store) -> None:
    gateway = Gateway(store)
    reply = gateway.take(adt("A01", "1", 1))
    gateway.work()
    store.write(lambda unit: unit.outbox.queue(Delivery("d1", "west", "REF^I12", (), "C9", 5)))
    with store.reading() as reading:
        for wanted in (reply.id, "1", "Patient/17", "Encounter/v17/_history/1"):
            (found,), out = trace(reading, wanted)
            assert (found.received.id, found.attempts[0].state, out) == (reply.id, State.PROCESSED, [])
        assert [one.id for one in trace(reading, "C9")[1]] == ["d1"]
        with pytest.raises(NotFound):
            trace(reading, "Patient/1")


def test_a_waiting_message_names_what_it_waits_for(gateway: Gateway) -> None:
    first = gateway.take(adt("A01", "1", 1, mrn="poison"))
    gateway.take(adt("A08", "2", 2, mrn="poison"))
    gateway.work()
    with gateway.store.reading() as reading:
        assert trace(reading, "2")[0][0].behind == first.id
    set_aside(gateway.store, first.id, now_us=gateway.tick(), reason="wrong file")
    gateway.work()
    assert gateway.states() == ["parked", "quarantined"], "the next one has its turn, and fails by itself"
    with pytest.raises(Conflict):
        set_aside(gateway.store, first.id, now_us=gateway.tick(), reason="again")


def test_a_replay_is_a_new_attempt_and_twice_changes_nothing(gateway: Gateway) -> None:
    reply = gateway.take(adt("A01", "1", 1))
    gateway.work()
    before = gateway.resource("Patient/17")
    assert [again(gateway, reply.id), again(gateway, reply.id)] == [State.PROCESSED] * 2
    assert gateway.resource("Patient/17") == before
    with gateway.store.reading() as reading:
        attempts = reading.inbox.attempts(reply.id)
        stored = reading.resources.get("Patient", "17")
    assert [(one.number, one.reason) for one in attempts] == [(1, ""), (2, "asked"), (3, "asked")]
    assert stored is not None
    assert stored.version == 1


def test_a_replay_of_an_old_message_does_not_undo_the_newer(gateway: Gateway) -> None:
    old = gateway.take(adt("A08", "1", 1, name="Old"))
    gateway.take(adt("A08", "2", 2, name="New"))
    gateway.work()
    again(gateway, old.id)
    assert (gateway.resource("Patient/17") or {})["name"] == [{"family": "New"}]


def test_a_dry_run_tells_and_changes_nothing(gateway: Gateway) -> None:
    reply = gateway.take(adt("A01", "1", 1))
    gateway.work()
    with gateway.store.reading() as reading:
        before = reading.inbox.get(reply.id)

    def renamed(message: object, sender: str) -> Conversion:
        made = PROCESSING.convert(message, sender)  # type: ignore[arg-type]
        patient, visit = made.resources
        extra = {"resourceType": "Basic", "id": "b"}
        return replace(made, resources=({**patient, "gender": "female"}, visit, extra))

    changes = preview(gateway.store, reply.id, replace(PROCESSING, convert=renamed), now_us=gateway.tick())
    assert changes == [
        Change("Patient/17", "changed", ("gender",)),
        Change("Encounter/v17", "same"),
        Change("Basic/b", "new", ("id", "meta", "resourceType")),
    ]
    assert gateway.resource("Basic/b") is None
    with gateway.store.reading() as reading:
        assert reading.inbox.get(reply.id) == before


def test_a_replay_that_fails_is_recorded_and_a_mended_mapping_frees_the_lane(gateway: Gateway) -> None:
    first = gateway.take(adt("A01", "1", 1, mrn="poison"))
    gateway.work()
    with pytest.raises(Invalid):
        again(gateway, first.id, "try")
    with gateway.store.reading() as reading:
        assert [(one.state, one.reason) for one in reading.inbox.attempts(first.id)][-1] == (State.PARKED, "try")
    mended = replace(
        PROCESSING,
        convert=lambda message, sender: replace(
            PROCESSING.convert(type(message).parse(message.raw.replace(b"poison", b"55")), sender)
        ),
    )
    done = replay(gateway.store, first.id, mended, now_us=gateway.tick, ack_id="R", reason="mapping mended")
    assert done.state is State.PROCESSED
    assert gateway.resource("Patient/55") is not None


def test_what_was_refused_or_is_unknown_cannot_be_replayed(gateway: Gateway) -> None:
    refused = gateway.take(b"MSH|^~\\&|A|B|||1||ADT^A01|1|P|9.9\r")
    with pytest.raises(Conflict):
        again(gateway, refused.id)
    with pytest.raises(NotFound):
        again(gateway, "nobody")


def test_what_is_no_longer_kept_is_told_apart_and_not_replayed(store: Store) -> None:
    gateway = Gateway(store)
    reply = gateway.take(adt("A01", "1", 1))
    gateway.work()
    before = gateway.resource("Patient/17")
    store.write(lambda unit: unit.inbox.forget(bodies_before_us=10**15, keys_before_us=0, limit=10))
    with pytest.raises(Gone):
        again(gateway, reply.id)
    assert gateway.states() == ["processed"]
    assert gateway.resource("Patient/17") == before
