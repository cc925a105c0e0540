"""Every message of the shared samples is converted into R4, or refused with a reason; nothing crashes."""

from collections.abc import Iterator
from functools import cache

import orjson
import pytest

from gateway.adapters.files.data import read_data
from gateway.adapters.files.hl7v2_tables import load_tables
from gateway.codecs.er7 import Message
from gateway.codecs.er7_batch import split_interchange
from gateway.codecs.fhir_json import second_opinion
from gateway.kernel.errors import DoorwayError
from gateway.mapping.hl7v2.convert import Conversion, Converter
from gateway.mapping.hl7v2.coverage import guide_conditions, guide_rows, read_rulings
from tests.support.shared import SHARED

assert SHARED is not None
SAMPLES = sorted((SHARED / "samples" / "hl7v2").rglob("*.hl7"))
GUIDE = SHARED / "reference" / "v2-to-fhir"
SENDERS = sorted({file.parent.name for file in SAMPLES})


@cache
def converter(*, explain: bool = False) -> Converter:
    return Converter(load_tables(), explain=explain)


def messages(sender: str) -> Iterator[bytes]:
    for file in SAMPLES:
        if file.parent.name == sender:
            raw = file.read_bytes()
            yield from split_interchange(raw).messages or (raw,)


def converted(raw: bytes) -> Conversion | None:
    try:
        return converter().convert(Message.parse(raw))
    except DoorwayError as error:
        if not (error.at and error.message):
            raise
        return None


@pytest.mark.conformance
@pytest.mark.parametrize("sender", SENDERS)
def test_every_message_becomes_r4_or_is_refused(sender: str) -> None:
    seen: set[bytes] = set()
    for raw in messages(sender):
        conversion = converted(raw)
        for resource in conversion.resources if conversion else ():
            text = orjson.dumps(resource, default=float)
            if text not in seen:
                seen.add(text)
                assert not second_opinion(orjson.loads(text)), resource["resourceType"]


@pytest.mark.conformance
@pytest.mark.parametrize("sender", SENDERS)
def test_compiled_and_interpreted_tables_agree(sender: str) -> None:
    for raw in list(messages(sender))[::4]:
        fast = converted(raw)
        if fast is not None:
            slow = converter(explain=True).convert(Message.parse(raw))
            assert (fast.bundle_bytes(), fast.residue) == (slow.bundle_bytes(), slow.residue)


@pytest.mark.conformance
def test_every_admission_discharge_and_transfer_is_converted() -> None:
    refused = [
        raw for sender in SENDERS for raw in messages(sender) if b"|ADT^" in raw[:200] and converted(raw) is None
    ]
    assert refused == []


@pytest.mark.conformance
def test_the_guide_is_accounted_for_row_by_row() -> None:
    texts = {p.relative_to(GUIDE).as_posix(): p.read_text(encoding="utf-8-sig") for p in GUIDE.rglob("*.csv")}
    rows = list(guide_rows(texts, converter().tables, {}))
    assert len(rows) > 7000
    assert all(row.reason for row in rows if row.status == "left")
    rulings = read_rulings(read_data("mappings/hl7v2/guide.csv"), file="guide.csv")
    told = [row.reason for row in guide_rows(texts, converter().tables, rulings) if row.status == "left"]
    general = ("no row of ours", "the segment goes", "the sender's code is kept as it is")
    assert not [reason for reason in told if not reason or reason.startswith(general)]
    conditions = list(guide_conditions(texts))
    assert sum(not c.problem for c in conditions) >= 0.97 * len(conditions)
