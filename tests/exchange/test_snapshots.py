"""What a sender no longer lists is retired, and stands again when it lists it again or the event is taken back."""

import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.adapters.memory.store import MemoryStore
from gateway.adapters.worker import InboxWorker
from gateway.codecs.json_text import read
from gateway.exchange.ports.store import Store
from gateway.exchange.process_messages import Processing
from gateway.exchange.receive import Feed, admit, prepare
from gateway.exchange.save import Saver
from gateway.exchange.snapshots import LEFT_OUT
from gateway.mapping.hl7v2.update import merger
from tests.mapping.hl7v2.build import converter

TABLES = converter().tables
PROCESSING = Processing(
    lambda message, _source: converter().convert(message), merger(TABLES.updates), TABLES.triggers, Saver(lambda _: ())
)
AL1_NUTS, AL1_MILK = "AL1|1|FA|91935009^Nuts^SCT", "AL1|2|FA|3718001^Milk^SCT"
NK1_BOB, NK1_EVE = "NK1|1|Zqvale^Bob|BRO", "NK1|2|Zqvale^Eve|SIS"
DG1_A, DG1_B = "DG1|1||F10.20^Zq^I10|||A", "DG1|2||I10^Zq^I10|||A"
PR1_A, PR1_B = "PR1|1||80146002^Zq^SCT||20260105", "PR1|2||73761001^Zq^SCT||20260105"
IN1_A, IN1_B = "IN1|1|A|1|Payer A", "IN1|2|B|2|Payer B"


class Gateway:
    """Takes and processes messages, one clock tick each."""

    def __init__(self, store: Store, processing: Processing = PROCESSING) -> None:
        self.store = store
        self.at = 1_000
        self.worker = InboxWorker(store, processing, self.tick, lambda _done: None)

    def tick(self) -> int:
        self.at += 1
        return self.at

    def take(self, *payloads: bytes) -> None:
        for payload in payloads:
            prepared = prepare(payload, Feed(), now_us=self.tick(), ack_id=f"A{self.at}")
            self.store.write(lambda unit, prepared=prepared: admit(unit, prepared))  # type: ignore[misc]
            while self.worker.turn():
                pass

    def all(self, kind: str) -> list[dict[str, Any]]:
        with self.store.reading() as reading:
            found = [read(one.body, at=kind).resource for one in reading.resources.of_type(kind)]
        kept = [{**one, "meta": {"tag": one.get("meta", {}).get("tag", [])}} for one in found]
        return sorted(kept, key=lambda one: str(one["id"]))

    def standing(self, kind: str, path: str) -> dict[str, str]:
        """Code or name of each resource of a type, and what its state says."""
        out = {}
        for one in self.all(kind):
            coded = one.get("code") or one.get("type") or {}
            name = one["name"][0]["given"][0] if "name" in one else coded["coding"][0]["code"]
            state: Any = one.get(path)
            out[name] = state["coding"][0]["code"] if isinstance(state, dict) else str(state)
        return out


def adt(event: str, control_id: str, minute: int, *rest: str, visit: str = "V1") -> bytes:
    stamp = f"2026010510{minute:02d}"
    lines = [
        f"MSH|^~\\&|EHR|WEST|||{stamp}||ADT^{event}|{control_id}|P|2.5.1", f"EVN||{stamp}",
        "PID|1||17^^^WEST^MR||Zqvale^Ada", *[r for r in rest if r.startswith("NK1")],
        "PV1|1|I|W1" + "|" * 16 + f"{visit}^^^WEST^VN", *[r for r in rest if not r.startswith("NK1")], "",
    ]  # fmt: skip
    return "\r".join(lines).encode()


@pytest.fixture
def gateway(store: Store) -> Gateway:
    return Gateway(store)


def test_what_a_later_snapshot_leaves_out_is_retired_and_never_deleted(gateway: Gateway) -> None:
    gateway.take(
        adt("A01", "1", 1, NK1_BOB, NK1_EVE, AL1_NUTS, AL1_MILK, DG1_A, DG1_B, PR1_A, PR1_B, IN1_A, IN1_B),
        adt("A08", "2", 2, NK1_BOB, AL1_NUTS, DG1_A, PR1_A, IN1_A),
    )
    assert gateway.standing("AllergyIntolerance", "clinicalStatus") == {"91935009": "active", "3718001": "inactive"}
    assert gateway.standing("Condition", "clinicalStatus") == {"F10.20": "None", "I10": "inactive"}
    assert gateway.standing("RelatedPerson", "active") == {"Bob": "None", "Eve": "False"}
    assert gateway.standing("Coverage", "status") == {"A": "active", "B": "cancelled"}
    assert gateway.standing("Procedure", "status") == {"80146002": "completed", "73761001": "entered-in-error"}
    assert len(gateway.all("Encounter")[0]["diagnosis"]) == 1
    assert sum(LEFT_OUT in one["meta"]["tag"] for kind in ("Condition", "Coverage") for one in gateway.all(kind)) == 2


