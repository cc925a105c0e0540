"""Linkage in memory: the same contract as the database, for tests."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gateway.exchange.ports.links import Edge, EdgeState, Entry, Known, LinkEvent, Searched, searched
from gateway.kernel.identifiers import shard_of

_TOTAL = 0


@dataclass(slots=True)
class MemoryLinks:
    """Entries by number, keys by record, edges by pair, events in order."""

    entries: dict[int, Known] = field(default_factory=dict)
    keys: dict[int, frozenset[int]] = field(default_factory=dict)
    blocked: dict[int, frozenset[int]] = field(default_factory=dict)
    counted: dict[int, int] = field(default_factory=dict)
    held: dict[tuple[str, str], Edge] = field(default_factory=dict)
    told: list[LinkEvent] = field(default_factory=list)

    def known(self, patients: Iterable[str]) -> dict[str, Known]:
        """Index entries by reference."""
        wanted = {patient: shard_of(patient) for patient in patients}
        return {patient: self.entries[n] for patient, n in wanted.items() if n in self.entries}

    def numbered(self, numbers: Iterable[int]) -> dict[int, Known]:
        """Index entries by number."""
        return {number: self.entries[number] for number in numbers if number in self.entries}

    def blocks(self, keys: Sequence[int], limit: int) -> list[Sequence[int]]:
        """Numbers of records under each key, one more than ``limit`` at most."""
        return [sorted(self.blocked.get(key, frozenset()))[: limit + 1] for key in keys]

    far = False

    def search(self, limits: Mapping[int, int], tokens: Collection[int]) -> Searched:
        """Everything that a search reads."""
        return searched(self, limits, tokens)

    def frequencies(self, tokens: Iterable[int]) -> dict[int, int]:
        """How many records have each token."""
        return {token: self.counted[token] for token in tokens if token in self.counted}

    def records(self) -> int:
        """How many records are in the index."""
        return self.counted.get(_TOTAL, 0)

    def members(self, person: str) -> list[Known]:
        """The records of a person."""
        found = [known for known in self.entries.values() if person and known.person == person]
        return sorted(found, key=lambda known: known.patient)

    def edges(self, patient: str) -> list[Edge]:
        """Everything held of a record and another."""
        return [edge for pair, edge in sorted(self.held.items()) if patient in pair]

    def edge(self, one: str, other: str) -> Edge | None:
        """What is held of two records."""
        return self.held.get((min(one, other), max(one, other)))

    def queue(self, *, limit: int = 100) -> list[Edge]:
        """What waits for a person, most likely first."""
        waiting = [edge for edge in self.held.values() if edge.state is EdgeState.REVIEW]
        return sorted(waiting, key=lambda edge: (-edge.bits, edge.one, edge.other))[:limit]

    def backlog(self) -> tuple[int, int]:
        """(how many wait, since when the oldest has)."""
        since = [edge.since_us for edge in self.held.values() if edge.state is EdgeState.REVIEW]
        return len(since), min(since, default=0)

    def events(self, patient: str = "") -> Iterator[LinkEvent]:
        """Every event, or those of one record, in order."""
        found = [event for event in self.told if not patient or patient in (event.one, event.other)]
        return iter(sorted(found, key=lambda event: (event.at_us, event.id)))

    def every(self) -> Iterator[Known]:
        """All index entries, by reference."""
        return iter(sorted(self.entries.values(), key=lambda known: known.patient))

    def put(self, known: Known, keys: Iterable[int], counts: Mapping[int, int], *, new: bool = False) -> None:
        """Index a record anew."""
        number = shard_of(known.patient)
        before = self.entries.get(number)
        if before is not None:
            known = replace(before, custodian=known.custodian, traits=known.traits)
        self._block(number, frozenset(keys))
        self.entries[number] = known
        self._count(counts)

    def load(self, entries: Iterable[Entry]) -> None:
        """Index many new records at once."""
        for known, keys, tokens in entries:
            self.put(known, keys, Counter(tokens))

    def drop(self, patient: str, counts: Mapping[int, int]) -> None:
        """Take a record out of the index."""
        number = shard_of(patient)
        self._block(number, frozenset())
        self.entries.pop(number, None)
        self._count(counts)

    def _block(self, number: int, wanted: frozenset[int]) -> None:
        held = self.keys.get(number, frozenset())
        for key in held - wanted:
            self.blocked[key] = self.blocked[key] - {number}
        for key in wanted - held:
            self.blocked[key] = self.blocked.get(key, frozenset()) | {number}
        self.keys[number] = wanted

    def _count(self, counts: Mapping[int, int]) -> None:
        for token, by in counts.items():
            self.counted[token] = max(self.counted.get(token, 0) + by, 0)

    def assign(self, patients: Iterable[str], person: str) -> None:
        """Say whose records they are."""
        for patient in patients:
            number = shard_of(patient)
            if number in self.entries:
                self.entries[number] = replace(self.entries[number], person=person)

    def hold(self, edge: Edge) -> None:
        """Replace what is held of two records."""
        self.held[edge.one, edge.other] = edge

    def release(self, one: str, other: str) -> None:
        """Hold nothing of two records any more."""
        self.held.pop((min(one, other), max(one, other)), None)

    def record(self, event: LinkEvent) -> None:
        """Append an event."""
        if all(event.id != told.id for told in self.told):
            self.told.append(event)
