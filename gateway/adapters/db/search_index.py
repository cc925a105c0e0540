"""Narrow index tables beside the resources: what the search parameters find, as numbers and folded text.

A row belongs to a source (gateway.profiles.search_parameters), so that parameters that look at the same path share it.
Tokens are 63-bit hashes, one a token: the upper bits tell source and system, so that all codes of a system are one run;
``search_system`` knows the systems of a source, so that a code without its system is found by a few hashes, and which
dates some resource has several of (:data:`SEVERAL`). Every other
primary key begins with what is probed for a known resource; a second index serves the search for unknown ones. Which
parameters find anything at all is one number beside the body. Rows are derived from the body alone, so an update writes
only the difference to what the old body gave.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import BigInteger, Column, Float, Index, Integer, SmallInteger, Table
from sqlalchemy import text as sa_text

from gateway.adapters.db.engine import Session
from gateway.adapters.db.schema import METADATA, partial_index, text_c
from gateway.codecs.json_text import write as write_json
from gateway.exchange.search_match import URI_LIMIT, present
from gateway.kernel.fhir import JsonObject, Resource
from gateway.kernel.identifiers import key_of
from gateway.profiles.search_parameters import Definitions, Source
from gateway.profiles.search_values import dates, folded, links, quantities, strings, token_texts, tokens, uris


def _number(name: str) -> "Column[int]":
    return Column(name, BigInteger, primary_key=True, autoincrement=False)


def _source() -> "Column[int]":
    return Column("p", Integer, primary_key=True, autoincrement=False)


def _shard() -> "Column[int]":
    return Column("shard", SmallInteger, primary_key=True, autoincrement=False)


LONG_US: Final = 2_764_800_000_000  # 32 days; a range that is longer is also found by its end
HASH: Final = Table("search_hash", METADATA, _number("h"), _number("key"), _shard(), sqlite_with_rowid=False)
SYSTEM: Final = Table("search_system", METADATA, _source(), text_c("system", primary_key=True), sqlite_with_rowid=False)
TEXT: Final = Table(
    "search_text",
    METADATA,
    _source(),
    _number("key"),
    text_c("value", primary_key=True),
    _shard(),
    Index("search_text_value", "p", "value", "key"),
    sqlite_with_rowid=False,
)
DATE: Final = Table(
    "search_date",
    METADATA,
    _source(),
    _number("key"),
    _number("low"),
    _number("high"),
    _shard(),
    Index("search_date_low", "p", "low", "key", "high"),
    partial_index("search_date_high", "p", "high", "key", "low", where=sa_text(f"high > low + {LONG_US}")),
    sqlite_with_rowid=False,
)
NUMBER: Final = Table(
    "search_number",
    METADATA,
    _source(),
    _number("key"),
    Column("low", Float(53), primary_key=True),
    Column("high", Float(53), primary_key=True),
    _shard(),
    Index("search_number_low", "p", "low", "key", "high"),
    sqlite_with_rowid=False,
)
LINK: Final = Table(
    "search_link",
    METADATA,
    _source(),
    _number("key"),
    _number("target"),
    _shard(),
    Index("search_link_target", "p", "target", "key"),
    sqlite_with_rowid=False,
)

_COLUMNS: Final = {
    "search_hash": ("h",),
    "search_text": ("p", "value"),
    "search_date": ("p", "low", "high"),
    "search_number": ("p", "low", "high"),
    "search_link": ("p", "target"),
}

TABLES: Final = tuple(_COLUMNS)
_CODE_BITS: Final = 39  # of a token's hash; the 24 above them are those of its source and system


@lru_cache(maxsize=8192)
def number_of(source: str) -> int:
    """The number of a source by its name: 31 bits of a hash; a test sees that those that ship differ."""
    return key_of(source) >> 32


def identified(source: str) -> str:
    """The source of the identifiers that stand in the references of a source (``:identifier``)."""
    return f"{source}#identifier"


def text_number(source: str) -> int:
    """The number under which the texts of a token source stand (``:text``)."""
    return number_of(f"{source}:text")


@lru_cache(maxsize=16_384)  # codes repeat, identifiers do not
def token_hash(source: str, system: str, code: str) -> int:
    """The hash of a token of a source."""
    low = key_of(f"{source}|c|{system}|{code}") & ((1 << _CODE_BITS) - 1)
    return token_run(source, system)[0] | low


@lru_cache(maxsize=8192)
def token_run(source: str, system: str) -> tuple[int, int]:
    """The first and the last hash that a token of a source and system may have; a few others may lie there too."""
    first = key_of(f"{source}|s|{system}") >> _CODE_BITS << _CODE_BITS
    return first, first | ((1 << _CODE_BITS) - 1)


def type_hash(source: str, system: str, code: str, value: str) -> int:
    """The hash of an identifier of a type (``:of-type``)."""
    return key_of(f"{source}|t|{system}|{code}|{value}")


@dataclass(slots=True)
class Rows:
    """The index rows of one resource by table, the systems of its tokens, and the bits of what it has."""

    tables: dict[str, set[tuple[Any, ...]]] = field(default_factory=lambda: {name: set() for name in _COLUMNS})
    systems: set[tuple[int, str]] = field(default_factory=set)
    present: int = 0


SEVERAL: Final = "several"  # stands for the system of a source of dates
NOTHING: Final = Rows()  # of what is not there; nobody adds to it

# rows by table, tables without any left out; systems; bits
Found: TypeAlias = tuple[tuple[tuple[str, frozenset[tuple[Any, ...]]], ...], frozenset[tuple[int, str]], int]


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
    resource. What was met lately is kept: when the young memory is full it becomes the old one, and what is met there
    is young again.
    """

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._young: dict[tuple[str, str, object], Found] = {}
        self._old: dict[tuple[str, str, object], Found] = {}
        self._sources: dict[str, dict[str, tuple[Source, ...]]] = {}  # by type and element, once they were asked for

    def rows(self, resource: Resource) -> Rows:
        """The index rows of a resource."""
        type_, rows = resource["resourceType"], Rows()
        known = self._sources.get(type_)
        if known is None:
            known = self._sources[type_] = {}
        for name, value in resource.items():
            if name == "meta" and isinstance(value, dict):
                self._add_meta(rows, type_, value, known)
                continue
            sources = known.get(name)
            if sources is None:
                sources = self._beginning_at(type_, name, known)
            if sources:
                for item in value if isinstance(value, list) else (value,):
                    if not isinstance(item, list):  # no FHIR: a path would find nothing in it
                        _join(rows, self._found(type_, name, item, sources))
        for source in self._definitions.always(type_):
            _add(rows, source, resource)
        found = rows.tables["search_date"]
        if len(found) > 1:
            numbers = [row[0] for row in found]
            rows.systems.update((one, SEVERAL) for one in set(numbers) if numbers.count(one) > 1)
        return rows

    def _beginning_at(self, type_: str, name: str, known: dict[str, tuple[Source, ...]]) -> tuple[Source, ...]:
        """The sources that begin at an element, or at one of ``meta``, and give rows."""
        head, _, part = name.partition(".")
        found = tuple(
            source
            for source in self._definitions.beginning_at(type_, head)
            if _gives_rows(source) and (not part or re.split(r"[.\[]", f"{source.parameter.path}..")[1] in (part, ""))
        )
        if len(known) < _NAMES_LIMIT:  # names come from senders
            known[name] = found
        return found

    def _add_meta(self, rows: Rows, type_: str, meta: JsonObject, known: dict[str, tuple[Source, ...]]) -> None:
        """The members of ``meta``, each as a whole: labels come in few combinations."""
        for part, value in meta.items():
            name = _META.get(part) or f"meta.{part}"
            sources = known.get(name)
            if sources is None:
                sources = self._beginning_at(type_, name, known)
            if not sources:
                continue
            if part in _OURS:
                for source in sources:
                    _add(rows, source, {"resourceType": type_, "meta": {part: value}})
            else:
                _join(rows, self._found(type_, name, value, sources))

    def _found(self, type_: str, name: str, value: Any, sources: tuple[Source, ...]) -> Found:
        key = type_, name, value if type(value) is str else write_json(value)
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key) or self._look(type_, name, value, sources)
            if len(key[2]) <= _KNOWN_SIZE:
                if len(self._young) >= _KNOWN_LIMIT:
                    self._old, self._young = self._young, {}
                self._young[key] = found
        return found

    def _look(self, type_: str, name: str, value: Any, sources: tuple[Source, ...]) -> Found:
        rows = Rows()
        head, _, part = name.partition(".")
        node = {"resourceType": type_, head: {part: value} if part else value}
        for source in sources:
            _add(rows, source, node)
        tables = tuple((table, frozenset(found)) for table, found in rows.tables.items() if found)
        return tables, frozenset(rows.systems), rows.present


