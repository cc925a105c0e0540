"""Scores are symmetric, monotone, and safe where kin and namesakes look alike."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import DamerauLevenshtein

from gateway.adapters.files.linkage import default_reader, load_model
from gateway.bench._communities import county
from gateway.linkage.grades import MIDDLE_NAME, Grade, Guard, grade_of, grounds_of, guards_of
from gateway.linkage.ladders import edits, holds, ladder_of
from gateway.linkage.traits import Traits
from tests.linkage.people import person, scorer

_WHOLE = {
    "first": "Robert", "middle": "Allen", "last": "Zqabitha", "dob": "1980-04-17", "sex": "M", "ssn": "512346789",
    "health_no": "987612345", "phone": "4035550177", "address": "12 Cedar Street", "city": "Milford", "postal": "54321",
}  # fmt: skip
_OTHER = {
    "first": "Xiomara", "middle": "Queen", "last": "Underhill", "dob": "1951-11-30", "sex": "F", "ssn": "277518888",
    "health_no": "100200309", "phone": "7805559999", "address": "900 Pine Road", "city": "Fairview", "postal": "11111",
}  # fmt: skip

rows = st.fixed_dictionaries(
    {},
    optional={
        name: st.sampled_from([value, _OTHER[name], value[:-1], value[0], value[::-1]])
        for name, value in _WHOLE.items()
    },
)


def graded(a: Traits, b: Traits) -> tuple[Grade, frozenset[Guard]]:
    judge = scorer(a, b)
    score = judge.score(a, b)
    guards = guards_of(judge, score, a, b)
    return grade_of(judge, score.bits, guards, score, a, b), guards


@settings(max_examples=60, deadline=None)
@given(rows, rows)
def test_scores_are_symmetric(x: dict[str, str], y: dict[str, str]) -> None:
    a, b = person("a", **x), person("b", **y)
    judge = scorer(a, b)
    assert judge.score(a, b).bits == pytest.approx(judge.score(b, a).bits, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(rows, rows, st.sampled_from(["sex", "ssn", "health_no", "phone", "middle", "dob"]))
def test_an_equal_field_never_lowers_and_a_different_one_never_raises(
    x: dict[str, str], y: dict[str, str], name: str
) -> None:
    x.pop(name, None)
    y.pop(name, None)
    bare_a, bare_b = person("a", **x), person("b", **y)
    if name == "middle" and (bare_a.middle or bare_b.middle):
        return
    judge = scorer(*(person(str(i), **_WHOLE) for i in range(2)), *(person(f"o{i}", **_OTHER) for i in range(2)))
    without = judge.score(bare_a, bare_b).bits
    equal = judge.score(person("a", **x | {name: _WHOLE[name]}), person("b", **y | {name: _WHOLE[name]})).bits
    differs = judge.score(person("a", **x | {name: _WHOLE[name]}), person("b", **y | {name: _OTHER[name]})).bits
    assert equal >= without - 1e-9
    assert differs <= without + 1e-9


def test_the_reasons_add_up_to_the_score() -> None:
    a, b = person("a", **_WHOLE), person("b", **_WHOLE | {"first": "Bob", "phone": "", "dob": "1980-17-04"})
    found = scorer(a, b).explain(a, b)
    assert sum(part.bits for part in found.evidence) + found.prior_bits == pytest.approx(found.bits)
    assert {p.comparison: p.level for p in found.evidence}["given"] == "nickname"


def test_everything_the_same_is_certain() -> None:
    assert graded(person("a", **_WHOLE), person("b", **_WHOLE)) == (Grade.CERTAIN, frozenset())


def test_name_and_birth_date_alone_are_never_certain() -> None:
    bare = {name: _WHOLE[name] for name in ("first", "last", "dob", "sex")}
    grade, guards = graded(person("a", **bare), person("b", **bare))
    assert grade is Grade.PROBABLE
    assert Guard.NOT_CORROBORATED in guards


def named_in_full(**other: str) -> dict[str, str]:
    return {name: _WHOLE[name] for name in ("first", "middle", "last", "dob", "sex")} | other


def test_a_middle_name_in_full_beside_whole_name_date_and_sex_links_and_is_named_as_the_ground() -> None:
    a, b = person("a", **named_in_full()), person("b", **named_in_full(city="Fairview", phone="7805559999"))
    assert graded(a, b) == (Grade.CERTAIN, frozenset())
    judge = scorer(a, b)
    assert grounds_of(judge, judge.score(a, b), a, b) == {MIDDLE_NAME}


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ({"middle": ""}, {"middle": ""}),
        ({}, {"middle": ""}),
        ({"middle": "A"}, {"middle": "A"}),
        ({}, {"middle": "A"}),
        ({}, {"middle": "Alan"}),
        ({}, {"dob": "1980-04-18"}),
        ({}, {"dob": "1980-04"}),
        ({"dob": "1980-01-01"}, {"dob": "1980-01-01"}),  # what is written where the day is not known
        ({}, {"sex": "F"}),
        ({"sex": ""}, {"sex": ""}),
        ({}, {"last": "Zqabitho"}),
        ({}, {"first": "Robyrt"}),
        ({}, {"first": "Norman"}),  # twins who share the second name
        ({}, {"dob": "1955-04-17"}),  # father and son of one name
        ({"first": "Mary Ann", "middle": ""}, {"first": "Mary Ann", "middle": ""}),  # one given name of two words
        ({"first": "Mary Ann", "middle": ""}, {"first": "Mary", "middle": "Ann"}),
        (  # a namesake: known to live and to be called elsewhere
            {"phone": "7805551111", "address": "12 Zqash Road", "city": "Fairview", "postal": "T0H1L0"},
            {"phone": "4035552222", "address": "9 Zqelm Court", "city": "Elsewhere", "postal": "T1K0A1"},
        ),
    ],
)
def test_less_than_a_middle_name_in_full_beside_whole_name_date_and_sex_never_links(
    mine: dict[str, str], theirs: dict[str, str]
) -> None:
    grade, guards = graded(person("a", **named_in_full(**mine)), person("b", **named_in_full(**theirs)))
    assert grade is not Grade.CERTAIN
    assert Guard.NOT_CORROBORATED in guards


def test_a_middle_name_that_most_people_bear_tells_nothing() -> None:
    a, b = person("a", **named_in_full()), person("b", **named_in_full())
    crowd = [person(f"c{i}", first=f"N{i}", middle=_WHOLE["middle"], last=f"Zq{i}") for i in range(300)]
    judge = scorer(a, b, *crowd)
    assert Guard.NOT_CORROBORATED in guards_of(judge, judge.score(a, b), a, b)


def test_below_certain_a_pair_is_certain_only_where_something_strong_corroborates() -> None:
    a, b = person("a", **_WHOLE), person("b", **_WHOLE)
    judge = scorer(a, b)
    score, grades = judge.score(a, b), judge.model.grades
    between = (grades.corroborated + grades.certain) / 2
    assert grade_of(judge, between, frozenset(), score, a, b) is Grade.CERTAIN
    assert grade_of(judge, grades.corroborated - 0.1, frozenset(), score, a, b) is Grade.PROBABLE
    assert grade_of(judge, between, frozenset({Guard.RUNNER_UP}), score, a, b) is Grade.PROBABLE
    x, y = person("a", **named_in_full()), person("b", **named_in_full())
    named = scorer(x, y)
    assert grade_of(named, between, frozenset(), named.score(x, y), x, y) is Grade.PROBABLE
    assert grade_of(named, grades.certain, frozenset(), named.score(x, y), x, y) is Grade.CERTAIN


HOME = {name: _WHOLE[name] for name in ("address", "city", "postal", "phone")}


@pytest.mark.parametrize(
    ("mine", "theirs", "guard"),
    [
        (
            {"first": "Tyler", "last": "Zqone", "dob": "1990-01-09"},
            {"first": "Brandon", "last": "Zqone", "dob": "1990-01-09"},
            Guard.TWIN,
        ),
        (
            {"first": "Tyler", "last": "Zqone", "dob": "1990-01-09", "multiple_birth": "Y"},
            {"first": "Tylar", "last": "Zqone", "dob": "1990-01-09"},
            Guard.MULTIPLE_BIRTH,
        ),
        (
            {"first": "Carl", "last": "Zqone", "suffix": "Jr", "dob": "1990-01-09"},
            {"first": "Carl", "last": "Zqone", "suffix": "Sr", "dob": "1990-01-09"},
            Guard.SUFFIX,
        ),
        (
            {"first": "Carl", "last": "Zqone", "dob": "1990-01-09"},
            {"first": "Carl", "last": "Zqone", "dob": "1962-01-09"},
            Guard.GENERATION,
        ),
        (
            {"first": "Carl", "last": "Zqone", "dob": "1990-01-09", "ssn": "512346789"},
            {"first": "Carl", "last": "Zqone", "dob": "1990-01-09", "ssn": "277518888"},
            Guard.SSN_CONFLICT,
        ),
        (
            {"first": "Carl", "last": "Zqone", "dob": "1990-01-09", "ssn": "512346789"},
            {"first": "Carla", "last": "Zqone", "dob": "1990-01-09", "ssn": "512346790"},
            Guard.SSN_NEIGHBOURS,
        ),
        (
            {"first": "Carl", "last": "Zqone", "dob": "1990-01-09", "health_no": "987612345"},
            {"first": "Carl", "last": "Zqone", "dob": "1990-01-09", "health_no": "100200309"},
            Guard.HEALTH_CONFLICT,
        ),
        (  # twins of similar names, a boy and a girl
            {"first": "Carl", "last": "Zqone", "dob": "1990-01-09", "sex": "M"},
            {"first": "Carla", "last": "Zqone", "dob": "1990-01-09", "sex": "F"},
            Guard.NOT_CORROBORATED,
        ),
        (  # a brother's name as the second
            {"first": "Serhii", "last": "Zqone", "dob": "1990-01-09"},
            {"first": "Bohdan", "middle": "Serhii", "last": "Zqone", "dob": "1990-01-09"},
            Guard.NOT_CORROBORATED,
        ),
    ],
)
def test_kin_and_conflicts_are_guarded_even_at_one_address(
    mine: dict[str, str], theirs: dict[str, str], guard: Guard
) -> None:
    grade, guards = graded(person("a", **HOME, **mine), person("b", **HOME, **theirs))
    assert guard in guards
    assert grade is not Grade.CERTAIN


def test_an_address_of_many_people_corroborates_nothing() -> None:
    bare = {"first": "Carl", "last": "Zqone", "dob": "1990-01-09", "address": "77 Hope Road", "city": "Milford"}
    crowd = [person(f"c{i}", first=f"N{i}", last=f"Zq{i}", address="77 Hope Road") for i in range(30)]
    a, b = person("a", **bare), person("b", **bare)
    judge = scorer(a, b, *crowd)
    assert Guard.NOT_CORROBORATED in guards_of(judge, judge.score(a, b), a, b)


@pytest.mark.parametrize(
    ("mine", "theirs", "level"),
    [
        ({"first": "William"}, {"first": "Bill"}, ("given", "nickname")),
        ({"first": "Jonathan"}, {"first": "Jonahtan"}, ("given", "one_edit")),
        ({"first": "Maria", "last": "Lopez"}, {"first": "Lopez", "last": "Maria"}, ("given", "swapped")),
        ({"first": "Ann", "middle": "Joy"}, {"first": "Joy"}, ("given", "middle")),
        ({"first": "Mohamed"}, {"first": "Maxamed"}, ("given", "nickname")),
        ({"first": "Ana", "last": "Garcia Lopez"}, {"first": "Ana", "last": "Lopez"}, ("last", "part")),
        ({"first": "Ana", "last": "García-López"}, {"first": "Ana", "last": "garcia lopez"}, ("last", "same")),
        ({"first": "Ana", "last": "Smith", "alias": "Ana Jones"}, {"first": "Ana", "last": "Jones"}, ("last", "alias")),
        ({"dob": "1980-04-07"}, {"dob": "1980-07-04"}, ("dob", "swapped")),
        ({"dob": "1980"}, {"dob": "1980-07-04"}, ("dob", "year_known")),
        ({"dob": "1980-07"}, {"dob": "1980-07-04"}, ("dob", "month")),
        ({"dob": "1981-01-01"}, {"dob": "1980-07-14"}, ("dob", "estimate")),
        ({"ssn": "XXXXX6789"}, {"ssn": "512346789"}, ("ssn", "last_four")),
    ],
)
def test_each_kind_of_agreement_has_its_level(
    mine: dict[str, str], theirs: dict[str, str], level: tuple[str, str]
) -> None:
    a, b = person("a", **mine), person("b", **theirs)
    judge = scorer(a, b)
    for x, y in ((a, b), (b, a)):
        assert judge.level(judge.vector(x, y), level[0]) == level[1]


def test_a_larger_index_needs_more_evidence() -> None:
    a, b = person("a", **_WHOLE), person("b", **_WHOLE)
    assert scorer(a, b, population=1_000_000).score(a, b).bits < scorer(a, b, population=10_000).score(a, b).bits


def test_a_pair_given_up_early_could_not_have_reached_the_floor() -> None:
    reader, community = default_reader(), county(107, 150, 150)
    left = [reader.row(row) for row in community.left]
    scoring = scorer(*left, population=150)
    for row in community.right:
        asked = reader.row(row)
        for floor in (-5.0, 2.0):
            gate = scoring.gate(asked, floor)
            for candidate in left[:60]:
                whole = scoring.score(candidate, asked)
                assert scoring.above(candidate, asked, floor, gate) == (whole if whole.bits >= floor else None)


@settings(max_examples=60, deadline=None)
@given(rows, rows)
def test_a_compiled_ladder_is_the_first_level_that_holds_by_itself(x: dict[str, str], y: dict[str, str]) -> None:
    a, b = person("a", **x), person("b", **y)
    for comparison in load_model().comparisons:
        labels = ("unknown", *(weight.level for weight in comparison.levels))
        slow = next((n for n, label in enumerate(labels[:-1]) if holds(comparison.name, label, a, b)), len(labels) - 1)
        assert ladder_of(comparison.name, labels)(a, b) == slow


def test_what_is_remembered_of_a_vector_changes_no_score() -> None:
    made = county(7, 300, 60)
    left, right = ([default_reader().row(row) for row in side] for side in (made.left, made.right))
    remembering = scorer(*left)
    for a, b in zip(left, right, strict=False):
        assert remembering.score(a, b) == scorer(*left).score(a, b) == remembering.score(a, b)


@settings(max_examples=300, deadline=None)
@given(st.text("abc", max_size=7), st.text("abc", max_size=7), st.sampled_from([1, 2]))
def test_slips_are_counted_as_damerau_and_levenshtein_do(x: str, y: str, at_most: int) -> None:
    assert edits(x, y, at_most) == (DamerauLevenshtein.distance(x, y) <= at_most)
