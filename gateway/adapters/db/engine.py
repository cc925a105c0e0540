"""One database behind the gateway: SQLite or PostgreSQL, statements rendered once, and commits shared by many writers.

SQLAlchemy owns the schema and renders the statements; they run on the driver itself (sqlite3, psycopg), which costs a
tenth. Writes go through group commit (commits.py).
"""

import os
import queue
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from gateway.adapters.db.commits import GroupCommit
from gateway.adapters.db.session import (
    DialectName,
    Row,
    Session,
    Sql,
    Statement,
    broken,
    driver_errors,
    rows_of,
    translated,
    upsert,
)
from gateway.kernel.errors import Busy, DoorwayError, Invalid

__all__ = ["Database", "DialectName", "Row", "Session", "Sql", "Statement", "rows_of", "upsert"]

T = TypeVar("T")

STATEMENT_LIMIT_S: Final = 60  # PostgreSQL gives up on a statement after this; SQLite runs in this process
# a server that vanished without a word is noticed within half a minute
_ALIVE: Final[dict[str, Any]] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


# What PostgreSQL is not to think of: our statements look up little by an index, in one order, and stop early. Each of
# these begins by reading a whole set, which seems cheap where statistics are missing or old, and grows with the store.
_UNWANTED: Final = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_material", "jit")


# pages of 8 kB: a resource with its body fills pages of 4 kB badly; the cache of a connection is 8 MB at most.
# The log is carried over every 32 MB, not every 8: pages of an index that are written again and again go there once.
_PRAGMAS: Final = (
    "page_size=8192", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY",
    "cache_size=-8000", "wal_autocheckpoint=4000",
)  # fmt: skip


class Database:
    """Connections of one database and the writer threads that share its commits.

    Args:
        url: ``sqlite:///path/to/file.db`` or ``postgresql://user:password@host/name``.
        writers: threads that commit; SQLite has one writer by nature.
        lock_timeout_s: longest wait for another process's lock before :class:`Busy`.
    """

    def __init__(self, url: str, *, writers: int = 2, lock_timeout_s: float = 5.0) -> None:
        self.url: Final = url
        self._lock_timeout_s = lock_timeout_s
        scheme = urlsplit(url).scheme
        if scheme not in {"sqlite", "postgresql"}:
            raise Invalid("unknown kind of database", at="--database", fix="sqlite:///FILE or postgresql://HOST/NAME")
        self.dialect: Final[DialectName] = "sqlite" if scheme == "sqlite" else "postgresql"
        self._readers: queue.LifoQueue[Session] = queue.LifoQueue()
        self._closed = False
        self._commits = GroupCommit(self.connect, 1 if self.dialect == "sqlite" else writers)

    @property
    def stopped(self) -> str:
        """Why nothing is written any more (a disk error); empty while all is well. For /readyz."""
        return self._commits.stopped

    # -- connections ---------------------------------------------------------------------------------------------------

    def connect(self) -> Session:
        """A new connection of its own; the caller closes it.

        Raises:
            Busy: the database cannot be reached.
        """
        try:
            if self.dialect == "sqlite":
                return Session(self._connect_sqlite(), "sqlite")
            import psycopg  # on SQLite it is never loaded

            from gateway.adapters.db.drivers.postgres import NumbersDumper

            connection = psycopg.connect(self.url, autocommit=True, connect_timeout=5, **_ALIVE)
            connection.execute(
                f"SET synchronous_commit TO on; SET lock_timeout TO {int(self._lock_timeout_s * 1000)};"
                f" SET statement_timeout TO {STATEMENT_LIMIT_S * 1000};"
                + "".join(f" SET {name} TO off;" for name in _UNWANTED)
            )
            connection.prepare_threshold = 2
            connection.adapters.register_dumper(list, NumbersDumper)
            return Session(connection, "postgresql")
        except Exception as error:
            if not isinstance(error, (OSError, *driver_errors())):
                raise
            raise Busy("the database cannot be reached", at="--database", fix="is it running?") from None

    def _connect_sqlite(self) -> sqlite3.Connection:
        path = self.url.removeprefix("sqlite:///")
        with suppress(FileExistsError):  # people's records: a new file is its owner's only
            # never open a file that is there: closing it would drop the locks of every connection of this process
            # (POSIX), and another process would then remove the log that they write to
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        connection = sqlite3.connect(
            path, timeout=self._lock_timeout_s, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        return connection

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session on one consistent snapshot, read only; sessions are kept for the next reader.

        Raises:
            Busy: the database cannot be reached.
        """
        session = self._reader()
        healthy = False
        try:
            yield session
            healthy = True
        except DoorwayError:
            healthy = True
            raise
        except driver_errors() as error:
            raise translated(error) from None
        finally:
            self._give_back(session, healthy)

    def _reader(self) -> Session:
        """A session inside a snapshot; kept ones whose connection has died are passed over."""
        begin = "BEGIN" if self.dialect == "sqlite" else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        while True:
            try:
                session, kept = self._readers.get_nowait(), True
            except queue.Empty:
                session, kept = self.connect(), False
            try:
                session.connection.execute(begin)
            except driver_errors() as error:
                with suppress(*driver_errors()):
                    session.connection.close()
                if kept and broken(session):
                    continue
                raise translated(error) from None
            return session

    def _give_back(self, session: Session, healthy: bool) -> None:
        session.memo.clear()  # it belongs to the snapshot
        try:
            session.connection.execute("ROLLBACK")
        except driver_errors():
            healthy = False
        if healthy and not self._closed:
            self._readers.put(session)
        else:
            session.connection.close()

    # -- writing -------------------------------------------------------------------------------------------------------

    def submit(self, work: Callable[[Session], T], *, light: bool = False) -> "Future[T]":
        """Queue a write; the future answers after the commit is on disk, or with the error that undid it alone.

        ``work`` may run twice (after a race with another writer, or when a shared commit fails), so its only effects
        are those on the session. A ``light`` one writes nothing but audit records.

        Raises:
            Busy: closing, stopped after a disk failure, or too many are waiting.
        """
        return self._commits.submit(work, light=light)

    def write(self, work: Callable[[Session], T]) -> T:
        """:meth:`submit` and wait."""
        return self.submit(work).result()

    def close(self) -> None:
        """Let the queued writes finish, then close every connection."""
        self._closed = True
        self._commits.close()
        while True:
            try:
                self._readers.get_nowait().connection.close()
            except queue.Empty:
                return
