"""What part of the store one asker may see: the search runs on this part only, never on the whole and then filtered."""

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from gateway.consent.release import Released
from gateway.exchange.ports.resources import Stored
from gateway.exchange.search import Shown


class Visibility(Protocol):
    """Bound to one request; made from the gate of consent (exchange/disclose.py)."""

    def visible(self, candidates: Sequence[Stored]) -> Sequence[bool]:
        """For each candidate, in order, whether the asker may see it. Unknown means no."""
        ...


@runtime_checkable
class Narrowing(Visibility, Protocol):
    """A visibility that can tell a store what cannot be visible, so that it need not be read."""

    def narrow(self, met: Sequence[Stored]) -> Shown | None:
        """The residual as a store can apply it; None: everything is to be judged.

        Args:
            met: candidates that were judged; only their kinds can be left out.
        """
        ...

    def contradicts(self, stored: Stored, shown: Shown) -> bool:
        """Whether a denial of this resource contradicts the residual, which leaves nothing to be judged for it."""
        ...

    def alarm(self, stored: Stored) -> None:
        """Store and gate disagree about a resource: it is withheld, and somebody has to know."""
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
