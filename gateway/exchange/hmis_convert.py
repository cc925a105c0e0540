"""An HMIS export to FHIR: which files it has, what its rows are, what could not be read; pure, over handed-in bytes.

Nothing aborts on a row. A row that cannot be mapped (no key, a key seen before, no client) is kept whole as a Basic
resource with the reason; files and columns that HUD does not know are kept the same way. So an export comes back cell
for cell (hmis_export.py).
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from zlib import crc32

from gateway.codecs.hmis_csv import EncodingSniffer, Header, read_rows
from gateway.exchange.hmis_keys import Exits, Seen
from gateway.exchange.hmis_manifest import household_of, manifest_of
from gateway.kernel.fhir import DOORWAY, JsonObject
from gateway.mapping.hmis.compile import Odd, RowFunction, compile_map, to_json
from gateway.mapping.hmis.conversions import Source
from gateway.mapping.hmis.explain import Facts, beside_of, convert_row
from gateway.mapping.hmis.memo import key_text
from gateway.mapping.hmis.spec import Read, Spec, load_spec
from gateway.mapping.hmis.tables import (
    CELLS_EXTENSION,
    COMPUTED,
    RECORD_EXTENSION,
    ROW_EXTENSION,
    FileMap,
    Labels,
    load_maps,
)
from gateway.mapping.hmis.values import day_of
from gateway.mapping.table import read_table

FINDINGS_KEPT: Final = 10_000
FLUSH_ROWS: Final = 2_000
DOCUMENT_SYSTEM: Final = f"{DOORWAY}/CodeSystem/hmis-document"
_NAMES: Final = {"roi": "Consent", "consents": "Consent"}


class ExportFiles(Protocol):
    """The files of an export: a folder or a zip, already checked for size and path tricks."""

    def names(self) -> list[str]:
        """Paths inside the export, sorted."""
        ...

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of one file, in pieces."""
        ...


class Scratch(Protocol):
    """Room for what must be grouped across a file, in buckets, so that memory stays flat."""

    def add(self, bucket: int, line: str) -> None:
        """Keep a line."""
        ...

    def read(self, bucket: int) -> Iterator[str]:
        """The lines of a bucket in the order they came."""
        ...


Sink = Callable[[str, list[str]], None]  # resource type, JSON lines
BUCKETS: Final = 64
Share = tuple[
    int, int
]  # which of how many processes: each reads every row and converts the blocks of rows that are its
WHOLE: Final[Share] = (0, 1)
_BLOCK_BITS: Final = 10  # rows a block: 1,024


@dataclass(slots=True)
class Finding:
    """Something about a row that a person should look at; never its content."""

    file: str
    row: int  # line of the table, header not counted, from 1; 0 for the file
    column: str
    reason: str


@dataclass(slots=True)
class Report:
    """What a conversion saw."""

    source: str = ""
    version: str = ""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    resources: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)

    def say(self, file: str, row: int, column: str, reason: str) -> None:
        """Note a finding; beyond a limit only the counts grow."""
        key = f"{file} {column}: {reason}" if column else f"{file}: {reason}"
        self.reasons[key] = self.reasons.get(key, 0) + 1
        if len(self.findings) < FINDINGS_KEPT:
            self.findings.append(Finding(file, row, column, reason))

    def absorb(self, other: "Report") -> None:
        """Add what another process saw."""
        for path, told in other.files.items():
            mine = self.files.setdefault(path, {**told, "rows": 0, "kept_whole": 0})
            mine["rows"] += told["rows"]
            mine["kept_whole"] += told["kept_whole"]
            if told.get("blank_rows") and mine.get("blank_rows") is not told["blank_rows"]:
                mine["blank_rows"] = sorted({*mine.get("blank_rows", ()), *told["blank_rows"]})
        for kind, count in other.resources.items():
            self.resources[kind] = self.resources.get(kind, 0) + count
        for reason, count in other.reasons.items():
            self.reasons[reason] = self.reasons.get(reason, 0) + count
        self.findings.extend(other.findings[: FINDINGS_KEPT - len(self.findings)])

    def as_json(self) -> JsonObject:
        """For report.json."""
        return {
            "source": self.source,
            "version": self.version,
            "files": self.files,
            "resources": dict(sorted(self.resources.items())),
            "reasons": dict(sorted(self.reasons.items())),
            "findings": [{"file": f.file, "row": f.row, "column": f.column, "reason": f.reason} for f in self.findings],
        }


