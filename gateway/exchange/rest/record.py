"""The gate of the REST API over the consent engine: a judge for every request, an AuditEvent for everything it does."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.consent.release import Released
from gateway.exchange import disclose
from gateway.exchange.audit_event import audit_event
from gateway.exchange.disclose import Knowledge
from gateway.exchange.ports.resources import ResourceReader, Stored
from gateway.exchange.ports.store import Unit
from gateway.exchange.rest.ask import Ask
from gateway.exchange.rest.gate import Sight

_CODES = {"search": "search-type", "history": "history-instance"}


@dataclass(frozen=True, slots=True)
class RestGate:
    """Consent and audit for the REST use cases; keeps :class:`gateway.exchange.rest.gate.Gate`."""

    knowledge: Knowledge

    def sight(self, reader: ResourceReader, ask: Ask) -> Sight:
        """A fresh judge for one request."""
        return disclose.Gate(reader, ask.request(), self.knowledge)

    def record(
        self,
        unit: Unit,
        ask: Ask,
        interaction: str,
        *,
        what: str = "",
        query: str = "",
        sight: Sight | None = None,
        released: Released[Stored] | None = None,
        written: Sequence[Stored] = (),
        refused: str = "",
    ) -> None:
        """Append the AuditEvent of one interaction to the unit."""
        out = [*written, *(released.resources if released is not None else ())]
        event = audit_event(
            ask.request(),
            _CODES.get(interaction, interaction),
            patients=sorted(
                {one for stored in out if not stored.deleted for one in self.knowledge.view(stored).patients}
            ),
            released=[f"{stored.reference}/_history/{stored.version}" for stored in out],
            because=released.because if released is not None else (),
            withheld=released.withheld if released is not None else None,
            what=what,
            query=query,
            refused=refused,
            address=ask.address,
            id_=ask.id,
        )
        unit.audit.append(event, now_us=ask.now_us)
