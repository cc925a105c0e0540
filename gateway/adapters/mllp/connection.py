"""One MLLP connection: frames come in, are kept, and their answers leave in order, each after its commit.

The usual message takes no task and no future: its frame is judged where its bytes arrive, waits in the group of the
next commit, and its answer is written where that commit is told. Whatever is unusual (batches, queries, refusals,
answers that wait for processing) runs as a task of the connection, and nothing else of it runs meanwhile.
"""

import asyncio
import logging
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Final, Protocol, TypeAlias, cast

from gateway.adapters.failpoint import reached
from gateway.codecs.ack import batch_acknowledgement
from gateway.codecs.er7_batch import Batch, Interchange, split_interchange
from gateway.codecs.mllp import COMMIT_ACK, COMMIT_NAK, END, VT, Frame, FrameDecoder, encode_frame
from gateway.exchange.receive import Feed, Prepared, Reply, accepted, prepare, refusal_of
from gateway.kernel.errors import Busy, DoorwayError, Fault, Malformed, TooLarge, trace_of

log = logging.getLogger("doorway.mllp")

Done: TypeAlias = "Callable[[Sequence[Reply], BaseException | None], None]"  # told once the messages are on disk
_BUFFERED: Final = 65_536  # unread answers after which no more is read of this peer
_AT_ONCE: Final = 64  # messages of one sender that go into a commit together
_FS_GRACE_S: Final = 0.25  # a CR that follows FS in another packet comes at once; later than this it never will
_CLOSE_S: Final = 2.0  # longest wait for the last answer to leave
_COMMIT_S: Final = 15.0  # longest wait for the disk before AE


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


class Owner(Protocol):
    """What a connection needs of the receiver that it belongs to."""

    def joined(self, connection: "Connection", address: str, listener: Listener) -> bool:
        """Count the connection in; False when there are too many."""
        ...

    def left(self, connection: "Connection", address: str) -> None:
        """Count it out."""
        ...

    def keep(self, prepared: Sequence[Prepared], done: Done) -> None:
        """Make messages durable, and tell."""
        ...

    def now_us(self) -> int:
        """Time of arrival, later than every one before."""
        ...

    def ack_id(self) -> str:
        """A new MSH-10 of ours."""
        ...

    def asks(self, payload: bytes) -> bool:
        """Whether it may be a query that is answered on the connection."""
        ...

    async def answered(self, payload: bytes, feed: Feed, address: str) -> bytes:
        """The response to a query; b"" when it is none: then it is a message like any other."""
        ...

    async def result(self, id_: str, feed: Feed, address: str, timeout_s: float) -> bytes | None:
        """The application answer to a message, b"" where it wants none; None: not in time."""
        ...


