"""The REST core to the letter of R4: single resources."""

import base64
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.db.store import DbStore
from tests.adapters.http.conftest import World, world_over

PATIENT: dict[str, Any] = {"resourceType": "Patient", "name": [{"family": "Zq"}], "gender": "female"}


def test_create_read_update_delete_and_the_versions_between(world: World) -> None:
    made = world.ehr("POST", "/Patient", PATIENT)
    assert made.status_code == 201
    assert made.headers["etag"] == 'W/"1"'
    where = made.headers["location"]
    id_ = made.json()["id"]
    assert where == f"http://gateway.test/fhir/Patient/{id_}/_history/1"
    assert made.json()["meta"]["versionId"] == "1"

    read = world.ehr("GET", f"/Patient/{id_}")
    assert (read.status_code, read.content) == (200, made.content)
    assert "last-modified" in read.headers
    assert read.headers["content-type"] == "application/fhir+json;charset=utf-8"

    changed = world.ehr("PUT", f"/Patient/{id_}", {**PATIENT, "id": id_, "gender": "other"}, If_Match='W/"1"')
    assert (changed.status_code, changed.headers["etag"]) == (200, 'W/"2"')
    assert world.ehr("GET", f"/Patient/{id_}/_history/1").json()["gender"] == "female"
    assert world.ehr("GET", f"/Patient/{id_}/_history/2").json()["gender"] == "other"
    assert world.ehr("GET", f"/Patient/{id_}/_history/3").status_code == 404

    assert world.ehr("DELETE", f"/Patient/{id_}").status_code == 204
    assert world.ehr("DELETE", f"/Patient/{id_}").status_code == 204
    assert world.ehr("GET", f"/Patient/{id_}").status_code == 410
    assert world.ehr("GET", f"/Patient/{id_}/_history/2").status_code == 200
    assert world.ehr("GET", f"/Patient/{id_}/_history/3").status_code == 410
    history = world.ehr("GET", f"/Patient/{id_}/_history").json()
    assert [entry["request"]["method"] for entry in history["entry"]] == ["DELETE", "PUT", "POST"]
    assert history["total"] == 3
    again = world.ehr("PUT", f"/Patient/{id_}", {**PATIENT, "id": id_})
    assert (again.status_code, again.headers["etag"]) == (201, 'W/"4"')


def test_the_text_received_is_the_text_returned_to_the_last_digit(world: World) -> None:
    text = (
        '{ "resourceType" : "Observation","status":"final", "code":{"text":"\\u00e9 Zq"},\n'
        '"valueQuantity":{"value":0.10,"unit":"x"},"component":[{"code":{"text":"a"},"valueQuantity":{"value":1.00}}]}'
    )
    made = world.ehr("POST", "/Observation", text)
    assert made.status_code == 201, made.text
    for part in ('"value":0.10', '"value":1.00', '{"text":"\\u00e9 Zq"},\n', '{ "resourceType" : "Observation"'):
        assert part in made.text
    assert world.ehr("GET", f"/Observation/{made.json()['id']}").text == made.text


def test_an_update_can_create_under_the_callers_id(world: World) -> None:
    made = world.ehr("PUT", "/Patient/my-1", {**PATIENT, "id": "my-1"})
    assert made.status_code == 201
    id_ = made.json()["id"]
    assert made.headers["location"].endswith(f"/Patient/{id_}/_history/1")
    assert world.ehr("GET", "/Patient/my-1").json() == world.ehr("GET", f"/Patient/{id_}").json() == made.json()
    same = world.ehr("PUT", "/Patient/my-1", {**PATIENT, "id": "my-1"})
    assert (same.status_code, same.headers["etag"]) == (200, 'W/"1"')
    under = world.ehr("PUT", f"/Patient/{id_}", {**PATIENT, "id": id_, "gender": "other"})
    assert (under.status_code, under.headers["etag"]) == (200, 'W/"2"')
    patch = [{"op": "replace", "path": "/gender", "value": "male"}]
    patched = world.ehr("PATCH", "/Patient/my-1", patch, Content_Type="application/json-patch+json")
    assert (patched.status_code, patched.headers["etag"]) == (200, 'W/"3"')
    assert world.ehr("GET", "/Patient/my-1/_history").json()["total"] == 3
    assert world.ehr("GET", "/Patient/my-1/_history/1").json()["gender"] == "female"
    assert world.ehr("DELETE", "/Patient/my-1").status_code == 204
    assert world.ehr("GET", f"/Patient/{id_}").status_code == 410
    assert world.ehr("PUT", "/Patient/my-1", {**PATIENT, "id": "my-1"}).headers["etag"] == 'W/"5"'


