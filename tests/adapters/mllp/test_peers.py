"""A real peer, the python-hl7 library: its client drives the listener, its server receives from the sender."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import hl7
import pytest
from hl7.client import MLLPClient
from hl7.mllp import start_hl7_server

from gateway.adapters.db.store import DbStore
from gateway.adapters.mllp.client import Client
from gateway.kernel.errors import DoorwayError
from tests.support.mllp import ScriptedPeer, ack, adt, framed, receiving


def test_its_client_is_answered_message_after_message(sqlite_store: DbStore) -> None:
    with receiving(sqlite_store) as receiver, MLLPClient(*receiver.addresses[0]) as client:
        for number in range(5):
            answer = hl7.parse(client.send_message(adt(f"P{number}")).strip(b"\x0b\x1c\r").decode() + "\r")
            assert str(answer.segment("MSA")[1]) == "AA"
            assert str(answer.segment("MSA")[2]) == f"P{number}"


@pytest.fixture
def server() -> Iterator[tuple[tuple[str, int], list[str]]]:
    """python-hl7's asyncio server, which makes its own acknowledgements."""
    received: list[str] = []
    ready: Future[tuple[Any, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve(reader: Any, writer: Any) -> None:
        while not writer.is_closing():
            try:
                message = await reader.readmessage()
            except asyncio.IncompleteReadError:
                break
            received.append(str(message.segment("MSH")[10]))
            writer.writemessage(message.create_ack())
            await writer.drain()
        writer.close()

    async def main() -> None:
        ended = asyncio.Event()
        async with await start_hl7_server(serve, host="127.0.0.1", port=0, encoding="utf-8") as listening:
            ready.set_result((listening.sockets[0].getsockname(), asyncio.get_running_loop(), ended))
            await ended.wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    address, loop, ended = ready.result(5)
    yield address, received
    loop.call_soon_threadsafe(ended.set)
    thread.join(5)


def test_its_server_receives_from_our_client(server: tuple[tuple[str, int], list[str]]) -> None:
    address, received = server
    client = Client(*address, timeout_s=5)
    for number in range(5):
        last = client.send(adt(f"Q{number}")).last
        assert last is not None
        assert (last.code, last.control_id) == ("AA", f"Q{number}")
    client.close()
    assert received == [f"Q{number}" for number in range(5)]


def test_an_answer_in_pieces_and_two_answers_in_one_packet_are_told_apart() -> None:
    def both(message: bytes) -> bytes:
        return framed(ack(message, "CA")) + framed(ack(message, "AA"))

    peer = ScriptedPeer(both)
    client = Client(*peer.address, timeout_s=2)
    for number in ("1", "2"):
        answered = client.send(adt(number, msh="|||AL|AL"))
        assert [one.code for one in answered.acknowledgements] == ["CA", "AA"]
    client.close()
    peer.close()


def test_a_late_answer_is_never_taken_for_another_message() -> None:
    late: list[bytes] = []

    def first(message: bytes) -> bytes:
        late.append(framed(ack(message, "AA")))
        return b""

    peer = ScriptedPeer(first, lambda message: late[0] + framed(ack(message, "AE")))
    client = Client(*peer.address, timeout_s=0.3)
    for number in ("1", "2"):
        with pytest.raises(DoorwayError) as raised:
            client.send(adt(number))
        assert "MSA-2" in str(raised.value) or "no answer" in str(raised.value)
    client.close()
    peer.close()
