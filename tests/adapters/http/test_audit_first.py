"""Where the audit trail cannot be written, no door lets anything out; what was on its way is answered with a fault."""

from typing import Any

import pytest

from gateway.adapters.db.store import DbStore
from tests.adapters.http.conftest import World, world_over
from tests.exchange.test_doors import ASKED

DOORS = (
    ("GET", "/Observation/{id}"),
    ("GET", "/Observation/{id}/_history/1"),
    ("GET", "/Observation/{id}/_history"),
    ("GET", "/Observation/_history"),
    ("GET", "/_history"),
    ("GET", "/Observation?_count=5"),
    ("GET", "/Observation?_summary=count"),
    ("GET", "/Patient/{patient}/Observation"),
    ("GET", "/Patient/{patient}/$everything"),
    ("GET", "/Patient/{patient}/$consent-explain"),
    ("GET", "/Patient/$ihe-pix?sourceIdentifier=urn:mrn%7C1"),
    ("GET", "/AuditEvent"),
    ("POST", "/"),
    ("POST", "/Patient/$match"),
    ("GET", "/Observation/{missing}"),  # a refusal too must be on record
)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_without_an_audit_record_nothing_leaves(kind: str, request: pytest.FixtureRequest, tmp_path: Any) -> None:
    store: DbStore = request.getfixturevalue(f"{kind}_store")
    for world in world_over(store, tmp_path):
        ids = _made(world)
        _shut(store)
        for method, path in DOORS:
            body: Any = None
            if path == "/":
                entry = {"request": {"method": "GET", "url": f"Observation/{ids['id']}"}}
                body = {"resourceType": "Bundle", "type": "batch", "entry": [entry]}
            elif method == "POST":
                body = ASKED
            said = world.ehr(method, path.format(missing="none", **ids), body)
            inner = [said.status_code]
            if path == "/" and said.status_code == 200:
                inner = [int(one["response"]["status"][:3]) for one in said.json()["entry"]]
            assert min(inner) >= 500, (method, path, said.status_code)
            assert "zqaudit" not in said.text.casefold(), (method, path)


def _made(world: World) -> dict[str, str]:
    """Records of the asker's own, which it would see."""
    patient = world.ehr.create(
        {"resourceType": "Patient", "name": [{"family": "Zqaudit", "given": ["A"]}], "birthDate": "1980-01-01",
         "identifier": [{"system": "urn:mrn", "value": "1"}]}
    )["id"]  # fmt: skip
    made = world.ehr.create(
        {"resourceType": "Observation", "status": "final", "code": {"text": "zqaudit"},
         "subject": {"reference": f"Patient/{patient}"}}
    )  # fmt: skip
    assert world.ehr("GET", f"/Observation/{made['id']}").status_code == 200
    return {"id": made["id"], "patient": patient}


def _shut(store: DbStore) -> None:
    """From now on no record can be written."""
    store.database.write(lambda s: s.connection.execute("ALTER TABLE audit RENAME TO audit_gone") and None)
