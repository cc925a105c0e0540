"""Versions of several types come in one order, wherever a page ends."""

import random

from gateway.exchange.history import moment_of, newest_first
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.store import Store, Unit


def test_versions_of_one_instant_are_neither_doubled_nor_skipped(store: Store) -> None:
    rng = random.Random(4)

    def work(unit: Unit) -> None:
        for number in range(60):
            type_ = rng.choice(["Patient", "Organization", "Location"])
            content = {"resourceType": type_, "id": f"{rng.randrange(4)}", "language": f"x-{number}"}
            unit.resources.put(Draft(content), now_us=1_000 + number // 12)
        unit.resources.delete("Location", "1", now_us=1_003)

    store.write(work)
    types = ("Location", "Organization", "Patient", "Task")
    with store.reading() as reading:
        whole = [moment_of(one) for one in newest_first(reading.resources, types)]
        assert len(whole) == len(set(whole)) > 55
        assert whole == sorted(whole, reverse=True)
        for place in range(len(whole)):
            rest = newest_first(reading.resources, types, before=whole[place])
            assert [moment_of(one) for one in rest] == whole[place + 1 :]
        recent = newest_first(reading.resources, types, since_us=1_003)
        assert [moment_of(one) for one in recent] == [one for one in whole if one[0] >= 1_003]
        one = newest_first(reading.resources, ("Patient",), "2")
        assert [moment_of(made) for made in one] == [m for m in whole if m[1:3] == ("Patient", "2")]
