"""Searching over HTTP: paging, handling, includes, POST, compartments, history and $everything."""

from typing import Any
from urllib.parse import urlsplit

from tests.adapters.http.conftest import Caller, World


def people(world: World, count: int) -> list[str]:
    return [
        world.ehr.create({"resourceType": "Patient", "name": [{"family": f"Zq{n % 2}"}], "birthDate": f"19{10 + n}"})[
            "id"
        ]
        for n in range(count)
    ]


def pages(caller: Caller, path: str) -> list[dict[str, Any]]:
    found = []
    while path:
        answer = caller("GET", path)
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
        url = next((one["url"] for one in found[-1].get("link", []) if one["relation"] == "next"), "")
        path = url.removeprefix("http://gateway.test/fhir")
    return found


def test_pages_follow_each_other_without_doubles_and_links_stand_by_themselves(world: World) -> None:
    ids = people(world, 7)
    seen = pages(world.ehr, "/Patient?_count=3&_sort=-birthdate")
    assert [len(page["entry"]) for page in seen] == [3, 3, 1]
    assert [one["resource"]["id"] for page in seen for one in page["entry"]] == ids[::-1]
    assert {page["total"] for page in seen} == {7}
    link = next(one["url"] for one in seen[0]["link"] if one["relation"] == "next")
    assert urlsplit(link).path == "/fhir/Patient"
    assert "_count=3" in link
    assert "_sort=-birthdate" in link
    assert world.other("GET", link.removeprefix("http://gateway.test/fhir")).status_code == 400


def test_handling_decides_about_unknown_parameters(small: World) -> None:
    people(small, 2)
    assert small.ehr("GET", "/Patient?_totalMethod=count&_count=0").json()["total"] == 2
    assert small.ehr("GET", "/Patient?_zz=1", Prefer="handling=strict").status_code == 400
    assert small.ehr("GET", "/Patient?zz=1").status_code == 400
    lenient = small.ehr("GET", "/Patient?zz=1", Prefer="handling=lenient").json()
    assert lenient["total"] == 2
    assert lenient["entry"][-1]["search"]["mode"] == "outcome"


def test_a_search_can_be_posted(small: World) -> None:
    people(small, 2)
    kind = "application/x-www-form-urlencoded"
    answer = small.ehr("POST", "/Patient/_search", "family=Zq1&_count=5", Content_Type=kind)
    assert answer.json()["total"] == 1
    assert small.ehr("POST", "/Patient/_search?family=Zq1", "", Content_Type=kind).json()["total"] == 1
    assert small.ehr("POST", "/Patient/_search", "{}", Content_Type="application/json").status_code == 415


def test_includes_summaries_and_elements(small: World) -> None:
    id_ = people(small, 1)[0]
    small.ehr.create(
        {
            "resourceType": "Observation",
            "status": "final",
            "code": {"text": "x"},
            "subject": {"reference": f"Patient/{id_}"},
        }
    )
    both = small.ehr("GET", "/Observation?_include=Observation:subject").json()
    assert [one["search"]["mode"] for one in both["entry"]] == ["match", "include"]
    count = small.ehr("GET", "/Observation?_summary=count").json()
    assert (count["total"], "entry" in count) == (1, False)
    part = small.ehr("GET", "/Patient?_elements=birthDate").json()["entry"][0]["resource"]
    assert "name" not in part
    owned = small.ehr("GET", f"/Patient/{id_}/Observation").json()
    assert owned["total"] == 1
    assert small.ehr("GET", f"/Patient/{id_}/Zq").status_code == 404


