"""TLS and mutual TLS of the API on a real socket."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from gateway import wiring
from gateway.adapters.db.store import DbStore
from gateway.adapters.http.server import bound, server_for
from gateway.adapters.http.tls import server_context
from gateway.exchange.clients import register
from gateway.kernel.errors import Invalid
from gateway.settings import Settings
from tests.adapters.http.conftest import token_for
from tests.support.authority import Authority


@contextmanager
def serving(store: DbStore, folder: Path, tls: ssl.SSLContext | None, **settings: Any) -> Iterator[int]:
    """The API on a port of its own."""
    built = wiring.build_app(Settings(data_folder=str(folder), **settings), store)
    listening, ready = bound("127.0.0.1:0"), threading.Event()
    server = server_for(built.app, receive_timeout_s=10.0, announce=ready.set, tls=tls)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    thread = threading.Thread(target=lambda: uvloop.run(server.serve([listening])), daemon=True)
    thread.start()
    assert ready.wait(20)
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join(20)
    built.executor.shutdown()
    listening.close()


def test_a_token_counts_only_over_the_certificate_of_its_client(sqlite_store: DbStore, tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    tls = server_context(*authority.issue("gateway"), authority.file)
    bindings = {"west.example": ["ehr"], "east.example": ["shelter"]}
    ehr = token_for(sqlite_store, "ehr", "Organization/h")
    sqlite_store.write(
        lambda unit: register(
            unit.clients, "west2", organization="Organization/h", scopes=["system/*.rs"], secret="s3cret", now_us=1
        )
    )
    with serving(sqlite_store, tmp_path, tls, http_certificate_clients=bindings | {"two": ["west2"]}) as port:

        def over(issuer: Authority | None, name: str) -> httpx.Client:
            context = ssl.create_default_context(cafile=authority.file)
            if issuer is not None:
                context.load_cert_chain(*issuer.issue(name))
            return httpx.Client(base_url=f"https://localhost:{port}", verify=context, timeout=10)

        bearer = {"Authorization": f"Bearer {ehr}"}
        form = {"grant_type": "client_credentials", "client_id": "west2", "client_secret": "s3cret"}
        with over(authority, "west.example") as west, over(authority, "east.example") as east:
            assert west.get("/fhir/Patient", headers=bearer).status_code == 200
            stolen = east.get("/fhir/Patient", headers=bearer)
            assert (stolen.status_code, stolen.json()["issue"][0]["code"]) == (401, "login")
            assert west.get("/fhir/metadata").json()["implementation"]["url"].startswith("https://")
            refused = west.post("/oauth/token", data=form)
            assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
        with over(authority, "two") as two:
            assert two.post("/oauth/token", data=form).status_code == 200
        for issuer in (None, stranger):
            with over(issuer, "west.example") as nobody, pytest.raises((httpx.TransportError, ssl.SSLError)):
                nobody.get("/fhir/metadata")


def test_tls_alone_asks_for_no_certificate(sqlite_store: DbStore, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with serving(sqlite_store, tmp_path, server_context(*authority.issue("gateway"), "")) as port:
        context = ssl.create_default_context(cafile=authority.file)
        assert httpx.get(f"https://localhost:{port}/fhir/metadata", verify=context).status_code == 200


def test_files_that_do_not_fit_stop_the_start_and_the_setting_is_named(tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path).issue("gateway")
    assert server_context("", "", "") is None
    for given, named in (
        (("", key, ""), "http_tls_certificate"),
        (("", "", certificate), "http_tls_certificate"),
        ((certificate, str(tmp_path / "none"), ""), "http_tls_certificate"),
        ((certificate, key, key), "http_tls_client_authority"),
    ):
        with pytest.raises(Invalid, match=named):
            server_context(*given)
