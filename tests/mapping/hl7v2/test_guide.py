"""Rows of HL7's v2-to-FHIR tables: a field filled as there, and the element that the guide says."""

from typing import Any

import pytest

from tests.mapping.hl7v2.build import PID, PV1, convert

SYSTEMS = "http://terminology.hl7.org/CodeSystem/"
CORE = "http://hl7.org/fhir/StructureDefinition/"
EVENT = CORE + "businessEvent"
VISIT = "PV1|1|I|3W^1^A|||||||MED|||R||||||V1^^^WEST" + "|" * 6


def at(node: Any, path: str) -> Any:
    """The element at ``participant/0/type``; None when there is none."""
    for step in path.split("/"):
        if isinstance(node, list):
            node = node[int(step)] if int(step) < len(node) else None
        else:
            node = node.get(step) if isinstance(node, dict) else None
    return node


ROWS = [
    ("ADT^A01", VISIT, "Encounter", "serviceType/coding/0", {"system": SYSTEMS + "service-type", "code": "382"}),
    ("ADT^A01", VISIT, "Encounter", "serviceType/coding/1", {"system": SYSTEMS + "v2-0069", "code": "MED"}),
    ("ADT^A01", VISIT, "Encounter", "hospitalization/reAdmission/coding/0/system", SYSTEMS + "v2-0092"),
    ("ADT^A01", VISIT, "Encounter", "identifier/0/type/text", "visit number"),
    ("ADT^A01", "PV1|1|B|||||||||||||||||V1", "Encounter", "class/code", "B"),
    ("ADT^A01", "PV1|1|I|||||7^Zqdoc^^^^^MD", "Encounter", "participant/0/type/0/text", "attender"),
    ("ADT^A01", "PV1|1|I|||||7^Zqdoc^^^^^MD", "Practitioner", "qualification/0/code/coding/0/code", "MD"),
    ("ADT^A01", f"{PV1}\rPV2|2W^3^B", "Encounter", "location/1/status", "planned"),
    ("ADT^A01", f"{PV1}\rPV2|||||||||||4", "Encounter", "length/unit", "days"),
    ("ADT^A01", f"{PV1}\rPV2|||||||||||x", "Encounter", "length", None),
    ("ADT^A01", f"{PV1}\rPV2|||||||||||||8^Zqref", "Encounter", "participant/0/type/0/coding/0/code", "REF"),
    ("ADT^A01", "IN1|1|MCD|7|Payer|||||||Zqboss|||| HMO", "Coverage", "type/coding/0/code", "HMO"),
    ("ADT^A01", "IN1|1|MCD|7|Payer", "Coverage", "class/0/value", "MCD"),
    ("ADT^A01", "NK1|1|Zqkin" + "|" * 38 + "^PRN^PH^^^406^5551212", "RelatedPerson", "telecom/0/value",
     "406 5551212"),
    ("ORM^O01", "ORC|NW|1|||||||20250310\rOBR|1|1||X", "ServiceRequest", "authoredOn", "2025-03-10"),
    ("ORM^O01", "ORC|CA|1|||||||20250310\rOBR|1|1||X", "ServiceRequest", "authoredOn", None),
    ("ORM^O01", "ORC|CA|1||G9\rOBR|1|1||X", "ServiceRequest", "requisition/value", "G9"),
    ("ORM^O01", "ORC|NW|1\rOBR|1|1||X" + "|" * 25 + "77^LAB&88", "ServiceRequest", "basedOn/0/identifier/value", "77"),
    ("SIU^S12", "SCH|1" + "|" * 25 + "55^ORD", "Appointment", "basedOn/0/identifier/value", "55"),
    ("ORU^R01", "OBR|1|1||X\rOBX|1|ST|A||b" + "|" * 6 + "F" + "|" * 10 + "I7", "Observation",
     "identifier/0/type/coding/0/code", "FILL"),
    ("ORU^R01", "OBR|1|1||X\rOBX|1|SN|A||<^1^:^4|||||F", "Observation", "valueRatio/numerator/comparator", "<"),
]  # fmt: skip


@pytest.mark.parametrize(("event", "segments", "kind", "path", "expected"), ROWS)
def test_a_row_of_the_guide_is_followed(event: str, segments: str, kind: str, path: str, expected: Any) -> None:
    found = [r for r in convert(event, PID, *segments.split("\r")).resources if r["resourceType"] == kind]
    told = [at(resource, path) for resource in found]
    if isinstance(expected, dict):
        told = [{k: one[k] for k in expected} for one in told if one]
    assert expected in told


def test_a_code_that_its_table_does_not_hold_claims_no_system() -> None:
    found = convert("ADT^A01", PID, "PV1|1|I" + "|" * 8 + "ZQWARD" + "|" * 9 + "V1")
    (visit,) = [r for r in found.resources if r["resourceType"] == "Encounter"]
    assert visit["serviceType"]["coding"] == [{"code": "ZQWARD"}]


def test_an_order_event_says_its_code_and_its_time() -> None:
    found = convert("ORM^O01", PID, "ORC|CA|1|||||||20250310", "OBR|1|1||X")
    (order,) = [r for r in found.resources if r["resourceType"] == "ServiceRequest"]
    (event,) = [e for e in order["extension"] if e["url"] == EVENT]
    coded, when = event["extension"]
    assert coded["valueCodeableConcept"]["coding"] == [{"code": "CA", "system": SYSTEMS + "v2-0119"}]
    assert when["valueDateTime"] == "2025-03-10"


def test_what_is_observed_of_two_who_exchange_beds_belongs_to_each() -> None:
    other = PID.replace("4711", "4712").replace("Zqwalker", "Zqother")
    made = convert(
        "ADT^A17", PID, PV1, "OBX|1|NM|3141-9^Weight^LN||70|kg|||||F", other, PV1.replace("V1^", "V2^"),
        "OBX|1|NM|3141-9^Weight^LN||80|kg|||||F",
    )  # fmt: skip
    people = {r["id"]: r["identifier"][0]["value"] for r in made.resources if r["resourceType"] == "Patient"}
    told = {people[r["subject"]["reference"].split("/")[1]]: r["valueQuantity"]["value"] for r in made.resources
            if r["resourceType"] == "Observation"}  # fmt: skip
    assert (told, made.residue) == ({"4711": 70, "4712": 80}, ())
