"""A referral with every part, and with any part missing, goes out and comes back segment by segment."""

import random
from typing import Any, Final

import pytest

from gateway.codecs.er7 import Message
from gateway.codecs.hl7_grammar import deviations
from gateway.kernel.fhir import DOORWAY, Resource
from gateway.mapping.hl7v2.outbound import Envelope, to_v2
from tests.mapping.hl7v2.build import PID, convert, converter, only
from tests.mapping.hl7v2.test_outbound import outbound

V2: Final = "http://terminology.hl7.org/CodeSystem/v2-"
EVENTS: Final = [f"{kind}^{n}" for kind in ("REF", "RRI") for n in ("I12", "I13", "I14", "I15")] + ["OMG^O19/NW"]


def coded(code: str, system: str, display: str = "") -> dict[str, Any]:
    return {"coding": [{"code": code, **({"display": display} if display else {}), "system": system}]}


def numbered(value: str, kind: str, system: str = "urn:oid:1.2.4") -> dict[str, Any]:
    return {"system": system, "value": value, "type": coded(kind, f"{V2}0203")}


def said(name: str, **value: Any) -> dict[str, Any]:
    return {"url": f"{DOORWAY}/StructureDefinition/{name}", **value}


def phone(number: str, use: str) -> dict[str, Any]:
    return {"system": "phone", "value": number, "use": use}


def observation(number: int, **more: Any) -> Resource:
    return {
        "resourceType": "Observation", "id": f"x{number}", "status": "final", "subject": {"reference": "Patient/1"},
        "code": coded(f"7180{number}-3", "http://loinc.org", "Housing"),
        "effectiveDateTime": "2026-01-02T09:00:00-05:00", **more,
    }  # fmt: skip


