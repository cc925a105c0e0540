"""Writing: no value can end its field or begin a segment; what is written reads back as it was."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.codecs.er7 import DELETE, Delimiters, Message
from gateway.codecs.er7_build import NULL, Fields, FormattedText, OwnText, build
from gateway.kernel.errors import Invalid

MSH: Fields = {3: "A", 4: "B", 9: ("ADT", "A01"), 10: "7", 11: "P", 12: "2.5.1"}
MARKS = st.sampled_from([Delimiters(), Delimiters(truncation="#"), Delimiters("!", "*", ":", "$", "%")])
NASTY = st.text(
    st.one_of(st.sampled_from('\r\n\x0b\x1c|^~\\&#!*:$%\x85\u2028"\x00\t'), st.characters(codec="utf-8")), max_size=20
)


@settings(max_examples=60, deadline=None)
@given(NASTY, NASTY, MARKS, st.sampled_from(["utf-8", "UNICODE UTF-16"]))
def test_any_value_comes_back_and_injects_nothing(one: str, two: str, marks: Delimiters, charset: str) -> None:
    fields: Fields = {3: [(one, None, None, (two, one)), (two,)], 5: (two, one), 8: one}
    raw = build([("MSH", MSH), ("PID", fields), ("OBX", {5: FormattedText(one)})], delimiters=marks, charset=charset)
    if charset == "utf-8":
        assert raw.count(b"\r") == 3
        assert not {b"\n", b"\x0b", b"\x1c"} & {raw[i : i + 1] for i in range(len(raw))}
    found = Message.parse(raw)
    assert [segment.id for segment in found.segments] == ["MSH", "PID", "OBX"]
    pid = found.segments[1]
    assert (pid.get(3) or "", pid.get(3, 1, 4) or "", pid.get(3, 1, 4, 2) or "") == (one, two, one)
    assert (pid.get(5) or "", pid.get(5, 1, 2) or "", pid.get(8) or "") == (two, one, one)
    assert not pid.field(8).deleted


def test_a_formatted_text_keeps_its_lines() -> None:
    raw = build([("MSH", MSH), ("OBX", {5: FormattedText("a\r\nb\nc")})])
    assert raw.endswith(b"\rOBX|||||a\\.br\\b\\.br\\c\r")
    assert Message.parse(raw).get("OBX-5") == "a\nb\nc"


def test_a_delete_is_only_written_on_purpose() -> None:
    raw = build([("MSH", MSH), ("PID", {5: NULL, 6: DELETE})])
    pid = Message.parse(raw).segments[1]
    assert (pid.field(5).deleted, pid.field(6).deleted) == (True, False)
    assert pid.get(6) == '""'


def test_own_text_keeps_its_escapes_and_still_injects_nothing() -> None:
    raw = build([("MSH", {**MSH, 5: OwnText("A^1.2^ISO"), 6: OwnText("x\rOBX|\\F\\")})])
    assert raw.count(b"\r") == 1
    assert b"|A^1.2^ISO|x\\X0D\\OBX|\\F\\|" in raw


def test_a_character_that_the_charset_lacks_is_said_not_lost() -> None:
    with pytest.raises(Invalid, match="charset"):
        build([("MSH", MSH), ("PID", {5: "表"})], charset="8859/1")


@pytest.mark.parametrize(("name", "field"), [("pid", 1), ("PIDX", 1), ("P|D", 1), ("PID", 0), ("MSH", 2)])
def test_only_segments_and_fields_that_can_be_are_written(name: str, field: int) -> None:
    with pytest.raises(Invalid):
        build([(name, {field: "x"})])
