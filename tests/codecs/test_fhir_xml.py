"""FHIR XML: to JSON and back without a loss, and nothing that XML parsers are attacked with."""

from typing import Any

import pytest

from gateway.adapters.files.data import read_data
from gateway.codecs import json_text
from gateway.codecs.fhir_xml import XmlCodec
from gateway.kernel.errors import Invalid, Malformed
from gateway.profiles.facts import Facts

CODEC = XmlCodec(Facts(read_data).type)
NS = 'xmlns="http://hl7.org/fhir"'

RESOURCES: list[dict[str, Any]] = [
    {
        "resourceType": "Patient",
        "id": "p1",
        "meta": {"versionId": "1", "profile": ["http://example.org/a"]},
        "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">Zq &amp; <b>x</b></div>'},
        "contained": [{"resourceType": "Organization", "id": "o", "name": "Zq\nOrg\t\"q\" <&>"}],
        "extension": [{"url": "http://example.org/e", "valueDecimal": json_text.Exact("1.10")}],
        "active": True,
        "name": [{"id": "n1", "family": "Zq", "given": ["A", None], "_given": [None, {"extension": [
            {"url": "http://example.org/x", "valueCode": "unknown"}]}]}],
        "birthDate": "1970-01",
        "_birthDate": {"id": "b", "extension": [{"url": "http://example.org/t", "valueTime": "10:00:00"}]},
        "multipleBirthInteger": 2,
        "contact": [{"name": {"text": "Zq"}}],
    },
    {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"fullUrl": "urn:uuid:1", "resource": {"resourceType": "Basic", "code": {"text": "x"}}}],
    },
    {"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "valueQuantity": {"value": 3}},
    {"resourceType": "Patient", "_active": {"extension": [{"url": "u", "valueBoolean": False}]}},
]  # fmt: skip


@pytest.mark.parametrize("resource", RESOURCES)
def test_json_survives_the_way_through_xml(resource: dict[str, Any]) -> None:
    read = CODEC.read(CODEC.write(resource))
    seen, sent = json_text.write(read), json_text.write(resource)
    assert json_text.parse(seen) == json_text.parse(sent)
    assert (b"1.10" in seen) == (b"1.10" in sent)


def test_elements_are_written_in_the_order_of_the_specification() -> None:
    text = CODEC.write({"resourceType": "Patient", "birthDate": "1970", "name": [{"given": ["Zq"], "family": "Q"}]})
    assert text.index(b"<name>") < text.index(b"<birthDate")
    assert text.index(b"<family") < text.index(b"<given")


@pytest.mark.parametrize(
    "body",
    [
        b'<!DOCTYPE x [<!ENTITY zq "zq">]><Patient xmlns="http://hl7.org/fhir"/>',
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><Patient xmlns="http://hl7.org/fhir"/>',
        '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE x><Patient/>'.encode("utf-16"),
        b'<?xml version="1.0" encoding="ISO-8859-1"?><Patient xmlns="http://hl7.org/fhir"/>',
        b"<Patient/>",
        b"<Patient",
        b"",
        b'<Patient xmlns="http://hl7.org/fhir">\xff</Patient>',
        b'<Patient xmlns="http://hl7.org/fhir"><active value="&zq;"/></Patient>',
    ],
)
def test_documents_that_are_attacks_or_broken_are_refused_without_quoting_them(body: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        CODEC.read(body)
    assert "zq" not in str(refused.value)


@pytest.mark.parametrize(
    ("inner", "at"),
    [
        ('<zq value="1"/>', "Patient"),
        ('<active value="yes"/>', "Patient.active"),
        ('<active value="true"/><active value="true"/>', "Patient.active"),
        ('<active value="true" zq="1"/>', "Patient.active"),
        ("<active>true</active>", "Patient.active"),
        ('<multipleBirthInteger value="1.5"/>', "Patient.multipleBirthInteger"),
        ("text", "Patient"),
    ],
)
def test_what_has_no_place_in_the_type_is_refused_with_its_place(inner: str, at: str) -> None:
    with pytest.raises(Invalid) as refused:
        CODEC.read(f"<Patient {NS}>{inner}</Patient>".encode())
    assert refused.value.at == at


def test_deep_nesting_is_refused() -> None:
    deep = '<extension url="u">' * 100 + "</extension>" * 100
    with pytest.raises(Malformed):
        CODEC.read(f"<Patient {NS}>{deep}</Patient>".encode())


def test_narrative_that_is_no_xhtml_cannot_break_the_document() -> None:
    text = CODEC.write({"resourceType": "Patient", "text": {"status": "generated", "div": "</div><x>Zq"}})
    assert "Zq" in CODEC.read(text)["text"]["div"]
