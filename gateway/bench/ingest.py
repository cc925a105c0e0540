"""Messages into the inbox over sockets: the receiver against its floors, all in one run with one client.

- ``floor``: read frame, append the bytes to the same database by the same group commit, answer three fixed lines
- ``echo``: read frame, answer, no write
- ``each``: the receiver with one commit a message

The floors run on asyncio, as the numbers that they are held to were measured; those on uvloop, which the receiver uses,
stand beside them.

Nothing processes the messages meanwhile; in life a worker of the same process takes its share of the processor, and its
commits come between.

The client is a process of its own; each connection waits for its answer before it sends the next message. Processor
time is that of the server's process, a ratio that other work on the machine moves less than the clock.
"""

import asyncio
import multiprocessing
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import psycopg
import uvloop

from gateway.adapters.db.engine import Session
from gateway.adapters.db.store import DbStore
from gateway.adapters.mllp.receiver import Arrivals, Listener, Receiver
from gateway.codecs.mllp import FrameDecoder, encode_frame
from gateway.exchange.receive import Prepared, Reply, admit, admit_all
from gateway.settings import read_settings
from gateway.wiring import open_store

Address: TypeAlias = tuple[str, int]
Server: TypeAlias = Callable[[], AbstractContextManager[Address]]
RunLoop: TypeAlias = Callable[[Any], Any]  # asyncio.run, or uvloop.run that the receiver itself uses
_ACK = encode_frame(b"MSH|^~\\&|A|B|C|D|20260105101500||ACK^A01^ACK|1|P|2.5.1\rMSA|AA|1\r")
SECONDS = 1.0
ROUNDS = 3


def adt(control_id: str, mrn: int) -> bytes:
    """An ADT^A01 of about 650 bytes, of nobody."""
    return (
        f"MSH|^~\\&|EHR|WEST|DOORWAY|HUB|20260105101500||ADT^A01^ADT_A01|{control_id}|P|2.5.1\r"
        f"EVN||20260105101500|||1234^Zqdesk^Ann\rPID|1||{mrn}^^^WEST&1.2.3&ISO^MR~9{mrn}^^^STATE^SB||Zqvale^Ada^M||"
        "19800101|F||2106-3^White^CDCREC|1 Shelter Lane^^Springfield^IL^62701^USA^H||^PRN^PH^^1^555^5550100|||S||"
        f"V{mrn}^^^WEST^VN\rPD1||||77^Zqdoc^Bea\rNK1|1|Zqvale^Bob|BRO|||C\r"
        f"PV1|1|I|2WEST^210^A^WEST||||77^Zqdoc^Bea|||MED||||7|||77^Zqdoc^Bea|INP|V{mrn}^^^WEST^VN|||||||||||||||||||||"
        "||||20260105100000\rDG1|1||F10.20^Alcohol dependence^I10|||A\rIN1|1|X|1|Payer\r"
    ).encode()


# -- servers ---------------------------------------------------------------------------------------------------------


