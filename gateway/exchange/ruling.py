"""What the gate says about one resource, and why."""

from dataclasses import dataclass

from gateway.consent.engine import Reason


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the gate found out about one resource, complete enough to explain it."""

    permit: bool
    rule: str  # consent, default, own-records, own-access, directory, stand-in, stranger, agreement, break-glass, a law
    reasons: tuple[Reason, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def because(self) -> tuple[str, ...]:
        """Names for the audit record: Consents with version and provision, or the rule."""
        named = tuple(
            f"{r.consent}{'/_history/' + r.version if r.version else ''}{'#' + r.provision if r.provision else ''}"
            for r in self.reasons
        )
        return named if self.rule == "consent" and named else (f"rule:{self.rule}", *named)