def test_a_clients_own_ids_stand_for_themselves_in_references_searches_and_bundles(world: World) -> None:
    id_ = world.ehr("PUT", "/Patient/my-1", {**PATIENT, "id": "my-1"}).json()["id"]
    note = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}}
    made = world.ehr.create({**note, "subject": {"reference": "Patient/my-1"}})
    assert made["subject"]["reference"] == f"Patient/{id_}"
    for query in ("subject=Patient/my-1", "subject:Patient=my-1", f"patient={id_}"):
        assert world.ehr("GET", f"/Observation?{query}").json()["total"] == 1, query
    assert world.ehr("GET", "/Patient?_id=my-1,other").json()["total"] == 1
    assert world.ehr("GET", "/Patient/my-1/Observation").json()["total"] == 1
    assert world.ehr("GET", "/Patient/my-1/$everything").json()["total"] == 2
    entries = [
        {"resource": {**note, "id": "n", "subject": {"reference": "Patient/new"}},
         "request": {"method": "PUT", "url": "Observation/n"}},
        {"resource": {**PATIENT, "id": "new"}, "request": {"method": "PUT", "url": "Patient/new"}},
        {"resource": {**PATIENT, "id": "my-1", "active": True}, "request": {"method": "PUT", "url": "Patient/my-1"}},
    ]  # fmt: skip
    for status in ("201", "200"):
        answer = world.ehr("POST", "", {"resourceType": "Bundle", "type": "transaction", "entry": entries})
        said = [one["response"]["status"][:3] for one in answer.json()["entry"]]
        assert said == [status, status, "200"], answer.text
        first, second = (one["resource"] for one in answer.json()["entry"][:2])
        assert first["subject"]["reference"] == f"Patient/{second['id']}"
    twice = [*entries, {"request": {"method": "DELETE", "url": f"Patient/{id_}"}}]
    refused = world.ehr("POST", "", {"resourceType": "Bundle", "type": "transaction", "entry": twice})
    assert refused.status_code == 422  # one resource under two names


def test_the_ids_that_others_chose_are_free_to_choose_and_the_gateways_own_are_not(world: World) -> None:
    theirs = world.ehr("PUT", "/Patient/mrn-17", {**PATIENT, "id": "mrn-17"}).json()["id"]
    mine = world.other("PUT", "/Patient/mrn-17", {**PATIENT, "id": "mrn-17"})
    assert mine.status_code == world.other("PUT", "/Patient/mrn-18", {**PATIENT, "id": "mrn-18"}).status_code == 201
    assert mine.json()["id"] != theirs
    assert world.ehr("GET", "/Patient/mrn-17").json()["id"] == theirs
    said = {
        world.other("PUT", f"/Patient/{id_}", {**PATIENT, "id": id_}, X_Request_Id="x").content
        for id_ in (theirs, world.ehr.create(PATIENT)["id"], "00000000-0000-8000-8000-000000000000")
    }
    assert len(said) == 1
    assert b"no such resource" in said.pop()


