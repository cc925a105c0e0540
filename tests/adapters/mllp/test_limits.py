"""Bounds and modes of the listener: idle, slow, huge, too many, out of step, batches, release 2, TLS, noise."""

import random
import socket
import ssl
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.adapters.db.store import DbStore
from gateway.adapters.mllp.client import Client
from gateway.adapters.mllp.receiver import Listener
from gateway.adapters.mllp.tls import server_context
from gateway.exchange.ports.inbox import State
from gateway.exchange.receive import Feed
from gateway.kernel.errors import Busy
from tests.support.authority import Authority
from tests.support.mllp import Peer, adt, framed, msa, receiving


def refused(store: DbStore) -> list[tuple[str, bytes]]:
    with store.reading() as reading:
        return [(one.fault, one.body[:20]) for one in reading.inbox.in_state(State.REFUSED)]


def closed(peer: Peer) -> bool:
    return peer.answer() == b""


def test_a_silent_connection_is_closed(sqlite_store: DbStore) -> None:
    with receiving(sqlite_store, Listener(port=0, idle_timeout_s=0.2)) as receiver:
        peer = Peer(receiver.addresses[0])
        assert closed(peer)
        peer.close()


def test_a_frame_that_trickles_is_closed_and_kept_for_diagnosis(sqlite_store: DbStore) -> None:
    with receiving(sqlite_store, Listener(port=0, frame_timeout_s=0.8)) as receiver:
        peer = Peer(receiver.addresses[0])
        started = time.monotonic()
        for byte in b"\x0bMSH|^~\\&|slow":
            peer.send(bytes([byte]), pause_s=0.01)
        assert closed(peer)
        assert time.monotonic() - started < 10
        peer.close()
        assert refused(sqlite_store) == [("the frame did not end in time", b"MSH|^~\\&|slow")]


def test_a_huge_message_is_rejected_by_name_and_the_next_one_taken(sqlite_store: DbStore) -> None:
    with receiving(sqlite_store, Listener(port=0, message_limit_bytes=10_000)) as receiver:
        peer = Peer(receiver.addresses[0])
        peer.send(framed(adt("1") + b"x" * 300_000) + framed(adt("2")))
        answer = peer.answer()
        assert msa(answer) == ("AR", "1")
        assert b"|104^Value too long^HL70357|" in answer
        assert msa(peer.answer()) == ("AA", "2")
        peer.close()


def test_one_address_gets_so_many_connections_and_the_others_are_served(sqlite_store: DbStore) -> None:
    with receiving(sqlite_store, Listener(port=0, peer_limit=2)) as receiver:
        peers = [Peer(receiver.addresses[0]) for _ in range(3)]
        assert closed(peers[2])
        peers[0].send(framed(adt("1")))
        assert msa(peers[0].answer()) == ("AA", "1")
        peers[1].close()
        time.sleep(0.2)
        again = Peer(receiver.addresses[0])
        again.send(framed(adt("2")))
        assert msa(again.answer()) == ("AA", "2")
        for peer in (*peers, again):
            peer.close()


def test_bytes_outside_a_frame_close_the_connection(sqlite_store: DbStore) -> None:
    with receiving(sqlite_store) as receiver:
        peer = Peer(receiver.addresses[0])
        peer.send(b"GET / HTTP/1.1\r\n\r\n")
        assert closed(peer)
        peer.close()
        assert refused(sqlite_store)[0][1].startswith(b"GET /")


def test_a_connection_reset_inside_a_frame_keeps_the_part_and_harms_nobody(sqlite_store: DbStore) -> None:
    with receiving(sqlite_store) as receiver:
        peer = Peer(receiver.addresses[0])
        peer.send(b"\x0bMSH|^~\\&|half")
        peer.close()
        other = Peer(receiver.addresses[0])
        other.send(framed(adt("1")))
        assert msa(other.answer()) == ("AA", "1")
        other.close()


def test_split_at_every_place_gives_the_same_answer(sqlite_store: DbStore) -> None:
    with receiving(sqlite_store) as receiver:
        peer = Peer(receiver.addresses[0])
        stream = framed(adt("1"))
        for place in range(1, len(stream), 7):
            peer.send(stream[:place], pause_s=0.001)
            peer.send(stream[place:])
            assert msa(peer.answer()) == ("AA", "1")
        peer.close()


