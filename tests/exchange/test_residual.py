"""The residual in the store: it leaves out nothing that the engine shows, and disagreement is an alarm and a denial."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.adapters.db.store import DbStore
from gateway.adapters.files.data import read_data
from gateway.consent.outline import NEVER, outline, timeless, traits_of
from gateway.consent.request import AccessRequest
from gateway.exchange.agreements import agree
from gateway.exchange.disclose import Gate, Knowledge, read_knowledge
from gateway.exchange.ports.resources import Draft, Stored
from gateway.exchange.ports.store import Store
from gateway.exchange.search import Query
from gateway.exchange.search_run import search
from gateway.kernel.fhir import JsonObject
from tests.consent.build import actor, consent, directive, labels, provisions, purposes

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOSPITAL = "Organization/h"
KINDS = ("sqlite_store", "postgres_store")
LABELS = ((), ("N",), ("R", "SDV"), ("R", "ETH"), ("R", "PSY"), ("V",))


def knowledge() -> Knowledge:
    return read_knowledge(read_data)


def asks(**more: Any) -> AccessRequest:
    return replace(AccessRequest.of_organization(HOSPITAL, now=NOW), **more)


def fill(store: Store, *resources: JsonObject, source: str = "hmis") -> None:
    def work(unit: Any) -> None:
        agree(unit.resources, HOSPITAL, since="2020-01-01", now_us=1)
        for one in resources:
            marks = tuple(one.get("meta", {}).get("security", ()))
            unit.resources.put(Draft(one, source=source, labels=marks), now_us=1)

    store.write(work)


def about(person: str, number: int, marks: tuple[str, ...], **more: Any) -> JsonObject:
    base: JsonObject = {
        "resourceType": "Observation", "id": f"{person}-{number}", "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": ("2339-0", "29463-7")[number % 2]}]},
        "subject": {"reference": f"Patient/{person}"}, "meta": {"security": labels(*marks)},
    }  # fmt: skip
    return base | more


def compare(store: Store, request: AccessRequest, known: Knowledge) -> tuple[list[str], list[str]]:
    """What the engine shows and the store, asked for what may be visible, leaves out; and the other way round."""
    with store.reading() as reading:
        gate = Gate(reading.resources, request, known)
        every = [s for t in ("Observation", "Patient", "Consent") for s in reading.resources.of_type(t)]
        visible = {s.reference for s, yes in zip(every, gate.visible(every), strict=True) if yes}
        shown = gate.narrow(every)
        assert shown is not None
        left = {
            one.stored.reference
            for type_ in ("Observation", "Patient", "Consent")
            for one in reading.resources.candidates(type_, (), limit=100_000, shown=shown)
        }
        assert [s.reference for s in every if s.reference in left - visible and gate.contradicts(s, shown)] == []
    return sorted(visible - left), sorted(left - visible)


people = st.lists(
    st.tuples(provisions(3), st.booleans(), st.sampled_from(["", "2026-12-31", "2026-01-31"])), max_size=3
)


@pytest.mark.parametrize("kind", KINDS)
@given(st.lists(people, min_size=1, max_size=3), st.sampled_from(["TREAT", "HRESCH"]), st.booleans())
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_filter_in_the_store_leaves_out_nothing_that_the_engine_shows(
    kind: str, request: pytest.FixtureRequest, community: list[Any], purpose: str, own: bool
) -> None:
    store = request.getfixturevalue(kind)
    round_ = next(ROUND)
    resources: list[JsonObject] = []
    for number, signed in enumerate(community):
        person = f"p{round_}x{number}"
        patient: JsonObject = {"resourceType": "Patient", "id": person}
        if number:  # linked with the one before
            patient["link"] = [{"other": {"reference": f"Patient/p{round_}x{number - 1}"}, "type": "seealso"}]
        resources.append(patient)
        resources += [about(person, n, marks) for n, marks in enumerate(LABELS)]
        resources.append(about(person, 8, ("N",), focus=[{"reference": f"Patient/p{round_}x0"}]))
        for n, (provision, active, end) in enumerate(signed):
            period = {"period": {"start": "2026-01-01"} | ({"end": end} if end else {})}
            resources.append(
                consent({**provision, **period}, f"c{round_}x{number}x{n}", patient={"reference": f"Patient/{person}"},
                        status="active" if active else "inactive")
            )  # fmt: skip
    fill(store, *resources)
    lost, _ = compare(store, asks(purposes=(purpose,), client="hmis" if own else ""), knowledge())
    assert lost == []


def test_a_link_counts_for_the_record_that_holds_it_whatever_is_judged_beside_it(sqlite_store: DbStore) -> None:
    pointing: JsonObject = {"resourceType": "Patient", "id": "b", "link": [{"other": {"reference": "Patient/a"}}]}
    pointing["link"][0]["type"] = "seealso"
    fill(sqlite_store, {"resourceType": "Patient", "id": "a"}, about("a", 1, ("N",)), pointing, about("b", 1, ("N",)))
    fill(sqlite_store, signed("b", PERMIT))
    with sqlite_store.reading() as reading:
        every = [one for type_ in ("Observation", "Patient") for one in reading.resources.of_type(type_)]

        def seen(found: Sequence[Stored]) -> set[str]:
            gate = Gate(reading.resources, asks(), knowledge())
            return {one.reference for one, yes in zip(found, gate.visible(found), strict=True) if yes}

        assert seen(every) == {one for stored in every for one in seen([stored])} == {"Observation/b-1", "Patient/b"}


# every example adds its own people to one store: at most 72 forms, below the limit from which nothing is left out
ROUND = iter(range(1_000_000))
PERMIT = {"type": "permit", "actor": [actor(HOSPITAL)], "purpose": purposes("TREAT")}
WITHOUT = {**PERMIT, "provision": [{"type": "deny", "securityLabel": labels("SDV")}]}
OTHERS = {"type": "permit", "actor": [actor("Organization/x")]}


def signed(person: str, provision: JsonObject, **more: Any) -> JsonObject:
    return consent(provision, f"c-{person}", patient={"reference": f"Patient/{person}"}, **more)


@pytest.mark.parametrize("kind", KINDS)
def test_where_labels_and_classes_decide_the_store_gives_exactly_what_the_engine_shows(
    kind: str, request: pytest.FixtureRequest
) -> None:
    store = request.getfixturevalue(kind)
    for number, provision in enumerate((PERMIT, WITHOUT, OTHERS, {"type": "deny"}, None)):
        person = f"p{number}"
        spans = {"period": {"start": "2026-01-01", "end": f"2026-0{4 + number}-01"}}
        agreed = [signed(person, provision | spans)] if provision else []
        fill(store, {"resourceType": "Patient", "id": person, "meta": {"security": labels("N")}}, *agreed)
        fill(store, *(about(person, n, marks) for n, marks in enumerate(LABELS)))
    fill(store, {"resourceType": "Patient", "id": "own", "managingOrganization": {"reference": HOSPITAL}})
    assert compare(store, asks(), knowledge()) == ([], [])
    assert compare(store, asks(organization="Organization/x"), knowledge()) == ([], [])


def test_one_form_signed_by_many_on_many_days_is_one_form() -> None:
    days = ["2026-01-01", "2026-02-02", "2026-03-03"]
    forms = [
        outline(directive(signed(f"p{n}", WITHOUT | {"period": {"start": day}}, dateTime=day)))
        for n, day in enumerate(days)
    ]
    assert len({one.form for one in forms}) == 1
    assert len({one.low_us for one in forms}) == 3
    other = WITHOUT | {"period": {"start": days[0]}, "purpose": purposes("HRESCH")}
    assert outline(directive(signed("p", other))).form != forms[0].form
    assert outline(directive(signed("p", PERMIT, status="inactive"))).form == NEVER
    assert all(
        not node.request.periods
        for node in timeless(directive(signed("p", WITHOUT | {"period": {"start": "2026"}}))).rules
    )


def test_a_search_of_a_store_with_little_to_see_reads_little(sqlite_store: DbStore) -> None:
    fill(sqlite_store, *(one for n in range(60) for one in _person(n, PERMIT if n == 59 else OTHERS)))
    reads: list[int] = []
    with sqlite_store.reading() as reading:
        gate = Gate(reading.resources, asks(), knowledge())
        inner = gate.visible

        def counted(candidates: Any) -> Any:
            reads.append(len(candidates))
            return inner(candidates)

        gate.visible = counted  # type: ignore[method-assign]
        page = search(reading.resources, Query("Observation", count=50), gate)
    assert [one.id.partition("-")[0] for one in page.matches] == ["p59"] * 6
    assert page.total == 6
    assert sum(reads) < 150  # of 360


@pytest.mark.parametrize("asker", ["Organization/nobody", HOSPITAL])
def test_a_search_costs_what_the_asker_may_see_and_not_what_others_have(sqlite_store: DbStore, asker: str) -> None:
    fill(sqlite_store, *(one for n in range(2) for one in _person(n, PERMIT)))

    def steps(people: range) -> int:
        """Instructions of SQLite that one search and its total take, in hundreds."""
        fill(sqlite_store, *(one for n in people for one in _person(n, OTHERS)))
        ticks: list[int] = []
        with sqlite_store.reading() as reading:
            gate = Gate(reading.resources, asks(organization=asker), knowledge())
            connection: Any = reading.resources._session.connection
            connection.set_progress_handler(lambda: ticks.append(1), 100)
            page = search(reading.resources, Query("Observation", count=10, total="none"), gate)
            connection.set_progress_handler(None, 0)
        assert len(page.matches) == (10 if asker == HOSPITAL else 0)
        return len(ticks)

    few, many = steps(range(2, 20)), steps(range(20, 120))
    assert many < few * 1.5


def _person(number: int, provision: JsonObject) -> list[JsonObject]:
    person = f"p{number}"
    return [
        {"resourceType": "Patient", "id": person, "meta": {"security": labels("N")}}, signed(person, provision),
        *(about(person, n, marks) for n, marks in enumerate(LABELS)),
    ]  # fmt: skip


@pytest.mark.parametrize("fault", ["kind", "form"])
def test_a_store_that_says_otherwise_than_the_engine_is_an_alarm_and_a_denial(
    sqlite_store: DbStore, fault: str
) -> None:
    fill(sqlite_store, *(one for n in range(30) for one in _person(n, WITHOUT if n < 3 else OTHERS)))
    told: list[str] = []
    known = knowledge()
    known.disagreements.alarm = told.append

    def found() -> set[str]:
        told.clear()
        with sqlite_store.reading() as reading:
            gate = Gate(reading.resources, asks(), known)
            return {one.id for one in search(reading.resources, Query("Observation", count=80), gate).matches}

    honest = found()
    assert (len(honest), told) == (12, [])  # of each three: not the unlabelled one and not SDV

    def corrupt(unit: Any) -> None:
        connection = unit.session.connection
        if fault == "form":  # the index says that three signed for somebody else
            connection.execute(
                "UPDATE consent_form SET form = (SELECT form FROM consent_form WHERE subject = 'Patient/p9')"
                " WHERE subject IN ('Patient/p0', 'Patient/p1', 'Patient/p2')"
            )
        else:  # the index says that what Consent denies is of a harmless kind
            plain = connection.execute("SELECT kind FROM resource WHERE id = 'p2-1'").fetchone()[0]
            connection.execute("UPDATE resource SET kind = ? WHERE id LIKE 'p_-2'", (plain,))

    sqlite_store.write(corrupt)
    assert found() == (set() if fault == "form" else honest)
    assert set(told) == {"Observation"}


def test_facets_of_an_older_release_are_of_no_kind() -> None:
    assert traits_of(b"") == traits_of(b"0\n[]\n[]\n[]")
