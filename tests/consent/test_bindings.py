"""Remembered bindings answer as fresh ones, at every instant: the dates of the Consents are where they turn."""

from dataclasses import replace
from datetime import UTC

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.consent.asked import Asked
from gateway.consent.bindings import Bindings, turns_of
from gateway.consent.engine import bind
from gateway.consent.rules import Verdict
from gateway.consent.view import view_of
from gateway.kernel.fhir import JsonObject
from tests.consent.build import consent, program, provisions, requests, resources


@settings(max_examples=100, deadline=None)
@given(
    st.lists(provisions(3), min_size=1, max_size=3), st.lists(requests(), min_size=1, max_size=3), resources(),
    st.lists(st.tuples(st.integers(0, 20), st.integers(-2, 2)), max_size=6),
)  # fmt: skip
def test_remembered_is_fresh(
    trees: list[JsonObject], askers: list[Asked], resource: JsonObject, moments: list[tuple[int, int]]
) -> None:
    programs = [program(consent(tree, f"c{i}")) for i, tree in enumerate(trees)]
    turns = turns_of(programs)
    view = view_of(resource, UTC)
    bindings = Bindings()
    for asked in askers:
        instants = [asked.now_us, *(turns[at % len(turns)] + step for at, step in moments if turns)]
        for now_us in (*instants, *instants):
            there = replace(asked, now_us=now_us)
            remembered, fresh = bindings.bind(programs, there), bind(programs, there)
            assert remembered.judge(view) is fresh.judge(view)
            assert remembered.why(view) == fresh.why(view)
            assert (remembered.fixed, remembered.silent) == (fresh.fixed, fresh.silent)


def test_a_permission_ends_with_its_last_microsecond_however_often_it_was_asked_for() -> None:
    (tree,) = [{"type": "permit", "period": {"end": "2026-06-01"}}]
    programs, bindings = [program(consent(tree))], Bindings()
    (end,) = [turn for turn in turns_of(programs) if turn > 1_750_000_000_000_000]
    asked = Asked(now_us=end - 1, keys=frozenset({"Organization/h"}))
    view = view_of({"resourceType": "Observation", "subject": {"reference": "Patient/p"}}, UTC)
    said = [bindings.bind(programs, replace(asked, now_us=end + step)).judge(view) for step in (-1, 0, -1, 0)]
    assert said == [Verdict.PERMIT, Verdict.NONE] * 2
