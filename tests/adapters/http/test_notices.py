"""What the law asks to travel with a disclosure travels with it, and tells of nothing else."""

from typing import Any

from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.store import Store
from gateway.kernel.fhir import ACT_CODE, JsonObject
from tests.adapters.http.conftest import World
from tests.consent.build import consent, label, labels, observation

SUD = consent({"type": "permit", "provision": [{"type": "permit", "securityLabel": labels("SUD")}]})
PART2 = (label("R"), label("42CFRPart2"), label("SUD"))
ZQ = {"resourceType": "Patient", "id": "p", "name": [{"family": "Zq"}]}
NO_REDISCLOSURE = {"system": ACT_CODE, "code": "NORDSCLCD"}


def put(store: Store, *resources: JsonObject, security: tuple[JsonObject, ...] = ()) -> None:
    drafts = [Draft(one, labels=security) for one in resources]
    store.write(lambda unit: [unit.resources.put(one, now_us=1_700_000_000_000_000) for one in drafts])


def bodies(answer: Any) -> list[JsonObject]:
    return [entry["resource"] for entry in answer.json().get("entry", ())]


def test_a_part_2_record_carries_label_and_notice_through_every_door(small: World) -> None:
    put(small.store, ZQ, SUD)
    put(small.store, observation(), security=PART2)
    put(small.store, observation("plain"), security=(label("N"),))
    read = small.ehr("GET", "/Observation/o")
    assert read.headers["x-doorway-notice"] == "42CFRPart2"
    assert read.json()["meta"]["security"][-1] == NO_REDISCLOSURE
    stored = small.store.write(lambda unit: unit.resources.get("Observation", "o"))
    assert stored is not None
    mark = b',{"system":"%s","code":"NORDSCLCD"}' % ACT_CODE.encode()
    assert read.content.replace(mark, b"") == stored.body
    assert small.ehr("GET", "/Observation/o/_history/1").headers["x-doorway-notice"] == "42CFRPart2"
    assert small.ehr("GET", "/Observation/o/_history").headers["x-doorway-notice"] == "42CFRPart2"
    found = small.ehr("GET", "/Observation?subject=Patient/p")
    notice = found.json()["entry"][-1]
    assert notice["search"] == {"mode": "outcome"}
    details = notice["resource"]["issue"][0]["details"]
    assert details["coding"][0]["code"] == "42CFRPart2"
    assert details["text"].startswith("42 CFR part 2 prohibits")
    assert found.json()["total"] == len(bodies(found)) - 1
    assert [one["meta"]["security"][-1] for one in bodies(found) if one.get("id") == "o"] == [NO_REDISCLOSURE]
    again = small.ehr("PUT", "/Observation/o", read.json())
    assert again.status_code in (200, 403)
    kept = small.store.write(lambda unit: unit.resources.get("Observation", "o"))
    assert kept is not None
    assert b"NORDSCLCD" not in kept.body


def test_a_notice_does_not_tell_of_a_hidden_record(small: World) -> None:
    put(small.store, ZQ, consent({"type": "permit"}))
    put(small.store, observation("plain"), security=(label("N"),))
    paths = ("/Observation/plain", "/Observation?subject=Patient/p", "/Patient/p/$everything")
    before = [small.ehr("GET", path) for path in paths]
    put(small.store, observation(), security=PART2)
    after = [small.ehr("GET", path) for path in paths]
    assert [one.status_code for one in before] == [200, 200, 200]
    assert [one.content for one in before] == [one.content for one in after]
    assert not any("x-doorway-notice" in one.headers for one in [*before, *after])


def test_whoever_wrote_it_gets_it_back_as_it_is(small: World) -> None:
    draft = Draft(observation(), source="ehr", labels=PART2)
    small.store.write(lambda unit: unit.resources.put(draft, now_us=1_700_000_000_000_000))
    own = small.ehr("GET", "/Observation/o")
    assert "x-doorway-notice" not in own.headers
    assert NO_REDISCLOSURE not in own.json()["meta"]["security"]
