"""The real server on a real socket: slow and greedy callers, public clients, many callers at once."""

import asyncio
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from gateway import wiring
from gateway.adapters.db.store import DbStore
from gateway.adapters.http.server import bound, server_for
from gateway.settings import Settings
from tests.adapters.http.conftest import token_for

PATIENT: dict[str, Any] = {"resourceType": "Patient", "name": [{"family": "Zq"}], "gender": "female"}


@dataclass
class Served:
    """Where it listens, and a token that may do everything."""

    port: int
    token: str

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}/fhir"

    def http(self) -> httpx.Client:
        return httpx.Client(base_url=self.base, headers={"Authorization": f"Bearer {self.token}"}, timeout=30)


def serving(store: DbStore, folder: Path, receive_timeout_s: float = 1.0) -> Iterator[Served]:
    settings = Settings(
        data_folder=str(folder), http_body_limit_bytes=100_000, http_receive_timeout_s=receive_timeout_s
    )
    built = wiring.build_app(settings, store)
    listening = bound("127.0.0.1:0")
    ready = threading.Event()
    server = server_for(built.app, receive_timeout_s=receive_timeout_s, announce=ready.set)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    thread = threading.Thread(target=lambda: uvloop.run(server.serve([listening])), daemon=True)
    thread.start()
    assert ready.wait(20)
    yield Served(listening.getsockname()[1], token_for(store, "ehr", "Organization/h"))
    server.should_exit = True
    thread.join(20)
    built.executor.shutdown()
    listening.close()


@pytest.fixture
def served(sqlite_store: DbStore, tmp_path: Path) -> Iterator[Served]:
    yield from serving(sqlite_store, tmp_path)


@pytest.fixture(params=["sqlite_store", "postgres_store"])
def served_by(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    yield from serving(request.getfixturevalue(request.param), tmp_path, 20.0)


def closed_within(connection: socket.socket, seconds: float) -> bytes:
    """What was answered before the server closed; fails when it did not close in time."""
    connection.settimeout(seconds)
    out = b""
    try:
        while chunk := connection.recv(65_536):
            out += chunk
    except ConnectionResetError:
        pass
    finally:
        connection.close()
    return out


def test_a_caller_that_sends_nothing_or_trickles_is_cut_off(served: Served) -> None:
    silent = socket.create_connection(("127.0.0.1", served.port))
    trickling = socket.create_connection(("127.0.0.1", served.port))
    trickling.sendall(b"GET /fhir/Patient HTTP/1.1\r\nHost: x\r\nX-A: ")
    slow = socket.create_connection(("127.0.0.1", served.port))
    head = f"POST /fhir/Patient HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.token}\r\n"
    slow.sendall(f"{head}Content-Type: application/fhir+json\r\nContent-Length: 50\r\n\r\n{{".encode())
    began = time.monotonic()
    assert b" 408 " in closed_within(slow, 8)
    for connection in (silent, trickling):
        closed_within(connection, 8)
    assert time.monotonic() - began < 8


def test_a_body_over_the_limit_is_refused_before_it_is_read_and_memory_is_not_spent(served: Served) -> None:
    head = f"POST /fhir/Patient HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.token}\r\n"
    connection = socket.create_connection(("127.0.0.1", served.port))
    connection.sendall(f"{head}Content-Type: application/fhir+json\r\nContent-Length: 300000000\r\n\r\n".encode())
    answer = closed_within(connection, 5)
    assert b" 413 " in answer.split(b"\r\n", 1)[0]
    assert b"retry-after" in answer.lower()
    assert b"OperationOutcome" in answer
    chunked = socket.create_connection(("127.0.0.1", served.port))
    chunked.sendall(f"{head}Content-Type: application/fhir+json\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    for _ in range(400):  # the answer is not lost to who goes on sending
        chunked.sendall(b"1000\r\n" + b" " * 4096 + b"\r\n")
    chunked.sendall(b"0\r\n\r\n")
    assert b" 413 " in closed_within(chunked, 5).split(b"\r\n", 1)[0]


def test_who_sends_a_whole_body_that_is_refused_sees_why(served: Served) -> None:
    for token, status in ((served.token, 413), ("nobody", 401)):
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        head = {"Authorization": f"Bearer {token}", "Content-Type": "application/fhir+json"}
        connection.request("POST", "/fhir/Patient", b" " * 3_000_000, head)
        answer = connection.getresponse()
        assert answer.status == status
        assert b"OperationOutcome" in answer.read()
        connection.close()


def test_an_unauthenticated_body_is_not_read(served: Served) -> None:
    connection = socket.create_connection(("127.0.0.1", served.port))
    connection.sendall(b"POST /fhir/Patient HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n{")
    assert b" 401 " in closed_within(connection, 5).split(b"\r\n", 1)[0]


def test_health_and_metrics_tell_nothing_about_anybody(served: Served) -> None:
    root = f"http://127.0.0.1:{served.port}"
    with served.http() as http:
        http.post("/Patient", json=PATIENT, headers={"Content-Type": "application/fhir+json"})
        http.get("/Patient?family=Zq")
    assert httpx.get(f"{root}/livez").text == "ok\n"
    assert httpx.get(f"{root}/readyz").json() == {"ready": True, "parts": {"database": "ok"}}
    text = httpx.get(f"{root}/metrics").text
    assert 'doorway_http_requests_total{interaction="type",status="201"} 1' in text
    assert "zq" not in text.casefold()


def test_eight_conditional_creates_at_once_make_one_resource(served_by: Served) -> None:
    body = {**PATIENT, "identifier": [{"system": "urn:s", "value": "once"}]}
    headers = {"If-None-Exist": "identifier=urn:s|once", "Content-Type": "application/fhir+json"}
    barrier = threading.Barrier(8)

    def create(_number: int) -> int:
        with served_by.http() as http:
            http.get("/metadata")
            barrier.wait()
            return http.post("/Patient", json=body, headers=headers).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(create, range(8)))
    assert statuses == [200] * 7 + [201]


def test_of_many_updates_from_one_version_one_wins(served_by: Served) -> None:
    with served_by.http() as http:
        made = http.post("/Patient", json=PATIENT, headers={"Content-Type": "application/fhir+json"}).json()
    barrier = threading.Barrier(8)

    def update(number: int) -> int:
        with served_by.http() as http:
            http.get("/metadata")
            barrier.wait()
            body = {**PATIENT, "id": made["id"], "birthDate": f"19{10 + number}"}
            headers = {"If-Match": 'W/"1"', "Content-Type": "application/fhir+json"}
            return http.put(f"/Patient/{made['id']}", json=body, headers=headers).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(update, range(8)))
    assert statuses == [200] + [412] * 7


