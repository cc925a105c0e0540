"""Answers of the store's threads, brought to the event loop many at a time.

A shared commit answers many requests at once; asyncio's own bridge would wake the loop, and chain two futures, for
each of them.
"""

import asyncio
from collections import deque
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

T = TypeVar("T")


class Wakes:
    """The bridge of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._done: deque[tuple[asyncio.Future[Any], Future[Any]]] = deque()
        self._woken = False

    async def wait(self, pending: "Future[T]") -> T:
        """The result of a future that another thread completes; whoever stops waiting for it cancels it."""
        waiter: asyncio.Future[T] = self.loop.create_future()

        def tell(done: "Future[T]") -> None:
            self._done.append((waiter, done))
            # where two threads see this at once, the second wake-up finds nothing and harms nobody
            if not self._woken and not self.loop.is_closed():
                self._woken = True
                self.loop.call_soon_threadsafe(self._give)

        pending.add_done_callback(tell)
        try:
            return await waiter
        except asyncio.CancelledError:
            pending.cancel()
            raise

    def _give(self) -> None:
        self._woken = False  # before looking: what comes from here on wakes again
        while self._done:
            waiter, done = self._done.popleft()
            if waiter.done():
                continue
            try:
                result = done.result()
            except CancelledError:
                waiter.cancel()
            except BaseException as failed:  # whatever ended it, nobody may wait for ever
                waiter.set_exception(failed)
            else:
                waiter.set_result(result)