UCUM: Final = {"unit": "mg/dL", "code": "mg/dL", "system": "http://unitsofmeasure.org"}
OBSERVATIONS: Final[list[Resource]] = [
    observation(1, valueCodeableConcept=coded("LA30189-7", "http://loinc.org", "I have housing")),
    observation(2, valueString="zq in words"),
    observation(3, valueQuantity={"value": 12, **UCUM}, note=[{"text": "a note"}]),
    observation(4, valueRange={"low": {"value": 1, **UCUM}, "high": {"value": 2, **UCUM}}),
    observation(5, valueDateTime="2026-01-01"),
    observation(6, valueRatio={"numerator": {"value": 1}, "denominator": {"value": 128}}),
    observation(7, valueQuantity={"value": 5, "comparator": "<", **UCUM}, referenceRange=[{"text": "10-20"}]),
    observation(8, valuePeriod={"start": "2026-01-01", "end": "2026-02-01"}),
    observation(9, valueTime="10:30:00", method=coded("M1", "http://loinc.org")),
]
EVERY: Final[list[Resource]] = [
    {
        "resourceType": "Patient", "id": "1", "identifier": [numbered("4711", "MR", "urn:oid:1.2.3")],
        "name": [{"family": "Zqwalker", "given": ["Maria"]}], "birthDate": "1980-05-12", "gender": "female",
        "address": [{"line": ["2 Side"], "city": "Riverton", "use": "home"}],
        "telecom": [phone("(406)555-0999", "home"), phone("(406)555-1999", "mobile"), phone("(406)555-2999", "work")],
    },
    {
        "resourceType": "ServiceRequest", "id": "4", "status": "active", "intent": "order", "priority": "urgent",
        "subject": {"reference": "Patient/1"}, "encounter": {"reference": "Encounter/3"},
        "authoredOn": "2026-01-10T10:30:00-05:00", "requisition": numbered("G7", "PGN"),
        "identifier": [numbered("R7", "PLAC"), numbered("F7", "FILL", "urn:oid:1.2.5")],
        "code": coded("57133-1", "http://loinc.org", "Referral note"), "orderDetail": [{"text": "two rooms"}],
        "category": [coded("SOC", f"{V2}0281", "Social work")], "note": [{"text": "call first"}, {"text": "then come"}],
        "reasonCode": [coded("Z59.0", "http://hl7.org/fhir/sid/icd-10-cm"), {"text": "housing instability"}],
        "reasonReference": [{"reference": "Condition/8"}], "insurance": [{"reference": "Coverage/9"}],
        "occurrencePeriod": {"start": "2026-01-11", "end": "2026-04-10"},
        "requester": {"reference": "PractitionerRole/r1"}, "performer": [{"reference": "PractitionerRole/r2"}],
        "supportingInfo": [{"reference": "Consent/k"}, {"reference": "Observation/x1"}],
        "extension": [
            said("referral-disposition", valueCodeableConcept=coded("WR", f"{V2}0282")),
            said("referral-category", valueCodeableConcept=coded("O", f"{V2}0284")),
        ],
    },
    {
        "resourceType": "Task", "id": "5", "status": "accepted", "intent": "order", "for": {"reference": "Patient/1"},
        "focus": {"reference": "ServiceRequest/4"}, "businessStatus": coded("A", f"{V2}0283", "Accepted"),
        "lastModified": "2026-01-11T10:30:00-05:00", "statusReason": {"text": "a room is free"},
    },
    {
        "resourceType": "Practitioner", "id": "p1", "name": [{"family": "Zqdoc", "given": ["Ann"], "prefix": ["Dr"]}],
        "identifier": [numbered("1234567893", "NPI", "http://hl7.org/fhir/sid/us-npi")],
        "address": [{"line": ["1 Main"], "city": "Riverton", "use": "work"}],
    },
    {
        "resourceType": "PractitionerRole", "id": "r1", "code": [coded("RP", f"{V2}0286")],
        "practitioner": {"reference": "Practitioner/p1"}, "organization": {"reference": "Organization/o1"},
        "telecom": [phone("(406)555-0777", "work"), phone("(406)555-0778", "mobile")],
        "period": {"start": "2025-01-01", "end": "2026-12-31"},
    },
    {
        "resourceType": "PractitionerRole", "id": "r2", "code": [coded("RT", f"{V2}0286")],
        "organization": {"reference": "Organization/o2"}, "telecom": [phone("(406)555-0888", "work")],
    },
    *(
        {
            "resourceType": "Organization", "id": f"o{n}", "name": name,
            "identifier": [{"system": "urn:oid:1.2.9", "value": n}],
        }
        for n, name in (("1", "Riverton Hospital"), ("2", "Harbour Housing"), ("3", "Payer One"))
    ),
    {
        "resourceType": "Coverage", "id": "9", "status": "active", "beneficiary": {"reference": "Patient/1"},
        "type": coded("HMO", f"{V2}0072"), "payor": [{"reference": "Organization/o3"}],
        "period": {"start": "2026-01-01", "end": "2026-12-31"},
        "identifier": [{"system": "urn:oid:1.2.7", "value": "A77", "type": {"text": "authorization"}}],
    },
    {
        "resourceType": "Consent", "id": "k", "status": "active", "patient": {"reference": "Patient/1"},
        "category": [coded("ROI", "urn:oid:1.2.8")], "dateTime": "2025-03-01",
        "scope": coded("patient-privacy", "http://terminology.hl7.org/CodeSystem/consentscope"),
        "identifier": [{"system": "urn:oid:1.2.8", "value": "C-88"}],
        "provision": {"period": {"start": "2025-03-01", "end": "2027-03-01"}},
        "extension": [said("consent-form", valueString="FORM7"), said("consent-state", valueCode="A")],
    },
    {
        "resourceType": "Encounter", "id": "3", "status": "in-progress", "subject": {"reference": "Patient/1"},
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
        "identifier": [numbered("V1", "VN", "urn:oid:1.2.3")], "period": {"start": "2026-01-05T10:00:00-05:00"},
    },
    {
        "resourceType": "Condition", "id": "8", "subject": {"reference": "Patient/1"}, "onsetDateTime": "2025-11-01",
        "code": coded("Z59.01", "http://hl7.org/fhir/sid/icd-10-cm", "Sheltered homelessness"),
    },
    *OBSERVATIONS,
]  # fmt: skip
NEEDED: Final = {"Patient", "ServiceRequest", "Task"}
KEPT: Final = {
    "resourceType", "id", "status", "intent", "subject", "patient", "beneficiary", "payor", "code", "focus", "for",
    "identifier", "requester", "performer", "class", "category", "name", "scope", "statusReason", "note",
}  # fmt: skip


def sent(event: str, resources: list[Resource]) -> bytes:
    return to_v2(event, resources, Envelope("C1", "20260110103000-0500"), outbound())


def segments(message: bytes) -> list[str]:
    return message.decode().split("\r")[1:]


def parts(seed: int) -> list[Resource]:
    """Some of the resources, with some of their elements."""
    rng = random.Random(seed)
    some = [one for one in EVERY if one["resourceType"] in NEEDED or rng.random() < 0.85]
    return [{k: v for k, v in one.items() if k in KEPT or rng.random() < 0.7} for one in some]


@pytest.mark.parametrize("event", EVENTS)
def test_every_segment_of_a_referral_comes_back_as_it_went(event: str) -> None:
    for seed in range(3):
        told = EVERY if seed == 0 else parts(seed)
        if event in {"REF^I14", "RRI^I14"}:  # it is told of what was called off, and heard as that
            told = [{**one, "status": "cancelled"} if one["resourceType"] == "Task" else one for one in told]
        first = sent(event, told)
        made = converter().convert(Message.parse(first))
        assert made.residue == ()
        again = segments(sent(event, list(made.resources)))
        for before, after in zip(segments(first), again, strict=False):
            if before.startswith("ORC"):  # a facility beside a doctor is a text: R4 has one requester
                before, after = ("|".join(one.split("|")[:21]).rstrip("|") for one in (before, after))
            if event.startswith("RRI") and before.startswith("NTE"):  # notes of request and answer are notes of one
                continue
            assert after == before


