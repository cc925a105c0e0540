"""Statements that are rendered once, and the one driver connection that runs them inside a transaction."""

import re
import sqlite3
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Final, Literal, TypeAlias, cast

import orjson
from sqlalchemy import ClauseElement, Select, Table

from gateway.kernel.errors import Busy, Fault

Row: TypeAlias = tuple[Any, ...]
Mark: TypeAlias = tuple[list[Any], list[Any], dict[int, int]]
DialectName: TypeAlias = Literal["sqlite", "postgresql"]

_PARAMSTYLE: Final = {"sqlite": "named", "postgresql": "pyformat"}
_LIST: Final = re.compile(r"IN :(\w+)")
_NAME: Final = re.compile(r"(?<!:):(\w+)")


def _psycopg() -> Any:
    """The driver of PostgreSQL where it is in use; None on SQLite, whose start does not wait for loading it."""
    return sys.modules.get("psycopg")


def driver_errors() -> tuple[type[Exception], ...]:
    """What the drivers in use raise; ``except`` asks for it only once something was raised."""
    psycopg = _psycopg()
    return (sqlite3.Error,) if psycopg is None else (sqlite3.Error, psycopg.Error)


def unavailable(error: BaseException) -> bool:
    """Whether PostgreSQL says that it cannot do it now (``OperationalError``): away, locked, out of something."""
    psycopg = _psycopg()
    return psycopg is not None and isinstance(error, psycopg.OperationalError)


@cache
def dialect_of(name: DialectName) -> Any:
    """SQLAlchemy's dialect for rendering statements and tables; the other database's is never loaded."""
    return _dialect_module(name).dialect(paramstyle=_PARAMSTYLE[name])


def _dialect_module(name: DialectName) -> Any:
    return import_module(f"sqlalchemy.dialects.{name}")


class Statement:
    """A SQLAlchemy statement, rendered to driver text once per dialect; values are always bound by name.

    Args:
        clause: the statement, or what makes it out of a dialect's module where the two databases differ.
    """

    __slots__ = ("_clause", "_text", "looks")

    def __init__(self, clause: ClauseElement | Callable[[Any], ClauseElement]) -> None:
        self._clause = clause
        self.looks: Final = isinstance(clause, Select)  # it changes nothing
        self._text: dict[str, str] = {}

    def text(self, dialect: DialectName) -> str:
        """The SQL text for ``dialect`` with named parameters."""
        found = self._text.get(dialect)
        if found is None:
            made = self._clause if isinstance(self._clause, ClauseElement) else self._clause(_dialect_module(dialect))
            found = self._text[dialect] = str(made.compile(dialect=dialect_of(dialect)))
        return found


def upsert(table: Table, keys: Sequence[str] = (), changed: Sequence[str] = ()) -> Statement:
    """Insert a row; of one that is there by ``keys``, the columns ``changed`` take the new values, or nothing does."""

    def clause(dialect: Any) -> ClauseElement:
        made = dialect.insert(table)
        values = {column: made.excluded[column] for column in changed}
        return cast(
            ClauseElement,
            made.on_conflict_do_update(index_elements=keys, set_=values) if changed else made.on_conflict_do_nothing(),
        )

    return Statement(clause)


class Sql:
    """Plain SQL that both databases understand, with two liberties.

    ``:name`` is a value; ``x IN :names`` takes a list of any length. ``lock`` holds the rows found against other
    writers until the commit (``FOR UPDATE``; SQLite has one writer anyway). ``apart`` says that it has nothing to do
    with resources, so that those which wait to be written (:meth:`Session.settle`) may go on waiting.
    """

    __slots__ = ("_lists", "_text", "apart", "looks")

    def __init__(self, text: str, *, lock: bool = False, apart: bool = False) -> None:
        self.apart: Final = apart
        # it changes nothing, and holds nothing that an undo would have to let go of
        self.looks: Final = text.startswith("SELECT ") and not lock and "pg_advisory" not in text
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


class Positional:
    """An insert of whole rows as tuples: a third cheaper to bind than by name.

    Args:
        table: whose columns these are.
        names: the columns, in the order of the tuples.
        key: columns by which a row that is there already is replaced; none: there is none.
    """

    __slots__ = ("_text", "names")

    def __init__(self, table: str, names: Sequence[str], key: Sequence[str] = ()) -> None:
        self.names: Final = tuple(names)
        into = f"INSERT INTO {table} ({', '.join(names)}) VALUES "
        rest = ", ".join(f"{name} = excluded.{name}" for name in names if name not in key)
        anew = f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {rest}" if key else ""
        self._text: Final = {
            "sqlite": f"{into}({', '.join('?' * len(self.names))}){anew}",
            "postgresql": f"{into}({', '.join(['%s'] * len(self.names))}){anew}",
        }

    def text(self, dialect: DialectName) -> str:
        """The SQL text for ``dialect``."""
        return self._text[dialect]


