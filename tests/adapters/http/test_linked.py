"""Linking shows nothing to a writer that it may not see: neither in the answer to a write nor in its own records."""

from typing import Any

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
