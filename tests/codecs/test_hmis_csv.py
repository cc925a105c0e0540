"""Bytes to cells and back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.codecs.hmis_csv import Header, read_blocks, read_rows, sniff, write_rows

ROWS = [["PersonalID", "LastName"], ["1", "Núñez Ramírez"], ["2", "Müller"], ["3", "Françoise"]]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "mac_roman"]
)
@pytest.mark.parametrize("ends", ["\r\n", "\n", "\r"])
def test_every_encoding_that_exports_come_in_is_recognised(encoding: str, ends: str) -> None:
    data = ends.join(",".join(row) for row in ROWS).encode(encoding)
    assert list(read_rows([data], sniff(data))) == ROWS


def test_line_ends_may_be_mixed_and_the_last_line_cut_off() -> None:
    assert list(read_rows([b'a,b\r\n1,"x\ny"\n2,z\r3,"cut'], "utf-8")) == [
        ["a", "b"],
        ["1", "x\ny"],
        ["2", "z"],
        ["3", "cut"],
    ]


def test_a_character_cut_off_at_the_end_does_not_stop_reading() -> None:
    data = "a,b\n1,né".encode()[:-1]
    assert list(read_rows([data], sniff(data)))[1][0] == "1"


def test_bytes_that_windows_1252_does_not_define_are_kept() -> None:
    data = b"a\nx\x81y\xe9\n"
    assert list(read_rows([data], "cp1252"))[1] == ["x\x81yé"]


@settings(max_examples=60)
@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4), max_size=6))
def test_what_is_written_is_read_again(rows: list[list[str]]) -> None:
    data = "".join(write_rows(rows)).encode()
    assert list(read_rows([data[i : i + 3] for i in range(0, len(data), 3)], "utf-8")) == rows


_WILD = st.text(st.sampled_from('a,"\r\n é\ufeff'), max_size=60)


@settings(max_examples=300)
@given(_WILD, st.integers(1, 9), st.sampled_from(["utf-8", "utf-8-sig", "cp1252", "mac_roman", "utf-16"]))
def test_blocks_hold_the_rows_that_the_parser_sees(text: str, size: int, encoding: str) -> None:
    data = text.encode(encoding, "replace")
    chunks = [data[i : i + 7] for i in range(0, len(data), 7)]
    blocks = list(read_blocks(chunks, encoding, size))
    expected = list(read_rows(chunks, encoding))
    assert [row for block in blocks for row in block.rows()] == expected
    assert sum(len(block) for block in blocks) == len(expected)
    column = [row[1] if len(row) > 1 else None for row in expected]
    assert [cell for block in blocks for cell in block.column(1)] == column


def test_a_quoted_cell_may_run_on_through_many_blocks_and_the_header_can_be_left_out() -> None:
    data = b'a,b\n1,"x\n' + b"y,\n" * 50 + b'"\n2,z\n'
    blocks = list(read_blocks([data], "utf-8", 16))
    blocks[0].drop_first()
    rows = [row for block in blocks for row in block.rows()]
    assert rows == [["1", "x\n" + "y,\n" * 50], ["2", "z"]]


def test_header_spellings_order_repeats_and_strangers() -> None:
    header = Header.of(["\ufeffZip", " hohLEASEHOLDER", "Mine", "ZIP"], ["ZIP", "HOHLeaseholder", "City"])
    assert header.position == {"ZIP": 0, "HOHLeaseholder": 1}
    assert header.extra == (2, 3)
    assert header.missing == ("City",)
