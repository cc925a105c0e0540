"""The audit trail over the API: who sees which AuditEvents, and every way of asking for them."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from gateway import wiring
from gateway.exchange.agreements import agree
from gateway.exchange.clients import issue, register
from gateway.exchange.ports.store import Store
from gateway.exchange.rest import trail
from tests.adapters.http.conftest import Caller, World, world_over
from tests.adapters.http.test_search import people

ROLE = "https://doorway.example/fhir/CodeSystem/role|privacy-officer"


def officer_of(world: World) -> Caller:
    """A client of a third organization with the role."""
    now = wiring.now_us()

    def made(unit: Any) -> None:
        scopes = ["system/AuditEvent.rs", "system/Patient.rs"]
        register(unit.clients, "officer", organization="Organization/p", scopes=scopes, roles=[ROLE], now_us=now)
        agree(unit.resources, "Organization/p", since="2020-01-01", now_us=1)
        issue(unit.clients, "officer", "token-of-the-officer", now_us=now, lifetime_s=3600)

    world.store.write(made)
    return Caller(world.http, "token-of-the-officer")


@pytest.fixture
def watched(store: Store, tmp_path: Path) -> Any:
    """A gateway with a privacy officer."""
    yield from world_over(store, tmp_path, privacy_officer_roles=[ROLE])


@pytest.fixture
def guarded(sqlite_store: Store, tmp_path: Path) -> Any:
    """The same over SQLite only."""
    yield from world_over(sqlite_store, tmp_path, privacy_officer_roles=[ROLE])


def found(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return [one["resource"] for one in answer.json().get("entry", []) if one["search"]["mode"] == "match"]


def test_an_organization_sees_its_own_accesses_and_an_officer_all(watched: World) -> None:
    one, two = people(watched, 2)
    watched.ehr("GET", f"/Patient/{one}")
    watched.other("GET", f"/Patient/{one}")  # hidden from it: refused
    mine = found(watched.ehr("GET", f"/AuditEvent?patient=Patient/{one}"))
    assert [event["action"] for event in mine] == ["R", "C"]  # newest first; the refusal names no patient
    assert found(watched.ehr("GET", f"/AuditEvent?entity=Patient/{one}&action=R")) == mine[:1]
    assert found(watched.other("GET", f"/AuditEvent?patient={one}")) == []
    refused = found(watched.other("GET", "/AuditEvent?outcome=4"))
    assert [event["entity"][0]["description"] for event in refused] == [f"Patient/{one}"]
    officer = officer_of(watched)
    everybody = found(officer("GET", "/AuditEvent?agent=Organization/s"))
    assert {event["id"] for event in everybody} >= {event["id"] for event in refused}
    assert {event["action"] for event in found(officer("GET", f"/Patient/{two}/AuditEvent"))} == {"C"}
    assert all("detail" not in entity for event in mine for entity in event["entity"])
    told = found(officer("GET", f"/AuditEvent?patient=Patient/{one}&action=R"))[0]
    assert any("detail" in entity for entity in told["entity"])


def test_an_event_is_read_by_its_id_by_those_who_see_it(guarded: World) -> None:
    (one,) = people(guarded, 1)
    event = found(guarded.ehr("GET", f"/AuditEvent?patient={one}"))[0]
    again = guarded.ehr("GET", f"/AuditEvent/{event['id']}")
    assert again.json() == event
    assert again.headers["etag"] == 'W/"1"'
    assert guarded.ehr("GET", f"/AuditEvent/{event['id']}/_history/1").json() == event
    assert guarded.ehr("GET", f"/AuditEvent/{event['id']}", If_None_Match='W/"1"').status_code == 304
    assert found(guarded.ehr("GET", f"/AuditEvent?_id={event['id']}")) == [event]
    for id_ in (event["id"][:-1] + ("A" if event["id"][-1] != "A" else "B"), "1", "0-1", "x" * 64):
        assert guarded.ehr("GET", f"/AuditEvent/{id_}").status_code == 404
    assert guarded.other("GET", f"/AuditEvent/{event['id']}").status_code == 404
    assert guarded.ehr("POST", "/AuditEvent/$validate", event).json()["issue"][0]["severity"] == "information"


def test_a_look_at_the_trail_is_itself_on_record_and_an_officers_only_for_officers(guarded: World) -> None:
    (one,) = people(guarded, 1)
    officer = officer_of(guarded)
    officer("GET", f"/AuditEvent?patient={one}")
    asked = found(officer("GET", "/AuditEvent?agent=Organization/p&subtype=search-type"))
    assert any(entity.get("what", {}).get("reference") == f"Patient/{one}" for entity in asked[0]["entity"])
    colleague = guarded.caller("colleague", "system/*.rs", organization="Organization/p")
    assert found(colleague("GET", "/AuditEvent")) == []
    colleague("GET", "/AuditEvent?action=D")
    assert len(found(colleague("GET", "/AuditEvent"))) == 2  # its own looks


def test_pages_go_back_in_time_without_a_gap_or_a_double_while_others_write(watched: World) -> None:
    ids = people(watched, 7)
    first = watched.ehr("GET", "/AuditEvent?action=C&_count=3").json()
    assert "total" not in first
    seen = [one["resource"]["entity"][0]["what"]["reference"] for one in first["entry"]]
    people(watched, 2)
    page = first
    while following := [one["url"] for one in page["link"] if one["relation"] == "next"]:
        page = watched.ehr("GET", following[0].removeprefix("http://gateway.test/fhir")).json()
        seen += [one["resource"]["entity"][0]["what"]["reference"] for one in page.get("entry", [])]
    assert seen == [f"Patient/{id_}" for id_ in reversed(ids)]
    oldest = found(watched.ehr("GET", "/AuditEvent?action=C&_sort=date&_count=1"))
    assert oldest[0]["entity"][0]["what"]["reference"] == f"Patient/{ids[0]}"
    assert watched.ehr("GET", "/AuditEvent?action=C&_summary=count").json()["total"] == 9
    assert watched.ehr("GET", "/AuditEvent?action=C&_count=2&_total=accurate").json()["total"] == 9
    assert watched.other("GET", following_of(first)).status_code == 400  # another's cursor


def following_of(page: dict[str, Any]) -> str:
    url: str = next(one["url"] for one in page["link"] if one["relation"] == "next")
    return url.removeprefix("http://gateway.test/fhir")


def test_a_page_walks_a_bounded_part_and_goes_on_from_there(guarded: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = people(guarded, 1)
    for _ in range(12):
        guarded.ehr("GET", "/Task")
    monkeypatch.setattr(trail, "PAGE_COST", 5)
    page, pages = guarded.ehr("GET", f"/AuditEvent?patient={one}").json(), 1
    while not page.get("entry"):
        page, pages = guarded.ehr("GET", following_of(page)).json(), pages + 1
    assert pages > 2
    assert page["entry"][0]["resource"]["action"] == "C"


def test_how_much_others_do_moves_no_page(watched: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither another Organization's accesses nor a colleague's looks at the trail count for a page or a total."""
    (one,) = people(watched, 1)
    colleague = watched.caller("colleague", "system/*.rs")
    for _ in range(12):
        watched.other("GET", "/Patient?_count=1")
        colleague("GET", "/AuditEvent?action=D")
    monkeypatch.setattr(trail, "PAGE_COST", 11)
    monkeypatch.setattr(trail, "COUNT_RECORDS", 2)
    page = watched.ehr("GET", f"/AuditEvent?patient={one}").json()
    assert [entry["resource"]["action"] for entry in page["entry"]] == ["C"]
    assert [link["relation"] for link in page["link"]] == ["self"]
    assert watched.ehr("GET", "/AuditEvent?action=C&_total=accurate&_count=1").json()["total"] == 1