def test_if_match_and_if_none_match_guard_writes_and_spare_reads(world: World) -> None:
    id_ = world.ehr.create(PATIENT)["id"]
    body = {**PATIENT, "id": id_, "active": True}
    assert world.ehr("PUT", f"/Patient/{id_}", body, If_Match='W/"7"').status_code == 412
    assert world.ehr("PUT", "/Patient/none", {**PATIENT, "id": "none"}, If_Match='W/"1"').status_code == 412
    assert world.ehr("PUT", f"/Patient/{id_}", body, If_None_Match="*").status_code == 412
    assert world.ehr("DELETE", f"/Patient/{id_}", If_Match='W/"7"').status_code == 412
    same = world.ehr("GET", f"/Patient/{id_}", If_None_Match='W/"1"')
    assert (same.status_code, same.content) == (304, b"")
    stamp = world.ehr("GET", f"/Patient/{id_}").headers["last-modified"]
    assert world.ehr("GET", f"/Patient/{id_}", If_Modified_Since=stamp).status_code == 304
    assert world.ehr("GET", f"/Patient/{id_}", If_None_Match='W/"9"').status_code == 200


def test_if_match_of_any_version_asks_that_there_is_one(world: World) -> None:
    id_ = world.ehr.create(PATIENT)["id"]
    assert world.ehr("PUT", f"/Patient/{id_}", {**PATIENT, "id": id_, "active": True}, If_Match="*").status_code == 200
    assert world.ehr("PUT", "/Patient/none", {**PATIENT, "id": "none"}, If_Match="*").status_code == 412
    assert world.ehr("PUT", "/Patient?identifier=urn:s|9", PATIENT, If_Match="*").status_code == 412
    assert world.ehr("DELETE", f"/Patient/{id_}", If_Match="*").status_code == 204
    assert world.ehr("PUT", f"/Patient/{id_}", {**PATIENT, "id": id_}, If_Match="*").status_code == 412


def test_conditional_create_update_patch_and_delete(world: World) -> None:
    body = {**PATIENT, "identifier": [{"system": "urn:s", "value": "1"}]}
    first = world.ehr("POST", "/Patient", body, If_None_Exist="identifier=urn:s|1")
    second = world.ehr("POST", "/Patient", body, If_None_Exist="identifier=urn:s|1")
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["id"] == first.json()["id"]
    changed = world.ehr("PUT", "/Patient?identifier=urn:s|1", {**body, "active": True})
    assert (changed.status_code, changed.json()["id"]) == (200, first.json()["id"])
    fresh = world.ehr(
        "PUT", "/Patient?identifier=urn:s|2", {**PATIENT, "identifier": [{"system": "urn:s", "value": "2"}]}
    )
    assert fresh.status_code == 201
    patch = [{"op": "add", "path": "/birthDate", "value": "1970-01-01"}]
    patched = world.ehr("PATCH", "/Patient?identifier=urn:s|2", patch, Content_Type="application/json-patch+json")
    assert patched.json()["birthDate"] == "1970-01-01"
    world.ehr.create(body)
    for method, sent in (("PUT", body), ("DELETE", None), ("PATCH", patch)):
        kind = "application/json-patch+json" if method == "PATCH" else "application/fhir+json"
        many = world.ehr(method, "/Patient?identifier=urn:s|1", sent, Content_Type=kind)
        assert many.status_code == 412, method
        assert many.json()["issue"][0]["code"] == "multiple-matches"
    assert world.ehr("POST", "/Patient", body, If_None_Exist="identifier=urn:s|1").status_code == 412
    assert world.ehr("DELETE", "/Patient?identifier=urn:s|2").status_code == 204
    assert world.ehr("GET", f"/Patient/{fresh.json()['id']}").status_code == 410
    assert world.ehr("DELETE", "/Patient?identifier=urn:s|2").status_code == 204
    for wrong in ("/Patient", "/Patient?_count=1", "/Patient?zq=1"):
        assert world.ehr("DELETE", wrong).status_code == 400, wrong


