"""Whatever stands in a resource, validation answers with findings: it does not fail, hang, or repeat what it read."""

import copy
import random
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.kernel.fhir import JsonObject
from tests.profiles.test_structure import VALID, VALIDATOR

ODD: list[Any] = [
    None, [], {}, "", "zqsecret", 0, -1, 1.5, True, [None], [[]], [{}], {"a": 1}, "#", "#x", ["x"], [1],
    {"url": 1}, {"reference": 5}, {"coding": "x"}, {"coding": [1]}, {"extension": [1]}, {"resourceType": 1},
    {"system": [], "code": {}}, {"url": {}, "extension": {}},
]  # fmt: skip


def places(node: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON tree."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    return [place for key in keys for place in ((*above, key), *places(node[key], (*above, key)))]


def spoiled(resource: JsonObject, chance: random.Random) -> JsonObject:
    """A copy with something odd in one place, or beside it."""
    out = copy.deepcopy(resource)
    place = chance.choice(places(out))
    node: Any = out
    for key in place[:-1]:
        node = node[key]
    key = f"_{place[-1]}" if isinstance(node, dict) and chance.random() < 0.2 else place[-1]
    node[key] = copy.deepcopy(chance.choice(ODD))
    return out


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(VALID) - 1), st.integers(0, 2**32))
def test_an_odd_value_anywhere_gives_findings_that_do_not_quote_it(index: int, seed: int) -> None:
    found = VALIDATOR.validate(spoiled(VALID[index], random.Random(seed)))
    assert not [i for i in found if "zqsecret" in i.diagnostics + i.expression]


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)
    )
)
def test_any_json_is_answered(value: Any) -> None:
    assert VALIDATOR.validate(value), "none of these is a resource"
    found = VALIDATOR.validate({"resourceType": "Patient", "name": value, "extension": value, "contained": value})
    assert all(issue.expression.startswith("Patient") for issue in found)


@pytest.mark.parametrize(
    "resource",
    [
        {"resourceType": "Patient", "text": {"status": "generated", "div": "<div>" + "<!--" * 100_000}},
        {"resourceType": "Patient", "text": {"status": "generated", "div": "<div" + ' a=""' * 50_000}},
        {"resourceType": "Patient", "name": [{"use": "z"}] * 20_000},
        {
            "resourceType": "List",
            "status": "current",
            "mode": "working",
            "contained": [{"resourceType": "Patient", "id": f"a{n}"} for n in range(5_000)],
            "entry": [{"item": {"reference": f"#a{n}"}} for n in range(5_000)],
        },
    ],
    ids=["comments", "attributes", "findings", "references"],
)
def test_size_costs_no_more_than_its_share(resource: JsonObject) -> None:
    started = time.process_time()
    found = VALIDATOR.validate(resource)
    assert time.process_time() - started < 3
    assert len(found) <= 501


def test_nesting_beyond_reason_is_refused() -> None:
    node: JsonObject = {"resourceType": "Bundle", "type": "collection"}
    for _ in range(60):
        node = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": node}]}
    assert "too-costly" in [issue.code for issue in VALIDATOR.validate(node)]
