"""Profiles: what each kind of constraint and of slice refuses and lets through, on small profiles of the test's own."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from gateway.adapters.files.data import read_data
from gateway.kernel.fhir import JsonObject
from gateway.profiles.issues import Issue
from gateway.profiles.validate import Validator

URL = "http://example.org/StructureDefinition/"
CORE = "http://hl7.org/fhir/StructureDefinition/"


class Library:
    """StructureDefinitions and value sets of a test."""

    def __init__(self, *definitions: JsonObject) -> None:
        self.by_url = {d["url"]: d for d in definitions}

    def find(self, kind: str, canonical: str) -> JsonObject | None:
        return self.by_url.get(canonical.partition("|")[0])

    def holds(self, valueset: str, system: str | None, code: str) -> bool | None:
        return None if "unknown" in valueset else code in valueset.rpartition("/")[2].split("-")

    def defines(self, system: str, code: str) -> bool | None:
        return None


def profile(name: str, type_: str, *elements: JsonObject, base: str = "") -> JsonObject:
    """A profile by its differential."""
    return {
        "resourceType": "StructureDefinition",
        "url": URL + name,
        "type": type_,
        "kind": "resource",
        "baseDefinition": base or CORE + type_,
        "derivation": "constraint",
        "differential": {"element": [{"id": type_, "path": type_}, *elements]},
    }


def element(id_: str, **said: Any) -> JsonObject:
    """An ElementDefinition; the path is the id without slice names."""
    path = ".".join(part.partition(":")[0] for part in id_.split("."))
    return {"id": id_, "path": path, **said}


def issues(resource: JsonObject, *definitions: JsonObject, name: str = "p") -> list[Issue]:
    library = Library(*definitions)
    return list(Validator(read_data, library, library).validate(resource, [URL + name]))


def errors(resource: JsonObject, *definitions: JsonObject, name: str = "p") -> list[str]:
    return [i.expression for i in issues(resource, *definitions, name=name) if i.severity == "error"]


PATIENT = {"resourceType": "Patient", "name": [{"family": "Zqa"}], "gender": "female"}
OBSERVATION = {
    "resourceType": "Observation",
    "status": "final",
    "code": {"coding": [{"system": "s", "code": "1"}]},
    "category": [{"coding": [{"system": "c", "code": "social"}]}, {"coding": [{"system": "c", "code": "x"}]}],
    "valueQuantity": {"value": 1, "unit": "d"},
}


def test_cardinality_of_a_profile_adds_to_that_of_the_type() -> None:
    p = profile("p", "Patient", element("Patient.birthDate", min=1), element("Patient.gender", max="0"))
    assert errors(PATIENT, p) == ["Patient", "Patient.gender"]
    assert errors({"resourceType": "Patient", "birthDate": "1980"}, p) == []


def test_fixed_and_pattern_values() -> None:
    p = profile(
        "p",
        "Observation",
        element("Observation.status", fixedCode="final"),
        element("Observation.code", patternCodeableConcept={"coding": [{"system": "s"}]}),
    )
    assert errors(OBSERVATION, p) == []
    assert errors({**OBSERVATION, "status": "amended"}, p) == ["Observation.status"]
    assert errors({**OBSERVATION, "code": {"text": "x"}}, p) == ["Observation.code"]


@pytest.mark.parametrize(
    ("path", "said", "value", "wrong"),
    [
        ("Patient.multipleBirth[x]", {"minValueInteger": 1}, {"multipleBirthInteger": 0}, ["Patient.multipleBirth"]),
        ("Patient.multipleBirth[x]", {"maxValueInteger": 9}, {"multipleBirthInteger": 9}, []),
        ("Patient.birthDate", {"minValueDate": "1900-01-01"}, {"birthDate": "1899"}, ["Patient.birthDate"]),
        ("Patient.name.family", {"maxLength": 3}, {"name": [{"family": "Zqab"}]}, ["Patient.name[0].family"]),
    ],
)
def test_limits_of_a_value(path: str, said: JsonObject, value: JsonObject, wrong: list[str]) -> None:
    assert errors({"resourceType": "Patient", **value}, profile("p", "Patient", element(path, **said))) == wrong


def test_a_choice_may_be_narrowed_to_some_types() -> None:
    p = profile("p", "Observation", element("Observation.value[x]", type=[{"code": "CodeableConcept"}]))
    assert errors(OBSERVATION, p) == ["Observation.value"]


def test_a_binding_is_an_error_a_warning_or_said_to_be_unchecked() -> None:
    bind = {"strength": "required", "valueSet": "http://v/1-2"}
    p = profile("p", "Observation", element("Observation.code", binding=bind))
    assert errors(OBSERVATION, p) == []
    assert errors({**OBSERVATION, "code": {"coding": [{"system": "s", "code": "9"}]}}, p) == ["Observation.code"]
    soft = profile(
        "p",
        "Observation",
        element("Observation.code", binding={**bind, "strength": "extensible", "valueSet": "http://v/7"}),
    )
    assert [i.severity for i in issues(OBSERVATION, soft)] == ["warning"]
    far = profile("p", "Observation", element("Observation.code", binding={**bind, "valueSet": "http://v/unknown"}))
    assert [(i.severity, i.code) for i in issues(OBSERVATION, far)] == [("information", "not-supported")]


def test_rules_of_a_profile_are_judged_and_those_that_cannot_be_are_said() -> None:
    rule = {"key": "x-1", "severity": "error", "human": "a family name", "expression": "name.family.exists()"}
    p = profile("p", "Patient", element("Patient.active", min=0), element("Patient", constraint=[rule]))
    assert errors(PATIENT, p) == []
    assert errors({"resourceType": "Patient", "active": True}, p) == ["Patient"]
    odd = profile("p", "Patient", element("Patient", constraint=[{**rule, "expression": "name.conformsTo('x')"}]))
    found = issues(PATIENT, odd)
    assert [(i.severity, i.code) for i in found] == [("information", "not-supported")]
    assert "x-1: not checked" in found[0].diagnostics


def sliced(discriminator: JsonObject, *slices: JsonObject, rules: str = "open") -> JsonObject:
    return profile(
        "p",
        "Observation",
        element("Observation.category", slicing={"discriminator": [discriminator], "rules": rules}),
        *slices,
    )


VALUE_SLICE = (
    element("Observation.category:social", sliceName="social", min=1, max="1"),
    element("Observation.category:social.coding.code", fixedCode="social"),
)


def test_a_slice_by_value_is_counted() -> None:
    p = sliced({"type": "value", "path": "coding.code"}, *VALUE_SLICE)
    assert errors(OBSERVATION, p) == []
    assert errors({**OBSERVATION, "category": [{"coding": [{"code": "x"}]}]}, p) == ["Observation"]
    twice = {**OBSERVATION, "category": [OBSERVATION["category"][0]] * 2}  # type: ignore[index]
    assert errors(twice, p) == ["Observation.category[1]"]


def test_closed_slicing_lets_no_other_value_in() -> None:
    p = sliced({"type": "value", "path": "coding.code"}, *VALUE_SLICE, rules="closed")
    assert errors(OBSERVATION, p) == ["Observation.category[1]"]


def test_a_slice_by_pattern_is_judged_by_its_own_elements() -> None:
    p = sliced(
        {"type": "pattern", "path": "$this"},
        element("Observation.category:s", sliceName="s", patternCodeableConcept={"coding": [{"code": "social"}]}),
        element("Observation.category:s.text", min=1),
    )
    assert errors(OBSERVATION, p) == ["Observation.category[0]"]


def test_a_slice_by_binding() -> None:
    p = sliced(
        {"type": "value", "path": "$this"},
        element(
            "Observation.category:s",
            sliceName="s",
            max="1",
            binding={"strength": "required", "valueSet": "http://v/social-x"},
        ),
    )
    assert errors(OBSERVATION, p) == ["Observation.category[1]"]


def test_a_slice_that_cannot_be_told_apart_is_said_not_failed() -> None:
    bind = {"strength": "required", "valueSet": "http://v/unknown"}
    p = sliced(
        {"type": "value", "path": "$this"}, element("Observation.category:s", sliceName="s", min=1, binding=bind)
    )
    assert [i.severity for i in issues(OBSERVATION, p)] == ["information"]


def test_a_slice_by_existence() -> None:
    p = sliced(
        {"type": "exists", "path": "text"},
        element("Observation.category:worded", sliceName="worded", max="0"),
        element("Observation.category:worded.text", min=1),
    )
    assert errors(OBSERVATION, p) == []
    assert errors({**OBSERVATION, "category": [{"text": "x"}]}, p) == ["Observation.category[0]"]


def test_a_slice_by_type_of_a_choice() -> None:
    p = profile(
        "p",
        "Observation",
        element(
            "Observation.value[x]", slicing={"discriminator": [{"type": "type", "path": "$this"}], "rules": "open"}
        ),
        element("Observation.value[x]:valueQuantity", sliceName="valueQuantity", type=[{"code": "Quantity"}]),
        element("Observation.value[x]:valueQuantity.code", min=1),
    )
    assert errors(OBSERVATION, p) == ["Observation.value"]
    assert errors({**OBSERVATION, "valueQuantity": {"value": 1, "system": "u", "code": "d"}}, p) == []


MEMBER = profile("member", "Patient", element("Patient.birthDate", min=1))


def by_target(kind: str) -> JsonObject:
    target = [URL + "member"] if kind == "profile" else [CORE + "Patient"]
    return profile(
        "p",
        "List",
        element("List.entry", slicing={"discriminator": [{"type": kind, "path": "item.resolve()"}], "rules": "open"}),
        element("List.entry:m", sliceName="m", min=1, max="1"),
        element("List.entry:m.item", type=[{"code": "Reference", "targetProfile": target}]),
    )


def a_list(*references: str, **more: Any) -> JsonObject:
    entries = [{"item": {"reference": r}} for r in references]
    return {"resourceType": "List", "status": "current", "mode": "working", "entry": entries, **more}


def test_a_slice_by_the_type_of_what_is_referred_to() -> None:
    assert errors(a_list("Patient/1", "Group/1"), by_target("type")) == []
    assert errors(a_list("Group/1"), by_target("type")) == ["List"]
    assert errors(a_list("Patient/1", "Patient/2"), by_target("type")) == ["List.entry[1]"]


def test_a_slice_by_the_profile_of_what_is_referred_to() -> None:
    born = {"resourceType": "Patient", "id": "a", "birthDate": "1980"}
    unborn = {"resourceType": "Patient", "id": "a", "gender": "female"}
    assert errors(a_list("#a", contained=[born]), by_target("profile"), MEMBER) == []
    assert errors(a_list("#a", contained=[unborn]), by_target("profile"), MEMBER) == ["List"]
    away = issues(a_list("Patient/1"), by_target("profile"), MEMBER)
    assert [(i.severity, i.expression) for i in away] == [("information", "List")]


def test_a_reference_must_meet_the_profile_of_its_target_within_a_bundle() -> None:
    p = profile(
        "p",
        "Observation",
        element("Observation.subject", type=[{"code": "Reference", "targetProfile": [URL + "member"]}]),
    )
    full = "urn:uuid:0c3a1b5e-5f9b-4d3e-9d55-6f1c2a3b4c5d"
    observation = {**OBSERVATION, "meta": {"profile": [URL + "p"]}, "subject": {"reference": full}}
    for patient, wrong in (({"birthDate": "1980"}, []), ({"gender": "male"}, ["Bundle.entry[0].resource.subject"])):
        entries = [{"resource": observation}, {"fullUrl": full, "resource": {"resourceType": "Patient", **patient}}]
        bundle = {"resourceType": "Bundle", "type": "collection", "entry": entries}
        library = Library(p, MEMBER)
        found = Validator(read_data, library, library).validate(bundle)
        assert [i.expression for i in found if i.severity == "error"] == wrong


EXTENSION = {
    "resourceType": "StructureDefinition",
    "url": URL + "score",
    "type": "Extension",
    "kind": "complex-type",
    "baseDefinition": CORE + "Extension",
    "derivation": "constraint",
    "differential": {
        "element": [
            element("Extension"),
            element("Extension.url", fixedUri=URL + "score"),
            element("Extension.value[x]", min=1, type=[{"code": "integer"}]),
        ]
    },
}


def test_an_extension_meets_its_own_definition_wherever_it_stands() -> None:
    good = {"url": URL + "score", "valueInteger": 3}
    bad = {"url": URL + "score", "valueString": "3"}
    library = Library(EXTENSION)
    validator = Validator(read_data, library, library)
    assert validator.validate({**PATIENT, "extension": [good]}) == ()
    found = validator.validate({**PATIENT, "name": [{"family": "Zqa", "_family": {"extension": [bad]}}]})
    assert [i.expression for i in found] == ["Patient.name[0].family.extension[0].value"]


@pytest.mark.parametrize(
    ("context", "warned"),
    [
        ("Patient", True),
        ("HumanName", False),
        ("Patient.name", False),
        ("Element", False),
        ("Practitioner.name", True),
        ("SomethingOfR5", False),
    ],
)
def test_an_extension_out_of_its_place_is_a_warning(context: str, warned: bool) -> None:
    placed = {**EXTENSION, "context": [{"type": "element", "expression": context}]}
    library = Library(placed)
    name = {"family": "Zqa", "extension": [{"url": URL + "score", "valueInteger": 3}]}
    found = Validator(read_data, library, library).validate({"resourceType": "Patient", "name": [name]})
    assert [(i.severity, i.expression) for i in found] == [("warning", "Patient.name[0].extension[0]")] * warned


def test_an_extension_can_be_required_by_its_url() -> None:
    slice_ = element(
        "Patient.extension:s", sliceName="s", min=1, type=[{"code": "Extension", "profile": [URL + "score"]}]
    )
    p = profile("p", "Patient", slice_)
    assert errors(PATIENT, p, EXTENSION) == ["Patient"]
    assert errors({**PATIENT, "extension": [{"url": URL + "score", "valueInteger": 1}]}, p, EXTENSION) == []


def test_a_profile_upon_a_profile_says_both() -> None:
    q = profile("q", "Patient", element("Patient.gender", max="0"), base=URL + "member")
    assert sorted(errors(PATIENT, q, MEMBER, name="q")) == ["Patient", "Patient.gender"]
    alone = issues(PATIENT, q, name="q")
    assert ("information", "not-supported") in [(i.severity, i.code) for i in alone]


def test_a_profile_that_is_not_loaded_is_said() -> None:
    claimed = {**PATIENT, "meta": {"profile": [URL + "nowhere"]}}
    found = Validator(read_data).validate(claimed)
    assert [(i.severity, i.code) for i in found] == [("information", "not-supported")]
    asked = Validator(read_data).validate(PATIENT, [URL + "nowhere"])
    assert [(i.severity, i.code) for i in asked] == [("error", "not-found")]


def test_a_profile_of_another_type_is_refused() -> None:
    assert errors(OBSERVATION, MEMBER, name="member") == ["Observation"]


@pytest.mark.parametrize("value", [None, [], "x", 7, True])
def test_no_value_of_a_record_stands_in_a_finding(value: Any) -> None:
    secret = "Zqsecret"
    wild = {
        "resourceType": "Patient",
        "birthDate": secret,
        "gender": secret,
        secret + " x": 1,
        "name": [{"use": secret, "given": value}],
    }
    found = Validator(read_data).validate(wild)
    assert found
    assert not [i for i in found if secret in i.diagnostics or secret in i.expression]


def test_threads_that_meet_a_profile_at_the_same_time_agree() -> None:
    for _ in range(20):
        library = Library(MEMBER, profile("p", "Patient", element("Patient.gender", max="0"), base=URL + "member"))
        validator = Validator(read_data, library, library)
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _, v=validator: v.validate(PATIENT, [URL + "p"]), range(8)))
        assert len(set(found)) == 1
        assert len(found[0]) == 2


def test_profiles_that_nobody_loaded_are_not_remembered() -> None:
    validator = Validator(read_data)
    before = {name: len(value) for name, value in vars(validator.profiles).items() if isinstance(value, (dict, set))}
    for n in range(50):
        validator.validate({**PATIENT, "meta": {"profile": [f"{URL}none-{n}"]}})
    assert before == {n: len(v) for n, v in vars(validator.profiles).items() if isinstance(v, (dict, set))}


@pytest.mark.parametrize(
    ("code", "claimed", "wrong"),
    [("8867-4", [], ["Observation"]), ("8867-4", [CORE + "heartrate"], ["Observation"]),
     ("8310-5", [], []), ("718-7", [], [])],
)  # fmt: skip
def test_a_vital_sign_meets_its_profile_though_it_does_not_claim_it(
    code: str, claimed: list[str], wrong: list[str]
) -> None:
    """R4 "Vital Signs": the profile goes with the LOINC code; without its definition loaded nothing can be said."""
    heart = profile("x", "Observation", element("Observation.effective[x]", min=1)) | {"url": CORE + "heartrate"}
    library = Library(heart)
    observation: JsonObject = {
        "resourceType": "Observation",
        "meta": {"profile": claimed} if claimed else {"tag": [{"code": "zq"}]},
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
    }
    found = [
        i.expression for i in Validator(read_data, library, library).validate(observation) if i.severity == "error"
    ]
    assert found == wrong
