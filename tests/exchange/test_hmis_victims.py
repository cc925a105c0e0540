"""Rows of victim service providers, whatever it is that tells whose they are, and whenever it comes."""

from itertools import permutations

import pytest

from gateway.adapters.memory.store import MemoryStore
from gateway.exchange.hmis_rows import Kind
from gateway.exchange.ports.store import Store
from tests.exchange.test_hmis_import import CLIENT, ENROLLMENT, EXIT, PROJECT, client, export, live, run

OWNER = ["OrganizationID", "VictimServiceProvider", "DateUpdated"]
PERSONAL = ("Patient", "EpisodeOfCare", "Observation", "Group")
BASE = {
    "Organization": [OWNER, ["v", "0", "2026-01-01"], ["o", "0", "2026-01-01"]],
    "Project": [PROJECT, ["pv", "v", "2026-01-01"], ["po", "o", "2026-01-01"]],
}
PEOPLE = {
    "Client": [CLIENT, client("Hiddenzq", "2026-01-01"), client("Bothzq", "2026-01-01", key="2")],
    "Enrollment": [
        ENROLLMENT,
        ["e1", "1", "pv", "2026-01-05", "h", "1", "2026-01-05", ""],
        ["e2", "2", "pv", "2026-01-05", "h", "1", "2026-01-05", "2026-01-06"],
        ["e3", "2", "po", "2026-01-05", "g", "1", "2026-01-05", ""],
    ],
}
EXITS = {
    "Exit": [EXIT, ["x1", "e1", "1", "2026-01-25", "410", ""], ["x2", "e2", "2", "2026-01-25", "410", ""]],
}
FLAG = {"Organization": [OWNER, ["v", "1", "2026-02-02"]]}


def kept(store: Store) -> list[tuple[str, str]]:
    """Every client-level row of which anything is kept, waiting and deleted ones too."""
    with store.reading() as reading:
        return [
            (file, state.key)
            for file in ("Client", "Enrollment", "Exit")
            for state in (*reading.rows.page("source", file, "", 9), *reading.rows.waiting("source", file, "", 9))
        ]


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_whenever_it_is_told_that_an_organization_serves_victims_nothing_of_its_clients_stays(
    order: tuple[int, ...],
) -> None:
    store = MemoryStore()
    for at in order:
        run(store, export(f"2026-02-{at + 1:02d}", "1", (BASE, PEOPLE, EXITS, FLAG)[at]))
    assert [file_key for file_key in kept(store) if file_key[1] in ("1", "e1", "e2", "x1", "x2")] == []
    assert {type_: len(live(store, type_)) for type_ in PERSONAL} == {
        "Patient": 1,
        "EpisodeOfCare": 1,
        "Observation": 1,  # program enrollment status of e3
        "Group": 1,
    }


def test_the_flag_alone_takes_out_what_is_stored_and_is_remembered_for_rows_to_come(store: Store) -> None:
    run(store, export("2026-02-01", "1", BASE | PEOPLE | EXITS))
    assert len(live(store, "EpisodeOfCare")) == 3
    run(store, export("2026-02-02", "1", FLAG))
    assert kept(store) == [("Client", "2"), ("Enrollment", "e3")]
    late = run(store, export("2026-02-03", "1", EXITS))
    assert (late.total(Kind.REFUSED), late.total(Kind.WAITING)) == (2, 0)
    alone = run(store, export("2026-02-04", "1", {"Client": PEOPLE["Client"]}))
    assert (alone.total(Kind.REFUSED), alone.total(Kind.UNCHANGED)) == (1, 1)
    assert [p["name"][0]["family"] for p in live(store, "Patient")] == ["Bothzq"]


def test_an_enrollment_that_is_not_a_victim_service_providers_any_more_comes_when_it_is_sent_again(
    store: Store,
) -> None:
    run(store, export("2026-02-01", "1", BASE | FLAG | PEOPLE))
    assert len(live(store, "EpisodeOfCare")) == 1
    run(store, export("2026-02-03", "1", {"Organization": [OWNER, ["v", "0", "2026-02-03"]]}))
    back = run(store, export("2026-02-04", "1", PEOPLE | EXITS))
    assert back.total(Kind.REFUSED) == 0
    assert [e["status"] for e in live(store, "EpisodeOfCare")].count("entered-in-error") == 1
    assert len(live(store, "EpisodeOfCare")) == 3


