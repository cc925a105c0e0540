"""The outbox keeps one contract on memory, SQLite and PostgreSQL."""

from dataclasses import replace

from gateway.exchange.ports.outbox import Delivery, OutState
from gateway.exchange.ports.store import Store


def delivery(name: str, at: int, lane: str = "", destination: str = "west") -> Delivery:
    return Delivery(name, destination, "REF^I12", ("ServiceRequest/1", "Task/2"), f"C{name}", at, lane)


def queue(store: Store, *several: Delivery) -> None:
    for one in several:
        assert store.write(lambda unit, one=one: unit.outbox.queue(one))  # type: ignore[misc]


def due(store: Store, destination: str = "west", now_us: int = 100) -> list[str]:
    with store.reading() as reading:
        return [one.id for one in reading.outbox.due(destination, now_us=now_us, limit=10)]


def settle(store: Store, one: Delivery, state: OutState) -> None:
    store.write(lambda unit: unit.outbox.settle(replace(one, state=state, attempts=one.attempts + 1, body=b"\x00MSH")))


def test_a_delivery_comes_back_as_it_was_and_is_queued_once(store: Store) -> None:
    one = delivery("1", 1, "x")
    queue(store, one)
    assert store.write(lambda unit: unit.outbox.queue(replace(one, kind="other"))) is False
    with store.reading() as reading:
        assert reading.outbox.get("1") == one
        assert reading.outbox.find("C1") == [one]
        assert reading.outbox.counts() == {("west", "queued"): 1}


def test_order_is_kept_in_a_lane_of_a_destination_also_in_doubt(store: Store) -> None:
    first = delivery("1", 1, "x")
    queue(store, first, delivery("2", 2, "x"), delivery("3", 3, "y"), delivery("4", 4), delivery("5", 5, "x", "east"))
    assert due(store) == ["1", "3", "4"]
    assert due(store, "east") == ["5"]
    settle(store, first, OutState.DOUBTFUL)
    assert due(store) == ["1", "3", "4"]
    settle(store, first, OutState.DELIVERED)
    assert due(store) == ["2", "3", "4"]


def test_a_delivery_waits_for_its_time_and_a_finished_one_cannot_be_claimed(store: Store) -> None:
    one = replace(delivery("1", 1), not_before_us=50)
    queue(store, one)
    assert due(store, now_us=49) == []
    assert due(store, now_us=50) == ["1"]
    assert store.write(lambda unit: unit.outbox.claim("1")) == one
    settle(store, one, OutState.QUARANTINED)
    assert store.write(lambda unit: unit.outbox.claim("1")) is None
    with store.reading() as reading:
        assert [found.body for found in reading.outbox.in_state(OutState.QUARANTINED)] == [b"\x00MSH"]
