"""Segments find their group, whatever order senders use."""

import pytest

from gateway.mapping.hl7v2.grammar import Grammar
from tests.mapping.hl7v2.build import PID, PV1, convert, converter, only


def places(structure: str, segments: str) -> list[str]:
    grammar, at, out = Grammar(converter().tables.messages[structure]), -1, []
    for name in segments.split():
        move = grammar.move(at, name)
        if move is None:
            out.append(f"-{name}")
            continue
        at = move.place.index
        out.append(".".join((*move.place.groups, name)).removeprefix("PATIENT_RESULT."))
    return out


@pytest.mark.parametrize(
    ("segments", "last"),
    [
        ("MSH PID OBR OBX NTE", "ORDER_OBSERVATION.OBSERVATION.NTE"),
        ("MSH PID OBR NTE", "ORDER_OBSERVATION.NTE"),
        ("MSH PID NTE", "PATIENT.NTE"),
        ("MSH PID OBX", "ORDER_OBSERVATION.OBSERVATION.OBX"),
        ("MSH PID OBR OBX SPM OBX", "ORDER_OBSERVATION.SPECIMEN.OBX"),
        ("MSH PID ZZZ", "-ZZZ"),
    ],
)
def test_a_segment_belongs_to_the_group_it_follows(segments: str, last: str) -> None:
    assert places("ORU_R01", segments)[-1] == last


def test_a_second_order_begins_a_second_report() -> None:
    found = convert(
        "ORU^R01", PID, "OBR|1||F1|1^A", "OBX|1|ST|1^A||x||||||F", "OBR|2||F2|2^B", "OBX|1|ST|2^B||y||||||F"
    )
    reports = [r for r in found.resources if r["resourceType"] == "DiagnosticReport"]
    assert [len(r["result"]) for r in reports] == [1, 1]


def test_a_second_person_in_one_message_has_results_of_their_own() -> None:
    other = PID.replace("4711", "4712")
    found = convert("ORU^R01", PID, "OBR|1||F1|1^A", other, "OBR|1||F2|1^A")
    subjects = {r["subject"]["reference"] for r in found.resources if r["resourceType"] == "DiagnosticReport"}
    assert len(subjects) == 2


def test_a_note_out_of_place_still_lands_near() -> None:
    found = convert("ADT^A01", PID, "PV1|1|I|3W", "IN1|1|M|1|Zqplan", "AL1|1|DA|X^Y")
    assert only(found, "AllergyIntolerance")["code"]["coding"][0]["code"] == "X"


def test_a_segment_that_comes_too_late_is_taken_once() -> None:
    found = convert("SIU^S12", PID, "SCH|1||||||CHECKUP", "SCH|2")
    assert only(found, "Appointment")["identifier"][0]["value"] == "1"
    assert only(found, "Appointment")["participant"][0]["actor"]["reference"].startswith("Patient/")
    assert {left.place for left in found.residue} == {"SCH[2]-1"}
    late = convert("ADT^A01", PID, PV1, "EVN||20250310092900")
    assert only(late, "Provenance")["occurredDateTime"].startswith("2025-03-10T09:29")
