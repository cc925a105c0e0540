"""What HUD's format has no place for is kept, told to nobody and comes back; other sets come in by tables only."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from gateway.adapters.files.data import read_data
from gateway.adapters.memory.store import MemoryStore
from gateway.exchange.hmis_convert import Conversion
from gateway.exchange.hmis_import import Import, Options
from gateway.exchange.hmis_rows import Kind
from gateway.exchange.hmis_store_export import StoreExport
from gateway.exchange.ports.store import Store
from gateway.exchange.save import Saver
from tests.exchange.test_hmis_delta import SOURCE, asking, auditing, hmis, put, signed
from tests.exchange.test_hmis_import import PROJECT, export, live, run
from tests.support.hmis import MemoryFiles, cells_of, table

CLIENT = ["PersonalID", "LastName", "Petzq", "DateUpdated", "Petzq", "Shoe"]


def back(store: Store, version: str = "2026", *, hash_names: bool = False) -> dict[str, list[list[str]]]:
    """The store's source as HUD files."""
    files: dict[str, bytes] = {}

    def write(path: str, pieces: Iterable[str]) -> None:
        files[path] = "".join(pieces).encode()

    with store.reading() as reading:
        source = reading.rows.sources()[0]
        job = StoreExport(
            read_data,
            source,
            version,
            {"ExportID": "D"} if version != "hifis" else {},
            asking=asking(reading),
            audit=auditing(store),
            hash_names=hash_names,
        )
        job.write(reading, write)
    return {path: cells_of(data) for path, data in files.items()}


def own(day: str = "2026-02-01", directive: str = "1", **files: list[list[str]]) -> dict[str, bytes]:
    """An export with a column twice, one that is empty, and files of the source's own."""
    rows = [
        CLIENT,
        ["1", "Azq", "Biscuitzq", "2026-01-01", "Rexzq", ""],
        ["2", "Bzq", "", "2026-01-01", "", "", "over"],
    ]
    return export(day, directive, {"Client": rows, **files})


def columns(rows: list[list[str]], names: list[str]) -> list[list[str]]:
    """Some columns, by name; a name that stands twice gives both."""
    at = [i for name in names for i, cell in enumerate(rows[0]) if cell == name]
    return [[row[i] for i in at] for row in rows[1:]]


def test_unknown_columns_come_back_cell_for_cell_and_are_no_resource(store: Store) -> None:
    report = run(store, own())
    assert report.unknown_columns == {"Client.csv": ["Petzq", "Petzq\x1f2", "Shoe"]}
    rows = back(store)["Client.csv"]
    assert columns(rows, ["PersonalID", "Petzq", "Shoe", ""]) == [
        ["1", "Biscuitzq", "Rexzq", "", ""],
        ["2", "", "", "", "over"],
    ]
    with store.reading() as reading:
        assert not any(b"Biscuitzq" in stored.body for stored in reading.resources.of_type("Patient"))
        assert list(reading.resources.of_type("Basic")) == []


def test_a_change_of_an_unknown_column_is_a_change_of_the_row(store: Store) -> None:
    run(store, own())
    assert run(store, own()).total(Kind.UNCHANGED) == 3
    changed = {"Client": [CLIENT[:4], ["1", "Azq", "Milozq", "2026-01-02"]]}
    assert run(store, export("2026-02-02", "1", changed)).total(Kind.CHANGED) == 1
    assert columns(back(store)["Client.csv"], ["PersonalID", "Petzq"])[0] == ["1", "Milozq", ""]
    older = {"Client": [CLIENT[:4], ["1", "Azq", "Oldzq", "2026-01-01"]]}
    assert run(store, export("2026-02-03", "1", older)).total(Kind.OLDER) == 1
    assert columns(back(store)["Client.csv"], ["Petzq"])[0] == ["Milozq", ""]