def test_patches_change_and_are_validated(world: World) -> None:
    id_ = world.ehr.create(PATIENT)["id"]
    json_patch = {"Content_Type": "application/json-patch+json"}
    done = world.ehr("PATCH", f"/Patient/{id_}", [{"op": "replace", "path": "/gender", "value": "male"}], **json_patch)
    assert (done.status_code, done.json()["gender"], done.headers["etag"]) == (200, "male", 'W/"2"')
    parameters = {
        "resourceType": "Parameters",
        "parameter": [
            {
                "name": "operation",
                "part": [
                    {"name": "type", "valueCode": "delete"},
                    {"name": "path", "valueString": "Patient.gender"},
                ],
            }
        ],
    }
    assert "gender" not in world.ehr("PATCH", f"/Patient/{id_}", parameters).json()
    wrong = world.ehr("PATCH", f"/Patient/{id_}", [{"op": "add", "path": "/zq", "value": 1}], **json_patch)
    assert wrong.status_code == 422
    assert (
        world.ehr(
            "PATCH", f"/Patient/{id_}", [{"op": "replace", "path": "/id", "value": "x"}], **json_patch
        ).status_code
        == 422
    )
    assert world.ehr("PATCH", "/Patient/none", [], **json_patch).status_code == 404
    assert world.ehr("PATCH", f"/Patient/{id_}", [], If_Match='W/"1"', **json_patch).status_code == 412


def test_prefer_says_what_comes_back(small: World) -> None:
    minimal = small.ehr("POST", "/Patient", PATIENT, Prefer="return=minimal")
    assert (minimal.status_code, minimal.content) == (201, b"")
    assert minimal.headers["location"]
    said = small.ehr("POST", "/Patient", PATIENT, Prefer="return=OperationOutcome")
    assert said.json()["resourceType"] == "OperationOutcome"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/Zq", 404),
        ("GET", "/patient", 404),
        ("GET", "/Patient/1/2/3/4/5", 404),
        ("GET", "/Patient/none", 404),
        ("POST", "/Patient/1", 405),
        ("PUT", "/metadata", 405),
        ("DELETE", "/Patient/1/_history/1", 405),
        ("GET", "/Patient?_format=turtle", 406),
        ("GET", "/Patient?zq=1", 400),
        ("GET", "/Patient?birthdate=zq", 400),
        ("GET", "/Patient/1/$zq", 400),
        ("GET", "/Patient?_cursor=zq", 400),
    ],
)
def test_what_is_wrong_with_an_address_is_said_as_the_specification_says(
    small: World, method: str, path: str, status: int
) -> None:
    answer = small.ehr(method, path)
    assert answer.status_code == status, answer.text
    assert answer.json()["resourceType"] == "OperationOutcome"
    assert "zq" not in answer.json()["issue"][0]["diagnostics"].casefold().replace("?zq", "")
    if status == 405:
        assert answer.headers["allow"]


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"{", "application/fhir+json", 400, "structure"),
        (b'{"resourceType":"Patient","id":"a","id":"b"}', "application/fhir+json", 400, "structure"),
        (b'{"resourceType":"Patient","multipleBirthInteger":NaN}', "application/fhir+json", 400, "structure"),
        (b'{"resourceType":"Patient","name":[{"family":"\\u0000"}]}', "application/fhir+json", 400, "structure"),
        (b'{"resourceType":"Patient","name":[{"family":"\xff"}]}', "application/fhir+json", 400, "structure"),
        (b'{"resourceType":"Observation"}', "application/fhir+json", 400, "structure"),
        (b'{"resourceType":"Patient","zq":1}', "application/fhir+json", 422, "structure"),
        (b'{"resourceType":"Patient","gender":"zq"}', "application/fhir+json", 422, "code-invalid"),
        (b'{"resourceType":"Patient","birthDate":"zq"}', "application/fhir+json", 422, "value"),
        (b"{}", "text/plain", 415, "not-supported"),
        (b"{}", "application/fhir+json; charset=utf-16", 415, "not-supported"),
        (b"{}", "application/fhir+json; fhirVersion=5.0", 415, "not-supported"),
        (b'<Patient xmlns="http://hl7.org/fhir"><zq/></Patient>', "application/fhir+xml", 422, "invalid"),
        (b'<!DOCTYPE x><Patient xmlns="http://hl7.org/fhir"/>', "application/fhir+xml", 400, "structure"),
    ],
)
def test_a_body_that_is_wrong_is_refused_with_the_right_status_and_without_its_values(
    small: World, body: bytes, kind: str, status: int, code: str
) -> None:
    answer = small.ehr("POST", "/Patient", body, Content_Type=kind)
    assert (answer.status_code, answer.json()["issue"][0]["code"]) == (status, code), answer.text
    assert "zq" not in answer.text.casefold().replace("patient.zq", "")


