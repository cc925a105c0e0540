"""Structure with nothing loaded: own resources pass, every seeded fault is found at the right element."""

from pathlib import Path

import orjson
import pytest

from gateway.adapters.files.data import read_data
from gateway.kernel.fhir import JsonObject
from gateway.profiles.issues import ERROR
from gateway.profiles.validate import Validator
from tests.profiles.faults import Seeded, seeded

LINES = (Path(__file__).parent / "vectors" / "valid.ndjson").read_bytes().splitlines()
VALID: list[JsonObject] = [orjson.loads(line) for line in LINES]
VALIDATOR = Validator(read_data)


def test_the_vectors_are_of_at_least_16_types() -> None:
    assert len({resource["resourceType"] for resource in VALID}) >= 16


@pytest.mark.parametrize("resource", VALID, ids=lambda r: str(r["resourceType"]))
def test_a_valid_resource_has_nothing_to_say(resource: JsonObject) -> None:
    assert VALIDATOR.validate(resource) == ()


@pytest.mark.parametrize(
    "fault",
    [f for r in VALID for f in seeded(r)],
    ids=lambda f: f"{f.resource['resourceType']}-{f.kind}-{f.expression}",
)
def test_a_seeded_fault_is_found_at_the_right_element(fault: Seeded) -> None:
    found = [issue for issue in VALIDATOR.validate(fault.resource) if issue.severity == ERROR]
    assert fault.expression in [issue.expression for issue in found], found


@pytest.mark.parametrize(
    ("literal", "wrong"),
    [
        ("Patient/p1", False),
        ("Patient/p1/_history/2", False),
        ("http://example.org/fhir/Patient/p1", False),
        ("urn:uuid:0c3a1b5e-5f9b-4d3e-9d55-6f1c2a3b4c5d", False),
        ("Patient?identifier=a|b", False),
        ("patient/p1", True),
        ("p1", True),
        ("Patient/", True),
        ("Patient/p 1", True),
        ("Group/g1", True),
        ("Nothing/g1", True),
    ],
)
def test_a_literal_reference_has_the_form_and_type_that_it_must(literal: str, wrong: bool) -> None:
    consent = next(r for r in VALID if r["resourceType"] == "Consent")
    found = VALIDATOR.validate({**consent, "patient": {"reference": literal}})
    assert {i.expression for i in found} == ({"Consent.patient"} if wrong else set())


def test_content_that_is_remembered_as_good_is_judged_again_wherever_that_matters() -> None:
    validator = Validator(read_data)
    good = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "code": "M"}]}
    wrong = {"coding": [{"system": "http://zq.example", "code": "M", "display": 3}]}
    extended = {**good, "extension": [{"url": "http://zq.example/x"}]}

    def faults(concept: JsonObject) -> list[str]:
        patient = {
            "resourceType": "Patient",
            "maritalStatus": concept,
            "contact": [{"gender": "male", "name": {"text": "Zq"}, "relationship": [concept]}],
        }
        return [issue.expression for issue in validator.validate(patient) if issue.severity == ERROR]

    for _ in range(2):
        assert [faults(good), faults({"coding": [{"code": "M"}]})] == [[], []]
        assert faults(wrong) == [
            "Patient.maritalStatus.coding[0].display", "Patient.contact[0].relationship[0].coding[0].display"
        ]  # fmt: skip
        assert len(faults(extended)) == 2
