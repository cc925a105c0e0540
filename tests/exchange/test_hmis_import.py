"""Imports into the store: order of deltas, age, deletes, restores, full refresh, victim service providers."""

import json
from collections.abc import Mapping, Sequence
from itertools import count, permutations

import pytest

from gateway.adapters.files.data import read_data
from gateway.adapters.memory.store import MemoryStore
from gateway.exchange.hmis_convert import Conversion
from gateway.exchange.hmis_import import Import, ImportReport, Options
from gateway.exchange.hmis_rows import Kind
from gateway.exchange.ports.store import Store, Unit
from gateway.exchange.save import Saver
from gateway.kernel.errors import Conflict, Invalid
from gateway.kernel.fhir import Resource
from tests.support.hmis import MemoryFiles, table

_CLOCK = count(1_700_000_000_000_000)


def export(day: str, directive: str, files: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, bytes]:
    """An export of a day; ``files`` by HUD name, header first."""
    head = [
        "ExportID",
        "ExportDate",
        "ExportStartDate",
        "ExportEndDate",
        "CSVVersion",
        "ExportDirective",
        "ImplementationID",
    ]
    own = [head, [f"E{day}", f"{day} 00:00:00", "2026-01-01", "2026-12-31", "2026 v1", directive, "source"]]
    return {f"{name}.csv": table(rows) for name, rows in {"Export": own, **files}.items()}


def run(store: Store, files: Mapping[str, bytes], **options: object) -> ImportReport:
    """Import."""
    conversion = Conversion(MemoryFiles(files), read_data, fallback_source="test")
    saver = Saver(lambda _: ())
    job = Import(conversion, saver, now_us=lambda: next(_CLOCK), options=Options(**options))  # type: ignore[arg-type]
    return job.run(store)


def live(store: Store, type_: str) -> list[Resource]:
    """Bodies without what differs between two stores."""
    out = []
    with store.reading() as reading:
        for stored in reading.resources.of_type(type_):
            body = json.loads(stored.body)
            body["meta"].pop("versionId", None)
            body["meta"].pop("lastUpdated", None)
            out.append(body)
    return out


CLIENT = ["PersonalID", "LastName", "DateCreated", "DateUpdated", "DateDeleted"]
ENROLLMENT = [
    "EnrollmentID",
    "PersonalID",
    "ProjectID",
    "EntryDate",
    "HouseholdID",
    "RelationshipToHoH",
    "DateUpdated",
    "DateDeleted",
]
EXIT = ["ExitID", "EnrollmentID", "PersonalID", "ExitDate", "Destination", "DateUpdated"]
PROJECT = ["ProjectID", "OrganizationID", "DateUpdated"]


def client(name: str, day: str, deleted: str = "", key: str = "1") -> list[str]:
    """A Client row."""
    return [key, name, f"{day} 00:00:00", f"{day} 00:00:00", deleted]


@pytest.mark.parametrize("name", ["Organization/west", "doorway:agreements", "doorway-link"])
def test_an_export_that_calls_itself_what_only_the_gateway_may_is_refused(name: str) -> None:
    files = export("2026-02-01", "1", {"Client": [CLIENT, client("Azq", "2026-01-01")]})
    files["Export.csv"] = files["Export.csv"].replace(b"source", name.encode())
    with pytest.raises(Invalid) as refused:
        run(MemoryStore(), files)
    assert name not in str(refused.value)


def test_a_second_import_changes_nothing(store: Store) -> None:
    files = export("2026-02-01", "1", {"Client": [CLIENT, client("Azq", "2026-01-01")]})
    assert run(store, files).total(Kind.NEW) == 2
    again = run(store, files)
    assert (again.total(Kind.NEW), again.total(Kind.CHANGED), again.total(Kind.UNCHANGED)) == (0, 0, 2)
    with store.reading() as reading:
        assert [s.version for s in reading.resources.of_type("Patient")] == [1]


