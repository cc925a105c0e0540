"""An HMIS export into the store: delta and full refresh, deletes and restores, in bounded transactions.

Authority is source x projects of Project.csv x period. A batch of rows is one transaction; its rows' states are
written with its resources, and what follows from them is noted with them, so an import that was interrupted is
finished by running it again, and one that ran already changes nothing. A row is known by its hash: what has not
changed costs a look at its hash and no more. Rows that name a client or enrollment which has not come yet wait, so
deltas may come in any order.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any, Final

from gateway.exchange.hmis_absent import Absent, absent_rows
from gateway.exchange.hmis_convert import NO_HEADER, Conversion, FileSeen, headless
from gateway.exchange.hmis_extra import OwnFile, extra_cells, keep_columns, labelled, own_name
from gateway.exchange.hmis_joined import FORMAT, JOINED, SENT
from gateway.exchange.hmis_keys import Seen
from gateway.exchange.hmis_rows import (
    LABELLED,
    WRITTEN,
    Kind,
    Outcome,
    Row,
    Shape,
    age_of,
    facts_of,
    kind_of,
    moment,
    newer,
    order_of,
)  # fmt: skip
from gateway.exchange.hmis_victims import Victims
from gateway.exchange.hmis_write import TOGETHER, Change, Parents, RowWriter, Write, groups
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.rows import RowState
from gateway.exchange.ports.store import Reading, Store, Unit
from gateway.exchange.save import Saver
from gateway.kernel.errors import Conflict, DoorwayError, Invalid
from gateway.kernel.fhir import JsonObject

LOOK_ROWS: Final = 4_000  # whose hashes are looked up together
BATCH_ROWS: Final = 500
REJECTS_KEPT: Final = 10_000
_OWN_NAMES: Final = ("doorway:", "doorway-link", "Organization/")  # what it writes itself, and whose own a record is
OnArrival = Callable[[Unit, Sequence[str]], object]  # Patient references that were written in this transaction


@dataclass(frozen=True, slots=True)
class Options:
    """How to import. ``refresh``: full, delta, or auto (what Export.ExportDirective says).

    ``max_deleted_share``: part of the rows in scope whose absence a full refresh may take for a deletion.
    """

    refresh: str = "auto"
    max_deleted_share: float = 0.2
    few_deleted: int = 50  # so many are never too many
    dry_run: bool = False
    salt: bytes = (
        b""  # random, kept by the first import: by it what is kept of refused clients tells nobody who they are
    )


@dataclass(slots=True)
class ImportReport:
    """What an import did, without any value of a record."""

    source: str
    version: str
    mode: str
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: list[dict[str, Any]] = field(default_factory=list)
    refused_organizations: list[str] = field(default_factory=list)
    absent: int = 0
    unknown_columns: dict[str, list[str]] = field(default_factory=dict)  # kept beside the rows, disclosed to nobody

    def count(self, file: str, kind: Kind, rows: int = 1) -> None:
        """Count rows of a file."""
        counts = self.counts.setdefault(file, {})
        counts[kind.value] = counts.get(kind.value, 0) + rows

    def add(self, file: str, outcome: Outcome) -> None:
        """Count an outcome; name the rows that a person should look at."""
        self.count(file, outcome.kind)
        if outcome.kind in (Kind.REJECTED, Kind.REFUSED, Kind.WAITING) and len(self.notes) < REJECTS_KEPT:
            note = {"file": f"{file}.csv", "row": outcome.number, "column": outcome.column, "reason": outcome.reason}
            self.notes.append(note | {"kind": outcome.kind.value})

    def note(self, file: str, row: int, reason: str) -> None:
        """Say something about a row or a file that was taken all the same."""
        if len(self.notes) < REJECTS_KEPT:
            self.notes.append({"file": file, "row": row, "column": "", "reason": reason, "kind": "note"})

    def total(self, kind: Kind) -> int:
        """Rows of a kind over all files."""
        return sum(counts.get(kind.value, 0) for counts in self.counts.values())

    def as_json(self) -> JsonObject:
        """For ``--json``."""
        return {
            "source": self.source,
            "version": self.version,
            "mode": self.mode,
            "files": self.counts,
            "absent_deleted": self.absent,
            "unknown_columns": self.unknown_columns,
            "victim_service_organizations": self.refused_organizations,
            "rows": self.notes,
        }


class _Undo(DoorwayError):
    """Carries the answer of a dry run out of the transaction that it undoes."""

    def __init__(self, report: ImportReport) -> None:
        super().__init__("dry run")
        self.report = report


class Import:
    """One export on its way into the store.

    Args:
        on_arrival: called in the transaction that wrote Patients, so that linking is part of the arrival.
        tick: called with the bytes read, for a progress bar.

    Raises:
        Invalid: the export names itself as the gateway does what is its own.
    """

    def __init__(
        self,
        conversion: Conversion,
        saver: Saver,
        *,
        now_us: Callable[[], int],
        options: Options,
        on_arrival: OnArrival | None = None,
        tick: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._conversion, self._options = conversion, options
        self._on_arrival, self._tick = on_arrival, tick
        first = conversion.export[0] if conversion.export else {}
        self._exported = moment(first.get("ExportDate", ""))
        said = {"2": "full", "1": "delta"}.get(first.get("ExportDirective", "").strip(), "delta")
        mode = said if options.refresh == "auto" else options.refresh
        self.report = ImportReport(conversion.source.name, conversion.version, mode)
        self._source = conversion.source.name
        if self._source.startswith(_OWN_NAMES):
            raise Invalid("names of this form are the gateway's own", at="Export.csv, ImplementationID")
        self._writer = RowWriter(conversion, saver, now_us)
        self._victims = Victims(conversion, self._writer, options.salt)
        self._absent = Absent()
        self._look: Callable[[Callable[[Reading], Any]], Any]
        self._write: Write

    def run(self, store: Store) -> ImportReport:
        """Import.

        Raises:
            Conflict: a full refresh would delete more than allowed; nothing has been written.
        """
        if self._options.dry_run:
            try:
                store.write(self._rehearse)
            except _Undo as undo:
                return undo.report

        def look(work: Callable[[Reading], Any]) -> Any:
            with store.reading() as reading:
                return work(reading)

        self._look, self._write = look, store.write
        self._all()
        return self.report

    def _rehearse(self, unit: Unit) -> None:
        self._look = self._write = lambda work: work(unit)
        self._all()
        raise _Undo(self.report)

    def _all(self) -> None:
        writer = self._writer
        self._write(self._note_format)
        if self.report.mode == "full":
            self._absent = self._look(partial(absent_rows, self._conversion))
            self._refuse_mass_deletion()
        files = {seen.name: seen for seen in self._conversion.seen if seen.name}
        projects = "Project" in self._conversion.spec.files
        for name in order_of(self._conversion.spec):
            if name == "ProjectCoC" and projects:
                self._write(writer.label_projects)
                self.report.refused_organizations = writer.victims
                writer.relabel(self._look, self._write)
                writer.events(self._look, self._write)
                self._victims.find(self._look, self._write)
            if name in files:
                self._file(files[name])
        self._wake()
        for name in reversed(list(self._absent.keys)):
            self._delete_absent(name)
        self._own_files()
        writer.households(self._look, self._write)

    def _note_format(self, unit: Unit) -> None:
        """What the source speaks, so that an export back to it speaks it too."""
        known = unit.rows.extras(self._source, FORMAT, [FORMAT]).get(FORMAT, "")
        told = f"{self._exported} {self._conversion.version}"
        if known != told and known.rpartition(" ")[0] <= self._exported:
            unit.rows.put_extras(self._source, FORMAT, {FORMAT: told})

    # -- rows ----------------------------------------------------------------------------------------------------------

    def _file(self, seen: FileSeen) -> None:
        shape = self._writer.shape(seen.name)
        if headless(seen):
            self.report.note(seen.path, 0, NO_HEADER)
        extra = labelled(seen.header.cells, seen.header.extra)
        if extra:
            names = [name for name, _ in extra]
            told = names if seen.header.certain else [seen.header.told(at) for at in seen.header.extra]
            self.report.unknown_columns[f"{seen.name}.csv"] = told
            self._write(partial(keep_columns, source=self._source, file=seen.name, names=names))
        rows = self._rows(seen, shape, extra)
        while batch := list(islice(rows, LOOK_ROWS)):
            known = self._look(partial(self._digests, shape=shape, rows=batch))
            fresh = [row for row in batch if known.get(row.key) != row.digest or self._victims.column(shape, row)]
            if len(fresh) < len(batch):
                self.report.count(seen.name, Kind.UNCHANGED, len(batch) - len(fresh))
            for some in groups(fresh, BATCH_ROWS):
                self._settle(seen.name, self._write(partial(self._batch, shape=shape, rows=some)))
        self._tick(seen.bytes)

    def _digests(self, reading: Reading, shape: Shape, rows: Sequence[Row]) -> dict[str, bytes]:
        """The digests of what is stored of these rows."""
        self._victims.meet(reading, shape, rows)
        return reading.rows.digests(self._source, shape.file.name, [row.key for row in rows])

    def _rows(self, seen: FileSeen, shape: Shape, extra: Sequence[tuple[str, int]]) -> Iterator[Row]:
        """The rows of a file that have a key of their own; the others are rejected."""
        known, width, name = Seen(), len(seen.header.cells), shape.file.name
        order = [seen.header.position.get(column, -1) for column in shape.names]
        straight = order == list(range(width))
        person = shape.person if shape.needs_person else -1
        for number, row in enumerate(self._conversion.rows(seen), 1):
            if not row:
                continue
            size = len(row)
            cells = row if straight and size == width else [row[i] if 0 <= i < size else "" for i in order]
            key = cells[shape.key].strip()
            if not key:
                self._reject(name, number, shape.file.key, f"{shape.file.key} is empty")
            elif known.add(key):
                self._reject(name, number, shape.file.key, "the key came before in this file")
            elif person >= 0 and not cells[person].strip():
                self._reject(name, number, shape.names[person], f"{shape.names[person]} is empty")
            else:
                if size < width:
                    note = {"file": f"{name}.csv", "row": number, "column": "", "kind": "note"}
                    self.report.notes.append(
                        {**note, "reason": "fewer cells than the header: the rest is read as empty"}
                    )
                more = extra_cells(extra, width, row) if extra or size > width else {}
                yield Row(number, key, cells, shape.digest(cells, more), more)

    def _reject(self, file: str, number: int, column: str, reason: str) -> None:
        self.report.add(file, Outcome(Kind.REJECTED, number, None, column, reason))

    def _settle(self, file: str, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            self.report.add(file, outcome)

    def _batch(self, unit: Unit, shape: Shape, rows: Sequence[Row]) -> list[Outcome]:
        """Decide and write some rows of one file."""
        file, writer = shape.file.name, self._writer
        states = unit.rows.get(self._source, file, [row.key for row in rows])
        self._victims.meet(unit, shape, rows)
        parents = writer.parents(unit, shape, rows)
        entered = writer.entered(unit, shape, rows) if file == "Event" else set()
        parents.referrals = writer.came_back(unit, shape, rows) if file == "Event" else {}
        outcomes: list[Outcome] = []
        drafts: list[Draft] = []
        stale: list[tuple[str, str]] = []
        extras: dict[str, str] = {}
        refused: list[str] = []  # were stored before it was known whose they are, or waited
        for row in rows:
            outcome = self._decide(shape, row, states.get(row.key), parents)
            outcomes.append(outcome)
            if outcome.kind is Kind.REFUSED and outcome.before is not None and not outcome.older:
                refused.append(row.key)
            if outcome.state is None:
                continue
            if outcome.withdrawn:
                stale += writer.stale(shape, row.key, [])
            if outcome.kind in WRITTEN:
                made = writer.made(shape, row, outcome.state, entered)
                drafts += made
                if outcome.before is not None:
                    stale += writer.stale(shape, outcome.state.key, made)
            if row.extra or outcome.before is not None:
                extras[row.key] = json.dumps(row.extra) if row.extra else ""
        if refused:
            self._victims.forget(unit, file, refused)
        writer.save(unit, drafts, stale)
        unit.rows.put([o.state for o in outcomes if o.state is not None])
        if extras:
            keep_columns(unit, self._source, file, sorted({name for row in rows for name in row.extra}))
            unit.rows.put_extras(self._source, file, extras)
        self._victims.settle(unit, shape, outcomes, rows)
        writer.follow(unit, file, outcomes)
        if file == "Client" and self._on_arrival is not None:
            patients = [f"Patient/{d.resource['id']}" for d in drafts if d.resource["resourceType"] == "Patient"]
            if patients:
                self._on_arrival(unit, patients)
        return outcomes

    def _decide(self, shape: Shape, row: Row, before: RowState | None, parents: Parents) -> Outcome:
        """What becomes of a row; the state is what is kept of it."""
        column = self._victims.column(shape, row)
        if column:
            reason = "client-level row of a victim service provider"
            older = before is not None and shape.age(row, self._exported) < age_of(before)
            return Outcome(Kind.REFUSED, row.number, None, column, reason, before, older=older)
        if before is not None and before.digest == row.digest and not before.waiting:
            return Outcome(Kind.UNCHANGED, row.number, None, before=before)
        facts: dict[str, str] = {}
        waits = ""
        if shape.file.name in LABELLED:
            project = self._writer.projects.get(shape.cell(row, "ProjectID"), {})
            # whose project it is must be known first: labels and victim service providers hang on it
            waits = "ProjectID" if shape.cell(row, "ProjectID") and not project else ""
            facts = {"labels": project.get("labels", ""), "exit": facts_of(before).get("exit", "")}
        elif shape.needs_enrollment and shape.needs_person and row.cells[shape.enrollment].strip():
            parent = parents.enrollments.get(row.cells[shape.enrollment].strip())
            facts = {"labels": (parent or {}).get("labels", ""), JOINED: parents.referrals.get(row.key, "")}
            waits = "" if parent is not None else "EnrollmentID"
        if shape.needs_person and row.cells[shape.person].strip() not in parents.clients:
            waits = shape.names[shape.person]
        if shape.file.name == "Enrollment" and before is None and not waits:
            # told by this export, so that it is written once; every exit is looked at when its own turn comes
            facts["exit"] = self._conversion.context.exits.get(row.key) or ""
        if shape.file.name == "Project":
            facts = {name: facts_of(before).get(name, "") for name in ("labels", "vsp", "funders")}
        state = shape.state(self._source, row, self._exported, {} if waits else facts)
        if before is not None and not newer(state, before):
            return Outcome(Kind.OLDER, row.number, None, before=before, enrollment=state.enrollment)
        if waits:
            state = replace(state, cells=shape.held(row))
            reason = f"{waits} has not come yet: kept until it does"
            return Outcome(Kind.WAITING, row.number, state, waits, reason, before)
        return Outcome(kind_of(state, before), row.number, state, before=before)

    # -- what is refused, what waited, what is absent ------------------------------------------------------------------

    def _wake(self) -> None:
        """Rows that waited and whose client and enrollment are there now."""
        for name in order_of(self._conversion.spec):
            after = ""
            while after is not None:
                after, outcomes = self._write(partial(self._wake_some, name=name, after=after))
                self._settle(name, outcomes)

    def _wake_some(self, unit: Unit, name: str, after: str) -> tuple[str | None, list[Outcome]]:
        states = unit.rows.waiting(self._source, name, after, BATCH_ROWS)
        shape = self._writer.shape(name) if states else None
        if shape is None:
            return None, []
        texts = unit.rows.extras(self._source, name, [state.key for state in states])
        rows = []
        for state in states:
            extra = json.loads(texts.get(state.key, "{}"))
            rows.append(shape.of_told(0, json.loads(state.cells), state.exported, extra))
        parents = self._writer.parents(unit, shape, rows)
        self._victims.meet(unit, shape, rows)
        ready = [row for row in rows if self._victims.column(shape, row) or self._here(shape, row, parents)]
        return states[-1].key, self._batch(unit, shape, ready) if ready else []

    def _here(self, shape: Shape, row: Row, parents: Parents) -> bool:
        """Whether what a row points to has come."""
        enrollment = row.cells[shape.enrollment].strip() if shape.needs_enrollment else ""
        project = shape.cell(row, "ProjectID") if shape.file.name in LABELLED else ""
        here = not shape.needs_person or row.cells[shape.person].strip() in parents.clients
        return (
            here
            and (not enrollment or enrollment in parents.enrollments)
            and (not project or project in self._writer.projects)
        )

    def _delete_absent(self, name: str) -> None:
        for keys in groups(self._absent.keys[name], TOGETHER):
            outcomes = self._write(partial(self._delete_some, name=name, keys=keys))
            self.report.absent += len(outcomes)
            self._settle(name, outcomes)

    def _delete_some(self, unit: Unit, name: str, keys: Sequence[str]) -> list[Outcome]:
        told = {"DateDeleted": self._exported or "deleted"}
        outcomes, changes, waiting = [], [], []
        for state in unit.rows.get(self._source, name, keys).values():
            if state.deleted:
                continue
            # the row that comes back as it was is another version than the one that is not there
            gone = replace(state, deleted=1, exported=self._exported, digest=b"")
            outcomes.append(Outcome(Kind.DELETED, 0, gone, before=state))
            if state.waiting:
                waiting.append(replace(gone, cells=json.dumps(json.loads(state.cells) | told)))
            else:
                changes.append(Change(gone, cells=told))
        unit.rows.put(waiting)
        self._writer.again(unit, name, changes)
        self._writer.follow(unit, name, outcomes)
        return outcomes

    def _refuse_mass_deletion(self) -> None:
        """Nothing has been written yet."""
        count, stored = self._absent.count, self._absent.stored
        if count > self._options.few_deleted and count > stored * self._options.max_deleted_share:
            raise Conflict(
                f"a full refresh would delete {count} of {stored} rows in scope; nothing was written",
                fix="check the export; allow it with --max-deleted 100",
            )

    # -- files of the source's own -------------------------------------------------------------------------------------

    def _own_files(self) -> None:
        taken = {f"{name}.csv".casefold() for name in self._conversion.spec.files}
        for seen in self._conversion.seen:
            if seen.name:
                continue
            name = own_name(seen.path)
            if name.casefold() in taken or not seen.header.cells:
                self.report.note(name, 0, "a second file of this name, or an empty one: not kept")
                continue
            taken.add(name.casefold())
            counts = OwnFile(self._conversion, seen, self._exported, self._victims.theirs).run(
                self._write, self.report.mode == "full"
            )
            self.report.counts[name.removesuffix(".csv")] = counts
            self._tick(seen.bytes)
        self._victims.sweep(self._look, self._write, {*self._conversion.maps, SENT, FORMAT})
