"""The acts of the demo, each told from what the gateway really answers."""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from gateway import wiring
from gateway.adapters.files.data import read_data
from gateway.adapters.files.hmis_export import open_export
from gateway.adapters.mllp.client import Client as MllpClient
from gateway.codecs.ack import Outcome
from gateway.commands.demo.community import AGENCY_NAMES, HOSPITAL_ORGANIZATION, client, organization
from gateway.consent.request import AccessRequest
from gateway.exchange.explain import explain
from gateway.exchange.hmis_convert import Conversion
from gateway.exchange.hmis_import import Import, Options
from gateway.exchange.link_review import decide
from gateway.exchange.ports.links import EdgeState
from gateway.exchange.ports.store import Reading
from gateway.kernel.errors import Busy
from gateway.kernel.fhir import Resource
from gateway.referrals.lifecycle import advance

if TYPE_CHECKING:
    from gateway.commands.demo.play import Stage

HOSPITAL: Final = "ORG8"
SHUT_OUT: Final = "ORG5"  # the agency that the first client left out of her form
WAIT_S: Final = 120.0
_URL: Final = "urn:uuid:00000000-0000-4000-8000-00000000000{}"
_TEMPORARY: Final = "http://hl7.org/fhir/us/sdoh-clinicalcare/CodeSystem/SDOHCC-CodeSystemTemporaryCodes"


def fragments(stage: "Stage") -> None:
    """Before: five agencies, five fragments."""
    stage.say("Before: one woman, five agencies, five fragments")
    rows = _csv(stage, "Client.csv")
    for personal_id in [key for key in rows if key.startswith("C000001")]:
        row = rows[personal_id]
        agency = AGENCY_NAMES[f"ORG{int(personal_id.partition('-')[2] or 1)}"]
        name = " ".join(part for part in (row["FirstName"], row["MiddleName"], row["LastName"]) if part)
        stage.say(f"  {agency:<32} {name:<28} born {row['DOB'] or '?':<12} SSN {_masked(row['SSN'])}")


def export_arrives(stage: "Stage") -> None:
    """An HMIS export becomes FHIR."""
    stage.say("\nThe HMIS sends its export")
    conversion = Conversion(open_export(str(stage.community.export)), read_data, fallback_source="export")
    total = sum(seen.bytes for seen in conversion.seen) or 1
    shown = sys.stderr.isatty()
    with click.progressbar(length=total, label="  importing", file=sys.stderr, hidden=not shown) as bar:
        job = Import(
            conversion,
            wiring.saver(stage.settings),
            now_us=wiring.now_us,
            options=Options(salt=os.urandom(32)),
            tick=bar.update,
        )
        report = job.run(stage.store)
    with stage.store.reading() as reading:
        here = sum(1 for stored in reading.resources.of_type("Patient") if stored.reference in stage.community.clients)
    new = sum(counts.get("new", 0) for counts in report.counts.values())
    stage.say(f"  {new:,} rows of {len(report.counts)} files are now FHIR R4; {len(report.notes)} need a look")
    stage.expect("rows imported", stage.community.rows, new)
    stage.expect("clients that are now Patients", len(stage.community.clients), here)


def feed_arrives(stage: "Stage") -> None:
    """A hospital's messages over a real socket, acknowledged when they are on disk."""
    stage.say("\nThe hospital's live feed (MLLP, HL7 v2.5.1)")
    sender = MllpClient(*stage.server.mllp)
    answers: Counter[str] = Counter()
    sent: set[bytes] = set()
    began = time.monotonic()
    try:
        for message in stage.community.feed():
            last = sender.send(message).last
            answers["accepted" if last is not None and last.outcome is Outcome.OK else "refused"] += 1
            sent.add(message)
    finally:
        sender.close()
    processed = _await_processed(stage, len(sent))
    repeats = stage.community.messages - len(sent)
    stage.say(
        f"  {answers['accepted']} acknowledged after they were on disk, {answers['refused']} refused, ",
    )
    stage.say(f"  {repeats} of them sent twice and applied once; all in FHIR after {time.monotonic() - began:.1f} s")
    stage.expect("messages acknowledged", stage.community.messages, answers["accepted"])
    stage.expect("messages applied, repeats once", len(sent), processed)
    _check_visits(stage)