def test_an_older_row_never_overwrites_and_a_newer_one_does() -> None:
    store = MemoryStore()
    run(store, export("2026-02-01", "1", {"Client": [CLIENT, client("Newzq", "2026-01-20")]}))
    assert (
        run(store, export("2026-03-01", "1", {"Client": [CLIENT, client("Oldzq", "2026-01-10")]})).total(Kind.OLDER)
        == 1
    )
    assert live(store, "Patient")[0]["name"][0]["family"] == "Newzq"
    run(store, export("2026-01-25", "1", {"Client": [CLIENT, client("Newestzq", "2026-01-21")]}))
    assert live(store, "Patient")[0]["name"][0]["family"] == "Newestzq"


def test_a_deleted_row_is_marked_and_a_restored_one_is_live_again(store: Store) -> None:
    rows = {"Client": [CLIENT, client("Azq", "2026-01-01")], "Project": [PROJECT, ["p", "o", "2026-01-01"]]}
    stay = ["e", "1", "p", "2026-01-05", "h", "1", "2026-01-05"]
    run(store, export("2026-02-01", "1", rows | {"Enrollment": [ENROLLMENT, [*stay, ""]]}))
    gone = run(store, export("2026-02-02", "1", {"Enrollment": [ENROLLMENT, [*stay, "2026-02-01 10:00:00"]]}))
    assert gone.total(Kind.DELETED) == 1
    assert live(store, "EpisodeOfCare")[0]["status"] == "entered-in-error"
    assert live(store, "Group") == []
    back = run(store, export("2026-02-03", "1", {"Enrollment": [ENROLLMENT, [*stay, ""]]}))
    assert back.total(Kind.RESTORED) == 1
    assert live(store, "EpisodeOfCare")[0]["status"] == "active"
    assert len(live(store, "Group")) == 1


DELTAS = (
    export(
        "2026-02-01",
        "1",
        {"Client": [CLIENT, client("Azq", "2026-01-01")], "Project": [PROJECT, ["p", "o", "2026-01-01"]]},
    ),
    export("2026-02-02", "1", {"Enrollment": [ENROLLMENT, ["e", "1", "p", "2026-01-05", "h", "1", "2026-01-05", ""]]}),
    export("2026-02-03", "1", {"Exit": [EXIT, ["x", "e", "1", "2026-01-25", "410", "2026-01-25"]]}),
    export("2026-02-04", "1", {"Client": [CLIENT, client("Bzq", "2026-02-03")]}),
)


@pytest.mark.parametrize("order", list(permutations(range(4)))[::2])
def test_any_order_of_deltas_ends_in_the_same_state(order: tuple[int, ...]) -> None:
    straight, mixed = MemoryStore(), MemoryStore()
    for delta in DELTAS:
        run(straight, delta)
    for index in order:
        run(mixed, DELTAS[index])
    for type_ in ("Patient", "EpisodeOfCare", "Observation", "HealthcareService", "Group"):
        assert live(mixed, type_) == live(straight, type_), type_
    assert live(mixed, "EpisodeOfCare")[0]["period"]["end"] == "2026-01-25"


def test_a_full_refresh_deletes_what_it_no_longer_has_and_only_in_its_scope() -> None:
    store = MemoryStore()
    rows = [
        ["e1", "1", "p", "2026-01-05", "h", "1", "2026-01-05", ""],
        ["e2", "1", "q", "2026-01-05", "g", "1", "2026-01-05", ""],
    ]
    base = {"Client": [CLIENT, client("Azq", "2026-01-01")], "Project": [PROJECT, ["p", "o", ""], ["q", "o", ""]]}
    run(store, export("2026-02-01", "1", base | {"Enrollment": [ENROLLMENT, *rows]}))
    report = run(store, export("2026-02-02", "2", {"Project": [PROJECT, ["p", "o", ""]], "Enrollment": [ENROLLMENT]}))
    assert report.absent == 1
    assert sorted(e["status"] for e in live(store, "EpisodeOfCare")) == ["active", "entered-in-error"]
    assert live(store, "Patient")[0].get("active", True)
    late = run(store, export("2026-02-01", "1", {"Enrollment": [ENROLLMENT, rows[0]]}))
    assert late.counts["Enrollment"] == {"older": 1}
    back = run(store, export("2026-02-03", "2", base | {"Enrollment": [ENROLLMENT, *rows]}))
    assert back.counts["Enrollment"] == {"restored": 1, "unchanged": 1}
    assert [e["status"] for e in live(store, "EpisodeOfCare")] == ["active", "active"]


