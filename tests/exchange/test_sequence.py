"""Numbered streams (MSH-13): nothing overtakes what was lost, and a lost answer is given again; on every store."""

from collections.abc import Callable

import pytest

from gateway.exchange.ports.inbox import State
from gateway.exchange.ports.store import Store
from gateway.exchange.receive import Feed, Reply, admit_all, prepare
from tests.support.mllp import adt

FEED = Feed(sequence=True)
Send = Callable[..., tuple[str, str, str]]


@pytest.fixture
def send(store: Store) -> Send:
    """Send a message with MSH-13; MSA-1, MSA-2 and MSA-4 of its answer."""
    clock = iter(range(1, 1000))

    def one(control_id: str, number: str, *, feed: Feed = FEED, msh: str = "", note: str = "") -> tuple[str, str, str]:
        payload = adt(control_id, msh=f"|{number}{msh}", note=note)
        at = next(clock)
        prepared = prepare(payload, feed, now_us=at, ack_id=f"A{at}")
        reply: Reply = store.write(lambda unit: admit_all(unit, [prepared]))[0]
        fields = [*next(line for line in reply.answer.decode().split("\r") if line[:3] == "MSA").split("|"), "", "", ""]
        return fields[1], fields[2], fields[4]

    return one


def states(store: Store) -> dict[str, int]:
    with store.reading() as reading:
        out: dict[str, int] = {}
        for (_, state), number in reading.inbox.counts().items():
            out[state] = out.get(state, 0) + number
        return out


def test_numbers_in_order_are_taken_and_echoed_and_the_first_one_begins(store: Store, send: Send) -> None:
    assert [send(str(n), str(n)) for n in (41, 42, 43)] == [("AA", str(n), str(n)) for n in (41, 42, 43)]
    assert states(store) == {State.RECEIVED: 3}


def test_the_start_of_the_link_asks_which_number_is_expected(store: Store, send: Send) -> None:
    assert send("s", "0") == ("AA", "s", "-1")
    send("1", "7")
    assert send("s2", "0") == ("AA", "s2", "8")
    assert states(store) == {State.RECEIVED: 1}


def test_a_link_message_needs_no_type_and_no_segments(store: Store) -> None:
    raw = b"MSH|^~\\&|EHR|WEST|DOORWAY|HUB|20260105101500||^|X1|P|2.5.1|0\r"
    prepared = prepare(raw, FEED, now_us=1, ack_id="A")
    assert b"\rMSA|AA|X1||-1\r" in store.write(lambda unit: admit_all(unit, [prepared]))[0].answer


def test_a_gap_is_refused_until_what_is_missing_has_come(store: Store, send: Send) -> None:
    send("1", "1")
    assert send("3", "3") == ("AE", "3", "2")
    assert states(store) == {State.RECEIVED: 1, State.REFUSED: 1}
    assert send("2", "2") == ("AA", "2", "2")
    assert send("3", "3") == ("AA", "3", "3")
    assert states(store) == {State.RECEIVED: 3, State.REFUSED: 1}


def test_a_repeat_gets_its_answer_again_and_an_old_number_with_other_content_does_not(store: Store, send: Send) -> None:
    send("1", "1")
    assert send("2", "2") == send("2", "2") == ("AA", "2", "2")
    assert send("other", "2") == ("AE", "other", "3")
    assert send("3", "3") == ("AA", "3", "3")


def test_minus_one_begins_anew_with_whatever_comes_next(send: Send) -> None:
    send("1", "500")
    assert send("r", "-1") == ("AA", "r", "-1")
    assert send("2", "1") == ("AA", "2", "1")
    assert send("3", "2") == ("AA", "3", "2")


def test_a_refused_message_uses_up_no_number(send: Send) -> None:
    picky = Feed(sequence=True, supports=lambda kind, trigger: trigger != "A01")
    assert send("1", "1", feed=picky)[0] == "AR"
    assert send("1", "1") == ("AA", "1", "1")


@pytest.mark.parametrize("number", ["x", "-2", "1.5", "9" * 40])
def test_what_is_no_number_is_an_error_at_its_place(send: Send, number: str) -> None:
    assert send("1", number)[0] == "AE"


def test_without_a_number_or_without_the_agreement_nothing_is_looked_at(send: Send) -> None:
    assert send("1", "") == ("AA", "1", "")
    for number in ("9", "3", "0"):
        assert send(f"n{number}", number, feed=Feed()) == ("AA", f"n{number}", "")


def test_enhanced_mode_says_it_with_commit_codes(send: Send) -> None:
    send("1", "1", msh="||AL|NE")
    assert send("5", "5", msh="||AL|NE") == ("CE", "5", "2")
    assert send("2", "2", msh="||AL|NE") == ("CA", "2", "2")


def test_streams_of_two_senders_are_counted_apart(store: Store, send: Send) -> None:
    send("1", "10")
    prepared = prepare(adt("1", msh="|3").replace(b"WEST", b"EAST"), FEED, now_us=99, ack_id="A")
    assert b"MSA|AA|1||3\r" in store.write(lambda unit: admit_all(unit, [prepared]))[0].answer
    assert send("2", "11") == ("AA", "2", "11")
