"""Reads and indexed searches with 10,000 resources and with many more: how much slower, and where.

Two stores are filled with the same community of the same shape, a third of it people, and asked in turns, so that what
disturbs the machine disturbs both. Growth is the ratio of the median times: 1 is flat, the goal for a hundred times as
many is 2; where others work on the machine, the time on processors (of this process, and of PostgreSQL's where it runs
on this machine) tells more. A search whose matches grow with the store is asked for a page, not for all of them.
"""

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final, TypeAlias
from urllib.parse import quote

import psycopg

from gateway.adapters.db.store import DbStore
from gateway.bench import search as figures
from gateway.settings import Settings
from gateway.wiring import open_store

SMALL: Final = 10_000
LARGE: Final = 300_000
_ROUNDS: Final = 60
Costs: TypeAlias = list[tuple[float, float]]  # seconds of wall and of CPU


def run(*, resources: int = LARGE, database: str = "") -> dict[str, Any]:
    """Figures of one run; see the module's text.

    Args:
        resources: how many the larger store holds.
        database: an empty PostgreSQL database, postgresql://…; without it two SQLite files that are thrown away.
    """
    with tempfile.TemporaryDirectory(prefix="doorway-growth-") as folder:
        small, large = (_opened(database, Path(folder), size) for size in (SMALL, resources))
        try:
            return _compared(small, large, resources)
        finally:
            small.close()
            large.close()


def _opened(database: str, folder: Path, size: int) -> DbStore:
    """An empty store; on PostgreSQL a schema of its own."""
    url = f"sqlite:///{folder}/{size}.db"
    if database:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA growth_{size}")
        joined = "&" if "?" in database else "?"
        url = f"{database}{joined}options={quote(f'-csearch_path=growth_{size}')}"
    store = open_store(Settings(database_url=url))
    assert isinstance(store, DbStore)
    return store


def _compared(small: DbStore, large: DbStore, resources: int) -> dict[str, Any]:
    cost = {name: _filled(store, size) for name, store, size in (("10,000", small, SMALL), ("all", large, resources))}
    asked: dict[str, Callable[[DbStore, int], None]] = {"read": figures.read}
    for name, template in figures.SEARCHES.items():
        asked[name] = lambda store, number, text=template: figures.searched(store, text, number)  # type: ignore[misc]
    times = {name: _times(work, small, large, resources // 3) for name, work in asked.items()}

    def growth(which: int) -> dict[str, float]:
        middles = {name: [median(one[which] for one in some) for some in both] for name, both in times.items()}
        return {name: most / few for name, (few, most) in middles.items()}

    return {
        "resources": resources,
        "growth, against 10,000 resources (goal 2)": growth(0),
        "growth, by CPU": growth(1),
        "milliseconds, median": {name: median(wall for wall, _ in most) * 1e3 for name, (_, most) in times.items()},
        "milliseconds, 95th of 100": {
            name: quantiles([wall for wall, _ in most], n=20)[-1] * 1e3 for name, (_, most) in times.items()
        },
        "stored, CPU microseconds each": cost,
    }


def _filled(store: DbStore, size: int) -> float:
    cost = figures.fill(store, 0, size)
    if store.database.dialect == "postgresql":
        with psycopg.connect(store.database.url, autocommit=True) as connection:
            connection.execute("ANALYZE")
    return cost


def _times(work: Callable[[DbStore, int], None], small: DbStore, large: DbStore, people: int) -> tuple[Costs, Costs]:
    """Each round with the small store and with the large one; the first few warm the caches."""
    rng = random.Random(7)
    out: tuple[Costs, Costs] = ([], [])
    for number in range(_ROUNDS + 5):
        for store, most, costs in ((small, SMALL // 3, out[0]), (large, people, out[1])):
            chosen = rng.randrange(most)
            server = _server(store)
            cpu, wall = time.process_time() + _ran(server), time.perf_counter()
            work(store, chosen)
            wall, cpu = time.perf_counter() - wall, time.process_time() + _ran(server) - cpu
            if number >= 5:
                costs.append((wall, cpu))
    return out


def _server(store: DbStore) -> Path | None:
    """Where Linux tells how long PostgreSQL's process of the next reader has run; none: it is elsewhere."""
    if store.database.dialect == "sqlite":
        return None
    with store.database.reading() as session:
        told = Path(f"/proc/{session.connection.info.backend_pid}/schedstat")
    return told if told.exists() and b"postgres" in told.with_name("cmdline").read_bytes() else None


def _ran(told: Path | None) -> float:
    """Seconds on a processor."""
    return int(told.read_text().split()[0]) / 1e9 if told is not None else 0.0
