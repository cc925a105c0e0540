"""The inbox in the database. Unique keys decide what is a repeat, so two cannot both win."""

from collections.abc import Sequence
from contextlib import closing
from functools import cache
from typing import Final

import orjson
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Index,
    Integer,
    LargeBinary,
    Table,
    and_,
    func,
    insert,
    select,
    update,
)
from sqlalchemy import bindparam as bind
from sqlalchemy import literal_column as literal

from gateway.adapters.db.engine import Row, Session, Sql, Statement, upsert
from gateway.adapters.db.schema import METADATA, micros, partial_index, text_c
from gateway.exchange.ports.inbox import Admission, Attempt, Received, State
from gateway.kernel.errors import Busy

INBOX: Final = Table(  # in the order of :class:`Received`, so that a message is its row
    "inbox",
    METADATA,
    text_c("id", primary_key=True),
    text_c("source"),
    text_c("control_id"),
    Column("digest", LargeBinary, nullable=False),
    text_c("kind"),
    micros("received_us"),
    Column("body", LargeBinary, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    text_c("lane"),
    text_c("lane_2"),
    micros("event_us"),
    text_c("peer"),
    text_c("state"),
    Column("attempts", Integer, nullable=False),
    Column("not_before_us", BigInteger, nullable=False),
    Column("result", LargeBinary, nullable=False),
    text_c("category"),
    text_c("place"),
    text_c("fault"),
)
_NONE: Final[ColumnElement[str]] = literal("''")
_RECEIVED: Final[ColumnElement[str]] = literal("'received'")
_PROCESSED: Final[ColumnElement[str]] = literal("'processed'")
# A message in the state in which it arrives stands in one index beside its key, and that one grows at its end: a page
# for each random key is what an acknowledgement would wait for. The others take it in when it leaves that state.
_SETTLED: Final = INBOX.c.state != _RECEIVED
_FOLDABLE: Final = INBOX.c.state == _PROCESSED
_TWO: Final = and_(INBOX.c.lane_2 != _NONE, _FOLDABLE)
Index("inbox_state", INBOX.c.state, INBOX.c.received_us)
partial_index("inbox_control_id", INBOX.c.control_id, where=_SETTLED)
partial_index("inbox_lane", INBOX.c.lane, INBOX.c.event_us, INBOX.c.received_us, where=_FOLDABLE)
partial_index("inbox_lane_2", INBOX.c.lane_2, INBOX.c.event_us, INBOX.c.received_us, where=_TWO)
ATTEMPT: Final = Table(
    "inbox_attempt",
    METADATA,
    text_c("message", primary_key=True),
    Column("number", Integer, primary_key=True),
    micros("at_us"),
    text_c("state"),
    text_c("stage"),
    text_c("category"),
    text_c("place"),
    text_c("fault"),
    text_c("reason"),
    text_c("outputs"),  # JSON array
)

SEQUENCE: Final = Table(
    "inbox_sequence",
    METADATA,
    text_c("source", primary_key=True),
    Column("expected", BigInteger),  # NULL: any number will do
)

_COLUMNS: Final = Received._fields
_BRINGS: Final = _COLUMNS.index("state")  # how many values a message brings; the rest is alike for every new one
_FRESH: Final = Received("", "", "", b"", "", 0, b"")[_BRINGS:]
_ATTEMPT: Final = tuple(column.name for column in ATTEMPT.columns)
_ADD: Final = upsert(INBOX)
_NEW: Final = {
    dialect: f"'received', 0, 0, {none}, '', '', ''"
    for dialect, none in (("sqlite", "x''"), ("postgresql", "''::bytea"))
}
_GROUP: Final = 64  # rows of one statement on SQLite: below the 999 values that the smallest builds take
_GET: Final = Statement(select(INBOX).where(INBOX.c.id == bind("id_")))
_GET_ALL: Final = Sql(f"SELECT {', '.join(_COLUMNS)} FROM inbox WHERE id IN :ids")
_FIND: Final = Sql(  # each half has an index: what is settled by its control id, what is not by its state
    f"SELECT {', '.join(_COLUMNS)} FROM (SELECT * FROM inbox WHERE control_id = :control_id AND state <> 'received'"
    " UNION ALL SELECT * FROM inbox WHERE state = 'received' AND control_id = :control_id) AS found"
    " ORDER BY received_us, id"
)
_CLAIM: Final = Statement(
    select(INBOX).where(INBOX.c.id == bind("id_"), INBOX.c.state == _RECEIVED).with_for_update(skip_locked=True)
)
_FOLDED: Final = Sql(
    f"SELECT {', '.join(_COLUMNS)} FROM (SELECT * FROM inbox WHERE lane = :lane AND state = 'processed'"
    " UNION SELECT * FROM inbox WHERE lane_2 = :lane AND lane_2 <> '' AND state = 'processed') AS found"
    " ORDER BY event_us, received_us, id"
)
_ALL: Final = ", ".join(f"m.{name}" for name in _COLUMNS)
_OF_STATE: Final = Sql(f"SELECT {_ALL} FROM inbox m WHERE m.state = :state ORDER BY m.received_us, m.id LIMIT :limit")
_NEWEST: Final = Sql(  # one branch an index: the lane of a message, and the second lane of a merge
    "SELECT event_us, received_us FROM (SELECT event_us, received_us FROM inbox WHERE lane = :lane"
    " AND state = 'processed' UNION ALL SELECT event_us, received_us FROM inbox WHERE lane_2 = :lane"
    " AND lane_2 <> '' AND state = 'processed') AS found ORDER BY event_us DESC, received_us DESC LIMIT 1"
)
_FRONT: Final = Sql(
    "SELECT o.id FROM inbox m JOIN inbox o ON o.state IN ('received', 'parked') AND"
    " ((m.lane <> '' AND m.lane IN (o.lane, o.lane_2)) OR (m.lane_2 <> '' AND m.lane_2 IN (o.lane, o.lane_2)))"
    " AND (o.received_us < m.received_us OR (o.received_us = m.received_us AND o.id < m.id))"
    " WHERE m.id = :id ORDER BY o.received_us, o.id LIMIT 1"
)
_THAT_WROTE: Final = Sql(
    f"SELECT {_ALL} FROM inbox m WHERE m.id IN (SELECT message FROM inbox_attempt WHERE replace(outputs, :mark, '')"
    " <> outputs) ORDER BY m.received_us, m.id"
)
_OPEN: Final = Sql(
    "SELECT id, lane, lane_2, state, not_before_us FROM inbox WHERE state IN ('received', 'parked')"
    " ORDER BY received_us, id"
)
_COUNTS: Final = Statement(select(INBOX.c.source, INBOX.c.state, func.count()).group_by(INBOX.c.source, INBOX.c.state))
_OLDEST: Final = Statement(select(func.min(INBOX.c.received_us)).where(INBOX.c.state == _RECEIVED))
_SETTLE: Final = Statement(
    update(INBOX)
    .where(INBOX.c.id == bind("id_"))
    .values(
        {
            name: bind(f"{name}_")
            for name in ("state", "attempts", "not_before_us", "result", "category", "place", "fault")
        }
    )
)
_REOPEN: Final = Statement(
    update(INBOX)
    .where(INBOX.c.id == bind("id_"))
    .values(state=_RECEIVED, not_before_us=literal("0"), category=_NONE, place=_NONE, fault=_NONE)
)
_EXPECTED: Final = Sql("SELECT expected FROM inbox_sequence WHERE source = :source", lock=True)
_EXPECT: Final = Sql(
    "INSERT INTO inbox_sequence (source, expected) VALUES (:source, :number)"
    " ON CONFLICT (source) DO UPDATE SET expected = excluded.expected"
)
_DONE: Final = "state IN ('processed', 'refused')"
_OLD: Final = Sql(
    f"SELECT id FROM inbox WHERE {_DONE} AND received_us < :before_us ORDER BY state, received_us LIMIT :limit"
)
_OLD_BODIES: Final = Sql(
    f"SELECT id FROM inbox WHERE {_DONE} AND received_us < :before_us AND length(body) > 0"
    " ORDER BY state, received_us LIMIT :limit"
)
_EMPTY: Final = Sql("UPDATE inbox SET body = :nothing WHERE id IN :ids")
_REMOVE: Final = Sql("DELETE FROM inbox WHERE id IN :ids")
_REMOVE_TRIES: Final = Sql("DELETE FROM inbox_attempt WHERE message IN :ids")
_TRIED: Final = Statement(insert(ATTEMPT))
_TRIES: Final = Statement(select(ATTEMPT).where(ATTEMPT.c.message == bind("id_")).order_by(ATTEMPT.c.number))


@cache
def _insert(rows: int) -> str:
    """One statement that adds so many new messages on SQLite: its driver lets others run between two statements."""
    one = f"({', '.join('?' * _BRINGS)}, {_NEW['sqlite']})"
    return f"INSERT INTO inbox ({', '.join(_COLUMNS)}) VALUES {', '.join([one] * rows)} ON CONFLICT DO NOTHING"


_TYPES: Final = {LargeBinary: "bytea", BigInteger: "bigint"}
_ARRAYS: Final = ", ".join(f"%b::{_TYPES.get(type(INBOX.c[name].type), 'text')}[]" for name in _COLUMNS[:_BRINGS])
_INSERT_ARRAYS: Final = (  # PostgreSQL: a column is one value, so that the statement is one however many rows it adds
    f"INSERT INTO inbox ({', '.join(_COLUMNS)}) SELECT a.*, {_NEW['postgresql']}"
    f" FROM unnest({_ARRAYS}) AS a ON CONFLICT DO NOTHING"
)


def _received(row: Row) -> Received:
    found = Received._make(row)
    return found._replace(
        digest=bytes(found.digest),
        body=bytes(found.body),
        answer=bytes(found.answer),
        result=bytes(found.result),
        state=State(found.state),
    )


def _row(message: Received) -> dict[str, object]:
    return {**message._asdict(), "state": message.state.value}


def _compared(message: Received, there: Received | None) -> tuple[Admission, Received]:
    if there is None:
        raise Busy("another process is keeping this message", fix="send again, unchanged")
    return (Admission.REPEATED if there.digest == message.digest else Admission.CONFLICT), there


class DbInbox:
    """The inbox over one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, id_: str) -> Received | None:
        """One message by our id."""
        return self._one(_GET, id_=id_)

    def find(self, control_id: str) -> list[Received]:
        """The messages that carry this MSH-10, oldest first."""
        return [_received(row) for row in self._session.run(_FIND, control_id=control_id).fetchall()]

    def ready(self, *, now_us: int, limit: int) -> list[Received]:
        """Messages whose turn has come, oldest first, at most one of each lane."""
        taken: set[str] = set()
        turn: list[str] = []
        with closing(self._session.run(_OPEN)) as opened:
            for id_, lane, lane_2, state, not_before_us in opened:
                free = lane not in taken and lane_2 not in taken
                taken.update(one for one in (lane, lane_2) if one)
                if free and state == State.RECEIVED and not_before_us <= now_us:
                    turn.append(id_)
                    if len(turn) == limit:
                        break
        found = self._all(turn)
        return [found[id_] for id_ in turn if id_ in found]

    def folded(self, lane: str) -> list[Received]:
        """The processed messages of a lane, in order of event, then of arrival."""
        return [_received(row) for row in self._session.run(_FOLDED, lane=lane).fetchall()]

    def newest(self, lane: str) -> tuple[int, int] | None:
        """(event_us, received_us) of the newest processed event of a lane."""
        row = self._session.run(_NEWEST, lane=lane).fetchone()
        return (int(row[0]), int(row[1])) if row is not None else None

    def attempts(self, id_: str) -> list[Attempt]:
        """Every try at a message, in order."""
        out = []
        for row in self._session.run(_TRIES, id_=id_).fetchall():
            found = dict(zip(_ATTEMPT, row, strict=True))
            outputs = tuple(orjson.loads(found.pop("outputs")))
            out.append(Attempt(**{**found, "state": State(found["state"])}, outputs=outputs))
        return out

    def that_wrote(self, reference: str) -> list[Received]:
        """The messages that wrote a version of ``Type/id``, oldest first."""
        found = self._session.run(_THAT_WROTE, mark=f'"{reference}/_history/').fetchall()
        return [_received(row) for row in found]

    def in_front_of(self, message: Received) -> str:
        """Id of an open message that this one waits for; empty when its turn has come."""
        row = self._session.run(_FRONT, id=message.id).fetchone()
        return str(row[0]) if row is not None else ""

    def in_state(self, state: State, *, limit: int = 100) -> list[Received]:
        """Messages in a state, oldest first."""
        found = self._session.run(_OF_STATE, state=state.value, limit=limit)
        return [_received(row) for row in found.fetchall()]

    def counts(self) -> dict[tuple[str, str], int]:
        """How many there are by (source, state)."""
        return {(source, state): number for source, state, number in self._session.run(_COUNTS).fetchall()}

    def oldest_open_us(self) -> int | None:
        """Arrival of the oldest message that is not processed yet."""
        row = self._session.run(_OLDEST).fetchone()
        return int(row[0]) if row is not None and row[0] is not None else None

    def add(self, message: Received) -> tuple[Admission, Received]:
        """Keep a message; the unique keys say whether it was there."""
        if self._session.run_with(_ADD, _row(message)).rowcount == 1:
            return Admission.NEW, message
        return self._there_before(message)

    def add_all(self, messages: Sequence[Received]) -> list[tuple[Admission, Received]]:
        """Keep several in one round trip; which of them were there is asked only when some were."""
        fresh = [one for one in messages if one[_BRINGS:] == _FRESH]
        if len(fresh) < len(messages):
            return [self.add(one) for one in messages]
        if self._add_fresh(fresh) == len(messages):
            return [(Admission.NEW, one) for one in messages]
        there = self._all([one.id for one in messages])
        return [self._verdict(one, there.get(one.id)) for one in messages]

    def _add_fresh(self, messages: Sequence[Received]) -> int:
        """How many of these new messages were added."""
        execute = self._session.connection.execute
        if self._session.dialect == "postgresql":
            columns = list(zip(*messages, strict=True))[:_BRINGS]
            return int(execute(_INSERT_ARRAYS, [list(column) for column in columns]).rowcount)
        added, start = 0, 0
        while start < len(messages):
            size = min(_GROUP, 1 << (len(messages) - start).bit_length() - 1)  # few sizes, so few statements to prepare
            values = [value for one in messages[start : start + size] for value in one[:_BRINGS]]
            added += execute(_insert(size), values).rowcount
            start += size
        return added

    def _there_before(self, message: Received) -> tuple[Admission, Received]:
        return _compared(message, self._one(_GET, id_=message.id))

    @staticmethod
    def _verdict(message: Received, there: Received | None) -> tuple[Admission, Received]:
        """Whether what is there is what was added just now: nobody else makes the same answer."""
        if there is not None and (there.received_us, there.answer) == (message.received_us, message.answer):
            return Admission.NEW, message
        return _compared(message, there)

    def _all(self, ids: Sequence[str]) -> dict[str, Received]:
        if not ids:
            return {}
        return {row[0]: _received(row) for row in self._session.run(_GET_ALL, ids=list(ids)).fetchall()}

    def claim(self, id_: str) -> Received | None:
        """Take a received message for this transaction."""
        return self._one(_CLAIM, id_=id_)

    def settle(self, message: Received, attempt: Attempt) -> None:
        """Write how it ended, and the attempt."""
        self._session.run(
            _SETTLE,
            id_=message.id,
            state_=message.state.value,
            attempts_=message.attempts,
            not_before_us_=message.not_before_us,
            result_=message.result,
            category_=message.category,
            place_=message.place,
            fault_=message.fault,
        )
        values = {name: getattr(attempt, name) for name in _ATTEMPT}
        values |= {"state": attempt.state.value, "outputs": orjson.dumps(attempt.outputs).decode()}
        self._session.run_with(_TRIED, values)

    def reopen(self, id_: str) -> None:
        """Back to received, to be processed again."""
        self._session.run(_REOPEN, id_=id_)

    def expected(self, source: str) -> int | None:
        """The sequence number that comes next of a source; None when any will do."""
        row = self._session.run(_EXPECTED, source=source).fetchone()
        return int(row[0]) if row is not None and row[0] is not None else None

    def expect(self, source: str, number: int | None) -> None:
        """Say which sequence number comes next of a source; None: any."""
        self._session.run(_EXPECT, source=source, number=number)

    def forget(self, *, bodies_before_us: int, keys_before_us: int, limit: int) -> int:
        """Empty the bodies of what is done and old; remove what is older still."""
        run = self._session.run
        gone = [row[0] for row in run(_OLD, before_us=keys_before_us, limit=limit).fetchall()]
        if gone:
            run(_REMOVE, ids=gone)
            run(_REMOVE_TRIES, ids=gone)
        emptied = [row[0] for row in run(_OLD_BODIES, before_us=bodies_before_us, limit=limit).fetchall()]
        if emptied:
            run(_EMPTY, ids=emptied, nothing=b"")
        return len(gone) + len(emptied)

    def _one(self, statement: Statement, **values: str) -> Received | None:
        row = self._session.run(statement, **values).fetchone()
        return _received(row) if row is not None else None
