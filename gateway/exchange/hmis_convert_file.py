"""One file of an HMIS export to FHIR: rows through the generated function, odd ones through its explainable twin."""

import json
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from gateway.codecs import hmis_csv
from gateway.codecs.hmis_csv import Block
from gateway.exchange.hmis_keys import Seen
from gateway.exchange.hmis_manifest import Households
from gateway.exchange.hmis_report import BUCKETS, WHOLE, FileSeen, Scratch, Share, Sink
from gateway.kernel.fhir import DOORWAY, JsonObject
from gateway.mapping.hmis.compile import FileFunction, compile_file, to_json
from gateway.mapping.hmis.explain import Facts, beside_of, convert_row, row_of
from gateway.mapping.hmis.tables import CELLS_EXTENSION, COMPUTED, RECORD_EXTENSION, ROW_EXTENSION, FileMap

if TYPE_CHECKING:
    from gateway.exchange.hmis_convert import Conversion

DOCUMENT_SYSTEM: Final = f"{DOORWAY}/CodeSystem/hmis-document"
FLUSH_LINES: Final = 512
SHAPES_KEPT: Final = 1 << 16
SMALL_BYTES: Final = 1 << 16  # files below are dealt out block by block
SHARED_BLOCK_BYTES: Final = 1 << 14  # small ones cut the stretches of several processes evenly
PASSING: Final = 0.05  # what it costs to pass a row that another process converts, of what it costs to convert it
_SAFE_KEYS: Final = re.compile(r"[A-Za-z0-9_.:/-]*", re.ASCII).fullmatch  # their own JSON text, one after the other
_UNPRINTABLE: Final = re.compile(r"[\x1f\r\n]")
Cells = list[str]


