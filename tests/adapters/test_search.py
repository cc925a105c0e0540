"""Searching as an asker sees it: only the visible part counts, pages stay stable, cursors are not to be toyed with."""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import pytest

from gateway.adapters.memory.store import MemoryStore
from gateway.consent.release import Judgement, Released, release
from gateway.exchange.ports.resources import Draft, Stored
from gateway.exchange.ports.store import Store, Unit
from gateway.exchange.ports.visibility import Visibility
from gateway.exchange.search import parse_query
from gateway.exchange.search_run import Page, exists, search
from gateway.kernel.errors import Invalid
from gateway.wiring import search_definitions

NOW = 1_767_225_600_000_000


class Hides:
    """Sees everything but these."""

    def __init__(self, *hidden: str) -> None:
        self._hidden = set(hidden)

    def visible(self, candidates: Sequence[Stored]) -> list[bool]:
        return [one.reference not in self._hidden for one in candidates]


class Masks:
    """Sees every resource, Patients without their social security number and without links."""

    def visible(self, candidates: Sequence[Stored]) -> list[bool]:
        return [True] * len(candidates)

    def cut(self, type_: str) -> frozenset[str]:
        return frozenset({"identifier", "link"}) if type_ == "Patient" else frozenset()

    def release(self, candidates: Iterable[Stored]) -> Released[Stored]:
        return release("Organization/x", candidates, lambda one: Judgement(True, body=self._cut(one)))

    def _cut(self, one: Stored) -> bytes:
        resource = orjson.loads(one.body)
        resource.pop("link", None)
        kept = [item for item in resource.pop("identifier", []) if item["system"] != "ssn"]
        return orjson.dumps(resource | ({"identifier": kept} if kept else {}))


def put(store: Store, *resources: dict[str, Any], at: int = NOW) -> None:
    def work(unit: Unit) -> None:
        for number, resource in enumerate(resources):
            unit.resources.put(Draft(resource), now_us=at + number * 1000)

    store.write(work)


def find(store: Store, url: str, visibility: Visibility | None = None, cursor: str = "") -> Page:
    type_, _, text = url.partition("?")
    pairs = [(name, value) for name, _, value in (part.partition("=") for part in text.split("&") if part)]
    with store.reading() as reading:
        return search(reading.resources, parse_query(type_, pairs, search_definitions()), visibility, cursor=cursor)


def ids(page: Page) -> set[str]:
    return {one.id for one in page.matches}


