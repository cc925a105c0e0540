"""Narrow index tables beside the resources: what the search parameters find, as numbers and folded text.

Tokens are 63-bit hashes of parameter and value; the others are keyed by the hash of ``Type?code``. Every primary key
begins with what is probed for a known resource; a second index serves the search for unknown ones. Rows are derived
from the body alone, so an update writes only the difference to what the old body gave.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, TypeAlias

from sqlalchemy import BigInteger, Column, Float, Index, Table

from gateway.adapters.db.engine import Session
from gateway.adapters.db.schema import METADATA, text_c
from gateway.codecs.json_text import write as write_json
from gateway.exchange.search_match import URI_LIMIT
from gateway.kernel.fhir import JsonObject, Resource
from gateway.kernel.identifiers import key_of
from gateway.profiles.search_parameters import Definitions, Parameter
from gateway.profiles.search_values import (
    Quantity,
    Token,
    dates,
    folded,
    links,
    quantities,
    strings,
    token_texts,
    tokens,
    uris,
)


def _number(name: str) -> "Column[int]":
    return Column(name, BigInteger, primary_key=True, autoincrement=False)


HASH: Final = Table("search_hash", METADATA, _number("h"), _number("key"), _number("shard"), sqlite_with_rowid=False)
TEXT: Final = Table(
    "search_text",
    METADATA,
    _number("p"),
    _number("key"),
    text_c("value", primary_key=True),
    _number("shard"),
    Index("search_text_value", "p", "value", "key"),
    sqlite_with_rowid=False,
)
DATE: Final = Table(
    "search_date",
    METADATA,
    _number("p"),
    _number("key"),
    _number("low"),
    _number("high"),
    _number("shard"),
    Index("search_date_low", "p", "low", "key"),
    Index("search_date_high", "p", "high", "key"),
    sqlite_with_rowid=False,
)
NUMBER: Final = Table(
    "search_number",
    METADATA,
    _number("p"),
    _number("key"),
    _number("unit"),
    Column("low", Float(53), primary_key=True),
    Column("high", Float(53), primary_key=True),
    _number("shard"),
    Index("search_number_low", "p", "unit", "low", "key"),
    sqlite_with_rowid=False,
)
LINK: Final = Table(
    "search_link",
    METADATA,
    _number("p"),
    _number("key"),
    _number("target"),
    _number("shard"),
    Index("search_link_target", "p", "target", "key"),
    sqlite_with_rowid=False,
)
ANY_UNIT: Final = 0

_COLUMNS: Final = {
    "search_hash": ("h",),
    "search_text": ("p", "value"),
    "search_date": ("p", "low", "high"),
    "search_number": ("p", "unit", "low", "high"),
    "search_link": ("p", "target"),
}

TABLES: Final = tuple(_COLUMNS)


@lru_cache(maxsize=4096)
def number_of(parameter: str) -> int:
    """The number of a parameter by ``Type?code``."""
    return key_of(parameter)


def token_hash(parameter: Parameter, system: str | None, code: str | None) -> int:
    """The hash under which tokens that fit ``system|code`` are found; None means any."""
    return _token_hash(parameter.name, system, code)


@lru_cache(maxsize=16_384)  # codes repeat, identifiers do not
def _token_hash(name: str, system: str | None, code: str | None) -> int:
    if code is None:
        return key_of(f"{name}|s|{system}")
    if system is None:
        return key_of(f"{name}|c|{code}")
    return key_of(f"{name}|sc|{system}|{code}")


def type_hash(parameter: Parameter, system: str, code: str, value: str) -> int:
    """The hash of an identifier of a type (``:of-type``)."""
    return key_of(f"{parameter.name}|t|{system}|{code}|{value}")


def identifier_hash(parameter: Parameter, system: str | None, code: str | None) -> int:
    """The hash of a reference's identifier (``:identifier``)."""
    return token_hash(parameter, system, code) ^ 1


def present_hash(parameter: Parameter) -> int:
    """The hash that says that a token parameter finds something."""
    return number_of(f"{parameter.name}|p")


def text_number(parameter: Parameter) -> int:
    """The number under which the texts of a token parameter stand (``:text``)."""
    return number_of(f"{parameter.name}:text")


def unit_hash(system: str | None, code: str | None) -> int:
    """The unit under which quantities are found; None means any."""
    if code is None:
        return ANY_UNIT if system is None else key_of(f"s|{system}")
    return key_of(f"c|{code}" if system is None else f"sc|{system}|{code}")


