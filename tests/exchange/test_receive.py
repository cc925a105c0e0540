"""Taking a message in: the quick way and the full one agree on everything; keys, order, refusals."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.exchange.ports.inbox import State
from gateway.exchange.receive import Feed, judge, prepare, refusal_of
from gateway.exchange.standing import dtm_us
from gateway.kernel.errors import TooLarge
from tests.support.mllp import adt


def both(payload: bytes, feed: Feed = Feed()) -> tuple[list[object], list[object]]:  # noqa: B008  immutable
    """What the quick way makes, learning and having learnt, and what the full one makes."""
    quick: list[object] = []
    full: list[object] = []
    for at in (1_767_600_000_000_000, 1_767_700_000_000_000):
        for way, made in ((prepare, quick), (judge, full)):
            one = way(payload, feed, now_us=at, ack_id="X1", peer="p")
            made.append((one.message, one.waits, one.alarm, one.conflicting()))
    return quick, full


SAMPLES = [
    adt("1"),
    adt(""),
    adt("1", msh="|||AL|AL"),
    adt("1", msh="|||NE|NE"),
    adt("1", msh="|||NE|ER"),
    adt("1", msh="|||SU|SU"),
    adt("1", msh="||||||8859/1"),
    adt("1", eol="\n"),
    adt("1", note="MRG|9^^^WEST^MR"),
    adt("1", mrn=""),
    adt("1", mrn='""'),
    adt("1", mrn="1^^^A^SS~2^^^B^MR~3^^^C^PI"),
    adt("1", kind="ACK"),
    adt("1", kind="ADT"),
    adt("1", kind="QBP^Q22"),
    adt("=ACKID="),
    adt("1").replace(b"WEST|", b"=ASKED=|"),
    adt("1").replace(b"EVN||20260105101500", b"EVN||x||||2026"),
    adt("1").replace(b"\rPID", b"\rPIX"),
    adt("1").replace(b"|P|", b"|Q|"),
    adt("1").replace(b"2.5.1", b"3.0"),
    adt("1").translate(bytes.maketrans(b"|^~\\&", b"#:;!$")),
    b"MSH|^~\\&",
    b"hello",
    b"",
    adt("ä"),
    adt("1").replace(b"Zq", b"\xff"),
    adt("1", note="PID|2||9^^^WEST"),
    b"MSH|" * 12,
    adt("1").replace(b"^~\\&", b"^"),
]


@pytest.mark.parametrize("payload", SAMPLES)
@pytest.mark.parametrize("feed", [Feed(), Feed(name="west", wait=True, senders=frozenset({"EHR^WEST"}))])
def test_the_quick_way_agrees_with_the_full_one(payload: bytes, feed: Feed) -> None:
    quick, full = both(payload, feed)
    assert quick == full


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.integers(0, 200), st.sampled_from(b'|^~\\&\r\n\x0b\x1c"aM\xc3')), max_size=4),
)
def test_the_quick_way_agrees_on_damaged_messages(sample: bytes, damage: list[tuple[int, int]]) -> None:
    payload = bytearray(sample)
    for place, byte in damage:
        if payload:
            payload[place % len(payload)] = byte
    quick, full = both(bytes(payload))
    assert quick == full


def lane(*mrns: str, sender: str = "WEST") -> str:
    payload = adt("1", mrn="~".join(mrns)).replace(b"EHR|WEST", b"EHR|" + sender.encode())
    return prepare(payload, Feed(), now_us=1, ack_id="X").message.lane


def test_the_lane_is_the_patient_of_the_authority_and_tells_nothing() -> None:
    assert lane("1^^^A^MR") == lane("9^^^SSA^SS", "1^^^A^MR") == lane("1^^^A^MR", sender="EAST") != lane("1^^^B^MR")
    own = [adt("1").replace(b"17^^^WEST^MR", b"17").replace(b"EHR|WEST", b"EHR|" + name) for name in (b"A", b"B")]
    lanes = [prepare(payload, Feed(), now_us=1, ack_id="X").message.lane for payload in own]
    assert lanes[0] != lanes[1], "a number without authority is the sender's own"
    assert "1" * 9 not in lane("1" * 9 + "^^^A^MR")


def test_what_the_feed_does_not_take_is_refused_and_kept() -> None:
    feed = Feed(senders=frozenset({"EHR^EAST"}), supports=lambda kind, _: kind == "ADT")
    refused = prepare(adt("1"), feed, now_us=1, ack_id="X")
    assert (refused.message.state, refused.message.place) == (State.REFUSED, "MSH-3")
    assert b"MSA|AR|1|" in refused.message.answer
    huge = refusal_of(adt("1") + b"x" * 100_000, feed, TooLarge("too long", at="frame"), now_us=1, ack_id="X")
    assert len(huge.message.body) == 65_536
    assert b"|104^Value too long^HL70357|" in huge.message.answer


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("20260105", 1767571200),
        ("202601051015", 1767608100),
        ("20260105101530", 1767608130),
        ("20260105101530+0100", 1767604530),
        ("20260105101500-0500", 1767626100),
        ("2026", 1767225600),
        ("20261305", None),
        ("x", None),
        ("20260105101560", 1767608160),
    ],
)
def test_times_of_events_order_by_instant(text: str, at: int | None) -> None:
    assert dtm_us(text) == (None if at is None else at * 1_000_000)


def test_no_value_that_a_database_refuses_is_made_of_a_header() -> None:
    for odd in (adt("1").replace(b"EHR", b"E\\X00\\R"), adt("1").replace(b"EHR", b"E\x00R"), adt("a\x00b")):
        for feed in (Feed(), Feed(name="west")):
            message = prepare(odd, feed, now_us=1, ack_id="X").message
            assert not any("\x00" in value for value in message if isinstance(value, str))
