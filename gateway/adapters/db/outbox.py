"""The outbox in the database."""

from typing import Any, Final

import orjson
from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, Table

from gateway.adapters.db.engine import Row, Session, Sql, upsert
from gateway.adapters.db.schema import METADATA, micros, text_c
from gateway.exchange.ports.outbox import Delivery, OutState

OUTBOX: Final = Table(
    "outbox",
    METADATA,
    text_c("id", primary_key=True),
    text_c("destination"),
    text_c("kind"),
    text_c("refs"),  # JSON array
    text_c("control_id"),
    micros("created_us"),
    text_c("lane"),
    text_c("state"),
    Column("attempts", Integer, nullable=False),
    Column("not_before_us", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    text_c("fault"),
    text_c("cause"),
)
Index("outbox_destination", OUTBOX.c.destination, OUTBOX.c.state, OUTBOX.c.created_us)
Index("outbox_control_id", OUTBOX.c.control_id)

_COLUMNS: Final = tuple(column.name for column in OUTBOX.columns)
_ALL: Final = ", ".join(f"o.{name}" for name in _COLUMNS)
_QUEUE: Final = upsert(OUTBOX)
_GET: Final = Sql(f"SELECT {_ALL} FROM outbox o WHERE o.id = :id")
_FIND: Final = Sql(f"SELECT {_ALL} FROM outbox o WHERE o.control_id = :control_id ORDER BY o.created_us, o.id")
_CLAIM: Final = Sql(f"SELECT {_ALL} FROM outbox o WHERE o.id = :id AND o.state IN ('queued', 'in-doubt')", lock=True)
_DUE: Final = Sql(
    f"SELECT {_ALL} FROM outbox o WHERE o.destination = :destination AND o.state IN ('queued', 'in-doubt')"
    " AND o.not_before_us <= :now_us AND (o.lane = '' OR NOT EXISTS (SELECT 1 FROM outbox e"
    " WHERE e.destination = o.destination AND e.lane = o.lane AND e.state IN ('queued', 'in-doubt')"
    " AND (e.created_us < o.created_us OR (e.created_us = o.created_us AND e.id < o.id))))"
    " ORDER BY o.created_us, o.id LIMIT :limit"
)
_OF_STATE: Final = Sql(f"SELECT {_ALL} FROM outbox o WHERE o.state = :state ORDER BY o.created_us, o.id LIMIT :limit")
_COUNTS: Final = Sql("SELECT destination, state, COUNT(*) FROM outbox GROUP BY destination, state")
_SETTLE: Final = Sql(
    "UPDATE outbox SET control_id = :control_id, state = :state, attempts = :attempts, not_before_us = :not_before_us,"
    " body = :body, answer = :answer, fault = :fault WHERE id = :id"
)


def _delivery(row: Row) -> Delivery:
    found = dict(zip(_COLUMNS, row, strict=True))
    found["references"] = tuple(orjson.loads(found.pop("refs")))
    for name in ("body", "answer"):
        found[name] = bytes(found[name])
    return Delivery(**{**found, "state": OutState(found["state"])})


class DbOutbox:
    """The outbox over one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, id_: str) -> Delivery | None:
        """One delivery."""
        return next(iter(self._several(_GET, id=id_)), None)

    def find(self, control_id: str) -> list[Delivery]:
        """The deliveries under this MSH-10."""
        return self._several(_FIND, control_id=control_id)

    def due(self, destination: str, *, now_us: int, limit: int) -> list[Delivery]:
        """What may be sent now, oldest first, at most one of each lane."""
        return self._several(_DUE, destination=destination, now_us=now_us, limit=limit)

    def in_state(self, state: OutState, *, limit: int = 100) -> list[Delivery]:
        """Deliveries in a state, oldest first."""
        return self._several(_OF_STATE, state=state.value, limit=limit)

    def counts(self) -> dict[tuple[str, str], int]:
        """How many there are by (destination, state)."""
        return {(name, state): number for name, state, number in self._session.run(_COUNTS).fetchall()}

    def queue(self, delivery: Delivery) -> bool:
        """Add a delivery; False when that id is there already."""
        values = {name: getattr(delivery, name) for name in _COLUMNS if name != "refs"}
        values |= {"state": delivery.state.value, "refs": orjson.dumps(delivery.references).decode()}
        return bool(self._session.run_with(_QUEUE, values).rowcount == 1)

    def claim(self, id_: str) -> Delivery | None:
        """Take a waiting delivery for this transaction."""
        return next(iter(self._several(_CLAIM, id=id_)), None)

    def settle(self, delivery: Delivery) -> None:
        """Write everything that may change of it."""
        self._session.run(
            _SETTLE,
            id=delivery.id,
            control_id=delivery.control_id,
            state=delivery.state.value,
            attempts=delivery.attempts,
            not_before_us=delivery.not_before_us,
            body=delivery.body,
            answer=delivery.answer,
            fault=delivery.fault,
        )

    def _several(self, statement: Sql, **values: Any) -> list[Delivery]:
        return [_delivery(row) for row in self._session.run(statement, **values).fetchall()]
