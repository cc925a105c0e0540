"""Resources and their versions in the database.

``resource`` holds the newest version of each, ``resource_history`` the ones before. A body is written once and moves to
history when it is replaced. Rows are keyed by (type, key): ``key`` is computed from the reference, so no sequence is
drawn; the person key ``shard`` stands in every primary key, so that the tables can be partitioned by person.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Column, Index, Integer, LargeBinary, SmallInteger, Table, text
from sqlalchemy.types import BigInteger

from gateway.adapters.db.engine import Session, Sql
from gateway.adapters.db.schema import METADATA, micros, partial_index, text_c
from gateway.adapters.db.search import COLUMNS, DbSearch, stored_of
from gateway.exchange.ports.resources import Candidate, Place, Stored
from gateway.exchange.search import Criterion, Shown, Sort
from gateway.kernel.identifiers import key_of

_CHUNK: Final = 2_000  # keys in one query


def _version_columns() -> list[Column[Any]]:
    return [
        text_c("type", primary_key=True),
        Column("key", BigInteger, primary_key=True, autoincrement=False),
        Column("version", Integer, nullable=False),
        Column("shard", SmallInteger, primary_key=True, autoincrement=False),
        text_c("id"),
        micros("updated_us"),
        text_c("method"),
        text_c("source"),
        text_c("owner"),
        text_c("subject"),
        text_c("patients"),  # separated by spaces
        Column("present", BigInteger, nullable=False),  # bits of the search parameters that find something
        Column("kind", BigInteger, nullable=False),  # the same for resources alike in labels and classes
        Column("maker", BigInteger, nullable=False),  # key of the Organization that made it; 0: none, -1: several
        Column("facets", LargeBinary, nullable=False),  # what consent looks at, packed
        Column("body", LargeBinary, nullable=False),
    ]


_MADE: Final = text("maker <> 0")
_NOBODYS: Final = text("subject = ''")
RESOURCE: Final = Table(
    "resource",
    METADATA,
    *_version_columns(),
    Index("resource_id", "type", "id", unique=True),
    Index("resource_updated", "type", "updated_us", "key", "method"),  # so that a walk need not touch rows
    Index("resource_owner", "type", "owner", "key"),  # one's own records, for those who see little else
    partial_index("resource_maker", "type", "maker", "key", where=_MADE),
    partial_index("resource_nobody", "type", "subject", "key", where=_NOBODYS),
)
_history = _version_columns()
_history[2].primary_key = True
HISTORY: Final = Table(
    "resource_history",
    METADATA,
    *_history,
    Index("resource_history_updated", "type", "updated_us", "key"),
)
NAMED: Final = Table(
    "resource_patient",
    METADATA,
    Column("patient", BigInteger, primary_key=True, autoincrement=False),  # key of the Patient that is named
    text_c("type", primary_key=True),
    Column("key", BigInteger, primary_key=True, autoincrement=False),
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

FORM: Final = Table(
    "consent_form",
    METADATA,
    text_c("subject", primary_key=True),  # ``Patient/id``
    Column("key", BigInteger, primary_key=True, autoincrement=False),  # of the Consent
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("form", BigInteger, nullable=False),  # consent.outline: the same for Consents that say the same
    micros("low_us"),  # from when until when it can permit
    micros("high_us"),
    Index("consent_form_form", "form", "key"),
    sqlite_with_rowid=False,
)

_GET: Final = Sql(f"SELECT {COLUMNS} FROM resource r WHERE type = :type AND key = :key")
_MANY: Final = Sql(f"SELECT {COLUMNS} FROM resource r WHERE type = :type AND key IN :keys AND method <> 'DELETE'")
_VERSION: Final = Sql(
    f"SELECT {COLUMNS} FROM resource_history r WHERE type = :type AND key = :key AND version = :version"
)
_UNDER_WAY: Final = Sql(  # PostgreSQL: each transaction holds the lock of its own virtual id until it ends
    "SELECT l.virtualtransaction FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid"
    " WHERE l.locktype = 'virtualxid' AND l.granted AND l.pid <> pg_backend_pid()"
    " AND a.datname = current_database() AND a.usesysid IS NOT NULL"
)
_OF_TYPE: Final = Sql(
    f"SELECT {COLUMNS} FROM resource r WHERE type = :type AND id > :after AND method <> 'DELETE' ORDER BY id LIMIT :n"
)
_COMPARTMENT: Final = Sql("SELECT DISTINCT type, key FROM resource_patient WHERE patient IN :keys ORDER BY type, key")
_CONSENTS: Final = Sql(
    f"SELECT {COLUMNS} FROM resource r WHERE type = 'Consent' AND method <> 'DELETE' AND subject IN :subjects"
    " AND key IN (SELECT key FROM resource_patient WHERE patient IN :keys AND type = 'Consent')"
)
_NEXT_FORM: Final = Sql("SELECT min(form) FROM consent_form WHERE form > :form")
_OF_FORM: Final = Sql(
    f"SELECT {COLUMNS} FROM resource r WHERE type = 'Consent' AND key IN :keys AND method <> 'DELETE'"
)
_KEY_OF_FORM: Final = Sql("SELECT key FROM consent_form WHERE form = :form ORDER BY key LIMIT 1")

# The usual case, without lists. Not ``subject = :subject``: an index holds where it is empty, so SQLite would plan anew
# for every value that is bound (34 microseconds of a read).
_CONSENTS_OF_ONE: Final = Sql(
    f"SELECT {COLUMNS} FROM resource r WHERE type = 'Consent' AND method <> 'DELETE' AND subject IN (:subject)"
    " AND key IN (SELECT key FROM resource_patient WHERE patient = :key AND type = 'Consent')"
)


def _changes(table: str, one: str) -> str:
    return (
        f"SELECT * FROM (SELECT {COLUMNS} FROM {table} r WHERE type = :type{one} AND updated_us >= :since AND"
        " (updated_us < :at OR (updated_us = :at AND (id < :id_before OR (id = :id_before AND version < :version))))"
        " ORDER BY updated_us DESC, id DESC, version DESC LIMIT :n) q"
    )


# each table gives its newest few by its index, so that a page costs the same however long the history is
_CHANGES: Final = {
    bool(one): Sql(
        f"{_changes('resource', one)} UNION ALL {_changes('resource_history', one)}"
        " ORDER BY updated_us DESC, id DESC, version DESC LIMIT :n"
    )
    for one in ("", " AND key = :key")
}


class DbResourceReader:
    """Reads inside one snapshot or transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._search = DbSearch(session)

    def get(self, type_: str, id_: str) -> Stored | None:
        """The newest version, a deletion included."""
        row = self._session.run(_GET, type=type_, key=key_of(f"{type_}/{id_}")).fetchone()
        return stored_of(row) if row is not None and row[1] == id_ else None

    def many(self, references: Iterable[str]) -> dict[str, Stored]:
        """Newest live versions by reference."""
        wanted: dict[str, list[int]] = {}
        asked = set(references)
        for reference in asked:
            wanted.setdefault(reference.partition("/")[0], []).append(key_of(reference))
        found: dict[str, Stored] = {}
        for type_ in sorted(wanted):
            for stored in self.by_keys(type_, wanted[type_]):
                if stored.reference in asked:
                    found[stored.reference] = stored
        return found

    def by_keys(self, type_: str, keys: list[int]) -> Iterator[Stored]:
        """Live resources of a type by their short keys, in no order."""
        for start in range(0, len(keys), _CHUNK):
            yield from map(stored_of, self._session.run(_MANY, type=type_, keys=keys[start : start + _CHUNK]))

    def version(self, type_: str, id_: str, version: int) -> Stored | None:
        """One version, the newest included."""
        newest = self.get(type_, id_)
        if newest is None or newest.version == version:
            return newest
        row = self._session.run(_VERSION, type=type_, key=key_of(f"{type_}/{id_}"), version=version).fetchone()
        return stored_of(row) if row is not None else None

    def under_way(self) -> frozenset[str] | None:
        """The open transactions of this database, but for this one and the server's own; None on SQLite."""
        if self._session.dialect == "sqlite":
            return None
        return frozenset(row[0] for row in self._session.run(_UNDER_WAY))

    def compartment(self, patients: Iterable[str]) -> Iterator[Stored]:
        """Every live resource that names one of the patients, by type and key."""
        keys = [key_of(patient) for patient in set(patients)]
        named: dict[str, list[int]] = {}
        for type_, key in self._session.run(_COMPARTMENT, keys=keys):
            named.setdefault(type_, []).append(key)
        for type_, members in named.items():
            yield from self.by_keys(type_, members)

    def of_type(self, type_: str) -> Iterator[Stored]:
        """Every live resource of a type, by id."""
        after = ""
        while True:
            rows = self._session.run(_OF_TYPE, type=type_, after=after, n=_CHUNK).fetchall()
            yield from map(stored_of, rows)
            if len(rows) < _CHUNK:
                return
            after = rows[-1][1]

    def consents(self, patients: Iterable[str]) -> list[Stored]:
        """The Consents, in any state, whose patient is one of these."""
        subjects = sorted(set(patients))
        if len(subjects) == 1:
            rows = self._session.run(_CONSENTS_OF_ONE, subject=subjects[0], key=key_of(subjects[0]))
            return sorted(map(stored_of, rows), key=lambda one: one.id)
        rows = self._session.run(_CONSENTS, subjects=subjects, keys=[key_of(patient) for patient in subjects])
        return sorted(map(stored_of, rows), key=lambda one: one.id)  # ORDER BY id would walk every Consent by its index

    def forms(self, limit: int) -> dict[int, Stored] | None:
        """One Consent of each form that permits something; None when there are more than ``limit``."""
        keys: dict[int, int] = {}
        form = 0
        while True:  # from one entry of the index to the next that differs, however many lie between
            row = self._session.run(_NEXT_FORM, form=form).fetchone()
            if row is None or row[0] is None:
                break
            if len(keys) == limit:
                return None
            form = int(row[0])
            keys[int(self._session.run(_KEY_OF_FORM, form=form).fetchone()[0])] = form
        rows = self._session.run(_OF_FORM, keys=sorted(keys)) if keys else ()
        return {keys[key_of(stored.reference)]: stored for stored in map(stored_of, rows)}

    def changes(
        self, type_: str, id_: str = "", *, since_us: int = 0, before: tuple[int, str, int] | None = None, count: int
    ) -> list[Stored]:
        """Versions, deletions included, newest first by (updated_us, id, version)."""
        at, id_before, version = before or (2**62, "", 0)
        values = {"type": type_, "since": since_us, "at": at, "id_before": id_before, "version": version, "n": count}
        if id_:
            values["key"] = key_of(f"{type_}/{id_}")
        return [stored_of(row) for row in self._session.run_with(_CHANGES[bool(id_)], values)]

    def candidates(
        self,
        type_: str,
        criteria: Sequence[Criterion],
        sorts: Sequence[Sort] = (),
        *,
        after: Place | None = None,
        limit: int,
        shown: Shown | None = None,
    ) -> list[Candidate]:
        """At most ``limit`` matches in order from behind ``after``, without what ``shown`` leaves out."""
        return self._search.candidates(type_, criteria, sorts, after, limit, shown)

    def count(self, type_: str, criteria: Sequence[Criterion], *, limit: int | None = None) -> int:
        """How many live resources fulfil the criteria; counting stops at ``limit``."""
        return self._search.count(type_, criteria, limit)
