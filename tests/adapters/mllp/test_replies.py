"""Referrals and orders over a socket are answered as the standard says: RRI to REF, ORG^O20 to OMG^O19.

What the store knows is told to whoever consent lets see it; everybody else's answer is that of an unknown referral.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.adapters.db.store import DbStore
from gateway.adapters.mllp.receiver import Arrivals
from gateway.codecs.er7 import Message
from gateway.codecs.hl7_grammar import deviations
from gateway.exchange import reply
from gateway.exchange.ports.inbox import State
from gateway.exchange.ports.resources import Draft, parsed
from gateway.exchange.ports.store import Store
from gateway.mapping.hl7v2.outbound import OWN_NUMBER
from gateway.settings import read_settings
from gateway.wiring import mllp_service, saver
from tests.adapters.mllp.test_queries import WEST, consent
from tests.support.mllp import Peer, framed

LOCAL = {"networks": ["127.0.0.0/8"]}
ASKERS = {
    "EHR^WEST": {"organization": "Organization/west", **LOCAL},
    "LAB^WEST": {"organization": "Organization/west", **LOCAL},
    "EHR^EAST": {"organization": "Organization/east", **LOCAL},
    "FAR^WEST": {"organization": "Organization/west", "networks": ["10.0.0.0/8"]},
}  # fmt: skip
TO = {"west": {"address": "127.0.0.1:1", "organization": "Organization/west", "application": "EHR", "facility": "WEST"}}
PERSON = "PID|1||17^^^WEST^MR||Zqreply^Ada||19800101|F"


NUMBER = "R-9^^1.2.9^ISO"
PATIENT: dict[str, Any] = {"resourceType": "Patient", "id": "p1", "name": [{"family": "Zqours"}], "birthDate": "1980"}
REQUEST: dict[str, Any] = {
    "resourceType": "ServiceRequest", "id": "r1", "status": "active", "intent": "order", "code": {"text": "bed"},
    "subject": {"reference": "Patient/p1"}, "requester": {"reference": "Organization/s"},
    "performer": [{"reference": "Organization/west"}],
    "identifier": [{"type": {"coding": [{"code": "PLAC"}]}, "system": "urn:oid:1.2.9", "value": "R-9"}],
}  # fmt: skip
TASK: dict[str, Any] = {
    "resourceType": "Task", "id": "t1", "status": "requested", "intent": "order",
    "focus": {"reference": "ServiceRequest/r1"}, "for": {"reference": "Patient/p1"},
    "requester": {"reference": "Organization/s"}, "owner": {"reference": "Organization/west"},
}  # fmt: skip
KINDS = ("ServiceRequest", "Task", "Patient", "Organization", "PractitionerRole")


class Desk:
    """A running gateway and one connection to it."""

    def __init__(self, store: Store) -> None:
        settings = read_settings(environment={}, mllp_address="127.0.0.1:0", mllp_askers=ASKERS, mllp_destinations=TO)
        self.store, self._saver = store, saver(settings)
        self._service = mllp_service(settings, store)
        host, _, port = self._service.start().removeprefix("mllp on ").rpartition(":")
        self._peer = Peer((host, int(port)))
        self._count = 0
        self.save(WEST)

    def save(self, *resources: dict[str, Any]) -> None:
        drafts = [Draft(one, source="shelter") for one in resources]
        self.store.write(lambda unit: self._saver.save(unit, drafts, now_us=Arrivals()()))

    def say(
        self, kind: str, *segments: str, sender: str = "EHR|WEST", msh: str = "", id_: str = "", person: str = PERSON
    ) -> None:
        self._count += 1
        asked = id_ or f"{kind}{self._count}"
        head = f"MSH|^~\\&|{sender}|DOORWAY|HUB|202601051015{self._count:02d}||{kind}|{asked}|P|2.5.1{msh}"
        self._peer.send(framed("\r".join([head, *segments, *([person] if person else []), ""]).encode()))

    def heard(self) -> Message:
        return Message.parse(self._peer.answer())

    def ref(self, event: str, number: str = "R-5^WEST", **more: Any) -> Message:
        self.say(f"REF^{event}", f"RF1||R|SOC|||{number}", "PRD|RP", **more)
        return self.heard()

    def move(self, status: str) -> None:
        """Whoever was asked says how far it is."""
        with self.store.reading() as reading:
            (task,) = (parsed(one) for one in reading.resources.of_type("Task"))
        self.save({**task, "status": status})

    def close(self) -> None:
        self._peer.close()
        self._service.stop()


@pytest.fixture(params=["sqlite_store", "postgres_store"])
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    made = Desk(request.getfixturevalue(request.param))
    yield made
    made.close()


@pytest.fixture
def small(sqlite_store: DbStore) -> Iterator[Desk]:
    """On SQLite alone: what does not depend on the store."""
    made = Desk(sqlite_store)
    yield made
    made.close()


def unknown(answer: Message) -> list[str]:
    """The answer without what differs between any two, which must say that there is no such referral."""
    assert answer.header.raw(9) == "ACK^I15^ACK"
    assert (answer.get("MSA-1"), answer.get("ERR-2"), answer.get("ERR-3.1")) == ("AE", "RF1", "204")
    return [segment.text for segment in answer.segments if segment.id not in {"MSH", "MSA"}]


def test_a_referral_is_answered_with_its_state_and_our_number(desk: Desk) -> None:
    numbers = set()
    for event, state in (("I12", "P"), ("I13", "P"), ("I14", "X")):
        answer = desk.ref(event, sender="ANY|BODY")
        assert answer.header.raw(9) == f"RRI^{event}^RRI_I12"
        assert answer.get("MSA-1") == "AA"
        assert (answer.get("RF1-6.1"), answer.get("RF1-1"), answer.get("PID-5.1")) == ("R-5", state, "Zqreply")
        assert deviations(answer) == []
        numbers.add((answer.get("RF1-11.1"), answer.get("RF1-11.3")))
    with desk.store.reading() as reading:
        (held,) = reading.resources.of_type("ServiceRequest")
    assert numbers == {(held.id, OWN_NUMBER)}


@pytest.mark.parametrize(("msh", "types"), [
    ("|||AL|AL", ["ACK", "RRI"]), ("|||NE|AL", ["RRI"]), ("|||AL|NE", ["ACK"]), ("|||AL|ER", ["ACK"]),
    ("|||NE|SU", ["RRI"]), ("|||NE|NE", []),
])  # fmt: skip
def test_enhanced_mode_is_answered_as_its_header_asks(small: Desk, msh: str, types: list[str]) -> None:
    small.say("REF^I12", "RF1||R|SOC|||R-5^WEST", "PRD|RP", msh=msh, id_="E1")
    heard = [small.heard() for _ in types]
    assert [one.kind for one in heard] == types
    assert {one.get("MSA-2") for one in heard} <= {"E1"}
    assert all(one.get("MSA-1") == ("CA" if one.kind == "ACK" else "AA") for one in heard)
    assert small.ref("I12", number="R-6^WEST").get("RF1-6.1") == "R-6", "nothing else was on its way"


def test_whoever_asks_for_a_state_is_told_where_it_stands_and_nothing_is_stored(desk: Desk) -> None:
    desk.ref("I12")
    desk.move("accepted")
    with desk.store.reading() as reading:
        before = {one.reference: one.version for kind in KINDS for one in reading.resources.of_type(kind)}
    person = "PID|1||17^^^WEST^MR||Zqother^Eve||19990101|M"
    answer = desk.ref("I15", id_="ask", person=person)
    assert answer.header.raw(9) == "RRI^I15^RRI_I12"
    assert (answer.get("MSA-1"), answer.get("MSA-2")) == ("AA", "ask")
    assert (answer.get("RF1-1"), answer.get("RF1-6.1"), answer.get("PID-5.1")) == ("A", "R-5", "Zqreply")
    desk.move("in-progress")
    desk.move("completed")
    again = desk.ref("I15", id_="ask2")
    assert again.get("RF1-1") == "C"
    with desk.store.reading() as reading:
        after = {one.reference: one.version for kind in KINDS for one in reading.resources.of_type(kind)}
        events = [record.event for record in reading.audit.records()]
    assert {name for name in after if after[name] != before.get(name)} == {
        name for name in before if name.startswith(("Task/", "ServiceRequest/"))
    }
    told = [e for e in events if "Zq" not in str(e) and "ServiceRequest/" in str(e["entity"])]
    assert len(told) >= 2


def test_a_question_that_comes_again_is_answered_anew(desk: Desk) -> None:
    desk.save(PATIENT, REQUEST, TASK, consent("c1", "p1"))
    for sender in ("LAB|WEST", "LAB|WEST"):
        assert desk.ref("I15", number=NUMBER, sender=sender, id_="same").get("RF1-1") == "P"
        desk._count -= 1  # the very same bytes
    desk.save(consent("c1", "p1", "deny"))
    gone = unknown(desk.ref("I15", number=NUMBER, sender="LAB|WEST", id_="same"))
    assert gone == unknown(desk.ref("I15", number="never^^1.2.9^ISO", sender="LAB|WEST"))


def test_what_may_not_be_seen_and_what_does_not_exist_are_answered_alike(desk: Desk) -> None:
    nothing = unknown(desk.ref("I15", number=NUMBER))
    desk.save(PATIENT, REQUEST, TASK, consent("c1", "p1"))
    assert desk.ref("I15", number=NUMBER).get("RF1-1") == "P"
    for sender in ("FAR|WEST", "ANY|BODY", "EHR|EAST"):
        assert unknown(desk.ref("I15", number=NUMBER, sender=sender)) == nothing
    assert unknown(desk.ref("I15", number="")) == nothing


def test_a_partner_that_changes_a_referral_of_ours_hears_its_state(small: Desk) -> None:
    small.save(PATIENT, REQUEST, {**TASK, "status": "accepted"}, consent("c1", "p1"))
    assert small.ref("I13", number=NUMBER).get("RF1-1") == "A"
    small.save(consent("c1", "p1", "deny"))
    assert small.ref("I13", number=NUMBER).get("RF1-1") == "P", "its own words"


@pytest.mark.parametrize(("control", "said"), [("NW", "OK"), ("CA", "CR"), ("XO", "XR")])
def test_an_order_is_answered_with_our_number(small: Desk, control: str, said: str) -> None:
    small.say("OMG^O19", f"ORC|{control}|P1^WEST", "OBR|1|P1^WEST||57133-1^Referral note^LN")
    answer = small.heard()
    assert answer.header.raw(9) == "ORG^O20^ORG_O20"
    assert (answer.get("MSA-1"), answer.get("ORC-1"), answer.get("ORC-2.1")) == ("AA", said, "P1")
    assert answer.get("ORC-3.3") == OWN_NUMBER
    assert deviations(answer) == []


def test_a_referral_that_stands_behind_others_is_taken_and_a_question_is_answered_from_what_is_there(
    small: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.ref("I12")
    small.say("ADT^A01", "EVN||20260105101500", "PV1|1|I", person="PID|1||17^^^WEST^MR||Zqreply^Ada||notadate|F")
    assert small.heard().get("MSA-1") == "AA"
    with small.store.reading() as reading:
        stuck = reading.inbox.in_state(State.PARKED)
    monkeypatch.setattr(reply, "PATIENCE_US", 0 if stuck else reply.PATIENCE_US)
    assert small.ref("I13").get("MSA-1") == "AA"
    assert small.ref("I15").get("RF1-1") == "P"


def test_a_referral_that_cannot_be_read_is_refused_with_a_reason(small: Desk) -> None:
    small._peer.send(
        framed(b"MSH|^~\\&|EHR|WEST|D|H|20260105101500||REF^I12|bad|P|2.5.1\rRF1||R|SOC|||R\xff\rPRD|RP\r")
    )
    answer = small.heard()
    assert (answer.header.raw(9), answer.get("MSA-1"), answer.get("ERR-2.1")) == ("ACK^I12^ACK", "AE", "MSH")
