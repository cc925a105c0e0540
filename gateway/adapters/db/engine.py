"""One database behind the gateway: SQLite or PostgreSQL, statements rendered once, and commits shared by many writers.

SQLAlchemy owns the schema and renders the statements; they run on the driver itself (sqlite3, psycopg), which costs a
tenth. A write is a function; a writer thread runs all that are waiting in one transaction, each behind a savepoint,
commits once, and only then answers: durable before acknowledged, at one fsync for many (group commit).
"""

import queue
import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

import orjson
import psycopg
from psycopg import pq
from sqlalchemy import ClauseElement
from sqlalchemy.dialects import postgresql, sqlite

from gateway.kernel.errors import Busy, DoorwayError, Fault, Invalid

T = TypeVar("T")
Row: TypeAlias = tuple[Any, ...]
DialectName: TypeAlias = Literal["sqlite", "postgresql"]

_DIALECTS: Final = {
    "sqlite": sqlite.dialect(paramstyle="named"),
    "postgresql": postgresql.dialect(paramstyle="pyformat"),  # type: ignore[no-untyped-call]
}
_LIST: Final = re.compile(r"IN :(\w+)")
_NAME: Final = re.compile(r"(?<!:):(\w+)")
# another writer came first: the same work, done again, sees what that one did
_RACES: Final = (
    psycopg.errors.UniqueViolation,
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
)
_TRIES: Final = 4
_BATCH: Final = 256  # writes that share a commit at most, so that one answer never waits for a whole backlog


class Statement:
    """A SQLAlchemy statement, rendered to driver text once per dialect; values are always bound by name."""

    __slots__ = ("_clause", "_text")

    def __init__(self, clause: ClauseElement) -> None:
        self._clause = clause
        self._text: dict[str, str] = {}

    def text(self, dialect: DialectName) -> str:
        """The SQL text for ``dialect`` with named parameters."""
        found = self._text.get(dialect)
        if found is None:
            found = self._text[dialect] = str(self._clause.compile(dialect=_DIALECTS[dialect]))
        return found


