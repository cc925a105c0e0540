"""``doorway bench linkage --batch``: two whole files, ours and Splink's in a process each: time, CPU, peak memory.

Both start from the same rows, fit without labels and find the pairs: ours as ``doorway link evaluate`` does, Splink by
the same ladders as SQL on DuckDB, training and prediction. Peak memory is the process's own, all of it.
"""

import csv
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

LEFT: Final = 63_000
RIGHT: Final = 175_000
SEED: Final = 53


def run(left: int = LEFT, right: int = RIGHT) -> dict[str, Any]:
    """Both engines one after the other; ratios are ours over Splink's, to be at most 1.0 and 0.5."""
    with tempfile.TemporaryDirectory(prefix="doorway-bench-") as folder:
        _apart(_make, folder, left, right)
        out: dict[str, Any] = {"left": left, "right": right, "ours": _apart(_ours, folder)}
        try:
            import splink  # noqa: F401
        except ImportError:
            return {**out, "splink": "not installed"}
        out["splink"] = _apart(_splink, folder)
    for what, limit in (("seconds", 1.0), ("cpu_s", 1.0), ("peak_mb", 0.5)):
        out[f"{what} ratio"] = round(out["ours"][what] / out["splink"][what], 3)
        out[f"{what} ratio limit"] = limit
    return out


def _apart(work: Callable[..., None], *args: object) -> dict[str, Any]:
    """A piece of work in a process of its own, so that its memory is its own; what it told."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=work, args=(*args, there))
    process.start()
    there.close()
    try:
        told: dict[str, Any] = here.recv()
    finally:
        process.join()
    return told


def _make(folder: str, left: int, right: int, to: Connection) -> None:
    from gateway.bench._communities import county

    made = county(SEED, left, right)
    for name, rows in (("left", made.left), ("right", made.right)):
        with (Path(folder) / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            columns = sorted({column for row in rows for column in row})
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(rows)
    to.send({})


def _rows(folder: str) -> tuple[list[Any], list[Any]]:
    from gateway.adapters.files.linkage import default_reader

    reader = default_reader()
    sides = []
    for name in ("left", "right"):
        with (Path(folder) / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            sides.append([reader.row(row) for row in csv.DictReader(file)])
    return sides[0], sides[1]


def _told(to: Connection, begun: tuple[float, float], pairs: int) -> None:
    here, children = os.times(), resource.getrusage(resource.RUSAGE_SELF)
    to.send(
        {
            "seconds": round(time.perf_counter() - begun[0], 1),
            "cpu_s": round(here.user + here.system - begun[1], 1),
            "peak_mb": round(children.ru_maxrss / 1024),
            "pairs": pairs,
        }
    )
    to.close()


def _begun() -> tuple[float, float]:
    used = os.times()
    return time.perf_counter(), used.user + used.system


def _ours(folder: str, to: Connection) -> None:
    from gateway.adapters.files.linkage import default_reader, load_model
    from gateway.linkage.batch import link_two

    people, arrivals = _rows(folder)
    begun = _begun()
    found = link_two(people, arrivals, load_model(), default_reader().nicknames.main_root)
    _told(to, begun, len(found.pairs))


def _splink(folder: str, to: Connection) -> None:
    from gateway.adapters.files.linkage import load_model
    from gateway.adapters.files.splink_engine import SplinkLinker

    people, arrivals = _rows(folder)
    begun = _begun()
    engine = SplinkLinker(load_model(), people, arrivals)
    engine.train()
    _told(to, begun, engine.count_pairs())
