"""A second source by the same engine: tables and no Python."""

from pathlib import Path

from gateway.adapters.files.data import read_data
from gateway.exchange.hmis_convert import Conversion
from gateway.exchange.hmis_export import Rebuild
from tests.support.hmis import MemoryFiles, MemoryScratch, cells_of

SAMPLE = Path(__file__).parents[2] / "examples" / "hifis"


def test_a_hifis_like_export_becomes_fhir_and_comes_back() -> None:
    files = {file.name: file.read_bytes() for file in sorted(SAMPLE.glob("*.csv"))}
    lines: dict[str, list[str]] = {}
    conversion = Conversion(MemoryFiles(files), read_data, fallback_source="hifis", version="hifis")
    conversion.run(lambda kind, its: lines.setdefault(kind, []).extend(its), MemoryScratch())
    assert {kind: len(its) for kind, its in lines.items()} | {"Patient": 2, "Consent": 2, "EpisodeOfCare": 1} == {
        kind: len(its) for kind, its in lines.items()
    }
    assert any("indigenous-governance" in line for line in lines["Observation"])
    rebuild = Rebuild(read_data, MemoryScratch())
    back: dict[str, bytes] = {}
    rebuild.begin(line.encode() for line in lines["DocumentReference"])
    for kind, its in lines.items():
        for line in its:
            rebuild.take(line.encode(), kind)
    rebuild.finish(lambda path, pieces: back.__setitem__(path, "".join(pieces).encode()))
    assert {path: cells_of(data) for path, data in back.items()} == {p: cells_of(d) for p, d in files.items()}
