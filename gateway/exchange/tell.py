"""Who is told of what over HL7 v2: a follower of the saver fills the outbox, in the same transaction as the change.

Only that something is to be told is written here, never what: the text is made when it is sent, from what consent lets
the receiver see at that moment. One change of a referral is told to one destination once, whether it was its Task, its
ServiceRequest or both that were written; so is one change of a person and visit that were written together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from gateway.exchange.deliver import queue_delivery
from gateway.exchange.parties import behind, parties_of, reference_of, task_of
from gateway.exchange.ports.resources import Stored, parsed
from gateway.exchange.ports.store import Reading, Unit
from gateway.exchange.save import Saver
from gateway.kernel.fhir import JsonObject, Resource
from gateway.referrals.lifecycle import is_referral

EventOf: TypeAlias = "Callable[[Resource | None, Resource], str]"
_ENDED: Final = frozenset({"revoked", "entered-in-error"})


@dataclass(frozen=True, slots=True)
class Partner:
    """A destination of the settings: its Organization, and the sender (``MSH-3^MSH-4``) whose own news it is spared."""

    organization: str
    sender: str = ""
    speakers: frozenset[str] = frozenset()  # the senders that speak for it: what they asked for is answered to it
    tells: frozenset[str] = frozenset({"REF"})  # REF or 360X: how referrals are told; ADT: persons and visits


class Tell:
    """The follower; ``partners`` by name of their destination."""

    def __init__(self, partners: Mapping[str, Partner], event_of: "EventOf | None" = None) -> None:
        """``event_of``: the version before and the new one of a Patient or Encounter to the event; "" for none."""
        self._partners = partners
        self._event_of = event_of
        self._adt = {name: one for name, one in partners.items() if "ADT" in one.tells}

    def __call__(self, _saver: Saver, unit: Unit, stored: Sequence[Stored], now_us: int) -> None:
        """Queue a message about each referral just written, for each partner that takes part in it."""
        if self._adt and self._event_of is not None:
            self._persons(unit, stored, now_us)
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
        request = parsed(stored)
        task = task_of(unit, stored, request)
        asked, doing = sides_of(unit, request, task)
        references = told_of(unit, stored, request, task, [*asked, *doing])
        first = stored if stored.version == 1 else unit.resources.version(stored.type, stored.id, 1)
        creator = first.source if first is not None else ""
        fresh = stored.version == 1 and stored.updated_us >= now_us  # a Task that follows later is a change
        for name, partner in self._partners.items():
            if partner.sender and partner.sender == source:
                continue
            mine = creator in partner.speakers and source not in partner.speakers  # whatever it called who asks
            if not mine and partner.organization not in {*asked, *doing}:
                continue
            answers = partner.organization not in doing
            if "360X" in partner.tells:
                kind = _kind_360x(request, fresh=fresh, answers=answers)
            elif "REF" in partner.tells:
                kind = _kind(request, fresh=fresh, answers=answers)
            else:
                continue
            queue_delivery(
                unit, name, kind, references, cause=f"{stored.reference}/{now_us}",
                now_us=now_us, lane=stored.reference,
            )  # fmt: skip

    def _persons(self, unit: Unit, stored: Sequence[Stored], now_us: int) -> None:
        """Queue an ADT for each person and visit just written; a visit tells of its person too."""
        fresh = [o for o in stored if o.type in {"Patient", "Encounter"} and not o.deleted and o.updated_us >= now_us]
        told: set[str] = set()
        for one in sorted(fresh, key=lambda o: o.type != "Encounter"):
            body, event = parsed(one), ""
            patient = one.reference if one.type == "Patient" else reference_of(body.get("subject"))
            if self._event_of is not None and patient:
                event = self._event_of(_before(unit, one), body)
            if not event or (one.type == "Patient" and event != "ADT^A40" and patient in told):
                continue
            told.add(patient)
            references = _around(unit, one, body, patient, event)
            for name, partner in self._adt.items():
                if not (partner.sender and partner.sender == one.source):
                    queue_delivery(
                        unit, name, event, references, cause=f"{one.reference}/{one.version}", now_us=now_us,
                        lane=patient,
                    )  # fmt: skip


def sides_of(unit: Reading, request: Resource, task: JsonObject | None) -> tuple[dict[str, None], dict[str, None]]:
    """The references of who asks and of who is to do it, those behind a PractitionerRole too; in order."""
    asked = parties_of(unit, [request.get("requester"), (task or {}).get("requester")])
    doing = parties_of(unit, [*request.get("performer", ()), (task or {}).get("owner")])
    return asked, doing


def told_of(
    unit: Reading, stored: Stored, request: Resource, task: JsonObject | None, sides: Sequence[str]
) -> list[str]:
    """The references of everything that a message about a referral may tell of; what of it leaves is for the gate.

    Args:
        sides: who asks and who is to do it.
    """
    subject = reference_of(request.get("subject"))
    mentioned = [
        request.get("encounter"), *request.get("reasonReference", ()), *request.get("supportingInfo", ()),
        *request.get("insurance", ()), *_payors(unit, request),
    ]  # fmt: skip
    references = [
        stored.reference, *([f"Task/{task['id']}"] if task else []), *([subject] if subject else []),
        *sides, *(found for one in mentioned if (found := reference_of(one))),
    ]  # fmt: skip
    return list(dict.fromkeys(references))


def _before(unit: Unit, one: Stored) -> Resource | None:
    held = unit.resources.version(one.type, one.id, one.version - 1) if one.version > 1 else None
    return None if held is None or held.deleted else parsed(held)


def _around(unit: Unit, one: Stored, body: Resource, patient: str, event: str) -> list[str]:
    """What an ADT may tell of beside the record itself; what of it leaves is decided when it leaves."""
    if event == "ADT^A40":
        links = [link for link in body.get("link", ()) if link.get("type") == "replaces"]
        newest = [reference_of(link.get("other")) for link in links][-1:]
        return [one.reference, *newest]
    out = dict.fromkeys([patient, one.reference])
    visit = one.reference if one.type == "Encounter" else ""
    nodes = [p.get("individual") for p in body.get("participant", ())] if visit else []
    nodes += [p.get("location") for p in body.get("location", ())] if visit else []
    for node in nodes:
        out |= dict.fromkeys(behind(unit, reference_of(node)))
    for other in unit.resources.compartment([patient]):
        mine = other.type in {"RelatedPerson", "AllergyIntolerance"} or (
            visit and other.type == "Condition" and reference_of(parsed(other).get("encounter")) == visit
        )
        if mine:
            out[other.reference] = None
    return list(out)


def _kind_360x(request: Resource, *, fresh: bool, answers: bool) -> str:
    """IHE 360X: OMG^O19 to whoever is to do it, with its order control, and OSU^O51 to whoever asked."""
    if answers:
        return "OSU^O51"
    return "OMG^O19/" + ("CA" if request.get("status") in _ENDED else "NW" if fresh else "XO")


def _kind(request: Resource, *, fresh: bool, answers: bool) -> str:
    """The event: REF to whoever is to do it, RRI to whoever asked; I12 new, I13 changed, I14 cancelled (ch. 11.4)."""
    if request.get("status") in _ENDED:
        return "RRI^I14" if answers else "REF^I14"
    if answers:
        return "RRI^I12"
    return "REF^I12" if fresh else "REF^I13"


def _payors(unit: Reading, request: Resource) -> list[object]:
    """References to who pays by the coverages of a request: AUT cannot be told without."""
    named = [reference_of(one) for one in request.get("insurance", ())]
    found = [unit.resources.get(*one.split("/", 1)) for one in named if one.startswith("Coverage/")]
    return [payor for one in found if one is not None and not one.deleted for payor in parsed(one).get("payor", ())]


def _request_of(unit: Unit, one: Stored) -> Stored | None:
    if one.type == "ServiceRequest":
        return one
    task = parsed(one)
    reference = reference_of(task.get("focus")) if is_referral(task) else ""
    found = unit.resources.get(*reference.split("/", 1)) if reference else None
    return None if found is None or found.deleted else found
