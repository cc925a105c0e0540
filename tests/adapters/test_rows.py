"""Row states of HMIS imports, the same on every store."""

from gateway.exchange.ports.rows import RowState
from gateway.exchange.ports.store import Store


def _state(key: str, file: str = "Enrollment", **more: str | int) -> RowState:
    return RowState("s", file, key, key.encode(), **more)  # type: ignore[arg-type]


def test_a_state_comes_back_and_the_newest_replaces_it(store: Store) -> None:
    store.write(lambda unit: unit.rows.put([_state("1", updated="2020"), _state("2")]))
    store.write(lambda unit: unit.rows.put([_state("1", updated="2021", facts='{"a":1}')]))
    with store.reading() as reading:
        found = reading.rows.get("s", "Enrollment", ["1", "2", "3"])
        assert {key: state.updated for key, state in found.items()} == {"1": "2021", "2": ""}
        assert reading.rows.get("t", "Enrollment", ["1"]) == {}


def test_live_rows_are_found_by_project_enrollment_and_household(store: Store) -> None:
    states = [
        _state("e1", project="p", enrollment="e1", household="h"),
        _state("e2", person="c", project="q", enrollment="e2", household="h"),
        _state("e3", project="p", enrollment="e3", deleted=1),
        _state("x1", file="Exit", enrollment="e1"),
        _state("w", file="Exit", enrollment="e1", cells='["a"]'),
    ]
    store.write(lambda unit: unit.rows.put(states))
    with store.reading() as reading:
        rows = reading.rows
        assert [s.key for s in rows.of_projects("s", "Enrollment", ["p"])] == ["e1"]
        assert [s.key for s in rows.of_enrollments("s", ["e1"])] == ["e1", "x1"]
        assert [s.key for s in rows.of_projects("s", "Enrollment", ["p"], deleted=True)] == ["e1", "e3"]
        assert [s.key for s in rows.of_enrollments("s", ["e1", "e3"], deleted=True)] == ["e1", "e3", "x1"]
        assert [s.key for s in rows.of_enrollments("s", ["e1", "e2"], "Exit")] == ["x1"]
        assert [s.key for s in rows.of_enrollments("s", ["e1", "e3"], every=True)] == ["e1", "e3", "w", "x1"]
        assert [s.key for s in rows.of_projects("s", "Enrollment", ["p"], every=True)] == ["e1", "e3"]
        assert [s.key for s in rows.of_persons("s", "Enrollment", ["c"], every=True)] == ["e2"]
        assert [s.key for s in rows.of_households("s", ["h"])] == ["e1", "e2"]
        assert [s.key for s in rows.waiting("s", "Exit", "", 9)] == ["w"]
        assert rows.waiting("s", "Exit", "w", 9) == []
        assert [(p.key, p.enrollment, p.project) for p in rows.places("s", "Enrollment", "e1", 9)] == [
            ("e2", "e2", "q")
        ]
        assert rows.digests("s", "Exit", ["x1", "w", "none"]) == {"x1": b"x1"}
        assert [s.key for s in rows.of_persons("s", "Enrollment", ["c"])] == ["e2"]
        assert [s.key for s in rows.page("s", "Enrollment", "e1", 9)] == ["e2", "e3"]
        assert rows.sources() == ["s"]
        assert rows.counts("s") == {"Enrollment": 2, "Exit": 1}


def test_what_is_to_be_done_is_remembered_until_it_is_done(store: Store) -> None:
    store.write(lambda unit: unit.rows.put_todo("s", "household", ["b", "a", "b"]))
    store.write(lambda unit: unit.rows.put_todo("s", "household", ["a", "c"]))
    with store.reading() as reading:
        assert reading.rows.todo("s", "household", 2) == ["a", "b"]
        assert reading.rows.todo("s", "project", 2) == []
    store.write(lambda unit: unit.rows.done("s", "household", ["a", "b"]))
    with store.reading() as reading:
        assert reading.rows.todo("s", "household", 9) == ["c"]


def test_what_has_no_place_in_huds_format_is_kept_by_key(store: Store) -> None:
    store.write(lambda unit: unit.rows.put_extras("s", "Client", {"": "head", "2": "two", "1": "one"}))
    store.write(lambda unit: unit.rows.put_extras("s", "Client", {"1": "uno", "2": ""}))
    with store.reading() as reading:
        assert reading.rows.extras("s", "Client", ["1", "2", ""]) == {"1": "uno", "": "head"}
        assert reading.rows.extra_page("s", "Client", "", 9) == [("1", "uno")]
        assert reading.rows.extra_files("s") == ["Client"]
        assert reading.rows.extra_files("t") == []


def test_a_forgotten_row_is_gone_with_what_was_kept_beside_it(store: Store) -> None:
    store.write(lambda unit: unit.rows.put([_state("1"), _state("2")]))
    store.write(lambda unit: unit.rows.put_extras("s", "Enrollment", {"1": "one", "2": "two"}))
    store.write(lambda unit: unit.rows.drop("s", "Enrollment", ["1", "none"]))
    with store.reading() as reading:
        assert sorted(reading.rows.get("s", "Enrollment", ["1", "2"])) == ["2"]
        assert reading.rows.extras("s", "Enrollment", ["1", "2"]) == {"2": "two"}
