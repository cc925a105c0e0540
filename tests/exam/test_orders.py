"""A tenth of the messages sent again, and any order within the window: the same state, by the real tables and worker.

``DOORWAY_EXAM_ORDERS=50`` makes it the full exam; the suite does a few orders on each store.
"""

import os
import random
from collections.abc import Sequence
from functools import cache

import pytest

from gateway.adapters.memory.store import MemoryStore
from gateway.adapters.worker import InboxWorker
from gateway.codecs.json_text import read
from gateway.exchange.ports.inbox import State
from gateway.exchange.ports.store import Store
from gateway.exchange.process_messages import Processing
from gateway.exchange.receive import Feed, admit_all, prepare
from gateway.settings import read_settings
from gateway.sim.hospital import Hospital
from gateway.sim.population import Population
from gateway.wiring import hl7v2_processing

pytestmark = pytest.mark.exam
ORDERS = int(os.environ.get("DOORWAY_EXAM_ORDERS", "2"))
WINDOW = 6  # places that a message may come early or late
SEED, PEOPLE = 11, 40
End = dict[str, dict[str, object]]


@cache
def processing() -> Processing:
    return hl7v2_processing(read_settings(environment={}))


@cache
def feed() -> tuple[bytes, ...]:
    """What one hospital sends of a community, one of each pathway, as time goes by."""
    hospital, seen, sent = Hospital(Population(SEED, PEOPLE)), set[str](), []
    for person, record in hospital.patients():
        if person.pathway not in seen:
            seen.add(person.pathway)
            sent += hospital.messages(person, record)
    assert len(seen) > 8
    return tuple(one.text for one in sorted(sent, key=lambda one: one.at))


def end_of(store: Store, arrivals: Sequence[bytes]) -> End:
    """Everything that is stored in the end but versions and times, after a worker that keeps up in bursts."""
    clock = iter(range(10**15, 10**16))
    worker = InboxWorker(store, processing(), lambda: next(clock))
    for start in range(0, len(arrivals), 5):
        prepared = [prepare(one, Feed(), now_us=next(clock), ack_id="A") for one in arrivals[start : start + 5]]
        store.write(lambda unit, several=prepared: admit_all(unit, several))  # type: ignore[misc]
        worker.turn()
    while worker.turn():
        pass
    with store.reading() as reading:
        assert {state for _, state in reading.inbox.counts()} == {State.PROCESSED.value}
        kinds = {one.split("/")[0] for m in reading.inbox.in_state(State.PROCESSED, limit=9999)
                 for attempt in reading.inbox.attempts(m.id) for one in attempt.outputs}  # fmt: skip
        found = [read(one.body, at=kind).resource for kind in kinds for one in reading.resources.of_type(kind)]
    return {
        f"{one['resourceType']}/{one['id']}": {
            name: {"tag": value.get("tag", [])} if name == "meta" else value for name, value in one.items()
        }
        for one in found
    }


@cache
def expected() -> End:
    return end_of(MemoryStore(), feed())


def shuffled(chance: random.Random) -> list[bytes]:
    """Each message up to half a window early or late, a tenth of them again within a window."""
    places = [(place + chance.uniform(0, WINDOW), one) for place, one in enumerate(feed())]
    again = chance.sample(places, len(places) // 10)
    places += [(place + chance.uniform(0, WINDOW), one) for place, one in again]
    return [one for _, one in sorted(places, key=lambda pair: pair[0])]


@pytest.mark.parametrize("seed", range(ORDERS))
def test_any_order_within_the_window_and_a_tenth_sent_again_end_in_the_same_state(store: Store, seed: int) -> None:
    found = end_of(store, shuffled(random.Random(seed)))
    assert sorted(found) == sorted(expected())
    for reference, resource in expected().items():
        assert found[reference] == resource
