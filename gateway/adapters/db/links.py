"""Linkage in the database: hashed keys beside the records, so that one search is a handful of index reads."""

from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, make_dataclass
from itertools import islice
from operator import itemgetter
from struct import Struct
from typing import Any, Final

import orjson
from sqlalchemy import BigInteger, Column, Float, Index, LargeBinary, Table
from sqlalchemy import text as sa_text

from gateway.adapters.db.engine import Row, Session, Sql, upsert
from gateway.adapters.db.schema import METADATA, micros, partial_index, text_c
from gateway.exchange.ports.links import Edge, EdgeState, Entry, Known, LinkEvent, Searched, searched
from gateway.kernel.identifiers import shard_of

TRAITS: Final = Table(
    "link_traits",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # shard_of(patient)
    text_c("patient"),
    text_c("custodian"),
    Column("traits", LargeBinary, nullable=False),
    text_c("person"),
    micros("since_us"),
    Column("keys", LargeBinary, nullable=False),  # the block keys of the row, eight bytes each: what a change replaces
)
_JOINED: Final = sa_text("person <> ''")
partial_index("link_traits_person", TRAITS.c.person, where=_JOINED)
BLOCK: Final = Table(
    "link_block",
    METADATA,
    Column("key", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)
COUNT: Final = Table(
    "link_count",
    METADATA,
    Column("token", BigInteger, primary_key=True, autoincrement=False),
    Column("records", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
EDGE: Final = Table(
    "link_edge",
    METADATA,
    text_c("one", primary_key=True),
    text_c("other", primary_key=True),
    text_c("state"),
    text_c("grade"),
    Column("bits", Float, nullable=False),
    micros("since_us"),
    text_c("by"),
    text_c("seconds"),
    text_c("reasons"),  # JSON array
)
Index("link_edge_other", EDGE.c.other)
Index("link_edge_state", EDGE.c.state, EDGE.c.bits)
EVENT: Final = Table(
    "link_event",
    METADATA,
    text_c("id", primary_key=True),
    micros("at_us"),
    text_c("kind"),
    text_c("one"),
    text_c("other"),
    text_c("by"),
    text_c("why"),
    text_c("model"),
    text_c("grade"),
    Column("bits", Float, nullable=False),
    text_c("evidence"),  # JSON array of [comparison, level, bits]
)
Index("link_event_one", EVENT.c.one)
Index("link_event_other", EVENT.c.other)

_TOTAL: Final = 0  # the token under which all records are counted
_SMALL: Final = 64  # tokens below are of the whole index (link_index.py), numbered from 0, on one page, read as a range
# no parameter: PostgreSQL takes a range that it does not know for a two-hundredth of the table, thinks the plan for
# any values too dear, and plans the statement anew each time, which costs as much as running it
_SMALL_ONES: Final = f"token BETWEEN 0 AND {_SMALL - 1}"
_KNOWN: Final = "patient, custodian, traits, person, since_us"
_EDGE: Final = 'one, other, state, grade, bits, since_us, "by", seconds, reasons'
_EVENT: Final = 'id, at_us, kind, one, other, "by", why, model, grade, bits, evidence'


_PUT: Final = upsert(TRAITS, ("number",), ("custodian", "traits", "keys"))
_PUT_KEYS: Final = {  # in the order of the tree, and in one round trip where that costs
    "sqlite": "INSERT OR IGNORE INTO link_block (key, number) VALUES (?, ?)",
    "postgresql": "INSERT INTO link_block (key, number) SELECT * FROM unnest(%s::bigint[], %s::bigint[])"
    " ON CONFLICT DO NOTHING",
}
_DROP_KEYS: Final = {
    "sqlite": "DELETE FROM link_block WHERE key = ? AND number = ?",
    "postgresql": "DELETE FROM link_block b USING unnest(%s::bigint[], %s::bigint[]) AS g(key, number)"
    " WHERE b.key = g.key AND b.number = g.number",
}
_ADDED: Final = (
    " ON CONFLICT (token) DO UPDATE SET records ="
    " CASE WHEN link_count.records + excluded.records < 0 THEN 0 ELSE link_count.records + excluded.records END"
)
_ADD: Final = {
    "sqlite": f"INSERT INTO link_count (token, records) VALUES (?, ?){_ADDED}",
    "postgresql": f"INSERT INTO link_count (token, records) SELECT * FROM unnest(%s::bigint[], %s::bigint[]){_ADDED}",
}
_HOLD: Final = upsert(EDGE, ("one", "other"), ("state", "grade", "bits", "since_us", "by", "seconds", "reasons"))
_RECORD: Final = upsert(EVENT, ("id",), ())
_GET: Final = Sql(f"SELECT number, {_KNOWN} FROM link_traits WHERE number IN :numbers")
_GET_ONE: Final = Sql(f"SELECT {_KNOWN} FROM link_traits WHERE number = :number")
_MEMBERS: Final = Sql(f"SELECT {_KNOWN} FROM link_traits WHERE person = :person AND {_JOINED.text} ORDER BY patient")
_EVERY: Final = Sql(f"SELECT {_KNOWN} FROM link_traits ORDER BY patient")
_KEYS: Final = Sql("SELECT keys FROM link_traits WHERE number = :number")
_DROP: Final = Sql("DELETE FROM link_traits WHERE number = :number")
_ASSIGN: Final = Sql("UPDATE link_traits SET person = :person WHERE number = :number")
_BLOCK: Final = (  # all keys in one statement: each by itself costs a third more
    "SELECT (SELECT group_concat(number) FROM (SELECT number FROM link_block WHERE key = k.value LIMIT ?))"
    " FROM json_each(?) k"
)
_LOAD_CACHE: Final = "PRAGMA cache_size = -65536"  # 64 MB for the writer: the tree of keys is written all over
_COPY_ROWS: Final = (
    "COPY link_traits (number, patient, custodian, traits, person, since_us, keys) FROM STDIN (FORMAT BINARY)"
)
_COPY_TYPES: Final = ("int8", "text", "text", "bytea", "text", "int8", "bytea")
_COPY_KEYS: Final = "COPY link_block (key, number) FROM STDIN (FORMAT BINARY)"
_COPY_BEGIN: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # signature, flags, no header extension (PostgreSQL 15, COPY)
_COPY_PAIR: Final = Struct(">hiqiq").pack  # fields in the row, then length and value of each
_COPY_END: Final = b"\xff\xff"
_SLICE: Final = 1000  # records whose keys are sent together
_BLOCKS: Final = (
    "SELECT k.key, b.number FROM unnest(%s::bigint[]) AS k(key)"
    " CROSS JOIN LATERAL (SELECT number FROM link_block WHERE link_block.key = k.key LIMIT %s) b"
)
_SEARCH: Final = (  # keys that are too common; the records of the others; counters: what a row is shows in its nulls
    "WITH block AS MATERIALIZED (SELECT k.key, k.most, ARRAY("
    "SELECT number FROM link_block WHERE link_block.key = k.key LIMIT k.most) AS numbers"
    " FROM unnest(%s::bigint[], %s::int[]) AS k(key, most))"
    " SELECT key, NULL::bigint, NULL::text, NULL::text, NULL::bytea, NULL::text FROM block"
    " WHERE cardinality(numbers) >= most"
    " UNION ALL SELECT number, since_us, patient, custodian, traits, person FROM link_traits"
    " WHERE number = ANY(ARRAY(SELECT unnest(numbers) FROM block WHERE cardinality(numbers) < most))"
    " UNION ALL SELECT token, records, NULL, NULL, NULL, NULL FROM link_count WHERE token = ANY(%s::bigint[])"
    f" UNION ALL SELECT token, records, NULL, NULL, NULL, NULL FROM link_count WHERE {_SMALL_ONES}"
)
_COUNTS: Final = Sql("SELECT token, records FROM link_count WHERE token IN :tokens")
_COUNTS_AND_SMALL: Final = Sql(
    "SELECT token, records FROM link_count WHERE token IN :tokens"
    f" UNION ALL SELECT token, records FROM link_count WHERE {_SMALL_ONES}"
)
_EDGES: Final = Sql(f"SELECT {_EDGE} FROM link_edge WHERE one = :patient OR other = :patient ORDER BY one, other")
_ONE_EDGE: Final = Sql(f"SELECT {_EDGE} FROM link_edge WHERE one = :one AND other = :other")
_QUEUE: Final = Sql(f"SELECT {_EDGE} FROM link_edge WHERE state = 'review' ORDER BY bits DESC, one, other LIMIT :limit")
_BACKLOG: Final = Sql("SELECT COUNT(*), COALESCE(MIN(since_us), 0) FROM link_edge WHERE state = 'review'")
_RELEASE: Final = Sql("DELETE FROM link_edge WHERE one = :one AND other = :other")
_EVENTS: Final = Sql(f"SELECT {_EVENT} FROM link_event ORDER BY at_us, id")
_EVENTS_OF: Final = Sql(f"SELECT {_EVENT} FROM link_event WHERE one = :patient OR other = :patient ORDER BY at_us, id")


_Open: Final[Any] = make_dataclass("_Open", [(one.name, object) for one in fields(Known)], slots=True)


def _known(row: Row) -> Known:
    """An entry, filled while open: a frozen class sets each slot by a call, and an arrival reads dozens."""
    made = _Open(*row)
    made.__class__ = Known
    entry: Known = made
    return entry


def _edge(row: Row) -> Edge:
    one, other, state, grade, bits, since_us, by, seconds, reasons = row
    return Edge(one, other, EdgeState(state), grade, bits, since_us, by, seconds, tuple(orjson.loads(reasons)))


def _event(row: Row) -> LinkEvent:
    told = tuple((str(c), str(level), float(b)) for c, level, b in orjson.loads(row[-1]))
    id_, at_us, kind, one, other, by, why, model, grade, bits = row[:-1]
    return LinkEvent(id_, at_us, kind, one, other, by, why, model, grade, bits, told)


def _array(numbers: Iterable[int]) -> str:
    """An array of bigint as PostgreSQL reads it; the driver's own way looks at each number by a regular expression."""
    return "{" + str(list(numbers))[1:-1] + "}"


def _row(known: Known, keys: Iterable[int]) -> dict[str, Any]:
    return {
        "number": shard_of(known.patient), "patient": known.patient, "custodian": known.custodian,
        "traits": known.traits, "person": known.person, "since_us": known.since_us,
        "keys": array("q", keys).tobytes(),
    }  # fmt: skip


def _sorted(entries: Iterable[Entry], counts: Counter[int]) -> tuple[list[dict[str, Any]], list[tuple[int, int]]]:
    """Rows of new records and of their keys, each in the order that its tree lies; their tokens are counted."""
    rows, pairs = [], []
    for known, keys, tokens in entries:
        row = _row(known, keys)
        rows.append(row)
        number = row["number"]
        pairs += [(key, number) for key in keys]
        counts.update(tokens)
    rows.sort(key=itemgetter("number"))
    pairs.sort(key=itemgetter(0))
    return rows, pairs


class DbLinks:
    """Linkage over one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        session.add_tallies = self._add

    def known(self, patients: Iterable[str]) -> dict[str, Known]:
        """Index entries by reference."""
        wanted = set(patients)
        if len(wanted) == 1:
            (patient,) = wanted
            row = self._session.run(_GET_ONE, number=shard_of(patient)).fetchone()
            return {patient: _known(row)} if row is not None and row[0] == patient else {}
        found = self.numbered(shard_of(patient) for patient in wanted)
        return {known.patient: known for known in found.values() if known.patient in wanted}

    def numbered(self, numbers: Iterable[int]) -> dict[int, Known]:
        """Index entries by number."""
        wanted = list(dict.fromkeys(numbers))
        if not wanted:
            return {}
        if self._session.dialect == "sqlite":
            found = self._session.run(_GET, numbers=wanted)
        else:  # traits are bytes, which are twice as long as text
            values = {"numbers": _array(wanted)}
            found = self._session.connection.execute(_GET.text("postgresql"), values, binary=True)
        return {row[0]: _known(row[1:]) for row in found.fetchall()}

    def _list(self, numbers: list[int]) -> list[int] | str:
        """Numbers for a list of a statement."""
        return numbers if self._session.dialect == "sqlite" else _array(numbers)

    def blocks(self, keys: Sequence[int], limit: int) -> list[Sequence[int]]:
        """Numbers of records under each key, one more than ``limit`` at most."""
        connection = self._session.connection
        if self._session.dialect == "sqlite":
            asked = orjson.dumps(keys).decode()
            found = connection.execute(_BLOCK, (limit + 1, asked)).fetchall()
            return [[int(number) for number in block.split(",")] if block else [] for (block,) in found]
        out: dict[int, list[int]] = {key: [] for key in keys}
        for key, number in connection.execute(_BLOCKS, (_array(keys), limit + 1)).fetchall():
            out[key].append(number)
        return [out[key] for key in keys]

    @property
    def far(self) -> bool:
        """A look-up in SQLite is a call; in PostgreSQL it is a round trip."""
        return self._session.dialect == "postgresql"

    def search(self, limits: Mapping[int, int], tokens: Collection[int]) -> Searched:
        """Everything that a search reads, in one statement."""
        if not self.far:
            return searched(self, limits, tokens)
        values = [token for token in tokens if not 0 <= token < _SMALL]
        asked = _array(limits), _array([limit + 1 for limit in limits.values()]), _array(values)
        crowded: set[int] = set()
        entries: list[Known] = []
        counts: dict[int, int] = {}
        found = self._session.connection.execute(_SEARCH, asked, binary=True)  # traits as text are twice as long
        for number, amount, patient, custodian, traits, person in found.fetchall():
            if patient is not None:
                entries.append(_known((patient, custodian, traits, person, amount)))
            elif amount is not None:
                counts[number] = amount
            else:
                crowded.add(number)
        return Searched(crowded, entries, self._with_tallies(counts, tokens))

    def frequencies(self, tokens: Iterable[int]) -> dict[int, int]:
        """How many records have each token."""
        wanted = list(dict.fromkeys(tokens))
        values = [token for token in wanted if not 0 <= token < _SMALL]
        statement = _COUNTS if len(values) == len(wanted) else _COUNTS_AND_SMALL
        found = dict(self._session.run(statement, tokens=self._list(values)).fetchall()) if wanted else {}
        return self._with_tallies(found, wanted)

    def _with_tallies(self, found: dict[int, int], wanted: Collection[int]) -> dict[int, int]:
        tallies = self._session.tallies
        if tallies:  # of this transaction
            tokens = {*wanted, *found}  # the range of the small ones brings some that nobody asked for
            found |= {token: max(0, found.get(token, 0) + tallies[token]) for token in tokens if tallies.get(token)}
        return found

    def records(self) -> int:
        """How many records are in the index."""
        return self.frequencies((_TOTAL,)).get(_TOTAL, 0)

    def members(self, person: str) -> list[Known]:
        """The records of a person."""
        return [_known(row) for row in self._session.run(_MEMBERS, person=person).fetchall()] if person else []

    def edges(self, patient: str) -> list[Edge]:
        """Everything held of a record and another."""
        return [_edge(row) for row in self._session.run(_EDGES, patient=patient).fetchall()]

    def edge(self, one: str, other: str) -> Edge | None:
        """What is held of two records."""
        row = self._session.run(_ONE_EDGE, one=min(one, other), other=max(one, other)).fetchone()
        return _edge(row) if row is not None else None

    def queue(self, *, limit: int = 100) -> list[Edge]:
        """What waits for a person, most likely first."""
        return [_edge(row) for row in self._session.run(_QUEUE, limit=limit).fetchall()]

    def backlog(self) -> tuple[int, int]:
        """(how many wait, since when the oldest has)."""
        count, oldest = self._session.run(_BACKLOG).fetchone()
        return int(count), int(oldest)

    def events(self, patient: str = "") -> Iterator[LinkEvent]:
        """Every event, or those of one record, in order."""
        found = self._session.run(_EVENTS_OF, patient=patient) if patient else self._session.run(_EVENTS)
        for row in found.fetchall():
            yield _event(row)

    def every(self) -> Iterator[Known]:
        """All index entries, by reference."""
        for row in self._session.run(_EVERY).fetchall():
            yield _known(row)

    def put(self, known: Known, keys: Iterable[int], counts: Mapping[int, int], *, new: bool = False) -> None:
        """Index a record anew."""
        number = shard_of(known.patient)
        wanted = set(keys)
        held = set() if new else self._keys(number)
        self._session.run_with(_PUT, _row(known, wanted))
        self._each(_DROP_KEYS, [(key, number) for key in sorted(held - wanted)])
        self._each(_PUT_KEYS, [(key, number) for key in sorted(wanted - held)])
        self._count(counts)

    def load(self, entries: Iterable[Entry]) -> None:
        """Index many new records at once."""
        counts: Counter[int] = Counter()
        if self._session.dialect == "sqlite":
            self._session.connection.execute(_LOAD_CACHE)
            rows, pairs = _sorted(entries, counts)
            self._session.many(_PUT, rows)
            self._each(_PUT_KEYS, pairs)
        else:
            self._copy(iter(entries), counts)
        self._count(counts)

    def _copy(self, entries: Iterator[Entry], counts: Counter[int]) -> None:
        """By COPY, a third of what inserts cost, slice by slice: the server puts the keys of one into its tree while
        the next is made here. A record that another writer has put in meanwhile is a unique violation, and the
        transaction is done again (commits.py)."""
        self._session.settle()
        rows: list[dict[str, Any]] = []
        with self._session.connection.cursor() as cursor:
            with cursor.copy(_COPY_KEYS) as copy:
                copy.write(_COPY_BEGIN)
                while part := list(islice(entries, _SLICE)):
                    made, pairs = _sorted(part, counts)
                    rows += made
                    copy.write(b"".join([_COPY_PAIR(2, 8, key, 8, number) for key, number in pairs]))
                copy.write(_COPY_END)
            with cursor.copy(_COPY_ROWS) as copy:
                copy.set_types(_COPY_TYPES)
                for row in rows:
                    copy.write_row(tuple(row.values()))

    def drop(self, patient: str, counts: Mapping[int, int]) -> None:
        """Take a record out of the index."""
        number = shard_of(patient)
        self._each(_DROP_KEYS, [(key, number) for key in sorted(self._keys(number))])
        self._session.run(_DROP, number=number)
        self._count(counts)

    def _keys(self, number: int) -> set[int]:
        row = self._session.run(_KEYS, number=number).fetchone()
        return set(array("q", bytes(row[0]))) if row is not None else set()

    def _each(self, statement: Mapping[str, str], pairs: Sequence[tuple[int, int]]) -> None:
        """One statement for pairs of numbers, which are in the order of the table."""
        if not pairs:
            return
        if self._session.dialect == "sqlite":
            self._session.connection.executemany(statement["sqlite"], pairs)
        else:
            columns = [_array(column) for column in zip(*pairs, strict=True)]
            self._session.connection.execute(statement["postgresql"], columns)

    def _count(self, counts: Mapping[int, int]) -> None:
        """At the commit: everybody adds to the same few rows, and a writer would hold them while it compares people."""
        tallies = self._session.tallies
        for token, by in counts.items():
            tallies[token] = tallies.get(token, 0) + by

    def _add(self, tallies: Mapping[int, int]) -> None:
        """Sorted, so that two writers take the rows in one order."""
        self._each(_ADD, [(token, by) for token, by in sorted(tallies.items()) if by])

    def assign(self, patients: Iterable[str], person: str) -> None:
        """Say whose records they are."""
        self._session.many(_ASSIGN, [{"person": person, "number": shard_of(p)} for p in sorted(set(patients))])

    def hold(self, edge: Edge) -> None:
        """Replace what is held of two records."""
        values: dict[str, Any] = {
            "one": edge.one, "other": edge.other, "state": edge.state.value, "grade": edge.grade, "bits": edge.bits,
            "since_us": edge.since_us, "by": edge.by, "seconds": edge.seconds,
            "reasons": orjson.dumps(edge.reasons).decode(),
        }  # fmt: skip
        self._session.run_with(_HOLD, values)

    def release(self, one: str, other: str) -> None:
        """Hold nothing of two records any more."""
        self._session.run(_RELEASE, one=min(one, other), other=max(one, other))

    def record(self, event: LinkEvent) -> None:
        """Append an event."""
        values: dict[str, Any] = {
            "id": event.id, "at_us": event.at_us, "kind": event.kind, "one": event.one, "other": event.other,
            "by": event.by, "why": event.why, "model": event.model, "grade": event.grade, "bits": event.bits,
            "evidence": orjson.dumps(event.evidence).decode(),
        }  # fmt: skip
        self._session.run_with(_RECORD, values)
