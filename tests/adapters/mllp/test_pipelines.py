"""Senders that do not wait: many frames at once, a half-closed connection, a peer that never reads its answers."""

import socket
import time
from contextlib import suppress
from typing import Any

import pytest

from gateway.adapters.db.store import DbStore
from gateway.adapters.mllp import receiver as receiving_side
from gateway.adapters.mllp.receiver import Listener
from gateway.exchange.ports.inbox import State
from gateway.exchange.ports.store import Store
from gateway.exchange.receive import Feed
from tests.support.mllp import Peer, adt, framed, msa, receiving


def test_frames_sent_at_once_are_all_answered_in_order(sqlite_store: DbStore) -> None:
    names = [f"p{number}" for number in range(500)]
    with receiving(sqlite_store) as receiver:
        peer = Peer(receiver.addresses[0], timeout_s=20)
        peer.send(b"".join(framed(adt(name)) for name in names))
        assert [msa(peer.answer()) for _ in names] == [("AA", name) for name in names]
        peer.close()
    with sqlite_store.reading() as reading:
        assert reading.inbox.counts() == {("EHR^WEST", "received"): 500}


def test_unusual_frames_between_usual_ones_keep_their_place(sqlite_store: DbStore) -> None:
    batch = b"BHS|^~\\&|EHR|WEST\r" + adt("b1") + adt("b2") + b"BTS|2\r"
    with receiving(sqlite_store, Listener(port=0, message_limit_bytes=10_000)) as receiver:
        peer = Peer(receiver.addresses[0], timeout_s=20)
        stream = [adt("1"), batch, adt("2"), b"nothing", adt("3") + b"x" * 20_000, adt("4")]
        peer.send(b"".join(map(framed, stream)))
        answers = [peer.answer() for _ in stream]
        peer.close()
    assert [msa(one) for one in answers] == [
        ("AA", "1"), ("AA", "b1"), ("AA", "2"), ("AR", ""), ("AR", "3"), ("AA", "4")
    ]  # fmt: skip
    assert answers[1].startswith(b"BHS")


@pytest.mark.parametrize("end", [b"\x1c\r", b"\x1c"])
def test_who_has_sent_all_and_closes_its_half_still_gets_every_answer(sqlite_store: DbStore, end: bytes) -> None:
    with receiving(sqlite_store) as receiver:
        peer = Peer(receiver.addresses[0], timeout_s=20)
        peer.send(framed(adt("1")) + framed(adt("2")) + b"\x0b" + adt("3") + end)
        peer.socket.shutdown(socket.SHUT_WR)
        assert [msa(peer.answer()) for _ in "123"] == [("AA", name) for name in "123"]
        assert peer.answer() == b""
        peer.close()


def test_one_message_that_cannot_be_kept_spoils_no_other_of_its_sender(store: Store) -> None:
    """A zero byte in a header is nothing that PostgreSQL takes into a text: refused, and kept for diagnosis."""
    with receiving(store) as receiver:
        peer = Peer(receiver.addresses[0], timeout_s=20)
        odd = adt("o\x00dd")
        peer.send(framed(adt("1")) + framed(odd) + framed(adt("2")))
        answers = [peer.answer() for _ in range(3)]
        peer.close()
    assert [msa(one)[0] for one in (answers[0], answers[2])] == ["AA", "AA"]
    assert msa(answers[1])[0] == "AR"
    with store.reading() as reading:
        assert [len(reading.inbox.find(name)) for name in "12"] == [1, 1]
        assert [one.body for one in reading.inbox.in_state(State.REFUSED)] == [odd]


def test_a_peer_that_never_reads_is_let_go_and_holds_up_nobody(sqlite_store: DbStore) -> None:
    one = framed(adt("d", msh="|" * 5 + "x" * 900))
    with receiving(sqlite_store, Listener(port=0, frame_timeout_s=0.2, peer_limit=9)) as receiver:
        deaf = Peer(receiver.addresses[0], timeout_s=20)
        deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.socket.settimeout(0.2)
        flood, sent, end = one * 3_000, 0, time.monotonic() + 2.8
        while time.monotonic() < end:  # longer than a frame may take and the last answer to leave
            with suppress(OSError):
                sent += deaf.socket.send(flood[sent % len(flood) :])
            other = Peer(receiver.addresses[0], timeout_s=20)
            other.send(framed(adt(f"ok{time.monotonic_ns()}")))
            assert msa(other.answer())[0] == "AA"
            other.close()
        deaf.socket.settimeout(20)
        answers = 0
        with suppress(ConnectionError):
            while data := deaf.socket.recv(65_536):
                answers += data.count(b"\x0b")
        deaf.close()
    assert answers < sent // len(one)  # it reads at last, but what it had not been read is not read any more


def test_a_frame_has_its_time_while_it_is_read_not_while_the_store_works(
    sqlite_store: DbStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = type(sqlite_store).submit

    def slow(self: DbStore, *given: Any, **named: Any) -> Any:
        time.sleep(1.0)
        return submit(self, *given, **named)

    monkeypatch.setattr(type(sqlite_store), "submit", slow)
    with receiving(sqlite_store, Listener(port=0, frame_timeout_s=0.8)) as receiver:
        peer = Peer(receiver.addresses[0], timeout_s=20)
        last = framed(adt("2"))
        peer.send(framed(adt("1")) + last[:40])
        assert msa(peer.answer()) == ("AA", "1")
        time.sleep(0.1)
        peer.send(last[40:])
        assert msa(peer.answer()) == ("AA", "2")
        peer.close()


def test_answers_after_processing_of_frames_sent_at_once_come_in_order(sqlite_store: DbStore) -> None:
    with receiving(sqlite_store, Listener(port=0, feed=Feed(wait=True), result_timeout_s=0.3)) as receiver:
        peer = Peer(receiver.addresses[0], timeout_s=20)
        peer.send(framed(adt("1")) + framed(adt("2")))
        assert peer.answer() == b"", "nobody processes: closed within the bound, and the sender asks again"
        peer.close()
    with sqlite_store.reading() as reading:
        assert reading.inbox.counts() == {("EHR^WEST", "received"): 2}


def test_stopping_does_not_wait_for_idle_senders(sqlite_store: DbStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving_side, "_STOP_S", 9.0)
    with receiving(sqlite_store) as receiver:
        peers = [Peer(receiver.addresses[0]) for _ in range(5)]
        peers[0].send(framed(adt("1")))
        assert msa(peers[0].answer()) == ("AA", "1")
        peers[1].send(framed(adt("2"))[:20])
        started = time.monotonic()
        receiver.stop()
        assert not receiver.alive
        assert time.monotonic() - started < 6
        assert all(peer.answer() == b"" for peer in peers)
        for peer in peers:
            peer.close()
