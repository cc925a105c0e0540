"""A receiver on a free port, and the plainest client: a socket, so that every byte and packet is the test's own."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gateway.adapters.mllp.receiver import Arrivals, Listener, Receiver
from gateway.exchange.ports.store import Store
from gateway.exchange.receive import Feed, admit_all, result_of


@contextmanager
def receiving(store: Store, *listeners: Listener) -> Iterator[Receiver]:
    """A running receiver that keeps messages in ``store``."""

    def result(id_: str, _feed: Feed, _address: str) -> bytes | None:
        with store.reading() as reading:
            return result_of(reading.inbox, id_)

    receiver = Receiver(
        listeners or (Listener(port=0),),
        lambda prepared: store.submit(lambda unit: admit_all(unit, prepared)),
        result,
        Arrivals(),
    )
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()


class Peer:
    """One connection."""

    def __init__(self, address: tuple[str, int], timeout_s: float = 20.0) -> None:
        self.socket = socket.create_connection(address, timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def send(self, data: bytes, *, pause_s: float = 0.0) -> None:
        """Write; ``pause_s`` afterwards makes the next write another packet."""
        self.socket.sendall(data)
        if pause_s:
            time.sleep(pause_s)

    def answer(self) -> bytes:
        """The next frame's payload; b"" when the peer closed."""
        while b"\x1c\r" not in self._rest:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                return b""
            if not data:
                return b""
            self._rest += data
        frame, self._rest = self._rest.split(b"\x1c\r", 1)
        assert frame.startswith(b"\x0b")
        return frame[1:]

    def close(self) -> None:
        """Close."""
        self.socket.close()


def adt(
    control_id: str, *, kind: str = "ADT^A01", mrn: str = "17", msh: str = "", eol: str = "\r", note: str = ""
) -> bytes:
    """A small ADT of a synthetic person; ``msh`` is what follows MSH-12."""
    lines = [
        f"MSH|^~\\&|EHR|WEST|DOORWAY|HUB|20260105101500||{kind}|{control_id}|P|2.5.1{msh}",
        "EVN||20260105101500",
        f"PID|1||{mrn}^^^WEST^MR||Zqvale^Ada||19800101|F",
        "PV1|1|I",
    ]
    return eol.join([*lines, *([note] if note else []), ""]).encode()


def framed(payload: bytes) -> bytes:
    """VT payload FS CR."""
    return b"\x0b" + payload + b"\x1c\r"


def msa(answer: bytes) -> tuple[str, str]:
    """MSA-1 and MSA-2 of an acknowledgement."""
    line = next(line for line in answer.split(b"\r") if line.startswith(b"MSA"))
    fields = line.decode().split("|")
    return fields[1], fields[2] if len(fields) > 2 else ""


def ack(message: bytes, code: str, *, control_id: bytes | None = None, err: bytes = b"") -> bytes:
    """A plain acknowledgement of ``message``."""
    asked = message.split(b"\r")[0].split(b"|")[9] if control_id is None else control_id
    return b"MSH|^~\\&|PEER|X|||2026||ACK|9|P|2.5.1\rMSA|" + code.encode() + b"|" + asked + b"\r" + err


class ScriptedPeer:
    """A listener that answers each frame by the next step of a script; the last step repeats.

    A step gets the message and gives the bytes to send: b"" is silence, None closes the connection.
    """

    def __init__(self, *steps: "Callable[[bytes], bytes | None]") -> None:
        self.received: list[bytes] = []
        self._steps = list(steps)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._server.getsockname()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        rest = b""
        with connection:
            while data := connection.recv(65536):
                rest += data
                while b"\x1c\r" in rest:
                    frame, rest = rest.split(b"\x1c\r", 1)
                    self.received.append(frame[1:])
                    step = self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]
                    said = step(frame[1:])
                    if said is None:
                        return
                    connection.sendall(said)

    def close(self) -> None:
        """Stop listening."""
        self._server.close()
