"""What is stored and what a message says, to what is to be stored (v2.5.1 ch. 2.10.4 and 2.5.3).

Absent is unchanged. What a field says replaces what the same field said before; other entries of the same list stay
(a home number does not end a work number). Two quotes delete. The keys by which list items are matched are the table
mappings/hl7v2/updates.csv; a list without a row there is replaced as a whole.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any, Final, TypeAlias

from gateway.kernel.fhir import JsonObject, Resource

Merge: TypeAlias = "Callable[[Resource | None, Resource, Sequence[str]], Resource]"

_CHOICES: Final = (
    "deceased", "multipleBirth", "onset", "abatement", "effective", "value", "performed", "occurrence", "medication",
)  # fmt: skip
_WHOLE: Final = frozenset({"coding", "reference", "value", "code", "url"})  # an element with one of these is a value
_IDENTITY: Final = frozenset({"Patient.identifier", "Encounter.identifier"})  # never emptied: it is how we know them


def merger(updates: Mapping[str, str]) -> Merge:
    """The update function for these rows (``Tables.updates``)."""

    def merge(before: Resource | None, said: Resource, deleted: Sequence[str]) -> Resource:
        return merge_update(before, said, deleted, updates=updates)

    return merge


def merge_update(
    before: Resource | None, said: Resource, deleted: Sequence[str] = (), *, updates: Mapping[str, str]
) -> Resource:
    """One resource after a message.

    Args:
        before: what is stored; None when it is new. It is not changed.
        said: what the message says, complete or not.
        deleted: elements to delete (``Conversion.deletions``): ``birthDate``, ``telecom[use=home]``,
            ``extension[url=…]``, ``hospitalization.dischargeDisposition``.
        updates: element (``Patient.telecom``, ``*.extension``) to the keys of its items, separated by spaces.
    """
    kind = said["resourceType"]
    out: Resource = deepcopy(before) if before is not None else {}
    for path in deleted:
        if f"{kind}.{path}" not in _IDENTITY:
            _delete(out, path)
    _merge(out, said, kind, updates)
    if kind == "Encounter" and "location" in out:
        _one_place(out, said)
    standing = out.get("verificationStatus", {}).get("coding", [{}])[0].get("code")
    if standing == "entered-in-error":  # R4 ait-2 and con-5: what was an error has no clinical state
        out.pop("clinicalStatus", None)
    return out


def _one_place(visit: Resource, said: Resource) -> None:
    """A patient is in one place: a new one ends the one before, and the end of the visit ends all.

    A temporary place (PV1-11) stands beside the other and ends with the visit only.
    """
    over = visit.get("status") == "finished"
    now = [_at(place, "location.reference") for place in said.get("location", ()) if _holds(place)]
    places = []
    for place in visit["location"]:
        left = place.get("status") == "active" and (
            over or (now and _holds(place) and _at(place, "location.reference") not in now)
        )
        places.append({**place, "status": "completed"} if left else place)
    visit["location"] = places


def _holds(place: JsonObject) -> bool:
    return place.get("status") == "active" and not any(
        one.get("url", "").endswith("/location-kind") for one in place.get("extension", ())
    )


def _merge(into: JsonObject, said: JsonObject, path: str, updates: Mapping[str, str]) -> None:
    drop_choices(into, said)
    for name, value in said.items():
        held = into.get(name)
        here = f"{path}.{name}"
        if isinstance(value, list) and isinstance(held, list):
            keys = updates.get(here) or updates.get(f"*.{name}")
            into[name] = _joined(held, value, keys.split()) if keys else deepcopy(value)
        elif isinstance(value, dict) and isinstance(held, dict) and not _is_value(value):
            _merge(held, value, here, updates)
        else:
            into[name] = deepcopy(value)


def drop_choices(into: JsonObject, said: JsonObject) -> None:
    """Take out what ``said`` tells in another type (R4 allows one of ``effective[x]``)."""
    for choice in _CHOICES:
        given = [k for k in said if k.startswith(choice) and k[len(choice) : len(choice) + 1].isupper()]
        for old in [k for k in into if given and k.startswith(choice) and k[len(choice) : len(choice) + 1].isupper()]:
            if old not in given:
                del into[old]


def _is_value(node: JsonObject) -> bool:
    """A CodeableConcept, Coding, Quantity, Identifier or Reference is replaced; a backbone or Period grows."""
    return bool(_WHOLE & node.keys())


def _joined(held: list[Any], said: list[Any], keys: Sequence[str]) -> list[Any]:
    """Stored items whose keys the message does not speak of, then the message's; each keeps its old place."""
    fresh: dict[Any, list[Any]] = {}
    for item in said:
        fresh.setdefault(_key(item, keys), []).append(item)
    out: list[Any] = []
    for item in held:
        key = _key(item, keys)
        if key not in fresh and not any(_key(other, keys) == key for other in said):
            out.append(item)
        else:
            out += [deepcopy(one) for one in fresh.pop(key, ())]
    for items in fresh.values():
        out += [deepcopy(one) for one in items]
    return out


def _key(item: Any, keys: Sequence[str]) -> tuple[str, ...]:
    return tuple(repr(_at(item, key)) for key in keys)


def _at(node: Any, path: str) -> Any:
    for step in path.split("."):
        if isinstance(node, list):
            node = node[0] if node else None
        node = node.get(step) if isinstance(node, dict) else None
    return node


def _delete(resource: JsonObject, path: str) -> None:
    """Remove one element, or the items of a list that a filter describes; nothing when there is none."""
    head, _, filtered = path.partition("[")
    *steps, last = head.split(".")
    if filtered:
        filtered, _, _rest = filtered.partition("]")
    node: Any = resource
    for step in steps:
        node = node.get(step) if isinstance(node, dict) else None
    if not isinstance(node, dict) or last not in node:
        return
    if not filtered:
        del node[last]
        return
    name, _, wanted = filtered.partition("=")
    if isinstance(node[last], list):
        node[last] = [item for item in node[last] if _at(item, name) != wanted]
        if not node[last]:
            del node[last]
