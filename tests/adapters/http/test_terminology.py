"""Terminology operations and $validate over HTTP: the routes reach the tables that ship."""

from tests.adapters.http.conftest import World

V2_SEX = "http://terminology.hl7.org/CodeSystem/v2-0001"
LEVEL = "https://doorway.example/fhir/CodeSystem/visibility-level"


def test_a_code_is_looked_up_validated_and_translated(world: World) -> None:
    found = world.ehr("GET", f"/CodeSystem/$lookup?system={LEVEL}&code=L3")
    assert found.status_code == 200
    assert {"name": "display", "valueString": "Protected"} in found.json()["parameter"]
    said = world.ehr("GET", f"/CodeSystem/$validate-code?url={LEVEL}&code=L9").json()
    assert said["parameter"][0] == {"name": "result", "valueBoolean": False}
    translated = world.ehr("GET", f"/ConceptMap/$translate?system={V2_SEX}&code=F").json()
    assert translated["parameter"][0] == {"name": "result", "valueBoolean": True}


def test_the_sets_that_r4_requires_are_there_without_a_package(small: World) -> None:
    url = "http://hl7.org/fhir/ValueSet/administrative-gender"
    told = small.ehr("GET", f"/ValueSet/$expand?url={url}").json()
    assert [one["code"] for one in told["expansion"]["contains"]] == ["female", "male", "other", "unknown"]
    assert small.ehr("POST", "/ValueSet/$validate", told).json()["issue"][0]["severity"] == "information"
    for code, wanted in (("male", True), ("M", False)):
        said = small.ehr("GET", f"/ValueSet/$validate-code?url={url}&code={code}").json()["parameter"][0]
        assert said == {"name": "result", "valueBoolean": wanted}
    assert small.ehr("GET", f"/ValueSet/$expand?url={url}|3.0.0").status_code == 404


def test_a_code_in_the_body_counts_too(world: World) -> None:
    body = {
        "resourceType": "Parameters",
        "parameter": [{"name": "coding", "valueCoding": {"system": LEVEL, "code": "L1"}}],
    }
    assert world.ehr("POST", "/CodeSystem/$lookup", body).status_code == 200


def test_an_unknown_code_or_set_is_not_found(world: World) -> None:
    assert world.ehr("GET", f"/CodeSystem/$lookup?system={LEVEL}&code=L9").status_code == 404
    assert world.ehr("GET", "/ValueSet/$expand?url=http://example.org/none").status_code == 404


def test_a_write_that_breaks_a_rule_names_the_element_and_quotes_nothing(world: World) -> None:
    patient = {"resourceType": "Patient", "name": [{"family": "Zqa"}], "birthDate": "31.12.1980", "contact": [{}]}
    answer = world.ehr("POST", "/Patient", patient)
    assert answer.status_code == 422
    places = {e for issue in answer.json()["issue"] for e in issue.get("expression", ())}
    assert places == {"Patient.birthDate", "Patient.contact[0]"}
    assert "31.12" not in answer.text
