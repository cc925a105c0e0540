"""Ids that messages do not carry: the quick ways give what the plain ones give."""

import uuid

import orjson
from hypothesis import given
from hypothesis import strategies as st

from gateway.kernel.identifiers import NAMESPACE, resource_id
from gateway.mapping.hl7v2.identity import identifier_key
from tests.mapping.hl7v2.build import PID, convert, converter, message, only

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.lists(WORDS, max_size=5))
def test_an_id_is_the_uuid_of_version_five_that_the_library_makes(parts: list[str]) -> None:
    name = "".join(f"{len(part)}:{part}" for part in parts)
    assert resource_id(*parts) == str(uuid.uuid5(NAMESPACE, name))


def test_the_type_that_stands_first_in_the_rule_names_the_thing() -> None:
    numbers = [
        {"system": "a", "value": "1", "type": {"coding": [{"code": "SS"}]}},
        {"system": "b", "value": "2", "type": {"coding": [{"code": "PI"}]}},
        {"system": "c", "type": {"coding": [{"code": "MR"}]}},
    ]
    ranks = {"MR": 0, "PI": 1}
    assert identifier_key(numbers, ranks) == ("b", "PI", "2")
    assert identifier_key([*numbers, {"system": "d", "value": "4"}], ranks) == ("d", "MR", "4")
    assert identifier_key(numbers, {}) == ("a", "SS", "1")
    assert identifier_key(None, ranks) is None


def test_a_code_with_an_escape_is_read_as_text() -> None:
    found = convert("ADT^A01", PID + r"||||||||A\T\B^^L")
    assert only(found, "Patient")["maritalStatus"]["coding"][-1]["code"] == "A&B"


def test_what_is_remembered_of_one_message_does_not_change_with_the_next() -> None:
    first = message("ADT^A01", PID, "PV1|1|I|3W^1^A||||9^Zqdoc^Ann|||MED||||7|||||V1", "DG1|1||F10^Zq^I10|||A")
    other = message("ADT^A01", PID, "PV1|1|I|3W^1^A||||9^Zqdoc^Ann|||MED^^L||||7^x|||||V2", "DG1|1||F10^Zq^I10|||A")
    before = converter().convert(first).bundle_bytes()
    changed = converter().convert(other)
    for resource in changed.resources:  # a caller that changes what is its own
        if f"{resource['resourceType']}/{resource['id']}" not in changed.things:
            for element in resource.values():
                if isinstance(element, (dict, list)):
                    element.clear()
    again = converter().convert(first)
    assert again.bundle_bytes() == before == orjson.dumps(again.bundle())
