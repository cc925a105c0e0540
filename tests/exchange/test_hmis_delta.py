"""The way back of referrals: FHIR into a HUD delta export, nothing guessed."""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

import pytest

from gateway.adapters.files.data import read_data
from gateway.adapters.files.hmis_tables import SqliteTables
from gateway.adapters.memory.store import MemoryStore
from gateway.consent.request import AccessRequest
from gateway.exchange.agreements import agree
from gateway.exchange.disclose import Gate, read_knowledge
from gateway.exchange.hmis_check import check_export
from gateway.exchange.hmis_convert import Conversion
from gateway.exchange.hmis_delta import SIDE_FILE, Delta
from gateway.exchange.hmis_joined import SENT
from gateway.exchange.hmis_release import Asking
from gateway.exchange.ports.links import Edge, EdgeState
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.store import Reading, Store, Unit
from gateway.exchange.save import Saver
from gateway.kernel.fhir import JsonObject, Resource
from gateway.mapping.hmis.conversions import Source
from gateway.mapping.hmis.spec import LIST_SYSTEM
from gateway.mapping.hmis.values import day_of
from tests.consent.build import actor, consent, labels, purposes
from tests.exchange.test_hmis_import import CLIENT, ENROLLMENT, client, run
from tests.exchange.test_hmis_import import export as export_of_day
from tests.support.hmis import MemoryFiles, cells_of

SOURCE = Source("source")
NOW_US = 1_790_000_000_000_000  # 2026-09-21
NOW = datetime.fromtimestamp(NOW_US / 1_000_000, UTC)
KNOWLEDGE = read_knowledge(read_data)
HARBOR = str(SOURCE.reference("Organization", "o")["reference"])
EVENT = [
    "EventID", "EnrollmentID", "PersonalID", "EventDate", "Event", "LocationCrisisOrPHHousing",
    "ReferralResult", "ResultDate", "DateUpdated", "UserID",
]  # fmt: skip
ELSEWHERE = {  # the coordinated-entry project is another agency's
    "Organization": [["OrganizationID", "OrganizationName"], ["o2", "Front Door"]],
    "Project": [["ProjectID", "OrganizationID", "ProjectType"], ["ce", "o2", "14"]],
}
Rows = dict[str, list[dict[str, str]]]


def hmis(entry: str = "2026-01-05", *, event: bool = False) -> MemoryStore:
    """A store with a client, a coordinated-entry project and a shelter; enrolled when there is an entry day."""
    store = MemoryStore()
    files = {
        "Organization": [["OrganizationID", "OrganizationName"], ["o", "Harbor"]],
        "Project": [["ProjectID", "OrganizationID", "ProjectType"], ["ce", "o", "14"], ["es", "o", "0"]],
        "Client": [CLIENT, client("Azq", "2026-01-01")],
    }
    if entry:
        files["Enrollment"] = [ENROLLMENT, ["e", "1", "ce", entry, "h", "1", "2026-01-05", ""]]
    if event:
        row = ["v", "e", "1", "2026-01-06", "10", "es", "", "", "2026-01-06 00:00:00", "u"]
        files["Event"] = [EVENT, row]
    run(store, export_of_day("2026-02-01", "1", files))
    store.write(lambda unit: agree(unit.resources, HARBOR, since="2020-01-01", now_us=1))
    put(store, signed())
    return store


def signed(
    id_: str = "signed", *, who: str = HARBOR, only: Sequence[JsonObject] = (), marked: Sequence[JsonObject] = (),
    **more: object,
) -> JsonObject:  # fmt: skip
    """The client's Consent for the Organization of the projects."""
    permit = {"type": "permit", "actor": [actor(who)], "purpose": purposes("TREAT")}
    scope = {"class": list(only)} if only else {"securityLabel": list(marked)} if marked else {}
    return consent({**permit, **scope}, id_, **({"patient": SOURCE.reference("Client", "1")} | more))


def gated(reading: Reading) -> Callable[[str], Gate]:
    """The gate over a reading, as the command makes it."""

    def gate(organization: str) -> Gate:
        asks = AccessRequest(now=NOW, organization=organization, purposes=("TREAT",), client="source")
        return Gate(reading.resources, asks, KNOWLEDGE)

    return gate


def asking(reading: Reading) -> Asking:
    """How an export asks, as the command has it."""
    return Asking(gated(reading), KNOWLEDGE.notices)


