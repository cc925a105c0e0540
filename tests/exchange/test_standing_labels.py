"""Labels that a mapping vouched for outlive what others write; a sender closes his own record with his, never opens."""

from collections.abc import Sequence
from dataclasses import replace

import orjson
import pytest

from gateway import wiring
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.store import Store
from gateway.exchange.relabel import relabel
from gateway.kernel.fhir import ACT_CODE, CONFIDENTIALITY, LEVEL, JsonObject
from gateway.settings import Settings
from tests.consent.build import label, labels, observation
from tests.exchange.test_snapshots import PROCESSING, Gateway

SAVER = wiring.saver(Settings())
HANDLING = "https://doorway.example/fhir/CodeSystem/handling"


def save(
    store: Store, resource: JsonObject, *, by: str, at: int, vouched: tuple[JsonObject, ...] | None = None
) -> None:
    draft = Draft(resource, source=by, labels=vouched)
    store.write(lambda unit: SAVER.save(unit, [draft], now_us=at))


def codes(store: Store, reference: str = "Observation/o") -> set[str]:
    with store.reading() as reading:
        (stored,) = reading.resources.many([reference]).values()
    return {one["code"] for one in orjson.loads(stored.body)["meta"]["security"]}


def marked(*marks: JsonObject, **more: object) -> JsonObject:
    return observation(meta={"security": list(marks)}) | more


def test_what_an_hmis_vouched_for_stays_whoever_writes_the_record_until_the_hmis_says_otherwise(store: Store) -> None:
    save(store, observation(), by="hmis", at=1, vouched=(*labels("R"), label("HIV")))
    before = codes(store)
    assert {"R", "HIV"} <= before
    save(store, observation(note=[{"text": "seen"}]), by="hospital", at=2)
    assert codes(store) == before
    save(store, observation(note=[{"text": "seen again"}]), by="hospital", at=3)
    assert codes(store) == before
    relabel(store, SAVER, ["Observation"], now_us=4)
    assert codes(store) == before
    save(store, observation(), by="hmis", at=5, vouched=tuple(labels("N")))
    assert "HIV" not in codes(store)


@pytest.mark.parametrize(
    ("mark", "kept"),
    [
        (label("R"), {"R", "L3"}),
        (label("V"), {"V", "L3"}),
        (label("42CFRPart2"), {"42CFRPart2", "SUD", "R", "L3"}),
        (label("HIV"), {"HIV", "R", "L3"}),
        ({"system": HANDLING, "code": "RESTRICTED"}, {"RESTRICTED", "R", "L3"}),
        ({"system": HANDLING, "code": "EMBARGO-2030-01-01"}, {"EMBARGO-2030-01-01", "R", "L3"}),
    ],
)
def test_a_sender_closes_his_own_record_and_may_open_it_again(store: Store, mark: JsonObject, kept: set[str]) -> None:
    save(store, observation(), by="hospital", at=1)
    plain = codes(store)
    save(store, marked(mark), by="hospital", at=2)
    closed = codes(store)
    assert kept <= closed
    relabel(store, SAVER, ["Observation"], now_us=3)
    assert codes(store) == closed
    save(store, observation(note=[{"text": "a worker elsewhere"}]), by="clinic", at=4)
    assert codes(store) == closed
    save(store, observation(), by="clinic", at=5)
    assert codes(store) == closed
    save(store, marked(mark, note=[{"text": "still"}]), by="hospital", at=6)
    assert codes(store) == closed
    save(store, observation(), by="clinic", at=7)
    save(store, observation(note=[{"text": "no longer"}]), by="hospital", at=8)
    assert codes(store) == plain


@pytest.mark.parametrize(
    "mark",
    [label("U"), label("N"), {"system": LEVEL, "code": "L0"}, {"system": ACT_CODE, "code": "zqnever"}, {"code": "R"}],
)
def test_nobody_labels_his_way_past_consent(store: Store, mark: JsonObject) -> None:
    save(store, observation(), by="hospital", at=1)
    plain = codes(store)
    save(store, marked(mark, note=[{"text": "open"}]), by="hospital", at=2)
    assert codes(store) == plain


