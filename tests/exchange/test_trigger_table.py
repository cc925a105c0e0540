"""What each event does to what is stored: the rows of mappings/hl7v2/triggers.csv as short feeds through a store."""

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import pytest

from gateway.adapters.memory.store import MemoryStore
from gateway.codecs.er7 import Message
from gateway.exchange.ports.store import Store
from tests.exchange.test_snapshots import Gateway
from tests.mapping.hl7v2.build import converter

PID, OTHER = "PID|1||17^^^WEST^MR||Zqvale^Ada", "PID|1||18^^^WEST^MR||Zqvale^Bea"
ACCOUNT = "|" * 13 + "A1^^^WEST"


def pv1(place: str, number: str = "V1", more: str = "") -> str:
    return f"PV1|1|I|{place}" + "|" * 16 + f"{number}^^^WEST^VN{more}"


def fed(*messages: tuple[str, ...]) -> Gateway:
    """A store after these messages: kind and segments each, a minute apart."""
    gateway = Gateway(MemoryStore())
    for minute, (kind, *segments) in enumerate(messages):
        stamp = f"2026010510{minute:02d}"
        head = f"MSH|^~\\&|EHR|WEST|||{stamp}||{kind}|C{minute}|P|2.5.1"
        event = [f"EVN||{stamp}"] if kind.startswith("ADT") else []
        gateway.take("\r".join([head, *event, *segments, ""]).encode())
    return gateway


def one(gateway: Gateway, kind: str) -> dict[str, Any]:
    (found,) = gateway.all(kind)
    return found


def visits(*events: str) -> list[tuple[str, ...]]:
    return [(f"ADT^{event}", PID, pv1(f"W{n}")) for n, event in enumerate(events)]


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ("A01 A02", "in-progress"), ("A01 A02 A12", "in-progress"), ("A01 A03", "finished"),
        ("A01 A03 A08", "finished"), ("A01 A03 A13", "in-progress"), ("A05 A01 A11", "planned"),
        ("A01 A11", "cancelled"), ("A05 A38", "cancelled"), ("A14 A27", "cancelled"), ("A01 A21", "onleave"),
        ("A01 A21 A22", "in-progress"), ("A01 A21 A52", "in-progress"), ("A01 A21 A22 A53", "onleave"),
        ("A01 A23", "entered-in-error"), ("A04 A06", "in-progress"),
    ],
)  # fmt: skip
def test_events_of_a_visit_end_in_the_status_of_the_table_and_in_one_place(events: str, status: str) -> None:
    visit = one(fed(*visits(*events.split())), "Encounter")
    assert visit["status"] == status
    here = [place for place in visit["location"] if place["status"] == "active"]
    assert len(here) == (0 if status == "finished" else 1)


def test_a_temporary_place_stands_beside_the_bed_until_the_visit_ends() -> None:
    gateway = fed(("ADT^A01", PID, "PV1|1|I|W1||||||||XRAY||||||||V1^^^WEST^VN"), ("ADT^A02", PID, pv1("W2")))
    assert [p["status"] for p in one(gateway, "Encounter")["location"]].count("active") == 2
    over = fed(("ADT^A01", PID, "PV1|1|I|W1||||||||XRAY||||||||V1^^^WEST^VN"), ("ADT^A03", PID, pv1("")))
    assert {p["status"] for p in one(over, "Encounter")["location"]} == {"completed"}


def test_a_visit_under_another_number_is_the_same_visit_once() -> None:
    merge = "MRG|17^^^WEST^MR||||V1^^^WEST^VN"
    gateway = fed(*visits("A01", "A03"), ("ADT^A50", PID, merge, pv1("W1", "V9")))
    told = {r["identifier"][0]["value"]: r for r in gateway.all("Encounter")}
    assert (told["V1"]["status"], told["V9"]["status"]) == ("entered-in-error", "finished")
    assert [i["value"] for i in told["V9"]["identifier"]] == ["V9", "V1"]


