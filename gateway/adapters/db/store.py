"""The store over a database: each area is one class over the same session."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar, cast

from gateway.adapters.db.audit import DbAudit, DbAuditReader
from gateway.adapters.db.clients import DbClients
from gateway.adapters.db.engine import Database, Session
from gateway.adapters.db.inbox import DbInbox
from gateway.adapters.db.links import DbLinks
from gateway.adapters.db.outbox import DbOutbox
from gateway.adapters.db.resources import DbResourceReader
from gateway.adapters.db.rows import DbRows
from gateway.adapters.db.writes import DbResources
from gateway.exchange.versions import View
from gateway.profiles.search_parameters import Definitions

T = TypeVar("T")


class DbReading:
    """One snapshot. A new area is one more attribute here and in :class:`DbUnit`."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.resources = DbResourceReader(session)
        self.audit = DbAuditReader(session)
        self.clients = DbClients(session)
        self.inbox = DbInbox(session)
        self.outbox = DbOutbox(session)
        self.rows = DbRows(session)
        self.links = DbLinks(session)


@dataclass(frozen=True, slots=True)
class Derived:
    """What is computed from a resource when it is written.

    ``definitions`` are the search parameters to index by; ``view`` packs what consent looks at (gateway.consent.view);
    ``mark`` names both: a store that was derived with another mark is rebuilt (reindex.py).
    """

    definitions: Definitions
    view: View
    mark: str = ""


class DbUnit:
    """One transaction."""

    def __init__(self, session: Session, derived: Derived) -> None:
        self.session = session
        self.derived = derived
        self.resources = DbResources(session, derived.definitions, derived.view)
        self.audit = DbAudit(session)
        self.clients = DbClients(session, session.admitted)
        self.inbox = DbInbox(session)
        self.outbox = DbOutbox(session)
        self.rows = DbRows(session)
        self.links = DbLinks(session)


class DbStore:
    """SQLite or PostgreSQL behind :class:`gateway.exchange.ports.store.Store`; its tables must exist (migrations)."""

    def __init__(self, database: Database, derived: Derived) -> None:
        self.database = database
        self.derived = derived

    @contextmanager
    def reading(self) -> Iterator[DbReading]:
        """A snapshot; opens and closes with the context."""
        with self.database.reading() as session:
            if session.areas is None:
                session.areas = DbReading(session)
            yield session.areas

    def submit(self, work: Callable[[DbUnit], T], *, light: bool = False) -> "Future[T]":
        """Run ``work`` in a transaction that shares its commit; the future answers once it is on disk."""
        return self.database.submit(lambda session: work(self._unit(session)), light=light)

    def _unit(self, session: Session) -> DbUnit:
        """The areas of a writer's connection; they keep nothing, so one set serves all its transactions."""
        unit = session.areas
        if unit is None or unit.derived is not self.derived:
            unit = session.areas = DbUnit(session, self.derived)
        return cast(DbUnit, unit)

    def write(self, work: Callable[[DbUnit], T]) -> T:
        """:meth:`submit` and wait."""
        return self.submit(work).result()

    def close(self) -> None:
        """Finish what is queued and let go of every connection."""
        self.database.close()