_META: Final = {
    part: f"meta.{part}" for part in ("versionId", "lastUpdated", "source", "profile", "security", "tag", "extension")
}
_OURS: Final = frozenset({"versionId", "lastUpdated"})  # other in every resource, so not worth remembering
_NAMES_LIMIT: Final = 400  # elements of a type whose sources are remembered
_KNOWN_LIMIT: Final = 8_192  # elements that are remembered in each of the two memories
_KNOWN_SIZE: Final = 2_000  # bytes of an element that is worth it


def _join(rows: Rows, found: Found) -> None:
    tables, systems, bits = found
    for table, some in tables:
        rows.tables[table] |= some
    if systems:
        rows.systems |= systems
    rows.present |= bits


def _gives_rows(source: Source) -> bool:
    return source.parameter.kind in _ADD and not all(one.code in _OWN_COLUMNS for one in source.served)


def _add(rows: Rows, source: Source, node: Resource) -> None:
    """What a source finds in a resource or in a part of it."""
    if not _gives_rows(source):
        return
    _ADD[source.parameter.kind](rows, source, node)
    for parameter in source.served:
        if not rows.present & parameter.bit and present(parameter, node):
            rows.present |= parameter.bit


_OWN_COLUMNS: Final = frozenset({"_id", "_lastUpdated"})  # columns of the resource table serve these


