"""One HTTP exchange over raw ASGI: headers read once, body capped and in time, answer in two messages."""

import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Coroutine, Generator, Iterable
from contextlib import suppress
from types import coroutine
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from gateway.adapters.http.entropy import ENTROPY
from gateway.adapters.http.outcome import TimedOut, UnsupportedMedia
from gateway.kernel.errors import Malformed, TooLarge

_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._~%!$&'()*+;=-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?", re.ASCII).fullmatch
PARAMETERS_LIMIT: Final = 500
# a body that was refused is let run out so far, so long, and while it comes: who is cut off sending never sees why
_LINGER_BYTES: Final = 64 * 1024 * 1024
_LINGER_S: Final = 5.0
_LINGER_IDLE_S: Final = 0.5


class _Names(dict[str, bytes]):
    """Header names as they are sent; ours are few, so each is written once."""

    def __missing__(self, name: str) -> bytes:
        written = self[name] = name.lower().encode("latin-1")
        return written


_NAMES: Final = _Names()


def _headers_of(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """By name in lower case; one that stands several times is one list (RFC 9110, 5.3)."""
    headers: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


class Gone(Exception):
    """The caller hung up: nobody is there to answer."""


@coroutine
def _rest(begun: Coroutine[Any, None, bytes], waits: Any) -> Generator[Any, None, bytes]:
    """What is left of a coroutine whose first step came to wait for something."""
    try:
        yield waits
    except BaseException as stopped:
        try:
            begun.throw(stopped)
        except StopIteration as done:
            return bytes(done.value)
        raise RuntimeError("a body that is read goes on after it was stopped") from stopped
    return (yield from begun.__await__())


class Exchange:
    """A request and the way to answer it.

    Args:
        body_limit: bytes of the largest body that is taken.
        body_timeout_s: seconds in which the whole body must arrive.
    """

    __slots__ = (
        "_body_limit",
        "_body_timeout_s",
        "_receive",
        "_send",
        "answered",
        "headers",
        "id",
        "method",
        "path",
        "read",
        "scope",
        "status",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, body_limit: int, body_timeout_s: float) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self._receive = receive
        self._send = send
        self._body_limit = body_limit
        self._body_timeout_s = body_timeout_s
        self.headers = _headers_of(scope["headers"])
        given = self.headers.get("x-request-id")
        self.id = given if given and _ID.fullmatch(given) else ENTROPY.word()
        self.answered = False
        self.read = False  # whether the whole body was read
        self.status = 0

    def header(self, name: str) -> str:
        """A header's value, or the empty string."""
        return self.headers.get(name, "")

    def check_host(self) -> None:
        """Refuse a request that does not say whom it asks (RFC 9112, 3.2): links in the answer are made from it.

        Raises:
            Malformed: no Host where HTTP/1.1 demands it, several, or what is none.
        """
        host = self.headers.get("host")
        if host is None and self.scope.get("http_version") != "1.1":
            return
        if host is None or not _HOST(host):
            raise Malformed("not a host", at="Host", fix="send one Host header")

    def query(self) -> list[tuple[str, str]]:
        """The query's parameters in order, decoded.

        Raises:
            Malformed: not UTF-8, or too many.
        """
        text = self.scope["query_string"]
        return pairs_of(text, at="query") if text else []

    async def body(self) -> bytes:
        """The whole body, unpacked where it came packed (gzip).

        Raises:
            TimedOut: it did not arrive by the deadline. UnsupportedMedia: packed otherwise. Malformed: not gzip.
            TooLarge: unpacked it is more than the limit. Else as :meth:`_read`.
        """
        coding = self.header("content-encoding").strip().lower()
        if coding in ("", "identity"):
            return await self._arrived()
        if coding not in ("gzip", "x-gzip"):
            raise UnsupportedMedia(
                "this Content-Encoding is not taken here", at="Content-Encoding", fix="gzip, or none"
            )
        return self._unpacked(await self._arrived())

    def _unpacked(self, packed: bytes) -> bytes:
        """The content of gzip members, never more of it than the limit."""
        made = bytearray()
        try:
            while packed:
                member = zlib.decompressobj(wbits=31)
                made += member.decompress(packed, self._body_limit + 1 - len(made))
                if len(made) > self._body_limit:
                    raise TooLarge("the body is too large", at="body", fix=f"at most {self._body_limit} bytes")
                if not member.eof:
                    raise Malformed("not whole gzip", at="body")
                packed = member.unused_data
        except zlib.error:
            raise Malformed("not gzip", at="body", fix="send it as Content-Encoding says") from None
        return bytes(made)

    async def _arrived(self) -> bytes:
        """The whole body as it came, in time."""
        reading = self._read()
        try:
            waits = reading.send(None)
        except StopIteration as whole:  # it came with the head, as nearly every one does: nobody need wait for it
            return bytes(whole.value)
        try:
            async with asyncio.timeout(self._body_timeout_s):
                return await _rest(reading, waits)
        except TimeoutError:
            raise TimedOut("the body did not arrive in time", at="body") from None

    async def _read(self) -> bytes:
        """The whole body, however long it takes.

        Raises:
            TooLarge: more than the limit, told by Content-Length before a byte is read when the caller states it.
            Malformed: Content-Length is not a number.
            Gone: the caller hung up.
        """
        stated = self.header("content-length")
        if stated:
            if not stated.isascii() or not stated.isdigit():
                raise Malformed("not a number", at="Content-Length")
            if int(stated) > self._body_limit:
                raise TooLarge("the body is too large", at="Content-Length", fix=f"at most {self._body_limit} bytes")
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Gone
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self._body_limit:
                raise TooLarge("the body is too large", at="body", fix=f"at most {self._body_limit} bytes")
            chunks.append(chunk)
            if not message.get("more_body", False):
                self.read = True
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def answer(
        self, status: int, headers: Iterable[tuple[str, str]], body: bytes = b"", *, unread: bool = False
    ) -> None:
        """Send the whole answer; the body is left out for HEAD, its length is not (RFC 9110).

        Where the request's body was left ``unread``, what comes of it is thrown away for a while before the connection
        is closed (RFC 9112, 9.6): a connection that is closed under its sender takes the answer with it.
        """
        raw = self._raw(headers)
        if status not in (204, 304):
            raw.append((b"content-length", str(len(body)).encode()))
        self.answered = True
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": raw})
        empty = self.method == "HEAD" or status in (204, 304)
        if unread and "expect" not in self.headers:  # who waits to be asked for the body sends none
            await self._send({"type": "http.response.body", "body": b"" if empty else body, "more_body": True})
            await self._passed_over()
            body = b""
        await self._send({"type": "http.response.body", "body": b"" if empty else body})

    async def _passed_over(self) -> None:
        """Let the rest of the body come, and forget it."""
        left = _LINGER_BYTES
        until = asyncio.get_running_loop().time() + _LINGER_S
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                while left > 0:
                    async with asyncio.timeout(_LINGER_IDLE_S):
                        message = await self._receive()
                    left -= len(message.get("body", b""))
                    if message["type"] == "http.disconnect" or not message.get("more_body", False):
                        return

    def _raw(self, headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
        raw = [(_NAMES[name], value.encode("latin-1")) for name, value in headers]
        raw.append((b"x-request-id", self.id.encode()))
        return raw

    async def stream(self, status: int, headers: Iterable[tuple[str, str]], chunks: AsyncIterator[bytes]) -> None:
        """Send an answer piece by piece."""
        raw = self._raw(headers)
        self.answered = True
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": raw})
        async for chunk in chunks:
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        await self._send({"type": "http.response.body", "body": b""})


def pairs_of(text: bytes, *, at: str) -> list[tuple[str, str]]:
    """The pairs of a query string or form, in order; empty values are kept.

    Raises:
        Malformed: not UTF-8 under the percent signs, or too many pairs.
    """
    try:
        return parse_qsl(
            text.decode("ascii").lstrip("?"),  # some clients put a stray "?" behind the address
            keep_blank_values=True,
            errors="strict",
            max_num_fields=PARAMETERS_LIMIT,
        )
    except (UnicodeDecodeError, ValueError):
        raise Malformed("cannot be read", at=at, fix="percent-encoded UTF-8, at most 500 parameters") from None