def test_a_row_that_waits_keeps_its_unknown_columns(store: Store) -> None:
    stay = [["EnrollmentID", "PersonalID", "ProjectID", "Doorzq"], ["e", "1", "p", "blue"]]
    assert run(store, export("2026-02-01", "1", {"Enrollment": stay})).total(Kind.WAITING) == 1
    run(store, own("2026-02-02", Project=[PROJECT, ["p", "o", ""]]))
    assert columns(back(store)["Enrollment.csv"], ["EnrollmentID", "Doorzq"]) == [["e", "blue"]]
    assert run(store, export("2026-02-01", "1", {"Enrollment": stay})).counts["Enrollment"] == {"unchanged": 1}


def test_a_row_that_waits_is_in_an_export_that_says_it_is_everything(store: Store) -> None:
    exits = [["ExitID", "EnrollmentID", "PersonalID", "ExitDate", "Petzq"], ["x", "e", "1", "2026-01-25", "Rexzq"]]
    assert run(store, export("2026-02-01", "1", {"Exit": exits})).total(Kind.WAITING) == 1
    rows = back(store)["Exit.csv"]
    assert columns(rows, ["ExitID", "EnrollmentID", "ExitDate", "Petzq"]) == [["x", "e", "2026-01-25", "Rexzq"]]


def test_files_of_the_sources_own_come_back_with_their_rows_by_key_or_by_place(store: Store) -> None:
    pets = [
        ["CustomPetID", "PersonalID", "Name", "DateUpdated"],
        ["p2", "1", "Rexzq", "2026-01-01"],
        ["p1", "1", "Milozq", ""],
    ]
    notes = [["Note", "Note"], ["one", "two"], ["three"]]
    run(store, own(CustomPet=pets, LocalNotes=notes))
    files = back(store)
    assert files["CustomPet.csv"] == [pets[0], pets[2], pets[1]]
    assert files["LocalNotes.csv"] == [notes[0], notes[1], ["three", ""]]
    newer = [pets[0], ["p2", "1", "Maxzq", "2026-01-02"]]
    counts = run(store, own("2026-02-02", CustomPet=newer, LocalNotes=[notes[0], ["four", ""]])).counts
    assert counts["CustomPet"] == {"changed": 1}
    assert counts["LocalNotes"] == {"changed": 1, "deleted": 1}
    files = back(store)
    assert [row[2] for row in files["CustomPet.csv"]] == ["Name", "Milozq", "Maxzq"]
    assert files["LocalNotes.csv"] == [notes[0], ["four", ""]]
    run(store, own("2026-02-03", "2", CustomPet=newer))
    assert [row[0] for row in back(store)["CustomPet.csv"]] == ["CustomPetID", "p2"]


def test_what_is_unknown_of_a_victim_service_provider_is_refused_and_a_hashed_export_has_none_of_it() -> None:
    store = MemoryStore()
    files = {
        "Organization": [["OrganizationID", "VictimServiceProvider"], ["v", "1"], ["o", "0"]],
        "Project": [PROJECT, ["pv", "v", ""], ["po", "o", ""]],
        "Client": [["PersonalID", "Petzq"], ["1", "Hiddenzq"], ["2", "Seenzq"]],
        "Enrollment": [["EnrollmentID", "PersonalID", "ProjectID"], ["e1", "1", "pv"], ["e2", "2", "po"]],
        "CustomPet": [
            ["PersonalID", "ProjectID", "Name"],
            ["1", "", "Hiddenzq"],
            ["2", "pv", "Hiddenzq"],
            ["2", "", "Seenzq"],
        ],
    }
    report = run(store, export("2026-02-01", "1", files))
    assert report.counts["CustomPet"] == {"new": 1, "refused": 2}
    told = json.dumps(back(store))
    assert "Hiddenzq" not in told
    assert "Seenzq" in told
    assert "Seenzq" not in json.dumps(back(store, hash_names=True))


