"""Acknowledgements: the whole MSH-15 x MSH-16 table, ERR with place and code, names swapped, nothing injected."""

import pytest

from gateway.codecs.ack import (
    ANSWERS,
    Outcome,
    acknowledge,
    batch_acknowledgement,
    due,
    read_acknowledgement,
)
from gateway.codecs.er7 import Message, peek
from gateway.codecs.er7_batch import split_interchange
from gateway.kernel.errors import Category, DoorwayError, Invalid, Malformed, Unsupported

# MSH-15, MSH-16: what is sent when the message is taken, taken with an error, rejected. "C A": accept, application.
TABLE = """
-  -   :     AA |     AE |     AR
-  AL  :     AA |     AE |     AR
-  NE  :        |        |
-  ER  :        |     AE |     AR
-  SU  :     AA |        |
AL -   : CA     | CE     | CR
AL AL  : CA AA  | CE     | CR
AL NE  : CA     | CE     | CR
AL ER  : CA     | CE     | CR
AL SU  : CA AA  | CE     | CR
NE -   :        |        |
NE AL  :     AA |     AE |     AR
NE NE  :        |        |
NE ER  :        |     AE |     AR
NE SU  :     AA |        |
ER -   :        | CE     | CR
ER AL  :     AA | CE     | CR
ER NE  :        | CE     | CR
ER ER  :        | CE     | CR
ER SU  :     AA | CE     | CR
SU -   : CA     |        |
SU AL  : CA AA  |     AE |     AR
SU NE  : CA     |        |
SU ER  : CA     |     AE |     AR
SU SU  : CA AA  |        |
"""
CASES = [
    (*("" if c == "-" else c for c in left.split()), outcome, said.split())
    for line in TABLE.strip().splitlines()
    for left, right in [line.split(":")]
    for outcome, said in zip(Outcome, right.split("|"), strict=True)
]


def test_the_table_is_whole() -> None:
    assert len({case[:3] for case in CASES}) == 75


@pytest.mark.parametrize(("msh_15", "msh_16", "outcome", "said"), CASES)
def test_every_cell_of_the_table(msh_15: str, msh_16: str, outcome: Outcome, said: list[str]) -> None:
    owed = due(msh_15, msh_16, outcome)
    assert [code for code in (owed.accept, owed.application) if code] == said


@pytest.mark.parametrize(("msh_15", "msh_16", "outcome", "said"), CASES)
def test_a_message_that_fails_after_it_was_taken(msh_15: str, msh_16: str, outcome: Outcome, said: list[str]) -> None:
    owed = due(msh_15, msh_16, Outcome.OK, outcome)
    accept = "CA" if msh_15 in {"AL", "SU"} else None
    wanted = {"AL": True, "": not msh_15, "NE": False, "ER": outcome is not Outcome.OK, "SU": outcome is Outcome.OK}
    assert (owed.accept, owed.application) == (accept, outcome.value[1] if wanted[msh_16] else None)


def test_values_outside_the_table_count_as_empty() -> None:
    assert due("ACCEPT", "x", Outcome.OK) == due("", "", Outcome.OK)
    assert due('""', "AL", Outcome.ERROR) == due("", "AL", Outcome.ERROR)


ASKED = (
    b"MSH|^~\\&|A^1.2^ISO|B~x|C&D^3^ISO|E|20260105||ADT^A01^ADT_A01| 0\\F\\7 |T^A|2.5.1^USA|||AL|AL||8859/1\rPID|1\r"
)


def head(raw: bytes = ASKED) -> Message:
    return peek(raw)["MSH"].message


def test_names_are_copied_whole_and_swapped_and_msa_2_is_verbatim() -> None:
    raw = acknowledge(head().header, "AA", control_id="U1", now_us=1_767_600_000_000_000)
    assert raw == (
        b"MSH|^~\\&|C&D^3^ISO|E|A^1.2^ISO|B~x|20260105080000+0000||ACK^A01^ACK|U1|T^A|2.5.1^USA|||NE|NE||8859/1\r"
        b"MSA|AA| 0\\F\\7 \r"
    )
    assert read_acknowledgement(raw).control_id == " 0\\F\\7 "


