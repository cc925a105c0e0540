"""The way back of referrals: what was asked and answered in FHIR since an instant, as a HUD delta export.

A referral Task that did not come from the source becomes one Event; the Task of one that did carries its outcome; an
Observation of the housing status that was sent with it becomes a CurrentLivingSituation when it has HUD's own code.
Nothing is guessed: what HUD has no code for, or what no open enrollment of coordinated entry can hold, is listed in a
file beside the export with the reason, so that staff decide.

It is a disclosure like any other: what others wrote is told only as far as the Organizations that get the row may see
it now, that of the project asked and that of the enrollment which holds the row; the link by which the client is known
included. What is withheld leaves no trace in the files, only a denial in the audit; what is asked of anybody else
leaves none. The notices that the law sends along (42 CFR Part 2) stand in a file of their own, by row.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from gateway.codecs.hmis_csv import write_rows
from gateway.exchange.hmis_joined import Sent, sent_of
from gateway.exchange.hmis_release import NOTHING, NOTICES_FILE, Agencies, Asking, Seen
from gateway.exchange.hmis_rows import ORDER, facts_of
from gateway.exchange.hmis_store_export import restored
from gateway.exchange.hmis_versions import columns_of
from gateway.exchange.link_people import one_person
from gateway.exchange.ports.resources import Stored
from gateway.exchange.ports.rows import RowState
from gateway.exchange.ports.store import Reading
from gateway.kernel.fhir import Resource
from gateway.kernel.identifiers import resource_id
from gateway.mapping.hmis.conversions import Source
from gateway.mapping.hmis.explain import row_of
from gateway.mapping.hmis.spec import LIST_SYSTEM, Read, load_spec
from gateway.mapping.hmis.tables import FileMap, load_maps
from gateway.mapping.hmis.values import day_of
from gateway.mapping.table import read_table
from gateway.referrals.lifecycle import is_referral

SIDE_FILE: Final = "not-in-hmis.csv"
USER: Final = "doorway"
COORDINATED_ENTRY: Final = "14"  # HUD 2.02.6
_EVENT: Final = f"{LIST_SYSTEM}4.20.2"
_RESULT: Final = f"{LIST_SYSTEM}4.20.d"
_LIVING: Final = f"{LIST_SYSTEM}3.12.1"
_SUBSIDY: Final = f"{LIST_SYSTEM}3.12.a"
_RESULTS: Final = {"accepted": "1", "completed": "1", "rejected": "3"}
_UNCODED: Final = ("failed", "on-hold", "cancelled", "in-progress")  # HUD has no code for these: the result stays empty
_LIVING_STATES: Final = ("final", "amended", "corrected")


class _Aside(Exception):
    """Why something cannot become a row."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a row of a client hangs."""

    person: str
    enrollment: str
    project: str
    opened: Mapping[str, str] | None = None  # cells of an enrollment that is made for it


