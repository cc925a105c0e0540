"""JSON text: refused where parsers disagree, kept to the last digit, changed only where asked."""

import copy
import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.codecs import json_text
from gateway.codecs.json_text import Exact
from gateway.kernel.errors import Malformed

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcdé\\\"", max_size=4), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":2}',
        b'{"x":{"a":1,"a":2}}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":0.' + b"9" * 5000 + b"}",
        b'{"a":"zq\\u0000"}',
        b'{"a":"zq\x00"}',
        b'{"a":"zq\n"}',
        b'{"a":"\\ud800"}',
        b'{"a\\u0000":1}',
        b'{"a":"\xff"}',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"",
        b"   ",
        b"[]",
        b'"zq"',
        b"{",
        b'{"a"',
        b'{"a":',
        b'{"a":1',
        b'{"a":1,',
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a":01}',
        b'{"a":1}{"b":2}',
        b'{"a":tru}',
        b'{"a":1}x',
    ],
)
def test_what_json_parsers_disagree_about_is_refused_without_quoting_it(body: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        json_text.parse(body, at="body")
    assert "zq" not in str(refused.value)
    assert refused.value.at.startswith("body")


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.text('abcdé\\"', max_size=4), values, max_size=5), st.sampled_from([None, 1, 3]))
def test_good_json_is_read_as_everybody_reads_it(resource: dict[str, Any], indent: int | None) -> None:
    body = json.dumps(resource, indent=indent).encode()
    document = json_text.read(body)
    assert document.resource == json.loads(body)
    assert {name: json.loads(document.slice(name)) for name in document.spans} == json.loads(body)
    assert json.loads(json_text.write(document.resource)) == json.loads(body)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["id", "meta", "resourceType", "valueDecimal", "div"]), values, max_size=5),
    st.sampled_from(["", " "]),
    st.sampled_from(["1.50", "0.5", "-2.5", "1e16", "-1e-7", "1E5", "100000000000000000000", "-0", "7", "true"]),
)
def test_the_quick_reading_is_the_slow_one(resource: dict[str, Any], space: str, number: str) -> None:
    text = json.dumps({**resource, "last": [0, {"n": "#"}]}, ensure_ascii=False, separators=("," + space, ":" + space))
    body = text.replace('"#"', number).encode()
    quick, slow = json_text.read(body), json_text._read(body, "body")
    assert json_text.write(quick.resource) == json_text.write(slow.resource)
    assert repr(quick.resource) == repr(slow.resource)
    assert (quick.text, dict(quick.spans)) == (slow.text, dict(slow.spans))
    assert _kinds(quick.resource) == _kinds(slow.resource)


def _kinds(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: _kinds(value) for name, value in node.items()}
    return [_kinds(one) for one in node] if isinstance(node, list) else type(node)


@pytest.mark.parametrize(
    "body", [b'{"a":"\\u0000"}', b'{"a":1,"a":1}', b'{"a":"\\ud800"}', b"{%b}" % (b'"a":[' * 70 + b"]" * 70)]
)
def test_compact_text_is_held_to_the_same_rules(body: bytes) -> None:
    with pytest.raises(Malformed):
        json_text.read(body)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["reference", "url", "value", "display", "div", "k:1"]),
            st.sampled_from(["k:1", "k:2", "Patient/1", '<a href="k:1">', ",", "k:1\\", "é"]),
        ),
        max_size=6,
    ),
    st.sampled_from(["", " "]),
    st.sampled_from(
        [{"k:1": "Patient/7"}, {"k:1": "k:2", "k:2": "Patient/1"}, {"k:1": "a", "k:2": "b"}, {",": "x", ":": "y"}]
    ),
    st.integers(0, 1),
)
def test_links_are_rewritten_alike_by_the_quick_way_and_the_slow_one(
    members: list[tuple[str, str]], space: str, targets: dict[str, str], many: int
) -> None:
    targets = targets | {f"other:{n}": f"Patient/{n}" for n in range(20 * many)}
    nodes = [{name: value} for name, value in members]
    text = json.dumps({"n": nodes}, ensure_ascii=False, separators=("," + space, ":" + space))
    assert json_text.with_links(text, targets) == json_text._with_links(text, targets)


@pytest.mark.parametrize(
    "resource", ['{"resourceType":"Patient","n":[1,{"a":"é"}]}', '{"resourceType":"P","v":1.10}', "7"]
)
def test_an_entry_of_a_compact_bundle_is_read_as_if_it_stood_alone(resource: str) -> None:
    whole = json_text.read(f'{{"entry":[{{"resource":{resource}}}]}}'.encode())
    (text,) = json_text.entry_texts(whole)
    assert text == resource
    try:
        alone = json_text.read(text.encode())
    except Malformed:
        with pytest.raises(Malformed):
            json_text.read_part(text, compact=whole.compact)
        return
    part = json_text.read_part(text, compact=whole.compact)
    assert (part.resource, part.text, dict(part.spans)) == (alone.resource, alone.text, dict(alone.spans))
    assert repr(part.resource) == repr(alone.resource)


