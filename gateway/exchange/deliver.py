"""Sending: consent is asked again for every try, the audit record is durable before the first byte, order is kept.

:func:`prepare_delivery` runs in a transaction: it takes the delivery, lets the gate cut what it tells of, writes the
audit record, and keeps the text. Only after that commit does the sender put it on the wire, and :func:`record` writes
what came of it. What may have arrived is sent again under the same MSH-10; if consent has changed what it would say,
it is another message and gets another one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, TypeAlias

from gateway.codecs.ack import Acknowledged, Outcome
from gateway.exchange.audit_event import DISCLOSE
from gateway.exchange.disclose import Disclosure
from gateway.exchange.ports.outbox import Delivery, OutState
from gateway.exchange.ports.resources import Stored
from gateway.exchange.ports.store import Unit
from gateway.kernel.errors import DoorwayError
from gateway.kernel.fhir import Resource
from gateway.kernel.identifiers import resource_id

TRY_AGAIN: Final = frozenset({"", "206", "207"})  # table 0357: record locked, internal error; no code says nothing
FIRST_WAIT_US: Final = 1_000_000
LONGEST_WAIT_US: Final = 300_000_000  # so a peer that never answers gets about twenty tries in its first hour


class Gatekeeper(Protocol):
    """The gate of consent in front of one transaction (exchange/disclose.py: Gate)."""

    def release(self, candidates: Sequence[Stored]) -> Disclosure:
        """Cut the candidates to what the receiver may see."""
        ...

    def event(
        self, released: Disclosure, *, activity: str, refused: str = "", address: str = "", id_: str = ""
    ) -> Resource:
        """The AuditEvent of the disclosure, or of its refusal."""
        ...


Render: TypeAlias = "Callable[[str, Disclosure, str, int], bytes]"  # kind, released, control id, created_us -> message


@dataclass(frozen=True, slots=True)
class Destination:
    """A receiver: where it listens, and how its messages are made.

    Args:
        name: as in the settings and in every delivery to it.
        gate: the gate for this receiver over a transaction.
        render: makes the message from what the gate released; b"" when nothing of it may be said.
    """

    name: str
    gate: Callable[[Unit, int], Gatekeeper]
    render: Render = field(repr=False)


def delivery_id(destination: str, kind: str, cause: str) -> str:
    """One cause is told to one destination once."""
    return resource_id("delivery", destination, kind, cause)


def queue_delivery(
    unit: Unit, destination: str, kind: str, references: Sequence[str], *, cause: str, now_us: int, lane: str = ""
) -> bool:
    """Say in the caller's transaction that ``destination`` is to be told; False when it was for this cause already.

    Args:
        kind: event of the message: ``REF^I12``, ``ADT^A01``.
        references: ``Type/id`` of what it tells of; what of it may leave is decided when it leaves.
        cause: the message or resource version that caused it.
        lane: order is kept among deliveries of one lane (the patient); empty: none.
    """
    id_ = delivery_id(destination, kind, cause)
    control_id = id_.replace("-", "")[:20]
    return unit.outbox.queue(Delivery(id_, destination, kind, tuple(references), control_id, now_us, lane, cause=cause))


def prepare_delivery(unit: Unit, id_: str, destination: Destination, *, now_us: int) -> Delivery | None:
    """Take a delivery and make its text; None when it is done, or consent lets nothing of it out.

    The transaction must be committed before a byte is sent: it holds the audit record.
    """
    delivery = unit.outbox.claim(id_)
    if delivery is None:
        return None
    gate = destination.gate(unit, now_us)
    found = unit.resources.many(delivery.references)
    released = gate.release([found[reference] for reference in delivery.references if reference in found])
    text = (
        destination.render(delivery.kind, released, delivery.control_id, delivery.created_us)
        if released.resources
        else b""
    )
    # what may leave and makes no message (the patient is withheld, say) does not leave: the record must not say it did
    told = released if text or not released.resources else gate.release(())
    unit.audit.append(gate.event(told, activity=DISCLOSE, address=destination.name, id_=delivery.id), now_us=now_us)
    if not text:
        why = "what consent permits makes no message" if released.resources else "consent permits none of it"
        gone = replace(delivery, state=OutState.WITHHELD, fault=why, body=b"")
        unit.outbox.settle(gone)
        return None
    if delivery.state is OutState.DOUBTFUL and text != delivery.body:  # no longer the message that may have arrived
        fresh = resource_id(delivery.id, str(delivery.attempts)).replace("-", "")[:20]
        delivery = replace(delivery, control_id=fresh)
        text = destination.render(delivery.kind, released, fresh, delivery.created_us)
    sending = replace(delivery, state=OutState.DOUBTFUL, attempts=delivery.attempts + 1, body=text)
    unit.outbox.settle(replace(sending, not_before_us=now_us + wait_us(sending.attempts)))
    return sending


def record(unit: Unit, sent: Delivery, answer: Acknowledged | None, reply: bytes, *, now_us: int) -> OutState:
    """Write what the receiver said: delivered, to be tried again, or for a human."""
    if answer is None or answer.outcome is Outcome.OK:
        done = replace(sent, state=OutState.DELIVERED, answer=reply, fault="")
    elif answer.outcome is Outcome.ERROR and (not answer.conditions or TRY_AGAIN.intersection(answer.conditions)):
        done = replace(
            sent,
            state=OutState.QUEUED,
            answer=reply,
            fault=f"{answer.code}: the receiver asks to try again",
            not_before_us=now_us + wait_us(sent.attempts),
        )
    else:
        codes = " ".join(answer.conditions) or "no code"
        done = replace(sent, state=OutState.QUARANTINED, answer=reply, fault=f"{answer.code}: refused ({codes})")
    unit.outbox.settle(done)
    return done.state


def record_doubt(unit: Unit, sent: Delivery, error: DoorwayError, *, now_us: int) -> None:
    """No answer that counts: it may have arrived, so the same is sent again, later and later."""
    unit.outbox.settle(
        replace(sent, state=OutState.DOUBTFUL, fault=str(error), not_before_us=now_us + wait_us(sent.attempts))
    )


def wait_us(attempts: int) -> int:
    """Doubling, to a cap."""
    return int(min(FIRST_WAIT_US * 2 ** min(max(attempts - 1, 0), 20), LONGEST_WAIT_US))
