"""Resources in memory: the slow, obvious twin of adapters/db, held to the same contract by the same tests."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from gateway.exchange.ports.resources import Draft, Stored
from gateway.exchange.versions import Facets, NewVersion, deletion, next_version
from gateway.kernel.fhir import subject_of


@dataclass(slots=True)
class MemoryResources:
    """All versions by ``Type/id``; the last one is the newest."""

    versions: dict[str, tuple[NewVersion, ...]] = field(default_factory=dict)

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

    def put(self, draft: Draft, *, now_us: int) -> Stored:
        """Write a new version unless the content is the newest already."""
        reference = f"{draft.resource.get('resourceType')}/{draft.resource.get('id')}"
        before = self.versions.get(reference, ())
        current = before[-1].stored if before else None
        made = next_version(current, draft, now_us=now_us)
        if made is None:
            assert current is not None
            return current
        self.versions[reference] = (*before, made)
        return made.stored

    def delete(self, type_: str, id_: str, *, now_us: int, source: str = "") -> Stored | None:
        """Write a deletion."""
        before = self.versions.get(f"{type_}/{id_}", ())
        if not before or before[-1].stored.deleted:
            return None
        gone = deletion(before[-1].stored, now_us=now_us, source=source)
        facets = Facets(before[-1].facets.shard, "", (), ())
        made = NewVersion(gone, {"resourceType": type_, "id": id_}, facets)
        self.versions[f"{type_}/{id_}"] = (*before, made)
        return gone
