"""Seeded faults: one valid resource in, every way to break it out, each with the place where it must be found."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gateway.kernel.fhir import JsonObject


@dataclass(frozen=True)
class Seeded:
    """A resource with one fault. ``expression`` is the right element, or its parent when the element is missing."""

    kind: str
    expression: str
    resource: JsonObject


DATES = (
    "birthDate",
    "recordedDate",
    "authoredOn",
    "effectiveDateTime",
    "start",
    "startDate",
    "dateTime",
    "date",
    "created",
)
CHOSEN = {"effectiveDateTime": "effective", "startDate": "start"}  # a choice is named without its type, as in FHIRPath
CODES = ("status", "gender", "intent", "lifecycleStatus", "use", "mode", "action")
REQUIRED = {
    "Encounter": ("status", "class"),
    "EpisodeOfCare": ("status", "patient"),
    "Condition": ("subject",),
    "Observation": ("status", "code"),
    "Procedure": ("status", "subject"),
    "ServiceRequest": ("intent", "subject"),
    "Task": ("status", "intent"),
    "Consent": ("status", "scope", "category"),
    "CarePlan": ("status", "intent", "subject"),
    "Goal": ("lifecycleStatus", "description", "subject"),
    "RelatedPerson": ("patient",),
    "DocumentReference": ("status", "content"),
    "QuestionnaireResponse": ("status",),
    "Appointment": ("participant",),
    "Coverage": ("beneficiary", "payor"),
    "AllergyIntolerance": ("patient",),
    "Immunization": ("vaccineCode", "status"),
    "DiagnosticReport": ("code",),
    "MedicationRequest": ("intent", "subject"),
    "Provenance": ("target", "recorded", "agent"),
    "AuditEvent": ("type", "recorded", "source"),
    "Group": ("type", "actual"),
    "Flag": ("code", "subject"),
    "Bundle": ("type",),
}
SUBJECTS = ("subject", "patient", "beneficiary", "for")
INVARIANTS: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "Patient": (
        ("Patient.contact[0]", {"contact": [{"gender": "female"}]}),
        ("Patient.telecom[0]", {"telecom": [{"value": "1"}]}),
    ),
    "Observation": (
        ("Observation", {"dataAbsentReason": {"text": "x"}}),
        ("Observation.referenceRange[0]", {"referenceRange": [{"appliesTo": [{"text": "x"}]}]}),
    ),
    "Condition": (
        ("Condition", {"abatementDateTime": "2026-02-01"}),
        ("Condition.stage[0]", {"stage": [{"type": {"text": "x"}}]}),
    ),
    "Consent": (("Consent", {"policyRule": None}),),
    "Encounter": (("Encounter.period", {"period": {"start": "2026-02-01", "end": "2026-01-01"}}),),
    "Organization": (
        ("Organization", {"name": None, "identifier": None}),
        ("Organization.telecom[0]", {"telecom": [{"system": "phone", "value": "1", "use": "home"}]}),
        ("Organization.address[0]", {"address": [{"use": "home", "city": "x"}]}),
    ),
    "Appointment": (
        ("Appointment", {"end": None}),
        ("Appointment.participant[0]", {"participant": [{"status": "accepted"}]}),
    ),
    "ServiceRequest": (("ServiceRequest", {"code": None, "orderDetail": [{"text": "x"}]}),),
    "Goal": (("Goal.target[0]", {"target": [{"detailString": "x"}]}),),
    "CarePlan": (
        (
            "CarePlan.activity[0]",
            {"activity": [{"detail": {"status": "scheduled"}, "reference": {"reference": "Task/t1"}}]},
        ),
    ),
    "QuestionnaireResponse": (
        (
            "QuestionnaireResponse.item[0]",
            {"item": [{"linkId": "1", "item": [{"linkId": "2"}], "answer": [{"valueInteger": 1}]}]},
        ),
    ),
    "AllergyIntolerance": (("AllergyIntolerance", {"clinicalStatus": None}),),
    "Group": (("Group", {"actual": False}),),
    "Bundle": (
        ("Bundle", {"total": 1}),
        ("Bundle", {"type": "document"}),
        ("Bundle.entry[0]", {"entry": [{"fullUrl": "urn:uuid:0c3a1b5e-5f9b-4d3e-9d55-6f1c2a3b4c5d"}]}),
    ),
    "MedicationRequest": (
        (
            "MedicationRequest.dosageInstruction[0].timing.repeat",
            {"dosageInstruction": [{"timing": {"repeat": {"period": 1}}}]},
        ),
    ),
    "DocumentReference": (
        ("DocumentReference.content[0].attachment", {"content": [{"attachment": {"data": "aGVsbG8="}}]}),
    ),
    "Immunization": (("Immunization.education[0]", {"education": [{"presentationDate": "2026"}]}),),
    "AuditEvent": (("AuditEvent.entity[0]", {"entity": [{"name": "x", "query": "eA=="}]}),),
    "Procedure": (("Procedure.subject", {"subject": {"reference": "#nobody"}}),),
    "Coverage": (("Coverage.contained[0]", {"contained": [{"resourceType": "Patient", "id": "unused"}]}),),
    "CareTeam": (
        (
            "CareTeam.contained[0].meta.versionId",
            {
                "contained": [{"resourceType": "Patient", "id": "in", "meta": {"versionId": "1"}}],
                "subject": {"reference": "#in"},
            },
        ),
    ),
}


def changed(resource: JsonObject, **elements: Any) -> JsonObject:
    """A copy with elements replaced; None removes one."""
    out = copy.deepcopy(resource)
    for name, value in elements.items():
        if value is None:
            out.pop(name, None)
        else:
            out[name] = value
    return out


def seeded(resource: JsonObject) -> Iterator[Seeded]:
    """Every fault that fits the resource."""
    kind = resource["resourceType"]
    yield Seeded("unknown element", f"{kind}.colour", changed(resource, colour="blue"))
    yield Seeded("bad id", f"{kind}.id", changed(resource, id="no spaces"))
    yield Seeded("long id", f"{kind}.id", changed(resource, id="a" * 65))
    yield Seeded("wrong JSON type", f"{kind}.id", changed(resource, id=7))
    yield Seeded("empty object", f"{kind}.meta", changed(resource, meta={}))
    yield Seeded("empty string", f"{kind}.language", changed(resource, language=""))
    yield Seeded("null", f"{kind}.language", changed(resource, language=None) | {"language": None})
    if kind != "Bundle":
        both = {"url": "http://example.org/e", "valueString": "a", "extension": [{"url": "b", "valueString": "c"}]}
        yield Seeded("ext-1", f"{kind}.extension[0]", changed(resource, extension=[both]))
        yield Seeded("ext-1", f"{kind}.extension[0]", changed(resource, extension=[{"url": "http://example.org/e"}]))
        yield Seeded(
            "extension without url", f"{kind}.extension[0]", changed(resource, extension=[{"valueString": "a"}])
        )
        yield Seeded("empty array", f"{kind}.extension", changed(resource, extension=[]))
        yield Seeded(
            "no array", f"{kind}.extension", changed(resource, extension={"url": "http://a", "valueString": "b"})
        )
        text = {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml"><script>x</script></div>'}
        yield Seeded("narrative", f"{kind}.text.div", changed(resource, text=text))
    yield from _by_element(resource, kind)
    for place, elements in INVARIANTS.get(kind, ()):
        yield Seeded("invariant", place, changed(resource, **elements))


def _by_element(resource: JsonObject, kind: str) -> Iterator[Seeded]:
    for name in REQUIRED.get(kind, ()):
        yield Seeded("missing required", kind, changed(resource, **{name: None}))
    for name in DATES:
        if isinstance(resource.get(name), str):
            place = f"{kind}.{CHOSEN.get(name, name)}"
            for bad in ("2026-02-30", "02/03/2026", "2026-13"):
                yield Seeded("bad date", place, changed(resource, **{name: bad}))
    for name in CODES:
        if isinstance(resource.get(name), str) and not (kind == "Group" and name == "type"):
            yield Seeded("required binding", f"{kind}.{name}", changed(resource, **{name: "zqnone"}))
            yield Seeded("max cardinality", f"{kind}.{name}", changed(resource, **{name: [resource[name]] * 2}))
    for name in SUBJECTS:
        if isinstance(resource.get(name), dict) and kind != "Task":
            wrong = {"reference": "Binary/x"}
            if kind != "QuestionnaireResponse":  # its subject may be anything
                yield Seeded("reference target", f"{kind}.{name}", changed(resource, **{name: wrong}))
            yield Seeded("empty object", f"{kind}.{name}", changed(resource, **{name: {}}))
            yield Seeded("wrong JSON type", f"{kind}.{name}", changed(resource, **{name: "Patient/p1"}))
    for name, other in (
        ("deceased", {"deceasedDateTime": "2020"}),
        ("multipleBirth", {"multipleBirthBoolean": True}),
        ("onset", {"onsetString": "x"}),
        ("effective", {"effectivePeriod": {"start": "2020"}}),
        ("value", {"valueString": "x"}),
        ("performed", {"performedString": "x"}),
        ("occurrence", {"occurrenceString": "x", "occurrenceDateTime": "2020"}),
        ("medication", {"medicationReference": {"reference": "Medication/m"}}),
        ("occurred", {"occurredPeriod": {"start": "2020"}}),
    ):
        if (
            any(key.startswith(name) and key[len(name) : len(name) + 1].isupper() for key in resource)
            and kind != "Bundle"
        ):
            yield Seeded("two choices", f"{kind}.{name}", changed(resource, **other))
