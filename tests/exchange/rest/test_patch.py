"""JSON Patch and FHIRPath Patch: what the RFC and R4 say, on resources."""

from typing import Any

import orjson
import pytest

from gateway.adapters.files.data import read_data
from gateway.codecs import json_text
from gateway.exchange.rest.fhirpath_patch import fhirpath_patch
from gateway.exchange.rest.patch import json_patch
from gateway.kernel.errors import DoorwayError, Invalid, Malformed
from gateway.profiles.facts import Facts

READ = fhirpath_patch(Facts(read_data))
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p",
    "active": True,
    "name": [{"use": "official", "family": "Zq", "given": ["A", "B"]}, {"use": "usual", "given": ["C"]}],
    "telecom": [{"value": "1"}],
    "deceasedBoolean": False,
}


def patched(operations: list[dict[str, Any]]) -> dict[str, Any]:
    return json_patch(orjson.dumps(operations))(PATIENT)


def test_json_patch_adds_removes_replaces_moves_copies_and_tests() -> None:
    made = patched(
        [
            {"op": "test", "path": "/name/0/family", "value": "Zq"},
            {"op": "add", "path": "/name/0/given/1", "value": "X"},
            {"op": "add", "path": "/name/0/given/-", "value": "Y"},
            {"op": "remove", "path": "/telecom/0"},
            {"op": "replace", "path": "/active", "value": False},
            {"op": "move", "from": "/name/1/given/0", "path": "/name/0/given/0"},
            {"op": "copy", "from": "/name/0/family", "path": "/name/1/family"},
        ]
    )
    assert made["name"][0]["given"] == ["C", "A", "X", "B", "Y"]
    assert made["name"][1] == {"use": "usual", "family": "Zq"}
    assert made["active"] is False
    assert "telecom" not in made
    assert PATIENT["active"] is True


@pytest.mark.parametrize(
    ("operations", "kind"),
    [
        ([{"op": "test", "path": "/active", "value": 1}], Invalid),
        ([{"op": "remove", "path": "/zq"}], Invalid),
        ([{"op": "replace", "path": "/zq", "value": 1}], Invalid),
        ([{"op": "add", "path": "/name/7", "value": {}}], Invalid),
        ([{"op": "add", "path": "/name/01", "value": {}}], Invalid),
        ([{"op": "add", "path": "", "value": {}}], Invalid),
        ([{"op": "move", "from": "/name", "path": "/name/0"}], Invalid),
        ([{"op": "zq", "path": "/a"}], Malformed),
        ([{"op": "add", "path": "/a"}], Malformed),
        ([{"op": "add", "path": "a", "value": 1}], Malformed),
        (["zq"], Malformed),
        ({"zq": 1}, Malformed),
    ],
)
def test_a_json_patch_that_does_not_fit_is_refused_with_its_place(operations: Any, kind: type[DoorwayError]) -> None:
    with pytest.raises(kind) as refused:
        json_patch(orjson.dumps(operations))(PATIENT)
    assert "zq" not in str(refused.value)


def test_json_patch_keeps_the_digits_of_decimals() -> None:
    change = json_patch(b'[{"op":"add","path":"/valueQuantity","value":{"value":1.50}}]')
    assert b"1.50" in json_text.write(change({"resourceType": "Observation"}))


def operation(**parts: Any) -> dict[str, Any]:
    names = {"type": "valueCode", "path": "valueString", "name": "valueString"}
    made = []
    for name, value in parts.items():
        if name == "value":
            made.append({"name": "value", **value})
        else:
            made.append({"name": name, names.get(name, "valueInteger"): value})
    return {"name": "operation", "part": made}


def fhirpatched(*operations: dict[str, Any]) -> dict[str, Any]:
    return READ({"resourceType": "Parameters", "parameter": list(operations)})(PATIENT)


def test_fhirpath_patch_adds_to_lists_single_elements_and_choices() -> None:
    made = fhirpatched(
        operation(type="add", path="Patient", name="birthDate", value={"valueDate": "1970-01-01"}),
        operation(type="add", path="Patient.name[0]", name="given", value={"valueString": "Z"}),
        operation(type="add", path="Patient.name.where(use = 'usual')", name="family", value={"valueString": "Q"}),
        operation(type="replace", path="Patient.deceased", value={"valueDateTime": "2020-01-01"}),
        operation(type="add", path="Patient", name="contact", value={"part": [
            {"name": "name", "valueHumanName": {"text": "N"}}, {"name": "telecom", "valueContactPoint": {"value": "2"}},
        ]}),
    )  # fmt: skip
    assert made["birthDate"] == "1970-01-01"
    assert made["name"][0]["given"] == ["A", "B", "Z"]
    assert made["name"][1]["family"] == "Q"
    assert made["deceasedDateTime"] == "2020-01-01"
    assert "deceasedBoolean" not in made
    assert made["contact"] == [{"name": {"text": "N"}, "telecom": [{"value": "2"}]}]


def test_fhirpath_patch_inserts_moves_deletes_and_replaces_list_items() -> None:
    made = fhirpatched(
        operation(type="insert", path="Patient.name[0].given", index=0, value={"valueString": "0"}),
        operation(type="move", path="Patient.name[0].given", source=2, destination=0),
        operation(type="replace", path="Patient.name.last().given.first()", value={"valueString": "L"}),
        operation(type="delete", path="Patient.telecom[0]"),
        operation(type="delete", path="Patient.address"),
    )
    assert made["name"][0]["given"] == ["B", "0", "A"]
    assert made["name"][1]["given"] == ["L"]
    assert "telecom" not in made


@pytest.mark.parametrize(
    "wrong",
    [
        operation(type="add", path="Patient", name="active", value={"valueBoolean": True}),
        operation(type="add", path="Patient", name="zq", value={"valueBoolean": True}),
        operation(type="delete", path="Patient.name"),
        operation(type="replace", path="Patient.gender", value={"valueCode": "male"}),
        operation(type="replace", path="Patient.deceased", value={"valueQuantity": {"value": 1}}),
        operation(type="insert", path="Patient.name", index=9, value={"valueHumanName": {}}),
        operation(type="delete", path="Patient.name.zq()"),
        operation(type="delete", path="Patient.name.where(zq like 'a')"),
        operation(type="replace", path="Patient", value={"valueString": "x"}),
    ],
)
def test_a_fhirpath_patch_that_does_not_fit_is_refused_with_its_place(wrong: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refused:
        fhirpatched(wrong)
    assert refused.value.at == "Parameters.parameter[0]"


def test_a_patch_that_is_no_patch_is_malformed() -> None:
    for wrong in ({"resourceType": "Patient"}, {"resourceType": "Parameters", "parameter": [{"name": "x"}]}):
        with pytest.raises(Malformed):
            READ(wrong)
