"""From the commit of a flag on nothing shows what names the Organization, however long labelling its records takes."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import orjson
import pytest

from gateway import wiring
from gateway.adapters.labels import LabelService
from gateway.consent.request import AccessRequest
from gateway.exchange import organization_labels, relabel
from gateway.exchange.agreements import agree
from gateway.exchange.disclose import Gate
from gateway.exchange.organization_labels import VICTIM_SERVICE
from gateway.exchange.pending_labels import NOTHING, Pending, pending
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.store import Store, Unit
from gateway.exchange.relabel import Awaited, Step, settling
from gateway.exchange.save import Saver
from gateway.exchange.search import parse_query
from gateway.exchange.search_run import search
from gateway.kernel.fhir import JsonObject
from gateway.settings import Settings
from tests.consent.build import actor, consent, labels, purposes
from tests.exchange.test_organization_labels import agency, codes, referral

SETTINGS = Settings()
SAVER = wiring.saver(SETTINGS)
NAMING = wiring.organization_labels(SETTINGS).naming
KNOWLEDGE = wiring.consent_knowledge(SETTINGS)
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
CAREFUL, TRUSTED = "Organization/careful", "Organization/trusted"  # whom the person lets see less, and everything
FLAGGED = agency(meta={"tag": [{"code": VICTIM_SERVICE}]})
MANY = [f"r{number}" for number in range(5)]
WITHHELD, ALL = ["ServiceRequest/x"], sorted(["ServiceRequest/x", *(f"ServiceRequest/{one}" for one in MANY)])


@pytest.fixture(autouse=True)
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(organization_labels, "AT_ONCE", 2)
    monkeypatch.setattr(relabel, "_BATCH", 2)


def save(store: Store, *resources: JsonObject, at: int) -> None:
    store.write(lambda unit: SAVER.save(unit, [Draft(one, source="hmis") for one in resources], now_us=at))


def filled(store: Store) -> None:
    for number, one in enumerate((CAREFUL, TRUSTED)):
        store.write(lambda unit, one=one, at=number: agree(unit.resources, one, since="2020-01-01", now_us=at))  # type: ignore[misc]
    elsewhere = referral("x") | {"requester": {"reference": "Organization/b"}}
    rules = [
        {"type": "permit", "actor": [actor(CAREFUL)], "purpose": purposes("TREAT"), "securityLabel": labels("N")},
        {"type": "permit", "actor": [actor(TRUSTED)], "purpose": purposes("TREAT")},
    ]
    signed = consent({"type": "deny", "provision": rules})
    person: JsonObject = {"resourceType": "Patient", "id": "p", "name": [{"family": "Zq"}]}
    save(store, agency(), person, signed, elsewhere, *map(referral, MANY), at=1)


def seen(store: Store, organization: str) -> list[str]:
    """The referrals that an organization is shown, by a read of each and by a search."""
    with store.reading() as reading:
        request = AccessRequest.of_organization(organization, now=NOW)
        every = list(reading.resources.of_type("ServiceRequest"))
        read = sorted(one.reference for one in Gate(reading.resources, request, KNOWLEDGE).release(every).resources)
        query = parse_query("ServiceRequest", [("status", "active")], wiring.search_definitions())
        found = search(reading.resources, query, Gate(reading.resources, request, KNOWLEDGE))
        assert sorted(one.reference for one in found.matches) == read
    return read


def waiting(store: Store) -> Pending:
    with store.reading() as reading:
        return pending(reading.resources)


def steps(store: Store, awaited: Awaited | None = None) -> Iterator[Step]:
    return settling(store, SAVER, NAMING, now_us=lambda: 3, awaited={} if awaited is None else awaited)


def worked(store: Store) -> None:
    """What the worker of a gateway does until nothing waits."""
    awaited: Awaited = {}
    service = LabelService(lambda: steps(store, awaited))
    for _ in range(20):
        if not service.turn():
            return
    raise AssertionError("the worker does not come to an end")


def test_what_names_a_flagged_organization_is_withheld_until_a_worker_that_may_be_killed_has_labelled_it(
    store: Store,
) -> None:
    filled(store)
    assert (seen(store, CAREFUL), seen(store, TRUSTED)) == (ALL, ALL)
    save(store, FLAGGED, at=2)
    assert waiting(store) == Pending(closed=frozenset({"Organization/a"}))
    assert all("SDV" not in codes(store, f"ServiceRequest/{one}") for one in MANY)  # the flag's writer did not wait
    assert (seen(store, CAREFUL), seen(store, TRUSTED)) == (WITHHELD, WITHHELD)
    next(steps(store))  # one transaction, and nothing after it: as after a kill
    assert sum("SDV" in codes(store, f"ServiceRequest/{one}") for one in MANY) == 2
    assert (seen(store, CAREFUL), seen(store, TRUSTED)) == (WITHHELD, WITHHELD)
    worked(store)
    assert waiting(store) == NOTHING
    assert all("SDV" in codes(store, f"ServiceRequest/{one}") for one in MANY)
    assert (seen(store, CAREFUL), seen(store, TRUSTED)) == (WITHHELD, ALL)


def test_a_flag_that_is_taken_back_withholds_nothing_while_labels_follow(store: Store) -> None:
    filled(store)
    save(store, FLAGGED, at=2)
    worked(store)
    save(store, agency(), at=4)
    assert waiting(store) == Pending(opened=frozenset({"Organization/a"}))
    assert (seen(store, CAREFUL), seen(store, TRUSTED)) == (WITHHELD, ALL)
    worked(store)
    assert (seen(store, CAREFUL), seen(store, TRUSTED)) == (ALL, ALL)


def test_a_flag_that_changes_during_a_pass_is_not_taken_for_done(store: Store) -> None:
    filled(store)
    save(store, FLAGGED, at=2)
    for _ in steps(store):
        pass
    late = steps(store)  # nothing is left to change in this pass
    next(late)
    save(store, agency(meta={"tag": [{"code": "urn:doorway:programme:part2"}]}), at=5)
    for _ in late:
        pass
    assert waiting(store).closed == {"Organization/a"}
    worked(store)
    assert waiting(store) == NOTHING
    assert all("42CFRPart2" in codes(store, f"ServiceRequest/{one}") for one in MANY)


@pytest.mark.parametrize("at_once", [2, 100])
def test_who_read_the_organization_before_its_flag_and_commits_after_all_passes_leaves_no_record_open(
    postgres_store: Store, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Two connections: one has labelled its referral, and is slow to commit; the other flags the organization."""
    monkeypatch.setattr(organization_labels, "AT_ONCE", at_once)
    filled(postgres_store)
    labelled, go_on = threading.Event(), threading.Event()

    def slow(unit: Unit) -> None:
        SAVER.save(unit, [Draft(referral("late"), source="hmis")], now_us=2)
        labelled.set()
        assert go_on.wait(20)

    late = postgres_store.submit(slow)
    assert labelled.wait(20)
    save(postgres_store, FLAGGED, at=2)
    awaited: Awaited = {}
    for _ in range(4):
        list(steps(postgres_store, awaited))
    assert waiting(postgres_store).closed == {"Organization/a"}
    go_on.set()
    late.result(20)
    assert seen(postgres_store, CAREFUL) == WITHHELD
    for _ in range(3):
        list(steps(postgres_store, awaited))
    assert waiting(postgres_store) == NOTHING
    assert "SDV" in codes(postgres_store, "ServiceRequest/late")
    assert seen(postgres_store, CAREFUL) == WITHHELD
    assert awaited == {} or not any(awaited.values())


