"""FHIR R4 over HTTP: raw ASGI below /fhir; each handler hands a use case what the request says, and answers with it."""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from starlette.types import Receive, Scope, Send

from gateway.adapters.http import binary
from gateway.adapters.http.exchange import Exchange, Gone, pairs_of
from gateway.adapters.http.limits import Limits
from gateway.adapters.http.metrics import Metrics
from gateway.adapters.http.negotiate import CONTENT_TYPE, answer_form, body_form, read_preferences
from gateway.adapters.http.outcome import NotAllowed, TimedOut, headers_of, outcome_of, preferred, status_of
from gateway.adapters.http.route import METHODS, Place, place_of
from gateway.adapters.http.tls import Bindings
from gateway.adapters.http.wakes import Wakes
from gateway.codecs import json_text
from gateway.codecs.json_text import Document
from gateway.exchange.clients import Caller
from gateway.exchange.rest.ask import Answer, Ask, version_of
from gateway.exchange.rest.emergency import REASON_LIMIT
from gateway.kernel.errors import DoorwayError, Fault, Malformed, Unauthorized, Unsupported, trace_of
from gateway.kernel.fhir import JsonObject, Resource

T = TypeVar("T")
Pairs: TypeAlias = Sequence[tuple[str, str]]
Pending: TypeAlias = "Future[Answer | DoorwayError]"

_LOG: Final = logging.getLogger("doorway.http")
_EXPOSED: Final = (
    "ETag, Location, Content-Location, Last-Modified, X-Request-Id, Retry-After, X-Progress, X-Doorway-Notice"
)
_SEARCHES: Final = frozenset({"type_search", "compartment_search"})
_LOOKS: Final = _SEARCHES | {"instance", "version", "type", "compartment", "instance_history"}
_GENERAL: Final = frozenset({"_format", "_pretty"})  # parameters of HTTP itself, not of a search
_TOKEN_CACHE_S: Final = 1.0  # an expired token is refused within this time, a revoked one at once
_ADMITTED: Final = re.compile(r"/?[A-Z][A-Za-z]*(?:/|$)", re.ASCII).match  # addresses of a type: its use cases admit
_ASKING: Final = frozenset(  # headers that say more than who asks
    ("prefer", "if-match", "if-none-match", "if-modified-since", "if-none-exist", "x-doorway-break-glass-reason")
)
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


class Reads(Protocol):
    """The use cases of single resources (exchange/rest/core.py, which says what each raises)."""

    def read(self, ask: Ask, type_: str, id_: str) -> Pending:
        """``GET [type]/[id]``."""
        ...

    def vread(self, ask: Ask, type_: str, id_: str, version: str) -> Pending:
        """``GET [type]/[id]/_history/[vid]``."""
        ...

    def create(self, ask: Ask, type_: str, document: Document) -> Pending:
        """``POST [type]``, conditional when the ask says so."""
        ...

    def update(self, ask: Ask, type_: str, id_: str, document: Document) -> Pending:
        """``PUT [type]/[id]``."""
        ...

    def update_matching(self, ask: Ask, type_: str, criteria: str, document: Document) -> Pending:
        """``PUT [type]?criteria``."""
        ...

    def patch(self, ask: Ask, type_: str, id_: str, criteria: str, change: Callable[[Resource], Resource]) -> Pending:
        """``PATCH [type]/[id]``, or without an id ``PATCH [type]?criteria``."""
        ...

    def delete(self, ask: Ask, type_: str, id_: str) -> Pending:
        """``DELETE [type]/[id]``."""
        ...

    def delete_matching(self, ask: Ask, type_: str, criteria: str) -> Pending:
        """``DELETE [type]?criteria``."""
        ...


class Searches(Protocol):
    """Searches and histories (exchange/rest/find.py)."""

    def search(self, ask: Ask, type_: str, pairs: Pairs) -> Answer:
        """``GET [type]?…``; without a type over several."""
        ...

    def compartment(self, ask: Ask, owner: str, type_: str, pairs: Pairs) -> Answer:
        """``GET [owner]/[type]?…`` with the owner as ``Patient/id``."""
        ...

    def history(self, ask: Ask, type_: str, id_: str, pairs: Pairs) -> Answer:
        """Versions of a resource, of a type, or of everything where type and id are empty."""
        ...


