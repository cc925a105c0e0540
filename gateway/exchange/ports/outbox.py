"""The outbox: what is to be sent to whom, durable with the change that caused it; no content, only what to render.

Content is made when it is sent, from what consent lets the receiver see at that moment; so a revocation reaches what
is still queued. The text last sent is kept while its fate is in doubt, to be sent again under the same MSH-10.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class OutState(StrEnum):
    """How far a delivery is."""

    QUEUED = "queued"
    DOUBTFUL = "in-doubt"  # sent, no answer: it may have arrived
    DELIVERED = "delivered"
    WITHHELD = "withheld"  # consent no longer permits any of it
    QUARANTINED = "quarantined"  # the receiver refuses it; a human must look


WAITING: tuple[str, ...] = (OutState.QUEUED, OutState.DOUBTFUL)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message to one destination."""

    id: str
    destination: str  # name of a destination of the settings
    kind: str  # what to render: REF^I12
    references: tuple[str, ...]  # Type/id of the resources that it tells of
    control_id: str  # MSH-10; the same for every try of the same content
    created_us: int
    lane: str = ""  # order is kept within destination and lane; empty: no order
    state: OutState = OutState.QUEUED
    attempts: int = 0
    not_before_us: int = 0
    body: bytes = field(default=b"", repr=False)  # as last sent
    answer: bytes = field(default=b"", repr=False)  # the last acknowledgement
    fault: str = ""  # why it is not delivered; no value of the message
    cause: str = ""  # the message or resource version that caused it


class OutboxReader(Protocol):
    """Reads of the outbox."""

    def get(self, id_: str) -> Delivery | None:
        """One delivery."""
        ...

    def find(self, control_id: str) -> list[Delivery]:
        """The deliveries under this MSH-10."""
        ...

    def due(self, destination: str, *, now_us: int, limit: int) -> list[Delivery]:
        """What may be sent now, oldest first, at most one of each lane."""
        ...

    def in_state(self, state: OutState, *, limit: int = 100) -> list[Delivery]:
        """Deliveries in a state, oldest first."""
        ...

    def counts(self) -> dict[tuple[str, str], int]:
        """How many there are by (destination, state)."""
        ...


class Outbox(OutboxReader, Protocol):
    """Reads and writes inside one transaction."""

    def queue(self, delivery: Delivery) -> bool:
        """Add a delivery; False when that id is there already (the same cause is told once)."""
        ...

    def claim(self, id_: str) -> Delivery | None:
        """Take a waiting delivery for this transaction; None when another has it or it is done."""
        ...

    def settle(self, delivery: Delivery) -> None:
        """Write everything that may change of it."""
        ...


def waiting(deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Those that are not finished."""
    return [one for one in deliveries if one.state in WAITING]
