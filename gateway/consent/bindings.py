"""Bound Consents remembered: the same Consents and the same caller are bound once for as long as no date in them turns.

Many requests of one caller are about one client. What :func:`gateway.consent.engine.bind` answers depends on the
programs, on who asks, and on the instant only through the dates that the Consents state; between two of them the answer
stays, and so do the verdicts that the bound form has worked out.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Final

from gateway.consent.asked import Asked
from gateway.consent.engine import Bound, Program, bind

_LIMIT: Final = 20_000


def turns_of(programs: Sequence[Program]) -> list[int]:
    """The instants (microseconds since 1970) at which binding may begin to answer differently, in order."""
    turns: set[int] = set()
    for program in programs:
        spans = [span for rule in program.directive.rules for span in rule.request.periods]
        spans += [span for node in program.nodes for span in node.request.periods]
        spans.append((program.directive.starts, None))
        turns |= {low for low, _ in spans if low is not None}
        turns |= {high + 1 for _, high in spans if high is not None}  # a period holds through its last microsecond
    return sorted(turns)


class Bindings:
    """Remembers what was bound; shared by all requests over one store."""

    def __init__(self) -> None:
        # (caller, programs by identity) -> the programs, their turns, and by the number of turns passed what is bound
        self._kept: dict[Any, tuple[Sequence[Program], list[int], dict[int, Bound]]] = {}

    def bind(self, programs: Sequence[Program], asked: Asked) -> Bound:
        """As :func:`gateway.consent.engine.bind`."""
        if asked.links:  # what instances refer to may change with any write
            return bind(programs, asked)
        key = (_standing(asked), *map(id, programs))
        kept = self._kept.get(key)
        if kept is None:
            if len(self._kept) >= _LIMIT:
                self._kept.clear()
            kept = self._kept[key] = (tuple(programs), turns_of(programs), {})  # holding them keeps their ids theirs
        passed = bisect_right(kept[1], asked.now_us)
        bound = kept[2].get(passed)
        if bound is None:
            bound = kept[2][passed] = bind(programs, asked)
        return bound


def _standing(asked: Asked) -> tuple[Any, ...]:
    """Everything of a request but its instant."""
    return (
        asked.keys, asked.known, asked.nameless, asked.bare, asked.purposes, asked.purposes_exact, asked.action,
        asked.environment, asked.custodian, asked.categories, asked.classes, asked.codes, asked.every_purpose,
        asked.verified,
    )  # fmt: skip
