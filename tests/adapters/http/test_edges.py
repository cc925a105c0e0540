"""The small parts of the HTTP edge: outcomes, negotiation, places, limits, entropy."""

import pytest

from gateway.adapters.http.entropy import Entropy
from gateway.adapters.http.limits import Limits
from gateway.adapters.http.negotiate import answer_form, body_form, read_preferences
from gateway.adapters.http.outcome import STATUS, NotAcceptable, TooMany, UnsupportedMedia
from gateway.adapters.http.route import METHODS, place_of
from gateway.exchange.rest.ask import ANY_VERSION, version_of
from gateway.kernel.errors import Category, Malformed, NotFound


def test_every_category_has_an_http_answer() -> None:
    assert set(STATUS) == set(Category)


@pytest.mark.parametrize(
    ("accept", "format_", "form"),
    [
        ("", "", "json"),
        ("application/fhir+json", "", "json"),
        ("application/fhir+xml", "", "xml"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "", "json"),
        ("application/fhir+json;q=0.1, application/fhir+xml;q=0.9", "", "xml"),
        ("application/fhir+xml;q=0, */*", "", "json"),
        ("application/fhir+xml", "json", "json"),
        ("", "application/fhir xml", "xml"),
        ("application/fhir+json; fhirVersion=4.0", "", "json"),
    ],
)
def test_the_answer_has_the_form_that_was_asked_for(accept: str, format_: str, form: str) -> None:
    assert answer_form(accept, format_) == form


@pytest.mark.parametrize(
    ("accept", "format_"), [("text/csv", ""), ("", "html"), ("application/fhir+json; fhirVersion=3.0", "")]
)
def test_a_form_that_there_is_not_is_refused(accept: str, format_: str) -> None:
    with pytest.raises(NotAcceptable):
        answer_form(accept, format_)


def test_bodies_are_told_by_their_content_type() -> None:
    assert body_form("application/json; charset=UTF-8", ("json", "xml")) == "json"
    with pytest.raises(UnsupportedMedia):
        body_form("", ("json",))
    with pytest.raises(UnsupportedMedia):
        body_form("application/json-patch+json", ("json", "xml"))


def test_preferences_and_versions_are_read() -> None:
    told = read_preferences('return=minimal; respond-async, handling="strict", zq')
    assert (told.returning, told.handling, told.respond_async) == ("minimal", "strict", True)
    assert version_of('W/"12"', at="If-Match") == 12
    assert version_of("", at="If-Match") is None
    assert version_of(" * ", at="If-Match") == ANY_VERSION
    with pytest.raises(Malformed):
        version_of("zq", at="If-Match")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("", "base"),
        ("/", "base"),
        ("/metadata", "metadata"),
        ("/_search", "base_search"),
        ("/Patient", "type"),
        ("/Patient/", "type"),
        ("/Patient/_search", "type_search"),
        ("/Patient/1", "instance"),
        ("/Patient/1/_history/2", "version"),
        ("/Patient/1/Observation", "compartment"),
        ("/Patient/1/$everything", "operation"),
        ("/$export", "operation"),
        ("/_export/abc/Patient.ndjson", "job"),
    ],
)
def test_paths_name_their_places(path: str, kind: str) -> None:
    assert place_of(path, frozenset({"Patient"})).kind == kind
    assert kind in METHODS


@pytest.mark.parametrize("path", ["/Zq", "/Patient/1/2/3", "/Task/1/Observation", "/patient", "/_export"])
def test_other_paths_name_nothing(path: str) -> None:
    with pytest.raises(NotFound):
        place_of(path, frozenset({"Patient", "Task"}))


def test_a_client_has_its_places_and_rations() -> None:
    clock = [0.0]
    limits = Limits(in_flight=1, per_minute=2, clock_s=lambda: clock[0])
    limits.take("a")
    limits.take("b")
    with pytest.raises(TooMany):
        limits.take("a")
    limits.give("a")
    limits.take("a")
    limits.ration("a", "$match")
    limits.ration("a", "$match")
    limits.ration("b", "$match")
    with pytest.raises(TooMany) as refused:
        limits.ration("a", "$match")
    assert refused.value.retry_after_s == 30
    clock[0] = 31.0
    limits.ration("a", "$match")


def test_random_bytes_are_given_out_once() -> None:
    entropy = Entropy()
    taken = [entropy.take(16) for _ in range(1_000)]
    assert len(set(taken)) == 1_000
    assert entropy.id()[14] == "8"
