"""$lookup, $validate-code, $expand and $translate as R4 describes them."""

import pytest

from gateway.exchange.terminology import USES, Given
from gateway.kernel.errors import Malformed, NotFound, TooLarge, Unsupported
from gateway.kernel.fhir import JsonObject
from gateway.terminology import Terminology
from gateway.terminology.tables import read_tables
from tests.terminology.test_tables import MAPS, SETS, SYSTEMS

MANY = "system,code\n" + "".join(f"urn:many,c{n}\n" for n in range(10_001))
TERMINOLOGY = Terminology(
    read_tables(
        [
            ("x.codesystem.csv", SYSTEMS),
            ("y.codesystem.csv", MANY),
            ("x.valueset.csv", SETS + "urn:vs:many,urn:many,,\n"),
            ("x.conceptmap.csv", MAPS),
        ]
    )
)


def ask(operation: str, body: JsonObject | None = None, **values: str) -> JsonObject:
    return USES[operation](TERMINOLOGY, Given(list(values.items()), body), "2026-01-01T00:00:00+00:00")


def values(parameters: JsonObject) -> dict[str, object]:
    return {p["name"]: next((v for k, v in p.items() if k.startswith("value")), None) for p in parameters["parameter"]}


def test_lookup_gives_display_definition_and_parents() -> None:
    found = ask("CodeSystem:$lookup", system="urn:a", code="dog")
    assert values(found)["display"] == "Dog"
    assert values(found)["definition"] == "barks"
    assert {"name": "value", "valueCode": "mammal"} in found["parameter"][-1]["part"]


def test_lookup_of_a_code_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound):
        ask("CodeSystem:$lookup", system="urn:a", code="unicorn")


def test_a_code_is_validated_in_a_system_and_in_a_set() -> None:
    assert values(ask("CodeSystem:$validate-code", url="urn:a", code="dog"))["result"] is True
    assert values(ask("CodeSystem:$validate-code", url="urn:a", code="unicorn"))["result"] is False
    assert values(ask("ValueSet:$validate-code", url="urn:vs:pets", system="urn:a", code="dog"))["result"] is True
    assert values(ask("ValueSet:$validate-code", url="urn:vs:pets", system="urn:a", code="dodo"))["result"] is False


def test_a_display_that_the_code_does_not_have_is_said() -> None:
    said = values(ask("ValueSet:$validate-code", url="urn:vs:pets", system="urn:a", code="dog", display="Fish"))
    assert said["result"] is False
    assert said["display"] == "Dog"


def test_a_codeable_concept_is_valid_when_one_coding_is() -> None:
    concept = {"coding": [{"system": "urn:x", "code": "1"}, {"system": "urn:a", "code": "cat"}]}
    body = {"resourceType": "Parameters", "parameter": [{"name": "codeableConcept", "valueCodeableConcept": concept}]}
    assert values(ask("ValueSet:$validate-code", body, url="urn:vs:pets"))["result"] is True


def test_what_lies_elsewhere_is_refused_not_guessed() -> None:
    with pytest.raises(Unsupported):
        ask("ValueSet:$expand", url="urn:vs:far")
    with pytest.raises(Unsupported):
        ask("ValueSet:$validate-code", url="urn:vs:far", system="http://elsewhere.example", code="x")
    with pytest.raises(NotFound):
        ask("ValueSet:$expand", url="urn:vs:none")


def test_an_expansion_is_filtered_and_paged() -> None:
    found = ask("ValueSet:$expand", url="urn:vs:pets", filter="CAT")
    assert [c["code"] for c in found["expansion"]["contains"]] == ["cat"]
    page = ask("ValueSet:$expand", url="urn:vs:many", offset="2", count="3")
    assert page["expansion"]["total"] == 10_001
    assert [c["code"] for c in page["expansion"]["contains"]] == ["c2", "c3", "c4"]


def test_an_expansion_that_is_too_large_asks_for_pages() -> None:
    with pytest.raises(TooLarge):
        ask("ValueSet:$expand", url="urn:vs:many")
    with pytest.raises(Malformed):
        ask("ValueSet:$expand", url="urn:vs:many", count="-1")


def test_translate_says_whether_there_is_a_usable_match() -> None:
    found = ask("ConceptMap:$translate", url="urn:m", system="urn:a", code="dog")
    assert values(found)["result"] is True
    assert found["parameter"][1]["part"][1]["valueCoding"] == {"system": "urn:b", "code": "canis", "display": "Canis"}
    assert values(ask("ConceptMap:$translate", system="urn:a", code="cat"))["result"] is False


def test_translate_without_a_code_or_with_an_unknown_map_is_refused() -> None:
    with pytest.raises(Malformed):
        ask("ConceptMap:$translate", url="urn:m")
    with pytest.raises(NotFound):
        ask("ConceptMap:$translate", url="urn:none", system="urn:a", code="dog")
