"""What linkage keeps is the same contract on memory, SQLite and PostgreSQL."""

import uuid
from contextlib import closing
from dataclasses import replace

from gateway.adapters.files.linkage import default_reader
from gateway.bench._communities import county
from gateway.exchange.link_index import enter_many, find
from gateway.exchange.ports.links import Edge, EdgeState, Known, LinkEvent
from gateway.exchange.ports.store import Store
from gateway.kernel.identifiers import NAMESPACE, shard_of
from gateway.linkage.blocking import MemoryIndex
from gateway.settings import Settings
from gateway.wiring import open_store


def known(name: str, since_us: int = 1) -> Known:
    return Known(f"Patient/{name}", "west", b'{"key":"x"}', since_us=since_us)


def edge(one: str, other: str, bits: float, state: EdgeState = EdgeState.REVIEW, since_us: int = 5) -> Edge:
    return Edge(f"Patient/{one}", f"Patient/{other}", state, "probable", bits, since_us, "gateway", reasons=("why",))


def test_a_record_is_found_by_its_keys_and_only_by_the_newest(store: Store) -> None:
    big = -(2**63) + 5
    store.write(lambda unit: unit.links.put(known("a"), [1, 2, big], {0: 1, 77: 1}))
    store.write(lambda unit: unit.links.put(known("b"), [2], {0: 1}))
    store.write(lambda unit: unit.links.put(replace(known("a", 9), custodian="east"), [2, 3], {77: -1, 78: 1}))
    with store.reading() as reading:
        links = reading.links
        a, b = shard_of("Patient/a"), shard_of("Patient/b")
        assert [sorted(found) for found in links.blocks([1, 2, 3, big], 10)] == [[], sorted([a, b]), [a], []]
        assert [len(found) for found in links.blocks([2], 0)] == [1]
        crowded, entries, counts = links.search({1: 10, 2: 1, 3: 1, big: 5}, [0, 77, 78, 79])
        assert (set(crowded), [one.patient for one in entries], counts) == ({2}, ["Patient/a"], {0: 2, 77: 0, 78: 1})
        crowded, entries, _ = links.search({2: 2, 3: 0}, [])
        assert (set(crowded), sorted(one.patient for one in entries)) == ({3}, ["Patient/a", "Patient/b"])
        assert links.known(["Patient/a", "Patient/z"]) == {"Patient/a": replace(known("a"), custodian="east")}
        assert set(links.numbered([a, 12])) == {a}
        assert links.records() == 2
        assert links.frequencies([77, 78, 79]) == {77: 0, 78: 1}
        assert [one.patient for one in links.every()] == ["Patient/a", "Patient/b"]


def test_a_record_that_leaves_takes_its_keys_along(store: Store) -> None:
    store.write(lambda unit: unit.links.put(known("a"), [1], {0: 1}))
    store.write(lambda unit: unit.links.drop("Patient/a", {0: -1}))
    with store.reading() as reading:
        assert reading.links.blocks([1], 5) == [[]]
        assert reading.links.records() == 0
        assert not reading.links.known(["Patient/a"])


def test_persons_have_members(store: Store) -> None:
    for name in "ab":
        store.write(lambda unit, name=name: unit.links.put(known(name), [], {}))  # type: ignore[misc]
    store.write(lambda unit: unit.links.assign(["Patient/b", "Patient/a", "Patient/unknown"], "p1"))
    with store.reading() as reading:
        assert [one.patient for one in reading.links.members("p1")] == ["Patient/a", "Patient/b"]
        assert reading.links.members("") == []


def test_the_queue_is_most_likely_first_and_tells_its_age(store: Store) -> None:
    for one in (edge("a", "b", 1.5, since_us=9), edge("a", "c", 4.0), edge("b", "c", 8.0, EdgeState.LINKED)):
        store.write(lambda unit, one=one: unit.links.hold(one))  # type: ignore[misc]
    with store.reading() as reading:
        assert [(one.one, one.bits) for one in reading.links.queue()] == [("Patient/a", 4.0), ("Patient/a", 1.5)]
        assert reading.links.backlog() == (2, 5)
        assert reading.links.edge("Patient/c", "Patient/b") == edge("b", "c", 8.0, EdgeState.LINKED)
        assert [one.other for one in reading.links.edges("Patient/b")] == ["Patient/b", "Patient/c"]
    store.write(lambda unit: unit.links.hold(edge("a", "c", 4.0, EdgeState.VETO)))
    store.write(lambda unit: unit.links.release("Patient/b", "Patient/a"))
    with store.reading() as reading:
        assert reading.links.backlog() == (0, 0)
        assert reading.links.edge("Patient/a", "Patient/b") is None


