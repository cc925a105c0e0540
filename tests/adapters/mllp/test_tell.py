"""A referral that moves here is told to the partner that takes part in it while consent lets it be, to no other."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.db.store import DbStore
from gateway.codecs.er7 import Message
from gateway.codecs.hl7_grammar import deviations
from gateway.exchange.ports.resources import Draft
from gateway.mapping.hl7v2.outbound import OWN_NUMBER
from gateway.settings import Settings
from gateway.wiring import mllp_service, saver
from tests.adapters.http.conftest import World, world_over
from tests.adapters.mllp.test_queries import consent
from tests.adapters.mllp.test_service import eventually
from tests.support.mllp import ScriptedPeer, ack, framed

AGENCY: dict[str, Any] = {"resourceType": "Organization", "id": "s", "active": True, "name": "Zqshelter"}
HOSPITAL: dict[str, Any] = {"resourceType": "Organization", "id": "west", "active": True, "name": "West General"}
PERSON: dict[str, Any] = {
    "resourceType": "Patient", "id": "p1", "name": [{"family": "Zqtell", "given": ["Ann"]}], "birthDate": "1980-01-01",
    "identifier": [{"system": "urn:oid:1.2.3", "value": "c1712345"}],
}  # fmt: skip
REQUEST: dict[str, Any] = {
    "resourceType": "ServiceRequest", "id": "r1", "status": "active", "intent": "order",
    "subject": {"reference": "Patient/p1"}, "requester": {"reference": "Organization/west"},
    "performer": [{"reference": "Organization/s"}], "code": {"text": "housing"},
    "identifier": [{"type": {"coding": [{"code": "PLAC"}]}, "system": "urn:oid:1.2.9", "value": "R-5"}],
}  # fmt: skip


def task(status: str) -> dict[str, Any]:
    return {
        "resourceType": "Task", "id": "t1", "status": status, "intent": "order",
        "focus": {"reference": "ServiceRequest/r1"}, "for": {"reference": "Patient/p1"},
        "requester": {"reference": "Organization/west"}, "owner": {"reference": "Organization/s"},
    }  # fmt: skip


@dataclass
class Both:
    """A gateway, and two partners that listen."""

    world: World
    settings: Settings
    west: ScriptedPeer
    east: ScriptedPeer

    def save(self, *resources: dict[str, Any], source: str = "EHR^WEST") -> None:
        at = time.time_ns() // 1000
        drafts = [Draft(one, source=source) for one in resources]
        self.world.store.write(lambda unit: saver(self.settings).save(unit, drafts, now_us=at))

    def states(self) -> dict[str, int]:
        with self.world.store.reading() as reading:
            return {state: number for (_, state), number in reading.outbox.counts().items()}


@pytest.fixture
def both(sqlite_store: DbStore, tmp_path: Path) -> Iterator[Both]:
    west, east = (ScriptedPeer(lambda message: framed(ack(message, "AA"))) for _ in "we")
    named = {
        name: {"address": "{}:{}".format(*peer.address), "organization": f"Organization/{name}", "application": "EHR",
               "facility": name.upper()} for name, peer in (("west", west), ("east", east))
    }  # fmt: skip
    more: dict[str, Any] = {"mllp_destinations": named, "mllp_address": "127.0.0.1:0"}
    for world in world_over(sqlite_store, tmp_path, **more):
        made = Both(world, Settings(**more), west, east)
        made.save(AGENCY, HOSPITAL, PERSON, consent("c1", "p1"), consent("c2", "p1", to="s"))
        service = mllp_service(made.settings, world.store)
        service.start()
        yield made
        service.stop()
    west.close()
    east.close()


def test_an_accepted_referral_is_answered_to_the_hospital_that_asked(both: Both) -> None:
    both.save(REQUEST, task("requested"))  # from the hospital itself: no news to it
    assert both.states() == {}
    answer = both.world.other("PUT", "/Task/t1", task("accepted"))
    assert answer.status_code == 200, answer.text
    eventually(lambda: both.states() == {"delivered": 1})
    (sent,) = both.west.received
    message = Message.parse(sent)
    assert message.header.raw(9) == "RRI^I12^RRI_I12"
    assert (message.get("RF1-1.1"), message.get("RF1-1.3"), message.get("RF1-6.1")) == ("A", "HL70283", "R-5")
    assert (message.get("RF1-11.1"), message.get("RF1-11.3")) == ("r1", OWN_NUMBER)
    assert (message.get("PID-3.1"), message.get("PID-5.1")) == ("c1712345", "Zqtell")
    assert [prd.get(1) for prd in message.all("PRD")] == ["RP", "RT"]
    assert both.east.received == []


def test_a_revoked_consent_lets_nothing_leave(both: Both) -> None:
    both.save(consent("c1", "p1", "deny"))
    both.save(REQUEST, task("requested"), source="shelter")
    eventually(lambda: both.states() == {"withheld": 1})
    assert both.west.received == []


def test_a_referral_to_a_hospital_is_sent_changed_and_cancelled_in_order(both: Both) -> None:
    out = {**REQUEST, "requester": {"reference": "Organization/s"}, "performer": [{"reference": "Organization/west"}]}
    both.save(out, source="shelter")
    eventually(lambda: both.states() == {"delivered": 1})
    both.save({**out, "priority": "urgent"}, source="shelter")
    both.save({**out, "priority": "urgent", "status": "revoked"}, source="shelter")
    eventually(lambda: both.states() == {"delivered": 3})
    assert [Message.parse(one).header.raw(9)[:7] for one in both.west.received] == ["REF^I12", "REF^I13", "REF^I14"]


def test_a_referral_that_says_no_more_than_it_must_is_told_under_its_id(both: Both) -> None:
    bare = {
        name: REQUEST[name] for name in ("resourceType", "id", "status", "intent", "subject", "code")
    } | {"requester": {"reference": "Organization/s"}, "performer": [{"reference": "Organization/west"}]}  # fmt: skip
    both.save(bare, source="shelter")
    both.save({**task("requested"), "owner": {"reference": "Organization/west"}}, source="shelter")
    eventually(lambda: both.states() == {"delivered": 2})
    new, changed = (Message.parse(one) for one in both.west.received)
    assert (new.header.raw(9)[:7], changed.header.raw(9)[:7]) == ("REF^I12", "REF^I13")
    assert (new.get("RF1-6.1"), new.get("RF1-6.3")) == ("r1", OWN_NUMBER)
    assert (new.get("OBR-4.9"), new.get("PRD-10.1")) == ("housing", "Zqshelter")
    assert {place.place[:3] for one in (new, changed) for place in deviations(one)} == {"PRD"}, "PRD-10 is of 2.7"


def test_a_referral_is_told_with_the_visit_and_the_coverage_that_it_names(both: Both) -> None:
    visit = {
        "resourceType": "Encounter", "id": "v1", "status": "in-progress", "subject": {"reference": "Patient/p1"},
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
    }  # fmt: skip
    coverage = {
        "resourceType": "Coverage", "id": "i1", "status": "active", "beneficiary": {"reference": "Patient/p1"},
        "payor": [{"reference": "Organization/payer"}],
    }  # fmt: skip
    payer = {"resourceType": "Organization", "id": "payer", "name": "Payer One"}
    both.save(visit, coverage, payer, source="shelter")
    out = {**REQUEST, "requester": {"reference": "Organization/s"}, "performer": [{"reference": "Organization/west"}],
           "encounter": {"reference": "Encounter/v1"}, "insurance": [{"reference": "Coverage/i1"}]}  # fmt: skip
    both.save(out, source="shelter")
    eventually(lambda: both.states() == {"delivered": 1})
    message = Message.parse(both.west.received[0])
    assert (message.get("PV1-2"), message.get("AUT-2.2")) == ("I", "Payer One")


def test_a_referral_without_its_person_is_not_told(both: Both) -> None:
    both.save({**REQUEST, "subject": {"reference": "Patient/nobody"}}, source="shelter")
    eventually(lambda: both.states() == {"withheld": 1})
    assert both.west.received == []


@pytest.fixture
def feed(sqlite_store: DbStore, tmp_path: Path) -> Iterator[Both]:
    """Partners that are told of persons and visits, and of referrals as 360X has them."""
    west, east = (ScriptedPeer(lambda message: framed(ack(message, "AA"))) for _ in "we")
    named = {
        name: {"address": "{}:{}".format(*peer.address), "organization": f"Organization/{name}", "application": "EHR",
               "facility": name.upper(), "tells": ["ADT", "360X"]} for name, peer in (("west", west), ("east", east))
    }  # fmt: skip
    more: dict[str, Any] = {"mllp_destinations": named, "mllp_address": "127.0.0.1:0"}
    for world in world_over(sqlite_store, tmp_path, **more):
        made = Both(world, Settings(**more), west, east)
        made.save(AGENCY, HOSPITAL, consent("c1", "p1"), consent("c2", "p1", to="s"), source="shelter")
        service = mllp_service(made.settings, world.store)
        service.start()
        yield made
        service.stop()
    west.close()
    east.close()


VISIT: dict[str, Any] = {
    "resourceType": "Encounter", "id": "e1", "status": "in-progress", "subject": {"reference": "Patient/p1"},
    "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
    "identifier": [{"system": "urn:oid:1.2.3", "value": "V1"}],
}  # fmt: skip


_MERGE = (("replaces", "Patient/p2"), ("replaced-by", "Patient/p1"))


def test_persons_and_visits_are_told_as_they_change_and_to_whom_consent_lets(feed: Both) -> None:
    feed.save(PERSON, source="shelter")
    eventually(lambda: feed.states() == {"delivered": 1, "withheld": 1})
    feed.save({**PERSON, "gender": "female"}, source="shelter")
    feed.save(VISIT, {**PERSON, "gender": "female", "active": True}, source="shelter")
    feed.save({**VISIT, "period": {"start": "2026-01-05T10:00:00Z"}}, source="shelter")
    feed.save({**VISIT, "status": "finished"}, source="shelter")
    feed.save(VISIT, source="shelter")
    feed.save({**VISIT, "status": "cancelled"}, source="shelter")
    feed.save({**VISIT, "id": "e2", "status": "planned", "identifier": [{"value": "V2"}]}, source="shelter")
    clinic = {**VISIT, "id": "e3", "identifier": [{"value": "V3"}], "class": {**VISIT["class"], "code": "AMB"}}
    feed.save(clinic, source="shelter")
    double = {**PERSON, "id": "p2", "identifier": [{"system": "urn:oid:1.2.3", "value": "c9900000"}]}
    feed.save(consent("c9", "p2"), source="shelter")
    feed.save(double, source="shelter")
    replaces, replaced = ({"type": k, "other": {"reference": r}} for k, r in _MERGE)
    feed.save({**PERSON, "link": [replaces]}, {**double, "active": False, "link": [replaced]}, source="shelter")
    events = ["A28", "A31", "A01", "A08", "A03", "A13", "A11", "A05", "A04", "A28", "A40"]
    eventually(lambda: feed.states() == {"delivered": len(events), "withheld": len(events)})
    told = [Message.parse(one) for one in feed.west.received]
    of_double = [one for one in told if one.get("PID-3.1") == "c9900000"]
    assert [one.trigger for one in of_double] == ["A28"], "in a lane of its own"
    assert [one.trigger for one in told if one not in of_double] == [e for n, e in enumerate(events) if n != 9]
    assert all(one.get("PID-3.1") == "c1712345" for one in told if one not in of_double)
    assert [deviations(one) for one in told] == [[]] * len(told)
    assert told[-1].get("MRG-1.1") == "c9900000"
    assert feed.east.received == []


def test_a_sender_is_spared_its_own_news(feed: Both) -> None:
    feed.save(PERSON, VISIT, source="EHR^WEST")
    eventually(lambda: feed.states() == {"withheld": 1})
    assert feed.west.received == []


def test_a_referral_to_a_partner_of_360x_is_an_order_with_its_control(feed: Both) -> None:
    out = {**REQUEST, "requester": {"reference": "Organization/s"}, "performer": [{"reference": "Organization/west"}]}
    feed.save(PERSON)
    feed.save(out, source="shelter")
    feed.save({**out, "priority": "urgent"}, source="shelter")
    feed.save({**out, "priority": "urgent", "status": "revoked"}, source="shelter")
    eventually(lambda: feed.states().get("delivered") == 3)
    told = [Message.parse(one) for one in feed.west.received]
    assert [(one.structure, one.get("ORC-1")) for one in told] == [("OMG_O19", c) for c in ("NW", "XO", "CA")]


def test_the_answer_to_a_partner_of_360x_is_an_order_status(feed: Both) -> None:
    feed.save(PERSON, REQUEST, task("requested"))
    answer = feed.world.other("PUT", "/Task/t1", task("accepted"))
    assert answer.status_code == 200, answer.text
    eventually(lambda: feed.states().get("delivered") == 1)
    (sent,) = feed.west.received
    message = Message.parse(sent)
    assert (message.header.raw(9), message.get("ORC-1"), message.get("ORC-2")) == ("OSU^O51^OSU_O51", "OK", "R-5")


PART_2 = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "42CFRPart2"}
DEPENDENCE: dict[str, Any] = {
    "resourceType": "Condition", "id": "d1", "subject": {"reference": "Patient/p1"},
    "encounter": {"reference": "Encounter/e1"},
    "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "F11.20"}]},
}  # fmt: skip


def test_what_a_law_guards_goes_by_its_label_and_with_its_notice(feed: Both) -> None:
    at, kept = time.time_ns() // 1000, Draft(DEPENDENCE, source="shelter", labels=(PART_2,))
    feed.world.store.write(lambda unit: saver(feed.settings).save(unit, [kept], now_us=at))
    feed.save(PERSON, VISIT, source="shelter")
    eventually(lambda: feed.states().get("delivered") == 1)
    assert [s.id for s in Message.parse(feed.west.received[0]).segments] == ["MSH", "EVN", "PID", "PV1"]
    allowed = consent("c3", "p1")
    allowed["provision"]["securityLabel"] = [PART_2]
    feed.save(allowed, {**VISIT, "period": {"start": "2026-01-05T10:00:00Z"}}, source="shelter")
    eventually(lambda: feed.states().get("delivered") == 2)
    told = Message.parse(feed.west.received[1])
    assert told.get("DG1-3.1") == "F11.20"
    assert (told.get("OBX-3.1"), told.get("OBX-2")) == ("42CFRPart2", "FT")
    assert "42 CFR part 2" in (told.get("OBX-5") or "")
