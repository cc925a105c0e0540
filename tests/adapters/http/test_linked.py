"""Linking shows nothing to a writer that it may not see: neither in the answer to a write nor in its own records."""

from typing import Any
from urllib.parse import urlencode

from tests.adapters.http.conftest import World

PERSON: dict[str, Any] = {
    "resourceType": "Patient",
    "identifier": [{"system": "http://hl7.org/fhir/sid/us-ssn", "value": "219099999"}],
    "name": [{"family": "Zqlund", "given": ["Ada"]}],
    "birthDate": "1971-02-03",
    "gender": "female",
    "telecom": [{"system": "phone", "value": "403-555-0199"}],
    "address": [{"line": ["12 Elm St"], "city": "Calgary", "postalCode": "T2E 2P5"}],
}


def test_the_record_of_another_agency_does_not_show_through_a_link(small: World) -> None:
    theirs = small.other.create(PERSON)["id"]
    made = small.ehr("POST", "/Patient", PERSON)
    mine = made.json()["id"]
    for text in (
        made.text,
        small.ehr("GET", f"/Patient/{mine}").text,
        small.ehr("GET", f"/Patient/{mine}/_history").text,
        small.ehr("GET", f"/Patient/{mine}/$everything").text,
        small.ehr("GET", "/Patient?family=Zqlund").text,
        small.ehr("GET", "/Person").text,
        small.ehr("PUT", f"/Patient/{mine}", {**PERSON, "id": mine, "active": True}).text,
    ):
        assert theirs not in text
    assert mine not in small.other("GET", f"/Patient/{theirs}").text
    patch = [{"op": "replace", "path": "/active", "value": False}]
    patched = small.ehr("PATCH", f"/Patient/{mine}", patch, Content_Type="application/json-patch+json")
    assert (patched.status_code, theirs in patched.text) == (200, False)
    with small.store.reading() as reading:
        stored = reading.resources.get("Patient", mine)
        assert stored is not None
        assert theirs.encode() in stored.body  # the link itself survives writes of a sender who does not know of it


def test_the_version_that_a_write_answers_with_is_the_current_one(small: World) -> None:
    small.other.create(PERSON)
    made = small.ehr("POST", "/Patient", PERSON)
    id_ = made.json()["id"]
    etag = small.ehr("GET", f"/Patient/{id_}").headers["etag"]
    assert made.headers["etag"] == etag
    assert small.ehr("PUT", f"/Patient/{id_}", {**PERSON, "id": id_, "active": True}, If_Match=etag).status_code == 200


def test_what_was_written_under_a_number_that_was_merged_stays_in_the_one_file(small: World) -> None:
    other: dict[str, Any] = {**PERSON, "identifier": [{"system": "urn:zq:mrn", "value": "temporary"}]}
    kept, merged = small.ehr.create(PERSON)["id"], small.ehr.create(other)["id"]
    visit = {
        "resourceType": "Encounter", "status": "finished", "subject": {"reference": f"Patient/{merged}"},
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "EMER"},
    }  # fmt: skip
    seen = small.ehr.create(visit)["id"]
    into = {"other": {"reference": f"Patient/{kept}"}, "type": "replaced-by"}
    gone = {**other, "id": merged, "active": False, "link": [into]}
    assert small.ehr("PUT", f"/Patient/{merged}", gone).status_code == 200
    for patient in (kept, merged):
        found = small.ehr("GET", f"/Patient/{patient}/$everything").json()["entry"]
        assert {kept, merged, seen} <= {one["resource"]["id"] for one in found}
    asked = "urn:zq:mrn%7Ctemporary"
    answer = small.ehr("GET", f"/Patient/$ihe-pix?sourceIdentifier={asked}")
    assert "219099999" in answer.text


def pix(caller: Any, source: str, *targets: str) -> Any:
    query = urlencode([("sourceIdentifier", source), *(("targetSystem", one) for one in targets)])
    return caller("GET", f"/Patient/$ihe-pix?{query}")