def test_a_refused_resource_names_the_element(small: World) -> None:
    answer = small.ehr("POST", "/Patient", {**PATIENT, "contact": [{"gender": "nope"}]})
    assert answer.status_code == 422
    assert answer.json()["issue"][0]["expression"] == ["Patient.contact[0].gender"]


def test_xml_goes_in_and_out(small: World) -> None:
    sent = (
        '<Observation xmlns="http://hl7.org/fhir"><status value="final"/><code><text value="Zq"/></code>'
        '<valueQuantity><value value="1.50"/></valueQuantity></Observation>'
    )
    made = small.ehr("POST", "/Observation", sent, Content_Type="application/fhir+xml", Accept="application/fhir+xml")
    assert made.status_code == 201, made.text
    assert made.headers["content-type"].startswith("application/fhir+xml")
    assert '<value value="1.50"/>' in made.text
    id_ = made.headers["location"].split("/")[-3]
    assert '"value":1.50' in small.ehr("GET", f"/Observation/{id_}").text
    assert small.ehr("GET", f"/Observation/{id_}?_format=xml").text == made.text
    assert "<issue>" in small.ehr("GET", "/Observation/none?_format=xml").text


def test_pretty_elements_and_summary_shape_a_read(small: World) -> None:
    id_ = small.ehr.create({**PATIENT, "birthDate": "1970-01-01"})["id"]
    assert "\n  " in small.ehr("GET", f"/Patient/{id_}?_pretty=true").text
    part = small.ehr("GET", f"/Patient/{id_}?_elements=birthDate").json()
    assert set(part) == {"resourceType", "id", "meta", "birthDate"}
    assert part["meta"]["tag"][0]["code"] == "SUBSETTED"
    language = {"communication": [{"language": {"text": "x"}}], "deceasedBoolean": True}
    id_ = small.ehr.create({**PATIENT, **language})["id"]
    short = {"resourceType", "id", "meta", "name", "gender", "deceasedBoolean"}
    assert set(small.ehr("GET", f"/Patient/{id_}?_summary=true").json()) == short
    found = small.ehr("GET", f"/Patient?_id={id_}&_summary=true").json()
    assert [set(entry["resource"]) for entry in found["entry"]] == [short]


def test_a_trailing_slash_head_and_request_ids_are_taken(small: World) -> None:
    id_ = small.ehr.create(PATIENT)["id"]
    assert small.ehr("GET", f"/Patient/{id_}/").status_code == 200
    head = small.ehr("HEAD", f"/Patient/{id_}", X_Request_Id="mine-1")
    assert (head.status_code, head.content, head.headers["x-request-id"]) == (200, b"", "mine-1")
    assert small.ehr("GET", f"/Patient/{id_}", X_Request_Id="bad id").headers["x-request-id"] != "bad id"
    posted = small.ehr("POST", "/", {"resourceType": "Bundle", "type": "batch", "entry": []})
    assert posted.status_code == 200


