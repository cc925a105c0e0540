"""The inbox keeps one contract on memory, SQLite and PostgreSQL."""

import hashlib

from gateway.exchange.ports.inbox import Admission, Attempt, Received, State
from gateway.exchange.ports.store import Store


def message(name: str, at: int, lane: str = "", lane_2: str = "", body: bytes = b"") -> Received:
    body = body or b"MSH|^~\\&|" + name.encode()
    digest = hashlib.sha256(body).digest()
    return Received(
        id=f"{name}-1", source="west", control_id=name, digest=digest,
        kind="ADT^A01", received_us=at, body=body, answer=b"AA", lane=lane, lane_2=lane_2, event_us=at,
    )  # fmt: skip


def keep(store: Store, *messages: Received) -> None:
    for one in messages:
        assert store.write(lambda unit, one=one: unit.inbox.add(one))[0] is Admission.NEW  # type: ignore[misc]


def settle(store: Store, one: Received, state: State) -> None:
    done = one._replace(state=state, attempts=one.attempts + 1)
    store.write(
        lambda unit: unit.inbox.settle(
            done, Attempt(one.id, done.attempts, 9, state, outputs=("Patient/1/_history/1",))
        )
    )


def ready(store: Store, now_us: int = 100) -> list[str]:
    with store.reading() as reading:
        return [one.control_id for one in reading.inbox.ready(now_us=now_us, limit=10)]


def test_what_is_kept_comes_back_to_the_byte(store: Store) -> None:
    one = message("a", 1, body=bytes(range(256)))
    keep(store, one)
    with store.reading() as reading:
        assert reading.inbox.get(one.id) == one
        assert reading.inbox.find("a") == [one]
        assert reading.inbox.get("nobody") is None
        assert reading.inbox.oldest_open_us() == 1
        assert reading.inbox.counts() == {("west", "received"): 1}


def test_the_same_message_is_a_repeat_and_another_content_a_conflict(store: Store) -> None:
    one = message("a", 1)
    keep(store, one)
    assert store.write(lambda unit: unit.inbox.add(one._replace(received_us=5, answer=b"other"))) == (
        Admission.REPEATED,
        one,
    )
    other = message("a", 6, body=b"MSH|changed")
    assert store.write(lambda unit: unit.inbox.add(other)) == (Admission.CONFLICT, one)
    assert store.write(lambda unit: unit.inbox.add(other._replace(id="a-2")))[0] is Admission.NEW


def test_a_lane_gives_one_message_at_a_time_and_lanes_are_parallel(store: Store) -> None:
    first, second, other, loose = message("1", 1, "x"), message("2", 2, "x"), message("3", 3, "y"), message("4", 4)
    keep(store, first, second, other, loose, message("5", 5))
    assert ready(store) == ["1", "3", "4", "5"]
    settle(store, first, State.PROCESSED)
    assert ready(store) == ["2", "3", "4", "5"]


def test_a_merge_stands_in_two_lanes(store: Store) -> None:
    merge = message("2", 2, "x", "y")
    keep(store, message("1", 1, "y"), merge, message("3", 3, "x"), message("4", 4, "z"), message("5", 5, "y"))
    assert ready(store) == ["1", "4"]
    with store.reading() as reading:
        assert reading.inbox.in_front_of(reading.inbox.find("5")[0]).startswith("1-")
        assert reading.inbox.in_front_of(reading.inbox.find("4")[0]) == ""
    with store.reading() as reading:
        settle(store, reading.inbox.find("1")[0], State.PROCESSED)
    assert ready(store) == ["2", "4"]
    settle(store, merge, State.PROCESSED)
    assert ready(store) == ["3", "4", "5"]
    with store.reading() as reading:
        assert [one.control_id for one in reading.inbox.folded("y")] == ["1", "2"]
        assert [one.control_id for one in reading.inbox.folded("x")] == ["2"]
        assert reading.inbox.newest("y") == (2, 2)
        assert reading.inbox.newest("z") is None


