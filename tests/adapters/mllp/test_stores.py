"""The listener and worker keep their promises on PostgreSQL too, where several processes share the work."""

import threading

from gateway.adapters.db.store import DbStore
from gateway.adapters.mllp.receiver import Listener
from gateway.adapters.worker import InboxWorker
from gateway.exchange.ports.inbox import State
from tests.exchange.test_process_messages import PROCESSING
from tests.support.mllp import Peer, adt, framed, msa, receiving


def test_many_connections_share_commits_and_every_answer_is_its_own(postgres_store: DbStore) -> None:
    with receiving(postgres_store, Listener(port=0)) as receiver:

        def one(number: int) -> None:
            peer = Peer(receiver.addresses[0])
            for index in range(10):
                peer.send(framed(adt(f"{number}-{index}", mrn=str(number))))
                assert msa(peer.answer()) == ("AA", f"{number}-{index}")
            peer.close()

        threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with postgres_store.reading() as reading:
        assert reading.inbox.counts() == {("EHR^WEST", "received"): 80}


def test_two_workers_apply_each_message_once_and_each_lane_in_order(postgres_store: DbStore) -> None:
    with receiving(postgres_store, Listener(port=0)) as receiver:
        peer = Peer(receiver.addresses[0])
        for index in range(24):
            peer.send(framed(adt(str(index), mrn=str(index % 4)).replace(b"Zqvale", b"Zq%d" % index)))
            assert msa(peer.answer()) == ("AA", str(index))
        peer.close()
    clock = iter(range(10**16, 10**17))
    workers = [InboxWorker(postgres_store, PROCESSING, lambda: next(clock)) for _ in range(2)]

    def run(worker: InboxWorker) -> None:
        while worker.turn():
            pass

    threads = [threading.Thread(target=run, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with postgres_store.reading() as reading:
        assert reading.inbox.counts() == {("EHR^WEST", "processed"): 24}
        done = reading.inbox.in_state(State.PROCESSED)
        assert {len(reading.inbox.attempts(one.id)) for one in done} == {1}
        versions = {stored.id: stored for stored in reading.resources.of_type("Patient")}
    assert {stored.version for stored in versions.values()} == {6}
    assert all(b"Zq%d" % (20 + int(id_)) in stored.body for id_, stored in versions.items())
