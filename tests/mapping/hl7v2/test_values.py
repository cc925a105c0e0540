"""Texts of a message as FHIR values."""

import pytest

from gateway.mapping.hl7v2.values import code_system_of


@pytest.mark.parametrize("text", ["HOWARD ZQH", "ZQVALE, ADA", "a b&c", "zq" * 30])
def test_free_text_where_a_coding_system_belongs_never_stands_in_a_url(text: str) -> None:
    made = code_system_of(text, "EHR|WEST")
    assert made is not None
    assert made == code_system_of(made.rsplit("/", 1)[1], "EHR|WEST")  # sent out and back, it is the same system
    assert not any(part in made for part in ("HOWARD", "ZQ", "zq", " ", "%20"))
    assert code_system_of("LN-2.x", "EHR|WEST") == "https://doorway.example/fhir/CodeSystem/local-EHR%7CWEST/LN-2.x"