def test_a_row_that_waits_does_not_come_back_to_life_after_a_full_refresh_without_it() -> None:
    store = MemoryStore()
    base = {"Client": [CLIENT, client("Bzq", "2026-01-01", key="2")], "Project": [PROJECT, ["p", "o", ""]]}
    row = ["e", "1", "p", "2026-01-05", "h", "1", "2026-01-05", ""]
    run(store, export("2026-02-01", "1", base | {"Enrollment": [ENROLLMENT, row]}))
    assert run(store, export("2026-02-02", "2", base | {"Enrollment": [ENROLLMENT]})).absent == 1
    assert run(store, export("2026-02-03", "2", base | {"Enrollment": [ENROLLMENT]})).absent == 0
    run(store, export("2026-02-04", "1", {"Client": [CLIENT, client("Azq", "2026-01-01")]}))
    assert [e["status"] for e in live(store, "EpisodeOfCare")] == ["entered-in-error"]
    run(store, export("2026-02-05", "1", {"Enrollment": [ENROLLMENT, row]}))
    assert [e["status"] for e in live(store, "EpisodeOfCare")] == ["active"]


def test_a_full_refresh_that_would_delete_too_much_writes_nothing() -> None:
    store = MemoryStore()
    rows = [[f"e{n}", "1", "p", "2026-01-05", "h", "1", "2026-01-05", ""] for n in range(60)]
    base = {"Client": [CLIENT, client("Azq", "2026-01-01")], "Project": [PROJECT, ["p", "o", ""]]}
    run(store, export("2026-02-01", "1", base | {"Enrollment": [ENROLLMENT, *rows]}))
    empty = export(
        "2026-02-02", "2", base | {"Enrollment": [ENROLLMENT, rows[0]], "Client": [CLIENT, client("Bzq", "2026-02-02")]}
    )
    with pytest.raises(Conflict):
        run(store, empty)
    assert live(store, "Patient")[0]["name"][0]["family"] == "Azq"
    assert run(store, empty, max_deleted_share=1.0).absent == 59


def test_a_dry_run_tells_and_keeps_nothing(store: Store) -> None:
    report = run(store, export("2026-02-01", "1", {"Client": [CLIENT, client("Azq", "2026-01-01")]}), dry_run=True)
    assert report.counts["Client"] == {"new": 1}
    assert live(store, "Patient") == []


def test_client_level_rows_of_a_victim_service_provider_are_refused() -> None:
    files = {
        "Organization": [["OrganizationID", "VictimServiceProvider"], ["v", "1"], ["o", "0"]],
        "Project": [PROJECT, ["pv", "v", ""], ["po", "o", ""]],
        "Client": [CLIENT, client("Hiddenzq", "2026-01-01", key="1"), client("Bothzq", "2026-01-01", key="2")],
        "Enrollment": [
            ENROLLMENT,
            ["e1", "1", "pv", "2026-01-05", "h", "1", "", ""],
            ["e2", "2", "pv", "2026-01-05", "h2", "1", "", ""],
            ["e3", "2", "po", "2026-01-05", "h3", "1", "", ""],
        ],
    }
    store = MemoryStore()
    report = run(store, export("2026-02-01", "1", files))
    assert report.refused_organizations == ["v"]
    assert [n["file"] for n in report.notes if n["kind"] == "refused"] == [
        "Client.csv",
        "Enrollment.csv",
        "Enrollment.csv",
    ]
    assert [p["name"][0]["family"] for p in live(store, "Patient")] == ["Bothzq"]
    assert len(live(store, "EpisodeOfCare")) == 1


