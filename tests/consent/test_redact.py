"""What is cut out leaves no trace, and everything else keeps its characters."""

from gateway.consent.redact import ElementRule, redacted

RACE = ElementRule("Patient", ("extension",), ("url", "race"), frozenset({"x|RACE"}))


def test_a_member_that_is_gone_takes_its_comma_and_the_rest_keeps_its_characters() -> None:
    body = b'{ "resourceType":"Patient", "extension": [{"url":"race"}],\n "multipleBirthInteger": 2, "x":0.10 }'
    assert redacted(body, [RACE], frozenset()) == b'{ "resourceType":"Patient",\n "multipleBirthInteger": 2, "x":0.10 }'


def test_the_first_and_the_last_member_can_go() -> None:
    assert redacted(b'{"extension":[{"url":"race"}],"resourceType":"Patient"}', [RACE], frozenset()) == (
        b'{"resourceType":"Patient"}'
    )
    assert redacted(b'{"resourceType":"Patient","extension":[{"url":"race"}]}', [RACE], frozenset()) == (
        b'{"resourceType":"Patient"}'
    )


def test_other_entries_of_a_list_stay() -> None:
    body = b'{"resourceType":"Patient","extension":[{"url":"race"},{"url":"sex","valueDecimal":1.50}]}'
    assert redacted(body, [RACE], frozenset()) == (
        b'{"resourceType":"Patient","extension":[{"url":"sex","valueDecimal":1.50}]}'
    )


def test_links_to_what_is_not_seen_go_and_others_stay() -> None:
    body = (
        b'{"resourceType":"Patient","link":[{"other":{"reference":"Patient/a"}},{"other":{"reference":"Patient/b"}}]}'
    )
    assert redacted(body, [], frozenset({"Patient/a"})) == (
        b'{"resourceType":"Patient","link":[{"other":{"reference":"Patient/b"}}]}'
    )
    assert redacted(body, [], frozenset({"Patient/a", "Patient/b"})) == b'{"resourceType":"Patient"}'
    assert redacted(body, [], frozenset({"Patient/c"})) is None