def test_dates_bound_the_walk_whatever_their_zone(watched: World) -> None:
    (one,) = people(watched, 1)
    event = found(watched.ehr("GET", f"/AuditEvent?patient={one}"))[0]
    at = quote(event["recorded"])
    for asked, wanted in (
        (f"date={at}", 1), (f"date=ge{at}", 1), (f"date=gt{at}", 0), (f"date=le{at}", 1), (f"date=lt{at}", 0),
        ("date=2001", 0), ("date=gt2001&date=lt2002", 0), ("date=ge2001-01-01T00:00:00-14:00", 1), (f"date=ne{at}", 0),
        ("_lastUpdated=gt2001", 1), ("date=2001,ge2002", 1), ("date:missing=true", 0), (f"date=ap{at}", 1),
    ):  # fmt: skip
        assert len(found(watched.ehr("GET", f"/AuditEvent?patient={one}&action=C&{asked}"))) == wanted, asked


def test_what_the_trail_cannot_answer_is_refused_with_its_place(small: World) -> None:
    for asked in (
        "patient.name=zq", "_include=AuditEvent:patient", "_has:Provenance:target:agent=x", "_sort=action", "nothing=1",
        "date=yesterday", "_revinclude=Provenance:target", "_cursor=abc", "action:above=R", "_sort=date,action",
    ):  # fmt: skip
        answer = small.ehr("GET", f"/AuditEvent?{asked}")
        assert answer.status_code == 400, asked
        assert answer.json()["issue"][0]["expression"], asked
    lenient = small.ehr("GET", "/AuditEvent?patient.name=zq&nothing=1", Prefer="handling=lenient").json()
    assert len(lenient["entry"][0]["resource"]["issue"]) == 2
    for asked in (
        "Patient?_revinclude=AuditEvent:patient", "Patient?_has:AuditEvent:patient:action=R", "?_type=AuditEvent",
        "AuditEvent/_history", "AuditEvent/1/_history",
    ):  # fmt: skip
        assert small.ehr("GET", f"/{asked}").status_code == 400, asked
    assert small.ehr("DELETE", "/AuditEvent/1").status_code == 403


