"""The thread that labels records anew after an Organization's flags have changed, one small transaction at a time.

What waits is on record in the store (exchange/pending_labels.py), so it goes on after a stop of any kind; several
gateways over one database do the same work twice at worst.
"""

from collections.abc import Callable, Iterator

from gateway.adapters.worker import Loop
from gateway.exchange.relabel import Step

_IDLE_S = 1.0  # how long records may be withheld before their labelling begins


class LabelService:
    """Starts and stops with the gateway.

    Args:
        passes: begins one pass over what waits; nothing when nothing does.
    """

    name = "labels"

    def __init__(self, passes: Callable[[], Iterator[Step]]) -> None:
        self._passes = passes
        self._under_way: Iterator[Step] | None = None
        self._found = False
        self._loop = Loop("doorway-labels", self.turn, idle_s=_IDLE_S)

    def turn(self) -> bool:
        """One transaction of a pass; whether there may be more to do at once."""
        if self._under_way is None:
            self._under_way, self._found = self._passes(), False
        going = False
        try:
            going = next(self._under_way, None) is not None
        finally:
            if not going:  # at its end, or broken off by an error: the next turn begins a new one
                self._under_way = None
        self._found = self._found or going
        return self._found

    def start(self) -> str:
        """Begin; it has no address to tell."""
        self._loop.start()
        return ""

    def stop(self) -> None:
        """Finish the transaction under way and end."""
        self._loop.stop()

    def trouble(self) -> str:
        """Why it is not well, in a word; empty when it is."""
        return "" if self._loop.alive else "the worker has ended"
