"""Answers of other threads reach the event loop: all of them, with their failures, and few wake-ups for many."""

import asyncio
import threading
from concurrent.futures import Future

import pytest

from gateway.adapters.http.wakes import Wakes
from gateway.kernel.errors import Busy


def test_many_answers_of_several_threads_all_arrive() -> None:
    async def run() -> list[int]:
        wakes = Wakes(asyncio.get_running_loop())
        pending: list[Future[int]] = [Future() for _ in range(400)]
        waits = [asyncio.ensure_future(wakes.wait(one)) for one in pending]
        await asyncio.sleep(0)

        def answer(start: int) -> None:
            for number in range(start, 400, 4):
                pending[number].set_result(number)

        threads = [threading.Thread(target=answer, args=(start,)) for start in range(4)]
        for thread in threads:
            thread.start()
        return await asyncio.wait_for(asyncio.gather(*waits), 10)

    assert asyncio.run(run()) == list(range(400))


def test_what_is_done_already_and_what_failed_are_answered_too() -> None:
    async def run() -> str:
        wakes = Wakes(asyncio.get_running_loop())
        done: Future[str] = Future()
        done.set_result("done")
        failed: Future[str] = Future()
        failed.set_exception(Busy("full"))
        with pytest.raises(Busy):
            await wakes.wait(failed)
        return await wakes.wait(done)

    assert asyncio.run(run()) == "done"


def test_nobody_works_for_one_who_has_gone() -> None:
    async def run() -> bool:
        wakes = Wakes(asyncio.get_running_loop())
        pending: Future[int] = Future()
        waiting = asyncio.ensure_future(wakes.wait(pending))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return pending.cancelled()

    assert asyncio.run(run())
