"""Parts of a view that many resources share are worked out once; what was looked at before changes nothing."""

from gateway.consent import view
from gateway.consent.view import view_of
from gateway.kernel.fhir import CONFIDENTIALITY, Resource


def _observation(code: str | None, label: str, **more: object) -> Resource:
    concept = {"coding": [{"system": "urn:s", "code": code}]} if code else {"text": "zq words"}
    security = [{"system": CONFIDENTIALITY, "code": label}]
    return {"resourceType": "Observation", "id": "1", "meta": {"security": security}, "code": concept, **more}


RESOURCES = [
    _observation("a", "R"),
    _observation("a", "N"),
    _observation(None, "R"),
    _observation("a", "R", medicationReference={"reference": "Medication/1"}),
    _observation("b", "V", contentType="Text/Plain; charset=x"),
    {**_observation("a", "R"), "resourceType": "Condition"},
    {"resourceType": "Observation", "id": "2", "code": {"coding": [{"code": 7}]}},
    {"resourceType": "Observation", "id": "3", "meta": {"profile": ["urn:p|1", 4], "security": "x"}},
]


def test_a_view_is_the_same_whatever_was_looked_at_before() -> None:
    alone = []
    for resource in RESOURCES:
        view._LABELS.clear()
        view._CODES_OF.clear()
        alone.append(view_of(resource))
    for resource, expected in [
        *zip(RESOURCES, alone, strict=True),
        *reversed(list(zip(RESOURCES, alone, strict=True))),
    ]:
        assert view_of(resource) == expected
    assert [one.rank for one in alone[:2]] == [4, 3]
    assert alone[2].codes is None
    assert alone[3].codes is None
    assert "urn:ietf:bcp:13|text/plain" in alone[4].classes
    assert alone[7].classes == {"http://hl7.org/fhir/resource-types|Observation", "urn:p"}
