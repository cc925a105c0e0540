"""Public clients run everything they have against the real server, ids of their own choice included."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from fhirclient import server as smart_server
from fhirclient.models import bundle, observation, patient
from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import OperationOutcome

from gateway.adapters.db.store import DbStore
from tests.adapters.http.test_socket import Served, serving
from tests.support.javascript import run

PROJECT = Path(__file__).resolve().parents[2] / "peers" / "fhir"


@pytest.fixture
def served(sqlite_store: DbStore, tmp_path: Path) -> Iterator[Served]:
    yield from serving(sqlite_store, tmp_path, 10.0)


def test_fhir_kit_client_finds_its_whole_surface(served: Served) -> None:
    said: dict[str, Any] = orjson.loads(run(PROJECT, "client.mjs", served.base, served.token))
    days = [f"2026-01-0{day}" for day in (7, 6, 5, 4, 3, 2, 1)]
    assert said == {
        "capability": [True, True, True],
        "token": served.base.removesuffix("/fhir") + "/oauth/token",
        "created": [201, "1"],
        "updated": [200, "female", "2"],
        "patched": ["other", "3"],
        "read": "other",
        "vread": "female",
        "history": [3, 3],
        "conditional": 201,
        "stale": [412, "OperationOutcome"],
        "total": 7,
        "pages": [days[:3], days[3:6], days[6:]],
        "posted": 2,
        "included": ["Observation", "Patient"],
        "compartment": 7,
        "everything": 8,
        "valid": "OperationOutcome",
        "matched": "searchset",
        "resolved": [True, True, True],
        "transaction": ["201", "201"],
        "batch": ["200", "404"],
        "deleted": 204,
        "gone": [410, "OperationOutcome"],
        "missing": [404, "OperationOutcome"],
        "invalid": [422, "OperationOutcome"],
        "system": [400, "OperationOutcome"],
        "anonymous": [401, "OperationOutcome"],
    }


def test_fhirpy_keeps_working_with_ids_of_its_own_choice(served: Served) -> None:
    """``PUT Patient/mrn-17`` is stored under an id of ours, and mrn-17 goes on meaning it for the client."""
    client = SyncFHIRClient(served.base, authorization=f"Bearer {served.token}")
    patient = client.resource("Patient", id="mrn-17", name=[{"family": "Zqseventeen"}])
    patient.save()
    assert patient.id != "mrn-17"
    said = client.reference("Patient", "mrn-17").to_resource()
    assert said.id == patient.id
    said["gender"] = "female"
    said.save()
    again = client.resource("Patient", id="mrn-17", name=[{"family": "Zqseventeen"}], gender="male")
    again.save()
    assert (again.id, again["meta"]["versionId"]) == (patient.id, "3")
    client.resource("Observation", id="o-1", status="final", code={"text": "x"}, subject=patient.to_reference()).save()
    client.resource("Observation", status="final", code={"text": "y"}, subject={"reference": "Patient/mrn-17"}).save()
    observations = client.resources("Observation")
    assert observations.search(patient="mrn-17").count() == observations.search(subject="Patient/mrn-17").count() == 2
    assert {one.id for one in client.resources("Patient").search(_id="mrn-17").fetch()} == {patient.id}
    found = client.resources("Patient").search(_id="mrn-17").revinclude("Observation", "subject").fetch_raw()
    assert sorted(entry.resource.resource_type for entry in found.entry) == ["Observation", "Observation", "Patient"]
    client.delete("Observation/o-1")
    assert observations.search(patient="mrn-17").count() == 1


def test_fhirpy_does_what_is_conditional_and_what_is_a_bundle(served: Served) -> None:
    client = SyncFHIRClient(served.base, authorization=f"Bearer {served.token}")
    wanted = {"identifier": [{"system": "urn:zq", "value": "1"}], "name": [{"family": "Zq"}]}
    known = client.resources("Patient").search(identifier="urn:zq|1")
    made, _ = known.update(client.resource("Patient", **wanted))
    with pytest.raises(OperationOutcome):  # a dialect of another server: refused, so that nothing is made twice
        known.get_or_create(client.resource("Patient", **wanted))
    changed, _ = known.update(client.resource("Patient", **wanted, gender="other"))
    assert (changed.id, changed["gender"]) == (made.id, "other")
    assert known.get()["gender"] == "other"
    cut = known.elements("gender").first()
    assert cut is not None
    assert "name" not in cut
    answer = client.execute(
        "", method="post",
        data={"resourceType": "Bundle", "type": "batch",
              "entry": [{"request": {"method": "GET", "url": f"Patient/{made.id}"}}]},
    )  # fmt: skip
    assert answer["entry"][0]["response"]["status"].startswith("200")
    assert client.resource("Patient", name=[{"family": "Zq"}], gender="none").is_valid() is False
    with pytest.raises(OperationOutcome):
        client.resources("Patient").search(nonsense="1").fetch()


def test_the_smart_client_keeps_working_with_ids_of_its_own_choice(served: Served) -> None:
    client = smart_server.FHIRServer(None, base_uri=served.base + "/")
    client.session.headers["Authorization"] = f"Bearer {served.token}"
    mine = patient.Patient({"id": "mrn-18", "name": [{"family": "Zqeighteen"}], "birthDate": "1950-05"})
    told = mine.update(client)
    read = patient.Patient.read("mrn-18", client)
    assert read.id == told["id"] != "mrn-18"
    assert read.birthDate.as_json() == "1950-05"
    about = observation.Observation(
        {"status": "final", "code": {"text": "x"}, "subject": {"reference": "Patient/mrn-18"}}
    )
    made = about.create(client)
    assert made["subject"]["reference"] == f"Patient/{read.id}"
    search = observation.Observation.where({"patient": "mrn-18"}).include("subject")
    kinds = sorted(one.resource_type for one in search.perform_resources_iter(client))
    assert kinds == ["Observation", "Patient"]
    sent = bundle.Bundle(
        {"type": "transaction", "entry": [
            {"resource": {"resourceType": "Patient", "id": "mrn-19", "name": [{"family": "Zqnineteen"}]},
             "request": {"method": "PUT", "url": "Patient/mrn-19"}},
        ]}
    )  # fmt: skip
    done = bundle.Bundle(client.post_json("", sent.as_json()).json())
    assert done.entry[0].response.status.startswith("201")
    assert patient.Patient.read("mrn-19", client).name[0].family == "Zqnineteen"
    patient.Patient.read("mrn-19", client).delete(client)
    with pytest.raises(smart_server.FHIRNotFoundException):
        patient.Patient.read("mrn-20", client)
    client.session.close()
