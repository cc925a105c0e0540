"""The audit trail in memory: one lane."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gateway.exchange.audit_viewers import viewer_of
from gateway.exchange.chain import link
from gateway.exchange.ports.audit import AuditRecord, Moment
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

    def viewers(self) -> Sequence[int]:
        """The keys of everybody who has records in the trail."""
        return sorted({viewer_of(one.text) for one in self.chain})

    def page(
        self, viewer: int, *, since_us: int, until_us: int, after: Moment | None, newest_first: bool, limit: int
    ) -> Sequence[AuditRecord]:
        """Up to ``limit`` of a viewer's records of ``[since_us, until_us)``, by time, from behind ``after`` on."""
        found = [one for one in self.chain if since_us <= one.recorded_us < until_us and viewer_of(one.text) == viewer]
        found.sort(key=lambda one: one.moment, reverse=newest_first)
        if after is not None:
            found = [one for one in found if (one.moment < after if newest_first else one.moment > after)]
        return found[:limit]

    def at(self, lane: int, sequence: int) -> AuditRecord | None:
        """One record."""
        return self.chain[sequence - 1] if lane == 0 and 0 < sequence <= len(self.chain) else None
