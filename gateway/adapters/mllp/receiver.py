"""The MLLP listener: bounded frames, deadlines, caps, TLS; every frame is answered or its connection closed.

It decides nothing: :mod:`gateway.exchange.receive` judges a message, the store makes it durable, and the answer leaves
after that commit. The loop never waits for a disk: commits are futures, shared by all connections.
"""

import asyncio
import logging
import secrets
import ssl
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, TypeAlias, TypeVar

import uvloop

from gateway.adapters.failpoint import reached
from gateway.codecs.ack import batch_acknowledgement
from gateway.codecs.er7_batch import Batch, Interchange, split_interchange
from gateway.codecs.mllp import COMMIT_ACK, COMMIT_NAK, Frame, FrameDecoder, encode_frame
from gateway.exchange.receive import Feed, Prepared, Reply, prepare, refusal_of
from gateway.kernel.errors import Busy, DoorwayError, Fault, Malformed, TooLarge, trace_of

log = logging.getLogger("doorway.mllp")
T = TypeVar("T")

Submit: TypeAlias = "Callable[[Sequence[Prepared]], Future[list[Reply]]]"  # keeps the messages in one transaction
Answers: TypeAlias = Callable[[bytes, Feed, str, str], bytes]  # payload, feed, address, MSH-10 of ours -> response
ResultOf: TypeAlias = Callable[[str], bytes]  # the stored application acknowledgement; b"" while there is none
_Asked: TypeAlias = "tuple[Sequence[Prepared], asyncio.Future[list[Reply]]]"
_READ: Final = 65_536
_HEADER: Final = 1_024  # where MSH-9 stands
_GROUP: Final = 256  # frames that go into one transaction at most
_IN_FLIGHT: Final = 1  # transactions under way: what comes meanwhile goes into the next one
_FS_GRACE_S: Final = 0.25  # a CR that follows FS in another packet comes at once; later than this it never will
_COMMIT_S: Final = 15.0  # longest wait for the disk before AE
_POLL_S: Final = 0.5
_TICK_S: Final = 0.1  # how often deadlines are looked at


@dataclass(frozen=True, slots=True)
class Listener:
    """One address to listen on, and how.

    Args:
        tls: a server context (with ``verify_mode`` CERT_REQUIRED for mutual TLS), or None for plain TCP.
        senders: by name in the client's certificate (CN or DNS), the ``MSH-3.1^MSH-4.1`` it may send as; with any
            entry, a certificate that is not in it is turned away.
        release: MLLP release; 2 sends the commit byte before the acknowledgement.
        peer_limit: connections of one address at a time; ``limit`` of all.
    """

    host: str = "127.0.0.1"
    port: int = 2575
    feed: Feed = field(default_factory=Feed)
    message_limit_bytes: int = 16 * 1024 * 1024
    idle_timeout_s: float = 300.0
    frame_timeout_s: float = 30.0
    result_timeout_s: float = 60.0
    peer_limit: int = 64
    limit: int = 1024
    release: int = 1
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    senders: Mapping[str, frozenset[str]] = field(default_factory=dict)