def test_everything_holds_the_patients_record_page_by_page(world: World) -> None:
    id_, other = people(world, 2)
    organization = world.ehr.create({"resourceType": "Organization", "name": "Zq"})["id"]
    for owner in (id_, id_, other):
        world.ehr.create(
            {
                "resourceType": "Observation",
                "status": "final",
                "code": {"text": "x"},
                "subject": {"reference": f"Patient/{owner}"},
                "performer": [{"reference": f"Organization/{organization}"}],
            }
        )
    whole = world.ehr("GET", f"/Patient/{id_}/$everything").json()
    assert whole["total"] == 4
    assert whole["entry"][0]["resource"]["id"] == id_
    types = sorted(one["resource"]["resourceType"] for one in whole["entry"])
    assert types == ["Observation", "Observation", "Organization", "Patient"]
    parts = pages(world.ehr, f"/Patient/{id_}/$everything?_count=3")
    assert [one["fullUrl"] for page in parts for one in page["entry"]] == [one["fullUrl"] for one in whole["entry"]]
    assert world.ehr("GET", f"/Patient/{id_}/$everything?_type=Observation").json()["total"] == 2
    assert world.ehr("GET", f"/Patient/{id_}/$everything?_since=2999-01-01T00:00:00Z").json()["total"] == 0
    assert world.ehr("POST", f"/Patient/{id_}/$everything").json()["total"] == 4
    assert world.ehr("GET", f"/Patient/{id_}/$everything?_since=zq").status_code == 400


def test_the_history_of_a_type_is_paged_newest_first(world: World) -> None:
    ids = people(world, 3)
    world.ehr("DELETE", f"/Patient/{ids[0]}")
    seen = pages(world.ehr, "/Patient/_history?_count=2")
    told = [(one["request"]["method"], one["fullUrl"].rpartition("/")[2]) for page in seen for one in page["entry"]]
    assert told == [("DELETE", ids[0]), ("POST", ids[2]), ("POST", ids[1]), ("POST", ids[0])]
    assert world.ehr("GET", f"/Patient/{ids[1]}/_history?_since=2999-01-01").json().get("entry") is None


def test_the_history_of_a_resource_tells_what_was_current_at_a_time(world: World) -> None:
    made = world.ehr.create({"resourceType": "Patient", "name": [{"family": "Zq"}], "gender": "male"})
    address = f"/Patient/{made['id']}"
    changed = world.ehr("PUT", address, {**made, "gender": "female"}).json()
    world.ehr("DELETE", address)
    again = world.ehr("PUT", address, {**made, "gender": "other"}).json()

    def told(query: str) -> list[tuple[str, str]]:
        answer = world.ehr("GET", f"{address}/_history{query}")
        assert answer.status_code == 200, answer.text
        return [
            (one["response"]["etag"][3:-1], one["response"]["status"][:3]) for one in answer.json().get("entry", [])
        ]

    whole = told("")
    assert whole == [("4", "201"), ("3", "204"), ("2", "200"), ("1", "201")]
    second, fourth = changed["meta"]["lastUpdated"], again["meta"]["lastUpdated"]
    assert ("2", "200") in told(f"?_at={second}")
    assert told("?_at=2999") == [("4", "201")]
    assert told("?_at=1999-02-03") == []
    assert told(f"?_at={fourth[:4]}") == whole
    assert told(f"?_at={fourth[:4]}&_since=2999-01-01") == []
    paged = pages(world.ehr, f"{address}/_history?_at={fourth[:4]}&_count=1")
    assert [one["response"]["etag"][3:-1] for page in paged for one in page["entry"]] == ["4", "3", "2", "1"]
    counted = world.ehr("GET", f"{address}/_history?_count=0").json()
    assert (counted["total"], "entry" in counted) == (4, False)
    assert "entry" not in world.ehr("GET", "/Patient/_history?_count=0").json()
    for refused in (f"{address}/_history?_at=soon", "/Patient/_history?_at=2026"):
        assert world.ehr("GET", refused).json()["issue"][0]["expression"] == ["_at"]


def test_search_constrained_scopes_bound_reads_and_searches(small: World) -> None:
    for code in ("a", "b"):
        small.ehr.create(
            {"resourceType": "Observation", "status": "final", "code": {"coding": [{"system": "urn:c", "code": code}]}}
        )
    bounded = Caller(small.http, small.caller("ehr", "system/Observation.rs?code=urn:c|a").token)
    found = bounded("GET", "/Observation").json()
    assert found["total"] == 1
    assert found["entry"][0]["resource"]["code"]["coding"][0]["code"] == "a"