def test_cors_lets_browsers_see_the_headers_that_clients_need(small: World) -> None:
    asked = small.http.request("OPTIONS", "/fhir/Patient", headers={"Origin": "https://app.example"})
    assert asked.status_code == 204
    assert "If-Match" in asked.headers["access-control-allow-headers"]
    exposed = small.ehr("GET", "/Patient", Origin="https://app.example").headers["access-control-expose-headers"]
    assert {"ETag", "Location"} <= {name.strip() for name in exposed.split(",")}


def test_settings_bound_origins_requests_and_matches(sqlite_store: DbStore, tmp_path: Path) -> None:
    settings = {"http_cors_origins": "https://a.example https://b.example", "match_per_minute": 1}
    for small in world_over(sqlite_store, tmp_path, **settings):
        allowed = small.ehr("GET", "/Patient", Origin="https://b.example").headers
        assert (allowed["access-control-allow-origin"], allowed["vary"]) == ("https://b.example", "Origin")
        assert "access-control-allow-origin" not in small.ehr("GET", "/Patient", Origin="https://c.example").headers
        body = {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": PATIENT}]}
        first, second = (small.ehr("POST", "/Patient/$match", body) for _ in range(2))
        assert (first.status_code != 429, second.status_code, bool(second.headers["retry-after"])) == (True, 429, True)
    for small in world_over(sqlite_store, tmp_path, http_cors_origins=""):
        assert "vary" not in small.ehr("GET", "/Patient", Origin="https://b.example").headers


def test_nobody_is_let_in_without_a_token_and_no_body_is_read_before(small: World) -> None:
    for headers in ({}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer zq"}):
        answer = small.http.request("POST", "/fhir/Patient", content=b"{" * 100, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["connection"] == "close"
        assert answer.json()["issue"][0]["code"] == "login"
    assert small.http.get("/fhir/metadata").status_code == 200


def test_scopes_bound_what_a_client_may_do(small: World) -> None:
    id_ = small.ehr.create(PATIENT)["id"]
    reader = small.caller("reader", "system/Patient.r", organization="Organization/r")
    assert reader("POST", "/Patient", PATIENT).status_code == 403
    assert reader("GET", "/Patient?family=Zq").status_code == 403
    assert reader("GET", "/Observation/1").status_code == 403
    assert reader("DELETE", f"/Patient/{id_}").status_code == 403
    assert reader("GET", f"/Patient/{id_}").status_code == 404  # scope allows, consent does not


def test_what_is_hidden_looks_like_what_is_missing(world: World) -> None:
    id_ = world.ehr.create({**PATIENT, "identifier": [{"system": "urn:s", "value": "9"}]})["id"]
    gone = world.ehr.create(PATIENT)["id"]
    world.ehr("DELETE", f"/Patient/{gone}")
    sent = {**PATIENT, "identifier": [{"system": "urn:s", "value": "9"}]}
    for hidden, missing in ((id_, "none"), (gone, "none")):
        for method, path, body in (
            ("GET", "/Patient/{}", None),
            ("GET", "/Patient/{}/_history", None),
            ("GET", "/Patient/{}/_history/1", None),
            ("GET", "/Patient/{}/$everything", None),
            ("DELETE", "/Patient/{}", None),
        ):
            one = world.other(method, path.format(hidden), body, X_Request_Id="x")
            two = world.other(method, path.format(missing), body, X_Request_Id="x")
            assert (one.status_code, one.content) == (two.status_code, two.content), path
            assert {k: v for k, v in one.headers.items() if k != "date"} == {
                k: v for k, v in two.headers.items() if k != "date"
            }
    assert world.other("GET", "/Patient?family=Zq").json()["total"] == 0
    assert world.other("GET", "/Patient/_history").json().get("entry") is None
    assert world.other("POST", "/Patient", sent, If_None_Exist="identifier=urn:s|9").status_code == 201
    assert world.ehr("GET", f"/Patient/{id_}").status_code == 200


def test_every_access_and_refusal_is_in_the_audit_trail_before_it_is_answered(world: World) -> None:
    id_ = world.ehr.create(PATIENT)["id"]
    world.ehr("GET", f"/Patient/{id_}", X_Request_Id="read-1")
    world.other("GET", f"/Patient/{id_}", X_Request_Id="refused-1")
    world.ehr("GET", "/Patient?family=Zq")
    with world.store.reading() as reading:
        events = [record.event for record in reading.audit.records()]
    told = [(event["subtype"][0]["code"], event["outcome"]) for event in events]
    assert ("create", "0") in told
    assert ("read", "0") in told
    assert ("read", "4") in told
    assert ("search-type", "0") in told


def test_security_labels_of_the_sender_are_not_trusted_and_a_consent_keeps_its_patient(small: World) -> None:
    label = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "U"}
    made = small.ehr.create(
        {**PATIENT, "meta": {"security": [label], "versionId": "9", "lastUpdated": "2000-01-01T00:00:00Z"}}
    )
    assert label not in made["meta"].get("security", [])
    assert made["meta"]["versionId"] == "1"
    assert not made["meta"]["lastUpdated"].startswith("2000")
    consent = {
        "resourceType": "Consent",
        "status": "active",
        "scope": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]
        },
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "patient": {"reference": f"Patient/{made['id']}"},
        "policyRule": {"text": "x"},
    }
    id_ = small.ehr.create(consent)["id"]
    moved = small.ehr("PUT", f"/Consent/{id_}", {**consent, "id": id_, "patient": {"reference": "Patient/other"}})
    assert moved.status_code == 422
    assert moved.json()["issue"][0]["expression"] == ["Consent.patient"]


