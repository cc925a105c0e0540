"""HUD CSV from the store: what a source's rows say now, edits in FHIR and outcomes of referrals included.

Its own words a source simply gets back. What somebody else wrote into its records (a hospital's answer to a referral,
a corrected address) is a disclosure: it is told where the Organizations of the projects that hold the row may see it,
with an audit record on disk before the row is written; else the row says what the source itself said last.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import chain
from typing import Final

from gateway.codecs.hmis_csv import write_rows
from gateway.exchange.audit_event import DISCLOSE
from gateway.exchange.deliver import Gatekeeper
from gateway.exchange.hmis_extra import columns_kept, rows_kept, shown
from gateway.exchange.hmis_hash import hash_rows
from gateway.exchange.hmis_joined import SENT
from gateway.exchange.hmis_rows import facts_of, order_of
from gateway.exchange.hmis_versions import columns_of
from gateway.exchange.ports.resources import Stored
from gateway.exchange.ports.store import Reading
from gateway.kernel.fhir import Resource
from gateway.mapping.hmis.conversions import Source
from gateway.mapping.hmis.explain import part_id, restore_row
from gateway.mapping.hmis.spec import Read, load_spec
from gateway.mapping.hmis.tables import FileMap, load_maps

PAGE_ROWS: Final = 500
OWN: Final = "\x1f"  # stands before the name of a column that is not HUD's, so that the two are never confused


@dataclass(frozen=True, slots=True)
class Asking:
    """How an export asks whether it may tell what others wrote.

    Args:
        gate: the gate in front of one Organization (``Organization/id``), over the reading of the export.
        audit: puts AuditEvents on disk before it returns.
    """

    gate: Callable[[str], Gatekeeper]
    audit: Callable[[Sequence[Resource]], None]


class StoreExport:
    """One source's rows as an export of a format year.

    Args:
        export: cells of Export.csv (ExportID, ExportDate, period …); every row gets its ExportID.
        asking: the gate for what others wrote.
    """

    def __init__(
        self, read: Read, source: str, version: str, export: dict[str, str], *, asking: Asking, hash_names: bool = False
    ) -> None:
        self._asking = asking
        self._spec = load_spec(read, version)
        self._source, self._export, self._hash = source, export, hash_names
        self._bound = Source(source)
        self._maps = load_maps(read, self._spec, self._bound)
        self.rows: dict[str, int] = {}

    def write(self, reading: Reading, write: Callable[[str, Iterable[str]], None]) -> None:
        """Every file of the set, with the columns of the source's own, and its own files; files without rows too.

        A hashed export has neither: nobody knows which of them name a person.
        """
        for name in order_of(self._spec):
            table = self._maps[name]
            columns, own = columns_of(table.file), [] if self._hash else columns_kept(reading, self._source, name)
            rows = iter([self._export]) if name == "Export" else self._of(reading, table, own)
            listed = self._listed(name, columns, own, rows)
            if self._hash:
                listed = chain([next(listed)], hash_rows(name, columns, listed))
            write(f"{name}.csv", write_rows(listed))
        if not self._hash:
            for name in sorted(set(reading.rows.extra_files(self._source)) - {*self._maps, SENT}):
                write(name, write_rows(self._counted(name, rows_kept(reading, self._source, name))))

    def _listed(
        self, name: str, columns: list[str], own: list[str], rows: Iterator[dict[str, str]]
    ) -> Iterator[list[str]]:
        yield [*columns, *map(shown, own)]
        for row in rows:
            self.rows[name] = self.rows.get(name, 0) + 1
            yield [row.get(column, "") for column in (*columns, *(f"{OWN}{column}" for column in own))]

    def _counted(self, name: str, rows: Iterator[list[str]]) -> Iterator[list[str]]:
        yield next(rows)
        for row in rows:
            self.rows[name.removesuffix(".csv")] = self.rows.get(name.removesuffix(".csv"), 0) + 1
            yield row

    def _of(self, reading: Reading, table: FileMap, own: list[str]) -> Iterator[dict[str, str]]:
        after, file = "", table.file.name
        while states := reading.rows.page(self._source, file, after, PAGE_ROWS):
            after = states[-1].key
            keys = [state.key for state in states]
            texts = reading.rows.extras(self._source, file, keys) if own else {}
            others = _Others(reading, self._bound, self._asking.gate, table, self._export.get("ExportID", ""))
            rows = restored(reading, table, keys, others.told)
            if others.events:
                self._asking.audit(others.events)
            for key, row in rows.items():
                extra = {f"{OWN}{name}": cell for name, cell in json.loads(texts.get(key, "{}")).items()}
                yield {**row, **extra, "ExportID": self._export.get("ExportID", "")}


@dataclass(slots=True)
class _Others:
    """What others wrote into the records behind some rows of a file, as far as it may be told."""

    reading: Reading
    bound: Source
    gate: Callable[[str], Gatekeeper]
    table: FileMap
    export: str
    events: list[Resource] = field(default_factory=list)  # of what is told, and of what is denied

    def told(self, key: str, stored: Stored) -> Stored | None:
        """The record as the row may tell it: as it stands, else as the source last wrote it; None: it never did."""
        if stored.source == self.bound.name or self._permitted(key, stored):
            return stored
        version: Stored | None = stored
        while version is not None and (version.source != self.bound.name or version.deleted):
            before = version.version - 1
            version = self.reading.resources.version(stored.type, stored.id, before) if before else None
        return version

    def _permitted(self, key: str, stored: Stored) -> bool:
        owners = self._owners(key)
        for owner in owners:
            gate = self.gate(owner)
            released = gate.release([stored])
            self.events.append(
                gate.event(released, activity=DISCLOSE, address=f"hmis {self.bound.name}", id_=self.export)
            )
            if not released.resources or _content(released.resources[0]) != _content(stored):
                return False
        return bool(owners)

    def _owners(self, key: str) -> list[str]:
        """``Organization/id`` of those who get the row: of the projects that hold it, of a client's row of them all."""
        rows, name = self.reading.rows, self.bound.name
        if self.table.file.name == "Organization":
            return [f"Organization/{self.bound.id('Organization', key)}"]
        state = rows.get(name, self.table.file.name, [key]).get(key)
        if state is None:
            return []
        held = rows.get(name, "Enrollment", [state.enrollment]).values() if state.enrollment else ()
        projects = {state.project, *(one.project for one in held)} - {""}
        if not projects and state.person:
            projects = {one.project for one in rows.of_persons(name, "Enrollment", [state.person])}
        found = rows.get(name, "Project", sorted(projects))
        if len(found) != len(projects):
            return []  # a project that nobody knows may belong to anybody
        keys = sorted({facts_of(one).get("OrganizationID", "") for one in found.values()} - {""})
        return [f"Organization/{self.bound.id('Organization', one)}" for one in keys]


def _content(stored: Stored) -> Resource:
    """What a row is made of: links between records stand in none."""
    found: Resource = json.loads(stored.body)
    return {name: value for name, value in found.items() if name not in ("link", "meta")}


def restored(
    reading: Reading, table: FileMap, keys: Iterable[str], told: Callable[[str, Stored], Stored | None] | None = None
) -> dict[str, dict[str, str]]:
    """Rows of a file by key, as their resources now say; keys without resources are left out.

    Args:
        told: which version of a record the row of a key may tell; None: as it stands.
    """
    wanted = {f"{part.resource}/{part_id(table, part, key)}": (key, part.name) for key in keys for part in table.parts}
    found: dict[str, dict[str, Resource]] = {}
    for reference, current in reading.resources.many(wanted).items():
        key, part_name = wanted[reference]
        stored = current if told is None else told(key, current)
        if stored is None:
            continue
        found.setdefault(key, {})[part_name] = json.loads(stored.body, parse_float=Decimal)
    return {key: restore_row(table, found[key]) for key in dict.fromkeys(k for k, _ in wanted.values()) if key in found}
