"""The index of linkage over a store: what a record is found by, how common its values are, who its candidates are."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from gateway.exchange.ports.links import Known, LinkReader, Links
from gateway.kernel.identifiers import shard_of
from gateway.linkage.blocking import (
    CANDIDATE_LIMIT,
    candidates,
    families,
    index_keys,
    key_hash,
    key_hashes,
    limits_of,
    unbounded_of,
)
from gateway.linkage.frequency import FIELDS
from gateway.linkage.traits import Traits, pack, unpack

_TOTAL: Final = 0
_KNOWN: Final = {name: n for n, name in enumerate(FIELDS, start=1)}  # the counter of records that know a field
_OF_ALL: Final = (_TOTAL, *_KNOWN.values())
Root = Callable[[str], str]


def _values(person: Traits) -> dict[tuple[str, str], int]:
    """The counter of each value of a record."""
    out = {}
    for name in FIELDS:
        value = getattr(person, name)
        if value:
            out[name, value] = key_hash(f"f|{name}|{value}")
    return out


def _tokens(person: Traits) -> list[int]:
    """The counters of a record: all records, those that know a field, those with its value."""
    values = _values(person)
    return [_TOTAL, *[_KNOWN[name] for name, _ in values], *values.values()]


class StoreFrequencies:
    """How common values are in the index; what one arrival needs is read once.

    Args:
        indexed: whether the record itself is in the index, and counted; None to look.
        counted: what :func:`find` has read of it already.
    """

    def __init__(
        self, links: LinkReader, person: Traits, *, indexed: bool | None = None,
        counted: Mapping[int, int] | None = None,
    ) -> None:  # fmt: skip
        self._links = links
        values = _values(person)
        asked = {_TOTAL, *_KNOWN.values(), *values.values()}
        self._counts = dict(links.frequencies(asked) if counted is None else counted)
        if indexed is None:
            indexed = bool(person.key) and bool(links.known((person.key,)))
        self._asked = asked
        get = self._counts.get  # the first with a value is no other person, and the arrival itself is counted too
        self._others = {value: max(get(token, 0) - 1 - indexed, 0) for value, token in values.items()}

    @property
    def records(self) -> int:
        """Records in the index."""
        return self._counts.get(_TOTAL, 0)

    def expect(self, people: Iterable[Traits]) -> None:
        """Read the counters of these records in one go: they are about to be compared with one another."""
        tokens = {token for person in people for token in _tokens(person)} - self._asked
        if tokens:
            self._asked |= tokens
            self._counts.update(self._links.frequencies(tokens))

    def count(self, name: str, value: str) -> int:
        """Records with the value."""
        token = key_hash(f"f|{name}|{value}")
        if token not in self._asked:
            self._asked.add(token)
            self._counts.update(self._links.frequencies((token,)))
        return self._counts.get(token, 0)

    def others(self, name: str, value: str, u: float, smoothing: float) -> float:
        """The chance that another person has the value."""
        seen = self._others.get((name, value))
        if seen is None:
            seen = self._others[name, value] = max(self.count(name, value) - 1, 0)
        return (seen + smoothing * u) / (self._counts.get(_KNOWN[name], 0) + smoothing)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Index entries that share a bounded key; ``unbounded`` counts keys that were too common to search; ``counted``:
    the record's own counters, where they came with the keys."""

    entries: tuple[Known, ...]
    unbounded: int
    counted: Mapping[int, int] | None = None


def find(links: LinkReader, person: Traits, root: Root) -> Candidates:
    """The candidates of a record, itself left out, by reference."""
    entries: Iterable[Known]
    counted: Mapping[int, int] | None = None
    if links.far:
        searched = families(person, root, searching=True)
        limits = limits_of(searched)
        keys = dict(zip(key_hashes(limits), limits, strict=True))
        crowded, entries, counted = links.search(
            dict(zip(keys, limits.values(), strict=True)), (*_OF_ALL, *_values(person).values())
        )
        unbounded = unbounded_of(searched, {keys[key] for key in crowded})
        if len(entries) > CANDIDATE_LIMIT:
            entries, unbounded = _step_by_step(links, person, root)
    else:
        entries, unbounded = _step_by_step(links, person, root)
    ordered = sorted([known for known in entries if known.patient != person.key], key=attrgetter("patient"))
    return Candidates(tuple(ordered), unbounded, counted)


def _step_by_step(links: LinkReader, person: Traits, root: Root) -> tuple[Iterable[Known], int]:
    """Entries, and the keys that were too common: the coarse keys first, and finer ones where those are crowded."""
    found = candidates(person, root, lambda keys, limit: links.blocks(key_hashes(keys), limit))
    own = shard_of(person.key)
    return links.numbered(number for number in found.ids if number != own).values(), found.unbounded


_UNREAD: Final = Known("", "", b"")


def enter(
    links: Links, person: Traits, custodian: str, root: Root, *, now_us: int, before: Known | None = _UNREAD
) -> bool:
    """Put a record into the index; False when it was there with the same traits.

    Args:
        before: its entry, None when it has none; left out, it is read.
    """
    if before is _UNREAD:
        before = links.known((person.key,)).get(person.key)
    packed = pack(person)
    if before is not None and before.traits == packed and before.custodian == custodian:
        return False
    counts = dict.fromkeys(_tokens(person), 1)
    for token in _tokens(unpack(before.traits)) if before is not None else ():
        counts[token] = counts.get(token, 0) - 1
    entry = Known(person.key, custodian, packed, since_us=now_us)
    links.put(entry, index_keys(person, root), counts, new=before is None)
    return True


def enter_many(links: Links, people: Sequence[tuple[Traits, str]], root: Root, *, now_us: int) -> int:
    """Put many records with their custodians into the index at once; how many are new or changed."""
    there = links.known(person.key for person, _ in people)
    changed = 0
    for person, custodian in people:
        if person.key in there:
            changed += enter(links, person, custodian, root, now_us=now_us)
    new = [(person, custodian) for person, custodian in people if person.key not in there]
    links.load(
        (Known(person.key, custodian, pack(person), since_us=now_us), index_keys(person, root), _tokens(person))
        for person, custodian in new
    )
    return changed + len(new)


def leave(links: Links, patient: str) -> bool:
    """Take a record out of the index; False when it was not there."""
    before = links.known((patient,)).get(patient)
    if before is None:
        return False
    links.drop(patient, dict.fromkeys(_tokens(unpack(before.traits)), -1))
    return True
