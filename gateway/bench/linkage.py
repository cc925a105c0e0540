"""``doorway bench linkage``: one arriving record against an index of many people, in the database, on one core.

CPU time stands beside wall time, because a machine shared with others makes every wall time longer. The floor of the
same run is the bare work of the database: as many key look-ups and row reads as the search makes.
With Splink installed, its ``score_pairs`` on the very candidates is timed beside ours. Loading counts people a second.
"""

import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import psycopg

from gateway.adapters.db.store import DbStore
from gateway.adapters.files.linkage import default_reader, load_model
from gateway.bench._communities import county
from gateway.exchange.link_index import StoreFrequencies, enter, enter_many, find
from gateway.exchange.ports.store import Reading, Store, Unit
from gateway.kernel.errors import Conflict
from gateway.linkage.blocking import BLOCK_LIMIT, index_keys
from gateway.linkage.judge import judge
from gateway.linkage.scoring import Scorer
from gateway.linkage.traits import Traits, unpack

PEOPLE: Final = 100_000  # --people, or DOORWAY_BENCH_PEOPLE, changes it
QUERIES: Final = 1000
LIMITS: Final = ((100_000, 1.0, 10.0), (1_000_000, 3.0, 20.0))  # people up to, p50 ms, p99 ms
_BATCH: Final = 4000  # one transaction of a bulk load
_CHUNK: Final = 50_000  # people made at a time, so that a million need not lie in memory


def run(people: int = 0, queries: int = QUERIES, database: str = "", *, batch: bool = False) -> dict[str, Any]:
    """Latency in milliseconds, loading and upsert, and the ratios.

    Args:
        people: records in the index.
        queries: arrivals, half of them with a partner in it.
        database: an empty one; default: SQLite in a temporary folder.
        batch: compare two whole files beside Splink instead (:mod:`gateway.bench._linkage_batch`).

    Raises:
        Conflict: the database holds records already.
    """
    from gateway.settings import Settings
    from gateway.wiring import open_store

    if batch:
        from gateway.bench import _linkage_batch

        return _linkage_batch.run()
    people = people or int(os.environ.get("DOORWAY_BENCH_PEOPLE", PEOPLE))
    with tempfile.TemporaryDirectory() as folder:
        url = database or f"sqlite:///{Path(folder) / 'links.db'}"
        store = open_store(Settings(database_url=url))
        try:
            with store.reading() as reading:
                if reading.links.records():
                    raise Conflict("the database holds records", at="--database", fix="give an empty one")
            out: dict[str, Any] = {"database": url.partition(":")[0]}
            first, right = _community(0, people, queries)
            out |= _loaded(store, people, queries)
            out |= _searched(store, right, people)
            out |= _upserted(store, first)
        finally:
            store.close()
    return out


def _community(number: int, people: int, queries: int) -> tuple[list[Traits], list[dict[str, str]]]:
    """The people of one chunk as traits, and the arrivals, who come from the first chunk."""
    reader = default_reader()
    here = min(_CHUNK, people - number * _CHUNK)
    made = county(31 + number, here, queries if number == 0 else 1)
    left = [reader.row(row | {"id": f"{number}-{row['id']}"}) for row in made.left]
    return left, made.right if number == 0 else []