def person(id_: str, family: str = "Zqsmith", **rest: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": id_, "name": [{"family": family}], **rest}


def observation(id_: str, of: str, **rest: Any) -> dict[str, Any]:
    code = {"coding": [{"system": "http://loinc.org", "code": "1-1"}]}
    return {"resourceType": "Observation", "id": id_, "code": code, "subject": {"reference": of}, **rest}


def test_a_chain_through_a_hidden_target_finds_nothing(store: Store) -> None:
    put(store, person("p1"), person("p2"), observation("o1", "Patient/p1"), observation("o2", "Patient/p2"))
    assert ids(find(store, "Observation?patient.family=zqsmith")) == {"o1", "o2"}
    assert ids(find(store, "Observation?patient.family=zqsmith", Hides("Patient/p1"))) == {"o2"}
    assert ids(find(store, "Observation?subject:Patient.name:exact=Zqsmith", Hides("Patient/p1"))) == {"o2"}


def test_has_by_a_hidden_source_finds_nothing(store: Store) -> None:
    put(store, person("p1"), person("p2"), observation("o1", "Patient/p1"), observation("o2", "Patient/p2"))
    assert ids(find(store, "Patient?_has:Observation:patient:code=1-1", Hides("Observation/o1"))) == {"p2"}
    two = "Organization?_has:Patient:organization:_has:Observation:patient:code=1-1"
    put(store, {"resourceType": "Organization", "id": "g"})
    put(store, person("p1", managingOrganization={"reference": "Organization/g"}), at=NOW + 10**6)
    assert ids(find(store, two)) == {"g"}
    assert ids(find(store, two, Hides("Observation/o1"))) == set()
    assert ids(find(store, two, Hides("Patient/p1"))) == set()


MASKED = [
    "Patient?identifier=ssn|1",
    "Patient?identifier=1,2",
    "Patient?identifier:not=ssn|1",
    "Patient?identifier=mrn|2",
    "Patient?identifier:missing=true",
    "Patient?identifier:missing=false",
    "Patient?link=Patient/p2",
    "Patient?link:missing=true",
    "Patient?link.family=zqsmith",
    "Patient?_has:Patient:link:family=zqsmith",
    "Observation?patient.identifier=ssn|1",
    "Observation?patient.identifier:not=ssn|1",
    "Observation?patient.identifier:missing=true",
    "Patient?_sort=identifier",
    "Patient?_sort=-identifier,_id",
    "Patient?family=zqsmith&identifier=ssn|&_summary=count",
    "Patient?_has:Observation:patient:code=1-1&identifier=1",
]


def test_nothing_is_found_counted_or_sorted_by_an_element_that_is_taken_out(store: Store) -> None:
    """A store whose Patients never had the element answers the same."""
    ssn = [{"system": "ssn", "value": "1"}, {"system": "mrn", "value": "2"}]
    full = [
        person("p1", identifier=ssn, link=[{"other": {"reference": "Patient/p2"}, "type": "seealso"}]),
        person("p2", identifier=ssn[:1]),
        person("p3", identifier=[{"system": "mrn", "value": "0"}]),
    ]
    put(store, *full, observation("o1", "Patient/p1"), observation("o2", "Patient/p2"))
    plain = MemoryStore()
    for one in full:
        one.pop("link", None)
        one["identifier"] = [item for item in one["identifier"] if item["system"] != "ssn"]
    put(plain, *[one if one["identifier"] else {k: v for k, v in one.items() if k != "identifier"} for one in full])
    put(plain, observation("o1", "Patient/p1"), observation("o2", "Patient/p2"), at=NOW + 3000)
    for url in MASKED:
        seen, wanted = find(store, url, Masks()), find(plain, url)
        assert [one.id for one in seen.matches] == [one.id for one in wanted.matches], url
        assert (seen.total, seen.next_cursor) == (wanted.total, wanted.next_cursor), url


def test_pages_totals_and_links_are_those_of_a_store_without_the_hidden(store: Store) -> None:
    put(store, *[person(f"p{n}", birthDate=f"19{10 + n}-01-01") for n in range(30)])
    hidden = Hides(*[f"Patient/p{n}" for n in range(0, 30, 3)])
    for sort in ("", "&_sort=birthdate", "&_sort=-birthdate", "&_sort=gender,-_id"):
        cursor, seen, sizes = "", [], []
        while True:
            page = find(store, f"Patient?family=zqsmith&_count=6{sort}&_total=accurate", hidden, cursor)
            assert page.total == 20
            sizes.append(len(page.matches))
            seen += [one.id for one in page.matches]
            cursor = page.next_cursor
            if not cursor:
                break
        assert sizes == [6, 6, 6, 2]
        assert len(set(seen)) == 20
    assert find(store, "Patient?_summary=count", hidden).total == 20
    assert find(store, "Patient?_count=0", hidden).matches == ()
    assert find(store, "Patient?_count=20", hidden).next_cursor == ""
    assert find(store, "Patient?_total=none&_count=5").total is None


def test_a_page_neither_doubles_nor_skips_while_others_write(store: Store) -> None:
    put(store, *[person(f"p{n:02}", birthDate=f"19{10 + n}-01-01") for n in range(20)])
    first = find(store, "Patient?_sort=birthdate&_count=5")
    put(store, person("new", birthDate="1900-01-01"), person("p03", "Zqother"), at=NOW + 10**6)
    store.write(lambda unit: unit.resources.delete("Patient", "p04", now_us=NOW + 2 * 10**6))  # the cursor's own
    second = find(store, "Patient?_sort=birthdate&_count=5", cursor=first.next_cursor)
    assert [one.id for one in second.matches] == ["p05", "p06", "p07", "p08", "p09"]


def test_a_cursor_belongs_to_its_search(store: Store) -> None:
    put(store, *[person(f"p{n}") for n in range(5)])
    cursor = find(store, "Patient?_count=2").next_cursor
    assert find(store, "Patient?_count=3", cursor=cursor).matches
    for url, text in [
        ("Patient?_count=2&family=zq", cursor),
        ("Patient?_count=2", "zzz"),
        ("Patient?_count=2", cursor[:-5]),
    ]:
        with pytest.raises(Invalid):
            find(store, url, cursor=text)


def test_includes_bring_only_what_may_be_seen_and_each_once(store: Store) -> None:
    put(store, person("p1"), observation("o1", "Patient/p1"), observation("o2", "Patient/p1"))
    page = find(store, "Observation?code=1-1&_include=Observation:patient&_include=Observation:subject:Patient")
    assert [one.reference for one in page.included] == ["Patient/p1"]
    assert find(store, "Observation?code=1-1&_include=Observation:subject", Hides("Patient/p1")).included == ()
    back = find(store, "Patient?_id=p1&_revinclude=Observation:subject", Hides("Observation/o2"))
    assert [one.reference for one in back.included] == ["Observation/o1"]
    every = find(store, "Patient?_id=p1&_revinclude=*", Hides("Observation/o2"))
    assert [one.reference for one in every.included] == ["Observation/o1"]


def test_updates_and_deletions_leave_the_index_right(store: Store) -> None:
    put(store, person("p1", "Zqold", gender="male"))
    put(store, person("p1", "Zqnew"), at=NOW + 1)
    assert ids(find(store, "Patient?family=zqold")) == ids(find(store, "Patient?gender=male")) == set()
    assert ids(find(store, "Patient?family=zqnew&gender:missing=true")) == {"p1"}
    store.write(lambda unit: unit.resources.delete("Patient", "p1", now_us=NOW + 2))
    assert ids(find(store, "Patient?family=zqnew")) == ids(find(store, "Patient")) == set()
    put(store, person("p1", "Zqthird"), at=NOW + 3)
    assert ids(find(store, "Patient?family=zqthird")) == {"p1"}


def test_a_search_inside_a_write_sees_what_was_written(store: Store) -> None:
    query = parse_query("Patient", [("identifier", "urn:a|7")], search_definitions())

    def create_once(unit: Unit) -> bool:
        unit.resources.hold("Patient?identifier=urn:a|7")
        if exists(unit.resources, query, None):
            return False
        unit.resources.put(Draft(person("x", identifier=[{"system": "urn:a", "value": "7"}])), now_us=NOW)
        return exists(unit.resources, query, None)

    assert [store.submit(create_once).result(20) for _ in range(4)] == [True, False, False, False]


def test_parallel_conditional_creates_make_one(store: Store) -> None:
    query = parse_query("Patient", [("identifier", "urn:a|7")], search_definitions())

    def create(number: int) -> Any:
        def work(unit: Unit) -> bool:
            unit.resources.hold("Patient?identifier=urn:a|7")
            if exists(unit.resources, query, None):
                return False
            made = person(f"x{number}", identifier=[{"system": "urn:a", "value": "7"}])
            unit.resources.put(Draft(made), now_us=NOW)
            return True

        return work

    futures = [store.submit(create(number)) for number in range(8)]
    assert sum(future.result(30) for future in futures) == 1
    assert len(find(store, "Patient?identifier=urn:a|7").matches) == 1


def test_strings_are_compared_without_accents_case_and_spare_spaces(store: Store) -> None:
    put(store, person("p1", "Zq  ÅSTRÖM-Éva"), person("p2", "Zqﬁn"))
    for text in ("zq astrom", "ZQ ÅSTR", "zq åström-e"):
        assert ids(find(store, f"Patient?family={text}")) == {"p1"}
    assert ids(find(store, "Patient?family=zqfi")) == {"p2"}


def test_the_compartment_of_a_patient_by_reference_parameters(store: Store) -> None:
    put(store, person("p1"), person("p2"), observation("o1", "Patient/p1"), observation("o2", "Patient/p2"))
    query = parse_query("Observation", [("code", "1-1")], search_definitions(), within="Patient/p1")
    with store.reading() as reading:
        assert ids(search(reading.resources, query, None)) == {"o1"}


def test_the_ends_of_a_range_may_be_met_by_different_dates_of_one_resource(store: Store) -> None:
    """Read as one range they would miss it; only where no resource has several dates are they one."""
    query = "Encounter?location-period=ge2020-06-01&location-period=lt2020-03-01"
    twice = [{"location": {"display": "zq"}, "period": {"start": f"{year}-01-01", "end": f"{year}-01-02"}}
             for year in ("2019", "2021")]  # fmt: skip
    put(store, {"resourceType": "Encounter", "id": "once", "location": twice[:1]})
    assert ids(find(store, query)) == set()
    put(store, {"resourceType": "Encounter", "id": "twice", "location": twice}, at=NOW + 1)
    assert ids(find(store, query)) == ids(find(store, f"{query}&_sort=-location-period")) == {"twice"}
    within = "Encounter?location-period=ge2019-01-01&location-period=lt2019-02-01"
    assert ids(find(store, within)) == {"once", "twice"}


def test_what_is_open_or_long_is_found_by_a_range_that_lies_inside_it(store: Store) -> None:
    periods = {"open": {"start": "2001-01-01"}, "long": {"start": "2001-01-01", "end": "2024-06-01"},
               "month": {"start": "2024-02-20", "end": "2024-03-10"}, "gone": {"start": "2001-01-01", "end": "2002"},
               "later": {"start": "2025-01-01"}}  # fmt: skip
    put(store, *({"resourceType": "Encounter", "id": id_, "period": one} for id_, one in periods.items()))
    for sort in ("", "&_sort=date", "&_sort=-date"):
        query = f"Encounter?date=ge2024-03-01&date=le2024-04-01{sort}"
        assert ids(find(store, query)) == {"open", "long", "month"}


def test_what_changed_lately_is_not_what_was_deleted_lately(store: Store) -> None:
    put(store, person("p1"), person("p2", gender="male"), at=NOW + 10_000_000)
    store.write(lambda unit: unit.resources.delete("Patient", "p2", now_us=NOW + 20_000_000))
    for more in ("", "&_sort=_lastUpdated", "&_sort=-_id", "&_lastUpdated=lt2030", "&_id=p1,p2"):
        assert ids(find(store, f"Patient?_lastUpdated=ge2026-01-01T00:00:05Z{more}")) == {"p1"}
    assert ids(find(store, "Patient?_lastUpdated=lt2026-01-01T00:00:05Z")) == set()
