"""Texts of a message as FHIR values."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.mapping.hl7v2 import values
from gateway.mapping.hl7v2.convert import zone_named
from gateway.mapping.hl7v2.values import code_system_of


@pytest.mark.parametrize("text", ["HOWARD ZQH", "ZQVALE, ADA", "a b&c", "zq" * 30])
def test_free_text_where_a_coding_system_belongs_never_stands_in_a_url(text: str) -> None:
    made = code_system_of(text, "EHR|WEST")
    assert made is not None
    assert made == code_system_of(made.rsplit("/", 1)[1], "EHR|WEST")  # sent out and back, it is the same system
    assert not any(part in made for part in ("HOWARD", "ZQ", "zq", " ", "%20"))
    assert code_system_of("LN-2.x", "EHR|WEST") == "https://doorway.example/fhir/CodeSystem/local-EHR%7CWEST/LN-2.x"


@given(
    st.from_regex(r"\A(?:[012]\d{3})(?:\d\d){0,5}(?:\.\d{1,3})?(?:[+-]\d{4}|Z)?\Z")
    | st.from_regex(r"\A20[0-3]\d[01]\d[0-3]\d[0-2]\d[0-6]\d[0-6]\d(?:[+-][01]\d[0-6]\d)?\Z")
)
@example("20240229235959+1400")
@example("20230229120000")
@example("20230131000000-1500")
def test_what_nearly_every_message_sends_is_read_as_anything_else_is(text: str) -> None:
    zone = zone_named("America/Denver")
    assert values.to_datetime(text, zone) == values._any_time(text, zone)
    assert values.to_instant(text, zone) == values._any_instant(text, zone)
    assert values.to_date(text) == values._any_date(text)
    assert values.to_date(text[:8]) == values._any_date(text[:8])
