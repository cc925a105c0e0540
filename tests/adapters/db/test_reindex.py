"""When search parameters change, what is derived from the stored bodies is derived again, killed or not."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.adapters.db.reindex import ensure, is_current, rebuild
from gateway.adapters.db.store import DbStore
from gateway.commands.tree import cli
from gateway.exchange.ports.resources import Draft
from gateway.exchange.search import parse_query
from gateway.exchange.search_run import search
from gateway.kernel.errors import Conflict
from gateway.wiring import search_definitions

EXTENSION = {"url": "u", "valueCode": "x"}
PEOPLE = [
    {"resourceType": "Patient", "id": f"p{n}", "name": [{"family": "Zqsmith"}], "extension": [EXTENSION]}
    for n in range(7)
]
HAIR = {
    "resourceType": "SearchParameter",
    "code": "hair",
    "base": ["Patient"],
    "type": "token",
    "expression": "Patient.extension.where(url='u').value",
}


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> DbStore:
    found: DbStore = request.getfixturevalue(f"{request.param}_store")
    found.write(lambda unit: unit.resources.put_all([Draft(one) for one in PEOPLE], now_us=1))
    found.write(lambda unit: unit.resources.delete("Patient", "p6", now_us=5))
    return found


def count(store: DbStore, text: str) -> int:
    name, _, value = text.partition("=")
    query = parse_query("Patient", [(name, value)], store.derived.definitions)
    with store.reading() as reading:
        return len(search(reading.resources, query, None).matches)


def dump(store: DbStore) -> list[list[tuple[object, ...]]]:
    from gateway.adapters.db.search_index import TABLES

    with store.database.reading() as session:
        return [sorted(session.connection.execute(f"SELECT * FROM {table}").fetchall()) for table in TABLES]


def test_a_rebuilt_index_is_the_one_that_was_written(store: DbStore) -> None:
    before = dump(store)
    assert rebuild(store) == 6
    assert dump(store) == before
    assert is_current(store)


def test_new_parameters_find_what_was_there_before(store: DbStore) -> None:
    rebuild(store)
    more = DbStore(
        store.database, replace(store.derived, definitions=search_definitions().with_resources([HAIR]), mark="2")
    )
    assert count(more, "hair=x") == 0
    assert not is_current(more)
    assert ensure(more) == 6
    assert count(more, "hair=x") == 6
    assert count(more, "family=zqsmith") == 6
    assert ensure(more) == 0


def test_a_rebuild_that_was_killed_begins_again(store: DbStore) -> None:
    def killed(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(store, killed)
    assert not is_current(store)
    assert ensure(store) == 6
    assert count(store, "family=zqsmith") == 6


def test_the_command_rebuilds(sqlite_store: DbStore) -> None:
    sqlite_store.write(lambda unit: unit.resources.put(Draft(PEOPLE[0]), now_us=1))
    url = sqlite_store.database.url
    assert CliRunner().invoke(cli, ["db", "status", "--database", url]).exit_code == 3
    done = CliRunner().invoke(cli, ["db", "upgrade", "--database", url, "--json"])
    assert json.loads(done.output)["reindexed"] == 1
    assert CliRunner().invoke(cli, ["db", "status", "--database", url]).exit_code == 0
    again = CliRunner().invoke(cli, ["db", "reindex", "--database", url])
    assert (again.exit_code, again.output) == (0, "1 resources indexed again\n")


def test_a_command_with_other_settings_than_the_gateways_takes_no_rows_away(
    sqlite_store: DbStore, tmp_path: Path
) -> None:
    sqlite_store.write(lambda unit: unit.resources.put(Draft(PEOPLE[0]), now_us=1))
    database = ["--database", sqlite_store.database.url]
    assert CliRunner().invoke(cli, ["db", "upgrade", *database]).exit_code == 0
    before = dump(sqlite_store)
    other = tmp_path / "other.toml"
    other.write_text('time_zone = "America/Toronto"\n')
    refused = CliRunner().invoke(cli, ["client", "list", *database, "--config", str(other)])
    assert isinstance(refused.exception, Conflict)
    assert "--config" in refused.exception.fix
    assert CliRunner().invoke(cli, ["client", "list", *database]).exit_code == 0
    assert dump(sqlite_store) == before