class Delta:
    """Rows made of what happened in FHIR.

    Args:
        export: cells of Export.csv; every row gets its ExportID.
        reading: the snapshot that it is made of.
        asking: the gate for what others wrote.
        since_us: only resources written then or later (microseconds since 1970 UTC).
        enroll_at: ProjectID of the coordinated-entry project at which the site allows a new Enrollment for a client
            who has no open one; empty: such referrals are left to staff.
    """

    def __init__(
        self,
        read: Read,
        reading: Reading,
        source: str,
        version: str,
        export: dict[str, str],
        *,
        asking: Asking,
        since_us: int = 0,
        enroll_at: str = "",
    ) -> None:
        self._source, self._export, self._since_us, self._enroll_at = source, export, since_us, enroll_at
        self.withheld = 0  # referrals of which nothing is told
        self._bound = Source(source)
        self._reading, self._agencies = reading, Agencies(reading, self._bound, asking, export["ExportID"])
        self._spec = load_spec(read, version)
        self._maps = load_maps(read, self._spec, self._bound)
        path, columns = "mappings/hmis/referrals.csv", ("projecttype", "event", "note")
        self._events = {row["projecttype"]: row["event"] for row in read_table(read(path), file=path, columns=columns)}
        path, columns = "mappings/hmis/spec/not-allowed.csv", ("file", "column", "codes")
        self._barred = {
            code
            for row in read_table(read(path), file=path, columns=columns)
            if row["file"] == "CurrentLivingSituation"
            for code in row["codes"].split()
        }
        self._made: dict[str, dict[str, dict[str, str]]] = {name: {} for name in ORDER}
        self.aside: list[tuple[str, str, str]] = []  # resource, state, why
        self.sent: dict[str, Sent] = {}  # referrals by EventID, to be remembered once the export is written

    @property
    def rows(self) -> dict[str, int]:
        """How many rows each file has."""
        return {name: len(rows) for name, rows in self._made.items() if rows} | {"Export": 1}

    def collect(self) -> list[Resource]:
        """Make the rows; the AuditEvents of what they tell and of what is denied, on disk before :meth:`write`."""
        for stored in self._reading.resources.of_type("Task"):
            task = _parsed(stored)
            if stored.updated_us < self._since_us or not is_referral(task):
                continue
            if self._ours(task):
                self._outcome(stored, task)
            elif row_of(task) is None:
                self._referral(stored, task)
        self._referenced()
        self._made["Export"] = {"": self._export}
        return self._agencies.events()

    def write(self, write: Callable[[str, Iterable[str]], None]) -> None:
        """Every file of the set, those without rows with their header, what HUD has no place for, and the notices."""
        for name in ORDER:
            columns = columns_of(self._maps[name].file)
            write(f"{name}.csv", write_rows(self._listed(name, columns)))
        write(SIDE_FILE, write_rows([["resource", "state", "reason"], *map(list, self.aside)]))
        write(NOTICES_FILE, write_rows(self._agencies.notice_rows()))

    def _listed(self, name: str, columns: list[str]) -> Iterator[list[str]]:
        yield columns
        for row in self._made[name].values():
            cells = {**row, "ExportID": self._export["ExportID"]}
            yield [cells.get(column, "") for column in columns]

    # -- referrals -----------------------------------------------------------------------------------------------------

    def _ours(self, resource: Resource) -> bool:
        return row_of(resource) is not None and (resource.get("meta") or {}).get("source") == self._bound.base

    def _outcome(self, stored: Stored, task: Resource) -> None:
        """The Event or Service behind a Task of the source that somebody else wrote to."""
        row = row_of(task) or {}
        if stored.source == self._source or row.get("file") not in ("Event", "Services"):
            return
        table = self._maps[str(row["file"])]
        key = _key(self._parsed_of(str(task["focus"]["reference"])) or {}, f"{self._bound.base}/{table.file.key}")
        seen = self._agencies.shown(self._agencies.of_projects(self._agencies.projects(table.file.name, key)), [stored])
        if not seen.resources:
            self.withheld += 1
            return
        cells = self._restored(table, [key], seen).get(key)
        if cells is not None:
            self._add(table.file.name, key, cells | {"DateUpdated": _moment(stored.updated_us)}, seen)
        self._say_state(stored, task, seen)

    def _referral(self, stored: Stored, task: Resource) -> None:
        key = self._id("Event", stored)
        focus = str(task["focus"]["reference"])
        projects = self._targets(task, self._parsed_of(focus) or {})
        owners = self._agencies.of_projects(projects)
        if not owners:
            return  # asked of somebody else
        found = self._reading.resources.many([focus, *self._stranger(task)])
        candidates = [stored, *found.values()]
        came = sent_of(self._reading, self._source, [key]).get(key)
        event = came.came if came is not None else ""
        seen = self._agencies.shown(
            [*owners, *self._agencies.of_projects(self._agencies.projects("Event", event))], candidates
        )
        if not seen.resources:
            self.withheld += 1
            return
        task = _parsed(seen.resources[stored.reference])
        if event:
            self._returned(stored, task, event, seen)
            return
        request = _parsed(seen.resources[focus]) if focus in seen.resources else {}
        status = str(task.get("status"))
        asked = day_of(str(request.get("authoredOn") or task.get("authoredOn") or "")[:10])
        try:
            if status == "draft":
                raise _Aside("a draft asks for nothing yet")
            if asked is None:
                raise _Aside("neither the request nor the task says when it was authored")
            project, code = self._target(projects, request)
            place = self._place(self._person(task), asked, stored)
        except _Aside as why:
            self._set_aside(stored, status, str(why), seen)
            return
        seen = self._agencies.shown([*owners, *self._agencies.of_projects([place.project])], candidates)
        if not seen.resources:
            self.withheld += 1
            return
        if place.opened is not None:
            self._enroll(place, seen)
        result = _result(task)
        cells = {
            "EnrollmentID": place.enrollment,
            "PersonalID": place.person,
            "EventDate": asked,
            "Event": code,
            "LocationCrisisOrPHHousing": project,
            "ReferralResult": result,
            "ResultDate": _day(task, stored) if result else "",
            **self._audit(asked, stored, deleted=status == "entered-in-error"),
        }
        self._add("Event", key, cells, seen)
        self.sent[key] = Sent(key, cells, stored.reference, focus)
        self._say_state(stored, task, seen)
        for reference in _sent(task, request):
            self._living(reference, place.person, owners)

    def _returned(self, stored: Stored, task: Resource, event: str, seen: Seen) -> None:
        """A referral that the HMIS has as an Event already: only what was said since then goes out."""
        cells = self._restored(self._maps["Event"], [event], seen).get(event)
        if stored.source == self._source or cells is None:
            return
        result = _result(task)
        if result and result != cells.get("ReferralResult"):
            told = {"ReferralResult": result, "ResultDate": _day(task, stored)}
            self._add("Event", event, cells | told | {"DateUpdated": _moment(stored.updated_us)}, seen)
        self._say_state(stored, task, seen)

    def _say_state(self, stored: Stored, task: Resource, seen: Seen) -> None:
        status = str(task.get("status"))
        if status in _UNCODED and not _result(task):
            self._set_aside(stored, status, "HUD has no code for this state: the result is left empty", seen)

    def _set_aside(self, stored: Stored, state: str, why: str, seen: Seen) -> None:
        self.aside.append((stored.reference, state, why))
        self._agencies.tell(SIDE_FILE, stored.reference, seen)

    def _targets(self, task: Resource, request: Resource) -> list[str]:
        """ProjectIDs of this source that a referral asks: those named, else those of a named agency that take any."""
        named = self._asked([task.get("owner"), *(request.get("performer") or ())])
        if projects := self._keys(named, "Project"):
            return sorted(projects)
        agencies = self._keys(named, "Organization")
        states = self._reading.rows.of_file(self._source, "Project") if agencies else ()
        return [
            state.key
            for state in states
            if not state.deleted and not state.waiting and facts_of(state).get("OrganizationID") in agencies
            and facts_of(state).get("ProjectType") in self._events
        ]  # fmt: skip

    def _asked(self, references: Iterable[Any]) -> list[Resource]:
        """Who is named, and of a PractitionerRole its services and organization."""

        def read(nodes: Iterable[Any]) -> list[Resource]:
            return [self._parsed_of(str((node or {}).get("reference", ""))) or {} for node in nodes]

        found = read(references)
        roles = [each for each in found if each.get("resourceType") == "PractitionerRole"]
        return found + read(n for role in roles for n in (*role.get("healthcareService", ()), role.get("organization")))

    def _keys(self, named: Iterable[Resource], file: str) -> set[str]:
        """Keys of the source's rows of a file among resources."""
        ours = (one for one in named if self._ours(one) and (row_of(one) or {}).get("file") == file)
        return {_key(one, f"{self._bound.base}/{file}ID") for one in ours}

    def _stranger(self, task: Resource) -> list[str]:
        """The patient of a referral where that is another custodian's record: known by its links only."""
        reference = str((task.get("for") or {}).get("reference", ""))
        patient = self._parsed_of(reference)
        return [reference] if patient is not None and not self._ours(patient) else []

    def _target(self, projects: Sequence[str], request: Resource) -> tuple[str, str]:
        """ProjectID and Event code of a referral; of several projects the one of the kind that HUD's code asks for."""
        coded = _coded(request.get("code"), _EVENT)
        states = self._reading.rows.get(self._source, "Project", projects)
        kinds = {key: self._events.get(facts_of(states.get(key)).get("ProjectType", ""), "") for key in projects}
        fit = [key for key in projects if kinds[key] == coded] if coded and len(projects) > 1 else projects
        if len(fit) != 1:
            raise _Aside("the target is more than one project of this source")
        (key,) = fit
        event = coded or kinds[key]
        if not event:
            raise _Aside("no Event stands for a referral to the type of this project")
        return key, event

    def _person(self, resource: Resource) -> str:
        """PersonalID of the client, by the record itself or by the records of the same person."""
        patient = str((resource.get("for") or resource.get("subject") or {}).get("reference", ""))
        records = one_person(self._reading.links, patient)
        people = (_parsed(stored) for stored in self._reading.resources.many(records).values())
        keys = {_key(person, f"{self._bound.base}/PersonalID") for person in people if self._ours(person)} - {""}
        if len(keys) != 1:
            raise _Aside("the patient is not one client of this source")
        return keys.pop()

    # -- enrollments ---------------------------------------------------------------------------------------------------

    def _open(self, person: str, day: str) -> list[tuple[RowState, str]]:
        """Enrollments that hold on a day, with their project's type, by entry."""
        states = self._reading.rows.of_persons(self._source, "Enrollment", [person])
        held = []
        for state in states:
            facts = facts_of(state)
            entry, exit_ = day_of(facts.get("EntryDate", "")) or "9999", facts.get("exit") or "9999"
            if not state.waiting and entry <= day <= exit_:
                held.append((entry, state.key, state))
        projects = self._reading.rows.get(self._source, "Project", [state.project for *_, state in held])
        return [(state, facts_of(projects.get(state.project)).get("ProjectType", "")) for *_, state in sorted(held)]

    def _place(self, person: str, day: str, stored: Stored) -> _Place:
        opened = self._open(person, day)
        held = [(state.key, state.project) for state, kind in opened if kind == COORDINATED_ENTRY]
        if held:
            return _Place(person, *held[-1])
        if not self._enroll_at:
            raise _Aside("the client has no open enrollment of coordinated entry")
        state = self._reading.rows.get(self._source, "Project", [self._enroll_at]).get(self._enroll_at)
        if state is None or state.deleted or facts_of(state).get("ProjectType") != COORDINATED_ENTRY:
            raise _Aside("the project to enroll at is not a live coordinated-entry project of this source")
        key = resource_id("hmis-delta", self._source, "Enrollment", person, self._enroll_at).replace("-", "")
        cells = {
            "PersonalID": person,
            "ProjectID": self._enroll_at,
            "EntryDate": day,
            "HouseholdID": key,
            "RelationshipToHoH": "1",  # alone in a household of their own, so its head
            "EnrollmentCoC": self._coc(),
            "LivingSituation": "99",
            "DisablingCondition": "99",
            **self._audit(day, stored),
        }
        return _Place(person, key, self._enroll_at, cells)

    def _enroll(self, place: _Place, seen: Seen) -> None:
        """The new enrollment, from the day of the earliest referral."""
        before, cells = self._made["Enrollment"].get(place.enrollment), dict(place.opened or {})
        if before is None or cells["EntryDate"] < before["EntryDate"]:
            self._add("Enrollment", place.enrollment, cells, seen)

    def _coc(self) -> str:
        """The continuum of the project to enroll at; empty where it has none or several: staff know which."""
        states = self._reading.rows.of_projects(self._source, "ProjectCoC", [self._enroll_at])
        rows = self._restored(self._maps["ProjectCoC"], [state.key for state in states if not state.deleted])
        codes = {row.get("CoCCode", "") for row in rows.values()}
        return codes.pop() if len(codes) == 1 else ""

    def _living(self, reference: str, person: str, owners: Sequence[str]) -> None:
        """An Observation that was sent with a referral, when it is the housing status."""
        stored = self._reading.resources.many([reference]).get(reference)
        seen = self._agencies.shown(owners, [stored]) if stored is not None else NOTHING
        stored = seen.resources.get(reference)
        found = _parsed(stored) if stored is not None else {}
        if stored is None or not _coded(found.get("code"), "http://loinc.org", "71802-3") or row_of(found) is not None:
            return
        code = _coded(found.get("valueCodeableConcept"), _LIVING)
        parts = [_coded(each.get("valueCodeableConcept"), _SUBSIDY) for each in found.get("component") or ()]
        subsidy = next(filter(None, parts), "")
        day = day_of(str(found.get("effectiveDateTime", ""))[:10])
        try:
            if self._person(found) != person:
                raise _Aside("it is about another client than the referral")
            if found.get("status") not in _LIVING_STATES or day is None:
                raise _Aside("it is not final, or has no day")
            if not code:
                raise _Aside("it has no HUD code, and the others are too coarse to tell one")
            if self._spec.code("3.12.1", code) is None or code in self._barred:
                raise _Aside("its code is none that a current living situation may have")
            if code == "435" and not subsidy:
                raise _Aside("code 435 needs the type of subsidy")
            held = self._open(person, day)
            entry = [state for state, kind in held if kind == COORDINATED_ENTRY] or [state for state, _ in held]
            if len(entry) != 1:
                raise _Aside("no enrollment, or more than one, could hold it on its day")
        except _Aside as why:
            self._set_aside(stored, str(found.get("status")), str(why), seen)
            return
        seen = self._agencies.shown([*owners, *self._agencies.of_projects([entry[0].project])], [stored])
        if not seen.resources:
            return
        cells = {
            "EnrollmentID": entry[0].key,
            "PersonalID": person,
            "InformationDate": day or "",
            "CurrentLivingSituation": code,
            "CLSSubsidyType": subsidy,
            **self._audit(day or "", stored),
        }
        self._add("CurrentLivingSituation", self._id("CurrentLivingSituation", stored), cells, seen)

    def _parsed_of(self, reference: str) -> Resource | None:
        stored = self._reading.resources.many([reference]).get(reference) if reference.count("/") == 1 else None
        return None if stored is None else _parsed(stored)

    def _restored(self, table: FileMap, keys: Iterable[str], seen: Seen = NOTHING) -> dict[str, dict[str, str]]:
        """Rows as the agencies may see them; what was shown already is not asked again."""

        def told(key: str, stored: Stored) -> Stored | None:
            return stored if stored.reference in seen.resources else self._agencies.told(table, key, stored)

        return restored(self._reading, table, keys, told)

    # -- rows ----------------------------------------------------------------------------------------------------------

    def _add(self, file: str, key: str, cells: dict[str, str], seen: Seen = NOTHING) -> None:
        self._made[file][key] = {**cells, self._maps[file].file.key: key}
        self._agencies.tell(file, key, seen)

    def _id(self, file: str, stored: Stored) -> str:
        """A key of at most 32 characters, the same at every export."""
        return resource_id("hmis-delta", self._source, file, stored.reference).replace("-", "")

    def _audit(self, day: str, stored: Stored, *, deleted: bool = False) -> dict[str, str]:
        updated = _moment(stored.updated_us)
        created = {"DateCreated": f"{day} 00:00:00", "DateUpdated": updated, "UserID": USER}
        return created | ({"DateDeleted": updated} if deleted else {})

    def _referenced(self) -> None:
        """The rows that the new ones point to, so that the delta stands alone."""
        for file, column, of in (
            ("Enrollment", "EnrollmentID", ("Event", "CurrentLivingSituation", "Services")),
            ("Client", "PersonalID", ("Event", "CurrentLivingSituation", "Services", "Enrollment")),
            ("Project", "ProjectID", ("Enrollment",)),
            ("Project", "LocationCrisisOrPHHousing", ("Event",)),
            ("Organization", "OrganizationID", ("Project",)),
        ):
            keys = {row.get(column, "") for name in of for row in self._made[name].values()} - {""}
            wanted = sorted(keys - self._made[file].keys())
            self._made[file] |= self._restored(self._maps[file], wanted)
        users = {row.get("UserID", "") for rows in self._made.values() for row in rows.values()} - {"", USER}
        self._made["User"] |= self._restored(self._maps["User"], sorted(users))
        if any(row.get("UserID") == USER for rows in self._made.values() for row in rows.values()):
            now = self._export["ExportDate"]
            self._add("User", USER, {"UserFirstName": "Doorway", "DateCreated": now, "DateUpdated": now})


