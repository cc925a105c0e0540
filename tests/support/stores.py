"""One fixture, every store: a test that takes ``store`` runs on memory, SQLite and PostgreSQL.

A fake that is not held to the contract teaches lies. SQLite is copied from a migrated template, PostgreSQL likewise.
"""

import atexit
import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from datetime import UTC
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import psycopg
import pytest

from gateway.adapters.db.engine import Database
from gateway.adapters.db.migrate import upgrade
from gateway.adapters.db.store import DbStore, Derived
from gateway.adapters.files.data import read_data
from gateway.adapters.memory.store import MemoryStore
from gateway.consent.outline import packed_with_outline
from gateway.exchange.disclose import read_vocabulary_from
from gateway.exchange.ports.store import Store
from gateway.wiring import search_definitions
from tests.support.postgres import server_url

KINDS = ("memory", "sqlite", "postgres")
DERIVED = Derived(search_definitions(), packed_with_outline(UTC, read_vocabulary_from(read_data), domain_permit=False))


@cache
def _sqlite_template() -> Path:
    path = Path(mkdtemp(prefix="doorway-sqlite-")) / "template.db"
    upgrade(Database(f"sqlite:///{path}"))
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    return path


@cache
def _postgres_template() -> str:
    name = "template_" + uuid.uuid4().hex
    with psycopg.connect(server_url() + "postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    upgrade(Database(server_url() + name))
    atexit.register(_drop, server_url(), name)
    return name


def _drop(server: str, name: str) -> None:
    try:
        with psycopg.connect(server + "postgres", autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    except psycopg.OperationalError:
        return  # the server went first and took the database with it


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[DbStore]:
    """A store on an empty SQLite file."""
    path = tmp_path / f"{uuid.uuid4().hex}.db"
    shutil.copy(_sqlite_template(), path)
    made = DbStore(Database(f"sqlite:///{path}"), DERIVED)
    yield made
    made.close()


@pytest.fixture
def postgres_store() -> Iterator[DbStore]:
    """A store on an empty PostgreSQL database."""
    name = "t_" + uuid.uuid4().hex
    template = _postgres_template()
    with psycopg.connect(server_url() + "postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    made = DbStore(Database(server_url() + name), DERIVED)
    yield made
    made.close()
    _drop(server_url(), name)


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """An empty store of each kind."""
    if request.param == "memory":
        made: Store = MemoryStore(DERIVED.view)
        yield made
        made.close()
    else:
        yield request.getfixturevalue(f"{request.param}_store")