class Connection(asyncio.Protocol):
    """Reads frames, has them kept, answers in order."""

    def __init__(self, owner: Owner, listener: Listener, loop: asyncio.AbstractEventLoop) -> None:
        self._owner = owner
        self._one = listener
        self._loop = loop
        self._feed = listener.feed
        self._address = self._peer = "?"
        self._transport: asyncio.Transport | None = None
        self._decoder = FrameDecoder(listener.message_limit_bytes)
        self._frames: deque[Frame] = deque()
        self._busy = False  # something of this connection is under way: nothing else begins
        self._asked: list[bytes] = []  # payloads that wait for their commit
        self._ticket = 0  # of the commit waited for: one that is given up is told to nobody
        self._paused = self._blocked = self._at_end = self._lost = self._counted = self._finished = False
        self._failure: Exception | None = None  # why it ends, once what came before is answered
        self._task: asyncio.Task[None] | None = None
        self._later: set[asyncio.Task[bool]] = set()
        self._writable: asyncio.Event | None = None
        self._deadline = 0.0
        self._frame_deadline = 0.0

    # -- what the transport tells --------------------------------------------------------------------------------------

    def counted_in(self, address: str) -> bool:
        """Whether there is room for it; over TLS asked before the handshake."""
        self._address = self._peer = address
        self._counted = self._owner.joined(self, address, self._one)
        if not self._counted:
            log.warning("mllp connection refused peer=%s reason=too-many", address)
        return self._counted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it in where nobody has, and find out who it is."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_BUFFERED)
        if not (self._counted or self.counted_in(str((transport.get_extra_info("peername") or ["?"])[0]))):
            self._close()
            return
        try:
            self._feed, name = _bound(self._one, transport.get_extra_info("peercert"))
        except Malformed as error:
            log.warning("mllp closed peer=%s category=%s at=%s", self._address, error.category, error.at)
            self._close()
            return
        self._peer = name or self._address
        self._wait_for_bytes()

    def data_received(self, data: bytes) -> None:
        """Frames, or parts of them."""
        if self._at_end or self._failure is not None:
            return
        if not self._busy and not self._frames:
            payload = self._decoder.whole(data)
            if payload is not None and _single(payload) and not self._owner.asks(payload):
                self._take([payload])
                return
        begun = self._decoder.idle
        try:
            for frame in self._decoder.feed(data):
                self._frames.append(frame)
                begun = True
        except Malformed as error:
            self._failure = error
        if begun and not self._decoder.idle:
            self._frame_deadline = time.monotonic() + self._one.frame_timeout_s
        self._next()

    def eof_received(self) -> bool:
        """The peer sends no more; it may still want its answers."""
        self._at_end = True
        self._frames.extend(self._decoder.finish())
        self._next()
        return self._transport is not None and self._transport.get_extra_info("sslcontext") is None

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody hears us any more; what came whole is kept all the same."""
        if exc is not None:
            log.info("mllp lost peer=%s", self._address)
        self._lost = self._at_end = True
        self.resume_writing()
        if self._counted:
            self._counted = False
            self._owner.left(self, self._address)
        self._next()

    def pause_writing(self) -> None:
        """The peer reads slowly."""
        self._blocked = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self._blocked = False
        if self._writable is not None:
            self._writable.set()
        if not self._busy:
            self._next()

    # -- what the receiver tells ---------------------------------------------------------------------------------------

    def look_at(self, now: float) -> None:
        """Do what is due when a deadline has passed: one look at all is cheaper than a timer for each."""
        if not self._deadline or now < self._deadline:
            return
        self._deadline = 0.0
        if self._asked:
            self._kept(self._ticket, (), Busy("the store is slow", fix="send again, unchanged"))
        elif self._blocked or self._finished:  # it reads nothing
            log.info("mllp lost peer=%s", self._address)
            self._abort()
        elif self._decoder.ends_with_fs:
            self._frames.extend(self._decoder.finish())
            self._next()
        else:
            self._failure = TimeoutError()
            self._next()

    def end(self) -> None:
        """Take no new frame, finish what is under way, close."""
        self._at_end = True
        self._frames.clear()
        self._decoder = FrameDecoder(0)
        if not self._busy:
            self._next()

    def abort(self) -> None:
        """Close now."""
        for task in (self._task, *self._later):
            if task is not None:
                task.cancel()
        self._abort()

    # -- one step after the other --------------------------------------------------------------------------------------

    def _next(self) -> None:
        """Begin the next step, where none is under way."""
        while not self._busy:
            if self._blocked and not self._lost:
                self._pause()
                self._deadline = time.monotonic() + self._one.frame_timeout_s
                return
            if not self._frames:
                break
            several = self._plain_frames()
            if several:
                self._take(several)
            else:
                self._begin(self._unusual(self._frames.popleft()))
        if self._busy:
            self._pause()
        elif self._at_end or self._failure is not None:
            self._pause()
            if not self._finished:
                self._finished = True
                self._begin(self._finish())
        else:
            self._wait_for_bytes()

    def _plain_frames(self) -> list[bytes]:
        """The payloads at the head of the queue that are one usual message each."""
        out: list[bytes] = []
        while self._frames and len(out) < _AT_ONCE:
            frame = self._frames[0]
            if frame.trouble or not _single(frame.payload) or self._owner.asks(frame.payload):
                break
            out.append(self._frames.popleft().payload)
        return out

    def _wait_for_bytes(self) -> None:
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()
            # while nothing was read, the rest of a frame could not come: its time begins again
            self._frame_deadline = time.monotonic() + self._one.frame_timeout_s
        if self._decoder.idle:
            self._deadline = time.monotonic() + self._one.idle_timeout_s
        elif self._decoder.ends_with_fs:
            self._deadline = time.monotonic() + _FS_GRACE_S
        else:
            self._deadline = self._frame_deadline

    def _pause(self) -> None:
        """What is not read stays with the sender: memory stays bounded."""
        if not self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    # -- the usual message ---------------------------------------------------------------------------------------------

    def _take(self, payloads: list[bytes]) -> None:
        """Have messages kept; :meth:`_kept` goes on."""
        self._busy = True
        self._asked = payloads
        self._ticket += 1
        self._deadline = time.monotonic() + _COMMIT_S
        owner, feed, peer = self._owner, self._feed, self._peer
        ready = [prepare(p, feed, now_us=owner.now_us(), ack_id=owner.ack_id(), peer=peer) for p in payloads]
        owner.keep(ready, partial(self._kept, self._ticket))

    def _kept(self, ticket: int, replies: Sequence[Reply], error: BaseException | None) -> None:
        """After the commit: answer, and go on."""
        if ticket != self._ticket or not self._asked:
            return  # given up before
        payloads, self._asked = self._asked, []
        self._busy = False
        if error is not None:
            self._begin(self._failed(payloads, error))
            return
        for number, reply in enumerate(replies):
            self._reply(reply)
            if reply.waits and self._waits(reply):
                self._begin(self._held_up(reply, replies[number + 1 :]))
                return
        if self._frames or self._at_end or self._failure is not None or self._blocked:
            self._next()
        else:
            self._wait_for_bytes()

    def _reply(self, reply: Reply) -> None:
        """Send what is due at once."""
        reached("after_commit_before_ack")
        if reply.alarm:
            log.warning("mllp peer=%s %s", self._peer, reply.alarm)
        if self._one.release == 2:
            self._write(encode_frame(COMMIT_ACK))
        self._send(reply.answer)
        self._send(reply.result)

    def _waits(self, reply: Reply) -> bool:
        """An answer is due after processing; whether the connection is held up by it."""
        if not reply.answer:
            return True
        task = self._loop.create_task(self._send_result(reply.id))
        self._later.add(task)
        task.add_done_callback(self._later.discard)
        return False

    async def _held_up(self, reply: Reply, rest: Sequence[Reply]) -> None:
        """Answers that are due after processing and before the next ones."""
        await self._processed(reply)
        for one in rest:
            self._reply(one)
            if one.waits and self._waits(one):
                await self._processed(one)

    async def _processed(self, reply: Reply) -> None:
        if not await self._send_result(reply.id):
            raise Busy("no answer in time", at="processing")  # the sender asks again and finds it

    # -- what is unusual -----------------------------------------------------------------------------------------------

    def _begin(self, step: "Any") -> None:
        """Run a step as a task; nothing else of this connection runs meanwhile."""
        self._busy = True
        self._deadline = 0.0
        self._task = self._loop.create_task(self._guarded(step))

    async def _guarded(self, step: "Any") -> None:
        try:
            await step
        except DoorwayError as error:
            log.warning("mllp closed peer=%s category=%s at=%s", self._address, error.category, error.at)
            self._close()
        except TimeoutError:
            log.info("mllp lost peer=%s", self._address)
            self._close()
        except Exception as error:
            log.error("mllp defect peer=%s %s", self._address, trace_of(error))
            self._close()
        finally:
            self._task, self._busy = None, False
        if self._transport is None or not self._transport.is_closing() or self._frames:
            self._next()

    async def _finish(self) -> None:
        """The end of the connection: keep what had begun, wait a little for answers that are due, close."""
        error, self._failure = self._failure, None
        self._at_end = True
        if error is None and not self._decoder.idle:
            error = Malformed("the connection ended inside a frame", at="frame")
        left = self._decoder.leftover()
        if error is not None and left:
            said = error if isinstance(error, DoorwayError) else Malformed("the frame did not end in time", at="frame")
            await self._keep_quietly(left, said)
        if isinstance(error, DoorwayError):
            log.warning("mllp closed peer=%s category=%s at=%s", self._address, error.category, error.at)
        elif error is not None:
            log.info("mllp lost peer=%s", self._address)
        self._decoder = FrameDecoder(0)
        if self._later:
            _, late = await asyncio.wait(self._later, timeout=2.0)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._close()

    async def _unusual(self, frame: Frame) -> None:
        if frame.payload in (COMMIT_ACK, COMMIT_NAK):
            return  # MLLP release 2: the peer has our answer
        if frame.trouble == "interrupted":
            await self._keep_quietly(frame.payload, Malformed("a frame began again before it ended", at="frame"))
        elif frame.trouble:
            error = TooLarge("longer than this listener takes", at="frame", fix="send it in parts")
            await self._refuse(frame.payload, error, keep=True)
        elif _single(frame.payload):
            if not await self._query(frame.payload):
                await self._messages(None, [frame.payload])
        else:
            interchange = _interchange(frame.payload)
            if interchange.messages:
                await self._messages(interchange, interchange.messages)
            else:
                await self._refuse(frame.payload, Malformed("no message in the frame", at="MSH"), keep=True)

    async def _query(self, payload: bytes) -> bool:
        """Answer a query on this connection; whether it was one."""
        try:
            answer = await self._owner.answered(payload, self._feed, self._address)
        except DoorwayError as error:
            await self._refuse(payload, error, keep=False)
            return True
        except Exception as error:
            log.error("mllp defect peer=%s %s", self._peer, trace_of(error))
            await self._refuse(payload, Fault("a defect of ours"), keep=False)
            return True
        if answer and self._one.release == 2:
            self._write(encode_frame(COMMIT_ACK))
        if answer:
            self._send(accepted(payload, self._feed, now_us=self._owner.now_us(), ack_id=self._owner.ack_id()))
        self._send(answer)
        return bool(answer)

    async def _messages(self, interchange: Interchange | None, payloads: Sequence[bytes]) -> None:
        """Keep the messages of one frame together, and answer them."""
        owner = self._owner
        prepared = [
            prepare(payload, self._feed, now_us=owner.now_us(), ack_id=owner.ack_id(), peer=self._peer)
            for payload in payloads
        ]
        try:
            replies = await self._kept_in_time(prepared)
        except DoorwayError as error:
            self._not_kept(interchange, payloads, error)
            return
        except Exception as error:
            log.error("mllp defect peer=%s %s", self._peer, trace_of(error))
            self._not_kept(interchange, payloads, Fault("a defect of ours"))
            return
        reached("after_commit_before_ack")
        for reply in replies:
            if reply.alarm:
                log.warning("mllp peer=%s %s", self._peer, reply.alarm)
        if self._one.release == 2:
            self._write(encode_frame(COMMIT_ACK))
        if interchange is not None and interchange.enveloped:
            self._batch(interchange, [reply.answer for reply in replies])
        else:
            for reply in replies:
                self._send(reply.answer)
        for reply in replies:
            self._send(reply.result)
            if reply.waits and self._waits(reply):
                await self._processed(reply)

    async def _failed(self, payloads: Sequence[bytes], error: BaseException) -> None:
        """Messages that were not kept: several that shared a transaction are tried one by one."""
        if len(payloads) > 1 and not isinstance(error, Busy):
            for payload in payloads:
                await self._messages(None, [payload])
            return
        if not isinstance(error, DoorwayError):
            log.error("mllp defect peer=%s %s", self._peer, trace_of(error))
            error = Fault("a defect of ours")
        self._not_kept(None, payloads, error)

    async def _kept_in_time(self, prepared: Sequence[Prepared]) -> Sequence[Reply]:
        answer: asyncio.Future[Sequence[Reply]] = self._loop.create_future()

        def done(replies: Sequence[Reply], error: BaseException | None) -> None:
            if answer.done():
                return
            if error is None:
                answer.set_result(replies)
            else:
                answer.set_exception(error)

        self._owner.keep(prepared, done)
        try:
            async with asyncio.timeout(_COMMIT_S):
                return await answer
        except TimeoutError:
            raise Busy("the store is slow", fix="send again, unchanged") from None

    async def _send_result(self, id_: str) -> bool:
        found = await self._owner.result(id_, self._feed, self._address, self._one.result_timeout_s)
        self._send(found or b"")
        await self._drained()
        return found is not None

    async def _drained(self) -> None:
        """Wait for a peer that reads slowly, within bounds.

        Raises:
            TimeoutError: it does not read.
        """
        while self._blocked and not self._lost:
            self._writable = self._writable or asyncio.Event()
            self._writable.clear()
            async with asyncio.timeout(self._one.frame_timeout_s):
                await self._writable.wait()

    def _batch(self, interchange: Interchange, answers: list[bytes]) -> None:
        if interchange.problems:
            log.warning("mllp peer=%s batch: %s", self._peer, "; ".join(interchange.problems))
        rest = iter(answers)
        grouped = [[one for one in islice(rest, len(batch.messages)) if one] for batch in interchange.batches]
        self._send(
            batch_acknowledgement(interchange, grouped, control_id=self._owner.ack_id(), now_us=self._owner.now_us())
        )

    def _not_kept(self, interchange: Interchange | None, payloads: Sequence[bytes], error: DoorwayError) -> None:
        """The store did not take them: say so, and promise nothing."""
        log.error("mllp peer=%s not kept category=%s", self._peer, error.category)
        if self._one.release == 2:
            self._write(encode_frame(COMMIT_NAK))
        answers = [self._refusal(payload, error).message.answer for payload in payloads]
        if interchange is not None and interchange.enveloped:
            self._batch(interchange, answers)
        else:
            for answer in answers:
                self._send(answer)

    def _refusal(self, payload: bytes, error: DoorwayError) -> Prepared:
        owner = self._owner
        return refusal_of(payload, self._feed, error, now_us=owner.now_us(), ack_id=owner.ack_id(), peer=self._peer)

    async def _refuse(self, payload: bytes, error: DoorwayError, *, keep: bool) -> None:
        prepared = self._refusal(payload, error)
        log.warning("mllp peer=%s %s", self._peer, prepared.alarm)
        if keep:
            with suppress(DoorwayError):  # diagnosis is worth having, the refusal is owed either way
                await self._kept_in_time([prepared])
        self._send(prepared.message.answer)

    async def _keep_quietly(self, payload: bytes, error: DoorwayError) -> None:
        with suppress(DoorwayError):
            await self._kept_in_time([self._refusal(payload, error)])

    # -- bytes out -----------------------------------------------------------------------------------------------------

    def _send(self, payload: bytes) -> None:
        if payload:
            self._write(b"%b%b%b" % (VT, payload, END))

    def _write(self, data: bytes) -> None:
        if not self._lost and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _close(self) -> None:
        self._at_end = self._finished = True
        self._deadline = time.monotonic() + _CLOSE_S
        if self._transport is not None:
            self._transport.close()

    def _abort(self) -> None:
        self._at_end = True
        if self._transport is not None:
            self._transport.abort()


def _bound(listener: Listener, certificate: "Mapping[str, Any] | None") -> tuple[Feed, str]:
    """The feed of a connection, cut to what its certificate may send as, and the name in the certificate.

    Raises:
        Malformed: no certificate that this listener knows.
    """
    if not listener.senders:
        return listener.feed, ""
    found = certificate or {}
    names = [value for group in found.get("subject", ()) for key, value in group if key == "commonName"]
    names += [value for kind, value in found.get("subjectAltName", ()) if kind == "DNS"]
    for name in names:
        if name in listener.senders:
            return listener.feed.limited_to(listener.senders[name]), name
    raise Malformed("no certificate that this listener knows", at="TLS")


def _single(payload: bytes) -> bool:
    """Whether a frame holds one message, as it usually does."""
    if payload[:3] != b"MSH":
        return False
    return payload.rfind(b"MSH") == 0 or (b"\rMSH" not in payload and b"\nMSH" not in payload)


def _interchange(payload: bytes) -> Interchange:
    """The messages of a frame that is not a single one."""
    found = split_interchange(payload)
    none = not found.messages and not found.enveloped
    return Interchange((Batch((payload,)),)) if none else found  # refused as a message, with its bytes
