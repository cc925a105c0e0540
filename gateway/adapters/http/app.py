"""The web application: FHIR below /fhir as raw ASGI, everything else (tokens, health, metrics, console) in FastAPI.

A FastAPI route costs as much again as everything else in a read, so FHIR requests never enter it. The OpenAPI document
is our own (openapi.py): it tells of what runs below /fhir too.
"""

from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from typing import Any

import orjson
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import __version__
from gateway.adapters.http.exchange import Exchange
from gateway.adapters.http.fhir import FhirApi
from gateway.adapters.http.metrics import Metrics
from gateway.adapters.http.outcome import NotAllowed, headers_of, outcome_of
from gateway.adapters.http.smart import TokenEndpoint, smart_configuration
from gateway.kernel.errors import NotFound

_SMART = "/fhir/.well-known/smart-configuration"


class _Tokens:
    """``/oauth/token`` as ASGI."""

    def __init__(self, endpoint: TokenEndpoint, executor: Executor) -> None:
        self._endpoint = endpoint
        self._executor = executor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        import asyncio

        async def run(work: Callable[..., Any], *arguments: Any) -> Any:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)

        exchange = Exchange(scope, receive, send, body_limit=16_384, body_timeout_s=10.0)
        await self._endpoint.answer(exchange, run)


class Front:
    """Gives FHIR requests to the FHIR API and all others to the FastAPI application."""

    def __init__(self, fhir: FhirApi, app: FastAPI) -> None:
        self._fhir = fhir
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope.get("path", "")
        if scope["type"] == "http" and (path.startswith("/fhir/") or path == "/fhir") and path != _SMART:
            await self._fhir(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def root_of(fhir: FhirApi, request: Request) -> str:
    """The gateway's own address, without ``/fhir``."""
    exchange = Exchange(request.scope, request.receive, request._send, body_limit=0, body_timeout_s=1.0)
    return fhir.base_of(exchange).removesuffix("/fhir")


async def _missing(_request: Request, _error: Exception) -> Response:
    return Response(outcome_of(NotFound("no such address")), status_code=404, media_type="application/fhir+json")


async def _home(_request: Request) -> Response:
    return Response(b"Doorway. FHIR R4 at /fhir, its statement at /fhir/metadata.\n", media_type="text/plain")


async def _wrong_method(_request: Request, error: Exception) -> Response:
    refused = NotAllowed((getattr(error, "headers", None) or {}).get("Allow", "GET").split(", "))
    headers = dict(headers_of(refused))
    return Response(outcome_of(refused), status_code=405, media_type="application/fhir+json", headers=headers)


def build_app(
    fhir: FhirApi,
    tokens: TokenEndpoint,
    *,
    metrics: Metrics,
    ready: Callable[[], Awaitable[Mapping[str, str]]],
    executor: Executor,
    openapi: Callable[[], dict[str, Any]],
    console: ASGIApp | None = None,
) -> Front:
    """The whole application.

    Args:
        ready: says of each part of the gateway whether it is well: name to ``""`` or a word on what is wrong.
        openapi: the OpenAPI document of what runs.
        console: what is served at ``/``; None: a short page that says where the API is.
    """

    async def livez(_request: Request) -> Response:
        return Response(b"ok\n", media_type="text/plain")

    async def readyz(_request: Request) -> Response:
        parts = await ready()
        well = not any(parts.values())
        body = orjson.dumps({"ready": well, "parts": {name: word or "ok" for name, word in parts.items()}})
        return Response(body, status_code=200 if well else 503, media_type="application/json")

    async def numbers(_request: Request) -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    async def smart(request: Request) -> Response:
        body = smart_configuration(root_of(fhir, request), fhir.types)
        return Response(body, media_type="application/json", headers={"Access-Control-Allow-Origin": "*"})

    async def document(_request: Request) -> Response:
        return Response(orjson.dumps(openapi()), media_type="application/json")

    routes: list[BaseRoute] = [
        Route(_SMART, smart),
        Route("/.well-known/smart-configuration", smart),
        Route("/livez", livez),
        Route("/readyz", readyz),
        Route("/metrics", numbers),
        Route("/openapi.json", document),
        Route("/oauth/token", _Tokens(tokens, executor)),
        Mount("/", app=console) if console is not None else Route("/", _home),
    ]
    app = FastAPI(
        title="Doorway",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        routes=routes,
        exception_handlers={404: _missing, 405: _wrong_method},
    )
    app.router.redirect_slashes = False
    return Front(fhir, app)
