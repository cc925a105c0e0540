"""Rows of an HMIS export in a private temporary database, so that rules may join files of any size in flat memory.

SQLite's unnamed database: it spills to a file that has no name and is gone with the connection, so nothing of a client
stays behind. It is never the store.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

_CACHE_KIB: Final = 32 * 1024
_AFFINITY: Final = {"whole": "INTEGER", "amount": "NUMERIC", "day": "TEXT", "text": "TEXT", "filled": "INTEGER"}
_ISO: Final = "[12][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"


class SqliteTables:
    """Tables of rows, and what is asked of them; a context manager."""

    def __init__(self, day_of: Callable[[str], str | None]) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        for pragma in (f"cache_size = -{_CACHE_KIB}", "journal_mode = OFF", "synchronous = OFF", "temp_store = FILE"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.create_function("day_of", 1, lru_cache(8192)(day_of), deterministic=True)
        self._inserts: dict[str, str] = {}

    def __enter__(self) -> "SqliteTables":
        return self

    def __exit__(self, *exc: object) -> None:
        self._db.close()

    def create(self, table: str, columns: Sequence[tuple[str, str]], key: str) -> None:
        """A table with ``nr`` and columns of the kinds whole, amount, day, text and filled (1 or nothing).

        Of rows with the same ``key`` the first one counts; an empty cell is NULL.
        """
        told = ", ".join(f'"{name}" {_AFFINITY[kind]}' for name, kind in columns)
        self._db.execute(f'CREATE TABLE "{table}" (nr INTEGER PRIMARY KEY, {told}, UNIQUE ("{key}"))')
        values = ", ".join(_value(kind, number) for number, (_, kind) in enumerate(columns, 2))
        self._inserts[table] = f'INSERT OR IGNORE INTO "{table}" VALUES (?1, {values})'

    def add(self, table: str, rows: Iterable[Sequence[Any]]) -> None:
        """Rows as their number and their cells in the order of the columns."""
        self._db.execute("BEGIN")
        self._db.executemany(self._inserts[table], rows)
        self._db.execute("COMMIT")

    def run(self, script: str) -> None:
        """Statements without an answer.

        Raises:
            sqlite3.Error: a fault in them.
        """
        self._db.executescript(script)

    def ask(self, query: str) -> Iterator[tuple[Any, ...]]:
        """The rows of an answer."""
        yield from self._db.execute(query)


def _value(kind: str, number: int) -> str:
    cell = f"trim(?{number})"
    if kind == "day":
        return f"CASE WHEN {cell} GLOB '{_ISO}*' THEN substr({cell}, 1, 10) ELSE day_of({cell}) END"
    if kind == "filled":
        return f"CASE WHEN {cell} <> '' THEN 1 END"
    return f"nullif({cell}, '')"
