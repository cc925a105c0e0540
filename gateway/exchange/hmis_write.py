"""Rows of an HMIS source as resources in the store, and what follows from a written row: exits, referrals, labels.

What follows in a later transaction (households, rows of a project whose labels changed) is noted in the transaction
that made it necessary, so that an import which is interrupted leaves nothing half labelled: the next one does it first.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from typing import Any, Final, TypeVar

from gateway.codecs.json_text import read_own
from gateway.exchange.hmis_convert import Conversion
from gateway.exchange.hmis_joined import JOINED, came_back, carry_outcomes, joined
from gateway.exchange.hmis_manifest import household_of
from gateway.exchange.hmis_projects import project_facts
from gateway.exchange.hmis_rows import WRITTEN, Kind, Outcome, Row, Shape, facts_of, facts_text
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.rows import RowState, pages_of
from gateway.exchange.ports.store import Reading, Unit
from gateway.exchange.save import Saver
from gateway.kernel.fhir import Resource
from gateway.mapping.hmis.compile import Odd, RowFunction, compile_map, to_json
from gateway.mapping.hmis.explain import Facts, convert_row, part_id, restore_row
from gateway.mapping.hmis.memo import key_text
from gateway.mapping.hmis.tables import COMPUTED
from gateway.mapping.hmis.values import day_of

T = TypeVar("T")
Write = Callable[[Callable[[Unit], Any]], Any]
HOUSEHOLD: Final = "household"  # kinds of what is still to be done
PROJECT: Final = "project"
EVENT: Final = "event"
VICTIMS: Final = "victims"  # projects that serve victims since a moment ago
PLACES: Final = "ProjectCoC"  # the file that tells the addresses of projects
TOGETHER: Final = 200
_DERIVED: Final = ("labels", "exit", JOINED)  # facts that other rows tell of a row: none while it waits


def groups(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Slices of at most ``size``."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


@dataclass(slots=True)
class Parents:
    """Clients and enrollments that are stored, of those that a batch names."""

    clients: set[str] = field(default_factory=set)
    enrollments: dict[str, dict[str, str]] = field(default_factory=dict)
    referrals: dict[str, str] = field(default_factory=dict)  # EventID -> what it is part of (hmis_joined)


@dataclass(slots=True)
class Change:
    """A stored row that is to be written again because something beside it changed."""

    state: RowState
    cells: Mapping[str, str] = field(default_factory=dict)  # these replace what is stored


class RowWriter:
    """Writes rows of one source.

    ``projects``: facts of every stored project, set by :meth:`label_projects`.
    """

    def __init__(self, conversion: Conversion, saver: Saver, now_us: Callable[[], int]) -> None:
        self.conversion, self.source = conversion, conversion.source.name
        self._saver, self._now_us = saver, now_us
        first = conversion.export[0] if conversion.export else {}
        self._ends = day_of(first.get("ExportEndDate", "")) or "9999"
        self._functions: dict[str, RowFunction] = {}  # compiled when a file is first met
        self._shapes: dict[str, Shape] = {}
        self.projects: dict[str, dict[str, str]] = {}
        self.victims: list[str] = []  # organizations

    def shape(self, file: str) -> Shape:
        """Where the file's cells lie."""
        found = self._shapes.get(file)
        if found is None:
            found = self._shapes[file] = Shape(self.conversion.maps[file])
        return found

    # -- rows to resources ---------------------------------------------------------------------------------------------

    def made(self, shape: Shape, row: Row, state: RowState, entered: set[tuple[str, str]]) -> list[Draft]:
        """The resources of a row as drafts."""
        facts = facts_of(state)
        computed = self._computed(shape, row, facts, (state.person, state.key) in entered)
        drafts = self._convert(shape, row, facts.get("labels", ""), computed)
        return joined(drafts, facts[JOINED]) if facts.get(JOINED) else drafts

    def _computed(self, shape: Shape, row: Row, facts: Mapping[str, str], entered: bool) -> dict[str, str]:
        name = shape.file.name
        if name == "Enrollment":
            project = self.projects.get(shape.cell(row, "ProjectID"), {})
            return {
                "@exit": facts.get("exit", ""),
                "@organization": project.get("OrganizationID", ""),
                "@projecttype": project.get("ProjectType", ""),
            }
        if name == "Event":
            known = shape.cell(row, "LocationCrisisOrPHHousing") in self.projects
            return {"@enrolled": "1" if entered else "", "@location": "1" if known else ""}
        if name == "Project":
            closing = day_of(shape.cell(row, "OperatingEndDate"))
            closed = bool(shape.cell(row, "DateDeleted")) or bool(closing and closing <= self._ends)
            return {"@funders": facts.get("funders", ""), "@today": "closed" if closed else ""}
        return {}

    def _convert(self, shape: Shape, row: Row, labels: str, computed: Mapping[str, str]) -> list[Draft]:
        """ExportID and the row's place are left out: they say nothing of the row."""
        cells = list(row.cells)
        export = shape.at.get("ExportID", -1)
        if export >= 0 and shape.file.name != "Export":
            cells[export] = ""
        name = shape.file.name
        function = self._functions.get(name)
        if function is None:
            function = self._functions[name] = compile_map(shape.table)
        lines: list[str] = []
        try:
            told = cells + ([computed.get(name, "") for name in COMPUTED] if computed else shape.computed)
            function.run(told, key_text(cells[shape.key]), "", labels, *[lines.append] * len(function.kinds))
        except Odd:
            twin = convert_row(shape.table, dict(zip(shape.names, cells, strict=True)), Facts(None, labels, computed))
            lines = [to_json(made.resource) for made in twin]
        return [self._draft(line) for line in lines]

    def _draft(self, line: str) -> Draft:
        document = read_own(line)
        security = tuple(document.resource.get("meta", {}).get("security", ()))
        return Draft(document.resource, line.encode(), source=self.source, labels=security, document=document)

    def save(self, unit: Unit, drafts: Sequence[Draft], stale: Sequence[tuple[str, str]]) -> None:
        """Store drafts, and delete what older versions of their rows had made."""
        now = self._now_us()
        self._saver.save(unit, drafts, now_us=now)
        carry_outcomes(unit, self._saver, self.source, drafts, now)
        for type_, id_ in stale:
            self._saver.delete(unit, type_, id_, now_us=now, source=self.source)

    def stale(self, shape: Shape, key: str, made: Sequence[Draft]) -> list[tuple[str, str]]:
        """Resources that an older version of the row may have made and this one does not."""
        kept = {(draft.resource["resourceType"], draft.resource["id"]) for draft in made}
        parts = [(part.resource, part_id(shape.table, part, key)) for part in shape.table.parts]
        return [part for part in parts if part not in kept]

    def again(self, unit: Unit, file: str, changes: Sequence[Change]) -> None:
        """Write stored rows again after something beside them changed; rows that have no resources are left alone."""
        shape = self.shape(file)
        stored = self._stored(unit, shape, [change.state.key for change in changes])
        rows = {
            change.state.key: shape.of_told(0, stored[change.state.key] | dict(change.cells))
            for change in changes
            if change.state.key in stored
        }
        entered = self.entered(unit, shape, list(rows.values())) if file == "Event" else set()
        drafts: list[Draft] = []
        stale: list[tuple[str, str]] = []
        for change in changes:
            if change.state.key in rows:
                made = self.made(shape, rows[change.state.key], change.state, entered)
                drafts += made
                stale += self.stale(shape, change.state.key, made)
        self.save(unit, drafts, stale)
        unit.rows.put([change.state for change in changes if change.state.key in rows])

    def _stored(self, unit: Unit, shape: Shape, keys: Sequence[str]) -> dict[str, dict[str, str]]:
        """The cells of rows by key, from their resources; rows that have none are left out."""
        parts = [(key, part) for key in keys for part in shape.table.parts]
        wanted = {f"{part.resource}/{part_id(shape.table, part, key)}": (key, part.name) for key, part in parts}
        found: dict[str, dict[str, Resource]] = {}
        for reference, stored in unit.resources.many(wanted).items():
            key, name = wanted[reference]
            found.setdefault(key, {})[name] = json.loads(stored.body, parse_float=Decimal)
        return {key: restore_row(shape.table, resources) for key, resources in found.items()}

    def _withdraw(self, unit: Unit, enrollments: Sequence[str]) -> None:
        """What belongs to enrollments that wait again waits with them: whose it is, and its labels, hang on them."""
        by_file: dict[str, list[RowState]] = {}
        for state in unit.rows.of_enrollments(self.source, enrollments, deleted=True) if enrollments else ():
            by_file.setdefault(state.file, []).append(state)
        for file, states in by_file.items():
            shape = self.shape(file)
            stored = self._stored(unit, shape, [state.key for state in states])
            gone = [part for state in states for part in self.stale(shape, state.key, [])]
            self.save(unit, [], gone)
            waiting = []
            for state in (state for state in states if state.key in stored):
                held = shape.held(shape.of_told(0, stored[state.key]))
                facts = {name: value for name, value in facts_of(state).items() if name not in _DERIVED}
                waiting.append(replace(state, cells=held, facts=facts_text(facts)))
            unit.rows.put(waiting)

    def forget(self, unit: Unit, file: str, keys: Sequence[str]) -> None:
        """Take rows out of the store that must not be known: their resources are deleted, their states dropped."""
        shape = self.shape(file)
        parts = {(p.resource, part_id(shape.table, p, key)) for key in keys for p in shape.table.parts}
        self.save(unit, [], sorted(parts))
        unit.rows.drop(self.source, file, keys)

    def came_back(self, unit: Unit, shape: Shape, rows: Sequence[Row]) -> dict[str, str]:
        """What each Event is part of: the Task and the ServiceRequest of a referral that a delta had sent out."""
        told = came_back(unit, self.source, {row.key: shape.told(row) for row in rows})
        return {event: f"{sent.task} {sent.request}" for event, sent in told.items()}

    # -- what rows point to --------------------------------------------------------------------------------------------

    def parents(self, reading: Reading, shape: Shape, rows: Sequence[Row]) -> Parents:
        """Which clients and enrollments that the rows name are stored."""
        parents = Parents()
        if not shape.needs_person:
            return parents
        found = reading.rows.digests(self.source, "Client", sorted({row.cells[shape.person].strip() for row in rows}))
        parents.clients = set(found)
        if shape.needs_enrollment:
            wanted = {row.cells[shape.enrollment].strip() for row in rows} - {""}
            states = reading.rows.get(self.source, "Enrollment", sorted(wanted))
            parents.enrollments = {key: facts_of(state) for key, state in states.items() if not state.waiting}
        return parents

    # -- what follows from written rows --------------------------------------------------------------------------------

    def follow(self, unit: Unit, file: str, outcomes: Sequence[Outcome]) -> None:
        """What other rows need after these were written; what can wait is noted."""
        written = [o for o in outcomes if o.kind in WRITTEN and o.state is not None]
        if file == "Project":
            self._projects(unit, written)
        elif file == "Exit":
            self._exits(unit, [o for o in outcomes if o.kind is not Kind.UNCHANGED])
        elif file == "Enrollment":
            withdrawn = [o.before for o in outcomes if o.withdrawn and o.before is not None]
            states = [state for o in written for state in (o.state, o.before) if state is not None] + withdrawn
            self._withdraw(unit, [state.key for state in withdrawn])
            self._moved(unit, written)
            self.referrals(unit, states)
            unit.rows.put_todo(self.source, HOUSEHOLD, [state.household for state in states if state.household])

    def _projects(self, unit: Unit, written: Sequence[Outcome]) -> None:
        """Enrollments tell their project's type and organization, and a referral whether its target is known."""
        moved, new = [], set()
        for outcome in written:
            now, before = facts_of(outcome.state), facts_of(outcome.before)
            if outcome.state is not None and outcome.before is None:
                new.add(outcome.state.key)
            elif outcome.state is not None and any(
                now.get(name) != before.get(name) for name in ("OrganizationID", "ProjectType")
            ):
                moved.append(outcome.state.key)
        unit.rows.put_todo(self.source, PROJECT, moved)
        events = pages_of(unit.rows.page, self.source, "Event") if new else ()  # deleted ones too name their target
        waited = [one.key for one in events if facts_of(one).get("LocationCrisisOrPHHousing", "") in new]
        unit.rows.put_todo(self.source, EVENT, waited)

    def _exits(self, unit: Unit, outcomes: Sequence[Outcome]) -> None:
        """Enrollments whose exit is now another day are written again; of several live exits the newest row counts."""
        touched = {
            enrollment
            for outcome in outcomes
            for enrollment in (
                outcome.enrollment,
                *(state.enrollment for state in (outcome.before, outcome.state) if state is not None),
            )
            if enrollment
        }
        days: dict[str, tuple[tuple[str, str], str]] = {}
        for state in unit.rows.of_enrollments(self.source, sorted(touched), "Exit"):
            age, day = (state.updated[:10], state.key), day_of(facts_of(state).get("ExitDate", "")) or ""
            days[state.enrollment] = max(days.get(state.enrollment, (age, day)), (age, day))
        changes = []
        for key, state in unit.rows.get(self.source, "Enrollment", sorted(touched)).items():
            facts, day = facts_of(state), days[key][1] if key in days else ""
            if not state.waiting and facts.get("exit", "") != day:
                changes.append(Change(replace(state, facts=facts_text(facts | {"exit": day}))))
        if changes:
            self.again(unit, "Enrollment", changes)
            unit.rows.put_todo(self.source, HOUSEHOLD, [c.state.household for c in changes if c.state.household])

    def _moved(self, unit: Unit, written: Sequence[Outcome]) -> None:
        """What belongs to an enrollment carries its labels: other ones from the moment that it is another project's."""
        labels = {
            outcome.state.key: now
            for outcome in written
            if outcome.state is not None and outcome.before is not None
            for now, before in [(facts_of(outcome.state).get("labels", ""), facts_of(outcome.before).get("labels", ""))]
            if now != before or outcome.state.project != outcome.before.project
        }
        by_file: dict[str, list[Change]] = {}
        for state in unit.rows.of_enrollments(self.source, sorted(labels), deleted=True) if labels else ():
            if state.file != "Enrollment":
                by_file.setdefault(state.file, []).append(labelled(state, labels[state.enrollment]))
        for file, changes in by_file.items():
            self.again(unit, file, changes)

    def referrals(self, unit: Unit, states: Sequence[RowState]) -> None:
        """Accepted referrals to these enrollments' projects: completed while the target has enrolled the client."""
        places = {(state.person, state.project) for state in states}
        if not places:
            return
        changes = []
        for event in unit.rows.of_persons(self.source, "Event", sorted({person for person, _ in places})):
            facts = facts_of(event)
            here = (event.person, facts.get("LocationCrisisOrPHHousing", "")) in places
            if here and facts.get("ReferralResult") == "1":
                changes.append(Change(event))
        if changes:
            self.again(unit, "Event", changes)

    def entered(self, unit: Unit, shape: Shape, rows: Sequence[Row]) -> set[tuple[str, str]]:
        """(PersonalID, EventID) of accepted referrals whose target enrolled the client on or after the day."""
        accepted = [row for row in rows if shape.cell(row, "ReferralResult") == "1"]
        persons = sorted({shape.cell(row, "PersonalID") for row in accepted})
        entries: dict[tuple[str, str], str] = {}
        for state in unit.rows.of_persons(self.source, "Enrollment", persons) if persons else ():
            key = (state.person, state.project)
            entries[key] = max(entries.get(key, ""), facts_of(state).get("EntryDate", ""))
        out = set()
        for row in accepted:
            key = (shape.cell(row, "PersonalID"), shape.cell(row, "LocationCrisisOrPHHousing"))
            if key in entries and entries[key] >= shape.cell(row, "EventDate"):
                out.add((key[0], row.key))
        return out

    # -- projects: labels, victim service providers --------------------------------------------------------------------

    def label_projects(self, unit: Unit) -> None:
        """Labels of every project from what is stored of it, its organization and its funders."""
        changes = []
        victims = set()
        for state, facts in project_facts(unit, self.source, self.conversion):
            before = facts_of(state)
            self.projects[state.key] = facts
            if facts.get("vsp"):
                victims.add(facts.get("OrganizationID", ""))
            changed = replace(state, facts=facts_text(facts))
            if changed.facts == state.facts:
                continue
            if any(before.get(name, "") != facts.get(name, "") for name in ("funders", "labels")):
                changes.append(Change(changed))
            unit.rows.put([changed])
            if before.get("labels", "") != facts.get("labels", ""):
                unit.rows.put_todo(self.source, PROJECT, [state.key])
            if facts.get("vsp") and not before.get("vsp"):
                unit.rows.put_todo(self.source, VICTIMS, [state.key])
        if changes:
            self.again(unit, "Project", changes)
        self.victims = sorted(victims)

    def events(self, look: Callable[[Callable[[Reading], Any]], Any], write: Write) -> None:
        """Referrals whose target came after them."""
        while keys := look(lambda reading: reading.rows.todo(self.source, EVENT, TOGETHER)):
            write(partial(self._events, keys=keys))

    def _events(self, unit: Unit, keys: Sequence[str]) -> None:
        states = unit.rows.get(self.source, "Event", keys)
        self.again(unit, "Event", [Change(state) for state in states.values() if not state.waiting])
        unit.rows.done(self.source, EVENT, keys)

    def relabel(self, look: Callable[[Callable[[Reading], Any]], Any], write: Write) -> None:
        """Rows of projects whose labels, type or organization changed are written again, some enrollments at a time.

        Deleted ones too: they stay as entered in error, and must not stay with the labels of before.
        """
        for project in look(lambda reading: reading.rows.todo(self.source, PROJECT, 1_000_000)):
            of = partial(_enrollments, source=self.source, project=project)
            for keys in groups(look(of), TOGETHER):
                write(partial(self._relabel, project=project, keys=keys))
            write(partial(self._relabel_places, project=project))

    def _relabel(self, unit: Unit, project: str, keys: Sequence[str]) -> None:
        labels = self.projects.get(project, {}).get("labels", "")
        by_file: dict[str, list[Change]] = {}
        for state in unit.rows.of_enrollments(self.source, list(keys), deleted=True):
            by_file.setdefault(state.file, []).append(labelled(state, labels))
            if state.file == "Enrollment" and state.household:
                unit.rows.put_todo(self.source, HOUSEHOLD, [state.household])
        for file, changes in by_file.items():
            self.again(unit, file, changes)

    def _relabel_places(self, unit: Unit, project: str) -> None:
        """Where a project is; then nothing of it is left to be done."""
        labels = self.projects.get(project, {}).get("labels", "")
        states = unit.rows.of_projects(self.source, PLACES, [project], deleted=True)
        changes = [labelled(state, labels) for state in states if facts_of(state).get("labels", "") != labels]
        if changes:
            self.again(unit, PLACES, changes)
        unit.rows.done(self.source, PROJECT, [project])

    # -- households ----------------------------------------------------------------------------------------------------

    def households(self, look: Callable[[Callable[[Reading], Any]], Any], write: Write) -> None:
        """The Groups of every household of which something changed."""
        while keys := look(lambda reading: reading.rows.todo(self.source, HOUSEHOLD, TOGETHER)):
            write(partial(self._households, keys=keys))

    def _households(self, unit: Unit, keys: Sequence[str]) -> None:
        members: dict[str, list[list[str]]] = {household: [] for household in keys}
        for state in unit.rows.of_households(self.source, keys):
            facts = facts_of(state)
            told = [state.person, facts.get("RelationshipToHoH", ""), facts.get("EntryDate", "")]
            members[state.household].append([*told, facts.get("exit", ""), facts.get("labels", "")])
        drafts, gone = [], []
        for household, its in members.items():
            if its:
                drafts.append(self._draft(to_json(household_of(self.conversion, household, its))))
            else:
                gone.append(("Group", self.conversion.source.id("Household", household)))
        self.save(unit, drafts, gone)
        unit.rows.done(self.source, HOUSEHOLD, keys)


def labelled(state: RowState, labels: str) -> Change:
    """A row that is to be written again with other labels."""
    return Change(replace(state, facts=facts_text(facts_of(state) | {"labels": labels})))


def _enrollments(reading: Reading, source: str, project: str) -> list[str]:
    return [state.key for state in reading.rows.of_projects(source, "Enrollment", [project], deleted=True)]
