"""What is remembered of elements gives the rows that each resource gives by itself; parameters share rows."""

import sys

import pytest

from gateway.adapters.db import search_index
from gateway.adapters.db.search_index import Rows, rows_of
from gateway.adapters.db.store import DbStore, DbUnit
from gateway.codecs.json_text import parse
from gateway.exchange.ports.resources import Draft
from gateway.exchange.search import parse_query
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
    """Every source over the whole resource, nothing remembered."""
    rows = Rows()
    for source in definitions.sources(resource["resourceType"]):
        search_index._add(rows, source, resource)
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


def test_parameters_that_look_at_the_same_path_share_its_rows() -> None:
    text = (
        '{"resourceType": "Observation", "id": "9", "code": {"coding": [{"system": "urn:s", "code": "x"}]},'
        ' "subject": {"reference": "Patient/1"}, "valueQuantity": {"value": 1.0, "unit": "cm", "code": "cm"}}'
    )
    rows = rows_of(search_definitions(), parse(text.encode()))
    assert {table: len(found) for table, found in rows.tables.items()} == {
        "search_hash": 1,  # code and combo-code
        "search_text": 0,
        "search_date": 0,
        "search_number": 1,  # value-quantity and combo-value-quantity, of any unit
        "search_link": 1,  # subject and patient
    }
    having = {one.code for one in search_definitions().of("Observation").values() if rows.present & one.bit}
    assert having == {"code", "combo-code", "combo-value-quantity", "patient", "subject", "value-quantity"}


def test_the_sources_that_ship_have_numbers_of_their_own_and_their_parameters_bits() -> None:
    definitions = search_definitions()
    names = [source.name for type_ in definitions.types for source in definitions.sources(type_)]
    names += [search_index.identified(name) for name in names] + [f"{name}:text" for name in names]
    assert len({search_index.number_of(name) for name in names}) == len(set(names)) > 4_000
    plain = [one for type_ in definitions.types for one in definitions.of(type_).values() if one.kind != "composite"]
    assert all(one.bit and one.sources for one in plain)
    for type_ in definitions.types:
        bits = [one.bit for one in definitions.of(type_).values() if one.bit]
        assert len(set(bits)) == len(bits)
        assert sum(bits) < 1 << 63


def test_a_system_that_an_undone_write_brought_is_written_again(sqlite_store: DbStore) -> None:
    person = {"resourceType": "Patient", "id": "1", "identifier": [{"system": "urn:new", "value": "7"}]}

    def failing(unit: DbUnit) -> None:
        unit.resources.put(Draft(person), now_us=1)
        raise ValueError("undone")

    with pytest.raises(ValueError, match="undone"):
        sqlite_store.write(failing)
    sqlite_store.write(lambda unit: unit.resources.put(Draft(person), now_us=1))
    query = parse_query("Patient", [("identifier", "7")], sqlite_store.derived.definitions)
    with sqlite_store.reading() as reading:
        assert reading.resources.count("Patient", query.criteria) == 1
