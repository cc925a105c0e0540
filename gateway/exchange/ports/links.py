"""What linkage keeps: traits of each record, hashed keys to find them, how common values are, and who is whom.

Links change only by events, which are never changed or removed; the edges are what the events add up to.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeAlias


class EdgeState(StrEnum):
    """What is held of two records."""

    LINKED = "linked"  # one person
    REVIEW = "review"  # waits for a person
    VETO = "veto"  # a person said not the same: permanent
    UNSURE = "unsure"  # a person could not tell: out of the queue until something changes


@dataclass(frozen=True, slots=True)
class Known:
    """One record in the index."""

    patient: str  # Patient/id
    custodian: str  # whose record it is: compared with those of others
    traits: bytes = field(repr=False)  # gateway.linkage.traits.pack
    person: str = ""  # id of the Person that it belongs to, empty when alone
    since_us: int = 0  # when the record was first seen


Entry: TypeAlias = tuple[Known, Sequence[int], Sequence[int]]  # a record, its keys, the tokens it counts under


@dataclass(frozen=True, slots=True)
class Edge:
    """Two records, ``one`` < ``other``, and what is held of them."""

    one: str
    other: str
    state: EdgeState
    grade: str
    bits: float
    since_us: int
    by: str  # ``gateway`` for an automatic one, else who decided
    seconds: str = ""  # who signed first, where two must
    reasons: tuple[str, ...] = ()  # guards

    @property
    def automatic(self) -> bool:
        """Whether no person decided it."""
        return self.by == "gateway"


@dataclass(frozen=True, slots=True)
class LinkEvent:
    """One change: who, when, why, by which model, with what each trait contributed (levels and bits, no values)."""

    id: str
    at_us: int
    kind: str  # link, unlink, merge, unmerge, review, passed over, veto, unsure, withdraw
    one: str
    other: str
    by: str
    why: str
    model: str
    grade: str = ""
    bits: float = 0.0
    evidence: tuple[tuple[str, str, float], ...] = ()


class Searched(NamedTuple):
    """What one search found; ``crowded``: the keys that more records have than it takes."""

    crowded: Collection[int]
    entries: Sequence[Known]  # of all other keys, each once, in no order
    counts: dict[int, int]


def searched(links: "LinkReader", limits: Mapping[int, int], tokens: Collection[int]) -> Searched:
    """:meth:`LinkReader.search` step by step."""
    blocks = {key: links.blocks([key], limit)[0] for key, limit in limits.items()}
    crowded = {key for key, block in blocks.items() if len(block) > limits[key]}
    numbers = {number for key, block in blocks.items() if key not in crowded for number in block}
    return Searched(crowded, list(links.numbered(numbers).values()), dict(links.frequencies(tokens)))


class LinkReader(Protocol):
    """Reads of one snapshot."""

    @property
    def far(self) -> bool:
        """Whether asking once for more (:meth:`search`) costs less than asking again."""
        ...

    def known(self, patients: Iterable[str]) -> dict[str, Known]:
        """Index entries by ``Patient/id``; unknown ones are left out."""
        ...

    def numbered(self, numbers: Iterable[int]) -> dict[int, Known]:
        """Index entries by the numbers that :meth:`blocks` gives."""
        ...

    def blocks(self, keys: Sequence[int], limit: int) -> list[Sequence[int]]:
        """For each key the numbers of at most ``limit + 1`` records that have it."""
        ...

    def search(self, limits: Mapping[int, int], tokens: Collection[int]) -> Searched:
        """In one go: :meth:`blocks` of each key under its own limit, the records of those within it, and
        :meth:`frequencies` of the tokens (0, the count of all, is one of them)."""
        ...

    def frequencies(self, tokens: Iterable[int]) -> dict[int, int]:
        """How many records have each token."""
        ...

    def records(self) -> int:
        """How many records are in the index."""
        ...

    def members(self, person: str) -> list[Known]:
        """The records of a person, by reference."""
        ...

    def edges(self, patient: str) -> list[Edge]:
        """Everything held of a record and another."""
        ...

    def edge(self, one: str, other: str) -> Edge | None:
        """What is held of two records."""
        ...

    def queue(self, *, limit: int = 100) -> list[Edge]:
        """What waits for a person, most likely first."""
        ...

    def backlog(self) -> tuple[int, int]:
        """(how many wait, since when the oldest has, in microseconds; 0 when none)."""
        ...

    def events(self, patient: str = "") -> Iterator[LinkEvent]:
        """Every event, or those of one record, in order."""
        ...

    def every(self) -> Iterator[Known]:
        """All index entries, by reference."""
        ...


class Links(LinkReader, Protocol):
    """Reads and writes inside one transaction."""

    def put(self, known: Known, keys: Iterable[int], counts: Mapping[int, int], *, new: bool = False) -> None:
        """Index a record anew: its keys replace the old ones, the tokens' counts change by ``counts``.

        ``new``: the caller knows that it is not in the index, so that what it had is not looked up.
        """
        ...

    def load(self, entries: Iterable[Entry]) -> None:
        """Index many records that are not in the index yet, at once."""
        ...

    def drop(self, patient: str, counts: Mapping[int, int]) -> None:
        """Take a record out of the index with its keys; edges and events stay."""
        ...

    def assign(self, patients: Iterable[str], person: str) -> None:
        """Say whose records they are."""
        ...

    def hold(self, edge: Edge) -> None:
        """Replace what is held of two records."""
        ...

    def release(self, one: str, other: str) -> None:
        """Hold nothing of two records any more."""
        ...

    def record(self, event: LinkEvent) -> None:
        """Append an event; the same id twice is one event."""
        ...
