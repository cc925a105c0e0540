"""The one MetaData that all table files share, and the column types that mean the same on both databases.

Times are integers in microseconds since 1970 UTC, truth values are integers 0 and 1, JSON is UTF-8 bytes: the drivers
need no conversion, and both databases sort alike.
"""

from typing import Any, Final

from sqlalchemy import BigInteger, Column, ColumnElement, Index, MetaData, Text, TextClause
from sqlalchemy.types import TypeEngine

METADATA: Final = MetaData()


def text_c(name: str, *, nullable: bool = False, primary_key: bool = False) -> "Column[str]":
    """A text column that sorts by code point on both databases (``COLLATE "C"`` on PostgreSQL)."""
    kind: TypeEngine[str] = Text().with_variant(Text(collation="C"), "postgresql")
    return Column(name, kind, nullable=nullable, primary_key=primary_key)


def micros(name: str, *, nullable: bool = False) -> "Column[int]":
    """An instant in microseconds since 1970 UTC."""
    return Column(name, BigInteger, nullable=nullable)


def partial_index(name: str, *columns: "str | Column[Any]", where: ColumnElement[bool] | TextClause) -> Index:
    """An index of those rows that meet ``where``, on both databases: :func:`conditions_for` tells a database so.

    SQLAlchemy's own ``postgresql_where`` would load the dialect of PostgreSQL on SQLite too.
    """
    return Index(name, *columns, info={"where": where})


def conditions_for(dialect: str) -> None:
    """Let the partial indexes have their conditions where tables of this dialect are made."""
    for table in METADATA.tables.values():
        for index in table.indexes:
            if (where := index.info.get("where")) is not None:
                index.kwargs[f"{dialect}_where"] = where
