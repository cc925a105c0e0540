"""PostgreSQL databases for tests: one with the gateway's tables is emptied and used again, not made anew.

Making a database copies some three hundred files and dropping it waits for a checkpoint, 0.15 s of processor time in
all; emptying the few tables that a test wrote to takes a hundredth of that. What is not as it was (another schema, a
row of the migrations, a connection left open) is dropped instead, so that no test sees what another one did.
"""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg

from gateway.adapters.db.engine import Database
from gateway.adapters.db.migrate import upgrade

_GIVEN: Final = "alembic_version"  # the one table that holds a row in a fresh database
_SMALL_BYTES: Final = 65_536  # deleted rows of more than that would be in the way of the next test: cut the table off
_EMPTY: Final = f"""
DO $$ DECLARE t text; BEGIN
  FOR t IN SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
      AND relname <> '{_GIVEN}' AND pg_relation_size(oid) > 0
  LOOP
    IF pg_relation_size(t) > {_SMALL_BYTES} THEN EXECUTE 'TRUNCATE ' || t; ELSE EXECUTE 'DELETE FROM ' || t; END IF;
  END LOOP;
END $$
"""
_SHAPE: Final = (  # tables and indexes, columns, constraints, the row of the migrations
    "SELECT (SELECT array_agg((relname, relkind)::text ORDER BY relname) FROM pg_class"
    "  WHERE relnamespace = 'public'::regnamespace),"
    " (SELECT array_agg((attrelid::regclass, attname, atttypid, attnotnull)::text ORDER BY attrelid, attnum)"
    "  FROM pg_attribute JOIN pg_class c ON c.oid = attrelid"
    "  WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'),"
    " (SELECT array_agg(pg_get_constraintdef(oid) ORDER BY oid) FROM pg_constraint"
    "  WHERE connamespace = 'public'::regnamespace),"
    f" (SELECT array_agg(version_num) FROM {_GIVEN})"
)
_OTHERS: Final = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
_LEAVING_S: Final = 2.0  # a connection that was closed is gone from the server a moment later

Connection = psycopg.Connection[Any]


class _Migrated:
    """A database with the gateway's tables, and a connection that stays, to empty it."""

    def __init__(self, name: str, url: str) -> None:
        self.name, self.url = name, url
        self._connection: Connection = psycopg.connect(url, autocommit=True)
        self._shape = self._connection.execute(_SHAPE).fetchone()

    def emptied(self) -> bool:
        """Whether it is now as it was when it was new."""
        until = time.monotonic() + _LEAVING_S
        while self._connection.execute(_OTHERS).fetchone() != (0,):
            if time.monotonic() > until:
                return False
            time.sleep(0.002)
        self._connection.execute(_EMPTY)
        return self._connection.execute(_SHAPE).fetchone() == self._shape

    def close(self) -> None:
        """Let go of it."""
        self._connection.close()


class Databases:
    """The databases of one test process on one server.

    Args:
        server: base URL of the server; a database's name is appended to it.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        self._connection: Connection = psycopg.connect(server + "postgres", autocommit=True)
        self._template = ""
        self._free: list[_Migrated] = []

    @contextmanager
    def empty(self) -> Iterator[str]:
        """The URL of a new database without tables; dropped with the context, whoever is connected."""
        name = self._create()
        try:
            yield self._server + name
        finally:
            self._drop(name)

    @contextmanager
    def migrated(self) -> Iterator[str]:
        """The URL of a database with the gateway's tables and no rows, one caller's own while the context lasts."""
        one = self._free.pop() if self._free else self._copy()
        whole = False
        try:
            yield one.url
            whole = one.emptied()
        finally:
            if whole:
                self._free.append(one)
            else:
                self._let_go(one)

    def close(self) -> None:
        """Drop what was kept."""
        for one in self._free:
            self._let_go(one)
        if self._template:
            self._drop(self._template)
        self._connection.close()

    def _copy(self) -> _Migrated:
        if not self._template:
            self._template = self._create()
            upgrade(Database(self._server + self._template))
        name = self._create(f" TEMPLATE {self._template}")
        return _Migrated(name, self._server + name)

    def _let_go(self, one: _Migrated) -> None:
        one.close()
        self._drop(one.name)

    def _create(self, how: str = "") -> str:
        name = "t_" + uuid.uuid4().hex
        if self._connection.info.server_version >= 150_000:
            how += " STRATEGY file_copy"  # the older way: cheaper than to log each page
        self._connection.execute(f"CREATE DATABASE {name}{how}")
        return name

    def _drop(self, name: str) -> None:
        self._connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
