"""References found in a text are those that a walk finds, whatever a sender writes around them."""

import random

import pytest

from gateway.codecs.json_text import parse, write
from gateway.kernel.fhir import JsonObject, references_in, references_of

TEXTS = [
    '{"subject": {"reference": "Patient/1"}, "a": [{"reference" : "Patient/2", "display": "reference"}]}',
    '{"a": "\\"reference\\": \\"Patient/3\\"", "b": {"reference": "Patient/4"}}',
    '{"x\\"reference": "Patient/5", "b": {"\\u0072eference": "Patient/6"}}',
    '{"reference": {"reference": "Patient/7"}, "b": {"reference": 8}, "c": {"reference": null}}',
    '{"a": "reference", "b": "Patient/9", "c": {"reference":\n\t"Patient/10"}}',
    '{"a": {"references": "Patient/11", "reference": ""}, "b": {"reference": ["Patient/12"]}}',
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_gives_what_its_tree_gives(text: str) -> None:
    resource = parse(text.encode())
    assert references_of(text, resource) == list(references_in(resource))


def test_random_trees_give_the_same_from_their_text() -> None:
    rng = random.Random(3)
    words = ["reference", "Patient/1", 'a"reference', "\\", "é", "x: {", "Group/2"]

    def node(depth: int) -> object:
        kind = rng.randrange(4 if depth else 2)
        if kind < 2:
            return rng.choice([*words, 1, None, True])
        if kind == 2:
            return [node(depth - 1) for _ in range(rng.randrange(3))]
        return {rng.choice(["reference", *words]): node(depth - 1) for _ in range(rng.randrange(4))}

    seen = 0
    for _ in range(2_000):
        made: JsonObject = {"resourceType": "Basic", "reference": "Patient/0", "inner": node(4)}
        text = write(made).decode()
        assert references_of(text, made) == list(references_in(made))
        seen += "\\" not in text
    assert seen > 300
