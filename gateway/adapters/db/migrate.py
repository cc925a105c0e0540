"""Bring a database to the schema that this release expects; safe to call from several processes at once."""

import importlib
import pkgutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
from sqlalchemy import MetaData

from gateway.adapters.db.engine import Database, Session
from gateway.adapters.db.migrations import HEAD
from gateway.adapters.db.schema import METADATA
from gateway.kernel.errors import Busy, Conflict, DoorwayError, Fault, NotFound

_MIGRATION_LOCK: Final = 0x0D00_12A7_FFFF  # advisory lock: one process migrates, the others wait
_ONE_THREAD: Final = threading.Lock()  # Alembic keeps its context in a module


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
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "gateway.adapters.db:migrations")
    try:
        with _ONE_THREAD, _one_transaction(database) as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except DoorwayError:
        raise
    except Exception as error:  # SQLAlchemy wraps the driver's error
        cause = getattr(error, "orig", error)
        if isinstance(cause, (sqlite3.OperationalError, psycopg.OperationalError)):
            raise Busy("the database cannot be changed now", at="--database", fix="is it free and writable?") from None
        raise
    return True


@contextmanager
def _one_transaction(database: Database) -> Iterator[Any]:
    """A SQLAlchemy connection over our own driver connection, alone with the schema until it commits."""
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import StaticPool

    url = "sqlite://" if database.dialect == "sqlite" else "postgresql+psycopg://"
    session = database.connect()
    engine = create_engine(url, creator=lambda: session.connection, poolclass=StaticPool, hide_parameters=True)
    try:
        if database.dialect == "sqlite":
            session.connection.execute("PRAGMA busy_timeout = 60000")  # another process may be migrating: wait for it
            session.connection.execute("BEGIN IMMEDIATE")
            with engine.connect() as connection:
                yield connection
                connection.commit()
        else:
            session.connection.autocommit = False
            with engine.begin() as connection:
                connection.execute(text("SET LOCAL lock_timeout TO '60s'"))
                connection.execute(text("SET LOCAL statement_timeout TO 0"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
                yield connection
    finally:
        session.connection.close()
