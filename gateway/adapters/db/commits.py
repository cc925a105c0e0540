"""Group commit: many writes share one transaction, one commit and one fsync; only then are they answered.

A write is a function on a session. A writer thread runs all that are waiting, each behind a savepoint that is made
before its first change, commits once, and only then answers: durable before acknowledged. A write that fails is undone
alone. Nothing is answered as done that the database did not confirm as committed.
"""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from gateway.adapters.db.session import Session, broken, disk_failed, driver_errors, translated
from gateway.kernel.errors import Busy, Fault

T = TypeVar("T")

BATCH_LIMIT: Final = 256  # writes that share a commit at most
BATCH_TIME_S: Final = 0.05  # no more writes join a commit after this, so that an answer never waits for a whole backlog
WAITING_LIMIT: Final = 20_000  # writes that may wait; beyond, the answer is Busy at once
_TRIES: Final = 4

# another writer came first: the same work, done again, sees what that one did
_RACES: Final = frozenset({"23505", "40001", "40P01"})  # unique violation, serialization failure, deadlock


@dataclass(slots=True)
class Job:
    """A write that waits, and where its answer goes."""

    work: Callable[[Session], Any]
    done: "Future[Any]" = field(default_factory=Future)
    light: bool = False  # writes nothing but records of the audit trail, which wait for the commit


class _Lost(Exception):
    """The transaction as a whole cannot be committed."""


class GroupCommit:
    """The writer threads of one database.

    Args:
        connect: opens a connection of its own.
        writers: how many threads commit; SQLite has one writer by nature.
    """

    def __init__(self, connect: Callable[[], Session], writers: int) -> None:
        self._connect = connect
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._gate = threading.Lock()  # start, submit and close exclude one another
        self._threads: list[threading.Thread] = []
        self._writers = writers
        self._closed = False
        self.stopped = ""  # why nothing is accepted any more; empty while all is well

    def submit(self, work: Callable[[Session], T], *, light: bool = False) -> "Future[T]":
        """Queue a write; the future answers after the commit is on disk, or with the error that undid it alone.

        Raises:
            Busy: closing, stopped after a disk failure, or too many are waiting.
        """
        job = Job(work, light=light)
        with self._gate:
            if self._closed:
                raise Busy("the store is closing")
            if self.stopped:
                raise Busy(self.stopped, fix="look at the disk, then start again")
            if self._jobs.qsize() >= WAITING_LIMIT:
                raise Busy("too many writes are waiting", fix="send again later, unchanged")
            if not self._threads:
                self._threads = [
                    threading.Thread(target=self._loop, name=f"doorway-writer-{number}", daemon=True)
                    for number in range(self._writers)
                ]
                for thread in self._threads:
                    thread.start()
            self._jobs.put(job)
        return job.done

    def close(self) -> None:
        """Let the queued writes finish, then end the threads."""
        with self._gate:
            self._closed = True
            for _ in self._threads:
                self._jobs.put(None)
        for thread in self._threads:
            thread.join(timeout=30)

    # -- one thread ----------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        session: Session | None = None
        while (first := self._jobs.get()) is not None:
            session = self._serve(session, first)
        if session is not None:
            session.connection.close()

    def _serve(self, session: Session | None, first: Job) -> Session | None:
        """Commit ``first`` and what waits behind it; the session to go on with."""
        taken: list[Job] = [first]
        try:
            try:
                session = self._begin(session)
            except BaseException:
                self._drain(taken)  # nobody waits longer for a database that is locked or away
                raise
            again = self._batch(session, taken)
            for job in again:
                self._alone(session, job)
        except BaseException as error:
            if disk_failed(error):
                self.stopped = "the store has stopped after a disk error"
            for job in taken:
                if not job.done.done():
                    job.done.set_exception(translated(error))
            if session is not None:
                with suppress(Exception):
                    session.connection.close()
            return None
        return session

    def _begin(self, session: Session | None) -> Session:
        """A session inside a transaction; a connection that died while idle is replaced."""
        if self.stopped:
            raise Busy(self.stopped, fix="look at the disk, then start again")
        if session is not None:
            try:
                _begin(session)
            except driver_errors():
                if not broken(session):
                    raise
                with suppress(Exception):
                    session.connection.close()
            else:
                return session
        session = self._connect()
        try:
            _begin(session)
        except BaseException:  # locked by another: nobody would hold it any more
            with suppress(Exception):
                session.connection.close()
            raise
        return session

    def _batch(self, session: Session, taken: list[Job]) -> list[Job]:
        """Run the jobs that wait in the open transaction and commit; those that must be run again, each alone."""
        answers: list[tuple[Job, Any, BaseException | None]] = []
        again: list[Job] = []
        until = time.monotonic() + BATCH_TIME_S
        job: Job | None = taken[0]
        try:
            if self._jobs.empty() and taken[0].done.set_running_or_notify_cancel():
                if not self._first(session, taken[0], answers, again):
                    return again
                job = self._next(len(taken), until, taken)
            while job is not None:
                if job.done.set_running_or_notify_cancel():
                    (self._light if job.light else self._one)(session, job, answers, again)
                job = self._next(len(taken), until, taken)
            _commit(session)
        except driver_errors() as error:
            if broken(session) or disk_failed(error):
                raise
            _undo(session)
            return [job for job in taken if not job.done.cancelled()]
        except _Lost:
            _undo(session)
            return [job for job in taken if not job.done.cancelled()]
        _answer(answers)
        return again

    def _next(self, count: int, until: float, taken: list[Job]) -> Job | None:
        if count >= BATCH_LIMIT or time.monotonic() > until:
            return None
        try:
            job = self._jobs.get_nowait()
        except queue.Empty:
            return None
        if job is None:
            self._jobs.put(None)
            return None
        taken.append(job)
        return job

    def _drain(self, taken: list[Job]) -> None:
        while self._next(0, time.monotonic() + 1, taken) is not None:
            pass

    def _first(
        self, session: Session, job: Job, answers: list[tuple[Job, Any, BaseException | None]], again: list[Job]
    ) -> bool:
        """A job with nobody behind it, without savepoint: two round trips less. False: it failed, all is undone."""
        try:
            answers.append((job, job.work(session), None))
        except Exception as error:
            if isinstance(error, driver_errors()) and (broken(session) or disk_failed(error)):
                raise
            _undo(session)
            if _race(error):
                again.append(job)
            else:
                job.done.set_exception(translated(error))
            return False
        return True

    def _light(
        self, session: Session, job: Job, answers: list[tuple[Job, Any, BaseException | None]], again: list[Job]
    ) -> None:
        """One job that only reads, without savepoint: there is nothing of it to undo but its audit records."""
        del again
        waiting = len(session.trail)
        try:
            answers.append((job, job.work(session), None))
        except driver_errors():
            raise  # the transaction may be of no use any more: everybody's job is run again
        except Exception as error:
            del session.trail[waiting:]
            answers.append((job, None, error))

    def _one(
        self, session: Session, job: Job, answers: list[tuple[Job, Any, BaseException | None]], again: list[Job]
    ) -> None:
        """One job behind its savepoint, which is made before its first change: most creates make none by themselves,
        since what they write waits for the commit (:meth:`Session.settle`)."""
        mark = session.mark()
        changes = _changes(session)
        session.unguarded = True
        try:
            answer = job.work(session)
            if session.unguarded:
                session.unguarded = False
            else:
                session.connection.execute("RELEASE SAVEPOINT one")
        except Exception as error:
            untouched, session.unguarded = session.unguarded, False
            if isinstance(error, driver_errors()) and (broken(session) or disk_failed(error)):
                raise
            if session.dialect == "sqlite" and not session.connection.in_transaction:
                raise _Lost from None  # SQLite undid everything by itself (disk full, no memory)
            if untouched and (_changes(session) != changes or _aborted(session, error)):
                raise _Lost from None  # no savepoint to go back to: everybody's job is run again
            if not untouched:
                session.connection.execute("ROLLBACK TO SAVEPOINT one")
            session.back_to(mark)
            if not untouched:
                session.connection.execute("RELEASE SAVEPOINT one")
            if _race(error):
                again.append(job)
            else:
                answers.append((job, None, translated(error)))
            return
        answers.append((job, answer, None))

    def _alone(self, session: Session, job: Job) -> None:
        """One job in a transaction of its own, a few times when others come first."""
        for attempt in range(1, _TRIES + 1):
            try:
                _begin(session)
                answer = job.work(session)
                _commit(session)
            except Exception as error:
                if isinstance(error, driver_errors()) and (broken(session) or disk_failed(error)):
                    raise
                _undo(session)
                if _race(error) and attempt < _TRIES:
                    continue
                job.done.set_exception(_reason(error))
                return
            job.done.set_result(answer)
            return


