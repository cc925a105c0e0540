"""``doorway bench api``: the FHIR API against bare routes over the same database, in the same run.

Each server runs in a process of its own and is driven by one keep-alive client over loopback; gateway and floor take
turns, so that what disturbs the machine disturbs both. ``ratio`` is our rate over the floor's rate, by the clock;
``cpu_ratio`` is the processor time of an answer of the floor over that of ours, which is what counts where others work
on the machine too. Our reads wait for a disk (their audit records), the floor's do not.

- read: a read with consent decided and its audit record on disk, against a FastAPI route that returns the stored bytes.
- create: an Observation validated, indexed, labelled, audited, against a FastAPI route that parses, inserts a group of
  rows, commits. create_patient: the same with a Patient, which is also compared with everybody known (linking).
- transaction: one of 100 entries, in units of one create (``creates``).
"""

import asyncio
import gc
import itertools
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import orjson

from gateway.kernel.identifiers import resource_id

CONNECTIONS: Final = 16
ROUND_S: Final = 1.0
ROUNDS: Final = 5
PATIENTS: Final = 300
_TOKEN: Final = "bench-token-of-nobody"  # noqa: S105 - of a database that lives for this run
_GIVEN: Final = (
    "Ana", "Ben", "Cleo", "Dov", "Ela", "Finn", "Gita", "Hal", "Ines", "Jon", "Kai", "Lea", "Mio", "Nia", "Oke", "Pia",
)  # fmt: skip


def patient(number: int) -> dict[str, Any]:
    """A synthetic patient of ordinary size (about 1,200 bytes)."""
    return {
        "resourceType": "Patient",
        "extension": [
            {
                "url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race",
                "extension": [{"url": "text", "valueString": "White"}],
            }
        ],
        "identifier": [
            {"use": "usual", "system": "http://hospital.example.org/mrn", "value": f"b{number}"},
            {"use": "official", "system": "http://hmis.example.org/personal-id", "value": f"H{number}"},
        ],
        "active": True,
        "name": [{"use": "official", "family": f"Zq{number * 7919 % 99_991:x}", "given": [_GIVEN[number % 16], "Bo"]}],
        "telecom": [{"system": "phone", "value": f"{200 + number % 700}-{number * 31 % 10**7:07d}", "use": "mobile"}],
        "gender": "female" if number % 2 else "male",
        "birthDate": f"{1940 + number % 70}-{1 + number % 12:02d}-{1 + number % 28:02d}",
        "address": [
            {
                "use": "home",
                "line": [f"{number % 9973} {number * 17 % 997} St"],
                "city": "Calgary",
                "postalCode": "T2E 2P5",
            }
        ],
    }


def patient_id(number: int) -> str:
    """The id of a patient of the store, in the form that records of a feed have; a client's own choice of an id would
    be looked for under two names."""
    return resource_id("bench-feed", "patient", str(number))


def observation(number: int, subject: str = f"Patient/{patient_id(1)}") -> dict[str, Any]:
    """A synthetic measurement (about 600 bytes)."""
    category = {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}
    return {
        "resourceType": "Observation",
        "status": "final",
        "category": [{"coding": [category]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}], "text": "Heart rate"},
        "subject": {"reference": subject},
        "effectiveDateTime": f"2024-01-{1 + number % 28:02d}T00:00:00Z",
        "valueQuantity": {
            "value": 60 + number % 60,
            "unit": "/min",
            "system": "http://unitsofmeasure.org",
            "code": "/min",
        },
    }


def transaction(number: int, size: int = 100) -> bytes:
    """One patient and observations about it."""
    full = f"urn:uuid:00000000-0000-4000-8000-{number % 10**12:012d}"
    entries: list[dict[str, Any]] = [
        {"fullUrl": full, "resource": patient(number), "request": {"method": "POST", "url": "Patient"}}
    ]
    for index in range(size - 1):
        entries.append({"resource": observation(index, full), "request": {"method": "POST", "url": "Observation"}})
    return orjson.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries})


# -- servers -----------------------------------------------------------------------------------------------------------


def _gateway(url: str, told: Connection) -> None:
    from gateway import wiring
    from gateway.adapters.http.server import run
    from gateway.settings import read_settings

    folder = str(Path(url.removeprefix("sqlite:///")).parent) if url.startswith("sqlite") else tempfile.gettempdir()
    settings = read_settings(None, {}, database_url=url, data_folder=folder)
    built = wiring.build_app(settings, wiring.open_store(settings))
    gc.freeze()  # as serve does
    run(built.app, "127.0.0.1:0", receive_timeout_s=30.0, announce=told.send)


