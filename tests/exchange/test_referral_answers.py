"""A partner's answer over HL7 v2 moves the referral that it answers; nobody else's message does."""

from typing import Any

import pytest

from gateway import wiring
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.store import Store
from gateway.kernel.fhir import Resource
from gateway.mapping.hl7v2.outbound import OWN_NUMBER
from gateway.settings import Settings
from gateway.wiring.hl7v2 import hl7v2_processing
from tests.exchange.test_snapshots import Gateway

DESTINATION: dict[str, Any] = {"address": "127.0.0.1:1", "organization": "Organization/west"}
NAMED = Settings.model_validate({"mllp_destinations": {"west": {**DESTINATION, "application": "EHR", "facility": "W"}}})
NAMELESS = Settings.model_validate({"mllp_destinations": {"west": DESTINATION}})
PERSON: Resource = {"resourceType": "Patient", "id": "p1", "name": [{"family": "Zqasked"}]}
REQUEST: Resource = {
    "resourceType": "ServiceRequest", "id": "r1", "status": "active", "intent": "order", "code": {"text": "Zqbed"},
    "subject": {"reference": "Patient/p1"}, "requester": {"reference": "Organization/s"},
    "performer": [{"reference": "Organization/west"}],
    "identifier": [{"type": {"coding": [{"code": "PLAC"}]}, "system": "urn:oid:1.2.9", "value": "R-5"}],
}  # fmt: skip
NUMBER, OWN = "R-5^^1.2.9^ISO", f"r1^^{OWN_NUMBER}^URI"


def task(status: str, **more: Any) -> Resource:
    return {
        "resourceType": "Task", "id": "t1", "status": status, "intent": "order",
        "focus": {"reference": "ServiceRequest/r1"}, "for": {"reference": "Patient/p1"},
        "requester": {"reference": "Organization/s"}, "owner": {"reference": "Organization/west"}, **more,
    }  # fmt: skip


class Desk:
    """A gateway that has told a hospital of a referral."""

    def __init__(self, store: Store, settings: Settings = NAMED) -> None:
        self.gateway, self.saver = Gateway(store, hl7v2_processing(settings)), wiring.saver(settings)
        self.store = store
        self.save(PERSON, REQUEST, task("requested"))

    def save(self, *resources: Resource) -> None:
        drafts = [Draft(one, source="shelter") for one in resources]
        self.store.write(lambda unit: self.saver.save(unit, drafts, now_us=self.gateway.tick()))

    def hear(self, kind: str, minute: int, *segments: str, sender: str = "EHR|W") -> None:
        stamp = f"2026010510{minute:02d}"
        head = f"MSH|^~\\&|{sender}|||{stamp}||{kind}|{kind}{minute}|P|2.5.1"
        self.gateway.take("\r".join([head, *segments, "PID|1||17^^^WEST^MR||Zqasked^Ada", ""]).encode())

    def rri(self, state: str, minute: int, *, number: str = NUMBER, msa: str = "x", sender: str = "EHR|W") -> None:
        self.hear("RRI^I12", minute, f"MSA|AA|{msa}", f"RF1|{state}|||||{number}|||||F-8^W", "PRD|RP", sender=sender)

    def answered(self) -> str:
        """The state of our Task; a second referral would fail here."""
        (found,), (request,) = self.gateway.all("Task"), self.gateway.all("ServiceRequest")
        assert (found["id"], request["id"], request["code"]) == ("t1", "r1", REQUEST["code"])
        assert found["for"] == {"reference": "Patient/p1"}
        return str(found["status"])


@pytest.mark.parametrize("number", [NUMBER, OWN])
def test_an_answer_moves_the_referral_under_its_number_or_its_id(store: Store, number: str) -> None:
    desk = Desk(store)
    desk.rri("A", 1, number=number)
    assert desk.answered() == "accepted"
    (made,) = desk.gateway.all("Task")
    assert [one["value"] for one in made["identifier"]] == ["F-8"]
    desk.rri("A", 2, number=number)
    desk.rri("A", 2, number=number)
    assert [one["value"] for one in desk.gateway.all("Task")[0]["identifier"]] == ["F-8"]


def test_an_order_status_ends_it_and_its_request_follows(store: Store) -> None:
    desk = Desk(store)
    desk.hear("OSU^O51", 1, f"ORC|SC|{NUMBER}|||CM")
    (request,) = desk.gateway.all("ServiceRequest")
    assert (desk.answered(), request["status"]) == ("completed", "completed")
    desk.hear("ORU^R01", 2, "ORC|RE", f"OBR|1|{NUMBER}|F1^W|X|||20260105||||||||||||||||||F")
    assert desk.answered() == "completed"
    (report,) = desk.gateway.all("DiagnosticReport")
    assert report["basedOn"] == [{"reference": "ServiceRequest/r1"}]


@pytest.mark.parametrize("sender", ["EHR|EAST", "OTHER|W"])
def test_a_strangers_number_is_a_request_of_his_own(store: Store, sender: str) -> None:
    desk = Desk(store)
    desk.rri("A", 1, sender=sender)
    held = {one["id"]: one["status"] for one in desk.gateway.all("Task")}
    assert held.pop("t1") == "requested"
    assert len(held) == 1


@pytest.mark.parametrize("known", [True, False])
def test_a_destination_without_a_name_is_known_by_the_message_that_it_answers(store: Store, known: bool) -> None:
    desk = Desk(store, NAMELESS)
    with store.reading() as reading:
        (told, *_) = [one for one in reading.outbox.due("west", now_us=10**18, limit=9) if one.kind == "REF^I12"]
    desk.rri("A", 1, msa=told.control_id if known else "unheard", sender="ANY|BODY")
    held = {one["id"]: one["status"] for one in desk.gateway.all("Task")}
    assert held.pop("t1") == ("accepted" if known else "requested")
    assert len(held) == (0 if known else 1)


def test_a_feed_that_speaks_for_the_organization_answers_for_it(store: Store) -> None:
    feed = {"senders": ["ANY^BODY"], "organization": "Organization/west"}
    known = Settings.model_validate({"mllp_destinations": {"west": DESTINATION}, "mllp_feeds": {"west": feed}})
    desk = Desk(store, known)
    desk.rri("A", 1, msa="unheard", sender="ANY|BODY")
    assert desk.answered() == "accepted"


def test_it_moves_forwards_only_and_what_we_did_since_stands(store: Store) -> None:
    desk = Desk(store)
    desk.rri("A", 5)
    desk.rri("P", 6)
    assert desk.answered() == "accepted"
    desk.save(task("cancelled", statusReason={"text": "found a place"}))
    desk.hear("ADT^A08", 2)  # late: what the lane holds is folded anew
    desk.rri("A", 7)
    assert desk.answered() == "cancelled"


def test_a_late_answer_counts_unless_a_newer_one_is_there(store: Store) -> None:
    desk = Desk(store)
    desk.hear("ADT^A08", 9)
    desk.rri("A", 5)
    assert desk.answered() == "accepted"
    desk.rri("R", 3)
    assert desk.answered() == "accepted"


def test_why_it_is_refused_is_told(store: Store) -> None:
    desk = Desk(store)
    desk.hear("RRI^I12", 1, "MSA|AA|x|no bed", f"RF1|R|||||{NUMBER}", "PRD|RP")
    assert desk.answered() == "rejected"
    assert desk.gateway.all("Task")[0]["statusReason"]["text"] == "no bed"
