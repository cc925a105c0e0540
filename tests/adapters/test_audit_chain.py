"""Whoever changes, removes, reorders or cuts audit records is found out; ``doorway audit`` says so."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.adapters.db.store import DbStore
from gateway.commands.tree import cli
from gateway.exchange.chain import Check, Head, read_anchors, write_anchor
from gateway.kernel.errors import Malformed, NotFound


def fill(store: DbStore, count: int = 6) -> list[Head]:
    for number in range(count):
        event = {"resourceType": "AuditEvent", "id": f"zq{number}", "outcome": "0"}
        store.write(lambda unit, event=event, n=number: unit.audit.append(event, now_us=1000 + n))  # type: ignore[misc]
    check = Check()
    with store.reading() as reading:
        assert list(check.walk(reading.audit.records())) == []
    return list(check.heads.values())


def findings(store: DbStore, anchors: list[Head]) -> list[str]:
    with store.reading() as reading:
        return [one.what.split(":")[0].split(",")[0] for one in Check(anchors).walk(reading.audit.records())]


@pytest.fixture(params=["sqlite", "postgres"])
def kept(request: pytest.FixtureRequest) -> DbStore:
    store: DbStore = request.getfixturevalue(f"{request.param}_store")
    store.database._commits._writers = 1  # one lane, so that the trail is one chain
    return store


@pytest.mark.parametrize(
    ("deed", "found", "needs_anchor"),
    [
        ("UPDATE audit SET recorded_us = 5 WHERE sequence = 3", "changed", False),
        (
            "UPDATE audit SET event = (SELECT event FROM audit b WHERE b.sequence = 2) WHERE sequence = 4",
            "changed",
            False,
        ),
        ("DELETE FROM audit WHERE sequence = 3", "records 3 to 3 are missing", False),
        ("DELETE FROM audit WHERE sequence < 3", "records 1 to 2 are missing", False),
        ("DELETE FROM audit WHERE sequence > 3", "cut off", True),
        ("DELETE FROM audit", "cut off", True),
    ],
)
def test_tampering_is_found(kept: DbStore, deed: str, found: str, needs_anchor: bool) -> None:
    anchors = fill(kept)
    kept.database.write(lambda session: session.connection.execute(deed) and None)
    assert (findings(kept, []) == []) is needs_anchor
    assert found in findings(kept, anchors)


@pytest.mark.parametrize("column", ["event", "digest", "recorded_us"])
def test_a_value_of_another_kind_is_found_and_stops_nothing(sqlite_store: DbStore, column: str) -> None:
    fill(sqlite_store)
    deed = f"UPDATE audit SET {column} = 'zq' WHERE sequence = 3"  # SQLite takes any kind in any column
    sqlite_store.database.write(lambda session: session.connection.execute(deed) and None)
    assert "changed" in findings(sqlite_store, [])


def test_reordered_records_are_found(kept: DbStore) -> None:
    fill(kept)
    for one, other in ((2, -1), (3, 2), (-1, 3)):
        deed = f"UPDATE audit SET sequence = {other} WHERE sequence = {one}"
        kept.database.write(lambda session, deed=deed: session.connection.execute(deed) and None)  # type: ignore[misc]
    assert "changed" in findings(kept, [])


def test_a_trail_that_was_cut_and_written_on_does_not_fit_its_anchor(kept: DbStore) -> None:
    anchors = fill(kept)
    kept.database.write(lambda session: session.connection.execute("DELETE FROM audit WHERE sequence > 3") and None)
    for number in range(9):
        event = {"resourceType": "AuditEvent", "id": f"new{number}"}
        kept.write(lambda unit, event=event: unit.audit.append(event, now_us=5000))  # type: ignore[misc]
    assert findings(kept, []) == []
    assert findings(kept, anchors) == ["rewritten since the anchor was made"]


def test_anchors_are_lines_that_can_be_read_again() -> None:
    heads = [Head(0, 7, b"\x01\x02"), Head(3, 1, b"\xff")]
    assert read_anchors(write_anchor(heads) + write_anchor(heads[:1]), at="file") == [*heads, heads[0]]
    with pytest.raises(Malformed, match="file:2"):
        read_anchors(write_anchor(heads) + b"{}\n", at="file")


def test_the_commands_export_anchor_and_verify(sqlite_store: DbStore, tmp_path: Path) -> None:
    fill(sqlite_store)
    url, anchor, out = sqlite_store.database.url, str(tmp_path / "anchor"), tmp_path / "events.ndjson"
    run = CliRunner().invoke
    done = run(cli, ["audit", "export", "--database", url, "--anchor", anchor, "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert [json.loads(line)["id"] for line in out.read_text().splitlines()] == [f"zq{n}" for n in range(6)]
    whole = run(cli, ["audit", "verify", "--database", url, "--anchor", anchor, "--json"])
    assert (whole.exit_code, json.loads(whole.output)["records"]) == (0, 6)
    sqlite_store.database.write(lambda s: s.connection.execute("DELETE FROM audit WHERE sequence > 4") and None)
    cut = run(cli, ["audit", "verify", "--database", url, "--anchor", anchor])
    assert (cut.exit_code, "cut off" in cut.output) == (3, True)
    assert run(cli, ["audit", "verify", "--database", url]).exit_code == 0
    assert run(cli, ["audit", "verify", "--database", url, "--anchor", str(tmp_path / "none")]).exit_code == 2
    nowhere = tmp_path / "typo.db"
    missing = run(cli, ["audit", "verify", "--database", f"sqlite:///{nowhere}"])
    assert isinstance(missing.exception, NotFound)
    assert not nowhere.exists()
