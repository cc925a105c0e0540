"""What is cut out leaves no trace, and everything else keeps its characters."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs import json_items, json_text
from gateway.consent.redact import ElementRule, redacted, restored

RACE = ElementRule("Patient", ("extension",), ("url", "race"), frozenset({"x|RACE"}))


def test_a_member_that_is_gone_takes_its_comma_and_the_rest_keeps_its_characters() -> None:
    body = b'{ "resourceType":"Patient", "extension": [{"url":"race"}],\n "multipleBirthInteger": 2, "x":0.10 }'
    assert redacted(body, [RACE], frozenset()) == b'{ "resourceType":"Patient",\n "multipleBirthInteger": 2, "x":0.10 }'


def test_the_first_and_the_last_member_can_go() -> None:
    assert redacted(b'{"extension":[{"url":"race"}],"resourceType":"Patient"}', [RACE], frozenset()) == (
        b'{"resourceType":"Patient"}'
    )
    assert redacted(b'{"resourceType":"Patient","extension":[{"url":"race"}]}', [RACE], frozenset()) == (
        b'{"resourceType":"Patient"}'
    )


def test_other_entries_of_a_list_stay() -> None:
    body = b'{"resourceType":"Patient","extension":[{"url":"race"},{"url":"sex","valueDecimal":1.50}]}'
    assert redacted(body, [RACE], frozenset()) == (
        b'{"resourceType":"Patient","extension":[{"url":"sex","valueDecimal":1.50}]}'
    )


def test_links_to_what_is_not_seen_go_and_others_stay() -> None:
    body = (
        b'{"resourceType":"Patient","link":[{"other":{"reference":"Patient/a"}},{"other":{"reference":"Patient/b"}}]}'
    )
    assert redacted(body, [], frozenset({"Patient/a"})) == (
        b'{"resourceType":"Patient","link":[{"other":{"reference":"Patient/b"}}]}'
    )
    assert redacted(body, [], frozenset({"Patient/a", "Patient/b"})) == b'{"resourceType":"Patient"}'
    assert redacted(body, [], frozenset({"Patient/c"})) is None


def test_of_a_list_only_the_hidden_items_go_and_the_rest_keeps_its_characters() -> None:
    body = b'{"resourceType":"Patient","extension":[ {"url":"race"},\n {"url": "a", "x":1.50} , {"url":"race"} ]}'
    assert redacted(body, [RACE], frozenset()) == (b'{"resourceType":"Patient","extension":[ {"url": "a", "x":1.50} ]}')


SPACES = st.sampled_from(["", " ", "\n  "])
ITEMS = st.sampled_from(['{"url":"a"}', '{ "url" : "b" }', '{"url":"c","valueDecimal":1.50}', '{"url":"\\u00e9]"}'])


@given(st.lists(st.tuples(SPACES, ITEMS, SPACES), min_size=1, max_size=4), st.integers(1, 3), SPACES)
def test_items_that_were_added_are_cut_again_without_a_trace(
    parts: list[tuple[str, str, str]], more: int, end: str
) -> None:
    listed = ",".join(f"{before}{item}{after}" for before, item, after in parts)
    text = f'{{"resourceType":"Patient","extension":[{listed}]{end}}}'
    document = json_text.read(text.encode())
    assert [document.text[slice(*span)] for span in json_items.items_of(document, "extension")] == [p[1] for p in parts]
    longer = json_items.with_more(document, "extension", ['{"url":"race"}'] * more)
    whole = text.replace(f"[{listed}]", longer)
    assert redacted(whole.encode(), [RACE], frozenset()) == text.encode()


WHOLE = {
    "resourceType": "Patient", "id": "a", "extension": [{"url": "race"}, {"url": "x"}], "birthDate": "1950",
    "maritalStatus": {"text": "zq", "coding": [{"code": "M"}]}, "_birthDate": {"id": "b"}, "active": True,
}  # fmt: skip


def sent_over(shown: dict[str, Any], sent: dict[str, Any]) -> dict[str, Any] | None:
    whole = json_text.read(orjson.dumps(WHOLE))
    made = restored(json_text.read(orjson.dumps({"resourceType": "Patient", **sent})), shown, whole)
    return None if made is None else dict(json_text.parse(made.body))


def test_what_was_withheld_stands_beside_what_is_sent() -> None:
    shown: dict[str, Any] = {
        "resourceType": "Patient",
        "id": "a",
        "extension": [{"url": "x"}],
        "maritalStatus": {"text": "zq"},
    }
    shown["active"] = True
    kept = {"birthDate": "1950", "_birthDate": {"id": "b"}}
    assert sent_over(shown, {}) == {
        "resourceType": "Patient", "extension": [{"url": "race"}], "maritalStatus": {"coding": [{"code": "M"}]}, **kept,
    }  # fmt: skip
    sent = {"extension": [{"url": "y"}], "birthDate": "1999", "maritalStatus": {"text": "new"}, "gender": "other"}
    assert sent_over(shown, sent) == {
        "resourceType": "Patient", "extension": [{"url": "y"}, {"url": "race"}], **kept, "gender": "other",
        "maritalStatus": {"text": "new", "coding": [{"code": "M"}]},
    }  # fmt: skip


@pytest.mark.parametrize("shown", [{"extension": [{}, {"url": "x"}]}, {"extension": [{"url": "x"}, {"url": "race"}]}])
def test_where_an_item_lost_its_inside_nobody_can_tell_what_belongs_where(shown: dict[str, Any]) -> None:
    assert sent_over({**WHOLE, **shown}, {"extension": []}) is None
