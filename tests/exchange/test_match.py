"""$match answers what consent lets the asker know, and nothing of anybody else."""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import pytest

from gateway.consent.release import Judgement, Released, release
from gateway.exchange.match import bundle_of, cross_reference, demographics_query, match, strength
from gateway.exchange.ports.resources import Stored
from gateway.exchange.ports.store import Store
from gateway.kernel.errors import Invalid, NotFound
from gateway.linkage.grades import Grade
from gateway.linkage.patient import traits_of
from tests.exchange.test_link import LINKER, chained, patient, save


class Seen:
    """A gate that shows everything but the named records, and no value of the system ``cut``."""

    def __init__(self, *hidden: str, cut: str = "") -> None:
        self.hidden, self.cut = frozenset(hidden), cut

    def release(self, candidates: Iterable[Stored]) -> Released[Stored]:
        return release("Organization/asker", candidates, self._judge)

    def _judge(self, stored: Stored) -> Judgement:
        resource = orjson.loads(stored.body)
        kept = [one for one in resource.get("identifier", ()) if one.get("system") != self.cut]
        body = orjson.dumps({**resource, "identifier": kept}) if self.cut else None
        return Judgement(stored.reference not in self.hidden, body=body)

    def visible(self, candidates: Sequence[Stored]) -> Sequence[bool]:
        return [stored.reference not in self.hidden for stored in candidates]


ASKED = patient("any", "asker", identifier=None)


def answers(store: Store, asked: Any = ASKED, hidden: tuple[str, ...] = (), **options: Any) -> list[tuple[str, str]]:
    with store.reading() as reading:
        found = match(LINKER, reading, Seen(*hidden), asked, **options)
    return [(one.stored.reference, one.grade.value) for one in found]


def test_candidates_come_graded_and_most_likely_first(store: Store) -> None:
    save(store, patient("h", "hmis"), patient("x", "hmis", birthDate="1981-04-17", telecom=None, address=None))
    found = answers(store)
    assert found[0] == ("Patient/h", "certain")
    assert answers(store, count=1) == found[:1]
    assert answers(store, only_certain=True) == [("Patient/h", "certain")]
    assert answers(store, count=0) == []


def test_a_hidden_client_and_an_unknown_person_give_the_same_bytes(store: Store) -> None:
    nobody = patient(
        "any", "asker", identifier=None, name=[{"family": "Zqnone", "given": ["Xi"]}], birthDate="1901-05-06"
    )
    with store.reading() as reading:
        unknown = bundle_of(match(LINKER, reading, Seen(), nobody), "http://x")
    save(store, patient("h", "hmis"))
    with store.reading() as reading:
        assert bundle_of(match(LINKER, reading, Seen("Patient/h"), ASKED), "http://x") == unknown


def test_hidden_people_do_not_move_the_score_of_visible_ones(store: Store) -> None:
    save(store, patient("h", "hmis"))
    with store.reading() as reading:
        before = [one.score for one in match(LINKER, reading, Seen(), ASKED)]
    crowd = [f"c{i}" for i in range(15)]
    save(store, *(patient(name, f"s{name}", name=[{"family": "Zqabitha", "given": ["Zoe"]}]) for name in crowd))
    with store.reading() as reading:
        hidden = Seen(*(f"Patient/{name}" for name in crowd))
        assert [one.score for one in match(LINKER, reading, hidden, ASKED)] == before


@pytest.mark.parametrize(
    "thin",
    [
        {"telecom": None, "address": None},
        {"birthDate": None, "address": None},
        {"name": None, "telecom": None},
        {"birthDate": "1980", "telecom": None, "address": None},
    ],
)
def test_too_thin_a_question_is_refused(store: Store, thin: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="too little"):
        answers(store, patient("any", "asker", identifier=None, **thin))


def test_only_a_patient_of_enough_strength_is_a_question(store: Store) -> None:
    assert strength(traits_of(patient("any", "asker"), LINKER.reader)) > 9
    with pytest.raises(Invalid, match="not a Patient"):
        answers(store, {"resourceType": "Person"})


def test_an_identifier_leads_to_the_other_records_of_the_person(store: Store) -> None:
    save(store, patient("h", "hmis"), patient("m", "hospital"))

    def by_identifier(system: str, value: str) -> list[Stored]:
        found = reading.resources.many(["Patient/h"])
        return list(found.values()) if (system, value) == ("urn:hmis", "nh12345") else []

    with store.reading() as reading:
        ids, references = cross_reference(reading, Seen(), by_identifier, ("urn:hmis", "nh12345"))
        assert ids == [{"system": "urn:hospital", "value": "nm12345"}]
        assert references == ["Patient/m"]
        assert cross_reference(reading, Seen(), by_identifier, ("urn:hmis", "nh12345"), ["urn:other"]) == ([], [])
        assert cross_reference(reading, Seen("Patient/m"), by_identifier, ("urn:hmis", "nh12345")) == ([], [])
        for hidden, value in (("Patient/h", "nh12345"), ("", "unknown")):
            with pytest.raises(NotFound):
                cross_reference(reading, Seen(hidden), by_identifier, ("urn:hmis", value))