class Sql:
    """Plain SQL that both databases understand, with two liberties.

    ``:name`` is a value; ``x IN :names`` takes a list of any length. ``lock`` holds the rows found against other
    writers until the commit (``FOR UPDATE``; SQLite has one writer anyway).
    """

    __slots__ = ("_lists", "_text")

    def __init__(self, text: str, *, lock: bool = False) -> None:
        self._lists: Final = frozenset(_LIST.findall(text))
        self._text: Final = {
            "sqlite": _LIST.sub(r"IN (SELECT value FROM json_each(:\1))", text),
            "postgresql": _NAME.sub(r"%(\1)s", _LIST.sub(r"= ANY(:\1)", text.replace("%", "%%")))
            + (" FOR UPDATE" if lock else ""),
        }

    def text(self, dialect: DialectName) -> str:
        """The SQL text for ``dialect`` with named parameters."""
        return self._text[dialect]

    def values(self, dialect: DialectName, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The values in the form that the driver wants."""
        if dialect == "sqlite" and self._lists:
            return {**values, **{name: orjson.dumps(values[name]).decode() for name in self._lists}}
        return values


class Session:
    """One driver connection inside one transaction; used by one thread."""

    def __init__(self, connection: Any, dialect: DialectName) -> None:
        self.connection: Final = connection
        self.dialect: Final[DialectName] = dialect
        self.lane: int | None = None  # the audit lane that this connection holds

    def run(self, statement: Statement | Sql, **values: Any) -> Any:
        """Execute; the cursor answers ``fetchone``, ``fetchall``, iteration and ``rowcount``."""
        return self.run_with(statement, values)

    def run_with(self, statement: Statement | Sql, values: Mapping[str, Any]) -> Any:
        """As :meth:`run` with the values in one mapping."""
        if isinstance(statement, Sql):
            values = statement.values(self.dialect, values)
        return self.connection.execute(statement.text(self.dialect), values)

    def many(self, statement: Statement | Sql, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute once a row, in one round trip where the driver can."""
        if not rows:
            return
        if self.dialect == "sqlite":
            self.connection.executemany(statement.text(self.dialect), rows)
        else:
            with self.connection.cursor() as cursor:
                cursor.executemany(statement.text(self.dialect), rows)


@dataclass(slots=True)
class _Job:
    work: Callable[[Session], Any]
    done: "Future[Any]" = field(default_factory=Future)


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
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._write_loop, name=f"doorway-writer-{i}", daemon=True)
            for i in range(1 if self.dialect == "sqlite" else writers)
        ]
        self._started = threading.Lock()
        self._running = False

    # -- connections -------------------------------------------------------------------------------------------------

    def connect(self) -> Session:
        """A new connection of its own; the caller closes it."""
        try:
            if self.dialect == "sqlite":
                return Session(self._connect_sqlite(), "sqlite")
            connection = psycopg.connect(self.url, autocommit=True, connect_timeout=5)
            connection.execute("SET synchronous_commit TO on")
            connection.execute(f"SET lock_timeout TO {int(self._lock_timeout_s * 1000)}")
            connection.prepare_threshold = 2
            return Session(connection, "postgresql")
        except (sqlite3.Error, psycopg.Error):
            raise Busy("the database cannot be reached", at="--database", fix="is it running?") from None

    def _connect_sqlite(self) -> sqlite3.Connection:
        path = self.url.removeprefix("sqlite:///")
        connection = sqlite3.connect(
            path, timeout=self._lock_timeout_s, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session on one consistent snapshot, read only; sessions are kept for the next reader."""
        try:
            session = self._readers.get_nowait()
        except queue.Empty:
            session = self.connect()
        healthy = False
        try:
            session.connection.execute(
                "BEGIN" if self.dialect == "sqlite" else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
            )
            yield session
            healthy = True
        except DoorwayError:
            healthy = True
            raise
        except (sqlite3.Error, psycopg.Error) as error:
            raise _translated(error) from None
        finally:
            self._give_back(session, healthy)

    def _give_back(self, session: Session, healthy: bool) -> None:
        try:
            session.connection.execute("ROLLBACK")
        except (sqlite3.Error, psycopg.Error):
            healthy = False
        if healthy and not self._closed:
            self._readers.put(session)
        else:
            session.connection.close()

    # -- writing -----------------------------------------------------------------------------------------------------

    def submit(self, work: Callable[[Session], T]) -> "Future[T]":
        """Queue a write; the future answers after the commit is on disk, or with the error that undid it alone.

        ``work`` may run twice (a shared commit that fails is tried again one write at a time), so its only effects
        are those on the session.
        """
        self._start()
        if self._closed:
            raise Busy("the store is closing")
        job = _Job(work)
        self._jobs.put(job)
        return job.done

    def write(self, work: Callable[[Session], T]) -> T:
        """:meth:`submit` and wait."""
        return self.submit(work).result()

    def _start(self) -> None:
        if self._running:
            return
        with self._started:
            if not self._running:
                for thread in self._threads:
                    thread.start()
                self._running = True

    def _write_loop(self) -> None:
        session: Session | None = None
        while True:
            batch = self._next_batch()
            if not batch:
                if session is not None:
                    session.connection.close()
                return
            try:
                if session is None:
                    session = self.connect()
                self._commit(session, batch)
            except BaseException as error:
                if session is not None:
                    with suppress(Exception):
                        session.connection.close()
                session = None
                for job in batch:
                    if not job.done.done():
                        job.done.set_exception(_translated(error))

    def _next_batch(self) -> list[_Job]:
        first = self._jobs.get()
        if first is None:
            return []
        batch = [first]
        while len(batch) < _BATCH:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._jobs.put(None)
                break
            batch.append(job)
        return batch

    def _commit(self, session: Session, batch: list[_Job], tries: int = 1) -> None:
        """Run the batch in one transaction; if that fails as a whole, each alone."""
        try:
            answers = self._attempt(session, batch)
        except (sqlite3.Error, psycopg.Error) as error:
            with suppress(sqlite3.Error, psycopg.Error):
                session.connection.execute("ROLLBACK")
            if len(batch) == 1 and tries < _TRIES and isinstance(error, _RACES):
                self._commit(session, batch, tries + 1)
                return
            if len(batch) == 1 or _broken(session):
                for job in batch:
                    job.done.set_exception(_translated(error))
                if _broken(session):
                    raise
                return
            for job in batch:
                self._commit(session, [job])
            return
        for job, answer, failure in answers:
            if failure is None:
                job.done.set_result(answer)
            else:
                job.done.set_exception(failure)

    def _attempt(self, session: Session, batch: list[_Job]) -> list[tuple[_Job, Any, BaseException | None]]:
        connection = session.connection
        alone = len(batch) == 1
        answers: list[tuple[_Job, Any, BaseException | None]] = []
        connection.execute("BEGIN IMMEDIATE" if self.dialect == "sqlite" else "BEGIN")
        for job in batch:
            if not alone:
                connection.execute("SAVEPOINT one")
            try:
                answers.append((job, job.work(session), None))
            except (sqlite3.OperationalError, psycopg.OperationalError, psycopg.errors.UniqueViolation):
                raise  # locks, disk, lost connection, deadlock, a race for one key: the transaction is in question
            except Exception as error:
                answers.append((job, None, _translated(error)))
                connection.execute("ROLLBACK" if alone else "ROLLBACK TO SAVEPOINT one")
                if alone:
                    return answers
            if not alone:
                connection.execute("RELEASE SAVEPOINT one")
        connection.execute("COMMIT")
        return answers

    def close(self) -> None:
        """Let the queued writes finish, then close every connection."""
        self._closed = True
        if self._running:
            for _ in self._threads:
                self._jobs.put(None)
            for thread in self._threads:
                thread.join(timeout=30)
        while True:
            try:
                self._readers.get_nowait().connection.close()
            except queue.Empty:
                return


def _broken(session: Session) -> bool:
    if session.dialect == "sqlite":
        return False
    return bool(
        session.connection.closed or session.connection.pgconn.transaction_status == pq.TransactionStatus.UNKNOWN
    )


def _translated(error: BaseException) -> BaseException:
    """A driver error as one of ours, without its text, which may quote a record."""
    if isinstance(error, (sqlite3.OperationalError, psycopg.OperationalError)):
        return Busy("the database is busy, full or unreachable", fix="send again, unchanged").with_traceback(
            error.__traceback__
        )
    if isinstance(error, (sqlite3.Error, psycopg.Error)):
        return Fault(f"the database refused a statement ({type(error).__name__})").with_traceback(error.__traceback__)
    return error


def rows_of(cursor: Iterable[Row]) -> list[Row]:
    """All rows of a cursor."""
    return list(cursor)
