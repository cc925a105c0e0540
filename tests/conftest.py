"""What every test shares: a real PostgreSQL, stores on it, and the watch for personal data in logs."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.postgres import SERVER as _SERVER
from tests.support.postgres import Postgres
from tests.support.shared import SHARED
from tests.support.stores import (  # noqa: F401 - fixtures
    databases,
    postgres_store,
    postgres_url,
    sqlite_store,
    sqlite_template,
    store,
)

# a machine with other work is no finding: what is slow is asked by doorway bench
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

collect_ignore_glob = [] if SHARED else ["conformance/*"]


_LONG_FIRST = (  # by seconds; of files that are handed out whole, a long one at the end would leave a core idle
    "test_story.py",
    "test_walks.py",
    "test_hmis_check.py",
    "test_non_interference.py",
    "test_hmis_resume.py",
    "test_kill.py",
    "test_rest.py",
    "test_hmis_import.py",
    "test_non_interference_out.py",
    "test_hmis_orders.py",
    "test_commits.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest; within a file and among the others the order stays."""
    rank = {name: number for number, name in enumerate(_LONG_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


def pytest_configure(config: pytest.Config) -> None:
    """Start one PostgreSQL for all worker processes, on first need."""
    if hasattr(config, "workerinput") or os.environ.get(_SERVER):
        return
    if config.getoption("collectonly"):
        return
    server = Postgres().start()
    os.environ[_SERVER] = server.url("")
    config.add_cleanup(server.stop)


@pytest.fixture(autouse=True)
def no_personal_data_in_logs(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Every synthetic person carries ``zq`` in a name; no log line may."""
    caplog.set_level(0)
    yield
    for record in (*caplog.get_records("setup"), *caplog.get_records("call")):
        line = record.getMessage() + (str(record.exc_info[1]) if record.exc_info else "")
        assert "zq" not in line.casefold(), f"personal data logged by {record.name}:{record.lineno}"