def test_events_are_appended_once_and_come_in_order(store: Store) -> None:
    late = LinkEvent(
        "2", 20, "link", "Patient/a", "Patient/b", "gateway", "certain", "m1", "certain", 12.5, (("dob", "same", 14.0),)
    )
    early = LinkEvent("1", 10, "review", "Patient/a", "Patient/c", "ann", "x", "m1")
    for event in (late, early, replace(late, why="told again")):
        store.write(lambda unit, event=event: unit.links.record(event))  # type: ignore[misc]
    with store.reading() as reading:
        assert list(reading.links.events()) == [early, late]
        assert list(reading.links.events("Patient/b")) == [late]


def test_many_new_records_are_loaded_at_once(store: Store) -> None:
    store.write(lambda unit: unit.links.load([(known("a"), [1, 2], [0, 9]), (known("b"), [2], [0])]))
    with store.reading() as reading:
        assert [len(found) for found in reading.links.blocks([1, 2], 10)] == [1, 2]
        assert reading.links.records() == 2
        assert set(reading.links.known(["Patient/a", "Patient/b"])) == {"Patient/a", "Patient/b"}


def test_a_search_in_one_statement_finds_what_the_search_key_by_key_in_memory_does(store: Store) -> None:
    reader, made = default_reader(), county(61, 80, 25)
    root = reader.nicknames.main_root
    crowd = [{**made.left[n], "last": "Zqcommon", "city": "Riverton", "ssn": "", "id": f"zq{n}"} for n in range(35)]
    same_day = [{**row, "dob": "1980-02-03", "first": "Zqann", "id": f"{row['id']}b"} for row in crowd]
    people = [reader.row(row) for row in (*made.left, *crowd, *same_day)]
    store.write(lambda unit: enter_many(unit.links, [(person, "west") for person in people], root, now_us=1))
    index, unbounded = MemoryIndex(people, root), 0
    with store.reading() as reading:
        for person in [*people[70:], *(reader.row(row) for row in made.right)]:
            expected, found = index.candidates(person), find(reading.links, person, root)
            keys = sorted({people[n].key for n in expected.ids} - {person.key})
            assert [known.patient for known in found.entries] == keys
            assert found.unbounded == expected.unbounded
            unbounded += found.unbounded
    assert unbounded  # some keys no stage could bound


def test_a_record_that_another_gateway_puts_in_during_a_load_is_entered_once(postgres_url: str) -> None:
    here, there = (open_store(Settings(database_url=postgres_url)) for _ in range(2))
    person = default_reader().row({"id": "Patient/zq1", "first": "Zqanna", "last": "Zqueen", "dob": "1980-02-03"})
    tries: list[str] = []

    def root(name: str) -> str:  # asked for while the rows are on their way
        if not tries:
            there.write(lambda unit: enter_many(unit.links, [(person, "east")], str, now_us=1))
        tries.append(name)
        return name

    with closing(here), closing(there):
        assert here.write(lambda unit: enter_many(unit.links, [(person, "east")], root, now_us=2)) == 0
        with here.reading() as reading:
            assert reading.links.records() == 1
            assert [one.since_us for one in reading.links.every()] == [1]
    assert tries


def test_a_change_replaces_exactly_the_keys_that_changed_and_many_joined_records_are_found_by_person(
    store: Store,
) -> None:
    store.write(lambda unit: unit.links.put(known("a"), [5, -7, 9], {0: 1}, new=True))
    store.write(lambda unit: unit.links.put(known("a"), [9, -7, 11], {}))
    with store.reading() as reading:
        here = shard_of("Patient/a")
        assert reading.links.blocks([5, -7, 9, 11], 3) == [[], [here], [here], [here]]
    store.write(lambda unit: unit.links.drop("Patient/a", {0: -1}))
    with store.reading() as reading:
        assert reading.links.blocks([5, -7, 9, 11], 3) == [[], [], [], []]


def test_the_number_of_a_record_is_the_first_half_of_its_uuid() -> None:
    for n in range(300):
        reference = f"Patient/zq{n}é"
        assert shard_of(reference) == int.from_bytes(uuid.uuid5(NAMESPACE, reference).bytes[:8], "big") >> 1
