"""The effects of one message, from its trigger's row and the resources that its segments made."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from gateway.codecs.er7 import Segment
from gateway.kernel.fhir import JsonObject
from gateway.mapping.hl7v2.effects import Effect
from gateway.mapping.hl7v2.model import Trigger
from gateway.mapping.hl7v2.program import found
from gateway.mapping.hl7v2.runtime import Fields, Run, Scope


@dataclass(slots=True)
class Pending:
    """An effect whose resources have no ids yet."""

    kind: str
    survivor: JsonObject
    loser: JsonObject | None = None
    detail: str = ""
    numbers: Sequence[JsonObject] | None = None  # identifiers that it is about; None: those of the loser

    def settled(self) -> Effect:
        """With references, once ids are known."""
        loser, numbers = self.loser, self.numbers
        if numbers is None:
            numbers = loser.get("identifier", ()) if loser is not None else ()
        reference = _reference(loser) if loser is not None else ""
        return Effect(self.kind, _reference(self.survivor), reference, self.detail, tuple(numbers))


Placed: TypeAlias = Sequence[tuple[Scope, Segment, Fields, int]]


def _reference(resource: JsonObject) -> str:
    return f"{resource['resourceType']}/{resource.get('id', '')}"


def effects_of(trigger: Trigger, placed: Placed, made: Iterable[JsonObject], run: Run) -> list[Pending]:
    """Set what the trigger sets on the resources, and say what it does to stored state."""
    out: list[Pending] = []
    resources = list(made)
    for resource in resources:
        if resource["resourceType"] == "Encounter":
            out += _visit(resource, trigger)
    out += _statuses(trigger, resources)
    relate = _RELATE.get(trigger.effect)
    if relate is not None:
        out += relate(placed, run)
    return out


def _statuses(trigger: Trigger, resources: Iterable[JsonObject]) -> list[Pending]:
    """``Appointment=booked``: the status of another resource type where its own fields did not say.

    ``=!cancelled`` whatever they say; ``=?booked`` unless one is stored, since the event changes something else.
    """
    out = []
    for spelled in trigger.status.split():
        kind, _, status = spelled.partition("=")
        for resource in resources:
            if not status or resource["resourceType"] != kind:
                continue
            if status.startswith("!"):
                resource["status"] = status[1:]
            elif status.startswith("?") and "status" not in resource:
                resource["status"] = status[1:]
                out.append(Pending("keep", resource, detail="status"))
            else:
                resource.setdefault("status", status.removeprefix("?"))
    return out


def _visit(encounter: JsonObject, trigger: Trigger) -> list[Pending]:
    """Encounter.status: what the trigger says, else what the visit's fields tell, overruled by what is stored."""
    out: list[Pending] = []
    status = trigger.status if "=" not in trigger.status else ""
    if status and status != "keep":
        encounter["status"] = status
    else:
        encounter["status"] = _derived(encounter)
        out.append(Pending("keep", encounter, detail="status"))
    if trigger.cancels:
        out.append(Pending("cancel", encounter, detail=" ".join(trigger.cancels)))
    if encounter["status"] in ("finished", "cancelled"):
        for location in encounter.get("location", ()):
            if location.get("status") in ("active", "reserved", "planned"):
                location["status"] = "completed" if encounter["status"] == "finished" else location["status"]
    if trigger.effect == "delete" and trigger.event.startswith("ADT^A23"):
        out.append(Pending("delete", encounter))
    return out


def _derived(encounter: JsonObject) -> str:
    if "end" in encounter.get("period", ()):
        return "finished"
    code = encounter.get("class", {}).get("code")
    if code == "PRENC":
        return "planned"
    return "in-progress" if code not in (None, "N", "U", "UNK") else "unknown"


def _pairs(placed: Placed, kind: str) -> Iterable[tuple[JsonObject, JsonObject]]:
    """Survivor and loser for each MRG segment, or for the two records of the message."""
    seen: set[tuple[int, int]] = set()
    scopes = [scope for scope, segment, _, _ in placed if segment.id in ("MRG", "PID")]
    for scope in scopes:
        first, second = found(f"{kind}[1]", scope), found(f"{kind}[2]", scope)
        if first is not None and second is not None and (id(first), id(second)) not in seen:
            seen.add((id(first), id(second)))
            yield first, second