def test_scopes_bound_what_is_seen_of_the_trail(guarded: World) -> None:
    one, two = people(guarded, 2)
    none = guarded.caller("none", "system/Patient.rs")
    assert none("GET", "/AuditEvent").status_code == 403
    assert none("GET", "/AuditEvent/1").status_code == 403
    bounded = guarded.caller("bounded", f"system/AuditEvent.rs?patient=Patient/{two}")
    assert {e["entity"][0]["what"]["reference"] for e in found(bounded("GET", "/AuditEvent"))} == {f"Patient/{two}"}
    event = found(guarded.ehr("GET", f"/AuditEvent?patient={one}"))[0]
    assert bounded("GET", f"/AuditEvent/{event['id']}").status_code == 404


def test_a_bundle_and_a_form_ask_for_events_as_an_address_does(small: World) -> None:
    (one,) = people(small, 1)
    event = found(small.ehr("GET", f"/AuditEvent?patient={one}"))[0]
    urls = [f"AuditEvent?patient={one}&action=C", f"AuditEvent/{event['id']}"]
    asked = [{"request": {"method": "GET", "url": url}} for url in urls]
    for kind in ("batch", "transaction"):
        told = small.ehr("POST", "", {"resourceType": "Bundle", "type": kind, "entry": asked}).json()["entry"]
        assert [one["resource"] for one in told[0]["resource"]["entry"][:1]] == [event]
        assert told[1]["resource"] == event
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    assert found(small.ehr("POST", "/AuditEvent/_search", f"patient={one}&action=C", **form)) == [event]
    assert "<AuditEvent" in small.ehr("GET", f"/AuditEvent/{event['id']}?_format=xml").text


def test_a_batch_sees_the_trail_as_it_was_before_it(watched: World) -> None:
    (one,) = people(watched, 1)
    watched.ehr("GET", f"/Patient/{one}")
    urls = [f"Patient/{one}", f"AuditEvent?patient=Patient/{one}&action=R"]
    batch = {
        "resourceType": "Bundle",
        "type": "batch",
        "entry": [{"request": {"method": "GET", "url": u}} for u in urls],
    }
    seen = watched.ehr("POST", "", batch).json()["entry"][1]["resource"]
    assert seen["total"] == 1
    assert len(found(watched.ehr("GET", f"/AuditEvent?patient=Patient/{one}&action=R"))) == 2