class Arrivals:
    """Times of arrival that grow, so that the order of arrival survives a clock that jumps back."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def __call__(self) -> int:
        """Microseconds since 1970 UTC, later than every one before."""
        with self._lock:
            self._last = max(self._last + 1, time.time_ns() // 1000)
            return self._last


class Receiver:
    """Listens on one or more addresses in a thread of its own.

    Args:
        submit: keeps messages; its future answers after the commit.
        result_of: reads the application acknowledgement of a message; may block.
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
        self._connections: set[_Connection] = set()
        self._pending: list[_Asked] = []
        self._flushing = False
        self._in_flight = 0
        self._peers: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
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
        servers = []
        try:
            for one in self._listeners:
                server = await asyncio.start_server(
                    self._connected(one), one.host, one.port, ssl=one.tls, limit=_READ, backlog=512
                )
                servers.append(server)
        except OSError:
            ready.set_exception(Busy("the address cannot be used", at="--mllp", fix="is another gateway running?"))
            return
        ready.set_result([server.sockets[0].getsockname()[:2] for server in servers])
        watch = self._loop.create_task(self._watch())
        await self._stop.wait()
        for server in servers:
            server.close()
        _, late = await asyncio.wait(self._tasks, timeout=2.0) if self._tasks else (None, ())
        for task in late:
            task.cancel()
        watch.cancel()
        await asyncio.gather(*late, watch, return_exceptions=True)

    async def _watch(self) -> None:
        """Interrupt what is past its deadline: one look at all is cheaper than a timer for each read."""
        while True:
            await asyncio.sleep(_TICK_S)
            now = time.monotonic()
            for connection in tuple(self._connections):
                connection.look_at(now)

    def _connected(self, one: Listener) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(self._connection(one, reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return connected

    # -- one connection ----------------------------------------------------------------------------------------------

    async def _connection(self, one: Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = str((writer.get_extra_info("peername") or ["?"])[0])
        if self._peers[address] >= one.peer_limit or self._peers.total() >= one.limit:
            log.warning("mllp connection refused peer=%s reason=too-many", address)
            writer.close()
            return
        self._peers[address] += 1
        try:
            feed, name = self._bound(one, writer)
            connection = _Connection(self, one, feed, name or address, reader, writer)
            self._connections.add(connection)
            try:
                await connection.serve()
            finally:
                self._connections.discard(connection)
        except DoorwayError as error:
            log.warning("mllp closed peer=%s category=%s at=%s", address, error.category, error.at)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            log.info("mllp lost peer=%s", address)
        except Exception as error:
            log.error("mllp defect peer=%s %s", address, trace_of(error))
        finally:
            self._peers[address] -= 1
            if not self._peers[address]:
                del self._peers[address]
            writer.close()
            with suppress(OSError, TimeoutError, ssl.SSLError):
                async with asyncio.timeout(2):
                    await writer.wait_closed()

    @staticmethod
    def _bound(one: Listener, writer: asyncio.StreamWriter) -> tuple[Feed, str]:
        """The feed of this connection, cut to what its certificate may send as."""
        if not one.senders:
            return one.feed, ""
        certificate = writer.get_extra_info("peercert") or {}
        names = [value for group in certificate.get("subject", ()) for key, value in group if key == "commonName"]
        names += [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
        for name in names:
            if name in one.senders:
                return one.feed.limited_to(one.senders[name]), name
        raise Malformed("no certificate that this listener knows", at="TLS")

    async def result(self, id_: str, timeout_s: float) -> bytes:
        """Wait, within bounds, for the application acknowledgement of a message; b"" when there is none in time."""
        event = self._waiting.setdefault(id_, asyncio.Event())
        deadline = time.monotonic() + timeout_s
        try:
            while (left := deadline - time.monotonic()) > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(_POLL_S, left)):
                        await event.wait()
                event.clear()
                if found := await asyncio.to_thread(self._result_of, id_):
                    return found
        finally:
            self._waiting.pop(id_, None)
        return b""

    async def answered(self, payload: bytes, feed: Feed, address: str) -> bytes:
        """The response to a query; b"" when it is none: then it is a message like any other."""
        if self._answers is None or b"QBP" not in payload[:_HEADER]:
            return b""
        return await asyncio.to_thread(self._answers, payload, feed, address, secrets.token_hex(10))

    async def keep(self, prepared: Sequence[Prepared]) -> list[Reply]:
        """Make messages durable; the answer of the store, or its error.

        Messages of all connections that come while a commit is under way go together into the next one.
        """
        assert self._loop is not None
        answer: asyncio.Future[list[Reply]] = self._loop.create_future()
        self._pending.append((prepared, answer))
        if not self._flushing and self._in_flight < _IN_FLIGHT:
            self._flushing = True
            self._loop.call_soon(self._flush)
        return await answer

    def _flush(self) -> None:
        self._flushing = False
        group, self._pending = self._pending[:_GROUP], self._pending[_GROUP:]
        if group:
            self._in_flight += 1
            self._submit_group(group)

    def _submit_group(self, group: "list[_Asked]") -> None:
        several = [one for prepared, _ in group for one in prepared]
        try:
            done = self._submit(several)
        except Exception as error:
            self._in_flight -= 1
            for _, answer in group:
                if not answer.done():
                    answer.set_exception(error)
            return
        done.add_done_callback(lambda finished: self._committed(group, finished))

    def _committed(self, group: "list[_Asked]", finished: "Future[list[Reply]]") -> None:
        """Called in the thread that commits."""
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop has ended: nobody waits
            self._loop.call_soon_threadsafe(self._hand_out, group, finished)

    def _hand_out(self, group: "list[_Asked]", finished: "Future[list[Reply]]") -> None:
        self._in_flight -= 1
        error = finished.exception()
        if error is not None and len(group) > 1 and not isinstance(error, Busy):
            for one in group:  # one of them broke the others: each alone
                self._in_flight += 1
                self._submit_group([one])
            return
        replies = iter(finished.result() if error is None else ())
        for prepared, answer in group:
            mine = list(islice(replies, len(prepared)))
            if answer.done():  # the connection gave up
                continue
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(mine)
        if error is None:
            self._kept()
        if self._pending:
            self._flush()

    def now_us(self) -> int:
        """Time of arrival."""
        return self._now_us()


class _Connection:
    """Reads frames, has them kept, answers in order."""

    def __init__(
        self,
        owner: Receiver,
        one: Listener,
        feed: Feed,
        peer: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._owner = owner
        self._one = one
        self._feed = feed
        self._peer = peer
        self._reader = reader
        self._writer = writer
        self._decoder = FrameDecoder(one.message_limit_bytes)
        self._task = asyncio.current_task()
        self._deadline = 0.0  # of what is being waited for; 0 when it has none
        self._expired = False
        self._later: set[asyncio.Task[bool]] = set()

    async def serve(self) -> None:
        """Until the peer goes, falls silent or falls out of step."""
        deadline = 0.0
        try:
            while True:
                chunk = await self._read(deadline)
                if chunk is None:
                    for frame in self._decoder.finish():
                        await self._frame(frame)
                    continue
                if not chunk:
                    break
                begun = self._decoder.idle
                for frame in self._decoder.feed(chunk):
                    await self._frame(frame)
                    begun = True
                if begun and not self._decoder.idle:
                    deadline = time.monotonic() + self._one.frame_timeout_s
        except (Malformed, TimeoutError) as error:
            await self._diagnose(error)
            raise
        finally:
            await self._finish_later()
        if not self._decoder.idle:
            await self._diagnose(Malformed("the connection ended inside a frame", at="frame"))

    def look_at(self, now: float) -> None:
        """Interrupt the wait under way when its deadline has passed."""
        if self._deadline and now > self._deadline and self._task is not None and not self._expired:
            self._expired = True
            self._task.cancel()

    async def _within(self, deadline: float, awaited: Awaitable[T]) -> T:
        """Wait until a deadline, to the tick.

        Raises:
            TimeoutError: it has passed.
        """
        self._deadline = deadline
        try:
            return await awaited
        except asyncio.CancelledError:
            if not self._expired or self._task is None:
                raise
            self._task.uncancel()
            raise TimeoutError from None
        finally:
            self._deadline, self._expired = 0.0, False

    async def _read(self, deadline: float) -> bytes | None:
        """More bytes; b"" at the end; None when nothing came after FS, so that the frame has to be taken as ended.

        Raises:
            TimeoutError: idle for too long, or a frame that does not end.
        """
        if self._decoder.idle:
            deadline = time.monotonic() + self._one.idle_timeout_s
        elif self._decoder.ends_with_fs:
            deadline = time.monotonic() + _FS_GRACE_S
        try:
            return await self._within(deadline, self._reader.read(_READ))
        except TimeoutError:
            if self._decoder.ends_with_fs:
                return None
            raise

    async def _kept_in_time(self, prepared: Sequence[Prepared]) -> list[Reply]:
        try:
            return await self._within(time.monotonic() + _COMMIT_S, self._owner.keep(prepared))
        except TimeoutError:
            raise Busy("the store is slow", fix="send again, unchanged") from None

    async def _frame(self, frame: Frame) -> None:
        if frame.payload in (COMMIT_ACK, COMMIT_NAK):
            return  # MLLP release 2: the peer has our answer
        if frame.trouble == "interrupted":
            await self._keep_quietly(frame.payload, Malformed("a frame began again before it ended", at="frame"))
            return
        if frame.trouble:
            error = TooLarge("longer than this listener takes", at="frame", fix="send it in parts")
            await self._refuse(frame.payload, error, keep=True)
            return
        interchange = _interchange(frame.payload)
        if interchange is None:
            if not await self._query(frame.payload):
                await self._messages(None, [frame.payload])
        elif interchange.messages:
            await self._messages(interchange, interchange.messages)
        else:
            await self._refuse(frame.payload, Malformed("no message in the frame", at="MSH"), keep=True)

    async def _query(self, payload: bytes) -> bool:
        """Answer a query on this connection; whether it was one."""
        address = str((self._writer.get_extra_info("peername") or ["?"])[0])
        try:
            answer = await self._owner.answered(payload, self._feed, address)
        except DoorwayError as error:
            await self._refuse(payload, error, keep=False)
            return True
        except Exception as error:
            log.error("mllp defect peer=%s %s", self._peer, trace_of(error))
            await self._refuse(payload, Fault("a defect of ours"), keep=False)
            return True
        if answer and self._one.release == 2:
            self._writer.write(encode_frame(COMMIT_ACK))
        self._send(answer)
        if answer:
            await self._drained()
        return bool(answer)

    async def _messages(self, interchange: Interchange | None, payloads: Sequence[bytes]) -> None:
        prepared = [
            prepare(payload, self._feed, now_us=self._owner.now_us(), ack_id=secrets.token_hex(10), peer=self._peer)
            for payload in payloads
        ]
        try:
            replies = await self._kept_in_time(prepared)
        except DoorwayError as error:
            await self._not_kept(interchange, payloads, error)
            return
        except Exception as error:
            log.error("mllp defect peer=%s %s", self._peer, trace_of(error))
            await self._not_kept(interchange, payloads, Fault("a defect of ours"))
            return
        reached("after_commit_before_ack")
        for reply in replies:
            if reply.alarm:
                log.warning("mllp peer=%s %s", self._peer, reply.alarm)
        if self._one.release == 2:
            self._writer.write(encode_frame(COMMIT_ACK))
        if interchange is not None and interchange.enveloped:
            self._batch(interchange, [reply.answer for reply in replies])
        else:
            for reply in replies:
                self._send(reply.answer)
        for reply in replies:
            self._send(reply.result)
            if reply.waits and reply.answer:
                task = asyncio.get_running_loop().create_task(self._send_result(reply.id))
                self._later.add(task)
                task.add_done_callback(self._later.discard)
            elif reply.waits and not await self._send_result(reply.id):
                raise Busy("no answer in time", at="processing")  # the sender asks again and finds it
        await self._drained()

    async def _send_result(self, id_: str) -> bool:
        found = await self._owner.result(id_, self._one.result_timeout_s)
        self._send(found)
        async with asyncio.timeout(self._one.frame_timeout_s):
            await self._writer.drain()
        return bool(found)

    async def _drained(self) -> None:
        """Wait for a peer that reads slowly, within bounds; one that never reads is let go."""
        if self._writer.transport.get_write_buffer_size() > _READ:
            await self._within(time.monotonic() + self._one.frame_timeout_s, self._writer.drain())

    def _send(self, payload: bytes) -> None:
        if payload and not self._writer.is_closing():
            self._writer.write(encode_frame(payload))

    def _batch(self, interchange: Interchange, answers: list[bytes]) -> None:
        if interchange.problems:
            log.warning("mllp peer=%s batch: %s", self._peer, "; ".join(interchange.problems))
        rest = iter(answers)
        grouped = [[answer for _ in batch.messages if (answer := next(rest))] for batch in interchange.batches]
        control_id = secrets.token_hex(8)
        self._send(batch_acknowledgement(interchange, grouped, control_id=control_id, now_us=self._owner.now_us()))

    async def _not_kept(self, interchange: Interchange | None, payloads: Sequence[bytes], error: DoorwayError) -> None:
        """The store did not take them: say so, and promise nothing."""
        log.error("mllp peer=%s not kept category=%s", self._peer, error.category)
        if self._one.release == 2:
            self._writer.write(encode_frame(COMMIT_NAK))
        answers = [self._refusal(payload, error).message.answer for payload in payloads]
        if interchange is not None and interchange.enveloped:
            self._batch(interchange, answers)
        else:
            for answer in answers:
                self._send(answer)
        await self._drained()

    def _refusal(self, payload: bytes, error: DoorwayError) -> Prepared:
        return refusal_of(
            payload, self._feed, error, now_us=self._owner.now_us(), ack_id=secrets.token_hex(10), peer=self._peer
        )

    async def _refuse(self, payload: bytes, error: DoorwayError, *, keep: bool) -> None:
        prepared = self._refusal(payload, error)
        log.warning("mllp peer=%s %s", self._peer, prepared.alarm)
        if keep:
            with suppress(DoorwayError):  # diagnosis is worth having, the refusal is owed either way
                await self._kept_in_time([prepared])
        self._send(prepared.message.answer)
        await self._drained()

    async def _keep_quietly(self, payload: bytes, error: DoorwayError) -> None:
        with suppress(DoorwayError):
            await self._kept_in_time([self._refusal(payload, error)])

    async def _diagnose(self, error: Exception) -> None:
        left = self._decoder.leftover()
        if left:
            said = error if isinstance(error, DoorwayError) else Malformed("the frame did not end in time", at="frame")
            await self._keep_quietly(left, said)

    async def _finish_later(self) -> None:
        if self._later:
            _, late = await asyncio.wait(self._later, timeout=2.0)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


def _interchange(payload: bytes) -> Interchange | None:
    """None for the usual frame of one message."""
    if payload.startswith(b"MSH") and b"\rMSH" not in payload and b"\nMSH" not in payload:
        return None
    found = split_interchange(payload)
    if not found.messages and not found.enveloped:
        return Interchange((Batch((payload,)),))  # refused as a message, with its bytes
    return found
