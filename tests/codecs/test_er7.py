"""The tokenizer: received bytes kept, lazy access, delimiters, deletes, tolerance, charsets, escapes."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.codecs.er7 import DELETE, Message, peek
from gateway.codecs.er7_structure import structure_for
from gateway.kernel.errors import Malformed

HEAD = "MSH|^~\\&|EHR^1.2^ISO|WEST|||20260105||ADT^A01^ADT_A01|7|P|2.5.1"


def message(*segments: str, head: str = HEAD, eol: str = "\r", codec: str = "utf-8") -> Message:
    return Message.parse(eol.join([head, *segments, ""]).encode(codec))


def test_values_are_found_by_position_and_by_path() -> None:
    found = message("PID|1||11^^^A&1.2&ISO^MR~22^^^B||Zqdoe^Jo", "OBX|1|ST|a", "OBX|2|ST|b")
    pid = found.first("PID")
    assert pid is not None
    assert (pid.get(3, 2, 1), pid.get(3, 1, 4, 2), pid.get(5, 1, 2), pid.get(9)) == ("22", "1.2", "Jo", None)
    assert found.get("PID-3[2].4") == "B"
    assert found.get("OBX[2]-3") == "b"
    assert found.get("NK1-1") is None
    assert pid.place(5) == "PID-5"
    assert found.all("OBX")[1].place(3) == "OBX[2]-3"
    assert pid.repetitions(3) == ["11^^^A&1.2&ISO^MR", "22^^^B"]
    assert pid.field(5).repetitions == [["Zqdoe", "Jo"]]
    assert (found.kind, found.trigger, found.structure, found.control_id) == ("ADT", "A01", "ADT_A01", "7")


def test_a_delete_is_neither_absent_nor_a_text() -> None:
    found = message('PID|1||||""^x|""||\\X22\\\\X22\\')
    pid = found.first("PID")
    assert pid is not None
    assert [pid.field(n).deleted for n in (5, 6, 7, 8)] == [False, True, False, False]
    assert (pid.get(5), pid.get(6), pid.get(7), pid.get(8)) == (DELETE, DELETE, None, '""')
    assert [pid.field(n).present for n in (6, 7)] == [True, False]


@pytest.mark.parametrize("eol", ["\r", "\n", "\r\n", "\r\r\n"])
@pytest.mark.parametrize("lead", [b"", b"\xef\xbb\xbf", b"\r\n"])
def test_line_ends_and_marks_of_real_files_are_accepted(eol: str, lead: bytes) -> None:
    raw = lead + eol.join([HEAD, "PID|1", "PV1|1", ""]).encode()
    found = Message.parse(raw)
    assert [segment.id for segment in found.segments] == ["MSH", "PID", "PV1"]
    assert found.raw == raw


def test_a_broken_line_goes_back_to_its_segment() -> None:
    found = message("OBX|1|TX|a||first", "second line", "PID|1")
    assert found.get("OBX-5") == "first\nsecond line"
    assert [segment.id for segment in found.segments] == ["MSH", "OBX", "PID"]
    assert found.oddities == ["a line end inside segment 2 (OBX)"]


@pytest.mark.parametrize(
    ("head", "kind", "trigger", "structure"),
    [
        ("MSH|^~\\&|A|B|||1||ADT^A04|7|P|2.3", "ADT", "A04", "ADT_A01"),
        ("MSH|^~\\&|A|B|||1||ADT_A05|7", "ADT", "A05", "ADT_A05"),
        ("MSH|^~\\&|A|B|||1||ACK|7", "ACK", "", "ACK"),
        ("MSH|^~\\&|A|B|||1||ZZZ^Z01|7", "ZZZ", "Z01", "ZZZ_Z01"),
        ("MSH|^~\\&", "", "", ""),
    ],
)
def test_what_the_header_leaves_out_is_derived(head: str, kind: str, trigger: str, structure: str) -> None:
    found = message(head=head)
    assert (found.kind, found.trigger, found.structure) == (kind, trigger, structure)


def test_an_adt_without_trigger_takes_that_of_its_event() -> None:
    assert message("EVN|A03|2026", head="MSH|^~\\&|A|B|||1||ADT|7").structure == "ADT_A03"
    assert structure_for("ADT", "A40") == "ADT_A39"


@pytest.mark.parametrize("marks", ["^~\\&", "^~\\&#", "*:!%", "^~\\\\&"])
def test_delimiters_come_from_the_header(marks: str) -> None:
    field, comp = "|", marks[0]
    escape, sub = marks[2], marks[4] if marks[2] == marks[3] else marks[3]
    head = field.join([f"MSH{field}{marks}", "A", "B", "", "", "1", "", f"ADT{comp}A01", "7"])
    found = message(f"PID{field}1{field}{field}x{comp}y{sub}z{escape}F{escape}", head=head)
    assert found.get("PID-3.2.2") == "z|"
    assert found.get("MSH-2") == marks
    assert found.tree()[0][2] == [[[marks]]]


@pytest.mark.parametrize(
    "raw", [b"", b"hello", b"MSH", b"MSH|", b"PID|1\rMSH|^~\\&|", b"MSH|||\r", b"MSH|^^\\&|", b"MSHaabcd", b"\x00" * 9]
)
def test_what_is_no_message_is_malformed(raw: bytes) -> None:
    with pytest.raises(Malformed):
        Message.parse(raw)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("UNICODE UTF-8", "utf-8"), ("8859/1", "iso8859-1"), ("8859/2", "iso8859-2"), ("8859/15", "iso8859-15"),
        ("windows-1252", "cp1252"), ("UTF-8", "utf-8"), ("ISO-8859-1", "iso8859-1"), ("GB 18030-2000", "gb18030"),
        ("ISO IR14", "shift_jis"),
    ],
)  # fmt: skip
def test_the_charset_of_the_header_is_used(name: str, codec: str) -> None:
    text = "表" if codec in {"gb18030", "shift_jis"} else "ö"
    found = message(f"PID|1||||{text}", head=HEAD + "||||||" + name, codec=codec)
    assert found.get("PID-5") == text
    assert not found.doubtful


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_wide_charsets_are_told_by_their_bytes(codec: str) -> None:
    found = message("PID|1||||Żqö", codec=codec)
    assert found.get("PID-5") == "Żqö"
    assert peek(found.raw, frozenset({b"PID"}))["PID"].get(5) == "Żqö"


def test_the_sender_has_a_default_and_can_be_overruled() -> None:
    raw = (HEAD + "\rPID|1||||M\xfcller\r").encode("iso8859-1")
    assert Message.parse(raw, default_charset="8859/1").get("PID-5") == "Müller"
    lying = raw.replace(b"|2.5.1", b"|2.5.1||||||UNICODE UTF-8")
    assert Message.parse(lying, charset="8859/1").get("PID-5") == "Müller"
    doubted = Message.parse(lying)
    assert doubted.doubtful
    assert doubted.get("PID-5") == "M�ller"
    assert doubted.raw == lying


@pytest.mark.parametrize(
    ("own", "text"),
    [
        (r"a\F\b\S\c\T\d\R\e\E\f", r"a|b^c&d~e\f"), (r"\X0D0A\x", "\r\nx"), (r"\XC3\\XA9\t\XC3A9\ ", "été "),
        (r"one\.br\two\.sp2\three\.ce\four", "one\ntwo\n\nthree\nfour"),
        (r"a\.sk3\b\.ti2\c\.in+1\d\.fi\\.nf\e", "a   b  c de"),

        (r"\H\loud\N\ still", "loud still"), (r"\Zabc\kept", r"\Zabc\kept"), ("C:\\temp", "C:\\temp"),
        (r"a\q\b", r"a\q\b"),
        (r"\M2442\8l\C2842\x", "語x"), (r"\C2D44\y", "y"), ("trailing\\", "trailing\\"),
        (r"\XZZ\ ", r"\XZZ\ "), (r"\P\ ", r"\P\ "),
    ],
)  # fmt: skip
def test_every_escape_sequence_is_read(own: str, text: str) -> None:
    assert message(f"NTE|1||{own}").get("NTE-3") == text


def test_the_full_parse_agrees_with_single_access() -> None:
    found = message("PID|1||11^^^A&1.2&ISO^MR~22^^^B||Zqdoe^Jo\\T\\Ann|&x", "PV1|")
    tree = found.tree()
    for segment, fields in zip(found.segments[1:], tree[1:], strict=True):
        for number, repetitions in enumerate(fields[1:], start=1):
            for r, components in enumerate(repetitions, start=1):
                for c, subs in enumerate(components, start=1):
                    for s, value in enumerate(subs, start=1):
                        assert (segment.get(number, r, c, s) or "") == value


def _slow_tree(found: Message) -> list[Any]:
    """What the full parse means, one split after the other."""
    marks, out = found.delimiters, []
    for segment in found.segments:
        parsed = []
        for number, text in enumerate(segment.fields):
            if segment.id in {"MSH", "FHS", "BHS"} and 0 < number < 3:
                parsed.append([[[text]]])
                continue
            repeated = _cut(text, marks.repetition)
            parsed.append([[_subs(found, part) for part in _cut(one, marks.component)] for one in repeated])
        out.append(parsed)
    return out


def _subs(found: Message, part: str) -> list[str]:
    return [found.unescape(sub) for sub in _cut(part, found.delimiters.subcomponent)]


def _cut(text: str, mark: str) -> list[str]:
    return text.split(mark) if mark else [text]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["^~\\&", "^~\\&#", "^~", "^", "^~*&"]),
    st.text(alphabet="|^~\\&*#F.ABS1 ö\r", max_size=60),
    st.booleans(),
)
def test_the_full_parse_is_one_split_after_the_other(marks: str, text: str, broken: bool) -> None:
    raw = f"MSH|{marks}|A^B|{text}\rPID|{text}\rBHS|{marks}|x\\F\\y\rFHS\rNTE|1||{text}".encode()
    found = Message.parse(raw + b"\xff" if broken else raw)
    assert found.tree() == _slow_tree(found)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_a_message_or_malformed_and_never_lost(noise: bytes, headed: bool) -> None:
    raw = HEAD.encode() + b"\rPID|" + noise if headed else noise
    try:
        found = Message.parse(raw)
    except Malformed:
        return
    found.tree()
    assert found.raw == raw
    assert peek(raw, frozenset({b"PID"}))["MSH"].get(10) == found.get("MSH-10")