def test_an_error_names_its_place_and_a_condition_of_table_0357() -> None:
    error = Invalid("not a date", at="PID[2]-3[4].5.6", fix="write YYYY")
    raw = acknowledge(head().header, "AE", control_id="U1", now_us=0, error=error)
    assert b"\rMSA|AE| 0\\F\\7 |not a date\r" in raw
    assert b"\rERR||PID^2^3^4^5^6|102^Data type error^HL70357|E||||not a date; write YYYY\r" in raw
    assert read_acknowledgement(raw).conditions == ("102",)


def test_before_2_5_the_error_stands_in_err_1() -> None:
    old = ASKED.replace(b"2.5.1^USA", b"2.3.1")
    raw = acknowledge(head(old).header, "AR", control_id="U", now_us=0, error=Unsupported("no", at="MSH-9.2"))
    assert raw.endswith(b"\rERR|MSH^1^9^201&Unsupported event code&HL70357\r")
    assert read_acknowledgement(raw).conditions == ("201",)


def test_every_category_has_an_hl7_answer() -> None:
    assert set(ANSWERS) == set(Category)


def test_a_frame_without_header_is_answered_too() -> None:
    raw = acknowledge(None, "AR", control_id="U", now_us=0, error=Malformed("no MSH", at="MSH"))
    assert raw.startswith(b"MSH|^~\\&|||||19700101000000+0000||ACK|U|P|2.5.1\rMSA|AR||no MSH\rERR|")


def test_nothing_of_the_header_or_the_words_can_begin_a_segment() -> None:
    broken = Message.parse(b"MSH|^~\\&|A|B\nOBX|C|D|1||ADT^A01|7|P|2.5\rPID|1\r")
    raw = acknowledge(broken.header, "AE", control_id="U", now_us=0, error=DoorwayError("a\rOBX|b", at="x\ry"))
    assert [line[:3] for line in raw.split(b"\r")[:-1]] == [b"MSH", b"MSA", b"ERR"]


def test_own_delimiters_are_used_in_the_answer() -> None:
    raw = acknowledge(
        peek(b"MSH#*:!$#A#B#C#D#1##ADT*A01#7#P#2.5\r")["MSH"],
        "AE",
        control_id="U",
        now_us=0,
        error=Invalid("#", at="PID-3"),
    )
    assert raw.split(b"\r")[1:3] == [b"MSA#AE#7#!F!", b"ERR##PID*1*3*1#102*Data type error*HL70357#E####!F!"]


def test_a_batch_is_answered_as_a_batch() -> None:
    asked = split_interchange(
        b"FHS|^~\\&|A|B|C|D|1||||F9\rBHS|^~\\&|A|B|C|D|1||||B9\rMSH|^~\\&|A|B|||1||ADT^A01|1\rBTS|1\rFTS|1\r"
    )
    raw = batch_acknowledgement(asked, [[b"MSH|1\rMSA|AA|1\r"]], control_id="U", now_us=0)
    assert raw.split(b"\r") == [
        b"FHS|^~\\&|C|D|A|B|19700101000000+0000||||UF|F9",
        b"BHS|^~\\&|C|D|A|B|19700101000000+0000||||U1|B9",
        b"MSH|1",
        b"MSA|AA|1",
        b"BTS|1",
        b"FTS|1",
        b"",
    ]


@pytest.mark.parametrize("raw", [b"MSH|^~\\&|A\r", b"MSH|^~\\&|A\rMSA|OK|1\r", b"hello", b""])
def test_a_reply_without_a_code_is_no_acknowledgement(raw: bytes) -> None:
    with pytest.raises(Malformed):
        read_acknowledgement(raw)
