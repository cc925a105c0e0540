"""The audit trail of every store: a chain that is part of the transaction."""

from functools import partial

import pytest

from gateway.exchange.chain import GENESIS, Check, canonical, digest_of
from gateway.exchange.ports.store import Store, Unit
from gateway.kernel.errors import Invalid

EVENT = {"resourceType": "AuditEvent", "type": {"code": "rest"}, "action": "R"}


def append(number: int, unit: Unit) -> None:
    unit.audit.append({**EVENT, "n": number}, now_us=100 + number)


def test_records_are_chained_in_order(store: Store) -> None:
    for number in range(3):
        store.write(partial(append, number))
    with store.reading() as reading:
        records = list(reading.audit.records())
        assert sorted(record.recorded_us for record in reading.audit.records(since_us=101)) == [101, 102]
    assert [record.event["n"] for record in sorted(records, key=lambda one: one.recorded_us)] == [0, 1, 2]
    heads: dict[int, bytes] = {}
    for record in records:
        before = heads.get(record.lane, GENESIS)
        text = canonical(record.event)
        assert record.digest == digest_of(before, record.lane, record.sequence, record.recorded_us, text)
        heads[record.lane] = record.digest


def test_an_undone_transaction_leaves_no_record(store: Store) -> None:
    def bad(unit: Unit) -> None:
        unit.audit.append(EVENT, now_us=1)
        raise Invalid("no", at="here")

    with pytest.raises(Invalid):
        store.write(bad)
    store.write(lambda unit: unit.audit.append(EVENT, now_us=2))
    with store.reading() as reading:
        assert [record.recorded_us for record in reading.audit.records()] == [2]


def test_of_many_light_and_heavy_jobs_in_one_commit_only_the_failed_leave_no_record(store: Store) -> None:
    """Records wait for the commit; one that is undone takes its own away and no other's."""

    def job(number: int, unit: Unit) -> int:
        append(number, unit)
        if number % 3 == 0:
            raise Invalid("no", at="here")
        return number

    pending = [store.submit(partial(job, number), light=number % 2 == 0) for number in range(60)]
    kept = [number for number, one in enumerate(pending) if one.exception(20) is None]
    assert kept == [number for number in range(60) if number % 3]
    with store.reading() as reading:
        records = list(reading.audit.records())
    assert sorted(record.event["n"] for record in records) == kept
    assert list(Check().walk(records)) == []


def test_a_transaction_sees_what_it_has_recorded_itself(store: Store) -> None:
    def look(unit: Unit) -> list[int]:
        append(1, unit)
        append(2, unit)
        return [record.event["n"] for record in unit.audit.records()]

    assert store.write(look) == [1, 2]
    with store.reading() as reading:
        assert len(list(reading.audit.records())) == 2