def _changes(session: Session) -> int:
    """How many rows were ever changed, where the driver counts them."""
    return int(session.connection.total_changes) if session.dialect == "sqlite" else 0


def _aborted(session: Session, error: BaseException) -> bool:
    """Whether a failed statement has left the transaction without use: on PostgreSQL each one does."""
    return session.dialect == "postgresql" and isinstance(error, driver_errors())


def _begin(session: Session) -> None:
    session.begin()
    session.connection.execute("BEGIN IMMEDIATE" if session.dialect == "sqlite" else "BEGIN")


def _commit(session: Session) -> None:
    """Commit, and make sure that it was one: PostgreSQL answers COMMIT of a failed transaction with ROLLBACK."""
    session.finish()
    done = session.connection.execute("COMMIT")
    if session.dialect == "postgresql" and done.statusmessage != "COMMIT":
        raise _Lost


def _undo(session: Session) -> None:
    session.systems.clear()
    with suppress(*driver_errors()):
        session.connection.execute("ROLLBACK")


def _race(error: BaseException) -> bool:
    return getattr(error, "sqlstate", None) in _RACES


def _reason(error: BaseException) -> BaseException:
    if isinstance(error, _Lost):
        return Fault("a failed statement was passed over inside a write, so nothing of it was kept")
    return translated(error)


def _answer(answers: list[tuple[Job, Any, BaseException | None]]) -> None:
    for job, answer, failure in answers:
        if failure is None:
            job.done.set_result(answer)
        else:
            job.done.set_exception(failure)
