"""Faults 9 to 12: damaged frames, resets, one byte at a time, a flood of connections; each frame is answered or its
connection closed, and the next sender is served.

``DOORWAY_EXAM_FRAMES=20000`` makes it the full exam; the suite does a few.
"""

import os
import random
import socket
import struct
import threading
import time

import pytest

from gateway.adapters.db.store import DbStore
from gateway.adapters.mllp.receiver import Listener, Receiver
from tests.support.mllp import Peer, adt, framed, msa, receiving

pytestmark = pytest.mark.exam
FRAMES = int(os.environ.get("DOORWAY_EXAM_FRAMES", "400"))
CONNECTIONS = 4
BYTES = b'\x0b\x1c\r\n|^~\\&\x00\xff"0A'
REPORTS = (b"MSH|", b"\rPID|", b"|2.5.1", b"|P|", b"ADT^A01", b"17^^^WEST", b"19800101")


def damaged(chance: random.Random, number: int) -> bytes:
    """A frame with a few faults, of which the first may be none."""
    frame = framed(
        adt(f"m{number}", mrn=str(number % 50), msh=chance.choice(["", "|||AL|AL", "|||NE|NE", "||||||8859/1"]))
    )
    for _ in range(chance.randrange(4)):
        at = chance.randrange(1, len(frame) - 2) if len(frame) > 4 else 0
        match chance.randrange(6):
            case 0:
                frame = frame[:at] + bytes([chance.randrange(256)]) + frame[at + 1 :]
            case 1:
                frame = frame[:at] + frame[at + chance.randrange(1, 20) :]
            case 2:
                frame = frame[:at] + bytes(chance.choice(BYTES) for _ in range(chance.randrange(1, 9))) + frame[at:]
            case 3:
                piece = chance.choice(REPORTS)
                frame = frame.replace(piece, chance.choice(REPORTS), 1)
            case 4:
                frame = frame[:at] + frame[at:].replace(b"|", b"", chance.randrange(1, 5))
            case _:
                frame = frame[:at] + frame[at : at + 30] * chance.randrange(2, 9) + frame[at:]
    return frame


def settled(address: tuple[str, int], frame: bytes) -> bool:
    """Whether the frame was answered, or its connection closed, before the peer's patience ended.

    A good message follows in the same stream: where the damage swallowed the end of the frame or asked for no answer,
    its answer, or the close, says that the listener is alive and in step.
    """
    peer = Peer(address, timeout_s=10)
    try:
        peer.send(frame)
        peer.send(framed(adt("follows")))
        while answer := peer.answer():
            if b"follows" in answer:
                return True
        return True
    except (BrokenPipeError, ConnectionResetError):
        return True
    except (TimeoutError, AssertionError):
        return False
    finally:
        peer.close()


def served(receiver: Receiver, control_id: str) -> bool:
    peer = Peer(receiver.addresses[0], timeout_s=10)
    peer.send(framed(adt(control_id)))
    answer = peer.answer()
    peer.close()
    return bool(answer) and msa(answer) == ("AA", control_id)


def test_every_damaged_frame_is_answered_or_its_connection_closed(sqlite_store: DbStore) -> None:
    listener = Listener(
        port=0, frame_timeout_s=1.0, idle_timeout_s=3.0, result_timeout_s=1.0, message_limit_bytes=65_536
    )
    stuck: list[bytes] = []
    with receiving(sqlite_store, listener) as receiver:

        def part(seed: int) -> None:
            chance = random.Random(seed)
            for number in range(FRAMES // CONNECTIONS):
                frame = damaged(chance, number)
                if not settled(receiver.addresses[0], frame):
                    stuck.append(frame)

        threads = [threading.Thread(target=part, args=(seed,)) for seed in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert stuck == []
        assert receiver.alive
        assert served(receiver, "last")


def test_a_reset_inside_a_frame_leaves_no_message_and_no_harm(sqlite_store: DbStore) -> None:
    with receiving(sqlite_store) as receiver:
        frame = framed(adt("reset"))
        for cut in range(1, len(frame) - 2, 12):
            peer = Peer(receiver.addresses[0])
            peer.send(frame[:cut])
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()  # RST
        assert served(receiver, "after")
        with sqlite_store.reading() as reading:
            assert [one.state for one in reading.inbox.find("reset") if one.state != "refused"] == []


def test_a_byte_every_tenth_of_a_second_holds_up_nobody_and_ends(sqlite_store: DbStore) -> None:
    with receiving(sqlite_store, Listener(port=0, frame_timeout_s=0.8)) as receiver:
        slow = [Peer(receiver.addresses[0]) for _ in range(20)]
        ended = 0
        started = time.monotonic()
        frame = framed(adt("slow"))
        for byte in frame[:16]:
            for peer in slow:
                try:
                    peer.send(bytes([byte]))
                except OSError:
                    ended += 1
            assert served(receiver, f"quick{time.monotonic_ns()}")
            time.sleep(0.1)
        assert ended > 0
        assert time.monotonic() - started < 10
        for peer in slow:
            peer.close()
        with sqlite_store.reading() as reading:
            assert [one.state for one in reading.inbox.find("slow") if one.state != "refused"] == []


def test_a_thousand_connections_of_one_peer_are_cut_to_its_cap_and_another_peer_is_served(
    sqlite_store: DbStore,
) -> None:
    with receiving(sqlite_store, Listener(port=0, peer_limit=64)) as receiver:
        host, port = receiver.addresses[0]
        sockets = [socket.create_connection((host, port), timeout=5) for _ in range(900)]
        other = socket.create_connection((host, port), timeout=5, source_address=("127.0.0.2", 0))
        other.sendall(framed(adt("other")))
        assert b"MSA|AA|other" in other.recv(65536)
        other.close()
        open_ones = 0
        for one in sockets:
            one.settimeout(0.0005 if open_ones > 64 else 0.02)
            try:
                open_ones += one.recv(1) != b""
            except (TimeoutError, BlockingIOError):
                open_ones += 1
            except OSError:
                pass
            one.close()
        assert open_ones == 64
        deadline = time.monotonic() + 5
        while not _try(receiver):
            assert time.monotonic() < deadline


def _try(receiver: Receiver) -> bool:
    try:
        return served(receiver, f"again{time.monotonic_ns()}")
    except OSError:
        return False
