"""Batch and transaction: one identity a Bundle, all or nothing, errors that name the entry."""

from typing import Any

import pytest

from tests.adapters.http.conftest import World

OBSERVATION: dict[str, Any] = {"resourceType": "Observation", "status": "final", "code": {"text": "x"}}


def entry(method: str, url: str, resource: Any = None, full: str = "", **more: str) -> dict[str, Any]:
    made: dict[str, Any] = {"request": {"method": method, "url": url, **more}}
    if resource is not None:
        made["resource"] = resource
    if full:
        made["fullUrl"] = full
    return made


def bundle(*entries: dict[str, Any], kind: str = "transaction") -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": kind, "entry": list(entries)}


def patient(value: str = "1", **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "name": [{"family": "Zq"}],
        "identifier": [{"system": "urn:s", "value": value}],
        **more,
    }


def test_a_transaction_resolves_links_between_its_entries_and_answers_in_order(world: World) -> None:
    first = "urn:uuid:11111111-1111-4111-8111-111111111111"
    answer = world.ehr(
        "POST",
        "",
        bundle(
            entry("GET", "Patient?identifier=urn:s|1"),
            entry(
                "POST",
                "Observation",
                {**OBSERVATION, "subject": {"reference": first}, "identifier": [{"value": first}]},
            ),
            entry("POST", "Patient", patient(), first),
            entry("PUT", "Patient/known", patient("2", id="known")),
        ),
    )
    assert answer.status_code == 200, answer.text
    made = answer.json()
    assert made["type"] == "transaction-response"
    assert [one["response"]["status"][:3] for one in made["entry"]] == ["200", "201", "201", "201"]
    assert made["entry"][0]["resource"]["total"] == 1
    observation, person = made["entry"][1]["resource"], made["entry"][2]["resource"]
    assert observation["subject"]["reference"] == f"Patient/{person['id']}"
    assert observation["identifier"] == [{"value": first}]
    assert made["entry"][2]["response"]["location"].endswith(f"/Patient/{person['id']}/_history/1")
    assert made["entry"][2]["response"]["etag"] == 'W/"1"'


def test_a_transaction_that_fails_leaves_nothing_and_names_every_entry_that_failed(world: World) -> None:
    answer = world.ehr(
        "POST",
        "",
        bundle(
            entry("POST", "Patient", patient("5")),
            entry("POST", "Patient", patient("6", gender="zq")),
            entry("POST", "Observation", {"resourceType": "Observation", "status": "final"}),
        ),
    )
    assert answer.status_code == 422, answer.text
    places = [issue["expression"][0] for issue in answer.json()["issue"] if issue["severity"] == "error"]
    assert places == ["Bundle.entry[1].resource.gender", "Bundle.entry[2].resource"], places
    assert world.ehr("GET", "/Patient?identifier=urn:s|5").json()["total"] == 0

    stale = world.ehr(
        "POST",
        "",
        bundle(
            entry("POST", "Patient", patient("5")),
            entry("PUT", "Patient/absent", patient("7", id="absent"), ifMatch='W/"3"'),
        ),
    )
    assert stale.status_code == 412
    assert stale.json()["issue"][0]["expression"][0].startswith("Bundle.entry[1]")
    assert world.ehr("GET", "/Patient?identifier=urn:s|5").json()["total"] == 0


def test_conditions_inside_a_transaction(world: World) -> None:
    known = world.ehr.create(patient("1"))
    full = "urn:uuid:22222222-2222-4222-8222-222222222222"
    answer = world.ehr(
        "POST",
        "",
        bundle(
            entry("POST", "Patient", patient("1"), full, ifNoneExist="identifier=urn:s|1"),
            entry("POST", "Observation", {**OBSERVATION, "subject": {"reference": full}}),
            entry("POST", "Observation", {**OBSERVATION, "subject": {"reference": "Patient?identifier=urn:s|1"}}),
            entry("PUT", "Patient?identifier=urn:s|8", patient("8")),
            entry("DELETE", "Patient?identifier=urn:s|none"),
        ),
    )
    assert answer.status_code == 200, answer.text
    entries = answer.json()["entry"]
    assert [one["response"]["status"][:3] for one in entries] == ["200", "201", "201", "201", "204"]
    assert {entries[1]["resource"]["subject"]["reference"], entries[2]["resource"]["subject"]["reference"]} == {
        f"Patient/{known['id']}"
    }
    missing = world.ehr(
        "POST",
        "",
        bundle(entry("POST", "Observation", {**OBSERVATION, "subject": {"reference": "Patient?identifier=zz"}})),
    )
    assert missing.status_code == 422
    assert world.ehr("GET", "/Observation").json()["total"] == 2


