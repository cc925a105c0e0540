"""A receiver on a free port, and the plainest client: a socket, so that every byte and packet is the test's own."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.adapters.mllp.receiver import Arrivals, Listener, Receiver
from gateway.exchange.ports.store import Store
from gateway.exchange.receive import admit


@contextmanager
def receiving(store: Store, *listeners: Listener) -> Iterator[Receiver]:
    """A running receiver that keeps messages in ``store``."""

    def result_of(id_: str) -> bytes:
        with store.reading() as reading:
            found = reading.inbox.get(id_)
        return found.result if found is not None else b""

    receiver = Receiver(
        listeners or (Listener(port=0),),
        lambda prepared: store.submit(lambda unit: [admit(unit, one) for one in prepared]),
        result_of,
        Arrivals(),
    )
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()


class Peer:
    """One connection."""

    def __init__(self, address: tuple[str, int], timeout_s: float = 5.0) -> None:
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
