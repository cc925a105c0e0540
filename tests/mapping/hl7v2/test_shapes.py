"""What is filled in from a remembered shape is what the rows make."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from gateway.bench._by_hand import admissions
from gateway.codecs.er7 import Message
from gateway.codecs.er7_batch import split_interchange
from gateway.mapping.hl7v2 import shapes as module
from gateway.mapping.hl7v2.conversion import Feed
from gateway.mapping.hl7v2.convert import Converter
from gateway.mapping.hl7v2.shapes import Shapes
from gateway.mapping.hl7v2.templates import Filled
from gateway.sim.hospital import write_feed
from tests.mapping.hl7v2.build import converter
from tests.mapping.hl7v2.shapes_twin import differs, like


@pytest.fixture
def fast() -> Iterator[Converter]:
    made = converter()
    made.forget()
    yield made
    assert _shapes(made).refused == 0
    made.forget()


def _shapes(made: Converter) -> Shapes:
    assert made.shapes is not None
    return made.shapes


def _admission(**other: bytes) -> bytes:
    raw = admissions(1)[0]
    for old, new in ((b"C0|", b"id"), (b"20250310093000-0500", b"sent"), (b"F0.20", b"code")):
        raw = raw.replace(old, other.get(new.decode(), old))
    return raw


def test_a_hospitals_feed_and_messages_like_its_own_are_filled_as_the_rows_map_them(
    fast: Converter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TIMES", 1)
    write_feed(tmp_path, seed=11, patients=24)
    rnd, filled, every = Random(5), 0, 0
    for raw in split_interchange((tmp_path / "feed-0001.hl7").read_bytes()).messages:
        for number in range(4):
            one = raw if not number else like(fast, raw, rnd)
            before = fast.convert(Message.parse(one))
            assert not differs(fast, one)
            every += 1
            filled += isinstance(before.resources, Filled)
    assert filled > every * 0.3


def test_results_keep_the_digits_of_their_numbers(fast: Converter) -> None:
    rnd = Random(3)
    raw = (
        b"MSH|^~\\&|LAB|RIVERTON|DOORWAY|HOUSING|20250310093000-0500||ORU^R01^ORU_R01|C1|P|2.5.1\r"
        b"PID|1||4000^^^RIVERTON^MR||Zqwalk^Maria||19300101|F\r"
        b"OBR|1|77^LAB|88^LAB|24331-1^Lipid panel^LN|||20260105090000\r"
        b"OBX|1|NM|2093-3^Cholesterol^LN||180.50|mg/dL^^UCUM|0-200|N|||F|||20260105090000\r"
        b"OBX|2|ST|2093-4^Remark^LN||calm|||N|||F|||20260105090000\r"
    )
    for number in range(12):
        one = raw.replace(b"180.50", b"%d.%d0" % (number, number)).replace(b"C1", b"C%d" % number)
        assert not differs(fast, one)
        assert not differs(fast, like(fast, one, rnd, odd=0.3))
    said = fast.convert(Message.parse(raw))
    assert b'"value":180.50' in said.bundle_bytes()


def test_a_template_is_made_for_a_shape_that_recurs_and_not_before(fast: Converter) -> None:
    for number, raw in enumerate(admissions(721)[::120]):  # of different people, in one bed
        said = fast.convert(Message.parse(raw))
        assert isinstance(said.resources, Filled) == (number >= 4)


def test_times_without_offset_take_that_of_their_own_message(fast: Converter) -> None:
    for zone in (b"-0500", b"+0100", b""):
        for number in range(6):
            raw = _admission(id=b"C%d|" % number, sent=b"20250310093000" + zone).replace(b"091500-0500", b"091500")
            assert not differs(fast, raw)
            assert not differs(fast, raw, Feed(zone="America/Denver"))


def test_a_message_without_a_control_id_is_known_by_its_bytes(fast: Converter) -> None:
    ids = set()
    for number in range(7):
        raw = _admission(id=b"|", code=b"F%d.20" % number)
        assert not differs(fast, raw)
        ids.add(fast.convert(Message.parse(raw)).control_id)
    assert len(ids) == 7


@pytest.mark.parametrize("text", ["a\ue010b", "\ue000", "\ue001", "\ue002"])
def test_characters_that_serve_as_marks_are_only_text_in_a_message(fast: Converter, text: str) -> None:
    for number, raw in enumerate(admissions(8)):
        for place in (b"Riverton", b"Lee", b"C%d|" % number, b"|MED|"):
            assert not differs(fast, raw.replace(place, text.encode() + place))
        assert not differs(fast, raw)


def test_what_is_remembered_has_a_bound(fast: Converter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BYTES", 120_000)
    monkeypatch.setattr(module, "_TIMES", 1)
    for number, raw in enumerate(admissions(30)):
        other = raw.replace(b"|E|||", b"|E|||", 1).replace(b"ADTAPP", b"APP%d" % number)
        assert not differs(fast, other)
    held = _shapes(fast)._templates
    assert 1 <= len(held) < 12
    assert sum(template.weight for template in held.values() if template is not None) <= 120_000
    fast.forget()
    assert not held


def test_a_field_that_something_looks_into_is_a_slot_no_longer(fast: Converter) -> None:
    allergy = b"AL1|1|DA|70618^Penicillin^RxNorm|MO|Hives\r"
    for raw in admissions(12):
        assert not differs(fast, raw + allergy)
    assert _shapes(fast)._templates
