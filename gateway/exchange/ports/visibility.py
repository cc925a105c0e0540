"""What part of the store one asker may see: the search runs on this part only, never on the whole and then filtered."""

from collections.abc import Sequence
from typing import Protocol

from gateway.exchange.ports.resources import Stored


class Visibility(Protocol):
    """Bound to one request; made from the gate of consent (exchange/disclose.py)."""

    def visible(self, candidates: Sequence[Stored]) -> Sequence[bool]:
        """For each candidate, in order, whether the asker may see it. Unknown means no."""
        ...
