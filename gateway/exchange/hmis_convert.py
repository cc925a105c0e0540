"""An HMIS export to FHIR: which files it has, what its rows are, what could not be read; pure, over handed-in bytes.

Nothing aborts on a row. A row that cannot be mapped (no key, a key seen before, no client) is kept whole as a Basic
resource with the reason; files and columns that HUD does not know are kept the same way. So an export comes back cell
for cell (hmis_export.py).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Final, Protocol

from gateway.codecs.hmis_csv import Block, EncodingSniffer, read_blocks, read_heading, read_rows
from gateway.exchange.hmis_convert_file import FileJob
from gateway.exchange.hmis_keys import Exits
from gateway.exchange.hmis_manifest import manifest_of
from gateway.exchange.hmis_report import WHOLE, FileSeen, Report, Scratch, Share, Sink
from gateway.kernel.errors import Invalid, Malformed
from gateway.kernel.fhir import JsonObject
from gateway.mapping.hmis.compile import to_json
from gateway.mapping.hmis.conversions import Source
from gateway.mapping.hmis.memo import Ids
from gateway.mapping.hmis.projects import ProjectRules
from gateway.mapping.hmis.spec import Read, Spec, load_spec
from gateway.mapping.hmis.tables import FileMap, Labels, load_maps
from gateway.mapping.hmis.values import code_text, day_of

__all__ = ["WHOLE", "Conversion", "ExportFiles", "FileSeen", "Report", "Scratch", "Share", "Sink"]
NO_HEADER: Final = "the first row is no header of this file: put HUD's column names there"
_NAMES: Final = {"roi": "Consent", "consents": "Consent"}


class ExportFiles(Protocol):
    """The files of an export: a folder or a zip, already checked for size and path tricks."""

    def names(self) -> list[str]:
        """Paths inside the export, sorted."""
        ...

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of one file, in pieces."""
        ...


