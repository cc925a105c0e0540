"""Bytes to cells and back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.codecs.hmis_csv import Header, read_rows, sniff, write_rows

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


def test_header_spellings_order_repeats_and_strangers() -> None:
    header = Header.of(["\ufeffZip", " hohLEASEHOLDER", "Mine", "ZIP"], ["ZIP", "HOHLeaseholder", "City"])
    assert header.position == {"ZIP": 0, "HOHLeaseholder": 1}
    assert header.extra == (2, 3)
    assert header.missing == ("City",)