def _floor(url: str, told: Connection) -> None:
    """Bare routes: the same bytes read from the same table; the same kind of rows written in one commit."""
    import threading

    from fastapi import FastAPI, Request
    from starlette.responses import Response

    from gateway.adapters.db.engine import Database
    from gateway.adapters.http.server import run
    from gateway.kernel.identifiers import key_of

    database = Database(url)
    reader, writer = database.connect(), database.connect()
    mark = "?" if database.dialect == "sqlite" else "%s"
    writer.connection.execute("CREATE TABLE IF NOT EXISTS bench_row (id BIGINT, name TEXT, value TEXT)")
    writer.connection.execute("CREATE TABLE IF NOT EXISTS bench_body (id BIGINT, body TEXT)")
    app, lock = FastAPI(), threading.Lock()

    @app.get("/read/{type_}/{id_}")
    async def read(type_: str, id_: str) -> Response:
        query = f"SELECT body FROM resource WHERE type = {mark} AND key = {mark}"
        row = reader.connection.execute(query, (type_, key_of(f"{type_}/{id_}"))).fetchone()
        return Response(bytes(row[0]), media_type="application/fhir+json")

    @app.post("/create/{type_}")
    async def create(type_: str, request: Request) -> Response:
        body = await request.body()
        resource = orjson.loads(body)
        key = time.perf_counter_ns()
        with lock:
            writer.connection.execute("BEGIN")
            writer.connection.execute(f"INSERT INTO bench_body VALUES ({mark}, {mark})", (key, body.decode()))
            rows = [(key, name, str(value)[:60]) for name, value in resource.items()] * 2
            cursor = writer.connection.cursor()
            cursor.executemany(f"INSERT INTO bench_row VALUES ({mark}, {mark}, {mark})", rows)
            writer.connection.execute("COMMIT")
        return Response(body, status_code=201, media_type="application/fhir+json")

    run(app, "127.0.0.1:0", receive_timeout_s=30.0, announce=told.send)


@contextmanager
def _server(serve: Callable[[str, Connection], None], url: str) -> Iterator[tuple[str, int]]:
    """A server process; its address and process id."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(url, there), daemon=True)
    process.start()
    try:
        if not here.poll(60):
            raise RuntimeError("the server did not start")
        yield str(here.recv()), int(process.pid or 0)
    finally:
        process.terminate()
        process.join(20)


# -- client ------------------------------------------------------------------------------------------------------------


class _Wire(asyncio.Protocol):
    """One keep-alive connection with one request in flight; answers must have a length."""

    def __init__(self) -> None:
        self._buffer = b""
        self._done: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Complete the answer when it is whole."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        at = head.lower().find(b"content-length:")
        size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(body) >= size and self._done is not None:
            self._buffer = b""
            self._done.set_result((int(head[9:12]), body))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send and wait."""
        self._done = asyncio.get_running_loop().create_future()
        self.transport.write(request)  # type: ignore[attr-defined]
        return await self._done


