"""The store in memory, for tests: copies on write, so a snapshot stays as it was and a failed write leaves nothing.

An area is a dataclass whose fields are dicts, lists or sets of values that are never changed in place.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from gateway.adapters.memory.audit import MemoryAudit
from gateway.adapters.memory.clients import MemoryClients
from gateway.adapters.memory.inbox import MemoryInbox
from gateway.adapters.memory.links import MemoryLinks
from gateway.adapters.memory.outbox import MemoryOutbox
from gateway.adapters.memory.resources import MemoryResources
from gateway.adapters.memory.rows import MemoryRows
from gateway.exchange.versions import View, no_view
from gateway.kernel.errors import Busy

T = TypeVar("T")


@dataclass(slots=True)
class MemoryUnit:
    """Every area at one moment: a snapshot or a transaction. A new area is one more field here."""

    resources: MemoryResources = field(default_factory=MemoryResources)
    audit: MemoryAudit = field(default_factory=MemoryAudit)
    clients: MemoryClients = field(default_factory=MemoryClients)
    inbox: MemoryInbox = field(default_factory=MemoryInbox)
    outbox: MemoryOutbox = field(default_factory=MemoryOutbox)
    rows: MemoryRows = field(default_factory=MemoryRows)
    links: MemoryLinks = field(default_factory=MemoryLinks)


def _forked(area: Any) -> Any:
    """The area with containers of its own."""
    fork = copy(area)
    for one in fields(area):
        value = getattr(area, one.name)
        if isinstance(value, (dict, list, set)):
            setattr(fork, one.name, copy(value))
    return fork


class MemoryStore:
    """Keeps :class:`gateway.exchange.ports.store.Store` in one process, for as long as it lives."""

    def __init__(self, view: View = no_view) -> None:
        self._newest = MemoryUnit(MemoryResources(view=view))
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def reading(self) -> Iterator[MemoryUnit]:
        """A snapshot; what is committed later does not show in it."""
        yield self._newest

    def submit(self, work: Callable[[MemoryUnit], T], *, light: bool = False) -> "Future[T]":
        """Run ``work`` on copies at once; they become the newest state when it succeeds."""
        del light  # there are no steps to save
        if self._closed:
            raise Busy("the store is closing")
        done: Future[T] = Future()
        with self._lock:
            fork = MemoryUnit(**{one.name: _forked(getattr(self._newest, one.name)) for one in fields(MemoryUnit)})
            try:
                answer = work(fork)
            except Exception as error:
                done.set_exception(error)
                return done
            self._newest = fork
        done.set_result(answer)
        return done

    def write(self, work: Callable[[MemoryUnit], T]) -> T:
        """:meth:`submit` and wait."""
        return self.submit(work).result()

    def close(self) -> None:
        """Accept nothing more."""
        self._closed = True
