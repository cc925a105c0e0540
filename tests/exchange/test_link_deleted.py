"""A record that is deleted is of nobody any more: linking forgets it, whichever door deleted it."""

from typing import Any

import orjson
import pytest

from gateway import wiring
from gateway.adapters.files.data import read_data
from gateway.adapters.memory.store import MemoryStore
from gateway.exchange.hmis_convert import Conversion
from gateway.exchange.hmis_import import Import, Options
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.store import Store
from gateway.settings import Settings
from tests.exchange.test_hmis_import import ENROLLMENT, PROJECT, export
from tests.exchange.test_link import links, patient
from tests.support.hmis import MemoryFiles

SAVER = wiring.saver(Settings())
CLIENT = [
    "PersonalID", "FirstName", "LastName", "SSN", "SSNDataQuality", "NameDataQuality", "DOB", "DOBDataQuality",
    "DateUpdated",
]  # fmt: skip
ANNA = ["1", "Zqannabella", "Zqmuller", "457551234", "1", "1", "1980-02-03", "1", "2026-01-01"]


def indexed(store: Store) -> tuple[int, int]:
    """How many records linking knows, and how many people there are."""
    with store.reading() as reading:
        people = [one for one in reading.resources.of_type("Person") if not one.deleted]
        return len(list(reading.links.every())), len(people)


def bring(store: Store, source: str, day: str, files: dict[str, list[list[str]]]) -> None:
    data = export(day, "1", files)
    data["Export.csv"] = data["Export.csv"].replace(b",source", f",{source}".encode())
    conversion = Conversion(MemoryFiles(data), read_data, fallback_source="test")
    Import(conversion, SAVER, now_us=lambda: 1_000_000, options=Options()).run(store)


def test_a_client_of_a_victim_service_provider_is_forgotten_by_linking_too() -> None:
    store = MemoryStore()
    owner = ["OrganizationID", "VictimServiceProvider", "DateUpdated"]
    files = {
        "Organization": [owner, ["o", "0", "2026-01-01"]],
        "Project": [PROJECT, ["p", "o", "2026-01-01"]],
        "Client": [CLIENT, ANNA],
        "Enrollment": [ENROLLMENT, ["e", "1", "p", "2026-01-05", "h", "1", "2026-01-05", ""]],
    }
    for source in ("one", "two"):
        bring(store, source, "2026-02-01", files)
    assert indexed(store) == (2, 1)
    bring(store, "two", "2026-02-02", {"Organization": [owner, ["o", "1", "2026-02-02"]]})
    assert indexed(store) == (1, 0)
    with store.reading() as reading:
        (left,) = (one for one in reading.resources.of_type("Patient") if not one.deleted)
        assert "link" not in orjson.loads(left.body)
        assert list(reading.links.edges(left.reference)) == []


def test_a_deleted_patient_leaves_the_person_and_the_index(store: Store) -> None:
    def put(resource: dict[str, Any], at: int) -> None:
        draft = Draft(resource, source=resource["meta"]["source"])
        store.write(lambda unit: SAVER.save(unit, [draft], now_us=at))

    put(patient("h", "hmis"), 1_000_000)
    put(patient("m", "hospital", name=[{"family": "ZQABITHA", "given": ["Bob"]}]), 1_000_001)
    assert (links(store, "h"), indexed(store)) == ({"Patient/m"}, (2, 1))
    with store.reading() as reading:
        assert reading.resources.get("Patient", "m") is not None
    store.write(lambda unit: SAVER.delete(unit, "Patient", "m", now_us=1_000_002, source="hospital"))
    assert (links(store, "h"), indexed(store)) == (set(), (1, 0))


@pytest.mark.parametrize("status", ["active", "rejected"])
def test_a_refusal_that_is_deleted_holds_nobody_apart_any_more(store: Store, status: str) -> None:
    refusal = {
        "resourceType": "Consent", "id": "c", "status": status, "patient": {"reference": "Patient/h"},
        "scope": {"coding": [{"code": "patient-privacy"}]}, "category": [{"text": "refusal"}],
        "provision": {"type": "deny"},
    }  # fmt: skip
    for at, one in enumerate((refusal, patient("h", "hmis"), patient("m", "hospital"))):
        draft = Draft(one, source="hmis")
        store.write(lambda unit, d=draft, at=at: SAVER.save(unit, [d], now_us=1_000_000 + at))  # type: ignore[misc]
    assert links(store, "m") == set()
    store.write(lambda unit: SAVER.delete(unit, "Consent", "c", now_us=2_000_000, source="hmis"))
    assert links(store, "m") == {"Patient/h"}
