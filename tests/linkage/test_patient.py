"""Traits of a FHIR Patient: what each side's identifiers mean, and what they do not."""

from typing import Any

from gateway.linkage.names import Nicknames
from gateway.linkage.patient import traits_of
from gateway.linkage.traits import Reader, Traits

HMIS = "https://doorway.example/fhir/hmis/riverton"


def traits(*identifiers: dict[str, Any], **more: Any) -> Traits:
    return traits_of(
        {"resourceType": "Patient", "id": "p", "identifier": list(identifiers), **more}, Reader(Nicknames([]))
    )


def test_the_last_four_digits_that_an_hmis_knows_are_evidence() -> None:
    seen = traits({"system": f"{HMIS}/SSN-partial", "value": "xxxxx5756"})
    assert (seen.ssn, seen.ssn4) == ("", "5756")


def test_a_full_ssn_is_read_from_either_side() -> None:
    for identifier in (
        {"system": "http://hl7.org/fhir/sid/us-ssn", "value": "510345756"},
        {"system": "urn:oid:2.16.840.1.113883.4.1", "value": "510-34-5756"},
        {"type": {"coding": [{"code": "SS"}]}, "value": "510345756"},
    ):
        assert traits(identifier).ssn == "510345756"


def test_a_number_counts_only_under_its_authority() -> None:
    mine = traits({"system": "urn:oid:1.2", "value": "428837"}).numbers
    other = traits({"system": "urn:oid:1.3", "value": "428837"}).numbers
    assert mine
    assert not set(mine) & set(other)
    assert not traits({"value": "428837"}).numbers
