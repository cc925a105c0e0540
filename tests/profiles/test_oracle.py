"""Agreement with HL7's Java validator on our own resources and seeded faults.

``vectors/oracle.csv`` holds how many errors it found in each case, in the order in which the cases are made here
(hapi-fhir-validation 7.6.0 with hapi-fhir-validation-resources-r4, recorded once). It ran without a resolver of
references and so judged no reference target; those cases are ours alone.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from gateway.kernel.fhir import JsonObject
from gateway.profiles.issues import has_errors
from tests.profiles.faults import seeded
from tests.profiles.test_structure import VALID, VALIDATOR

ORACLE = Path(__file__).parent / "vectors" / "oracle.csv"


def cases() -> Iterator[tuple[str, JsonObject]]:
    """Every case with its name, as it was recorded."""
    for resource in VALID:
        yield f"valid-{resource['resourceType']}", resource
    faults = [fault for resource in VALID for fault in seeded(resource)]
    for number, fault in enumerate(faults, 1):
        yield f"{fault.resource['resourceType']}|{fault.kind}|{fault.expression}|{number}", fault.resource


def test_both_validators_give_the_same_verdict() -> None:
    with ORACLE.open(encoding="utf-8", newline="") as file:
        recorded = {row["case"]: int(row["errors"]) > 0 for row in csv.DictReader(file)}
    ours = {name: has_errors(VALIDATOR.validate(resource)) for name, resource in cases()}
    assert set(ours) == set(recorded)
    assert [n for n in ours if ours[n] != recorded[n] and "|reference target|" not in n] == []
