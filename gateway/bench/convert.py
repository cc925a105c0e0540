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
from gateway.exchange.hmis_convert import WHOLE, Conversion, Share
from gateway.kernel.identifiers import resource_id
from gateway.mapping.hmis.conversions import Source
from gateway.mapping.hmis.spec import load_spec
from gateway.mapping.hmis.tables import load_maps
from gateway.sim.hmis import write_export

CLIENTS = 6000
ROUNDS = 3


def run() -> dict[str, Any]:
    """Rates in rows a second of one process, and their ratios; the floors stand in the names."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "export"
        told = write_export(read_data, place, seed=11, clients=CLIENTS)
        rows = sum(told.rows.values())
        conversion = Conversion(open_export(str(place)), read_data, fallback_source="bench")
        parse, convert, by_hand, all_files = [], [], [], []
        enrollment = [seen for seen in conversion.seen if seen.name == "IncomeBenefits"]
        for _ in range(ROUNDS):
            parse.append(_timed(lambda: _parse(place)))
            convert.append(_timed(lambda: _convert(conversion, conversion.seen)))
            by_hand.append(_timed(lambda: _by_hand(place / "IncomeBenefits.csv", Path(folder) / "hand.ndjson")))
            all_files.append(_timed(lambda: _convert(conversion, enrollment)))
        cpu = _cpu(lambda: _convert(conversion, conversion.seen))
        pairs = [_two(conversion) for _ in range(2)]
    alone = min(convert)
    two, busier = (min(each) for each in zip(*pairs, strict=True))
    return {
        "rows": rows,
        "csv_parser_rows_per_s": rows / min(parse),
        "convert_rows_per_s": rows / alone,
        "ratio_to_csv_parser (floor 0.25)": min(parse) / alone,
        "ratio_to_hand_written (floor 1.2)": min(by_hand) / min(all_files),
        "ratio_two_processes_to_one (floor 1.7)": alone / two,
        "ratio_two_processes_to_one_by_cpu": cpu / busier,
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


def _parse(place: Path) -> None:
    for file in sorted(place.glob("*.csv")):
        with file.open(encoding="utf-8", newline="") as handle:
            for _ in csv.reader(handle):
                pass


def _convert(conversion: Conversion, files: list[Any], share: Share = WHOLE) -> None:
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
