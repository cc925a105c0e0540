"""Faults 6 to 8: a full disk, a writer elsewhere, a database that dies or hangs: nothing unsafe is accepted."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from gateway.adapters.db.engine import Database
from gateway.adapters.db.migrate import upgrade
from gateway.adapters.db.store import DbStore
from gateway.adapters.mllp import connection as listening
from tests.exam.test_kill import Process, kept
from tests.support.mllp import Peer, adt, framed, msa, receiving
from tests.support.postgres import Postgres
from tests.support.stores import DERIVED

pytestmark = pytest.mark.exam
MEGABYTE = 1 << 20
LOCK = (
    "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('BEGIN IMMEDIATE'); print(1, flush=True); input()"
)


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A file system of few megabytes where the machine allows one to be mounted; whether it did."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", folder], capture_output=True, check=False)
    try:
        yield done.returncode == 0
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "-l", folder], check=True)


def said(address: tuple[str, int], control_id: str, *, size: int = 0, mrn: str = "17") -> str:
    """MSA-1 of the answer; empty when the connection was closed or refused instead."""
    try:
        peer = Peer(address, timeout_s=20)
    except OSError:
        return ""
    try:
        peer.send(framed(adt(control_id, mrn=mrn, note="NTE|1||" + "x" * size if size else "")))
        answer = peer.answer()
        return msa(answer)[0] if answer else ""
    except OSError:
        return ""
    finally:
        peer.close()


def soon(what: Callable[[], bool], within_s: float = 15.0) -> None:
    end = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < end, "it does not recover"
        time.sleep(0.05)


def until_refused(address: tuple[str, int], accepted: list[str]) -> None:
    """Send until the disk is full, and a while longer."""
    refused = 0
    for number in range(400):
        code = said(address, f"f{number}", size=60_000)
        assert code in {"AA", "AE", ""}
        if code == "AA":
            accepted.append(f"f{number}")
        refused += code != "AA"
        if refused >= 5:
            return
    raise AssertionError("the disk never filled")


def test_a_full_disk_accepts_nothing_it_cannot_keep_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    accepted: list[str] = []
    with small_disk(tmp_path / "disk") as mounted:
        ballast = tmp_path / "disk" / "ballast"
        ballast.write_bytes(bytes(3 * MEGABYTE if mounted else 0))
        database = tmp_path / "disk" / "full.db"
        process = Process(database)
        address = ("127.0.0.1", process.port)
        if not mounted:
            resource.prlimit(process.child.pid, resource.RLIMIT_FSIZE, (4 * MEGABYTE, resource.RLIM_INFINITY))
        until_refused(address, accepted)
        assert accepted
        ballast.unlink()
        if not mounted:  # a write cut short is a disk error, after which only a fresh start looks at what is there
            process.stop()
            process = Process(database)
            address = ("127.0.0.1", process.port)
        soon(lambda: said(address, "after") == "AA")
        process.stop()
        found = kept(database)
    assert [control_id for control_id in [*accepted, "after"] if control_id not in found] == []


def test_a_writer_in_another_process_is_waited_for_within_bounds(sqlite_store: DbStore) -> None:
    path = sqlite_store.database.url.removeprefix("sqlite:///")
    quick = DbStore(Database(sqlite_store.database.url, lock_timeout_s=0.4), DERIVED)
    with receiving(quick) as receiver:
        address = receiver.addresses[0]
        assert said(address, "0") == "AA"
        holder = subprocess.Popen(
            [sys.executable, "-c", LOCK, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert holder.stdout is not None
        holder.stdout.readline()
        started = time.monotonic()
        with ThreadPoolExecutor(4) as many:
            assert list(many.map(lambda n: said(address, f"locked{n}"), range(4))) == ["AE"] * 4
        assert time.monotonic() - started < 8
        holder.communicate("\n", timeout=10)
        assert said(address, "locked0") == "AA"
    quick.close()
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT control_id FROM inbox WHERE state = 'received' ORDER BY 1").fetchall()
    connection.close()
    assert rows == [("0",), ("locked0",)]


@pytest.fixture
def server() -> Iterator[Postgres]:
    made = Postgres().start()
    yield made
    made.stop()


def everyone(server: Postgres) -> list[int]:
    """The processes of a server."""
    with psycopg.connect(server.url()) as connection:
        pids = [int(row[0]) for row in connection.execute("SELECT pid FROM pg_stat_activity").fetchall()]
        own = connection.info.backend_pid
    (parent,) = {int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1]) for pid in pids if pid != own}
    return [parent, *(pid for pid in pids if pid != own)]


def test_a_postgres_that_hangs_or_dies_accepts_nothing_and_is_used_again(
    server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "_COMMIT_S", 1.0)
    upgrade(Database(server.url()))
    store = DbStore(Database(server.url()), DERIVED)
    with receiving(store) as receiver:
        address = receiver.addresses[0]
        assert said(address, "0") == "AA"
        pids = everyone(server)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        started = time.monotonic()
        try:
            assert said(address, "hung") == "AE"
            assert time.monotonic() - started < 15
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        soon(lambda: said(address, "hung") == "AA")
        server.kill()
        assert said(address, "dead") in {"AE", ""}
        server.again()
        soon(lambda: said(address, "dead") == "AA")
        with store.reading() as reading:
            assert {one: len(reading.inbox.find(one)) for one in ("0", "hung", "dead")} == {
                "0": 1,
                "hung": 1,
                "dead": 1,
            }
    store.close()
