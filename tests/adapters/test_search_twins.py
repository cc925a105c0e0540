"""Memory, SQLite and PostgreSQL find the same resources in the same order, for every kind of criterion."""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.adapters.db import search as plans
from gateway.adapters.db.store import DbStore
from gateway.adapters.memory.store import MemoryStore
from gateway.exchange.ports.resources import Draft, Stored
from gateway.exchange.ports.store import Store, Unit
from gateway.exchange.ports.visibility import Visibility
from gateway.exchange.search import Query, parse_query
from gateway.exchange.search_run import search
from gateway.wiring import search_definitions

NOW = 1_767_225_600_000_000
FAMILIES = ["Zqström", "zqstrom", "Zq Strom", "Zqmüller", "ZQ", "O'Zq", "Zq-Lee"]
DATES = [
    "1980",
    "1980-03",
    "1980-03-05",
    "1979-12-31",
    "2001-01-01",
    "1980-03-05T10:00:00Z",
    "1980-03-05T12:00:00+02:00",
]
CODES = [
    ("http://loinc.org", "8302-2"),
    ("http://loinc.org", "8310-5"),
    ("http://snomed.info/sct", "8302-2"),
    ("", "x"),
]
NUMBERS = [1, 1.5, 1.50, 98.6, -3, 1000, 5.4, 5.44]


def patient(rng: random.Random, id_: str, others: list[str]) -> dict[str, Any]:
    made: dict[str, Any] = {"resourceType": "Patient", "id": id_}
    if rng.random() < 0.8:
        made["name"] = [{"family": rng.choice(FAMILIES), "given": rng.sample(["Ana", "Ánna", "Bo"], rng.randint(0, 2))}]
    if rng.random() < 0.7:
        made["birthDate"] = rng.choice(DATES[:5])
    if rng.random() < 0.7:
        made["gender"] = rng.choice(["male", "female", "unknown"])
    if rng.random() < 0.5:
        made["active"] = rng.random() < 0.5
    if rng.random() < 0.5:
        kind = {"coding": [{"system": "http://t", "code": rng.choice(["MR", "SS"])}], "text": "Record Number"}
        made["identifier"] = [
            {"system": rng.choice(["urn:a", "urn:b"]), "value": rng.choice(["7", "8", "Ab"]), "type": kind}
        ]
    if others and rng.random() < 0.4:
        made["link"] = [{"other": {"reference": rng.choice(others)}, "type": "seealso"}]
    if rng.random() < 0.5:
        made["managingOrganization"] = {"reference": rng.choice(["Organization/o1", "Organization/o2"])}
    if rng.random() < 0.3:
        made[rng.choice(["deceasedBoolean", "deceasedDateTime"])] = rng.choice(DATES[:3])
        if "deceasedBoolean" in made:
            made["deceasedBoolean"] = rng.random() < 0.5
    if rng.random() < 0.5:
        made["telecom"] = [{"system": rng.choice(["phone", "email"]), "value": rng.choice(["555", "zq@x"])}]
    if rng.random() < 0.5:
        made["address"] = [{"line": ["1 Calg St"], "city": rng.choice(["Calgary", "Edmonton"]), "state": "AB"}]
    if rng.random() < 0.4:
        made["meta"] = {"profile": [rng.choice(["http://p/a", "http://p/a/b", "http://q"])], "tag": [{"code": "t1"}]}
    return made


def observation(rng: random.Random, id_: str, patients: list[str]) -> dict[str, Any]:
    system, code = rng.choice(CODES)
    coding = {"code": code, "display": rng.choice(["Body Height", "Körper"])} | ({"system": system} if system else {})
    made: dict[str, Any] = {"resourceType": "Observation", "id": id_, "status": "final", "code": {"coding": [coding]}}
    if rng.random() < 0.9:
        made["subject"] = {"reference": rng.choice(patients)}
    elif rng.random() < 0.5:
        made["subject"] = {"identifier": {"system": "urn:a", "value": "7"}}
    kind = rng.randrange(4)
    if kind == 0:
        unit = rng.choice([{"unit": "cm"}, {"system": "http://unitsofmeasure.org", "code": "cm"}, {}])
        made["valueQuantity"] = {"value": rng.choice(NUMBERS), **unit}
    elif kind == 1:
        made["component"] = [
            {"code": {"coding": [coding]}, "valueQuantity": {"value": rng.choice(NUMBERS)}},
            {"code": {"coding": [{"system": "http://loinc.org", "code": "8310-5"}]}, "valueQuantity": {"value": 7}},
        ]
    elif kind == 2:
        made["valueString"] = rng.choice(["Größe", "grosse", "small"])
    when = rng.randrange(3)
    if when == 0:
        made["effectiveDateTime"] = rng.choice(DATES)
    elif when == 1:
        made["effectivePeriod"] = rng.choice(
            [{"start": "1980-03-01"}, {"end": "1980-03-06"}, {"start": "1980", "end": "1981"}]
        )
    return made