def auditing(store: Store) -> Callable[[Sequence[Resource]], None]:
    """Where a full export puts its AuditEvents, as the command has it."""

    def audit(events: Sequence[Resource]) -> None:
        for event in events:
            store.write(lambda unit, event=event: unit.audit.append(event, now_us=NOW_US))  # type: ignore[misc]

    return audit


def put(store: Store, *resources: JsonObject, marks: Sequence[JsonObject] = ()) -> None:
    def work(unit: Unit) -> None:
        drafts = [Draft(resource, source="hospital") for resource in resources]
        Saver(lambda _: marks).save(unit, drafts, now_us=NOW_US)

    store.write(work)


def referral(status: str = "requested", project: str = "es", **more: object) -> list[JsonObject]:
    """A hospital's ServiceRequest and Task."""
    patient = SOURCE.reference("Client", "1")
    request = {
        "resourceType": "ServiceRequest", "id": "sr1", "status": "active", "intent": "order", "subject": patient,
        "authoredOn": "2026-09-01T10:00:00Z", "code": {"text": "shelter"},
    }  # fmt: skip
    task = {
        "resourceType": "Task", "id": "t1", "status": status, "intent": "order", "for": patient,
        "focus": {"reference": "ServiceRequest/sr1"}, "owner": SOURCE.reference("Project", project), **more,
    }  # fmt: skip
    return [request, task]


def living(*codings: JsonObject) -> JsonObject:
    """A housing status."""
    return {
        "resourceType": "Observation", "id": "o1", "status": "final", "effectiveDateTime": "2026-09-02",
        "code": {"coding": [{"system": "http://loinc.org", "code": "71802-3"}]},
        "subject": SOURCE.reference("Client", "1"), "valueCodeableConcept": {"coding": list(codings)},
    }  # fmt: skip


def delta(store: Store, *, since_us: int = NOW_US, enroll_at: str = "") -> Rows:
    """The export by file, rows as dicts."""
    out: Rows = {}

    def write(path: str, pieces: Iterable[str]) -> None:
        header, *rows = cells_of("".join(pieces).encode())
        out[path.removesuffix(".csv")] = [dict(zip(header, row, strict=True)) for row in rows]

    export = {"ExportID": "D1", "ExportDate": "2026-09-22 00:00:00", "CSVVersion": "2026 v1", "ExportDirective": "1"}
    export["ImplementationID"] = "source"
    with store.reading() as reading:
        job = Delta(
            read_data, reading, "source", "2026", export, asking=asking(reading), since_us=since_us,
            enroll_at=enroll_at,
        )  # fmt: skip
        job.collect()
    job.write(write)
    return out


def test_a_new_referral_of_a_hospital_becomes_an_event_with_all_that_it_points_to() -> None:
    store = hmis()
    put(store, *referral())
    out = delta(store)
    event = out["Event"][0]
    assert (event["PersonalID"], event["EnrollmentID"], event["EventDate"]) == ("1", "e", "2026-09-01")
    assert (event["Event"], event["LocationCrisisOrPHHousing"], event["ReferralResult"]) == ("10", "es", "")
    assert len(event["EventID"]) <= 32
    assert [row["PersonalID"] for row in out["Client"]] == ["1"]
    assert {row["ProjectID"] for row in out["Project"]} == {"ce", "es"}
    assert [row["UserID"] for row in out["User"]] == [event["UserID"]]
    assert out[SIDE_FILE.removesuffix(".csv")] == []
    assert delta(store)["Event"][0]["EventID"] == event["EventID"]


def test_a_referral_to_an_agency_asks_the_one_project_of_it_that_takes_any_and_never_guesses_among_several() -> None:
    store = hmis()
    request, task = referral()
    to_agency = task | {"owner": {"reference": HARBOR}}
    put(store, request, to_agency)
    assert delta(store)["Event"][0]["LocationCrisisOrPHHousing"] == "es"
    role = {"resourceType": "PractitionerRole", "id": "role", "organization": {"reference": HARBOR}}
    put(store, role, request | {"performer": [{"reference": "PractitionerRole/role"}]}, task | {"owner": {}})
    assert delta(store)["Event"][0]["LocationCrisisOrPHHousing"] == "es"
    more = [["ProjectID", "OrganizationID", "ProjectType"], ["ce", "o", "14"], ["es", "o", "0"], ["psh", "o", "3"]]
    run(store, export_of_day("2026-03-01", "1", {"Project": more}))
    put(store, request, to_agency)
    out = delta(store)
    assert (out["Event"], len(out["not-in-hmis"])) == ([], 1)
    asked = {"coding": [{"system": f"{LIST_SYSTEM}4.20.2", "code": "14"}]}
    put(store, request | {"code": asked}, to_agency)
    event = delta(store)["Event"][0]
    assert (event["Event"], event["LocationCrisisOrPHHousing"]) == ("14", "psh")


