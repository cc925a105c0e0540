"""Sets that a sender repeats whole (allergies, next of kin, diagnoses of a visit): what it no longer lists is retired.

HL7 v2.5.1 ch. 2.10.4.1: in snapshot mode the segments of a group replace those sent before; a group that is not sent
says nothing. What left the set is kept and says so (inactive, cancelled), with a tag by which a later message that
lists it again takes that back. Nothing is deleted, and shared things are in no set. The members are remembered in a
Basic resource of the owner, with the labels of what is protected, since it tells how many diagnoses there are.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from gateway.kernel.fhir import CONFIDENTIALITY, DOORWAY, LEVEL, JsonObject, Resource, coding
from gateway.kernel.identifiers import resource_id
from gateway.mapping.hl7v2.conversion import KIND, Snapshot

MEMBERS: Final = f"{DOORWAY}/StructureDefinition/hl7v2-snapshot"
LABELS: Final = (coding(LEVEL, "L3"), coding(CONFIDENTIALITY, "R"))
LEFT_OUT: Final = {"system": f"{DOORWAY}/CodeSystem/record-state", "code": "left-out"}
_CODE: Final = "hl7v2-snapshot"

Get: TypeAlias = "Callable[[str], Resource | None]"
Put: TypeAlias = Callable[[Resource], None]


def record_of(owner: str) -> str:
    """``Basic/id`` of the resource that remembers the sets of a patient or visit."""
    return f"Basic/{resource_id('Basic', _CODE, owner)}"


def relisted(sets: Iterable[Snapshot], get: Get) -> dict[str, tuple[str, ...]]:
    """For members that were retired for being left out: the elements that their being listed again takes back."""
    out: dict[str, tuple[str, ...]] = {}
    for one in sets:
        for reference in one.members:
            stored = get(reference)
            if stored is not None and _is_left_out(stored):
                out[reference] = (one.element,) if stored.get(one.element) == one.value else ()
    return out


def restored(resource: Resource) -> Resource:
    """Without the tag that says that it was left out."""
    tags = [tag for tag in resource.get("meta", {}).get("tag", ()) if tag != LEFT_OUT]
    meta = {name: value for name, value in resource.get("meta", {}).items() if name != "tag"}
    if tags:
        meta["tag"] = tags
    out = {name: value for name, value in resource.items() if name != "meta"}
    return {**out, "meta": meta} if meta else out


def replace_sets(sets: Sequence[Snapshot], get: Get, put: Put) -> None:
    """Remember what the message lists, and retire what the same sets held before and no set holds now."""
    for owner in dict.fromkeys(one.owner for one in sets):
        mine = [one for one in sets if one.owner == owner]
        before = get(record_of(owner))
        held = dict(_sets_in(before)) if before is not None else {}
        now = {**held, **{one.segment: one.members for one in mine}}
        listed = {reference for members in now.values() for reference in members}
        for one in mine:
            for reference in held.get(one.segment, ()):
                if reference not in listed:
                    _retire(reference, one, get, put)
        if now != held:
            put(_record(owner, mine[0].patient, now))


def stand_by(sets: Sequence[Snapshot], get: Get, put: Put) -> None:
    """Make these the sets that hold, once the events that were taken back are out: their members stand again."""
    for reference, elements in relisted(sets, get).items():
        stored = restored(get(reference) or {})
        put({name: value for name, value in stored.items() if name not in elements})
    replace_sets(sets, get, put)


def _retire(reference: str, one: Snapshot, get: Get, put: Put) -> None:
    stored = get(reference)
    if stored is None or _is_left_out(stored) or _in_error(stored):
        return
    meta = stored.get("meta", {})
    tagged = {**meta, "tag": [*meta.get("tag", ()), LEFT_OUT]}
    put({**stored, "meta": tagged, one.element: one.value})


def _is_left_out(resource: Resource) -> bool:
    return LEFT_OUT in resource.get("meta", {}).get("tag", ())


def _in_error(resource: Resource) -> bool:
    """Whether it says already that it never was right: there is nothing to add, and R4 allows no clinical state."""
    coded = [*resource.get("verificationStatus", {}).get("coding", ()), {"code": resource.get("status")}]
    return any(entry.get("code") == "entered-in-error" for entry in coded)


def _sets_in(record: Resource) -> Iterator[tuple[str, tuple[str, ...]]]:
    for extension in record.get("extension", ()):
        if extension.get("url") == MEMBERS:
            parts: list[JsonObject] = extension.get("extension", [])
            segment = next((part["valueCode"] for part in parts if part.get("url") == "segment"), "")
            members = [part["valueReference"]["reference"] for part in parts if part.get("url") == "member"]
            yield segment, tuple(members)


def _record(owner: str, patient: str, sets: dict[str, tuple[str, ...]]) -> Resource:
    record: Resource = {
        "resourceType": "Basic",
        "id": record_of(owner).partition("/")[2],
        "extension": [
            {
                "url": MEMBERS,
                "extension": [
                    {"url": "segment", "valueCode": segment},
                    *({"url": "member", "valueReference": {"reference": reference}} for reference in members),
                ],
            }
            for segment, members in sorted(sets.items())
        ],
        "code": {"coding": [{"system": KIND, "code": _CODE}]},
    }
    if patient:
        record["subject"] = {"reference": patient}
    return record
