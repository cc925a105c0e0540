"""Linking in the store: found on arrival, never across the law, undone without a trace, the same in any order."""

from itertools import permutations
from typing import Any

import orjson
import pytest

from gateway.adapters.files.linkage import default_reader, load_model
from gateway.adapters.memory.store import MemoryStore
from gateway.exchange.link import Linker, Rules
from gateway.exchange.link_review import case_of, decide, given_to_reviewers, state_digest, undo
from gateway.exchange.ports.links import EdgeState
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.store import Store
from gateway.exchange.save import Saver
from gateway.kernel.errors import Conflict, Invalid, NotFound
from gateway.kernel.fhir import DOORWAY, JsonObject
from gateway.linkage.grades import Guard

LINKER = Linker(load_model(), default_reader(), Rules())
NOW = 1_000_000


def saver(linker: Linker = LINKER) -> Saver:
    return Saver(lambda _: (), (linker.follow,), prepare=linker.prepare)


def patient(id_: str, source: str, **changes: Any) -> JsonObject:
    out: JsonObject = {
        "resourceType": "Patient",
        "id": id_,
        "meta": {"source": source},
        "identifier": [{"system": f"urn:{source}", "value": f"n{id_}12345"}],
        "name": [{"family": "Zqabitha", "given": ["Robert", "Allen"]}],
        "birthDate": "1980-04-17",
        "gender": "male",
        "telecom": [{"system": "phone", "value": "403-555-0177"}],
        "address": [{"line": ["12 Cedar Street"], "city": "Milford", "postalCode": "54321"}],
    }
    return {name: value for name, value in (out | changes).items() if value is not None}


THIN: dict[str, Any] = {  # name and birth date only
    "telecom": None, "address": None, "name": [{"family": "Zqabitha", "given": ["Robert"]}],
}  # fmt: skip


def save(store: Store, *resources: JsonObject, linker: Linker = LINKER, now_us: int = NOW) -> None:
    for n, resource in enumerate(resources):
        draft = Draft(resource, source=resource.get("meta", {}).get("source", ""))
        store.write(lambda unit, d=draft, n=n: saver(linker).save(unit, [d], now_us=now_us + n))  # type: ignore[misc]


def links(store: Store, id_: str) -> set[str]:
    with store.reading() as reading:
        stored = reading.resources.get("Patient", id_)
        assert stored is not None
        return {link["other"]["reference"] for link in orjson.loads(stored.body).get("link", ())}


def people(store: Store) -> set[frozenset[str]]:
    with store.reading() as reading:
        groups: dict[str, set[str]] = {}
        for known in reading.links.every():
            groups.setdefault(known.person or known.patient, set()).add(known.patient)
        return {frozenset(group) for group in groups.values()}


def digest(store: Store) -> str:
    with store.reading() as reading:
        return state_digest(reading)


def test_the_other_sides_record_of_one_person_is_found_on_arrival(store: Store) -> None:
    save(store, patient("h", "hmis"), patient("m", "hospital", name=[{"family": "ZQABITHA", "given": ["Bob"]}]))
    assert links(store, "h") == {"Patient/m"}
    assert links(store, "m") == {"Patient/h"}
    with store.reading() as reading:
        (person,) = reading.resources.of_type("Person")
        assert [one["target"]["reference"] for one in orjson.loads(person.body)["link"]] == ["Patient/h", "Patient/m"]
        (event,) = reading.links.events()
        assert (event.kind, event.by, event.model) == ("link", "gateway", LINKER.model.digest)
        assert event.why == "certain match: address, phone"
        assert {name for name, _, _ in event.evidence} >= {"given", "last", "dob", "phone"}


def test_a_middle_name_in_full_links_and_the_event_says_so(store: Store) -> None:
    bare: dict[str, Any] = {"telecom": None, "address": None}
    save(store, patient("h", "hmis", **bare), patient("m", "hospital", **bare))
    with store.reading() as reading:
        assert [event.why for event in reading.links.events()] == ["certain match: middle name in full and sex"]


def test_strangers_are_nothing_and_name_with_birth_date_alone_waits_for_a_person(store: Store) -> None:
    save(
        store,
        patient("h", "hmis", **THIN),
        patient("m", "hospital", **THIN),
        patient("s", "hospital", name=[{"family": "Other", "given": ["Zqx"]}], birthDate="1950-01-09"),
    )
    assert links(store, "h") == set()
    with store.reading() as reading:
        (edge,) = reading.links.queue()
        assert (edge.one, edge.other, edge.state) == ("Patient/h", "Patient/m", EdgeState.REVIEW)
        assert edge.reasons


