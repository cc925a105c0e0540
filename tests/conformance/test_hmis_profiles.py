"""Every resource of an HMIS export against the profiles that it claims, with HL7's packages at hand."""

import json
from collections.abc import Iterator
from random import Random

import pytest

from gateway.adapters.files.data import read_data
from gateway.adapters.files.packages import PackageFolder
from gateway.adapters.files.validation import open_validator
from gateway.codecs.fhir_json import second_opinion
from gateway.mapping.hmis.spec import load_spec
from gateway.profiles.validate import Validator
from tests.support.hmis import convert_lines, export_of
from tests.support.shared import SHARED

assert SHARED is not None
SAMPLES = ("wh-base-six", "wh-upgrade-2024in", "wh-upgrade-2026out", "wh-imp-six-enrollment_with_deletes_test_files")
CLAIMED = {
    "Consent", "ObservationAssessment", "ObservationProgramEnrollmentStatus", "ServiceRequest",
    "TaskForReferralManagement",
}  # fmt: skip


@pytest.fixture(scope="module", name="validator")
def validator_(tmp_path_factory: pytest.TempPathFactory) -> Validator:
    assert SHARED is not None
    folder = tmp_path_factory.mktemp("packages")
    for name in ("hl7.fhir.r4.core-4.0.1", "hl7.fhir.us.core-7.0.0", "hl7.fhir.us.sdoh-clinicalcare-3.0.0"):
        PackageFolder(folder).add(SHARED / "packages" / f"{name}.tgz")
    return open_validator(folder)


def exports() -> Iterator[dict[str, bytes]]:
    """Shared samples, and generated exports with cells of every kind."""
    assert SHARED is not None
    for name in SAMPLES:
        yield {file.name: file.read_bytes() for file in sorted((SHARED / "samples" / "hmis" / name).glob("*.csv"))}
    for seed, version in ((21, "2026"), (22, "2024")):
        yield export_of(load_spec(read_data, version), Random(seed), rows=12, nasty=0.1)


def test_what_claims_a_profile_conforms_to_it(validator: Validator) -> None:
    claimed: set[str] = set()
    refused: list[str] = []
    for files in exports():
        lines, _ = convert_lines(files)
        for line in (line for its in lines.values() for line in its[:60]):
            resource = json.loads(line)
            claimed |= {url.partition("SDOHCC-")[2] for url in resource["meta"].get("profile", ())}
            found = [issue for issue in validator.validate(resource) if issue.severity == "error"]
            refused += [f"{resource['resourceType']} {issue.expression}: {issue.diagnostics}" for issue in found]
            refused += [str(second_opinion(resource))] if second_opinion(resource) else []
    assert refused == []
    assert claimed == CLAIMED