def test_conditions_that_cannot_be_meant_are_refused_and_dates_that_cannot_be_read_ignored(small: World) -> None:
    made = small.ehr.create({"resourceType": "Patient", "name": [{"family": "Zqedge"}]})
    again = {"resourceType": "Patient", "name": [{"family": "Zqedge"}]}
    for condition in ("", "?", "identifier=%FF"):
        assert small.ehr("POST", "/Patient", again, If_None_Exist=condition).status_code == 400, condition
    assert small.ehr("POST", "/Patient", again, If_None_Exist="Patient?name=Zqedge").status_code == 200
    read = small.ehr("GET", f"/Patient/{made['id']}", If_Modified_Since="zq")
    assert read.status_code == 200  # RFC 9110, 13.1.3
    for asked in ("_history?_at=2020", "Patient/_history?_sort=-x", "_history?nothing=1"):
        assert small.ehr("GET", f"/{asked}").status_code == 400, asked
    assert small.ehr("GET", "/Patient/_history?_totalMethod=count&_count=1").status_code == 200


def test_a_search_is_refused_where_it_cannot_be_meant(small: World) -> None:
    person = small.ehr.create({"resourceType": "Patient"})["id"]
    small.ehr.create({"resourceType": "Observation", "status": "final", "code": {"text": "x"},
                      "subject": {"reference": f"Patient/{person}"}})  # fmt: skip
    for asked in (
        "code:=1", "_include=Observation:subject:Encounter", "date=2017-01-01T00:00%2B25:00",
        "date=2017-01-01T00:00:75Z", "date=2017-01-01T00:00%2B00:75",
    ):  # fmt: skip
        assert small.ehr("GET", f"/Observation?{asked}").status_code == 400, asked
    assert small.ehr("GET", "/Observation?date=2016-12-31T23:59:60Z").status_code == 200  # a leap second
    assert len(small.ehr("GET", "/Observation?_include=*").json()["entry"]) == 2


def test_an_address_of_any_bytes_leaves_a_trail_that_can_be_read_as_xml(small: World) -> None:
    for path in ("/Patient/%00%01", "/Patient/" + "x" * 5000, "/Patient/%F0%9F%8F%A0"):
        assert small.ehr("GET", path).status_code == 404
    assert small.ehr("GET", "/AuditEvent?_format=xml").status_code == 200
    assert len(small.ehr("GET", "/AuditEvent").text) < 10_000


