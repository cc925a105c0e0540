"""The whole bridge as ``doorway serve`` runs it: received, processed by the tables, answered, and told to others."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.adapters.mllp.client import Client
from gateway.exchange.deliver import queue_delivery
from gateway.exchange.ports.inbox import State
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.store import Store, Unit
from gateway.settings import Settings, read_settings
from gateway.wiring import hl7v2_processing, mllp_service, open_store
from tests.support.mllp import Peer, ScriptedPeer, ack, adt, framed, msa


@pytest.fixture
def partner() -> Iterator[ScriptedPeer]:
    peer = ScriptedPeer(lambda message: framed(ack(message, "AA")))
    yield peer
    peer.close()


@pytest.fixture
def settings(tmp_path: Path, partner: ScriptedPeer) -> Settings:
    host, port = partner.address
    west = {"address": f"{host}:{port}", "organization": "Organization/west", "application": "EHR", "facility": "WEST"}
    return read_settings(
        environment={},
        database_url=f"sqlite:///{tmp_path}/s.db",
        mllp_address="127.0.0.1:0",
        mllp_destinations={"west": west},
    )


@pytest.fixture
def running(settings: Settings) -> Iterator[tuple[Store, tuple[str, int]]]:
    store = open_store(settings)
    service = mllp_service(settings, store)
    said = service.start()
    host, _, port = said.removeprefix("mllp on ").rpartition(":")
    assert service.trouble() == ""
    yield store, (host, int(port))
    service.stop()
    assert service.trouble() != ""
    store.close()


def eventually(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def state_of(store: Store, control_id: str) -> list[State]:
    with store.reading() as reading:
        return [one.state for one in reading.inbox.find(control_id)]


def test_a_message_becomes_a_patient_and_the_application_answers_on_the_same_connection(
    running: tuple[Store, tuple[str, int]],
) -> None:
    store, address = running
    client = Client(*address, timeout_s=10)
    answered = client.send(adt("1", msh="|||AL|AL"))
    assert [one.code for one in answered.acknowledgements] == ["CA", "AA"]
    again = client.send(adt("1", msh="|||AL|AL"))
    assert again.payloads == answered.payloads
    client.close()
    with store.reading() as reading:
        patients = list(reading.resources.of_type("Patient"))
    assert [one.version for one in patients] == [1]


def test_the_same_message_twice_is_stored_once(running: tuple[Store, tuple[str, int]]) -> None:
    store, address = running
    peer = Peer(address)
    for _ in range(2):
        peer.send(framed(adt("1")))
        assert msa(peer.answer()) == ("AA", "1")
    peer.send(framed(adt("2", kind="ADT^Z99")))
    assert msa(peer.answer()) == ("AR", "2")
    peer.close()
    eventually(lambda: state_of(store, "1") == [State.PROCESSED])
    with store.reading() as reading:
        assert len(list(reading.resources.of_type("Encounter"))) == 1


def test_the_tables_of_this_repository_start(settings: Settings) -> None:
    assert "ADT^A01" in hl7v2_processing(settings).triggers


CONSENT = {
    "resourceType": "Consent",
    "id": "c1",
    "status": "active",
    "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]},
    "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
    "patient": {"reference": "Patient/p1"},
    "dateTime": "2020-01-01T00:00:00Z",
    "policyRule": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTIN"}]},
    "provision": {"type": "permit"},
}


def test_a_partner_is_told_what_consent_permits_and_nothing_without_it(
    running: tuple[Store, tuple[str, int]], partner: ScriptedPeer
) -> None:
    store, _ = running

    def work(unit: Unit, cause: str, consent: bool) -> None:
        unit.resources.put(Draft({"resourceType": "Patient", "id": "p1", "name": [{"family": "Zqvale"}]}), now_us=1)
        if consent:
            unit.resources.put(Draft(CONSENT), now_us=2)
        queue_delivery(unit, "west", "ADT^A08", ["Patient/p1"], cause=cause, now_us=3, lane="p1")

    def states() -> dict[str, int]:
        with store.reading() as reading:
            return {state: number for (_, state), number in reading.outbox.counts().items()}

    store.write(lambda unit: work(unit, "first", consent=False))
    eventually(lambda: states() == {"withheld": 1})
    assert partner.received == []
    store.write(lambda unit: work(unit, "second", consent=True))
    eventually(lambda: states() == {"withheld": 1, "delivered": 1})
    (message,) = partner.received
    assert message.startswith(b"MSH|^~\\&|DOORWAY|GATEWAY|EHR|WEST|")
    assert b"\rPID|" in message
    assert b"Zqvale" in message