def _await_processed(stage: "Stage", wanted: int) -> int:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        with stage.store.reading() as reading:
            states: Counter[str] = Counter()
            for (_source, state), count in reading.inbox.counts().items():
                states[state] += count
        if states["received"] == 0 and states.total() >= wanted:
            return states["processed"]
        time.sleep(0.05)
    raise Busy("the messages were not processed in time", at="inbox", fix="see doorway trace")


def _check_visits(stage: "Stage") -> None:
    with stage.store.reading() as reading:
        status = _by_identifier(reading, "Encounter", "status")
        active = _by_identifier(reading, "Patient", "active")
    right = sum(status.get(number) == [expected] for number, expected in stage.community.visits.items())
    inactive = sum(False in active.get(number, []) for number in stage.community.inactive)  # the survivor has it as old
    stage.expect("visits in the state that the truth says", len(stage.community.visits), right)
    stage.expect("merged record numbers that are inactive", len(stage.community.inactive), inactive)


def records_meet(stage: "Stage") -> None:
    """Who is whom: linked, for a person to look at, or apart."""
    stage.say("\nRecords of the same person find each other")
    people = _people(stage)
    wrong = found = 0
    with stage.store.reading() as reading:
        edges = {(e.one, e.other): e for known in reading.links.every() for e in reading.links.edges(known.patient)}
    waiting = 0
    for (one, other), edge in edges.items():
        same = people.get(one, one) == people.get(other, other)
        found += same
        waiting += edge.state is EdgeState.REVIEW
        wrong += edge.state is EdgeState.LINKED and edge.automatic and not same
    linked = sum(edge.state is EdgeState.LINKED for edge in edges.values())
    stage.say(f"  {linked} pairs linked by the evidence, {waiting} wait for a person to look at them")
    stage.expect("pairs linked automatically that are not the same person", 0, wrong)
    _review_first(stage, people)


def _review_first(stage: "Stage", people: dict[str, str]) -> None:
    """A reviewer decides on the first client's open pairs, with the evidence in front."""
    linker, saver = wiring.linker(stage.settings), wiring.saver(stage.settings)
    with stage.store.reading() as reading:
        pairs = [
            edge for edge in reading.links.queue(limit=10_000) if people.get(edge.one) == people.get(edge.other) == "0"
        ]
    for edge in pairs:
        one, other = edge.one, edge.other
        stage.store.write(
            lambda unit, one=one, other=other: decide(  # type: ignore[misc]
                linker, unit, one, other, "same", saver=saver, by="demo reviewer", why="same face, same story",
                now_us=wiring.now_us(),
            )
        )  # fmt: skip
    with stage.store.reading() as reading:
        known = reading.links.known([client("C000001")])
        person = known[client("C000001")].person
        members = [one.patient for one in reading.links.members(person)] if person else []
    mine = {reference for reference, who in people.items() if who == "0"}
    decided = f", {len(pairs)} of the pairs decided by a reviewer" if pairs else ""
    stage.say(f"  her {len(members)} records are one Person now{decided}")
    stage.expect("records of the first client in one Person", len(mine), len(mine & set(members)))
    stage.expect("records of others in that Person", 0, len(set(members) - mine))


