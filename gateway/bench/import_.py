"""Storing an HMIS export in the embedded database, against the database's own bulk path for the same finished rows.

The floor inserts the rows of every table as they stand after an import (bodies, facets, index rows, linkage)
with ``executemany`` in one transaction, each table in the order of its key: no reading, mapping, labelling, indexing,
linking or savepoints, and a schema with the same indexes. Derived rows are part of it, so every row that we save makes
the floor cheaper by as much: the microseconds a resource tell what was gained. ``store`` is the finished resources as
NDJSON through the saver: strict reading, labels, view, search rows, linkage. ``import`` begins at the CSV files.
"""

import gc
import sqlite3
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, Final

from gateway.adapters.db.store import DbStore
from gateway.adapters.files.data import read_data
from gateway.adapters.files.hmis_export import open_export
from gateway.codecs.json_text import read
from gateway.consent.labels import has_basis
from gateway.exchange.hmis_convert import Conversion
from gateway.exchange.hmis_import import Import, Options
from gateway.exchange.ports.resources import Draft
from gateway.settings import Settings
from gateway.sim.hmis import write_export
from gateway.wiring import now_us, open_store, saver

CLIENTS: Final = 60
ROUNDS: Final = 3
_BATCH: Final = 500
_NOT_RECORDS: Final = ("alembic_version", "store_state")
_FLOOR: Final = "executemany of the finished rows of all tables, derived ones too; nothing read, mapped or worked out"
Cost = tuple[float, float]  # CPU of this process and wall, in seconds


def run() -> dict[str, Any]:
    """Figures of one run of three interleaved rounds; see the module's text."""
    costs: dict[str, list[Cost]] = {"import": [], "store": [], "bulk": []}
    with tempfile.TemporaryDirectory() as folder:
        place, numbers = Path(folder), count()
        write_export(read_data, place / "export", seed=5, clients=CLIENTS)

        def fresh() -> Path:
            return place / f"{next(numbers)}.db"

        first = fresh()
        _import(place / "export", first)
        tables, lines = _finished(first)
        gc.freeze()  # as the command does
        try:
            for _ in range(ROUNDS):
                costs["import"].append(_import(place / "export", fresh()))
                costs["store"].append(_store(lines, fresh()))
                costs["bulk"].append(_bulk(tables, fresh()))
        finally:
            gc.unfreeze()
        size = first.stat().st_size
    cpu = {name: min(one for one, _ in each) for name, each in costs.items()}
    return {
        "floor": _FLOOR,
        "resources": len(lines),
        "rows a resource, all tables": sum(map(len, tables.values())) / len(lines),
        "index rows a resource": sum(len(rows) for name, rows in tables.items() if name.startswith("search"))
        / len(lines),
        "rate of the bulk path, by CPU (goal 0.5)": _against_bulk(costs, 0),
        "rate of the bulk path, by wall": _against_bulk(costs, 1),
        "CPU microseconds a resource": {name: each / len(lines) * 1e6 for name, each in cpu.items()},
        "bytes a resource, indexes and all": size / len(lines),
    }


def _against_bulk(costs: Mapping[str, Sequence[Cost]], which: int) -> dict[str, float]:
    """The median of the rounds' ratios: both sides of each were measured in the same minute."""
    return {
        name: median(bulk[which] / own[which] for bulk, own in zip(costs["bulk"], costs[name], strict=True))
        for name in ("store", "import")
    }


def _cost(work: Callable[[], object]) -> Cost:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def _opened(path: Path) -> DbStore:
    store = open_store(Settings(database_url=f"sqlite:///{path}"))
    assert isinstance(store, DbStore)
    return store


def _import(export: Path, path: Path) -> Cost:
    store = _opened(path)
    conversion = Conversion(open_export(str(export)), read_data, fallback_source="bench")
    job = Import(conversion, saver(Settings()), now_us=now_us, options=Options())
    cost = _cost(lambda: job.run(store))
    store.close()
    return cost


def _finished(path: Path) -> tuple[dict[str, list[tuple[Any, ...]]], list[bytes]]:
    """The rows of every table in the order of its key, and the bodies."""
    connection = sqlite3.connect(path)
    named = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    names = [name for (name,) in connection.execute(named) if name not in _NOT_RECORDS]
    tables = {}
    for name in names:
        described = connection.execute(f"PRAGMA table_info({name})").fetchall()
        key = ", ".join(f'"{row[1]}"' for row in sorted(described, key=lambda row: int(row[5])) if row[5])
        tables[name] = connection.execute(f"SELECT * FROM {name} ORDER BY {key or 'rowid'}").fetchall()
    bodies = "SELECT body FROM resource WHERE method <> 'DELETE' ORDER BY updated_us, type, key"
    lines = [body for (body,) in connection.execute(bodies)]
    connection.close()
    return tables, lines


def _store(lines: Sequence[bytes], path: Path) -> Cost:
    store, save = _opened(path), saver(Settings())

    def work() -> None:
        for start in range(0, len(lines), _BATCH):
            drafts = [_draft(line) for line in lines[start : start + _BATCH]]
            store.write(lambda unit, drafts=drafts: save.save(unit, drafts, now_us=now_us()))  # type: ignore[misc]

    cost = _cost(work)
    store.close()
    return cost


def _draft(line: bytes) -> Draft:
    document = read(line)
    security = document.resource["meta"].get("security", ())
    vouched = tuple(label for label in security if not has_basis(label))
    return Draft(document.resource, line, source="bench", labels=vouched, document=document)


def _bulk(tables: dict[str, list[tuple[Any, ...]]], path: Path) -> Cost:
    _opened(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}")

    def work() -> None:
        connection.execute("BEGIN IMMEDIATE")
        for name, rows in tables.items():
            if rows:
                connection.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(rows[0]))})", rows)
        connection.execute("COMMIT")

    cost = _cost(work)
    connection.close()
    return cost