@pytest.mark.parametrize("order", list(permutations(("a", "b", "h"))))
def test_twins_of_similar_names_are_two_people_where_one_custodian_keeps_two_records(order: tuple[str, ...]) -> None:
    store = MemoryStore()
    named = {"h": ("hmis", "Sean"), "a": ("hospital", "Sean"), "b": ("hospital", "Shawn")}
    made = {
        id_: patient(id_, source, name=[{"family": "Zqabitha", "given": [given]}])
        for id_, (source, given) in named.items()
    }
    save(store, *(made[id_] for id_ in order))
    assert people(store) == {frozenset({"Patient/a", "Patient/h"}), frozenset({"Patient/b"})}
    with store.reading() as reading:
        waiting = [(edge.one, edge.other, edge.reasons) for edge in reading.links.queue()]
    assert waiting == [("Patient/b", "Patient/h", (Guard.TWIN.value,))]


def test_records_of_one_custodian_are_not_compared_unless_the_site_says_so(store: Store) -> None:
    save(store, patient("a", "hmis"), patient("b", "hmis"))
    with store.reading() as reading:
        assert reading.links.queue() == []
    within = Linker(load_model(), default_reader(), Rules(within_source=True))
    save(store, patient("c", "hmis"), linker=within)
    with store.reading() as reading:
        assert len(reading.links.queue()) == 2
    assert links(store, "c") == set()


@pytest.mark.parametrize("label", ["VSP", "NOLINK"])
def test_a_victim_service_record_never_enters_matching(store: Store, label: str) -> None:
    hidden = patient("v", "shelter")
    hidden["meta"]["security"] = [{"system": f"{DOORWAY}/CodeSystem/handling", "code": label}]
    draft = Draft(hidden, source="shelter", labels=tuple(hidden["meta"]["security"]))
    store.write(lambda unit: saver().save(unit, [draft], now_us=NOW))
    save(store, patient("m", "hospital"))
    assert links(store, "m") == set()
    assert people(store) == {frozenset({"Patient/m"})}


def consent(id_: str, whose: str, **changes: Any) -> JsonObject:
    return {"resourceType": "Consent", "id": id_, "status": "active", "patient": {"reference": whose}, **changes}


def test_who_declined_is_never_a_candidate_and_who_declines_later_is_taken_out(store: Store) -> None:
    save(store, consent("c1", "Patient/h", status="rejected"), patient("h", "hmis"), patient("m", "hospital"))
    assert people(store) == {frozenset({"Patient/m"})}
    save(store, consent("c1", "Patient/h", provision={"type": "permit"}))
    assert people(store) == {frozenset({"Patient/h", "Patient/m"})}
    save(store, consent("c1", "Patient/h", provision={"type": "deny"}))
    assert people(store) == {frozenset({"Patient/m"})}
    assert links(store, "h") == links(store, "m") == set()
    with store.reading() as reading:
        assert [e.kind for e in reading.links.events()][-1] == "withdraw"
        assert list(reading.resources.of_type("Person")) == []


def test_an_undone_link_leaves_the_state_of_never_linked_and_never_comes_back(store: Store) -> None:
    never = MemoryStore()
    apart = Linker(load_model(), default_reader(), Rules(same_at_bits=1e9, review_at_bits=1e9))
    both = (patient("h", "hmis"), patient("m", "hospital"))
    save(never, *both, linker=apart)
    save(store, *both)
    event = {"resourceType": "AuditEvent", "outcome": "0", "entity": [{"what": {"reference": "Patient/h/_history/2"}}]}
    refused = {**event, "outcome": "4"}
    for one in (event, refused):
        store.write(lambda unit, one=one: unit.audit.append(one, now_us=NOW + 50))  # type: ignore[misc]
    assert digest(store) != digest(never)
    done = store.write(
        lambda unit: undo(LINKER, unit, "Patient/m", "Patient/h", saver=saver(), by="ann", why="wrong", now_us=NOW + 99)
    )
    assert digest(store) == digest(never)
    assert [record.event for record in done.disclosures] == [event]
    assert "Patient/h" in done.notice
    save(store, patient("m", "hospital", telecom=[{"system": "phone", "value": "4035550178"}]), now_us=NOW + 200)
    save(store, *both, now_us=NOW + 300)
    assert links(store, "h") == set()
    with store.reading() as reading:
        assert reading.links.queue() == []
    with pytest.raises(NotFound):
        store.write(
            lambda unit: undo(LINKER, unit, "Patient/h", "Patient/m", saver=saver(), by="ann", why="x", now_us=NOW)
        )


