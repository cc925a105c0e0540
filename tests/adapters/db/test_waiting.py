"""New resources wait for a look or the commit; nobody can tell, and nobody loses one by the failure of another."""

import threading

import pytest

from gateway.adapters.db.store import DbStore, DbUnit
from gateway.exchange.ports.resources import Draft
from gateway.exchange.search import parse_query


@pytest.fixture(params=["sqlite_store", "postgres_store"])
def db_store(request: pytest.FixtureRequest) -> DbStore:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, DbStore)
    return found


def _person(id_: str) -> Draft:
    return Draft({"resourceType": "Patient", "id": id_, "name": [{"family": f"Zq{id_}"}]}, fresh=True)


def test_what_was_put_is_read_and_found_in_its_own_transaction(db_store: DbStore) -> None:
    query = parse_query("Patient", [("family", "zqa")], db_store.derived.definitions)

    def work(unit: DbUnit) -> tuple[bool, int, int]:
        unit.resources.put(_person("a"), now_us=1)
        held = len(unit.session.waiting)
        return unit.resources.get("Patient", "a") is not None, unit.resources.count("Patient", query.criteria), held

    assert db_store.write(work) == (True, 1, 1)


def test_a_failure_after_a_look_undoes_its_own_and_not_what_others_of_the_commit_had_waiting(db_store: DbStore) -> None:
    gate = threading.Event()
    looked: list[bool] = []

    def failing(unit: DbUnit) -> None:
        unit.resources.put(_person("b"), now_us=1)
        looked.append(unit.resources.get("Patient", "a") is not None)  # writes what waits, inside its savepoint
        raise ValueError("undone")

    first = db_store.submit(lambda unit: gate.wait(5))
    other = db_store.submit(lambda unit: gate.wait(5))  # PostgreSQL has two writers
    kept = [db_store.submit(lambda unit, id_=id_: unit.resources.put(_person(id_), now_us=1)) for id_ in "ac"]  # type: ignore[misc]
    undone = db_store.submit(failing)
    last = db_store.submit(lambda unit: unit.resources.put(_person("d"), now_us=1))
    gate.set()
    for future in (first, other, *kept, last):
        future.result(5)
    with pytest.raises(ValueError, match="undone"):
        undone.result(5)
    assert looked[0] or db_store.database.dialect == "postgresql"  # or the two were written by different connections
    with db_store.reading() as reading:
        there = [id_ for id_ in "abcd" if reading.resources.get("Patient", id_) is not None]
        query = parse_query("Patient", [("family", "zq")], db_store.derived.definitions)
        assert (there, reading.resources.count("Patient", query.criteria)) == (["a", "c", "d"], 3)


def test_an_undone_transaction_forgets_what_waited(sqlite_store: DbStore) -> None:
    def failing(unit: DbUnit) -> None:
        unit.resources.put(_person("a"), now_us=1)
        raise ValueError("undone")

    with pytest.raises(ValueError, match="undone"):
        sqlite_store.write(failing)
    sqlite_store.write(lambda unit: None)
    with sqlite_store.reading() as reading:
        assert reading.resources.get("Patient", "a") is None