def test_an_escaped_backslash_before_u0000_is_no_nul() -> None:
    assert json_text.parse(b'{"a":"\\\\u0000"}') == {"a": "\\u0000"}


@pytest.mark.parametrize(
    "digits",
    ["0.10", "1.00", "123456789012345678901234567890.123456789", "1e2", "-0.0", "7.0E-10", "100000000000000000000"],
)
def test_decimals_keep_their_digits_through_reading_copying_and_writing(digits: str) -> None:
    read = json_text.parse(f'{{"value":{digits}}}'.encode())
    assert isinstance(read["value"], Exact)
    assert json_text.write(copy.deepcopy(read)) == f'{{"value":{digits}}}'.encode()
    assert digits.encode() in json_text.write_pretty(json_text.write(read))


@settings(max_examples=80, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["id", "meta", "resourceType", "name", "x"]), values, max_size=5),
    st.sampled_from([None, 2]),
)
def test_setting_id_and_meta_changes_nothing_else(resource: dict[str, Any], indent: int | None) -> None:
    body = json.dumps(resource, indent=indent).encode()
    made = json_text.with_identity(body, "p1", {"versionId": "3"})
    seen = json.loads(made)
    assert seen == {**resource, "id": "p1", "meta": {"versionId": "3"}}
    before, after = json_text.read(body), json_text.read(made)
    for name in resource.keys() - {"id", "meta"}:
        assert after.slice(name) == before.slice(name)


def test_the_texts_of_bundle_entries_are_cut_out_unchanged() -> None:
    body = b'{"entry" : [ {"request":{"url":"a"},"resource" : {"v": 1.10 }} , {"x":1},{}, 3,{"resource":{}}]}'
    assert json_text.entry_texts(json_text.read(body)) == ['{"v": 1.10 }', None, None, None, "{}"]
    assert json_text.entry_texts(json_text.read(b'{"entry":[]}')) == []


@pytest.mark.parametrize("nested", ["1", '{"v":"}]"}', "[[],{}]"])
def test_the_texts_of_a_compact_bundle_are_those_that_a_walk_finds(nested: str) -> None:
    body = f'{{"entry":[{{"a":[3],"resource":{{"n":{nested},"t":"é"}}}},{{"x":1}},{{"resource":7}},4]}}'.encode()
    compact = json_text.read(body)
    assert compact.compact
    assert json_text.entry_texts(compact) == json_text.entry_texts(json_text._read(body, "body"))


@pytest.mark.parametrize("strings", ["", '"]","[{","}"', '"' + "[" * 90 + '"'])
def test_depth_is_counted_to_the_level_whatever_brackets_strings_hold(strings: str) -> None:
    wide = ",".join(['{"a":[1]}'] * 70)
    for levels, good in ((json_text.DEPTH_LIMIT, True), (json_text.DEPTH_LIMIT + 1, False)):
        deep = "[" * (levels - 2) + strings + "]" * (levels - 2)
        for body in (f'{{"entry":[{wide},{deep}]}}', f'{{ "entry": [{deep},{wide}]}}'):
            if good:
                json_text.read(body.encode())
            else:
                with pytest.raises(Malformed, match="too deeply"):
                    json_text.read(body.encode())


def test_links_are_rewritten_in_references_uris_and_narrative_but_not_in_identifiers() -> None:
    resource = {
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": "urn:uuid:1"}],
        "subject": {"reference": "urn:uuid:1"},
        "instantiatesUri": ["urn:uuid:1", "urn:uuid:2"],
        "text": {"div": '<div><a href="urn:uuid:1">urn:uuid:1</a></div>'},
        "n": 1.10,
    }
    text = json.dumps(resource).replace("1.1}", "1.10}")
    seen = json_text.with_links(text, {"urn:uuid:1": "Patient/7"})
    assert seen.endswith("1.10}")
    made = orjson.loads(seen)
    assert made["identifier"] == resource["identifier"]
    assert made["subject"]["reference"] == "Patient/7"
    assert made["instantiatesUri"] == ["Patient/7", "urn:uuid:2"]
    assert made["text"]["div"] == '<div><a href="Patient/7">urn:uuid:1</a></div>'


@pytest.mark.parametrize(
    "text",
    [
        '{"resourceType":"Patient","id":"a-1","meta":{"source":"x"},"name":[{"family":"Azq"}],"active":true}',
        '{"resourceType":"Observation","id":"b","meta":{},"valueQuantity":{"value":0.10}}',
        '{"id":"c","resourceType":"Basic"}',
    ],
)
def test_our_own_text_is_read_as_any_other_and_edited_alike(text: str) -> None:
    own, strict = json_text.read_own(text), json_text.read(text.encode())
    assert own.resource == strict.resource
    assert dict(own.spans) == dict(strict.spans)
    assert ("meta" in own.spans, "none" in own.spans) == ("meta" in strict.spans, False)
    assert json_text.write(own.resource) == json_text.write(strict.resource)
    for edit in (json_text.document_with_identity, json_text.with_last_member):
        assert edit(json_text.read_own(text), "link", {"a": 1}) == edit(strict, "link", {"a": 1})
