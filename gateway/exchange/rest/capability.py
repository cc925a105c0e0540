"""The CapabilityStatement, made from what runs: the routes, the loaded search parameters, the bound operations."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from gateway.codecs import json_text
from gateway.exchange.audit_viewers import TRAIL
from gateway.kernel.fhir import DOORWAY, JsonObject
from gateway.profiles.search_parameters import Definitions

_INTERACTIONS: Final = (
    "read",
    "vread",
    "update",
    "patch",
    "delete",
    "history-instance",
    "history-type",
    "create",
    "search-type",
)
_READ_ONLY: Final = frozenset({TRAIL})  # never written, and searched without being joined with other records
_OF_READ_ONLY: Final = frozenset({"read", "vread", "search-type"})
_SEARCH_TYPES: Final = {"token", "string", "date", "reference", "quantity", "number", "uri", "composite", "special"}
_DEFINITION: Final = {
    "everything": "http://hl7.org/fhir/OperationDefinition/Patient-everything",
    "match": "http://hl7.org/fhir/OperationDefinition/Patient-match",
    "validate": "http://hl7.org/fhir/OperationDefinition/Resource-validate",
    "expand": "http://hl7.org/fhir/OperationDefinition/ValueSet-expand",
    "lookup": "http://hl7.org/fhir/OperationDefinition/CodeSystem-lookup",
    "translate": "http://hl7.org/fhir/OperationDefinition/ConceptMap-translate",
    "validate-code": "http://hl7.org/fhir/OperationDefinition/ValueSet-validate-code",
    "status": "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-status",
}
_DOCUMENTATION: Final = (
    "Every answer is cut to what the person consented to share with the caller's organization.\n\n"
    "Modifiers: :missing on every parameter; token :not, :text, :of-type, and :in, :not-in (the canonical URL of a "
    "value set, or of a code system for all of its codes, that is at hand: see ValueSet/$expand), :above, :below "
    "(system|code of a code system at hand); string :exact, :contains; reference :identifier, :[type]; uri :above, "
    ":below. Chains and _has take them too, over at most 3 hops. What cannot be honoured is a 400 that names the "
    "parameter; with 'Prefer: handling=lenient' it is left out, and an OperationOutcome in the Bundle says so. _sort "
    "takes any parameter but a composite. A page has at most 1000 matches."
)
_DOCUMENTED: Final = {  # types of which there is something to say
    "AuditEvent": "The audit trail, newest first: the accesses of the caller's own Organization, of everybody for a "
    "privacy officer. Searches join no other records (no chains, no _include) and are sorted by date only. A page may "
    "be short, or empty, and still have a next link: bound the search by date.",
    "Subscription": "Stored, validated, searched and told by $status; nothing is sent to its channel.",
}
_OWN_IDS: Final = (
    "An id that a client chooses for a create by PUT is that client's own name for the resource: it is stored "
    "under the id in Location, and the client may go on using either. UUIDs of version 5 and 8 are refused."
)
_DATE: Final = "2026-11-22"
_BULK: Final = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/"
_EXPORT: Final = {"": f"{_BULK}export", "Patient": f"{_BULK}patient-export", "Group": f"{_BULK}group-export"}


def statement(
    *,
    base: str,
    version: str,
    types: Iterable[str],
    definitions: Definitions,
    operations: Iterable[str],
    profiles: Mapping[str, Sequence[str]],
    xml: bool,
) -> bytes:
    """The statement as JSON.

    Args:
        base: the service base URL as the caller sees it.
        operations: keys such as ``Patient/*:$everything`` (adapters/http/fhir.py).
        profiles: supported profiles by type.
        xml: whether XML is read and written.
    """
    by_type: dict[str, set[str]] = {}
    for key in operations:
        place, _, name = key.partition(":")
        if name.startswith("$"):
            by_type.setdefault("" if place == "system" else place.removesuffix("/*"), set()).add(name[1:])
    formats = ["application/fhir+json", "json", *(["application/fhir+xml", "xml"] if xml else [])]
    rest: JsonObject = {
        "mode": "server",
        "documentation": _DOCUMENTATION,
        "security": _security(base),
        "resource": [_resource(type_, definitions, by_type, profiles) for type_ in sorted(types)],
        "interaction": [{"code": code} for code in ("transaction", "batch", "history-system", "search-system")],
    }
    system = sorted(by_type.get("", ()))
    if system:
        rest["operation"] = [_operation("", name) for name in system]
    return json_text.write(
        {
            "resourceType": "CapabilityStatement",
            "url": f"{DOORWAY}/CapabilityStatement/doorway",
            "version": version,
            "name": "Doorway",
            "title": "Doorway FHIR R4 API",
            "status": "active",
            "date": _DATE,
            "kind": "instance",
            "instantiates": [
                "http://hl7.org/fhir/us/sdoh-clinicalcare/CapabilityStatement/SDOHCC-CoordinationPlatform"
            ],
            "software": {"name": "Doorway", "version": version},
            "implementation": {"description": "Doorway, between housing and health", "url": base},
            "fhirVersion": "4.0.1",
            "format": formats,
            "patchFormat": ["application/json-patch+json", "application/fhir+json"],
            "rest": [rest],
        }
    )


def _security(base: str) -> JsonObject:
    """How a client proves itself: SMART Backend Services."""
    tokens = [{"url": "token", "valueUri": base.removesuffix("/fhir") + "/oauth/token"}]
    service = {"system": "http://terminology.hl7.org/CodeSystem/restful-security-service", "code": "SMART-on-FHIR"}
    return {
        "extension": [
            {"url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris", "extension": tokens}
        ],
        "cors": True,
        "service": [{"coding": [service], "text": "SMART Backend Services"}],
    }


def _operation(type_: str, name: str) -> JsonObject:
    if name == "export":
        return {"name": name, "definition": _EXPORT[type_]}
    definition = _DEFINITION.get(name, f"{DOORWAY}/OperationDefinition/{name}")
    if name == "validate-code" and type_ == "CodeSystem":
        definition = "http://hl7.org/fhir/OperationDefinition/CodeSystem-validate-code"
    return {"name": name, "definition": definition}


def _resource(
    type_: str, definitions: Definitions, operations: Mapping[str, set[str]], profiles: Mapping[str, Sequence[str]]
) -> JsonObject:
    known = definitions.of(type_)
    writes = type_ not in _READ_ONLY
    out: JsonObject = {"type": type_}
    if profiles.get(type_):
        out["supportedProfile"] = list(profiles[type_])
    out["interaction"] = [{"code": code} for code in _INTERACTIONS if writes or code in _OF_READ_ONLY]
    out |= {
        "versioning": "versioned-update",
        "readHistory": writes,
        "updateCreate": writes,
        "conditionalCreate": writes,
        "conditionalRead": "full-support",
        "conditionalUpdate": writes,
        "conditionalDelete": "single" if writes else "not-supported",
        "referencePolicy": ["literal", "logical"],
    }
    told = [*([_OWN_IDS] if writes else []), *([_DOCUMENTED[type_]] if type_ in _DOCUMENTED else [])]
    out["documentation"] = "\n\n".join(told)
    references = sorted(code for code, one in known.items() if one.kind == "reference" and writes)
    if references:
        out["searchInclude"] = ["*", *(f"{type_}:{code}" for code in references)]
    back = sorted(
        f"{other}:{code}"
        for other in definitions.types
        if writes and other not in _READ_ONLY
        for code, one in definitions.of(other).items()
        if one.kind == "reference" and type_ in one.targets
    )
    if back:
        out["searchRevInclude"] = back
    if known:
        out["searchParam"] = [
            {"name": code, "type": one.kind if one.kind in _SEARCH_TYPES else "special"}
            for code, one in sorted(known.items())
        ]
    names = sorted({*operations.get(type_, ()), *operations.get("*", ())})
    if names:
        out["operation"] = [_operation(type_, name) for name in names]
    return out