@dataclass(slots=True)
class FileSeen:
    """One CSV of the export."""

    path: str
    name: str  # HUD's name, or empty for a file that HUD does not know
    encoding: str
    header: Header
    bytes: int


class Context:
    """What a row needs from other files: projects, exits, targets of referrals."""

    def __init__(self) -> None:
        self.organization: dict[str, str] = {}
        self.project_type: dict[str, str] = {}
        self.project_labels: dict[str, str] = {}
        self.funders: dict[str, str] = {}
        self.closed: set[str] = set()
        self.victim_services: set[str] = set()  # projects of victim service providers
        self.enrollment_labels: dict[str, str] = {}
        self.exits = Exits()
        self.enrolled: set[tuple[str, str]] = set()  # (PersonalID, ProjectID) with an entry on or after the referral


class Conversion:
    """One export being converted. Make it, then :meth:`run`, or :meth:`convert_file` for each file in a process."""

    def __init__(
        self,
        files: ExportFiles,
        read: Read,
        *,
        fallback_source: str,
        overlays: tuple[str, ...] = (),
        version: str | None = None,
    ) -> None:
        self.files = files
        self.report = Report()
        self._read = read
        newest = load_spec(read, version or "2026")
        self.seen = self._survey(newest)
        self.export = self._export_rows(newest)
        self.version = version or self._version()
        self.spec: Spec = load_spec(read, self.version)
        if self.version != newest.version:
            self.seen = self._survey(self.spec)
        self.source = Source(self._source(fallback_source))
        self.maps: Mapping[str, FileMap] = load_maps(read, self.spec, self.source, overlays)
        self.labels = Labels.load(read)
        self.report.source, self.report.version = self.source.name, self.version
        self.context = Context()
        self.relations: dict[str, JsonObject | None] = {}  # concepts of 3.15.1, shared by the Groups
        self._gather()

    # -- what is there -----------------------------------------------------------------------------------------------

    def _survey(self, spec: Spec) -> list[FileSeen]:
        found: list[FileSeen] = []
        by_key = {name.casefold(): name for name in spec.files} | _NAMES
        taken: set[str] = set()
        names = [name for name in self.files.names() if name.casefold().endswith(".csv")]
        for path in sorted(names, key=lambda name: (name.count("/"), name)):
            sniffer, size = EncodingSniffer(), 0
            for chunk in self.files.chunks(path):
                sniffer.feed(chunk)
                size += len(chunk)
            encoding = sniffer.finish()
            name = by_key.get(path.rpartition("/")[2][:-4].casefold(), "")
            if name in taken:
                name = ""  # a second Client.csv deeper in the folders is not part of the set
            taken.add(name)
            header = next(read_rows(self.files.chunks(path), encoding), [])
            columns = [c.name for c in spec.files[name].columns] if name else []
            found.append(FileSeen(path, name, encoding, Header.of(header, columns), size))
        return sorted(found, key=lambda seen: seen.path)

    def file(self, name: str) -> FileSeen | None:
        """A HUD file of the export."""
        return next((seen for seen in self.seen if seen.name == name), None)

    def rows(self, seen: FileSeen) -> Iterator[list[str]]:
        """The rows below the header."""
        rows = read_rows(self.files.chunks(seen.path), seen.encoding)
        next(rows, None)
        return rows

    def dicts(self, name: str) -> Iterator[dict[str, str]]:
        """The rows of a HUD file by the specification's column names."""
        seen = self.file(name)
        if seen is not None:
            at = seen.header.position
            for row in self.rows(seen):
                if row:
                    yield {column: row[i] if i < len(row) else "" for column, i in at.items()}

    def _export_rows(self, spec: Spec) -> list[dict[str, str]]:
        rows = list(self.dicts("Export"))
        if "Export" not in spec.files:
            return rows
        if not rows:
            self.report.say("Export.csv", 0, "", "missing or empty: the folder's name stands for the source")
        elif len(rows) > 1:
            self.report.say("Export.csv", 2, "", "more than one row: the first one counts")
        return rows

    def _version(self) -> str:
        for row in self.export:
            year = re.search(r"20(\d\d)", row.get("CSVVersion", ""))
            if year:
                return "2026" if int(year[1]) >= 26 else "2024"
        self.report.say("Export.csv", 1, "CSVVersion", "missing: the format year is taken from the columns")
        client = self.file("Client")
        old = {"woman", "man", "gendernone"} & {c.strip().casefold() for c in client.header.cells} if client else set()
        return "2024" if old else "2026"

    def _source(self, fallback: str) -> str:
        names = [row.get("ImplementationID", "").strip() or row.get("SourceID", "").strip() for row in self.export]
        if len({name for name in names if name}) > 1:
            self.report.say("Export.csv", 0, "ImplementationID", "rows disagree: the first one counts")
        return next((name for name in names if name), fallback)

    # -- what other rows need ----------------------------------------------------------------------------------------

    def _gather(self) -> None:
        context = self.context
        rules = self.project_rules = _project_rules(self._read)
        organizations = {r.get("OrganizationID", ""): r for r in self.dicts("Organization")}
        end = day_of(self.export[0].get("ExportEndDate", "")) if self.export else None
        funders: dict[str, list[str]] = {}
        for row in self.dicts("Funder"):
            funders.setdefault(row.get("ProjectID", ""), []).append(row.get("Funder", "").strip())
        for row in self.dicts("Project"):
            key, organization = row.get("ProjectID", ""), row.get("OrganizationID", "")
            context.organization[key], context.project_type[key] = organization, row.get("ProjectType", "").strip()
            context.funders[key] = " ".join(dict.fromkeys(code for code in funders.get(key, ()) if code))
            owner = organizations.get(organization, {})
            if owner.get("VictimServiceProvider", "").strip() == "1":
                context.victim_services.add(key)
            closing = day_of(row.get("OperatingEndDate", ""))
            if row.get("DateDeleted") or (closing and end and closing <= end):
                context.closed.add(key)
            labels: set[str] = set()
            for table, column, codes, label in rules:
                told = {"Project": [row.get(column, "")], "Organization": [owner.get(column, "")]}
                values = funders.get(key, []) if table == "Funder" else told[table]
                if any(value.strip() in codes for value in values):
                    labels.add(label)
            if labels:
                context.project_labels[key] = " ".join(sorted(labels))
        self._gather_enrollments()

    def _gather_enrollments(self) -> None:
        context = self.context
        for row in self.dicts("Exit"):
            if not row.get("DateDeleted"):
                context.exits.add(row.get("EnrollmentID", ""), day_of(row.get("ExitDate", "")) or "")
        context.exits.close()
        waiting: dict[tuple[str, str], str] = {}
        for row in self.dicts("Event"):
            target = row.get("LocationCrisisOrPHHousing", "").strip()
            if row.get("ReferralResult", "").strip() == "1" and target in context.organization:
                key = (row.get("PersonalID", ""), target)
                waiting[key] = min(waiting.get(key, "9999"), row.get("EventDate", ""))
        if not waiting and not context.project_labels:
            return
        for row in self.dicts("Enrollment"):
            project = row.get("ProjectID", "")
            labels = context.project_labels.get(project)
            if labels:
                context.enrollment_labels[row.get("EnrollmentID", "")] = labels
            key = (row.get("PersonalID", ""), project)
            if key in waiting and row.get("EntryDate", "") >= waiting[key]:
                context.enrolled.add(key)

    # -- converting --------------------------------------------------------------------------------------------------

    def run(self, sink: Sink, scratch: Scratch) -> Report:
        """Every file, then the manifest."""
        for seen in self.seen:
            self.convert_file(seen, sink, scratch)
        self.manifest(sink)
        return self.report

    def convert_file(self, seen: FileSeen, sink: Sink, scratch: Scratch, share: Share = WHOLE) -> None:
        """One file, or a share of its rows: every row becomes resources, or is kept whole with the reason."""
        table = self.maps.get(seen.name)
        job = FileJob(self, seen, table, sink, scratch, share)
        job.run()
        self.report.files[seen.path] = job.summary()
        for kind, count in job.counts.items():
            self.report.resources[kind] = self.report.resources.get(kind, 0) + count

    def manifest(self, sink: Sink) -> None:
        """The DocumentReference that says how each file looked, and the Provenance of the batch."""
        for resource in manifest_of(self):
            sink(resource["resourceType"], [to_json(resource)])
            kind = resource["resourceType"]
            self.report.resources[kind] = self.report.resources.get(kind, 0) + 1