def test_two_entries_may_not_be_the_same_resource(small: World) -> None:
    same = bundle(entry("PUT", "Patient/a", patient("1", id="a")), entry("DELETE", "Patient/a"))
    answer = small.ehr("POST", "", same)
    assert answer.status_code == 422
    assert "entry[0]" in answer.json()["issue"][0]["diagnostics"]
    full = "urn:uuid:33333333-3333-4333-8333-333333333333"
    twice = bundle(entry("POST", "Patient", patient(), full), entry("POST", "Patient", patient(), full))
    assert small.ehr("POST", "", twice).status_code == 400


def test_a_batch_answers_each_entry_by_itself(world: World) -> None:
    answer = world.ehr(
        "POST",
        "",
        bundle(
            entry("POST", "Patient", patient("1")),
            entry("POST", "Patient", patient("2", gender="zq")),
            entry("GET", "Patient/none"),
            entry("GET", "Patient?identifier=urn:s|1"),
            entry("DELETE", "Patient/none"),
            entry("POST", "Zq", {}),
            entry("PATCH", "Patient/none", {"resourceType": "Parameters"}),
            kind="batch",
        ),
    )
    assert answer.status_code == 200, answer.text
    entries = answer.json()["entry"]
    assert [one["response"]["status"][:3] for one in entries] == ["201", "422", "404", "200", "204", "404", "404"]
    assert entries[1]["response"]["outcome"]["issue"][0]["expression"] == ["Bundle.entry[1].resource.gender"]
    assert entries[3]["resource"]["total"] == 1


def test_digits_survive_a_transaction_and_a_bundle_needs_a_type(small: World) -> None:
    text = (
        '{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Observation",'
        '"status":"final","code":{"text":"x"},"valueQuantity":{"value":2.50}},"request":{"method":"POST","url":"Observation"}}]}'
    )
    assert '"value":2.50' in small.ehr("POST", "", text).text
    assert small.ehr("POST", "", {"resourceType": "Bundle", "type": "collection"}).status_code == 400
    assert small.ehr("POST", "", {"resourceType": "Patient"}).status_code == 400
    minimal = small.ehr("POST", "", bundle(entry("POST", "Patient", patient())), Prefer="return=minimal").json()
    assert "resource" not in minimal["entry"][0]


def test_a_transaction_sees_only_what_its_sender_may_see(world: World) -> None:
    hidden = world.ehr.create(patient("1"))
    answer = world.other(
        "POST",
        "",
        bundle(
            entry("POST", "Patient", patient("1"), ifNoneExist="identifier=urn:s|1"),
            entry("DELETE", f"Patient/{hidden['id']}"),
        ),
    )
    assert [one["response"]["status"][:3] for one in answer.json()["entry"]] == ["201", "204"]
    assert world.ehr("GET", f"/Patient/{hidden['id']}").status_code == 200
    for method in ("PUT", "PATCH"):
        body = patient("1", id=hidden["id"]) if method == "PUT" else {"resourceType": "Parameters"}
        refused = world.other("POST", "", bundle(entry(method, f"Patient/{hidden['id']}", body)))
        assert refused.status_code == 400


def places(answer: Any) -> list[str]:
    """The expressions of the errors of a Bundle, of the whole or of its entries."""
    told = answer.json()
    outcomes = [told] if told["resourceType"] == "OperationOutcome" else [
        one["response"]["outcome"] for one in told["entry"] if "outcome" in one["response"]
    ]  # fmt: skip
    return [place for one in outcomes for issue in one["issue"] for place in issue["expression"]]


