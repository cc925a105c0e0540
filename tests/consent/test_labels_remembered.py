"""What the labeller remembers of elements never changes an answer."""

import orjson
import pytest

from gateway.adapters.files.data import read_data
from gateway.codecs.json_text import parse
from gateway.exchange.relabel import read_labeller

ICD = "http://hl7.org/fhir/sid/icd-10-cm"


def test_a_number_that_looks_like_a_code_does_not_hide_the_code() -> None:
    labeller = read_labeller(read_data)
    for written in ('{"system": "urn:x", "code": 304.0}', '{"system": "urn:x", "code": "304.0"}'):
        resource = parse(b'{"resourceType": "Condition", "id": "1", "code": {"coding": [%s]}}' % written.encode())
        assert labeller(resource) == read_labeller(read_data)(resource)


@pytest.mark.parametrize("second", ["text", "name", "code"])
def test_the_same_element_under_another_name_is_judged_by_its_own_place(second: str) -> None:
    element = {"coding": [{"system": ICD, "code": "I10"}], "text": "living with HIV"}
    labeller = read_labeller(read_data)
    for name in ("code", second, "code"):
        resource = {"resourceType": "Condition", "id": "1", name: element}
        assert labeller(resource) == read_labeller(read_data)(resource)


def test_many_different_elements_and_long_ones_keep_their_labels() -> None:
    labeller = read_labeller(read_data)
    coded = {"resourceType": "Condition", "id": "1", "code": {"coding": [{"system": ICD, "code": "B20"}]}}
    for number in range(5_000):
        labeller({"resourceType": "Condition", "id": "1", "note": [{"text": f"note {number}"}]})
    note = [{"text": "word " * 2_000 + "HIV"}]
    for resource in (coded, coded | {"note": note}, {"resourceType": "Condition", "id": "1", "note": note}):
        assert "HIV" in orjson.dumps(labeller(resource)).decode()
        assert labeller(resource) == read_labeller(read_data)(resource)