def _add_tokens(rows: Rows, source: Source, node: Resource) -> None:
    name, hashes = source.name, rows.tables["search_hash"]
    for token in tokens(source.parameter, node):
        hashes.add((token_hash(name, token.system, token.code),))
        rows.systems.add((number_of(name), token.system))
        hashes.update((type_hash(name, *coding, token.code),) for coding in token.types)
    number = text_number(name)
    rows.tables["search_text"].update((number, text) for text in token_texts(source.parameter, node))


def _add_strings(rows: Rows, source: Source, node: Resource) -> None:
    found = strings(source.parameter, node, source.without)
    rows.tables["search_text"].update((number_of(source.name), folded(text)) for text in found)


def _add_uris(rows: Rows, source: Source, node: Resource) -> None:
    found = uris(source.parameter, node)
    rows.tables["search_text"].update((number_of(source.name), uri[:URI_LIMIT]) for uri in found)


def _add_dates(rows: Rows, source: Source, node: Resource) -> None:
    found = dates(source.parameter, node)
    rows.tables["search_date"].update((number_of(source.name), low, high) for low, high in found)


def _add_quantities(rows: Rows, source: Source, node: Resource) -> None:
    found = quantities(source.parameter, node)
    rows.tables["search_number"].update((number_of(source.name), one.low, one.high) for one in found)


def _add_links(rows: Rows, source: Source, node: Resource) -> None:
    name = source.name
    for link in links(source.parameter, node):
        if link.target:
            rows.tables["search_link"].add((number_of(name), key_of(link.target)))
        if link.identifier is not None:
            inside, token = identified(name), link.identifier
            rows.tables["search_hash"].add((token_hash(inside, token.system, token.code),))
            rows.systems.add((number_of(inside), token.system))


