"""Lenient intake: a Consent as people send it, R4 or R5, brought into one clean R4 shape, with everything told.

Repairs are notes, never silent; what cannot be honoured is collected apart, because such a Consent must deny.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from gateway.consent.dialects import is_r5
from gateway.kernel.fhir import JsonObject

_LISTS: Final = ("actor", "action", "securityLabel", "purpose", "class", "code", "data", "provision")
_R4_PROVISION: Final = frozenset({"id", "extension", "type", "period", "dataPeriod", *_LISTS})
_R5_PROVISION: Final = _R4_PROVISION | {"documentType", "resourceType", "expression"}
_PRIMITIVES: Final = frozenset({"_type", "_id"})  # what may stand beside a provision's primitives: extensions of them
_STATUS: Final = {  # code -> active?
    "active": True, "draft": False, "proposed": False, "rejected": False, "inactive": False,
    "entered-in-error": False, "not-done": False, "unknown": False,
}  # fmt: skip
# not active, and telling that what was permitted no longer is: it was in force and was ended (R4, R5: terminated), the
# person was asked again and refused, or nobody knows which; a draft, a mistake or one never completed says nothing
_WITHDRAWS: Final = frozenset({"inactive", "rejected", "unknown"})
_OPPOSITE: Final = {"permit": "deny", "deny": "permit"}
_R5_LOST: Final = {  # elements of R5 that R4 cannot say; the reader is told
    "grantee": "who received the grant", "manager": "who manages the consent", "controller": "who controls it",
    "regulatoryBasis": "the regulatory basis", "policyBasis": "the policy basis", "policyText": "the policy text",
}  # fmt: skip


@dataclass(slots=True)
class Intake:
    """A Consent in R4 shape (``provision`` one object, every list a list), with what was done to get there.

    ``active`` is None when the status cannot be told. ``withdraws``: not active, and what it would replace is not to be
    relied on. ``unsupported`` and ``broken`` make the Consent deny.
    """

    consent: JsonObject
    provision: JsonObject
    active: bool | None = None
    withdraws: bool = False
    from_r5: bool = False
    notes: list[str] = field(default_factory=list)
    unsupported: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def take_in(consent: Any) -> Intake:
    """Repair the shape of a Consent and translate R5; nothing is raised, everything is told in the result."""
    if not isinstance(consent, dict):
        return Intake({}, {}, broken=["not a resource"])
    found = Intake(dict(consent), {})
    if consent.get("resourceType") != "Consent":
        found.broken.append("resourceType is not Consent")
        return found
    _status(found)
    for element in ("modifierExtension", "implicitRules"):
        if consent.get(element):
            found.unsupported.append(f"{element} changes the meaning in a way that is not known")
    if "except" in consent:
        found.unsupported.append("except belongs to STU3; write it as nested provisions")
    if is_r5(consent):
        _translate_r5(found)
    else:
        found.provision = _root_of(found)
    return found


def _status(found: Intake) -> None:
    status = found.consent.get("status")
    plain = status.strip().lower() if isinstance(status, str) else ""
    found.active = _STATUS.get(plain)
    found.withdraws = plain in _WITHDRAWS
    if found.active is None:
        found.broken.append("status is missing or not a code of the consent state")
    elif plain != status:
        found.notes.append("status: case and spaces mended")


def _root_of(found: Intake) -> JsonObject:
    node = found.consent.get("provision")
    if isinstance(node, list):
        objects = [item for item in node if isinstance(item, dict)]
        if len(objects) == 1 and len(node) == 1:
            found.notes.append("provision: R4 has one root provision, the list was opened")
            node = objects[0]
        else:
            found.notes.append("provision: several root provisions were put below one without a type")
            node = {"provision": node}
    if node is None:
        return {}
    return _provision(found, node, "provision", _R4_PROVISION)


def _provision(found: Intake, node: Any, at: str, allowed: frozenset[str]) -> JsonObject:
    if not isinstance(node, dict):
        found.broken.append(f"{at} is not an object")
        return {}
    out: JsonObject = {}
    for name, value in node.items():
        if name == "modifierExtension":
            if value:
                found.unsupported.append(f"{at}.modifierExtension changes the meaning in a way that is not known")
        elif name in allowed:
            out[name] = _listed(found, name, value, at) if name in _LISTS else value
        elif name not in _PRIMITIVES:
            found.unsupported.append(f"{at} has an element that cannot be enforced")
    kind = out.get("type")
    if isinstance(kind, str) and kind.strip().lower() in _OPPOSITE:
        if kind != kind.strip().lower():
            found.notes.append(f"{at}.type: case and spaces mended")
        out["type"] = kind.strip().lower()
    elif kind is not None:
        found.broken.append(f"{at}.type is neither permit nor deny")
    for element in ("period", "dataPeriod"):
        if isinstance(out.get(element), list) and len(out[element]) == 1:
            out[element] = out[element][0]
            found.notes.append(f"{at}.{element}: the list was opened")
    out["provision"] = [
        _provision(found, child, f"{at}.provision[{i}]", allowed) for i, child in enumerate(out.get("provision", ()))
    ]
    return out


def _listed(found: Intake, name: str, value: Any, at: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        found.notes.append(f"{at}.{name}: put into a list")
        value = [value]
    if name not in ("actor", "data"):
        return list(value)
    mended = []
    for item in value:
        if isinstance(item, str):
            found.notes.append(f"{at}.{name}: a bare reference was put into its element")
            item = {"reference": {"reference": item}}
        elif isinstance(item, dict) and isinstance(item.get("reference"), str):
            found.notes.append(f"{at}.{name}: a bare reference was put into its element")
            item = {**item, "reference": {"reference": item["reference"]}}
        mended.append(item)
    return mended


def _translate_r5(found: Intake) -> None:
    consent, found.from_r5 = found.consent, True
    decision = consent.get("decision")
    decision = decision.strip().lower() if isinstance(decision, str) else decision
    if decision not in _OPPOSITE:
        found.unsupported.append("decision is missing, so it is not known what the provisions are exceptions to")
        decision = "deny"
    for element, meaning in _R5_LOST.items():
        if consent.get(element):
            found.notes.append(f"{element}: R4 cannot hold {meaning}; it is not enforced")
    for new, old in (("subject", "patient"), ("date", "dateTime")):
        if new in consent and old not in consent:
            consent[old] = consent[new]
    if "controller" in consent and "organization" not in consent:
        consent["organization"] = consent["controller"]
    elif "manager" in consent and "organization" not in consent:
        consent["organization"] = consent["manager"]
    nodes = consent.get("provision") or []
    root: JsonObject = {"type": decision}
    if consent.get("period") is not None:
        root["period"] = consent["period"]
    root["provision"] = [
        _r5_provision(
            found, _provision(found, node, f"provision[{i}]", _R5_PROVISION), _OPPOSITE[decision], f"provision[{i}]"
        )
        for i, node in enumerate(nodes if isinstance(nodes, list) else [nodes])
    ]
    found.provision = root


def _r5_provision(found: Intake, node: JsonObject, effect: str, at: str) -> JsonObject:
    out = dict(node)
    if "type" in node:
        found.notes.append(f"{at}.type: R5 has none, levels alternate; it was ignored")
    out["type"] = effect
    if "expression" in node:
        found.notes.append(f"{at}.expression cannot be evaluated: it counts as unknown")
    out["provision"] = [
        _r5_provision(found, child, _OPPOSITE[effect], f"{at}.provision[{i}]")
        for i, child in enumerate(node.get("provision", ()))
    ]
    return out


def to_r5(consent: JsonObject) -> tuple[JsonObject, list[str]]:
    """An R4 Consent in R5 shape, and what R5 could not hold: scope, and a nested type equal to its parent's.

    A provision whose type equals its parent's is moved up beside its parent where that keeps the meaning (it states
    its own data), otherwise reported. Root type must be given.
    """
    losses: list[str] = []
    found = take_in(consent)
    root = found.provision
    out = {
        k: v for k, v in found.consent.items() if k not in ("provision", "scope", "patient", "dateTime", "policyRule")
    }
    for old, new in (("patient", "subject"), ("dateTime", "date")):
        if old in consent:
            out[new] = consent[old]
    if "scope" in consent:
        losses.append("scope: moved to category, R5 has no scope")
        out["category"] = [consent["scope"], *(consent.get("category") or [])]
    decision = root.get("type")
    if decision not in _OPPOSITE:
        losses.append("provision.type: the root has none, R5 needs a decision")
        decision = "deny"
    out["decision"] = decision
    if "period" in root:
        out["period"] = root["period"]
    stated = sorted(set(root) - {"type", "period", "provision", "id", "extension"})
    nodes = [
        _to_r5_provision(c, decision, f"provision.provision[{i}]", losses)
        for i, c in enumerate(root.get("provision", ()))
    ]
    if any(root[name] for name in stated):
        losses.append("provision: R5 has no criteria at the root; the base became an exception to its opposite")
        out["decision"] = _OPPOSITE[decision]
        inner = {name: root[name] for name in stated}
        inner["provision"] = [node for node in nodes if node is not None]
        nodes = [inner]
    out["provision"] = [node for node in nodes if node is not None]
    return out, losses


def _to_r5_provision(node: JsonObject, parent: str, at: str, losses: list[str]) -> JsonObject | None:
    effect = node.get("type", _OPPOSITE[parent])
    if effect == parent:
        losses.append(f"{at}: same type as its parent, which R5 cannot say; it was left out")
        return None
    out = {name: value for name, value in node.items() if name not in ("type", "provision")}
    children = [
        _to_r5_provision(child, effect, f"{at}.provision[{i}]", losses)
        for i, child in enumerate(node.get("provision", ()))
    ]
    if children:
        out["provision"] = [child for child in children if child is not None]
    return out
