"""Fault 8, seen by an operator: a database that hangs makes the gateway not ready, and stops nothing else."""

import asyncio
import threading
import time

import httpx
import pytest

from gateway.adapters.db.store import DbStore
from gateway.settings import read_settings
from gateway.wiring import build_app

pytestmark = pytest.mark.exam


class Hung:
    """A part whose state cannot be told, as its database does not answer."""

    name = "mllp"

    def __init__(self) -> None:
        self.released = threading.Event()

    def start(self) -> str:
        return ""

    def stop(self) -> None:
        return

    def trouble(self) -> str:
        self.released.wait(20)
        return ""


def test_a_part_that_hangs_makes_it_not_ready_in_time_and_the_rest_is_served(sqlite_store: DbStore) -> None:
    hung = Hung()
    built = build_app(read_settings(environment={}), sqlite_store, (hung,))

    async def ask() -> tuple[httpx.Response, float]:
        transport = httpx.ASGITransport(app=built.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            asked = asyncio.create_task(client.get("/readyz"))
            await asyncio.sleep(0.2)
            started = time.monotonic()
            assert (await client.get("/livez")).status_code == 200
            alive_s = time.monotonic() - started
            said = await asked
            hung.released.set()
            return said, alive_s

    said, alive_s = asyncio.run(ask())
    assert (said.status_code, said.json()["ready"]) == (503, False)
    assert alive_s < 1
