"""Two gateways that differ only in what the asker may not see answer every request with the same bytes.

The hidden part is large and touches the visible part wherever it can: hidden people, hidden resources of visible
people, hidden resources that point at visible ones, hidden Consents. Requests are drawn from every type and search
parameter that the CapabilityStatement lists, with every modifier, chains, ``_has``, includes, sorts, totals, summaries,
pages, reads, histories, compartments, operations, posted searches and the headers that change an answer; a test holds
the draw against the statement. Of the trail of accesses (AuditEvent), instants and sealed ids are left out; others are
busy in one of the two only, and a page of the trail walks few records, so that a page that counted theirs would be cut.

``DOORWAY_NON_INTERFERENCE`` sets how many requests are made a store (about 350 in the normal run, all stores together
1,000); ``doorway test --nightly`` sets 100,000. ``DOORWAY_NON_INTERFERENCE_HIDDEN`` adds so many hidden people: the
more of a store is hidden, the more of its searches leave out beforehand what cannot be visible (the residual).
"""

import os
import random
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway import wiring
from gateway.adapters.db.engine import Database
from gateway.adapters.db.store import DbStore
from gateway.adapters.memory.store import MemoryStore
from gateway.consent.request import AccessRequest
from gateway.consent.times import instant_us
from gateway.exchange import search_text
from gateway.exchange.audit_event import audit_event
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.store import Store
from gateway.exchange.rest import trail
from gateway.kernel.fhir import JsonObject
from gateway.settings import Settings
from tests.adapters.http.conftest import Caller, Http, token_for
from tests.consent.build import actor, label, purposes
from tests.support.databases import Databases
from tests.support.stores import DERIVED, KINDS

REQUESTS = int(os.environ.get("DOORWAY_NON_INTERFERENCE", "340"))
HIDDEN = int(os.environ.get("DOORWAY_NON_INTERFERENCE_HIDDEN", "0"))
EPOCH_US = 1_767_225_600_000_000  # 2026-01-01
LOINC = "http://loinc.org"
HOSPITAL = "Organization/h"
LETTERS = {
    "Patient": "p", "Observation": "o", "Encounter": "e", "ServiceRequest": "s", "Task": "t", "Condition": "d",
    "Consent": "c", "CareTeam": "k", "Provenance": "v", "DocumentReference": "x", "Binary": "b",
}  # fmt: skip
TYPES = tuple(LETTERS)


def ref(literal: str) -> JsonObject:
    return {"reference": literal}


def person(n: int, **more: Any) -> JsonObject:
    return {
        "resourceType": "Patient",
        "id": f"p{n}",
        "name": [{"family": f"Zq{n % 3}", "given": [f"G{n}"]}],
        "birthDate": f"19{50 + n % 50}-01-0{1 + n % 9}",
        "gender": ("male", "female")[n % 2],
        "identifier": [{"system": "urn:mrn", "value": str(n)}],
        "generalPractitioner": [ref("Practitioner/d")],
    } | more


def consent(n: int, provision: JsonObject, suffix: str = "") -> JsonObject:
    return {
        "resourceType": "Consent",
        "id": f"c{n}{suffix}",
        "status": "active",
        "scope": {"coding": [{"code": "patient-privacy"}]},
        "category": [{"coding": [{"system": LOINC, "code": "59284-0"}]}],
        "patient": ref(f"Patient/p{n}"),
        "dateTime": "2026-01-01",
        "organization": [ref("Organization/agency")],
        "policyRule": {"text": "community policy"},
        "provision": provision,
    }