@dataclass(slots=True)
class Rows:
    """The index rows of one resource by table."""

    tables: dict[str, set[tuple[Any, ...]]] = field(default_factory=lambda: {name: set() for name in _COLUMNS})


Found: TypeAlias = tuple[tuple[str, frozenset[tuple[Any, ...]]], ...]  # rows by table, tables without any left out


def rows_of(definitions: Definitions, resource: Resource) -> Rows:
    """What every search parameter of the type finds in the resource."""
    return _indexer(definitions).rows(resource)


@lru_cache(maxsize=4)
def _indexer(definitions: Definitions) -> "_Indexer":
    return _Indexer(definitions)


class _Indexer:
    """Remembers what was found in an element: codes, categories, labels and subjects are the same in many resources.

    A path goes down from one top-level element, so what is found in a resource is what is found in each of its
    elements, and of a list in each of its items. ``meta`` is taken apart once more, since its time differs in every
    resource.
    """

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._known: dict[tuple[str, str, bytes], Found] = {}

    def rows(self, resource: Resource) -> Rows:
        """The index rows of a resource."""
        type_, rows = resource["resourceType"], Rows()
        tables = rows.tables
        for name, value in resource.items():
            if name == "meta" and isinstance(value, dict):
                self._add_meta(tables, type_, value)
            elif self._definitions.beginning_at(type_, name):
                for item in value if isinstance(value, list) else (value,):
                    if isinstance(item, list):
                        continue  # no FHIR: a path would find nothing in it
                    for table, found in self._found(type_, name, item):
                        tables[table] |= found
        for parameter in self._definitions.always(type_):
            _add(tables, parameter, resource)
        return rows

    def _add_meta(self, tables: dict[str, set[tuple[Any, ...]]], type_: str, meta: JsonObject) -> None:
        for part, value in meta.items():
            if part not in _OURS:
                for table, found in self._found(type_, "meta", {part: value}):
                    tables[table] |= found
        for parameter in self._definitions.beginning_at(type_, "meta"):
            if parameter.path.endswith(_OUR_PATHS):
                _add(tables, parameter, {"resourceType": type_, "meta": meta})

    def _found(self, type_: str, name: str, value: Any) -> Found:
        key = type_, name, write_json(value)
        known = self._known.get(key)
        if known is None:
            rows = Rows()
            for parameter in self._definitions.beginning_at(type_, name):
                _add(rows.tables, parameter, {"resourceType": type_, name: value})
            known = tuple((table, frozenset(found)) for table, found in rows.tables.items() if found)
            if len(key[2]) <= _KNOWN_SIZE:
                if len(self._known) >= _KNOWN_LIMIT:
                    self._known.clear()
                self._known[key] = known
        return known


_OURS: Final = frozenset({"versionId", "lastUpdated"})  # other in every resource, so not worth remembering
_OUR_PATHS: Final = ("meta.versionId", "meta.lastUpdated")
_KNOWN_LIMIT: Final = 8_192  # elements that are remembered
_KNOWN_SIZE: Final = 4_000  # bytes of an element that is worth it


def _add(tables: dict[str, set[tuple[Any, ...]]], parameter: Parameter, resource: Resource) -> None:
    if parameter.code not in _OWN_COLUMNS and parameter.kind in _ADD:
        _ADD[parameter.kind](tables, parameter, resource)


_OWN_COLUMNS: Final = frozenset({"_id", "_lastUpdated"})  # columns of the resource table serve these


def _add_tokens(tables: dict[str, set[tuple[Any, ...]]], parameter: Parameter, resource: Resource) -> None:
    hashes = tables["search_hash"]
    found = False
    for token in tokens(parameter, resource):
        found = True
        hashes.update((one,) for one in _token_hashes(parameter, token))
        hashes.update((type_hash(parameter, *coding, token.code),) for coding in token.types)
    if found:
        hashes.add((present_hash(parameter),))
        number = text_number(parameter)
        tables["search_text"].update((number, text) for text in token_texts(parameter, resource))


def _token_hashes(parameter: Parameter, token: Token) -> Iterable[int]:
    yield token_hash(parameter, token.system, None)
    if token.code:
        yield token_hash(parameter, None, token.code)
        yield token_hash(parameter, token.system, token.code)


def _add_strings(tables: dict[str, set[tuple[Any, ...]]], parameter: Parameter, resource: Resource) -> None:
    number = number_of(parameter.name)
    tables["search_text"].update((number, folded(text)) for text in strings(parameter, resource))


def _add_uris(tables: dict[str, set[tuple[Any, ...]]], parameter: Parameter, resource: Resource) -> None:
    number = number_of(parameter.name)
    tables["search_text"].update((number, uri[:URI_LIMIT]) for uri in uris(parameter, resource))


