"""Reviewers' decisions as labels: what ``doorway link evaluate`` measures with, and the next training may use."""

from dataclasses import dataclass, field
from typing import Final

from gateway.exchange.link import GATEWAY, parsed
from gateway.exchange.ports.store import Reading
from gateway.linkage.patient import row_of

_SAID: Final = {"link": "same", "veto": "not-same", "unlink": "not-same", "unsure": "cannot-tell"}


@dataclass(frozen=True, slots=True)
class Label:
    """The last word of a person on two records."""

    one: str
    other: str
    said: str  # same, not-same, cannot-tell
    by: str
    at_us: int


@dataclass(frozen=True, slots=True)
class Labels:
    """Decisions, and the records that they are about as rows of the evaluation command."""

    decisions: tuple[Label, ...]
    left: tuple[dict[str, str], ...] = field(repr=False)
    right: tuple[dict[str, str], ...] = field(repr=False)


def labels_of(reading: Reading) -> Labels:
    """Every pair on which a person has decided and whose records are both held, by the last decision.

    What a custodian merges is no judgement of two records, and what the gateway linked by itself is none either.
    """
    last: dict[tuple[str, str], Label] = {}
    for event in reading.links.events():
        said = _SAID.get(event.kind)
        if said is not None and event.by != GATEWAY:
            last[event.one, event.other] = Label(event.one, event.other, said, event.by, event.at_us)
    stored = reading.resources.many({reference for pair in last for reference in pair})
    live = {reference: parsed(one) for reference, one in stored.items() if not one.deleted}
    decisions = tuple(label for pair, label in sorted(last.items()) if set(pair) <= set(live))
    return Labels(
        decisions,
        tuple(row_of(live[one]) for one in sorted({label.one for label in decisions})),
        tuple(row_of(live[other]) for other in sorted({label.other for label in decisions})),
    )
