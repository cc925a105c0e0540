"""What a loaded package adds to the API."""

import io
import tarfile
from pathlib import Path

import orjson

from gateway import wiring
from gateway.adapters.files.packages import PackageFolder
from gateway.settings import Settings
from tests.adapters.http.conftest import Caller, Http, token_for

ROLE = {
    "resourceType": "SearchParameter", "url": "urn:zq:role", "name": "Role", "status": "active", "description": "zq",
    "code": "role", "base": ["CareTeam"], "type": "token", "expression": "CareTeam.participant.role",
}  # fmt: skip
AGAIN = {**ROLE, "url": "urn:zq:status", "code": "status", "expression": "CareTeam.name"}


def package(folder: Path) -> Path:
    """A package of two SearchParameters."""
    file = folder / "zq-1.0.0.tgz"
    with tarfile.open(file, "w:gz") as tar:
        for name, one in (
            ("package.json", {"name": "zq", "version": "1.0.0"}), ("role.json", ROLE), ("status.json", AGAIN),
        ):  # fmt: skip
            data = orjson.dumps(one)
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file


def test_a_package_adds_its_search_parameters_and_changes_none_that_ship(tmp_path: Path) -> None:
    settings = Settings(data_folder=str(tmp_path / "data"), database_url=f"sqlite:///{tmp_path}/a.db")
    team = {"resourceType": "CareTeam", "status": "active", "participant": [{"role": [{"coding": [{"code": "zq-1"}]}]}]}
    asked = []
    for round_ in range(2):
        store = wiring.open_store(settings, may_rebuild=True)
        built = wiring.build_app(settings, store)
        http = Http(built.app)
        ehr = Caller(http, token_for(store, "ehr", "Organization/h"))
        if round_ == 0:
            ehr.create(team)
        asked.append([ehr("GET", f"/CareTeam?{one}") for one in ("role=zq-1", "status=active")])
        known = [one for one in http.get("/fhir/metadata").json()["rest"][0]["resource"] if one["type"] == "CareTeam"]
        assert ("role" in {one["name"] for one in known[0]["searchParam"]}) is bool(round_)
        http.close()
        built.close()
        PackageFolder(tmp_path / "data" / "packages").add(package(tmp_path))
    assert [one.status_code for one in asked[0]] == [400, 200]
    assert [one.json()["total"] for one in asked[1]] == [1, 1]  # what was there before is found by it too
