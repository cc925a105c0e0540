"""Migrations: applied once, by whoever comes first, and known to the command line."""

import json
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from click.testing import CliRunner
from sqlalchemy import create_engine

from gateway.adapters.db.engine import Database
from gateway.adapters.db.migrate import every_table, revision_of, upgrade
from gateway.adapters.db.migrations import HEAD
from gateway.commands.tree import cli
from gateway.settings import Settings
from gateway.wiring import open_store


def test_the_named_head_is_the_newest_step() -> None:
    config = Config()
    config.set_main_option("script_location", "gateway.adapters.db:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_gateways_that_start_together_migrate_once(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    command = [sys.executable, "-m", "gateway", "db", "upgrade", "--database", url]
    other = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: upgrade(Database(url)), range(3)))
    assert other.wait(timeout=30) == 0
    assert revision_of(Database(url)) == HEAD
    assert upgrade(Database(url)) is False


def test_the_commands_tell_the_state(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    before = CliRunner().invoke(cli, ["db", "status", "--database", url, "--json"])
    assert (before.exit_code, json.loads(before.output)["revision"]) == (3, None)
    done = CliRunner().invoke(cli, ["db", "upgrade", "--database", url, "--json"])
    assert (done.exit_code, json.loads(done.output)) == (0, {"changed": True, "revision": HEAD, "reindexed": 0})
    after = CliRunner().invoke(cli, ["db", "status", "--database", url])
    assert (after.exit_code, HEAD in after.output) == (0, True)


def test_opening_the_store_migrates(tmp_path: Path) -> None:
    store = open_store(Settings(database_url=f"sqlite:///{tmp_path / 'b.db'}"))
    with store.reading() as reading:
        assert list(reading.resources.of_type("Patient")) == []
    store.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_the_steps_together_make_the_tables_that_the_code_describes(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A table or index that is added without a step of its own would be missing from every database in use."""
    url = f"sqlite:///{tmp_path / 'new.db'}" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    upgrade(Database(url))
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), every_table())
    engine.dispose()
    assert [one for one in differences if "alembic_version" not in str(one)] == []


def test_sqlite_tables_are_made_word_for_word_as_described(tmp_path: Path) -> None:
    """What a comparison of columns does not see: WITHOUT ROWID, conditions of indexes."""
    stepped, described = tmp_path / "stepped.db", tmp_path / "described.db"
    upgrade(Database(f"sqlite:///{stepped}"))
    engine = create_engine(f"sqlite:///{described}")
    every_table().create_all(engine)
    engine.dispose()

    def made(path: Path) -> dict[str, str]:
        with closing(sqlite3.connect(path)) as connection:
            rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        return {name: " ".join(sql.split()) for name, sql in rows if name != "alembic_version"}

    assert made(stepped) == made(described)
