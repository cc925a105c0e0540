"""AuditEvents in the shape of IHE BALP: who, what, when, why; references and codes only, never a value of a record.

A profile is claimed only by a record that fulfils it: Create, Read, Update, Delete of one resource and Query were
granted (``outcome`` 0); a message that goes out about one person is a PrivacyDisclosure. Refusals, histories,
operations and transactions have no profile in BALP 1.1 and are plain R4 AuditEvents.
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from gateway.consent.request import BREAK_GLASS, AccessRequest
from gateway.kernel.fhir import ACT_REASON, DOORWAY, JsonObject, Resource, coding

_BALP: Final = "https://profiles.ihe.net/ITI/BALP"
_PROFILE: Final = f"{_BALP}/StructureDefinition/IHE.BasicAudit."
_DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
_INTERACTION: Final = "http://hl7.org/fhir/restful-interaction"
_PARTICIPATION: Final = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
_ROLE_CLASS: Final = "http://terminology.hl7.org/CodeSystem/v3-RoleClass"
_ENTITY: Final = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_ROLE: Final = "http://terminology.hl7.org/CodeSystem/object-role"
_RESOURCE_TYPES: Final = "http://hl7.org/fhir/resource-types"  # AuditEvent.entity.type (R4, extensible)

_REST: Final = coding("http://terminology.hl7.org/CodeSystem/audit-event-type", "rest")
_EXPORT: Final = coding(_DCM, "110106")
_DISCLOSED: Final = coding("http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle", "disclose")
_PERSON: Final = coding(_ENTITY, "1")
_OBJECT: Final = coding(_ENTITY, "2")
_PATIENT: Final = coding(_ROLE, "1")
_DATA: Final = coding(_ROLE, "4")
_QUERY: Final = coding(_ROLE, "24")
_REQUEST_ID: Final = coding(f"{_BALP}/CodeSystem/BasicAuditEntityType", "XrequestId")
_DECISION: Final = coding(f"{DOORWAY}/CodeSystem/audit-entity", "decision")
_OBSERVER: Final[JsonObject] = {"display": "doorway"}  # BALP val-audit-source: the same words in agent and source
_SOURCE: Final[JsonObject] = {
    "observer": _OBSERVER,
    "type": [coding("http://terminology.hl7.org/CodeSystem/security-source-type", "4")],
}

BECAUSE: Final = "because"  # AuditEvent.entity.detail.type: a Consent with version and provision, or a rule
WITHHELD: Final = "withheld"  # how many of a type were held back; never which
REASON: Final = "break-glass"  # the reason that a person gave for emergency access
DISCLOSE: Final = "disclose"  # activity of a message that goes out by itself, without being asked for


def _type(system: str, code: str) -> JsonObject:
    return {"coding": [coding(system, code)]}


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of event: its action, profile, and what BALP calls those who take part in it."""

    action: str
    profile: str
    client: JsonObject
    server: JsonObject
    user: JsonObject


_FROM: Final = _type(_DCM, "110153")  # Source Role ID: whoever sends the data
_TO: Final = _type(_DCM, "110152")  # Destination Role ID
_RECEIVES: Final = _type(_PARTICIPATION, "IRCP")
_AUTHOR: Final = _type(_PARTICIPATION, "AUT")
_PARTNER: Final = _type(_ROLE_CLASS, "PROV")
_OTHER: Final = _type(_ROLE_CLASS, "AGNT")

_READ: Final = _Kind("R", "Read", _TO, _FROM, _RECEIVES)
_FOUND: Final = _Kind("E", "Query", _FROM, _TO, _RECEIVES)
_UPDATED: Final = _Kind("U", "Update", _FROM, _TO, _AUTHOR)
_PLAIN: Final = _Kind("E", "", _FROM, _TO, _RECEIVES)
_SENT: Final = _Kind("R", "PrivacyDisclosure.Source", _TO, _FROM, _RECEIVES)
_KINDS: Final[Mapping[str, _Kind]] = {  # interaction -> kind
    "create": _Kind("C", "Create", _FROM, _TO, _AUTHOR),
    "update": _UPDATED,
    "patch": _UPDATED,
    "delete": _Kind(
        "D", "Delete", _type(_DCM, "110150"),
        _type("http://terminology.hl7.org/CodeSystem/provenance-participant-type", "custodian"), _AUTHOR,
    ),
    "read": _READ,
    "vread": _READ,
    "search": _FOUND,
    "search-type": _FOUND,
    "search-system": _FOUND,
    DISCLOSE: _SENT,
}  # fmt: skip


