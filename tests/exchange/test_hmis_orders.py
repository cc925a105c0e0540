"""Whatever the order in which deltas arrive, the store ends as one full export of the newest rows would leave it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

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
            (file, state.key, state.digest.hex(), state.deleted, json.loads(state.facts), state.household)
            for file in HEADERS
            for state in reading.rows.page("source", file, "", 99)
        ]
        left = [reading.rows.todo("source", kind, 9) for kind in ("household", "project", "event")]
    return {type_: sorted(live(store, type_), key=lambda r: str(r["id"])) for type_ in TYPES} | {
        "rows": kept,
        "todo": left,
    }


@settings(max_examples=12, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_any_order_of_deltas_is_the_full_export(deltas: list[list[Version]], random: Any) -> None:
    newest: dict[tuple[str, str], Version] = {}
    for delta in deltas:
        newest |= {(version[0], version[1]): version for version in delta}
    full, mixed = MemoryStore(), MemoryStore()
    run(full, export(f"2026-03-{len(deltas):02d}", "2", files_of(list(newest.values()))))
    exports = [export(f"2026-03-{day:02d}", "1", files_of(delta)) for day, delta in enumerate(deltas, 1)]
    random.shuffle(exports)
    for one in exports:
        run(mixed, one)
    wanted, found = everything(full), everything(mixed)
    for what, bodies in wanted.items():
        assert found[what] == bodies, what
    for one in exports:
        again = run(mixed, one)
        assert {again.total(kind) for kind in (Kind.NEW, Kind.CHANGED, Kind.DELETED, Kind.RESTORED)} == {0}