_ADD: Final = {
    "token": _add_tokens,
    "string": _add_strings,
    "uri": _add_uris,
    "date": _add_dates,
    "number": _add_quantities,
    "quantity": _add_quantities,
    "reference": _add_links,
}


_UNLESS: Final = " ON CONFLICT DO NOTHING"


def _insert(table: str) -> tuple[str, str]:
    """For SQLite a statement a row, for PostgreSQL one for all rows, which come as arrays.

    A row that is there already is as it should be: a rebuild may have met the resource first.
    """
    names = (*_COLUMNS[table], "key", "shard")
    into = f"INSERT INTO {table} ({', '.join(names)})"
    arrays = ", ".join(f"%({name})s::{_type(table, name)}[]" for name in names)
    return (
        f"{into} VALUES ({', '.join('?' * len(names))}){_UNLESS}",
        f"{into} SELECT * FROM unnest({arrays}){_UNLESS}",
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
    if name in _TYPES:
        return _TYPES[name]
    return "float8" if table == "search_number" and name in {"low", "high"} else "bigint"


_TYPES: Final = {"value": "text", "system": "text", "p": "int", "shard": "smallint"}


_INSERTS: Final = {table: _insert(table) for table in _COLUMNS}
# of a resource that nobody could see before: PostgreSQL looks up every row that might be there, a quarter of an import
_FIRST: Final = {table: (one, every.removesuffix(_UNLESS)) for table, (one, every) in _INSERTS.items()}
_DELETES: Final = {table: _delete(table) for table in _COLUMNS}
_SYSTEMS: Final = (
    "INSERT INTO search_system (p, system) VALUES (?, ?) ON CONFLICT DO NOTHING",
    "INSERT INTO search_system (p, system) SELECT * FROM unnest(%(p)s::int[], %(system)s::text[])"
    " ON CONFLICT DO NOTHING",
)
_SYSTEMS_KNOWN: Final = 20_000


class Change(NamedTuple):
    """The index rows of one resource (``key``) before and after, each with its person's shard."""

    key: int
    old_shard: int
    old: Rows
    new_shard: int
    new: Rows
    first: bool = False  # nobody could see the resource before: none of its rows is there


def write(session: Session, changes: Iterable[Change]) -> None:
    """Bring the index rows of resources from one state to another."""
    gone: dict[str, list[tuple[Any, ...]]] = {table: [] for table in _COLUMNS}
    come: dict[str, list[tuple[Any, ...]]] = {table: [] for table in _COLUMNS}
    first: dict[str, list[tuple[Any, ...]]] = {table: [] for table in _COLUMNS}
    systems: set[tuple[int, str]] = set()
    for change in changes:
        moved = change.old_shard != change.new_shard
        own, was = (change.key, change.new_shard), (change.key, change.old_shard)
        for table, new in change.new.tables.items():
            old = change.old.tables[table]
            if not new and not old:
                continue
            if old:
                gone[table] += [(*row, *was) for row in (old if moved else old - new)]
                new = new if moved else new - old
            (first if change.first else come)[table] += [(*row, *own) for row in new]
        systems |= change.new.systems
    for table, names in _COLUMNS.items():
        _run(session, _DELETES[table], (*names, "key", "shard"), gone[table])
        _run(session, _INSERTS[table], (*names, "key", "shard"), come[table])
        _run(session, _FIRST[table], (*names, "key", "shard"), first[table])
    fresh = systems - session.systems
    if fresh:  # systems stay when the last token of theirs goes: a search looks once in vain
        _run(session, _SYSTEMS, ("p", "system"), list(fresh))
        if len(session.systems) > _SYSTEMS_KNOWN:
            session.systems.clear()
        session.systems.update(fresh)


def _run(session: Session, statement: tuple[str, str], names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    if not rows:
        return
    rows.sort()  # neighbours in the index are written together
    if session.dialect == "sqlite":
        session.connection.executemany(statement[0], rows)
        return
    columns = map(list, zip(*rows, strict=True))
    session.connection.execute(statement[1], dict(zip(names, columns, strict=True)))
