"""What is remembered of elements gives the rows that each resource gives by itself."""

import sys

import pytest

from gateway.adapters.db import search_index
from gateway.adapters.db.search_index import Rows, rows_of
from gateway.codecs.json_text import parse
from gateway.kernel.fhir import Resource
from gateway.profiles.search_parameters import Definitions
from gateway.wiring import search_definitions

_META = '"meta": {"versionId": "%d", "lastUpdated": "2026-01-0%dT00:00:00Z", "tag": [{"system": "urn:t", "code": "a"}]}'
TEXTS = [
    '{"resourceType": "Patient", "id": "1", "name": [{"family": "Zqa"}], "birthDate": "1990-01-02"}',
    '{"resourceType": "Patient", "id": "2", "name": [{"family": "Zqa"}], "deceasedBoolean": true}',
    '{"resourceType": "Patient", "id": "3", "name": [{"family": "Zqb"}], "deceasedDateTime": "2020"}',
    '{"resourceType": "Observation", "id": "4", "valueQuantity": {"value": 1.0, "unit": "cm"}, %s}' % (_META % (1, 1)),
    '{"resourceType": "Observation", "id": "5", "valueQuantity": {"value": 1.00, "unit": "cm"}, %s}' % (_META % (2, 2)),
    '{"resourceType": "Observation", "id": "6", "component": [{"code": {"coding": [{"code": "x"}]}}]}',
    '{"resourceType": "Observation", "id": "8", "category": [null, [{"coding": [{"code": "x"}]}], {"coding": []}]}',
    '{"resourceType": "Condition", "id": "7", "code": {"coding": [{"code": "x", "display": "Zq"}]}, "subject":'
    ' {"reference": "Patient/1", "identifier": {"system": "urn:i", "value": "9"}}}',
]


def alone(definitions: Definitions, resource: Resource) -> Rows:
    """Every parameter over the whole resource, nothing remembered."""
    rows = Rows()
    for parameter in definitions.of(resource["resourceType"]).values():
        search_index._add(rows.tables, parameter, resource)
    return rows


@pytest.mark.parametrize("limit", [0, 3, 8_192])
def test_a_resource_gives_the_same_rows_whatever_was_indexed_before(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_index, "_KNOWN_LIMIT", limit)
    definitions = search_definitions().with_resources(())
    for text in (*TEXTS, *reversed(TEXTS)):
        resource = parse(text.encode())
        assert rows_of(definitions, resource) == alone(definitions, resource)


def test_a_loaded_parameter_over_the_time_of_an_update_is_indexed() -> None:
    loaded = {
        "resourceType": "SearchParameter", "code": "changed", "type": "date", "base": ["Observation"],
        "expression": "Resource.meta.lastUpdated",
    }  # fmt: skip
    definitions = search_definitions().with_resources([loaded])
    for text in TEXTS[3:5]:
        resource = parse(text.encode())
        assert rows_of(definitions, resource) == alone(definitions, resource)
        assert rows_of(definitions, resource).tables["search_date"]


def test_an_element_that_is_too_long_to_remember_is_indexed_all_the_same() -> None:
    definitions = search_definitions()
    resource = {"resourceType": "Patient", "id": "1", "name": [{"family": f"Zq{n}"} for n in range(500)]}
    assert rows_of(definitions, resource) == alone(definitions, resource)
    assert sys.getsizeof(str(resource["name"])) > search_index._KNOWN_SIZE