@pytest.mark.parametrize(
    ("status", "result", "aside"),
    [
        ("accepted", "1", False),
        ("completed", "1", False),
        ("rejected", "3", False),
        ("failed", "", True),
        ("on-hold", "", True),
        ("cancelled", "", True),
    ],
)
def test_the_outcome_of_a_task_is_a_result_only_where_hud_has_a_code(status: str, result: str, aside: bool) -> None:
    store = hmis()
    put(store, *referral(status, statusReason={"text": "said"}, lastModified="2026-09-03T01:00:00Z"))
    out = delta(store)
    assert out["Event"][0]["ReferralResult"] == result
    assert out["Event"][0]["ResultDate"] == ("2026-09-03" if result else "")
    assert [row["state"] for row in out["not-in-hmis"]] == ([status] if aside else [])


def test_a_client_who_declined_is_a_result_when_the_task_says_so_with_huds_code() -> None:
    store = hmis()
    coded = {"coding": [{"system": f"{LIST_SYSTEM}4.20.d", "code": "2"}]}
    put(store, *referral("cancelled", businessStatus=coded))
    assert delta(store)["Event"][0]["ReferralResult"] == "2"


def test_without_an_open_enrollment_staff_decide_unless_the_site_allows_a_new_one() -> None:
    store = hmis(entry="")
    put(store, *referral())
    left = delta(store)
    assert left["Event"] == left["Enrollment"] == []
    assert left["not-in-hmis"][0]["resource"] == "Task/t1"
    out = delta(store, enroll_at="ce")
    enrollment = out["Enrollment"][0]
    assert (enrollment["ProjectID"], enrollment["EntryDate"]) == ("ce", "2026-09-01")
    assert out["Event"][0]["EnrollmentID"] == enrollment["EnrollmentID"]
    assert delta(store, enroll_at="es")["Enrollment"] == []


def test_a_housing_status_sent_with_a_referral_becomes_a_row_only_with_huds_own_code() -> None:
    loinc = {"system": "http://loinc.org", "code": "LA30190-5"}
    output = [{"type": {"text": "status"}, "valueReference": {"reference": "Observation/o1"}}]
    for codings, codes in (((loinc,), []), ((loinc, {"system": f"{LIST_SYSTEM}3.12.1", "code": "116"}), ["116"])):
        store = hmis()
        put(store, living(*codings), *referral("accepted", output=output))
        out = delta(store)
        assert [row["CurrentLivingSituation"] for row in out["CurrentLivingSituation"]] == codes
        assert [row["resource"] for row in out["not-in-hmis"]] == ([] if codes else ["Observation/o1"])


def test_an_observation_that_nobody_sent_with_a_referral_stays_where_it_is() -> None:
    store = hmis()
    put(store, living({"system": f"{LIST_SYSTEM}3.12.1", "code": "116"}), *referral())
    assert delta(store)["CurrentLivingSituation"] == []


def test_an_outcome_given_in_fhir_comes_back_on_the_sources_own_event() -> None:
    store = hmis(event=True)
    with store.reading() as reading:
        task = json.loads(next(iter(reading.resources.of_type("Task"))).body)
    assert delta(store, since_us=0)["Event"] == []
    put(store, {**task, "status": "accepted", "lastModified": "2026-09-04"})
    event = delta(store)["Event"][0]
    assert (event["EventID"], event["ReferralResult"], event["ResultDate"]) == ("v", "1", "2026-09-04")
    assert event["DateUpdated"] > "2026-01-06 00:00:00"


def test_what_is_asked_of_others_leaves_no_trace_and_older_changes_are_not_told_again() -> None:
    store = hmis()
    request, task = referral()
    put(store, request, {**task, "owner": {"reference": "Organization/elsewhere"}})
    assert (delta(store)["Event"], delta(store)["not-in-hmis"]) == ([], [])
    put(store, request, task)
    assert len(delta(store)["Event"]) == 1
    assert delta(store, since_us=NOW_US + 1_000_000)["Event"] == []


