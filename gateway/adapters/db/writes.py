"""Writing resources: many at a time, in a dozen statements, whatever their number.

A version, what it is found by, and whom it names are written together; the version before moves to the history. What
is new waits until somebody looks at resources or the transaction commits (:meth:`Session.settle`), so that the new
resources of everybody who shares a commit are one group of statements.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

from sqlalchemy import insert

from gateway.adapters.db.engine import Row, Session, Sql, Statement
from gateway.adapters.db.resources import FORM, RESOURCE, DbResourceReader
from gateway.adapters.db.search import COLUMNS, WIDTH, stored_of
from gateway.adapters.db.search_index import NOTHING, Change, rows_of, write
from gateway.adapters.db.session import Positional
from gateway.codecs.json_text import parse
from gateway.consent.outline import traits_of
from gateway.exchange.ports.resources import Draft, Stored
from gateway.exchange.versions import Facets, NewVersion, View, deletion, next_version
from gateway.kernel.fhir import subject_of
from gateway.kernel.identifiers import key_of
from gateway.profiles.search_parameters import Definitions

_COLUMNS: Final = tuple(column.name for column in RESOURCE.columns)
_ALL: Final = ", ".join(_COLUMNS)
_LOCKED: Final = Sql(
    f"SELECT {COLUMNS}, shard, patients FROM resource r WHERE type = :type AND key IN :keys ORDER BY key", lock=True
)
_INSERT: Final = Positional("resource", _COLUMNS)
_KEEP: Final = Sql(
    f"INSERT INTO resource_history ({_ALL}) SELECT {_ALL} FROM resource WHERE type = :type AND key = :key"
)
_REPLACE: Final = Sql(
    "UPDATE resource SET version = :version, shard = :shard, updated_us = :updated_us, method = :method,"
    " source = :source, owner = :owner, subject = :subject, patients = :patients, present = :present, kind = :kind,"
    " maker = :maker, facets = :facets, body = :body"
    " WHERE type = :type AND key = :key"
)
_NAME: Final = Positional("resource_patient", ("patient", "type", "key", "shard"))
_UNNAME: Final = Sql(
    "DELETE FROM resource_patient WHERE patient = :patient AND type = :type AND key = :key AND shard = :shard"
)
_FORM: Final = Statement(insert(FORM))
_NO_FORM: Final = Sql("DELETE FROM consent_form WHERE subject = :subject AND key = :key")
_WAITING: Final = 1_000  # new resources that wait at most
_HOLD: Final = Sql("SELECT pg_advisory_xact_lock(:key)", apart=True)


@dataclass(frozen=True, slots=True)
class _Current:
    """The newest version of a resource, its person key and the patients that it names."""

    stored: Stored
    shard: int
    patients: tuple[str, ...]


_Written: TypeAlias = tuple[_Current | None, NewVersion]  # what was there, what comes


class DbResources(DbResourceReader):
    """Reads and writes inside one transaction.

    Args:
        definitions: the search parameters to index by.
        view: what consent looks at in a resource, packed (gateway.consent.view).
    """

    def __init__(self, session: Session, definitions: Definitions, view: View) -> None:
        super().__init__(session)
        self._definitions = definitions
        self._view = view
        session.write_waiting = self._write_now

    @property
    def memo(self) -> dict[Any, Any]:
        """What was worked out from the resources in this transaction; every write empties it."""
        return self._session.memo

    def hold(self, name: str) -> None:
        """Wait for and hold a name until the transaction ends; SQLite has one writer, so it holds everything."""
        if self._session.dialect == "postgresql":
            self._session.run(_HOLD, key=key_of(name))

    def put(self, draft: Draft, *, now_us: int) -> Stored:
        """Write a new version unless the content is the newest already."""
        return self.put_all([draft], now_us=now_us)[0]

    def put_all(self, drafts: Sequence[Draft], *, now_us: int) -> list[Stored]:
        """As :meth:`put` for many, in order, at a fraction of the round trips."""
        answers: list[Stored] = []
        group: dict[str, Draft] = {}
        for draft in drafts:
            reference = f"{draft.resource.get('resourceType')}/{draft.resource.get('id')}"
            if reference in group:  # a second version of one resource follows the first
                answers += self._put_group(group, now_us)
                group = {}
            group[reference] = draft
        return answers + self._put_group(group, now_us)

    def _put_group(self, group: dict[str, Draft], now_us: int) -> list[Stored]:
        current = self._locked([reference for reference, draft in group.items() if not draft.fresh])
        answers, changes = [], []
        for reference, draft in group.items():
            before = current.get(reference)
            made = next_version(before.stored if before else None, draft, self._view, now_us=now_us)
            if made is None:
                assert before is not None
                answers.append(before.stored)
                continue
            changes.append((before, made))
            answers.append(made.stored)
        self._write(changes)
        return answers

    def delete(self, type_: str, id_: str, *, now_us: int, source: str = "") -> Stored | None:
        """Write a deletion."""
        reference = f"{type_}/{id_}"
        current = self._locked([reference]).get(reference)
        if current is None or current.stored.deleted:
            return None
        gone = deletion(current.stored, now_us=now_us, source=source)
        facets = Facets(current.shard, "", ())
        self._write([(current, NewVersion(gone, {"resourceType": type_, "id": id_}, facets))])
        return gone

    def _locked(self, references: Sequence[str]) -> dict[str, _Current]:
        """The newest versions, held against other writers until the commit."""
        wanted: dict[str, list[int]] = {}
        for reference in references:
            wanted.setdefault(reference.partition("/")[0], []).append(key_of(reference))
        found: dict[str, _Current] = {}
        for type_ in sorted(wanted):
            for row in self._session.run(_LOCKED, type=type_, keys=sorted(wanted[type_])):
                stored = stored_of(row)
                found[stored.reference] = _Current(stored, row[WIDTH], tuple(row[WIDTH + 1].split()))
        return found

    def _write(self, changes: Sequence[_Written]) -> None:
        """New ones wait; a change of what is there is written now, behind what waits."""
        if not changes:
            return
        self._session.memo.clear()
        later = [one for one in changes if one[0] is not None]
        waiting = self._session.waiting
        waiting.extend(changes if not later else [one for one in changes if one[0] is None])
        if later or len(waiting) > _WAITING:
            self._session.settle()
        if later:
            self._write_now(later)

    def _write_now(self, changes: Sequence[_Written]) -> None:
        session = self._session
        index = [self._change(before, made) for before, made in changes]
        fresh: list[Row] = []
        later: list[dict[str, Any]] = []
        kept: list[dict[str, Any]] = []
        for (before, made), change in zip(changes, index, strict=True):
            values = _values(made, change)
            if before is None:
                fresh.append(values)
                continue
            later.append(dict(zip(_COLUMNS, values, strict=True)))
            if before.stored.version != made.stored.version:
                kept.append({"type": made.stored.type, "key": change.key})
        session.rows(_INSERT, fresh)
        session.many(_KEEP, kept)
        session.many(_REPLACE, later)
        write(session, index)
        gone: list[Row] = []
        come: list[Row] = []
        for (before, made), change in zip(changes, index, strict=True):
            _name(before, made, change.key, gone, come)
        session.many(_UNNAME, [dict(zip(_NAME.names, row, strict=True)) for row in gone])
        session.rows(_NAME, come)
        consents = [one for one in changes if one[1].stored.type == "Consent"]
        if consents:
            session.many(_NO_FORM, [{"subject": subject, "key": key} for subject, key in _formed(consents)])
            rows = (form_row(made.stored, made.facets) for _, made in consents)
            session.many(_FORM, [row for row in rows if row is not None])

    def _change(self, before: _Current | None, made: NewVersion) -> Change:
        """The search index from what the old body gave to what the new one gives."""
        stored = made.stored
        new = NOTHING if stored.method == "DELETE" else rows_of(self._definitions, made.resource)
        key, shard = key_of(f"{stored.type}/{stored.id}"), made.facets.shard
        if before is None:
            return Change(key, shard, NOTHING, shard, new, first=True)
        old = NOTHING if before.stored.deleted else rows_of(self._definitions, parse(before.stored.body))
        return Change(key, before.shard, old, shard, new)


def _formed(changes: Sequence[_Written]) -> list[tuple[str, int]]:
    """Where a Consent may have stood in consent_form before."""
    return [
        (subject_of(parse(before.stored.body)) or "", key_of(before.stored.reference))
        for before, _ in changes
        if before is not None and not before.stored.deleted
    ]


def form_row(stored: Stored, facets: Facets) -> dict[str, Any] | None:
    """The row of consent_form of a live Consent; None for one of nobody or without an outline."""
    found = traits_of(stored.facets).outline
    if found is None or not facets.subject or stored.deleted:
        return None
    place = {"subject": facets.subject, "key": key_of(stored.reference), "shard": facets.shard}
    return {**place, "form": found.form, "low_us": found.low_us, "high_us": found.high_us}


def _values(made: NewVersion, change: Change) -> Row:
    """The row of resource, in the order of its columns."""
    stored, facets = made.stored, made.facets
    traits = traits_of(stored.facets)
    return (
        stored.type, change.key, stored.version, facets.shard, stored.id, stored.updated_us, stored.method,
        stored.source, stored.owner, facets.subject, " ".join(facets.patients), change.new.present, traits.kind,
        traits.maker, stored.facets, stored.body,
    )  # fmt: skip


def _name(before: _Current | None, made: NewVersion, key: int, gone: list[Row], come: list[Row]) -> None:
    """Rows of resource_patient that go and that come."""
    type_, shard, patients = made.stored.type, made.facets.shard, made.facets.patients
    if before is None:
        come += [(_patient_key(patient), type_, key, shard) for patient in patients]
        return
    old = {(patient, before.shard) for patient in before.patients}
    new = {(patient, shard) for patient in patients}
    for some, rows in ((old - new, gone), (new - old, come)):
        rows += [(key_of(patient), type_, key, shard) for patient, shard in sorted(some)]


_patient_key: Final = lru_cache(maxsize=1_024)(key_of)  # the resources of one person come together
