"""Blocking: several independent keys a record, so that one wrong field never loses a person, and bounded blocks.

A family of keys has stages from coarse to fine. A search takes the coarsest stage whose block is small enough; a block
that is too large is split by the next stage, and what no stage could bound is reported, never cut in silence.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from struct import unpack
from typing import Final, TypeAlias

from gateway.linkage.names import sound
from gateway.linkage.traits import Traits

BLOCK_LIMIT: Final = 6  # records of one key that a search takes before it asks for a finer key
LAST_STAGE_LIMIT: Final = 30
CANDIDATE_LIMIT: Final = 2000

Stage: TypeAlias = tuple[str, ...]  # alternative keys, all taken
Family: TypeAlias = tuple[Stage, ...]  # coarse to fine


@lru_cache(maxsize=65_536)
def key_hash(text: str) -> int:
    """A signed 64-bit number for a key; the text of names never lies in the index."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


_digest: Final = blake2b(digest_size=8).copy


def key_hashes(texts: Collection[str]) -> tuple[int, ...]:
    """:func:`key_hash` of many keys, most of which are never met again."""
    digests = []
    for text in texts:
        digest = _digest()
        digest.update(text.encode())
        digests.append(digest.digest())
    return unpack(f">{len(digests)}q", b"".join(digests))


def _sounds(person: Traits) -> tuple[str, ...]:
    """Sounds of the whole surname and of each of its parts."""
    if not person.last:
        return ()
    found = {person.last_sound}
    if len(person.parts) > 1 or len(person.lasts) > 1:
        found.update(sound(part) for part in person.parts)
        found.update(sound(last) for last in person.lasts if last[:1] != "#")
    found.discard("")
    return tuple(sorted(found))


def _roots(person: Traits, root: Callable[[str], str]) -> tuple[str, ...]:
    """Sounds of the nickname roots of every given name."""
    if person.given[:1] == "#":
        return (person.given,)
    return tuple(sorted({sound(root(given)) for given in person.givens} | {sound(g) for g in person.givens} - {""}))


def families(person: Traits, root: Callable[[str], str], *, searching: bool) -> list[Family]:
    """The key families of a record.

    Args:
        root: main nickname root of a given name.
        searching: whether keys that only a search adds are wanted (day and month swapped, names swapped, year +-1).
    """
    p = person
    roots, lasts = _roots(p, root), _sounds(p)
    out: list[Family] = []
    if p.ssn:
        out.append(((f"s|{p.ssn}",), tuple(f"s|{p.ssn}|{r}" for r in roots)))
        if p.ssn[0] != "#":
            out.extend(((f"5|{p.ssn[:-4]}|{x}",),) for x in dict.fromkeys((*roots, *lasts)))
    if p.ssn4:
        fine = [f"4|{p.ssn4}|{p.year}"] if p.year else []
        out.append(((f"4|{p.ssn4}",), (*fine, *(f"4|{p.ssn4}|{x}" for x in lasts))))
    if p.health:
        out.append(((f"h|{p.health}",), tuple(f"h|{p.health}|{r}" for r in roots)))
    if p.phone:
        tail = p.phone[-7:]
        out.append(((f"p|{tail}",), (*(f"p|{tail}|{r}" for r in roots), *((f"p|{tail}|{p.year}",) if p.year else ()))))
    out.extend(((f"i|{number}",),) for number in sorted(p.numbers))
    if p.dob:
        out.append(_dob_family(p.dob, roots, lasts))
        if searching and p.month != p.day and p.month <= "12" and p.day <= "12":
            out.append(_dob_family(p.year + p.day + p.month, roots, lasts))
    out.extend(_name_families(p, roots, lasts, root, searching))
    out.extend(_date_part_families(p, roots, lasts))
    if p.address:
        out.append(
            ((f"a|{p.address}",), (*(f"a|{p.address}|{r}" for r in roots), *(f"a|{p.address}|{x}" for x in lasts)))
        )
    if p.postal:
        out.extend(((f"z|{p.postal}|{x}",), tuple(f"z|{p.postal}|{x}|{r}" for r in roots)) for x in lasts)
        finer = (p.year,) if p.year else ()
        out.extend(((f"z|{p.postal}|g{r}",), tuple(f"z|{p.postal}|g{r}|{y}" for y in finer)) for r in roots)
    return out


def _dob_family(dob: str, roots: Sequence[str], lasts: Sequence[str]) -> Family:
    return ((f"d|{dob}",), (*(f"d|{dob}|{r}" for r in roots), *(f"d|{dob}|{x}" for x in lasts)))


def _name_families(
    p: Traits, roots: Sequence[str], lasts: Sequence[str], root: Callable[[str], str], searching: bool
) -> list[Family]:
    years = [p.year] if p.year else []
    if searching and p.year:
        years += [str(int(p.year) - 1), str(int(p.year) + 1)]
    pairs = [(r, x) for r in roots for x in lasts]
    if searching and p.given and p.last and p.last[:1] != "#":  # names swapped
        swapped = sound(root(p.last))
        pairs.append((swapped, p.given_sound))
    out: list[Family] = []
    for r, x in dict.fromkeys(pairs):
        fine = [f"n|{r}|{x}|{y}" for y in years]
        if p.month:
            fine.append(f"n|{r}|{x}|m{p.month}{p.day}")
        out.append(((f"n|{r}|{x}",), tuple(fine)))
    if len(p.given) > 2 and len(p.last) > 2 and p.given[0] != "#" != p.last[0]:
        start = f"g|{p.given[:3]}|{p.last[:3]}"
        out.append(((start,), tuple(f"{start}|{y}" for y in years[:1])))
    return out


