"""HMIS exports in memory: files as bytes, a bucket store, rows of every kind."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from random import Random

from gateway.adapters.files.data import read_data
from gateway.codecs.hmis_csv import read_rows, sniff
from gateway.exchange.hmis_convert import Conversion, Report
from gateway.exchange.hmis_export import Rebuild, Rebuilt
from gateway.kernel.fhir import JsonObject
from gateway.mapping.hmis.spec import Column, Spec


class MemoryFiles:
    """Paths and bytes."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = dict(files)

    def names(self) -> list[str]:
        """Sorted paths."""
        return sorted(self.files)

    def chunks(self, name: str) -> Iterator[bytes]:
        """Small pieces, so that every border is met."""
        data = self.files[name]
        for start in range(0, len(data), 997):
            yield data[start : start + 997]


class MemoryScratch:
    """Buckets in memory."""

    def __init__(self) -> None:
        self.buckets: dict[int, list[str]] = {}

    def add(self, bucket: int, line: str) -> None:
        """Keep a line."""
        self.buckets.setdefault(bucket, []).append(line)

    def read(self, bucket: int) -> Iterator[str]:
        """The lines of a bucket."""
        yield from self.buckets.get(bucket, [])


def table(rows: Iterable[Iterable[str]], *, encoding: str = "utf-8", ends: str = "\r\n") -> bytes:
    """CSV bytes."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=ends).writerows(rows)
    return text.getvalue().encode(encoding)


def cells_of(data: bytes) -> list[list[str]]:
    """The rows of CSV bytes."""
    return list(read_rows([data], sniff(data)))


def convert(files: Mapping[str, bytes]) -> tuple[dict[str, list[JsonObject]], Report]:
    """Resources by type, and the report."""
    lines, report = convert_lines(files)
    return {kind: [json.loads(line, parse_float=Decimal) for line in its] for kind, its in lines.items()}, report


def convert_lines(files: Mapping[str, bytes]) -> tuple[dict[str, list[str]], Report]:
    """NDJSON lines by type, and the report."""
    out: dict[str, list[str]] = {}
    conversion = Conversion(MemoryFiles(files), read_data, fallback_source="test")
    report = conversion.run(lambda kind, lines: out.setdefault(kind, []).extend(lines), MemoryScratch())
    return out, report


def export(lines: Mapping[str, list[str]]) -> tuple[dict[str, bytes], Rebuilt]:
    """The files that come back from NDJSON lines."""
    files: dict[str, bytes] = {}

    def write(path: str, pieces: Iterable[str]) -> None:
        files[path] = "".join(pieces).encode()

    rebuild = Rebuild(read_data, MemoryScratch())
    rebuild.begin(line.encode() for line in lines["DocumentReference"])
    for kind, its in lines.items():
        for number, line in enumerate(its, 1):
            rebuild.take(line.encode(), f"{kind}:{number}")
    return files, rebuild.finish(write)


def good_cell(rng: Random, spec: Spec, column: Column, number: int) -> str:
    """A valid cell of a column."""
    if column.key == "PK":
        return f"{column.file}-{number}"
    if column.key.startswith("FK"):
        return f"{column.key.split()[1].split('.')[0]}-{number}"
    if column.list.startswith("by "):
        return "1"
    if column.list.startswith("each "):
        return ";".join(rng.sample(sorted(spec.lists[column.list.removeprefix("each ")]), 2))
    if column.list:
        return rng.choice(sorted(code.code for code in spec.lists[column.list].values()))
    samples = {
        "I": str(rng.randrange(1, 50)),
        "D": f"20{rng.randrange(10, 26)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}",
        "T": f"2025-01-{rng.randrange(1, 29):02d} 10:00:00",
        "M": f"{rng.randrange(2000)}.{rng.randrange(100):02d}",
    }
    return samples.get(column.type.rstrip("+"), rng.choice(("Riverzq", "Joanzq Ann", "x y", "59901", "O'Neil, Jr.")))


NASTY = (
    "", " ", "  x ", "01", "1.0", "abc", "999", "-5", "=1+1", '"q"', "a,b", "line\nbreak", "cr\rlf", "é ñ", "99", "8",
    "2020-02-30", "13/45/2020", "3/4/2020", "03-11-21", "2020-01-01 10:00:00", "NULL", "0", "\t1", "1e5",
    "12345678901234567890", "$1,200.50", "{x}", "\\n", "%s", "'", "null", "true", "-0", "0.0", "日本", "\u200b", "😀",
)  # fmt: skip


def export_of(spec: Spec, rng: Random, *, rows: int, nasty: float, encoding: str = "utf-8") -> dict[str, bytes]:
    """A whole export with cells of every kind; ``nasty`` is the share of wild ones."""
    files = {}
    for name, file in spec.files.items():
        columns = [column.name for column in file.columns]
        if rng.random() < 0.5:
            rng.shuffle(columns)
        found = [[*columns, "Extra", "Extra"]]
        for number in range(rows):
            row = []
            for column in columns:
                known = file.column(column)
                assert known is not None
                draw = rng.random()
                wild = rng.choice(NASTY).encode(encoding, "replace").decode(encoding)
                row.append(wild if draw < nasty else "" if draw < nasty + 0.2 else good_cell(rng, spec, known, number))
            row += [rng.choice(("", "kept")), ""]
            if name == "Export":
                row[columns.index("CSVVersion")] = f"{spec.version} v1"
                row[columns.index("ImplementationID")] = "test source" if number == 0 else ""
            if nasty and rng.random() < 0.1:
                row = row[: rng.randrange(len(row))] if rng.random() < 0.5 else [*row, "more"]
            found.append(row)
        files[f"export/{name}.csv"] = table(found, encoding=encoding, ends=rng.choice(("\r\n", "\n", "\r")))
    files["export/CustomThing.csv"] = table([["a", "b"], ["1", "x y"], [], ["2"]], encoding=encoding)
    return files