def test_a_client_whose_only_enrollment_goes_to_a_victim_service_provider_is_forgotten() -> None:
    store = MemoryStore()
    stay = PEOPLE["Enrollment"][1]
    run(store, export("2026-02-01", "1", BASE | FLAG | {"Client": [CLIENT, PEOPLE["Client"][1]]}))
    run(store, export("2026-02-02", "1", {"Enrollment": [ENROLLMENT, [*stay[:2], "po", *stay[3:]]]}))
    assert len(live(store, "EpisodeOfCare")) == 1
    moved = [*stay[:6], "2026-02-03", ""]
    run(store, export("2026-02-03", "1", {"Enrollment": [ENROLLMENT, moved]}))
    assert (kept(store), live(store, "Patient")) == ([], [])


def stays(key: str, project: str, day: str, deleted: str = "") -> dict[str, list[list[str]]]:
    """One Enrollment of client 1 as it was changed on a day."""
    return {"Enrollment": [ENROLLMENT, [key, "1", project, "2026-01-05", "h", "1", day, deleted]]}


HIDDEN = BASE | FLAG | {"Client": [CLIENT, client("Hiddenzq", "2026-01-01")]}


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_what_an_older_row_says_of_a_client_is_not_believed_whenever_it_comes(order: tuple[int, ...]) -> None:
    store = MemoryStore()
    deltas = (HIDDEN, stays("e1", "po", "2026-02-01"), stays("e1", "pv", "2026-02-03"))
    for at in order:
        run(store, export(f"2026-02-{at + 4:02d}", "1", deltas[at]))
    assert kept(store) == []
    away = (HIDDEN, stays("e1", "pv", "2026-02-01"), stays("e1", "po", "2026-02-03"))
    store = MemoryStore()
    for at in order:
        run(store, export(f"2026-02-{at + 4:02d}", "1", away[at]))
    assert ("Enrollment", "e1") in kept(store)


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_an_enrollment_that_was_deleted_tells_of_nobody_that_he_was_there(order: tuple[int, ...]) -> None:
    store = MemoryStore()
    there, here = stays("e1", "pv", "2026-02-01"), stays("e3", "po", "2026-02-01")
    deltas = (HIDDEN, here, there, stays("e3", "po", "2026-02-03", "2026-02-03"))
    for at in order:
        run(store, export(f"2026-02-{at + 4:02d}", "1", deltas[at]))
    assert [place for place in kept(store) if place != ("Enrollment", "e3")] == []
    assert [live(store, type_) for type_ in PERSONAL] == [[], [], [], []]


def test_a_consent_that_was_revoked_while_its_client_was_refused_does_not_come_back_by_an_older_row() -> None:
    store = MemoryStore()
    columns = ["ConsentID", "PersonalID", "ConsentStatus", "StartDate", "DateUpdated"]
    revoked = {"Consent": [columns, ["c", "1", "revoked", "2026-01-01", "2026-02-03"]]}
    signed = {"Consent": [columns, ["c", "1", "full", "2026-01-01", "2026-02-01"]]}
    run(store, export("2026-02-04", "1", HIDDEN | stays("e1", "pv", "2026-02-01") | revoked))
    elsewhere = stays("e2", "po", "2026-02-02") | {"Client": HIDDEN["Client"]}
    run(store, export("2026-02-05", "1", elsewhere | signed))
    assert [len(live(store, type_)) for type_ in ("Patient", "Consent")] == [1, 0]
    run(store, export("2026-02-06", "1", revoked))
    assert [consent["status"] for consent in live(store, "Consent")] == ["inactive"]


def left(enrollment: str, day: str, destination: str) -> dict[str, list[list[str]]]:
    """An Exit of client 2 as it was changed on a day; he is known at another project too."""
    columns = ["ExitID", "EnrollmentID", "PersonalID", "ExitDate", "Destination", "DateUpdated"]
    return {"Exit": [columns, ["x", enrollment, "2", "2026-01-25", destination, day]]}