def _date_part_families(p: Traits, roots: Sequence[str], lasts: Sequence[str]) -> list[Family]:
    """Two of the three parts of a birth date with the sound of one name: a wrong part and a wrong name are survived."""
    parts = []
    if p.month:
        parts.append(f"ym{p.year}{p.month}")
        if p.day:
            parts += [f"md{p.month}{p.day}", f"yd{p.year}{p.day}"]
    out: list[Family] = [
        ((f"{part}|{'g' if of_given else 'l'}{name}",),)
        for part in parts
        for of_given, names in ((True, roots), (False, lasts))
        for name in names
    ]
    if p.year and p.last:
        initial = p.given[:1]
        out.append(((f"yl|{p.year}|{p.last}",), (f"yl|{p.year}|{p.last}|{initial}",)))
    return out


def index_keys(person: Traits, root: Callable[[str], str]) -> tuple[int, ...]:
    """Every key under which a record is found, hashed, without doubles."""
    found = families(person, root, searching=False)
    return tuple(set(key_hashes([key for family in found for stage in family for key in stage])))


def search_keys(person: Traits, root: Callable[[str], str]) -> frozenset[int]:
    """Every key that a search for the record may use, of all stages, hashed."""
    found = families(person, root, searching=True)
    return frozenset(key_hashes([key for family in found for stage in family for key in stage]))


@dataclass(frozen=True, slots=True)
class Found:
    """Candidates of one search; ``unbounded`` counts keys whose block no stage could bound."""

    ids: tuple[int, ...]
    unbounded: int


Lookup: TypeAlias = Callable[[Sequence[str], int], Sequence[Sequence[int]]]


def limits_of(searched: Iterable[Family]) -> dict[str, int]:
    """Every key that a search may come to, with the records of it that the search would take: for an index that is far,
    where a key asked for in vain costs less than asking twice."""
    limits: dict[str, int] = {}
    for family in searched:
        limit = BLOCK_LIMIT
        for keys in family:
            for key in keys:
                limits[key] = max(limit, limits.get(key, 0))
            limit = LAST_STAGE_LIMIT
    return limits


def unbounded_of(searched: Iterable[Family], crowded: AbstractSet[str]) -> int:
    """:attr:`Found.unbounded` where all keys of :func:`limits_of` were asked for at once and ``crowded`` ones were too
    large: the records of the others together are the candidates, for who has a finer key has the coarser one too."""
    if not crowded:
        return 0
    apart = crowded.isdisjoint
    return sum(not any(apart(keys) for keys in family[1:] if keys) for family in searched if not apart(family[0]))


def candidates(person: Traits, root: Callable[[str], str], lookup: Lookup) -> Found:
    """Search an index.

    Args:
        lookup: for each key (its text, which an index hashes) at most ``limit + 1`` records that have it (one more says
            "too large"); more are as good.
    """
    waiting: list[Sequence[Stage]] = list(families(person, root, searching=True))
    found: set[int] = set()
    unbounded = 0
    stage = 0
    while waiting:
        limit = BLOCK_LIMIT if stage == 0 else LAST_STAGE_LIMIT
        flat = list(dict.fromkeys([key for family in waiting for key in family[stage]]))
        blocks = dict(zip(flat, lookup(flat, limit), strict=True))
        later: list[Sequence[Stage]] = []
        for family in waiting:
            large = False
            for key in family[stage]:
                block = blocks[key]
                if not block:
                    continue
                if len(block) > limit or len(found) + len(block) > CANDIDATE_LIMIT:
                    large = True
                else:
                    found.update(block)
            if large:
                if len(family) > stage + 1 and family[stage + 1]:
                    later.append(family)
                else:
                    unbounded += 1
        waiting, stage = later, stage + 1
    return Found(tuple(sorted(found)), unbounded)


class MemoryIndex:
    """Blocking keys of records in memory, by the number that each has in its file."""

    def __init__(self, people: Iterable[Traits], root: Callable[[str], str]) -> None:
        self._root = root
        self._blocks: dict[int, int | list[int]] = {}  # one record is kept as a bare number: most keys have one
        for number, person in enumerate(people):
            self.add(number, person)

    def add(self, number: int, person: Traits) -> None:
        """Put one record under all its keys."""
        blocks = self._blocks
        for key in index_keys(person, self._root):
            held = blocks.get(key)
            if held is None:
                blocks[key] = number
            elif isinstance(held, int):
                blocks[key] = [held, number]
            else:
                held.append(number)

    def lookup(self, keys: Sequence[str], limit: int) -> list[Sequence[int]]:
        """The blocks of the keys; a block over ``limit`` comes with ``limit + 1`` records."""
        out: list[Sequence[int]] = []
        for key in key_hashes(keys):
            held = self._blocks.get(key)
            if held is None:
                out.append(())
            elif isinstance(held, int):
                out.append((held,))
            else:
                out.append(held if len(held) <= limit else held[: limit + 1])
        return out

    def candidates(self, person: Traits) -> Found:
        """Records that share a bounded key with ``person``."""
        return candidates(person, self._root, self.lookup)
