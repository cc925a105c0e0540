"""A Consent on our form is active only when everything was told against the very text that was shown."""

import re
import zlib
from base64 import a85decode
from typing import Any

import pytest

from gateway.adapters.files.consent_pdf import consent_pdf
from gateway.adapters.files.data import read_data
from gateway.adapters.memory.store import MemoryStore
from gateway.consent.decide import decide
from gateway.consent.forms import missing_statements, recorded
from gateway.exchange.consent_forms import ConsentRule, read_forms
from gateway.exchange.ports.resources import Draft
from gateway.exchange.save import Saver
from gateway.kernel.errors import Invalid
from gateway.kernel.fhir import JsonObject
from tests.consent.build import consent, line, words

FORMS = read_forms(read_data)
US = next(form for form in FORMS if (form.jurisdiction, form.language) == ("us", "en"))


def test_each_form_has_the_sixteen_statements_and_a_version_of_its_own() -> None:
    assert [len(form.statements) for form in FORMS] == [16] * 4
    assert len({form.version for form in FORMS}) == 4
    assert all(len(form.required) == 16 for form in FORMS)


def signed(**more: Any) -> JsonObject:
    return consent({"type": "permit"}, policy=[{"uri": US.canonical}], **more)


def test_what_was_not_told_is_named() -> None:
    response = recorded(US, "Patient/p")
    assert missing_statements(signed(), response, FORMS) == []
    response["item"][5]["answer"] = [{"valueBoolean": False}]
    assert missing_statements(signed(), response, FORMS) == ["statement voluntary is not recorded"]
    french = next(form for form in FORMS if form.language == "fr")
    assert "not the version" in missing_statements(signed(), recorded(french, "Patient/p"), FORMS)[0]
    assert missing_statements(signed(), None, FORMS)
    somebody_elses = missing_statements(signed(), recorded(US, "Patient/q"), FORMS)
    assert somebody_elses == ["QuestionnaireResponse.subject: not the patient of the Consent"]
    assert missing_statements(consent(policy=[{"uri": US.canonical + "0"}]), recorded(US, "Patient/p"), FORMS)


def save(store: MemoryStore, *resources: JsonObject) -> None:
    saver = Saver(lambda _r: (), (ConsentRule(FORMS),))
    store.write(lambda unit: saver.save(unit, [Draft(one) for one in resources], now_us=1))


def test_the_store_refuses_an_active_consent_without_its_statements() -> None:
    store = MemoryStore()
    pointing = {"sourceReference": {"reference": "QuestionnaireResponse/told"}}
    save(store, signed(status="proposed"))
    for status in ("active", " Active"):  # what the engine would take for active
        with pytest.raises(Invalid):
            save(store, signed(**pointing) | {"status": status})
    save(store, recorded(US, "Patient/p") | {"id": "told"}, signed(**pointing))
    save(store, consent({"type": "permit"}, "foreign"))  # somebody else's form is not ours to judge
    store.close()


def test_our_form_signed_anew_replaces_in_any_language_and_version_and_what_is_ended_stays_ended() -> None:
    def on(form: str, day: str, told: str, **more: Any) -> JsonObject:
        source = {"sourceReference": {"reference": f"QuestionnaireResponse/{told}"}, "policy": [{"uri": form}]}
        return consent({"type": "permit"}, told, dateTime=day, **source, **more)

    french = next(form for form in FORMS if (form.jurisdiction, form.language) == ("us", "fr")).canonical
    older = on(US.canonical.partition("|")[0] + "|0123", "2026-01-01", "a")
    assert decide(line([older, on(french, "2026-02-01", "b")]), words())["decision"] == "permit"
    assert decide(line([older, on(french, "2026-02-01", "b", status="inactive")]), words())["decision"] == "deny"
    canada = next(form for form in FORMS if form.jurisdiction == "ca").canonical
    assert decide(line([older, on(canada, "2026-02-01", "b", status="inactive")]), words())["decision"] == "permit"


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.jurisdiction}-{form.language}")
def test_the_client_gets_a_pdf_with_accents_and_hostile_values_as_text(form: Any) -> None:
    pdf = consent_pdf(form, {"agencies": "Refuge <b>& Cie", "collector": "{x.__class__}"})
    assert pdf.startswith(b"%PDF-")
    assert pdf == consent_pdf(form, {"agencies": "Refuge <b>& Cie", "collector": "{x.__class__}"})


_STREAM = re.compile(rb"stream\r?\n(.*?)endstream", re.DOTALL)
_SHOWN = re.compile(rb"\((?:[^()\\]|\\.)*\) Tj", re.DOTALL)
_ESCAPED = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)


def words_of(pdf: bytes) -> str:
    """What a reader sees on the pages: the strings of the content streams (PDF 32000-1 9.4.3), one space between."""
    pages = [zlib.decompress(a85decode(one.strip(), adobe=True)) for one in _STREAM.findall(pdf) if b"~>" in one]
    shown = [text[1:-4] for page in pages for text in _SHOWN.findall(page)]
    plain = [_ESCAPED.sub(lambda m: bytes([int(m[1], 8)]) if len(m[1]) == 3 else m[1], text) for text in shown]
    return " ".join(b" ".join(plain).decode("cp1252").split())


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.jurisdiction}-{form.language}")
def test_the_pdf_tells_all_sixteen_statements_in_its_language_and_which_text_it_is(form: Any) -> None:
    given = {"agencies": "Refuge <b>& Cie zq", "collector": "Maison Étoile zq", "end": "2027-06-30"}
    pdf = consent_pdf(form, given)
    words = words_of(pdf)
    rest = not_broken(words)
    for one in form.statements:  # each whole, and in their order
        text = re.sub(r"\{(\w+)\}", lambda blank: given.get(blank[1], "____________"), one.text)
        _, told, rest = rest.partition(not_broken(f"{one.number}. {one.heading} {text}"))
        assert told, one.key
    assert words.count(f"{form.canonical} -") == len(re.findall(rb"/Type /Page\b", pdf))  # on every page
    assert ("Signature" in words, "Témoin" in words) == (True, form.language == "fr")
    assert f"/Lang ({form.language})".encode() in pdf


def not_broken(text: str) -> str:
    """Without blanks, where a line or a page ends in the middle of a sentence."""
    return re.sub(r"\s|(?:Text version|Version du texte): \S+ - page \d+", "", text)
