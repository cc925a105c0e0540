"""The CapabilityStatement keeps what SDOH Clinical Care asks of a Coordination Platform, and what it says works."""

import json
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.db.store import DbStore
from gateway.adapters.files.packages import PackageFolder
from tests.adapters.http.conftest import World, world_over
from tests.support.shared import SHARED

GUIDE = "hl7.fhir.us.sdoh-clinicalcare-3.0.0.tgz"
VALUES = {"date": "ge2020", "reference": "x", "token": "x", "string": "x", "uri": "urn:x", "composite": "x$x"}


@cache
def asked() -> list[dict[str, Any]]:
    """What the guide asks of the server, by resource type."""
    assert SHARED is not None
    with tarfile.open(SHARED / "packages" / GUIDE) as archive:
        file = archive.extractfile("package/CapabilityStatement-SDOHCC-CoordinationPlatform.json")
        assert file is not None
        statement = json.loads(file.read())
    found: list[dict[str, Any]] = next(rest for rest in statement["rest"] if rest["mode"] == "server")["resource"]
    return found


def told(small: World) -> dict[str, dict[str, Any]]:
    """What the gateway says of itself, by resource type."""
    return {one["type"]: one for one in small.http.get("/fhir/metadata").json()["rest"][0]["resource"]}


@pytest.fixture
def small(sqlite_store: DbStore, tmp_path: Path) -> Iterator[World]:
    """A gateway over SQLite."""
    yield from world_over(sqlite_store, tmp_path)


def test_every_interaction_parameter_and_include_of_the_guide_is_stated(small: World) -> None:
    missing, ours = [], told(small)
    for wanted in asked():
        type_, have = wanted["type"], ours[wanted["type"]]
        codes = {one["code"] for one in have["interaction"]}
        kinds = {one["name"]: one["type"] for one in have["searchParam"]}
        missing += [f"{type_} {one['code']}" for one in wanted.get("interaction", ()) if one["code"] not in codes]
        missing += [
            f"{type_}?{one['name']}" for one in wanted.get("searchParam", ()) if kinds.get(one["name"]) != one["type"]
        ]
        for include in wanted.get("searchInclude", ()):
            code = include.split(":")[1]  # the guide writes HealthCareService once, and a target type once
            missing += [f"{type_}:{code}"] * (f"{type_}:{code}" not in have["searchInclude"])
    assert missing == []


def test_every_parameter_and_include_that_is_stated_for_the_guide_answers(small: World) -> None:
    failed = []
    for wanted in asked():
        type_ = wanted["type"]
        paths = [f"{one['name']}={VALUES[one['type']]}" for one in wanted.get("searchParam", ())]
        paths += [f"_include={type_}:{':'.join(one.split(':')[1:])}" for one in wanted.get("searchInclude", ())]
        for path in paths:
            said = small.ehr("GET", f"/{type_}?{path}", Prefer="handling=strict")
            failed += [f"{type_}?{path} {said.status_code}"] * (said.status_code != 200)
    assert failed == []


def test_supported_profiles_are_those_that_validation_has_loaded(
    small: World, sqlite_store: DbStore, tmp_path: Path
) -> None:
    assert not any("supportedProfile" in one for one in told(small).values())
    assert SHARED is not None
    PackageFolder(tmp_path / "packages").add(SHARED / "packages" / GUIDE)
    for loaded in world_over(sqlite_store, tmp_path):
        said = {type_: one.get("supportedProfile", []) for type_, one in told(loaded).items()}
        base = "http://hl7.org/fhir/us/sdoh-clinicalcare/StructureDefinition/SDOHCC-"
        assert {f"{base}TaskForPatient", f"{base}TaskForReferralManagement"} <= set(said["Task"])
        for type_, urls in said.items():
            wanted: list[str] = next((one.get("supportedProfile", []) for one in asked() if one["type"] == type_), [])
            assert {url for url in wanted if url.startswith(base)} <= set(urls), type_


def test_what_a_referral_includes_comes_along(small: World) -> None:
    patient = small.ehr.create({"resourceType": "Patient", "name": [{"family": "Zq"}]})
    subject = {"reference": f"Patient/{patient['id']}"}
    condition = small.ehr.create({"resourceType": "Condition", "subject": subject})
    info = {"reference": f"Condition/{condition['id']}"}
    order = small.ehr.create(
        {"resourceType": "ServiceRequest", "status": "active", "intent": "order", "subject": subject,
         "code": {"text": "x"}, "supportingInfo": [info]}
    )  # fmt: skip
    procedure = small.ehr.create({"resourceType": "Procedure", "status": "completed", "subject": subject})
    output = {"type": {"text": "x"}, "valueReference": {"reference": f"Procedure/{procedure['id']}"}}
    task = {"resourceType": "Task", "status": "requested", "intent": "order", "for": subject,
            "focus": {"reference": f"ServiceRequest/{order['id']}"}, "output": [output]}  # fmt: skip
    small.ehr.create(task)
    for query, types in (
        (f"Task?output=Procedure/{procedure['id']}&_include=Task:output&_include=Task:focus",
         {"Task", "Procedure", "ServiceRequest"}),
        (f"ServiceRequest?supporting-info=Condition/{condition['id']}&_include=ServiceRequest:supporting-info",
         {"ServiceRequest", "Condition"}),
    ):  # fmt: skip
        found = small.ehr("GET", f"/{query}").json()
        assert {one["resource"]["resourceType"] for one in found["entry"]} == types, query