def consent_decides(stage: "Stage") -> None:
    """The same client, asked for by two agencies."""
    stage.say("\nAfter: one client file, cut to what she consented to")
    first = client("C000001")
    hospital, shut_out = stage.partner(HOSPITAL), stage.partner(SHUT_OUT)
    seen = hospital.get(f"{first}/$everything", _count="500")
    entries = (seen.json or {}).get("entry", []) if seen.status == 200 else []
    resources = [entry["resource"] for entry in entries if entry.get("search", {}).get("mode") == "match"]
    _client_file(stage, resources)
    levels = Counter(_level(resource) for resource in resources)
    stage.say(f"  {hospital.name} sees {len(resources)} resources of hers, the basic file (L1): she signed for no more")
    stage.expect("resources above the basic file that the hospital sees", 0, levels["L2"] + levels["L3"])
    denied, missing = shut_out.get(first), shut_out.get("Patient/no-such-person")
    stage.say(f"  {shut_out.name}, which she left out, gets HTTP {denied.status}: the answer for nobody at all")
    stage.say(f"  why: {_why(stage, first, SHUT_OUT)}")
    alike = _without_request(denied.body) == _without_request(missing.body) and denied.status == missing.status
    stage.expect("hidden and missing give the same answer", "yes", "yes" if alike else "no")
    _everybody(stage)


def _everybody(stage: "Stage") -> None:
    """Everyone's own form against what two partners can read, one by one."""
    for key in (HOSPITAL, SHUT_OUT):
        partner, wrong = stage.partner(key), 0
        for reference, person in stage.community.clients.items():
            expected = stage.community.may_see(person, key)
            wrong += (partner.get(reference).status == 200) != expected
        stage.expect(f"clients whom {partner.name} sees against their form", 0, wrong)


def referral_returns(stage: "Stage") -> None:
    """A referral goes out, is taken up and comes back."""
    stage.say("\nA referral goes out and comes back")
    who = next((p for p in stage.community.people if p.consents == "full" and p.index > 0), None)
    if who is None:
        return
    patient = next(reference for reference, person in stage.community.clients.items() if person == who.index)
    hospital, housing = stage.partner(HOSPITAL), stage.partner("ORG4")
    sent = hospital.post("", _referral(patient))
    stage.say(f"  {hospital.name} asks {housing.name} for supportive housing (HTTP {sent.status})")
    found = housing.get("Task", owner=organization("ORG4"), status="requested", patient=patient)
    tasks = [
        entry["resource"]
        for entry in (found.json or {}).get("entry", [])
        if entry["resource"]["resourceType"] == "Task"
    ]
    if not tasks:
        stage.expect("referral seen by its receiver", 1, 0)
        return
    task = tasks[0]
    for status in ("accepted", "in-progress", "completed"):
        reply = housing.put(f"Task/{task['id']}", advance(task, status, now=_now(), output=_outcome(status)))
        stage.say(f"  {housing.name}: {status} (HTTP {reply.status})")
        task = reply.json if reply.status == 200 else task
    back = hospital.get(str(task["focus"]["reference"]))
    state = back.json.get("status") if back.status == 200 else f"HTTP {back.status}"
    stage.say(f"  {hospital.name} reads its request again: {state}, and the Task names the outcome")
    stage.expect("the hospital's request after the housing agency is done", "completed", state)
    skipped = hospital.put(f"Task/{task['id']}", {**task, "status": "requested"})
    stage.expect("an ended referral cannot be revived (HTTP status)", 409, skipped.status)


def trail_holds(stage: "Stage") -> None:
    """Every answer is in the audit trail, and the trail is whole."""
    from gateway.exchange.chain import Check

    check = Check([])
    with stage.store.reading() as reading:
        records = list(reading.audit.records())
        findings = list(check.walk(iter(records)))
    stage.say(f"\nAudit trail: {len(records):,} records, each on disk before its answer left; chain whole")
    stage.expect("breaks in the audit chain", 0, len(findings))


STORY: Final[tuple[Callable[["Stage"], None], ...]] = (
    fragments, export_arrives, feed_arrives, records_meet, consent_decides, referral_returns, trail_holds,
)  # fmt: skip


# -- small things ------------------------------------------------------------------------------------------------------


def _csv(stage: "Stage", name: str) -> dict[str, dict[str, str]]:
    import csv

    with (stage.community.export / name).open(encoding="utf-8", newline="") as handle:
        return {row["PersonalID"]: row for row in csv.DictReader(handle)}


