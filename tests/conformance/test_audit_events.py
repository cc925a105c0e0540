"""Every kind of AuditEvent, against HL7's and IHE's own definitions; and what a gateway really writes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.adapters.files.packages import PackageFolder
from gateway.adapters.files.validation import open_validator
from gateway.exchange.ports.store import Store
from gateway.profiles.validate import Validator
from tests.adapters.http.conftest import World, world_over
from tests.support.audited import events, kept
from tests.support.shared import SHARED

assert SHARED is not None  # this folder is collected only where the packages are
PACKAGES = SHARED / "packages"
SEEN = {"PatientRead", "PatientCreate", "PatientUpdate", "Delete", "PatientQuery", "Query"}


@pytest.fixture(scope="module", name="balp")
def balp_(tmp_path_factory: pytest.TempPathFactory) -> Validator:
    folder = tmp_path_factory.mktemp("balp")
    for name in ("hl7.fhir.r4.core-4.0.1", "ihe.iti.balp-1.1.5"):
        PackageFolder(folder).add(PACKAGES / f"{name}.tgz")
    return open_validator(folder)


def test_every_kind_of_event_passes_what_it_claims(balp: Validator) -> None:
    wrong = {
        name: [(issue.expression, issue.diagnostics) for issue in balp.validate(event) if issue.severity == "error"]
        for name, (_, event) in events().items()
    }
    assert {name: issues for name, issues in wrong.items() if issues} == {}


def test_a_vector_that_breaks_its_profile_is_found(balp: Validator) -> None:
    _, event = events()["read by client"]
    broken = {**event, "agent": event["agent"][:1]}
    assert [issue for issue in balp.validate(broken) if issue.severity == "error"]


@pytest.fixture(name="gateway")
def gateway_(sqlite_store: Store, tmp_path: Path) -> Iterator[World]:
    yield from world_over(sqlite_store, tmp_path)


def test_what_the_api_writes_down_passes_what_it_claims(gateway: World, balp: Validator) -> None:
    ehr = gateway.ehr
    patient = ehr.create({"resourceType": "Patient", "name": [{"family": "Zq"}]})
    at = f"/Patient/{patient['id']}"
    ehr("PUT", at, patient | {"gender": "female"})
    ehr("PUT", at, patient | {"gender": "female"})  # nothing changes
    ehr("PATCH", at, [{"op": "add", "path": "/active", "value": True}], Content_Type="application/json-patch+json")
    for path in (at, f"{at}/_history/1", f"{at}/_history", "/Patient?name=zq", "/Patient", f"{at}/$everything"):
        assert ehr("GET", path).status_code == 200, path
        gateway.other("GET", path)
    ehr("GET", "/$export?_type=Patient", Prefer="respond-async")
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [
        {"resource": {"resourceType": "Patient"}, "request": {"method": "POST", "url": "Patient"}}] * 2}  # fmt: skip
    assert ehr("POST", "", bundle).status_code == 200
    ehr("DELETE", at)
    ehr("DELETE", "/Patient/none")
    written = kept(gateway.store)
    claimed = {one.rpartition(".")[2] for event in written for one in event.get("meta", {}).get("profile", ())}
    assert claimed >= SEEN
    found = [(event["subtype"], i.expression, i.diagnostics) for event in written for i in balp.validate(event)
             if i.severity == "error"]  # fmt: skip
    assert found == []
