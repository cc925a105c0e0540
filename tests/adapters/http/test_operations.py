"""Operations: bulk export, matching, terminology, and the statement that lists them."""

from pathlib import Path
from typing import Any

import orjson

from gateway.exchange.ports.store import Store
from tests.adapters.http.conftest import World, world_over
from tests.adapters.http.test_search import people

ASYNC = {"Prefer": "respond-async"}


def path_of(url: str) -> str:
    return url.removeprefix("http://gateway.test/fhir")


def lines(world: World, url: str) -> list[dict[str, Any]]:
    answer = world.ehr("GET", path_of(url))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/fhir+ndjson"
    return [orjson.loads(line) for line in answer.content.splitlines()]


def test_a_system_export_is_kicked_off_polled_downloaded_and_ended(world: World) -> None:
    ids = people(world, 3)
    world.ehr("POST", "/Patient", b'{\n"resourceType" : "Patient",\n"multipleBirthInteger": 2}')
    assert world.ehr("GET", "/$export").status_code == 400
    started = world.ehr("GET", "/$export", **ASYNC)
    assert started.status_code == 202
    job = path_of(started.headers["content-location"])
    assert len(job) < 1000  # proxies refuse long addresses
    manifest = world.ehr("GET", job).json()
    assert manifest["requiresAccessToken"] is True
    assert path_of(manifest["request"]) == "/$export"
    assert [one["type"] for one in manifest["output"]] == ["Patient"]
    found = lines(world, manifest["output"][0]["url"])
    assert {one["id"] for one in found} > set(ids)
    assert len(found) == 4
    assert world.other("GET", job).status_code == 404
    assert world.ehr("DELETE", job).status_code == 202
    assert world.ehr("GET", job).status_code == 404
    assert world.ehr("GET", path_of(manifest["output"][0]["url"])).status_code == 404


def test_an_export_holds_only_what_its_caller_may_see_when_it_is_downloaded(world: World) -> None:
    people(world, 2)
    job = path_of(world.other("GET", "/$export", **ASYNC).headers["content-location"])
    assert world.other("GET", job).json()["output"] == []
    mine = path_of(world.ehr("GET", "/Patient/$export?_type=Patient", **ASYNC).headers["content-location"])
    manifest = world.ehr("GET", mine).json()
    assert path_of(manifest["request"]) == "/Patient/$export?_type=Patient"
    url = manifest["output"][0]["url"]
    for one in lines(world, url)[:1]:
        world.ehr("DELETE", f"/Patient/{one['id']}")
    assert len(lines(world, url)) == 1


def test_a_group_export_walks_its_members_and_since_bounds_it(small: World) -> None:
    first, _second = people(small, 2)
    for owner in (first, first):
        small.ehr.create(
            {
                "resourceType": "Observation",
                "status": "final",
                "code": {"text": "x"},
                "subject": {"reference": f"Patient/{owner}"},
            }
        )
    group = small.ehr.create(
        {
            "resourceType": "Group",
            "type": "person",
            "actual": True,
            "member": [{"entity": {"reference": f"Patient/{first}"}}],
        }
    )["id"]
    started = small.ehr("GET", f"/Group/{group}/$export", **ASYNC)
    manifest = small.ehr("GET", path_of(started.headers["content-location"])).json()
    output = {one["type"]: one["url"] for one in manifest["output"]}
    assert [one["id"] for one in lines(small, output["Patient"])] == [first]
    assert len(lines(small, output["Observation"])) == 2
    late = small.ehr("GET", "/$export?_since=2999-01-01T00:00:00Z", **ASYNC)
    assert small.ehr("GET", path_of(late.headers["content-location"])).json()["output"] == []
    assert small.ehr("GET", "/Group/none/$export", **ASYNC).status_code == 404
    for wrong in ("_type=Zq", "_outputFormat=zip", "_zq=1"):
        assert small.ehr("GET", f"/$export?{wrong}", **ASYNC).status_code == 400, wrong
    assert small.ehr("GET", "/_export/zq").status_code == 404


