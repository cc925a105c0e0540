"""What every conversion keeps to, whatever the message."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.kernel.errors import DoorwayError, Invalid, Unsupported
from gateway.mapping.hl7v2.convert import Feed, zone_named
from tests.mapping.hl7v2.build import PID, PV1, convert, converter, message, only


def test_the_same_message_gives_the_same_bytes() -> None:
    assert convert("ADT^A01", PID, PV1).bundle_bytes() == convert("ADT^A01", PID, PV1).bundle_bytes()


def test_one_person_has_one_id_in_every_message_type() -> None:
    ids = {
        only(convert(event, PID), "Patient")["id"] for event in ("ADT^A01", "ORU^R01", "SIU^S12", "MDM^T02", "VXU^V04")
    }
    assert len(ids) == 1


def test_a_number_without_authority_is_unique_in_its_sender_only() -> None:
    here = convert("ADT^A04", "PID|1||77||Zqa")
    there = converter().convert(message("ADT^A04", "PID|1||77||Zqa"), Feed(sender="OTHER|EAST"))
    assert only(here, "Patient")["id"] != only(there, "Patient")["id"]
    assert only(here, "Patient")["identifier"][0]["system"].endswith("/sid/sender/APP%7CWEST")


def test_one_doctor_in_four_roles_is_one_practitioner() -> None:
    doctor = "9^Zqdoc^Ann^^^^^^NPI"
    found = convert("ADT^A01", PID, f"PV1|1|I|3W||||{doctor}|{doctor}|||||||||{doctor}||V1")
    assert sum(1 for r in found.resources if r["resourceType"] == "Practitioner") == 1
    assert len(only(found, "Encounter")["participant"]) == 3


def test_a_field_that_no_row_maps_is_kept_with_its_place() -> None:
    found = convert("ADT^A04", PID + "|" * 33 + "beyond", "ZPI|shelter")
    assert {left.place for left in found.residue} == {"PID-41", "ZPI-1"}
    basic = only(found, "Basic")
    assert basic["subject"]["reference"].startswith("Patient/")
    assert {c["code"] for c in basic["meta"]["security"]} == {"L3", "R"}


def test_two_quotes_delete_and_absence_does_not() -> None:
    found = convert("ADT^A08", 'PID|1||4711^^^WEST^MR||Zqwalker^""||""||||""||""')
    patient = only(found, "Patient")
    assert found.deletions[f"Patient/{patient['id']}"] == (
        "birthDate",
        "_birthDate.extension[url=http://hl7.org/fhir/StructureDefinition/patient-birthTime]",
        "address",
        "telecom[use=home]",
    )
    assert patient["name"] == [{"family": "Zqwalker"}]
    assert "gender" not in patient


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ("A01", "in-progress"), ("A03", "finished"), ("A04", "in-progress"), ("A05", "planned"), ("A11", "cancelled"),
        ("A13", "in-progress"), ("A14", "planned"), ("A21", "onleave"),
        ("A23", "entered-in-error"), ("A38", "cancelled"),
    ],
)  # fmt: skip
def test_the_trigger_sets_the_visit(event: str, status: str) -> None:
    assert only(convert(f"ADT^{event}", PID, PV1), "Encounter")["status"] == status


def test_an_update_keeps_the_state_of_the_visit() -> None:
    found = convert("ADT^A08", PID, PV1)
    assert [(e.kind, e.detail) for e in found.effects] == [("keep", "status")]


def test_a_merge_names_survivor_and_loser_and_links_both() -> None:
    found = convert("ADT^A40", PID, "MRG|4999^^^WEST^MR")
    (merge,) = found.effects
    by_reference = {f"Patient/{r['id']}": r for r in found.resources if r["resourceType"] == "Patient"}
    assert (merge.kind, by_reference[merge.loser]["active"]) == ("merge-patient", False)
    assert by_reference[merge.survivor]["link"][0] == {"other": {"reference": merge.loser}, "type": "replaces"}


def test_the_zone_of_the_header_beats_the_zone_of_the_feed() -> None:
    found = only(convert("ADT^A01", PID, PV1 + "|" * 25 + "20250310091500", feed=Feed(zone="Asia/Tokyo")), "Encounter")
    assert found["period"]["start"] == "2025-03-10T09:15:00-05:00"
    assert zone_named("America/Edmonton")(2025, 7, 10, 9, 15) == "-06:00"
    with pytest.raises(Invalid, match="no such time zone"):
        zone_named("Mars/Olympus")


def test_a_decimal_keeps_its_digits() -> None:
    text = convert(
        "ORU^R01", PID, "OBR|1||F1|1^X", "OBX|1|NM|1^X||1.50|mg||||F".replace("||||F", "|||||F")
    ).bundle_bytes()
    assert b'"value":1.50' in text


@pytest.mark.parametrize("text", ["Zq\x00", "Zq\x07x", "Zq\\X00\\"])
def test_no_control_character_reaches_a_value(text: str) -> None:
    found = convert("ADT^A04", f"PID|1||47\x0011^^^WEST^MR||{text}^Maria", f"ZPI|{text}", control_id="1\x00")
    assert b"\\u000" not in found.bundle_bytes()
    assert only(found, "Patient")["name"][0]["family"].startswith("Zq\ufffd")


@pytest.mark.parametrize("blank", [" ", "\t", "\n", " \t"])
def test_a_value_of_blanks_is_no_value_whatever_else_a_message_holds(blank: str) -> None:
    for more in ((), ("ZZZ|a\\F\\b",)):
        found = convert("ADT^A01", PID, "PV1|1|I", f"PV2|{blank}^", *more)
        assert [r.get("name") for r in found.resources if r["resourceType"] == "Location"] in ([], [None])


def test_unknown_types_are_refused_with_a_reason_and_no_value() -> None:
    with pytest.raises(Unsupported) as refused:
        convert("XYZ^Q99", PID)
    assert "zq" not in str(refused.value).casefold()
    assert refused.value.at == "MSH-9"


def test_the_jurisdiction_chooses_the_extensions() -> None:
    person = PID + "||2106-3^White^CDCREC" + "|" * 9 + "123-45-6789"
    us = only(convert("ADT^A04", person), "Patient")
    ca = only(convert("ADT^A04", person, feed=Feed(jurisdiction="ca")), "Patient")
    assert us["identifier"][1]["system"] == "http://hl7.org/fhir/sid/us-ssn"
    assert us["identifier"][1]["value"] == "123456789"
    assert ca["identifier"][1]["type"]["coding"][0]["code"] == "SB"
    assert "us-core" not in str(ca)


def test_a_referral_leads_from_request_to_task() -> None:
    found = convert("REF^I12", "RF1|P|R|||| R-5^WEST", "PRD|RP||||||||| Harbour^^9", PID, "CON|1|ROI")
    request, task = only(found, "ServiceRequest"), only(found, "Task")
    assert (request["status"], task["status"]) == ("active", "requested")
    assert task["focus"]["reference"] == f"ServiceRequest/{request['id']}"
    assert request["supportingInfo"][0]["reference"].startswith("Consent/")
    accepted = only(convert("RRI^I12", "MSA|AA|1", "RF1|A|||||R-5^WEST", PID), "Task")
    assert (accepted["id"], accepted["status"]) == (task["id"], "accepted")


SEGMENTS = st.sampled_from(
    "PID PD1 NK1 PV1 PV2 OBX AL1 DG1 IN1 MRG ORC OBR RF1 PRD SCH AIP TXA RXA ZZZ".split()  # noqa: SIM905
)
TEXT = st.text(alphabet='AZ019"^~&\\|.-+ \r', max_size=60)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(
        ["ADT^A01", "ADT^A40", "ADT^A17", "ORU^R01", "REF^I12", "SIU^S12", "MDM^T02", "VXU^V04", "DFT^P03"]
    ),
    st.lists(st.tuples(SEGMENTS, TEXT), max_size=8),
)
def test_no_text_makes_it_crash_and_both_ways_of_running_agree(event: str, said: list[tuple[str, str]]) -> None:
    try:
        parsed = message(event, *(f"{name}|{text}" for name, text in said))
        fast = converter().convert(parsed)
    except DoorwayError:
        return
    slow = converter(explain=True).convert(parsed)
    assert fast.bundle_bytes() == slow.bundle_bytes()
    assert fast.residue == slow.residue
    assert orjson.loads(fast.bundle_bytes())["type"] == "transaction"


@pytest.mark.parametrize("part", range(2, 11))
def test_no_part_of_an_insured_persons_number_is_lost(part: int) -> None:
    number = "^".join(["12345", *[""] * (part - 2), "20250102"])
    made = convert("ADT^A01", PID, PV1, f"IN1|1|P^Plan|9^^^PAYER|Zqpay{'|' * 45}{number}")
    told = made.bundle_bytes().decode() + "".join(left.text for left in made.residue)
    assert part == 3 or "20250102" in told or "2025-01-02" in told  # CX.3, a scheme, is ruled out by its row