def _loaded(store: Store, people: int, queries: int) -> dict[str, Any]:
    root = default_reader().nicknames.main_root
    seconds = cpu = 0.0
    for number in range((people + _CHUNK - 1) // _CHUNK):
        left, _ = _community(number, people, queries)
        begun, spent = time.perf_counter(), time.process_time()
        for start in range(0, len(left), _BATCH):
            part = left[start : start + _BATCH]

            def load(unit: Unit, part: Sequence[Traits] = part) -> None:
                enter_many(unit.links, [(person, "bench") for person in part], root, now_us=1)

            store.write(load)
        seconds += time.perf_counter() - begun
        cpu += time.process_time() - spent
    _settled(store)
    return {
        "people": people, "load people/s": round(people / seconds), "load people/s floor": 3000,
        "load people/CPU s": round(people / max(cpu, 1e-9)),
    }  # fmt: skip


def _settled(store: Store) -> None:
    """PostgreSQL as it is some minutes after a load, when its own upkeep was there: pages written, rows all visible."""
    database = store.database if isinstance(store, DbStore) else None
    if database is not None and database.dialect == "postgresql":
        with psycopg.connect(database.url, autocommit=True) as connection:
            for table in ("link_block", "link_traits", "link_count"):
                connection.execute(f"VACUUM (ANALYZE) {table}")


def _searched(store: Store, right: Sequence[dict[str, str]], people: int) -> dict[str, Any]:
    reader, model = default_reader(), load_model()
    root = reader.nicknames.main_root
    took: list[float] = []
    cpu: list[float] = []
    bare: list[float] = []
    counts: list[int] = []
    pairs: list[tuple[Traits, list[Traits]]] = []
    for row in right:
        with store.reading() as reading:
            begun, spent = time.perf_counter(), time.thread_time()
            person = reader.row(row)
            found = find(reading.links, person, root)
            entries = [unpack(known.traits) for known in found.entries]
            frequencies = StoreFrequencies(reading.links, person, indexed=False, counted=found.counted)
            scorer = Scorer(model, frequencies, population=frequencies.records)
            judge(scorer, person, entries, least_bits=0.0)  # as an arrival is judged
            took.append((time.perf_counter() - begun) * 1000)
            cpu.append((time.thread_time() - spent) * 1000)
            counts.append(len(entries))
            bare.append(_bare(reading, person, entries))
        if entries and len(pairs) < 30:
            pairs.append((person, entries))
    half, nearly_all = next(((p50, p99) for size, p50, p99 in LIMITS if people <= size), LIMITS[-1][1:])
    out: dict[str, Any] = {
        "p50 ms": _at(took, 50), "p50 ms limit": half, "p99 ms": _at(took, 99), "p99 ms limit": nearly_all,
        "p50 CPU ms": _at(cpu, 50), "p99 CPU ms": _at(cpu, 99),
        "candidates mean": round(statistics.mean(counts), 2), "candidates max": max(counts),
        "ratio to bare look-ups (p50)": round(_at(took, 50) / max(_at(bare, 50), 1e-6), 2),
    }  # fmt: skip
    return out | _beside_splink(pairs, _at(took, 50))


def _bare(reading: Reading, person: Traits, entries: Sequence[Traits]) -> float:
    """The floor: the same number of key look-ups and row reads, and nothing else."""
    keys = index_keys(person, default_reader().nicknames.main_root)
    begun = time.perf_counter()
    reading.links.blocks(keys, BLOCK_LIMIT)
    reading.links.known([one.key for one in entries])
    return (time.perf_counter() - begun) * 1000


def _upserted(store: Store, left: Sequence[Traits]) -> dict[str, Any]:
    from dataclasses import replace

    root = default_reader().nicknames.main_root
    took = []
    for person in left[:200]:
        moved = replace(person, phone="4035559" + person.key[-3:].rjust(3, "0"), city="elsewhere")

        def upsert(unit: Unit, moved: Traits = moved) -> float:
            begun = time.perf_counter()
            enter(unit.links, moved, "bench", root, now_us=2)
            return (time.perf_counter() - begun) * 1000

        took.append(store.write(upsert))
    return {"upsert p50 ms": _at(took, 50), "upsert ms limit": 3.0}


def _beside_splink(pairs: Sequence[tuple[Traits, list[Traits]]], whole_ms: float) -> dict[str, Any]:
    """Splink's score of the same candidates, if it is installed; its own ratio to ours.

    Args:
        whole_ms: what a whole search of ours takes: reading the row, finding and scoring.
    """
    try:
        import splink  # noqa: F401
    except ImportError:
        return {"splink": "not installed"}
    from gateway.adapters.files.splink_engine import SplinkLinker

    if not pairs:
        return {"splink": "no pairs"}
    model = load_model()
    people = {one.key: one for _, entries in pairs for one in entries}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine = SplinkLinker(model, list(people.values()), [person for person, _ in pairs])
        theirs = [engine.time_scores(person, entries) for person, entries in pairs]
    scorer = Scorer(model, _Nothing(), population=1000)
    ours = []
    for person, entries in pairs:
        begun = time.perf_counter()
        for entry in entries:
            scorer.score(entry, person)
        ours.append((time.perf_counter() - begun) * 1000)
    ratio = _at(theirs, 50) / max(_at(ours, 50), 1e-6)
    return {"splink score_pairs p50 ms": _at(theirs, 50), "ours p50 ms": _at(ours, 50),
            "times faster than splink": round(ratio, 1), "times faster floor": 50,
            "times faster, our search beside its scoring": round(_at(theirs, 50) / max(whole_ms, 1e-6), 1)}  # fmt: skip


class _Nothing:
    records = 1000

    def expect(self, people: Iterable[Traits]) -> None:
        """Nothing is counted."""

    def count(self, name: str, value: str) -> int:
        return 0

    def others(self, name: str, value: str, u: float, smoothing: float) -> float:
        return u


def _at(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) * percent // 100, len(ordered) - 1)], 3)
