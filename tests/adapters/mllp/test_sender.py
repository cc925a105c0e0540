"""Sending: same control id until answered, consent at send time, lying and dead peers, order, and nobody else waits."""

from collections.abc import Callable, Iterator

import pytest

from gateway.adapters.memory.store import MemoryStore
from gateway.adapters.mllp.client import Client
from gateway.adapters.mllp.sender import Sender, Steps
from gateway.consent.release import Judgement, Released, release
from gateway.exchange.deliver import Destination, delivery_id, prepare_delivery, record, record_doubt, wait_us
from gateway.exchange.disclose import Disclosure
from gateway.exchange.ports.outbox import Delivery
from gateway.exchange.ports.resources import Draft, Stored
from gateway.exchange.ports.store import Unit
from gateway.kernel.fhir import Resource
from tests.support.mllp import ScriptedPeer, ack, framed


class OpenOrShut:
    """A gate that a test opens and shuts."""

    def __init__(self) -> None:
        self.open = True
        self.cut: frozenset[str] = frozenset()

    def release(self, candidates: list[Stored]) -> Disclosure:
        return release("Organization/west", candidates, lambda one: Judgement(self.open and one.id not in self.cut))

    def event(
        self, released: Released[Stored], *, activity: str, refused: str = "", address: str = "", id_: str = ""
    ) -> Resource:
        return {"resourceType": "AuditEvent", "outcome": "0" if released.resources else "4"}


def render(kind: str, released: Disclosure, control_id: str, created_us: int) -> bytes:
    told = "~".join(one.reference for one in released.resources)
    return f"MSH|^~\\&|DOORWAY|HUB|X|Y|{created_us}||{kind}|{control_id}|P|2.5.1\rNTE|1||{told}\r".encode()


class Outgoing:
    """An outbox to one destination over a real socket, with a clock of its own."""

    def __init__(self, peer: ScriptedPeer) -> None:
        self.store = MemoryStore()
        self.gate = OpenOrShut()
        self.now_us = 1_000_000
        self.client = Client(*peer.address, timeout_s=0.3)
        destination = Destination("west", lambda _unit, _now: self.gate, render)  # type: ignore[arg-type, return-value]
        self.sender = Sender(
            "west",
            self.client,
            Steps(
                due=self.due,
                prepare=lambda id_: self.store.write(
                    lambda unit: prepare_delivery(unit, id_, destination, now_us=self.now_us)
                ),
                record=lambda sent, said, reply: self.store.write(
                    lambda unit: record(unit, sent, said, reply, now_us=self.now_us)
                ),
                doubt=lambda sent, error: self.store.write(
                    lambda unit: record_doubt(unit, sent, error, now_us=self.now_us)
                ),
            ),
        )

    def due(self) -> list[str]:
        with self.store.reading() as reading:
            return [one.id for one in reading.outbox.due("west", now_us=self.now_us, limit=10)]

    def queue(self, *names: str, lane: str = "p") -> None:
        def work(unit: Unit) -> None:
            for name in names:
                unit.resources.put(Draft({"resourceType": "Task", "id": name}), now_us=self.now_us)
                id_ = delivery_id("west", "REF^I12", name)
                unit.outbox.queue(Delivery(id_, "west", "REF^I12", (f"Task/{name}",), f"C{name}", self.now_us, lane))
                self.now_us += 1

        self.store.write(work)

    def turn(self, wait_s: int = 0) -> None:
        self.now_us += wait_s * 1_000_000
        self.sender.turn()

    def states(self) -> list[str]:
        with self.store.reading() as reading:
            return sorted(state for (_, state), number in reading.outbox.counts().items() for _ in range(number))


@pytest.fixture
def outgoing() -> Iterator[Callable[..., tuple[Outgoing, ScriptedPeer]]]:
    opened: list[tuple[Outgoing, ScriptedPeer]] = []

    def make(*steps: Callable[[bytes], bytes | None]) -> tuple[Outgoing, ScriptedPeer]:
        peer = ScriptedPeer(*steps)
        opened.append((Outgoing(peer), peer))
        return opened[-1]

    yield make
    for out, peer in opened:
        out.client.close()
        peer.close()


Make = Callable[..., tuple[Outgoing, ScriptedPeer]]


def says(code: str, **more: bytes) -> Callable[[bytes], bytes]:
    return lambda message: framed(ack(message, code, **more))


def ids(peer: ScriptedPeer) -> list[str]:
    return [message.split(b"|")[9].decode() for message in peer.received]


def test_messages_are_delivered_in_order_and_audited_first(outgoing: Make) -> None:
    out, peer = outgoing(says("AA"))
    out.queue("1", "2", "3")
    for _ in range(3):
        out.turn()
    assert ids(peer) == ["C1", "C2", "C3"]
    assert out.states() == ["delivered"] * 3
    with out.store.reading() as reading:
        assert len(list(reading.audit.records())) == 3


