"""FHIR back to HUD CSV: every cell of every row, as FHIR now says it (a resource edited in FHIR changes its cell)."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import chain
from typing import Any, Final

from gateway.codecs.hmis_csv import Header, write_rows
from gateway.exchange.hmis_convert import Scratch
from gateway.exchange.hmis_convert_file import unstretched
from gateway.exchange.hmis_hash import hash_rows
from gateway.exchange.hmis_manifest import FILE_EXTENSION
from gateway.exchange.hmis_versions import CSV_VERSION, Lost, Revision
from gateway.kernel.errors import Invalid
from gateway.kernel.fhir import Resource
from gateway.mapping.hmis.conversions import Source
from gateway.mapping.hmis.explain import beside_of, merge_row, read_back, row_of
from gateway.mapping.hmis.spec import Read, load_spec
from gateway.mapping.hmis.tables import CELLS_EXTENSION, FileMap, Part, load_maps

ROWS_A_BUCKET: Final = 50_000
Write = Callable[[str, Iterable[str]], None]  # path in the export, pieces of text


@dataclass(frozen=True, slots=True)
class FileForm:
    """How one file of the export looked."""

    path: str
    code: str
    header: tuple[str, ...]
    blank: frozenset[int]
    lead: int = 0  # blank rows before the header


@dataclass(slots=True)
class Rebuilt:
    """What an export back did."""

    rows: dict[str, int] = field(default_factory=dict)
    foreign: dict[str, int] = field(default_factory=dict)  # resources that no row of an export stands behind
    orphans: dict[str, int] = field(default_factory=dict)  # rows whose main resource is gone: left out


class Rebuild:
    """Reads resources once into buckets of rows, then writes each file in the order of its rows."""

    def __init__(
        self,
        read: Read,
        scratch: Scratch,
        *,
        neutralise: tuple[str, ...] = (),
        version: str | None = None,
        hash_names: bool = False,
    ) -> None:
        self._read, self._scratch = read, scratch
        self._neutralise, self._version, self._hash = neutralise, version, hash_names
        self._found = ""
        self.lost = Lost()
        self._buckets: dict[tuple[str, int], int] = {}
        self.report = Rebuilt()
        self.forms: list[FileForm] = []
        self._maps: Mapping[str, FileMap] = {}
        self._parts: dict[tuple[str, str], Part] = {}

    def begin(self, lines: Iterable[bytes]) -> None:
        """Find the manifest of the export among DocumentReferences.

        Raises:
            Invalid: there is none.
        """
        for line in lines:
            resource = _parsed(line, "DocumentReference.ndjson")
            row = row_of(resource)
            if row and row.get("file") == "manifest":
                self._begin(resource, row)
                return
        raise Invalid(
            "no manifest of an export", at="DocumentReference.ndjson", fix="give a folder of doorway hmis convert"
        )

    def take(self, line: bytes, place: str) -> None:
        """One resource as NDJSON text.

        Raises:
            Invalid: not JSON, or not of the form of a resource.
        """
        resource = _parsed(line, place)
        try:
            row = row_of(resource)
            if row is None:
                kind = str(resource.get("resourceType"))
                self.report.foreign[kind] = self.report.foreign.get(kind, 0) + 1
            elif "row" in row:
                self._keep(resource, row)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            fix = "see doorway validate; nothing was written"
            raise Invalid("a resource that is not of the form of R4", at=place, fix=fix) from None

    def _begin(self, manifest: Resource, row: Mapping[str, Any]) -> None:
        self._found = str(row["version"])
        if self._version is not None and (self._version in CSV_VERSION) != (self._found in CSV_VERSION):
            raise Invalid("the resources come from a source of another shape", at="--version", fix="leave it out")
        spec = load_spec(self._read, self._found)
        self._maps = load_maps(self._read, spec, Source(str(row["source"])))
        self._parts = {(name, part.name): part for name, table in self._maps.items() for part in table.parts}
        for content in manifest["content"]:
            for extension in content.get("extension", ()):
                if extension.get("url") == FILE_EXTENSION:
                    told = {p["url"]: next(v for k, v in p.items() if k != "url") for p in extension["extension"]}
                    blank = frozenset(unstretched(str(told.get("blank", ""))))
                    header, lead = tuple(json.loads(told["header"])), int(told.get("lead", 0))
                    self.forms.append(FileForm(content["attachment"]["title"], told["file"], header, blank, lead))

    def _keep(self, resource: Resource, row: Mapping[str, Any]) -> None:
        file, part_name, number = str(row["file"]), str(row.get("part", "")), int(row["row"])
        part = self._parts.get((file, part_name))
        kept: list[Any]
        if part is None:
            text = next(
                (e["valueString"] for e in resource.get("extension", ()) if e.get("url") == CELLS_EXTENSION), "[]"
            )
            kept = [number, part_name.partition(":")[2], json.loads(text)]
        else:
            kept = [number, "cells", read_back(part, resource), beside_of(resource), part.anchor, row.get("width")]
        key = (file, number // ROWS_A_BUCKET)
        bucket = self._buckets.setdefault(key, len(self._buckets))
        self._scratch.add(bucket, json.dumps(kept, ensure_ascii=True))

    def finish(self, write: Write) -> Rebuilt:
        """Write every file of the manifest."""
        for form in self.forms:
            rows, header, revision = self._rows(form), form.header, self._revision(form)
            if revision is not None:
                rows, header = revision.rows(rows), tuple(revision.header)
            if self._hash:
                rows = hash_rows(form.code, header, rows)
            rows = self._harmless(rows)
            write(form.path, write_rows(chain(([] for _ in range(form.lead)), _with_header(header, rows))))
            if revision is not None and revision.drops:
                folder = form.path[: len(form.path) - len(form.path.replace("\\", "/").rpartition("/")[2])]
                path = f"{folder}Custom{form.code}FY{self._found}.csv"
                custom = _with_header(tuple(revision.custom_header), revision.custom(self._rows(form)))
                orphans = dict(self.report.orphans)  # the same rows are read again
                write(path, write_rows(self._harmless(custom)))
                self.report.orphans = orphans
        return self.report

    def _harmless(self, rows: Iterator[list[str]]) -> Iterator[list[str]]:
        starts = self._neutralise
        return ([_harmless(cell, starts) for cell in row] for row in rows) if starts else rows

    def _revision(self, form: FileForm) -> Revision | None:
        if self._version in (None, self._found) or form.code not in self._maps or not form.header:
            return None
        old, new = load_spec(self._read, self._found), load_spec(self._read, str(self._version))
        return Revision(old, new, form.code, form.header, self.lost)

    def _rows(self, form: FileForm) -> Iterator[list[str]]:
        table = self._maps.get(form.code)
        header = Header.of(list(form.header), [c.name for c in table.file.columns] if table else [])
        chunks = sorted(chunk for file, chunk in self._buckets if file == form.code)
        blank = sorted(form.blank)
        count = 0
        for chunk in chunks:
            for number, row in self._bucket(form, table, header, chunk):
                while blank and blank[0] < number:
                    blank.pop(0)
                    yield []
                count += 1
                yield row
        yield from ([] for _ in blank)
        self.report.rows[form.path] = count

    def _bucket(
        self, form: FileForm, table: FileMap | None, header: Header, chunk: int
    ) -> Iterator[tuple[int, list[str]]]:
        rows: dict[int, _Row] = {}
        for line in self._scratch.read(self._buckets[form.code, chunk]):
            number, kind, cells, *rest = json.loads(line)
            row = rows.setdefault(number, _Row())
            if kind == "row":
                row.whole = cells
            elif kind == "extra":
                row.extra = {int(i): cell for i, cell in cells.items()}
            else:
                row.cells.update(cells)
                row.beside.update(rest[0])
                row.anchored = row.anchored or rest[1]
                row.width = rest[2] if rest[2] is not None else row.width
        for number in sorted(rows):
            row = rows[number]
            if row.whole is not None:
                yield number, row.whole
            elif row.anchored and table is not None:
                yield number, row.out(table, header)
            else:
                self.report.orphans[form.path] = self.report.orphans.get(form.path, 0) + 1


@dataclass(slots=True)
class _Row:
    """A row being put together from its resources."""

    cells: dict[str, str] = field(default_factory=dict)
    beside: dict[str, str] = field(default_factory=dict)
    extra: dict[int, str] = field(default_factory=dict)
    whole: list[str] | None = None
    width: int | None = None
    anchored: bool = False

    def out(self, table: FileMap, header: Header) -> list[str]:
        """The cells under the header as it stood."""
        merged = merge_row(table, self.cells, self.beside)
        width = len(header.cells) if self.width is None else self.width
        out = [""] * width
        for column, index in header.position.items():
            if index < width:
                out[index] = merged[column]
        for index, cell in self.extra.items():
            if index < width:
                out[index] = cell
        return out


def _with_header(header: tuple[str, ...], rows: Iterator[list[str]]) -> Iterator[list[str]]:
    if header:
        yield list(header)
    yield from rows


def _harmless(cell: str, starts: tuple[str, ...]) -> str:
    """A cell that a spreadsheet would execute, with an apostrophe before it; numbers such as -5 stay."""
    if cell.startswith(starts) and not cell[1:].replace(".", "", 1).isdigit():
        return "'" + cell
    return cell


def _parsed(line: bytes, place: str) -> Resource:
    try:
        found = json.loads(line, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise Invalid("not JSON", at=place) from error
    if not isinstance(found, dict):
        raise Invalid("not a resource", at=place)
    return found