def test_a_sender_that_writes_its_record_again_does_not_lose_the_link(store: Store) -> None:
    save(store, patient("h", "hmis"), patient("m", "hospital"))
    with store.reading() as reading:
        before = reading.resources.get("Patient", "h")
    save(store, patient("h", "hmis"), now_us=NOW + 5)
    with store.reading() as reading:
        assert reading.resources.get("Patient", "h") == before


def test_a_record_that_changes_into_someone_else_is_let_go(store: Store) -> None:
    save(store, patient("h", "hmis"), patient("m", "hospital"))
    save(
        store,
        patient("m", "hospital", name=[{"family": "Other", "given": ["Zqx"]}], birthDate="1950-01-09"),
        now_us=NOW + 9,
    )
    assert links(store, "h") == links(store, "m") == set()
    with store.reading() as reading:
        assert [e.kind for e in reading.links.events()][-1] == "unlink"


def test_arrival_order_changes_no_person() -> None:
    three = [
        patient("a", "hmis"),
        patient("b", "hospital"),
        patient("c", "clinic", address=None),
        patient("x", "hospital", name=[{"family": "Other", "given": ["Zqx"]}], birthDate="1950-01-09", telecom=None),
    ]
    seen = set()
    for order in permutations(three):
        store = MemoryStore()
        save(store, *order)
        seen.add(frozenset(people(store)))
    assert seen == {frozenset({frozenset({"Patient/a", "Patient/b", "Patient/c"}), frozenset({"Patient/x"})})}


def test_no_chain_of_good_pairs_joins_two_that_contradict_each_other(store: Store) -> None:
    number = {"type": {"coding": [{"code": "JHN"}]}, "system": "urn:health"}
    save(
        store,
        patient("a", "hmis", identifier=[{**number, "value": "987612345"}]),
        patient("b", "clinic", identifier=None),
        patient("c", "hospital", identifier=[{**number, "value": "100200309"}]),
    )
    assert frozenset({"Patient/a", "Patient/c"}) not in {
        frozenset(g & {"Patient/a", "Patient/c"}) for g in people(store)
    }
    with store.reading() as reading:
        assert any("health numbers" in reason for edge in reading.links.queue() for reason in edge.reasons)


def test_the_same_number_of_another_authority_or_none_is_no_evidence(store: Store) -> None:
    bare = {"telecom": None, "address": None, "birthDate": None, "gender": None}
    save(
        store,
        patient(
            "a", "east", identifier=[{"system": "urn:east", "value": "77123456"}], name=[{"family": "Zqone"}], **bare
        ),
        patient(
            "b", "west", identifier=[{"system": "urn:west", "value": "77123456"}], name=[{"family": "Zqtwo"}], **bare
        ),
        patient("c", "none", identifier=[{"value": "77123456"}], name=[{"family": "Zqsix"}], **bare),
    )
    assert len(people(store)) == 3


def chained(store: Store) -> None:
    """Two records that hang together by a third one alone: a reviewer said so of each pair."""
    save(store, *(patient(one, one, birthDate=f"19{year}-04-17", telecom=None, address=None, name=[{"family": name}])
                  for one, year, name in (("a", 61, "Zqone"), ("h", 72, "Zqtwo"), ("b", 83, "Zqsix"))))  # fmt: skip
    for one in "ab":
        store.write(
            lambda unit, one=one: decide(  # type: ignore[misc]
                LINKER, unit, f"Patient/{one}", "Patient/h", "same", saver=saver(), by="ann", why="card", now_us=NOW + 9
            )
        )


def test_records_that_hang_together_by_a_third_are_one_person_and_not_linked_with_each_other(store: Store) -> None:
    chained(store)
    assert people(store) == {frozenset({"Patient/a", "Patient/b", "Patient/h"})}
    assert [links(store, one) for one in "ahb"] == [{"Patient/h"}, {"Patient/a", "Patient/b"}, {"Patient/h"}]
    save(store, patient("a", "a", birthDate="1961-04-17", telecom=None, address=None, name=[{"family": "Zqone"}]))
    assert links(store, "a") == {"Patient/h"}


