"""Explaining consent over HTTP: a partner learns of what it sees, an officer of everything."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.exchange.ports.store import Store
from tests.adapters.http.conftest import World, world_over
from tests.adapters.http.test_break_glass import ZQ, caller, put
from tests.consent.build import actor, consent, label, observation

OFFICER = "urn:roles|officer"
HOSPITAL = consent({"type": "permit", "actor": [actor("Organization/h")], "securityLabel": [label("N")]})


@pytest.fixture
def office(sqlite_store: Store, tmp_path: Path) -> Iterator[World]:
    """A gateway with a privacy officer."""
    for world in world_over(sqlite_store, tmp_path, privacy_officer_roles=[OFFICER]):
        put(world.store, ZQ, observation(), HOSPITAL)
        yield world


def told(answer: Any) -> list[dict[str, Any]]:
    """The parts of each parameter by name; the last of one name."""
    assert answer.status_code == 200, answer.text
    return [
        {part["name"]: next(v for k, v in part.items() if k.startswith("value")) for part in one["part"]}
        for one in answer.json().get("parameter", ())
    ]


def test_a_partner_gets_what_it_sees_explained_and_cannot_notice_the_rest(office: World) -> None:
    path = "/Patient/p/$consent-explain"
    before = office.ehr("GET", path)
    found = {one["reference"]: one for one in told(before)}
    assert found["Observation/o"]["decision"] == "permit"
    assert found["Observation/o"]["because"].startswith("Consent/c/")
    put(office.store, observation("secret"), security=(label("R"), label("HIV")))
    put(office.store, HOSPITAL | {"id": "also"}, HOSPITAL | {"id": "zebra"}, security=(label("V"),))
    assert office.ehr("GET", path).content == before.content
    assert [office.other("GET", one).status_code for one in (path, path.replace("/p/", "/none/"))] == [404, 404]
    assert office.ehr("GET", f"{path}?organization=Organization/s").status_code == 403
    assert office.ehr("GET", "/Patient/p/$consent-what-if?revoke=Consent/c").status_code == 403


def test_an_officer_gets_refusals_and_any_organization(office: World) -> None:
    put(office.store, observation("secret"), security=(label("R"), label("HIV")))
    officer = caller(office, "po", roles=(OFFICER,), purpose="TREAT", organization="Organization/po")
    found = told(officer("GET", "/Patient/p/$consent-explain?organization=Organization/h"))
    assert {one["reference"]: one["decision"] for one in found if "Observation" in one["reference"]} == {
        "Observation/o": "permit", "Observation/secret": "deny"}  # fmt: skip
    changed = told(officer("GET", "/Patient/p/$consent-what-if?revoke=Consent/c"))
    (hospital,) = [one for one in changed if one["organization"] == "Organization/h"]
    assert (hospital["before"] > 0, hospital["after"]) == (True, 0)
    assert officer("GET", "/Patient/p/$consent-what-if").status_code == 400


def test_a_consent_is_linted_before_it_is_stored(office: World) -> None:
    found = told(office.ehr("POST", "/Consent/$consent-lint", HOSPITAL))
    assert "no-form" in {one["rule"] for one in found}
    assert office.ehr("POST", "/Consent/$consent-lint", ZQ).status_code == 400
    told(office.ehr("GET", "/Patient/p/$consent-lint"))
    assert office.other("GET", "/Patient/p/$consent-lint").status_code == 404


def test_the_account_holds_what_every_linked_record_told_and_what_names_nobody_itself(office: World) -> None:
    pair = [{"resourceType": "Patient", "id": one, "link": [{"other": {"reference": f"Patient/{other}"}}]}
            for one, other in (("p", "twin"), ("twin", "p"))]  # fmt: skip
    stray = {"resourceType": "Patient", "id": "stray", "link": [{"other": {"reference": "Patient/p"}}]}
    told_of = {"resourceType": "Provenance", "id": "v", "target": [{"reference": "Observation/o"}],
               "recorded": "2026-03-04T00:00:00Z", "agent": [{"who": {"display": "zq"}}]}  # fmt: skip
    put(office.store, *pair, stray, told_of, HOSPITAL | {"id": "t", "patient": {"reference": "Patient/twin"}})
    for path in ("/Observation/o", "/Provenance/v", "/Patient/twin", "/Observation?subject=Patient/p", "/Patient/none"):
        office.ehr("GET", path)
    officer = caller(office, "po", roles=(OFFICER,), purpose="TREAT", organization="Organization/po")
    for one, texts in (("p", 4), ("twin", 4), ("stray", 0)):  # a link that only the other holds makes nobody the same
        found = told(officer("GET", f"/Patient/{one}/$consent-account"))
        assert len(found) == texts, one
    kinds = [one["kind"] for one in told(officer("GET", "/Patient/p/$consent-account"))]
    assert kinds == ["Observation 1", "Provenance 1", "Patient 1", "Observation 1"]
    (first, *_) = told(officer("GET", "/Patient/p/$consent-account?language=fr"))
    assert first["organization"] == "Organization/h"
    assert first["text"].endswith("a vu : résultats (1); pour vous aider; selon votre accord du 2026-01-01")
    assert officer("GET", "/Patient/nobody/$consent-account").status_code == 404
    assert officer("GET", "/Patient/p/$consent-account?language=xx").status_code == 400
    assert office.ehr("GET", "/Patient/p/$consent-account").status_code == 403


def test_an_officer_sees_which_consents_end(office: World) -> None:
    soon = HOSPITAL | {
        "id": "soon",
        "provision": {"type": "permit", "period": {"end": (datetime.now(UTC) + timedelta(days=10)).date().isoformat()}},
    }
    put(office.store, soon)
    officer = caller(office, "po", roles=(OFFICER,), purpose="TREAT", organization="Organization/po")
    (ending,) = told(officer("GET", "/Consent/$consent-expiring"))
    assert (ending["consent"], ending["patient"], ending["days"] in (9, 10)) == ("Consent/soon", "Patient/p", True)
    assert told(officer("GET", "/Consent/$consent-expiring?within=3")) == []
    assert officer("GET", "/Consent/$consent-expiring?within=soon").status_code == 400
    assert office.ehr("GET", "/Consent/$consent-expiring").status_code == 403


def test_a_consent_of_r5_is_explained_weighed_and_linted(office: World) -> None:
    five = {
        "resourceType": "Consent", "id": "c", "status": "active", "subject": {"reference": "Patient/p"},
        "date": "2026-01-01", "decision": "deny", "grantee": [{"reference": "Organization/h"}],
        "provision": [{"actor": [actor("Organization/h")], "securityLabel": [label("N")]}],
    }  # fmt: skip
    put(office.store, five)
    found = {one["reference"]: one for one in told(office.ehr("GET", "/Patient/p/$consent-explain"))}
    assert found["Observation/o"]["because"].endswith("#provision[0]")
    officer = caller(office, "po", roles=(OFFICER,), purpose="TREAT", organization="Organization/po")
    draft = {"resourceType": "Parameters", "parameter": [{"name": "draft", "resource": five | {"decision": "permit"}}]}
    changed = told(officer("POST", "/Patient/p/$consent-what-if", draft))
    (hospital,) = [one for one in changed if one["organization"] == "Organization/h"]
    assert (hospital["before"] > 0, hospital["after"]) == (True, 0)
    notes = {one["rule"]: one["text"] for one in told(office.ehr("GET", "/Patient/p/$consent-lint"))}
    assert "R4 cannot hold" in notes["note"]


def test_the_capability_statement_names_them(office: World) -> None:
    said = office.ehr("GET", "/metadata").json()["rest"][0]["resource"]
    names = {operation["name"] for one in said if one["type"] == "Patient" for operation in one["operation"]}
    assert {"consent-explain", "consent-what-if", "consent-lint", "consent-account"} <= names