def test_what_xml_cannot_hold_is_refused_when_it_is_written(small: World) -> None:
    for letter in ("\u0001", "\ufffe", "\uffff"):
        answer = small.ehr("POST", "/Patient", {"resourceType": "Patient", "name": [{"family": f"Zq{letter}"}]})
        assert answer.status_code == 422
        assert answer.json()["issue"][0]["expression"] == ["Patient.name[0].family"]


def test_a_record_is_the_organizations_whichever_of_its_clients_made_it(world: World) -> None:
    id_ = world.ehr.create(
        {"resourceType": "Observation", "status": "final", "code": {"text": "zq"}}
        | {"subject": {"reference": "Patient/zq"}}
    )["id"]
    wards = world.caller("wards", "system/*.cruds")
    assert wards("GET", f"/Observation/{id_}").status_code == 200
    assert wards("GET", "/Observation?code:text=zq").json()["total"] == 1
    assert world.other("GET", f"/Observation/{id_}").status_code == 404
    moved = world.caller("ehr", "system/*.cruds", organization="Organization/moved")
    assert moved("GET", f"/Observation/{id_}").status_code == 404  # its name goes to others, its records do not
    assert moved("GET", "/Observation?code:text=zq").json()["total"] == 0
    assert wards("DELETE", f"/Observation/{id_}").status_code == 204


def test_a_binary_comes_and_goes_in_its_own_format(world: World) -> None:
    pdf = b"%PDF-1.7 zq \x00\xff"
    made = world.ehr("POST", "/Binary", pdf, Content_Type="application/pdf")
    assert made.status_code == 201, made.text
    id_ = made.json()["id"]
    assert made.json()["contentType"] == "application/pdf"
    assert base64.b64decode(made.json()["data"]) == pdf

    def got(accept: str, path: str = f"/Binary/{id_}") -> tuple[int, str]:
        answer = world.ehr("GET", path, Accept=accept)
        return answer.status_code, answer.headers["content-type"].partition(";")[0]

    content = world.ehr("GET", f"/Binary/{id_}", Accept="application/pdf, */*;q=0.1")
    assert (content.status_code, content.content, content.headers["etag"]) == (200, pdf, 'W/"1"')
    assert (content.headers["x-content-type-options"], content.headers["content-security-policy"]) == (
        "nosniff", "sandbox",
    )  # fmt: skip
    assert got("application/pdf", f"/Binary/{id_}/_history/1") == (200, "application/pdf")
    assert got("application/fhir+json") == got("*/*") == (200, "application/fhir+json")
    assert got("image/png, application/fhir+xml") == (200, "application/fhir+xml")
    assert got("image/png") == (406, "application/fhir+json")
    assert world.ehr("GET", f"/Binary/{id_}", Accept="application/pdf", If_None_Match='W/"1"').status_code == 304
    assert world.other("GET", f"/Binary/{id_}", Accept="application/pdf").status_code == 404
    changed = world.ehr("PUT", f"/Binary/{id_}", b"a,b", Content_Type="text/csv; header=present")
    assert (changed.status_code, changed.json()["meta"]["versionId"]) == (200, "2")
    assert world.ehr("GET", f"/Binary/{id_}", Accept="text/csv").content == b"a,b"
    assert world.ehr("POST", "/Binary", b"x", Content_Type="text/").status_code == 415
    assert world.ehr("POST", "/Patient", pdf, Content_Type="application/pdf").status_code == 415


def test_a_page_by_number_is_refused_and_not_answered_with_the_first(world: World) -> None:
    for asked in ("_page=2", "_offset=20", "_skip=20"):
        assert world.ehr("GET", f"/Patient?{asked}").status_code == 400
        assert world.ehr("GET", f"/Patient?{asked}", Prefer="handling=lenient").json()["entry"][-1]["search"] == {
            "mode": "outcome"
        }
    assert world.ehr("GET", "/Patient?_dc=17").status_code == 200