def test_an_error_of_an_entry_has_one_place_that_resolves_in_the_bundle(small: World) -> None:
    made = small.ehr.create(patient())
    known = f"Patient/{made['id']}"
    wrong = [
        (entry("GET", "Bogus"), "request.url"),
        (entry("GET", "Patient?bogus=1"), "request.url"),
        (entry("GET", f"{known}/Observation?bogus=1"), "request.url"),
        (entry("DELETE", "Patient"), "request.url"),
        (entry("PUT", known, patient(id="other")), "resource.id"),
        (entry("PUT", known, patient(id=made["id"]), ifMatch="zq"), "request.ifMatch"),
        (entry("PUT", known, patient(id=made["id"]), ifMatch='W/"9"'), "request.ifMatch"),
        (entry("POST", "Patient", patient(), ifNoneExist="bogus=1"), "request.url"),
        (entry("POST", "Patient", {"resourceType": "Patient", "gender": "zq"}), "resource.gender"),
        (entry("POST", "Patient", OBSERVATION), "resource"),
        (entry("PATCH", known, {"resourceType": "Parameters", "parameter": [{}]}), "resource.parameter[0]"),
    ]
    batch = small.ehr("POST", "", bundle(*(one for one, _ in wrong), kind="batch"))
    assert places(batch) == [f"Bundle.entry[{index}].{place}" for index, (_, place) in enumerate(wrong)]
    for one, place in wrong:
        found = places(small.ehr("POST", "", bundle(entry("GET", "Patient?_count=1"), one)))
        assert found == [f"Bundle.entry[1].{place}"], one["request"]


def test_a_search_that_cannot_be_read_undoes_the_transaction_that_holds_it(small: World) -> None:
    answer = small.ehr("POST", "", bundle(entry("POST", "Patient", patient("9")), entry("GET", "Patient?bogus=1")))
    assert answer.status_code == 400
    assert small.ehr("GET", "/Patient?identifier=urn:s|9").json()["total"] == 0


def test_a_compartment_and_everything_are_read_in_a_bundle(small: World) -> None:
    made = small.ehr.create(patient())["id"]
    seen = small.ehr.create({**OBSERVATION, "subject": {"reference": f"Patient/{made}"}})["id"]
    asked = [entry("GET", f"Patient/{made}/Observation?status=final"), entry("GET", f"Patient/{made}/$everything")]
    for kind in ("batch", "transaction"):
        inside, every = small.ehr("POST", "", bundle(*asked, kind=kind)).json()["entry"]
        assert [one["resource"]["id"] for one in inside["resource"]["entry"]] == [seen]
        assert {one["resource"]["id"] for one in every["resource"]["entry"]} == {made, seen}


def test_a_transaction_makes_one_resource_a_condition_and_no_link_that_leads_nowhere(small: World) -> None:
    twice = [entry("POST", "Patient", patient("8"), ifNoneExist="identifier=urn:s|8")] * 2
    assert places(small.ehr("POST", "", bundle(*twice))) == ["Bundle.entry[1].request.ifNoneExist"]
    lost = {**OBSERVATION, "subject": {"reference": "urn:uuid:11111111-1111-4111-8111-111111111111"}}
    assert places(small.ehr("POST", "", bundle(entry("POST", "Observation", lost)))) == ["Bundle.entry[0].resource"]
    odd = {**OBSERVATION, "subject": {"reference": "Patient?bogus=1"}}
    assert places(small.ehr("POST", "", bundle(entry("POST", "Observation", odd)))) == ["Bundle.entry[0].resource"]
    assert small.ehr("GET", "/Patient?identifier=urn:s|8").json()["total"] == 0


