"""The audit record from a template is the one that is built element by element."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.audit_event import audit_event
from gateway.exchange.audit_text import _told, audit_text
from gateway.exchange.chain import canonical
from tests.support.audited import ASKERS, KINDS

WORDS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [
            "",
            "Patient/p",
            "a/b/c",
            'q"\\',
            "\x01",
            "\x01a value of an event: 2\x02",
            "é",
            "1971-01-01T00:00:00.000+00:00",
        ]
    ),
)
MANY = st.lists(WORDS, max_size=3)


@pytest.mark.parametrize("who", ASKERS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_event_is_written_as_it_is_built(kind: str, who: str) -> None:
    arguments = KINDS[kind][1] | {"id_": "r-1", "server": "https://gateway.example/fhir"}
    for _ in range(2):  # the first one makes the template
        assert audit_text(ASKERS[who], **arguments) == canonical(audit_event(ASKERS[who], **arguments))


@given(
    st.sampled_from(sorted(ASKERS)),
    st.sampled_from(["read", "create", "delete", "search", "operation", "transaction"]),
    st.fixed_dictionaries(
        {"patients": MANY, "released": MANY, "because": MANY},
        optional=dict.fromkeys(("what", "query", "refused", "address", "id_", "server"), WORDS),
    ),
)  # fmt: skip
def test_no_value_makes_a_difference(who: str, activity: str, arguments: dict[str, Any]) -> None:
    assert audit_text(ASKERS[who], activity, **arguments) == canonical(audit_event(ASKERS[who], activity, **arguments))


ZONES = ["UTC", "America/Edmonton", "Asia/Kathmandu"]


@given(
    st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2200, 1, 1)), st.sampled_from(ZONES), st.booleans()
)
def test_an_instant_is_told_as_python_tells_it_in_every_zone(at: datetime, zone: str, second: bool) -> None:
    now = at.replace(tzinfo=ZoneInfo(zone), fold=int(second))
    assert _told(now) == now.isoformat(timespec="milliseconds")
