"""What part of the store one asker may see: the search runs on this part only, never on the whole and then filtered."""

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from gateway.consent.release import Released
from gateway.exchange.ports.resources import Stored


class Visibility(Protocol):
    """Bound to one request; made from the gate of consent (exchange/disclose.py)."""

    def visible(self, candidates: Sequence[Stored]) -> Sequence[bool]:
        """For each candidate, in order, whether the asker may see it. Unknown means no."""
        ...


@runtime_checkable
class Redacting(Visibility, Protocol):
    """A visibility that may also take elements out of what it shows.

    A search must not find, sort or count by an element that the answer would not hold: whoever asks for a hidden
    identifier would learn it from the match.
    """

    def cut(self, type_: str) -> frozenset[str]:
        """Top-level elements of resources of the type in which something may be taken out for this asker."""
        ...

    def release(self, candidates: Iterable[Stored]) -> Released[Stored]:
        """The candidates that the asker may see, with the bodies that he would get."""
        ...
