"""What holds for every Consent: the compiled engine is its slow twin, denials never reveal, order means nothing."""

from copy import deepcopy
from datetime import UTC
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.consent.asked import Asked
from gateway.consent.engine import bind, compile_directive
from gateway.consent.intake import to_r5
from gateway.consent.reference import verdict
from gateway.consent.rules import Verdict
from gateway.consent.view import pack, patients_in, unpack, view_of
from gateway.kernel.fhir import JsonObject
from tests.consent.build import consent, directive, program, provisions, requests, resources

few = settings(max_examples=50, deadline=None)


def says(consents: list[JsonObject], asked: Asked, resource: JsonObject, dialect: str = "") -> Verdict:
    return bind([program(c, dialect) for c in consents], asked).judge(view_of(resource, UTC))


@settings(max_examples=150, deadline=None)
@given(provisions(), requests(), resources(), st.sampled_from(["r4", "pcf", "leap-flip", "mii", "r4-spec-narrative"]))
def test_the_compiled_engine_is_its_slow_twin(tree: JsonObject, asked: Asked, resource: JsonObject, name: str) -> None:
    read = directive(consent(tree), name)
    view = view_of(resource, UTC)
    compiled = bind([compile_directive(read)], asked).judge(view)
    assert compiled is verdict(read.rules, asked, view, read.dialect)


@few
@given(st.lists(provisions(3), min_size=1, max_size=3), provisions(3), requests(), resources())
def test_another_denying_consent_never_reveals(
    trees: list[JsonObject], deny: JsonObject, asked: Asked, resource: JsonObject
) -> None:
    consents = [consent(tree, f"c{i}") for i, tree in enumerate(trees)]
    only_denials = consent(_all_of_type(deny, "deny"), "d")
    if not says(consents, asked, resource).permits:
        assert not says([*consents, only_denials], asked, resource).permits


@few
@given(st.lists(provisions(3), min_size=1, max_size=3), provisions(3), requests(), resources())
def test_another_permitting_consent_never_hides(
    trees: list[JsonObject], permit: JsonObject, asked: Asked, resource: JsonObject
) -> None:
    consents = [consent(tree, f"c{i}") for i, tree in enumerate(trees)]
    only_permissions = consent(_all_of_type(permit, "permit"), "p")
    if says(consents, asked, resource).permits:
        assert says([*consents, only_permissions], asked, resource).permits


@few
@given(provisions(4), provisions(1), st.randoms(use_true_random=False), requests(), resources())
def test_a_denial_added_anywhere_in_the_tree_never_reveals(
    tree: JsonObject, leaf: JsonObject, random: Any, asked: Asked, resource: JsonObject
) -> None:
    grown = _grown(tree, {**leaf, "type": "deny"}, random)
    if not says([consent(tree)], asked, resource).permits:
        assert not says([consent(grown)], asked, resource).permits


@few
@given(provisions(4), provisions(1), st.randoms(use_true_random=False), requests(), resources())
def test_a_permission_added_anywhere_in_the_tree_never_hides(
    tree: JsonObject, leaf: JsonObject, random: Any, asked: Asked, resource: JsonObject
) -> None:
    grown = _grown(tree, {**leaf, "type": "permit"}, random)
    if says([consent(tree)], asked, resource).permits:
        assert says([consent(grown)], asked, resource).permits


@few
@given(st.lists(provisions(3), min_size=1, max_size=4), st.randoms(use_true_random=False), requests(), resources())
def test_order_of_consents_and_provisions_changes_nothing(
    trees: list[JsonObject], random: Any, asked: Asked, resource: JsonObject
) -> None:
    consents = [consent(tree, f"c{i}") for i, tree in enumerate(trees)]
    mixed = [c | {"provision": _shuffled(c["provision"], random)} for c in consents]
    random.shuffle(mixed)
    assert says(mixed, asked, resource) is says(consents, asked, resource)


@few
@given(provisions(4), requests(), resources())
def test_wrapping_a_rule_in_a_copy_of_itself_changes_nothing(
    tree: JsonObject, asked: Asked, resource: JsonObject
) -> None:
    outer = {name: value for name, value in tree.items() if name != "provision"} | {"provision": [tree]}
    assert says([consent(outer)], asked, resource) is says([consent(tree)], asked, resource)


@few
@given(provisions(4), requests(), resources())
def test_r4_and_r5_decide_alike(tree: JsonObject, asked: Asked, resource: JsonObject) -> None:
    """For trees that R5 can hold: no criteria at the root but a period, and levels that alternate."""
    root = {name: value for name, value in tree.items() if name in ("type", "period", "provision")}
    old = consent(_alternating(root, root["type"]))
    new, _ = to_r5(old)
    assert says([new], asked, resource) is says([old], asked, resource)


@few
@given(resources())
def test_facets_survive_being_packed(resource: JsonObject) -> None:
    view = view_of(resource, UTC)
    assert unpack(pack(view)) == view
    assert patients_in(pack(view)) == view.patients


def _all_of_type(tree: JsonObject, kind: str) -> JsonObject:
    return {**tree, "type": kind, "provision": [_all_of_type(c, kind) for c in tree.get("provision", ())]}


def _nodes(tree: JsonObject) -> list[JsonObject]:
    return [tree, *(node for child in tree.get("provision", ()) for node in _nodes(child))]


def _grown(tree: JsonObject, leaf: JsonObject, random: Any) -> JsonObject:
    copy = deepcopy(tree)
    node = random.choice(_nodes(copy))
    node["provision"] = [*node.get("provision", ()), leaf]
    return copy


def _shuffled(tree: JsonObject, random: Any) -> JsonObject:
    children = [_shuffled(child, random) for child in tree.get("provision", ())]
    random.shuffle(children)
    return {**tree, "provision": children} if children else tree


def _alternating(tree: JsonObject, kind: str) -> JsonObject:
    other = "deny" if kind == "permit" else "permit"
    return {**tree, "type": kind, "provision": [_alternating(c, other) for c in tree.get("provision", ())]}
