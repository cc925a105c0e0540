"""Hashed HMIS exports of two systems link with one another when they are imported, and never with names."""

from collections.abc import Sequence

from gateway.adapters.files.data import read_data
from gateway.exchange.hmis_convert import Conversion
from gateway.exchange.hmis_hash import hash_rows
from gateway.exchange.hmis_import import Import, Options
from gateway.exchange.ports.store import Store
from tests.exchange.test_hmis_import import _CLOCK, export
from tests.exchange.test_link import LINKER, saver
from tests.support.hmis import MemoryFiles

HEAD = ["PersonalID", "FirstName", "LastName", "NameDataQuality", "SSN", "SSNDataQuality", "DOB", "DOBDataQuality",
        "DateCreated", "DateUpdated"]  # fmt: skip
ROBERT = ["Robert", "Zqabitha", "1", "512346789", "1", "1980-04-17", "1", "2026-01-01", "2026-01-01"]
OTHER = ["Xiomara", "Zqunder", "1", "277518888", "1", "1951-11-30", "1", "2026-01-01", "2026-01-01"]


def imported(store: Store, source: str, rows: Sequence[Sequence[str]], *, hashed: bool) -> None:
    table = [HEAD, *(list(row) for row in rows)]
    if hashed:
        table = [HEAD, *hash_rows("Client", HEAD, [list(row) for row in rows])]
    files = export("2026-02-01", "1", {"Client": table})
    files["Export.csv"] = files["Export.csv"].replace(b"source", source.encode())
    conversion = Conversion(MemoryFiles(files), read_data, fallback_source="test")
    Import(conversion, saver(LINKER), now_us=lambda: next(_CLOCK), options=Options()).run(store)


def joined(store: Store) -> list[int]:
    """How many records each person has, of those with more than one."""
    with store.reading() as reading:
        people: dict[str, int] = {}
        for known in reading.links.every():
            if known.person:
                people[known.person] = people.get(known.person, 0) + 1
        assert reading.links.backlog()[0] == 0
        return sorted(people.values())


def test_two_hashed_exports_link_end_to_end_and_hashed_never_with_names(store: Store) -> None:
    imported(store, "east", [["1", *ROBERT], ["2", *OTHER]], hashed=True)
    imported(store, "clear", [["9", *ROBERT]], hashed=False)
    assert joined(store) == []
    imported(store, "west", [["7", *ROBERT]], hashed=True)
    assert joined(store) == [2]
    imported(store, "other", [["8", *ROBERT]], hashed=False)
    assert joined(store) == [2, 2]
    with store.reading() as reading:
        traits = [known.traits for known in reading.links.every()]
    assert sum(b"robert" in one for one in traits) == 2