def test_a_project_that_becomes_sensitive_labels_what_was_there() -> None:
    store = MemoryStore()
    stay = ["e", "1", "p", "2026-01-05", "h", "1", "", ""]
    base = {
        "Client": [CLIENT, client("Azq", "2026-01-01")],
        "Project": [PROJECT, ["p", "o", ""]],
        "Enrollment": [ENROLLMENT, stay],
    }
    run(store, export("2026-02-01", "1", base | {"Exit": [EXIT, ["x", "e", "1", "2026-01-25", "410", ""]]}))
    run(store, export("2026-02-02", "1", {"Funder": [["FunderID", "ProjectID", "Funder"], ["f", "p", "13"]]}))
    for type_ in ("EpisodeOfCare", "Observation", "Group"):
        for resource in live(store, type_):
            assert "HIV" in {c["code"] for c in resource["meta"]["security"]}, type_


COC = ["ProjectCoCID", "ProjectID", "CoCCode", "Address1", "DateUpdated"]
PLACE = {"ProjectCoC": [COC, ["c", "p", "XX-500", "1 Hidden Lane", "2026-01-01"]]}
SERVES = ["ProjectID", "OrganizationID", "TargetPopulation", "DateUpdated"]


@pytest.mark.parametrize("order", list(permutations(range(3)))[::2])
def test_where_a_project_of_survivors_is_stands_under_the_label_of_places(order: tuple[int, ...]) -> None:
    parts = (PLACE, {"Project": [SERVES, ["p", "o", "", "2026-01-01"]]}, {"Project": [SERVES, ["p", "o", "1", "2026"]]})
    store = MemoryStore()
    for at in order:
        run(store, export(f"2026-02-{at + 1:02d}", "1", parts[at]))
        places = [place for place in live(store, "Location") if "address" in place]
        for place in places:  # never there without it once the project is known to serve survivors
            codes = {label["code"] for label in place["meta"].get("security", ())}
            assert ("LOCIS" in codes) == (store_says_survivors(store))
    assert len(places) == 1


def store_says_survivors(store: Store) -> bool:
    """Whether the stored project serves survivors of domestic violence."""
    with store.reading() as reading:
        return "SDV" in reading.rows.get("source", "Project", ["p"])["p"].facts


def test_an_organization_marked_deleted_goes_on_telling_that_it_serves_victims() -> None:
    header = ["OrganizationID", "VictimServiceProvider", "DateUpdated", "DateDeleted"]
    store = MemoryStore()
    shelter = {"Organization": [header, ["v", "1", "2026-01-01", ""]], "Project": [PROJECT, ["p", "v", "2026-01-01"]]}
    run(store, export("2026-02-01", "1", shelter | PLACE))
    run(store, export("2026-02-02", "1", {"Organization": [header, ["v", "1", "2026-01-02", "2026-01-02"]]}))
    place = next(place for place in live(store, "Location") if "address" in place)
    assert "LOCIS" in {label["code"] for label in place["meta"]["security"]}
    people = {"Client": [CLIENT, client("Azq", "2026-01-01")]}
    stay = {"Enrollment": [ENROLLMENT, ["e", "1", "p", "2026-01-05", "h", "1", "", ""]]}
    assert run(store, export("2026-02-03", "1", people | stay)).total(Kind.REFUSED) == 2
    assert live(store, "Patient") == []


def test_linking_is_part_of_the_arrival() -> None:
    seen: list[str] = []

    def on_arrival(unit: Unit, patients: Sequence[str]) -> None:
        assert all(unit.resources.get(*p.split("/")) for p in patients)
        seen.extend(patients)

    files = export("2026-02-01", "1", {"Client": [CLIENT, client("Azq", "2026-01-01")]})
    conversion = Conversion(MemoryFiles(files), read_data, fallback_source="test")
    Import(conversion, Saver(lambda _: ()), now_us=lambda: 1, options=Options(), on_arrival=on_arrival).run(
        MemoryStore()
    )
    assert len(seen) == 1