def test_two_messages_in_a_frame_are_two_answers_and_a_batch_is_one(sqlite_store: DbStore) -> None:
    with receiving(sqlite_store) as receiver:
        peer = Peer(receiver.addresses[0])
        peer.send(framed(adt("1") + adt("2")))
        assert [msa(peer.answer()), msa(peer.answer())] == [("AA", "1"), ("AA", "2")]
        peer.send(framed(b"BHS|^~\\&|A|B|C|D|1||||77\r" + adt("3") + adt("4") + b"BTS|2\r"))
        answer = peer.answer()
        told = [line[:6] for line in answer.split(b"\r") if line[:3] in {b"MSA", b"BTS"}]
        assert told == [b"MSA|AA", b"MSA|AA", b"BTS|2"]
        peer.close()


def test_release_2_says_by_one_byte_that_the_message_is_safe(sqlite_store: DbStore) -> None:
    with receiving(sqlite_store, Listener(port=0, release=2)) as receiver:
        peer = Peer(receiver.addresses[0])
        peer.send(framed(adt("1")))
        assert peer.answer() == b"\x06"
        assert msa(peer.answer()) == ("AA", "1")
        peer.send(framed(b"\x06") + framed(adt("2")))
        assert peer.answer() == b"\x06"
        assert msa(peer.answer()) == ("AA", "2")
        peer.close()
        client = Client(*receiver.addresses[0], timeout_s=20)
        last = client.send(adt("3")).last
        assert last is not None
        assert last.code == "AA"
        client.close()


def test_a_store_that_cannot_write_gets_an_error_never_an_accept(sqlite_store: DbStore) -> None:
    with receiving(sqlite_store) as receiver:
        peer = Peer(receiver.addresses[0])
        sqlite_store.close()
        peer.send(framed(adt("1")) + framed(adt("2", msh="|||AL|NE")))
        assert msa(peer.answer()) == ("AE", "1")
        assert msa(peer.answer()) == ("CE", "2")
        peer.close()


def test_silence_is_kept_where_no_acknowledgement_is_wanted(sqlite_store: DbStore) -> None:
    with receiving(sqlite_store) as receiver:
        client = Client(*receiver.addresses[0], timeout_s=20)
        assert client.send(adt("1", msh="|||NE|NE")).acknowledgements == ()
        client.close()
        peer = Peer(receiver.addresses[0])
        peer.send(framed(adt("3", msh="|||NE|NE")) + framed(adt("4")))
        assert msa(peer.answer()) == ("AA", "4")
        peer.close()


def test_mutated_frames_are_answered_or_closed_and_nothing_hangs(sqlite_store: DbStore) -> None:
    chance = random.Random(11)
    stream = framed(adt("1"))
    with receiving(sqlite_store, Listener(port=0, frame_timeout_s=0.5, idle_timeout_s=0.5)) as receiver:
        for _ in range(60):
            mutated = bytearray(stream)
            for _ in range(chance.randint(1, 4)):
                place = chance.randrange(len(mutated))
                noise = bytes(chance.choices(b"\x0b\x1c\r\n|^~\\&MSHx\x00\xff", k=chance.randint(0, 3)))
                mutated[place : place + chance.randint(0, 2)] = noise
            peer = Peer(receiver.addresses[0])
            peer.send(bytes(mutated))
            peer.socket.shutdown(socket.SHUT_WR)
            peer.answer()
            peer.close()
        peer = Peer(receiver.addresses[0])
        peer.send(framed(adt("alive")))
        assert msa(peer.answer()) == ("AA", "alive")
        peer.close()


# -- TLS -------------------------------------------------------------------------------------------------------------