def test_fhirpy_creates_searches_counts_pages_updates_and_deletes(served: Served) -> None:
    from fhirpy import AsyncFHIRClient, SyncFHIRClient
    from fhirpy.base.exceptions import ResourceNotFound

    client = SyncFHIRClient(served.base, authorization=f"Bearer {served.token}")
    for number in range(5):
        client.resource("Patient", name=[{"family": f"Zq{number}"}], birthDate=f"197{number}").save()
    patients = client.resources("Patient")
    assert patients.count() == 5
    assert len(patients.limit(2).fetch_all()) == 5
    assert [one["birthDate"] for one in patients.sort("-birthdate").fetch()] == [f"197{n}" for n in (4, 3, 2, 1, 0)]
    one = patients.search(family="Zq3").first()
    assert one is not None
    one["gender"] = "other"
    one.save()
    again = client.reference("Patient", one.id).to_resource()
    assert again["gender"] == "other"
    assert again.is_valid()
    observation = client.resource("Observation", status="final", code={"text": "x"}, subject=one.to_reference())
    observation.save()
    both = client.resources("Observation").include("Observation", "subject").fetch_raw()
    assert {entry["resource"]["resourceType"] for entry in both["entry"]} == {"Observation", "Patient"}
    client.execute(f"Observation/{observation.id}", method="delete")
    with pytest.raises(ResourceNotFound):
        client.reference("Patient", "none").to_resource()

    async def several() -> int:
        other = AsyncFHIRClient(served.base, authorization=f"Bearer {served.token}")
        return len(await other.resources("Patient").fetch_all())

    assert asyncio.run(several()) == 5


def test_the_smart_client_reads_its_models_from_us_strictly(served: Served) -> None:
    from fhirclient import server as smart_server
    from fhirclient.models import bundle, capabilitystatement, patient

    client = smart_server.FHIRServer(None, base_uri=served.base + "/")
    client.session.headers["Authorization"] = f"Bearer {served.token}"
    statement = capabilitystatement.CapabilityStatement.read_from("metadata", client)
    assert statement.fhirVersion == "4.0.1"
    made = patient.Patient(PATIENT)
    created = made.create(client)
    read = patient.Patient.read(created["id"], client)
    assert read.name[0].family == "Zq"
    read.gender = "male"
    read.update(client)
    found = list(patient.Patient.where({"family": "Zq"}).perform_resources_iter(client))
    assert [one.gender for one in found] == ["male"]
    everything = bundle.Bundle.read_from(f"Patient/{read.id}/$everything", client)
    assert everything.total == 1
    history = bundle.Bundle.read_from(f"Patient/{read.id}/_history", client)
    assert len(history.entry) == 2
    read.delete(client)
    client.session.close()
