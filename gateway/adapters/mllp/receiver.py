"""The MLLP listener: bounded frames, deadlines, caps, TLS; every frame is answered or its connection closed.

It decides nothing: :mod:`gateway.exchange.receive` judges a message, the store makes it durable, and the answer leaves
after that commit. The loop never waits for a disk: what all connections (connection.py) bring while one commit is under
way goes together into the next.
"""

import asyncio
import logging
import secrets
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Final, TypeAlias

import uvloop

from gateway.adapters.mllp.connection import Connection, Done, Listener
from gateway.exchange.receive import Feed, Prepared, Reply
from gateway.kernel.errors import Busy

__all__ = ["Answers", "Arrivals", "Listener", "Receiver", "ResultOf", "Submit"]

log = logging.getLogger("doorway.mllp")

Submit: TypeAlias = "Callable[[Sequence[Prepared]], Future[list[Reply]]]"  # keeps the messages in one transaction
Answers: TypeAlias = Callable[[bytes, Feed, str, str], bytes]  # payload, feed, address, MSH-10 of ours -> response
ResultOf: TypeAlias = Callable[[str, Feed, str], bytes | None]  # id, feed, address -> answer; b"" none, None not yet
_Asked: TypeAlias = tuple[Sequence[Prepared], Done]
_HEADER: Final = 1_024  # where MSH-9 stands
_GROUP: Final = 256  # frames that go into one transaction at most
_GATHER_S: Final = 0.002  # longest wait for those that were just answered, so that they share the next commit
_POLL_S: Final = 0.5
_TICK_S: Final = 0.1  # how often deadlines are looked at
_BACKLOG: Final = 512  # connections that wait to be accepted
_HANDSHAKE_S: Final = 10.0  # longest TLS handshake
_STOP_S: Final = 2.0  # longest wait for answers under way when the listener stops


