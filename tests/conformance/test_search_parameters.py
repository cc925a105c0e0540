"""Our table of search parameters says what the R4 core definitions say, and package parameters can be added."""

import json
import tarfile
from functools import cache
from typing import Any

from gateway.wiring import search_definitions
from tests.support.shared import SHARED


@cache
def package(name: str) -> list[dict[str, Any]]:
    assert SHARED is not None
    [path] = (SHARED / "packages").glob(f"{name}-*.tgz")
    with tarfile.open(path) as archive:
        files = [one for one in archive if one.name.startswith("package/SearchParameter-")]
        return [json.loads(file.read()) for one in files if (file := archive.extractfile(one)) is not None]


def test_every_parameter_of_core_is_there_with_its_kind_and_targets() -> None:
    definitions = search_definitions()
    missing, wrong, count = [], [], 0
    for found in package("hl7.fhir.r4.core"):
        if "example" in found["id"] or not found.get("expression") or found["type"] == "special":
            continue
        for base in found["base"]:
            if base not in definitions.types:
                continue
            count += 1
            ours = definitions.of(base).get(found["code"])
            if ours is None:
                missing.append(f"{base}?{found['code']}")
            elif ours.kind != found["type"]:
                wrong.append(f"{base}?{found['code']}")
            elif ours.targets != ("*",) and not set(ours.targets) <= set(found.get("target", ())):
                wrong.append(f"{base}?{found['code']} targets")
    assert count > 1300
    assert not wrong
    assert {one.partition("?")[2] for one in missing} == {
        "phonetic", "composition", "message", "chromosome-variant-coordinate", "referenceseqid-variant-coordinate",
    }  # fmt: skip


def test_parameters_of_other_packages_can_be_added() -> None:
    for name in ("hl7.fhir.us.core", "hl7.fhir.us.sdoh-clinicalcare"):
        pattern = {"hl7.fhir.us.core": "hl7.fhir.us.core-7.0.0", "hl7.fhir.us.sdoh-clinicalcare": f"{name}-3.0.0"}[name]
        assert SHARED is not None
        with tarfile.open(SHARED / "packages" / f"{pattern}.tgz") as archive:
            files = [one for one in archive if one.name.startswith("package/SearchParameter-")]
            found = [json.loads(file.read()) for one in files if (file := archive.extractfile(one)) is not None]
        made = search_definitions().with_resources(found)
        for one in found:
            for base in one["base"]:
                assert one["code"] in made.of(base), (name, base, one["code"])
