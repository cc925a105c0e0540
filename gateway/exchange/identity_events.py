"""Merge, link, move and their undoing, on the records themselves (HL7 v2.8.2 ch. 3.6; FHIR R4 Patient.link).

A merged record is never deleted and nothing that points to it is rewritten: it becomes inactive and points to the one
that goes on, which keeps the old numbers as ``old``. So undoing is exact: take the two links and the old numbers away.
"""

from collections.abc import Callable, Iterable
from typing import TypeAlias

from gateway.kernel.errors import Conflict
from gateway.kernel.fhir import JsonObject, Resource
from gateway.mapping.hl7v2.effects import Effect

Get: TypeAlias = "Callable[[str], Resource | None]"
Put: TypeAlias = Callable[[Resource], None]


def apply_effects(effects: Iterable[Effect], get: Get, put: Put) -> None:
    """Change the records that the effects name; :func:`refuse_circles` comes first."""
    for effect in effects:
        change = _CHANGES.get(effect.kind)
        if change is not None:
            change(effect, get, put)


def refuse_circles(effects: Iterable[Effect], get: Get) -> None:
    """Before a message changes anything: a merge into a record that was itself merged into the other is refused.

    Raises:
        Conflict: the merge would make a circle; the place is MRG-1.
    """
    for effect in effects:
        merges = effect.kind == "merge-patient" and effect.loser not in {"", effect.survivor}
        if merges and effect.loser in _into(effect.survivor, get):
            raise Conflict("the merge would make a circle", at="MRG-1", fix="unmerge the earlier one first")


def survivor_of(reference: str, get: Get) -> str:
    """The record that a record was merged into, chains followed; itself when it was not."""
    seen = {reference}
    while True:
        record = get(reference)
        into = next((_target(link) for link in (record or {}).get("link", ()) if link.get("type") == "replaced-by"), "")
        if not into or into in seen:
            return reference
        seen.add(into)
        reference = into


def _merge(effect: Effect, get: Get, put: Put) -> None:
    survivor, loser = effect.survivor, effect.loser
    if not loser or survivor == loser:
        return
    gone = get(loser) or _stub(loser, effect)
    put(_linked({**gone, "active": False}, survivor, "replaced-by"))
    kept = _linked(get(survivor) or _stub(survivor), loser, "replaces")
    put({**kept, "active": kept.get("active", True), **_with_old(kept, effect)})


def _into(reference: str, get: Get) -> set[str]:
    """Every record on the way from one to its survivor."""
    out: set[str] = set()
    while reference not in out:
        out.add(reference)
        links = (get(reference) or {}).get("link", ())
        reference = next((_target(link) for link in links if link.get("type") == "replaced-by"), reference)
    return out


def _link(effect: Effect, get: Get, put: Put) -> None:
    for one, other in ((effect.survivor, effect.loser), (effect.loser, effect.survivor)):
        if one and other:
            put(_linked(get(one) or _stub(one), other, "seealso"))


def _unlink(effect: Effect, get: Get, put: Put) -> None:
    """Take every relation between the two away: of a link, and of a merge with all that it changed."""
    one, other = effect.survivor, effect.loser
    for mine, theirs in ((one, other), (other, one)):
        record = get(mine)
        if record is None:
            continue
        kinds = {link.get("type") for link in record.get("link", ()) if _target(link) == theirs}
        rest = [link for link in record.get("link", ()) if _target(link) != theirs]
        out = {name: value for name, value in record.items() if name != "link"}
        if rest:
            out["link"] = rest
        if "replaced-by" in kinds:
            out["active"] = True
        if "replaces" in kinds:
            gone = {_key(identifier) for identifier in (get(theirs) or {}).get("identifier", ())}
            kept = [i for i in out.get("identifier", ()) if not (i.get("use") == "old" and _key(i) in gone)]
            out = {**out, "identifier": kept} if kept else {n: v for n, v in out.items() if n != "identifier"}
        put(out)


def _move(effect: Effect, get: Get, put: Put) -> None:
    """The visit now belongs to another patient; its history tells that it was not always so."""
    for reference in (effect.loser,):
        record = get(reference)
        if record is not None and reference.startswith("Encounter/"):
            put({**record, "subject": {"reference": effect.survivor}})


