"""What a search of several criteria costs follows the smallest of its sets, whatever the others hold."""

from pathlib import Path

from gateway.adapters.db.store import DbStore
from gateway.exchange.ports.resources import Draft
from gateway.exchange.search import parse_query
from gateway.exchange.search_run import search
from gateway.settings import Settings
from gateway.wiring import open_store, search_definitions

_STEPS = 50  # of SQLite's machine between two looks


def _steps(store: DbStore, query: tuple[tuple[str, str], ...]) -> tuple[int, int]:
    """How many matches a search of Patients finds, and what it takes of SQLite's machine."""
    looks = 0

    def look() -> int:
        nonlocal looks
        looks += 1
        return 0

    criteria = parse_query("Patient", query, search_definitions())
    with store.reading() as reading:
        reading.session.connection.set_progress_handler(look, _STEPS)
        found = search(reading.resources, criteria, None)
        reading.session.connection.set_progress_handler(None, 0)
    return len(found.matches), looks * _STEPS


def test_a_small_set_drives_a_search_although_a_larger_one_is_asked_first(tmp_path: Path) -> None:
    """A family name of hundreds of people was read whole before the birth date of one of them was looked at."""
    store = open_store(Settings(database_url=f"sqlite:///{tmp_path / 'plan.db'}"))
    assert isinstance(store, DbStore)
    query = (("family", "zqsame"), ("birthdate", "1990-01-02"), ("gender", "female"))
    costs = []
    for first, last in ((0, 80), (80, 320)):
        people = [
            {"resourceType": "Patient", "id": f"p{number}", "name": [{"family": "Zqsame"}], "gender": "female",
             "birthDate": "1990-01-02" if number == 7 else "1985-03-04"}
            for number in range(first, last)
        ]  # fmt: skip
        drafts = [Draft(one) for one in people]
        store.write(lambda unit, drafts=drafts: unit.resources.put_all(drafts, now_us=1))  # type: ignore[misc]
        matches, cost = _steps(store, query)
        assert matches == 1
        costs.append(cost)
    store.close()
    assert costs[1] < 1.5 * costs[0]
