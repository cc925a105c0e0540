"""Conversions of enrolments and referrals: states of EpisodeOfCare, ServiceRequest and Task from HUD's results.

The state table is the one of mappings/hmis/README.md ("Event and Task"); HUD has no code for failed, on hold and
cancelled by the source, so those come back as an empty result.
"""

from typing import Any, Final

from gateway.kernel.fhir import DOORWAY, JsonObject, Resource
from gateway.mapping.hmis import values
from gateway.mapping.hmis.conversions import Binding, Cells, Forward, Inverse, Maker, Members, put, referenced
from gateway.mapping.hmis.spec import LIST_SYSTEM

_TEMPORARY: Final = "http://hl7.org/fhir/us/sdoh-clinicalcare/CodeSystem/SDOHCC-CodeSystemTemporaryCodes"
_BSER: Final = "http://hl7.org/fhir/us/bser/CodeSystem/TaskBusinessStatusCS"


def _nothing(resource: Resource) -> Cells:
    return ()


def _by_role(b: Binding, cells: Cells) -> dict[str, str]:
    return {slot.role: cell for slot, cell in zip(b.slots, cells, strict=True)}


def _episode_status(b: Binding) -> tuple[Forward, Inverse]:
    def forward(cells: Cells) -> Members | list[Any] | None:
        said = _by_role(b, cells)
        return {"status": "entered-in-error" if said["deleted"] else "finished" if said["exit"] else "active"}

    return forward, _nothing


def _enrolled(b: Binding) -> tuple[Forward, Inverse]:
    def forward(cells: Cells) -> Members | list[Any] | None:
        code = "not-enrolled" if cells[0] else "enrolled"
        return {"valueCodeableConcept": {"coding": [{"system": _TEMPORARY, "code": code}]}}

    return forward, _nothing


def _program_code(b: Binding) -> tuple[Forward, Inverse]:
    """The program: HUD's project type with the standard service type beside it."""

    def forward(cells: Cells) -> Members | list[Any] | None:
        code = values.code_of(b.spec, "2.02.6", cells[0])
        if code is None:
            return {"code": {"text": "housing program"}}
        return {"code": values.concept_of(b.spec, "2.02.6", code)}

    return forward, _nothing


def _source_identifier(b: Binding) -> tuple[Forward, Inverse]:
    def forward(cells: Cells) -> Members | list[Any] | None:
        return [{"system": f"{DOORWAY}/hmis/implementation", "value": b.source.name}]

    return forward, _nothing


def _source_reference(b: Binding) -> tuple[Forward, Inverse]:
    def forward(cells: Cells) -> Members | list[Any] | None:
        return put(b, {"reference": f"Organization/{b.source.id('Export', cells[0], 'Organization:source')}"})

    return forward, _nothing


def _reference_derived(b: Binding) -> tuple[Forward, Inverse]:
    def forward(cells: Cells) -> Members | list[Any] | None:
        return put(b, b.source.reference(b.first.role, cells[0], keyed=False)) if cells[0] else None

    return forward, _nothing


def _part_reference(b: Binding) -> tuple[Forward, Inverse]:
    """A reference to the anchor of the same row."""

    def forward(cells: Cells) -> Members | list[Any] | None:
        type_ = b.first.role.split(":")[0]
        return put(b, {"reference": f"{type_}/{b.source.id(b.file, cells[0])}"})

    return forward, _nothing


def _project_active(b: Binding) -> tuple[Forward, Inverse]:
    def forward(cells: Cells) -> Members | list[Any] | None:
        return {"active": cells[0] != "closed"}

    return forward, _nothing


def _funder_programs(b: Binding) -> tuple[Forward, Inverse]:
    """HealthcareService.program from the project's Funder rows (codes separated by spaces)."""

    def forward(cells: Cells) -> Members | list[Any] | None:
        codes = [code for each in cells[0].split() if (code := values.code_of(b.spec, "2.06.1", each))]
        return [values.concept_of(b.spec, "2.06.1", code) for code in codes] or None

    return forward, _nothing


def _request_status(b: Binding) -> tuple[Forward, Inverse]:
    def forward(cells: Cells) -> Members | list[Any] | None:
        said = _by_role(b, cells)
        result = values.code_text(said["result"])
        if said["deleted"]:
            return {"status": "entered-in-error"}
        return {
            "status": "revoked" if result == "2" else "completed" if result == "1" and said["enrolled"] else "active"
        }

    return forward, _nothing


def _path_request_status(b: Binding) -> tuple[Forward, Inverse]:
    def forward(cells: Cells) -> Members | list[Any] | None:
        said = _by_role(b, cells)
        done = values.code_text(said["outcome"]) == "1"
        return {"status": "entered-in-error" if said["deleted"] else "completed" if done else "active"}

    return forward, _nothing


_REASON: Final = {"2": "client declined", "3": "provider declined"}
_BUSINESS: Final = {"": "2.0", "3": "4.0"}  # BSeR: created, declined; accepted is 3.0, completed 7.0


