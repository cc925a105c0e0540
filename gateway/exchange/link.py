"""Linking in real time: every Patient that is written is compared with the other custodians' in the same transaction.

Certain pairs become one person, probable ones wait for a reviewer, the rest is nothing. A person is a set of records
joined by links; a join that would bring a conflict into the set waits for a reviewer instead. Every change is an event
with who, when, why and the model; what is held now is what the events add up to. Records stay whole: a link is a
``seealso`` beside them and a Person above them, and taking it away leaves them as they were.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from gateway.exchange.link_events import Scribe
from gateway.exchange.link_index import Root, StoreFrequencies, enter, enter_many, find, leave
from gateway.exchange.link_law import may_be_compared
from gateway.exchange.link_people import Persons, component, path, vetoed
from gateway.exchange.link_twins import Household, may_be_twins
from gateway.exchange.ports.links import Edge, EdgeState
from gateway.exchange.ports.resources import Draft, Stored, parsed
from gateway.exchange.ports.store import Reading, Unit
from gateway.exchange.save import Saver
from gateway.kernel.fhir import JsonObject, Resource
from gateway.linkage.grades import Grade, Guard, grounds_of, guards_of
from gateway.linkage.judge import Match, judge
from gateway.linkage.model import Model
from gateway.linkage.patient import traits_of
from gateway.linkage.scoring import Score, Scorer
from gateway.linkage.traits import Reader, Traits, unpack

GATEWAY: Final = "gateway"
SAME_NUMBER: Final = "same number of one authority"
MERGED: Final = ("merged by the custodian",)
_CONFLICTS: Final = frozenset(
    {
        Guard.TWIN, Guard.MULTIPLE_BIRTH, Guard.SUFFIX, Guard.GENERATION, Guard.SSN_CONFLICT, Guard.SSN_NEIGHBOURS,
        Guard.HEALTH_CONFLICT, Guard.DOB_CONFLICT, Guard.VETO,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rules:
    """What a site decides about linking.

    ``same_at_bits`` and above is linked when certain; from ``review_at_bits`` a person decides. ``within_source``:
    whether doubles of one custodian wait for review too (they are never linked automatically). ``two_people``: whether
    "the same" needs two different reviewers. ``most_reviews``: how many new pairs one record brings to the reviewers,
    likeliest first; a name that fits dozens is not told apart by dozens of decisions.
    """

    same_at_bits: float = 3.5
    review_at_bits: float = 0.0
    within_source: bool = False
    two_people: bool = False
    most_reviews: int = 10


@dataclass(frozen=True, slots=True)
class Arrived:
    """What came of one record: whom it was linked with, who waits for review, and how many more would have."""

    linked: tuple[str, ...] = ()
    review: tuple[str, ...] = ()
    passed_over: int = 0


Followed: TypeAlias = tuple[str, ...]


class Linker:
    """Linking over one store with one model.

    Args:
        model: weights, grades, guards' limits.
        reader: makes traits.
        rules: the site's thresholds.
    """

    def __init__(self, model: Model, reader: Reader, rules: Rules | None = None) -> None:
        self.model: Final = model
        self.reader: Final = reader
        self.rules: Final = rules or Rules()
        self.root: Final[Root] = reader.nicknames.main_root
        self.scribe: Final = Scribe(model.digest)
        self.persons: Final = Persons(self.scribe)

    # -- doors -------------------------------------------------------------------------------------------------------

    def follow(self, saver: Saver, unit: Unit, written: Sequence[Stored], now_us: int) -> None:
        """A follower of the saver: whatever door a Patient or Consent came by, linking hears of it."""
        for stored in written:
            if stored.type == "Patient":
                self.on_arrival(unit, stored, saver=saver, now_us=now_us)
            elif stored.type == "Consent":
                self._consent_changed(unit, stored, saver, now_us)

    def prepare(self, unit: Unit, draft: Draft) -> Draft:
        """A Patient about to be written keeps the links that its sender does not know of."""
        return self.persons.with_links(unit, draft) if draft.resource.get("resourceType") == "Patient" else draft

    def on_arrival(self, unit: Unit, stored: Stored, *, saver: Saver, now_us: int, again: bool = False) -> Arrived:
        """Compare a Patient that has just been written; links and queue entries are part of the same transaction.

        Args:
            again: compare also when nothing that linkage looks at has changed (a new model, a whole store).
        """
        patient = parsed(stored)
        if stored.deleted or not may_be_compared(patient, unit.resources):
            self._withdraw(unit, stored.reference, saver, now_us)
            return Arrived()
        into = _merged_into(patient)
        if into:
            leave(unit.links, stored.reference)
            self.merge(unit, into, stored.reference, saver=saver, by=stored.source or GATEWAY, now_us=now_us)
            return Arrived(linked=(into,))
        self._unmerged(unit, stored.reference, saver, now_us)
        person = traits_of(patient, self.reader)
        custodian = custodian_of(patient, stored)
        before = unit.links.known((person.key,)).get(person.key)
        if not enter(unit.links, person, custodian, self.root, now_us=now_us, before=before) and not again:
            return Arrived()
        if before is None:
            self._back(unit, person.key, saver, now_us)
        return self._compare(unit, person, custodian, saver, now_us)

    def _back(self, unit: Unit, patient: str, saver: Saver, now_us: int) -> None:
        """A record that was not in the index, such as a merged one, is of the person that its links say."""
        for edge in unit.links.edges(patient):
            if edge.state is EdgeState.LINKED:
                self.persons.join(unit, edge.one, edge.other, saver=saver, now_us=now_us)
                return

    def index(self, unit: Unit, stored: Sequence[Stored], *, now_us: int) -> int:
        """Put many Patients into the index without comparing them: the first half of comparing a whole store."""
        people = [(s, parsed(s)) for s in stored if not s.deleted]
        fit = [(s, p) for s, p in people if may_be_compared(p, unit.resources) and not _merged_into(p)]
        ready = [(traits_of(p, self.reader), custodian_of(p, s)) for s, p in fit]
        return enter_many(unit.links, ready, self.root, now_us=now_us)

    def _consent_changed(self, unit: Unit, stored: Stored, saver: Saver, now_us: int) -> None:
        said = stored if not stored.deleted else unit.resources.version("Consent", stored.id, stored.version - 1)
        reference = str(((parsed(said) if said is not None else {}).get("patient") or {}).get("reference", ""))
        kind, _, id_ = reference.partition("/")
        patient = unit.resources.get(kind, id_) if kind == "Patient" and id_ else None
        if patient is not None and not patient.deleted:
            self.on_arrival(unit, patient, saver=saver, now_us=now_us)

    # -- comparing ---------------------------------------------------------------------------------------------------

    def scorer(
        self, unit: "Reading | Unit", person: Traits, *, indexed: bool | None = None,
        counted: Mapping[int, int] | None = None,
    ) -> Scorer:  # fmt: skip
        """The model over the index as it stands, for one record; ``indexed``: whether it is known to be in it;
        ``counted``: its counters, where they were read already."""
        frequencies = StoreFrequencies(unit.links, person, indexed=indexed, counted=counted)
        return Scorer(self.model, frequencies, population=frequencies.records)

    def _compare(self, unit: Unit, person: Traits, custodian: str, saver: Saver, now_us: int) -> Arrived:
        searched = find(unit.links, person, self.root)
        found = searched.entries
        within = self.rules.within_source  # another custodian's records, or the same one's where the rules say so
        entries = {known.patient: known for known in found if within or known.custodian != custodian}
        held = {_other(edge, person.key): edge for edge in unit.links.edges(person.key)}
        if not entries and not held:
            return Arrived()
        scorer = self.scorer(unit, person, indexed=True, counted=searched.counted)
        least = min(self.model.grades.probable, self.rules.same_at_bits, self.rules.review_at_bits)
        people = [unpack(known.traits) for known in entries.values()]
        matches = judge(scorer, person, people, least_bits=least, always=held)
        household = Household(scorer, person, custodian, found)
        linked, review = [], []
        over: list[Match] = []
        for match in matches:
            there = match.candidate.key
            edge = held.pop(there, None)
            if edge is not None and (not edge.automatic or edge.state is EdgeState.VETO):
                continue  # a person decided
            theirs = entries[there].custodian
            certain = self._certain(match, person) and theirs != custodian
            if certain and household.two_people(match.candidate, theirs):
                match, certain = replace(match, guards=match.guards | {Guard.TWIN}, grade=Grade.PROBABLE), False
            if certain:
                self._free_of_twin(unit, scorer, household, match.candidate, saver, now_us)
            if certain and self._join(unit, scorer, match, person, saver, now_us, edge):
                linked.append(there)
                continue
            if edge is not None and edge.state is EdgeState.LINKED:
                self._demote(unit, edge, match, scorer, person, saver, now_us)
                review.append(there)
            elif match.bits >= self.rules.review_at_bits and match.grade in {Grade.CERTAIN, Grade.PROBABLE}:
                if edge is None and len(review) >= self.rules.most_reviews:
                    over.append(match)
                    continue
                self._queue(unit, match, scorer, person, now_us, edge)
                review.append(there)
            elif edge is not None:
                unit.links.release(edge.one, edge.other)
        self._no_longer(unit, held.values(), saver, now_us)
        if over:
            one, other = sorted((person.key, over[0].candidate.key))
            why = f"{len(over)} more pairs are as likely to be one person"
            self.scribe.note(unit, "passed over", one, other, by=GATEWAY, why=why, now_us=now_us, match=over[0])
        return Arrived(tuple(linked), tuple(review), len(over))

    def _free_of_twin(
        self, unit: Unit, scorer: Scorer, household: Household, candidate: Traits, saver: Saver, now_us: int
    ) -> None:
        """A twin came first and was taken for the candidate; now that its namesake is here, a person looks at that."""
        for edge, twin in list(household.wrongly_held(candidate, unit.links.edge)):
            score = scorer.score(candidate, twin)
            match = Match(candidate, score.bits, Grade.PROBABLE, score, frozenset({Guard.TWIN}))
            self._demote(unit, edge, match, scorer, twin, saver, now_us)

    def _certain(self, match: Match, person: Traits) -> bool:
        """Deterministic identifiers first: the same number of one authority links unless something speaks against."""
        if not person.numbers.isdisjoint(match.candidate.numbers):
            return match.bits >= self.rules.review_at_bits and not match.guards & (_CONFLICTS | {Guard.NAME_CONFLICT})
        return match.grade is Grade.CERTAIN and match.bits >= self.rules.same_at_bits

    def _join(
        self, unit: Unit, scorer: Scorer, match: Match, person: Traits, saver: Saver, now_us: int, edge: Edge | None
    ) -> bool:
        """Make the pair one person; False when their sets of records contradict each other (then it is queued)."""
        one, other = sorted((person.key, match.candidate.key))
        if edge is not None and edge.state is EdgeState.LINKED:
            unit.links.hold(replace(edge, bits=match.bits, grade=match.grade.value))
            return True
        conflicts = self.conflicts(unit, scorer, one, other)
        if conflicts:
            found = replace(match, guards=match.guards | conflicts, grade=Grade.PROBABLE)
            self._queue(unit, found, scorer, person, now_us, edge)
            return False
        evidence = scorer.explain(match.candidate, person)
        grounds = grounds_of(scorer, match.score, match.candidate, person)
        why = f"certain match: {', '.join(sorted(grounds)) or SAME_NUMBER}"
        self.scribe.note(unit, "link", one, other, by=GATEWAY, why=why, now_us=now_us, score=evidence, match=match)
        unit.links.hold(Edge(one, other, EdgeState.LINKED, match.grade.value, match.bits, now_us, GATEWAY))
        self.persons.join(unit, one, other, saver=saver, now_us=now_us)
        return True

    def conflicts(self, unit: Unit, scorer: Scorer, one: str, other: str) -> frozenset[Guard]:
        """What speaks against making the records of two people one: no chain of good pairs joins bad ones."""
        left, right = self.persons.records(unit, one), self.persons.records(unit, other)
        found: set[Guard] = set()
        for a in left:
            for b in right:
                if a.patient == b.patient:
                    continue
                edge = unit.links.edge(a.patient, b.patient)
                if edge is not None and edge.state is EdgeState.VETO:
                    found.add(Guard.VETO)
                x, y = unpack(a.traits), unpack(b.traits)
                found |= guards_of(scorer, scorer.score(x, y), x, y) & _CONFLICTS
                if a.custodian == b.custodian and may_be_twins(scorer, x, y):
                    found.add(Guard.TWIN)
        return frozenset(found)

    def _queue(self, unit: Unit, match: Match, scorer: Scorer, person: Traits, now_us: int, edge: Edge | None) -> None:
        one, other = sorted((person.key, match.candidate.key))
        reasons = tuple(sorted(guard.value for guard in match.guards))
        if edge is not None and (edge.state, edge.reasons, round(edge.bits, 2)) == (
            EdgeState.REVIEW, reasons, round(match.bits, 2),
        ):  # fmt: skip
            return
        evidence = scorer.explain(match.candidate, person)
        why = "; ".join(reasons) or "probable match"
        self.scribe.note(unit, "review", one, other, by=GATEWAY, why=why, now_us=now_us, score=evidence, match=match)
        since = edge.since_us if edge is not None and edge.state is EdgeState.REVIEW else now_us
        unit.links.hold(
            Edge(one, other, EdgeState.REVIEW, match.grade.value, match.bits, since, GATEWAY, reasons=reasons)
        )

    def _demote(
        self, unit: Unit, edge: Edge, match: Match, scorer: Scorer, person: Traits, saver: Saver, now_us: int
    ) -> None:
        """A record changed and its automatic link is certain no longer: the link goes, a person decides."""
        self.scribe.note(unit, "unlink", edge.one, edge.other, by=GATEWAY, why="the record changed", now_us=now_us)
        unit.links.release(edge.one, edge.other)
        self.persons.split(unit, edge.one, edge.other, saver=saver, now_us=now_us)
        self._queue(unit, match, scorer, person, now_us, None)

    def _no_longer(self, unit: Unit, edges: Iterable[Edge], saver: Saver, now_us: int) -> None:
        """Automatic edges to records that are not even possible any more."""
        for edge in list(edges):
            if not edge.automatic:
                continue
            unit.links.release(edge.one, edge.other)
            if edge.state is EdgeState.LINKED:
                self.scribe.note(
                    unit, "unlink", edge.one, edge.other, by=GATEWAY, why="the record changed", now_us=now_us
                )
                self.persons.split(unit, edge.one, edge.other, saver=saver, now_us=now_us)

    def _withdraw(self, unit: Unit, patient: str, saver: Saver, now_us: int) -> None:
        """A record that may not be compared leaves the index, and every link that comparing made goes with it."""
        leave_now = unit.links.known((patient,)).get(patient)
        for edge in unit.links.edges(patient):
            if edge.state is EdgeState.VETO:
                continue
            unit.links.release(edge.one, edge.other)
            if edge.state is EdgeState.LINKED:
                self.scribe.note(
                    unit, "withdraw", edge.one, edge.other, by=GATEWAY, why="may not be compared", now_us=now_us
                )
                self.persons.split(unit, edge.one, edge.other, saver=saver, now_us=now_us)
        if leave_now is not None:
            leave(unit.links, patient)

    # -- what people and hospitals say -------------------------------------------------------------------------------

    def merge(self, unit: Unit, survivor: str, loser: str, *, saver: Saver, by: str, now_us: int) -> None:
        """A custodian says that two of its records are one person (A40 and kin); told twice it is one merge."""
        one, other = sorted((survivor, loser))
        edge = unit.links.edge(one, other)
        if one == other or (edge is not None and edge.state is EdgeState.LINKED):
            return
        if edge is not None and edge.state is EdgeState.VETO:
            why = "merged by the custodian, and a person said that they are not the same"
            self.scribe.note(unit, "passed over", one, other, by=by, why=why, now_us=now_us)
            return
        self.scribe.note(unit, "merge", one, other, by=by, why="merged by the custodian", now_us=now_us)
        unit.links.hold(Edge(one, other, EdgeState.LINKED, Grade.CERTAIN.value, 0.0, now_us, by, reasons=MERGED))
        self.persons.join(unit, one, other, saver=saver, now_us=now_us)
        group = component(unit.links, (one,))
        for veto in vetoed(unit.links, group, group):
            self.separate(unit, veto.one, veto.other, saver=saver, now_us=now_us)

    def separate(self, unit: Unit, one: str, other: str, *, saver: Saver, now_us: int) -> bool:
        """Two records that a person says are not the same are not joined by third ones either: of each way between
        them the least likely automatic link goes back to the reviewers. False where only people's words join them."""
        while way := path(unit.links, one, other):
            automatic = [edge for edge in way if edge.automatic]
            if not automatic:
                return False
            weakest = min(automatic, key=lambda edge: (edge.bits, edge.one, edge.other))
            why = "it joined records that a person says are not the same"
            self.scribe.note(unit, "unlink", weakest.one, weakest.other, by=GATEWAY, why=why, now_us=now_us)
            unit.links.hold(replace(weakest, state=EdgeState.REVIEW, since_us=now_us, reasons=(Guard.VETO.value,)))
            self.persons.split(unit, weakest.one, weakest.other, saver=saver, now_us=now_us)
        return True

    def _unmerged(self, unit: Unit, patient: str, saver: Saver, now_us: int) -> None:
        """Merges that neither record tells of any more were taken back."""
        for edge in unit.links.edges(patient):
            if edge.state is not EdgeState.LINKED or edge.reasons != MERGED:
                continue
            both = unit.resources.many((edge.one, edge.other)).values()
            if not any(_merged_into(parsed(stored)) in {edge.one, edge.other} for stored in both):
                self.unmerge(unit, edge.one, edge.other, saver=saver, by=edge.by, now_us=now_us)

    def unmerge(self, unit: Unit, survivor: str, loser: str, *, saver: Saver, by: str, now_us: int) -> None:
        """A custodian takes a merge or link back; both records are compared again as they stand."""
        one, other = sorted((survivor, loser))
        edge = unit.links.edge(one, other)
        if edge is None or edge.state is not EdgeState.LINKED:
            return
        self.scribe.note(unit, "unmerge", one, other, by=by, why="unmerged by the custodian", now_us=now_us)
        unit.links.release(one, other)
        self.persons.split(unit, one, other, saver=saver, now_us=now_us)


def custodian_of(patient: Resource, stored: Stored) -> str:
    """Whose record it is: the system that sent it (its export, feed or client)."""
    meta = patient.get("meta") or {}
    return str(meta.get("source") or stored.source or (patient.get("managingOrganization") or {}).get("reference", ""))


def _merged_into(patient: Resource) -> str:
    """The record that this one was merged into; empty when it was not."""
    if patient.get("active") is not False:
        return ""
    links: list[JsonObject] = [link for link in patient.get("link", ()) if isinstance(link, dict)]
    return next(
        (str(k["other"].get("reference", "")) for k in links if k.get("type") == "replaced-by" and k.get("other")), ""
    )


def _other(edge: Edge, patient: str) -> str:
    return edge.other if edge.one == patient else edge.one


__all__ = ["Arrived", "Linker", "Rules", "Score", "custodian_of", "parsed"]