def _add_dates(tables: dict[str, set[tuple[Any, ...]]], parameter: Parameter, resource: Resource) -> None:
    number = number_of(parameter.name)
    tables["search_date"].update((number, low, high) for low, high in dates(parameter, resource))


def _add_quantities(tables: dict[str, set[tuple[Any, ...]]], parameter: Parameter, resource: Resource) -> None:
    number = number_of(parameter.name)
    for found in quantities(parameter, resource):
        tables["search_number"].update((number, unit, found.low, found.high) for unit in _units(found))


def _units(found: Quantity) -> set[int]:
    units = {ANY_UNIT, unit_hash(found.system, None), unit_hash(found.system, found.code)}
    return units | {unit_hash(None, code) for code in (found.code, found.unit) if code}


def _add_links(tables: dict[str, set[tuple[Any, ...]]], parameter: Parameter, resource: Resource) -> None:
    number = number_of(parameter.name)
    for link in links(parameter, resource):
        if link.target:
            tables["search_link"].add((number, key_of(link.target)))
        if link.identifier is not None:
            tables["search_hash"].update((one ^ 1,) for one in _token_hashes(parameter, link.identifier))
            tables["search_hash"].add((present_hash(parameter),))


_ADD: Final = {
    "token": _add_tokens,
    "string": _add_strings,
    "uri": _add_uris,
    "date": _add_dates,
    "number": _add_quantities,
    "quantity": _add_quantities,
    "reference": _add_links,
}


def _insert(table: str) -> tuple[str, str]:
    """For SQLite a statement a row, for PostgreSQL one for all rows, which come as arrays.

    A row that is there already is as it should be: a rebuild may have met the resource first.
    """
    names = (*_COLUMNS[table], "key", "shard")
    into = f"INSERT INTO {table} ({', '.join(names)})"
    arrays = ", ".join(f"%({name})s::{_type(table, name)}[]" for name in names)
    return (
        f"{into} VALUES ({', '.join('?' * len(names))}) ON CONFLICT DO NOTHING",
        f"{into} SELECT * FROM unnest({arrays}) ON CONFLICT DO NOTHING",
    )


def _delete(table: str) -> tuple[str, str]:
    names = (*_COLUMNS[table], "key", "shard")
    arrays = ", ".join(f"%({name})s::{_type(table, name)}[]" for name in names)
    every = (
        f"DELETE FROM {table} USING unnest({arrays}) AS gone ({', '.join(f'g_{name}' for name in names)})"
        f" WHERE {' AND '.join(f'{table}.{name} = gone.g_{name}' for name in names)}"
    )
    return f"DELETE FROM {table} WHERE {' AND '.join(f'{name} = ?' for name in names)}", every


def _type(table: str, name: str) -> str:
    if name == "value":
        return "text"
    return "float8" if table == "search_number" and name in {"low", "high"} else "bigint"


_INSERTS: Final = {table: _insert(table) for table in _COLUMNS}
_DELETES: Final = {table: _delete(table) for table in _COLUMNS}


@dataclass(frozen=True, slots=True)
class Change:
    """The index rows of one resource (``key``) before and after, each with its person key."""

    key: int
    old_shard: int
    old: Rows
    new_shard: int
    new: Rows


def write(session: Session, changes: Iterable[Change]) -> None:
    """Bring the index rows of resources from one state to another."""
    gone: dict[str, list[tuple[Any, ...]]] = {table: [] for table in _COLUMNS}
    come: dict[str, list[tuple[Any, ...]]] = {table: [] for table in _COLUMNS}
    for change in changes:
        moved = change.old_shard != change.new_shard
        for table in _COLUMNS:
            old, new = change.old.tables[table], change.new.tables[table]
            gone[table] += [(*row, change.key, change.old_shard) for row in (old if moved else old - new)]
            come[table] += [(*row, change.key, change.new_shard) for row in (new if moved else new - old)]
    for table in _COLUMNS:
        _run(session, _DELETES[table], table, gone[table])
        _run(session, _INSERTS[table], table, come[table])


def _run(session: Session, statement: tuple[str, str], table: str, rows: list[tuple[Any, ...]]) -> None:
    if not rows:
        return
    if session.dialect == "sqlite":
        session.connection.executemany(statement[0], sorted(rows))
        return
    columns = zip(*sorted(rows), strict=True)  # sorted: neighbours in the index are written together
    names = (*_COLUMNS[table], "key", "shard")
    session.connection.execute(statement[1], dict(zip(names, map(list, columns), strict=True)))
