"""The worker shares commits with those who wait for an acknowledgement, and does not stand in their way."""

from concurrent.futures import Future
from typing import Any

from gateway.adapters.db.store import DbStore
from gateway.adapters.worker import InboxWorker, Retention
from gateway.exchange.ports.inbox import State
from gateway.exchange.receive import Feed, admit_all, prepare
from tests.exchange.test_process_messages import PROCESSING
from tests.support.mllp import adt

DAY_US = 86_400_000_000


class Watched:
    """A store that counts what is handed to it and not done yet."""

    def __init__(self, store: DbStore) -> None:
        self.reading = store.reading
        self.write = store.write
        self._store = store
        self._made: list[Future[Any]] = []
        self.most = 0

    def submit(self, work: Any, *, light: bool = False) -> "Future[Any]":
        self._made.append(self._store.submit(work, light=light))
        self.most = max(self.most, sum(not one.done() for one in self._made))
        return self._made[-1]


def keep(store: DbStore, number: int) -> None:
    prepared = [prepare(adt(f"w{n}", mrn=str(n)), Feed(), now_us=n + 1, ack_id=f"A{n}") for n in range(number)]
    store.write(lambda unit: admit_all(unit, prepared))


def test_a_backlog_is_handed_over_a_few_at_a_time(sqlite_store: DbStore) -> None:
    keep(sqlite_store, 40)
    watched, clock = Watched(sqlite_store), iter(range(10**16, 10**17))
    worker = InboxWorker(watched, PROCESSING, lambda: next(clock))  # type: ignore[arg-type]
    while worker.turn():
        pass
    with sqlite_store.reading() as reading:
        assert reading.inbox.counts() == {("EHR^WEST", "processed"): 40}
    assert watched.most <= 8


def test_retention_empties_bodies_first_and_removes_keys_later_and_default_keeps_all(sqlite_store: DbStore) -> None:
    keep(sqlite_store, 3)
    clock = iter(range(10**16, 10**17))
    worker = InboxWorker(sqlite_store, PROCESSING, lambda: next(clock))
    while worker.turn():
        pass

    def bodies() -> list[int]:
        with sqlite_store.reading() as reading:
            return [len(one.body) for one in reading.inbox.in_state(State.PROCESSED)]

    def after(days: int, bodies_days: int, keys_days: int) -> Retention:
        return Retention(sqlite_store, lambda: days * DAY_US, bodies_days=bodies_days, keys_days=keys_days)

    assert not after(10_000, 0, 0).limited
    assert not after(10_000, 0, 0).turn()
    assert not after(5, 10, 30).turn()
    assert all(bodies())
    assert after(11, 10, 30).turn()
    assert bodies() == [0, 0, 0]
    assert not after(11, 10, 30).turn()
    assert after(31, 10, 30).turn()
    assert bodies() == []
    keep(sqlite_store, 1)
    assert not after(40, 0, 50).turn()
