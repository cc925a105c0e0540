"""Every stated decision of the samples, and every Consent of the PCF package read without a repair."""

import json
import tarfile
from datetime import UTC
from typing import Any

import pytest

from gateway.consent.decide import decide
from gateway.consent.read import read_consent
from gateway.consent.rules import Enforcement
from tests.consent.build import words
from tests.support.shared import SHARED

assert SHARED is not None  # this folder is collected only where the samples are
SAMPLES = SHARED / "samples" / "consent"
REQUESTS = [json.loads(line) for line in SAMPLES.joinpath("requests.ndjson").read_text().splitlines()]
STATED = {d["id"]: d for d in map(json.loads, SAMPLES.joinpath("decisions.ndjson").read_text().splitlines())}


@pytest.mark.parametrize("request_line", REQUESTS, ids=[r["id"] for r in REQUESTS])
def test_the_decision_is_the_one_that_the_source_states(request_line: dict[str, Any]) -> None:
    stated, said = STATED[request_line["id"]], decide(request_line, words())
    assert said["decision"] == stated["decision"]
    if "resources_permitted" in stated:
        permitted = [r["reference"] for r in said["resources"] if r["decision"] == "permit"]
        assert sorted(permitted) == sorted(stated["resources_permitted"])
    if "obligations" in stated:
        assert said["obligations"] == stated["obligations"]


def test_every_consent_of_the_pcf_package_is_enforceable_as_it_is() -> None:
    assert SHARED is not None
    with tarfile.open(SHARED / "packages" / "ihe.iti.pcf-1.1.1.tgz") as package:
        files = [m for m in package.getmembers() if "/Consent-" in m.name]
        consents = [json.loads(f.read()) for f in map(package.extractfile, files) if f is not None]
    read = [read_consent(c, zone=UTC, vocabulary=words(), dialect="pcf") for c in consents]
    assert len(read) > 15
    assert {d.status for d in read} == {Enforcement.ENFORCEABLE}
    assert [d.warnings for d in read if d.warnings] == []
