"""The framing matrix: seventeen ways in which real senders put a message on the wire, each answered as it should be."""

from collections.abc import Iterator

import pytest

from gateway.adapters.db.store import DbStore
from gateway.adapters.mllp.receiver import Listener
from gateway.exchange.ports.inbox import State
from gateway.exchange.receive import Feed
from tests.support.mllp import Peer, adt, framed, msa, receiving


def supports(kind: str, trigger: str) -> bool:
    return kind in {"ADT", "ORU"} and trigger in {"", "A01", "R01"}


@pytest.fixture
def peer(sqlite_store: DbStore) -> Iterator[Peer]:
    listener = Listener(port=0, feed=Feed(supports=supports), message_limit_bytes=4_000_000, frame_timeout_s=2.0)
    with receiving(sqlite_store, listener) as receiver:
        client = Peer(receiver.addresses[0])
        yield client
        client.close()


def test_01_one_frame(peer: Peer) -> None:
    peer.send(framed(adt("1")))
    assert msa(peer.answer()) == ("AA", "1")


def test_02_byte_by_byte(peer: Peer) -> None:
    for byte in framed(adt("1")):
        peer.send(bytes([byte]))
    assert msa(peer.answer()) == ("AA", "1")


def test_03_a_second_message_on_the_same_connection(peer: Peer) -> None:
    for number in ("1", "2"):
        peer.send(framed(adt(number)))
        assert msa(peer.answer()) == ("AA", number)


def test_04_fs_and_cr_in_two_packets(peer: Peer) -> None:
    peer.send(framed(adt("1"))[:-1], pause_s=0.05)
    peer.send(b"\r")
    assert msa(peer.answer()) == ("AA", "1")
    peer.send(framed(adt("2")))
    assert msa(peer.answer()) == ("AA", "2")


def test_05_two_frames_in_one_packet(peer: Peer) -> None:
    peer.send(framed(adt("1")) + framed(adt("2")))
    assert [msa(peer.answer()), msa(peer.answer())] == [("AA", "1"), ("AA", "2")]


def test_06_fs_without_cr(peer: Peer) -> None:
    peer.send(framed(adt("1"))[:-1])
    assert msa(peer.answer()) == ("AA", "1")
    peer.send(framed(adt("2"))[:-1] + framed(adt("3")))
    assert [msa(peer.answer()), msa(peer.answer())] == [("AA", "2"), ("AA", "3")]


def test_07_line_ends_before_vt(peer: Peer) -> None:
    peer.send(b"\r\n" + framed(adt("1")) + b"\r\n\n" + framed(adt("2")))
    assert [msa(peer.answer()), msa(peer.answer())] == [("AA", "1"), ("AA", "2")]


def test_08_two_megabytes(peer: Peer, sqlite_store: DbStore) -> None:
    payload = adt("1", note="OBX|1|ED|PDF||^^^Base64^" + "QUJD" * 500_000)
    peer.send(framed(payload))
    assert msa(peer.answer()) == ("AA", "1")
    with sqlite_store.reading() as reading:
        assert reading.inbox.find("1")[0].body == payload


def test_09_bytes_of_8859_1(peer: Peer, sqlite_store: DbStore) -> None:
    payload = adt("1", msh="||||||8859/1").replace(b"Zqvale", b"Zqv\xe4le")
    peer.send(framed(payload))
    assert msa(peer.answer()) == ("AA", "1")
    with sqlite_store.reading() as reading:
        assert reading.inbox.find("1")[0].body == payload


def test_10_bytes_of_utf_8(peer: Peer, sqlite_store: DbStore) -> None:
    payload = adt("1", msh="||||||UNICODE UTF-8").replace(b"Zqvale", "Zqvälé–ж".encode())
    peer.send(framed(payload))
    assert msa(peer.answer()) == ("AA", "1")
    with sqlite_store.reading() as reading:
        assert reading.inbox.find("1")[0].body == payload


def test_11_line_feeds_between_segments(peer: Peer) -> None:
    peer.send(framed(adt("1", eol="\n")))
    assert msa(peer.answer()) == ("AA", "1")


def test_12_what_is_not_hl7_is_rejected_and_kept(peer: Peer, sqlite_store: DbStore) -> None:
    peer.send(framed(b"hello"))
    assert msa(peer.answer()) == ("AR", "")
    with sqlite_store.reading() as reading:
        assert [one.body for one in reading.inbox.in_state(State.REFUSED)] == [b"hello"]


def test_13_own_delimiters(peer: Peer) -> None:
    payload = adt("1").translate(bytes.maketrans(b"|^~\\&", b"#:;!$"))
    peer.send(framed(payload))
    answer = peer.answer()
    assert answer.startswith(b"MSH#:;!$#DOORWAY#HUB#EHR#WEST#")
    assert b"\rMSA#AA#1\r" in answer


def test_14_accept_acknowledgement_in_enhanced_mode(peer: Peer) -> None:
    peer.send(framed(adt("1", msh="|||AL|AL")))
    assert msa(peer.answer()) == ("CA", "1")


def test_15_no_control_id(peer: Peer, sqlite_store: DbStore) -> None:
    for _ in range(2):
        peer.send(framed(adt("")))
        assert msa(peer.answer()) == ("AA", "")
    with sqlite_store.reading() as reading:
        assert len(reading.inbox.in_state(State.RECEIVED)) == 1


def test_16_unknown_type(peer: Peer) -> None:
    peer.send(framed(adt("1", kind="XYZ^Z99")))
    answer = peer.answer()
    assert msa(answer) == ("AR", "1")
    assert b"\rERR||MSH^1^9^1^1|200^Unsupported message type^HL70357|E|" in answer
    peer.send(framed(adt("2", kind="ADT^A99")))
    assert b"|201^Unsupported event code^HL70357|E|" in peer.answer()


def test_17_still_alive_afterwards(peer: Peer) -> None:
    peer.send(framed(b"") + framed(b"hello") + b"\x0bMSH|broken" + framed(adt("1")))
    answers = [msa(peer.answer()) for _ in range(3)]
    assert answers == [("AR", ""), ("AR", ""), ("AA", "1")]
