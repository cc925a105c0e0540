"""Bring a database to the schema that this release expects; safe to call from several processes at once."""

import importlib
import pkgutil
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import MetaData
from sqlalchemy.schema import CreateIndex, CreateTable

from gateway.adapters.db.engine import Database, Session
from gateway.adapters.db.migrations import HEAD
from gateway.adapters.db.schema import METADATA, conditions_for
from gateway.adapters.db.session import dialect_of, unavailable
from gateway.kernel.errors import Busy, Conflict, DoorwayError, Fault, NotFound

_MIGRATION_LOCK: Final = 0x0D00_12A7_FFFF  # advisory lock: one process migrates, the others wait
_ONE_THREAD: Final = threading.Lock()  # Alembic keeps its context in a module
_ALONE: Final[Mapping[str, tuple[str, ...]]] = {  # begins the transaction in which the schema is changed by nobody else
    "sqlite": ("PRAGMA busy_timeout = 60000", "BEGIN IMMEDIATE"),  # another process may be migrating: wait for it
    "postgresql": (
        "BEGIN",
        "SET LOCAL lock_timeout TO '60s'",
        "SET LOCAL statement_timeout TO 0",
        f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})",
    ),
}
_VERSION: Final = (  # as Alembic makes it
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL,"
    " CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)


def every_table() -> MetaData:
    """The metadata with the tables of every module of this package."""
    package = importlib.import_module("gateway.adapters.db")
    for module in pkgutil.iter_modules(package.__path__, "gateway.adapters.db."):
        importlib.import_module(module.name)
    return METADATA


def revision_of(database: Database) -> str | None:
    """The schema step of the database, None when it is empty or not there; nothing is created."""
    if database.dialect == "sqlite" and not Path(database.url.removeprefix("sqlite:///")).exists():
        return None
    session = database.connect()
    try:
        return _revision(session)
    finally:
        session.connection.close()


def _revision(session: Session) -> str | None:
    exists = {
        "sqlite": "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'",
        "postgresql": "SELECT 1 WHERE to_regclass('alembic_version') IS NOT NULL",
    }
    if session.connection.execute(exists[session.dialect]).fetchone() is None:
        return None
    row = session.connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row is not None else None


def expect_current(database: Database) -> None:
    """For commands that only look: the database must be there, with the schema of this release.

    Raises:
        NotFound: it is not there, or holds no tables of ours.
        Conflict: it is of another release.
    """
    found = revision_of(database)
    if found is None:
        raise NotFound("no Doorway database there", at="--database", fix="name the one that the gateway uses")
    if found != HEAD:
        raise Conflict("the database is of another release", at="--database", fix="run doorway db upgrade")


def upgrade(database: Database) -> bool:
    """Apply what is missing, all in one transaction; whether anything was missing.

    Raises:
        Fault: the database is of a newer release.
        Busy: it cannot be reached or written.
    """
    found = revision_of(database)
    if found == HEAD:
        return False
    if found is not None and found > HEAD:
        raise Fault(
            "the database belongs to a newer release", at="--database", fix=f"install it; this one knows {HEAD}"
        )
    try:
        if found is None:
            return _made_at_once(database) or upgrade(database)
        step_by_step(database)
    except DoorwayError:
        raise
    except Exception as error:  # SQLAlchemy wraps the driver's error
        cause = getattr(error, "orig", error)
        if isinstance(cause, sqlite3.OperationalError) or unavailable(cause):
            raise Busy("the database cannot be changed now", at="--database", fix="is it free and writable?") from None
        raise
    return True


def _made_at_once(database: Database) -> bool:
    """Make the tables of an empty database as the code describes them, which is what all steps together make.

    A test holds the two equal, to the letter. Alembic, which a first start would load for this, takes a sixth of it.
    False: somebody else has made them meanwhile.
    """
    every_table()
    conditions_for(database.dialect)
    dialect = dialect_of(database.dialect)
    session = database.connect()
    try:
        execute = session.connection.execute
        for statement in _ALONE[database.dialect]:
            execute(statement)
        if _revision(session) is not None:
            return False
        for table in sorted(METADATA.tables.values(), key=lambda table: table.name):
            execute(str(CreateTable(table).compile(dialect=dialect)))
            for index in sorted(table.indexes, key=lambda index: str(index.name)):
                execute(str(CreateIndex(index).compile(dialect=dialect)))
        execute(_VERSION)
        execute(f"INSERT INTO alembic_version (version_num) VALUES ('{HEAD}')")
        execute("COMMIT")
        return True
    finally:
        session.connection.close()


def step_by_step(database: Database) -> None:
    """Run the steps that are missing, all of them on an empty database."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "gateway.adapters.db:migrations")
    with _ONE_THREAD, _one_transaction(database) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


@contextmanager
def _one_transaction(database: Database) -> Iterator[Any]:
    """A SQLAlchemy connection over our own driver connection, alone with the schema until it commits."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import StaticPool

    url = "sqlite://" if database.dialect == "sqlite" else "postgresql+psycopg://"
    session = database.connect()
    engine = create_engine(url, creator=lambda: session.connection, poolclass=StaticPool, hide_parameters=True)
    try:
        if database.dialect == "sqlite":
            for statement in _ALONE["sqlite"]:
                session.connection.execute(statement)
            with engine.connect() as connection:
                yield connection
                connection.commit()
        else:
            session.connection.autocommit = False
            with engine.begin() as connection:
                for statement in _ALONE["postgresql"][1:]:  # SQLAlchemy has begun
                    connection.exec_driver_sql(statement)
                yield connection
    finally:
        session.connection.close()
