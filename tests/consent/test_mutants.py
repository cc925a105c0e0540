"""Defects that other engines had, put into ours one by one: the checks below must notice each of them.

The list is of faults found in public systems: verdicts paired by a shifted index, redaction inverted, nested types
ignored, union where R4 says AND, the newest Consent winning, a decision kept for the next search, a bulk path without
a check, and a clock of the machine instead of the request's.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest

from gateway.adapters.files.data import read_data
from gateway.adapters.memory.store import MemoryStore
from gateway.consent import asked, criteria, decide, dialects, engine, read
from gateway.consent.release import Judgement, Released, release
from gateway.consent.request import AccessRequest
from gateway.consent.rules import Verdict
from gateway.exchange import disclose
from gateway.exchange.agreements import agree
from gateway.exchange.disclose import Gate, read_knowledge
from gateway.exchange.ports.resources import Draft, Stored
from gateway.kernel.fhir import LEVEL, JsonObject
from tests.consent.build import NOW, actor, consent, labels, line, observation, words

RACE = {"url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race", "valueString": "zq"}
BASIC = {"system": LEVEL, "code": "L1"}
L3 = {"system": LEVEL, "code": "L3"}
PERMIT = {"type": "permit", "actor": [actor("Organization/h")]}


def seen(resources: Sequence[JsonObject], *states: Sequence[JsonObject]) -> list[list[bytes]]:
    """What Organization/h gets after each state of the Consents, through one body of knowledge."""
    knowledge, out, store = read_knowledge(read_data), [], MemoryStore()
    request = AccessRequest.of_organization("Organization/h", now=NOW)

    def put(found: Sequence[JsonObject]) -> Callable[[Any], None]:
        def work(unit: Any) -> None:
            for one in found:
                unit.resources.put(Draft(one, labels=tuple(one.get("meta", {}).get("security", ()))), now_us=1)

        return work

    store.write(lambda unit: agree(unit.resources, "Organization/h", since="2020-01-01", now_us=1))
    store.write(put(resources))
    for state in states:
        store.write(put(state))
        with store.reading() as reading:
            candidates = [s for t in ("Observation", "Patient") for s in reading.resources.of_type(t)]
            gate = Gate(reading.resources, request, knowledge)
            shown = [c for c, yes in zip(candidates, gate.visible(candidates), strict=True) if yes]
            released = gate.release(candidates)
            assert [s.reference for s in shown] == [s.reference for s in released.resources]
            out.append([s.body for s in released.resources])
    store.close()
    return out


def one(*consents: JsonObject, resource: JsonObject | None = None, **more: Any) -> str:
    """The decision about one resource."""
    said = decide.decide(line(list(consents), [resource or observation()], **more), words())
    return str(said["resources"][0]["decision"])


def only_the_permitted_resource_leaves() -> None:
    (out,) = seen(
        [observation("a", "R"), observation("b", "N"), observation("c", "R")],
        [consent(PERMIT | {"securityLabel": labels("N")})],
    )
    assert [orjson.loads(body)["id"] for body in out] == ["b"]


def a_sensitive_element_is_cut_from_the_basic_file_and_stays_in_the_full_one() -> None:
    patient = {"resourceType": "Patient", "id": "p", "extension": [RACE], "meta": {"security": [BASIC, *labels("N")]}}
    basic, full = consent(PERMIT | {"securityLabel": [BASIC]}), consent(PERMIT | {"securityLabel": [BASIC, L3]})
    first, second = seen([patient], [basic], [full])
    assert b"race" not in first[0]
    assert b"race" in second[0]


def a_revoked_consent_is_obeyed_by_the_next_request() -> None:
    first, second = seen([observation()], [consent(PERMIT)], [consent(PERMIT, status="inactive")])
    assert (len(first), len(second)) == (1, 0)


def nested_types_are_honoured() -> None:
    assert one(consent({"type": "deny", "provision": [{"type": "deny", "securityLabel": labels("N")}]}),
               resource=observation("o", "N")) == "deny"  # fmt: skip


def elements_narrow_each_other() -> None:
    both = {"type": "permit", "securityLabel": labels("N"), "class": [{"code": "Condition"}]}
    assert one(consent(both), resource=observation("o", "N")) == "deny"


def a_denial_stands_against_a_later_permission() -> None:
    old, new = consent({"type": "deny"}, "d"), consent({"type": "permit"}, "p", dateTime="2026-05-01")
    assert one(old, new) == "deny"


def the_clock_is_the_requests() -> None:
    ended = consent({"type": "permit", "period": {"end": "2021-12-31"}})
    assert one(ended, now="2021-06-01T00:00:00Z") == "permit"
    assert one(ended, now="2022-06-01T00:00:00Z") == "deny"


CHECKS = (
    only_the_permitted_resource_leaves,
    a_sensitive_element_is_cut_from_the_basic_file_and_stays_in_the_full_one,
    a_revoked_consent_is_obeyed_by_the_next_request,
    nested_types_are_honoured,
    elements_narrow_each_other,
    a_denial_stands_against_a_later_permission,
    the_clock_is_the_requests,
)


# ---- the mutants


def shifted_index(patch: pytest.MonkeyPatch) -> None:
    """Verdicts of a filtered list are paired with the unfiltered one."""

    def mutant(to: str, candidates: Iterable[Stored], judge: Callable[[Stored], Judgement]) -> Released[Stored]:
        found = list(candidates)
        verdicts = [judge(c) for c in found]
        by_index = iter([*verdicts[1:], Judgement(False)])
        return release(to, found, lambda _c: next(by_index))

    patch.setattr(disclose, "release", mutant)


def inverted_redaction(patch: pytest.MonkeyPatch) -> None:
    right = Gate._sees_element
    patch.setattr(Gate, "_sees_element", lambda self, view, rule: not right(self, view, rule))


def ignored_nested_type(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(read, "_effect_of", lambda reader, node, parent, at: not parent)


def union_for_and(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(criteria, "_all", lambda tests: lambda view, a: any(test(view, a) for test in tests))


def newest_wins(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(dialects.DIALECTS, "r4", replace(dialects.DIALECTS["r4"], newest=True))


def cached_search_reuse(patch: pytest.MonkeyPatch) -> None:
    kept: dict[str, Any] = {}
    right = Gate.rule
    patch.setattr(Gate, "rule", lambda self, stored: kept.setdefault(stored.reference, right(self, stored)))


def bulk_without_check(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Gate, "_judge", lambda self, stored: Judgement(True))


def wall_clock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(asked, "instant_us", lambda moment: time.time_ns() // 1000)


def permit_over_deny(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(engine.Bound, "_decide", lambda self, view: min(
        (r.judge(view, self.asked)[0] for r in self.residues), default=Verdict.NONE))  # fmt: skip


MUTANTS = (
    shifted_index, inverted_redaction, ignored_nested_type, union_for_and, newest_wins, cached_search_reuse,
    bulk_without_check, wall_clock, permit_over_deny,
)  # fmt: skip


def failing() -> list[str]:
    names = []
    for check in CHECKS:
        try:
            check()
        except AssertionError:
            names.append(check.__name__)
    return names


def test_the_engine_passes_every_check() -> None:
    assert failing() == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_checks_kill(mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    assert failing() != []
