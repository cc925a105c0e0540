"""The audit trail: every decision and disclosure, in the same transaction, chained by hash."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from gateway.kernel.fhir import Resource


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One link of the chain."""

    sequence: int
    recorded_us: int
    event: Resource = field(repr=False)  # FHIR AuditEvent (IHE BALP)
    digest: bytes  # SHA-256 over the previous digest and the canonical event


class Audit(Protocol):
    """Append-only; the record is durable with the transaction that it belongs to."""

    def append(self, event: Resource, *, now_us: int) -> None:
        """Add an AuditEvent; if it cannot be written, the transaction fails, and nothing is disclosed."""
        ...

    def records(self, *, since: int = 0) -> Iterator[AuditRecord]:
        """The chain from sequence ``since`` on."""
        ...
