"""Whatever the order in which deltas arrive, the store ends as one full export of the newest rows would leave it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.adapters.memory.store import MemoryStore
from gateway.exchange.hmis_rows import Kind
from tests.exchange.test_hmis_import import export, live, run

TYPES = (
    "Patient", "EpisodeOfCare", "Observation", "HealthcareService", "Group", "Organization", "ServiceRequest", "Task",
    "OrganizationAffiliation",
)  # fmt: skip
HEADERS: Mapping[str, Sequence[str]] = {
    "Organization": ["OrganizationID", "OrganizationName", "DateUpdated"],
    "Project": ["ProjectID", "OrganizationID", "ProjectType", "DateUpdated", "DateDeleted"],
    "Funder": ["FunderID", "ProjectID", "Funder", "DateUpdated", "DateDeleted"],
    "Client": ["PersonalID", "LastName", "DateUpdated", "DateDeleted"],
    "Enrollment": [
        "EnrollmentID", "PersonalID", "ProjectID", "EntryDate", "HouseholdID", "RelationshipToHoH", "DateUpdated",
        "DateDeleted",
    ],
    "Exit": ["ExitID", "EnrollmentID", "PersonalID", "ExitDate", "Destination", "DateUpdated", "DateDeleted"],
    "Event": [
        "EventID", "EnrollmentID", "PersonalID", "EventDate", "Event", "LocationCrisisOrPHHousing", "ReferralResult",
        "DateUpdated", "DateDeleted",
    ],
}  # fmt: skip
START: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("Organization", "o"): {"OrganizationName": "Harbor"},
    ("Organization", "r"): {"OrganizationName": "Mission"},
    ("Project", "p"): {"OrganizationID": "o", "ProjectType": "14"},
    ("Project", "q"): {"OrganizationID": "o", "ProjectType": "0"},
    ("Funder", "f"): {"ProjectID": "q", "Funder": "46"},
    ("Client", "1"): {"LastName": "Azq"},
    ("Client", "2"): {"LastName": "Bzq"},
    ("Enrollment", "e1"): {"PersonalID": "1", "ProjectID": "p", "EntryDate": "2026-01-05", "HouseholdID": "h"},
    ("Enrollment", "e2"): {"PersonalID": "2", "ProjectID": "p", "EntryDate": "2026-01-05", "HouseholdID": "h"},
    ("Enrollment", "e3"): {"PersonalID": "1", "ProjectID": "q", "EntryDate": "2026-01-09", "HouseholdID": "g"},
    ("Exit", "x1"): {"EnrollmentID": "e1", "PersonalID": "1", "ExitDate": "2026-01-20", "Destination": "410"},
    ("Exit", "x2"): {"EnrollmentID": "e1", "PersonalID": "1", "ExitDate": "2026-01-21", "Destination": "101"},
    ("Event", "v"): {"EnrollmentID": "e1", "PersonalID": "1", "EventDate": "2026-01-06", "Event": "10"},
}
CHANGES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "Organization": {"OrganizationName": ("Harbor House", "Mission")},
    "Project": {"OrganizationID": ("o", "r"), "ProjectType": ("0", "14")},
    "Funder": {"Funder": ("13", "46", "43"), "ProjectID": ("p", "q"), "DateDeleted": ("2026-02-01", "")},
    "Client": {"LastName": ("Czq", "Dzq")},
    "Enrollment": {
        "HouseholdID": ("h", "g"), "RelationshipToHoH": ("1", "2"), "EntryDate": ("2026-01-04", "2026-01-10"),
        "ProjectID": ("p", "q"), "DateDeleted": ("2026-02-01", ""),
    },
    "Exit": {"ExitDate": ("2026-01-22", "2026-01-25"), "EnrollmentID": ("e1", "e2"), "DateDeleted": ("2026-02-01", "")},
    "Event": {
        "ReferralResult": ("", "1", "2"), "LocationCrisisOrPHHousing": ("q", "p", "none"),
        "DateDeleted": ("2026-02-01", ""),
    },
}  # fmt: skip
Version = tuple[str, str, dict[str, str]]  # file, key, cells


@st.composite
def histories(draw: st.DrawFn) -> list[list[Version]]:
    """Rows as they first came and as they were changed, dealt out to deltas in the order of time."""
    rows = {place: {**cells} for place, cells in START.items()}
    deltas: list[list[Version]] = [[(*place, {**cells, "DateUpdated": "2026-01-10"}) for place, cells in rows.items()]]
    for day in range(1, draw(st.integers(2, 5))):
        delta = []
        for place in draw(st.lists(st.sampled_from(sorted(rows)), min_size=1, max_size=4, unique=True)):
            column = draw(st.sampled_from(sorted(CHANGES[place[0]])))
            rows[place] = {**rows[place], column: draw(st.sampled_from(CHANGES[place[0]][column]))}
            delta.append((*place, {**rows[place], "DateUpdated": f"2026-02-{day:02d}"}))
        deltas.append(delta)
    first = deltas.pop(0)
    cut = draw(st.integers(0, len(first)))  # the first rows come in two exports, parents and children torn apart
    shuffled = draw(st.permutations(first))
    return [shuffled[:cut], shuffled[cut:], *deltas]


def files_of(versions: Sequence[Version]) -> dict[str, list[list[str]]]:
    """HUD files."""
    out: dict[str, list[list[str]]] = {}
    for file, key, cells in versions:
        header = list(HEADERS[file])
        out.setdefault(file, [header]).append([key, *[cells.get(column, "") for column in header[1:]]])
    return out


def everything(store: MemoryStore) -> dict[str, list[Any]]:
    """Bodies by type, and what is remembered of rows."""
    with store.reading() as reading:
        kept = [
            (file, one.key, one.digest.hex(), one.deleted, json.loads(one.facts), one.household, one.waiting)
            for file in HEADERS
            for read in (reading.rows.page, reading.rows.waiting)
            for one in read("source", file, "", 99)
        ]
        left = [reading.rows.todo("source", kind, 9) for kind in ("household", "project", "event")]
    return {type_: sorted(live(store, type_), key=lambda r: str(r["id"])) for type_ in TYPES} | {
        "rows": kept,
        "todo": left,
    }


def ends(deltas: Sequence[Sequence[Version]], order: Sequence[int]) -> tuple[dict[str, Any], dict[str, Any], int]:
    """How one export of the newest rows ends, how the deltas end in this order, and what they change a second time."""
    newest: dict[tuple[str, str], Version] = {}
    for delta in deltas:
        newest |= {(version[0], version[1]): version for version in delta}
    full, mixed = MemoryStore(), MemoryStore()
    run(full, export(f"2026-03-{len(deltas):02d}", "2", files_of(list(newest.values()))))
    exports = [export(f"2026-03-{day:02d}", "1", files_of(delta)) for day, delta in enumerate(deltas, 1)]
    for at in order:
        run(mixed, exports[at])
    found = everything(mixed)
    again = [run(mixed, exports[at]) for at in order]
    changed = sum(one.total(kind) for one in again for kind in (Kind.NEW, Kind.CHANGED, Kind.DELETED, Kind.RESTORED))
    return everything(full), found, changed


@settings(max_examples=12, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_any_order_of_deltas_is_the_full_export(deltas: list[list[Version]], random: Any) -> None:
    order = list(range(len(deltas)))
    random.shuffle(order)
    wanted, found, changed_again = ends(deltas, order)
    assert found == wanted
    assert changed_again == 0


def first(*places: tuple[str, str]) -> list[Version]:
    """Rows as they first came."""
    return [(*place, {**START[place], "DateUpdated": "2026-01-10"}) for place in places]


def later(day: int, file: str, key: str, **cells: str) -> Version:
    """A row as it was changed on a day of February."""
    return file, key, {**START[file, key], **cells, "DateUpdated": f"2026-02-{day:02d}"}


BASE: Sequence[tuple[str, str]] = [place for place in START if place[0] in {"Organization", "Project", "Client"}]
Q, F, E1, E2, E3, X1, X2, V = (
    ("Project", "q"), ("Funder", "f"),
    ("Enrollment", "e1"), ("Enrollment", "e2"), ("Enrollment", "e3"), ("Exit", "x1"), ("Exit", "x2"),
    ("Event", "v"),
)  # fmt: skip
ELSEWHERE: Mapping[str, tuple[Sequence[Sequence[Version]], Sequence[int]]] = {
    "a deleted enrollment whose project goes to another organization": (
        [first(*BASE, E3), [later(1, *Q, OrganizationID="r")], [later(3, *E3, DateDeleted="2026-02-01")]], [2, 0, 1],
    ),
    "an enrollment with rows of its own goes to a project with labels": (
        [
            first(*BASE, E1, X2, V),
            [later(1, *E1, ProjectID="q"), ("Funder", "f", {"ProjectID": "q", "Funder": "13", "DateUpdated": "2026"})],
        ],
        [0, 1],
    ),
    "an exit goes to another enrollment while both wait": (
        [
            first(*(place for place in BASE if place != ("Client", "2")), E1),
            [later(1, *E2), later(1, *X1, EnrollmentID="e2")],
            [later(2, *X1, EnrollmentID="e1"), later(2, "Client", "2")],
        ],
        [1, 2, 0],
    ),
    "an exit goes to an enrollment that has not come": (
        [first(*BASE, E1, X1, X2), [later(1, *E2)], [later(3, *X2, EnrollmentID="e2")]], [0, 2, 1],
    ),
    "an enrollment that has ended waits for its new project": (
        [first(*(place for place in BASE if place != Q), E1, X2), first(Q), [later(2, *E1, ProjectID="q")]], [0, 2, 1],
    ),
    "an enrollment waits for its new project while the labels of the one before change": (
        [
            [*first(*(place for place in BASE if place != Q), E1, V), later(1, *F, ProjectID="p", Funder="13")],
            first(Q),
            [later(2, *E1, ProjectID="q")],
            [later(3, *F, ProjectID="p", Funder="46")],
        ],
        [0, 2, 3, 1],
    ),
    "an enrollment goes to a project that never comes, and its household and its rows with it": (
        [
            first(*(place for place in BASE if place != Q), E1, E2, X1),
            [later(1, *V, ReferralResult="1", LocationCrisisOrPHHousing="p")],
            [later(2, *E1, ProjectID="q")],
        ],
        [0, 1, 2],
    ),
    "an exit and a referral go to an enrollment that never comes": (
        [first(*BASE, E1, X1, V), [later(2, *X1, EnrollmentID="e2"), later(2, *V, EnrollmentID="e3")]], [0, 1],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", ELSEWHERE)
def test_what_one_row_tells_of_another_follows_it_wherever_it_goes(what: str) -> None:
    wanted, found, changed_again = ends(*ELSEWHERE[what])
    assert found == wanted
    assert changed_again == 0