def test_a_merge_is_one_person_and_its_undoing_takes_it_back(store: Store) -> None:
    number = [{"system": "urn:hospital", "value": "222233"}]
    thin: dict[str, Any] = THIN | {"identifier": number}
    save(store, patient("h", "hmis"), patient("m1", "hospital"))
    save(store, patient("m2", "hospital", **thin))
    before = digest(store)
    link = {"other": {"reference": "Patient/m1"}, "type": "replaced-by"}
    gone = patient("m2", "hospital", active=False, link=[link], **thin)
    save(store, gone, gone, now_us=NOW + 10)
    with store.reading() as reading:
        assert [e.kind for e in reading.links.events("Patient/m2")].count("merge") == 1
        (person,) = reading.resources.of_type("Person")
        assert len(orjson.loads(person.body)["link"]) == 3
    save(store, patient("m2", "hospital", **thin), now_us=NOW + 30)
    assert digest(store) == before


def test_a_merge_that_is_taken_back_gives_a_record_its_person_again(store: Store) -> None:
    stranger = {"name": [{"family": "Zqother", "given": ["Ann"]}], "birthDate": "1950-01-09", "gender": "female"}
    bare: dict[str, Any] = {"telecom": None, "address": None}
    save(store, patient("h", "hmis"), patient("x", "hospital"), patient("y", "hospital", **stranger, **bare))
    before = people(store)
    assert before == {frozenset({"Patient/h", "Patient/x"}), frozenset({"Patient/y"})}
    into = [{"other": {"reference": "Patient/y"}, "type": "replaced-by"}]
    save(store, patient("x", "hospital", active=False, link=into), now_us=NOW + 10)
    assert people(store) == {frozenset({"Patient/h", "Patient/y"})}
    save(store, patient("x", "hospital"), now_us=NOW + 20)
    assert people(store) == before
    assert (links(store, "h"), links(store, "x"), links(store, "y")) == ({"Patient/x"}, {"Patient/h"}, set())
    with store.reading() as reading:
        (person,) = reading.resources.of_type("Person")
        assert [one["target"]["reference"] for one in orjson.loads(person.body)["link"]] == ["Patient/h", "Patient/x"]


def test_a_reviewer_decides_and_two_must_where_the_site_says_so(store: Store) -> None:
    two = Linker(load_model(), default_reader(), Rules(two_people=True))
    save(store, patient("h", "hmis", **THIN), patient("m", "hospital", **THIN), linker=two)

    def say(what: Any, by: str) -> Any:
        return store.write(
            lambda unit: decide(
                two, unit, "Patient/m", "Patient/h", what, saver=saver(two), by=by, why="seen the card", now_us=NOW + 9
            )
        )

    with pytest.raises(Invalid):
        say("same", "")
    assert say("same", "ann").state is EdgeState.REVIEW
    with pytest.raises(Conflict):
        say("same", "ann")
    assert say("same", "ben").state is EdgeState.LINKED
    assert links(store, "h") == {"Patient/m"}
    assert say("not-same", "ben").state is EdgeState.VETO
    with pytest.raises(Conflict):
        say("same", "ann")
    assert links(store, "h") == set()


def say(store: Store, one: str, other: str, what: Any, by: str = "ann", linker: Linker = LINKER) -> EdgeState:
    return store.write(
        lambda unit: decide(
            linker,
            unit,
            f"Patient/{one}",
            f"Patient/{other}",
            what,
            saver=saver(linker),
            by=by,
            why="x",
            now_us=NOW + 9,
        )
    ).state


def around_one(store: Store) -> None:
    """Two records that are linked with each other and, both, with a third one."""
    number = [{"system": "http://hl7.org/fhir/sid/us-ssn", "value": "219554321"}]
    bare: dict[str, Any] = {"telecom": None, "address": None}
    save(store, patient("h", "hmis", identifier=number, **bare), patient("m", "hospital"))
    save(store, patient("c", "clinic", identifier=number))


def test_two_that_are_not_the_same_are_not_one_person_by_way_of_a_third(store: Store) -> None:
    around_one(store)
    assert len(people(store)) == 1
    assert say(store, "h", "m", "not-same") is EdgeState.VETO
    assert people(store) == {frozenset({"Patient/c", "Patient/h"}), frozenset({"Patient/m"})}  # the likelier link stays
    assert (links(store, "c"), links(store, "m")) == ({"Patient/h"}, set())
    with store.reading() as reading:
        waiting = reading.links.edge("Patient/c", "Patient/m")
        assert waiting is not None
        assert (waiting.state, waiting.reasons) == (EdgeState.REVIEW, (Guard.VETO.value,))
    apart, before = people(store), digest(store)
    with pytest.raises(Conflict):
        say(store, "c", "m", "same", "ben")
    save(store, patient("m", "hospital"), now_us=NOW + 20)
    assert (people(store), digest(store)) == (apart, before)


