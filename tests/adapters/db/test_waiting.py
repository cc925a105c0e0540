"""New resources wait for a look or the commit; nobody can tell, and nobody loses one by the failure of another."""

import threading

import pytest

from gateway.adapters.db.store import DbStore, DbUnit
from gateway.exchange.ports.links import Known
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


def test_a_writer_that_compares_people_keeps_no_other_from_counting_theirs(postgres_store: DbStore) -> None:
    gate, counted = threading.Event(), threading.Event()

    def slow(unit: DbUnit) -> int:
        unit.links.put(Known("Patient/a", "west", b"{}", since_us=1), [1], {0: 1, 7: 1})
        counted.set()
        assert gate.wait(10)
        return unit.links.frequencies([0])[0]

    first = postgres_store.submit(slow)
    assert counted.wait(20)
    put = Known("Patient/b", "west", b"{}", since_us=1)
    postgres_store.submit(lambda unit: unit.links.put(put, [1], {0: 1, 7: 1})).result(8)
    gate.set()
    assert first.result(20) == 2
    with postgres_store.reading() as reading:
        assert reading.links.frequencies([0, 7, 8]) == {0: 2, 7: 2}


def test_the_counts_of_an_undone_write_are_undone(sqlite_store: DbStore) -> None:
    gate = threading.Event()

    def failing(unit: DbUnit) -> None:
        unit.links.put(Known("Patient/b", "west", b"{}", since_us=1), [1], {0: 1})
        raise ValueError("undone")

    waits = sqlite_store.submit(lambda unit: gate.wait(5))
    kept = Known("Patient/a", "west", b"{}", since_us=1)
    good = sqlite_store.submit(lambda unit: unit.links.put(kept, [1], {0: 1}))
    bad = sqlite_store.submit(failing)
    gate.set()
    waits.result(5)
    good.result(5)
    with pytest.raises(ValueError, match="undone"):
        bad.result(5)
    with sqlite_store.reading() as reading:
        assert reading.links.records() == 1