def test_a_patient_of_elsewhere_is_left_to_staff_who_may_see_the_person() -> None:
    store = hmis()
    (request, task), whose = referral(), {"reference": "Patient/hp"}
    put(store, {"resourceType": "Patient", "id": "hp"}, {**request, "subject": whose}, {**task, "for": whose})
    assert told(store) == ([], [], 1)
    types = [{"system": "http://hl7.org/fhir/resource-types", "code": code} for code in ("Task", "ServiceRequest")]
    put(store, signed("hps", only=types, patient=whose))
    assert told(store) == ([], [], 1)  # whose referral it is they may not know
    put(store, signed("hps", patient=whose))
    assert told(store) == ([], ["Task/t1"], 0)


def test_a_referral_under_a_number_that_was_merged_since_is_still_the_clients() -> None:
    store = hmis()
    (request, task), whose = referral(), {"reference": "Patient/hp"}
    put(store, {"resourceType": "Patient", "id": "hp"}, {**request, "subject": whose}, {**task, "for": whose})
    put(store, signed("hps", patient=whose))
    client = str(SOURCE.reference("Client", "1")["reference"])

    def tie(one: str, other: str) -> None:  # as a merge leaves it: by an edge, no longer in the index
        edge = Edge(min(one, other), max(one, other), EdgeState.LINKED, "certain", 0.0, 1, "EHR^W")
        store.write(lambda unit: unit.links.hold(edge))

    tie("Patient/hp", "Patient/survivor")
    assert told(store) == ([], ["Task/t1"], 0)
    tie("Patient/survivor", client)
    assert told(store) == (["Event"], [], 0)


@pytest.mark.parametrize("why", ["no consent", "revoked", "no agreement", "another purpose"])
def test_what_the_organization_may_not_see_is_neither_a_row_nor_a_line(why: str) -> None:
    store = hmis(event=True)
    output = [{"valueReference": {"reference": "Observation/o1"}}]
    put(store, *referral("accepted", output=output), living({"system": f"{LIST_SYSTEM}3.12.1", "code": "116"}))
    assert told(store) == (["Event"], [], 0)
    if why == "no agreement":
        store.write(lambda unit: agree(unit.resources, HARBOR, since="2020-01-01", until="2020-12-31", now_us=NOW_US))
    elif why == "another purpose":
        put(store, {**signed(), "provision": {**signed()["provision"], "purpose": purposes("HPAYMT")}})
    elif why == "revoked":
        put(store, signed(status="inactive"))
    else:
        store.write(lambda unit: unit.resources.delete("Consent", "signed", now_us=NOW_US))
    put(store, *referral("rejected", output=output))
    assert told(store) == ([], [], 1)


def test_an_outcome_that_a_hospital_wrote_on_the_sources_own_event_needs_consent_too() -> None:
    store = hmis(event=True)
    mine = task_of(store, SOURCE.id("Event", "v", "Task"))
    put(store, {**mine, "status": "completed"})
    assert told(store) == (["Event"], [], 0)
    put(store, signed(status="inactive"))
    assert told(store) == ([], [], 1)


def test_the_agency_whose_enrollment_holds_the_row_must_be_allowed_to_see_it_too() -> None:
    store = hmis()
    run(store, export_of_day("2026-02-02", "2", ELSEWHERE))
    put(store, *referral())
    outcomes = [(event["agent"][0]["who"], event["outcome"]) for event in audit_of(store)]
    assert [outcome for _, outcome in outcomes] == ["4"]  # the first agency was told nothing: no disclosure to it
    assert told(store) == ([], [], 1)
    other = str(SOURCE.reference("Organization", "o2")["reference"])
    store.write(lambda unit: agree(unit.resources, other, since="2020-01-01", now_us=1))
    put(store, signed("other", who=other))
    assert told(store) == (["Event"], [], 0)
    assert [event["outcome"] for event in audit_of(store)] == ["0", "0"]


def test_a_new_enrollment_for_a_referral_that_its_agency_may_not_see_is_not_made() -> None:
    store = hmis(entry="")
    run(store, export_of_day("2026-02-02", "2", ELSEWHERE))
    put(store, *referral())
    out = delta(store, enroll_at="ce")
    assert (out["Enrollment"], out["Event"], out["Client"], out["not-in-hmis"]) == ([], [], [], [])


