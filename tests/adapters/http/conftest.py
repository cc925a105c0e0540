"""A whole gateway over each store, and callers of two organizations."""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway import wiring
from gateway.exchange.agreements import agree
from gateway.exchange.clients import issue, register
from gateway.exchange.ports.store import Store
from gateway.settings import Settings

for noisy in ("httpx", "urllib3"):  # clients under test log URLs, and searches carry names
    logging.getLogger(noisy).setLevel(logging.WARNING)

JSON = {"Content-Type": "application/fhir+json"}


def token_for(store: Store, name: str, organization: str, scopes: tuple[str, ...] = ("system/*.cruds",)) -> str:
    """Register a client of an organization that is party to the agreement, and give it a token."""
    words = f"token-of-{name}-{organization}-{'-'.join(scopes)}"
    now = wiring.now_us()
    store.write(lambda unit: register(unit.clients, name, organization=organization, scopes=scopes, now_us=now))
    store.write(lambda unit: agree(unit.resources, organization, since="2020-01-01", now_us=1))
    store.write(lambda unit: issue(unit.clients, name, words, now_us=now, lifetime_s=3600))
    return words


class Http:
    """The application driven in this thread, without sockets."""

    def __init__(self, app: Any) -> None:
        self._runner = asyncio.Runner()
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=True)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://gateway.test")

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Send and wait."""
        return self._runner.run(self._client.request(method, path, **more))

    def get(self, path: str, **more: Any) -> httpx.Response:
        """GET."""
        return self.request("GET", path, **more)

    def close(self) -> None:
        """Let go."""
        self._runner.run(self._client.aclose())
        self._runner.close()


@dataclass
class Caller:
    """One client of the API; paths are below /fhir."""

    http: Http
    token: str

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Send; ``body`` is JSON, bytes or nothing; header names have _ for -."""
        sent = {"Authorization": f"Bearer {self.token}"} | {k.replace("_", "-"): v for k, v in headers.items()}
        if isinstance(body, (bytes, str)):
            return self.http.request(method, f"/fhir{path}", content=body, headers={**JSON, **sent})
        if body is not None:
            return self.http.request(method, f"/fhir{path}", json=body, headers={**JSON, **sent})
        return self.http.request(method, f"/fhir{path}", headers=sent)

    def create(self, resource: dict[str, Any]) -> dict[str, Any]:
        """Create; the stored resource."""
        answer = self("POST", f"/{resource['resourceType']}", resource)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made


@dataclass
class World:
    """A gateway with its store and two callers that know nothing of each other."""

    store: Store
    built: wiring.Built
    http: Http
    ehr: Caller
    other: Caller

    def caller(self, name: str, *scopes: str, organization: str = "Organization/h") -> Caller:
        """One more caller, with scopes of its own."""
        return Caller(self.http, token_for(self.store, name, organization, scopes))


def world_over(store: Store, folder: Path, **settings: Any) -> Iterator[World]:
    """A gateway over ``store``; closed afterwards, the store is left open."""
    built = wiring.build_app(Settings(data_folder=str(folder), **settings), store)
    http = Http(built.app)
    yield World(
        store,
        built,
        http,
        Caller(http, token_for(store, "ehr", "Organization/h")),
        Caller(http, token_for(store, "shelter", "Organization/s")),
    )
    http.close()
    built.executor.shutdown()


@pytest.fixture
def world(store: Store, tmp_path: Path) -> Iterator[World]:
    """A gateway over each kind of store."""
    yield from world_over(store, tmp_path)


@pytest.fixture
def small(sqlite_store: Store, tmp_path: Path) -> Iterator[World]:
    """A gateway over SQLite only, for what does not hang on the store."""
    yield from world_over(sqlite_store, tmp_path)