@contextmanager
def _plain(answer: Callable[[bytes], "Future[Any] | None"], run_loop: RunLoop = asyncio.run) -> Iterator[Address]:
    """The least MLLP server: frames in, one fixed answer out, after the future where there is one."""
    ready: Future[tuple[Address, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = FrameDecoder(1 << 20)
        while data := await reader.read(65536):
            for frame in decoder.feed(data):
                done = answer(frame.payload)
                if done is not None:
                    await asyncio.wrap_future(done)
                writer.write(_ACK)
        writer.close()

    async def main() -> None:
        ended = asyncio.Event()
        server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=512)
        ready.set_result((server.sockets[0].getsockname(), asyncio.get_running_loop(), ended))
        await ended.wait()
        server.close()

    thread = threading.Thread(target=lambda: run_loop(main()), daemon=True)
    thread.start()
    address, loop, ended = ready.result()
    try:
        yield address
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(5)


def _echo(run_loop: RunLoop = asyncio.run) -> AbstractContextManager[Address]:
    return _plain(lambda _payload: None, run_loop)


def _floor(store: DbStore, run_loop: RunLoop = asyncio.run) -> AbstractContextManager[Address]:
    text = "INSERT INTO bench_floor (body) VALUES (" + ("?" if store.database.dialect == "sqlite" else "%s") + ")"

    def append(payload: bytes) -> "Future[Any]":
        def work(session: Session) -> None:
            session.connection.execute(text, (payload,))

        return store.database.submit(work)

    return _plain(append, run_loop)


@contextmanager
def _receiver(submit: Callable[[Sequence[Prepared]], "Future[list[Reply]]"]) -> Iterator[Address]:
    receiver = Receiver([Listener(port=0, peer_limit=512)], submit, lambda _id, _feed, _address: b"", Arrivals())
    addresses = receiver.start()
    try:
        yield addresses[0]
    finally:
        receiver.stop()


def _ours(store: DbStore) -> AbstractContextManager[Address]:
    return _receiver(lambda prepared: store.submit(lambda unit: admit_all(unit, prepared)))


@contextmanager
def _each(store: DbStore) -> Iterator[Address]:
    with ThreadPoolExecutor(1) as alone:

        def submit(prepared: Sequence[Prepared]) -> "Future[list[Reply]]":
            return alone.submit(lambda: [store.write(partial(admit, prepared=one)) for one in prepared])

        with _receiver(submit) as address:
            yield address


# -- the client, in a process of its own -----------------------------------------------------------------------------


async def _drive(address: Address, connections: int, seconds: float, marks: list[str]) -> int:
    end = time.perf_counter() + seconds

    async def one(number: int) -> int:
        reader, writer = await asyncio.open_connection(*address)
        sent = 0
        while time.perf_counter() < end:
            writer.write(encode_frame(adt(f"{marks[number]}{sent}", number * 100_000 + sent)))
            await reader.readuntil(b"\x1c\r")
            sent += 1
        writer.close()
        return sent

    return sum(await asyncio.gather(*(one(number) for number in range(connections))))


def _client(orders: Any) -> None:
    while (order := orders.recv()) is not None:
        address, connections, seconds, marks = order
        started = time.perf_counter()
        sent = asyncio.run(_drive(address, connections, seconds, marks))
        orders.send(sent / (time.perf_counter() - started))


class Pace(NamedTuple):
    """How fast a server was: messages a second by the clock, and microseconds of its processor time a message."""

    rate: float
    cpu_us: float

    def or_better(self, other: "Pace | None") -> "Pace":
        """The better of each."""
        return self if other is None else Pace(max(self.rate, other.rate), min(self.cpu_us, other.cpu_us))


class Load:
    """Messages a second that a server takes."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_client, args=(theirs,), daemon=True)
        self._process.start()

    def rate(self, server: Server, connections: int, marks: list[str] | None = None) -> "Pace":
        """One measurement."""
        marks = marks or [secrets.token_hex(4) for _ in range(connections)]
        with server() as address:
            used = time.process_time()
            self._pipe.send((address, connections, SECONDS, marks))
            rate = float(self._pipe.recv())
            return Pace(rate, (time.process_time() - used) / (rate * SECONDS) * 1e6)

    def best(self, servers: dict[str, Server], connections: int) -> "dict[str, Pace]":
        """The best of several rounds for each server, taken in turns so that all meet the same machine."""
        found: dict[str, Pace] = {}
        for _ in range(ROUNDS):
            for name, server in servers.items():
                found[name] = self.rate(server, connections).or_better(found.get(name))
        return found

    def close(self) -> None:
        """End the client."""
        self._pipe.send(None)
        self._process.join(5)


@contextmanager
def bench_store(url: str) -> Iterator[DbStore]:
    """A migrated store with the floor's table."""
    store = open_store(read_settings(environment={}, database_url=url))
    assert isinstance(store, DbStore)
    kind = "BLOB" if store.database.dialect == "sqlite" else "BYTEA"
    session = store.database.connect()
    session.connection.execute(f"CREATE TABLE IF NOT EXISTS bench_floor (body {kind} NOT NULL)")
    session.connection.close()
    try:
        yield store
    finally:
        store.close()


def measure(store: DbStore) -> dict[str, Any]:
    """The ratios on one store."""
    load = Load()
    try:
        out: dict[str, Any] = {}
        for connections in (1, 8, 64):
            found = load.best({"floor": lambda: _floor(store), "ours": lambda: _ours(store)}, connections)
            ours, floor = found["ours"], found["floor"]
            out[f"durable ACK / floor, {connections} connections"] = ours.rate / floor.rate
            out[f"durable ACK a second, {connections} connections"] = round(ours.rate)
            out[f"the same / floor by processor time, {connections} connections"] = floor.cpu_us / ours.cpu_us
        servers: dict[str, Server] = {
            "echo": _echo,
            "fast echo": lambda: _echo(uvloop.run),
            "fast floor": lambda: _floor(store, uvloop.run),
            "each": lambda: _each(store),
            "ours": lambda: _ours(store),
        }
        found = load.best(servers, 32)
        rates, ours = {name: pace.rate for name, pace in found.items()}, found["ours"]
        out["durable ACK / one commit a message, 32 connections"] = ours.rate / rates["each"]
        out["durable ACK / echo without a write, 32 connections"] = ours.rate / rates["echo"]
        out["the same / echo by processor time"] = found["echo"].cpu_us / ours.cpu_us
        out["the same / echo on uvloop"] = ours.rate / rates["fast echo"]
        out["the same / floor on uvloop"] = ours.rate / rates["fast floor"]
        marks = [secrets.token_hex(4) for _ in range(32)]
        first, repeat = (load.rate(lambda: _ours(store), 32, marks) for _ in range(2))
        out["cost of a repeat / first receipt"] = first.rate / repeat.rate
        out["the same by processor time"] = repeat.cpu_us / first.cpu_us
    finally:
        load.close()
    return out


@contextmanager
def _database(server: str) -> Iterator[str]:
    """The URL of a new database on a PostgreSQL server, dropped afterwards."""
    name = f"doorway_bench_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def run() -> dict[str, Any]:
    """SQLite in a temporary folder; ratios are what to trust.

    With DOORWAY_BENCH_POSTGRES, the URL of a database whose user may create others, the same on a new one there.
    """
    with tempfile.TemporaryDirectory() as folder, bench_store(f"sqlite:///{folder}/bench.db") as store:
        out = measure(store)
    if server := os.environ.get("DOORWAY_BENCH_POSTGRES"):
        with _database(server) as url, bench_store(url) as store:
            out["PostgreSQL"] = measure(store)
    return out
