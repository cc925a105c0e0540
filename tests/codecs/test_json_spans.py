"""Where members lie is known without a second look for those that are edited; it is where a walk finds them."""

import json

import pytest

from gateway.codecs.json_text import read, read_own

TEXTS = [
    '{"resourceType":"Patient","id":"1","meta":{"versionId":"1"},"active":true}',
    '{"resourceType" : "Patient" , "id" : "1" ,\n "meta" : { "versionId" : "1" } }',
    '{"resourceType":"Patient","meta":{"tag":[{"code":"\\u00e9"}]},"id":"1"}',
    '{"resourceType":"Patient","id":"a\\u0062","meta":{}}',
    '{"resourceType":"Patient","id":"1","meta":null}',
    '{"id":"1","resourceType":"Patient"}',
    '  {"resourceType":"Patient"}\n',
    '{"resourceType":"Observation","id":"1","meta":{"extension":[{"valueDecimal":1.50}]},"x":[1.0,2e5,12345678901234567890]}',
    "{}",
]


def looked_for(text: str, index: int) -> dict[str, tuple[int, int]]:
    """The members of the object that begins at ``index``, each value read again by Python's own scanner."""
    decoder, spans = json.JSONDecoder(), {}

    def after_space(at: int) -> int:
        while text[at] in " \t\r\n":
            at += 1
        return at

    index = after_space(index + 1)
    while text[index] != "}":
        name, index = decoder.raw_decode(text, index)
        start = after_space(after_space(index) + 1)
        _, index = decoder.raw_decode(text, start)
        spans[name] = (start, index)
        index = after_space(index)
        if text[index] == ",":
            index = after_space(index + 1)
    return spans


@pytest.mark.parametrize("text", TEXTS)
def test_members_lie_where_a_walk_finds_them(text: str) -> None:
    assert dict(read(text.encode()).spans) == looked_for(text, text.index("{"))
    assert dict(read_own(text.strip()).spans) == looked_for(text.strip(), 0)


@pytest.mark.parametrize("text", TEXTS)
def test_own_text_is_read_as_any_other_to_the_last_digit(text: str) -> None:
    own, other = read_own(text.strip()), read(text.encode())
    assert own.resource == other.resource
    assert repr(own.resource) == repr(other.resource)
