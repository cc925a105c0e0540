"""The audit trail: every decision and disclosure, in the same transaction, chained by hash."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import orjson

from gateway.kernel.fhir import Resource

Moment: TypeAlias = tuple[int, int, int]  # recorded_us, lane, sequence: where a record stands in the order of time


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One link of a chain.

    Each writer that works at the same time has a lane of its own, so that several processes need not queue for one
    chain head; a lane is a chain, and a later writer goes on where the lane ended.
    """

    lane: int
    sequence: int  # from 1 in each lane, without gaps
    recorded_us: int
    text: bytes = field(repr=False)  # canonical JSON of a FHIR AuditEvent (IHE BALP)
    digest: bytes  # SHA-256 over the previous digest and the canonical record (exchange/chain.py)

    @property
    def event(self) -> Resource:
        """The AuditEvent, parsed."""
        event: Resource = orjson.loads(self.text)
        return event

    @property
    def moment(self) -> Moment:
        """Where it stands in the order of time."""
        return self.recorded_us, self.lane, self.sequence


class AuditReader(Protocol):
    """The trail as it lies in the store."""

    def records(self, *, since_us: int = 0) -> Iterator[AuditRecord]:
        """Every record made at ``since_us`` or later, lane by lane, each lane in order."""
        ...

    def viewers(self) -> Sequence[int]:
        """The keys (exchange/audit_viewers.py) of everybody who has records in the trail."""
        ...

    def page(
        self, viewer: int, *, since_us: int, until_us: int, after: Moment | None, newest_first: bool, limit: int
    ) -> Sequence[AuditRecord]:
        """Up to ``limit`` of a viewer's records of ``[since_us, until_us)``, by time, from behind ``after`` on.

        It costs what it gives back, whatever others have.
        """
        ...

    def at(self, lane: int, sequence: int) -> AuditRecord | None:
        """One record."""
        ...


class Audit(AuditReader, Protocol):
    """Append-only; the record is durable with the transaction that it belongs to."""

    def append(self, event: Resource | bytes, *, now_us: int) -> None:
        """Add an AuditEvent; if it cannot be written, the transaction fails, and nothing is disclosed.

        ``event`` as bytes is its canonical text (exchange/audit_text.py).
        """
        ...
