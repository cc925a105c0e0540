"""Counts for operators in Prometheus text form: interactions, statuses and times; nothing about anybody."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Final

_BUCKETS_S: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


class Metrics:
    """Counters of one process; the labels come from closed lists of ours, never from a request."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._buckets: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (len(_BUCKETS_S) + 1))
        self._seconds: Counter[str] = Counter()
        self._more: list[Callable[[], Iterable[tuple[str, float]]]] = []

    def add(self, more: Callable[[], Iterable[tuple[str, float]]]) -> None:
        """Another part of the gateway that tells its numbers as (name with labels, value)."""
        self._more.append(more)

    def count(self, kind: str, status: int, seconds: float) -> None:
        """One request of a kind of place, answered."""
        self._requests[(kind, status)] += 1
        self._seconds[kind] += seconds  # type: ignore[assignment]
        self._buckets[kind][bisect_left(_BUCKETS_S, seconds)] += 1

    def text(self) -> bytes:
        """The exposition text (format 0.0.4)."""
        lines = ["# TYPE doorway_http_requests_total counter"]
        lines += [
            f'doorway_http_requests_total{{interaction="{kind}",status="{status}"}} {count}'
            for (kind, status), count in sorted(self._requests.items())
        ]
        lines.append("# TYPE doorway_http_request_seconds histogram")
        for kind, counts in sorted(self._buckets.items()):
            total = 0
            for limit, count in zip((*_BUCKETS_S, "+Inf"), counts, strict=True):
                total += count
                lines.append(f'doorway_http_request_seconds_bucket{{interaction="{kind}",le="{limit}"}} {total}')
            lines.append(f'doorway_http_request_seconds_sum{{interaction="{kind}"}} {self._seconds[kind]:.6f}')
            lines.append(f'doorway_http_request_seconds_count{{interaction="{kind}"}} {total}')
        lines += [f"{name} {value}" for more in self._more for name, value in more()]
        return ("\n".join(lines) + "\n").encode()
