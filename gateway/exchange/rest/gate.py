"""What the REST use cases ask of consent and audit, in the few words that they need."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from gateway.consent.release import Released
from gateway.exchange.ports.resources import ResourceReader, Stored
from gateway.exchange.ports.store import Unit
from gateway.exchange.rest.ask import Ask
from gateway.exchange.search import Shown
from gateway.kernel.fhir import JsonObject


class Sight(Protocol):
    """One asker in front of one snapshot or transaction: what it may see (exchange/disclose.py: Gate)."""

    def at_hand(self, current: Stored) -> None:
        """A current version that was read in this transaction already, so that it need not be read again."""
        ...

    def visible(self, candidates: Sequence[Stored]) -> Sequence[bool]:
        """For each candidate, in order, whether the asker may see it."""
        ...

    def narrow(self, met: Sequence[Stored]) -> Shown | None:
        """What of the store cannot be visible (exchange/ports/visibility.py: Narrowing)."""
        ...

    def contradicts(self, stored: Stored, shown: Shown) -> bool:
        """Whether a denial contradicts that."""
        ...

    def alarm(self, stored: Stored) -> None:
        """Store and gate disagree about a resource."""
        ...

    def cut(self, type_: str) -> frozenset[str]:
        """Top-level elements of the type in which redaction may take something out."""
        ...

    def release(self, candidates: Iterable[Stored]) -> Released[Stored]:
        """The part of the candidates that the asker may see, redacted where consent says so."""
        ...


class Gate(Protocol):
    """Consent and audit, bound by wiring."""

    def sight(self, reader: ResourceReader, ask: Ask) -> Sight:
        """The judge of one request; it remembers the Consents that it has loaded, so it is never kept."""
        ...

    def own(self, ask: Ask, written: Sequence[Stored]) -> Released[Stored]:
        """What the caller has just written itself."""
        ...

    def notice(self, codes: Sequence[str]) -> JsonObject:
        """The OperationOutcome with the texts of notices that travel with a disclosure."""
        ...

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
        """Append the AuditEvent (IHE BALP) of one interaction to the unit.

        Args:
            interaction: code of http://hl7.org/fhir/restful-interaction.
            what: the resource or type asked for.
            query: the search as sent.
            sight: what released it.
            released: what goes out.
            written: what was changed.
            refused: the category of the refusal; empty when it was granted.
        """
        ...