PEOPLE = {
    "Client": [["PersonalID", "LastName"], ["1", "Hiddenzq"], ["2", "Bzq"]],
    "Enrollment": [["EnrollmentID", "PersonalID", "ProjectID"], ["e1", "1", "p"], ["e2", "2", "q"]],
    "Project": [PROJECT, ["p", "o", "2026-01-01"], ["q", "r", "2026-01-01"]],
}
PETS = [["PetID", "PersonalID", "EnrollmentID"], ["a", "1", ""], ["b", "", "e1"], ["c", "2", "e2"], ["d", "2", "e1"]]


@pytest.mark.parametrize("told_first", [True, False])
def test_rows_of_unknown_files_go_with_the_client_or_enrollment_that_is_refused_later(
    store: Store, told_first: bool
) -> None:
    flag = {"Organization": [["OrganizationID", "VictimServiceProvider", "DateUpdated"], ["o", "1", "2026-01-02"]]}
    come = {**PEOPLE, "CustomPet": PETS}
    for day, files in enumerate((flag, come) if told_first else (come, flag), 1):
        run(store, export(f"2026-02-{day:02d}", "1", files))
    assert [row[0] for row in back(store)["CustomPet.csv"][1:]] == ["c"]


def test_a_file_that_nobody_knows_is_read_as_the_files_beside_it() -> None:
    owner = [["OrganizationID", "VictimServiceProvider"], ["o", "1"]]
    files = export("2026-02-01", "1", {**PEOPLE, "Organization": owner, "CustomPet": PETS})
    files["CustomWord.csv"] = table([["Wordzq"], ["one,two"]])
    store = MemoryStore()
    run(store, {path: data if "Word" in path else data.replace(b",", b";") for path, data in files.items()})
    rows = back(store)
    assert [row[:2] for row in rows["CustomPet.csv"]] == [["PetID", "PersonalID"], ["c", "2"]]
    assert rows["CustomWord.csv"] == [["Wordzq"], ["one,two"]]


def test_another_source_is_imported_and_exported_by_tables_only(store: Store) -> None:
    folder = Path(__file__).parents[1] / "examples/hifis"
    files: Mapping[str, bytes] = {path.name: path.read_bytes() for path in folder.glob("*.csv")}

    def load(refresh: str = "auto", **other: bytes) -> Import:
        conversion = Conversion(MemoryFiles({**files, **other}), read_data, fallback_source="hifis", version="hifis")
        job = Import(
            conversion, Saver(lambda _: ()), now_us=lambda: 1_800_000_000_000_000, options=Options(refresh=refresh)
        )
        job.run(store)
        return job

    first = load().report
    rows = {name: cells_of(data) for name, data in files.items()}
    assert first.total(Kind.NEW) == sum(len(each) - 1 for each in rows.values())
    assert first.notes == []
    assert load().report.total(Kind.UNCHANGED) == first.total(Kind.NEW)
    out = back(store, "hifis")
    for name, each in rows.items():
        assert sorted(out[name]) == sorted(each), name
    assert live(store, "Patient")
    gone = load("full", **{"Service.csv": table(rows["Service.csv"][:1])}).report
    assert gone.absent == len(rows["Service.csv"]) - 1


@pytest.mark.parametrize("signed_still", [True, False])
def test_what_others_wrote_into_a_row_is_told_as_far_as_its_agency_may_see_it(signed_still: bool) -> None:
    store = hmis(event=True)
    literal = f"Task/{SOURCE.id('Event', 'v', 'Task')}"
    with store.reading() as reading:
        task = json.loads(reading.resources.many([literal])[literal].body)
    put(store, task | {"status": "completed"})
    if not signed_still:
        put(store, signed(status="inactive"))
    assert columns(back(store)["Event.csv"], ["EventID", "ReferralResult"]) == [["v", "1" if signed_still else ""]]
    with store.reading() as reading:
        records = list(reading.audit.records())
        (event,) = [record.event for record in records]
    assert event["outcome"] == ("0" if signed_still else "4")
    assert (
        any(one.get("what", {}).get("reference", "").startswith("Patient/") for one in event["entity"]) is signed_still
    )