class FileJob:
    """The rows of one file on their way."""

    def __init__(
        self,
        conversion: "Conversion",
        seen: FileSeen,
        table: FileMap | None,
        sink: Sink,
        scratch: Scratch,
        share: Share = WHOLE,
    ) -> None:
        self.conversion, self.seen, self.table = conversion, seen, table
        self._which, self._processes = share
        self._turn = conversion.seen.index(seen)  # so that small files do not all fall to the first process
        self._sink, self._scratch = sink, scratch
        self.counts: dict[str, int] = {}
        self.rows = self.kept = 0
        self.blank: list[int] = []
        self._buffers: defaultdict[str, list[str]] = defaultdict(list)
        self._buffered = 0
        self.seen_keys = Seen()
        self.file_code = table.file.name if table else f"-{conversion.seen.index(seen) + 1}"

    def summary(self) -> dict[str, Any]:
        """For the report."""
        seen = self.seen
        out: dict[str, Any] = {
            "file": seen.name or None,
            "encoding": seen.encoding,
            "rows": self.rows,
            "kept_whole": self.kept,
        }
        if seen.name:
            out["unknown_columns"] = [seen.header.told(i) for i in seen.header.extra]
            out["missing_columns"] = list(seen.header.missing)
        if self.blank:
            out["blank_rows"] = stretches(self.blank)
        return out

    def run(self) -> None:
        """All rows, then the households of Enrollment."""
        if self.table is None:
            for whose, first, block in self.blocks():
                if whose == 0:
                    for number, row in enumerate(block.rows(), first):
                        self.whole(number, row, "") if row else self.blank.append(number)
                    self.rows += len(block)
        else:
            _Mapped(self, self.table).run()
        if self.seen.name == "Enrollment":
            self._households()
        self._flush()

    def blocks(self) -> Iterator[tuple[int, int, Block]]:
        """Whose a block is, the number of its first row, and the block.

        Whose: 0: this process converts it; -1: another one does, and its keys may come before those of this one's rows;
        1: another one does, and all of this one's rows came before. A process has the same stretch of every large file:
        files are mostly in the order of their clients, so that the ids which it made for one serve for the next.
        """
        number, offset, small = 1, 0, self.seen.bytes < SMALL_BYTES
        size = None if self._processes == 1 else min(SHARED_BLOCK_BYTES, hmis_csv.BLOCK_BYTES)
        ends = [self.seen.bytes * end for end in stretch_ends(self._processes)]
        for index, block in enumerate(self.conversion.blocks(self.seen, size)):
            if block.size and not small:
                owner = min(bisect_right(ends, offset), self._processes - 1)
                yield (owner > self._which) - (owner < self._which), number, block
            else:
                yield 0 if (index + self._turn) % self._processes == self._which else -1, number, block
            number += len(block)
            offset += block.size

    # -- rows kept whole, columns that HUD does not know -------------------------------------------------------------

    def whole(self, number: int, row: list[str], reason: str) -> None:
        """Keep a row that cannot be mapped."""
        self.kept += 1
        self._add("Basic", to_json(self._basic(number, "row", row, reason)))

    def strangers(self, number: int, row: list[str]) -> None:
        """Keep the cells of a row that stand under no column of HUD."""
        known = set(self.seen.header.position.values())
        extra = {str(i): cell for i, cell in enumerate(row) if i not in known and cell}
        if extra:
            self._add("Basic", to_json(self._basic(number, "extra", extra, "")))

    def _basic(self, number: int, part: str, cells: Any, reason: str) -> JsonObject:
        source = self.conversion.source
        extensions: list[JsonObject] = [{"url": ROW_EXTENSION, "valueString": f"{self.file_code}/{part}#{number}"}]
        if reason:
            told = {"url": "reason", "valueString": reason}
            extensions.append({"url": RECORD_EXTENSION, "extension": [told]})
        text = json.dumps(cells, ensure_ascii=True, separators=(",", ":"))
        return {
            "resourceType": "Basic",
            "id": source.id(self.file_code, f"{self.seen.path}#{number}", part),
            "meta": {
                "extension": extensions,
                "source": source.base,
                "security": self.conversion.labels.security(
                    "L3", frozenset({"HEALTH"})
                ),  # unknown content: fail closed
            },
            "code": {"coding": [{"system": DOCUMENT_SYSTEM, "code": part}]},
            "extension": [{"url": CELLS_EXTENSION, "valueString": text}],
        }

    # -- households --------------------------------------------------------------------------------------------------

    def household(self, cells: list[str], at: Mapping[str, int], exit_: str) -> None:
        """Remember a member until the whole file has been read."""
        household = cells[at["HouseholdID"]].strip()
        bucket = self.bucket_of(household)
        if bucket is not None and not cells[at["DateDeleted"]]:
            labels = self.conversion.context.project_labels.get(cells[at["ProjectID"]].strip(), "")
            person, relation = cells[at["PersonalID"]].strip(), cells[at["RelationshipToHoH"]].strip()
            told = (household, person, relation, cells[at["EntryDate"]].strip(), exit_, labels)
            line = "\x1f".join(told)
            if line.count("\x1f") >= len(told) or "\n" in line or "\r" in line:
                line = "\x1f".join(_UNPRINTABLE.sub(" ", each) for each in told)
            self._scratch.add(bucket, line)

    def bucket_of(self, household: str) -> int | None:
        """Where its members are remembered; None: there is no household, or it is another process's."""
        bucket = crc32(household.encode("utf-8", "replace")) % BUCKETS
        return bucket if household and bucket % self._processes == self._which else None

    def _households(self) -> None:
        households = Households(self.conversion)
        for bucket in range(self._which, BUCKETS, self._processes):
            members: dict[str, list[list[str]]] = {}
            for line in self._scratch.read(bucket):
                household, *member = line.split("\x1f")
                members.setdefault(household, []).append(member)
            for household, its in members.items():
                self._add("Group", households.text(household, its))

    # -- out ---------------------------------------------------------------------------------------------------------

    def line(self, kind: str, text: str) -> None:
        """One resource on its way out."""
        self._buffers[kind].append(text)

    def append(self, kind: str) -> Callable[[str], None]:
        """Where lines of a type go; good for the whole file."""
        return self._buffers[kind].append

    def _add(self, kind: str, text: str) -> None:
        self._buffers[kind].append(text)
        self._buffered += 1
        if self._buffered >= FLUSH_LINES:
            self._flush()

    def flush_when_full(self) -> None:
        """Write when some lines have come together: small pieces stay in the processor's cache."""
        if any(len(lines) >= FLUSH_LINES for lines in self._buffers.values()):
            self._flush()

    def _flush(self) -> None:
        for kind, lines in self._buffers.items():
            if lines:
                self.counts[kind] = self.counts.get(kind, 0) + len(lines)
                self._sink(kind, lines)
                lines.clear()
        self._buffered = 0


