"""Ids that messages do not carry: the quick ways give what the plain ones give."""

import uuid
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from gateway.kernel.identifiers import NAMESPACE, resource_id
from gateway.mapping.hl7v2.identity import Identities, Resolver, identifier_key, key_text
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


def plain_id(kind: str, resource: dict[str, Any], sender: str, control_id: str) -> str:
    """The rules of identities.csv read row by row: the twin of the generated functions."""

    def part(name: str) -> tuple[str, ...] | None:
        if name in ("scope", "message", "index"):
            return {"scope": (sender,), "message": (sender, control_id), "index": ("1",)}[name]
        if name.startswith("="):
            return (name[1:],)
        if name.startswith("identifier"):
            kinds = name[11:].split(",") if name[11:] else []
            return identifier_key(resource.get("identifier"), {kind: rank for rank, kind in enumerate(kinds)})
        node: Any = resource
        for step in name.split("."):
            node = node.get(step) if isinstance(node, dict) else None
            node = node[0] if isinstance(node, list) and node and "." in name else node
        if isinstance(node, dict) and "reference" in node:
            return (node["reference"],)
        return None if node in (None, "", [], {}) else (key_text(node),)

    for row in converter().tables.identities[kind]:
        found = [(part(name.rstrip("?")), name.endswith("?")) for name in row.parts]
        if all(texts is not None or optional for texts, optional in found):
            texts = [text for one, _ in found for text in one or ("",)]
            alone = len(row.parts) == 1 and row.parts[0].startswith("identifier")
            return resource_id(*([] if alone else [kind]), *texts)
    return resource_id(kind, sender, control_id, key_text(resource))


IDENTIFIERS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "system": st.sampled_from(["a", "b"]),
            "value": st.sampled_from(["1", "2"]),
            "type": st.builds(
                lambda code: {"coding": [{"code": code}]},
                st.sampled_from(["MR", "VN", "SS", "FILL", "PLAC"]),
            ),
        },
    ),
    max_size=3,
)
ELEMENTS = st.fixed_dictionaries(
    {},
    optional={
        "identifier": IDENTIFIERS,
        "name": st.sampled_from([[{"family": "Zqvale"}], []]),
        "birthDate": st.just("1980"),
        "subject": st.just({"reference": "Patient/1"}),
        "patient": st.just({"reference": "Patient/2"}),
        "period": st.sampled_from([{}, {"start": "2026"}]),
        "code": st.just({"text": "x"}),
        "type": st.just({"text": "y"}),
    },
)


@given(st.sampled_from(sorted(converter().tables.identities)), ELEMENTS)
def test_the_generated_rules_give_the_ids_that_the_table_says(kind: str, elements: dict[str, Any]) -> None:
    resource = {"resourceType": kind, **elements}
    resolver = Resolver(Identities(converter().tables), "S", "C")
    assert resolver.id_of(resource) == plain_id(kind, resource, "S", "C")


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


def test_a_doctor_who_is_a_number_here_and_a_name_there_keeps_both() -> None:
    visit = "PV1|1|I|3W^1^A||||77^^^^^^^^NPI|77^Zqdoc^Bea^^^^^^NPI|||||||||78^Zqtwo^Cy^^^^^^NPI||V1^^^WEST^VN"
    for number in range(6):  # what is remembered makes no difference
        made = convert("ADT^A01", PID, visit, control_id=str(number))
        doctors = {
            one["identifier"][0]["value"]: one for one in made.resources if one["resourceType"] == "Practitioner"
        }
        assert doctors["77"]["name"] == [{"family": "Zqdoc", "given": ["Bea"]}]
        assert doctors["78"]["name"] == [{"family": "Zqtwo", "given": ["Cy"]}]
        assert b'"family":"Zqdoc"' in made.bundle_bytes()
    alone = convert("ADT^A01", PID, "PV1|1|I|||||77^^^^^^^^NPI")
    assert "name" not in only(alone, "Practitioner")
