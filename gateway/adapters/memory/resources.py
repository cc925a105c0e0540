"""Resources in memory: the slow, obvious twin of adapters/db, held to the same contract by the same tests."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from gateway.exchange.ports.resources import Candidate, Draft, Place, Stored
from gateway.exchange.search import Chain, Criterion, Has, Shown, Sort
from gateway.exchange.search_match import holds, in_order, sort_value
from gateway.exchange.versions import Facets, NewVersion, View, deletion, next_version, no_view
from gateway.kernel.fhir import Resource, reference_of, subject_of
from gateway.kernel.identifiers import key_of
from gateway.profiles.search_values import links


@dataclass(slots=True)
class MemoryResources:
    """All versions by ``Type/id``; the last one is the newest."""

    versions: dict[str, tuple[NewVersion, ...]] = field(default_factory=dict)
    view: View = no_view  # packs what consent looks at

    def live(self) -> Iterator[NewVersion]:
        """The newest version of everything that is not deleted, by reference."""
        for reference in sorted(self.versions):
            newest = self.versions[reference][-1]
            if not newest.stored.deleted:
                yield newest

    def get(self, type_: str, id_: str) -> Stored | None:
        """The newest version, a deletion included."""
        found = self.versions.get(f"{type_}/{id_}")
        return found[-1].stored if found else None

    def many(self, references: Iterable[str]) -> dict[str, Stored]:
        """Newest live versions by reference."""
        found = {
            reference: self.versions[reference][-1].stored for reference in references if reference in self.versions
        }
        return {reference: stored for reference, stored in found.items() if not stored.deleted}

    def version(self, type_: str, id_: str, version: int) -> Stored | None:
        """One version."""
        found = (made.stored for made in self.versions.get(f"{type_}/{id_}", ()))
        return next((stored for stored in found if stored.version == version), None)

    def under_way(self) -> frozenset[str] | None:
        """One writer at a time."""
        return None

    def compartment(self, patients: Iterable[str]) -> Iterator[Stored]:
        """Every live resource that names one of the patients."""
        wanted = set(patients)
        return (made.stored for made in self.live() if wanted & set(made.facets.patients))

    def of_type(self, type_: str) -> Iterator[Stored]:
        """Every live resource of a type, by id."""
        return (made.stored for made in self.live() if made.stored.type == type_)

    def consents(self, patients: Iterable[str]) -> list[Stored]:
        """The Consents, in any state, whose patient is one of these."""
        wanted = set(patients)
        return [
            made.stored for made in self.live() if made.stored.type == "Consent" and subject_of(made.resource) in wanted
        ]

    def forms(self, limit: int) -> dict[int, Stored] | None:
        """Not kept here: every candidate is judged."""
        return None

    def hold(self, name: str) -> None:
        """One writer at a time holds everything."""

    def changes(
        self, type_: str, id_: str = "", *, since_us: int = 0, before: tuple[int, str, int] | None = None, count: int
    ) -> list[Stored]:
        """Versions, deletions included, newest first by (updated_us, id, version)."""
        found = [
            made.stored
            for made in (one for versions in self.versions.values() for one in versions)
            if made.stored.type == type_ and id_ in ("", made.stored.id) and made.stored.updated_us >= since_us
        ]
        found.sort(key=lambda stored: (stored.updated_us, stored.id, stored.version), reverse=True)
        return [
            stored for stored in found if before is None or (stored.updated_us, stored.id, stored.version) < before
        ][:count]

    def candidates(
        self,
        type_: str,
        criteria: Sequence[Criterion],
        sorts: Sequence[Sort] = (),
        *,
        after: Place | None = None,
        limit: int,
        shown: Shown | None = None,
    ) -> list[Candidate]:
        """At most ``limit`` matches in order from behind ``after``: every resource is looked at."""
        places = []
        for made in self._matching(type_, criteria):
            values = (sort_value(sort, made.resource, made.stored.updated_us) for sort in sorts)
            places.append(((*values, key_of(made.stored.reference)), made.stored))
        return [Candidate(stored, place) for place, stored in in_order(places, sorts, after)[:limit]]

    def count(self, type_: str, criteria: Sequence[Criterion], *, limit: int | None = None) -> int:
        """How many live resources fulfil the criteria; counting stops at ``limit``."""
        return sum(1 for _ in islice(self._matching(type_, criteria), limit))

    def _matching(self, type_: str, criteria: Sequence[Criterion]) -> Iterator[NewVersion]:
        for made in self.live():
            if made.stored.type == type_ and all(holds(one, made.resource, self._joined) for one in criteria):
                yield made

    def _joined(self, criterion: Chain | Has, resource: Resource) -> bool:
        """Chains and ``_has`` by looking at every resource there is."""
        if isinstance(criterion, Chain):
            targets = {link.target for link in links(criterion.parameter, resource)}
            return any(made.stored.reference in targets for made in self._matching(criterion.target, [criterion.inner]))
        own = reference_of(resource)
        return any(
            own in {link.target for link in links(criterion.parameter, made.resource)}
            for made in self._matching(criterion.parameter.type, [criterion.inner])
        )

    def put(self, draft: Draft, *, now_us: int) -> Stored:
        """Write a new version unless the content is the newest already."""
        reference = f"{draft.resource.get('resourceType')}/{draft.resource.get('id')}"
        before = self.versions.get(reference, ())
        current = before[-1].stored if before else None
        made = next_version(current, draft, self.view, now_us=now_us)
        if made is None:
            assert current is not None
            return current
        amended = current is not None and made.stored.version == current.version
        self.versions[reference] = (*(before[:-1] if amended else before), made)
        return made.stored

    def put_all(self, drafts: Sequence[Draft], *, now_us: int) -> list[Stored]:
        """As :meth:`put` for many, in order."""
        return [self.put(draft, now_us=now_us) for draft in drafts]

    def delete(self, type_: str, id_: str, *, now_us: int, source: str = "") -> Stored | None:
        """Write a deletion."""
        before = self.versions.get(f"{type_}/{id_}", ())
        if not before or before[-1].stored.deleted:
            return None
        gone = deletion(before[-1].stored, now_us=now_us, source=source)
        facets = Facets(before[-1].facets.shard, "", ())
        made = NewVersion(gone, {"resourceType": type_, "id": id_}, facets)
        self.versions[f"{type_}/{id_}"] = (*before, made)
        return gone
