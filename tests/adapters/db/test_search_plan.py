"""What a search costs follows the smallest of its sets or the length of its page, whatever else the store holds."""

from collections.abc import Iterator

import pytest

from gateway.adapters.db import search as plans
from gateway.adapters.db.store import DbStore
from gateway.exchange.ports.resources import Draft
from gateway.exchange.search import parse_query
from gateway.exchange.search_run import search
from gateway.kernel.fhir import Resource
from gateway.wiring import search_definitions

_STEPS = 10  # of SQLite's machine between two looks
_NOW = 1_767_225_600_000_000


def _steps(store: DbStore, query: str) -> tuple[int, int]:
    """How many matches a search finds, and what it takes of SQLite's machine."""
    looks = 0

    def look() -> int:
        nonlocal looks
        looks += 1
        return 0

    type_, _, text = query.partition("?")
    pairs = [(name, value) for name, _, value in (part.partition("=") for part in text.split("&"))]
    criteria = parse_query(type_, pairs, search_definitions())
    with store.reading() as reading:
        reading.session.connection.set_progress_handler(look, _STEPS)
        found = search(reading.resources, criteria, None)
        reading.session.connection.set_progress_handler(None, 0)
    return len(found.matches), looks * _STEPS


def _growth(store: DbStore, query: str, resources: Iterator[Resource]) -> float:
    """What the search takes with 600 resources against 150; it finds the same."""
    costs = []
    for size in (150, 450):
        made = [(Draft(next(resources)), _NOW + number) for number in range(size)]
        store.write(lambda unit, made=made: [unit.resources.put(draft, now_us=at) for draft, at in made])  # type: ignore[misc]
        costs.append(_steps(store, query))
    assert costs[0][0] == costs[1][0] > 0
    return costs[1][1] / costs[0][1]


def _people() -> Iterator[Resource]:
    number = 0
    while True:
        number += 1
        yield {"resourceType": "Patient", "id": f"p{number}", "name": [{"family": "Zqsame"}], "gender": "female",
               "birthDate": "1990-01-02" if number == 7 else f"{1950 + number % 70}-03-04"}  # fmt: skip


def _referrals() -> Iterator[Resource]:
    number = 0
    while True:
        number += 1
        yield {"resourceType": "ServiceRequest", "id": f"s{number}", "status": ["active", "completed"][number % 2],
               "intent": "order", "subject": {"reference": f"Patient/p{number}"},
               "authoredOn": f"{2000 + number % 20}-{1 + number % 12:02}-{1 + number % 28:02}"}  # fmt: skip


def test_a_small_set_drives_a_search_although_a_larger_one_is_asked_first(sqlite_store: DbStore) -> None:
    """A family name of hundreds of people was read whole before the birth date of one of them was looked at."""
    assert _growth(sqlite_store, "Patient?family=zqsame&birthdate=1990-01-02&gender=female", _people()) < 1.5


def test_the_ends_of_a_range_drive_a_search_although_each_alone_holds_half_a_store(sqlite_store: DbStore) -> None:
    query = "Patient?birthdate=ge1990-01-01&birthdate=lt1990-02-01&gender=female"
    assert _growth(sqlite_store, query, _people()) < 1.5


@pytest.mark.parametrize("sort", ["-authored", "authored", "_lastUpdated", "-_id"])
def test_a_sorted_page_of_a_common_code_costs_a_page(
    sort: str, sqlite_store: DbStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every referral that is active was read and sorted for a page of the newest."""
    for name, bound in {"_FEW": 5, "_SMALL": 10, "_CARRIED": 20, "_WALKED": 40}.items():
        monkeypatch.setattr(plans, name, bound)  # as if the store were a hundred times as large
    query = f"ServiceRequest?status=active&_sort={sort}&_count=5&_total=none"
    assert _growth(sqlite_store, query, _referrals()) < 1.5