def test_a_record_of_others_is_not_closed_by_who_writes_to_it(store: Store) -> None:
    save(store, observation(), by="hmis", at=1, vouched=tuple(labels("N")))
    plain = codes(store)
    save(store, marked({"system": HANDLING, "code": "VSP"}), by="hospital", at=2)
    assert codes(store) == plain


def test_what_was_read_and_is_written_back_keeps_its_labels_and_gains_none(store: Store) -> None:
    save(store, observation(), by="hospital", at=1)
    with store.reading() as reading:
        read = orjson.loads(next(iter(reading.resources.of_type("Observation"))).body)
    plain = codes(store)
    save(store, read | {"note": [{"text": "more"}]}, by="hospital", at=2)
    assert codes(store) == plain


def test_a_documents_own_labels_count(store: Store) -> None:
    document = {
        "resourceType": "DocumentReference", "id": "d", "status": "current", "content": [{"attachment": {"url": "u"}}],
        "securityLabel": [{"coding": [{"system": CONFIDENTIALITY, "code": "V"}]}],
    }  # fmt: skip
    save(store, document, by="hospital", at=1)
    assert {"V", "L3"} <= codes(store, "DocumentReference/d")
    composition = {"resourceType": "Composition", "id": "c", "status": "final", "confidentiality": "R"}
    save(store, composition, by="hospital", at=1)
    assert {"R", "L3"} <= codes(store, "Composition/c")


def order(control_id: str, *, minute: int, mark: str, control: str = "NW", text: str = "Zq") -> bytes:
    stamp = f"2026010510{minute:02d}"
    lines = (
        f"MSH|^~\\&|EHR|WEST|||{stamp}||OMG^O19|{control_id}|P|2.5.1", "PID|1||17^^^WEST^MR||Zqvale^Ada",
        f"ORC|{control}|P1^EHR" + "|" * 26 + mark, f"OBR|1|P1^EHR||X^{text}^L", "",
    )  # fmt: skip
    return "\r".join(lines).encode()


R = "R^Restricted^HL70177"


@pytest.mark.parametrize(
    ("marks", "closed"),
    [
        (["", R], True),
        ([R, ""], True),
        ([R, "", ""], True),
        ([R, "", '""'], False),
        ([R, "U^Usual^HL70177"], False),
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_an_order_stays_closed_until_its_sender_says_otherwise(
    store: Store, marks: Sequence[str], closed: bool, late: bool
) -> None:
    gateway = Gateway(store, replace(PROCESSING, saver=SAVER))
    feed = [
        order(str(n), minute=n, mark=mark, control="NW" if n == 0 else "XO", text=f"Zq{n}")
        for n, mark in enumerate(marks)
    ]
    gateway.take(*([feed[-1], *feed[:-1]] if late else feed))
    (made,) = gateway.all("ServiceRequest")
    assert made["code"]["coding"][0]["display"] == f"Zq{len(marks) - 1}"
    assert ("R" in codes(store, f"ServiceRequest/{made['id']}")) is closed


def test_a_message_leaves_what_others_vouched_for(store: Store) -> None:
    gateway = Gateway(store, replace(PROCESSING, saver=SAVER))
    gateway.take(order("1", minute=1, mark=""))
    (made,) = gateway.all("ServiceRequest")
    save(store, made | {"priority": "urgent"}, by="hmis", at=gateway.tick(), vouched=(*labels("R"), label("HIV")))
    before = codes(store, f"ServiceRequest/{made['id']}")
    assert "HIV" in before
    gateway.take(order("2", minute=2, mark="", control="XO", text="Zq2"))
    assert codes(store, f"ServiceRequest/{made['id']}") == before
