"""A referral moves only along the published transitions, and says why where it must."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.kernel.errors import Conflict, Invalid
from gateway.referrals.lifecycle import REASON_NEEDED, REQUEST_STATUS, TRANSITIONS, advance, check_change, request_after

NOW = "2026-03-01T10:00:00Z"


def referral(status: str) -> dict[str, Any]:
    return {
        "resourceType": "Task",
        "id": "t1",
        "status": status,
        "intent": "order",
        "focus": {"reference": "ServiceRequest/s1"},
    }


@given(st.sampled_from(sorted(TRANSITIONS)), st.sampled_from(sorted(TRANSITIONS)))
def test_only_published_transitions_are_made(before: str, after: str) -> None:
    allowed = after == before or after == "entered-in-error" or after in TRANSITIONS[before]
    if allowed:
        assert advance(referral(before), after, now=NOW, reason="at capacity")["status"] == after
    else:
        with pytest.raises(Conflict, match="cannot follow"):
            advance(referral(before), after, now=NOW, reason="at capacity")


@pytest.mark.parametrize("status", sorted(REASON_NEEDED))
def test_an_ending_that_disappoints_needs_a_reason_in_words(status: str) -> None:
    with pytest.raises(Invalid, match=r"Task\.statusReason\.text"):
        check_change(None, {**referral(status), "statusReason": {"text": "  "}})


@pytest.mark.parametrize("status", ["received", "ready", "gibberish", None])
def test_states_that_the_guide_forbids_are_refused(status: str | None) -> None:
    with pytest.raises(Invalid, match=r"Task\.status"):
        check_change(None, {**referral("requested"), "status": status})


def test_a_rejected_task_leaves_the_request_open_and_cannot_be_revived() -> None:
    request = {"resourceType": "ServiceRequest", "id": "s1", "status": "active"}
    rejected = advance(referral("requested"), "rejected", now=NOW, reason="at capacity")
    assert request_after(request, rejected) is request
    with pytest.raises(Conflict, match="new Task"):
        advance(rejected, "accepted", now=NOW)


def test_a_completed_task_completes_its_request_and_keeps_its_outputs() -> None:
    first = {"type": {"text": "first"}, "valueString": "1"}
    second = {"type": {"text": "second"}, "valueString": "2"}
    task = {**referral("in-progress"), "output": [first]}
    done = advance(task, "completed", now=NOW, output=(second,))
    assert done["output"] == [first, second]
    assert task["output"] == [first]
    assert request_after({"resourceType": "ServiceRequest", "status": "active"}, done)["status"] == "completed"


def test_other_tasks_are_not_ours_to_judge() -> None:
    other = {"resourceType": "Task", "status": "received", "intent": "plan"}
    check_change(None, other)
    with pytest.raises(Invalid, match=r"Task\.status"):
        check_change(None, {**referral("requested"), "status": other["status"]})


def test_every_status_has_an_effect_on_the_request() -> None:
    assert set(REQUEST_STATUS) == set(TRANSITIONS)
