"""A record stays its maker's, whoever updates it: consent that ends takes the sight of it from everybody else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.exchange.ports.store import Store
from tests.adapters.http.conftest import World, world_over
from tests.consent.build import actor, consent

OPEN = {"type": "permit", "actor": [actor("Organization/s")]}


@pytest.fixture
def ward(store: Store, tmp_path: Path) -> Iterator[World]:
    yield from world_over(store, tmp_path)


def shared(world: World) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """A person, an Observation and the Consent under which the other organization sees both."""
    person = world.ehr.create({"resourceType": "Patient", "name": [{"family": "Zqowned"}]})
    about = {"reference": f"Patient/{person['id']}"}
    seen = world.ehr.create(
        {"resourceType": "Observation", "status": "final", "code": {"text": "zq"}, "subject": about}
    )
    allowed = consent(OPEN, patient=about, policyRule={"text": "zq"})
    allowed.pop("id")
    return person, seen, world.ehr.create(allowed)


def bare(resource: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in resource.items() if name != "meta"}


def statuses(world: World, *resources: dict[str, Any]) -> list[list[int]]:
    paths = [f"/{one['resourceType']}/{one['id']}" for one in resources]
    return [[caller("GET", path).status_code for path in paths] for caller in (world.ehr, world.other)]


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_an_update_by_consent_ends_with_the_consent_and_takes_nothing_from_the_maker(ward: World, method: str) -> None:
    person, seen, allowed = shared(ward)
    for one, changed in ((seen, {"status": "amended"}), (person, {"gender": "female"})):
        path = f"/{one['resourceType']}/{one['id']}"
        steps = [{"op": "add", "path": f"/{name}", "value": value} for name, value in changed.items()]
        if method == "PUT":
            answer = ward.other("PUT", path, bare(one) | changed)
        else:
            answer = ward.other("PATCH", path, steps, Content_Type="application/json-patch+json")
        assert answer.status_code == 200, answer.text
    assert statuses(ward, seen, person) == [[200, 200], [200, 200]]
    denied = bare(allowed) | {"provision": {"type": "deny", "actor": [actor("Organization/s")]}}
    assert ward.ehr("PUT", f"/Consent/{allowed['id']}", denied).status_code == 200
    assert statuses(ward, seen, person) == [[200, 200], [404, 404]]
    for caller, total in ((ward.ehr, 1), (ward.other, 0)):
        assert caller("GET", f"/Observation?subject=Patient/{person['id']}").json()["total"] == total
    assert ward.other("GET", f"/Observation/{seen['id']}/_history/2").status_code == 404
    assert ward.ehr("GET", f"/Observation/{seen['id']}").json()["status"] == "amended"


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("Patient", {"managingOrganization": {"reference": "Organization/s"}}),
        ("Observation", {"performer": [{"reference": "Organization/s"}]}),
    ],
)
def test_nobody_makes_a_record_of_others_his_own(ward: World, kind: str, changed: dict[str, Any]) -> None:
    person, seen, _ = shared(ward)
    one = person if kind == "Patient" else seen
    path = f"/{kind}/{one['id']}"
    refused = ward.other("PUT", path, bare(one) | changed)
    assert refused.status_code == 422
    assert refused.json()["issue"][0]["expression"] == [kind]
    assert ward.ehr("GET", path).json()["meta"]["versionId"] == "1"
    assert ward.ehr("PUT", path, bare(one) | changed).status_code == 200


def test_who_sees_a_consent_does_not_widen_it_but_may_record_a_denial(ward: World) -> None:
    _, seen, allowed = shared(ward)
    path = f"/Consent/{allowed['id']}"
    assert ward.other("GET", path).status_code == 200
    wider = bare(allowed) | {"provision": {"type": "permit"}}
    steps = [{"op": "remove", "path": "/provision/actor"}]
    patched = ward.other("PATCH", path, steps, Content_Type="application/json-patch+json")
    assert (ward.other("PUT", path, wider).status_code, patched.status_code) == (403, 403)
    assert ward.other("DELETE", path).status_code == 403
    assert ward.ehr("GET", path).json()["meta"]["versionId"] == "1"
    denial = bare(allowed) | {"provision": {"type": "deny", "actor": [actor("Organization/s")]}}
    denial.pop("id")
    ward.other.create(denial)
    assert statuses(ward, seen) == [[200], [404]]


def test_a_record_is_deleted_by_its_maker_alone(ward: World) -> None:
    person, seen, _ = shared(ward)
    unseen = ward.ehr.create({"resourceType": "Patient", "name": [{"family": "Zqunseen"}]})
    for path in (f"/Observation/{seen['id']}", f"/Observation?subject=Patient/{person['id']}"):
        assert ward.other("DELETE", path).status_code == 403
    assert ward.other("DELETE", f"/Patient/{unseen['id']}").status_code == 204, "as one that never was"
    assert statuses(ward, seen, unseen)[0] == [200, 200]
    assert ward.ehr("DELETE", f"/Observation/{seen['id']}").status_code == 204
    assert statuses(ward, seen) == [[410], [410]]


def test_a_record_that_was_deleted_belongs_to_who_makes_it_anew(ward: World) -> None:
    made = ward.ehr("PUT", "/Observation/mine", {
        "resourceType": "Observation", "id": "mine", "status": "final", "code": {"text": "zq"},
        "subject": {"reference": "Patient/nobody"},
    })  # fmt: skip
    path = f"/Observation/{made.json()['id']}"
    assert ward.ehr("DELETE", path).status_code in (200, 204)
    assert ward.ehr("PUT", path, bare(made.json())).status_code == 201
    assert ward.ehr("GET", path).status_code == 200
    assert ward.other("GET", path).status_code == 404


def test_a_registered_organization_keeps_its_id_and_is_described_by_its_own_clients(ward: World) -> None:
    person, _, allowed = shared(ward)
    said = {"resourceType": "Organization", "id": "s", "name": "Zqshelter"}
    refused = ward.ehr("PUT", "/Organization/s", said)
    assert (refused.status_code, refused.json()["issue"][0]["expression"]) == (403, ["Organization.id"])
    assert ward.other("PUT", "/Organization/s", said).headers["Location"].endswith("/Organization/s/_history/1")
    entry = {"resource": said | {"id": "h"}, "request": {"method": "PUT", "url": "Organization/h"}}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
    assert ward.other("POST", "/", bundle).status_code == 403
    assert ward.ehr("POST", "/", bundle).json()["entry"][0]["response"]["location"].endswith("/h/_history/1")
    again = ward.ehr("PUT", f"/Consent/{allowed['id']}", bare(allowed) | {"dateTime": "2026-02-01"})
    assert again.json()["provision"]["actor"][0]["reference"] == {"reference": "Organization/s"}
    assert ward.other("GET", f"/Patient/{person['id']}").status_code == 200
