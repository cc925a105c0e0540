"""How much one client may ask at once and a minute; beyond it 429 with Retry-After."""

from collections.abc import Callable

from gateway.adapters.http.outcome import TooMany


class Limits:
    """Requests in flight for each client, and a token bucket for costly or probing interactions.

    Args:
        in_flight: requests of one client at the same time.
        per_minute: requests of one client and kind a minute, for kinds that are rationed (``$match``).
        clock_s: a monotonic clock.
    """

    def __init__(self, *, in_flight: int, per_minute: int, clock_s: Callable[[], float]) -> None:
        self._in_flight = in_flight
        self._per_minute = per_minute
        self._clock_s = clock_s
        self._now: dict[str, int] = {}
        self._left: dict[tuple[str, str], tuple[float, float]] = {}

    def take(self, client: str) -> None:
        """Hold one place while a request is served; :meth:`give` ends it.

        Raises:
            TooMany: all places of the client are taken.
        """
        held = self._now.get(client, 0)
        if held >= self._in_flight:
            raise TooMany("too many requests at the same time", 1)
        self._now[client] = held + 1

    def give(self, client: str) -> None:
        """Give a place back."""
        held = self._now[client] - 1
        if held:
            self._now[client] = held
        else:
            del self._now[client]

    def ration(self, client: str, kind: str) -> None:
        """Take one of the client's requests of this kind.

        Raises:
            TooMany: none is left; the answer says when one will be.
        """
        now = self._clock_s()
        left, since = self._left.get((client, kind), (float(self._per_minute), now))
        left = min(float(self._per_minute), left + (now - since) * self._per_minute / 60)
        if left < 1:
            raise TooMany("too many requests of this kind", max(1, round((1 - left) * 60 / self._per_minute)))
        self._left[(client, kind)] = (left - 1, now)
