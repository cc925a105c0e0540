"""Row states in the database: one narrow row an HMIS row, found by key, project, enrollment and household."""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Final

from sqlalchemy import Column, Index, Integer, LargeBinary, Table

from gateway.adapters.db.engine import Row, Session, Sql
from gateway.adapters.db.schema import METADATA, text_c
from gateway.adapters.db.session import Positional
from gateway.exchange.ports.rows import RowPlace, RowState

ROW: Final = Table(
    "hmis_row",
    METADATA,
    text_c("source", primary_key=True),
    text_c("file", primary_key=True),
    text_c("key", primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    text_c("updated"),
    text_c("exported"),
    text_c("person"),
    text_c("enrollment"),
    text_c("project"),
    text_c("household"),
    text_c("facts"),
    text_c("cells"),
    Column("deleted", Integer, nullable=False),
)
OWED: Final = Table(
    "hmis_todo",
    METADATA,
    text_c("source", primary_key=True),
    text_c("kind", primary_key=True),
    text_c("key", primary_key=True),
)
EXTRA: Final = Table(
    "hmis_extra",
    METADATA,
    text_c("source", primary_key=True),
    text_c("file", primary_key=True),
    text_c("key", primary_key=True),
    text_c("text"),
)
Index("hmis_row_enrollment", ROW.c.source, ROW.c.enrollment)
Index("hmis_row_project", ROW.c.source, ROW.c.project, ROW.c.file)
Index("hmis_row_person", ROW.c.source, ROW.c.person, ROW.c.file)
Index("hmis_row_household", ROW.c.source, ROW.c.household)
_NAMES: Final = tuple(column.name for column in ROW.columns)
_VALUES: Final = attrgetter(*_NAMES)
_ALL: Final = ", ".join(_NAMES)
_GET: Final = Sql(f"SELECT {_ALL} FROM hmis_row WHERE source = :source AND file = :file AND key IN :keys")
_LIVE: Final = "deleted = 0 AND cells = ''"
_FHIR: Final = "cells = ''"
_AMONG: Final = {(False, False): f" AND {_LIVE}", (True, False): f" AND {_FHIR}", (False, True): ""}  # deleted, every
_PROJECTS: Final = {
    which: Sql(
        f"SELECT {_ALL} FROM hmis_row WHERE source = :source AND file = :file AND project IN :projects{among}"
        " ORDER BY key"
    )
    for which, among in _AMONG.items()
}
_ENROLLMENTS: Final = {
    (*which, one): Sql(
        f"SELECT {_ALL} FROM hmis_row WHERE source = :source AND enrollment IN :enrollments{among}"
        f"{' AND file = :file' if one else ''} ORDER BY file, key"
    )
    for which, among in _AMONG.items()
    for one in (False, True)
}
_DROP: Final = Sql("DELETE FROM hmis_row WHERE source = :source AND file = :file AND key IN :keys")
_HOUSEHOLDS: Final = Sql(
    f"SELECT {_ALL} FROM hmis_row WHERE source = :source AND household IN :households AND {_LIVE} ORDER BY key"
)
_PERSONS: Final = {
    every: Sql(
        f"SELECT {_ALL} FROM hmis_row WHERE source = :source AND person IN :persons AND file = :file"
        f"{_AMONG[False, every]} ORDER BY key"
    )
    for every in (False, True)
}
_FILE: Final = Sql(f"SELECT {_ALL} FROM hmis_row WHERE source = :source AND file = :file AND {_LIVE} ORDER BY key")
_SOURCES: Final = Sql("SELECT DISTINCT source FROM hmis_row ORDER BY source")
_PAGE: Final = Sql(
    f"SELECT {_ALL} FROM hmis_row WHERE source = :source AND file = :file AND key > :after AND cells = ''"
    " ORDER BY key LIMIT :limit"
)
_WAITING: Final = Sql(
    f"SELECT {_ALL} FROM hmis_row WHERE source = :source AND file = :file AND key > :after AND cells <> ''"
    " ORDER BY key LIMIT :limit"
)
_DIGESTS: Final = Sql(
    "SELECT key, digest FROM hmis_row WHERE source = :source AND file = :file AND key IN :keys AND cells = ''"
)
_PLACES: Final = Sql(
    f"SELECT key, enrollment, project, facts FROM hmis_row WHERE source = :source AND file = :file AND key > :after"
    f" AND {_LIVE} ORDER BY key LIMIT :limit"
)
_OWED: Final = Sql("SELECT key FROM hmis_todo WHERE source = :source AND kind = :kind ORDER BY key LIMIT :limit")
_OWE: Final = Sql("INSERT INTO hmis_todo (source, kind, key) VALUES (:source, :kind, :key) ON CONFLICT DO NOTHING")
_DONE: Final = Sql("DELETE FROM hmis_todo WHERE source = :source AND kind = :kind AND key IN :keys")
_EXTRAS: Final = Sql("SELECT key, text FROM hmis_extra WHERE source = :source AND file = :file AND key IN :keys")
_EXTRA_PAGE: Final = Sql(
    "SELECT key, text FROM hmis_extra WHERE source = :source AND file = :file AND key > :after"
    " ORDER BY key LIMIT :limit"
)
_EXTRA_FILES: Final = Sql("SELECT DISTINCT file FROM hmis_extra WHERE source = :source ORDER BY file")
_PUT_EXTRA: Final = Sql(
    "INSERT INTO hmis_extra (source, file, key, text) VALUES (:source, :file, :key, :text)"
    " ON CONFLICT (source, file, key) DO UPDATE SET text = excluded.text"
)
_DROP_EXTRA: Final = Sql("DELETE FROM hmis_extra WHERE source = :source AND file = :file AND key IN :keys")
_COUNTS: Final = Sql(f"SELECT file, count(*) FROM hmis_row WHERE source = :source AND {_LIVE} GROUP BY file")
_KEY: Final = ("source", "file", "key")


_PUT: Final = Positional("hmis_row", _NAMES, _KEY)


def _state(row: Row) -> RowState:
    found = dict(zip(_NAMES, row, strict=True))
    return RowState(**{**found, "digest": bytes(found["digest"])})


class DbRows:
    """Row states over one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def _read(self, statement: Sql, **values: object) -> list[RowState]:
        return [_state(row) for row in self._session.run(statement, **values).fetchall()]

    def get(self, source: str, file: str, keys: Iterable[str]) -> dict[str, RowState]:
        """The states by key; unknown keys are left out."""
        return {state.key: state for state in self._read(_GET, source=source, file=file, keys=list(keys))}

    def of_projects(
        self, source: str, file: str, projects: Sequence[str], *, deleted: bool = False, every: bool = False
    ) -> list[RowState]:
        """Live rows of a file that belong to one of the projects, by key; with ``deleted`` the deleted ones too, with
        ``every`` those that wait as well.
        """
        statement = _PROJECTS[deleted and not every, every]
        return self._read(statement, source=source, file=file, projects=list(projects))

    def of_enrollments(
        self, source: str, enrollments: Sequence[str], file: str = "", *, deleted: bool = False, every: bool = False
    ) -> list[RowState]:
        """Live rows of the enrollments, of every file or one, by file and key; ``deleted`` and ``every`` as above."""
        values = {"file": file} if file else {}
        statement = _ENROLLMENTS[deleted and not every, every, bool(file)]
        return self._read(statement, source=source, enrollments=list(enrollments), **values)

    def of_households(self, source: str, households: Sequence[str]) -> list[RowState]:
        """Live enrollments of the households, by key."""
        return self._read(_HOUSEHOLDS, source=source, households=list(households))

    def of_persons(self, source: str, file: str, persons: Sequence[str], *, every: bool = False) -> list[RowState]:
        """Live rows of a file that belong to one of the clients, by key; with ``every`` deleted and waiting ones."""
        return self._read(_PERSONS[every], source=source, file=file, persons=list(persons))

    def sources(self) -> list[str]:
        """The sources that rows came from."""
        return [str(row[0]) for row in self._session.run(_SOURCES).fetchall()]

    def page(self, source: str, file: str, after: str, limit: int) -> list[RowState]:
        """Rows of a file that are FHIR, deleted ones too, by key, beginning after a key."""
        return self._read(_PAGE, source=source, file=file, after=after, limit=limit)

    def of_file(self, source: str, file: str) -> list[RowState]:
        """Every live row of a file, by key."""
        return self._read(_FILE, source=source, file=file)

    def waiting(self, source: str, file: str, after: str, limit: int) -> list[RowState]:
        """Rows of a file that wait, by key, beginning after a key."""
        return self._read(_WAITING, source=source, file=file, after=after, limit=limit)

    def digests(self, source: str, file: str, keys: Iterable[str]) -> dict[str, bytes]:
        """The digests by key of rows that are FHIR; others are left out."""
        found = self._session.run(_DIGESTS, source=source, file=file, keys=list(keys))
        return {key: bytes(digest) for key, digest in found.fetchall()}

    def places(self, source: str, file: str, after: str, limit: int) -> list[RowPlace]:
        """Live rows of a file, by key, beginning after a key."""
        found = self._session.run(_PLACES, source=source, file=file, after=after, limit=limit)
        return [RowPlace(*row) for row in found.fetchall()]

    def todo(self, source: str, kind: str, limit: int) -> list[str]:
        """Keys for which something is still to be done, sorted."""
        return [str(row[0]) for row in self._session.run(_OWED, source=source, kind=kind, limit=limit).fetchall()]

    def extras(self, source: str, file: str, keys: Iterable[str]) -> dict[str, str]:
        """What is kept beside HUD's columns and files, by key."""
        return dict(self._session.run(_EXTRAS, source=source, file=file, keys=list(keys)).fetchall())

    def extra_page(self, source: str, file: str, after: str, limit: int) -> list[tuple[str, str]]:
        """Key and text of what is kept of a file, by key, beginning after a key."""
        found = self._session.run(_EXTRA_PAGE, source=source, file=file, after=after, limit=limit).fetchall()
        return [(str(key), str(text)) for key, text in found]

    def extra_files(self, source: str) -> list[str]:
        """Files of which something is kept, sorted."""
        return [str(row[0]) for row in self._session.run(_EXTRA_FILES, source=source).fetchall()]

    def counts(self, source: str) -> dict[str, int]:
        """Live rows by file."""
        return {str(file): int(number) for file, number in self._session.run(_COUNTS, source=source).fetchall()}

    def put(self, states: Sequence[RowState]) -> None:
        """Keep states, replacing those with the same source, file and key."""
        self._session.rows(_PUT, [_VALUES(state) for state in states])

    def drop(self, source: str, file: str, keys: Iterable[str]) -> None:
        """Forget rows, and what is kept beside them."""
        for statement in (_DROP, _DROP_EXTRA):
            self._session.run(statement, source=source, file=file, keys=list(keys))

    def put_todo(self, source: str, kind: str, keys: Iterable[str]) -> None:
        """Note what follows from a write and is done in a later transaction."""
        self._session.many(_OWE, [{"source": source, "kind": kind, "key": key} for key in sorted(set(keys))])

    def done(self, source: str, kind: str, keys: Iterable[str]) -> None:
        """Take keys off the list again."""
        self._session.run(_DONE, source=source, kind=kind, keys=list(keys))

    def put_extras(self, source: str, file: str, texts: Mapping[str, str]) -> None:
        """Keep what HUD's format has no place for, by key; empty removes it."""
        gone = [key for key, text in texts.items() if not text]
        if gone:
            self._session.run(_DROP_EXTRA, source=source, file=file, keys=gone)
        own = [{"source": source, "file": file, "key": key, "text": text} for key, text in texts.items() if text]
        self._session.many(_PUT_EXTRA, own)