def _parsed(stored: Stored) -> Resource:
    found: Resource = json.loads(stored.body, parse_float=Decimal)
    return found


def _key(resource: Resource, system: str) -> str:
    """The source's key in the identifiers of one of its resources."""
    for item in resource.get("identifier") or ():
        if isinstance(item, dict) and item.get("system") == system:
            return str(item.get("value", ""))
    return ""


def _coded(concept: Any, system: str, code: str = "") -> str:
    """The code of a system in a concept; empty when there is none (or another than ``code``)."""
    for coding in (concept or {}).get("coding") or ():
        if coding.get("system") == system and code in ("", coding.get("code")):
            return str(coding.get("code", ""))
    return ""


def _result(task: Resource) -> str:
    """HUD 4.20.D of a Task; 2 (client rejected) only where HUD's code itself says so."""
    status = str(task.get("status"))
    if status == "cancelled":
        return "2" if _coded(task.get("businessStatus"), _RESULT) == "2" else ""
    return _RESULTS.get(status, "")


def _sent(task: Resource, request: Resource) -> list[str]:
    """References to Observations that came with a referral: the Task's outputs, and what supports the request."""
    outputs = [output.get("valueReference") or {} for output in task.get("output") or ()]
    found = [*outputs, *(request.get("supportingInfo") or ()), *(request.get("reasonReference") or ())]
    references = [str(each.get("reference", "")) for each in found]
    return [reference for reference in dict.fromkeys(references) if reference.startswith("Observation/")]


def _moment(us: int) -> str:
    return f"{datetime.fromtimestamp(us // 1_000_000, UTC):%Y-%m-%d %H:%M:%S}"


def _day(task: Resource, stored: Stored) -> str:
    return day_of(str(task.get("lastModified", ""))[:10]) or _moment(stored.updated_us)[:10]