def _task_state(b: Binding) -> tuple[Forward, Inverse]:
    """Event.ReferralResult (HUD 4.20.D) and whether the target enrolled the household, as Task status."""

    def forward(cells: Cells) -> Members | list[Any] | None:
        said = _by_role(b, cells)
        result = values.code_text(said["result"])
        states = {"1": "completed" if said["enrolled"] else "accepted", "2": "cancelled", "3": "rejected"}
        members: JsonObject = {"status": "entered-in-error" if said["deleted"] else states.get(result, "requested")}
        if result in _REASON:
            members["statusReason"] = {"text": _REASON[result]}
        members["businessStatus"] = _business(b, result, bool(said["enrolled"]), said["result"])
        return members

    def inverse(resource: Resource) -> Cells:
        status, said = resource.get("status"), _hud_result(resource, LIST_SYSTEM + b.first.list.lower())
        if status in ("accepted", "completed"):
            return ("1",)
        if status == "rejected":
            return ("3",)
        if status in ("cancelled", "failed", "on-hold", "in-progress", "ready", "received", "draft"):
            return ("2" if status == "cancelled" and said == "2" else "",)
        if status == "requested":
            return ("" if said in ("1", "2", "3") else said,)
        return (said,)

    return forward, inverse


def _business(b: Binding, result: str, enrolled: bool, cell: str) -> JsonObject:
    code = values.code_of(b.spec, b.first.list, result) if result else None
    codings: list[JsonObject] = b.spec.codings(b.first.list, code)[:1] if code else []
    standard = _BUSINESS.get(result, "") if result != "1" else "7.0" if enrolled else "3.0"
    if standard:
        codings.append({"system": _BSER, "code": standard})
    concept: JsonObject = {"coding": codings} if codings else {}
    text = values.text_of(cell)
    if result and code is None and text:
        concept["text"] = text
    return concept or {"text": "created"}


def _hud_result(resource: Resource, system: str) -> str:
    business = resource.get("businessStatus") or {}
    for coding in business.get("coding", ()):
        if coding.get("system") == system:
            return str(coding.get("code", ""))
    text = str(business.get("text", ""))
    return "" if text == "created" else text


def _path_state(b: Binding) -> tuple[Forward, Inverse]:
    """Services.ReferralOutcome (HUD P2.A): attained, not attained, unknown."""

    def forward(cells: Cells) -> Members | list[Any] | None:
        said = _by_role(b, cells)
        result = values.code_text(said["outcome"])
        states = {"1": "completed", "2": "failed"}
        members: JsonObject = {"status": "entered-in-error" if said["deleted"] else states.get(result, "requested")}
        if result == "2":
            members["statusReason"] = {"text": "not attained"}
        code = values.code_of(b.spec, b.first.list, result) if result else None
        if code is not None:
            members["businessStatus"] = {"coding": b.spec.codings(b.first.list, code)[:1]}
        return members

    def inverse(resource: Resource) -> Cells:
        status, said = resource.get("status"), _hud_result(resource, LIST_SYSTEM + b.first.list.lower())
        if status in ("completed", "failed"):
            return ("1" if status == "completed" else "2",)
        if status == "entered-in-error":
            return (said,)
        return ("3" if said == "3" else "",)

    return forward, inverse


def _result_date(b: Binding) -> tuple[Forward, Inverse]:
    """Task.lastModified; a result before the request (R4 inv-1 forbids it) has no FHIR form."""

    def forward(cells: Cells) -> Members | list[Any] | None:
        said = _by_role(b, cells)
        day, asked = values.day_of(said["day"]), values.day_of(said["asked"])
        return None if day is None or (asked and day < asked) else {"lastModified": day}

    return forward, lambda resource: (str(resource.get("lastModified", "")),)


def _owner(b: Binding) -> tuple[Forward, Inverse]:
    """LocationCrisisOrPHHousing holds a ProjectID or free text: a reference when the project is known."""

    def forward(cells: Cells) -> Members | list[Any] | None:
        said = _by_role(b, cells)
        text = values.text_of(said["location"])
        if text is None:
            return None
        return {"owner": b.source.reference("Project", text) if said["known"] else {"display": text}}

    def inverse(resource: Resource) -> Cells:
        owner = resource.get("owner") or {}
        return (referenced(owner) or str(owner.get("display", "")),)

    return forward, inverse


CARE: Final[dict[str, Maker]] = {
    "episode-status": _episode_status,
    "enrolled": _enrolled,
    "program-code": _program_code,
    "source-identifier": _source_identifier,
    "source-reference": _source_reference,
    "reference-derived": _reference_derived,
    "part-reference": _part_reference,
    "project-active": _project_active,
    "funder-programs": _funder_programs,
    "request-status": _request_status,
    "path-request-status": _path_request_status,
    "task-state": _task_state,
    "path-state": _path_state,
    "result-date": _result_date,
    "owner": _owner,
}
