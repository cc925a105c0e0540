"""FHIR JSON as plain Python: types, references, and the few URLs that everything uses (FHIR R4)."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

JsonObject: TypeAlias = dict[str, Any]  # a parsed FHIR resource or element; its shape is checked by profiles, not mypy
Resource: TypeAlias = JsonObject

FHIR_JSON: Final = "application/fhir+json"
DATA_ABSENT_REASON: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
DOORWAY: Final = "https://doorway.example/fhir"  # base of our own StructureDefinition, CodeSystem and identifier URLs

CONFIDENTIALITY: Final = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
ACT_CODE: Final = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
ACT_REASON: Final = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
LEVEL: Final = f"{DOORWAY}/CodeSystem/visibility-level"  # L0, L1, L2, L3 of DESIGN: which part of the client file


def reference_of(resource: Resource) -> str:
    """``Type/id`` of a resource that has an id."""
    return f"{resource['resourceType']}/{resource['id']}"


def coding(system: str, code: str, display: str | None = None) -> JsonObject:
    """A FHIR Coding; ``display`` is left out when None."""
    out: JsonObject = {"system": system, "code": code}
    if display is not None:
        out["display"] = display
    return out


def references_in(node: Any) -> Iterator[str]:
    """Every ``Reference.reference`` literal below ``node``, in document order, contained resources included."""
    found: list[str] = []
    _collect(node, found)
    return iter(found)


_REFERENCE: Final = re.compile(r'"reference"[ \t\r\n]*:[ \t\r\n]*"([^"]*)"')


def references_of(text: str, resource: Resource) -> list[str]:
    """As :func:`references_in` of a resource whose JSON text is at hand: the text is searched, which costs a tenth.

    Without a backslash every quotation mark of the text begins or ends a string, so a match is the member and nothing
    else; a text with one is walked.
    """
    return list(references_in(resource)) if "\\" in text else _REFERENCE.findall(text)


def _collect(node: Any, found: list[str]) -> None:
    """Walked for every resource that is written: exact types, since JSON knows no others, are told apart faster."""
    kind = type(node)
    if kind is dict:
        for name, value in node.items():
            inner = type(value)
            if inner is dict or inner is list:
                _collect(value, found)
            elif name == "reference" and isinstance(value, str):
                found.append(value)
    elif kind is list:
        for value in node:
            _collect(value, found)


_PATIENT_ELEMENTS: Final = ("patient", "subject", "for", "beneficiary", "individual")


def patients_named(resource: Resource, literals: Iterable[str] | None = None) -> tuple[str, ...]:
    """``Patient/id`` of every patient that the resource names, itself included, sorted, without doubles.

    Every one of them must permit a disclosure (consent is per person), so any reference to a Patient counts,
    wherever it stands; a Person names the patients it links.

    Args:
        literals: :func:`references_in` of the resource, when they are at hand.
    """
    every = references_in(resource) if literals is None else literals
    found = {literal for literal in every if literal.startswith("Patient/")}
    if resource.get("resourceType") == "Patient" and "id" in resource:
        found = {f"Patient/{resource['id']}"}  # links to other records of the person are not a second subject
    return tuple(sorted(literal.split("/_history")[0] for literal in found))


def subject_of(resource: Resource) -> str | None:
    """The ``Patient/id`` whose compartment holds the resource (first of the usual elements), or None."""
    if resource.get("resourceType") == "Patient":
        return f"Patient/{resource['id']}" if "id" in resource else None
    for element in _PATIENT_ELEMENTS:
        node = resource.get(element)
        literal = node.get("reference") if isinstance(node, dict) else None
        if isinstance(literal, str) and literal.startswith("Patient/"):
            return literal.split("/_history")[0]
    return None
