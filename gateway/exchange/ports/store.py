"""The store: a snapshot to read, a transaction to write, many transactions to a commit."""

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from gateway.exchange.ports.audit import Audit, AuditReader
from gateway.exchange.ports.clients import ClientReader, Clients
from gateway.exchange.ports.inbox import Inbox, InboxReader
from gateway.exchange.ports.links import LinkReader, Links
from gateway.exchange.ports.outbox import Outbox, OutboxReader
from gateway.exchange.ports.resources import ResourceReader, Resources
from gateway.exchange.ports.rows import RowReader, Rows

T = TypeVar("T")


class Reading(Protocol):
    """One consistent snapshot, read only."""

    @property
    def resources(self) -> ResourceReader:
        """FHIR resources and their versions."""
        ...

    @property
    def audit(self) -> AuditReader:
        """The audit trail."""
        ...

    @property
    def clients(self) -> ClientReader:
        """Registered clients and their tokens."""
        ...

    @property
    def inbox(self) -> InboxReader:
        """Messages that came."""
        ...

    @property
    def outbox(self) -> OutboxReader:
        """Messages that are to go."""
        ...

    @property
    def rows(self) -> RowReader:
        """What is known of the rows of HMIS exports."""
        ...

    @property
    def links(self) -> LinkReader:
        """Who is the same person."""
        ...


class Unit(Protocol):
    """One transaction: everything done through it becomes durable together, or not at all."""

    @property
    def resources(self) -> Resources:
        """FHIR resources and their versions."""
        ...

    @property
    def audit(self) -> Audit:
        """The audit trail."""
        ...

    @property
    def clients(self) -> Clients:
        """Registered clients and their tokens."""
        ...

    @property
    def inbox(self) -> Inbox:
        """Messages that came."""
        ...

    @property
    def outbox(self) -> Outbox:
        """Messages that are to go."""
        ...

    @property
    def rows(self) -> Rows:
        """What is known of the rows of HMIS exports."""
        ...

    @property
    def links(self) -> Links:
        """Who is the same person."""
        ...


class Store(Protocol):
    """Where everything is kept. Embedded: SQLite. Grown up: PostgreSQL. Tests: memory."""

    def reading(self) -> AbstractContextManager[Reading]:
        """A snapshot; opens and closes with the context."""
        ...

    def submit(self, work: Callable[[Unit], T], *, light: bool = False) -> "Future[T]":
        """Run ``work`` in a transaction that shares its commit with others; the future answers once it is on disk.

        A ``light`` one promises to write nothing but audit records, which saves it steps.

        ``work`` may run twice, so its only effects are those on the unit. An exception undoes it alone. Two that do not
        wait for one another may commit in either order.
        """
        ...

    def write(self, work: Callable[[Unit], T]) -> T:
        """:meth:`submit` and wait."""
        ...

    def close(self) -> None:
        """Finish what is queued and let go of everything."""
        ...