def test_an_account_moves_whole() -> None:
    gateway = fed(
        ("ADT^A01", PID + ACCOUNT, pv1("W1")), ("ADT^A28", OTHER),
        ("ADT^A44", OTHER + ACCOUNT, "MRG|17^^^WEST^MR||A1^^^WEST"),
    )  # fmt: skip
    account, moved = one(gateway, "Account"), next(p for p in gateway.all("Patient") if "18" in str(p["identifier"]))
    assert account["subject"] == [{"reference": f"Patient/{moved['id']}"}]
    assert account["status"] == "active"


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ("S12", "booked"), ("S12 S15", "cancelled"), ("S12 S16", "cancelled"), ("S12 S17", "entered-in-error"),
        ("S12 S26", "noshow"), ("S12 S26 S14", "noshow"), ("S12 S15 S13", "booked"), ("S23 S24", "cancelled"),
        ("S12 S14=Arrived S19", "arrived"), ("S12 S18", "booked"), ("S12 S22", "booked"),
    ],
)  # fmt: skip
def test_a_change_of_something_else_keeps_the_state_of_the_appointment(events: str, status: str) -> None:
    messages = []
    for event in events.split():
        name, _, said = event.partition("=")
        messages.append((f"SIU^{name}", "SCH|P1^EHR|F1^EHR" + "|" * 23 + said, PID))
    assert one(fed(*messages), "Appointment")["status"] == status


@pytest.mark.parametrize("event", ["T09", "T10"])
def test_a_replaced_document_is_superseded(event: str) -> None:
    def document(number: str, before: str = "") -> str:
        return f"TXA|1|DS|TX|20260105||||||||{number}^^EHR|{before}||||AU||AV"

    gateway = fed(
        ("MDM^T02", PID, document("D1"), "OBX|1|TX|X||zq||||||F"), (f"MDM^{event}", PID, document("D2", "D1^^EHR"))
    )
    told = {r["masterIdentifier"]["value"]: r["status"] for r in gateway.all("DocumentReference")}
    assert told == {"D1": "superseded", "D2": "current"}


@pytest.mark.parametrize("event", ["REF^I13", "REF^I15"])
def test_a_referral_that_is_changed_or_asked_about_keeps_its_state(event: str) -> None:
    rows = ("PRD|RP|Zqref^Doc", PID)
    gateway = fed(("REF^I12", "RF1|P|R|PAT|||R77^WEST", *rows), ("RRI^I12", "RF1|A|R|PAT|||R77^WEST", *rows),
                  (event, "RF1||R|PAT|||R77^WEST", *rows))  # fmt: skip
    assert (one(gateway, "Task")["status"], one(gateway, "ServiceRequest")["status"]) == ("accepted", "active")


def test_what_r4_demands_and_the_message_does_not_tell_is_kept() -> None:
    order = ("ORM^O01", PID, "ORC|CA|P1^EHR", "OBR|1|P1^EHR||X")
    result = ("ORU^R01", PID, "OBR|1|P1^EHR|F1^LAB|X|||20260105")
    assert one(fed(order), "ServiceRequest")["status"] == "revoked"
    assert {r["status"] for r in fed(order, result).all("ServiceRequest")} == {"revoked"}


def test_a_changed_order_leaves_the_state_of_its_task() -> None:
    def order(control: str) -> tuple[str, ...]:
        return ("OMG^O19", PID, f"ORC|{control}|P1^EHR", "OBR|1|P1^EHR||X")

    def state(*messages: tuple[str, ...]) -> str:
        return str(one(fed(*messages), "Task")["status"])

    assert (state(order("NW"), order("OK")), state(order("NW"), order("OK"), order("XO"))) == ("accepted", "accepted")


MRG_V2 = "MRG|17^^^WEST^MR||||V2^^^WEST^VN"
MERGED = (("A01", "V1"), ("A01", "V2"), ("A42", "V1"), ("A08", "V1"), ("A13", "V2"))


def merged_in(order: Sequence[int], store: Store, mrn: str) -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """The visits of one person after the messages of MERGED arrived in this order."""
    gateway = Gateway(store)
    for minute in order:
        event, number = MERGED[minute]
        stamp = f"2026010510{minute:02d}"
        merge = [MRG_V2.replace("17^", mrn + "^")] if event == "A42" else []
        segments = [f"PID|1||{mrn}^^^WEST^MR||Zqvale^Ada", *merge]
        head = f"MSH|^~\\&|EHR|WEST|||{stamp}||ADT^{event}|C{mrn}-{minute}|P|2.5.1"
        lines = [head, f"EVN||{stamp}", *segments, pv1("W1", mrn + number), ""]
        gateway.take("\r".join(lines).replace("|V2^", f"|{mrn}V2^").encode())
    told = {r["identifier"][0]["value"].removeprefix(mrn): r for r in gateway.all("Encounter")
            if r["identifier"][0]["value"].startswith(mrn)}  # fmt: skip
    return {
        number: (r["status"], [(i["value"].removeprefix(mrn), i.get("use", "")) for i in r["identifier"]])
        for number, r in told.items()
    }


