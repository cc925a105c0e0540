"""The Person above linked records, and Patient.link beside them: derived from the edges, and gone without a trace.

A Patient is linked with the records that an edge joins it with, not with all of its person: two records that hang
together only by a third one would otherwise tell whoever sees the two, and not the third, that there is one.
"""

from collections.abc import Collection, Iterable
from typing import Final

import orjson

from gateway.codecs.json_text import read, with_last_member, write
from gateway.consent.labels import vouched_of
from gateway.exchange.link_events import Scribe
from gateway.exchange.ports.links import Edge, EdgeState, Known, LinkReader
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.store import Unit
from gateway.exchange.save import Saver
from gateway.kernel.fhir import JsonObject, Resource
from gateway.kernel.identifiers import resource_id

SOURCE: Final = "doorway-link"
_MOST: Final = 50  # records of one person; more is a fault of linking


class Persons:
    """Keeps persons, their Person resource and the links of their records in step with the edges."""

    def __init__(self, scribe: Scribe) -> None:
        self._scribe = scribe

    def records(self, unit: Unit, patient: str) -> list[Known]:
        """The indexed records of the person that a record belongs to, itself included."""
        own = unit.links.known((patient,)).get(patient)
        if own is None:
            return []
        return unit.links.members(own.person) if own.person else [own]

    def join(self, unit: Unit, one: str, other: str, *, saver: Saver, now_us: int) -> None:
        """Two people become one; the enterprise id of the older one stays."""
        self._settle(unit, component(unit.links, (one, other)), saver, now_us, (one, other))

    def split(self, unit: Unit, one: str, other: str, *, saver: Saver, now_us: int) -> None:
        """After an edge went: the records of both sides by what still holds them; the older part keeps the id."""
        left, right = component(unit.links, (one,)), component(unit.links, (other,))
        apart = (frozenset((one, other)),)
        if left == right:  # another path still holds them together
            self._settle(unit, left, saver, now_us, (one, other), *apart)
            return
        first, second = sorted((left, right), key=lambda part: _age(unit, part))
        self._settle(unit, first, saver, now_us, first & apart[0], *apart)
        self._settle(unit, second, saver, now_us, second & apart[0], *apart, fresh=True)

    def _settle(
        self, unit: Unit, group: frozenset[str], saver: Saver, now_us: int, touched: Iterable[str],
        apart: frozenset[str] = frozenset(), *, fresh: bool = False,
    ) -> None:  # fmt: skip
        """Give a group of records its Person, and ``touched`` ones their links; no edge joins ``apart`` any more."""
        known = unit.links.known(group)
        held = sorted({k.person for k in known.values() if k.person}, key=lambda p: (_since(known, p), p))
        if fresh:
            held = []
        lasting = ""
        if len(group) > 1:
            lasting = held[0] if held else resource_id("person", min(group, key=lambda p: (_seen(known, p), p)))
        for former in held:
            if former != lasting:
                unit.resources.delete("Person", former, now_us=now_us, source=SOURCE)
        unit.links.assign(group, lasting)
        drafts = (_relinked(unit, one, beside(unit.links, one), apart - {one}) for one in sorted(touched))
        changed = [draft for draft in drafts if draft is not None]
        if lasting:
            changed.append(Draft(_person(lasting, group), source=SOURCE))
        if changed:
            saver.save(unit, changed, now_us=now_us)

    def with_links(self, unit: Unit, draft: Draft) -> Draft:
        """The draft of a Patient with the links to the other records of its person."""
        reference = f"Patient/{draft.resource.get('id', '')}"
        own = unit.links.known((reference,)).get(reference)
        if own is None or not own.person:
            return draft
        linked = with_seealso(draft.resource, sorted(beside(unit.links, reference))[:_MOST])
        if linked is draft.resource:
            return draft
        text = draft.document or read(draft.body if draft.body is not None else write(_first(draft.resource)))
        body = with_last_member(text, "link", linked["link"])  # as an amended version has it, so that equal stays equal
        return Draft(
            linked, body, draft.method, draft.source, draft.labels,
            owner=draft.owner, shared=draft.shared, anew=draft.anew,
        )  # fmt: skip


