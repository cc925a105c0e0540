"""Paths and values of search parameters: what is found in a resource, and how it is compared."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.kernel.errors import Unsupported
from gateway.profiles.search_parameters import Definitions, Parameter, read_definitions
from gateway.profiles.search_paths import compile_path, from_fhirpath
from gateway.profiles.search_values import (
    NEVER,
    NO_BOUND,
    Link,
    Quantity,
    Token,
    dates,
    folded,
    links,
    precision_range,
    quantities,
    span_of,
    strings,
    tokens,
)
from gateway.wiring import search_definitions

DAY = 86_400_000_000


def never(path: str) -> bool:
    return False


@pytest.mark.parametrize(
    ("expression", "compact"),
    [
        ("Patient.name.family", "name.family"),
        ("(Observation.value as Quantity) | (Patient.x as y)", "valueQuantity"),
        ("Patient.telecom.where(system='phone')", "telecom[system=phone]"),
        ("Patient.link.other.where(resolve() is Patient)", "link.other[->Patient]"),
        ("Condition.onset.as(dateTime) | Condition.onset.as(Period)", "onsetDateTime | onsetPeriod"),
        ("Patient.deceased.exists() and Patient.deceased != false", "deceased[x][present]"),
        ("Observation.effective", "effective[x]"),
        ("Task.output.value.ofType(Reference)", "output.valueReference"),
        ("Patient.extension.where(url = 'http://x.y/z').value", "extension[url=http://x.y/z].value[x]"),
    ],
)
def test_fhirpath_becomes_a_compact_path(expression: str, compact: str) -> None:
    type_ = expression.lstrip("(").split(".")[0]
    choices = {
        "Observation.value",
        "Condition.onset",
        "Observation.effective",
        "Task.output.value",
        "Patient.extension.value",
    }
    assert from_fhirpath(expression, type_, choices.__contains__) == compact


@pytest.mark.parametrize("expression", ["Patient.name.first().family()", "Patient.name[0].family", "Patient.a + 1"])
def test_fhirpath_outside_of_the_subset_is_refused(expression: str) -> None:
    with pytest.raises(Unsupported):
        compile_path(from_fhirpath(expression, "Patient", never))


def test_a_path_walks_lists_and_choices() -> None:
    node = {"a": [{"b": 1}, {"b": [2, 3]}, {"c": 4}], "valueString": "x", "valueQuantity": {"value": 5}}
    assert list(compile_path("a.b")(node)) == [1, 2, 3]
    assert list(compile_path("value[x]")(node)) == ["x", {"value": 5}]
    assert list(compile_path("a.c | a.b")(node)) == [4, 1, 2, 3]
    assert list(compile_path("nothing.at.all")(node)) == []


def of(type_: str, code: str) -> Parameter:
    return search_definitions().of(type_)[code]


def test_every_path_of_the_table_compiles_and_walks_anything() -> None:
    definitions = search_definitions()
    finding = [
        parameter
        for type_ in definitions.types
        for parameter in definitions.of(type_).values()
        if list(parameter.values({"resourceType": type_, "meta": {}}))
    ]
    # composites begin at the resource itself, and who has no date of death is alive; the others find nothing in it
    assert {one.code for one in finding if one.kind != "composite"} == {"deceased"}


def test_the_parameters_of_the_elements_of_a_resource_are_all_that_find_something() -> None:
    definitions = search_definitions()
    resource = {
        "resourceType": "Observation", "id": "1", "status": "final", "effectivePeriod": {"start": "2020"},
        "component": [{"valueQuantity": {"value": 1}}], "subject": {"reference": "Patient/1"}, "meta": {"tag": []},
    }  # fmt: skip
    sources = [source for name in resource for source in definitions.beginning_at("Observation", name)]
    near = {one.code for source in sources for one in source.served}
    finding = {one.code for one in definitions.of("Observation").values() if any(True for _ in one.values(resource))}
    assert [one.code for source in definitions.always("Patient") for one in source.served] == ["deceased"]
    assert finding - {code for code in finding if of("Observation", code).kind == "composite"} <= near


def test_tokens_of_every_shape() -> None:
    concept = {"coding": [{"system": "s", "code": "A"}, {"code": "b"}], "text": "t"}
    observation = {"resourceType": "Observation", "code": concept}
    assert list(tokens(of("Observation", "code"), observation)) == [Token("s", "a"), Token("", "b")]
    person: dict[str, Any] = {"active": False, "telecom": [{"system": "phone", "value": "1"}], "gender": "male"}
    assert [one.code for one in tokens(of("Patient", "active"), person)] == ["false"]
    assert list(tokens(of("Patient", "phone"), person)) == [Token("phone", "1")]
    assert list(tokens(of("Patient", "email"), person)) == []
    assert [one.code for one in tokens(of("Patient", "deceased"), {"deceasedDateTime": "2020"})] == ["true"]


def test_dates_quantities_strings_and_links() -> None:
    period = {"effectivePeriod": {"start": "2020-01-01"}}
    [(low, high)] = dates(of("Observation", "date"), period)
    assert (low, high) == (1_577_836_800_000_000, NEVER)
    timing = {"effectiveTiming": {"event": ["2020-01-03", "2020-01-01"]}}
    [(low, high)] = dates(of("Observation", "date"), timing)
    assert high - low == 3 * DAY
    quantity = {"valueQuantity": {"value": 5.4, "unit": "cm"}}
    assert list(quantities(of("Observation", "value-quantity"), quantity)) == [Quantity(5.4, 5.4, "", "", "cm")]
    age = {"onsetRange": {"low": {"value": 20}}}
    assert list(quantities(of("Condition", "onset-age"), age)) == [Quantity(20, NO_BOUND)]
    name = {"name": [{"family": "A", "given": ["B", "C"], "use": "official"}]}
    assert list(strings(of("Patient", "name"), name)) == ["A", "B", "C"]
    subject = {"subject": {"reference": "Patient/1/_history/2", "identifier": {"value": "X"}}}
    assert list(links(of("Observation", "subject"), subject)) == [Link("Patient/1", Token("", "x"))]
    assert list(links(of("Observation", "subject"), {"subject": {"reference": "#inside"}})) == []
    assert list(links(of("Observation", "patient"), {"subject": {"reference": "Group/1"}})) == []


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2020", 366 * DAY),
        ("2021", 365 * DAY),
        ("2021-02", 28 * DAY),
        ("2021-02-03", DAY),
        ("2021-02-03T04:05", 60_000_000),
        ("2021-02-03T04:05:06Z", 1_000_000),
        ("2021-02-03T04:05:06.7-07:00", 100_000),
        ("2021-02-03T04:05:06.7891234Z", 1),
    ],
)
def test_a_date_means_a_range_as_long_as_its_precision(text: str, size: int) -> None:
    span = span_of(text)
    assert span is not None
    assert span[1] - span[0] == size


@pytest.mark.parametrize("text", ["", "20", "2020-13", "2020-02-30", "2020-01-01T25:00", "x2020", "2020-1-1", "٢٠٢٠"])
def test_what_is_no_date_is_none(text: str) -> None:
    assert span_of(text) is None


@given(st.text(max_size=40))
def test_folding_twice_is_folding_once_and_ignores_case(text: str) -> None:
    assert folded(folded(text)) == folded(text)
    assert "  " not in folded(text)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=3))
def test_the_range_of_a_number_holds_it(number: Any) -> None:
    found = precision_range(str(number))
    assert found is not None
    value, low, high = found
    assert low <= value <= high
    assert precision_range("1e400") is None
    assert precision_range("NaN") is None


def test_definitions_can_be_read_from_text_and_extended() -> None:
    made = read_definitions("type,code,kind,path,targets\nPatient,x,token,gender,\n", "compartment,type,parameters\n")
    assert isinstance(made, Definitions)
    extra = {"resourceType": "SearchParameter", "code": "hair", "base": ["Patient"], "type": "token",
             "expression": "Patient.extension.where(url='http://hair').value"}  # fmt: skip
    odd = {**extra, "code": "odd", "expression": "Patient.name.iif(true, 1)"}
    more = made.with_resources([extra, odd])
    assert set(more.of("Patient")) == {"x", "hair"}
    assert set(made.of("Patient")) == {"x"}
    assert made.of("Nothing") == {}