def test_records_joined_by_a_hidden_one_alone_are_not_told_to_be_joined(store: Store) -> None:
    chained(store)
    with store.reading() as reading:

        def ask(*hidden: str) -> list[str]:
            def named(system: str, value: str) -> list[Stored]:
                found = reading.resources.get("Patient", "a")
                return [found] if found is not None and (system, value) == ("urn:a", "na12345") else []

            return cross_reference(reading, Seen(*hidden), named, ("urn:a", "na12345"))[1]

        assert ask() == ["Patient/b", "Patient/h"]
        assert ask("Patient/h") == []


def test_a_number_that_consent_cuts_out_neither_finds_nor_is_told(store: Store) -> None:
    save(store, patient("h", "hmis"), patient("m", "hospital"))

    def by_identifier(_system: str, _value: str) -> list[Stored]:
        return list(reading.resources.many(["Patient/h"]).values())

    with store.reading() as reading:
        told, _ = cross_reference(reading, Seen(cut="urn:hospital"), by_identifier, ("urn:hmis", "nh12345"))
        assert told == []
        with pytest.raises(NotFound):
            cross_reference(reading, Seen(cut="urn:hmis"), by_identifier, ("urn:hmis", "nh12345"))


def test_a_demographics_query_answers_with_probable_and_better(store: Store) -> None:
    save(store, patient("h", "hmis"), patient("x", "hmis", birthDate="1951-11-30", telecom=None, address=None))
    with store.reading() as reading:
        found = demographics_query(LINKER, reading, Seen(), ASKED)
    assert {one.grade for one in found} <= {Grade.CERTAIN, Grade.PROBABLE}
    assert [one.stored.reference for one in found] == ["Patient/h"]


class Shows(Seen):
    """A gate that takes these elements out of every record."""

    def __init__(self, *elements: str) -> None:
        super().__init__()
        self.elements = elements

    def _judge(self, stored: Stored) -> Judgement:
        kept = {name: value for name, value in orjson.loads(stored.body).items() if name not in self.elements}
        return Judgement(True, body=orjson.dumps(kept))


@pytest.mark.parametrize("hidden", ["telecom", "address", "identifier", "birthDate", "gender", "name"])
@pytest.mark.parametrize("agrees", [True, False])
def test_a_hidden_element_moves_no_score_and_makes_no_candidate(store: Store, hidden: str, agrees: bool) -> None:
    """Two stores that differ only in what the asker may not see answer alike, and as if it were not there."""
    other = {
        "telecom": [{"system": "phone", "value": "780-555-9999"}], "address": None, "gender": "male",
        "identifier": [{"system": "urn:elsewhere", "value": "778899001"}], "birthDate": "1931-12-30",
        "name": [{"family": "Zqother", "given": ["Qi"]}],
    }  # fmt: skip
    record = patient("h", "hmis") if agrees else patient("h", "hmis", **{hidden: other[hidden]})
    save(store, record)
    with store.reading() as reading:
        found = [(one.stored.id, one.grade, one.score) for one in match(LINKER, reading, Shows(hidden), ASKED)]
    bare = patient("h", "hmis", **{hidden: None})
    store.write(lambda unit: unit.links.drop("Patient/h", {}))
    save(store, bare)
    with store.reading() as reading:
        assert found == [(one.stored.id, one.grade, one.score) for one in match(LINKER, reading, Seen(), ASKED)]


def test_who_agrees_only_in_what_is_hidden_is_not_found(store: Store) -> None:
    same = patient("h", "hmis")
    save(store, patient("h", "hmis", name=[{"family": "Zqother", "given": ["Qi"]}], birthDate="1931-12-30"))
    assert same["telecom"]
    with store.reading() as reading:
        assert match(LINKER, reading, Shows("telecom", "address", "identifier"), ASKED) == []


def test_a_crowd_of_hidden_people_of_one_birth_date_hides_nobody(store: Store) -> None:
    save(store, patient("h", "hmis", name=[{"family": "Zqabytha", "given": ["Rob"]}], telecom=None, address=None))
    before = answers(store)
    crowd = [f"c{i}" for i in range(40)]
    save(store, *(patient(n, f"s{n}", name=[{"family": f"Zq{n}", "given": [f"N{n}"]}], telecom=None) for n in crowd))
    assert answers(store, hidden=tuple(f"Patient/{name}" for name in crowd)) == before