class Session:
    """One driver connection inside one transaction; used by one thread."""

    def __init__(self, connection: Any, dialect: DialectName) -> None:
        self._driver: Final = connection
        self.unguarded = False  # a job runs whose savepoint is made before its first change
        self.dialect: Final[DialectName] = dialect
        self.lane: int | None = None  # the audit lane that this connection holds
        self.memo: Final[dict[Any, Any]] = {}  # worked out in this transaction; emptied when it begins and by writes
        self.trail: Final[list[Any]] = []  # audit records of this transaction; written when it commits
        self.flush: Callable[[], None] = lambda: None  # writes them
        self.waiting: Final[list[Any]] = []  # new resources that are written when somebody looks, or at the commit
        self.write_waiting: Callable[[Sequence[Any]], None] = lambda waiting: None  # how
        self.tallies: Final[dict[int, int]] = {}  # counts that everybody adds to, written at the commit
        self.add_tallies: Callable[[Mapping[int, int]], None] = lambda tallies: None  # how
        self.areas: Any = None  # the unit or the reading over this connection (store.py), made once
        self.systems: Final[set[tuple[int, str]]] = set()  # rows of search_system that are there; emptied by an undo
        self.admitted: Final[set[bytes]] = set()  # tokens that were found good in this transaction

    @property
    def connection(self) -> Any:
        """The driver's connection, to do anything with: whoever asks for it may change something."""
        if self.unguarded:
            self.unguarded = False
            self._driver.execute("SAVEPOINT one")
        return self._driver

    def settle(self) -> None:
        """Write what waits: before anything that may look at resources, and before the commit."""
        if self.waiting:
            waiting = self.waiting[:]
            self.waiting.clear()
            self.write_waiting(waiting)

    def finish(self) -> None:
        """Write all that was left for the end; the commit follows at once."""
        self.settle()
        if self.tallies:
            self.add_tallies(self.tallies)
            self.tallies.clear()
        self.flush()

    def begin(self) -> None:
        """Forget what a transaction that was undone left behind."""
        self.unguarded = False
        for held in (self.memo, self.tallies, self.trail, self.waiting, self.admitted):
            held.clear()

    def mark(self) -> Mark:
        """What waits, the audit records and the counts until now, to come back to with a savepoint."""
        return self.waiting[:], self.trail[:], dict(self.tallies)

    def back_to(self, mark: Mark) -> None:
        """A savepoint was undone: what was written since the mark waits again, what came since is forgotten."""
        self.waiting[:], self.trail[:], tallies = mark
        self.tallies.clear()
        self.tallies.update(tallies)
        self.memo.clear()
        self.systems.clear()
        self.admitted.clear()

    def run(self, statement: Statement | Sql, **values: Any) -> Any:
        """Execute; the cursor answers ``fetchone``, ``fetchall``, iteration and ``rowcount``."""
        return self.run_with(statement, values)

    def run_with(self, statement: Statement | Sql, values: Mapping[str, Any]) -> Any:
        """As :meth:`run` with the values in one mapping."""
        if isinstance(statement, Sql):
            if self.waiting and not statement.apart:
                self.settle()
            values = statement.values(self.dialect, values)
        elif self.waiting:
            self.settle()
        connection = self._driver if statement.looks else self.connection
        return connection.execute(statement.text(self.dialect), values)

    def many(self, statement: Statement | Sql, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute once a row, in one round trip where the driver can."""
        if not rows:
            return
        if self.waiting:
            self.settle()
        if self.dialect == "sqlite":
            self.connection.executemany(statement.text(self.dialect), rows)
        else:
            with self.connection.cursor() as cursor:
                cursor.executemany(statement.text(self.dialect), rows)

    def rows(self, statement: Positional, rows: Sequence[Row]) -> None:
        """Insert rows, in one round trip where the driver can."""
        if not rows:
            return
        if self.dialect == "sqlite":
            self.connection.executemany(statement.text("sqlite"), rows)
        else:
            with self.connection.cursor() as cursor:
                cursor.executemany(statement.text("postgresql"), rows)


def broken(session: Session) -> bool:
    """Whether the connection is gone."""
    if session.dialect == "sqlite":
        return False
    pgconn = session.connection.pgconn
    unknown = _psycopg().pq.TransactionStatus.UNKNOWN
    return bool(session.connection.closed or pgconn.transaction_status == unknown)


# a disk that failed to write may have lost what it took before (fsync): only a fresh start looks at what is there
_DISK: Final = ("SQLITE_IOERR", "SQLITE_CORRUPT", "SQLITE_NOTADB")
_PASSING: Final = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_CANTOPEN", "SQLITE_NOMEM", "SQLITE_READONLY")


def disk_failed(error: BaseException) -> bool:
    """Whether SQLite says that the disk or the file under it is damaged."""
    return isinstance(error, sqlite3.Error) and str(getattr(error, "sqlite_errorname", "")).startswith(_DISK)


def translated(error: BaseException) -> BaseException:
    """A driver error as one of ours, without its text, which may quote a record."""
    if not isinstance(error, driver_errors()):
        return error
    name = str(getattr(error, "sqlite_errorname", ""))
    if unavailable(error) or name.startswith(_PASSING + _DISK):
        made: Exception = Busy("the database is busy, full or unreachable", fix="send again, unchanged")
    else:
        made = Fault(f"the database refused a statement ({name or type(error).__name__})")
    return made.with_traceback(error.__traceback__)


def rows_of(cursor: Iterable[Row]) -> list[Row]:
    """All rows of a cursor."""
    return list(cursor)