def _renumber(effect: Effect, get: Get, put: Put) -> None:
    record = get(effect.survivor)
    if record is not None:
        put({**record, **_with_old(record, effect)})


def _renumber_visit(effect: Effect, get: Get, put: Put) -> None:
    """The same visit under another number: what was known of it goes on there; the old record was never another one."""
    record, gone = get(effect.survivor), get(effect.loser)
    if record is None or gone is None or effect.loser == effect.survivor or gone.get("status") == NO_VISIT:
        _renumber(effect, get, put)
        return
    put({**gone, **record, "status": gone.get("status", "unknown"), **_with_old(record, effect)})
    put({**gone, "status": NO_VISIT})


def _supersede(effect: Effect, get: Get, put: Put) -> None:
    """A document that another one replaces (MDM T09, T10) is no longer current."""
    record = get(effect.loser)
    if record is not None and record.get("status") == "current":
        put({**record, "status": "superseded"})


def _delete(effect: Effect, get: Get, put: Put) -> None:
    """Entered in error: the record says so; shared things and the record itself stay."""
    record = get(effect.survivor)
    if record is None:
        return
    if record["resourceType"] == "Patient":
        put({**record, "active": False})
    elif "status" in record:
        put({**record, "status": "entered-in-error"})


def _merge_visit(effect: Effect, get: Get, put: Put) -> None:
    """One visit filed under two numbers (A42): the second was never a visit, and the first is found by both numbers."""
    gone, record = get(effect.loser), get(effect.survivor)
    if effect.loser == effect.survivor or not effect.loser.startswith("Encounter/"):
        return
    if gone is not None:
        put({**gone, "status": NO_VISIT})
    if record is not None:
        put({**record, **_with_old(record, effect)})


def _move_identifiers(effect: Effect, get: Get, put: Put) -> None:
    """Numbers that were filed under the wrong person (A43): by them nobody is found or linked there any more."""
    record, moved = get(effect.loser), {_key(identifier) for identifier in effect.identifiers}
    if record is None or not moved:
        return
    kept = [identifier for identifier in record.get("identifier", ()) if _key(identifier) not in moved]
    rest = {name: value for name, value in record.items() if name != "identifier"}
    put({**rest, "identifier": kept} if kept else rest)


def _with_old(record: Resource, effect: Effect) -> JsonObject:
    held = list(record.get("identifier", ()))
    names = {_key(identifier) for identifier in held}
    old = [{**identifier, "use": "old"} for identifier in effect.identifiers if _key(identifier) not in names]
    return {"identifier": [*held, *old]} if held or old else {}


def _key(identifier: object) -> tuple[str, str]:
    return (
        (str(identifier.get("system", "")), str(identifier.get("value", "")))
        if isinstance(identifier, dict)
        else ("", "")
    )


def _stub(reference: str, effect: Effect | None = None) -> Resource:
    kind, _, id_ = reference.partition("/")
    out: Resource = {"resourceType": kind, "id": id_}
    if effect is not None and effect.identifiers:
        out["identifier"] = [dict(identifier) for identifier in effect.identifiers]
    return out


def _linked(record: Resource, other: str, kind: str) -> Resource:
    rest = [link for link in record.get("link", ()) if _target(link) != other]
    return {**record, "link": [*rest, {"other": {"reference": other}, "type": kind}]}


def _target(link: JsonObject) -> str:
    return str(link.get("other", {}).get("reference", ""))


NO_VISIT = "entered-in-error"  # R4: was never part of the record; cancelled would say that nobody came
RENUMBERS = "change-visit-identifier"  # what was told of the loser was told of the survivor
ENDS_VISIT = frozenset({"merge-visit", RENUMBERS})  # the loser is no visit from then on
_CHANGES = {
    "merge-patient": _merge,
    "merge-visit": _merge_visit,
    "move-identifier": _move_identifiers,
    "link": _link,
    "unlink": _unlink,
    "move-visit": _move,
    "change-identifier": _renumber,
    RENUMBERS: _renumber_visit,
    "supersede": _supersede,
    "delete": _delete,
}
