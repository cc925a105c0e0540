"""Audit records keep the profile that they claim, and claim one only when they can (IHE BALP 1.1)."""

from collections import Counter

import orjson
import pytest

from gateway.consent.request import AccessRequest
from gateway.exchange.account import disclosures_of
from gateway.exchange.audit_event import DISCLOSE, audit_event
from gateway.kernel.fhir import JsonObject, Resource
from tests.consent.build import NOW
from tests.support.audited import asker, events

BALP = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
# BALP 1.1: (client, server) by profile; DCM, but for the custodian of a deletion
ROLES = {
    "Create": ("110153", "110152"), "Update": ("110153", "110152"), "Query": ("110153", "110152"),
    "Read": ("110152", "110153"), "Delete": ("110150", "custodian"), "PrivacyDisclosure.Source": ("110152", "110153"),
}  # fmt: skip


def codes(event: Resource, part: str) -> Counter[str]:
    """How often each type of agent or entity stands in an event."""
    types: list[JsonObject] = [one["type"] for one in event.get(part, ())]
    return Counter((one["coding"][0] if "coding" in one else one)["code"] for one in types)


@pytest.mark.parametrize("name", events())
def test_an_event_claims_what_it_fulfils(name: str) -> None:
    profile, event = events()[name]
    assert event.get("meta", {}).get("profile", []) == ([BALP + profile] if profile else [])
    assert all(agent["who"] and "requestor" in agent for agent in event["agent"])
    assert sum(agent["requestor"] for agent in event["agent"]) == 1
    if not profile:
        return
    base = profile.removeprefix("Patient")
    client, server = event["agent"][:2]
    assert (client["type"]["coding"][0]["code"], server["type"]["coding"][0]["code"]) == ROLES[base]
    assert client["network"]["address"]
    assert server["network"]["address"]
    assert event["outcome"] == "0"
    things = codes(event, "entity")
    assert things["2"] == 1
    assert things["XrequestId"] == 1
    if profile.startswith("Patient"):
        assert things["1"] == 1
    (thing,) = [one for one in event["entity"] if one["type"]["code"] == "2"]
    assert ("what" in thing, "query" in thing) == ((False, True) if base == "Query" else (True, False))
    assert codes(event, "agent").keys() >= set(ROLES[base])


def test_a_refusal_says_so_and_claims_nothing() -> None:
    event = audit_event(asker(), "read", what="Patient/p", refused="not-found", id_="r")
    assert (event["outcome"], event["outcomeDesc"], "meta" in event) == ("4", "not-found", False)


def test_a_person_of_an_organization_is_the_user_and_a_write_has_an_author() -> None:
    read = events()["read by person"][1]
    write = events()["create by person"][1]
    assert codes(read, "agent")["IRCP"] == codes(write, "agent")["AUT"] == 1
    assert [a["who"] for a in read["agent"] if a["requestor"]] == [{"reference": "Practitioner/z"}]


@pytest.mark.parametrize(
    ("address", "kind"), [("10.0.0.1", "2"), ("fe80::1", "2"), ("west", "1"), ("https://a.example/x", "5")]
)
def test_an_address_is_called_what_it_is(address: str, kind: str) -> None:
    event = audit_event(asker(), "read", address=address)
    assert event["agent"][0]["network"] == {"address": address, "type": kind}


def test_a_read_stays_small() -> None:
    """The record is written with every read; a page of a store holds two."""
    assert len(orjson.dumps(events()["read by client"][1])) < 1800


def test_a_delivery_counts_as_a_disclosure_to_its_organization() -> None:
    request = AccessRequest.of_organization("Organization/west", now=NOW)
    event = audit_event(request, DISCLOSE, patients=["Patient/p"], released=["Task/t/_history/1"], address="west")
    (told,) = disclosures_of([event], ["Patient/p"], lambda _: ["Patient/p"])
    assert (told.organization, dict(told.kinds)) == ("Organization/west", {"Task": 1})