def _merge_patient(placed: Placed, run: Run) -> list[Pending]:
    out = []
    for survivor, loser in _pairs(placed, "Patient"):
        loser["active"] = False
        _connect(loser, survivor, "replaced-by", run)
        _connect(survivor, loser, "replaces", run)
        out.append(Pending("merge-patient", survivor, loser))
    return out


def _connect(patient: JsonObject, other: JsonObject, kind: str, run: Run) -> None:
    element: JsonObject = {}
    run.refs.append((element, other))
    patient.setdefault("link", []).append({"other": element, "type": kind})


def _link_patients(placed: Placed, run: Run) -> list[Pending]:
    out = []
    for one, other in _pairs(placed, "Patient"):
        _connect(one, other, "seealso", run)
        _connect(other, one, "seealso", run)
        out.append(Pending("link", one, other))
    return out


def _plain(effect: str, kind: str, *, ends: Mapping[str, Any] | None = None) -> Callable[[Placed, Run], list[Pending]]:
    def relate(placed: Placed, run: Run) -> list[Pending]:
        out = []
        for survivor, loser in _pairs(placed, kind):
            loser.update(ends or {})
            out.append(Pending(effect, survivor, loser))
        return out

    return relate


def _change_identifier(placed: Placed, run: Run) -> list[Pending]:
    """The person stays; the number in MRG ends, and both numbers lead to the same record."""
    out = _merge_patient(placed, run)
    for pending in out:
        pending.kind = "change-identifier"
    return out


def _move_identifiers(placed: Placed, run: Run) -> list[Pending]:
    """Of one record (MRG-1 is a number of PID-3): what MRG names besides (MRG-4) ends. Of two: PID's numbers move."""
    out = []
    for survivor, loser in _pairs(placed, "Patient"):
        told, named = survivor.get("identifier", []), loser.get("identifier", [])
        same = [number for number in named if number in told]
        if same:
            out.append(Pending("move-identifier", survivor, loser, "", [n for n in named if n not in told]))
            loser["identifier"] = same
        else:
            out.append(Pending("move-identifier", survivor, loser, "", list(told)))
    return out


def _supersede(placed: Placed, run: Run) -> list[Pending]:
    """The document that TXA-13 names is replaced by that of TXA-12; it has the id that its own message gave it."""
    out = []
    for scope, segment, _, _ in placed:
        document = found("DocumentReference[1]", scope) if segment.id == "TXA" else None
        for relation in document.get("relatesTo", ()) if document is not None else ():
            named = relation.get("target", {}).get("identifier")
            if document is not None and relation.get("code") == "replaces" and named:
                before = {"resourceType": "DocumentReference", "masterIdentifier": named}
                before["id"] = run.resolver.id_of(before)
                out.append(Pending("supersede", document, before))
    return out


def _deleted_person(placed: Placed, run: Run) -> list[Pending]:
    out = []
    for scope, segment, _, _ in placed:
        patient = found("Patient[1]", scope) if segment.id == "PID" else None
        if patient is not None:
            patient["active"] = False
            out.append(Pending("delete", patient))
    return out


_RELATE: Final[Mapping[str, Callable[[Placed, Run], list[Pending]]]] = {
    "merge-patient": _merge_patient,
    "merge-account": _plain("merge-account", "Account", ends={"status": "inactive"}),
    "merge-visit": _plain("merge-visit", "Encounter", ends={"status": "entered-in-error"}),
    "move-account": _plain("move-account", "Patient"),
    "move-visit": _plain("move-visit", "Patient"),
    "move-identifier": _move_identifiers,
    "change-identifier": _change_identifier,
    "change-visit-identifier": _plain("change-visit-identifier", "Encounter", ends={"status": "entered-in-error"}),
    "link": _link_patients,
    "unlink": _plain("unlink", "Patient"),
    "swap": _plain("swap", "Encounter"),
    "supersede": _supersede,
    "delete-person": _deleted_person,
}
