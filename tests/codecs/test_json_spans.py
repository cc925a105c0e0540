"""Where members lie is known without a second look for those that are edited; it is where a walk finds them."""

import pytest

from gateway.codecs.json_text import _loose_members, read, read_own

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


@pytest.mark.parametrize("text", TEXTS)
def test_members_lie_where_a_walk_finds_them(text: str) -> None:
    walked = {name: (start, end) for name, start, _, end in _loose_members(text, text.index("{"))}
    assert dict(read(text.encode()).spans) == walked
    compact = text.strip()
    walked = {name: (start, end) for name, start, _, end in _loose_members(compact, 0)}
    assert dict(read_own(compact).spans) == walked


@pytest.mark.parametrize("text", TEXTS)
def test_own_text_is_read_as_any_other_to_the_last_digit(text: str) -> None:
    own, other = read_own(text.strip()), read(text.encode())
    assert own.resource == other.resource
    assert repr(own.resource) == repr(other.resource)
