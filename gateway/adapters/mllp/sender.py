"""Outgoing messages: one thread and connection a destination, so a slow, dead or lying peer holds up nobody else."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.adapters.failpoint import reached
from gateway.adapters.mllp.client import Client
from gateway.codecs.ack import Acknowledged
from gateway.exchange.ports.outbox import Delivery, OutState
from gateway.kernel.errors import DoorwayError

log = logging.getLogger("doorway.mllp")


@dataclass(frozen=True, slots=True)
class Steps:
    """The use cases of sending, bound to the store and to one destination (wiring)."""

    due: Callable[[], Sequence[str]]  # ids that may be sent now
    prepare: Callable[[str], Delivery | None]  # consent, audit, text: committed
    record: Callable[[Delivery, Acknowledged | None, bytes], OutState]
    doubt: Callable[[Delivery, DoorwayError], None]


class Sender:
    """Sends what is due to one destination; one turn of a :class:`gateway.adapters.worker.Loop`."""

    def __init__(self, name: str, client: Client, steps: Steps) -> None:
        self._name = name
        self._client = client
        self._steps = steps

    def turn(self) -> bool:
        """Everything that is due, one after the other; whether there was anything."""
        due = self._steps.due()
        for id_ in due:
            delivery = self._steps.prepare(id_)
            if delivery is None:
                continue
            try:
                answered = self._client.send(delivery.body)
            except DoorwayError as error:
                self._steps.doubt(delivery, error)
                log.warning("mllp to=%s delivery=%s in doubt at=%s", self._name, id_, error.at)
                return False  # the peer is in trouble: the others to it wait too, in their order
            reached("after_send_before_record")
            state = self._steps.record(delivery, answered.last, answered.payloads[-1] if answered.payloads else b"")
            if state is OutState.QUARANTINED:
                log.warning("mllp to=%s delivery=%s quarantined", self._name, id_)
        return bool(due)

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()
