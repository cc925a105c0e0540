"""Who is told of what over HL7 v2: a follower of the saver puts referrals into the outbox, in the same transaction.

Only that something is to be told is written here, never what: the text is made when it is sent, from what consent lets
the receiver see at that moment. One change of a referral is told to one destination once, whether it was its Task, its
ServiceRequest or both that were written.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from gateway.exchange.deliver import queue_delivery
from gateway.exchange.ports.resources import Stored
from gateway.exchange.ports.store import Unit
from gateway.exchange.save import Saver
from gateway.kernel.fhir import JsonObject, Resource
from gateway.referrals.lifecycle import is_referral

_ENDED: Final = frozenset({"revoked", "entered-in-error"})


@dataclass(frozen=True, slots=True)
class Partner:
    """A destination of the settings: its Organization, and the sender (``MSH-3^MSH-4``) whose own news it is spared."""

    organization: str
    sender: str = ""


class Tell:
    """The follower; ``partners`` by name of their destination."""

    def __init__(self, partners: Mapping[str, Partner]) -> None:
        self._partners = partners

    def __call__(self, _saver: Saver, unit: Unit, stored: Sequence[Stored], now_us: int) -> None:
        """Queue a message about each referral just written, for each partner that takes part in it."""
        told: set[str] = set()
        for one in stored:
            if one.type not in {"Task", "ServiceRequest"} or one.deleted or one.updated_us < now_us:
                continue
            request = _request_of(unit, one)
            if request is None or request.reference in told:
                continue
            told.add(request.reference)
            self._referral(unit, request, one.source, now_us)

    def _referral(self, unit: Unit, stored: Stored, source: str, now_us: int) -> None:
        request = _parsed(stored)
        task = _task_of(unit, stored, request)
        asked = _parties(unit, [request.get("requester"), (task or {}).get("requester")])
        doing = _parties(unit, [*request.get("performer", ()), (task or {}).get("owner")])
        subject = _reference(request.get("subject"))
        mentioned = [*request.get("reasonReference", ()), *request.get("supportingInfo", ())]
        references = [
            stored.reference, *([f"Task/{task['id']}"] if task else []), *([subject] if subject else []),
            *asked, *doing, *(found for one in mentioned if (found := _reference(one))),
        ]  # fmt: skip
        for name, partner in self._partners.items():
            if (partner.sender and partner.sender == source) or partner.organization not in {*asked, *doing}:
                continue
            kind = _kind(request, stored, answers=partner.organization not in doing)
            queue_delivery(
                unit, name, kind, list(dict.fromkeys(references)), cause=f"{stored.reference}/{now_us}",
                now_us=now_us, lane=stored.reference,
            )  # fmt: skip


def _kind(request: Resource, stored: Stored, *, answers: bool) -> str:
    """The event: REF to whoever is to do it, RRI to whoever asked; I12 new, I13 changed, I14 cancelled (ch. 11.4)."""
    if request.get("status") in _ENDED:
        return "RRI^I14" if answers else "REF^I14"
    if answers:
        return "RRI^I12"
    return "REF^I12" if stored.version == 1 else "REF^I13"


def _parsed(stored: Stored) -> Resource:
    found: Resource = orjson.loads(stored.body)
    return found


def _reference(node: object) -> str:
    """``Type/id`` of a literal reference; "" when it has none here."""
    text = node.get("reference") if isinstance(node, dict) else None
    parts = str(text or "").split("/_history")[0].split("/")
    return "/".join(parts[-2:]) if len(parts) >= 2 and not str(text).startswith("#") else ""


def _request_of(unit: Unit, one: Stored) -> Stored | None:
    if one.type == "ServiceRequest":
        return one
    task = _parsed(one)
    reference = _reference(task.get("focus")) if is_referral(task) else ""
    found = unit.resources.get(*reference.split("/", 1)) if reference else None
    return None if found is None or found.deleted else found


def _task_of(unit: Unit, request: Stored, body: Resource) -> JsonObject | None:
    """The newest referral Task about a request."""
    subject = _reference(body.get("subject"))
    found = [
        one
        for one in (unit.resources.compartment([subject]) if subject else ())
        if one.type == "Task" and not one.deleted and request.reference.encode() in one.body
    ]
    for one in sorted(found, key=lambda s: (s.updated_us, s.id), reverse=True):
        task = _parsed(one)
        if is_referral(task) and _reference(task.get("focus")) == request.reference:
            return task
    return None


def _parties(unit: Unit, nodes: Sequence[object]) -> dict[str, None]:
    """The references of parties, and through a PractitionerRole its practitioner and organization; in order."""
    out: dict[str, None] = {}
    for node in nodes:
        for reference in _behind(unit, _reference(node)):
            out[reference] = None
    return out


def _behind(unit: Unit, reference: str) -> Iterator[str]:
    if not reference:
        return
    yield reference
    if reference.startswith("PractitionerRole/"):
        role = unit.resources.get(*reference.split("/", 1))
        body = _parsed(role) if role is not None and not role.deleted else {}
        for name in ("practitioner", "organization"):
            if found := _reference(body.get(name)):
                yield found
