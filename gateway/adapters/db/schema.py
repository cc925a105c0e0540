"""The one MetaData that all table files share, and the column types that mean the same on both databases.

Times are integers in microseconds since 1970 UTC, truth values are integers 0 and 1, JSON is UTF-8 bytes: the drivers
need no conversion, and both databases sort alike.
"""

from typing import Final

from sqlalchemy import BigInteger, Column, MetaData, Text
from sqlalchemy.types import TypeEngine

METADATA: Final = MetaData()


def text_c(name: str, *, nullable: bool = False, primary_key: bool = False) -> "Column[str]":
    """A text column that sorts by code point on both databases (``COLLATE "C"`` on PostgreSQL)."""
    kind: TypeEngine[str] = Text().with_variant(Text(collation="C"), "postgresql")
    return Column(name, kind, nullable=nullable, primary_key=primary_key)


def micros(name: str, *, nullable: bool = False) -> "Column[int]":
    """An instant in microseconds since 1970 UTC."""
    return Column(name, BigInteger, nullable=nullable)
