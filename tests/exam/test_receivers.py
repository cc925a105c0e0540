"""Fault 13: slow, dead and lying receivers keep their own messages waiting and nobody else's, and get them later."""

import itertools
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.exchange.deliver import queue_delivery
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.store import Store, Unit
from gateway.settings import read_settings
from gateway.wiring import mllp_service, open_store
from tests.adapters.mllp.test_service import CONSENT
from tests.support.mllp import ScriptedPeer, ack, framed

pytestmark = pytest.mark.exam
TROUBLES: dict[str, Callable[[bytes], bytes | None]] = {
    "silent": lambda _message: b"",
    "closing": lambda _message: None,
    "lying": lambda message: framed(ack(message, "AA", control_id=b"OTHER")),
    "babbling": lambda _message: b"hello " * 1000,
    "halting": lambda _message: b"\x0bMSH|half",
    "endless": lambda _message: b"\x0b" + b"x" * 100_000,
}
MESSAGES = 5


def dead() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_bad_receivers_delay_nobody_else(tmp_path: Path) -> None:
    peers = {name: ScriptedPeer(*itertools.repeat(step, 100)) for name, step in TROUBLES.items()}
    good = ScriptedPeer(lambda message: framed(ack(message, "AA")))
    addresses = {name: "{}:{}".format(*peer.address) for name, peer in (peers | {"good": good}).items()}
    addresses["dead"] = dead()
    settings = read_settings(
        environment={},
        database_url=f"sqlite:///{tmp_path}/out.db",
        mllp_address="127.0.0.1:0",
        mllp_destinations={
            name: {"address": address, "organization": "Organization/west", "timeout_s": 2}
            for name, address in addresses.items()
        },
    )
    store = open_store(settings)

    def work(unit: Unit) -> None:
        unit.resources.put(Draft({"resourceType": "Patient", "id": "p1", "name": [{"family": "Zqvale"}]}), now_us=1)
        unit.resources.put(Draft(CONSENT), now_us=2)
        for number, name in itertools.product(range(MESSAGES), sorted(addresses)):
            queue_delivery(unit, name, "ADT^A08", ["Patient/p1"], cause=f"c{number}", now_us=3 + number, lane="p1")

    store.write(work)
    service = mllp_service(settings, store)
    started = time.monotonic()
    service.start()
    try:
        while delivered(store, "good") < MESSAGES:
            assert time.monotonic() - started < 8, "the good receiver waits for a bad one"
            time.sleep(0.02)
        assert len(good.received) == MESSAGES
        assert {name: delivered(store, name) for name in addresses if name != "good"} == dict.fromkeys(
            [*TROUBLES, "dead"], 0
        )
        assert service.trouble() == ""
    finally:
        for peer in (*peers.values(), good):
            peer.close()
        service.stop()
        store.close()


def delivered(store: Store, name: str) -> int:
    with store.reading() as reading:
        return sum(n for (where, state), n in reading.outbox.counts().items() if (where, state) == (name, "delivered"))