def _first(resource: Resource) -> Resource:
    """Type and id first, as the store writes a resource that came without a text."""
    own = {name: resource[name] for name in ("resourceType", "id") if name in resource}
    return own | {name: value for name, value in resource.items() if name not in own}


def beside(links: LinkReader, patient: str) -> set[str]:
    """The records that an edge joins with this one."""
    return {_there(edge, patient) for edge in links.edges(patient) if edge.state is EdgeState.LINKED}


def component(links: LinkReader, start: Iterable[str], among: Collection[str] | None = None) -> frozenset[str]:
    """Every record that edges join with these; ``among``: on paths over these records only."""
    found = set(start)
    todo = list(found)
    while todo:
        fresh = beside(links, todo.pop()) - found
        if among is not None:
            fresh &= set(among)
        found |= fresh
        todo += fresh
    return frozenset(found)


def path(links: LinkReader, one: str, other: str) -> list[Edge]:
    """The edges of a shortest way between two records; none when nothing joins them."""
    came: dict[str, Edge] = {}
    todo = [one]
    while todo and other not in came:
        nearer, todo = todo, []
        for here in nearer:
            for edge in links.edges(here):
                there = _there(edge, here)
                if edge.state is EdgeState.LINKED and there != one and there not in came:
                    came[there] = edge
                    todo.append(there)
    way: list[Edge] = []
    while other in came:
        way.append(came[other])
        other = _there(came[other], other)
    return way


def vetoed(links: LinkReader, left: Collection[str], right: Collection[str]) -> list[Edge]:
    """What people said of records of both sides: not the same."""
    found = (edge for here in sorted(left) for edge in links.edges(here) if _there(edge, here) in right)
    return list(dict.fromkeys(edge for edge in found if edge.state is EdgeState.VETO))


def one_person(links: LinkReader, patient: str) -> list[str]:
    """Every record of the person of a record, itself included: those that were merged into another one too."""
    return sorted(component(links, (patient,)))


def _there(edge: Edge, here: str) -> str:
    return edge.other if edge.one == here else edge.one


def _seen(known: dict[str, Known], patient: str) -> int:
    return known[patient].since_us if patient in known else 1 << 62


def _since(known: dict[str, Known], person: str) -> int:
    return min(k.since_us for k in known.values() if k.person == person)


def _age(unit: Unit, part: frozenset[str]) -> tuple[int, str]:
    known = unit.links.known(part)
    return min((_seen(known, p) for p in part), default=0), min(part)


def with_seealso(patient: Resource, others: Iterable[str]) -> Resource:
    """The Patient with a ``seealso`` link to each of ``others`` that it has no link to yet; itself when none lacks."""
    links: list[JsonObject] = list(patient.get("link", ()))
    there = {str((link.get("other") or {}).get("reference", "")) for link in links}
    missing = [{"other": {"reference": o}, "type": "seealso"} for o in sorted(set(others) - there)]
    return {**patient, "link": [*links, *missing]} if missing else patient


def without_seealso(patient: Resource, others: frozenset[str]) -> Resource:
    """The Patient without ``seealso`` links to ``others``; itself when it has none."""
    links = list(patient.get("link", ()))
    kept = [
        link
        for link in links
        if link.get("type") != "seealso" or (link.get("other") or {}).get("reference") not in others
    ]
    if len(kept) == len(links):
        return patient
    rest = {name: value for name, value in patient.items() if name != "link"}
    return {**rest, "link": kept} if kept else rest


def _relinked(unit: Unit, reference: str, others: Collection[str], apart: frozenset[str]) -> Draft | None:
    stored = unit.resources.get("Patient", reference.partition("/")[2])
    if stored is None or stored.deleted:
        return None
    patient: Resource = orjson.loads(stored.body)
    changed = with_seealso(without_seealso(patient, apart), sorted(others)[:_MOST])
    if changed is patient:
        return None
    return Draft(changed, None, stored.method, stored.source, vouched_of(patient), amend=True)


def _person(id_: str, group: frozenset[str]) -> Resource:
    links = [{"target": {"reference": reference}, "assurance": "level3"} for reference in sorted(group)]
    return {"resourceType": "Person", "id": id_, "active": True, "link": links}