def test_what_a_referral_says_stands_in_its_segments() -> None:
    made = converter().convert(Message.parse(sent("REF^I12", EVERY)))
    request = next(r for r in made.resources if r["resourceType"] == "ServiceRequest")
    by_reference = {f"{r['resourceType']}/{r['id']}": r for r in made.resources}
    given = EVERY[1]
    for element in ("status", "priority", "authoredOn", "category", "occurrencePeriod", "reasonCode", "note", "code"):
        assert request[element] == given[element], element
    assert "basedOn" not in request, "RF1 and OBR tell of one request"
    assert {e["url"] for e in given["extension"]} <= {e["url"] for e in request["extension"]}
    role = by_reference[request["requester"]["reference"]]
    assert [t["value"] for t in role["telecom"]] == ["(406)555-0777", "(406)555-0778"]
    assert by_reference[role["organization"]["reference"]]["name"] == "Riverton Hospital"
    (patient,) = (r for r in made.resources if r["resourceType"] == "Patient")
    assert {t["value"] for t in patient["telecom"]} == {t["value"] for t in EVERY[0]["telecom"]}
    told = {r["code"]["coding"][0]["code"]: r for r in made.resources if r["resourceType"] == "Observation"}
    for one in OBSERVATIONS:
        name = next(key for key in one if key.startswith("value"))
        assert told[one["code"]["coding"][0]["code"]][name] == one[name], name
    mentioned = {one["reference"].split("/")[0] for one in request["supportingInfo"]}
    assert mentioned == {"Consent", "Observation"}
    kinds = {by_reference[request[e][0]["reference"]]["resourceType"] for e in ("insurance", "reasonReference")}
    assert kinds == {"Coverage", "Condition"}


def test_two_phones_and_two_numbers_of_a_provider_are_one_provider() -> None:
    made = convert(
        "REF^I12", "RF1|P|R|SOC|||R7^B",
        "PRD|RP|Zqdoc^Ann|||^WPN^PH^^^406^5550777~^PRS^CP^^^406^5550778||77^LIC~1234567893^NPI", PID,
    )  # fmt: skip
    role, doctor = only(made, "PractitionerRole"), only(made, "Practitioner")
    assert len(role["telecom"]) == 2
    assert {i["value"] for i in doctor["identifier"]} == {"77", "1234567893"}
    assert only(made, "ServiceRequest")["requester"]["reference"] == f"PractitionerRole/{role['id']}"


@pytest.mark.parametrize("event", EVENTS)
def test_a_whole_referral_keeps_the_structure_of_its_version(event: str) -> None:
    """What is sent ahead of 2.5.1: the organization of a provider (PRD-10) and the consent that a referral rests on."""
    found = {one.place.split("-")[0].split("[")[0] + "-" + one.place.partition("-")[2] for one in
             deviations(Message.parse(sent(event, EVERY)))}  # fmt: skip
    assert found <= {"PRD-10", "CON-", "CON-24", "CON-25"}


def test_the_answer_of_360x_keeps_the_structure_of_2_8() -> None:
    """2.8 knows it as OSU^O41, which answers and so has an MSA; 360X sends it in 2.5.1, unasked."""
    notice: Resource = {"resourceType": "Notice", "code": {"text": "notice"}, "text": "42 CFR part 2"}
    lines = sent("OSU^O51", [*EVERY, notice]).decode().split("\r")
    lines[0] = lines[0].replace("OSU^O51^OSU_O51", "OSU^O41^OSU_O41").replace("2.5.1", "2.8")
    message = Message.parse("\r".join([lines[0], "MSA|AA|1", *lines[1:]]).encode())
    assert [one.id for one in message.segments] == ["MSH", "MSA", "NTE", "PID", "ORC"]
    assert deviations(message) == []
    back = only(converter().convert(Message.parse(sent("OSU^O51", EVERY))), "Task")
    assert (back["status"], back["lastModified"]) == ("accepted", "2026-01-11T10:30:00-05:00")
    assert back["statusReason"] == {"text": "a room is free"}


def test_a_state_without_a_code_of_the_v2_table_is_not_told() -> None:
    asked = [{**one, "status": "requested"} if one["resourceType"] == "Task" else one for one in EVERY]
    assert Message.parse(sent("OSU^O51", asked)).get("ORC-5") is None
