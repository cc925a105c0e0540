"""Fault 3: killed after a message left and before that was written down; the same is sent again, its effect once."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.exchange.agreements import agree
from gateway.exchange.deliver import queue_delivery
from gateway.exchange.ports.outbox import OutState
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.store import Store, Unit
from gateway.settings import read_settings
from gateway.wiring import open_store
from tests.adapters.mllp.test_service import CONSENT
from tests.support.mllp import ScriptedPeer, ack, framed

pytestmark = pytest.mark.exam
ROOT = Path(__file__).resolve().parents[2]
SEND = """
import sys
from gateway.settings import read_settings
from gateway.wiring import mllp_senders, open_store
settings = read_settings(sys.argv[1], environment={})
store = open_store(settings)
(_, sender), = mllp_senders(settings, store)
sender.turn()
store.close()
"""


def run(config: Path, failpoint: str) -> int:
    environment = {**os.environ, "DOORWAY_FAILPOINT": failpoint}
    return subprocess.run([sys.executable, "-c", SEND, str(config)], env=environment, cwd=ROOT, check=False).returncode


def state(store: Store) -> tuple[OutState, int]:
    with store.reading() as reading:
        (found,) = [one for one in map(reading.outbox.get, ids(store)) if one is not None]
    return found.state, found.attempts


def ids(store: Store) -> list[str]:
    with store.reading() as reading:
        return [one.id for kind in OutState for one in reading.outbox.in_state(kind)]


def test_killed_after_sending_the_same_is_sent_again_under_its_id(tmp_path: Path) -> None:
    peer = ScriptedPeer(lambda message: framed(ack(message, "AA")))
    config = tmp_path / "doorway.toml"
    config.write_text(
        f'database_url = "sqlite:///{tmp_path}/out.db"\n[mllp_destinations.west]\n'
        'address = "{}:{}"\norganization = "Organization/west"\n'.format(*peer.address)
    )
    store = open_store(read_settings(str(config), environment={}))

    def work(unit: Unit) -> None:
        unit.resources.put(Draft({"resourceType": "Patient", "id": "p1", "name": [{"family": "Zqvale"}]}), now_us=1)
        unit.resources.put(Draft(CONSENT), now_us=2)
        agree(unit.resources, "Organization/west", since="2020-01-01", now_us=2)
        queue_delivery(unit, "west", "ADT^A08", ["Patient/p1"], cause="c", now_us=3)

    store.write(work)
    assert run(config, "after_send_before_record") == -signal.SIGKILL
    assert state(store) == (OutState.DOUBTFUL, 1)
    store.write(lambda unit: due_at_once(unit, ids(store)[0]))
    assert run(config, "") == 0
    assert state(store) == (OutState.DELIVERED, 2)
    store.close()
    peer.close()
    assert len(peer.received) == 2
    assert peer.received[0] == peer.received[1], "the receiver knows a repeat by its MSH-10"


def due_at_once(unit: Unit, id_: str) -> None:
    """The wait before the next try is over."""
    from dataclasses import replace

    found = unit.outbox.claim(id_)
    assert found is not None
    unit.outbox.settle(replace(found, not_before_us=0))
