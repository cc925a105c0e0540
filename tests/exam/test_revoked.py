"""Fault 54: consent revoked between queue and send: nothing of it leaves, nor its retry, nor what a replay causes."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gateway.adapters.mllp.client import Client
from gateway.exchange.agreements import agree
from gateway.exchange.deliver import queue_delivery
from gateway.exchange.ports.outbox import OutState
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.store import Store, Unit
from gateway.exchange.trace import replay
from gateway.settings import Settings, read_settings
from gateway.wiring import hl7v2_processing, mllp_service, open_store
from tests.adapters.mllp.test_queries import consent
from tests.adapters.mllp.test_service import eventually
from tests.support.mllp import ScriptedPeer, ack, adt, framed

pytestmark = pytest.mark.exam


@dataclass
class Hub:
    """A running gateway and the partner that it tells."""

    store: Store
    settings: Settings
    address: tuple[str, int]
    west: ScriptedPeer

    def states(self) -> dict[str, int]:
        with self.store.reading() as reading:
            return {state: number for (_, state), number in reading.outbox.counts().items()}

    def tell(self, cause: str, patient: str = "p1") -> None:
        self.store.write(
            lambda unit: queue_delivery(
                unit, "west", "ADT^A08", [f"Patient/{patient}"], cause=cause, now_us=3, lane="p"
            )
        )

    def consent(self, kind: str, patient: str = "p1") -> None:
        at = time.time_ns() // 1000
        self.store.write(lambda unit: unit.resources.put(Draft(consent("c1", patient, kind)), now_us=at))

    def due_at_once(self) -> None:
        """The waits between tries are over."""

        def work(unit: Unit) -> None:
            for state in (OutState.QUEUED, OutState.DOUBTFUL):
                for one in unit.outbox.in_state(state):
                    unit.outbox.settle(replace(one, not_before_us=0))

        self.store.write(work)


def permitted(unit: Unit) -> None:
    unit.resources.put(Draft({"resourceType": "Patient", "id": "p1", "name": [{"family": "Zqvale"}]}), now_us=1)
    unit.resources.put(Draft(consent("c1", "p1")), now_us=2)
    agree(unit.resources, "Organization/west", since="2020-01-01", now_us=2)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Callable[..., Hub]]:
    ends: list[Callable[[], None]] = []

    def start(*steps: Callable[[bytes], bytes | None]) -> Hub:
        west = ScriptedPeer(*steps)
        to = {"address": "{}:{}".format(*west.address), "organization": "Organization/west"}
        settings = read_settings(
            environment={}, database_url=f"sqlite:///{tmp_path}/r.db", mllp_address="127.0.0.1:0",
            mllp_destinations={"west": to},
        )  # fmt: skip
        store = open_store(settings)
        store.write(permitted)
        service = mllp_service(settings, store)
        host, _, port = service.start().removeprefix("mllp on ").rpartition(":")
        ends.extend((store.close, service.stop, west.close))
        return Hub(store, settings, (host, int(port)), west)

    yield start
    for end in reversed(ends):
        end()


def answered(message: bytes) -> bytes:
    return framed(ack(message, "AA"))


def test_what_was_queued_and_what_is_in_doubt_stay_here_after_a_revocation(hub: Callable[..., Hub]) -> None:
    one = hub(lambda _message: None, answered)  # the first message is taken, and its answer lost
    one.tell("first")
    eventually(lambda: one.states() == {"in-doubt": 1})
    one.tell("second")
    one.consent("deny")
    one.due_at_once()
    eventually(lambda: one.states() == {"withheld": 2})
    assert len(one.west.received) == 1, "only what left before the revocation"
    with one.store.reading() as reading:
        assert all(found.body == b"" for found in reading.outbox.in_state(OutState.WITHHELD))


def test_what_the_receiver_asked_to_send_again_is_not_sent_again(hub: Callable[..., Hub]) -> None:
    one = hub(lambda message: framed(ack(message, "AE")), answered)
    one.tell("first")
    eventually(lambda: one.states() == {"queued": 1} and len(one.west.received) == 1)
    one.consent("deny")
    one.due_at_once()
    eventually(lambda: one.states() == {"withheld": 1})
    assert len(one.west.received) == 1


def test_a_replay_after_the_revocation_tells_nobody(hub: Callable[..., Hub]) -> None:
    one = hub(answered)
    client = Client(*one.address, timeout_s=10)
    client.send(adt("7", kind="ADT^A28", msh="|||AL|AL"))
    client.close()
    with one.store.reading() as reading:
        (message,) = reading.inbox.find("7")
        (patient,) = (p for p in reading.resources.of_type("Patient") if p.id != "p1")
    one.consent("permit", patient.id)
    one.tell(message.id, patient.id)
    eventually(lambda: one.states() == {"delivered": 1})
    one.consent("deny", patient.id)
    at = iter(range(time.time_ns() // 1000, 10**18))
    replay(one.store, message.id, hl7v2_processing(one.settings), now_us=lambda: next(at), ack_id="R", reason="asked")
    one.tell(message.id, patient.id)  # the same cause is told once
    one.tell("replayed", patient.id)
    eventually(lambda: one.states() == {"delivered": 1, "withheld": 1})
    assert len(one.west.received) == 1
