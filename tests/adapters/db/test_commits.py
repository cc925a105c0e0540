"""Group commit: an answer means on disk, a failure harms nobody else, and a sick database is never passed over."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gateway.adapters.db.commits import GroupCommit
from gateway.adapters.db.engine import Database, Session, Sql
from gateway.kernel.errors import Busy, Fault, Invalid
from tests.support.postgres import Postgres

INSERT = Sql("INSERT INTO t (n) VALUES (:n)")
ALL = Sql("SELECT n FROM t ORDER BY n")


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    found: str = (
        f"sqlite:///{tmp_path / 'c.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    )
    database = Database(found)
    database.write(lambda session: session.connection.execute("CREATE TABLE t (n bigint PRIMARY KEY)") and None)
    database.close()
    return found


def add(n: int, session: Session) -> int:
    session.run(INSERT, n=n)
    return n


def later(n: int) -> Any:
    return lambda session: add(n, session)


def rows(database: Database) -> list[int]:
    with database.reading() as session:
        return [row[0] for row in session.run(ALL)]


def held(database: Database, count: int = 1) -> threading.Event:
    """Occupy every writer until the event is set, so that what follows shares a commit."""
    go = threading.Event()
    started = [threading.Event() for _ in range(count)]

    def wait(event: threading.Event) -> Any:
        def work(_: Session) -> None:
            event.set()
            go.wait(10)

        return work

    for event in started:
        database.submit(wait(event))
        event.wait(10)
    return go


def test_writes_that_wait_share_a_commit_and_a_failing_one_is_undone_alone(url: str) -> None:
    database = Database(url, writers=1)
    go = held(database)

    def bad(session: Session) -> None:
        add(100, session)
        raise Invalid("no", at="here")

    futures = [database.submit(later(n)) for n in range(3)]
    wrong: Future[Any] = database.submit(bad)
    broken = database.submit(lambda session: session.connection.execute("SELECT * FROM nowhere"))
    twice = database.submit(later(1))
    last = database.submit(later(7))
    go.set()
    assert [future.result(10) for future in futures] == [0, 1, 2]
    assert last.result(10) == 7
    with pytest.raises(Invalid):
        wrong.result(10)
    with pytest.raises(Fault):
        broken.result(10)
    with pytest.raises(Fault):
        twice.result(10)
    assert rows(database) == [0, 1, 2, 7]
    database.close()


@pytest.mark.parametrize("company", [0, 2])
def test_a_failed_statement_that_the_work_passes_over_is_no_success(url: str, company: int) -> None:
    database = Database(url, writers=1)

    def careless(session: Session) -> str:
        add(1, session)
        try:
            session.connection.execute("SELECT * FROM nowhere")
        except (sqlite3.Error, psycopg.Error):
            return "all is well"
        return "never"

    go = held(database) if company else threading.Event()
    others = [database.submit(later(10 + n)) for n in range(company)]
    answer = database.submit(careless)
    go.set()
    for other in others:
        other.result(10)
    try:
        answer.result(10)
        kept = True
    except Fault:
        kept = False
    assert (1 in rows(database)) is kept
    assert len(rows(database)) == company + kept
    database.close()


def test_a_cancelled_write_is_not_done_and_disturbs_nobody(url: str) -> None:
    database = Database(url, writers=1)
    go = held(database)
    futures = [database.submit(later(n)) for n in range(3)]
    assert futures[1].cancel()
    go.set()
    assert futures[2].result(10) == 2
    assert rows(database) == [0, 2]
    database.close()


def test_two_writers_that_race_for_one_key_both_get_an_answer(postgres_url: str) -> None:
    one, two = Database(postgres_url, writers=1), Database(postgres_url, writers=1)
    one.write(lambda session: session.connection.execute("CREATE TABLE t (n bigint PRIMARY KEY)") and None)
    meet = threading.Barrier(2)
    met: list[int] = []

    def take(session: Session) -> str:
        if session.connection.execute("SELECT 1 FROM t WHERE n = 1").fetchone():
            return "there"
        if len(met) < 2:
            met.append(1)
            meet.wait(10)
        add(1, session)
        return "made"

    futures = [one.submit(take), two.submit(take)]
    assert sorted(future.result(20) for future in futures) == ["made", "there"]
    one.close()
    two.close()


def test_a_lock_held_elsewhere_is_a_bounded_wait_for_all(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    database = Database(f"sqlite:///{path}", lock_timeout_s=0.2)
    database.write(lambda session: session.connection.execute("CREATE TABLE t (n bigint PRIMARY KEY)") and None)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    futures = [database.submit(later(n)) for n in range(100)]
    for future in futures:
        with pytest.raises(Busy):
            future.result(30)
    assert time.monotonic() - began < 10  # one after the other they would wait 20 s
    other.execute("ROLLBACK")
    other.close()
    assert database.write(later(5)) == 5
    assert rows(database) == [5]
    database.close()


def test_a_full_disk_refuses_and_recovers_when_there_is_room(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'f.db'}")
    database.write(lambda session: session.connection.execute("CREATE TABLE t (n blob)") and None)
    database.write(lambda session: session.connection.execute("PRAGMA max_page_count = 40").fetchall() and None)
    kept = 0
    for _ in range(100):
        try:
            database.write(lambda session: session.run(Sql("INSERT INTO t VALUES (:n)"), n=b"x" * 5000) and None)
            kept += 1
        except Busy:
            break
    assert 0 < kept < 100
    assert not database.stopped
    with database.reading() as session:
        assert session.connection.execute("SELECT count(*) FROM t").fetchone() == (kept,)
    database.write(lambda session: session.connection.execute("DELETE FROM t") and None)
    database.write(lambda session: session.run(Sql("INSERT INTO t VALUES (:n)"), n=b"x" * 5000) and None)
    database.close()


class Sick:
    """A connection whose disk fails at the next commit."""

    def __init__(self, real: sqlite3.Connection) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def execute(self, text: str, *values: Any) -> Any:
        if text == "COMMIT":
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
            raise error
        return self._real.execute(text, *values)


def test_a_disk_that_fails_to_sync_stops_the_store_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(f"sqlite:///{tmp_path / 's.db'}")
    database.write(lambda session: session.connection.execute("CREATE TABLE t (n bigint PRIMARY KEY)") and None)
    sick = Database(f"sqlite:///{tmp_path / 's.db'}")
    real = sick.connect
    sick._commits._connect = lambda: Session(Sick(real().connection), "sqlite")
    futures = [sick.submit(later(n)) for n in range(3)]
    for future in futures:
        with pytest.raises(Busy):
            future.result(10)
    assert sick.stopped
    with pytest.raises(Busy, match="disk"):
        sick.submit(later(9))
    assert rows(database) == []
    database.close()
    sick.close()


CHILD = """
import sys, threading
from gateway.adapters.db.engine import Database, Sql
url, base = sys.argv[1], int(sys.argv[2])
database = Database(url)
insert = Sql("INSERT INTO t (n) VALUES (:n)")
lock = threading.Lock()
def told(n, future):
    future.result()
    with lock:
        sys.stdout.write(f"{n}\\n"); sys.stdout.flush()