def _masked(ssn: str) -> str:
    return "complete" if len(ssn) == 9 and ssn.isdigit() else "last four digits" if ssn else "unknown"


def _by_identifier(reading: Reading, type_: str, element: str) -> dict[str, list[Any]]:
    """Identifier value -> that element of every resource that has it."""
    out: dict[str, list[Any]] = {}
    for stored in reading.resources.of_type(type_):
        resource = json.loads(stored.body)
        for identifier in resource.get("identifier", []):
            out.setdefault(str(identifier.get("value")), []).append(resource.get(element))
    return out


def _people(stage: "Stage") -> dict[str, str]:
    """``Patient/id`` of every record, HMIS and hospital -> the true person."""
    people = {reference: str(person) for reference, person in stage.community.clients.items()}
    with stage.store.reading() as reading:
        for stored in reading.resources.of_type("Patient"):
            for identifier in json.loads(stored.body).get("identifier", []):
                person = stage.community.numbers.get(str(identifier.get("value")))
                if person is not None and stored.reference not in people:
                    people[stored.reference] = person
    return people


def _level(resource: Resource) -> str:
    codes = [label.get("code", "") for label in resource.get("meta", {}).get("security", [])]
    return next((code for code in codes if code in {"L1", "L2", "L3"}), "")


def _client_file(stage: "Stage", resources: list[Resource]) -> None:
    patients = [resource for resource in resources if resource["resourceType"] == "Patient"]
    names = {" ".join([*name.get("given", []), name.get("family", "")]) for p in patients for name in p.get("name", [])}
    births = sorted({p["birthDate"] for p in patients if "birthDate" in p})
    kinds = Counter(resource["resourceType"] for resource in resources)
    stage.say(f"  names      {', '.join(sorted(names))}")
    stage.say(f"  born       {', '.join(births)}")
    stage.say(f"  file       {', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items()))}")


def _why(stage: "Stage", reference: str, agency: str) -> str:
    request = AccessRequest.of_organization(organization(agency), now=wiring.clock(stage.settings)())
    with stage.store.reading() as reading:
        stored = list(reading.resources.many([reference]).values())
        told = explain(reading.resources, request, wiring.consent_knowledge(stage.settings), stored)
    return "; ".join([told[0].text, *(f"needs: {need}" for need in told[0].would_need)]) if told else "no such record"


def _without_request(body: bytes) -> bytes:
    return body.replace(b"no-such-person", b"")


def _referral(patient: str) -> Resource:
    """A transaction: the request, and the Task that asks an agency to fulfil it (SDOH Clinical Care)."""
    category = [{"coding": [{"system": _TEMPORARY, "code": "homelessness", "display": "Homelessness"}]}]
    code = {"text": "Referral to permanent supportive housing"}
    request = {
        "resourceType": "ServiceRequest", "status": "active", "intent": "order", "category": category, "code": code,
        "subject": {"reference": patient}, "authoredOn": _now(), "requester": {"reference": HOSPITAL_ORGANIZATION},
        "performer": [{"reference": organization("ORG4")}],
    }  # fmt: skip
    task = {
        "resourceType": "Task", "status": "requested", "intent": "order",
        "code": {"coding": [{"system": "http://hl7.org/fhir/CodeSystem/task-code", "code": "fulfill"}]},
        "focus": {"reference": _URL.format(1)}, "for": {"reference": patient}, "authoredOn": _now(),
        "requester": {"reference": HOSPITAL_ORGANIZATION}, "owner": {"reference": organization("ORG4")},
    }  # fmt: skip
    entries = [
        {"fullUrl": _URL.format(n), "resource": resource, "request": {"method": "POST", "url": kind}}
        for n, (kind, resource) in enumerate((("ServiceRequest", request), ("Task", task)), start=1)
    ]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def _outcome(status: str) -> tuple[Resource, ...]:
    if status != "completed":
        return ()
    kind = {"coding": [{"system": _TEMPORARY, "code": "resulting-activity"}]}
    return ({"type": kind, "valueCodeableConcept": {"text": "Moved into Housing First Homes"}},)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
