"""Migrations: applied once, by whoever comes first, and known to the command line."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from click.testing import CliRunner
from sqlalchemy import create_engine, text

from gateway.adapters.db.engine import Database
from gateway.adapters.db.migrate import every_table, revision_of, step_by_step, upgrade
from gateway.adapters.db.migrations import HEAD
from gateway.adapters.db.schema import conditions_for
from gateway.commands.tree import cli
from gateway.settings import Settings
from gateway.wiring import open_store

_TELLS: Final = {  # what a database says of its tables, with what a comparison of columns does not see: WITHOUT ROWID,
    # conditions of indexes, collations
    "sqlite": (
        "SELECT name, replace(replace(replace(replace(sql, char(10), ' '), char(9), ''), ' ', ''), ',)', ')')"
        " FROM sqlite_master WHERE sql IS NOT NULL",
    ),
    "postgres": (
        "SELECT table_name, ordinal_position, column_name, data_type, is_nullable, column_default, collation_name,"
        " character_maximum_length FROM information_schema.columns WHERE table_schema = 'public'",
        "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'",
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'public'::regnamespace",
        "SELECT version_num FROM alembic_version",
    ),
}


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
def test_the_steps_together_make_what_a_first_start_makes_at_once(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A table or index that is added without a step of its own would be missing from every database in use."""
    if kind == "sqlite":
        urls = [f"sqlite:///{tmp_path / name}" for name in ("stepped.db", "at-once.db")]
    else:
        urls = [request.getfixturevalue("postgres_url")] * 2
    told = []
    for url, make in zip(urls, (step_by_step, upgrade), strict=True):
        make(Database(url))
        engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.connect() as connection:
            conditions_for(kind.replace("postgres", "postgresql"))
            differences = compare_metadata(MigrationContext.configure(connection), every_table())
            told.append([sorted(map(tuple, connection.execute(text(asked)))) for asked in _TELLS[kind]])
            if kind == "postgres":
                connection.execute(text("DROP SCHEMA public CASCADE"))
                connection.execute(text("CREATE SCHEMA public"))
                connection.commit()
        engine.dispose()
        assert [one for one in differences if "alembic_version" not in str(one)] == []
    assert told[0] == told[1]
    assert all(told[0])


def test_a_first_start_does_not_load_what_only_other_databases_or_releases_need(tmp_path: Path) -> None:
    """Alembic and the driver of PostgreSQL are a fifth of the time until a new gateway is ready."""
    loads = (
        "import sys; from gateway.settings import Settings; from gateway.wiring import open_store;"
        f"open_store(Settings(database_url='sqlite:///{tmp_path / 'c.db'}')).close();"
        "print({'alembic', 'psycopg', 'sqlalchemy.dialects.postgresql'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", loads], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
