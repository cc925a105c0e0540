"""What each event does to what is stored: the rows of mappings/hl7v2/triggers.csv as short feeds through a store."""

from typing import Any

import pytest

from gateway.adapters.memory.store import MemoryStore
from tests.exchange.test_snapshots import Gateway

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
