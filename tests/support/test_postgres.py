"""The PostgreSQL of the tests is a real one, and no test sees what another one left in it."""

import psycopg
import pytest

from gateway.adapters.db.engine import Database
from tests.support import databases as pool
from tests.support.databases import Databases

TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"


def test_each_test_gets_an_empty_database_of_its_own(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute(TABLES).fetchone() == (0,)


ROWS = "INSERT INTO store_state (name, value) SELECT 'k' || n, 'zq' FROM generate_series(1, %s) n"


@pytest.mark.parametrize("rows", [1, 5_000])
def test_a_database_is_used_again_without_a_row_of_before(databases: Databases, rows: int) -> None:
    with databases.migrated() as url, psycopg.connect(url) as connection:
        connection.execute(ROWS, [rows])
    with databases.migrated() as again, psycopg.connect(again) as connection:
        assert connection.execute("SELECT count(*) FROM store_state").fetchone() == (0,)
    assert again == url


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TABLE one_more (n bigint)",
        "ALTER TABLE store_state ADD COLUMN one_more bigint",
        "ALTER TABLE store_state ADD CONSTRAINT one_more CHECK (true)",
        "CREATE INDEX one_more ON store_state (value)",
        "UPDATE alembic_version SET version_num = 'another'",
    ],
)
def test_a_database_of_another_shape_is_not_used_again(databases: Databases, change: str) -> None:
    with databases.migrated() as url, psycopg.connect(url) as connection:
        connection.execute(change)
    with databases.migrated() as another:
        assert another != url


def test_two_at_a_time_are_two(databases: Databases) -> None:
    with databases.migrated() as one, databases.migrated() as two:
        assert one != two


def test_a_database_that_somebody_is_still_connected_to_is_not_used_again(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_LEAVING_S", 0.05)
    with databases.migrated() as url:
        left = Database(url).connect()
    with databases.migrated() as another:
        assert another != url
    left.connection.close()
