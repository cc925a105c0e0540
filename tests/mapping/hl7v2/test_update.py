"""Updating what is stored: absent is unchanged, a field replaces its own, two quotes delete."""

from typing import Any

import pytest

from gateway.mapping.hl7v2.update import merge_update
from tests.mapping.hl7v2.build import converter

UPDATES = converter().tables.updates
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "1",
    "active": True,
    "birthDate": "1980-05-12",
    "name": [{"use": "official", "family": "Zqa"}, {"use": "nickname", "given": ["Mia"]}],
    "telecom": [{"system": "phone", "use": "home", "value": "1"}, {"system": "phone", "use": "work", "value": "2"}],
    "identifier": [{"system": "a", "value": "1"}, {"system": "b", "value": "2"}],
    "extension": [{"url": "x", "valueString": "1"}, {"url": "y", "valueString": "2"}],
    "deceasedBoolean": False,
}


def after(said: dict[str, Any], *deleted: str) -> dict[str, Any]:
    return merge_update(PATIENT, {"resourceType": "Patient", "id": "1", **said}, deleted, updates=UPDATES)


def test_absent_is_unchanged() -> None:
    assert after({}) == PATIENT


def test_a_new_resource_is_what_the_message_says() -> None:
    assert merge_update(None, {"resourceType": "Patient", "id": "2"}, updates=UPDATES) == {
        "resourceType": "Patient",
        "id": "2",
    }


HOME = {"system": "phone", "use": "home", "value": "9"}
OTHER = {"system": "c", "value": "3"}
Y = {"url": "y", "valueString": "3"}
FAMILY = {"use": "official", "family": "Zqb"}


@pytest.mark.parametrize(
    ("said", "element", "result"),
    [
        ({"name": [FAMILY]}, "name", [FAMILY, PATIENT["name"][1]]),
        ({"telecom": [HOME]}, "telecom", [HOME, PATIENT["telecom"][1]]),
        ({"identifier": [OTHER]}, "identifier", [*PATIENT["identifier"], OTHER]),
        ({"extension": [Y]}, "extension", [PATIENT["extension"][0], Y]),
    ],
)
def test_an_item_replaces_the_item_with_its_key(said: dict[str, Any], element: str, result: Any) -> None:
    assert after(said)[element] == result


def test_one_choice_takes_the_place_of_the_other() -> None:
    out = after({"deceasedDateTime": "2025"})
    assert "deceasedBoolean" not in out
    assert out["deceasedDateTime"] == "2025"


@pytest.mark.parametrize(
    ("path", "element", "left"),
    [
        ("birthDate", "birthDate", None),
        ("telecom[use=home]", "telecom", PATIENT["telecom"][1:]),
        ("extension[url=x]", "extension", PATIENT["extension"][1:]),
        ("identifier", "identifier", PATIENT["identifier"]),
        ("contact", "contact", None),
    ],
)
def test_a_delete_takes_its_element_only(path: str, element: str, left: Any) -> None:
    assert after({}, path).get(element) == left


def test_a_stay_keeps_its_beginning_when_only_the_end_is_told() -> None:
    before = {
        "resourceType": "Encounter",
        "id": "1",
        "period": {"start": "2025-01-01"},
        "hospitalization": {"admitSource": {"text": "x"}},
    }
    said = {
        "resourceType": "Encounter",
        "id": "1",
        "period": {"end": "2025-01-03"},
        "hospitalization": {"dischargeDisposition": {"text": "y"}},
    }
    out = merge_update(before, said, updates=UPDATES)
    assert out["period"] == {"start": "2025-01-01", "end": "2025-01-03"}
    assert set(out["hospitalization"]) == {"admitSource", "dischargeDisposition"}
