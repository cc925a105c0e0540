"""Who shares a commit: those who were just answered are waited for a moment, and nobody waits for the silent."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, cast

from gateway.adapters.mllp.receiver import Listener, Receiver
from gateway.exchange.receive import Feed, Prepared, Reply, prepare
from tests.support.mllp import adt


class Steps:
    """A loop that does nothing by itself, and a store that commits when told."""

    def __init__(self) -> None:
        self.soon: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.commits: list[tuple[Sequence[Prepared], Future[list[Reply]]]] = []
        self.answered: list[str] = []
        self.receiver = Receiver([Listener(port=0)], self.submit, lambda _id, _feed, _address: b"", lambda: 1)
        self.receiver._loop = cast(Any, self)

    def call_soon(self, step: Callable[..., None], *arguments: Any) -> None:
        self.soon.append((step, arguments))

    call_soon_threadsafe = call_soon

    def call_later(self, delay_s: float, step: Callable[[], None]) -> "Steps":
        self.timers.append((delay_s, step))
        return self

    def cancel(self) -> None:
        self.timers.clear()

    def submit(self, prepared: Sequence[Prepared]) -> "Future[list[Reply]]":
        self.commits.append((prepared, Future()))
        return self.commits[-1][1]

    def send(self, *peers: str) -> None:
        for peer in peers:
            message = prepare(adt(f"{peer}{len(self.answered)}"), Feed(), now_us=1, ack_id="A")
            self.receiver.keep([message], lambda _replies, _error, who=peer: self.answered.append(who))  # type: ignore[misc]
        self.turn()

    def turn(self) -> None:
        while self.soon:
            step, arguments = self.soon.pop(0)
            step(*arguments)

    def commit(self, error: Exception | None = None) -> None:
        prepared, done = self.commits[-1]
        if error is None:
            done.set_result([Reply(one.message.id, b"A") for one in prepared])
        else:
            done.set_exception(error)
        self.turn()

    @property
    def sizes(self) -> list[int]:
        return [len(prepared) for prepared, _ in self.commits]


def test_those_who_were_just_answered_share_the_next_commit() -> None:
    steps = Steps()
    for peer in "abc":
        steps.receiver.keep([prepare(adt(peer), Feed(), now_us=1, ack_id="A")], lambda *_: None)
    steps.turn()
    steps.send("d")
    assert steps.sizes == [3]
    steps.commit()
    steps.send("a", "b")
    assert steps.sizes == [3], "c was answered as well and is on its way"
    steps.send("c")
    assert steps.sizes == [3, 4]
    assert steps.timers == []


def test_a_silent_peer_is_not_waited_for_longer_than_a_commit_takes() -> None:
    steps = Steps()
    steps.send("a")
    steps.send("b")
    steps.commit()
    (delay_s, step), *others = steps.timers
    assert (0 <= delay_s <= 0.002, others) == (True, [])
    step()
    assert steps.sizes == [1, 1]
    steps.commit()
    assert steps.answered == ["a", "b"]


def test_one_peer_alone_never_waits() -> None:
    steps = Steps()
    for number in range(1, 4):
        steps.send("a")
        assert steps.sizes == [1] * number
        steps.commit()


def test_a_store_that_takes_nothing_leaves_nobody_waiting() -> None:
    steps = Steps()
    steps.send("a")
    steps.send("b", "c")
    steps.commit(OSError("gone"))
    (_, step) = steps.timers[0]
    step()
    assert steps.sizes == [1, 2]
    assert steps.answered == ["a"]
