"""Records that name an organization are as sensitive as naming it is, from the moment that it is known."""

from typing import Any

import orjson
import pytest

from gateway import wiring
from gateway.exchange.organization_labels import VICTIM_SERVICE
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.store import Store
from gateway.kernel.fhir import DOORWAY, JsonObject
from gateway.settings import Settings

SAVER = wiring.saver(Settings())
COLUMN = f"{DOORWAY}/StructureDefinition/hmis-column"


def save(store: Store, *resources: JsonObject, at: int) -> None:
    drafts = [Draft(one, source="hmis") for one in resources]
    store.write(lambda unit: SAVER.save(unit, drafts, now_us=at))


def codes(store: Store, reference: str) -> set[str]:
    with store.reading() as reading:
        (stored,) = reading.resources.many([reference]).values()
    return {one["code"] for one in orjson.loads(stored.body)["meta"]["security"]}


def agency(**more: Any) -> JsonObject:
    return {"resourceType": "Organization", "id": "a", "name": "Harbour"} | more


def referral(id_: str) -> JsonObject:
    return {
        "resourceType": "ServiceRequest", "id": id_, "status": "active", "intent": "order", "code": {"text": "bed"},
        "subject": {"reference": "Patient/p"}, "requester": {"reference": "Organization/a"},
    }  # fmt: skip


def flag(value: str, *, unread: bool = False) -> JsonObject:
    parts: list[JsonObject] = [
        {"url": "column", "valueCode": "Organization.VictimServiceProvider"},
        {"url": "value"} | ({"valueString": value} if unread else {"valueCoding": {"system": "urn:x", "code": value}}),
    ]
    return {"extension": [{"url": COLUMN, "extension": parts}]}


FLAGS = (
    (flag("1"), {"SDV"}),
    (flag("Yes", unread=True), {"SDV"}),
    ({"meta": {"tag": [{"code": VICTIM_SERVICE}]}}, {"SDV"}),
    ({"meta": {"tag": [{"code": "urn:doorway:programme:part2"}]}}, {"42CFRPart2"}),
    ({"type": [{"coding": [{"code": "urn:doorway:programme:hopwa"}]}]}, {"HIV"}),
)


@pytest.mark.parametrize(("more", "told"), FLAGS)
def test_what_names_a_flagged_organization_is_labelled_before_and_after_the_flag(
    store: Store, more: JsonObject, told: set[str]
) -> None:
    plain = {"N", "L2"}
    save(store, agency(**flag("0")), referral("before"), at=1)
    assert codes(store, "ServiceRequest/before") == plain
    save(store, agency(**more), at=2)
    save(store, referral("after"), at=3)
    for id_ in ("before", "after"):
        assert codes(store, f"ServiceRequest/{id_}") >= told | {"R", "L3"}
    save(store, agency(), at=4)
    for id_ in ("before", "after"):
        assert codes(store, f"ServiceRequest/{id_}") == plain


def test_an_organization_that_comes_with_its_records_tells_of_them(store: Store) -> None:
    save(store, referral("r"), agency(**flag("1")), at=1)
    assert codes(store, "ServiceRequest/r") >= {"SDV", "R", "L3"}