def _request(method: str, address: str, path: str, body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {address}", f"Authorization: Bearer {_TOKEN}"]
    if body:
        lines += ["Content-Type: application/fhir+json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def _load(address: str, make: Callable[[int], bytes], seconds: float, connections: int) -> tuple[float, int]:
    """Answers a second, and how many were no success."""
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    wires = [(await loop.create_connection(_Wire, host, int(port)))[1] for _ in range(connections)]
    count = failed = 0
    stop = time.perf_counter() + seconds

    async def drive(wire: _Wire) -> None:
        nonlocal count, failed
        while time.perf_counter() < stop:
            count += 1
            status, _ = await wire.ask(make(count))
            failed += status not in (200, 201)

    began = time.perf_counter()
    await asyncio.gather(*(drive(wire) for wire in wires))
    spent = time.perf_counter() - began
    for wire in wires:
        wire.transport.close()
    return count / spent, failed


def _cpu_s(pid: int) -> float:
    """CPU seconds that a process has used; 0 where /proc is not."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class _Side:
    """One server under one kind of load: its rates and the CPU time of an answer."""

    def __init__(self, address: str, pid: int, make: Callable[[int], bytes]) -> None:
        self.address, self.pid, self.make = address, pid, make
        self.rates: list[float] = []
        self.cpu_us: list[float] = []
        self.failed = 0

    def round(self, seconds: float, connections: int) -> None:
        """Drive it once."""
        before = _cpu_s(self.pid)
        rate, failed = asyncio.run(_load(self.address, self.make, seconds, connections))
        self.rates.append(rate)
        self.cpu_us.append((_cpu_s(self.pid) - before) / max(rate * seconds, 1) * 1e6)
        self.failed += failed


def _compared(ours: _Side, floor: _Side, rounds: int, seconds: float, connections: int) -> dict[str, Any]:
    for side in (ours, floor):
        side.round(seconds / 2, connections)
        side.rates.clear()
        side.cpu_us.clear()
    for _ in range(rounds):
        ours.round(seconds, connections)
        floor.round(seconds, connections)
    return {
        "ratio": statistics.median(a / b for a, b in zip(ours.rates, floor.rates, strict=True)),
        "cpu_ratio": statistics.median(b / a if a else 0.0 for a, b in zip(ours.cpu_us, floor.cpu_us, strict=True)),
        "rate_per_s": statistics.median(ours.rates),
        "floor_per_s": statistics.median(floor.rates),
        "cpu_us": statistics.median(ours.cpu_us),
        "floor_cpu_us": statistics.median(floor.cpu_us),
        "failed": ours.failed + floor.failed,
    }


def _prepared(url: str) -> list[str]:
    """A client with a token, and patients that belong to another writer and are shared by a Consent; their ids."""
    from gateway import wiring
    from gateway.exchange.agreements import agree
    from gateway.exchange.clients import issue, register
    from gateway.exchange.ports.resources import Draft
    from gateway.settings import read_settings

    settings = read_settings(None, {}, database_url=url)
    store = wiring.open_store(settings)
    now = wiring.now_us()
    saving = wiring.saver(settings)
    ids = [patient_id(number) for number in range(PATIENTS)]
    drafts = [
        Draft({"resourceType": "Organization", "id": "bench", "active": True, "name": "Bench"}, source="bench-feed")
    ]
    for number, id_ in enumerate(ids):
        drafts.append(Draft({**patient(number), "id": id_}, source="bench-feed"))
        drafts.append(Draft(_consent(id_), source="bench-feed"))
    store.write(
        lambda unit: register(
            unit.clients, "bench", organization="Organization/bench", scopes=["system/*.cruds"], now_us=now
        )
    )
    store.write(lambda unit: agree(unit.resources, "Organization/bench", since="2020-01-01", now_us=now))
    store.write(lambda unit: issue(unit.clients, "bench", _TOKEN, now_us=now, lifetime_s=86_400))
    store.write(lambda unit: saving.save(unit, drafts, now_us=now))
    store.close()
    return ids


def _consent(patient_id: str) -> dict[str, Any]:
    return {
        "resourceType": "Consent",
        "id": f"c-{patient_id}",
        "status": "active",
        "scope": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]
        },
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "patient": {"reference": f"Patient/{patient_id}"},
        "dateTime": "2024-01-01",
        "policyRule": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTOUT"}]},
        "provision": {
            "type": "permit",
            "actor": [
                {
                    "role": {
                        "coding": [
                            {"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP"}
                        ]
                    },
                    "reference": {"reference": "Organization/bench"},
                }
            ],
        },
    }


def run(database: str = "", *, rounds: int = ROUNDS, seconds: float = ROUND_S) -> dict[str, Any]:
    """Measure; ratios with their floors, and what was measured.

    Args:
        database: an empty one, which is filled and left behind; without it an SQLite file that is thrown away.
    """
    out: dict[str, Any] = {"connections": CONNECTIONS, "python": sys.version.split()[0]}
    with tempfile.TemporaryDirectory(prefix="doorway-bench-") as folder:
        url = database or f"sqlite:///{folder}/bench.db"
        out["database"] = url.partition(":")[0]
        ids = _prepared(url)
        with _server(_gateway, url) as (address, pid), _server(_floor, url) as (bare, bare_pid):
            reads = [_request("GET", address, f"/fhir/Patient/{id_}") for id_ in ids]
            bares = [_request("GET", bare, f"/read/Patient/{id_}") for id_ in ids]
            out["read"] = _compared(
                _Side(address, pid, lambda n: reads[n % PATIENTS]),
                _Side(bare, bare_pid, lambda n: bares[n % PATIENTS]),
                rounds,
                seconds,
                CONNECTIONS,
            )
            fresh = itertools.count(100_000)  # every record another person, or linking would find ever more twins

            def create(at: str, path: str) -> Callable[[int], bytes]:
                make = patient if path.endswith("Patient") else observation
                return lambda _count: _request("POST", at, path, orjson.dumps(make(next(fresh))))

            for name, type_ in (("create", "Observation"), ("create_patient", "Patient")):
                out[name] = _compared(
                    _Side(address, pid, create(address, f"/fhir/{type_}")),
                    _Side(bare, bare_pid, create(bare, f"/create/{type_}")),
                    rounds,
                    seconds,
                    CONNECTIONS,
                )
            single = _Side(address, pid, create(address, "/fhir/Observation"))
            many = _Side(address, pid, lambda _: _request("POST", address, "/fhir", transaction(next(fresh))))
            for _ in range(max(2, rounds // 2)):
                single.round(seconds, 1)
                many.round(seconds, 1)
            out["transaction"] = {
                "creates": statistics.median(a / b for a, b in zip(single.rates, many.rates, strict=True)),
                "entries": 100,
                "cpu_creates": statistics.median(a / b for a, b in zip(many.cpu_us, single.cpu_us, strict=True)),
                "failed": single.failed + many.failed,
            }
    return out
