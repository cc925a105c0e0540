"""One fixture, every store: a test that takes ``store`` runs on memory, SQLite and PostgreSQL.

A fake that is not held to the contract teaches lies. SQLite is copied from a migrated template; of PostgreSQL see
databases.py.
"""

import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

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
from tests.support.databases import Databases
from tests.support.postgres import server_url

KINDS = ("memory", "sqlite", "postgres")
DERIVED = Derived(search_definitions(), packed_with_outline(UTC, read_vocabulary_from(read_data), domain_permit=False))


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the gateway's tables; to be copied."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    upgrade(Database(f"sqlite:///{path}"))
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """The PostgreSQL databases of this process."""
    made = Databases(server_url())
    yield made
    made.close()


@pytest.fixture
def postgres_url(databases: Databases) -> Iterator[str]:
    """The URL of an empty PostgreSQL database of this test's own."""
    with databases.empty() as url:
        yield url


@pytest.fixture
def sqlite_store(tmp_path: Path, sqlite_template: Path) -> Iterator[DbStore]:
    """A store on an empty SQLite file."""
    path = tmp_path / f"{uuid.uuid4().hex}.db"
    shutil.copy(sqlite_template, path)
    made = DbStore(Database(f"sqlite:///{path}"), DERIVED)
    yield made
    made.close()


@pytest.fixture
def postgres_store(databases: Databases) -> Iterator[DbStore]:
    """A store on an empty PostgreSQL database."""
    with databases.migrated() as url:
        made = DbStore(Database(url), DERIVED)
        yield made
        made.close()


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """An empty store of each kind."""
    if request.param == "memory":
        made: Store = MemoryStore(DERIVED.view)
        yield made
        made.close()
    else:
        yield request.getfixturevalue(f"{request.param}_store")