def test_a_visit_filed_under_two_numbers_is_one_whatever_comes_late(store: Store) -> None:
    expected = {"V1": ("in-progress", [("V1", ""), ("V2", "old")]), "V2": ("entered-in-error", [("V2", "")])}
    for number, order in enumerate([(2, 1, 0, 4, 3), (4, 3, 2, 1, 0), (1, 2, 4, 0, 3)]):
        assert merged_in(order, store, f"zq{number}") == expected


def test_a_merge_of_visits_ends_alike_in_every_order() -> None:
    ends = [merged_in(order, MemoryStore(), "17") for order in list(permutations(range(len(MERGED))))[::13]]
    assert all(end == ends[0] for end in ends)


def test_a_retired_number_that_admits_again_speaks_for_itself_and_the_bundle_says_what_the_store_says() -> None:
    told = (*visits("A01"), ("ADT^A42", PID, MRG_V2, pv1("W1")))
    for later, status in (((), "entered-in-error"), (("A08",), "entered-in-error"), (("A01",), "in-progress"),
                          (("A03",), "finished"), (("A01", "A11"), "entered-in-error")):  # fmt: skip
        gateway = fed(*told, *((f"ADT^{event}", PID, pv1("W1", "V2")) for event in later))
        found = {r["identifier"][0]["value"]: r["status"] for r in gateway.all("Encounter")}
        assert found == {"V1": "in-progress", "V2": status}
    message = "\r".join(["MSH|^~\\&|EHR|WEST|||20260105||ADT^A42|1|P|2.5.1", *told[-1][1:], ""])
    made = converter().convert(Message.parse(message.encode()))
    said = [r["status"] for r in made.resources if r["resourceType"] == "Encounter"]
    assert said == ["entered-in-error", "in-progress"]


def test_a_discharge_under_a_new_number_that_is_taken_back_leaves_the_visit_open() -> None:
    merge = "MRG|17^^^WEST^MR||||V1^^^WEST^VN"
    gateway = fed(*visits("A01"), ("ADT^A50", PID, merge, pv1("W1", "V9")), ("ADT^A03", PID, pv1("W1", "V9")),
                  ("ADT^A13", PID, pv1("W1", "V9")))  # fmt: skip
    told = {r["identifier"][0]["value"]: r["status"] for r in gateway.all("Encounter")}
    assert told == {"V1": "entered-in-error", "V9": "in-progress"}


def numbers(gateway: Gateway) -> list[list[tuple[str, str]]]:
    return sorted([(i["value"], i.get("use", "")) for i in p.get("identifier", ())] for p in gateway.all("Patient"))


def test_an_update_after_a_merge_leaves_the_old_number() -> None:
    gateway = fed(("ADT^A28", PID), ("ADT^A28", OTHER), ("ADT^A40", PID, "MRG|18^^^WEST^MR"), ("ADT^A08", PID))
    assert numbers(gateway) == [[("17", ""), ("18", "old")], [("18", "")]]


def test_a_number_that_moves_to_another_person_is_no_longer_the_first_ones_with_and_without_mrg_4() -> None:
    def pid(numbers: str, enterprise: str = "") -> str:
        return f"PID|1|{enterprise}|{numbers}||Zqvale^Ada"

    two = fed(("ADT^A28", pid("old^^^X~s^^^Y")), ("ADT^A43", pid("new^^^X~s^^^Y"), "MRG|old^^^X"))
    assert numbers(two) == [[("new", ""), ("s", "")], [("old", "")]]
    one = fed(("ADT^A28", pid("17^^^WEST^MR", "E1^^^EPI^PI")),
              ("ADT^A43", pid("17^^^WEST^MR", "E2^^^EPI^PI"), "MRG|17^^^WEST^MR|||E1^^^EPI^PI"))  # fmt: skip
    assert numbers(one) == [[("E2", ""), ("17", "")]]
    same = fed(("ADT^A28", pid("17^^^WEST^MR")), ("ADT^A43", pid("17^^^WEST^MR"), "MRG|17^^^WEST^MR"))
    assert numbers(same) == [[("17", "")]]
