"""What is added once the resources of a message have ids: Provenance targets, residue, snapshots, reasons."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from gateway.codecs.er7 import DELETE, Segment
from gateway.kernel.fhir import CONFIDENTIALITY, LEVEL, JsonObject, coding
from gateway.mapping.hl7v2.conversion import KIND, RESIDUE, Element, Left, Snapshot
from gateway.mapping.hl7v2.identity import SHARED, scope_system
from gateway.mapping.hl7v2.interpret import Reasons
from gateway.mapping.hl7v2.model import SnapshotRow
from gateway.mapping.hl7v2.settle import paths_of

CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
OF_MESSAGE: Final = frozenset({"Provenance", "MessageHeader"})  # each message makes its own
_NO_TARGET: Final = SHARED | OF_MESSAGE


def clean(text: str) -> str:
    """A text that R4 allows as a string and every database stores: control characters become U+FFFD."""
    return CONTROL.sub("\ufffd", text)


def name_of(segment: Segment | None) -> str:
    """``OBX[3]``."""
    return segment.place(0)[:-2] if segment is not None else ""


def provenance(resources: list[JsonObject]) -> None:
    """Every resource that the message made, except shared ones, is a target of its Provenance."""
    bare = [r for r in resources if r["resourceType"] == "Provenance" and "target" not in r]
    if not bare:
        return
    targets = [
        {"reference": f"{r['resourceType']}/{r['id']}"} for r in resources if r["resourceType"] not in _NO_TARGET
    ]
    for resource in bare:
        if targets:
            resource["target"] = targets
        else:
            resources.remove(resource)


def residue(
    resources: list[JsonObject], left: Collection[Left], sender: str, control_id: str, uid: Callable[..., str]
) -> dict[str, tuple[JsonObject, ...]]:
    """Append a Basic resource that keeps the leaves which no row maps; it belongs to the patient and is Level 3."""
    patient = next((r for r in resources if r["resourceType"] == "Patient"), None)
    labels = (coding(LEVEL, "L3"), coding(CONFIDENTIALITY, "R"))
    basic: JsonObject = {
        "resourceType": "Basic",
        "id": uid("Basic", sender, control_id, "residue"),
        "meta": {"security": list(labels)},
        "extension": [
            {
                "url": RESIDUE,
                "extension": [
                    {"url": "place", "valueString": one.place},
                    {"url": "value", "valueString": clean(one.text.strip()) or "(blank)"},
                    {"url": "reason", "valueString": one.reason},
                ],
            }
            for one in left
        ],
        "identifier": [{"system": scope_system(sender), "value": control_id}],
        "code": {"coding": [{"system": KIND, "code": "hl7v2-residue"}]},
    }
    if patient is not None:
        basic["subject"] = {"reference": f"Patient/{patient['id']}"}
    resources.append(basic)
    return {f"Basic/{basic['id']}": labels}


def snapshots(
    rows: Mapping[str, Sequence[SnapshotRow]],
    placed: Iterable[tuple[Any, Segment, list[str], int]],
    resources: Sequence[JsonObject],
    sources: Mapping[int, list[tuple[Segment, str]]],
    dropped: set[int],
) -> tuple[list[Snapshot], dict[str, tuple[str, ...]]]:
    """Of segments in snapshot mode the whole set that patient or visit now have, and the lists to begin anew.

    No such segment in the message: nothing is said. All its fields two quotes: the set is empty (v2.5.1 ch. 2.10.4.1).
    A segment of which nothing could be made leaves the set unknown, so nothing is retired on its account.

    Args:
        rows: those of snapshots.csv, by segment.

    Returns:
        The sets, and by ``Type/id`` the lists that hold what this message says and nothing else.
    """
    by_segment: dict[str, list[tuple[Segment, list[str]]]] = {}
    for _, segment, fields, _ in placed:
        if segment.id in rows:
            by_segment.setdefault(segment.id, []).append((segment, fields))
    sets: list[Snapshot] = []
    lists: dict[str, tuple[str, ...]] = {}
    if not by_segment:
        return sets, lists
    owners = {kind: "" for name in by_segment for row in rows[name] for kind in (row.owner, "Patient")}
    for resource in resources:
        kind = resource["resourceType"]
        if kind in owners and not owners[kind]:
            owners[kind] = f"{kind}/{resource['id']}"
    used = {id(segment) for key, made in sources.items() if key not in dropped for segment, _ in made}
    for row in chain.from_iterable([rows[name] for name in by_segment]):
        sent = by_segment[row.segment]
        owner = owners[row.owner]
        if not owner or (row.action and any(_at(fields, row.action) for _, fields in sent)):
            continue
        if not all(id(segment) in used or _empties(segment) for segment, _ in sent):
            continue
        if row.resource == row.owner:
            lists[owner] = (*lists.get(owner, ()), row.element)
            continue
        members = [
            f"{row.resource}/{r['id']}" for r in resources if r["resourceType"] == row.resource
            and any(segment.id == row.segment for segment, _ in sources.get(id(r), ()))
        ]  # fmt: skip
        sets.append(Snapshot(row.segment, owner, owners["Patient"], tuple(members), row.element, row.value))
    return sets, lists


def _at(fields: Sequence[str], number: int) -> str:
    return fields[number] if number < len(fields) else ""


def _empties(segment: Segment) -> bool:
    """Whether every field that is sent, the set id aside, is two quotes: the set has no members."""
    sent = [text for text in segment.fields[2:] if text]
    return all(text == DELETE for text in sent) if sent else segment.raw(1) == DELETE


def explained(
    reasons: Reasons | None, resources: Iterable[JsonObject], sources: Mapping[int, list[tuple[Segment, str]]]
) -> tuple[Element, ...]:
    """Where each element came from; nothing unless the interpreter ran."""
    if reasons is None:
        return ()
    paths: dict[int, tuple[str, str]] = {}
    for resource in resources:
        rows = sources.get(id(resource), [])
        paths_of(resource, f"{resource['resourceType']}/{resource['id']}", rows[0][1] if rows else "", paths)
    rows_of = {
        (paths[key][0].split(" ")[0], name_of(segment)): row
        for key, made in sources.items() if key in paths for segment, row in made
    }  # fmt: skip
    out = []
    for why in reasons.whys:
        host, hops = why.host, 0
        while host not in paths and host in reasons.moved and hops < 9:
            host, hops = reasons.moved[host], hops + 1
        if host in paths:
            path, row = paths[host]
            head = path.split(" ")[0]
            row = rows_of.get((head, why.source.split("-")[0]), row)
            mark = " " if " " not in path else "."
            out.append(Element(f"{path}{mark}{why.name}", why.source, why.row, row))
    return tuple(out)