def test_validate_says_what_a_create_would_say(small: World) -> None:
    good = {"resourceType": "Patient", "gender": "male"}
    assert small.ehr("POST", "/Patient/$validate", good).json()["issue"][0]["severity"] == "information"
    wrapped = {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": {**good, "gender": "zq"}}]}
    issue = small.ehr("POST", "/Patient/$validate", wrapped).json()["issue"][0]
    assert (issue["severity"], issue["expression"]) == ("error", ["Patient.gender"])
    id_ = small.ehr.create(good)["id"]
    assert small.ehr("GET", f"/Patient/{id_}/$validate").status_code == 200


def test_several_types_are_searched_at_once_a_page_at_a_time(world: World) -> None:
    ids = people(world, 3)
    made = [
        world.ehr.create({"resourceType": "Organization", "name": f"Zq{n}", "active": True})["id"] for n in range(3)
    ]
    every = {f"Patient/{one}" for one in ids} | {f"Organization/{one}" for one in made}
    for suffix in ("", "&_sort=-_lastUpdated", "&_sort=_id"):
        seen = pages(world.ehr, f"?_type=Patient,Organization&_count=2{suffix}")
        told = [f"{one['resource']['resourceType']}/{one['resource']['id']}" for p in seen for one in p["entry"]]
        assert every <= set(told)
        assert len(told) == len(set(told)) == seen[0]["total"]
    newest = pages(world.ehr, "?_type=Patient,Organization&_count=2&_sort=-_lastUpdated")[0]["entry"]
    assert [one["resource"]["id"] for one in newest] == [made[2], made[1]]
    found = world.ehr("GET", f"?_type=Patient,Organization&_id={ids[0]},{made[0]}").json()
    assert [one["resource"]["id"] for one in found["entry"]] == [made[0], ids[0]]
    assert world.ehr("GET", f"?_id={made[1]}").json()["total"] == 1
    kind = "application/x-www-form-urlencoded"
    assert world.ehr("POST", "/_search", f"_type=Patient&_id={ids[1]}", Content_Type=kind).json()["total"] == 1


def test_a_search_over_types_takes_only_what_each_of_them_declares(small: World) -> None:
    people(small, 2)
    assert small.ehr("GET", "?_type=Patient,Organization&birthdate=1910").status_code == 400
    assert small.ehr("GET", "?_type=Patient,Nothing").status_code == 400
    assert small.ehr("GET", "?_type=Patient&birthdate=1910").json()["total"] == 1
    narrow = small.caller("narrow", "system/Patient.crs")
    narrow.create({"resourceType": "Patient", "birthDate": "1990"})
    assert narrow("GET", "?_type=Patient,Organization").status_code == 403
    assert {one["resource"]["resourceType"] for one in narrow("GET", "?_count=50").json()["entry"]} == {"Patient"}


def test_another_organization_sees_no_more_in_a_search_or_history_of_the_system(world: World) -> None:
    ids = people(world, 2)
    assert world.other("GET", "?_type=Patient").json()["total"] == 0
    told = world.other("GET", "/_history?_count=100").json().get("entry", [])
    assert not {one["fullUrl"].rpartition("/")[2] for one in told} & set(ids)


def test_the_history_of_the_system_is_newest_first_and_goes_on_page_by_page(world: World) -> None:
    ids = people(world, 3)
    world.ehr("DELETE", f"/Patient/{ids[1]}")
    organization = world.ehr.create({"resourceType": "Organization", "name": "Zq", "active": True})
    world.ehr("PUT", f"/Organization/{organization['id']}", {**organization, "active": False})
    whole = world.ehr("GET", "/_history?_count=100").json()["entry"]
    told = [(one["request"]["method"], one["fullUrl"].rpartition("/")[2]) for one in whole]
    assert told[:3] == [("PUT", organization["id"]), ("POST", organization["id"]), ("DELETE", ids[1])]
    assert [one for one in told if one[1] in ids] == [("DELETE", ids[1]), *(("POST", one) for one in ids[::-1])]
    paged = pages(world.ehr, "/_history?_count=2")
    assert [one for page in paged for one in page["entry"]] == whole
    assert all("total" not in page for page in paged)
    since = whole[2]["response"]["lastModified"]
    recent = world.ehr("GET", f"/_history?_since={since}").json()["entry"]
    assert recent == [one for one in whole if one["response"]["lastModified"] >= since]
    assert world.ehr("DELETE", "/_history").status_code == 405
