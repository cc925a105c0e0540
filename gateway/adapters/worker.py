"""Threads that do the waiting work: messages of the inbox, deliveries of the outbox. No decision is taken here.

Any number of gateway processes may run workers on one PostgreSQL: each message is claimed inside the transaction that
applies it, so one of them gets it, and the others pass on.
"""

import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from gateway.adapters.failpoint import reached
from gateway.exchange.ports.inbox import Received, State
from gateway.exchange.ports.store import Store
from gateway.exchange.process_messages import Processing, Stage, Work, apply, failed, understand
from gateway.kernel.errors import Busy, DoorwayError, Fault, trace_of

log = logging.getLogger("doorway.worker")

_BATCH = 64  # messages that are looked for at once
_UNDER_WAY = 8  # messages handed to the store at once: they share commits, and no acknowledgement waits behind more
_FORGET = 200  # messages that retention touches in one transaction
_DAY_US = 86_400_000_000
_IDLE_S = 0.5  # how long a message kept by another process may wait to be seen


class Loop:
    """A thread that calls ``turn`` until there is nothing to do, then sleeps until it is woken."""

    def __init__(self, name: str, turn: Callable[[], bool], *, idle_s: float = _IDLE_S) -> None:
        self._turn = turn
        self._idle_s = idle_s
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def wake(self) -> None:
        """There is something to do."""
        self._wake.set()

    def end(self) -> None:
        """Begin no other turn; do not wait for the one under way."""
        self._stopping.set()
        self._wake.set()

    def stop(self, timeout_s: float = 30.0) -> None:
        """Finish the turn under way and end."""
        self.end()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                busy = self._turn()
                failures = 0
            except Exception as error:
                busy, failures = False, failures + 1
                what = str(error) if isinstance(error, DoorwayError) else trace_of(error)
                log.error("%s: %s", self._thread.name, what)
            if not busy:
                self._wake.wait(min(self._idle_s * 2 ** min(failures, 6), 30.0))


class InboxWorker:
    """Converts and applies the messages whose turn has come, each in a transaction of its own, many to a commit.

    Args:
        done: told the ids of messages that are finished (their application acknowledgement can be sent).
    """

    def __init__(
        self,
        store: Store,
        processing: Processing,
        now_us: Callable[[], int],
        done: Callable[[Sequence[str]], None] = lambda _ids: None,
    ) -> None:
        self._store = store
        self._processing = processing
        self._now_us = now_us
        self._done = done

    def turn(self) -> bool:
        """One batch, at most one message of a lane; whether there was any."""
        with self._store.reading() as reading:
            ready = reading.inbox.ready(now_us=self._now_us(), limit=_BATCH)
        waiting: deque[tuple[Received, Future[Received | None]]] = deque()
        for received in ready:
            if len(waiting) >= _UNDER_WAY:
                self._finish(*waiting.popleft())
            try:
                waiting.append((received, self._apply(received, understand(received, self._processing))))
            except Stage as failure:
                self._fail(received, failure)
        for received, future in waiting:
            self._finish(received, future)
        return bool(ready)

    def _finish(self, received: Received, future: "Future[Received | None]") -> None:
        """Wait for the commit of a message, and tell."""
        try:
            finished = future.result()
        except DoorwayError as error:
            self._fail(received, Stage("save", error))
        except Exception as error:
            log.error("message %s: %s", received.id, trace_of(error))
            self._fail(received, Stage("save", Fault("a defect of ours")))
        else:
            if finished is not None:
                self._done([finished.id])

    def _apply(self, received: Received, work: Work) -> "Future[Received | None]":
        now_us, ack_id = self._now_us(), secrets.token_hex(10)
        reached("before_process_commit")
        return self._store.submit(lambda unit: apply(unit, work, self._processing, now_us=now_us, ack_id=ack_id))

    def _fail(self, received: Received, failure: Stage) -> None:
        now_us, ack_id = self._now_us(), secrets.token_hex(10)
        try:
            finished = self._store.write(lambda unit: failed(unit, received, failure, now_us=now_us, ack_id=ack_id))
        except Busy:
            return  # the message is as it was, and is tried again
        if finished is None:
            return
        log.warning(
            "message %s %s stage=%s category=%s at=%s",
            finished.id, finished.state.value, failure.stage, failure.error.category.value, failure.error.at,
        )  # fmt: skip
        if finished.state is not State.RECEIVED:
            self._done([finished.id])


class Retention:
    """Empties and removes messages that are done and older than a site keeps them, a few at a time.

    Args:
        bodies_days: after how many days the bytes of a message go; 0: never.
        keys_days: after how many its key and answers go too, by which a repeat is told; 0: never.
    """

    def __init__(self, store: Store, now_us: Callable[[], int], *, bodies_days: int, keys_days: int) -> None:
        self._store = store
        self._now_us = now_us
        self._bodies_days, self._keys_days = bodies_days, keys_days
        self.limited = bool(bodies_days or keys_days)

    def turn(self) -> bool:
        """One batch; whether there was anything."""
        now_us = self._now_us()
        keys_us = now_us - self._keys_days * _DAY_US if self._keys_days else 0
        bodies_us = now_us - self._bodies_days * _DAY_US if self._bodies_days else keys_us
        touched = self._store.write(
            lambda unit: unit.inbox.forget(bodies_before_us=bodies_us, keys_before_us=keys_us, limit=_FORGET)
        )
        if touched:
            log.info("retention: %d messages emptied or removed", touched)
        return touched > 0