def community(seed: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    people: list[str] = []
    made: list[dict[str, Any]] = [
        {"resourceType": "Organization", "id": "o1", "name": "Zq Shelter"},
        {"resourceType": "Organization", "id": "o2", "name": "Zq Hospital", "partOf": {"reference": "Organization/o1"}},
    ]
    for number in range(25):
        made.append(patient(rng, f"p{number}", people))
        people.append(f"Patient/p{number}")
    made += [observation(rng, f"b{number}", people) for number in range(40)]
    for number in range(6):
        members = [{"entity": {"reference": one}} for one in rng.sample(people, 3)]
        made.append({"resourceType": "Group", "id": f"g{number}", "type": "person", "actual": True, "member": members})
    return made


def fill(store: Store, seed: int) -> None:
    rng = random.Random(seed)
    resources = community(seed)

    def work(unit: Unit) -> None:
        for number, resource in enumerate(resources):
            unit.resources.put(Draft(resource), now_us=NOW + number * 700)
        for number, resource in enumerate(resources):  # updates and deletions must leave the index right
            chance = rng.random()
            if chance < 0.1:
                unit.resources.delete(resource["resourceType"], resource["id"], now_us=NOW + 10**6 + number)
            elif chance < 0.4:
                made = community(seed + 1)[number]
                unit.resources.put(Draft({**made, "id": resource["id"]}), now_us=NOW + 2 * 10**6 + number)

    store.write(work)


QUERIES = """
Patient?family=zqstrom
Patient?family:exact=Zqström
Patient?family:contains=str
Patient?name=an&gender=female
Patient?gender:not=male
Patient?gender:missing=true
Patient?birthdate=1980
Patient?birthdate=ge1980-03&birthdate=lt1980-04
Patient?birthdate=ne1980
Patient?birthdate=ap1980-03-04
Patient?birthdate=sa1979
Patient?birthdate=eb1980-03-06
Patient?birthdate=gt1980,lt1980
Patient?birthdate=le1980-03-05
Patient?birthdate:missing=false
Patient?identifier=urn:a|7
Patient?identifier=ab
Patient?identifier=urn:b|
Patient?identifier=|7
Patient?identifier:of-type=http://t|MR|7
Patient?identifier:text=record
Patient?identifier:not=8
Patient?identifier:not=urn:a|
Patient?identifier=urn:b|&gender=female
Patient?phone=555
Patient?phone=email|555
Patient?phone:missing=false
Patient?email:missing=true
Patient?telecom=zq@x
Patient?telecom=phone|
Patient?address=calg
Patient?address-city=calg,edm
Patient?address:missing=true
Patient?name:missing=false&address-state=ab
Patient?name:exact=Ana
Patient?name:contains=ström
Patient?active=true
Patient?deceased=true
Patient?deceased=false
Patient?deceased:missing=true
Patient?_id=p1,p3,zz
Patient?death-date:missing=false
Patient?organization=Organization/o1
Patient?organization=o2
Patient?organization.name=zq h
Patient?organization.partof.name=zq
Patient?link:Patient.family=zqs
Patient?link.gender=male
Patient?_has:Observation:patient:code=8302-2
Patient?_has:Group:member:type=person&gender=male
Patient?_has:Observation:patient:value-quantity=gt5
Patient?_has:Observation:subject:code:not=8302-2
Patient?_profile=http://p/a
Patient?_profile:below=http://p/
Patient?_profile:above=http://p/a/b/c
Patient?_tag=t1
Patient?_tag:missing=true
Patient?link:missing=false
Patient?_lastUpdated=ge2026-01-01T00:00:02
Patient?_lastUpdated=2026-01-01T00:00:00.007Z
Patient?_lastUpdated=gt2026-01-01T00:00:00.010Z&gender=female
Patient?_lastUpdated=le2026-01-01T00:00:00.010Z
Observation?code=http://loinc.org|8302-2
Observation?code=|x
Observation?code:text=körp
Observation?value-quantity=5.4
Observation?value-quantity=ge1.5||cm
Observation?value-quantity=ne1.5
Observation?value-quantity=lt100|http://unitsofmeasure.org|cm
Observation?value-quantity=ap100
Observation?value-string=grö
Observation?date=1980-03-05
Observation?date=ge1980-03-05T09:59:59Z
Observation?date=le1980-03-05
Observation?date=sa1980-03
Observation?date=gt1980-03-05T10:00:00Z
Observation?code-value-quantity=8302-2$gt1
Observation?component-code-value-quantity=8310-5$7
Observation?component-code-value-quantity=8302-2$7
Observation?combo-code-value-quantity=http://loinc.org|8302-2$lt50
Observation?combo-code-value-quantity:missing=true
Observation?subject:identifier=urn:a|7
Observation?subject:missing=true
Observation?subject:Patient=p1
Observation?patient=p1,p2
Observation?patient=Patient/p1
Observation?patient:missing=true
Observation?patient:identifier=urn:a|7
Observation?combo-code=8302-2
Observation?combo-code=http://snomed.info/sct|8302-2&status=final
Observation?combo-code:text=körp
Observation?combo-code:not=8310-5
Observation?combo-value-quantity=7
Observation?combo-value-quantity=gt5||cm
Observation?combo-code-value-quantity:missing=false
Observation?code=http://loinc.org|
Observation?code:not=8302-2
Group?_has:Observation:subject:code=8302-2
Observation?patient.gender=female&status=final
Observation?patient.organization.name=zq s
Observation?subject:Patient.family:exact=Zqström
Observation?patient._has:Group:member:_id=g1
Observation?patient.birthdate:missing=true
Observation?patient.gender:not=male
Observation?status:not=final
Group?member.family=zq
Group?member:Patient.gender=male
Organization?partof.name=zq shelter
Organization?_has:Patient:organization:gender=male
Organization?_has:Patient:organization:_has:Observation:patient:code=8310-5
"""
FIXED = [tuple(line.split("?", 1)) for line in QUERIES.strip().splitlines()]
SORTS = ["", "_id", "-_lastUpdated", "family,-birthdate", "-family", "birthdate,_id", "gender,-family", "-organization",
         "name", "-address,phone"]  # fmt: skip
SORTS_OF = {"Patient": SORTS, "Observation": [*SORTS[:3], "-date", "date,-_id"]}


def pairs(text: str) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (part.partition("=") for part in text.split("&"))]


