"""An HMIS export into the store: delta and full refresh, deletes and restores, in bounded transactions.

Authority is source x projects of Project.csv x period. A batch of rows is one transaction; its rows' states are
written with its resources, so an import that was interrupted is finished by running it again, and one that ran already
changes nothing. Rows that name a client or enrollment which has not come yet wait, so deltas may come in any order.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import Any, Final

from gateway.codecs.json_text import read
from gateway.exchange.hmis_convert import Conversion, FileSeen
from gateway.exchange.hmis_keys import Seen
from gateway.exchange.hmis_manifest import household_of
from gateway.exchange.hmis_projects import project_facts
from gateway.exchange.hmis_rows import (
    ABSENT_MEANS_DELETED,
    ORDER,
    WRITTEN,
    Kind,
    Outcome,
    Row,
    facts_of,
    held,
    kind_of,
    moment,
    newer,
    state_of,
)
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.rows import RowState
from gateway.exchange.ports.store import Store, Unit
from gateway.exchange.save import Saver
from gateway.kernel.errors import Conflict, DoorwayError
from gateway.kernel.fhir import JsonObject
from gateway.mapping.hmis.compile import Odd, RowFunction, compile_map, to_json
from gateway.mapping.hmis.explain import Facts, convert_row, part_id, restore_row
from gateway.mapping.hmis.tables import COMPUTED, FileMap
from gateway.mapping.hmis.values import day_of

BATCH_ROWS: Final = 500
REJECTS_KEPT: Final = 10_000
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

    def add(self, file: str, outcome: Outcome) -> None:
        """Count an outcome; name the rows that a person should look at."""
        counts = self.counts.setdefault(file, {})
        counts[outcome.kind.value] = counts.get(outcome.kind.value, 0) + 1
        if outcome.kind in (Kind.REJECTED, Kind.REFUSED, Kind.WAITING) and len(self.notes) < REJECTS_KEPT:
            note = {"file": f"{file}.csv", "row": outcome.number, "column": outcome.column, "reason": outcome.reason}
            self.notes.append(note | {"kind": outcome.kind.value})

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
        self._conversion, self._saver, self._now_us, self._options = conversion, saver, now_us, options
        self._on_arrival, self._tick = on_arrival, tick
        first = conversion.export[0] if conversion.export else {}
        self._exported = moment(first.get("ExportDate", ""))
        self._period = (
            day_of(first.get("ExportStartDate", "")) or "",
            day_of(first.get("ExportEndDate", "")) or "9999",
        )
        said = {"2": "full", "1": "delta"}.get(first.get("ExportDirective", "").strip(), "delta")
        mode = said if options.refresh == "auto" else options.refresh
        self.report = ImportReport(conversion.source.name, conversion.version, mode)
        self._source = conversion.source.name
        self._functions: dict[str, RowFunction] = {}  # compiled when a file is first met
        self._projects: dict[str, dict[str, str]] = {}
        self._refused_clients: set[str] = set()
        self._households: set[str] = set()
        self._relabel: dict[str, str] = {}
        self._seen: dict[str, Seen] = {}

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
        self._all(lambda work: store.write(work))
        return self.report

    def _rehearse(self, unit: Unit) -> None:
        self._all(lambda work: work(unit))
        raise _Undo(self.report)

    def _all(self, write: Callable[[Callable[[Unit], Any]], Any]) -> None:
        if self.report.mode == "full":
            write(self._refuse_mass_deletion)
        files = {seen.name: seen for seen in self._conversion.seen if seen.name}
        for name in ORDER:
            seen = files.get(name)
            if name == "Client":
                write(self._label_projects)
                for project in list(self._relabel):
                    write(partial(self._relabelled, project=project))
                self._find_refused_clients()
            if seen is not None:
                self._file(seen, self._conversion.maps[name], write)
        self._wake(write)
        if self.report.mode == "full":
            for name in reversed(ABSENT_MEANS_DELETED):
                self._delete_absent(name, write)
        households = sorted(self._households)
        for start in range(0, len(households), 200):
            write(partial(self._write_households, households=households[start : start + 200]))

    # -- rows ----------------------------------------------------------------------------------------------------------

    def _file(self, seen: FileSeen, table: FileMap, write: Callable[[Callable[[Unit], Any]], Any]) -> None:
        rows, name = self._rows(seen, table), table.file.name
        self._seen.setdefault(name, Seen())
        while batch := list(islice(rows, BATCH_ROWS)):
            self._settle(name, write(partial(self._batch, table=table, rows=batch)))
        self._tick(seen.bytes)

    def _rows(self, seen: FileSeen, table: FileMap) -> Iterator[Row]:
        at, known = list(seen.header.position.items()), self._seen.setdefault(table.file.name, Seen())
        names = [column.name for column in table.file.columns]
        for number, cells in enumerate(self._conversion.rows(seen), 1):
            if not cells:
                continue
            size = len(cells)
            row = dict.fromkeys(names, "")
            for name, index in at:
                if index < size:
                    row[name] = cells[index]
            key = row[table.file.key].strip()
            reason = "" if key else f"{table.file.key} is empty"
            if key and known.add(key):
                reason = "the key came before in this file"
            elif table.personal and not row["PersonalID"].strip():
                reason = "PersonalID is empty"
            if reason:
                self.report.add(table.file.name, Outcome(Kind.REJECTED, number, None, table.file.key, reason))
                continue
            if size < len(seen.header.cells):
                note = {"file": f"{table.file.name}.csv", "row": number, "column": "", "kind": "note"}
                self.report.notes.append({**note, "reason": "fewer cells than the header: the rest is read as empty"})
            yield Row(number, row)

    def _settle(self, file: str, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            self.report.add(file, outcome)
            if outcome.kind in WRITTEN and file == "Project" and outcome.state is not None:
                now, before = facts_of(outcome.state), facts_of(outcome.before)
                if any(now.get(name) != before.get(name) for name in ("OrganizationID", "ProjectType")):
                    self._relabel[outcome.state.key] = before.get("labels", "")
            if outcome.kind in WRITTEN and file == "Enrollment":
                for state in (outcome.state, outcome.before):
                    if state is not None and state.household:
                        self._households.add(state.household)

    def _batch(self, unit: Unit, table: FileMap, rows: Sequence[Row]) -> list[Outcome]:
        """Decide and write some rows of one file."""
        file = table.file.name
        states = unit.rows.get(self._source, file, [row.cells[table.file.key].strip() for row in rows])
        parents = self._parents(unit, table, rows)
        entered = self._entered(unit, rows) if file == "Event" else set()
        outcomes: list[Outcome] = []
        drafts: list[Draft] = []
        stale: list[tuple[str, str]] = []
        for row in rows:
            outcome = self._decide(table, row, states.get(row.cells[table.file.key].strip()), parents)
            outcomes.append(outcome)
            if outcome.kind in WRITTEN and outcome.state is not None:
                made = self._made(table, row.cells, outcome, entered)
                drafts += made
                if outcome.before is not None:
                    stale += self._stale(table, outcome.state.key, made)
        self._saver.save(unit, drafts, now_us=self._now_us())
        for type_, id_ in stale:
            unit.resources.delete(type_, id_, now_us=self._now_us(), source=self._source)
        unit.rows.put([o.state for o in outcomes if o.state is not None and o.kind in (*WRITTEN, Kind.WAITING)])
        self._after(unit, table, outcomes, drafts)
        return outcomes

    def _parents(self, unit: Unit, table: FileMap, rows: Sequence[Row]) -> "_Parents":
        parents = _Parents()
        if table.file.name in ("Client", "Export") or not table.personal:
            return parents
        persons = {row.cells["PersonalID"].strip() for row in rows}
        found = unit.rows.get(self._source, "Client", sorted(persons))
        parents.clients = {key for key, state in found.items() if not state.waiting}
        if table.file.column("EnrollmentID") and table.file.name != "Enrollment":
            wanted = {row.cells["EnrollmentID"].strip() for row in rows} - {""}
            found = unit.rows.get(self._source, "Enrollment", sorted(wanted))
            parents.enrollments = {key: facts_of(state) for key, state in found.items() if not state.waiting}
        return parents

    def _decide(self, table: FileMap, row: Row, before: RowState | None, parents: "_Parents") -> Outcome:
        file, cells = table.file, row.cells
        person, enrollment = cells.get("PersonalID", "").strip(), cells.get("EnrollmentID", "").strip()
        facts: dict[str, str] = {}
        waits = ""
        if file.name == "Enrollment":
            project = self._projects.get(cells["ProjectID"].strip(), {})
            if project.get("vsp"):
                return Outcome(
                    Kind.REFUSED, row.number, None, "ProjectID", "client-level row of a victim service provider"
                )
            kept = self._conversion.context.exits.get(enrollment) or facts_of(before).get("exit", "")
            facts = {"labels": project.get("labels", ""), "exit": kept}
        elif table.personal and file.name != "Client" and enrollment:
            parent = parents.enrollments.get(enrollment)
            facts = {"labels": (parent or {}).get("labels", "")}
            waits = "" if parent is not None else "EnrollmentID"
        if person in self._refused_clients:
            return Outcome(
                Kind.REFUSED, row.number, None, "PersonalID", "client-level row of a victim service provider"
            )
        if table.personal and file.name != "Client" and person not in parents.clients:
            waits = "PersonalID"
        if file.name == "Project":
            facts = {name: facts_of(before).get(name, "") for name in ("labels", "vsp", "funders")}
        state = state_of(self._source, file, row, self._exported if row.exported is None else row.exported, facts)
        same = before is not None and before.digest == state.digest
        if same and before is not None and not before.waiting:
            return Outcome(Kind.UNCHANGED, row.number, None, before=before)
        if before is not None and not newer(state, before):
            return Outcome(Kind.OLDER, row.number, None, before=before)
        if waits:
            columns = [column.name for column in file.columns]
            state = replace(state, cells=held(state, cells, columns))
            return Outcome(Kind.WAITING, row.number, state, waits, f"{waits} has not come yet: kept until it does")
        return Outcome(kind_of(state, before), row.number, state, before=before)

    def _made(
        self, table: FileMap, cells: "dict[str, str] | Any", outcome: Outcome, entered: set[tuple[str, str]]
    ) -> list[Draft]:
        state = outcome.state
        assert state is not None
        facts = facts_of(state)
        computed = self._computed(table.file.name, cells, facts, (state.person, state.key) in entered)
        return self._convert(table, cells, facts.get("labels", ""), computed)

    def _computed(self, file: str, cells: Any, facts: dict[str, str], entered: bool) -> dict[str, str]:
        if file == "Enrollment":
            project = self._projects.get(cells["ProjectID"].strip(), {})
            return {
                "@exit": facts.get("exit", ""),
                "@organization": project.get("OrganizationID", ""),
                "@projecttype": project.get("ProjectType", ""),
            }
        if file == "Event":
            known = cells["LocationCrisisOrPHHousing"].strip() in self._projects
            return {"@enrolled": "1" if entered else "", "@location": "1" if known else ""}
        if file == "Project":
            closing = day_of(cells.get("OperatingEndDate", ""))
            closed = bool(cells.get("DateDeleted")) or bool(closing and closing <= self._period[1])
            return {"@funders": facts.get("funders", ""), "@today": "closed" if closed else ""}
        return {}

    def _convert(self, table: FileMap, cells: Any, labels: str, computed: dict[str, str]) -> list[Draft]:
        """The resources of a row as drafts. ExportID and the row's place are left out: they say nothing of the row."""
        names = [column.name for column in table.file.columns]
        row = ["" if name == "ExportID" and table.file.name != "Export" else cells.get(name, "") for name in names]
        row += [computed.get(name, "") for name in COMPUTED]
        try:
            function = self._functions.get(table.file.name)
            if function is None:
                function = self._functions[table.file.name] = compile_map(table)
            lines = function(row, "", labels)[1::2]
        except Odd:
            told = dict(zip(names, row, strict=False))
            lines = [to_json(m.resource) for m in convert_row(table, told, Facts(None, labels, computed))]
        return [self._draft(line) for line in lines]

    def _draft(self, line: str) -> Draft:
        body = line.encode()
        document = read(body)
        security = tuple(document.resource.get("meta", {}).get("security", ()))
        return Draft(document.resource, body, source=self._source, labels=security, document=document)

    def _stale(self, table: FileMap, key: str, made: Sequence[Draft]) -> list[tuple[str, str]]:
        """Resources that an older version of the row may have made and this one does not."""
        kept = {(draft.resource["resourceType"], draft.resource["id"]) for draft in made}
        return [
            (p.resource, part_id(table, p, key))
            for p in table.parts
            if (p.resource, part_id(table, p, key)) not in kept
        ]

    # -- what follows from written rows --------------------------------------------------------------------------------

    def _after(self, unit: Unit, table: FileMap, outcomes: Sequence[Outcome], drafts: Sequence[Draft]) -> None:
        file = table.file.name
        written = [o for o in outcomes if o.kind in WRITTEN and o.state is not None]
        if file == "Client" and self._on_arrival is not None:
            patients = [f"Patient/{d.resource['id']}" for d in drafts if d.resource["resourceType"] == "Patient"]
            if patients:
                self._on_arrival(unit, patients)
        elif file == "Exit":
            self._exits(unit, [o for o in outcomes if o.kind is not Kind.UNCHANGED])
        elif file == "Enrollment":
            self._referrals(unit, written)

    def _exits(self, unit: Unit, outcomes: Sequence[Outcome]) -> None:
        """Enrollments whose exit is now another day are written again."""
        days: dict[str, str] = {}
        for outcome in outcomes:
            state = outcome.before if outcome.kind is Kind.OLDER else outcome.state
            if state is not None and not state.waiting and state.enrollment:
                days[state.enrollment] = "" if state.deleted else day_of(facts_of(state).get("ExitDate", "")) or ""
        found = unit.rows.get(self._source, "Enrollment", sorted(days))
        for key, state in found.items():
            facts = facts_of(state)
            if not state.waiting and facts.get("exit", "") != days[key]:
                facts["exit"] = days[key]
                self._again(unit, replace(state, facts=json.dumps(facts, sort_keys=True)))
                if state.household:
                    self._households.add(state.household)

    def _referrals(self, unit: Unit, written: Sequence[Outcome]) -> None:
        """Accepted referrals whose target has now enrolled the client are completed."""
        entries = {
            (o.state.person, o.state.project): o.state for o in written if o.state is not None and not o.state.deleted
        }
        if not entries:
            return
        for event in unit.rows.of_persons(self._source, "Event", sorted({person for person, _ in entries})):
            facts = facts_of(event)
            state = entries.get((event.person, facts.get("LocationCrisisOrPHHousing", "")))
            if state is None or facts.get("ReferralResult") != "1":
                continue
            if facts_of(state).get("EntryDate", "") >= facts.get("EventDate", "9999"):
                self._again(unit, event, {"@enrolled": "1", "@location": "1"})

    def _entered(self, unit: Unit, rows: Sequence[Row]) -> set[tuple[str, str]]:
        """(PersonalID, EventID) of accepted referrals whose target enrolled the client on or after the day."""
        accepted = [row.cells for row in rows if row.cells["ReferralResult"].strip() == "1"]
        persons = sorted({cells["PersonalID"].strip() for cells in accepted})
        entries: dict[tuple[str, str], str] = {}
        for state in unit.rows.of_persons(self._source, "Enrollment", persons) if persons else ():
            key = (state.person, state.project)
            entries[key] = max(entries.get(key, ""), facts_of(state).get("EntryDate", ""))
        out = set()
        for cells in accepted:
            key = (cells["PersonalID"].strip(), cells["LocationCrisisOrPHHousing"].strip())
            if entries.get(key, "") >= cells["EventDate"].strip() and key in entries:
                out.add((key[0], cells["EventID"].strip()))
        return out

    def _again(self, unit: Unit, state: RowState, computed: dict[str, str] | None = None, **cells: str) -> None:
        """Write a stored row again after something beside it changed; ``cells`` replace cells."""
        table = self._conversion.maps[state.file]
        wanted = {f"{part.resource}/{part_id(table, part, state.key)}": part.name for part in table.parts}
        found = {}
        for reference, stored in unit.resources.many(wanted).items():
            found[wanted[reference]] = json.loads(stored.body, parse_float=Decimal)
        if not found:
            return
        row = restore_row(table, found) | cells
        facts = facts_of(state)
        told = self._computed(state.file, row, facts, False) | (computed or {})
        drafts = self._convert(table, row, facts.get("labels", ""), told)
        self._saver.save(unit, drafts, now_us=self._now_us())
        for type_, id_ in self._stale(table, state.key, drafts):
            unit.resources.delete(type_, id_, now_us=self._now_us(), source=self._source)
        unit.rows.put([state])

    # -- projects: labels, victim service providers --------------------------------------------------------------------

    def _label_projects(self, unit: Unit) -> None:
        """Labels of every project from what is stored of it, its organization and its funders."""
        for state, facts in project_facts(unit, self._source, self._conversion):
            before = facts_of(state)
            self._projects[state.key] = facts
            if facts.get("vsp"):
                self.report.refused_organizations.append(facts.get("OrganizationID", ""))
            if before != facts:
                changed = replace(state, facts=json.dumps(facts, sort_keys=True))
                if before.get("funders", "") != facts.get("funders", "") or before.get("labels") != facts.get("labels"):
                    self._again(unit, changed)
                unit.rows.put([changed])
                if before.get("labels", "") != facts.get("labels", ""):
                    self._relabel[state.key] = facts.get("labels", "")
        self.report.refused_organizations = sorted(set(self.report.refused_organizations))

    def _relabelled(self, unit: Unit, project: str) -> None:
        """Rows of a project whose labels changed are written again with the new ones."""
        labels = self._relabel[project]
        for enrollment in unit.rows.of_projects(self._source, "Enrollment", [project]):
            for state in unit.rows.of_enrollments(self._source, [enrollment.key]):
                facts = facts_of(state) | {"labels": labels}
                self._again(unit, replace(state, facts=json.dumps(facts, sort_keys=True)))
            if enrollment.household:
                self._households.add(enrollment.household)

    def _find_refused_clients(self) -> None:
        """Clients that this export shows at victim service providers only: not even their existence is kept."""
        if not any(facts.get("vsp") for facts in self._projects.values()):
            return
        inside: set[str] = set()
        outside: set[str] = set()
        for row in self._conversion.dicts("Enrollment"):
            victims = self._projects.get(row.get("ProjectID", "").strip(), {}).get("vsp")
            (inside if victims else outside).add(row.get("PersonalID", "").strip())
        self._refused_clients = inside - outside

    # -- households, waiting rows, absence -----------------------------------------------------------------------------

    def _write_households(self, unit: Unit, households: Sequence[str]) -> None:
        members: dict[str, list[list[str]]] = {household: [] for household in households}
        for state in unit.rows.of_households(self._source, households):
            facts = facts_of(state)
            told = [state.person, facts.get("RelationshipToHoH", ""), facts.get("EntryDate", "")]
            members[state.household].append([*told, facts.get("exit", ""), facts.get("labels", "")])
        drafts = []
        for household, its in members.items():
            if its:
                drafts.append(self._draft(to_json(household_of(self._conversion, household, its))))
            else:
                id_ = self._conversion.source.id("Household", household)
                unit.resources.delete("Group", id_, now_us=self._now_us(), source=self._source)
        self._saver.save(unit, drafts, now_us=self._now_us())

    def _wake(self, write: Callable[[Callable[[Unit], Any]], Any]) -> None:
        """Rows that waited and whose client and enrollment are there now."""

        def work(unit: Unit) -> list[tuple[str, list[Outcome]]]:
            waiting: dict[str, list[Row]] = {}
            for state in list(unit.rows.waiting(self._source)):
                table = self._conversion.maps[state.file]
                cells = dict.fromkeys((column.name for column in table.file.columns), "")
                waiting.setdefault(state.file, []).append(Row(0, cells | json.loads(state.cells), state.exported))
            done = []
            for name in ORDER:
                ready = [row for row in waiting.get(name, ()) if self._ready(unit, self._conversion.maps[name], row)]
                if ready:
                    done.append((name, self._batch(unit, self._conversion.maps[name], ready)))
            return done

        for name, outcomes in write(work):
            self._settle(name, outcomes)

    def _ready(self, unit: Unit, table: FileMap, row: Row) -> bool:
        parents = self._parents(unit, table, [row])
        enrollment = row.cells.get("EnrollmentID", "").strip() if table.file.name != "Enrollment" else ""
        here = row.cells["PersonalID"].strip() in parents.clients
        return here and (not enrollment or enrollment in parents.enrollments)

    def _in_scope(self, unit: Unit, name: str) -> list[RowState]:
        """Stored live rows that a full refresh of these projects and this period speaks for."""
        projects = [row.get("ProjectID", "").strip() for row in self._conversion.dicts("Project")]
        table = self._conversion.maps[name]
        if name != "Enrollment" and table.file.column("ProjectID"):
            return unit.rows.of_projects(self._source, name, projects)
        start, end = self._period
        enrollments = []
        for state in unit.rows.of_projects(self._source, "Enrollment", projects):
            facts = facts_of(state)
            if facts.get("EntryDate", "") <= end and (facts.get("exit") or "9999") >= start:
                enrollments.append(state)
        if name == "Enrollment":
            return enrollments
        keys = [state.key for state in enrollments]
        return [state for state in unit.rows.of_enrollments(self._source, keys) if state.file == name]

    def _delete_absent(self, name: str, write: Callable[[Callable[[Unit], Any]], Any]) -> None:
        if self._conversion.file(name) is None:
            return  # a file that is not in the export says nothing about its rows

        def work(unit: Unit) -> list[Outcome]:
            seen, out = self._seen.get(name, Seen()), []
            for state in self._in_scope(unit, name):
                if not seen.holds(state.key):
                    gone = replace(state, deleted=1, exported=self._exported)
                    self._again(unit, gone, DateDeleted=self._exported or "deleted")
                    out.append(Outcome(Kind.DELETED, 0, gone, before=state))
            return out

        outcomes = write(work)
        self.report.absent += len(outcomes)
        self._settle(name, outcomes)

    def _refuse_mass_deletion(self, unit: Unit) -> None:
        """Compare what is stored with the keys of the export before anything is written."""
        stored = absent = 0
        for name in ABSENT_MEANS_DELETED:
            seen = self._conversion.file(name)
            if seen is None:
                continue
            scope = self._in_scope(unit, name)
            if not scope:
                continue
            keys, table = Seen(), self._conversion.maps[name]
            for row in self._conversion.dicts(name):
                keys.add(row.get(table.file.key, "").strip())
            stored += len(scope)
            absent += sum(1 for state in scope if not keys.holds(state.key))
        if absent > self._options.few_deleted and absent > stored * self._options.max_deleted_share:
            share = f"{absent} of {stored} rows in scope"
            raise Conflict(
                f"a full refresh would delete {share}; nothing was written",
                fix="check the export; allow it with --max-deleted 100",
            )


@dataclass(slots=True)
class _Parents:
    """Clients and enrollments that are stored, of those that a batch names."""

    clients: set[str] = field(default_factory=set)
    enrollments: dict[str, dict[str, str]] = field(default_factory=dict)