def test_what_is_asked_of_the_server_as_a_whole_is_answered_in_a_bundle(small: World) -> None:
    made = small.ehr.create(patient())["id"]
    base = small.ehr("GET", "/metadata").json()["implementation"]["url"]
    for kind in ("batch", "transaction"):
        asked = [
            entry("GET", "metadata"),
            entry("GET", "_history?_count=1"),
            entry("GET", f"{base}?_type=Patient&identifier=urn:s|1"),
        ]
        answers = small.ehr("POST", "", bundle(*asked, kind=kind)).json()["entry"]
        statement, history, found = (one["resource"] for one in answers)
        assert (statement["resourceType"], statement["fhirVersion"]) == ("CapabilityStatement", "4.0.1")
        assert (history["type"], len(history["entry"])) == ("history", 1)
        assert [one["resource"]["id"] for one in found["entry"]] == [made]
    wrong = [entry("POST", "metadata", patient()), entry("GET", "zq"), entry("DELETE", "_history")]
    refused = small.ehr("POST", "", bundle(*wrong, kind="batch")).json()["entry"]
    assert [one["response"]["status"][:3] for one in refused] == ["404", "404", "404"]
    assert (
        small.ehr("POST", "", bundle(entry("GET", ""), kind="batch")).json()["entry"][0]["response"]["status"] == "400"
    )
    guarded = bundle(entry("PUT", f"Patient/{made}", patient(id=made, active=True), ifMatch="*"))
    assert small.ehr("POST", "", guarded).status_code == 200
    unguarded = bundle(entry("PUT", f"Patient/{made}", patient(id=made), ifMatch=""))
    assert small.ehr("POST", "", unguarded).status_code == 400


def test_a_conditional_reference_finds_what_its_own_transaction_makes(world: World) -> None:
    def about(value: str) -> dict[str, Any]:
        return entry(
            "POST", "Observation", {**OBSERVATION, "subject": {"reference": f"Patient?identifier=urn:s|{value}"}}
        )

    def subjects(*entries: dict[str, Any]) -> list[Any]:
        answer = world.ehr("POST", "", bundle(*entries))
        made = answer.json()
        if answer.status_code != 200:
            return [answer.status_code, [one["expression"] for one in made["issue"]]]
        return [one["resource"].get("subject", {}).get("reference", one["resource"]["id"]) for one in made["entry"]]

    there = world.ehr("POST", "/Patient", patient("c0")).json()
    subject, person = subjects(about("c1"), entry("POST", "Patient", patient("c1")))
    assert subject == f"Patient/{person}"
    unless = entry("POST", "Patient", patient("c1"), ifNoneExist="identifier=urn:s|c1")
    assert subjects(about("c1"), unless) == [f"Patient/{person}", person]
    renamed = entry("PUT", f"Patient/{there['id']}", {**patient("c2"), "id": there["id"]})
    assert subjects(about("c2"), renamed) == [f"Patient/{there['id']}", there["id"]]
    back = entry("PUT", f"Patient/{there['id']}", {**patient("c0"), "id": there["id"]})
    assert subjects(about("c2"), back) == [422, [["Bundle.entry[0].resource"]]]
    assert subjects(about("c1"), entry("POST", "Patient", patient("c1"))) == [412, [["Bundle.entry[0].resource"]]]
    assert subjects(about("c0"), entry("DELETE", f"Patient/{there['id']}")) == [422, [["Bundle.entry[0].resource"]]]


def test_conditions_over_everything_in_a_large_bundle_are_bounded(
    small: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.exchange.rest.conditions.JUDGED_LIMIT", 200)
    people = [
        entry("POST", "Patient", patient(f"m{number}", name=[{"family": f"Zqm{number}"}])) for number in range(30)
    ]

    def sent(criteria: str) -> Any:
        about = [
            entry("POST", "Observation", {**OBSERVATION, "subject": {"reference": f"Patient?{criteria}m{number}"}})
            for number in range(30)
        ]
        return small.ehr("POST", "", bundle(*about, *people))

    refused = sent("family:exact=Zq")
    assert (refused.status_code, refused.json()["issue"][0]["code"]) == (413, "too-long")
    assert sent("identifier=urn:s|").status_code == 200  # an entry is read where its text has the number