def _project_rules(read: Read) -> list[tuple[str, str, frozenset[str], str]]:
    path = "mappings/hmis/projects.csv"
    columns = ("column", "codes", "label", "note")
    out = []
    for row in read_table(read(path), file=path, columns=columns, required=("column", "codes", "label")):
        table, _, column = row["column"].partition(".")
        out.append((table, column, frozenset(row["codes"].split()), row["label"]))
    return out


def refusal(table: FileMap, cells: list[str], key_at: int, person_at: int) -> str:
    """Why a row cannot become resources; empty when it can."""
    for at in (key_at, person_at):
        if not cells[at].strip():
            return f"{table.file.columns[at].name} is empty"
    return ""


class FileJob:
    """The rows of one file on their way."""

    def __init__(
        self,
        conversion: Conversion,
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
        self._seen = Seen()
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
            out["unknown_columns"] = [seen.header.cells[i] for i in seen.header.extra]
            out["missing_columns"] = list(seen.header.missing)
        if self.blank:
            out["blank_rows"] = self.blank[:1000]
        return out

    def run(self) -> None:
        """All rows, then the households of Enrollment."""
        if self.table is None:
            for number, row in enumerate(self.conversion.rows(self.seen), 1):
                if self._mine(number):
                    self._whole(number, row, "") if row else self.blank.append(number)
                    self.rows += 1
        else:
            self._mapped(self.table, compile_map(self.table))
        if self.seen.name == "Enrollment":
            self._households()
        self._flush()

    def _mine(self, number: int) -> bool:
        return ((number >> _BLOCK_BITS) + self._turn) % self._processes == self._which

    def _mapped(self, table: FileMap, function: RowFunction) -> None:
        header = self.seen.header
        width = len(header.cells)
        order = [header.position.get(column.name, -1) for column in table.file.columns]
        straight = order == list(range(width))
        key_at = [c.name for c in table.file.columns].index(table.file.key)
        person_at = next((i for i, c in enumerate(table.file.columns) if c.name == table.person), key_at)
        computed, labels = self._lookups(table)
        previous, extra, empty = self._seen.add, bool(header.extra), [""] * len(COMPUTED)
        buffers, mine, alone = self._buffers, True, self._processes == 1
        remembers = computed if table.file.name in ("Enrollment", "Export") else None  # rows matter to later ones
        run, appends = function.run, [buffers[kind].append for kind in function.kinds]
        for number, row in enumerate(self.conversion.rows(self.seen), 1):
            mine = alone or self._mine(number)
            if not row:
                if mine:
                    self.blank.append(number)
                continue
            self.rows += mine
            size = len(row)
            cells = row if straight and size == width else [row[i] if 0 <= i < size else "" for i in order]
            key = cells[key_at].strip()
            reason = "" if key and cells[person_at].strip() else refusal(table, cells, key_at, person_at)
            if not reason and previous(key):
                reason = "the key came before in this file"
            if reason:
                if mine:
                    self.conversion.report.say(self.seen.path, number, table.file.key, reason)
                    self._whole(number, row, reason)
                continue
            if not mine:
                if remembers:
                    remembers(cells)
                continue
            facts = cells + computed(cells) if computed else cells + empty
            inherited = labels(cells) if labels else ""
            try:
                if size != width:
                    raise Odd
                run(facts, key_text(cells[key_at]), f"#{number}", inherited, *appends)
            except Odd:
                self._slowly(table, facts, number, inherited, size if size != width else None)
            if size != width or extra:
                self._extra(number, row)
            if number % FLUSH_ROWS == 0:
                self._flush()

    def _slowly(self, table: FileMap, facts: list[str], number: int, labels: str, width: int | None) -> None:
        names = [c.name for c in table.file.columns]
        cells = dict(zip(names, facts, strict=False))
        computed = dict(zip(COMPUTED, facts[len(names) :], strict=True))
        for made in convert_row(table, cells, Facts(number, labels, computed, width)):
            for column in beside_of(made.resource):
                self.conversion.report.say(self.seen.path, number, column, "kept as written: no FHIR form")
            self._buffers[made.part.resource].append(to_json(made.resource))
        if width is not None:
            self.conversion.report.say(self.seen.path, number, "", "number of cells differs from the header")

    def _lookups(
        self, table: FileMap
    ) -> tuple[Callable[[list[str]], list[str]] | None, Callable[[list[str]], str] | None]:
        """The ``@`` cells and the inherited labels of a row, in the order of COMPUTED; None where there are none."""
        context, name = self.conversion.context, table.file.name
        at = {column.name: i for i, column in enumerate(table.file.columns)}
        empty = [""] * len(COMPUTED)
        first = [True]

        def of_enrollment(cells: list[str]) -> list[str]:
            project, exit_ = cells[at["ProjectID"]], context.exits.get(cells[at["EnrollmentID"]])
            self._household(cells, at, exit_)
            return [exit_, context.organization.get(project, ""), context.project_type.get(project, ""), *empty[3:]]

        def of_event(cells: list[str]) -> list[str]:
            target = cells[at["LocationCrisisOrPHHousing"]].strip()
            known = target in context.organization
            enrolled = (cells[at["PersonalID"]], target) in context.enrolled
            return ["", "", "", "1" if enrolled else "", "1" if known else "", *empty[5:]]

        def of_project(cells: list[str]) -> list[str]:
            key = cells[at["ProjectID"]]
            state = "closed" if key in context.closed else ""
            return ["", "", "", "", "", context.funders.get(key, ""), state, "", ""]

        def of_export(cells: list[str]) -> list[str]:
            key, first[0] = "" if first[0] else cells[at["ExportID"]], False
            return [*empty[:7], key, ""]

        made = {"Enrollment": of_enrollment, "Event": of_event, "Project": of_project, "Export": of_export}
        computed = made.get(name)
        if name in ("Enrollment", "ProjectCoC") and context.project_labels:
            return computed, lambda c: context.project_labels.get(c[at["ProjectID"]], "")
        if "EnrollmentID" in at and context.enrollment_labels:
            return computed, lambda c: context.enrollment_labels.get(c[at["EnrollmentID"]], "")
        return computed, None

    # -- rows kept whole, columns that HUD does not know -------------------------------------------------------------

    def _whole(self, number: int, row: list[str], reason: str) -> None:
        self.kept += 1
        self._add(("Basic", to_json(self._basic(number, "row", row, reason))))

    def _extra(self, number: int, row: list[str]) -> None:
        known = set(self.seen.header.position.values())
        extra = {str(i): cell for i, cell in enumerate(row) if i not in known and cell}
        if extra:
            self._add(("Basic", to_json(self._basic(number, "extra", extra, ""))))

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

    def _household(self, cells: list[str], at: Mapping[str, int], exit_: str) -> None:
        household = cells[at["HouseholdID"]].strip()
        if household and not cells[at["DateDeleted"]]:
            labels = self.conversion.context.project_labels.get(cells[at["ProjectID"]], "")
            person, relation = cells[at["PersonalID"]].strip(), cells[at["RelationshipToHoH"]].strip()
            kept = (household, person, relation, cells[at["EntryDate"]].strip(), exit_, labels)
            bucket = crc32(household.encode("utf-8", "replace")) % BUCKETS
            if bucket % self._processes != self._which:
                return
            line = "\x1f".join(kept)
            if "\n" in line or "\r" in line:
                line = line.replace("\r", " ").replace("\n", " ")
            self._scratch.add(bucket, line)

    def _households(self) -> None:
        for bucket in range(self._which, BUCKETS, self._processes):
            members: dict[str, list[list[str]]] = {}
            for line in self._scratch.read(bucket):
                member = line.split("\x1f")
                members.setdefault(member[0], []).append(member[1:6])
            for household, its in members.items():
                self._add(("Group", to_json(household_of(self.conversion, household, its))))

    # -- out ---------------------------------------------------------------------------------------------------------

    def _add(self, out: Iterable[str]) -> None:
        pairs = iter(out)
        for kind in pairs:
            self._buffers[kind].append(next(pairs))
        self._buffered += 1
        if self._buffered >= FLUSH_ROWS:
            self._flush()

    def _flush(self) -> None:
        for kind, lines in self._buffers.items():
            if lines:
                self.counts[kind] = self.counts.get(kind, 0) + len(lines)
                self._sink(kind, lines)
                lines.clear()
        self._buffered = 0
