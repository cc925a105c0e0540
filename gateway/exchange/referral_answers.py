"""A partner's answer to a referral of ours moves that referral, not a copy of it.

A message names a request by the number that it had when we told of it (RF1-6, ORC-2, OBR-2): an identifier of the
stored ServiceRequest, or its id where it has none. It counts as an answer when its sender is the destination or a feed
of an Organization that is to do the request, or when it acknowledges (MSA-2) a message in which that destination was
told of it. Anybody else who uses the number speaks of a request of his own.

What an answer says of the request goes to its Task: the state (forwards only, in as many steps as it took elsewhere),
why, notes, results and the partner's own number. Who asked, for whom and what for stays as the asker wrote it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

from gateway.exchange.parties import parties_of, reference_of, task_of
from gateway.exchange.ports.resources import Stored, parsed
from gateway.exchange.ports.store import Reading, Unit
from gateway.exchange.search import parse_query
from gateway.exchange.search_text import token
from gateway.kernel.fhir import JsonObject, Resource
from gateway.mapping.hl7v2.conversion import Conversion
from gateway.mapping.hl7v2.outbound import OWN_NUMBER
from gateway.profiles.search_parameters import Definitions
from gateway.referrals.lifecycle import reachable

Named: TypeAlias = "Callable[[Reading, str, str], Sequence[Stored]]"  # ServiceRequests with an identifier, whoever asks
Referral: TypeAlias = tuple[str, JsonObject | None]  # reference of the ServiceRequest, its newest Task
_SAME_NUMBER: Final = 16  # requests under one number that are looked at
_TOLD: Final = ("statusReason", "businessStatus", "output")


def nobody(_unit: Reading, _system: str, _value: str) -> Sequence[Stored]:
    """Without a search nothing is found by its number."""
    return ()


def by_number(definitions: Definitions) -> Named:
    """Finds by search, as anybody would; nothing of it is told to anybody."""

    def named(unit: Reading, system: str, value: str) -> Sequence[Stored]:
        query = parse_query("ServiceRequest", [("identifier", token(system, value))], definitions)
        found = unit.resources.candidates("ServiceRequest", query.criteria, limit=_SAME_NUMBER)
        return [one.stored for one in found]

    return named


@dataclass(frozen=True, slots=True)
class ReferralAnswers:
    """Who answers for whom, and how a request is found by its number.

    Args:
        organizations: sender (``MSH-3^MSH-4``) to the Organization of its destination or feed.
        destinations: destination to its Organization; without any nobody answers.
    """

    organizations: Mapping[str, str] = field(default_factory=dict)
    destinations: Mapping[str, str] = field(default_factory=dict)
    named: Named = nobody

    def resolve(self, unit: Unit, conversion: Conversion, *, sender: str, answers: str) -> tuple[Conversion, set[str]]:
        """The conversion with our request in place of the sender's copy, and the references of ours in it.

        Args:
            sender: ``MSH-3^MSH-4``.
            answers: MSA-2; "" when there is none.
        """
        if not self.destinations:
            return conversion, set()
        ours: dict[str, Referral] = {}
        for said in conversion.resources:
            if said["resourceType"] == "ServiceRequest" and (found := self._ours(unit, said, sender, answers)):
                ours[f"ServiceRequest/{said['id']}"] = found
        return _placed(conversion, ours) if ours else (conversion, set())

    def _ours(self, unit: Unit, said: Resource, sender: str, answers: str) -> Referral | None:
        allowed = {self.organizations[sender]} if sender in self.organizations else set()
        told = unit.outbox.find(answers) if answers else []
        for one in self.numbered(unit, said):
            if one.id == said["id"] or one.deleted:
                continue
            task, doing = _standing(unit, one)
            acknowledged = {self.destinations.get(d.destination, "") for d in told if one.reference in d.references}
            if (allowed | acknowledged) & doing:
                return one.reference, task
        return None

    def numbered(self, unit: Reading, said: Resource) -> Iterator[Stored]:
        """The stored requests that have a number of this one, whoever made them."""
        for number in said.get("identifier", ()):
            system, value = str(number.get("system", "")), str(number.get("value", ""))
            if system == OWN_NUMBER:
                found = unit.resources.get("ServiceRequest", value)
                yield from (found,) if found is not None else ()
            elif system and value:
                yield from self.named(unit, system, value)


def _standing(unit: Unit, request: Stored) -> tuple[JsonObject | None, set[str]]:
    """The newest Task about a request, and the parties that are to do it."""
    body = parsed(request)
    task = task_of(unit, request, body)
    return task, set(parties_of(unit, [*body.get("performer", ()), (task or {}).get("owner")]))


def _placed(conversion: Conversion, ours: Mapping[str, Referral]) -> tuple[Conversion, set[str]]:
    """The copies taken out, references turned to ours, and each Task about one made what it adds to ours."""
    names = {copy: reference for copy, (reference, _) in ours.items()}
    tasks: dict[str, Resource] = {}
    for said in conversion.resources:
        about = reference_of(said.get("focus")) if said["resourceType"] == "Task" else ""
        if about in ours:
            held = ours[about][1]
            if held is not None:
                names[f"Task/{said['id']}"] = f"Task/{held['id']}"
                request = next(r for r in conversion.resources if f"ServiceRequest/{r['id']}" == about)
                tasks[f"Task/{said['id']}"] = _added(held, said, request.get("note", ()))
    kept = []
    for said in conversion.resources:
        reference = f"{said['resourceType']}/{said['id']}"
        if reference in tasks:
            kept.append(_renamed(tasks[reference], names))
        elif reference not in names:
            kept.append(_renamed(said, names))
    gone = names.keys()
    placed = replace(
        conversion,
        resources=tuple(kept),
        effects=tuple(one for one in conversion.effects if one.survivor not in gone),
        deletions={name: elements for name, elements in conversion.deletions.items() if name not in gone},
        renewed={name: elements for name, elements in conversion.renewed.items() if name not in gone},
    )
    return placed, {names[one] for one in tasks}


def _added(held: Resource, said: Resource, notes: Iterable[JsonObject]) -> Resource:
    """What an answer adds to the Task that we hold."""
    out: Resource = {"resourceType": "Task", "id": held["id"]}
    status = said.get("status")
    if isinstance(status, str) and reachable(str(held.get("status")), status):
        out["status"] = status
    out |= {name: said[name] for name in _TOLD if name in said}
    for name, more in (("note", [*said.get("note", ()), *notes]), ("identifier", said.get("identifier", ()))):
        fresh = [one for one in more if one not in held.get(name, ())]
        if fresh:
            out[name] = [*held.get(name, ()), *fresh]
    return out


def _renamed(node: Any, names: Mapping[str, str]) -> Any:
    """The same with other references; the argument stays as it is."""
    if isinstance(node, dict):
        return {
            name: names.get(value, value) if name == "reference" and isinstance(value, str) else _renamed(value, names)
            for name, value in node.items()
        }
    return [_renamed(item, names) for item in node] if isinstance(node, list) else node
