"""Who takes part in a referral: the request, its newest Task, and the parties that a reference stands for."""

from collections.abc import Iterator, Sequence

from gateway.exchange.ports.resources import Stored, parsed
from gateway.exchange.ports.store import Reading
from gateway.kernel.fhir import JsonObject, Resource
from gateway.referrals.lifecycle import is_referral


def reference_of(node: object) -> str:
    """``Type/id`` of a literal reference; "" when it has none here."""
    text = node.get("reference") if isinstance(node, dict) else None
    parts = str(text or "").split("/_history")[0].split("/")
    return "/".join(parts[-2:]) if len(parts) >= 2 and not str(text).startswith("#") else ""


def task_of(unit: Reading, request: Stored, body: Resource) -> JsonObject | None:
    """The newest referral Task about a request."""
    subject = reference_of(body.get("subject"))
    found = [
        one
        for one in (unit.resources.compartment([subject]) if subject else ())
        if one.type == "Task" and not one.deleted and request.reference.encode() in one.body
    ]
    for one in sorted(found, key=lambda s: (s.updated_us, s.id), reverse=True):
        task = parsed(one)
        if is_referral(task) and reference_of(task.get("focus")) == request.reference:
            return task
    return None


def parties_of(unit: Reading, nodes: Sequence[object]) -> dict[str, None]:
    """The references of parties, and through a PractitionerRole its practitioner and organization; in order."""
    out: dict[str, None] = {}
    for node in nodes:
        for reference in behind(unit, reference_of(node)):
            out[reference] = None
    return out


def behind(unit: Reading, reference: str) -> Iterator[str]:
    """The reference, and of a PractitionerRole its practitioner and organization."""
    if not reference:
        return
    yield reference
    if reference.startswith("PractitionerRole/"):
        role = unit.resources.get(*reference.split("/", 1))
        body = parsed(role) if role is not None and not role.deleted else {}
        for name in ("practitioner", "organization"):
            if found := reference_of(body.get(name)):
                yield found
