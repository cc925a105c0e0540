"""The standard's tables: deviations with their places; and the faults of hl7apy's parser that keep it off the wire."""

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Message as Hl7apyMessage
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_message

from gateway.codecs.er7 import Message
from gateway.codecs.hl7_grammar import Deviation, deviations

MSH = "MSH|^~\\&|A|B|C|D|20260105||ADT^A01^ADT_A01|7|P|2.5"
GOOD = [MSH, "EVN||20260105", "PID|1||17^^^A||Zqdoe^Jo", "PV1|1|I"]


def found(*segments: str) -> list[tuple[str, str]]:
    return [(one.place, one.what) for one in deviations(Message.parse("\r".join(segments).encode()))]


def test_a_message_that_keeps_the_standard_has_no_deviations() -> None:
    assert found(*GOOD, "ZPI|1|own") == []


@pytest.mark.parametrize(
    ("segments", "place", "what"),
    [
        ([*GOOD[:2], GOOD[3]], "PID", "a required segment is missing or in the wrong place"),
        ([GOOD[0], GOOD[2], GOOD[1], GOOD[3]], "EVN", "a required segment is missing or in the wrong place"),
        ([*GOOD, "TXA|1"], "TXA", "the message structure has no such segment"),
        ([*GOOD, "XYZ|1"], "XYZ", "version 2.5 has no such segment"),
        ([*GOOD[:2], "PID|1||||Zqdoe^Jo", GOOD[3]], "PID-3", "a required field is missing"),
        ([*GOOD[:3], "PV1|1|I" + "|" * 60 + "x"], "PV1-62", "version 2.5 has no such field"),
        ([*GOOD[:3], "PV1|1|I~O"], "PV1-2", "the field repeats more often than allowed"),
        (
            [GOOD[0].replace("A01^ADT_A01", "A99^ADT_A99"), *GOOD[1:]],
            "MSH-9",
            "version 2.5 has no such message structure",
        ),
        ([GOOD[0].replace("|2.5", "|9"), *GOOD[1:]], "MSH-12", "not a version whose tables are known here"),
        ([GOOD[0].replace("|2.5", ""), *GOOD[1:]], "MSH-12", "the version is missing; read as 2.5.1"),
    ],
)
def test_deviations_name_their_place(segments: list[str], place: str, what: str) -> None:
    assert (place, what) in found(*segments)


def test_groups_repeat_and_their_segments_may_stand_in_them_only() -> None:
    oru = MSH.replace("ADT^A01^ADT_A01", "ORU^R01^ORU_R01")
    order = ["OBR|1|||LN", "OBX|1|ST|a||b||||||F", "NTE|1||x"]
    assert found(oru, "PID|1||17||Zq", *order, *order) == []
    assert ("PID[2]", "the segment stands where the structure does not allow it") not in found(
        oru, "PID|1||17||Zq", *order, "PID|2||18||Zq", *order
    )


def test_a_deviation_never_tells_a_value() -> None:
    assert "Zq" not in repr(deviations(Message.parse("\r".join([MSH, "PID|1||||Zqdoe", "ZQX|Zq"]).encode())))
    assert Deviation("PID-3", "x") == Deviation("PID-3", "x")


# -- why its parser is not used; when one of these fails, the fault was mended and this list can shrink ---------------


def test_fault_segments_are_dropped_in_its_default_mode() -> None:
    raw = "\r".join([*GOOD[:2], "ZPI|1|own", *GOOD[2:]])
    kept = parse_message(raw, find_groups=True).to_er7()
    assert len(kept.split("\r")) < len(raw.split("\r")) or "ZPI" in kept


def test_fault_fields_move_over_withdrawn_positions_when_it_writes() -> None:
    raw = "\r".join([MSH.replace("|2.5", "|2.6"), "EVN||20260105", "PID|1||17", "PV1|1|I", "DG1|1||A|||W||||||||1|Dr"])
    written = parse_message(raw, find_groups=False).to_er7()
    assert next(line for line in written.split("\r") if line.startswith("DG1")) != raw.split("\r")[-1]


def test_fault_the_truncation_character_is_refused_before_2_7() -> None:
    with pytest.raises(HL7apyException):
        parse_message("\r".join([MSH.replace("^~\\&", "^~\\&#"), *GOOD[1:]]))
    assert Message.parse("\r".join([MSH.replace("^~\\&", "^~\\&#"), *GOOD[1:]]).encode()).get("PID-5") == "Zqdoe"


def test_fault_a_carriage_return_in_a_value_makes_a_segment() -> None:
    message = Hl7apyMessage("ADT_A01", version="2.5", validation_level=VALIDATION_LEVEL.TOLERANT)
    message.pid.pid_5 = "DOE\rOBX|1"
    assert any(line.startswith("OBX") for line in message.to_er7().split("\r"))