class _Mapped:
    """The rows of a file that HUD knows."""

    def __init__(self, job: FileJob, table: FileMap) -> None:
        self._job, self._table, self._context = job, table, job.conversion.context
        self._report, self._path = job.conversion.report, job.seen.path
        header, columns = job.seen.header, [column.name for column in table.file.columns]
        self._columns, self._width, self._extra = columns, len(header.cells), bool(header.extra)
        self._order = [header.position.get(column, -1) for column in columns]
        self._straight = self._order == list(range(self._width))
        self._pick = itemgetter(*self._order, *self._order[:1])  # never of one column: that would be a cell and no row
        self._rows: list[Cells] = []
        self._first = 0
        self._key, self._person = columns.index(table.file.key), columns.index(table.person or table.file.key)
        self._computed, self._labels = self._lookups()

    def run(self) -> None:
        """Every block of rows."""
        function = compile_file(self._table, self._job.conversion.ids, checked=self._job.conversion.check is not None)
        remembers = self._computed if self._table.file.name in ("Enrollment", "Export") else None
        key_in_row = self._order[self._key]
        for whose, first, block in self._job.blocks():
            if whose == 0:
                self._job.rows += len(block)
                self._convert(block.rows(), first, function)
                self._job.flush_when_full()
            elif whose > 0 and remembers is None:
                break  # the first row of a key counts, and there are none of this process behind these
            elif key_in_row < 0 or not self._pass(block, key_in_row, remembers):
                for row in block.rows():
                    cells = self._cells(row)
                    if row and not self._refused(cells) and remembers is not None:
                        remembers(cells)

    def _pass(self, block: Block, key_at: int, remembers: Callable[[Cells], object] | None) -> bool:
        """Another process converts these rows; their keys are known from now on. False: each row needs a look."""
        seen, person_at = self._job.seen_keys, self._order[self._person]
        if seen.many or person_at < 0:
            return False
        household_at = self._order[self._columns.index("HouseholdID")] if "HouseholdID" in self._columns else -1
        keys, persons, households = block.columns(key_at, person_at, max(household_at, 0))
        if not (all(keys) and all(persons) and _SAFE_KEYS("".join(keys))) or any(map(str.isspace, persons)):
            return False
        if remembers is not None:
            fresh = {*keys}
            if household_at < 0 or len(fresh) < len(keys) or not seen.few.isdisjoint(fresh):
                return False
            for index, household in enumerate(households):
                if self._job.bucket_of(household.strip()) is not None:
                    remembers(self._cells(block.row(index)))
        seen.few.update(keys)
        seen.settle()
        return True

    def _convert(self, rows: list[Cells], first: int, function: FileFunction) -> None:
        """The rows of a block: through the generated function, one by one where a key needs a look."""
        job, at, known = self._job, self._order[self._key], self._job.seen_keys
        self._rows, self._first = rows, first
        cells, width = rows, self._width
        if not self._straight:
            cells = [list(self._pick([*row, ""])[:-1]) if len(row) == width else [] for row in rows]
            width = len(self._columns)
        facts = self._computed or (_nothing if function.computed else None)
        strangers = self._strangers if self._extra else None
        few = known if known.many else known.few
        more = (width, few, self._carefully, self._slowly, facts, self._labels, strangers, self._check)
        appends = [job.append(kind) for kind in function.kinds]
        keys = [row[at] for row in rows if len(row) > at] if at >= 0 else [" "]
        if _SAFE_KEYS("".join(keys)):
            function.run(cells, first - 1, *more, *appends)
        else:
            for number, row in enumerate(cells, first):
                if len(row) == width and _SAFE_KEYS(row[self._key]):
                    function.run([row], number - 1, *more, *appends)
                else:
                    self._carefully(number)
        known.settle()

    def _strangers(self, number: int) -> None:
        self._job.strangers(number, self._rows[number - self._first])

    def _carefully(self, number: int) -> None:
        """A row of which something is unusual: blank, ragged, a key that is none, or that came before."""
        job, row = self._job, self._rows[number - self._first]
        if not row:
            job.blank.append(number)
            job.rows -= 1
            return
        cells, size = self._cells(row), len(row)
        reason = self._refused(cells)
        if reason:
            self._report.say(self._path, number, self._table.file.key, reason)
            job.whole(number, row, reason)
            return
        facts = cells + (self._computed(cells) if self._computed else _NOTHING)
        self._slowly(facts, number, self._labels(cells) if self._labels else "", size if size != self._width else None)
        if size != self._width or self._extra:
            job.strangers(number, row)

    def _check(self, seen: set[Any], shape: Any, line: str) -> None:
        """The first resource of a shape; the row that it comes from is in it."""
        if len(seen) >= SHAPES_KEPT:
            seen.clear()
        seen.add(shape)
        resource = json.loads(line)
        self._judge(resource, int((row_of(resource) or {}).get("row", 0)))

    def _judge(self, resource: JsonObject, number: int) -> None:
        if self._job.conversion.check is not None:
            for said in self._job.conversion.check(json.loads(json.dumps(resource, default=float))):
                self._report.say(self._path, number, "", f"not valid: {said}")

    def _cells(self, row: Cells) -> Cells:
        """The cells in the specification's order; those that the row does not have are empty."""
        size = len(row)
        return [row[i] if 0 <= i < size else "" for i in self._order]

    def _refused(self, cells: Cells) -> str:
        """Why a row cannot become resources, its key noted otherwise; empty when it can."""
        key = cells[self._key].strip()
        for at in (self._key, self._person):
            if not cells[at].strip():
                return f"{self._columns[at]} is empty"
        return "the key came before in this file" if self._job.seen_keys.add(key) else ""

    def _slowly(self, facts: Cells, number: int, labels: str, width: int | None = None) -> None:
        cells = dict(zip(self._columns, facts, strict=False))
        computed = dict(zip(COMPUTED, facts[len(self._columns) :] or _NOTHING, strict=True))
        for made in convert_row(self._table, cells, Facts(number, labels, computed, width)):
            for column in beside_of(made.resource):
                self._report.say(self._path, number, column, "kept as written: no FHIR form")
            self._job.line(made.part.resource, to_json(made.resource))
            self._judge(made.resource, number)
        if width is not None:
            self._report.say(self._path, number, "", "number of cells differs from the header")

    def _lookups(self) -> tuple[Callable[[Cells], Cells] | None, Callable[[Cells], str] | None]:
        """The ``@`` cells and the inherited labels of a row, in the order of COMPUTED; None where there are none."""
        context, name, empty = self._context, self._table.file.name, _NOTHING
        at = {column: i for i, column in enumerate(self._columns)}
        first = [True]

        def of_enrollment(cells: Cells) -> Cells:
            project, exit_ = cells[at["ProjectID"]].strip(), context.exits.get(cells[at["EnrollmentID"]].strip())
            self._job.household(cells, at, exit_)
            return [exit_, context.organization.get(project, ""), context.project_type.get(project, ""), *empty[3:]]

        def of_event(cells: Cells) -> Cells:
            target = cells[at["LocationCrisisOrPHHousing"]].strip()
            known = target in context.organization
            enrolled = (cells[at["PersonalID"]].strip(), target) in context.enrolled
            return ["", "", "", "1" if enrolled else "", "1" if known else "", *empty[5:]]

        def of_project(cells: Cells) -> Cells:
            key = cells[at["ProjectID"]].strip()
            state = "closed" if key in context.closed else ""
            return ["", "", "", "", "", context.funders.get(key, ""), state, "", ""]

        def of_export(cells: Cells) -> Cells:
            key, first[0] = "" if first[0] else cells[at["ExportID"]], False
            return [*empty[:7], key, ""]

        made = {"Enrollment": of_enrollment, "Event": of_event, "Project": of_project, "Export": of_export}
        computed = made.get(name)
        if name in ("Enrollment", "ProjectCoC") and context.project_labels:
            return computed, lambda c: context.project_labels.get(c[at["ProjectID"]].strip(), "")
        if "EnrollmentID" in at and context.enrollment_labels:
            return computed, lambda c: context.enrollment_labels.get(c[at["EnrollmentID"]].strip(), "")
        return computed, None


def stretch_ends(processes: int) -> list[float]:
    """Where the stretch of each process of a large file ends, as parts of the file.

    Each has to pass the rows of those before it as well, so that a later stretch is shorter by as much.
    """
    sizes = [(1 - PASSING) ** which for which in range(processes)]
    return [end / sum(sizes) for end in accumulate(sizes)]


def stretches(numbers: list[int]) -> list[str]:
    """Ascending row numbers in short: ``4``, ``7-3000``."""
    out: list[list[int]] = []
    for number in numbers:
        if out and number == out[-1][1] + 1:
            out[-1][1] = number
        else:
            out.append([number, number])
    return [str(first) if first == last else f"{first}-{last}" for first, last in out]


def unstretched(text: str) -> Iterator[int]:
    """The row numbers of :func:`stretches`, separated by spaces."""
    for each in text.split():
        first, _, last = each.partition("-")
        yield from range(int(first), int(last or first) + 1)


_NOTHING: Final = [""] * len(COMPUTED)


def _nothing(cells: Cells) -> Cells:
    return _NOTHING
