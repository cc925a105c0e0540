"""Row states in the database: one narrow row an HMIS row, found by key, project, enrollment and household."""

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Final

from sqlalchemy import Column, Index, Integer, LargeBinary, Table
from sqlalchemy.dialects import postgresql, sqlite

from gateway.adapters.db.engine import Row, Session, Sql, Statement
from gateway.adapters.db.schema import METADATA, text_c
from gateway.exchange.ports.rows import RowState

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
Index("hmis_row_enrollment", ROW.c.source, ROW.c.enrollment)
Index("hmis_row_project", ROW.c.source, ROW.c.project, ROW.c.file)
Index("hmis_row_person", ROW.c.source, ROW.c.person, ROW.c.file)
Index("hmis_row_household", ROW.c.source, ROW.c.household)
_NAMES: Final = tuple(column.name for column in ROW.columns)
_VALUES: Final = attrgetter(*_NAMES)
_ALL: Final = ", ".join(_NAMES)
_GET: Final = Sql(f"SELECT {_ALL} FROM hmis_row WHERE source = :source AND file = :file AND key IN :keys")
_LIVE: Final = "deleted = 0 AND cells = ''"
_PROJECTS: Final = Sql(
    f"SELECT {_ALL} FROM hmis_row WHERE source = :source AND file = :file AND project IN :projects AND {_LIVE}"
    " ORDER BY key"
)
_ENROLLMENTS: Final = Sql(
    f"SELECT {_ALL} FROM hmis_row WHERE source = :source AND enrollment IN :enrollments AND {_LIVE} ORDER BY file, key"
)
_HOUSEHOLDS: Final = Sql(
    f"SELECT {_ALL} FROM hmis_row WHERE source = :source AND household IN :households AND {_LIVE} ORDER BY key"
)
_PERSONS: Final = Sql(
    f"SELECT {_ALL} FROM hmis_row WHERE source = :source AND person IN :persons AND file = :file AND {_LIVE}"
    " ORDER BY key"
)
_FILE: Final = Sql(f"SELECT {_ALL} FROM hmis_row WHERE source = :source AND file = :file AND {_LIVE} ORDER BY key")
_SOURCES: Final = Sql("SELECT DISTINCT source FROM hmis_row ORDER BY source")
_PAGE: Final = Sql(
    f"SELECT {_ALL} FROM hmis_row WHERE source = :source AND file = :file AND key > :after AND cells = ''"
    " ORDER BY key LIMIT :limit"
)
_WAITING: Final = Sql(f"SELECT {_ALL} FROM hmis_row WHERE source = :source AND cells <> '' ORDER BY file, key")
_COUNTS: Final = Sql(f"SELECT file, count(*) FROM hmis_row WHERE source = :source AND {_LIVE} GROUP BY file")
_KEY: Final = ("source", "file", "key")


def _upsert() -> dict[str, Statement]:
    lite, postgres = sqlite.insert(ROW), postgresql.insert(ROW)
    rest = [name for name in _NAMES if name not in _KEY]
    return {
        "sqlite": Statement(
            lite.on_conflict_do_update(index_elements=_KEY, set_={name: lite.excluded[name] for name in rest})
        ),
        "postgresql": Statement(
            postgres.on_conflict_do_update(index_elements=_KEY, set_={name: postgres.excluded[name] for name in rest})
        ),
    }


_PUT: Final = _upsert()


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

    def of_projects(self, source: str, file: str, projects: Sequence[str]) -> list[RowState]:
        """Live rows of a file that belong to one of the projects, by key."""
        return self._read(_PROJECTS, source=source, file=file, projects=list(projects))

    def of_enrollments(self, source: str, enrollments: Sequence[str]) -> list[RowState]:
        """Live rows of every file that belong to one of the enrollments, by file and key."""
        return self._read(_ENROLLMENTS, source=source, enrollments=list(enrollments))

    def of_households(self, source: str, households: Sequence[str]) -> list[RowState]:
        """Live enrollments of the households, by key."""
        return self._read(_HOUSEHOLDS, source=source, households=list(households))

    def of_persons(self, source: str, file: str, persons: Sequence[str]) -> list[RowState]:
        """Live rows of a file that belong to one of the clients, by key."""
        return self._read(_PERSONS, source=source, file=file, persons=list(persons))

    def sources(self) -> list[str]:
        """The sources that rows came from."""
        return [str(row[0]) for row in self._session.run(_SOURCES).fetchall()]

    def page(self, source: str, file: str, after: str, limit: int) -> list[RowState]:
        """Rows of a file that are FHIR, deleted ones too, by key, beginning after a key."""
        return self._read(_PAGE, source=source, file=file, after=after, limit=limit)

    def of_file(self, source: str, file: str) -> list[RowState]:
        """Every live row of a file, by key."""
        return self._read(_FILE, source=source, file=file)

    def waiting(self, source: str) -> Iterator[RowState]:
        """Rows that wait, by file and key."""
        yield from self._read(_WAITING, source=source)

    def counts(self, source: str) -> dict[str, int]:
        """Live rows by file."""
        return {str(file): int(number) for file, number in self._session.run(_COUNTS, source=source).fetchall()}

    def put(self, states: Sequence[RowState]) -> None:
        """Keep states, replacing those with the same source, file and key."""
        self._session.many(
            _PUT[self._session.dialect], [dict(zip(_NAMES, _VALUES(state), strict=True)) for state in states]
        )
