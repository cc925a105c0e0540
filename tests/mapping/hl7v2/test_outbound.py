"""FHIR to v2 and back: what the tables list comes back as it went."""

from functools import cache
from pathlib import Path

import pytest

from gateway.adapters.files.data import list_data, read_data
from gateway.codecs.er7 import Message
from gateway.kernel.errors import Invalid, Unsupported
from gateway.kernel.fhir import Resource
from gateway.mapping.hl7v2.outbound import Envelope, Outbound, read_outbound, to_v2
from tests.mapping.hl7v2.build import PID, PV1, convert, converter, only

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "hl7v2"
TEXTS = {path: read_data(path) for path in list_data("mappings/hl7v2/outbound")}


@cache
def outbound() -> Outbound:
    return read_outbound(TEXTS, converter().tables)


def there_and_back(event: str, *resources: Resource) -> dict[str, Resource]:
    sent = to_v2(event, resources, Envelope("C1", "20250310093000-0500"), outbound())
    return {r["resourceType"]: r for r in converter().convert(Message.parse(sent)).resources}


@pytest.mark.parametrize(("event", "name"), [("REF^I12", "referral"), ("RRI^I12", "referral-answer")])
def test_a_referral_comes_back_as_it_went(event: str, name: str) -> None:
    first = converter().convert(Message.parse((EXAMPLES / name / "message.hl7").read_bytes()))
    before = {r["resourceType"]: r for r in first.resources}
    after = there_and_back(event, *first.resources)
    for kind in ("ServiceRequest", "Task", "Patient"):
        assert after[kind]["id"] == before[kind]["id"], kind
    for element in (
        "status",
        "priority",
        "category",
        "identifier",
        "authoredOn",
        "occurrencePeriod",
        "reasonCode",
        "note",
    ):
        plain = [_plain(r["ServiceRequest"].get(element)) for r in (before, after)]
        assert plain[0] == plain[1], element
    for element in ("status", "businessStatus", "focus", "for"):
        assert after["Task"].get(element) == before["Task"].get(element), element
    if "Consent" in before:
        assert after["Consent"]["id"] == before["Consent"]["id"]


def _plain(node: object) -> object:
    """Without the display of an authority, which a universal id does not carry."""
    if isinstance(node, dict):
        return {k: _plain(v) for k, v in node.items() if k != "assigner"}
    return [_plain(item) for item in node] if isinstance(node, list) else node


def test_an_admission_keeps_person_and_visit() -> None:
    first = convert("ADT^A04", PID, PV1 + "|" * 25 + "20250310091500-0500")
    after = there_and_back("ADT^A04", *first.resources)
    assert after["Patient"]["id"] == only(first, "Patient")["id"]
    assert after["Encounter"]["id"] == only(first, "Encounter")["id"]
    assert after["Encounter"]["period"] == only(first, "Encounter")["period"]
    assert after["Patient"]["birthDate"] == "1980-05-12"


def test_an_appointment_and_a_document_go_out() -> None:
    for event, name, kind in (("SIU^S12", "appointment", "Appointment"), ("MDM^T02", "document", "DocumentReference")):
        first = converter().convert(Message.parse((EXAMPLES / name / "message.hl7").read_bytes()))
        assert there_and_back(event, *first.resources)[kind]["id"] == only(first, kind)["id"]


def test_no_value_can_begin_a_segment() -> None:
    patient = {
        "resourceType": "Patient",
        "id": "1",
        "name": [{"family": "Zq\rOBX|1|ST|evil", "given": ["a^b~c\\d&e|f"]}],
    }
    sent = to_v2("ADT^A08", [patient], Envelope("C1", "2025"), outbound())
    message = Message.parse(sent)
    assert [s.id for s in message.segments] == ["MSH", "EVN", "PID"]
    assert message.get("PID-5.2") == "a^b~c\\d&e|f"


def test_what_consent_withholds_leaves_no_segment() -> None:
    first = converter().convert(Message.parse((EXAMPLES / "referral" / "message.hl7").read_bytes()))
    kept = [r for r in first.resources if r["resourceType"] not in ("Condition", "Observation", "Consent")]
    sent = to_v2("REF^I12", kept, Envelope("C1", "2025"), outbound())
    assert {s.id for s in Message.parse(sent).segments} == {"MSH", "RF1", "PRD", "PID", "NTE"}


def test_an_event_without_a_table_and_a_wrong_table_are_told() -> None:
    with pytest.raises(Unsupported):
        to_v2("ORU^R01", [], Envelope("1", "2025"), outbound())
    head = "segment,field,each,source,conversion,vocabulary,assignment,note\n"
    wrong = TEXTS | {"mappings/hl7v2/outbound/ADT_A01.csv": head + "PID,x,,Patient.id,,,,"}
    with pytest.raises(Invalid, match=r"ADT_A01.csv:2"):
        read_outbound(wrong, converter().tables)