def test_a_row_that_lost_an_answer_loses_the_resource_of_the_answer() -> None:
    store = MemoryStore()
    header = ["HealthAndDVID", "PersonalID", "EnrollmentID", "GeneralHealthStatus", "DateUpdated"]
    base = {
        "Client": [CLIENT, client("Azq", "2026-01-01")],
        "Project": [PROJECT, ["p", "o", ""]],
        "Enrollment": [ENROLLMENT, ["e", "1", "p", "", "", "", "", ""]],
    }
    run(store, export("2026-02-01", "1", base | {"HealthAndDV": [header, ["d", "1", "e", "1", "2026-01-01"]]}))
    before = len(live(store, "Observation"))
    run(store, export("2026-02-02", "1", {"HealthAndDV": [header, ["d", "1", "e", "", "2026-01-02"]]}))
    assert len(live(store, "Observation")) == before - 1


def test_whose_project_it_is_must_be_known_before_an_enrollment_is_stored(store: Store) -> None:
    stay = {"Enrollment": [ENROLLMENT, ["e", "1", "p", "2026-01-05", "h", "1", "2026-01-05", ""]]}
    people = {"Client": [CLIENT, client("Azq", "2026-01-01")]}
    assert run(store, export("2026-02-01", "1", people | stay)).total(Kind.WAITING) == 1
    assert live(store, "EpisodeOfCare") == []
    run(store, export("2026-02-02", "1", {"Project": [PROJECT, ["p", "o", ""]]}))
    assert len(live(store, "EpisodeOfCare")) == 1


def test_a_client_who_turns_out_to_be_a_victim_service_providers_is_forgotten(store: Store) -> None:
    people = {"Client": [CLIENT, client("Hiddenzq", "2026-01-01"), client("Bothzq", "2026-01-01", key="2")]}
    stays = [["e1", "1", "pv", "2026-01-05", "h", "1", "", ""], ["e2", "2", "po", "2026-01-05", "g", "1", "", ""]]
    run(store, export("2026-02-01", "1", people | {"Project": [PROJECT, ["po", "o", ""]]}))
    run(store, export("2026-02-02", "1", {"Enrollment": [ENROLLMENT, *stays]}))
    assert len(live(store, "Patient")) == 2
    shelter = {
        "Organization": [["OrganizationID", "VictimServiceProvider"], ["v", "1"]],
        "Project": [PROJECT, ["pv", "v", ""]],
    }
    both = ["e3", "2", "pv", "2026-01-06", "k", "1", "", ""]
    told = run(store, export("2026-02-03", "1", shelter | {"Enrollment": [ENROLLMENT, stays[0], both]}))
    assert [p["name"][0]["family"] for p in live(store, "Patient")] == ["Bothzq"]
    assert told.total(Kind.REFUSED) == 2
    assert len(live(store, "EpisodeOfCare")) == 1
    with store.reading() as reading:
        assert sorted(reading.rows.get("source", "Enrollment", ["e1", "e2", "e3"])) == ["e2"]
        assert reading.rows.waiting("source", "Enrollment", "", 9) == []
    later = export("2026-02-04", "1", {"Client": [CLIENT, client("Newzq", "2026-02-03", key="2")]})
    assert run(store, later).total(Kind.CHANGED) == 1


def test_a_file_without_its_header_is_said_to_be_one_by_import_and_convert() -> None:
    files = export("2026-02-01", "1", {"Client": [client("Azq", "2026-01-01"), client("Bzq", "2026-01-01", key="2")]})
    told = [note for note in run(MemoryStore(), files).notes if note["row"] == 0]
    assert [(note["file"], note["kind"], "column names" in note["reason"]) for note in told] == [
        ("Client.csv", "note", True)
    ]
    report = Conversion(MemoryFiles(files), read_data, fallback_source="test").report
    assert [(found.file, found.row) for found in report.findings if "header" in found.reason] == [("Client.csv", 0)]
