"""A second source by the same engine: tables and no Python."""

from pathlib import Path

from gateway.adapters.files.data import read_data
from gateway.exchange.hmis_convert import Conversion
from gateway.exchange.hmis_export import Rebuild
from tests.support.hmis import MemoryFiles, MemoryScratch, cells_of, table

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


def test_a_column_is_added_by_rows_of_tables_only() -> None:
    more = {
        "mappings/hifis/spec.csv": "Client,PreferredLanguage,S,Y,HIFIS.Language,,,\n",
        "mappings/hifis/lists.csv": "HIFIS.Language,fr,hifis,French\n",
        "mappings/hifis/tables/Client.csv": "PreferredLanguage,Patient,extension[],extension,HIFIS.Language,,,\n",
    }

    def read(path: str) -> str:
        return read_data(path) + more.get(path, "")

    client = SAMPLE / "Client.csv"
    header, *rows = cells_of(client.read_bytes())
    files = {"Client.csv": table([[*header, "PreferredLanguage"], *([*row, "fr"] for row in rows)])}
    lines: dict[str, list[str]] = {}
    conversion = Conversion(MemoryFiles(files), read, fallback_source="hifis", version="hifis")
    conversion.run(lambda kind, its: lines.setdefault(kind, []).extend(its), MemoryScratch())
    assert '"valueCoding":{"system":"https://doorway.example/fhir/CodeSystem/hud-hifis.language"' in lines["Patient"][0]
    back: dict[str, bytes] = {}
    rebuild = Rebuild(read, MemoryScratch())
    rebuild.begin(line.encode() for line in lines["DocumentReference"])
    for kind, its in lines.items():
        for line in its:
            rebuild.take(line.encode(), kind)
    rebuild.finish(lambda path, pieces: back.__setitem__(path, "".join(pieces).encode()))
    assert cells_of(back["Client.csv"]) == cells_of(files["Client.csv"])
