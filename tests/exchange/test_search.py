"""Reading a search: every kind of parameter, nothing ignored silently, no value in a message."""

import pytest

from gateway.exchange.search import (
    AnyOf,
    Chain,
    Has,
    LinkValue,
    Match,
    Missing,
    Query,
    TokenValue,
    parse_query,
)
from gateway.exchange.search_text import CompositeValue, DateValue, QuantityValue, TextValue, split
from gateway.kernel.errors import Invalid, TooLarge
from gateway.wiring import search_definitions


def read(type_: str, text: str, *, strict: bool = True, base: str = "", within: str = "") -> Query:
    pairs = [(name, value) for name, _, value in (part.partition("=") for part in text.split("&") if part)]
    return parse_query(type_, pairs, search_definitions(), strict=strict, base=base, within=within)


def only(type_: str, text: str, **rest: str) -> Match:
    [criterion] = read(type_, text, base=rest.get("base", "")).criteria
    assert isinstance(criterion, Match)
    return criterion


def test_tokens_have_a_system_a_code_both_or_none() -> None:
    assert only("Patient", "identifier=urn:a|B,C,urn:b|,|D").values == (
        TokenValue("urn:a", "b"),
        TokenValue(None, "c"),
        TokenValue("urn:b", None),
        TokenValue("", "d"),
    )


def test_escaped_marks_are_no_marks() -> None:
    assert split(r"a\,b,c\\,d", ",") == [r"a\,b", r"c\\", "d"]
    [value] = only("Patient", r"family=a\,b\|c\$d\\e").values
    assert isinstance(value, TextValue)
    assert value.text == r"a,b|c$d\e"
    assert only("Patient", r"identifier=a\|b").values == (TokenValue(None, "a|b"),)


def test_dates_are_ranges_by_their_precision() -> None:
    [value] = only("Patient", "birthdate=ge1980-02").values
    assert isinstance(value, DateValue)
    assert (value.prefix, (value.high - value.low) // 86_400_000_000) == ("ge", 29)
    [zoned] = only("Observation", "date=1980-03-05T12:00:00 02:00").values  # a + that became a space on its way
    [utc] = only("Observation", "date=1980-03-05T10:00:00Z").values
    assert zoned == utc


def test_numbers_mean_a_range_by_their_digits() -> None:
    [value] = only("Observation", "value-quantity=le5.40|http://unitsofmeasure.org|cm").values
    assert value == QuantityValue("le", 5.4, 5.395, 5.405, "http://unitsofmeasure.org", "cm")
    [value] = only("Observation", "value-quantity=100||cm").values
    assert value == QuantityValue("eq", 100.0, 99.5, 100.5, None, "cm")


def test_references_may_be_bare_typed_or_absolute() -> None:
    assert only("Observation", "subject:Patient=7").values == (LinkValue(("Patient/7",)),)
    assert only("Observation", "patient=Patient/7/_history/3").values == (LinkValue(("Patient/7",)),)
    assert only("Observation", "patient=7").values == (LinkValue(("Patient/7", "7")),)
    own = only("Observation", "patient=https://me.example/fhir/Patient/7", base="https://me.example/fhir")
    assert own.values == (LinkValue(("Patient/7",)),)
    foreign = only("Observation", "patient=https://you.example/fhir/Patient/7", base="https://me.example/fhir")
    assert foreign.values == (LinkValue(("https://you.example/fhir/Patient/7",)),)


def test_composites_have_a_value_for_each_component() -> None:
    [value] = only("Observation", "code-value-quantity=http://loinc.org|8302-2$gt5").values
    assert isinstance(value, CompositeValue)
    assert value.parts[0] == TokenValue("http://loinc.org", "8302-2")
    with pytest.raises(Invalid):
        read("Observation", "code-value-quantity=8302-2")


def test_chains_and_has_go_through_the_same_reader() -> None:
    [chain] = read("Observation", "patient.organization.name:contains=x").criteria
    assert isinstance(chain, Chain)
    assert isinstance(chain.inner, Chain)
    assert isinstance(chain.inner.inner, Match)
    assert chain.inner.inner.modifier == "contains"
    [has] = read("Patient", "_has:Observation:patient:_has:Provenance:target:recorded=gt2020").criteria
    assert isinstance(has, Has)
    assert isinstance(has.inner, Has)
    [both] = read("Observation", "subject.name=x").criteria  # Patient and Location and others have a name
    assert isinstance(both, AnyOf)
    [missing] = read("Observation", "patient.birthdate:missing=true").criteria
    assert isinstance(missing, Chain)
    assert isinstance(missing.inner, Missing)


def test_a_compartment_is_a_criterion() -> None:
    [inside] = read("Condition", "", within="Patient/7").criteria
    assert isinstance(inside, AnyOf)
    assert {one.parameter.code for one in inside.criteria if isinstance(one, Match)} == {"patient", "asserter"}
    with pytest.raises(Invalid):
        read("Organization", "", within="Patient/7")


@pytest.mark.parametrize(
    "text",
    ["zqsecret=1", "family:zqsecret=1", "birthdate=zqsecret", "gender:exact=zqsecret", "name.zqsecret=1",
     "_has:Zqsecret:patient:code=1", "_has:Observation:zqsecret=1", "_has:Observation:code:status=x", "_sort=zqsecret",
     "_include=Patient:zqsecret", "_include=zqsecret", "_total=zqsecret", "_count=-1", "family=", "identifier=|",
     "organization:Patient=1", "active:missing=zqsecret", "_filter=zqsecret", "_text=zqsecret", "_content=zqsecret",
     "general-practitioner.zqsecret=1", "_query=zqsecret", "identifier:of-type=zqsecret", "_count:exact=1",
     "deceased:in=http://zqsecret", "family=a\x00b"],
)  # fmt: skip
def test_what_cannot_be_honoured_is_an_error_without_its_value(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        read("Patient", text)
    value = text.partition("=")[2]
    assert not value or value not in str(caught.value)
    name = text.partition("=")[0]
    lenient = read("Patient", f"{text}&gender=male", strict=False)
    assert lenient.ignored == (name,)
    assert len(lenient.criteria) == 1
    assert lenient.used == (("gender", "male"),)


def test_too_many_hops_values_or_criteria_are_refused() -> None:
    with pytest.raises(Invalid, match="at most 3"):
        read("Observation", "patient.link:Patient.link:Patient.link:Patient.gender=male")
    with pytest.raises(Invalid, match="at most 200"):
        read("Patient", "identifier=" + ",".join(["x"] * 201))
    with pytest.raises(TooLarge):
        read("Patient", "&".join(["gender=male"] * 65))


def test_controls_shape_the_answer_and_the_digest_names_the_search() -> None:
    query = read("Patient", "gender=male&_count=5&_sort=-birthdate,_id&_include=Patient:organization&_elements=name,id")
    assert (query.count, len(query.sort), query.sort[0].descending, query.elements) == (5, 2, True, ("name", "id"))
    assert query.includes[0].parameters[0].code == "organization"
    assert read("Patient", "gender=male&_count=9").digest == read("Patient", "gender=male").digest
    assert read("Patient", "gender=female").digest != read("Patient", "gender=male").digest
    assert read("Patient", "_count=999999").count == 1000
