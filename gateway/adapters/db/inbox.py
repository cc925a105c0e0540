"""The inbox in the database. Unique keys decide what is a repeat, so two cannot both win."""

from collections.abc import Sequence
from operator import attrgetter
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
    or_,
    select,
    update,
)
from sqlalchemy import bindparam as bind
from sqlalchemy import literal_column as literal
from sqlalchemy.dialects import postgresql, sqlite

from gateway.adapters.db.engine import Row, Session, Sql, Statement
from gateway.adapters.db.schema import METADATA, micros, text_c
from gateway.exchange.ports.inbox import Admission, Attempt, Received, State
from gateway.kernel.errors import Busy

INBOX: Final = Table(
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
    text_c("state"),
    text_c("lane"),
    text_c("lane_2"),
    micros("event_us"),
    Column("attempts", Integer, nullable=False),
    Column("not_before_us", BigInteger, nullable=False),
    Column("result", LargeBinary, nullable=False),
    text_c("category"),
    text_c("place"),
    text_c("fault"),
    text_c("peer"),
)
Index("inbox_control_id", INBOX.c.control_id)
Index("inbox_lane", INBOX.c.lane, INBOX.c.state, INBOX.c.received_us)
_NONE: Final[ColumnElement[str]] = literal("''")
_RECEIVED: Final[ColumnElement[str]] = literal("'received'")
_PROCESSED: Final[ColumnElement[str]] = literal("'processed'")
_TWO: Final = INBOX.c.lane_2 != _NONE
Index("inbox_lane_2", INBOX.c.lane_2, INBOX.c.state, INBOX.c.received_us, sqlite_where=_TWO, postgresql_where=_TWO)
Index("inbox_state", INBOX.c.state, INBOX.c.received_us)
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

_COLUMNS: Final = tuple(column.name for column in INBOX.columns)
_VALUES: Final = attrgetter(*_COLUMNS)
_ATTEMPT: Final = tuple(column.name for column in ATTEMPT.columns)
_ADD: Final = {
    "sqlite": Statement(sqlite.insert(INBOX).on_conflict_do_nothing()),
    "postgresql": Statement(postgresql.insert(INBOX).on_conflict_do_nothing()),
}
_GET: Final = Statement(select(INBOX).where(INBOX.c.id == bind("id_")))
_FIND: Final = Statement(
    select(INBOX).where(INBOX.c.control_id == bind("control_id_")).order_by(INBOX.c.received_us, INBOX.c.id)
)
_CLAIM: Final = Statement(
    select(INBOX).where(INBOX.c.id == bind("id_"), INBOX.c.state == _RECEIVED).with_for_update(skip_locked=True)
)
_FOLDED: Final = Statement(
    select(INBOX)
    .where(
        INBOX.c.state == _PROCESSED,
        or_(INBOX.c.lane == bind("lane_"), and_(_TWO, INBOX.c.lane_2 == bind("lane_"))),
    )
    .order_by(INBOX.c.event_us, INBOX.c.received_us, INBOX.c.id)
)
_ALL: Final = ", ".join(f"m.{name}" for name in _COLUMNS)
_OF_STATE: Final = Sql(f"SELECT {_ALL} FROM inbox m WHERE m.state = :state ORDER BY m.received_us, m.id LIMIT :limit")
_IN_FRONT: Final = " ".join(  # something open, earlier, in one of the message's two lanes
    f"AND NOT EXISTS (SELECT 1 FROM inbox o WHERE o.state IN ('received', 'parked') AND m.{mine} <> ''"
    f" AND o.{theirs} = m.{mine} AND o.{theirs} <> ''"
    " AND (o.received_us < m.received_us OR (o.received_us = m.received_us AND o.id < m.id)))"
    for mine in ("lane", "lane_2")
    for theirs in ("lane", "lane_2")
)
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
_READY: Final = Sql(
    f"SELECT {_ALL} FROM inbox m WHERE m.state = 'received' AND m.not_before_us <= :now_us {_IN_FRONT}"
    " ORDER BY m.received_us, m.id LIMIT :limit"
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
_TRIED: Final = Statement(insert(ATTEMPT))
_TRIES: Final = Statement(select(ATTEMPT).where(ATTEMPT.c.message == bind("id_")).order_by(ATTEMPT.c.number))


def _received(row: Row) -> Received:
    found = dict(zip(_COLUMNS, row, strict=True))
    for name in ("digest", "body", "answer", "result"):
        found[name] = bytes(found[name])
    return Received(**{**found, "state": State(found["state"])})


def _row(message: Received) -> dict[str, object]:
    values = dict(zip(_COLUMNS, _VALUES(message), strict=True))
    values["state"] = message.state.value
    return values


class DbInbox:
    """The inbox over one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, id_: str) -> Received | None:
        """One message by our id."""
        return self._one(_GET, id_=id_)

    def find(self, control_id: str) -> list[Received]:
        """The messages that carry this MSH-10, oldest first."""
        return [_received(row) for row in self._session.run(_FIND, control_id_=control_id).fetchall()]

    def ready(self, *, now_us: int, limit: int) -> list[Received]:
        """Messages whose turn has come, oldest first, at most one of each lane."""
        return [_received(row) for row in self._session.run(_READY, now_us=now_us, limit=limit).fetchall()]

    def folded(self, lane: str) -> list[Received]:
        """The processed messages of a lane, in order of event, then of arrival."""
        return [_received(row) for row in self._session.run(_FOLDED, lane_=lane).fetchall()]

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
        if self._session.run_with(_ADD[self._session.dialect], _row(message)).rowcount == 1:
            return Admission.NEW, message
        return self._there_before(message)

    def add_all(self, messages: Sequence[Received]) -> list[tuple[Admission, Received]]:
        """Keep several in one round trip; which of them were there is asked only when some were."""
        if len(messages) == 1:
            return [self.add(messages[0])]
        cursor = self._session.connection.cursor()
        cursor.executemany(_ADD[self._session.dialect].text(self._session.dialect), [_row(one) for one in messages])
        if cursor.rowcount == len(messages):
            return [(Admission.NEW, one) for one in messages]
        return [self._kept_or_before(one) for one in messages]

    def _kept_or_before(self, message: Received) -> tuple[Admission, Received]:
        kept = self._one(_GET, id_=message.id)
        if kept is not None and (kept.received_us, kept.answer) == (message.received_us, message.answer):
            return Admission.NEW, message
        return self._there_before(message)

    def _there_before(self, message: Received) -> tuple[Admission, Received]:
        before = self._one(_GET, id_=message.id)
        if before is None:
            raise Busy("another process is keeping this message", fix="send again, unchanged")
        return (Admission.REPEATED if before.digest == message.digest else Admission.CONFLICT), before

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

    def _one(self, statement: Statement, **values: str) -> Received | None:
        row = self._session.run(statement, **values).fetchone()
        return _received(row) if row is not None else None
