"""The gate of the REST API over the consent engine, and the AuditEvents of what it does (IHE BALP 1.1)."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.consent.release import Released
from gateway.exchange.ports.resources import ResourceReader, Stored
from gateway.exchange.ports.store import Unit
from gateway.exchange.rest.ask import Ask
from gateway.exchange.rest.gate import Sight
from gateway.exchange.versions import instant
from gateway.kernel.fhir import ACT_REASON, JsonObject, Resource

_ACTION: Final = {
    "create": "C", "update": "U", "patch": "U", "delete": "D", "transaction": "E", "batch": "E", "operation": "E",
    "search": "E",
}  # fmt: skip
_SUBTYPE: Final = {"search": "search-type", "history": "history-instance"}
_REST: Final = {"system": "http://terminology.hl7.org/CodeSystem/audit-event-type", "code": "rest"}
_TYPES: Final = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_ROLES: Final = "http://terminology.hl7.org/CodeSystem/object-role"
_ENTITIES_LIMIT: Final = 200


@dataclass(frozen=True, slots=True)
class RestGate:
    """Consent and audit for the REST use cases.

    Args:
        sight_of: makes the judge of one request (exchange/disclose.py).
        site: the reference or name of this gateway, the audit source.
    """

    sight_of: Callable[[ResourceReader, Ask], Sight]
    site: str = "Device/doorway"

    def sight(self, reader: ResourceReader, ask: Ask) -> Sight:
        """A fresh judge for one request."""
        return self.sight_of(reader, ask)

    def record(
        self,
        unit: Unit,
        ask: Ask,
        interaction: str,
        *,
        what: str = "",
        query: str = "",
        sight: Sight | None = None,
        released: Released[Stored] | None = None,
        written: Sequence[Stored] = (),
        refused: str = "",
    ) -> None:
        """Append the AuditEvent of one interaction to the unit."""
        resources = [*written, *(released.resources if released is not None else ())]
        outcome = "4" if refused else "0"
        event: Resource = {
            "resourceType": "AuditEvent",
            "type": _REST,
            "subtype": [
                {"system": "http://hl7.org/fhir/restful-interaction", "code": _SUBTYPE.get(interaction, interaction)}
            ],
            "action": _ACTION.get(interaction, "R"),
            "recorded": instant(ask.now_us),
            "outcome": outcome,
            "agent": _agents(ask),
            "source": {"observer": {"reference": self.site}},
            "entity": _entities(ask, what, query, resources),
        }
        if refused:
            event["outcomeDesc"] = refused
        if released is not None and released.because:
            event["entity"] += [{"what": {"reference": one}, "role": {"system": _ROLES, "code": "13"}}
                                for one in released.because if one.startswith("Consent/")]  # fmt: skip
        if released is not None and released.withheld:
            held = sum(released.withheld.values())
            event["entity"].append({"detail": [{"type": "withheld", "valueString": str(held)}], "name": "withheld"})
        unit.audit.append(event, now_us=ask.now_us)


def _agents(ask: Ask) -> list[JsonObject]:
    client: JsonObject = {
        "type": {"coding": [{"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "110153"}]},
        "who": {"identifier": {"value": ask.client}},
        "requestor": True,
    }
    if ask.address:
        client["network"] = {"address": ask.address, "type": "2"}
    if ask.caller.purposes:
        client["purposeOfUse"] = [{"coding": [{"system": ACT_REASON, "code": one}]} for one in ask.caller.purposes]
    whose: JsonObject = {"who": {"reference": ask.caller.client.organization}, "requestor": False}
    return [client, whose]


def _entities(ask: Ask, what: str, query: str, resources: Sequence[Stored]) -> list[JsonObject]:
    out: list[JsonObject] = []
    if ask.id:
        out.append(
            {"what": {"identifier": {"value": ask.id}}, "type": {"system": _TYPES, "code": "4"}, "name": "X-Request-Id"}
        )
    if query:
        out.append(
            {
                "type": {"system": _TYPES, "code": "2"},
                "role": {"system": _ROLES, "code": "24"},
                "query": base64.b64encode(query.encode()).decode(),
            }
        )
    shown = [f"{one.reference}/_history/{one.version}" for one in resources[:_ENTITIES_LIMIT]]
    if not shown and "/" in what:
        shown = [what]
    for reference in shown:
        patient = reference.startswith("Patient/")
        role = {"system": _ROLES, "code": "1" if patient else "4"}
        kind = {"system": _TYPES, "code": "1" if patient else "2"}
        out.append({"what": {"reference": reference}, "type": kind, "role": role})
    if len(resources) > _ENTITIES_LIMIT:
        out.append(
            {"name": "more", "detail": [{"type": "count", "valueString": str(len(resources) - _ENTITIES_LIMIT)}]}
        )
    return out
