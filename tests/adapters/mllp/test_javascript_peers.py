"""Real peers, the Node MLLP client and server of the package index: one drives the listener, one receives from us."""

import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.adapters.db.store import DbStore
from gateway.adapters.mllp.client import Client
from gateway.kernel.errors import DoorwayError
from tests.support.javascript import run
from tests.support.mllp import adt, receiving

PROJECT = Path(__file__).resolve().parents[2] / "peers" / "mllp"


def test_node_hl7_client_is_answered_message_after_message(sqlite_store: DbStore) -> None:
    with receiving(sqlite_store) as receiver:
        said = run(PROJECT, "client.cjs", str(receiver.addresses[0][1]))
    assert said.splitlines() == [f"AA N{number}" for number in range(1, 6)]
    with sqlite_store.reading() as reading:
        assert sum(reading.inbox.counts().values()) == 5


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def reached(port: int, server: "Future[str]") -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end and not server.done():
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("the server does not listen")


def test_node_hl7_server_receives_and_its_answer_to_another_message_is_not_taken_for_one() -> None:
    """Before the second answer of a connection it sends the first one again: that is passed over."""
    port, said = free_port(), list[str]()
    with ThreadPoolExecutor(1) as pool:
        server = pool.submit(run, PROJECT, "server.cjs", str(port), "S2")
        reached(port, server)
        client = Client("127.0.0.1", port, timeout_s=10)
        for name in ("S0", "S1", "S1", "S2"):
            try:
                last = client.send(adt(name)).last
            except DoorwayError as error:
                said.append(error.at)
            else:
                assert last is not None
                said.append(f"{last.code} {last.control_id}")
        client.close()
        received = server.result(40).splitlines()
    assert said == ["AA S0", "AA S1", "AA S1", "AA S2"]
    assert list(dict.fromkeys(received)) == ["S0", "S1", "S2"]  # it may hand one to its program twice