def test_a_parked_message_holds_up_its_lane_only_and_a_quarantined_one_nobody(store: Store) -> None:
    first, other = message("1", 1, "x"), message("3", 3, "y")
    keep(store, first, message("2", 2, "x"), other, message("4", 4, "y"))
    settle(store, first, State.PARKED)
    settle(store, other, State.QUARANTINED)
    assert ready(store) == ["4"]
    store.write(lambda unit: unit.inbox.reopen(first.id))
    assert ready(store) == ["1", "4"]


def test_a_message_waits_for_its_time(store: Store) -> None:
    keep(store, message("1", 1, "x")._replace(not_before_us=50))
    assert ready(store, 49) == []
    assert ready(store, 50) == ["1"]


def test_a_claim_is_for_received_messages_and_attempts_are_kept(store: Store) -> None:
    one = message("1", 1, "x")
    keep(store, one)
    assert store.write(lambda unit: unit.inbox.claim(one.id)) == one
    settle(store, one, State.PROCESSED)
    assert store.write(lambda unit: unit.inbox.claim(one.id)) is None
    with store.reading() as reading:
        assert reading.inbox.attempts(one.id) == [
            Attempt(one.id, 1, 9, State.PROCESSED, outputs=("Patient/1/_history/1",))
        ]
        assert [found.id for found in reading.inbox.in_state(State.PROCESSED)] == [one.id]
        assert reading.inbox.oldest_open_us() is None
        assert reading.inbox.that_wrote("Patient/2") == []
        assert [found.id for found in reading.inbox.that_wrote("Patient/1")] == [one.id]


def test_several_are_kept_at_once_and_each_has_its_own_verdict(store: Store) -> None:
    keep(store, message("old", 1))
    new, repeat = message("new", 5), message("old", 6)._replace(answer=b"later")
    twice, other = new._replace(received_us=7), message("old", 8, body=b"MSH|changed")
    said = store.write(lambda unit: unit.inbox.add_all([new, repeat, twice, other, message("two", 9)]))
    assert [verdict for verdict, _ in said] == [
        Admission.NEW,
        Admission.REPEATED,
        Admission.REPEATED,
        Admission.CONFLICT,
        Admission.NEW,
    ]
    assert said[1][1].answer == b"AA"
    assert [v for v, _ in store.write(lambda unit: unit.inbox.add_all([message("3", 10), message("4", 11)]))] == [
        Admission.NEW,
        Admission.NEW,
    ]
    with store.reading() as reading:
        assert reading.inbox.counts() == {("west", "received"): 5}


def test_bodies_and_then_keys_are_forgotten_of_what_is_done_only(store: Store) -> None:
    done, parked, fresh, waits = message("done", 1), message("parked", 2), message("fresh", 50), message("waits", 3)
    keep(store, done, parked, fresh, waits)
    settle(store, done, State.PROCESSED)
    settle(store, parked, State.PARKED)
    settle(store, fresh, State.PROCESSED)

    def forget(bodies: int, keys: int, limit: int = 10) -> int:
        return store.write(lambda unit: unit.inbox.forget(bodies_before_us=bodies, keys_before_us=keys, limit=limit))

    assert forget(10, 0) == 1
    assert forget(10, 0) == 0
    with store.reading() as reading:
        assert reading.inbox.get(done.id) == done._replace(body=b"", state=State.PROCESSED, attempts=1)
        assert all(reading.inbox.get(one.id).body for one in (parked, fresh, waits))  # type: ignore[union-attr]
    assert store.write(lambda unit: unit.inbox.add(done))[0] is Admission.REPEATED
    assert forget(100, 10, limit=1) == 2
    with store.reading() as reading:
        assert reading.inbox.get(done.id) is None
        assert reading.inbox.attempts(done.id) == []
        assert reading.inbox.get(parked.id) is not None
    assert store.write(lambda unit: unit.inbox.add(done))[0] is Admission.NEW