def about(n: int, tag: str, *, sensitive: bool = False) -> list[JsonObject]:
    """A handful of resources of one person, ids by ``tag``."""
    subject = ref(f"Patient/p{n}")
    code = {"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "T74.11" if sensitive else "I10"}
    marked = [label("SDV")] if sensitive else []
    found: list[JsonObject] = [
        {
            "resourceType": "Encounter",
            "id": f"e{tag}",
            "status": "finished",
            "class": {"code": "AMB"},
            "subject": subject,
            "period": {"start": f"2026-0{1 + n % 6}-01"},
        },
        {
            "resourceType": "Observation",
            "id": f"o{tag}",
            "status": "final",
            "subject": subject,
            "code": {"coding": [{"system": LOINC, "code": f"{n}-1"}]},
            "encounter": ref(f"Encounter/e{tag}"),
            "valueQuantity": {"value": n + 0.5, "unit": "kg"},
            "effectiveDateTime": f"2026-0{1 + n % 6}-02",
        },
        {
            "resourceType": "Condition",
            "id": f"d{tag}",
            "subject": subject,
            "code": {"coding": [code]},
            "encounter": ref(f"Encounter/e{tag}"),
            "recordedDate": "2026-02-02",
        },
        {
            "resourceType": "ServiceRequest",
            "id": f"s{tag}",
            "status": "active",
            "intent": "order",
            "subject": subject,
            "requester": ref("Practitioner/d"),
            "authoredOn": "2026-03-03",
        },
        {
            "resourceType": "Task",
            "id": f"t{tag}",
            "status": "requested",
            "intent": "order",
            "for": subject,
            "focus": ref(f"ServiceRequest/s{tag}"),
            "owner": ref("Organization/shelter"),
            "lastModified": f"2026-04-0{1 + n % 9}",
        },
        {
            "resourceType": "CareTeam",
            "id": f"k{tag}",
            "status": "active",
            "subject": subject,
            "participant": [{"member": ref("Practitioner/d")}],
        },
    ]
    found += [
        {"resourceType": "Provenance", "id": f"v{tag}", "target": [ref(f"Observation/o{tag}"), ref(f"Task/t{tag}")],
         "recorded": "2026-03-04T00:00:00Z", "agent": [{"who": ref("Practitioner/d")}]},
        {"resourceType": "DocumentReference", "id": f"x{tag}", "status": "current", "subject": subject,
         "content": [{"attachment": {"url": f"Binary/b{tag}", "contentType": "text/plain"}}]},
        {"resourceType": "Binary", "id": f"b{tag}", "contentType": "text/plain", "data": "eg=="}
        | ({"securityContext": ref(f"Observation/o{tag}")} if n % 2 else {}),
    ]  # fmt: skip
    return [one | {"meta": {"security": marked}} for one in found]


PERMIT = {"type": "permit", "actor": [actor(HOSPITAL)], "purpose": purposes("TREAT")}
WITHOUT = {**PERMIT, "provision": [{"type": "deny", "securityLabel": [label("SDV")]}]}
OTHERS = {"type": "permit", "actor": [actor("Organization/x")]}


TWIN: list[JsonObject] = [
    {
        "name": [{"family": family, "given": [given]}],
        "birthDate": born,
        "gender": gender,
        "identifier": [{"system": "http://hl7.org/fhir/sid/us-ssn", "value": number}],
        "address": [{"line": [street], "city": "X", "postalCode": postal}],
    }
    for family, given, born, gender, number, street, postal in (
        ("Zqvandermeer", "Aurelia", "1961-03-07", "female", "078051120", "1 A St", "12345"),
        ("Zqobuya", "Tendai", "1984-11-23", "male", "219099999", "77 Quay Rd", "98765"),
    )
]


def visible_part() -> list[JsonObject]:
    """What lies in both worlds: directory, people who consented, and people who did not."""
    directory: list[JsonObject] = [
        {"resourceType": "Practitioner", "id": "d", "name": [{"family": "Zqdoc"}]},
        {"resourceType": "Organization", "id": "h", "name": "Hospital"},
        {"resourceType": "Organization", "id": "shelter", "name": "Shelter"},
    ]
    people = [
        r
        for n in range(4)
        for r in (person(n, **(TWIN[n] if n < 2 else {})), consent(n, WITHOUT if n % 2 else PERMIT), *about(n, str(n)))
    ]
    return directory + people + [person(7), consent(7, OTHERS), *about(7, "7")]


def hidden_part(rng: random.Random) -> list[JsonObject]:
    """What only one world has; the asker may see none of it."""
    found: list[JsonObject] = []
    for n in (*range(20, 26), *range(40, 40 + HIDDEN)):
        found += [person(n), *about(n, str(n))]
        if n % 2:
            found.append(consent(n, OTHERS))
    for n in range(
        2
    ):  # other records of visible people, closed to the asker, which linking joins with the visible ones
        found += [person(n, **TWIN[n], id=f"p3{n}"), consent(30 + n, OTHERS)]
    for n in (1, 3):  # sensitive records of people who consented to the rest
        found += about(n, f"{n}x", sensitive=True)
    for number in range(6):  # other people's resources that point at visible ones
        hidden, seen = rng.randrange(20, 26), rng.randrange(4)
        found += [
            {
                "resourceType": "Observation",
                "id": f"h{number}",
                "status": "final",
                "subject": ref(f"Patient/p{hidden}"),
                "code": {"text": "x"},
                "encounter": ref(f"Encounter/e{seen}"),
                "focus": [ref(f"Patient/p{seen}")],
                "hasMember": [ref(f"Observation/o{seen}")],
            },
            {
                "resourceType": "Task",
                "id": f"h{number}",
                "status": "requested",
                "intent": "order",
                "for": ref(f"Patient/p{hidden}"),
                "focus": ref(f"ServiceRequest/s{seen}"),
                "basedOn": [ref(f"Task/t{seen}")],
            },
            {
                "resourceType": "Provenance",
                "id": f"h{number}",
                "target": [ref(f"Observation/o{seen}"), ref(f"Observation/o{hidden}")],
                "recorded": "2026-03-04T00:00:00Z",
                "agent": [{"who": ref("Practitioner/d")}],
            },
            {
                "resourceType": "DocumentReference",
                "id": f"h{number}",
                "status": "current",
                "subject": ref(f"Patient/p{hidden}"),
                "content": [{"attachment": {"url": f"Binary/b{seen}"}}],
            },
        ]
    rng.shuffle(found)
    return found


def fill(store: Store, resources: list[JsonObject], *, start_us: int, source: str) -> None:
    """Write each resource at an instant of its own."""
    saver = wiring.saver(Settings())

    def work(unit: Any) -> None:
        for number, one in enumerate(resources):
            draft = Draft(one, source=source, labels=tuple(one.get("meta", {}).get("security", ())))
            saver.save(unit, [draft], now_us=start_us + number * 1_000_000)

    store.write(work)


@dataclass
class Twins:
    """Two gateways: ``less`` has the visible part, ``more`` the hidden part too."""

    less: Caller
    more: Caller
    hidden: Caller  # somebody who sees the hidden part of ``more``: proof that it is there
    stores: tuple[Store, Store]  # what lies behind ``less`` and ``more``

    @property
    def full(self) -> Store:
        """What lies behind ``more``."""
        return self.stores[1]


@pytest.fixture(params=KINDS)
def twins(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Twins]:
    """Two stores of one kind behind two applications."""
    stores = [_made(request, str(request.param), tmp_path, name) for name in ("less", "more")]
    https, builts = [], []
    for index, store in enumerate(stores):
        store.write(lambda unit: unit.clients.keep_secret("cursor", bytes(32)))
        fill(store, visible_part(), start_us=EPOCH_US, source="import")
        if index:
            fill(store, hidden_part(random.Random(5)), start_us=EPOCH_US + 500_000, source="elsewhere")
        rates = {"match_per_minute": 10**6, "match_people_per_hour": 10**6}  # they go by the clock
        builts.append(wiring.build_app(Settings(data_folder=str(tmp_path), **rates), store))
        https.append(Http(builts[-1].app))
    callers = [Caller(http, token_for(store, "ehr", HOSPITAL)) for http, store in zip(https, stores, strict=True)]
    elsewhere = Caller(https[1], token_for(stores[1], "elsewhere", "Organization/agency"))
    yield Twins(callers[0], callers[1], elsewhere, (stores[0], stores[1]))
    for http, built in zip(https, builts, strict=True):
        http.close()
        built.executor.shutdown()
    for store in stores:
        store.close()


def _made(request: pytest.FixtureRequest, kind: str, folder: Path, name: str) -> Store:
    if kind == "memory":
        return MemoryStore(DERIVED.view)
    if kind == "sqlite":
        copied = shutil.copy(request.getfixturevalue("sqlite_template"), folder / f"{name}.db")
        return DbStore(Database(f"sqlite:///{copied}"), DERIVED)
    return DbStore(Database(request.getfixturevalue("postgres_pair")[name]), DERIVED)


@pytest.fixture
def postgres_pair(databases: Databases) -> Iterator[dict[str, str]]:
    """Where two empty PostgreSQL databases are."""
    with databases.migrated() as less, databases.migrated() as more:
        yield {"less": less, "more": more}


# ---- requests


def _values(rng: random.Random, kind: str) -> str:
    """A value that some resource of either world has, or none."""
    number = rng.choice([0, 1, 2, 3, 7, 20, 21, 23, 25])
    tag = rng.choice([str(number), "1x", "3x"])
    return rng.choice(
        {
            "reference": [
                f"Patient/p{number}",
                f"p{number}",
                f"Encounter/e{tag}",
                f"ServiceRequest/s{tag}",
                "Practitioner/d",
            ],
            "token": [
                f"{LOINC}|{number}-1",
                f"{number}",
                "urn:mrn|20",
                "I10",
                "T74.11",
                "active",
                "requested",
                "female",
                "SDV",
            ],
            "string": [f"Zq{number % 3}", "G2", "zq", "Hospital"],
            "date": ["ge2026-01-01", "lt2026-03-03", f"19{50 + number}-01", "gt2026-04-01", "ne2026-02-02"],
            "quantity": ["gt2", f"{number}.5", "le21.5"],
            "uri": ["urn:x", "http://x"],
            "number": ["1", "gt0"],
        }.get(kind, ["x"])
    )


MODIFIERS = {
    "token": ("not", "text", "of-type", "in", "not-in", "above", "below"),
    "string": ("exact", "contains"),
    "reference": ("identifier",),
    "uri": ("above", "below"),
}
SETS = (
    "http://hl7.org/fhir/ValueSet/administrative-gender",
    "http://hl7.org/fhir/ValueSet/observation-status",
    "urn:x",
)
ADDRESSES = (  # of operations and of the whole system; {n} is somebody's number, {t} the tag of a resource
    "/Patient/$ihe-pix?sourceIdentifier=urn:mrn%7C{n}", "/Patient/p{n}/$consent-explain",
    "/Patient/p{n}/$consent-lint", "/Patient/p{n}/$consent-account", "/Consent/$consent-expiring",
    "/Patient/p{n}/$consent-what-if?revoke=Consent/c{n}", "/Observation/o{t}/$validate",
    "/Subscription/$status", "/Subscription/$status?id=u{n}", "/Subscription/u{n}/$status",
    "/Patient/p{n}/*", "/Encounter/e{t}/Observation", "/Practitioner/d/Encounter", "/_history", "/_history?_count=2",
    "/?_type=Patient,Observation,Task&_count=3", "/?_type=Condition&_lastUpdated=ge2026-01-01",
    "/Patient/_history?_since=2026-01-01T00:00:30Z", "/Patient/p{n}/_history?_at=2026-01-01",
    "/Patient/p{n}?_summary=true",
    "/Patient/p{n}/$everything?_type=Observation", "/Patient/p{n}/$everything?_since=2026-01-01T00:00:40Z",
    "/Person/x{n}", "/Contract?_total=accurate", "/Patient/p{n}/AuditEvent",
)  # fmt: skip
HEADERS: tuple[dict[str, str], ...] = (
    {"Prefer": "handling=lenient"}, {"Accept": "application/fhir+xml"}, {"If_None_Match": 'W/"1"'},
    {"If_Modified_Since": "Thu, 01 Jan 2026 00:00:20 GMT"},
    {"X_Doorway_Break_Glass_Reason": "found without consciousness"},
)  # fmt: skip


class Drawn:
    """Draws requests over what the search definitions list."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.definitions = wiring.search_definitions()
        self.types = sorted(self.definitions.types)
        self.people = [
            one for one in visible_part() + hidden_part(random.Random(5)) if one["resourceType"] == "Patient"
        ]

    def request(self) -> tuple[str, str, Any, dict[str, str]]:
        """(method, path, body, headers) of one request that changes nothing."""
        rng, path = self.rng, self.path()
        headers = dict(rng.choice(HEADERS)) if rng.random() < 0.12 else {}
        address, _, query = path.partition("?")
        if query and rng.random() < 0.1 and "$" not in path and "_history" not in path:
            form = {"Content_Type": "application/x-www-form-urlencoded"}
            return "POST", f"{address.rstrip('/')}/_search", query, headers | form
        if rng.random() < 0.03:
            return "POST", "/Patient/$match", _wanted(rng.choice(self.people)), headers
        return "GET", path, None, headers

    def path(self) -> str:
        """One request path below /fhir."""
        rng, type_ = self.rng, self.rng.choice(TYPES)
        if rng.random() < 0.12:  # a type of which neither world, or only the trail, holds anything
            type_ = "AuditEvent" if rng.random() < 0.25 else rng.choice(self.types)
        if rng.random() < 0.14:
            number, tag = rng.choice([0, 1, 2, 7, 20, 30, 99]), rng.choice(["0", "1", "1x", "3x", "7", "20", "99"])
            return rng.choice(ADDRESSES).format(n=number, t=tag)
        roll = rng.random()
        if roll < 0.08:
            return f"/{type_}/{self._id(type_)}"
        if roll < 0.12:
            return f"/{type_}/{self._id(type_)}/_history" + rng.choice(["", "/1", "/2", "?_count=1"])
        if roll < 0.16:
            return f"/Patient/p{rng.choice([0, 1, 7, 20, 23])}/$everything" + rng.choice(["", "?_count=3"])
        if roll < 0.20:
            return f"/Patient/p{rng.choice([0, 1, 7, 20])}/{type_}"
        if roll < 0.22:
            return f"/{type_}/_history" + rng.choice(["", "?_count=2"])
        parts = [self.criterion(type_) for _ in range(rng.randrange(3))] + [
            self.control(type_) for _ in range(rng.randrange(4))
        ]
        return f"/{type_}?" + "&".join(part for part in parts if part)

    def _id(self, type_: str) -> str:
        return LETTERS.get(type_, "u") + self.rng.choice(["0", "1", "1x", "3", "3x", "7", "20", "21", "99"])

    def _parameter(self, type_: str) -> Any:
        found = self.definitions.of(type_) or self.definitions.of("Patient")  # nothing of a Binary is searched for
        return self.rng.choice(sorted(found.values(), key=lambda one: one.code))

    def criterion(self, type_: str) -> str:
        """A plain, chained or reverse criterion."""
        rng, parameter = self.rng, self._parameter(type_)
        kind = str(getattr(parameter, "kind", getattr(parameter, "type", "token")))
        roll = rng.random()
        if kind == "reference" and 0.4 < roll < 0.8:
            target = rng.choice(TYPES)
            inner = self._parameter(target)
            return f"{parameter.code}:{target}.{inner.code}={_values(rng, _kind(inner))}"
        if roll < 0.25:
            other = rng.choice(TYPES[:-1])
            links = [p for p in self.definitions.of(other).values() if _kind(p) == "reference"]
            link = rng.choice(sorted(links, key=lambda one: one.code))
            inner = self._parameter(other)
            return f"_has:{other}:{link.code}:{inner.code}={_values(rng, _kind(inner))}"
        if roll < 0.32:
            return f"{parameter.code}:missing={rng.choice(['true', 'false'])}"
        if roll < 0.5 and kind in MODIFIERS:
            modifier = rng.choice(MODIFIERS[kind])
            value = rng.choice(SETS) if modifier in ("in", "not-in") else _values(rng, kind)
            return f"{parameter.code}:{modifier}={value}"
        return f"{parameter.code}={_values(rng, kind)}"

    def control(self, type_: str) -> str:
        """Sort, page size, totals, summaries, includes."""
        rng = self.rng
        code = self._parameter(type_).code
        other = rng.choice(TYPES)
        return rng.choice(
            [
                f"_sort={rng.choice(['', '-'])}{rng.choice([code, '_lastUpdated', '_id'])}",
                f"_count={rng.choice([0, 1, 2, 3, 50])}",
                "_total=accurate",
                "_total=none",
                "_summary=count",
                "_summary=true",
                "_summary=data",
                "_elements=id,status",
                f"_include={type_}:{code}",
                f"_revinclude={other}:{self._parameter(other).code}",
                f"_include:iterate={type_}:*",
                "_include=*",
                f"_revinclude:iterate={other}:*",
                f"{rng.choice(['_filter', '_text', '_content', '_list', '_query', '_contained'])}=x",
                f"_format={rng.choice(['json', 'xml'])}",
            ]
        )


def _wanted(person: JsonObject) -> JsonObject:
    """The Parameters of ``$match`` for somebody."""
    asked = {name: value for name, value in person.items() if name not in ("id", "meta", "link")}
    return {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": asked}]}


def _kind(parameter: Any) -> str:
    return str(getattr(parameter, "kind", getattr(parameter, "type", "token")))


def answer(
    caller: Caller, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    said = caller(method, path, body, X_Request_Id="r-1", **headers)
    return said.status_code, {k: v for k, v in said.headers.items() if k.lower() != "date"}, said.content


def others_are_busy(store: Store) -> None:
    """Accesses of Organizations that the asker is none of, now."""
    now = datetime.now(UTC)

    def work(unit: Any) -> None:
        for number in range(40):
            who = AccessRequest(now=now, organization=f"Organization/o{number % 7}", client=f"client-{number % 11}")
            what = ("AuditEvent", "Patient/p0")[number % 2]
            unit.audit.append(audit_event(who, "read", what=what), now_us=instant_us(now))

    store.write(work)


def test_what_is_hidden_cannot_be_noticed(twins: Twins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail, "PAGE_COST", 150)
    monkeypatch.setattr(trail, "COUNT_RECORDS", 2 * REQUESTS)
    assert twins.hidden("GET", "/Patient/p20").status_code == 200  # it is there, for whoever may see it
    for caller in (twins.less, twins.more):  # both alike: the trail of accesses is compared too
        assert answer(caller, "GET", "/Patient/p0")[0] == 200
        assert answer(caller, "GET", "/Patient/p20")[0] == 404
    with twins.full.reading() as reading:
        joined = reading.resources.get("Patient", "p30")
    assert joined is not None
    assert b"Patient/p0" in joined.body  # linking has joined a hidden and a visible one
    assert b"Patient/p0" not in twins.hidden("GET", "/Patient/p30").content  # which its own writer may not see either
    drawn = Drawn(random.Random(int(os.environ.get("DOORWAY_NON_INTERFERENCE_SEED", "7"))))
    shown = 0
    for number in range(REQUESTS):
        if number % 10 == 0:
            others_are_busy(twins.full)
        method, path, body, headers = drawn.request()
        paths = (path, path)
        for _page in range(4):  # a search and the pages behind it
            one, other = (
                answer(caller, method, place, body, **headers)
                for caller, place in zip((twins.less, twins.more), paths, strict=True)
            )
            told = [_timeless(*said) if b"AuditEvent" in said[2] else said for said in (one, other)]
            assert told[0] == told[1], (method, path, body, headers)
            shown += one[0] == 200 and b'"fullUrl"' in one[2]
            paths = (_next(one[2]), _next(other[2]))
            method, body = "GET", None
            headers.pop("Content_Type", None)
            if not all(paths) or (paths[0] != paths[1] and "AuditEvent" not in path):
                break
    assert paths[0] == paths[1] or "AuditEvent" in path
    assert shown > REQUESTS // 10  # the requests are about something


_MOVING = re.compile(  # what an access tells of its own instant and place in the trail, and lengths that hang on it
    rb'"(?:id|lastUpdated|recorded|fullUrl)":"[^"]*"|<(?:id|lastUpdated|recorded|fullUrl) value="[^"]*"/>|'
    rb'_cursor=[^"&]*|"AuditEvent/[^"]*"'
)


def _timeless(status: int, headers: dict[str, str], content: bytes) -> tuple[int, dict[str, str], bytes]:
    """An answer from the trail without instants and sealed ids."""
    kept = {name: value for name, value in headers.items() if name not in ("content-length", "etag", "last-modified")}
    return status, kept, _MOVING.sub(b"", content)


@pytest.mark.parametrize("twins", ["memory"], indirect=True)
def test_the_draw_covers_what_the_capability_statement_lists(twins: Twins) -> None:
    """Every type with its parameters, every modifier, and every operation that changes nothing."""
    listed = twins.less("GET", "/metadata").json()["rest"][0]
    drawn = Drawn(random.Random(3))
    pool = {type_: {one.code for one in drawn.definitions.of(type_).values()} for type_ in drawn.types}
    for row in listed["resource"]:
        assert {one["name"] for one in row.get("searchParam", ())} <= pool.get(row["type"], set()), row["type"]
    named = {one["name"] for row in (listed, *listed["resource"]) for one in row.get("operation", ())}
    elsewhere = {"match", "export"}  # drawn as a POST; walked by test_non_interference_out
    of_tables = {"lookup", "validate-code", "translate", "expand"}  # they look at no store
    assert {one for one in named if not any(f"${one}" in path for path in ADDRESSES)} == elsewhere | of_tables
    for kind, names in MODIFIERS.items():
        assert set(names) == search_text.MODIFIERS[kind] | (search_text.BY_CODES if kind == "token" else set())


SHARP = (  # questions aimed at the hidden part
    "/Patient?link=Patient/p30", "/Patient?link:missing=true", "/Patient?link:missing=false", "/Person",
    "/Patient?link:Patient.birthdate=1961-03-07", "/Patient?_has:Patient:link:_id=p30", "/Person?link=Patient/p0",
    "/Patient?_include=Patient:link", "/Patient?_revinclude=Patient:link", "/Patient?_revinclude=*",
    "/Patient?_revinclude=Person:link",
    "/Patient?_has:Observation:focus:code:text=x", "/Encounter?_has:Observation:encounter:patient=Patient/p20",
    "/Patient?_security=http://terminology.hl7.org/CodeSystem/v3-ActCode|SDV", "/Condition?code=T74.11&_total=accurate",
    "/Task?based-on=Task/t0", "/Task?focus=ServiceRequest/s0&_sort=-modified", "/Patient?_sort=link&_count=1",
    "/Patient/p0/_history", "/Patient/p1/_history/2", "/Patient/p0/$everything", "/Condition?_id=d1x,d1",
)  # fmt: skip


def test_sharp_questions_get_blunt_answers(twins: Twins) -> None:
    differing = [path for path in SHARP if answer(twins.less, "GET", path) != answer(twins.more, "GET", path)]
    assert differing == []


def _next(body: bytes) -> str:
    import orjson

    links = orjson.loads(body).get("link", []) if body.startswith(b"{") and b'"next"' in body else []
    urls = [str(link["url"]) for link in links if isinstance(link, dict) and link.get("relation") == "next"]
    return urls[0].removeprefix("http://gateway.test/fhir") if urls else ""


def test_a_batch_and_a_posted_search_tell_no_more(twins: Twins) -> None:
    drawn = Drawn(random.Random(11))
    entries = [{"request": {"method": "GET", "url": drawn.path().removeprefix("/")}} for _ in range(30)]
    batch = {"resourceType": "Bundle", "type": "batch", "entry": entries}
    said_less, said_more = (_timeless(*answer(caller, "POST", "/", batch)) for caller in (twins.less, twins.more))
    assert said_less == said_more
    for number in (0, 7, 20):
        form = f"patient=Patient/p{number}"
        said = [
            c("POST", "/Observation/_search", form, Content_Type="application/x-www-form-urlencoded", X_Request_Id="r")
            for c in (twins.less, twins.more)
        ]
        assert said[0].content == said[1].content
        assert said[0].status_code == said[1].status_code


HIDDEN_OR_FREE = ("Patient/p20", "Patient/p30", "Patient/p99", "Patient/p7", "Observation/h1", "Task/h2", "Consent/c21")
WRITES = ("PUT", "PATCH", "DELETE", "transaction PUT", "batch PUT", "transaction PATCH", "batch DELETE")


def test_writes_under_ids_that_others_use_tell_no_more(twins: Twins) -> None:
    """Hidden and free ids are answered alike, whatever is written there; what is hidden stays as it was."""
    with twins.full.reading() as reading:
        before = _contents(reading)
    named = {f"{one['resourceType']}/{one['id']}": one for one in hidden_part(random.Random(5))}
    bodies = named | {"Patient/p99": person(99), "Patient/p7": person(7), "Consent/c99": consent(99, OTHERS)}
    patch = [{"op": "add", "path": "/language", "value": "en"}]
    for literal in HIDDEN_OR_FREE:
        for way in WRITES:
            kind, _, method = way.rpartition(" ")
            body: Any = bodies[literal] if method == "PUT" else patch if method == "PATCH" else None
            headers = {"X_Request_Id": "r"} | ({"Content_Type": "application/json-patch+json"} if body is patch else {})
            path = f"/{literal}"
            if kind:
                entry: JsonObject = {"request": {"method": method, "url": literal}}
                entry |= {"resource": body if method == "PUT" else {"resourceType": "Parameters"}} if body else {}
                body, path, headers = (
                    {"resourceType": "Bundle", "type": kind, "entry": [entry]},
                    "",
                    {"X_Request_Id": "r"},
                )
            said = [
                caller(method if not kind else "POST", path, body, **headers) for caller in (twins.less, twins.more)
            ]
            told = [
                (one.status_code, re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "", one.text), one.headers.get("location"))
                for one in said
            ]
            assert told[0] == told[1], (literal, way)
    with twins.full.reading() as reading:
        assert before == _contents(reading)


def _contents(reading: Any) -> dict[str, tuple[str, int, JsonObject]]:
    """What lies under the ids; the links between a person's records are the gateway's own and come and go."""
    import orjson

    found = reading.resources.many(HIDDEN_OR_FREE).items()
    return {
        key: (one.source, one.version, {k: v for k, v in orjson.loads(one.body).items() if k != "link"})
        for key, one in found
    }