def query_of(type_: str, text: str) -> Query:
    return parse_query(type_, pairs(text), search_definitions())


def walk(
    store: Store, query: Query, visibility: Visibility | None, limit: int = 50
) -> tuple[list[list[str]], int | None]:
    pages: list[list[str]] = []
    cursor, total = "", None
    with store.reading() as reading:
        while len(pages) < limit:
            page = search(reading.resources, query, visibility, cursor=cursor)
            total = page.total if not pages else total
            pages.append([stored.id for stored in page.matches] + [stored.reference for stored in page.included])
            cursor = page.next_cursor
            if not cursor:
                break
    return pages, total


class Some:
    """Sees what a hash of the id lets it see."""

    def visible(self, candidates: Sequence[Stored]) -> list[bool]:
        return [sum(map(ord, one.id)) % 3 != 0 for one in candidates]


@pytest.mark.parametrize(("seed", "small"), [(1, 1_000), (2, 1_000), (1, 4), (2, 4)])
def test_three_stores_agree(
    seed: int, small: int, sqlite_store: DbStore, postgres_store: DbStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With sets that are small enough to be carried, and where next to none is: so it goes in a large store."""
    for name, bound in {"_FEW": 1, "_SMALL": small, "_CARRIED": small * 2, "_WALKED": small * 2}.items():
        if small < 1_000:
            monkeypatch.setattr(plans, name, bound)
    stores: list[Store] = [MemoryStore(), sqlite_store, postgres_store]
    for store in stores:
        fill(store, seed)
    rng = random.Random(seed)
    sights: list[Visibility | None] = [None, Some()]
    found = 0
    for number, (type_, text) in enumerate(FIXED[seed % 2 :: 2]):
        for suffix in ("", "&_count=3&_total=accurate")[: 2 if number % 2 == 0 else 1]:
            sort = rng.choice(SORTS_OF.get(type_, SORTS[:3]))
            query = query_of(type_, text + suffix + (f"&_sort={sort}" if sort else ""))
            for visibility in sights if small == 1_000 else sights[number % 2 :][:1]:
                answers = [walk(store, query, visibility) for store in stores]
                assert answers[0] == answers[1], (text, sort, visibility, "sqlite")
                assert answers[0] == answers[2], (text, sort, visibility, "postgres")
                found += len(answers[0][0][0])
    assert found > 300


def test_includes_agree(sqlite_store: DbStore, postgres_store: DbStore) -> None:
    stores: list[Store] = [MemoryStore(), sqlite_store, postgres_store]
    for store in stores:
        fill(store, 3)
    sights: list[Visibility | None] = [None, Some()]
    for type_, text in [
        ("Observation", "status=final&_include=Observation:patient"),
        ("Observation", "_include=Observation:subject:Patient&_include:iterate=Patient:organization&_count=5"),
        ("Patient", "gender=male&_revinclude=Observation:patient&_revinclude=Group:member"),
        ("Patient", "gender=male&_include=Patient:*&_revinclude:iterate=Patient:link"),
    ]:
        for visibility in sights:
            answers = [walk(store, query_of(type_, text), visibility) for store in stores]
            assert answers[0] == answers[1] == answers[2]
            assert any("/" in one for page in answers[0][0] for one in page)