Check = Callable[[JsonObject], Iterable[str]]  # a resource to what is wrong with it, without its values


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
        check: Check | None = None,
    ) -> None:
        self.files, self.check = files, check
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
        self.project_rules = ProjectRules.load(read, self.spec)
        self.report.source, self.report.version = self.source.name, self.version
        self.context = Context()
        self.ids: dict[str, Ids] = {}  # of rows that other files refer to
        for seen in self.seen:
            if headless(seen):
                self.report.say(seen.path, 0, "", NO_HEADER)
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
            name = by_key.get(path.replace("\\", "/").rpartition("/")[2][:-4].casefold(), "")
            if name in taken:
                name = ""  # a second Client.csv deeper in the folders is not part of the set
            taken.add(name)
            columns = [c.name for c in spec.files[name].columns] if name else []
            with placed(path):
                heading = read_heading(partial(self.files.chunks, path), encoding, columns)
            found.append(FileSeen(path, name, encoding, heading, size))
        spoken = {seen.heading.delimiter for seen in found if seen.name} - {","}
        for seen in found if len(spoken) == 1 else ():
            if not seen.name:  # what nobody knows is written as the files beside it
                with placed(seen.path):
                    seen.heading = read_heading(partial(self.files.chunks, seen.path), seen.encoding, (), *spoken)
        if not found:
            fix = "give the folder or the zip that holds Export.csv; a zip inside of a zip must be unpacked first"
            raise Invalid("no CSV file in it", at="the export", fix=fix)
        return sorted(found, key=lambda seen: seen.path)

    def file(self, name: str) -> FileSeen | None:
        """A HUD file of the export."""
        return next((seen for seen in self.seen if seen.name == name), None)

    def rows(self, seen: FileSeen) -> Iterator[list[str]]:
        """The rows below the header."""
        with placed(seen.path):
            rows = read_rows(self.files.chunks(seen.path), seen.encoding, seen.heading.delimiter)
            yield from islice(rows, seen.heading.rows, None)

    def blocks(self, seen: FileSeen, size: int | None = None) -> Iterator[Block]:
        """The rows below the header, many at a time: about as many as ``size`` bytes hold."""
        left, delimiter = seen.heading.rows, seen.heading.delimiter
        with placed(seen.path):
            for block in read_blocks(self.files.chunks(seen.path), seen.encoding, size, delimiter):
                if left:
                    size = len(block)
                    block.drop_first(left)
                    left = max(left - size, 0)
                yield block

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
        context, rules = self.context, self.project_rules
        organizations: dict[str, list[dict[str, str]]] = {}
        for row in self.dicts("Organization"):
            organizations.setdefault(_cell(row, "OrganizationID"), []).append(row)
        end = day_of(self.export[0].get("ExportEndDate", "")) if self.export else None
        funders: dict[str, list[str]] = {}
        for row in self.dicts("Funder"):
            if row.get("DateDeleted"):
                continue
            funders.setdefault(_cell(row, "ProjectID"), []).append(_cell(row, "Funder"))
        for row in self.dicts("Project"):
            key, organization = _cell(row, "ProjectID"), _cell(row, "OrganizationID")
            if key not in context.organization:  # of rows with one key the first one is the project
                context.organization[key], context.project_type[key] = organization, _cell(row, "ProjectType")
                context.funders[key] = " ".join(dict.fromkeys(code for code in funders.get(key, ()) if code))
                closing = day_of(row.get("OperatingEndDate", ""))
                if row.get("DateDeleted") or (closing and end and closing <= end):
                    context.closed.add(key)
            labels = set(context.project_labels.get(key, "").split())  # labels are those of any of them
            for owner in organizations.get(organization, [{}]):
                labels |= rules.labels(row, owner, funders.get(key, ()))
                if rules.victims(owner):
                    context.victim_services.add(key)
            if labels:
                context.project_labels[key] = " ".join(sorted(labels))
        self._gather_enrollments()

    def _gather_enrollments(self) -> None:
        context = self.context
        for row in self.dicts("Exit"):
            if not row.get("DateDeleted"):
                context.exits.add(_cell(row, "EnrollmentID"), day_of(row.get("ExitDate", "")) or "")
        context.exits.close()
        waiting: dict[tuple[str, str], str] = {}  # (PersonalID, ProjectID) -> day of the first accepted referral
        for row in self.dicts("Event"):
            target = _cell(row, "LocationCrisisOrPHHousing")
            if code_text(row.get("ReferralResult", "")) == "1" and target in context.organization:
                pair = (_cell(row, "PersonalID"), target)
                waiting[pair] = min(waiting.get(pair, "9999"), row.get("EventDate", ""))
        if not waiting and not context.project_labels:
            return
        for row in self.dicts("Enrollment"):
            project = _cell(row, "ProjectID")
            labels = context.project_labels.get(project)
            if labels:
                key = _cell(row, "EnrollmentID")
                before = context.enrollment_labels.setdefault(key, labels)  # of rows with one key: the labels of all
                if before != labels:
                    context.enrollment_labels[key] = " ".join(sorted({*before.split(), *labels.split()}))
            pair = (_cell(row, "PersonalID"), project)
            if pair in waiting and row.get("EntryDate", "") >= waiting[pair]:
                context.enrolled.add(pair)

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


@contextmanager
def placed(path: str) -> Iterator[None]:
    """Say of which file the bytes are that could not be read.

    Raises:
        Malformed: what the reader said, with the file.
    """
    try:
        yield
    except Malformed as error:
        at = error.at if path in error.at else f"{path}: {error.at}"
        raise Malformed(error.message, at=at, fix=error.fix) from error


def headless(seen: FileSeen) -> bool:
    """Whether a HUD file begins with something else than its column names, so that no row of it can be read."""
    return bool(seen.name and seen.header.cells) and not seen.header.certain


def _cell(row: Mapping[str, str], column: str) -> str:
    """A cell as keys are compared: without blanks around it."""
    return row.get(column, "").strip()
