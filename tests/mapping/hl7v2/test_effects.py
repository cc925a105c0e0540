"""The state of a visit is a fold over its events."""

import pytest

from gateway.mapping.hl7v2.effects import VisitEvent, surviving, visit_status
from tests.mapping.hl7v2.build import converter

TRIGGERS = converter().tables.triggers


def status(*events: str) -> str:
    return visit_status([VisitEvent(f"ADT^{event}") for event in events], TRIGGERS)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ("A05", "planned"),
        ("A05 A01", "in-progress"),
        ("A05 A01 A11", "planned"),
        ("A01 A11", "cancelled"),
        ("A01 A03", "finished"),
        ("A01 A03 A13", "in-progress"),
        ("A01 A03 A08", "finished"),
        ("A01 A02 A12", "in-progress"),
        ("A01 A21", "onleave"),
        ("A01 A21 A22", "in-progress"),
        ("A01 A21 A52", "in-progress"),
        ("A01 A13", "in-progress"),
        ("A08", "unknown"),
        ("A14 A27", "cancelled"),
        ("A05 A38", "cancelled"),
        ("A01 A03 A13 A03", "finished"),
    ],
)
def test_a_cancel_restores_what_was(events: str, expected: str) -> None:
    assert status(*events.split()) == expected


def test_what_was_taken_back_no_longer_counts() -> None:
    events = [VisitEvent("ADT^A01", "1"), VisitEvent("ADT^A02", "2"), VisitEvent("ADT^A12", "3")]
    assert [event.at for event in surviving(events, TRIGGERS)] == ["1"]


def test_every_trigger_argues_its_row() -> None:
    assert all(row.note for row in TRIGGERS.values())
