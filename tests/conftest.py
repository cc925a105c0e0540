"""What every test shares: a real PostgreSQL, a fresh database a test, and the watch for personal data in logs."""

import os
import uuid
from collections.abc import Iterator

import psycopg
import pytest

from tests.support.postgres import SERVER as _SERVER
from tests.support.postgres import Postgres
from tests.support.shared import SHARED
from tests.support.stores import postgres_store, sqlite_store, store  # noqa: F401 - fixtures

collect_ignore_glob = [] if SHARED else ["conformance/*"]


def pytest_configure(config: pytest.Config) -> None:
    """Start one PostgreSQL for all worker processes, on first need."""
    if hasattr(config, "workerinput") or os.environ.get(_SERVER):
        return
    if config.getoption("collectonly"):
        return
    server = Postgres().start()
    os.environ[_SERVER] = server.url("")
    config.add_cleanup(server.stop)


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """The URL of an empty PostgreSQL database of this test's own."""
    base = os.environ[_SERVER]
    name = "t_" + uuid.uuid4().hex
    with psycopg.connect(base + "postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield base + name
    with psycopg.connect(base + "postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(autouse=True)
def no_personal_data_in_logs(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Every synthetic person carries ``zq`` in a name; no log line may."""
    caplog.set_level(0)
    yield
    for record in (*caplog.get_records("setup"), *caplog.get_records("call")):
        line = record.getMessage() + (str(record.exc_info[1]) if record.exc_info else "")
        assert "zq" not in line.casefold(), f"personal data logged by {record.name}:{record.lineno}"