class Arrivals:
    """Times of arrival that grow, so that the order of arrival survives a clock that jumps back."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def __call__(self) -> int:
        """Microseconds since 1970 UTC, later than every one before."""
        with self._lock:
            now = time.time_ns() // 1000
            self._last = now = now if now > self._last else self._last + 1
            return now


class Receiver:
    """Listens on one or more addresses in a thread of its own.

    Args:
        submit: keeps messages; its future answers after the commit.
        result_of: the application answer to a message, for a connection of that feed and address; may block.
        now_us: arrival times.
        kept: called after each commit: there is work.
        answers: answers a query at once; b"" for what is none; may block.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        submit: Submit,
        result_of: ResultOf,
        now_us: Callable[[], int],
        kept: Callable[[], None] = lambda: None,
        answers: Answers | None = None,
    ) -> None:
        self._answers = answers
        self._listeners = listeners
        self._submit = submit
        self._result_of = result_of
        self._now_us = now_us
        self._kept = kept
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stop: asyncio.Event | None = None
        self._waiting: dict[str, asyncio.Event] = {}
        self._connections: set[Connection] = set()
        self._pending: list[_Asked] = []
        self._flushing = False
        self._in_flight = 0
        self._expected = 0  # how many are waited for before the next commit
        self._gathering: asyncio.TimerHandle | None = None
        self._peers: Counter[str] = Counter()
        self._gone: asyncio.Event | None = None
        self._own, self._count = secrets.token_hex(6), count(1)
        self.addresses: list[tuple[str, int]] = []

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> list[tuple[str, int]]:
        """Bind and serve; the addresses in use (a port 0 is chosen by the system).

        Raises:
            Busy: an address cannot be bound.
        """
        ready: Future[list[tuple[str, int]]] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="doorway-mllp", daemon=True)
        self._thread.start()
        self.addresses = ready.result()
        return self.addresses

    def stop(self, timeout_s: float = 10.0) -> None:
        """Take no new frame, finish the answers under way, close."""
        if self._loop is not None and self._stop is not None and self._thread is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(timeout_s)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def processed(self, ids: Sequence[str]) -> None:
        """Tell, from any thread, that these messages have been processed."""
        if self._loop is not None and self._waiting:
            with suppress(RuntimeError):  # the loop has ended: nobody waits
                self._loop.call_soon_threadsafe(self._wake, list(ids))

    def _wake(self, ids: list[str]) -> None:
        for id_ in ids:
            if event := self._waiting.get(id_):
                event.set()

    def _run(self, ready: "Future[list[tuple[str, int]]]") -> None:
        uvloop.run(self._main(ready))

    async def _main(self, ready: "Future[list[tuple[str, int]]]") -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        servers: list[asyncio.Server] = []
        accepting: list[asyncio.Task[None]] = []
        addresses: list[tuple[str, int]] = []
        try:
            for one in self._listeners:
                if one.tls is None:
                    made = partial(Connection, self, one, self._loop)
                    servers.append(await self._loop.create_server(made, one.host, one.port, backlog=_BACKLOG))
                    addresses.append(servers[-1].sockets[0].getsockname()[:2])
                else:
                    listening = await _listening(self._loop, one)
                    addresses.append(listening[0].getsockname()[:2])
                    accepting += [self._loop.create_task(self._accept(one_of, one)) for one_of in listening]
        except OSError:
            ready.set_exception(Busy("the address cannot be used", at="--mllp", fix="is another gateway running?"))
            return
        ready.set_result(addresses)
        watch = self._loop.create_task(self._watch())
        await self._stop.wait()
        for server in servers:
            server.close()
        for task in accepting:
            task.cancel()
        for connection in tuple(self._connections):
            connection.end()
        if self._connections:
            self._gone = asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP_S):
                    await self._gone.wait()
        for connection in tuple(self._connections):
            connection.abort()
        watch.cancel()
        await asyncio.gather(watch, *accepting, return_exceptions=True)

    async def _accept(self, listening: socket.socket, one: Listener) -> None:
        """Accept for TLS: a handshake that has begun takes its place in the limits, which a server of asyncio's own
        would ask about only when it is done."""
        loop = asyncio.get_running_loop()
        shaking: set[asyncio.Task[None]] = set()
        try:
            while True:
                try:
                    plain, address = await loop.sock_accept(listening)
                except OSError as error:  # out of descriptors, or gone before it was taken
                    log.warning("mllp accept failed reason=%s", type(error).__name__)
                    await asyncio.sleep(_TICK_S)
                    continue
                connection = Connection(self, one, loop)
                if not connection.counted_in(str(address[0])):
                    plain.close()
                    continue
                task = loop.create_task(_shaken(loop, connection, plain, one))
                shaking.add(task)
                task.add_done_callback(shaking.discard)
        finally:
            listening.close()
            for task in shaking:
                task.cancel()
            await asyncio.gather(*shaking, return_exceptions=True)

    async def _watch(self) -> None:
        """Look at all deadlines: cheaper than a timer for each read."""
        while True:
            await asyncio.sleep(_TICK_S)
            now = time.monotonic()
            for connection in tuple(self._connections):
                connection.look_at(now)

    # -- connections ---------------------------------------------------------------------------------------------------

    def joined(self, connection: Connection, address: str, listener: Listener) -> bool:
        """Count a connection in; False when there are too many."""
        if self._peers[address] >= listener.peer_limit or self._peers.total() >= listener.limit:
            return False
        self._peers[address] += 1
        self._connections.add(connection)
        return True

    def left(self, connection: Connection, address: str) -> None:
        """Count it out."""
        self._connections.discard(connection)
        self._peers[address] -= 1
        if not self._peers[address]:
            del self._peers[address]
        if self._gone is not None and not self._connections:
            self._gone.set()

    def now_us(self) -> int:
        """Time of arrival."""
        return self._now_us()

    def ack_id(self) -> str:
        """A new MSH-10 of ours: of this run, and counted; 20 characters, as much as every version takes."""
        return f"{self._own}{next(self._count):08x}"

    def asks(self, payload: bytes) -> bool:
        """Whether it may be a query that is answered on the connection."""
        return self._answers is not None and b"QBP" in payload[:_HEADER]

    async def result(self, id_: str, feed: Feed, address: str, timeout_s: float) -> bytes | None:
        """Wait, within bounds, for the application answer to a message, b"" where it wants none; None: not in time."""
        event = self._waiting.setdefault(id_, asyncio.Event())
        deadline = time.monotonic() + timeout_s
        try:
            while True:
                event.clear()  # looked at before it is waited for: it may have been processed before anybody waited
                found = await asyncio.to_thread(self._result_of, id_, feed, address)
                left = deadline - time.monotonic()
                if found is not None or left <= 0:
                    return found
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(_POLL_S, left)):
                        await event.wait()
        finally:
            self._waiting.pop(id_, None)

    async def answered(self, payload: bytes, feed: Feed, address: str) -> bytes:
        """The response to a query; b"" when it is none: then it is a message like any other."""
        if self._answers is None:
            return b""
        return await asyncio.to_thread(self._answers, payload, feed, address, self.ack_id())

    # -- one commit for many -------------------------------------------------------------------------------------------

    def keep(self, prepared: Sequence[Prepared], done: Done) -> None:
        """Make messages durable, and tell ``done`` the replies of the store, or its error.

        Messages of all connections that come while a commit is under way go together into the next one.
        """
        assert self._loop is not None
        self._pending.append((prepared, done))
        if self._flushing or self._in_flight or len(self._pending) < self._expected:
            return
        self._flushing = True
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing, self._expected = False, 0
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        group, self._pending = self._pending[:_GROUP], self._pending[_GROUP:]
        if group:
            self._submit_group(group)

    def _gather(self, expected: int, took_s: float) -> None:
        """Begin the next commit when those who were just answered have sent again, or after as long as a commit takes.

        A commit costs a sync however many share it. Begun at the first message, two halves of the senders would take
        turns, each commit holding one of them.
        """
        assert self._loop is not None
        self._expected = min(expected, _GROUP)
        if len(self._pending) >= self._expected:
            self._flush()
        else:
            self._gathering = self._loop.call_later(min(took_s, _GATHER_S), self._flush)

    def _submit_group(self, group: list[_Asked]) -> None:
        self._in_flight += 1
        begun_s = time.monotonic()
        try:
            kept = self._submit([one for prepared, _ in group for one in prepared])
        except Exception as error:
            self._in_flight -= 1
            for _, done in group:
                done((), error)
            if self._pending and not self._in_flight:
                self._gather(0, 0.0)
            return
        kept.add_done_callback(lambda finished: self._committed(group, finished, begun_s))

    def _committed(self, group: list[_Asked], finished: "Future[list[Reply]]", begun_s: float) -> None:
        """Called in the thread that commits."""
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop has ended: nobody waits
            self._loop.call_soon_threadsafe(self._hand_out, group, finished, begun_s)

    def _hand_out(self, group: list[_Asked], finished: "Future[list[Reply]]", begun_s: float) -> None:
        self._in_flight -= 1
        error = finished.exception()
        if error is not None and len(group) > 1 and not isinstance(error, Busy):
            for one in group:  # one of them broke the others: each alone
                self._submit_group([one])
            return
        if not self._in_flight:
            self._gather(len(group) + len(self._pending), time.monotonic() - begun_s)
        if error is not None:
            for _, done in group:
                done((), error)
            return
        replies, at = finished.result(), 0
        for prepared, done in group:
            done(replies[at : at + len(prepared)], None)
            at += len(prepared)
        self._kept()


async def _listening(loop: asyncio.AbstractEventLoop, one: Listener) -> list[socket.socket]:
    """Sockets that listen on every address of the host, as a server of asyncio would."""
    found = await loop.getaddrinfo(one.host, one.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    out: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            out.append(socket.create_server(address, family=family, backlog=_BACKLOG))
            out[-1].setblocking(False)
    except OSError:
        for made in out:
            made.close()
        raise
    return out


async def _shaken(loop: asyncio.AbstractEventLoop, connection: Connection, plain: socket.socket, one: Listener) -> None:
    """Hand a socket over to its connection once the handshake is done; count it out when that fails."""
    patience = min(one.frame_timeout_s, _HANDSHAKE_S)
    try:
        await loop.connect_accepted_socket(lambda: connection, plain, ssl=one.tls, ssl_handshake_timeout=patience)
    except (OSError, ssl.SSLError) as error:
        log.info("mllp handshake failed reason=%s", type(error).__name__)
        connection.connection_lost(None)
    except asyncio.CancelledError:
        connection.connection_lost(None)
        raise
