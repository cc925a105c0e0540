"""AuditEvents in the shape of IHE BALP: who, what, when, why; references and codes only, never a value of a record."""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from gateway.consent.request import BREAK_GLASS, AccessRequest
from gateway.kernel.fhir import ACT_REASON, DOORWAY, JsonObject, Resource, coding

_DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
_INTERACTION: Final = "http://hl7.org/fhir/restful-interaction"
_AUDIT: Final = "http://terminology.hl7.org/CodeSystem/audit-event-type"
_AUDIT_SOURCE: Final = "http://terminology.hl7.org/CodeSystem/security-source-type"
_ENTITY: Final = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_ROLE: Final = "http://terminology.hl7.org/CodeSystem/object-role"
_ACTIONS: Final[Mapping[str, str]] = {  # interaction -> AuditEvent.action
    "create": "C", "update": "U", "patch": "U", "delete": "D", "read": "R", "vread": "R",
    "search": "E", "search-type": "E", "search-system": "E",
}  # fmt: skip
_PROFILES: Final[Mapping[str, str]] = {
    "C": "Create", "U": "Update", "D": "Delete", "R": "Read", "E": "Query",
}  # fmt: skip
BECAUSE: Final = "because"  # AuditEvent.entity.detail.type: a Consent with version and provision, or a rule
WITHHELD: Final = "withheld"  # how many of a type were held back; never which


def audit_event(
    request: AccessRequest, activity: str, *, patients: Iterable[str] = (), released: Sequence[str] = (),
    because: Iterable[str] = (), withheld: Mapping[str, int] | None = None, what: str = "", query: str = "",
    refused: str = "", address: str = "", id_: str = "",
) -> Resource:  # fmt: skip
    """The AuditEvent of one interaction.

    Args:
        activity: code of http://hl7.org/fhir/restful-interaction.
        released: ``Type/id/_history/n`` of everything that goes out.
        because: Consents and rules that decided.
        query: the search as sent; kept base64 as BALP has it, so that the record itself reads without names.
        refused: the category of a refusal; empty when it was granted.
    """
    action = _ACTIONS.get(activity, "E")
    privacy = [BREAK_GLASS] if request.break_glass is not None else []
    event: JsonObject = {
        "resourceType": "AuditEvent",
        "meta": {
            "profile": [f"https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.{_PROFILES[action]}"]
        },
        "type": coding(_AUDIT, "rest", "Restful Operation"),
        "subtype": [coding(_INTERACTION, activity)],
        "action": action,
        "recorded": _instant(request.now),
        "outcome": "4" if refused else "0",
        "agent": _agents(request, address),
        "source": {"observer": {"display": "doorway"}, "type": [coding(_AUDIT_SOURCE, "4", "Application Server")]},
    }
    if refused:
        event["outcomeDesc"] = refused
    purposes = dict.fromkeys((*request.purposes, *privacy))
    if purposes:
        event["purposeOfEvent"] = [{"coding": [coding(ACT_REASON, purpose.rpartition("|")[2])]} for purpose in purposes]
    entities = list(_entities(patients, released, what, query, id_))
    details = [{"type": BECAUSE, "valueString": one} for one in because]
    details += [
        {"type": WITHHELD, "valueString": f"{type_} {count}"} for type_, count in sorted((withheld or {}).items())
    ]
    if request.break_glass is not None:
        details.append({"type": "break-glass", "valueString": request.break_glass.reason})
    if details:
        entities.append({"type": coding(f"{DOORWAY}/CodeSystem/audit-entity", "decision"), "detail": details})
    if entities:
        event["entity"] = entities
    return event


def _instant(now: datetime) -> str:
    return now.isoformat(timespec="milliseconds")


def _agents(request: AccessRequest, address: str) -> list[JsonObject]:
    client: JsonObject = {
        "type": {"coding": [coding(_DCM, "110153", "Source Role ID")]},
        "requestor": False,
        "who": {"identifier": {"system": f"{DOORWAY}/client", "value": request.client or "unknown"}},
    }
    if address:
        client["network"] = {"address": address, "type": "2"}
    agents = [client]
    for index, actor in enumerate(request.everyone):
        who: JsonObject = {"reference": actor.reference} if actor.reference else {}
        if actor.value:
            who["identifier"] = {"system": actor.system, "value": actor.value}
        agents.append(
            {
                "type": {"coding": [coding("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "IRCP")]},
                "requestor": index == 0,
                "who": who,
            }
        )
    if len(agents) == 1:
        agents[0]["requestor"] = True
    return agents


def _entities(
    patients: Iterable[str], released: Sequence[str], what: str, query: str, id_: str
) -> Iterable[JsonObject]:
    for patient in patients:
        yield {
            "what": {"reference": patient},
            "type": coding(_ENTITY, "1", "Person"),
            "role": coding(_ROLE, "1", "Patient"),
        }
    for reference in released:
        yield {
            "what": {"reference": reference},
            "type": coding(_ENTITY, "2", "System Object"),
            "role": coding(_ROLE, "4", "Domain Resource"),
        }
    if what and not released:
        yield {"description": what, "type": coding(_ENTITY, "2", "System Object")}
    if query:
        yield {
            "query": b64encode(query.encode()).decode(),
            "type": coding(_ENTITY, "2", "System Object"),
            "role": coding(_ROLE, "24", "Query"),
        }
    if id_:
        yield {
            "what": {"identifier": {"value": id_}},
            "type": coding("https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType", "XrequestId"),
        }
