"""Emergency access over HTTP: all of it or nothing, for a time, told and listed, and never over the law."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway import wiring
from gateway.commands.consent import consent as commands
from gateway.consent.law import HANDLING
from gateway.exchange.agreements import agree
from gateway.exchange.clients import issue, register
from gateway.exchange.emergencies import broken_glass
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.store import Store
from gateway.kernel.fhir import JsonObject
from tests.adapters.http.conftest import Caller, World, world_over
from tests.consent.build import consent, label, observation, purposes
from tests.support.audited import kept

ER = "urn:roles|emergency"
REASON = {"X_Doorway_Break_Glass_Reason": "unconscious, zq-free words"}
ZQ = {"resourceType": "Patient", "id": "p", "name": [{"family": "Zq"}]}


@pytest.fixture
def ward(sqlite_store: Store, tmp_path: Path) -> Iterator[World]:
    """A gateway whose settings let emergency registrations break the glass."""
    more: dict[str, Any] = {"break_glass_roles": [ER], "break_glass_minutes": 15}
    yield from world_over(sqlite_store, tmp_path, privacy_officer="Organization/officer", **more)


def put(store: Store, *resources: JsonObject, security: tuple[JsonObject, ...] = (label("N"),)) -> None:
    drafts = [Draft(one, labels=security) for one in resources]
    store.write(lambda unit: [unit.resources.put(one, now_us=1_700_000_000_000_000) for one in drafts])


def caller(world: World, name: str, *, roles: tuple[str, ...] = (ER,), purpose: str = "BTG", turn: int = 0,
           organization: str = "Organization/h") -> Caller:  # fmt: skip
    """A registered client with a token."""
    now, token = wiring.now_us(), f"token-{name}-{turn}"
    world.store.write(
        lambda unit: register(unit.clients, name, organization=organization, scopes=["system/*.cruds"], roles=roles,
                              purposes=[purpose], now_us=now)
    )  # fmt: skip
    world.store.write(lambda unit: agree(unit.resources, organization, since="2020-01-01", now_us=1))
    world.store.write(lambda unit: issue(unit.clients, name, token, now_us=now, lifetime_s=3600))
    return Caller(world.http, token)


def test_it_takes_purpose_role_and_reason(ward: World) -> None:
    put(ward.store, ZQ, observation())
    er = caller(ward, "er")
    assert er("GET", "/Observation/o").status_code == 404
    assert er("GET", "/Observation/o", **REASON).status_code == 200
    assert er("GET", "/Observation?subject=Patient/p", **REASON).json()["total"] == 1
    assert er("GET", "/Patient/p/$everything", **REASON).status_code == 200
    assert caller(ward, "desk", roles=())("GET", "/Observation/o", **REASON).status_code == 404
    assert caller(ward, "day", purpose="TREAT")("GET", "/Observation/o", **REASON).status_code == 404


READ_DOORS = (
    ("GET", "/Observation/o", None), ("GET", "/Observation/o/_history/1", None),
    ("GET", "/Observation/o/_history", None),
    ("GET", "/Observation?subject=Patient/p", None), ("GET", "/Patient/p/Observation", None),
    ("GET", "/Patient/p/$everything", None), ("GET", "/Patient?_id=p&_revinclude=Observation:subject", None),
    ("GET", "/Observation?subject:Patient.family=Zq", None), ("GET", "/Observation?_summary=data&_id=o", None),
    ("POST", "/Observation/_search", "subject=Patient/p"),
)  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body"), READ_DOORS)
def test_it_opens_every_door_for_looking(ward: World, method: str, path: str, body: str | None) -> None:
    put(ward.store, ZQ, observation())
    er, form = caller(ward, "er"), {"Content_Type": "application/x-www-form-urlencoded"} if body else {}
    closed, opened = (er(method, path, body, **form, **more) for more in ({}, REASON))
    assert '"resourceType":"Observation"' not in closed.text
    assert opened.status_code == 200
    assert '"resourceType":"Observation"' in opened.text
    with ward.store.reading() as reading:
        assert len(list(reading.resources.of_type("Communication"))) == 1  # the officer is told


def test_nobody_may_when_nothing_is_set(small: World) -> None:
    put(small.store, ZQ, observation())
    assert caller(small, "er")("GET", "/Observation/o", **REASON).status_code == 404


def test_it_looks_and_changes_and_exports_nothing(ward: World) -> None:
    put(ward.store, ZQ, observation())
    er = caller(ward, "er")
    with ward.store.reading() as reading:
        before = reading.resources.get("Observation", "o")
    er("PUT", "/Observation/o", observation(status="amended"), **REASON)
    er("DELETE", "/Observation/o", **REASON)
    with ward.store.reading() as reading:
        assert reading.resources.get("Observation", "o") == before
    start = er("GET", "/$export?_type=Observation", Prefer="respond-async", **REASON)
    job = er("GET", start.headers["content-location"].partition("/fhir")[2], **REASON)
    assert job.json()["output"] == []


@pytest.mark.parametrize("above", ["law", "denial by name"])
def test_it_stays_below_the_law_and_below_a_denial_of_it(ward: World, above: str) -> None:
    put(ward.store, ZQ)
    if above == "law":
        put(ward.store, observation(), security=(label("N"), {"system": HANDLING, "code": "VSP"}))
    else:
        put(ward.store, observation(), consent({"type": "deny", "purpose": purposes("BTG")}))
    assert caller(ward, "er")("GET", "/Observation/o", **REASON).status_code == 404


def test_the_time_runs_from_the_first_use_of_a_token(
    sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [datetime(2026, 6, 1, 12, tzinfo=UTC)]
    monkeypatch.setattr(wiring.http, "clock", lambda _settings: lambda: now[0])
    for world in world_over(sqlite_store, tmp_path, break_glass_roles=[ER], break_glass_minutes=15):
        put(world.store, ZQ, observation())
        er = caller(world, "er")
        now[0] += timedelta(minutes=30)  # the token lies unused
        assert er("GET", "/Observation/o", **REASON).status_code == 200
        now[0] += timedelta(minutes=14)
        assert er("GET", "/Observation/o", **REASON).status_code == 200
        now[0] += timedelta(minutes=2)
        assert er("GET", "/Observation/o", **REASON).status_code == 404
        assert er("GET", "/Observation?subject=Patient/p", **REASON).json()["total"] == 0
        again = caller(world, "er", turn=1)  # a new token for a new emergency
        assert again("GET", "/Observation/o", **REASON).status_code == 200


def test_it_is_told_once_and_listed_each_time(ward: World, tmp_path: Path) -> None:
    put(ward.store, ZQ, observation())
    er, officer = caller(ward, "er"), caller(ward, "po", purpose="TREAT", organization="Organization/officer")
    for _ in range(2):
        assert er("GET", "/Observation/o", **REASON).status_code == 200
    (told,) = [entry["resource"] for entry in officer("GET", "/Communication").json()["entry"]]
    assert told["recipient"] == [{"reference": "Organization/officer"}]
    assert "Patient/" not in str(told)
    assert ward.ehr("GET", "/Communication").json()["total"] == 0
    listed = list(broken_glass(kept(ward.store)))
    assert [(one.client, one.organization, one.patients) for one in listed] == [
        ("er", "Organization/h", ("Patient/p",))] * 2  # fmt: skip
    assert listed[0].reason == REASON["X_Doorway_Break_Glass_Reason"]
    marked = [event for event in kept(ward.store) if "BTG" in str(event.get("purposeOfEvent"))]
    assert len(marked) == 2


def test_the_review_list_ends_with_3_when_there_is_something(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'doorway.db'}"
    empty = CliRunner().invoke(commands, ["break-glass", "--database", url])
    assert (empty.exit_code, empty.stdout) == (0, "")
