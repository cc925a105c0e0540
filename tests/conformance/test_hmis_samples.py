"""Every shared HMIS sample: cell for cell there and back, and an import without a crash."""

from pathlib import Path

import pytest

from gateway.adapters.files.data import read_data
from gateway.adapters.files.hmis_export import open_export
from gateway.adapters.memory.store import MemoryStore
from gateway.exchange.hmis_convert import Conversion
from gateway.exchange.hmis_import import Import, Options
from gateway.exchange.ports.store import Store
from gateway.exchange.save import Saver
from tests.support.hmis import cells_of, convert_lines, export
from tests.support.shared import SHARED

SAMPLES = sorted((SHARED / "samples" / "hmis").iterdir()) if SHARED else []
SMALL = [folder for folder in SAMPLES if folder.name.startswith(("wh-base", "wh-imp"))]


@pytest.mark.parametrize("folder", SMALL, ids=lambda folder: folder.name)
def test_a_sample_comes_back_and_can_be_imported(folder: Path) -> None:
    files = {file.name: file.read_bytes() for file in sorted(folder.glob("*.csv"))}
    lines, _ = convert_lines(files)
    back, _ = export(lines)
    for path, data in files.items():
        assert cells_of(back[path]) == cells_of(data), path
    conversion = Conversion(open_export(str(folder)), read_data, fallback_source="test")
    report = Import(conversion, Saver(lambda _: ()), now_us=lambda: 1, options=Options()).run(MemoryStore())
    assert report.counts


def imported(folder: Path, store: Store) -> dict[str, dict[str, int]]:
    """The counts of an import."""
    conversion = Conversion(open_export(str(folder)), read_data, fallback_source=folder.name)
    return Import(conversion, Saver(lambda _: ()), now_us=lambda: 1, options=Options()).run(store).counts


def test_every_store_takes_the_samples_alike_and_a_second_time_nothing(store: Store) -> None:
    memory = MemoryStore()
    for folder in SMALL:
        first = imported(folder, store)
        assert first == imported(folder, memory), folder.name
        again = {kind for counts in imported(folder, store).values() for kind in counts}
        assert again <= {"unchanged", "older", "waiting", "rejected"}, folder.name
        imported(folder, memory)


@pytest.mark.parametrize(
    ("first", "then", "name"),
    [("older", "initial", "One"), ("initial", "newer", "Newer"), ("initial", "same_day", "Same")],
)
def test_the_date_updated_samples_end_as_their_names_say(first: str, then: str, name: str) -> None:
    assert SHARED is not None
    store = MemoryStore()
    for step in (first, then):
        folder = SHARED / "samples" / "hmis" / f"wh-imp-six-date_updated_{step}"
        conversion = Conversion(open_export(str(folder)), read_data, fallback_source="test")
        Import(conversion, Saver(lambda _: ()), now_us=lambda: 1, options=Options()).run(store)
    with store.reading() as reading:
        bodies = [stored.body for stored in reading.resources.of_type("Patient")]
    assert len(bodies) == 1
    assert f'"family":"{name}"'.encode() in bodies[0]
