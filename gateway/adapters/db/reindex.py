"""Rebuilding what is derived from the bodies: the search index and the facets, when their definitions have changed.

The mark in ``store_state`` names what the rows were derived with. Another mark, or none because a rebuild was killed,
means that everything is derived again, in transactions of a few hundred resources.
"""

from collections.abc import Callable
from typing import Final

from sqlalchemy import Table

from gateway.adapters.db.engine import Session, Sql
from gateway.adapters.db.schema import METADATA, text_c
from gateway.adapters.db.search_index import TABLES, Change, Rows, rows_of, write
from gateway.adapters.db.store import DbStore
from gateway.codecs.json_text import parse
from gateway.consent.outline import traits_of
from gateway.kernel.errors import Conflict
from gateway.kernel.fhir import subject_of

STATE: Final = Table("store_state", METADATA, text_c("name", primary_key=True), text_c("value"))
INDEX_VERSION: Final = 4  # raise it when rows_of or consent.view.pack gives other rows for the same resource

_NAME: Final = "derived"
_GET: Final = Sql("SELECT value FROM store_state WHERE name = :name")
_DROP: Final = Sql("DELETE FROM store_state WHERE name = :name")
_SET: Final = Sql("INSERT INTO store_state (name, value) VALUES (:name, :value)")
_ANY: Final = Sql("SELECT 1 FROM resource LIMIT 1")
_COUNT: Final = Sql("SELECT count(*) FROM resource WHERE method <> 'DELETE'")
_NEXT: Final = Sql(
    "SELECT type, key, shard, body FROM resource WHERE (type, key) > (:type, :key) AND method <> 'DELETE'"
    " ORDER BY type, key LIMIT :n",
    lock=True,
)
_FACETS: Final = Sql(
    "UPDATE resource SET facets = :facets, present = :present, kind = :kind, maker = :maker"
    " WHERE type = :type AND key = :key"
)
_FORMS: Final = Sql(
    "INSERT INTO consent_form (subject, key, shard, form, low_us, high_us)"
    " VALUES (:subject, :key, :shard, :form, :low_us, :high_us) ON CONFLICT DO NOTHING"
)
_CHUNK: Final = 300


def is_current(store: DbStore) -> bool:
    """Whether index and facets were derived with the definitions of this release and its settings."""
    with store.database.reading() as session:
        row = session.run(_GET, name=_NAME).fetchone()
        return row is not None and row[0] == store.derived.mark


def ensure(store: DbStore, *, may_rebuild: bool = True) -> int:
    """Rebuild if the mark says so; how many resources were read. A new store only gets its mark.

    Args:
        may_rebuild: whether this process decides what the store is searched by. A command beside a gateway does not:
            with another folder of packages or another time zone it would take rows away that the gateway looks for.

    Raises:
        Conflict: the store is to be rebuilt, and it may not be.
    """
    if is_current(store):
        return 0
    with store.database.reading() as session:
        empty = session.run(_ANY).fetchone() is None
    if empty:
        store.database.write(lambda session: _mark(session, store.derived.mark))
        return 0
    if not may_rebuild:
        raise Conflict(
            "the database is indexed for other packages, tables or another time zone",
            at="--database",
            fix="give the gateway's own settings (--config), or run doorway db upgrade to index it for these",
        )
    return rebuild(store)


def rebuild(store: DbStore, progress: Callable[[int, int], None] = lambda done, total: None) -> int:
    """Derive everything again; how many resources were read. Writes may go on meanwhile; searches miss what is to come.

    Args:
        progress: called with how many are done and how many there were at the start.
    """
    with store.database.reading() as session:
        total = int(session.run(_COUNT).fetchone()[0])
    store.database.write(_clear)
    done, place = 0, ("", -1)
    while True:
        count, place = store.database.write(lambda session, at=place: _chunk(store, session, at))  # type: ignore[misc]
        done += count
        progress(done, max(total, done))
        if count < _CHUNK:
            break
    store.database.write(lambda session: _mark(session, store.derived.mark))
    return done


def _clear(session: Session) -> None:
    session.run(_DROP, name=_NAME)
    if session.dialect == "postgresql":
        session.connection.execute("SET LOCAL statement_timeout TO 0")
    for table in (*TABLES, "consent_form"):
        session.connection.execute(f"DELETE FROM {table}")


def _chunk(store: DbStore, session: Session, after: tuple[str, int]) -> tuple[int, tuple[str, int]]:
    found = session.run(_NEXT, type=after[0], key=after[1], n=_CHUNK).fetchall()
    changes, facets, forms = [], [], []
    for type_, key, shard, body in found:
        resource = parse(bytes(body))
        rows = rows_of(store.derived.definitions, resource)
        changes.append(Change(key, shard, Rows(), shard, rows))
        packed = store.derived.view(resource, None)
        traits = traits_of(packed)
        facets.append(
            {"type": type_, "key": key, "facets": packed, "present": rows.present, "kind": traits.kind,
             "maker": traits.maker}
        )  # fmt: skip
        if traits.outline is not None and (subject := subject_of(resource)):
            of = traits.outline
            forms.append(
                {"subject": subject, "key": key, "shard": shard, "form": of.form, "low_us": of.low_us,
                 "high_us": of.high_us}
            )  # fmt: skip
    write(session, changes)
    session.many(_FACETS, facets)
    session.many(_FORMS, forms)
    return len(found), (found[-1][0], found[-1][1]) if found else after


def _mark(session: Session, mark: str) -> None:
    session.run(_DROP, name=_NAME)
    session.run(_SET, name=_NAME, value=mark)
