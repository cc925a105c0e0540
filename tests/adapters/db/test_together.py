"""Several gateways on one PostgreSQL: no update is lost, no version doubled, no deadlock reaches a caller."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.adapters.db.engine import Database
from gateway.adapters.db.store import DbStore
from gateway.exchange.chain import Check
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.store import Unit
from gateway.kernel.errors import PreconditionFailed
from tests.support.stores import DERIVED

NOW = 1_767_225_600_000_000


@pytest.fixture
def gateways(postgres_store: DbStore) -> Iterator[list[DbStore]]:
    made = [DbStore(Database(postgres_store.database.url), DERIVED) for _ in range(3)]
    yield made
    for store in made:
        store.close()


def person(id_: str, mark: str) -> Draft:
    return Draft({"resourceType": "Patient", "id": id_, "name": [{"family": "Zq", "text": mark}]})


def test_updates_of_one_resource_follow_one_another(gateways: list[DbStore]) -> None:
    def work(number: int) -> int:
        store = gateways[number % 3]
        return store.write(lambda unit: unit.resources.put(person("p", f"m{number}"), now_us=NOW)).version

    with ThreadPoolExecutor(9) as pool:
        versions = list(pool.map(work, range(30)))
    assert sorted(versions) == list(range(1, 31))
    with gateways[0].reading() as reading:
        times = [one.updated_us for one in reading.resources.changes("Patient", "p", count=50)]
    assert times == sorted(times, reverse=True)
    assert len(set(times)) == 30


def test_of_many_that_expect_the_same_version_one_wins(gateways: list[DbStore]) -> None:
    gateways[0].write(lambda unit: unit.resources.put(person("p", "first"), now_us=NOW))
    ready = threading.Barrier(6)

    def work(number: int) -> bool:
        def update(unit: Unit) -> None:
            unit.resources.hold("Patient/p")
            current = unit.resources.get("Patient", "p")
            if current is None or current.version != 1:
                raise PreconditionFailed("another version", at="If-Match")
            unit.resources.put(person("p", f"m{number}"), now_us=NOW + 1)

        ready.wait(10)
        try:
            gateways[number % 3].write(update)
        except PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(work, range(6))) == 1


def test_resources_taken_in_opposite_order_are_all_written(gateways: list[DbStore]) -> None:
    for id_ in ("a", "b"):
        gateways[0].write(lambda unit, id_=id_: unit.resources.put(person(id_, "0"), now_us=NOW))  # type: ignore[misc]
    meet = threading.Barrier(2)
    met: set[int] = set()

    def work(number: int) -> None:
        order = ("a", "b") if number else ("b", "a")

        def both(unit: Unit) -> None:
            unit.resources.put(person(order[0], f"x{number}"), now_us=NOW + 1)
            if number not in met:
                met.add(number)
                meet.wait(10)
            unit.resources.put(person(order[1], f"x{number}"), now_us=NOW + 1)

        gateways[number].write(both)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))
    with gateways[0].reading() as reading:
        found = [reading.resources.get("Patient", id_) for id_ in ("a", "b")]
    assert [one.version for one in found if one] == [3, 3]
    assert len({one.body.split(b'"text":')[1] for one in found if one}) == 1  # the last one wrote both


def test_audit_lanes_of_all_gateways_are_whole(gateways: list[DbStore]) -> None:
    def work(number: int) -> None:
        event = {"resourceType": "AuditEvent", "id": str(number)}
        gateways[number % 3].write(lambda unit: unit.audit.append(event, now_us=NOW + number))

    with ThreadPoolExecutor(9) as pool:
        list(pool.map(work, range(60)))
    check = Check()
    with gateways[0].reading() as reading:
        assert list(check.walk(reading.audit.records())) == []
    assert check.records == 60
    assert len(check.heads) <= 6
