"""The FHIRPath subset: results, three-valued logic, and what it refuses or leaves undecided."""

import csv
import re
from typing import Any

import pytest

from gateway.adapters.files.data import read_data
from gateway.profiles.fhirpath import Env, NotFhirPath, Undecided, compile_expression, truth
from gateway.profiles.fhirpath_items import raw
from gateway.profiles.invariants import _compiled, shortcuts
from gateway.profiles.run import NoTerminology, Run

PATIENT = {
    "resourceType": "Patient",
    "id": "p",
    "contained": [{"resourceType": "Organization", "id": "o", "name": "Zq House"}],
    "name": [{"family": "Zqa", "given": ["B", "C"]}, {"family": "Zqd", "use": "old"}],
    "birthDate": "1980-02",
    "_birthDate": {"extension": [{"url": "http://e", "valueString": "x"}]},
    "_gender": {"extension": [{"url": "http://absent", "valueCode": "unknown"}]},
    "deceasedBoolean": False,
    "multipleBirthInteger": 2,
    "managingOrganization": {"reference": "#o"},
    "generalPractitioner": [{"reference": "Practitioner/1"}],
    "extension": [{"url": "http://q", "valueQuantity": {"value": 5, "code": "d", "system": "u"}}],
}


RUN = Run(PATIENT, NoTerminology(), "Patient")


def evaluate(expression: str, focus: Any = PATIENT) -> list[Any]:
    run = Run(PATIENT, NoTerminology(), "Patient")
    return [raw(item) for item in compile_expression(expression)(focus, Env(run, focus))]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("name.given", ["B", "C"]),
        ("Patient.name.family", ["Zqa", "Zqd"]),
        ("name[1].family", ["Zqd"]),
        ("name.where(use = 'old').family", ["Zqd"]),
        ("name.exists(use = 'new')", [False]),
        ("name.all(family.exists())", [True]),
        ("name.given.count() = 2", [True]),
        ("name.given.first() & name.given.last()", ["BC"]),
        ("name.select(family)", ["Zqa", "Zqd"]),
        ("deceased", [False]),
        ("deceased is Boolean", [True]),
        ("deceased.is(dateTime)", [False]),
        ("multipleBirth.ofType(integer)", [2]),
        ("(multipleBirth as integer) > 1", [True]),
        ("multipleBirth as boolean", []),
        ("birthDate.extension('http://e').value", ["x"]),
        ("gender.exists()", [True]),
        ("gender.hasValue()", [False]),
        ("birthDate.hasValue()", [True]),
        ("extension.value.ofType(Quantity).code", ["d"]),
        ("managingOrganization.resolve().name", ["Zq House"]),
        ("generalPractitioner.resolve() is Practitioner", [True]),
        ("generalPractitioner.resolve() is Organization", [False]),
        ("contained.descendants().count() > 1", [True]),
        ("'Zqd' in name.family", [True]),
        ("name.family contains 'x'", [False]),
        ("(name.family | name.family).count()", [2]),
        ("name.family.combine(name.family).isDistinct()", [False]),
        ("name.family.intersect('Zqd')", ["Zqd"]),
        ("id.matches('^[a-z]$')", [True]),
        ("id.matches('[A-Z]')", [False]),
        ("name.first().family.substring(0, 2).upper()", ["ZQ"]),
        ("'a-b'.replace('-', '.')", ["a.b"]),
        ("'12'.toInteger() + 1", [13]),
        ("7 mod 4", [3]),
        ("7 div 4", [1]),
        ("-(1) < 0", [True]),
        ("iif(active.exists(), 'y', 'n')", ["n"]),
        ("repeat(name).count()", [2]),
        ("%resource.id", ["p"]),
        ("%ucum", ["http://unitsofmeasure.org"]),
        ("text.`div`.exists()", [False]),
        ("children().exists()", [True]),
        ("active", []),
        ("{}.empty()", [True]),
    ],
)
def test_an_expression_gives(expression: str, expected: list[Any]) -> None:
    assert evaluate(expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("true and active", []),
        ("false and active", [False]),
        ("true or active", [True]),
        ("active or active", []),
        ("active implies false", []),
        ("active implies true", [True]),
        ("false implies active", [True]),
        ("true xor false", [True]),
        ("active xor true", []),
        ("active.not()", []),
        ("active = true", []),
        ("active != true", []),
    ],
)
def test_what_is_empty_stays_open_in_logic(expression: str, expected: list[Any]) -> None:
    assert evaluate(expression) == expected


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("2020", "2021", [True]),
        ("2020-05", "2020-04", [False]),
        ("2020-01", "2020-01-31", [True]),  # agree as far as both go
        ("2020-01-01T10:00:00Z", "2020-01-01T11:00:00+02:00", [False]),
        ("2020-01-01T10:00:00Z", "2020-01-01", [True]),
    ],
)
def test_dates_compare_as_far_as_they_go(left: str, right: str, expected: list[Any]) -> None:
    assert evaluate("start <= end", {"start": left, "end": right}) == expected


@pytest.mark.parametrize(
    "expression",
    ["name.", "name.foo()", "a b", "1 year", "name.where()", "(a", "today()", "%unknown", "id.matches(id)", "a " * 9],
)
def test_what_is_not_built_is_refused_when_it_is_compiled(expression: str) -> None:
    with pytest.raises(NotFhirPath):
        compile_expression(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "generalPractitioner.resolve().name.exists()",
        "name.given and name.family",
        "maritalStatus.memberOf('http://v').not() or name.family.memberOf('http://v')",
    ],
)
def test_what_the_record_does_not_hold_stays_undecided(expression: str) -> None:
    with pytest.raises(Undecided):
        compile_expression(f"({expression}) and true")(PATIENT, Env(Run(PATIENT, NoTerminology(), "Patient"), PATIENT))


RULES = sorted({row["expression"] for row in csv.DictReader(read_data("profiles/r4/invariants.csv").splitlines())})


def test_an_invariant_that_is_not_run_because_of_what_is_there_or_not_would_have_held() -> None:
    seen = 0
    for expression in RULES:
        if isinstance(_compiled(expression), str):
            continue
        absent, present = shortcuts(expression)
        seen += len(absent) + len(present)
        names = {*re.findall(r"[a-z][A-Za-z]+", expression)}
        for name in absent:
            others = {other: [{"code": "zq", "coding": [{}]}] for other in names - {name}}
            for focus in ({}, others):
                assert truth(compile_expression(expression)(focus, Env(RUN, focus))) is True, expression
        for name in present:
            for value in ("zq", ["zq"], {"code": "zq"}):
                assert truth(compile_expression(expression)({name: value}, Env(RUN, {name: value}))) is True, expression
    assert seen > 80


@pytest.mark.parametrize(
    ("expression", "absent", "present"),
    [
        ("a.empty() or b.exists()", ("a",), ("b",)),
        ("(a.b.where(c = 1).exists() implies d.exists()) or e.exists()", ("a",), ("e",)),
        ("a.count() = 0 or a.first().b.empty()", ("a",), ()),
        ("a.empty() and b.exists()", (), ()),
        ("value.empty() or a.count().empty() or Patient.b.empty() or empty() or exists()", (), ()),
        ("a.exists(b = 1) or a.b.exists() or (a and b).empty()", (), ()),
    ],
)
def test_only_what_decides_by_itself_is_a_shortcut(
    expression: str, absent: tuple[str, ...], present: tuple[str, ...]
) -> None:
    assert shortcuts(expression) == (absent, present)
