"""Bytes to cells and back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.codecs import hmis_csv
from gateway.codecs.hmis_csv import Header, read_blocks, read_heading, read_rows, sniff, write_rows
from gateway.kernel.errors import Malformed

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
    columns = [[row[at] if len(row) > at else "" for row in expected] for at in (1, 0)]
    found = [block.columns(1, 0) for block in blocks]
    assert [[cell for block in found for cell in block[at]] for at in (0, 1)] == columns


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


def test_a_few_bytes_of_another_encoding_do_not_change_the_whole_file() -> None:
    whole = "a,b\n1,Müller\n2,Peña\n".encode()
    assert list(read_rows([whole + b"3,Ren\xe9\n"], sniff(whole + b"3,Ren\xe9\n")))[1:] == [
        ["1", "Müller"],
        ["2", "Peña"],
        ["3", "René"],
    ]
    assert list(read_rows([whole[:-2]], sniff(whole[:-2])))[1] == ["1", "Müller"]
    marked = b"\xef\xbb\xbfa\nRen\xe9\n"
    assert list(read_rows([marked], sniff(marked))) == [["a"], ["René"]]
    assert [b.rows() for b in read_blocks([marked], "utf-8-sig")] == [[["a"], ["René"]]]


def test_utf_16_without_a_mark_is_recognised_in_a_large_file_of_other_letters() -> None:
    data = ("PersonalID,LastName\r\n" + "日本,語\r\n" * 4000).encode("utf-16-le")
    sniffer = hmis_csv.EncodingSniffer()
    for start in range(0, len(data), 5000):
        sniffer.feed(data[start : start + 5000])
    assert sniffer.finish() == "utf-16-le"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("before", ["", "\r\n\r\n", "sep={}\r\n"])
def test_the_header_is_found_behind_what_spreadsheets_put_before_it(delimiter: str, before: str) -> None:
    text = before.format(delimiter) + delimiter.join(("PersonalID", "LastName", "DOB")) + "\r\n"
    heading = read_heading(lambda: [text.encode()], "utf-8", ["PersonalID", "LastName", "DOB"])
    assert heading.header.cells == ("PersonalID", "LastName", "DOB")
    assert heading.delimiter == delimiter
    assert (heading.blank, heading.more) == (
        before.count("\r\n") if not before.startswith("sep") else 0,
        "sep" in before,
    )


def test_a_row_of_data_where_the_header_should_be_is_not_told() -> None:
    header = Header.of(["C1", "Joanzq", "Sex"], ["PersonalID", "FirstName", "Sex"])
    assert not header.certain
    assert [header.told(i) for i in header.extra] == ["column 1", "column 2"]
    sure = Header.of(["PersonalID", "FirstName", "Sex", "Pet"], ["PersonalID", "FirstName", "Sex"])
    assert [sure.told(i) for i in sure.extra] == ["Pet"]


def test_a_quote_that_is_never_closed_is_told_with_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hmis_csv, "FIELD_LIMIT_CHARACTERS", 5000)
    data = b'a,b\n1,x\n2,"' + b"y,z\n" * 3000
    for read in (lambda: list(read_rows([data], "utf-8")), lambda: list(read_blocks([data], "utf-8"))):
        with pytest.raises(Malformed, match="row 2"):
            read()


def test_a_line_longer_than_any_block_is_cut_at_line_ends_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hmis_csv, "_LONGEST_LINE", 1000)
    data = b"a,b\r\n1," + b"x" * 4000 + b"\r\n2,y\r\n"
    blocks = read_blocks([data[i : i + 300] for i in range(0, len(data), 300)], "utf-8", 100)
    assert [row for block in blocks for row in block.rows()] == [["a", "b"], ["1", "x" * 4000], ["2", "y"]]
    monkeypatch.setattr(hmis_csv, "FIELD_LIMIT_CHARACTERS", 3000)
    with pytest.raises(Malformed):
        list(read_blocks([b"a,b\r\n", *([b"x" * 300] * 20)], "utf-8", 100))


@pytest.mark.parametrize("letter", ["é", "ñ", "ü", "É", "Ñ", "ç", "à"])
@pytest.mark.parametrize(("encoding", "ends"), [("cp1252", "\r\n"), ("cp1252", "\r"), ("mac_roman", "\r")])
def test_one_letter_is_enough_to_tell_windows_from_mac(letter: str, encoding: str, ends: str) -> None:
    data = ends.join(("PersonalID,LastName", f"1,Joan{letter}zq", "")).encode(encoding)
    assert next(iter(list(read_rows([data], sniff(data)))[1:]))[1] == f"Joan{letter}zq"