def test_a_certificate_is_bound_to_the_sender_that_it_may_be(sqlite_store: DbStore, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = server_context(*authority.issue("gateway"), authority.file)
    listener = Listener(port=0, tls=tls, senders={"west": frozenset({"EHR^WEST"}), "east": frozenset({"EHR^EAST"})})
    with receiving(sqlite_store, listener) as receiver:
        port = receiver.addresses[0][1]

        def send(name: str, issuer: Authority | None = authority) -> str:
            context = ssl.create_default_context(cafile=authority.file)
            if issuer is not None:
                context.load_cert_chain(*issuer.issue(name))
            client = Client("localhost", port, timeout_s=20, tls=context)
            try:
                last = client.send(adt("1")).last
            finally:
                client.close()
            assert last is not None
            return last.code

        assert send("west") == "AA"
        assert send("east") == "AR"
        for name, issuer in (("nobody", authority), ("west", None), ("west", Authority(tmp_path, "other"))):
            with pytest.raises(Busy):
                send(name, issuer)
        plain = Peer(("127.0.0.1", port))
        plain.send(framed(adt("2")))
        assert closed(plain)
        plain.close()
    with sqlite_store.reading() as reading:
        assert {one.peer for one in reading.inbox.find("1")} <= {"west", "east"}


@pytest.mark.parametrize("begun", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x0bMSH|"])
def test_a_tls_handshake_that_does_not_end_is_closed_and_harms_nobody(
    begun: bytes, sqlite_store: DbStore, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    listener = Listener(port=0, tls=server_context(*authority.issue("gateway"), ""), frame_timeout_s=1.0)
    with receiving(sqlite_store, listener) as receiver:
        started = time.monotonic()
        silent = Peer(receiver.addresses[0])
        silent.send(begun)
        context = ssl.create_default_context(cafile=authority.file)
        client = Client("localhost", receiver.addresses[0][1], timeout_s=20, tls=context)
        last = client.send(adt("1")).last
        assert last is not None
        assert last.code == "AA", "served beside it"
        client.close()
        with suppress(ConnectionError):
            while silent.socket.recv(100):
                pass
        assert time.monotonic() - started < 8
        silent.close()


@pytest.mark.parametrize(("of_a_peer", "of_all"), [(2, 64), (64, 2)])
def test_a_tls_handshake_takes_its_place_in_the_limits(
    of_a_peer: int, of_all: int, sqlite_store: DbStore, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    tls = server_context(*authority.issue("gateway"), "")
    listener = Listener(port=0, tls=tls, peer_limit=of_a_peer, limit=of_all)
    context = ssl.create_default_context(cafile=authority.file)
    with receiving(sqlite_store, listener) as receiver:
        silent = [Peer(receiver.addresses[0]) for _ in range(2)]
        third = Peer(receiver.addresses[0], timeout_s=20)
        assert closed(third), "two are shaking hands: there is no room"
        for peer in (*silent, third):
            peer.close()
        time.sleep(0.2)
        for number in range(5):  # what comes right behind the handshake is not lost; who went made room
            client = Client("localhost", receiver.addresses[0][1], timeout_s=20, tls=context)
            last = client.send(adt(str(number))).last
            assert last is not None
            assert last.code == "AA"
            client.close()
            time.sleep(0.02)
    with sqlite_store.reading() as reading:
        assert reading.inbox.counts() == {("EHR^WEST", "received"): 5}


def test_a_tls_peer_that_sends_its_handshake_byte_by_byte_does_not_hold_up_our_sender(tmp_path: Path) -> None:
    def trickle(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            for byte in b"\x16\x03\x03\x40\x00" + bytes(500):
                connection.sendall(bytes([byte]))
                time.sleep(0.02)

    server = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=lambda: trickle(server.accept()[0]), daemon=True)
    thread.start()
    context = ssl.create_default_context(cafile=Authority(tmp_path).file)
    client = Client("localhost", server.getsockname()[1], timeout_s=0.2, tls=context)
    started = time.monotonic()
    with pytest.raises(Busy):
        client.send(adt("1"))
    assert time.monotonic() - started < 5
    thread.join(20)
    server.close()


def test_a_feed_may_be_named_by_its_listener(sqlite_store: DbStore) -> None:
    with receiving(sqlite_store, Listener(port=0, feed=Feed(name="west")), Listener(port=0)) as receiver:
        for address in receiver.addresses:
            peer = Peer(address)
            peer.send(framed(adt("1")))
            assert msa(peer.answer()) == ("AA", "1")
            peer.close()
    with sqlite_store.reading() as reading:
        assert {one.source for one in reading.inbox.find("1")} == {"west", "EHR^WEST"}
