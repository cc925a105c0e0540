"""Files and batches: each message keeps exactly its bytes, counts are checked, nothing is swallowed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.codecs.er7_batch import split_interchange

ONE, TWO = b"MSH|^~\\&|A|B|||1||ADT^A01|1|P|2.5\rPID|1\r", b"MSH|^~\\&|A|B|||1||ADT^A01|2|P|2.5\rPID|2\r"
FHS, BHS = b"FHS|^~\\&|A|B\r", b"BHS|^~\\&|A|B|||||||77\r"


@pytest.mark.parametrize(
    ("raw", "sizes", "problems"),
    [
        (ONE, [1], ()),
        (ONE + TWO, [2], ()),
        (b"\xef\xbb\xbf" + ONE.replace(b"\r", b"\n") + b"\n\n" + TWO, [2], ()),
        (BHS + ONE + TWO + b"BTS|2\r", [2], ()),
        (BHS + ONE + TWO + b"BTS|3\r", [2], ("BTS-1 of batch 1 does not fit: 2 came",)),
        (BHS + ONE + TWO, [2], ("batch 1 has no BTS",)),
        (FHS + BHS + ONE + b"BTS|1\r" + BHS + TWO + b"BTS|1\rFTS|2\r", [1, 1], ()),
        (FHS + BHS + ONE + BHS + TWO + b"BTS|1\rFTS|1\r", [1, 1], ("batch 1 has no BTS", "FTS-1 does not fit: 2 came")),
        (FHS + ONE, [1], ("the file has no FTS",)),
        (FHS + b"FTS|0\r", [], ()),
        (b"noise\r" + ONE + TWO, [2], ("bytes before the first header",)),
        (b"\x0b" + ONE + b"\x1c\r\x0b" + TWO + b"\x1c\r", [2], ()),
        (b"", [], ()),
        (b"hello", [], ("bytes before the first header",)),
        (BHS + b"BTS|x\r", [0], ("BTS-1 of batch 1 is not a number",)),
    ],
)
def test_files_are_cut_into_their_messages(raw: bytes, sizes: list[int], problems: tuple[str, ...]) -> None:
    found = split_interchange(raw)
    assert [len(batch.messages) for batch in found.batches] == sizes
    assert found.problems == problems


def test_a_message_that_quotes_a_header_is_not_cut() -> None:
    raw = ONE + b"OBX|1|TX|||see MSH|^~\\& there\rNTE|1||MSHX\r"
    assert split_interchange(raw).messages == (raw,)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([ONE, TWO]), min_size=1, max_size=5))
def test_bare_messages_come_back_to_the_byte(messages: list[bytes]) -> None:
    assert split_interchange(b"".join(messages)).messages == tuple(messages)


def test_utf_16_is_cut_too() -> None:
    raw = (ONE + TWO).decode().encode("utf-16")
    found = split_interchange(raw)
    assert [message.decode("utf-16") for message in found.messages] == [ONE.decode(), TWO.decode()]
