"""The synthetic community: repeatable, streamed, true to its own facts, and marked with the canary."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sim.population import AGENCIES, PATHWAYS, Population


@given(st.integers(0, 10_000), st.integers(1, 120))
@settings(max_examples=15, deadline=None)
def test_a_smaller_community_is_the_beginning_of_a_larger_one(seed: int, size: int) -> None:
    assert list(Population(seed, size)) == list(Population(seed, size + 40))[:size]


def test_every_record_of_everybody_carries_the_canary() -> None:
    people = Population(3, 400)
    for person in people:
        for record in people.hmis_records(person):
            assert "zq" in record.family
        at_hospital = people.hospital_record(person)
        assert at_hospital is None or "zq" in at_hospital.family


def test_the_first_client_is_five_fragments_and_no_two_are_alike() -> None:
    people = Population(1, 1)
    (first,) = people
    records = people.hmis_records(first)
    assert [record.agency for record in records] == [agency.key for agency in AGENCIES]
    assert len({(r.given, r.middle, r.family, r.birth, r.ssn) for r in records}) == 5
    assert people.hospital_record(first) is not None


def test_a_community_has_every_pathway_twins_and_people_of_one_shelter() -> None:
    people = list(Population(5, 1500))
    assert {person.pathway for person in people} >= set(PATHWAYS)
    twins = [p for p in people if p.pathway == "twins" and p.relation == 2]
    assert any(a.household == b.household and a.birth == b.birth for a in twins for b in twins if a is not b)
    assert sum(person.address[0] == "22 Mission Lane" for person in people) > 100


def test_keys_are_unique_in_each_system() -> None:
    people = Population(8, 600)
    keys = [record.key for person in people for record in people.hmis_records(person)]
    assert len(keys) == len(set(keys))