Operation: TypeAlias = Callable[[Ask, Place, Pairs, "Resource | None"], Answer]


@dataclass(frozen=True, slots=True)
class FhirUseCases:
    """Everything the FHIR routes call, already bound to store and consent."""

    core: Reads
    searches: Searches
    bundle: Callable[[Ask, Document], Answer]
    caller: Callable[[str], Caller]
    metadata: Callable[[str], bytes]
    patches: Mapping[str, Callable[[Any], Callable[[Resource], Resource]]]
    operations: Mapping[str, Operation] = field(default_factory=dict)
    read_xml: Callable[[bytes], Resource] | None = None
    write_xml: Callable[[bytes], bytes] | None = None
    subset: Callable[[bytes, Pairs], bytes] = lambda body, _pairs: body
    rationed: frozenset[str] = frozenset({"$match"})


class FhirApi:
    """The ASGI application below the base.

    Args:
        uses: the use cases.
        types: the resource types that are served.
        clock: the aware time, in the civil zone of consent dates.
        executor: threads for what may take longer than an event loop should wait.
        base_path: where the API is mounted, ``/fhir``.
        public_base_url: the base as partners see it, or empty to take it from the request.
        cors_origins: origins whose pages may read answers, separated by spaces; ``*``: any; empty: none.
        bindings: which clients the certificate of a connection may speak as.
    """

    def __init__(
        self,
        uses: FhirUseCases,
        *,
        types: frozenset[str],
        clock: Callable[[], datetime],
        executor: Executor,
        metrics: Metrics,
        limits: Limits,
        base_path: str = "/fhir",
        public_base_url: str = "",
        body_limit: int = 16 * 1024 * 1024,
        body_timeout_s: float = 20.0,
        cors_origins: str = "*",
        bindings: Bindings | None = None,
    ) -> None:
        self._uses = uses
        self.types = types
        self._clock = clock
        self._executor = executor
        self._metrics = metrics
        self._limits = limits
        self._base_path = base_path
        self._public = public_base_url.rstrip("/")
        self._body_limit = body_limit
        self._body_timeout_s = body_timeout_s
        self._origins = frozenset(cors_origins.split())
        self._open = "*" in self._origins
        self._bindings = bindings if bindings is not None else Bindings({})
        self._callers: dict[str, tuple[Caller, float]] = {}
        self._wakes: Wakes | None = None
        self._handlers: dict[tuple[str, str], Callable[[Exchange, Ask, Place, Pairs], Awaitable[Answer]]] = {
            ("base", "POST"): self._bundle,
            ("base", "GET"): self._search_system,
            ("base_search", "POST"): self._search_system,
            ("base_history", "GET"): self._history,
            ("type", "GET"): self._search,
            ("type", "POST"): self._create,
            ("type", "PUT"): self._update,
            ("type", "PATCH"): self._patch,
            ("type", "DELETE"): self._delete,
            ("type_search", "POST"): self._search,
            ("type_history", "GET"): self._history,
            ("instance", "GET"): self._read,
            ("instance", "PUT"): self._update,
            ("instance", "PATCH"): self._patch,
            ("instance", "DELETE"): self._delete,
            ("instance_history", "GET"): self._history,
            ("version", "GET"): self._vread,
            ("compartment", "GET"): self._compartment,
            ("compartment_search", "POST"): self._compartment,
            ("operation", "GET"): self._operate,
            ("operation", "POST"): self._operate,
            ("job", "GET"): self._job,
            ("job", "DELETE"): self._job,
        }

    # -- the exchange ------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; whatever happens, the answer is FHIR."""
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, send, body_limit=self._body_limit, body_timeout_s=self._body_timeout_s)
        began = time.perf_counter()
        kind = ["other"]
        try:
            await self._serve(exchange, kind)
        except Gone:
            return
        except DoorwayError as error:
            if status_of(error) == 500:
                _LOG.error("fault incident=%s %s", exchange.id, trace_of(error))
            await self._fail(exchange, error)
        except Exception as error:
            _LOG.error("fault incident=%s %s", exchange.id, trace_of(error))
            await self._fail(exchange, Fault("a defect of ours"))
        finally:
            self._metrics.count(kind[0], exchange.status, time.perf_counter() - began)

    async def _serve(self, exchange: Exchange, kind: list[str]) -> None:
        exchange.check_host()
        path = exchange.path
        if path.startswith(self._base_path):
            path = path[len(self._base_path) :]
        if exchange.method == "OPTIONS":
            return await self._options(exchange)
        if path.strip("/") == "metadata":
            kind[0] = "metadata"
            return await self._metadata(exchange)
        caller = await self._authenticate(exchange, path)
        name = caller.client.name
        self._limits.take(name)
        try:
            place = place_of(path, self.types)
            kind[0] = place.kind
            method = "GET" if exchange.method == "HEAD" else exchange.method
            if method not in METHODS[place.kind]:
                raise NotAllowed(METHODS[place.kind])
            pairs = exchange.query()
            asked = binary.form_of if place.type == binary.BINARY and method == "GET" else answer_form
            form = asked(exchange.header("accept"), _one(pairs, "_format"))
            ask = self._ask(exchange, caller, place)
            searched = [pair for pair in pairs if pair[0] not in _GENERAL] if pairs else pairs
            answer = await self._handlers[(place.kind, method)](exchange, ask, place, searched)
            await self._answer(exchange, ask, place, answer, form, pairs)
        finally:
            self._limits.give(name)
        return None

    def _ask(self, exchange: Exchange, caller: Caller, place: Place) -> Ask:
        peer = exchange.scope.get("client")
        address, base = str(peer[0]) if peer else "", self.base_of(exchange)
        if _ASKING.isdisjoint(exchange.headers):
            return Ask(caller, self._clock(), base, exchange.id, address)
        preferences = read_preferences(exchange.header("prefer"))
        return Ask(
            caller,
            self._clock(),
            base,
            exchange.id,
            address,
            preferences.handling,
            preferences.returning,
            version_of(exchange.header("if-match"), at="If-Match"),
            exchange.header("if-none-match"),
            _modified_since(exchange.header("if-modified-since")),
            _condition(exchange),
            preferences.respond_async,
            _reason(exchange, place),
        )

    def _cors(self, exchange: Exchange) -> list[tuple[str, str]]:
        """The headers that let a browser's page read the answer (Fetch standard, CORS protocol)."""
        if self._open:
            return [("Access-Control-Allow-Origin", "*"), ("Access-Control-Expose-Headers", _EXPOSED)]
        if not self._origins:
            return []
        origin = exchange.header("origin")
        if origin not in self._origins:
            return [("Vary", "Origin")]
        return [
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Expose-Headers", _EXPOSED),
            ("Vary", "Origin"),
        ]

    def base_of(self, exchange: Exchange) -> str:
        """The service base URL as the caller sees it."""
        if self._public:
            return self._public
        scheme = exchange.scope.get("scheme", "http")
        server = exchange.scope.get("server") or ("localhost", 80)
        host = exchange.header("host") or f"{server[0]}:{server[1]}"
        return f"{scheme}://{host}{self._base_path}"

    async def _authenticate(self, exchange: Exchange, path: str) -> Caller:
        """Who calls. A token that was looked up is believed for a while where the store is asked again before anything
        is done (exchange/clients.py: admit); operations and Bundles look it up each time."""
        scheme, _, token = exchange.header("authorization").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthorized(
                "a bearer token is needed", at="Authorization", fix="see /.well-known/smart-configuration"
            )
        now = time.monotonic()
        known = self._callers.get(token)
        if known is not None and known[1] > now and "$" not in path and _ADMITTED(path):
            return self._bound(exchange, known[0])
        self._callers.pop(token, None)
        caller = await self._run(self._uses.caller, token)
        if len(self._callers) > 10_000:
            self._callers.clear()
        self._callers[token] = (caller, now + _TOKEN_CACHE_S)
        return self._bound(exchange, caller)

    def _bound(self, exchange: Exchange, caller: Caller) -> Caller:
        if not self._bindings.allow(exchange.scope, caller.client.name):
            raise Unauthorized("the token is not for the certificate of this connection", at="Authorization")
        return caller

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)

    async def _kept(self, pending: Pending) -> Answer:
        """The answer once it is durable."""
        loop = asyncio.get_running_loop()
        wakes = self._wakes
        if wakes is None or wakes.loop is not loop:
            wakes = self._wakes = Wakes(loop)
        answer = await wakes.wait(pending)
        if isinstance(answer, DoorwayError):
            raise answer
        return answer

    async def _answer(
        self, exchange: Exchange, ask: Ask, place: Place, answer: Answer, form: str, pairs: Pairs
    ) -> None:
        headers = self._cors(exchange)
        if answer.version is not None:
            headers.append(("ETag", f'W/"{answer.version}"'))
        if answer.updated_us is not None:
            headers.append(("Last-Modified", _http_date(answer.updated_us // 1_000_000)))
        if answer.location:
            headers.append(("Location", f"{ask.base}/{answer.location}"))
        headers += answer.headers.items()
        if answer.chunks is not None:
            headers.append(("Cache-Control", "no-store"))
            return await exchange.stream(answer.status, headers, self._streamed(answer.chunks))
        body = answer.body
        if exchange.method in _WITH_BODY and place.kind in {"type", "instance"} and answer.status in (200, 201):
            body = preferred(ask.returning, body, answer.status)
        if body:
            if form == binary.RAW:
                return await self._content(exchange, place, answer, headers)
            if pairs and place.kind in {"instance", "version"} and exchange.method in {"GET", "HEAD"}:
                body = self._uses.subset(body, pairs)
            if form == "xml" and "Content-Type" not in answer.headers:
                body = await self._run(self._to_xml, body)
            elif pairs and _one(pairs, "_pretty") == "true":
                body = json_text.write_pretty(body)
            if "Content-Type" not in answer.headers:
                headers.append(("Content-Type", CONTENT_TYPE[form]))
        headers.append(("Cache-Control", "no-store"))
        await exchange.answer(answer.status, headers, body)
        return None

    async def _streamed(self, chunks: Callable[[], Iterator[bytes]]) -> AsyncIterator[bytes]:
        """The pieces, each made off the event loop; one that fails ends the connection."""
        pieces = await self._run(chunks)
        while (piece := await self._run(next, pieces, None)) is not None:
            yield piece

    async def _content(self, exchange: Exchange, place: Place, answer: Answer, headers: list[tuple[str, str]]) -> None:
        """Answer with what a Binary holds, or with the resource where another format than that was asked for."""
        accept = exchange.header("accept")
        found = binary.content_of(answer.body, accept) if place.kind in {"instance", "version"} else None
        if found is not None:
            told = [*headers, ("Content-Type", found[1]), *binary.GUARDS, ("Cache-Control", "no-store")]
            return await exchange.answer(answer.status, told, found[0])
        form = answer_form(accept, "")
        body = await self._run(self._to_xml, answer.body) if form == "xml" else answer.body
        told = [*headers, ("Content-Type", CONTENT_TYPE[form]), ("Cache-Control", "no-store")]
        return await exchange.answer(answer.status, told, body)

    def _to_xml(self, body: bytes) -> bytes:
        if self._uses.write_xml is None:
            raise Unsupported("XML is not built", at="_format")
        return self._uses.write_xml(body)

    async def _fail(self, exchange: Exchange, error: DoorwayError) -> None:
        if exchange.answered:
            return
        body, form = outcome_of(error, incident=exchange.id), "json"
        try:
            form = answer_form(exchange.header("accept"), _one(exchange.query(), "_format"))
            if form == "xml":
                body = self._to_xml(body)
        except DoorwayError:
            form = "json"
        headers = [
            *self._cors(exchange),
            *headers_of(error),
            ("Content-Type", CONTENT_TYPE[form]),
            ("Cache-Control", "no-store"),
        ]
        unread = not exchange.read and (
            exchange.header("content-length") not in ("", "0") or bool(exchange.header("transfer-encoding"))
        )
        if unread:
            headers.append(("Connection", "close"))  # the body was not read: it must not be taken for a request
        await exchange.answer(status_of(error), headers, body, unread=unread and not isinstance(error, TimedOut))

    async def _options(self, exchange: Exchange) -> None:
        headers = [
            *self._cors(exchange),
            ("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
            (
                "Access-Control-Allow-Headers",
                "Authorization, Content-Type, Accept, Prefer, If-Match, If-None-Match, If-None-Exist,"
                " If-Modified-Since, X-Request-Id, X-Doorway-Break-Glass-Reason",
            ),
            ("Access-Control-Max-Age", "86400"),
        ]
        await exchange.answer(204, headers)

    async def _metadata(self, exchange: Exchange) -> None:
        if exchange.method not in ("GET", "HEAD"):
            raise NotAllowed(METHODS["metadata"])
        pairs = exchange.query()
        form = answer_form(exchange.header("accept"), _one(pairs, "_format"))
        body = await self._run(self._uses.metadata, self.base_of(exchange))
        if form == "xml":
            body = self._to_xml(body)
        elif _one(pairs, "_pretty") == "true":
            body = json_text.write_pretty(body)
        await exchange.answer(200, [*self._cors(exchange), ("Content-Type", CONTENT_TYPE[form])], body)

    # -- bodies ------------------------------------------------------------------------------------------------------

    async def _written(self, exchange: Exchange, place: Place) -> Document:
        """The resource that a create or update writes."""
        stated = exchange.header("content-type")
        if place.type == binary.BINARY and binary.is_content(stated):
            context = exchange.header("x-security-context")
            return binary.document_of(await exchange.body(), stated, id_=place.id, security_context=context)
        return await self._document(exchange)

    async def _document(self, exchange: Exchange) -> Document:
        form = body_form(exchange.header("content-type"), ("json", "xml"))
        body = await exchange.body()
        if form == "json":
            return json_text.read(body)
        return await self._run(self._from_xml, body)

    def _from_xml(self, body: bytes) -> Document:
        if self._uses.read_xml is None:
            raise Unsupported("XML is not built", at="Content-Type")
        return json_text.read(json_text.write(self._uses.read_xml(body)))

    async def _form(self, exchange: Exchange) -> list[tuple[str, str]]:
        """The parameters of a POST search: query and body together (R4 "search")."""
        pairs = [pair for pair in exchange.query() if pair[0] not in _GENERAL]
        stated = exchange.header("content-type")
        if not stated and exchange.header("content-length") in ("", "0"):
            return pairs
        body_form(stated, ("form",))
        return pairs + [pair for pair in pairs_of(await exchange.body(), at="form") if pair[0] not in _GENERAL]

    # -- handlers ----------------------------------------------------------------------------------------------------

    async def _read(self, exchange: Exchange, ask: Ask, place: Place, pairs: Pairs) -> Answer:
        return await self._kept(self._uses.core.read(ask, place.type, place.id))

    async def _vread(self, exchange: Exchange, ask: Ask, place: Place, pairs: Pairs) -> Answer:
        return await self._kept(self._uses.core.vread(ask, place.type, place.id, place.rest))

    async def _create(self, exchange: Exchange, ask: Ask, place: Place, pairs: Pairs) -> Answer:
        if pairs:  # some clients mean a condition; to pass over it would make the resource a second time
            raise Malformed("a create takes no search parameters", at="address", fix="send If-None-Exist")
        document = await self._written(exchange, place)
        return await self._kept(self._uses.core.create(ask, place.type, document))

    async def _update(self, exchange: Exchange, ask: Ask, place: Place, pairs: Pairs) -> Answer:
        document = await self._written(exchange, place)
        if place.kind == "type":
            return await self._kept(self._uses.core.update_matching(ask, place.type, _criteria(exchange), document))
        return await self._kept(self._uses.core.update(ask, place.type, place.id, document))

    async def _patch(self, exchange: Exchange, ask: Ask, place: Place, pairs: Pairs) -> Answer:
        form = body_form(exchange.header("content-type"), ("json-patch", "json", "xml"))
        body = await exchange.body()
        if form == "json-patch":
            change = self._uses.patches["json"](body)
        else:
            parameters = json_text.parse(body) if form == "json" else (await self._run(self._from_xml, body)).resource
            change = self._uses.patches["fhirpath"](parameters)
        criteria = _criteria(exchange) if place.kind == "type" else ""
        return await self._kept(self._uses.core.patch(ask, place.type, place.id, criteria, change))

    async def _delete(self, exchange: Exchange, ask: Ask, place: Place, pairs: Pairs) -> Answer:
        if place.kind == "type":
            return await self._kept(self._uses.core.delete_matching(ask, place.type, _criteria(exchange)))
        return await self._kept(self._uses.core.delete(ask, place.type, place.id))

    async def _search(self, exchange: Exchange, ask: Ask, place: Place, pairs: Pairs) -> Answer:
        if place.kind == "type_search":
            pairs = await self._form(exchange)
        return await self._run(self._uses.searches.search, ask, place.type, pairs)

    async def _search_system(self, exchange: Exchange, ask: Ask, place: Place, pairs: Pairs) -> Answer:
        if place.kind == "base_search":
            pairs = await self._form(exchange)
        return await self._run(self._uses.searches.search, ask, "", pairs)

    async def _compartment(self, exchange: Exchange, ask: Ask, place: Place, pairs: Pairs) -> Answer:
        if place.kind == "compartment_search":
            pairs = await self._form(exchange)
        return await self._run(self._uses.searches.compartment, ask, f"{place.type}/{place.id}", place.rest, pairs)

    async def _history(self, exchange: Exchange, ask: Ask, place: Place, pairs: Pairs) -> Answer:
        return await self._run(self._uses.searches.history, ask, place.type, place.id, pairs)

    async def _bundle(self, exchange: Exchange, ask: Ask, place: Place, pairs: Pairs) -> Answer:
        document = await self._document(exchange)
        return await self._run(self._uses.bundle, ask, document)

    async def _operate(self, exchange: Exchange, ask: Ask, place: Place, pairs: Pairs) -> Answer:
        operation = self._uses.operations.get(f"{_level(place)}{place.rest}")
        if operation is None:
            raise Unsupported("no such operation here", at="address", fix="metadata lists them")
        if place.rest in self._uses.rationed:
            self._limits.ration(ask.client, place.rest)
        body: JsonObject | None = None
        if exchange.method == "POST":
            body = (await self._document(exchange)).resource if exchange.header("content-type") else None
        return await self._run(operation, ask, place, pairs, body)

    async def _job(self, exchange: Exchange, ask: Ask, place: Place, pairs: Pairs) -> Answer:
        operation = self._uses.operations.get(f"job:{exchange.method.replace('HEAD', 'GET')}")
        if operation is None:
            raise Unsupported("no such address", at="address")
        return await self._run(operation, ask, place, pairs, None)


def _level(place: Place) -> str:
    """``instance:``, ``type:`` or ``system:``, with the type in front: the key of :attr:`FhirUseCases.operations`."""
    if not place.type:
        return "system:"
    return f"{place.type}/*:" if place.id else f"{place.type}:"


@lru_cache(maxsize=4096)
def _http_date(second: int) -> str:
    """A second since 1970 as RFC 9110 writes it."""
    return formatdate(second, usegmt=True)


def _one(pairs: Pairs, name: str) -> str:
    return next((value for key, value in pairs if key == name), "")


def _reason(exchange: Exchange, place: Place) -> str:
    """The reason of an emergency; it counts for looking at records, never for changing or exporting them."""
    reason = exchange.header("x-doorway-break-glass-reason").strip()
    if not reason:
        return ""
    looks = exchange.method in ("GET", "HEAD") or place.kind in _SEARCHES
    return reason[:REASON_LIMIT] if looks and (place.kind in _LOOKS or place.rest == "$everything") else ""


def _criteria(exchange: Exchange) -> str:
    """The condition of a conditional interaction, as it stands in the address."""
    text: str = exchange.scope["query_string"].decode("ascii", "replace")
    return "&".join(part for part in text.split("&") if part and part.partition("=")[0] not in _GENERAL)


def _condition(exchange: Exchange) -> str:
    """If-None-Exist.

    Raises:
        Malformed: the header is there and names no condition: to pass over it would make a resource twice.
    """
    stated = exchange.headers.get("if-none-exist")
    condition = (stated or "").strip().removeprefix("?")
    if stated is not None and not condition:
        raise Malformed("a condition is needed", at="If-None-Exist", fix="such as identifier=system|value")
    return condition


def _modified_since(header: str) -> int | None:
    """The instant, None when it is not there or no HTTP date (RFC 9110, 13.1.3: such a header is ignored)."""
    if not header:
        return None
    try:
        return int(parsedate_to_datetime(header).timestamp() * 1_000_000)
    except (ValueError, TypeError, OverflowError):
        return None