def send(k):
    for i in range(100000):
        n = base + k * 100000 + i
        future = database.submit(lambda session, n=n: session.run(insert, n=n) and None)
        told(n, future)
for k in range(8):
    threading.Thread(target=send, args=(k,), daemon=True).start()
threading.Event().wait()
"""


def test_what_was_acknowledged_survives_a_kill(url: str) -> None:
    for trial in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, url, str(trial * 1_000_000)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        acknowledged = [int(child.stdout.readline()) for _ in range(20)]
        time.sleep(0.05 * trial)
        os.kill(child.pid, signal.SIGKILL)
        rest = child.stdout.read()
        acknowledged += [int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")]
        child.wait()
        child.stdout.close()
        database = Database(url)
        assert set(acknowledged) <= set(rows(database))
        database.close()


def test_the_store_works_again_when_postgres_is_back() -> None:
    server = Postgres().start()
    try:
        database = Database(server.url())
        database.write(lambda session: session.connection.execute("CREATE TABLE t (n bigint PRIMARY KEY)") and None)
        database.write(later(1))
        assert rows(database) == [1]
        server.kill()
        with pytest.raises(Busy):
            database.write(later(2))
        with pytest.raises(Busy), database.reading():
            pass
        server.again()
        assert database.write(later(3)) == 3
        assert rows(database) == [1, 3]
        server.kill()
        server.again()
        assert rows(database) == [1, 3]  # kept connections that died while idle are replaced
        assert database.write(later(4)) == 4
        database.close()
    finally:
        server.stop()


def test_a_connection_that_meets_a_lock_at_its_first_transaction_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    made: list[sqlite3.Connection] = []

    def connect() -> Session:
        made.append(sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False))
        return Session(made[-1], "sqlite")

    commits = GroupCommit(connect, 1)
    with pytest.raises(Busy):
        commits.submit(lambda _: None).result(5)
    commits.close()
    other.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        made[0].execute("SELECT 1")


class _Told:
    """A driver's connection that tells what was executed."""

    def __init__(self, inner: Any, said: list[str]) -> None:
        self._inner, self._said = inner, said

    def execute(self, text: str, *values: Any) -> Any:
        self._said.append(text)
        return self._inner.execute(text, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def told(database: Database, said: list[str]) -> None:
    """Whatever the writers of a database execute from now on is told."""
    connect = database._commits._connect

    def connected() -> Session:
        session = connect()
        return Session(_Told(session.connection, said), session.dialect)

    database._commits._connect = connected


def test_a_write_has_its_savepoint_before_its_first_change_and_a_look_has_none(url: str) -> None:
    said: list[str] = []
    database = Database(url, writers=1)
    told(database, said)
    go = held(database)
    looks = [database.submit(lambda session: len(session.run(ALL).fetchall())) for _ in range(3)]
    go.set()
    assert [look.result(10) for look in looks] == [0, 0, 0]
    assert not [text for text in said if "SAVEPOINT" in text]
    go = held(database)
    both = [database.submit(later(1)), database.submit(lambda session: session.connection.execute("DELETE FROM t"))]
    go.set()
    for one in both:
        one.result(10)
    database.close()
    points = [text.split()[0] for text in said if "SAVEPOINT" in text or "INSERT" in text or "DELETE" in text]
    assert points == ["SAVEPOINT", "INSERT", "RELEASE", "SAVEPOINT", "DELETE", "RELEASE"]


def test_a_look_that_fails_harms_nobody_who_shares_its_commit(url: str) -> None:
    database = Database(url, writers=1)
    missing = Sql("SELECT n FROM nowhere")
    go = held(database)
    before, wrong, after = (database.submit(one) for one in (later(1), lambda s: s.run(missing), later(2)))
    go.set()
    assert (before.result(10), after.result(10)) == (1, 2)
    with pytest.raises(Fault):
        wrong.result(10)
    assert rows(database) == [1, 2]
    database.close()


def test_a_change_that_got_by_without_a_savepoint_is_undone_all_the_same(tmp_path: Path) -> None:
    """Whoever kept the driver's connection from before changes rows behind the session's back."""
    url = f"sqlite:///{tmp_path / 'c.db'}"
    database = Database(url, writers=1)
    database.write(lambda session: session.connection.execute("CREATE TABLE t (n bigint PRIMARY KEY)") and None)
    kept = database.write(lambda session: session.connection)

    def behind(_: Session) -> None:
        kept.execute("INSERT INTO t (n) VALUES (99)")
        raise Invalid("no", at="here")

    go = held(database)
    good, bad = database.submit(later(1)), database.submit(behind)
    go.set()
    assert good.result(10) == 1
    with pytest.raises(Invalid):
        bad.result(10)
    assert rows(database) == [1]
    database.close()
