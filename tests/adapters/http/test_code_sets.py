"""Searches by sets and hierarchies of codes, and what is told of a display and of a Subscription."""

from typing import Any

import pytest

from tests.adapters.http.conftest import World

LEVEL = "https://doorway.example/fhir/CodeSystem/visibility-level"
GENDER = "http://hl7.org/fhir/ValueSet/administrative-gender"
STATUS = "http://hl7.org/fhir/ValueSet/observation-status"


def observed(world: World, system: str, code: str) -> str:
    code_of = {"coding": [{"system": system, "code": code}]}
    made: str = world.ehr.create({"resourceType": "Observation", "status": "final", "code": code_of})["id"]
    return made


def ids(answer: Any) -> set[str]:
    assert answer.status_code == 200, answer.text
    return {one["resource"]["id"] for one in answer.json().get("entry", [])}


def test_a_token_is_in_a_set_or_not_in_it(world: World) -> None:
    level, other = observed(world, LEVEL, "L2"), observed(world, "urn:zq", "L2")
    assert ids(world.ehr("GET", f"/Observation?code:in={LEVEL}")) == {level}
    assert ids(world.ehr("GET", f"/Observation?code:not-in={LEVEL}")) == {other}
    assert ids(world.ehr("GET", f"/Observation?status:in={STATUS}")) == {level, other}  # a code without a system
    assert ids(world.ehr("GET", f"/Observation?status:not-in={STATUS}")) == set()
    woman = world.ehr.create({"resourceType": "Patient", "gender": "female", "name": [{"family": "Zqin"}]})["id"]
    assert ids(world.ehr("GET", f"/Patient?gender:in={GENDER}")) == {woman}
    page = world.ehr("GET", f"/Patient?gender:in={GENDER}").json()
    assert page["link"][0]["url"].endswith(f"gender:in={GENDER}")  # as it was asked


def test_a_token_is_above_or_below_a_code(small: World) -> None:
    confidentiality = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
    plain = observed(small, LEVEL, "L2")
    assert ids(small.ehr("GET", f"/Observation?code:below={LEVEL}|L2")) == {plain}
    assert ids(small.ehr("GET", f"/Observation?code:above={LEVEL}|L3")) == set()
    for asked in (f"code:below={confidentiality}-zq|X", "code:below=L2", "code:above=|L2"):
        assert small.ehr("GET", f"/Observation?{asked}").status_code == 400


@pytest.mark.parametrize("asked", ["code:in=urn:none", "code:not-in=ValueSet/1", "subject:Patient.gender:in=urn:none"])
def test_an_unknown_set_is_refused_by_the_name_of_the_parameter(small: World, asked: str) -> None:
    answer = small.ehr("GET", f"/Observation?{asked}")
    assert answer.status_code == 400
    issue = answer.json()["issue"][0]
    assert issue["expression"][0].endswith(asked.partition("=")[0].rpartition(".")[2])
    assert "urn:none" not in answer.text


def test_a_set_works_inside_chains_and_conditions(small: World) -> None:
    patient = small.ehr.create({"resourceType": "Patient", "gender": "other", "name": [{"family": "Zqin"}]})["id"]
    about = {"subject": {"reference": f"Patient/{patient}"}, "status": "final", "code": {"text": "x"}}
    seen = small.ehr.create({"resourceType": "Observation", **about})["id"]
    assert ids(small.ehr("GET", f"/Observation?subject:Patient.gender:in={GENDER}")) == {seen}
    assert ids(small.ehr("GET", f"/Patient?_has:Observation:patient:status:in={STATUS}")) == {patient}
    again = {"resourceType": "Patient", "gender": "male"}
    assert small.ehr("POST", "/Patient", again, If_None_Exist=f"gender:in={GENDER}").status_code == 200


def test_a_wrong_display_is_told_with_the_right_one(small: World) -> None:
    def said(display: str) -> dict[str, Any]:
        url = f"/CodeSystem/$validate-code?url={LEVEL}&code=L3&display={display}"
        parts = small.ehr("GET", url).json()["parameter"]
        return {one["name"]: next(v for k, v in one.items() if k.startswith("value")) for one in parts}

    assert said(" protected") == {"result": True, "display": "Protected"}
    wrong = said("Public")
    assert (wrong["result"], wrong["display"]) == (False, "Protected")
    assert "display" in wrong["message"]
    assert "Public" not in wrong["message"]


def test_a_subscription_tells_its_status_and_that_nothing_was_sent(small: World) -> None:
    made = small.ehr.create(
        {
            "resourceType": "Subscription",
            "status": "requested",
            "reason": "zq",
            "criteria": "Task?status=accepted",
            "channel": {"type": "rest-hook", "endpoint": "https://listener.example/zq"},
        }
    )["id"]
    for path in (f"/Subscription/{made}/$status", f"/Subscription/$status?id={made}", "/Subscription/$status"):
        told = small.ehr("GET", path).json()
        assert told["type"] == "searchset"
        (entry,) = told["entry"]
        parts = {one["name"]: one for one in entry["resource"]["parameter"]}
        assert parts["subscription"]["valueReference"] == {"reference": f"Subscription/{made}"}
        assert parts["status"]["valueCode"] == "requested"
        assert parts["events-since-subscription-start"]["valueString"] == "0"
        issues = small.ehr("POST", "/Parameters/$validate", entry["resource"]).json()["issue"]
        assert {one["severity"] for one in issues} <= {"information", "warning"}
    assert "entry" not in small.ehr("GET", "/Subscription/$status?status=active").json()
    assert small.other("GET", f"/Subscription/{made}/$status").status_code == 404
    assert small.ehr("GET", "/Subscription/$status?zq=1").status_code == 400
    assert small.ehr("GET", "/Questionnaire/1/$populate").json()["issue"][0]["code"] == "not-supported"