BOTH = BASE | FLAG | PEOPLE


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_row_that_moved_to_a_refused_enrollment_is_not_believed_by_its_older_version(order: tuple[int, ...]) -> None:
    store = MemoryStore()
    deltas = (BOTH, left("e3", "2026-02-01", "410"), left("e2", "2026-02-03", "101"))
    for at in order:
        run(store, export(f"2026-02-{at + 4:02d}", "1", deltas[at]))
    assert [place for place in kept(store) if place[0] == "Exit"] == []
    run(store, export("2026-02-08", "1", left("e3", "2026-02-01", "410")))
    assert [place for place in kept(store) if place[0] == "Exit"] == []
    run(store, export("2026-02-09", "1", left("e3", "2026-02-08", "410")))
    assert [place for place in kept(store) if place[0] == "Exit"] == [("Exit", "x")]


def test_a_row_that_was_forgotten_with_its_enrollment_is_not_believed_by_its_older_version() -> None:
    store = MemoryStore()
    run(store, export("2026-02-04", "1", BASE | PEOPLE | left("e2", "2026-02-03", "101")))
    assert ("Exit", "x") in kept(store)
    run(store, export("2026-02-05", "1", FLAG))
    run(store, export("2026-02-06", "1", left("e3", "2026-02-01", "410")))
    assert [place for place in kept(store) if place[0] == "Exit"] == []


def test_a_client_who_was_refused_under_a_newer_name_is_not_known_again_by_an_older_one() -> None:
    store = MemoryStore()
    run(store, export("2026-02-04", "1", HIDDEN | stays("e1", "pv", "2026-02-01")))
    renamed = {"Client": [CLIENT, client("Newzq", "2026-02-03")]}
    run(store, export("2026-02-05", "1", renamed))
    run(store, export("2026-02-06", "1", stays("e2", "po", "2026-02-04")))
    run(store, export("2026-02-07", "1", {"Client": HIDDEN["Client"]}))
    assert live(store, "Patient") == []
    run(store, export("2026-02-08", "1", renamed))
    assert [person["name"][0]["family"] for person in live(store, "Patient")] == ["Newzq"]


def test_what_names_an_enrollment_that_goes_to_a_victim_service_provider_goes_with_it(store: Store) -> None:
    def stay(key: str, project: str, day: str) -> list[str]:
        return [key, "2", project, "2026-01-05", "h" if key == "e2" else "g", "1", day, ""]

    here = [stay("e2", "po", "2026-01-05"), stay("e3", "po", "2026-01-05")]
    files = {"Client": PEOPLE["Client"], "Enrollment": [ENROLLMENT, *here]}
    run(store, export("2026-02-04", "1", BASE | FLAG | files | left("e2", "2026-02-01", "410")))
    assert (len(live(store, "Group")), ("Exit", "x") in kept(store)) == (2, True)
    run(store, export("2026-02-05", "1", {"Enrollment": [ENROLLMENT, stay("e2", "pv", "2026-02-03")]}))
    assert kept(store) == [("Client", "1"), ("Client", "2"), ("Enrollment", "e3")]
    assert {type_: len(live(store, type_)) for type_ in PERSONAL} == {
        "Patient": 2,
        "EpisodeOfCare": 1,
        "Observation": 1,  # program enrollment status of e3
        "Group": 1,
    }


def test_a_row_that_names_a_refused_enrollment_and_somebody_else_goes_with_it() -> None:
    store = MemoryStore()
    here = ["e2", "2", "po", "2026-01-05", "h", "1", "2026-01-05", ""]
    other = ["e1", "1", "po", "2026-01-05", "g", "1", "2026-01-05", ""]
    exits = {"Exit": [EXIT, ["x1", "e2", "1", "2026-01-25", "410", ""]]}
    people = {"Client": PEOPLE["Client"], "Enrollment": [ENROLLMENT, here, other]}
    run(store, export("2026-02-04", "1", BASE | FLAG | people | exits))
    moved = [*here[:2], "pv", *here[3:6], "2026-02-03", ""]
    run(store, export("2026-02-05", "1", {"Enrollment": [ENROLLMENT, moved]}))
    assert kept(store) == [("Client", "1"), ("Enrollment", "e1")]
