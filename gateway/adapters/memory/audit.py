"""The audit trail in memory: one lane."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.exchange.chain import link
from gateway.exchange.ports.audit import AuditRecord
from gateway.kernel.fhir import Resource


@dataclass(slots=True)
class MemoryAudit:
    """The chain as a list."""

    chain: list[AuditRecord] = field(default_factory=list)

    def append(self, event: Resource | bytes, *, now_us: int) -> None:
        """Add an AuditEvent."""
        self.chain.append(link(self.chain[-1] if self.chain else None, 0, event, now_us=now_us))

    def records(self, *, since_us: int = 0) -> Iterator[AuditRecord]:
        """Every record made at ``since_us`` or later, in order."""
        return (record for record in list(self.chain) if record.recorded_us >= since_us)