def test_match_grades_whom_the_asker_may_see_and_refuses_fishing(world: World) -> None:
    person = {
        "resourceType": "Patient",
        "identifier": [{"system": "urn:mrn", "value": "77"}],
        "name": [{"family": "Zqlund", "given": ["Ada"]}],
        "birthDate": "1971-02-03",
        "telecom": [{"system": "phone", "value": "403-555-0199"}],
    }
    id_ = world.ehr.create(person)["id"]
    asked = {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": person}]}
    found = world.ehr("POST", "/Patient/$match", asked).json()
    assert [one["resource"]["id"] for one in found["entry"]] == [id_]
    assert found["entry"][0]["search"]["score"] > 0.5
    nobody = world.other("POST", "/Patient/$match", asked)
    assert (nobody.status_code, nobody.json()["total"]) == (200, 0)
    thin = {"resourceType": "Patient", "name": [{"family": "Zqlund"}]}
    assert world.ehr("POST", "/Patient/$match", thin).status_code == 422
    assert world.ehr("POST", "/Patient/$match").status_code == 400
    nobodys = world.other("GET", "/Patient/$ihe-pix?sourceIdentifier=urn:mrn|77")
    assert nobodys.status_code == 400  # a domain of which this asker sees no number (ITI-83, 2:3.83.4.2.2.3)
    assert world.ehr("GET", "/Patient/$ihe-pix?sourceIdentifier=urn:mrn|78").status_code == 404
    assert world.ehr("GET", "/Patient/$ihe-pix?sourceIdentifier=zq").status_code == 400
    assert world.ehr("GET", "/Patient/$ihe-pix?sourceIdentifier=urn:mrn|77").status_code == 200


def test_match_is_rationed(small: World) -> None:
    thin = {"resourceType": "Patient", "name": [{"family": "Zq"}]}
    answers = (small.ehr("POST", "/Patient/$match", thin) for _ in range(600))  # a slow machine is given more meanwhile
    last = next(answer for answer in answers if answer.status_code == 429)
    assert int(last.headers["retry-after"]) >= 1
    assert last.json()["issue"][0]["code"] == "throttled"
    assert small.ehr("GET", "/Patient").status_code == 200


def test_terminology_operations_answer_from_what_is_shipped(small: World) -> None:
    system = "https://doorway.example/fhir/CodeSystem/visibility-level"
    answer = small.ehr("GET", f"/CodeSystem/$validate-code?url={system}&code=L1")
    assert answer.status_code == 200, answer.text
    assert {"name": "result", "valueBoolean": True} in answer.json()["parameter"]
    assert small.ehr("GET", "/ValueSet/$expand?url=urn:none").status_code == 404


def test_the_statement_says_what_runs_and_fits_the_model(small: World) -> None:
    told = small.http.get("/fhir/metadata").json()
    resources = {one["type"]: one for one in told["rest"][0]["resource"]}
    assert {"Patient", "Task", "ServiceRequest", "Consent", "Subscription"} <= set(resources)
    assert {one["code"] for one in resources["AuditEvent"]["interaction"]} == {"read", "vread", "search-type"}
    joined = [name for one in resources.values() for name in one.get("searchRevInclude", ())]
    assert joined
    assert not any(name.startswith("AuditEvent:") for name in joined)  # the trail is not joined with records
    names = {one["name"] for one in resources["Patient"]["operation"]}
    assert {"everything", "match", "validate", "export"} <= names
    assert {one["name"] for one in told["rest"][0]["operation"]} == {"export"}
    codes = {one["name"] for one in resources["Task"]["searchParam"]}
    assert {"_id", "_lastUpdated", "code", "patient", "requester", "status", "focus", "owner"} <= codes
    assert "Task:focus" in resources["Task"]["searchInclude"]
    issues = small.ehr("POST", "/CapabilityStatement/$validate", told).json()["issue"]
    assert [one for one in issues if one["severity"] in ("error", "fatal")] == []
    assert small.http.get("/fhir/metadata?_format=xml").text.startswith("<?xml")


def test_every_declared_search_parameter_is_taken_under_strict_handling(small: World) -> None:
    told = small.http.get("/fhir/metadata").json()
    values = {
        "token": "a",
        "string": "a",
        "date": "2020",
        "reference": "Patient/1",
        "quantity": "1",
        "number": "1",
        "uri": "urn:a",
    }
    for resource in told["rest"][0]["resource"]:
        if resource["type"] not in ("Patient", "Task", "Consent", "ServiceRequest", "Observation"):
            continue
        for one in resource["searchParam"]:
            if one["type"] in values:
                path = f"/{resource['type']}?{one['name']}={values[one['type']]}"
                assert small.ehr("GET", path, Prefer="handling=strict").status_code == 200, path


def test_the_openapi_document_names_every_route(small: World) -> None:
    told = small.http.get("/openapi.json").json()
    assert {"/fhir/{type}/{id}", "/fhir/Patient/{id}/$everything", "/fhir/$export", "/fhir"} <= set(told["paths"])
    assert told["paths"]["/fhir/{type}"]["post"]["operationId"] == "type_POST"
    names = [one["operationId"] for path in told["paths"].values() for one in path.values()]
    assert len(names) == len(set(names))  # OpenAPI 3.1; clients are made of them
    assert told["paths"]["/fhir/Patient/{id}/$everything"]["get"]["operationId"] == "Patient_id_everything_GET"


def test_who_asks_for_too_many_people_is_refused_and_that_is_audited_and_counted(
    sqlite_store: Store, tmp_path: Path
) -> None:
    for small in world_over(sqlite_store, tmp_path, match_people_per_hour=2):
        answers = []
        for number in ("100200300", "100200301", "100200302", "100200300"):
            asked = {"resourceType": "Patient", "identifier": [{"system": "urn:zq", "value": number}]}
            answers.append(small.ehr("POST", "/Patient/$match", asked))
        assert [one.status_code for one in answers] == [200, 200, 429, 200]
        assert answers[2].headers["Retry-After"] == "900"
        assert answers[2].json()["issue"][0]["code"] == "throttled"
        refused = small.ehr("GET", "/Patient/$ihe-pix?sourceIdentifier=urn:zq|9")
        assert refused.status_code == 429
        with small.store.reading() as reading:
            events = [record.event for record in reading.audit.records(since_us=0)]
        assert sum("exhausted" in str(event) for event in events) == 2
        text = small.http.request("GET", "/metrics").text
        assert "doorway_match_refused_total 2" in text
        assert "doorway_match_alarms_total 1" in text


def test_parameters_that_are_none_are_refused_by_every_operation_with_their_place(small: World) -> None:
    told = small.http.get("/fhir/metadata").json()["rest"][0]
    paths = [f"/${one['name']}" for one in told["operation"]]
    for resource in told["resource"]:
        type_ = resource["type"]
        names = [
            one["name"] for one in resource.get("operation", ()) if one["name"] != "validate" or type_ == "Patient"
        ]
        paths += [f"/{type_}{place}/${name}" for name in names for place in ("", "/zq")]
    assert len(paths) > 30
    wrong: list[Any] = [
        "x",
        [None],
        [{"name": 5}],
        [{"name": "url", "valueCoding": "x"}],
        [{"name": "a", "resource": 5}],
    ]
    for path in paths:
        for one in wrong:
            answer = small.ehr("POST", path, {"resourceType": "Parameters", "parameter": one})
            assert answer.status_code in (400, 422), (path, one, answer.text)
    place = small.ehr("POST", "/Patient/$match", {"resourceType": "Parameters", "parameter": [{"name": 5}]}).json()
    assert place["issue"][0]["expression"][0].startswith("Parameters.parameter[0]")


def test_everything_does_not_pass_over_dates_of_care(small: World) -> None:
    (patient,) = people(small, 1)
    assert small.ehr("GET", f"/Patient/{patient}/$everything?start=2020").status_code == 400
    assert small.ehr(
        "POST", f"/Patient/{patient}/$everything", {"resourceType": "Parameters", "parameter": []}
    ).is_success