def test_the_notice_of_part_2_travels_with_the_row_that_tells_of_it() -> None:
    store = hmis()
    marks = labels("R", "42CFRPart2", "SUD")
    put(store, *referral(), marks=marks)
    assert told(store) == ([], [], 1)
    put(store, signed("part2", marked=labels("42CFRPart2", "SUD")))
    out = delta(store)
    texts = [(row["file"], row["key"], row["language"], row["text"]) for row in out["notices"]]
    key, said = out["Event"][0]["EventID"], KNOWLEDGE.notices["42CFRPart2"]
    assert texts == [("Event", key, language, text) for language, text in said.items()]
    put(store, *referral("failed"), marks=marks)
    assert {row["key"] for row in delta(store)["notices"] if row["file"] == SIDE_FILE} == {"Task/t1"}


@pytest.mark.parametrize("whole", [True, False])
def test_what_others_wrote_into_the_clients_own_record_goes_out_only_where_it_may(whole: bool) -> None:
    store = hmis()
    types = [{"system": "http://hl7.org/fhir/resource-types", "code": code} for code in ("Task", "ServiceRequest")]
    put(store, signed(only=() if whole else types), *referral())
    literal = str(SOURCE.reference("Client", "1")["reference"])
    with store.reading() as reading:
        patient = json.loads(reading.resources.many([literal])[literal].body)
    put(store, patient | {"name": [{"use": "official", "family": "Bzq"}]})
    out = delta(store)
    assert len(out["Event"]) == 1
    assert [row["LastName"] for row in out["Client"]] == ["Bzq" if whole else "Azq"]


def test_a_referral_of_which_nothing_new_is_told_is_no_disclosure() -> None:
    store = hmis()
    put(store, *referral())
    (event,) = sent_out(store)[1]["Event"]
    run(store, came(event, "2026-09-25", EventID="theirs"))
    assert (sent_out(store)[1]["Event"], audit_of(store)) == ([], [])


def audit_of(store: Store) -> list[JsonObject]:
    """The AuditEvents of a delta export."""
    with store.reading() as reading:
        cells = {"ExportID": "D", "ExportDate": "2026-09-21 00:00:00"}
        return Delta(read_data, reading, "source", "2026", cells, asking=asking(reading), since_us=NOW_US).collect()


def told(store: Store) -> tuple[list[str], list[str], int]:
    """Files that tell of a referral, lines in the side file, and what is withheld; every telling is in the audit."""
    with store.reading() as reading:
        cells = {"ExportID": "D", "ExportDate": "2026-09-21 00:00:00"}
        job = Delta(read_data, reading, "source", "2026", cells, asking=asking(reading), since_us=NOW_US)
        events = job.collect()
    rows = [name for name in job.rows if name == "Event"]
    outcomes = {event["outcome"] for event in events}
    assert outcomes == {code for code, so in (("0", rows or job.aside), ("4", job.withheld)) if so}
    return rows, [where for where, *_ in job.aside], job.withheld


def test_the_delta_can_be_imported_where_it_goes() -> None:
    store = hmis()
    put(store, *referral("accepted"))
    files = {
        name: [list(rows[0]), *(list(row.values()) for row in rows)]
        for name, rows in delta(store).items()
        if rows and name not in ("Export", "not-in-hmis")
    }
    report = run(MemoryStore(), export_of_day("2026-09-22", "1", files))
    assert report.counts["Event"] == {"new": 1}
    assert report.notes == []


def sent_out(store: Store) -> tuple[Delta, Rows]:
    """A delta export, remembered as the command remembers it."""
    with store.reading() as reading:
        told = {"ExportID": "D", "ExportDate": "2026-09-21 00:00:00"}
        job = Delta(read_data, reading, "source", "2026", told, asking=asking(reading))
        job.collect()
        files: Rows = {}

        def write(path: str, pieces: Iterable[str]) -> None:
            rows = cells_of("".join(pieces).encode())
            files[path.removesuffix(".csv")] = [dict(zip(rows[0], row, strict=False)) for row in rows[1:]]

        job.write(write)
    texts = {key: each.text for key, each in job.sent.items()}
    store.write(lambda unit: unit.rows.put_extras("source", SENT, texts))
    return job, files


def came(event: dict[str, str], day: str, **cells: str) -> dict[str, bytes]:
    """The export in which an Event that was sent comes back."""
    row = {**event, "DateUpdated": f"{day} 00:00:00", **cells}
    return export_of_day(day, "1", {"Event": [EVENT, [row[column] for column in EVENT]]})