def test_what_other_people_said_is_not_overruled_by_a_word_on_two_ends_of_it(store: Store) -> None:
    chained(store)
    before = digest(store)
    with pytest.raises(Conflict):
        say(store, "a", "b", "not-same")
    assert digest(store) == before
    with store.reading() as reading:
        assert reading.links.edge("Patient/a", "Patient/b") is None


def test_a_custodians_merge_does_not_join_what_a_person_has_told_apart(store: Store) -> None:
    save(store, patient("h", "hmis"), patient("m", "hospital"), patient("m2", "hospital", **THIN))
    say(store, "h", "m2", "not-same")
    into = {"other": {"reference": "Patient/m2"}, "type": "replaced-by"}
    save(store, patient("m", "hospital", active=False, link=[into]), now_us=NOW + 20)
    assert people(store) == {frozenset({"Patient/h"}), frozenset({"Patient/m2"})}
    save(store, patient("h", "hmis", active=False, link=[into]), now_us=NOW + 30)
    with store.reading() as reading:
        edge = reading.links.edge("Patient/h", "Patient/m2")
        assert edge is not None
        assert edge.state is EdgeState.VETO
        assert [e.kind for e in reading.links.events("Patient/h")][-1] == "passed over"


def test_a_decision_is_about_two_records_that_are_there_and_is_made_once(store: Store) -> None:
    two = Linker(load_model(), default_reader(), Rules(two_people=True))
    save(store, patient("h", "hmis", **THIN), patient("m", "hospital", **THIN), linker=two)
    for what in ("same", "not-same", "cannot-tell"):
        with pytest.raises(NotFound):
            say(store, "h", "zqnone", what)
        with pytest.raises(Invalid):
            say(store, "h", "h", what)
    assert say(store, "h", "m", "same", "Ann Lee", two) is EdgeState.REVIEW
    with pytest.raises(Conflict):
        say(store, "h", "m", "same", " ann  LEE", two)
    assert say(store, "h", "m", "same", "ben", two) is EdgeState.LINKED
    with pytest.raises(Conflict):
        say(store, "h", "m", "cannot-tell")
    assert say(store, "h", "m", "not-same") is EdgeState.VETO
    with pytest.raises(Conflict):
        say(store, "h", "m", "cannot-tell")


def test_the_queue_shows_values_only_to_who_may_see_both(store: Store) -> None:
    save(store, patient("h", "hmis", **THIN), patient("m", "hospital", **THIN))
    for values in (True, False):
        case = store.write(
            lambda unit, values=values: case_of(
                LINKER, unit, unit.links.queue()[0], now_us=NOW + 5_000_000, values=values
            )  # type: ignore[misc]
        )
        assert case.waiting_s == 4 or case.waiting_s == 5
        shown = {line.comparison: line.one for line in case.lines}
        assert ("zqabitha" in shown["last"]) is values


def test_every_change_has_who_when_why_and_model(store: Store) -> None:
    save(store, patient("h", "hmis"), patient("m", "hospital"))
    store.write(
        lambda unit: undo(LINKER, unit, "Patient/m", "Patient/h", saver=saver(), by="ann", why="wrong", now_us=NOW + 9)
    )
    with store.reading() as reading:
        events = list(reading.links.events())
    assert [e.kind for e in events] == ["link", "unlink"]
    assert all(e.by and e.why and e.model and e.at_us for e in events)


def test_one_record_brings_reviewers_its_likeliest_pairs_only_and_the_rest_is_told(store: Store) -> None:
    linker = Linker(load_model(), default_reader(), Rules(most_reviews=2))
    save(store, *(patient(f"p{n}", f"s{n}", **THIN) for n in range(4)), linker=linker)
    with store.reading() as reading:
        waiting = [edge for edge in reading.links.edges("Patient/p3") if edge.state is EdgeState.REVIEW]
        told = [event for event in reading.links.events("Patient/p3") if event.kind == "passed over"]
        assert (len(waiting), [event.why for event in told]) == (2, ["1 more pairs are as likely to be one person"])
        stored = reading.resources.get("Patient", "p3")
    assert stored is not None
    again = store.write(lambda unit: linker.on_arrival(unit, stored, saver=saver(linker), now_us=NOW + 9, again=True))
    assert (len(again.review), again.passed_over) == (2, 1)


def test_reviewers_are_given_what_the_budget_allows_and_the_rest_waits_behind(store: Store) -> None:
    save(store, patient("h", "hmis"), patient("m", "hospital"))  # 80 for 1,000 records: one for two
    given = store.write(lambda unit: [given_to_reviewers(LINKER, unit, waiting) for waiting in (0, 1, 5)])
    assert given == [0, 1, 1]
