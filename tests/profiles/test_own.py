"""Doorway's own extensions: defined, sound, and judged wherever they stand."""

from pathlib import Path

import pytest

from gateway.adapters.files.packages import ShippedDefinitions
from gateway.adapters.files.validation import open_validator
from gateway.kernel.errors import Invalid
from gateway.profiles.own import BASE, extensions_of_mapping, extensions_of_table

HEADER = "name,context,part,types,minimum,maximum,description\n"


def test_every_definition_of_ours_is_valid_and_names_types_that_r4_has(tmp_path: Path) -> None:
    validator = open_validator(tmp_path)
    definitions = list(ShippedDefinitions().every("StructureDefinition"))
    assert len(definitions) > 100
    for definition in definitions:
        assert validator.validate(definition) == (), definition["url"]
        for element in definition["differential"]["element"]:
            for use in element.get("type", ()):
                assert use["code"][0].islower() or validator.facts.type(use["code"]), definition["url"]


def test_an_extension_of_ours_is_judged_by_its_definition(tmp_path: Path) -> None:
    validator = open_validator(tmp_path)
    good = {"url": f"{BASE}hmis-column", "extension": [{"url": "column", "valueCode": "Client.SSN"}]}
    bad = {"url": f"{BASE}hmis-column", "extension": [{"url": "colour", "valueCode": "Client.SSN"}]}
    patient = {"resourceType": "Patient", "name": [{"family": "Zqa"}]}
    assert validator.validate({**patient, "extension": [good]}) == ()
    found = {i.expression for i in validator.validate({**patient, "extension": [bad]})}
    assert found == {"Patient.extension[0]", "Patient.extension[0].extension[0]"}


def test_a_mapping_row_makes_a_definition_with_the_types_it_writes() -> None:
    rows = [
        {"source": "PID-1", "extension": f"{BASE}x", "type": "string"},
        {"source": "PID-2", "extension": f"{BASE}x", "type": "CodeableConcept"},
        {"source": "PID-3", "extension": "http://hl7.org/fhir/StructureDefinition/y", "type": "string"},
    ]
    found = extensions_of_mapping(rows)
    assert list(found) == [f"{BASE}x"]
    value = found[f"{BASE}x"]["differential"]["element"][-1]
    assert [use["code"] for use in value["type"]] == ["CodeableConcept", "string"]


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ("a,,part,string,1,1,words\n", "t.csv:2: a part of an extension"),
        ("a,,,string,1,1,words\na,,,string,1,1,words\n", "t.csv:3: the extension is stated twice"),
    ],
)
def test_a_mistake_in_the_table_names_its_line(rows: str, complaint: str) -> None:
    with pytest.raises(Invalid) as caught:
        extensions_of_table(HEADER + rows, file="t.csv")
    assert str(caught.value).startswith(complaint)
