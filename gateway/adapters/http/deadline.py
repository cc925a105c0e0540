"""The HTTP protocol of uvicorn with what it lacks: a deadline for headers and bodies, and a cap on connections a peer.

uvicorn waits for ever for a header or a body that trickles in (Kludex/uvicorn#157). Here a connection that has not
brought a whole request by the deadline is closed; one peer cannot hold more than its share of connections.
"""

import asyncio
from collections import Counter
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.adapters.http.tls import EXTENSION, names_in

_GRACE_S: Final = 1.0  # the application answers a late body with 408 first; this only catches what it cannot see

_NO_HTTP: Final = (
    b'{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"structure","diagnostics":"not HTTP"}]}'
)


class DeadlineProtocol(HttpToolsProtocol):
    """httptools protocol with deadlines; the two limits are set on a subclass by :func:`protocol_with`."""

    receive_timeout_s: ClassVar[float] = 20.0
    connections_per_peer: ClassVar[int] = 256
    _open: ClassVar["Counter[str]"] = Counter()

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._deadline: asyncio.TimerHandle | None = None
        self._peer = ""
        self._names: frozenset[str] = frozenset()

    def on_message_begin(self) -> None:
        """The application learns whose certificate the connection showed."""
        super().on_message_begin()
        if self._names:
            self.scope["extensions"] = {EXTENSION: self._names}  # type: ignore[dict-item]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection and start its first deadline."""
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        self._open[self._peer] += 1
        self._names = names_in(transport.get_extra_info("peercert") or {})
        super().connection_made(transport)
        if self._open[self._peer] > self.connections_per_peer:
            transport.abort()
            return
        self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._stop()
        self._open[self._peer] -= 1
        if self._open[self._peer] <= 0:
            del self._open[self._peer]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A request that begins starts its deadline; further bytes do not move it."""
        if self._deadline is None:
            self._start()
        super().data_received(data)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._stop()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP at all is answered in FHIR too."""
        head = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/fhir+json;charset=utf-8\r\nConnection: close\r\n"
        self.transport.write(head + b"Content-Length: %d\r\n\r\n" % len(_NO_HTTP) + _NO_HTTP)
        self.transport.close()

    def _start(self) -> None:
        self._deadline = self.loop.call_later(self.receive_timeout_s + _GRACE_S, self._late)

    def _stop(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def pause_writing(self) -> None:
        """A caller that does not read its answer has as long as one that does not send its request."""
        self._stop()
        self._start()
        super().pause_writing()

    def resume_writing(self) -> None:
        """It reads again."""
        self._stop()
        super().resume_writing()

    def _late(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.abort()


def protocol_with(*, receive_timeout_s: float, connections_per_peer: int) -> type[DeadlineProtocol]:
    """The protocol class for ``uvicorn.Config(http=…)`` with these limits."""
    return type(
        "BoundedProtocol",
        (DeadlineProtocol,),
        {
            "receive_timeout_s": receive_timeout_s,
            "connections_per_peer": connections_per_peer,
            "_open": Counter(),
        },
    )
