"""Writing down what happened to links: append-only, with actor, reason and model, and never a value of a record."""

from gateway.exchange.ports.links import LinkEvent
from gateway.exchange.ports.store import Unit
from gateway.kernel.identifiers import resource_id
from gateway.linkage.judge import Match
from gateway.linkage.scoring import Score


class Scribe:
    """Notes events under one model.

    Args:
        model: digest of the model.
    """

    def __init__(self, model: str) -> None:
        self._model = model

    def note(
        self, unit: Unit, kind: str, one: str, other: str, *, by: str, why: str, now_us: int,
        score: Score | None = None, match: Match | None = None,
    ) -> LinkEvent:  # fmt: skip
        """Append one event about two records (sorted by the caller)."""
        event = LinkEvent(
            id=resource_id("link", kind, one, other, str(now_us), by),
            at_us=now_us,
            kind=kind,
            one=one,
            other=other,
            by=by,
            why=why,
            model=self._model,
            grade=match.grade.value if match is not None else "",
            bits=match.bits if match is not None else 0.0,
            evidence=tuple((p.comparison, p.level, round(p.bits, 3)) for p in score.evidence) if score else (),
        )
        unit.links.record(event)
        return event