def told(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    values = (one.get("valueIdentifier", one.get("valueReference")) for one in answer.json().get("parameter", ()))
    return [one.get("value") or one["reference"] for one in values]


def outcome(answer: Any) -> tuple[int, str, str]:
    (issue,) = answer.json()["issue"]
    return answer.status_code, issue["code"], issue["diagnostics"]


def two_linked(world: World) -> tuple[str, str]:
    """Two records of one person by two custodians, joined by a reviewer's merge; both are the caller's."""
    one = {**PERSON, "identifier": [{"system": "urn:zq:red", "value": "r1"}]}
    kept = world.ehr.create(one)["id"]
    into = {"other": {"reference": f"Patient/{kept}"}, "type": "replaced-by"}
    joined = world.ehr.create({**PERSON, "identifier": [{"system": "urn:zq:blue", "value": "b1"}]})["id"]
    gone = {**PERSON, "identifier": [{"system": "urn:zq:blue", "value": "b1"}], "id": joined, "link": [into]}
    assert world.ehr("PUT", f"/Patient/{joined}", {**gone, "active": False}).status_code == 200
    return kept, joined


def test_the_cross_reference_answers_each_failure_as_iti_83_words_it(world: World) -> None:
    red, blue = two_linked(world)
    assert told(pix(world.ehr, "urn:zq:blue|b1")) == ["r1", f"Patient/{red}"]
    assert told(pix(world.ehr, "urn:zq:red|r1", "urn:zq:blue")) == ["b1", f"Patient/{blue}"]
    unknown = (404, "not-found", "sourceIdentifier Patient Identifier not found")
    assert outcome(pix(world.ehr, "urn:zq:red|r2")) == unknown
    nowhere = (400, "code-invalid", "sourceIdentifier Assigning Authority not found")
    assert outcome(pix(world.ehr, "urn:zq:nowhere|r1")) == nowhere
    assert outcome(pix(world.other, "urn:zq:red|r1")) == nowhere  # as if nobody bore a number of that domain
    no_target = (403, "code-invalid", "targetSystem not found")
    assert outcome(pix(world.ehr, "urn:zq:red|r1", "urn:zq:blue", "urn:zq:nowhere")) == no_target
    assert pix(world.ehr, "urn:zq:red|r1&sourceIdentifier=urn:zq:red|r1").status_code == 404  # one value, encoded
    twice = world.ehr("GET", "/Patient/$ihe-pix?sourceIdentifier=urn:a%7C1&sourceIdentifier=urn:a%7C1")
    assert twice.status_code == 400


def test_a_patient_of_this_server_is_a_source_and_a_target_of_cross_references(small: World) -> None:
    red, blue = two_linked(small)
    base = small.ehr("GET", f"/Patient?_id={red}").json()["entry"][0]["fullUrl"].removesuffix(f"/Patient/{red}")
    assert set(told(pix(small.ehr, f"{base}|Patient/{red}"))) == {"r1", "b1", f"Patient/{blue}"}
    assert told(pix(small.ehr, "urn:zq:red|r1", base)) == [f"Patient/{blue}"]
    for nobody in ("Patient/zqnone", "Observation/1", red):
        assert pix(small.ehr, f"{base}|{nobody}").status_code == 404


def test_a_cross_reference_is_asked_for_by_post_with_an_identifier_that_no_log_of_addresses_shows(small: World) -> None:
    red, _ = two_linked(small)
    target = {"name": "targetSystem", "valueUri": "urn:zq:red"}

    def asked(**source: str) -> Any:
        parameters = [{"name": "sourceIdentifier", "valueIdentifier": source}, target]
        return small.ehr("POST", "/Patient/$ihe-pix", {"resourceType": "Parameters", "parameter": parameters})

    assert told(asked(system="urn:zq:blue", value="b1")) == ["r1", f"Patient/{red}"]
    assert asked(value="b1").status_code == 400
