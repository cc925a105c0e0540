"""The audit trail in the database: lanes of hash chains, each written by one connection at a time."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Index, LargeBinary, Table, insert

from gateway.adapters.db.engine import Session, Sql, Statement
from gateway.adapters.db.schema import METADATA, micros
from gateway.exchange.audit_viewers import viewer_of
from gateway.exchange.chain import link
from gateway.exchange.ports.audit import AuditRecord, Moment
from gateway.kernel.fhir import Resource

AUDIT: Final = Table(
    "audit",
    METADATA,
    Column("lane", BigInteger, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    micros("recorded_us"),
    Column("event", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("viewer", BigInteger, nullable=False),  # whose it is (audit_viewers.py); found again from the event
    Index("audit_viewer", "viewer", "recorded_us"),
)

_INSERT: Final = Statement(insert(AUDIT))
_HEAD: Final = Sql(
    "SELECT sequence, recorded_us, digest FROM audit WHERE lane = :lane ORDER BY sequence DESC LIMIT 1", apart=True
)
_LANES_USED: Final = Sql("SELECT DISTINCT lane FROM audit ORDER BY lane")
_SINCE: Final = Sql(
    "SELECT lane, sequence, recorded_us, event, digest FROM audit"
    " WHERE lane = :lane AND sequence > :after AND recorded_us >= :since_us ORDER BY sequence LIMIT :n"
)
_PAGES: Final = {
    newest_first: Sql(
        "SELECT lane, sequence, recorded_us, event, digest FROM audit"
        " WHERE viewer = :viewer AND recorded_us >= :low AND recorded_us <= :high"
        f" AND (recorded_us, lane, sequence) {sign} (:at, :lane, :n)"
        f" ORDER BY recorded_us {way}, lane {way}, sequence {way} LIMIT :limit"
    )
    for newest_first, sign, way in ((True, "<", "DESC"), (False, ">", "ASC"))
}
_ONE: Final = Sql(
    "SELECT lane, sequence, recorded_us, event, digest FROM audit WHERE lane = :lane AND sequence = :sequence"
)
_VIEWERS: Final = Sql(  # from one entry of the index to the next that differs, however many lie between
    "WITH RECURSIVE v(viewer) AS (SELECT min(viewer) FROM audit UNION ALL"
    " SELECT (SELECT min(viewer) FROM audit WHERE viewer > v.viewer) FROM v WHERE v.viewer IS NOT NULL)"
    " SELECT viewer FROM v WHERE viewer IS NOT NULL"
)
_LAST: Final = (1 << 62, 1 << 62, 1 << 62)
_CHUNK: Final = 2_000
_LANES: Final = 64
_CLAIM: Final = Sql("SELECT pg_try_advisory_lock(:claim)", apart=True)
_CLAIM_BASE: Final = 0x0D00_12A7_0000


def lane_of(session: Session) -> int:
    """The lane that this connection writes: the first one that no other living connection holds.

    SQLite lets one connection write at a time, so one lane serves. On PostgreSQL a lock of the connection holds the
    lane; if all are taken the last is shared, and the primary key lets only one of two equal sequences in.
    """
    if session.dialect == "sqlite":
        return 0
    if session.lane is None:
        for lane in range(_LANES):
            if session.run(_CLAIM, claim=_CLAIM_BASE + lane).fetchone()[0]:
                session.lane = lane
                break
        else:
            session.lane = _LANES - 1
    return session.lane


class DbAuditReader:
    """The trail as it lies in the store."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def records(self, *, since_us: int = 0) -> Iterator[AuditRecord]:
        """Every record made at ``since_us`` or later, lane by lane, each lane in order."""
        for (lane,) in self._session.run(_LANES_USED).fetchall():
            after = 0
            while True:
                rows = self._session.run(_SINCE, lane=lane, after=after, since_us=since_us, n=_CHUNK).fetchall()
                for row in rows:
                    yield _record(row)
                if len(rows) < _CHUNK:
                    break
                after = rows[-1][1]

    def viewers(self) -> Sequence[int]:
        """The keys of everybody who has records in the trail."""
        return [row[0] for row in self._session.run(_VIEWERS).fetchall()]

    def page(
        self, viewer: int, *, since_us: int, until_us: int, after: Moment | None, newest_first: bool, limit: int
    ) -> Sequence[AuditRecord]:
        """Up to ``limit`` of a viewer's records of ``[since_us, until_us)``, by time, from behind ``after`` on."""
        place = after or (_LAST if newest_first else (-1, -1, -1))
        low, high = (since_us, min(until_us - 1, place[0])) if newest_first else (max(since_us, place[0]), until_us - 1)
        rows = self._session.run(
            _PAGES[newest_first], viewer=viewer, low=low, high=high, at=place[0], lane=place[1], n=place[2],
            limit=limit,
        )  # fmt: skip
        return [_record(row) for row in rows.fetchall()]

    def at(self, lane: int, sequence: int) -> AuditRecord | None:
        """One record."""
        row = self._session.run(_ONE, lane=lane, sequence=sequence).fetchone()
        return _record(row) if row is not None else None


class DbAudit(DbAuditReader):
    """Append-only inside one transaction."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        session.flush = self._flush

    def append(self, event: Resource | bytes, *, now_us: int) -> None:
        """Add an AuditEvent to this connection's lane; those of a transaction are written together, when it commits."""
        session = self._session
        lane = lane_of(session)
        previous = session.trail[-1] if session.trail else self._head(lane)
        session.trail.append(link(previous, lane, event, now_us=now_us))

    def records(self, *, since_us: int = 0) -> Iterator[AuditRecord]:
        """As the reader's, with what this transaction appended."""
        self._flush()
        return super().records(since_us=since_us)

    def _head(self, lane: int) -> AuditRecord | None:
        row = self._session.run(_HEAD, lane=lane).fetchone()
        return AuditRecord(lane, row[0], row[1], b"", bytes(row[2])) if row is not None else None

    def _flush(self) -> None:
        rows = [
            {"lane": one.lane, "sequence": one.sequence, "recorded_us": one.recorded_us, "event": one.text,
             "digest": one.digest, "viewer": viewer_of(one.text)}
            for one in self._session.trail
        ]  # fmt: skip
        self._session.trail.clear()
        self._session.many(_INSERT, rows)


def _record(row: Sequence[Any]) -> AuditRecord:
    """A row as a record; SQLite gives text back where somebody put text, which the chain then shows."""
    event, digest = (one.encode() if isinstance(one, str) else bytes(one) for one in row[3:5])
    return AuditRecord(row[0], row[1], row[2], event, digest)
