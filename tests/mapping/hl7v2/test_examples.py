"""A folder of tests/examples/hl7v2 is a test: message.hl7 must give expected.json.

``python -m tests.mapping.hl7v2.test_examples`` writes the missing ones, to be read before they are committed.
"""

import sys
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.adapters.files.hl7v2_tables import load_tables
from gateway.codecs.er7 import Message
from gateway.codecs.fhir_json import second_opinion
from gateway.mapping.hl7v2.convert import Conversion, Converter, Feed

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "hl7v2"
FOLDERS = sorted(folder.name for folder in EXAMPLES.iterdir())


@cache
def converter(site: str) -> Converter:
    return Converter(load_tables(site))


@cache
def converted(name: str) -> Conversion:
    folder = EXAMPLES / name
    said = folder / "feed.json"
    feed = Feed(**orjson.loads(said.read_bytes())) if said.exists() else Feed()
    return converter(feed.site).convert(Message.parse((folder / "message.hl7").read_bytes()), feed)


def told(conversion: Conversion) -> dict[str, Any]:
    """What the example holds: the Bundle, and what does not stand in it."""
    return {
        "bundle": orjson.loads(conversion.bundle_bytes()),
        "effects": [[e.kind, e.survivor, e.loser, e.detail] for e in conversion.effects],
        "deletions": {k: list(v) for k, v in conversion.deletions.items()},
        "residue": [[left.place, left.reason] for left in conversion.residue],
    }


@pytest.mark.parametrize("name", FOLDERS)
def test_the_message_gives_what_is_expected(name: str) -> None:
    assert told(converted(name)) == orjson.loads((EXAMPLES / name / "expected.json").read_bytes())


@pytest.mark.parametrize("name", FOLDERS)
def test_every_resource_is_r4(name: str) -> None:
    for resource in converted(name).resources:
        assert not second_opinion(orjson.loads(orjson.dumps(resource, default=float)))


if __name__ == "__main__":
    for example in FOLDERS:
        target = EXAMPLES / example / "expected.json"
        if not target.exists() or "--all" in sys.argv:
            text = orjson.dumps(told(converted(example)), option=orjson.OPT_INDENT_2)
            target.write_bytes(text + b"\n")
