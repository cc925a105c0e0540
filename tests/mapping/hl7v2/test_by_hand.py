"""The converter that the tables are measured against says the same as they do."""

import orjson
import pytest

from gateway.bench._by_hand import admissions, by_hand
from gateway.codecs.er7 import Message
from tests.mapping.hl7v2.build import converter


@pytest.mark.parametrize("number", [0, 7, 33])
def test_what_is_written_by_hand_has_the_content_of_the_tables(number: int) -> None:
    raw = admissions(number + 1)[number]
    made = [orjson.loads(text) for text in (converter().convert(Message.parse(raw)).bundle_bytes(), by_hand(raw))]
    tables, hand = ({entry["fullUrl"]: entry for entry in bundle["entry"]} for bundle in made)
    assert tables == hand
    assert made[0]["id"] == made[1]["id"]
    assert not converter().convert(Message.parse(raw)).residue
