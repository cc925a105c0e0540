"""Faults 1, 2 and 5: killed at any moment, nothing acknowledged is lost or kept twice; a sync stands before each ACK.

``DOORWAY_EXAM_KILLS=200`` makes it the full exam; the suite does a few, on SQLite and on PostgreSQL.
"""

import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest

from tests.support.mllp import Peer, adt, framed, msa

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("DOORWAY_EXAM_KILLS", "2"))
CONNECTIONS = 4
pytestmark = pytest.mark.exam
_TAKES = re.compile(r"\b(recvfrom|recvmsg|read)\b")


class Process:
    """The receiver as a child of the test."""

    def __init__(self, database: "Path | str", *, failpoint: str = "", wrapper: tuple[str, ...] = ()) -> None:
        environment = {**os.environ, "DOORWAY_FAILPOINT": failpoint}
        url = database if isinstance(database, str) else f"sqlite:///{database}"
        self.child = subprocess.Popen(
            [*wrapper, sys.executable, "-m", "tests.exam.receiver", url],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=ROOT,
        )  # fmt: skip
        assert self.child.stdout is not None
        self.port = int(self.child.stdout.readline())

    def kill(self) -> None:
        """SIGKILL."""
        self.child.send_signal(signal.SIGKILL)
        self.wait()

    def wait(self) -> None:
        """Until it has ended."""
        self.child.wait(20)
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe is not None:
                pipe.close()

    def stop(self) -> None:
        """End it in order."""
        assert self.child.stdin is not None
        self.child.stdin.close()
        self.wait()


def burst(port: int, connection: int, start: int, acknowledged: dict[str, bytes]) -> None:
    """Send until the receiver dies; what was acknowledged is written down."""
    try:
        peer = Peer(("127.0.0.1", port))
    except OSError:
        return
    try:
        for number in range(start, start + 100_000):
            control_id = f"{connection}-{number:06d}"
            peer.send(framed(adt(control_id, mrn=str(connection))))
            answer = peer.answer()
            if not answer:
                break
            assert msa(answer) == ("AA", control_id)
            acknowledged[control_id] = answer
    except OSError:
        return
    finally:
        peer.close()


_KEPT = "SELECT control_id, answer FROM inbox ORDER BY received_us"


def kept(database: "Path | str") -> dict[str, tuple[int, bytes]]:
    """control id -> (how many, answer) in the store."""
    if isinstance(database, str):
        with psycopg.connect(database) as server:
            rows = server.execute(_KEPT).fetchall()
    else:
        with sqlite3.connect(database) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            rows = connection.execute(_KEPT).fetchall()
        connection.close()
    found: dict[str, tuple[int, bytes]] = {}
    for control_id, answer in rows:
        found[control_id] = (found.get(control_id, (0, b""))[0] + 1, bytes(answer))
    return found


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> "Path | str":
    return tmp_path / "kill.db" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


def test_nothing_acknowledged_is_lost_or_doubled_however_often_it_is_killed(database: "Path | str") -> None:
    chance = random.Random(7)
    acknowledged: dict[str, bytes] = {}
    for trial in range(KILLS):
        process = Process(database)
        threads = [
            threading.Thread(target=burst, args=(process.port, c, trial * 1000, acknowledged))
            for c in range(CONNECTIONS)
        ]
        for thread in threads:
            thread.start()
        time.sleep(chance.uniform(0.05, 0.4))
        process.kill()
        for thread in threads:
            thread.join(20)
    found = kept(database)
    assert acknowledged
    assert [control_id for control_id in acknowledged if control_id not in found] == []
    assert {number for number, _ in found.values()} == {1}
    assert all(found[control_id][1] == answer for control_id, answer in acknowledged.items())
    for connection in range(CONNECTIONS):
        order = [control_id for control_id in found if control_id.startswith(f"{connection}-")]
        assert order == sorted(order)


def test_killed_between_commit_and_answer_the_repeat_gets_the_same_answer_once_stored(tmp_path: Path) -> None:
    database = tmp_path / "point.db"
    process = Process(database, failpoint="after_commit_before_ack:3")
    peer = Peer(("127.0.0.1", process.port))
    answers = []
    for number in range(3):
        peer.send(framed(adt(str(number))))
        answers.append(peer.answer())
    process.wait()
    peer.close()
    assert answers[2] == b""
    assert set(kept(database)) == {"0", "1", "2"}
    process = Process(database)
    peer = Peer(("127.0.0.1", process.port))
    peer.send(framed(adt("2")))
    again = peer.answer()
    peer.close()
    process.stop()
    assert msa(again) == ("AA", "2")
    assert kept(database)["2"] == (1, again)


@pytest.mark.parametrize("messages", [8])
def test_a_sync_stands_before_each_accept_acknowledgement(tmp_path: Path, messages: int) -> None:
    """kill -9 cannot tell a commit from a durable one; the order of system calls can."""
    strace = shutil.which("strace")
    if strace is None or not _may_trace(strace):
        assert _pragma(tmp_path) == 2  # FULL: SQLite's own word for it where calls cannot be watched
        return
    log = tmp_path / "calls"
    wrapper = (
        strace,
        "-f",
        "-qq",
        "-o",
        str(log),
        "-e",
        "trace=fdatasync,fsync,sendto,recvfrom,read,write,writev,recvmsg,sendmsg",
        "-s",
        "300",
    )
    process = Process(tmp_path / "sync.db", wrapper=wrapper)
    peer = Peer(("127.0.0.1", process.port), timeout_s=20)
    for number in range(messages):
        peer.send(framed(adt(f"S{number}")))
        assert msa(peer.answer()) == ("AA", f"S{number}")
    peer.close()
    process.stop()
    synced, checked = False, 0
    for line in log.read_text().splitlines():
        if "ADT^A01" in line and _TAKES.search(line):
            synced = False
        elif ("fdatasync" in line or "fsync" in line) and line.rstrip().endswith("= 0"):
            synced = True
        elif "MSA|AA|" in line and not _TAKES.search(line):
            assert synced, "an accept acknowledgement left before the sync"
            checked += 1
    assert checked == messages


def _may_trace(strace: str) -> bool:
    return subprocess.run([strace, "-qq", "-o", os.devnull, "true"], capture_output=True, check=False).returncode == 0


def _pragma(folder: Path) -> int:
    from gateway.adapters.db.engine import Database

    session = Database(f"sqlite:///{folder}/pragma.db").connect()
    found = int(session.connection.execute("PRAGMA synchronous").fetchone()[0])
    session.connection.close()
    return found