def test_labelling_anew_does_not_write_an_older_text_over_a_newer_one(postgres_store: Store) -> None:
    """A record that somebody changes while it is being labelled keeps what he wrote."""
    filled(postgres_store)
    save(postgres_store, FLAGGED, at=2)
    changed = referral(MANY[0]) | {"note": [{"text": "newer"}]}

    class Between:
        """The saver of the relabelling, before whose second look somebody else has written."""

        def labelled(self, unit: Unit, drafts: Sequence[Draft]) -> Sequence[Draft]:
            found = SAVER.labelled(unit, drafts)
            if any(one.resource["id"] == MANY[0] for one in drafts):
                save(postgres_store, changed, at=3)
            return found

    for _ in settling(postgres_store, cast(Saver, Between()), NAMING, now_us=lambda: 3, awaited={}):
        pass
    with postgres_store.reading() as reading:
        stored = reading.resources.get("ServiceRequest", MANY[0])
    assert stored is not None
    assert orjson.loads(stored.body)["note"] == changed["note"]
    assert "SDV" in codes(postgres_store, f"ServiceRequest/{MANY[0]}")


_KILLED = """
import os, signal, sys
from gateway import wiring
from gateway.exchange import relabel
from gateway.settings import Settings
relabel._BATCH = 2
settings = Settings(database_url=sys.argv[1])
store = wiring.open_store(settings)
naming = wiring.organization_labels(settings).naming
next(relabel.settling(store, wiring.saver(settings), naming, now_us=lambda: 3, awaited={}))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_kill_9_the_next_gateway_goes_on(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'k.db'}"
    store = wiring.open_store(Settings(database_url=url))
    filled(store)
    save(store, FLAGGED, at=2)
    killed = subprocess.run([sys.executable, "-c", _KILLED, url], env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    assert killed.returncode == -signal.SIGKILL
    assert sum("SDV" in codes(store, f"ServiceRequest/{one}") for one in MANY) == 2
    assert seen(store, TRUSTED) == WITHHELD
    worked(store)
    assert seen(store, TRUSTED) == ALL
    store.close()


def test_the_record_of_what_waits_is_shown_to_nobody(store: Store) -> None:
    """It tells which organizations are shelters; its own flag says so to whoever may read the Organization."""
    filled(store)
    save(store, FLAGGED, at=2)
    with store.reading() as reading:
        every = list(reading.resources.of_type("Contract"))
        assert any(b"Organization/a" in orjson.dumps(orjson.loads(one.body)) for one in every)
        gate = Gate(reading.resources, AccessRequest.of_organization(TRUSTED, now=NOW), KNOWLEDGE)
        assert list(gate.visible(every)) == [False] * len(every)


def test_a_command_beside_which_no_gateway_runs_labels_to_the_end_itself(store: Store) -> None:
    filled(store)
    save(store, FLAGGED, at=2)
    wiring.label_at_once(SETTINGS, store)
    assert waiting(store) == NOTHING
    assert all("SDV" in codes(store, f"ServiceRequest/{one}") for one in MANY)
