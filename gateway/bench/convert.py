"""HMIS CSV to FHIR: rate against Python's csv parser alone and a hand-written dict + orjson converter, in one run."""

import csv
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from gateway.adapters.files.data import read_data
from gateway.adapters.files.hmis_export import FolderScratch, NdjsonFolder, open_export
from gateway.adapters.files.validation import open_validator
from gateway.exchange.hmis_convert import WHOLE, Conversion, Share
from gateway.exchange.hmis_convert_file import FLUSH_LINES
from gateway.kernel.fhir import JsonObject
from gateway.kernel.identifiers import resource_id
from gateway.mapping.hmis.conversions import Source, id_maker
from gateway.mapping.hmis.spec import load_spec
from gateway.mapping.hmis.tables import load_maps
from gateway.sim.hmis import write_export

CLIENTS = 6000
ROUNDS = 3


def run() -> dict[str, Any]:
    """Ratios by CPU time in one run, rounds in turn, the best of each; the floors stand in the names.

    ``floor of this output``: what nothing that writes the same bytes can do without: the rows parsed, an id hashed for
    every row, the lines put together, encoded and written.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "export"
        told = write_export(read_data, place, seed=11, clients=CLIENTS)
        rows = sum(told.rows.values())
        plain = Conversion(open_export(str(place)), read_data, fallback_source="bench")
        checked = Conversion(open_export(str(place)), read_data, fallback_source="bench", check=_checker(Path(folder)))
        income = [seen for seen in plain.seen if seen.name == "IncomeBenefits"]
        _convert(checked, checked.seen)  # the validator compiles what it meets first
        lines, size = _output(plain)
        works: dict[str, Callable[[], object]] = {
            "parse": lambda: _parse(place),
            "convert": lambda: _convert(plain, plain.seen),
            "checked": lambda: _convert(checked, checked.seen),
            "floor": lambda: _floor(place, Path(folder) / "floor.ndjson", rows, lines, size),
            "by hand": lambda: _by_hand(place / "IncomeBenefits.csv", Path(folder) / "hand.ndjson"),
            "income": lambda: _convert(plain, income),
        }
        best = dict.fromkeys(works, float("inf"))
        walls: list[tuple[float, float, float]] = []
        for _ in range(ROUNDS):
            for name, work in works.items():
                best[name] = min(best[name], _cpu(work))
            walls.append((_timed(works["convert"]), *_two(plain)))
    alone, two, busier = (min(each) for each in zip(*walls, strict=True))
    return {
        "rows": rows,
        "bytes_a_row": size / rows,
        "csv_parser_rows_per_cpu_s": rows / best["parse"],
        "convert_rows_per_cpu_s": rows / best["convert"],
        "ratio_to_csv_parser (floor 0.25)": best["parse"] / best["convert"],
        "ratio_of_the_floor_of_this_output_to_csv_parser": best["parse"] / best["floor"],
        "ratio_to_the_floor_of_this_output": best["floor"] / best["convert"],
        "ratio_to_hand_written (floor 1.2)": best["by hand"] / best["income"],
        "times_slower_with_validation (limit 2.5)": best["checked"] / best["convert"],
        "ratio_two_processes_to_one (floor 1.7)": alone / two,
        "ratio_two_processes_to_one_by_cpu": best["convert"] / busier,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _output(conversion: Conversion) -> tuple[int, int]:
    """How many lines and bytes a conversion writes."""
    found = [0, 0]

    def count(kind: str, lines: list[str]) -> None:
        found[0] += len(lines)
        found[1] += sum(map(len, lines)) + len(lines)

    with FolderScratch() as scratch:
        for seen in conversion.seen:
            conversion.convert_file(seen, count, scratch)
    return found[0], found[1]


def _floor(place: Path, target: Path, rows: int, lines: int, size: int) -> None:
    """The rows parsed, an id a row, as many lines as a conversion writes and as long, by pieces as it does."""
    _parse(place)
    make = id_maker("bench", "Client")
    rest, id_ = "x" * (size // lines - 37), ""
    out: list[str] = []
    with target.open("wb") as handle:
        for number in range(lines):
            if number < rows:
                id_ = make(f"K{number:09d}")
            out.append(f"{id_}{rest}")
            if len(out) >= FLUSH_LINES:
                handle.write(("\n".join(out) + "\n").encode())
                out.clear()


def _checker(folder: Path) -> Callable[[JsonObject], list[str]]:
    validator = open_validator(folder / "packages")
    return lambda resource: [issue.expression for issue in validator.validate(resource) if issue.severity == "error"]


def _parse(place: Path) -> None:
    for file in sorted(place.glob("*.csv")):
        with file.open(encoding="utf-8", newline="") as handle:
            for _ in csv.reader(handle):
                pass


def _convert(conversion: Conversion, files: list[Any], share: Share = WHOLE) -> None:
    conversion.ids.clear()  # every run is a first one
    with FolderScratch() as scratch, tempfile.TemporaryDirectory() as out, NdjsonFolder(Path(out)) as folder:
        for seen in files:
            conversion.convert_file(seen, folder.write, scratch, share)


def _by_hand(source: Path, target: Path) -> None:
    """What one writes first: DictReader, nested dicts, orjson; the same resources of IncomeBenefits, no way back."""
    table = load_maps(read_data, load_spec(read_data, "2026"), Source("bench"))["IncomeBenefits"]
    base = table.source.base
    parts = [(p.name, [b.owns[0] for b in p.blocks if b.element == "component[]"]) for p in table.parts]
    money = {c.name for c in table.file.columns if c.type.startswith("M")}
    with source.open(encoding="utf-8", newline="") as handle, target.open("wb") as out:
        for row in csv.DictReader(handle):
            for name, columns in parts:
                components = []
                for column in columns:
                    cell = row[column]
                    if cell == "":
                        continue
                    code = {"coding": [{"system": f"{base}/element", "code": f"IncomeBenefits.{column}"}]}
                    if column in money:
                        value: dict[str, Any] = {"valueQuantity": {"value": float(cell), "unit": "USD", "code": "USD"}}
                    elif cell in ("8", "9", "99"):
                        value = {"dataAbsentReason": {"coding": [{"system": f"{base}/list", "code": cell}]}}
                    else:
                        value = {"valueCodeableConcept": {"coding": [{"system": f"{base}/list", "code": cell}]}}
                    components.append({"code": code, **value})
                if not components and name != "Observation:income":
                    continue
                made = {
                    "resourceType": "Observation",
                    "id": resource_id("bench", "IncomeBenefits", row["IncomeBenefitsID"], name),
                    "meta": {"source": base, "extension": [{"url": "row", "valueString": row["DateUpdated"]}]},
                    "status": "final",
                    "category": [{"coding": [{"system": "category", "code": "survey"}]}],
                    "code": {"coding": [{"system": "http://loinc.org", "code": "63586-2"}]},
                    "identifier": [{"system": base, "value": row["IncomeBenefitsID"]}],
                    "subject": {"reference": "Patient/" + resource_id("bench", "Client", row["PersonalID"])},
                    "extension": [
                        {
                            "url": "episode",
                            "valueReference": {
                                "reference": "EpisodeOfCare/" + resource_id("bench", "Enrollment", row["EnrollmentID"])
                            },
                        }
                    ],
                    "effectiveDateTime": row["InformationDate"],
                    "component": components,
                }
                out.write(orjson.dumps(made) + b"\n")


def _two(conversion: Conversion) -> tuple[float, float]:
    """Wall seconds of two processes side by side, and the CPU seconds of the busier one (wall on idle cores)."""
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()

    def work(which: int) -> None:
        start = time.process_time()
        _convert(conversion, conversion.seen, (which, 2))
        queue.put(time.process_time() - start)

    workers = [context.Process(target=work, args=(which,)) for which in range(2)]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    busier = max(queue.get() for _ in workers)
    for worker in workers:
        worker.join()
    return time.perf_counter() - start, busier
