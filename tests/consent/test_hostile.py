"""Whatever a line holds: a decision, or an error with a place; never a crash."""

import random
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final

import pytest

from gateway.consent.decide import decide
from gateway.kernel.errors import Invalid
from gateway.kernel.fhir import JsonObject
from tests.consent.build import actor, consent, labels, line, observation, purposes, words

SPOILS: Final[list[Any]] = [
    None, 0, -1, True, "", "x", "2026-01-01", [], {}, [[]], [{}], {"a": 1}, [None], ["x"], [1], {"coding": 1},
    {"coding": [1]}, {"reference": 1}, {"reference": {}}, {"reference": "x/y/z"}, {"start": 5}, 1.5, "Patient/p", "#x",
]  # fmt: skip
RICH = consent(
    {
        "type": "permit", "period": {"start": "2026-01-01", "end": "2026-12-31"}, "actor": [actor("Organization/h")],
        "action": [{"coding": [{"code": "access"}]}], "purpose": purposes("TREAT"), "securityLabel": labels("N"),
        "class": [{"system": "x", "code": "Observation"}], "code": [{"coding": [{"system": "s", "code": "1"}]}],
        "dataPeriod": {"start": "2020"}, "data": [{"meaning": "instance", "reference": {"reference": "Observation/o"}}],
        "provision": [{"type": "deny", "securityLabel": labels("SDV")}],
    },
    policy=[{"uri": "urn:x", "authority": "y"}], policyRule={"coding": [{"system": "s", "code": "OPTIN"}]},
    verification=[{"verified": True}], sourceReference={"reference": "DocumentReference/1"},
    extension=[{"url": "http://x/replaces", "valueReference": {"reference": "Consent/z"}}], meta={"profile": ["p"]},
    contained=[{"resourceType": "Organization", "id": "x", "identifier": [{"system": "s", "value": "v"}]}],
)  # fmt: skip
FIVE: JsonObject = {
    "resourceType": "Consent", "id": "five", "status": "active", "subject": {"reference": "Patient/p"},
    "decision": "permit", "period": {"end": "2027"}, "grantee": [{"reference": "Organization/a"}],
    "provision": [{"resourceType": [{"code": "Observation"}], "provision": [{"actor": [actor("Organization/h")]}]}],
}  # fmt: skip
RELATED: Final[list[JsonObject]] = [
    {"resourceType": "Organization", "id": "h", "identifier": [{"system": "s", "value": "v"}]},
    {
        "resourceType": "Group",
        "id": "g",
        "member": [{"entity": {"reference": "Practitioner/a"}, "period": {"start": "2020"}}],
    },
    {"resourceType": "PractitionerRole", "id": "r", "practitioner": {"reference": "Practitioner/a"}},
]
DIALECTS = ["r4", "google", "leap-flip", "mii", "pcf", "r4-spec-narrative", "r5"]


def paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from paths(value, (*path, key))


def test_spoilt_lines_are_answered_or_refused_with_a_place() -> None:
    rng, decided, places = random.Random(4), 0, []
    for number in range(700):
        resources = [observation("o", "N", effectivePeriod={"start": "2026-01-01"}, performer=[{"reference": "x"}])]
        question = deepcopy(line([RICH, FIVE], resources, related=RELATED, dialect=DIALECTS[number % 7]))
        for _ in range(rng.randrange(1, 3)):
            path = rng.choice([one for one in paths(question) if one])
            node = question
            for key in path[:-1]:
                node = node[key]
            node[path[-1]] = deepcopy(rng.choice(SPOILS))
        try:
            decide(question, words())
            decided += 1
        except Invalid as error:
            places.append(error.at)
    assert decided > 450
    assert all(places)


@pytest.mark.parametrize("element", ["period", "dataPeriod"])
@pytest.mark.parametrize(
    ("bounds", "decision"),
    [
        ({}, "permit"),
        ({"start": "2026-01-01", "end": "2026-12-31"}, "permit"),
        ({"strat": "2026-01-01"}, "deny"),
        ({"start": "2026-01-01", "_end": {"extension": [{"url": "urn:x", "valueCode": "unknown"}]}}, "deny"),
        ({"start": "2026-01-01", "until": "2026-05-01"}, "deny"),
    ],
)
def test_a_bound_that_nobody_can_read_is_no_open_end(element: str, bounds: JsonObject, decision: str) -> None:
    asked = line([consent({"type": "permit", element: bounds})], [observation(effectiveDateTime="2026-02-01")])
    said = decide(asked, words())
    assert said["resources"][0]["decision"] == decision
