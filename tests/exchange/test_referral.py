"""A referral's Task and ServiceRequest move together in every store, or not at all."""

from typing import Any

import pytest

from gateway.codecs import json_text
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.store import Store
from gateway.exchange.referral import carry_referrals, check_referrals
from gateway.exchange.save import Saver
from gateway.kernel.errors import Conflict, Invalid

SAVER = Saver(lambda resource: (), (check_referrals, carry_referrals))
FEED = Saver(lambda resource: (), (carry_referrals,))
PATIENT = {"reference": "Patient/p1"}


def request(**more: Any) -> dict[str, Any]:
    return {
        "resourceType": "ServiceRequest",
        "id": "s1",
        "status": "active",
        "intent": "order",
        "subject": PATIENT,
        **more,
    }


def task(status: str, id_: str = "t1", **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Task", "id": id_, "status": status, "intent": "order",
        "focus": {"reference": "ServiceRequest/s1"}, "for": PATIENT, **more,
    }  # fmt: skip


def save(store: Store, *resources: dict[str, Any], at: int) -> None:
    store.write(lambda unit: SAVER.save(unit, [Draft(resource) for resource in resources], now_us=at))


def state(store: Store, type_: str, id_: str) -> dict[str, Any]:
    with store.reading() as reading:
        stored = reading.resources.get(type_, id_)
        assert stored is not None
        return json_text.parse(stored.body)


def test_a_completed_task_completes_its_request_and_keeps_its_digits(store: Store) -> None:
    made = request(quantityQuantity={"value": json_text.Exact("1.50")})
    quantity = json_text.write(made)
    store.write(lambda unit: SAVER.save(unit, [Draft(json_text.parse(quantity), quantity)], now_us=1))
    for at, status in enumerate(("requested", "accepted", "in-progress", "completed"), start=2):
        save(store, task(status), at=at)
    after = state(store, "ServiceRequest", "s1")
    assert after["status"] == "completed"
    assert after["quantityQuantity"]["value"].text == "1.50"


def test_a_forbidden_step_undoes_the_whole_write(store: Store) -> None:
    save(store, request(), task("requested"), at=1)
    with pytest.raises(Conflict, match="cannot follow"):
        save(store, request(priority="urgent"), task("completed"), at=2)
    assert state(store, "Task", "t1")["status"] == "requested"
    assert "priority" not in state(store, "ServiceRequest", "s1")


def test_a_rejection_without_a_reason_is_refused(store: Store) -> None:
    save(store, request(), task("requested"), at=1)
    with pytest.raises(Invalid, match="statusReason"):
        save(store, task("rejected"), at=2)


def test_a_cancelled_task_leaves_the_request_open_while_another_task_works_on_it(store: Store) -> None:
    save(store, request(), task("requested"), task("requested", "t2"), at=1)
    why: dict[str, Any] = {"statusReason": {"text": "no bed"}}
    save(store, task("cancelled", **why), at=2)
    assert state(store, "ServiceRequest", "s1")["status"] == "active"
    save(store, task("cancelled", "t2", **why), at=3)
    assert state(store, "ServiceRequest", "s1")["status"] == "revoked"


def test_the_same_task_again_is_no_change(store: Store) -> None:
    save(store, request(), task("requested"), at=1)
    save(store, task("requested"), at=2)
    assert state(store, "Task", "t1")["status"] == "requested"


def test_a_feed_reports_what_happened_and_is_believed(store: Store) -> None:
    save(store, request(), task("requested"), at=1)
    store.write(lambda unit: FEED.save(unit, [Draft(task("completed"))], now_us=2))
    assert state(store, "ServiceRequest", "s1")["status"] == "completed"
