"""The gate of consent as the REST use cases ask for it (rest/gate.py), bound to what decisions rest on."""

from collections.abc import Sequence
from dataclasses import replace

from gateway.consent.release import Released
from gateway.exchange.audit_event import audit_event
from gateway.exchange.disclose import Gate as Disclosing
from gateway.exchange.disclose import Knowledge
from gateway.exchange.ports.resources import ResourceReader, Stored
from gateway.exchange.ports.store import Unit
from gateway.exchange.rest.ask import Ask
from gateway.exchange.rest.gate import Sight


class ConsentGate:
    """Consent and audit for REST; one for a store, a fresh sight for every request."""

    def __init__(self, knowledge: Knowledge) -> None:
        self._knowledge = knowledge

    def sight(self, reader: ResourceReader, ask: Ask) -> Disclosing:
        """What the asker may see of this snapshot or transaction."""
        request = ask.request()
        return Disclosing(reader, replace(request, now=request.now.astimezone(self._knowledge.zone)), self._knowledge)

    def record(
        self, unit: Unit, ask: Ask, interaction: str, *, what: str = "", query: str = "", sight: Sight | None = None,
        released: Released[Stored] | None = None, written: Sequence[Stored] = (), refused: str = "",
    ) -> None:  # fmt: skip
        """Append the AuditEvent of one interaction; if it cannot be written the transaction fails."""
        out = [*(released.resources if released is not None else ()), *written]
        patients = {patient for stored in out if stored.body for patient in self._knowledge.view(stored).patients}
        event = audit_event(
            ask.request(), interaction, patients=sorted(patients),
            released=[f"{stored.reference}/_history/{stored.version}" for stored in out],
            because=released.because if released is not None else (),
            withheld=released.withheld if released is not None else None,
            what=what, query=query, refused=refused, address=ask.address, id_=ask.id,
        )  # fmt: skip
        unit.audit.append(event, now_us=ask.now_us)
