"""Real peers, the libraries python-hl7 and hl7lw: their clients drive the listener, their servers receive from ours."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import hl7
import pytest
from hl7.client import MLLPClient
from hl7.mllp import start_hl7_server
from hl7lw import Hl7Parser, MllpClient

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


def test_the_client_of_hl7lw_is_answered_message_after_message(sqlite_store: DbStore) -> None:
    client = MllpClient()
    with receiving(sqlite_store) as receiver:
        client.connect(*receiver.addresses[0])
        client.socket.settimeout(5)  # it has no time-out of its own
        for number in range(5):
            client.send(adt(f"L{number}", msh="|||AL|NE" if number % 2 else ""))
            said = Hl7Parser().parse_message(client.recv())
            assert (said["MSA-1"], said["MSA-2"]) == ("CA" if number % 2 else "AA", f"L{number}")
        client.send(adt("L0"))
        assert b"MSA|AA|L0" in client.recv(), "a repeat is answered as before"
        client.close()
    with sqlite_store.reading() as reading:
        assert [len(reading.inbox.find(f"L{number}")) for number in range(5)] == [1] * 5


# hl7lw's server listens on every interface, never returns and spins once its peer has left: so it gets a process and
# the loopback address, and is ended with the test
_HL7LW_SERVER = """
import socket, sys
import hl7lw
from hl7lw.utils import Acks, generate_ack

def answer(message):
    parser = hl7lw.Hl7Parser()
    parsed = parser.parse_message(message)
    print(parsed["MSH-10"], flush=True)
    said = generate_ack(parsed, Acks.AE if parsed["MSH-10"] == "L3" else Acks.AA)
    return parser.format_message(said, encoding="utf-8")

made = socket.create_server
def bound(address, **options):
    server = made(("127.0.0.1", address[1]), **options)
    print(server.getsockname()[1], flush=True)
    return server
socket.create_server = bound
hl7lw.MllpServer(0, answer).serve_forever()
"""


def test_the_server_of_hl7lw_receives_from_our_client() -> None:
    with subprocess.Popen([sys.executable, "-c", _HL7LW_SERVER], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        try:
            client = Client("127.0.0.1", int(program.stdout.readline()), timeout_s=5)
            said = [client.send(adt(f"L{number}")).last for number in range(5)]
            assert [(one.code, one.control_id) for one in said if one is not None] == [
                ("AE" if number == 3 else "AA", f"L{number}") for number in range(5)
            ]
            assert [program.stdout.readline().strip() for _ in range(5)] == [f"L{number}" for number in range(5)]
            client.close()
        finally:
            program.kill()


def test_an_answer_in_pieces_and_two_answers_in_one_packet_are_told_apart() -> None:
    def both(message: bytes) -> bytes:
        return framed(ack(message, "CA")) + framed(ack(message, "AA"))

    peer = ScriptedPeer(both)
    client = Client(*peer.address, timeout_s=20)
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