def task_of(store: Store, id_: str) -> JsonObject:
    with store.reading() as reading:
        stored = reading.resources.get("Task", id_)
    assert stored is not None
    found: JsonObject = json.loads(stored.body)
    return found


@pytest.mark.parametrize("key", ["", "their-own"])
def test_a_referral_that_comes_back_as_an_event_is_one_with_the_one_that_was_sent(key: str) -> None:
    store = hmis()
    put(store, *referral())
    (event,) = sent_out(store)[1]["Event"]
    back = {"EventID": key or event["EventID"]}
    run(store, came(event, "2026-09-25", **back))
    own = task_of(store, SOURCE.id("Event", back["EventID"], "Task"))
    assert own["partOf"] == [{"reference": "Task/t1"}]
    assert task_of(store, "t1")["status"] == "requested"
    assert sent_out(store)[1]["Event"] == []
    run(store, came(event, "2026-09-27", **back, ReferralResult="1", ResultDate="2026-09-27"))
    assert task_of(store, "t1")["status"] == "accepted"
    assert task_of(store, SOURCE.id("Event", back["EventID"], "Task"))["partOf"] == own["partOf"]
    assert sent_out(store)[1]["Event"] == []
    assert run(store, came(event, "2026-09-27", **back, ReferralResult="1", ResultDate="2026-09-27")).counts[
        "Event"
    ] == {"unchanged": 1}


def test_a_delta_export_has_no_finding_of_structure() -> None:
    store = hmis()
    reference = [{"valueReference": {"reference": "Observation/o1"}}]
    put(store, *referral("accepted", output=reference), living({"system": f"{LIST_SYSTEM}3.12.1", "code": "116"}))
    with store.reading() as reading:
        first = {
            "ExportID": "D1", "SourceType": "3", "SourceName": "Doorway", "ExportDate": "2026-09-21 00:00:00",
            "ExportStartDate": "2026-09-01", "ExportEndDate": "2026-09-21", "SoftwareName": "Doorway",
            "CSVVersion": "2026 v1.0", "ExportPeriodType": "1", "ExportDirective": "1", "HashStatus": "1",
            "ImplementationID": "source",
        }  # fmt: skip
        files: dict[str, bytes] = {}
        job = Delta(read_data, reading, "source", "2026", first, asking=asking(reading))
        job.collect()
        job.write(lambda path, pieces: files.__setitem__(path, "".join(pieces).encode()))
    conversion = Conversion(
        MemoryFiles({p: f for p, f in files.items() if p != SIDE_FILE}), read_data, fallback_source=""
    )
    with SqliteTables(day_of) as tables:
        checked = check_export(conversion, read_data, tables)
    made = ("Event", "CurrentLivingSituation", "Export", "User")
    structure = {"structure", "reference", "code"}
    found = [f for f in checked.found if f.file in made and checked.rules[f.rule].scope in structure]
    assert (job.rows["Event"], job.rows["CurrentLivingSituation"]) == (1, 1)
    assert found == []


def test_two_referrals_alike_come_back_as_two_and_an_event_of_another_day_as_itself() -> None:
    store = hmis()
    request, task = referral()
    put(store, request, task, {**task, "id": "t2"})
    events = sent_out(store)[1]["Event"]
    assert len(events) == 2
    run(store, came(events[0], "2026-09-25", EventID="A"))
    run(store, came(events[1], "2026-09-25", EventID="B"))
    run(store, came(events[1], "2026-09-26", EventID="C", EventDate="2026-09-02"))
    parts = [task_of(store, SOURCE.id("Event", key, "Task")).get("partOf") for key in ("A", "B", "C")]
    assert sorted(str(part) for part in parts[:2]) == [str([{"reference": f"Task/{t}"}]) for t in ("t1", "t2")]
    assert parts[2] is None


def test_what_the_hospital_says_after_the_event_came_back_goes_out_under_the_events_own_id() -> None:
    store = hmis()
    put(store, *referral())
    (event,) = sent_out(store)[1]["Event"]
    run(store, came(event, "2026-09-25", EventID="theirs"))
    put(store, *referral("rejected"))
    (told,) = sent_out(store)[1]["Event"]
    assert (told["EventID"], told["ReferralResult"]) == ("theirs", "3")
