"""MSH-15 x MSH-16 over a socket: what is sent for a message that is taken, refused, or fails after it was taken."""

import itertools
import time
from collections import defaultdict

from gateway.adapters.db.store import DbStore
from gateway.adapters.mllp.receiver import Arrivals, Listener
from gateway.adapters.worker import InboxWorker, Loop
from gateway.codecs.er7 import Message
from gateway.exchange.process_messages import Processing, plain_merge
from gateway.exchange.receive import Feed
from gateway.exchange.save import Saver
from gateway.kernel.errors import Invalid, Unsupported
from gateway.mapping.hl7v2.convert import Conversion
from tests.support.mllp import Peer, adt, framed, receiving

CONDITIONS = ("", "AL", "NE", "ER", "SU")
LETTERS = {"ok": "A", "error": "E", "reject": "R"}


def wants(condition: str, outcome: str) -> bool:
    """Table 0155."""
    return condition == "AL" or condition == ("SU" if outcome == "ok" else "ER")


def due(msh_15: str, msh_16: str, at_once: str, later: str) -> list[str]:
    """What the page demands, in its own words: the codes in order, of a feed that answers after processing."""
    final = later if at_once == "ok" else at_once
    if not msh_15 and not msh_16:
        return ["A" + LETTERS[final]]  # original mode
    accept = ["C" + LETTERS[at_once]] if wants(msh_15, at_once) else []
    if at_once != "ok" and accept:
        return accept  # it never reaches the application
    return accept + (["A" + LETTERS[final]] if wants(msh_16, final) else [])


def convert(message: Message, sender: str) -> Conversion:
    mrn = message.get("PID-3") or ""
    if mrn.startswith("error"):
        raise Invalid("cannot be mapped", at="PID-3")
    if mrn.startswith("reject"):
        raise Unsupported("cannot be mapped", at="PID-3")
    return Conversion(message.kind, message.trigger, message.structure, message.control_id, sender, (), ())


CASES = {
    f"{stage}-{outcome}-{a or 'x'}-{b or 'x'}": (a, b, stage, outcome)
    for a, b in itertools.product(CONDITIONS, CONDITIONS)
    for stage, outcome in (
        ("taken", "ok"), ("refused", "error"), ("refused", "reject"), ("failed", "error"), ("failed", "reject")
    )
}  # fmt: skip


def message(control_id: str, a: str, b: str, stage: str, outcome: str) -> bytes:
    """A message that ends so: refused for its type, or failing in the conversion, by the number of its patient."""
    mrn = f"{outcome}{control_id}" if stage == "failed" else control_id
    made = adt(
        control_id,
        mrn=mrn,
        msh=f"|||{a}|{b}",
        kind="XYZ^Z99" if (stage, outcome) == ("refused", "reject") else "ADT^A01",
    )
    return made.replace(b"ADT^A01", b"") if (stage, outcome) == ("refused", "error") else made


def test_every_pair_of_conditions_is_answered_as_the_table_says(sqlite_store: DbStore) -> None:
    feed = Feed(wait=True, supports=lambda kind, _: kind == "ADT")
    processing = Processing(convert, plain_merge, {}, Saver(lambda _resource: ()))
    said: dict[str, list[str]] = defaultdict(list)
    ids: list[str] = []
    with receiving(sqlite_store, Listener(port=0, feed=feed, result_timeout_s=5)) as receiver:
        loop = Loop("worker", InboxWorker(sqlite_store, processing, Arrivals(), receiver.processed).turn, idle_s=0.005)
        loop.start()
        peer = Peer(receiver.addresses[0])
        for control_id, case in CASES.items():
            peer.send(framed(message(control_id, *case)))
        expected = {
            control_id: due(a, b, *((outcome, "ok") if stage == "refused" else ("ok", outcome)))
            for control_id, (a, b, stage, outcome) in CASES.items()
        }
        for _ in range(sum(map(len, expected.values()))):
            answer = Message.parse(peer.answer())
            code = answer.get("MSA-1") or ""
            said[answer.get("MSA-2") or ""].append(code)
            ids.append(answer.control_id)
            assert (answer.get("ERR-3.1") is not None) == (code[1] != "A")
            assert answer.get("ERR-3.3") in {None, "HL70357"}
        peer.socket.settimeout(0.2)
        quiet = time.monotonic()
        try:
            assert peer.socket.recv(100) == b"", "an answer that nobody asked for"
        except TimeoutError:
            assert time.monotonic() - quiet > 0.1
        peer.close()
        loop.stop()
    assert dict(said) == {control_id: codes for control_id, codes in expected.items() if codes}
    assert len(set(ids)) == len(ids)
    assert len(CASES) == 125
