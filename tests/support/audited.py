"""One AuditEvent of every kind that the gateway writes, made by the doors themselves."""

from typing import Any

from gateway.consent.request import AccessRequest, Actor, BreakGlass
from gateway.exchange.audit_event import DISCLOSE, audit_event
from gateway.kernel.fhir import Resource
from tests.consent.build import NOW

ORGANIZATION = "Organization/h"
P, SEEN = "Patient/p", "Observation/o/_history/1"


def asker(**more: Any) -> AccessRequest:
    """A registered client of an organization."""
    usual: dict[str, Any] = {"now": NOW, "organization": ORGANIZATION, "client": "ehr", "purposes": ("TREAT",)}
    return AccessRequest(**(usual | more))


ASKERS: dict[str, AccessRequest] = {
    "client": asker(),
    "person": asker(actors=(Actor("Practitioner/z"), Actor("", "urn:groups", "nurses"), Actor("Organization/up"))),
    "destination": asker(client=""),
    "nobody": asker(client="", organization="", purposes=()),
    "emergency": asker(break_glass=BreakGlass("unconscious", NOW, True), purposes=("BTG",)),
}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {  # name: (profile that must be claimed, arguments)
    "read": ("PatientRead", {"activity": "read", "patients": [P], "released": [SEEN]}),
    "vread": ("Read", {"activity": "vread", "released": ["Organization/h/_history/2"]}),
    "create": ("PatientCreate", {"activity": "create", "patients": [P], "released": [SEEN], "what": "Observation/o"}),
    "update": ("PatientUpdate", {"activity": "update", "patients": [P], "released": [SEEN], "address": "10.0.0.1"}),
    "update of two": ("Update", {"activity": "update", "patients": [P, "Patient/q"], "released": [SEEN]}),
    "update without change": ("Update", {"activity": "update", "what": "Observation/o"}),
    "patch": ("PatientUpdate", {"activity": "patch", "patients": [P], "released": [SEEN], "address": "::1"}),
    "delete": ("Delete", {"activity": "delete", "released": [SEEN], "what": "Observation/o"}),
    "search": (
        "PatientQuery",
        {"activity": "search-type", "patients": [P], "released": [SEEN, "Patient/p/_history/1"], "what": "Observation",
         "query": "/Observation?code=1", "because": ["Consent/c"], "withheld": {"Observation": 2}, "address": "a.b",
         "server": "https://gateway.example/fhir"},
    ),
    "search of many": ("Query", {"activity": "search-type", "patients": [P, "Patient/q"], "query": "/Patient"}),
    "empty search": ("Query", {"activity": "search-type", "what": "Patient", "query": "/Patient?name=x"}),
    "delivery": ("PrivacyDisclosure.Source", {"activity": DISCLOSE, "patients": [P], "released": [SEEN]}),
    "delivery of two": ("", {"activity": DISCLOSE, "patients": [P, "Patient/q"], "released": [SEEN]}),
    "export": ("", {"activity": "operation", "what": "Patient/$export", "query": "$export"}),
    "export page": ("", {"activity": "operation", "patients": [P], "released": [SEEN, SEEN], "query": "$export"}),
    "transaction": ("", {"activity": "transaction", "patients": [P], "released": [SEEN, P], "what": "Bundle"}),
    "history": ("", {"activity": "history-instance", "patients": [P], "released": [SEEN], "what": "Observation/o"}),
    "refused read": ("", {"activity": "read", "what": "Patient/p", "refused": "not-found"}),
    "refused search": ("", {"activity": "search-type", "query": "/Patient", "refused": "forbidden"}),
    "refused delivery": ("", {"activity": DISCLOSE, "refused": "forbidden"}),
    "delete of nothing": ("", {"activity": "delete", "what": "Patient", "query": "x", "refused": "not-found"}),
}  # fmt: skip


def events() -> dict[str, tuple[str, Resource]]:
    """By name: the profile, without what all names begin with, and the event as it is kept."""
    return {
        f"{kind} by {who}": (profile, audit_event(request, **arguments, id_="r-1"))
        for kind, (profile, arguments) in KINDS.items()
        for who, request in ASKERS.items()
    }


def kept(store: Any) -> list[Resource]:
    """The trail of a store."""
    with store.reading() as reading:
        return [record.event for record in reading.audit.records()]