def audit_event(
    request: AccessRequest, activity: str, *, patients: Iterable[str] = (), released: Sequence[str] = (),
    because: Iterable[str] = (), withheld: Mapping[str, int] | None = None, what: str = "", query: str = "",
    refused: str = "", address: str = "", id_: str = "", server: str = "",
) -> Resource:  # fmt: skip
    """The AuditEvent of one interaction.

    Args:
        activity: code of http://hl7.org/fhir/restful-interaction, or :data:`DISCLOSE`.
        released: ``Type/id/_history/n`` of everything that goes out, or was written.
        because: Consents and rules that decided.
        what: the resource or type asked for.
        query: the search as sent; kept base64 as BALP has it, so that the record itself reads without names.
        refused: the category of a refusal; empty when it was granted.
        address: network address of the peer, or its name.
        server: the base address under which the peer found the gateway.
    """
    kind = _KINDS.get(activity, _PLAIN)
    people = list(patients)
    data = list(released)
    if not data and kind.action in "CRUD" and not refused and what.count("/") == 1:
        data = [what]  # nothing changed: what was to be written is named all the same
    entities: list[JsonObject] = [
        {"what": {"reference": patient}, "type": _PERSON, "role": _PATIENT} for patient in people
    ]
    entities += _things(kind, data)
    if what and not data:
        entities.append({"type": _DECISION, "description": what})
    if query:
        entities.append({"query": b64encode(query.encode()).decode(), "type": _OBJECT, "role": _QUERY})
    if id_:
        entities.append({"what": {"identifier": {"value": id_}}, "type": _REQUEST_ID})
    details = _details(request, because, withheld)
    if details:
        entities.append({"type": _DECISION, "detail": details})
    event: JsonObject = {"resourceType": "AuditEvent"}
    profile = "" if refused else _claimed(kind, people, data, query)
    if profile:
        event["meta"] = {"profile": [_PROFILE + profile]}
    event["type"] = _EXPORT if kind is _SENT else _REST
    event["subtype"] = [_DISCLOSED if kind is _SENT else coding(_INTERACTION, activity)]
    event["action"] = kind.action
    event["recorded"] = _instant(request.now)
    event["outcome"] = "4" if refused else "0"
    if refused:
        event["outcomeDesc"] = refused
    purposes = dict.fromkeys((*request.purposes, *([BREAK_GLASS] if request.break_glass is not None else ())))
    if purposes:
        event["purposeOfEvent"] = [_type(ACT_REASON, purpose.rpartition("|")[2]) for purpose in purposes]
    event["agent"] = _agents(request, kind, address, server)
    event["source"] = _SOURCE
    if entities:
        event["entity"] = entities
    return event


def _claimed(kind: _Kind, people: Sequence[str], data: Sequence[str], query: str) -> str:
    """The name of the profile that the record fulfils; empty when it fulfils none."""
    if kind is _SENT:
        return kind.profile if len(people) == 1 and data else ""
    if kind is _PLAIN or (not query if kind is _FOUND else len(data) != 1 or bool(query)):
        return ""
    return f"Patient{kind.profile}" if len(people) == 1 else kind.profile


def _things(kind: _Kind, data: Sequence[str]) -> list[JsonObject]:
    """The resources of an event; BALP keeps type 2 for the query of a search, so its matches go by their own types."""
    if kind is _FOUND or (kind is not _SENT and len(data) > 1):
        return [
            {"what": {"reference": one}, "type": coding(_RESOURCE_TYPES, one.partition("/")[0]), "role": _DATA}
            for one in data
        ]
    return [{"what": {"reference": one}, "type": _OBJECT, "role": _DATA} for one in data]


def _details(request: AccessRequest, because: Iterable[str], withheld: Mapping[str, int] | None) -> list[JsonObject]:
    details: list[JsonObject] = [{"type": BECAUSE, "valueString": one} for one in because]
    details += [
        {"type": WITHHELD, "valueString": f"{type_} {count}"} for type_, count in sorted((withheld or {}).items())
    ]
    if request.break_glass is not None:
        details.append({"type": REASON, "valueString": request.break_glass.reason})
    return details


def _instant(now: datetime) -> str:
    return now.isoformat(timespec="milliseconds")


@lru_cache(maxsize=4096)
def _network(address: str) -> Mapping[str, str]:
    """AuditEvent.agent.network; its type (R4 network-type): 1 machine name, 2 IP address, 5 URI."""
    if "://" in address:
        return {"address": address, "type": "5"}
    try:
        ip_address(address)
    except ValueError:
        return {"address": address, "type": "1"}
    return {"address": address, "type": "2"}


def _agents(request: AccessRequest, kind: _Kind, address: str, server: str) -> list[JsonObject]:
    """Client and gateway as the profile names them, then for whom it was: the person, its organization, the rest."""
    name = request.client or request.organization or "unknown"
    client: JsonObject = {
        "type": kind.client,
        "who": {"identifier": {"system": f"{DOORWAY}/client", "value": request.client}}
        if request.client
        else {"reference": name}
        if request.organization
        else {"display": name},
        "requestor": True,
        "network": _network(address or name),
    }
    agents = [
        client,
        {"type": kind.server, "who": _OBSERVER, "requestor": False, "network": _network(server or "doorway")},
    ]
    for actor in request.everyone:
        who: JsonObject = {"reference": actor.reference} if actor.reference else {}
        if actor.value:
            who["identifier"] = {"system": actor.system, "value": actor.value}
        if actor.reference.startswith("Organization/"):
            if who != client["who"]:
                agents.append({"type": _PARTNER, "who": who, "requestor": False})
            continue
        first = client["requestor"]  # the first one who is not an organization asked; it is the user of the profile
        client["requestor"] = False
        agents.append({"type": kind.user if first else _OTHER, "who": who, "requestor": first})
    return agents
