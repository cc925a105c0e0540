"""Faults of Consents that somebody should know of before relying on them."""

from gateway.consent.lint import endings, lint
from gateway.consent.times import instant_us
from gateway.kernel.fhir import JsonObject
from tests.consent.build import NOW, actor, consent, directive, purposes, words

FORM: JsonObject = {"sourceReference": {"reference": "DocumentReference/form"}}
HOSPITAL: JsonObject = {"actor": [actor("Organization/h")]}


def faults(*consents: JsonObject) -> list[tuple[str, str, str]]:
    found = lint([directive(c) for c in consents], words(), instant_us(NOW))
    return [(one.consent, one.place, one.rule) for one in found]


def test_a_sound_consent_has_no_fault() -> None:
    assert faults(consent({"type": "permit", "period": {"end": "2026-12-31"}}, **FORM)) == []


def test_each_fault_is_named_with_its_place() -> None:
    assert ("Consent/c", "source", "no-form") in faults(consent({"type": "permit"}))
    assert ("Consent/c", "provision", "ended") in faults(
        consent({"type": "permit", "period": {"end": "2026-05"}}, **FORM)
    )
    over = {
        "type": "permit",
        "period": {"start": "2026-02-01"},
        "provision": [{"type": "deny", "period": {"end": "2026-01-01"}}],
    }
    assert ("Consent/c", "provision.provision[0]", "never-matches") in faults(consent(over, **FORM))
    assert ("Consent/c", "provision.purpose", "unknown-code") in faults(
        consent({"type": "permit", "purpose": purposes("TREATMENT")}, **FORM)
    )
    all_of_it = {"type": "permit", "provision": [{"type": "deny"}]}
    assert ("Consent/c", "provision", "unreachable") in faults(consent(all_of_it, **FORM))
    assert ("Consent/c", "", "quarantined") in faults(consent({"type": "maybe"}, **FORM))


def test_a_conflict_is_named_unless_one_replaces_the_other() -> None:
    deny, permit = (
        consent({"type": "deny", **HOSPITAL}, "d", **FORM),
        consent({"type": "permit", **HOSPITAL}, "p", **FORM),
    )
    assert ("Consent/d", "provision", "conflict") in faults(permit, deny)
    link = {"url": "http://hl7.org/fhir/StructureDefinition/replaces", "valueReference": {"reference": "Consent/d"}}
    assert all(rule != "conflict" for _, _, rule in faults(permit | {"extension": [link]}, deny))


def test_a_permission_that_a_later_one_took_back_is_named() -> None:
    first = consent({"type": "permit"}, "first", dateTime="2026-01-01", **FORM)
    ended = consent({"type": "permit"}, "again", dateTime="2026-03-01", status="inactive", **FORM)
    assert faults(first, ended) == [("Consent/first", "status", "withdrawn")]


def test_what_ends_soon_is_listed_soonest_first() -> None:
    read = [
        directive(consent({"type": "permit", "period": {"end": end}}, f"c{number}"))
        for number, end in enumerate(["2026-06-20", "2026-06-05", "2027-01-01", "2026-05-01"])
    ]
    assert [(one.consent, one.days) for one in endings(read, instant_us(NOW), 30)] == [
        ("Consent/c1", 4),
        ("Consent/c0", 19),
    ]
