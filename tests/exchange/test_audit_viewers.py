"""Whose a record of the trail is: read off its text as it is out of the parsed event, whatever the event tells of."""

from datetime import UTC, datetime
from itertools import product

import orjson
import pytest

from gateway.consent.request import AccessRequest, Actor, BreakGlass
from gateway.exchange.audit_text import audit_text
from gateway.exchange.audit_viewers import NOBODY, keys_for, viewer_in, viewer_of
from gateway.exchange.chain import canonical

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SHELTER = 'Organization/"entity":'  # no such id exists; the text holds it all the same


def made(organization: str, client: str, actors: tuple[Actor, ...], what: str, query: str, reason: bool) -> bytes:
    glass = BreakGlass(privileged=True, reason='so "entity": AuditEvent', until=NOW) if reason else None
    request = AccessRequest(
        now=NOW, organization=organization, client=client, actors=actors, purposes=("TREAT",), break_glass=glass
    )
    released = ["Organization/x/_history/1"] if what.endswith(("p", "q")) else [f"{what}/_history/1"] * what.count("/")
    return audit_text(
        request, "search" if query else "read", what=what, query=query, patients=["Patient/p"],
        released=released, because=["Consent/c/_history/1"], withheld={"AuditEvent": 2},
        address="Organization/a", id_="AuditEvent/1",
    )  # fmt: skip


EVENTS = [
    made(*case)
    for case in product(
        ("", "Organization/h", SHELTER, "Organization/caf\u00e9"),
        ("", "ehr"),
        ((), (Actor("Practitioner/d"), Actor("Organization/z"))),
        ("AuditEvent", "AuditEvent/x", "Patient/p", "Organization/q"),
        ("", "AuditEvent?patient=Organization/q"),
        (False, True),
    )
]


def test_the_text_tells_what_the_event_tells() -> None:
    said = [viewer_of(text) for text in EVENTS]
    assert said == [viewer_in(orjson.loads(text)) for text in EVENTS]
    assert len(set(said)) > 8
    assert NOBODY in said


@pytest.mark.parametrize(("what", "mine"), [("Patient/p", "ehr"), ("AuditEvent", "ehr"), ("AuditEvent/x", "ehr")])
def test_a_client_has_the_keys_of_its_organizations_accesses_and_of_its_own_looks(what: str, mine: str) -> None:
    text = made("Organization/h", "ehr", (), what, "", False)
    assert viewer_of(text) in keys_for("Organization/h", mine)
    assert viewer_of(text) not in keys_for("Organization/other", mine)
    assert (viewer_of(text) in keys_for("Organization/h", "colleague")) == (what == "Patient/p")


def test_an_event_of_another_make_is_nobodys_or_its_askers() -> None:
    assert viewer_of(canonical({"resourceType": "AuditEvent", "action": "R"})) == NOBODY
    asked = {"resourceType": "AuditEvent", "agent": [{"who": {"reference": "Organization/h"}}]}
    assert viewer_of(canonical(asked)) == keys_for("Organization/h", "")[0]