@pytest.mark.parametrize(
    "trouble",
    [
        lambda _message: b"",  # silence
        lambda _message: None,  # closes
        says("AA", control_id=b"OTHER"),  # an answer to another message
        lambda _message: framed(b"hello"),  # no acknowledgement at all
        lambda _message: b"\x0bMSH|half",  # half an answer
    ],
)
def test_a_doubtful_message_is_sent_again_under_its_control_id(
    outgoing: Make, trouble: Callable[[bytes], bytes | None]
) -> None:
    out, peer = outgoing(trouble, says("AA"))
    out.queue("1", "2")
    out.turn()
    assert out.states() == ["in-doubt", "queued"]
    out.turn()
    assert ids(peer) == ["C1"], "not before its time"
    out.turn(wait_s=2)
    out.turn()
    assert ids(peer) == ["C1", "C1", "C2"]
    assert peer.received[0] == peer.received[1]


def test_an_error_is_tried_again_by_its_code_and_a_rejection_is_not(outgoing: Make) -> None:
    busy = b"ERR||MSH^1|206^Application record locked^HL70357|E\r"
    wrong = b"ERR||PID^1^5|101^Required field missing^HL70357|E\r"
    out, peer = outgoing(says("AE", err=busy), says("AE", err=wrong), says("AR"), says("CR"), says("AA"))
    out.queue("1")
    out.queue("2", lane="q")
    out.turn()
    assert out.states() == ["quarantined", "queued"]
    out.turn(wait_s=2)
    out.queue("3", "4")
    out.turn()
    out.turn()
    assert ids(peer) == ["C1", "C2", "C1", "C3", "C4"]
    assert out.states() == ["delivered", "quarantined", "quarantined", "quarantined"]


def test_consent_is_asked_again_for_every_try(outgoing: Make) -> None:
    out, peer = outgoing(lambda _message: b"", says("AA"))
    out.queue("1")
    out.gate.open = False
    out.turn()
    assert (peer.received, out.states()) == ([], ["withheld"])
    out.gate.open = True
    out.queue("2")
    out.turn()
    out.gate.open = False
    out.turn(wait_s=5)
    assert ids(peer) == ["C2"]
    assert out.states() == ["withheld", "withheld"]


def test_a_text_that_consent_has_cut_is_another_message(outgoing: Make) -> None:
    out, peer = outgoing(lambda _message: b"", says("AA"))

    def work(unit: Unit) -> None:
        for name in ("a", "b"):
            unit.resources.put(Draft({"resourceType": "Task", "id": name}), now_us=1)
        unit.outbox.queue(Delivery("d", "west", "REF^I12", ("Task/a", "Task/b"), "C1", 1))

    out.store.write(work)
    out.turn()
    out.gate.cut = frozenset({"b"})
    out.turn(wait_s=5)
    assert [b"Task/b" in message for message in peer.received] == [True, False]
    assert ids(peer)[0] != ids(peer)[1]
    assert out.states() == ["delivered"]


def test_what_makes_no_message_is_recorded_as_a_refusal_and_as_no_disclosure() -> None:
    store, gate = MemoryStore(), OpenOrShut()
    nothing = Destination("west", lambda _unit, _now: gate, lambda *_: b"")  # type: ignore[arg-type, return-value]

    def work(unit: Unit) -> Delivery | None:
        unit.resources.put(Draft({"resourceType": "Task", "id": "a"}), now_us=1)
        unit.outbox.queue(Delivery("d", "west", "REF^I12", ("Task/a",), "C1", 1))
        return prepare_delivery(unit, "d", nothing, now_us=2)

    assert store.write(work) is None
    with store.reading() as reading:
        assert [record.event["outcome"] for record in reading.audit.records()] == ["4"]


def test_a_peer_that_never_answers_is_asked_less_and_less_often() -> None:
    sent, at = 0, 0
    while at < 3600 * 1_000_000:
        sent += 1
        at += wait_us(sent)
    assert sent <= 60
    assert wait_us(10_000) == 300_000_000


@pytest.mark.parametrize(("codes", "last", "answers"), [
    (["AA", "AA"], "AA", 2), (["CA", "AA"], "AA", 4), (["CA", "AE"], "AE", 4), (["CA"], "CA", 2),
])  # fmt: skip
def test_a_peer_that_answers_twice_is_heard_to_the_end_and_gets_nothing_twice(
    codes: list[str], last: str, answers: int
) -> None:
    peer = ScriptedPeer(lambda message: b"".join(framed(ack(message, code)) for code in codes))
    client = Client(*peer.address, timeout_s=0.3)
    said = [client.send(b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|%d|P|2.5.1\r" % number) for number in range(2)]
    assert [one.last.code for one in said if one.last] == [last, last]
    assert sum(len(one.acknowledgements) for one in said) == answers
    assert len(peer.received) == 2
    client.close()
    peer.close()


def test_an_accepted_message_is_not_in_doubt_because_the_peer_then_leaves() -> None:
    peer = ScriptedPeer(lambda message: framed(ack(message, "CA")) + framed(b"nonsense"))
    client = Client(*peer.address, timeout_s=0.3)
    said = client.send(b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|2.5.1\r").last
    assert said is not None
    assert said.code == "CA"
    client.close()
    peer.close()
