"""HUD CSV from the store: what a source's rows say now, edits in FHIR and outcomes of referrals included.

Its own words a source simply gets back. What somebody else wrote into its records is told as far as the agencies that
hold the row may see it (hmis_release.py); else the row says what the source itself said last.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from functools import partial
from itertools import chain
from typing import Final

from gateway.codecs.hmis_csv import write_rows
from gateway.exchange.hmis_extra import columns_kept, rows_kept, shown
from gateway.exchange.hmis_hash import hash_rows
from gateway.exchange.hmis_joined import FORMAT, SENT
from gateway.exchange.hmis_release import NOTICES_FILE, Agencies, Asking
from gateway.exchange.hmis_rows import order_of
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


class StoreExport:
    """One source's rows as an export of a format year.

    Args:
        export: cells of Export.csv (ExportID, ExportDate, period …); every row gets its ExportID.
        asking: the gate for what others wrote.
        audit: puts AuditEvents on disk before it returns.
    """

    def __init__(
        self, read: Read, source: str, version: str, export: dict[str, str], *, asking: Asking,
        audit: Callable[[Sequence[Resource]], None], hash_names: bool = False,
    ) -> None:  # fmt: skip
        self._asking, self._audit = asking, audit
        self._spec = load_spec(read, version)
        self._source, self._export, self._hash = source, export, hash_names
        self._bound = Source(source)
        self._maps = load_maps(read, self._spec, self._bound)
        self.rows: dict[str, int] = {}

    def write(self, reading: Reading, write: Callable[[str, Iterable[str]], None]) -> None:
        """Every file of the set, with the columns of the source's own, and its own files; files without rows too.

        A hashed export has neither: nobody knows which of them name a person. Notices of the law that go with rows
        stand in a file of their own, where there are any.
        """
        agencies = Agencies(reading, self._bound, self._asking, self._export.get("ExportID", ""))
        for name in order_of(self._spec):
            table = self._maps[name]
            columns, own = columns_of(table.file), [] if self._hash else columns_kept(reading, self._source, name)
            rows = iter([self._export]) if name == "Export" else self._of(reading, table, own, agencies)
            listed = self._listed(name, columns, own, rows)
            if self._hash:
                listed = chain([next(listed)], hash_rows(name, columns, listed))
            write(f"{name}.csv", write_rows(listed))
        if not self._hash:
            for name in sorted(set(reading.rows.extra_files(self._source)) - {*self._maps, SENT, FORMAT}):
                write(name, write_rows(self._counted(name, rows_kept(reading, self._source, name))))
        if len(notices := agencies.notice_rows()) > 1:
            write(NOTICES_FILE, write_rows(notices))

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

    def _of(self, reading: Reading, table: FileMap, own: list[str], agencies: Agencies) -> Iterator[dict[str, str]]:
        after, file = "", table.file.name
        while states := reading.rows.page(self._source, file, after, PAGE_ROWS):
            after = states[-1].key
            keys = [state.key for state in states]
            texts = reading.rows.extras(self._source, file, keys) if own else {}
            rows = restored(reading, table, keys, partial(agencies.told, table))
            if events := agencies.events():
                self._audit(events)
            for key, row in rows.items():
                yield self._with(row, texts.get(key, "{}"))
        yield from self._waiting(reading, file, own)

    def _waiting(self, reading: Reading, file: str, own: list[str]) -> Iterator[dict[str, str]]:
        """Rows that name what has not come: the export says that it is everything, and what is absent is deleted."""
        after = ""
        while states := reading.rows.waiting(self._source, file, after, PAGE_ROWS):
            after = states[-1].key
            texts = reading.rows.extras(self._source, file, [state.key for state in states]) if own else {}
            for state in states:
                yield self._with(json.loads(state.cells), texts.get(state.key, "{}"))

    def _with(self, row: dict[str, str], extras: str) -> dict[str, str]:
        extra = {f"{OWN}{name}": cell for name, cell in json.loads(extras).items()}
        return {**row, **extra, "ExportID": self._export.get("ExportID", "")}


def format_of(reading: Reading, source: str) -> str:
    """The format of the source's latest export: ``2024``, ``2026`` or the name of another set of tables."""
    return reading.rows.extras(source, FORMAT, [FORMAT]).get(FORMAT, "").rpartition(" ")[2] or "2026"


def restored(
    reading: Reading, table: FileMap, keys: Iterable[str], told: Callable[[str, Stored], Stored | None]
) -> dict[str, dict[str, str]]:
    """Rows of a file by key, as their resources now say; keys without resources are left out.

    Args:
        told: which version of a record the row of a key may tell.
    """
    wanted = {f"{part.resource}/{part_id(table, part, key)}": (key, part.name) for key in keys for part in table.parts}
    found: dict[str, dict[str, Resource]] = {}
    for reference, current in reading.resources.many(wanted).items():
        key, part_name = wanted[reference]
        stored = told(key, current)
        if stored is None:
            continue
        found.setdefault(key, {})[part_name] = json.loads(stored.body, parse_float=Decimal)
    return {key: restore_row(table, found[key]) for key in dict.fromkeys(k for k, _ in wanted.values()) if key in found}
