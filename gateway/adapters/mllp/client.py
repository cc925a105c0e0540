"""An MLLP client connection: one message in flight, and an answer counts only when it names that message (MSA-2).

Most clients take any reply for a success; some return after the first packet, or wait for ever. This one has a
deadline, and closes the connection when it is out of step, so that a late answer can never be taken for another's.
"""

import select
import socket
import ssl
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from gateway.codecs.ack import Acknowledged, enhanced, read_acknowledgement, wants_any
from gateway.codecs.er7 import peek
from gateway.codecs.mllp import COMMIT_ACK, COMMIT_NAK, FrameDecoder, encode_frame
from gateway.kernel.errors import Busy, DoorwayError, Malformed

_REPLY_LIMIT_BYTES: Final = 4 * 1024 * 1024
_REMEMBERED: Final = 64
_PERHAPS_S: Final = 2.0  # wait for an answer that is only due on success, or only on error


@dataclass(frozen=True, slots=True)
class Answered:
    """What a peer said to a message: its acknowledgements in order (accept first); none when none was asked for."""

    acknowledgements: tuple[Acknowledged, ...]
    payloads: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def last(self) -> Acknowledged | None:
        """The acknowledgement that counts."""
        return self.acknowledgements[-1] if self.acknowledgements else None


class Client:
    """A connection to one peer, opened when first needed and again after a failure.

    Args:
        timeout_s: longest wait for the connection and for each answer.
        tls: a client context, or None for plain TCP.
    """

    def __init__(self, host: str, port: int, *, timeout_s: float = 30.0, tls: ssl.SSLContext | None = None) -> None:
        self._address = (host, port)
        self._timeout_s = timeout_s
        self._tls = tls
        self._socket: socket.socket | None = None
        self._decoder = FrameDecoder(_REPLY_LIMIT_BYTES)
        self._frames: list[bytes] = []
        self._answered: deque[str] = deque(maxlen=_REMEMBERED)  # control ids that were answered on this connection
        self._accepts_only = False  # the peer answers with an accept acknowledgement that nobody asked for, and no more

    def send(self, payload: bytes) -> Answered:
        """Send one message and wait for what its MSH-15 and MSH-16 ask for.

        Raises:
            Busy: no connection, or no answer in time: in doubt, send the same again.
            Malformed: the answer is none, or names another message: in doubt too.
        """
        head = peek(payload)["MSH"]
        asked = (head.raw(15), head.raw(16))
        wanted = ["A"] if not enhanced(*asked) else [way for way, c in zip("CA", asked, strict=True) if wants_any(c)]
        try:
            connection = self._connected()
            connection.settimeout(self._timeout_s)
            connection.sendall(encode_frame(payload))
            return self._answers(head.message.control_id, wanted, sure=not enhanced(*asked) or asked[0] == "AL")
        except (OSError, ssl.SSLError):
            self.close()
            raise Busy("the connection broke", at="peer", fix="send again, unchanged") from None
        except DoorwayError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the connection."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._decoder, self._frames = None, FrameDecoder(_REPLY_LIMIT_BYTES), []
        self._answered.clear()

    def _connected(self) -> socket.socket:
        if self._socket is None:
            try:
                plain = socket.create_connection(self._address, timeout=self._timeout_s)
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._socket = plain
                if self._tls is not None:
                    self._socket = shake_hands(plain, self._tls, self._address[0], self._timeout_s)
            except ssl.SSLError:
                self.close()
                raise Busy("TLS was refused", at="peer", fix="check the certificates of both sides") from None
            except OSError:
                self.close()
                raise Busy("nobody answers there", at="peer", fix="is the listener running?") from None
        return self._socket

    def _answers(self, control_id: str, wanted: list[str], *, sure: bool) -> Answered:
        """Read until the last acknowledgement that is due, or one that ends the matter (CE, CR)."""
        said: list[Acknowledged] = []
        payloads: list[bytes] = []
        deadline = time.monotonic() + self._timeout_s
        while wanted:
            way, *wanted = wanted
            found = self._own(control_id, deadline, hopeful=sure or bool(said))
            if found is None:  # MSH-15 or 16 asked to hear of one outcome only, and that one did not come
                break
            said.append(found[0])
            payloads.append(found[1])
            code = found[0].code
            if code in {"CE", "CR"} or (way == "C" and code[0] == "A"):
                break
            if way == "A" and code == "CA" and not self._accepts_only:  # unasked: what the application says may follow
                more = self._unasked(control_id, deadline)
                if more is not None:
                    said.append(more[0])
                    payloads.append(more[1])
        self._answered.append(control_id)
        return Answered(tuple(said), tuple(payloads))

    def _unasked(self, control_id: str, deadline: float) -> tuple[Acknowledged, bytes] | None:
        """What the application of a peer says that accepted by itself first; None: nothing, and it is not waited for
        again. The message has been accepted, so whatever else happens does not put that in doubt."""
        try:
            more = self._own(control_id, deadline, hopeful=False)
        except (OSError, DoorwayError):
            self.close()
            return None
        self._accepts_only = more is None
        return more

    def _own(self, control_id: str, deadline: float, *, hopeful: bool) -> tuple[Acknowledged, bytes] | None:
        """The next acknowledgement of this message; one more of a message that was answered is passed over."""
        while True:
            payload = self._payload(deadline, hopeful=hopeful)
            if payload is None:
                return None
            one = read_acknowledgement(payload)
            if one.control_id == control_id:
                return one, payload
            if one.control_id not in self._answered:
                raise Malformed("an answer to another message", at="MSA-2", fix="the connection was closed")

    def _payload(self, deadline: float, *, hopeful: bool) -> bytes | None:
        connection = self._connected()
        while True:
            while self._frames:
                payload = self._frames.pop(0)
                if payload == COMMIT_NAK:
                    raise Busy("the peer could not keep the message", at="peer")
                if payload != COMMIT_ACK:
                    return payload
            left = min(deadline, time.monotonic() + (self._timeout_s if hopeful else _PERHAPS_S)) - time.monotonic()
            try:
                if left <= 0:  # a peer that goes on sending without an end is waited for no longer than a silent one
                    raise TimeoutError
                connection.settimeout(left)
                data = connection.recv(65536)
            except TimeoutError:
                if not hopeful:
                    return None
                raise Busy("no answer in time", at="peer", fix="send again, unchanged") from None
            if not data:
                raise Busy("the peer closed without an answer", at="peer", fix="send again, unchanged")
            self._frames.extend(frame.payload for frame in self._decoder.feed(data))


def shake_hands(plain: socket.socket, context: ssl.SSLContext, name: str, timeout_s: float) -> ssl.SSLSocket:
    """TLS over a connection, within ``timeout_s`` however slowly the other side sends its part.

    Raises:
        TimeoutError: it did not end in time.
        SSLError: it was refused, by one side or the other.
        OSError: the connection broke.
    """
    deadline = time.monotonic() + timeout_s
    plain.setblocking(False)  # a time-out of the socket would begin anew with every byte
    made = context.wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False)
    try:
        while True:
            try:
                made.do_handshake()
                break
            except ssl.SSLWantReadError:
                wanted = select.POLLIN
            except ssl.SSLWantWriteError:
                wanted = select.POLLOUT
            waiting = select.poll()
            waiting.register(made, wanted)
            left = deadline - time.monotonic()
            if left <= 0 or not waiting.poll(left * 1000):
                raise TimeoutError
    except BaseException:
        made.close()
        raise
    made.settimeout(timeout_s)
    return made