def test_what_is_listed_again_stands_as_it_stood(gateway: Gateway) -> None:
    whole = (NK1_BOB, NK1_EVE, AL1_NUTS, AL1_MILK, DG1_A, DG1_B)
    gateway.take(adt("A01", "1", 1, *whole))
    kinds = ("AllergyIntolerance", "Condition", "RelatedPerson")
    before = [gateway.all(kind) for kind in kinds]
    gateway.take(adt("A08", "2", 2, NK1_EVE, AL1_MILK, DG1_B))
    assert [gateway.all(kind) for kind in kinds] != before
    gateway.take(adt("A08", "3", 3, *whole))
    assert [gateway.all(kind) for kind in kinds] == before


def test_a_group_that_is_not_sent_says_nothing_and_two_quotes_empty_it(gateway: Gateway) -> None:
    gateway.take(adt("A01", "1", 1, AL1_NUTS, DG1_A), adt("A08", "2", 2))
    assert gateway.standing("AllergyIntolerance", "clinicalStatus") == {"91935009": "active"}
    gateway.take(adt("A08", "3", 3, 'AL1|1|""|""'))
    assert gateway.standing("AllergyIntolerance", "clinicalStatus") == {"91935009": "inactive"}
    assert gateway.standing("Condition", "clinicalStatus") == {"F10.20": "None"}


def test_a_segment_of_which_nothing_can_be_made_retires_nobody(gateway: Gateway) -> None:
    gateway.take(adt("A01", "1", 1, AL1_NUTS), adt("A08", "2", 2, "AL1|1|FA|"))
    assert gateway.standing("AllergyIntolerance", "clinicalStatus") == {"91935009": "active"}


def test_the_diagnoses_of_another_visit_stay(gateway: Gateway) -> None:
    gateway.take(adt("A01", "1", 1, DG1_A))
    gateway.take(adt("A01", "2", 2, DG1_B, visit="V2"), adt("A08", "3", 3, DG1_B, visit="V2"))
    assert gateway.standing("Condition", "clinicalStatus") == {"F10.20": "None", "I10": "None"}


def test_an_action_code_patches_and_leaves_the_others(gateway: Gateway) -> None:
    gateway.take(adt("A01", "1", 1, DG1_A, DG1_B), adt("A08", "2", 2, DG1_B + "|" * 15 + "D"))
    by_code = {one["code"]["coding"][0]["code"]: one for one in gateway.all("Condition")}
    assert "verificationStatus" not in by_code["F10.20"]
    assert by_code["I10"]["verificationStatus"]["coding"][0]["code"] == "entered-in-error"
    assert "clinicalStatus" not in by_code["I10"]


def test_a_cancelled_admission_gives_the_diagnoses_before_it_back(gateway: Gateway) -> None:
    gateway.take(adt("A05", "1", 1, DG1_A, DG1_B), adt("A01", "2", 2, DG1_A))
    assert gateway.standing("Condition", "clinicalStatus") == {"F10.20": "None", "I10": "inactive"}
    gateway.take(adt("A11", "3", 3))
    assert gateway.standing("Condition", "clinicalStatus") == {"F10.20": "None", "I10": "None"}


FEED = (
    adt("A05", "1", 1, NK1_BOB, AL1_NUTS, DG1_A),
    adt("A01", "2", 2, NK1_BOB, NK1_EVE, AL1_NUTS, AL1_MILK, DG1_B, IN1_A),
    adt("A08", "3", 3, NK1_EVE, AL1_MILK, IN1_B),
    adt("A11", "4", 4, AL1_MILK, AL1_NUTS),
)
KINDS = ("Patient", "Encounter", "AllergyIntolerance", "RelatedPerson", "Condition", "Coverage", "Basic")


def state_after(order: Sequence[bytes]) -> list[list[dict[str, Any]]]:
    gateway = Gateway(MemoryStore())
    gateway.take(*order)
    return [gateway.all(kind) for kind in KINDS]


def test_any_order_of_arrival_ends_in_the_same_sets() -> None:
    expected = state_after(FEED)
    assert any(LEFT_OUT in one["meta"]["tag"] for kind in expected for one in kind)
    for order in itertools.permutations(FEED):
        assert state_after(order) == expected
