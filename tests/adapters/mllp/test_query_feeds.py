"""A query is read as its sender's messages are: the charset agreed for its feed counts for what it asks too."""

from functools import partial
from pathlib import Path

import pytest

from gateway.settings import read_settings
from tests.adapters.mllp import test_queries as queries
from tests.support.mllp import framed


def test_a_question_in_the_charset_of_its_feed_finds_the_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds = {"west": {"senders": ["EHR^WEST"], "charset": "8859/1"}}
    monkeypatch.setattr(queries, "read_settings", partial(read_settings, mllp_feeds=feeds))
    hub = queries.Hub(tmp_path)
    try:
        person = queries.patient("h", "urn:oid:1.2.3", "c1712345")
        person["name"][0]["family"] = "Zqmüller"
        hub.save(person, queries.consent("ch", "h"))
        text = (
            "MSH|^~\\&|EHR|WEST|DOORWAY|HUB|20260105101500||QBP^Q22^QBP_Q21|Q1|P|2.5\r"
            f"QPD|IHE Query|T77|{queries.PERSON.replace('Zqarrow', 'Zqmüller')}\r"
        )
        hub._peer.send(framed(text.encode("iso8859-1")))
        answer = hub._peer.answer()
    finally:
        hub.close()
    assert b"\rQAK|T77|OK|" in answer
    assert "Zqmüller".encode("iso8859-1") in answer
