"""HUD CSV from the store: what a source's rows say now, edits in FHIR and outcomes of referrals included."""

import json
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from itertools import chain
from typing import Final

from gateway.codecs.hmis_csv import write_rows
from gateway.exchange.hmis_hash import hash_rows
from gateway.exchange.hmis_rows import ORDER
from gateway.exchange.hmis_versions import columns_of
from gateway.exchange.ports.store import Reading
from gateway.kernel.fhir import Resource
from gateway.mapping.hmis.conversions import Source
from gateway.mapping.hmis.explain import part_id, restore_row
from gateway.mapping.hmis.spec import Read, load_spec
from gateway.mapping.hmis.tables import FileMap, load_maps

PAGE_ROWS: Final = 500


class StoreExport:
    """One source's rows as an export of a format year.

    Args:
        export: cells of Export.csv (ExportID, ExportDate, period …); every row gets its ExportID.
    """

    def __init__(
        self, read: Read, source: str, version: str, export: dict[str, str], *, hash_names: bool = False
    ) -> None:
        self._spec = load_spec(read, version)
        self._source, self._export, self._hash = source, export, hash_names
        self._maps = load_maps(read, self._spec, Source(source))
        self.rows: dict[str, int] = {}

    def write(self, reading: Reading, write: Callable[[str, Iterable[str]], None]) -> None:
        """Every file of the set; files without rows have their header."""
        for name in ORDER:
            table = self._maps[name]
            columns = columns_of(table.file)
            rows = iter([self._export]) if name == "Export" else self._of(reading, table)
            listed = self._listed(name, columns, rows)
            if self._hash:
                listed = chain([next(listed)], hash_rows(name, columns, listed))
            write(f"{name}.csv", write_rows(listed))

    def _listed(self, name: str, columns: list[str], rows: Iterator[dict[str, str]]) -> Iterator[list[str]]:
        yield columns
        for row in rows:
            self.rows[name] = self.rows.get(name, 0) + 1
            yield [row.get(column, "") for column in columns]

    def _of(self, reading: Reading, table: FileMap) -> Iterator[dict[str, str]]:
        after = ""
        while states := reading.rows.page(self._source, table.file.name, after, PAGE_ROWS):
            after = states[-1].key
            for row in restored(reading, table, [state.key for state in states]).values():
                yield {**row, "ExportID": self._export["ExportID"]}


def restored(reading: Reading, table: FileMap, keys: Iterable[str]) -> dict[str, dict[str, str]]:
    """Rows of a file by key, as their resources now say; keys without resources are left out."""
    wanted = {f"{part.resource}/{part_id(table, part, key)}": (key, part.name) for key in keys for part in table.parts}
    found: dict[str, dict[str, Resource]] = {}
    for reference, stored in reading.resources.many(wanted).items():
        key, part_name = wanted[reference]
        found.setdefault(key, {})[part_name] = json.loads(stored.body, parse_float=Decimal)
    return {key: restore_row(table, found[key]) for key in dict.fromkeys(k for k, _ in wanted.values()) if key in found}
