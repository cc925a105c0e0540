"""Running a search for somebody: matches, chain targets, ``_has`` sources, includes and totals, all visible ones only.

For the door::

    query = parse_query("Task", pairs, definitions, strict=True, base="https://gateway.example/fhir")
    page = search(reading.resources, query, gate, cursor=cursor)     # or unit.resources, inside a write
    released = gate.release((*page.matches, *page.included))         # judged again before it leaves
    next_link = f"{base}/Task?{urlencode([*query.used, ('_count', query.count), (CURSOR, page.next_cursor)])}"

A page starts behind the last match of the page before, so it neither doubles nor skips what did not change meanwhile.
The cursor holds the place of a match that the asker saw, and nothing else.
"""

import base64
import binascii
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cmp_to_key
from hashlib import sha256
from heapq import merge
from itertools import chain, islice
from typing import Final

import orjson

from gateway.codecs.json_text import parse
from gateway.exchange.ports.resources import Candidate, Place, ResourceReader, Stored
from gateway.exchange.ports.visibility import Narrowing, Redacting, Visibility
from gateway.exchange.search import (
    AnyOf,
    Chain,
    Criterion,
    Has,
    Include,
    LinkValue,
    Match,
    Missing,
    Query,
    Shown,
    TokenValue,
    joins,
    own_id,
)
from gateway.exchange.search_match import holds, in_order, sort_value
from gateway.kernel.errors import Invalid
from gateway.kernel.fhir import Resource, reference_of
from gateway.profiles.search_parameters import heads_of
from gateway.profiles.search_values import links

CURSOR: Final = "_cursor"  # name of the query parameter that carries a page's cursor
TOTAL_LIMIT: Final = 200  # without _total=accurate, visible matches are counted up to here
INCLUDED_LIMIT: Final = 1_000  # resources that one page may bring along
_BATCH: Final = 200


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a searchset.

    ``total`` counts the visible matches of the whole search, None when there are too many to count unasked or none was
    wanted. ``next_cursor`` is empty on the last page.
    """

    matches: tuple[Stored, ...] = field(repr=False)
    included: tuple[Stored, ...] = field(repr=False)
    total: int | None
    next_cursor: str


def search(resources: ResourceReader, query: Query, visibility: Visibility | None, *, cursor: str = "") -> Page:
    """One page of the matches that ``visibility`` shows (None: all, for internal use).

    Raises:
        Invalid: the cursor is none, or belongs to another search.
    """
    run = _Run(resources, visibility)
    after = _read_cursor(cursor, query)
    wanted = 0 if query.summary == "count" else query.count
    found: list[Candidate] = []
    more = False
    if wanted:
        for candidate in run.matches(query, after, wanted + 1):
            if len(found) == wanted:
                more = True
                break
            found.append(candidate)
    last = found[-1].place if found and after is None else None
    total = run.total(query, wanted, len(found), first=after is None, more=more, last=last)
    matches = tuple(one.stored for one in found)
    next_cursor = _write_cursor(query, found[-1].place) if more else ""
    return Page(matches, run.included(query, matches), total, next_cursor)


def search_all(
    resources: ResourceReader, queries: Sequence[Query], visibility: Visibility | None, *, cursor: str = ""
) -> Page:
    """One page of the matches of several types: the same search, a query for each type (R4 "search-system").

    The order is that of the sort keys, then by type, then by key; without sort keys one type follows the other.

    Raises:
        Invalid: the cursor is none, or belongs to another search.
    """
    run = _Run(resources, visibility)
    ordered = sorted(queries, key=lambda query: query.type)
    first = ordered[0]
    digest = sha256(repr([query.digest for query in ordered]).encode()).hexdigest()[:16]
    place = _read_place(cursor, digest, len(first.sort) + 2)
    wanted = 0 if first.summary == "count" else first.count
    found = list(islice(run.everywhere(ordered, place, wanted + 1), wanted + 1)) if wanted else []
    more = len(found) > wanted
    found = found[:wanted]
    total: int | None = len(found)
    if place is not None or more or not wanted:
        exact = first.total in {"accurate", "estimate"} or not wanted
        counted = run.everywhere(ordered, None, _BATCH) if exact or first.total != "none" else iter(())
        total = sum(1 for _ in (counted if exact else islice(counted, TOTAL_LIMIT + 1)))
        total = None if first.total == "none" or (not exact and total > TOTAL_LIMIT) else total
    matches = tuple(one.stored for one in found)
    last = (*found[-1].place[:-1], found[-1].stored.type, found[-1].place[-1]) if found else ()
    return Page(matches, run.included(first, matches), total, _sealed(digest, last) if more else "")


def exists(resources: ResourceReader, query: Query, visibility: Visibility | None) -> bool:
    """Whether there is any visible match."""
    return next(_Run(resources, visibility).matches(query, None, 1), None) is not None


def _read_cursor(cursor: str, query: Query) -> Place | None:
    return _read_place(cursor, query.digest, len(query.sort) + 1)


def _read_place(cursor: str, wanted: str, size: int) -> Place | None:
    if not cursor:
        return None
    try:
        digest, *place = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, orjson.JSONDecodeError, ValueError, TypeError):
        raise Invalid("not a cursor of this server", at=CURSOR, fix="follow the next link as it is") from None
    fits = len(place) == size and all(
        isinstance(value, (str, int, float)) and not isinstance(value, bool) for value in place
    )
    if digest != wanted or not fits or not isinstance(place[-1], int):
        raise Invalid("the cursor belongs to another search", at=CURSOR, fix="follow the next link as it is")
    return tuple(place)


def _write_cursor(query: Query, place: Place) -> str:
    return _sealed(query.digest, place)


def _sealed(digest: str, place: Place) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([digest, *place])).rstrip(b"=").decode()


class _Run:
    """One search with what it has found out on the way."""

    def __init__(self, resources: ResourceReader, visibility: Visibility | None) -> None:
        self._resources = resources
        self._visibility = visibility
        self._cuts: dict[str, frozenset[str]] = {}

    def everywhere(self, queries: Sequence[Query], after: Place | None, wanted: int) -> Iterator[Candidate]:
        """Visible matches of several queries in one order, from behind ``after`` (sort values, type, key)."""
        streams = [self.matches(query, _within(query.type, after), wanted) for query in queries]
        if not queries[0].sort:
            begun = [
                one for query, one in zip(queries, streams, strict=True) if not after or query.type >= str(after[-2])
            ]
            return chain.from_iterable(begun)
        ways = [sort.descending for sort in queries[0].sort]

        def compared(one: Candidate, other: Candidate) -> int:
            mine, theirs = (*one.place[:-1], one.stored.type), (*other.place[:-1], other.stored.type)
            for index, (a, b) in enumerate(zip(mine, theirs, strict=True)):
                if a != b:
                    less = a < b  # type: ignore[operator]
                    return -1 if less is not (index < len(ways) and ways[index]) else 1
            return 0

        return merge(*streams, key=cmp_to_key(compared))

    def matches(self, query: Query, after: Place | None, wanted: int) -> Iterator[Candidate]:
        """Visible matches in order, from behind ``after``; ``wanted`` sizes the reads."""
        cut = self._cut(query.type)
        if any(heads_of(sort.parameter) & cut for sort in query.sort):
            yield from self._sorted_as_seen(query, after)
            return
        criteria = tuple(one for one in query.criteria if not self._misleads(one, query.type))
        strict = len(criteria) < len(query.criteria) or any(self._touches(one, query.type) for one in criteria)
        limit = min(max(wanted, 10), _BATCH)
        shown: Shown | None = None
        while True:
            batch = self._resources.candidates(query.type, criteria, query.sort, after=after, limit=limit, shown=shown)
            seen = self._visible(batch, shown)
            narrowed = shown
            if len(seen) * 2 < len(batch) == limit:  # little was visible: let the store leave out what cannot be
                narrowed = self._narrowed(batch)
                if shown is None and narrowed is not None:
                    seen = self._agreed(query.type, seen, narrowed)
            shown = narrowed
            yield from self._fulfilling(seen, query.criteria, strict=strict)
            if len(batch) < limit:
                return
            after = batch[-1].place
            limit = min(limit * 2, _BATCH * 4)  # little was visible: look further at a time

    def _visible(self, batch: Sequence[Candidate], shown: Shown | None) -> Sequence[Candidate]:
        """The candidates that the asker may see; what the store took for visible and the gate does not is an alarm."""
        if self._visibility is None or not batch:
            return batch
        judged = self._visibility.visible([one.stored for one in batch])
        seen = [one for one, visible in zip(batch, judged, strict=True) if visible is True]
        if shown is not None and isinstance(self._visibility, Narrowing) and len(seen) < len(batch):
            for one, visible in zip(batch, judged, strict=True):
                if visible is not True and self._visibility.contradicts(one.stored, shown):
                    self._visibility.alarm(one.stored)
        return seen

    def _narrowed(self, batch: Sequence[Candidate]) -> Shown | None:
        """The residual for the store, with the kinds of resources that were met so far."""
        if not isinstance(self._visibility, Narrowing):
            return None
        return self._visibility.narrow([one.stored for one in batch])

    def _agreed(self, type_: str, seen: Sequence[Candidate], shown: Shown) -> Sequence[Candidate]:
        """Those of the first batch that the store shows too: one that only the gate shows is an alarm and not shown."""
        if not seen or not isinstance(self._visibility, Narrowing):
            return seen
        own = Match(own_id(type_), "", tuple(TokenValue(None, one.stored.id) for one in seen))
        there = self._resources.candidates(type_, (own,), limit=len(seen), shown=shown)
        known = {one.stored.reference for one in there}
        for one in seen:
            if one.stored.reference not in known:
                self._visibility.alarm(one.stored)
        return [one for one in seen if one.stored.reference in known]

    def _fulfilling(
        self, seen: Sequence[Candidate], criteria: Sequence[Criterion], *, strict: bool
    ) -> Iterable[Candidate]:
        """Of the visible ones those that fulfil the criteria as the asker sees them.

        ``strict``: an element that may be taken out decides about a match, so the text that the asker gets is judged.
        """
        if self._visibility is None or not seen or (not strict and not joins(criteria)):
            return seen
        parsed = self._as_seen(seen)
        kept = set(parsed)
        for criterion in criteria:
            if strict or joins((criterion,)):
                kept = self._fulfil(criterion, {name: parsed[name] for name in parsed if name in kept})
        return [one for one in seen if one.stored.reference in kept]

    # -- what is taken out ---------------------------------------------------------------------------------------------

    def _cut(self, type_: str) -> frozenset[str]:
        """Elements of the type in which something may be hidden from the asker."""
        found = self._cuts.get(type_)
        if found is None:
            found = self._visibility.cut(type_) if isinstance(self._visibility, Redacting) else frozenset()
            self._cuts[type_] = found
        return found

    def _as_seen(self, seen: Sequence[Candidate]) -> dict[str, Resource]:
        """The resources as the asker gets them, by reference."""
        bodies = {one.stored.reference: one.stored.body for one in seen}
        touched = [one.stored for one in seen if self._cut(one.stored.type)]
        if touched and isinstance(self._visibility, Redacting):
            released = {stored.reference: stored.body for stored in self._visibility.release(touched).resources}
            bodies.update((stored.reference, released.get(stored.reference, b"{}")) for stored in touched)
        return {reference: parse(body) for reference, body in bodies.items()}

    def _touches(self, criterion: Criterion, type_: str) -> bool:
        """Whether an element that may be taken out decides about it, here; joins are judged on their own."""
        match criterion:
            case AnyOf(criteria):
                return any(self._touches(one, type_) for one in criteria)
            case Match(parameter) | Missing(parameter) | Chain(parameter):
                return bool(heads_of(parameter) & self._cut(type_))
        return False

    def _misleads(self, criterion: Criterion, type_: str) -> bool:
        """Whether the store, which sees everything, may leave out what fulfils it for the asker (``:not``, …)."""
        match criterion:
            case AnyOf(criteria):
                return any(self._misleads(one, type_) for one in criteria)
            case Chain(_, target, inner):
                return self._misleads(inner, target)
            case Has(parameter, inner):
                return self._misleads(inner, parameter.type)
            case Missing(_, missing):
                return missing and self._touches(criterion, type_)
        absent = criterion.modifier == "not" or "[present]" in criterion.parameter.path
        return absent and self._touches(criterion, type_)

    def _sorted_as_seen(self, query: Query, after: Place | None) -> Iterator[Candidate]:
        """Sorted by what the asker sees, where the store sorts by what is there: read every match, then sort."""
        found = list(self.matches(replace(query, sort=()), None, _BATCH))
        parsed = self._as_seen(found)
        places = []
        for one in found:
            resource = parsed[one.stored.reference]
            values = (sort_value(sort, resource, one.stored.updated_us) for sort in query.sort)
            places.append(((*values, *one.place), one.stored))
        for place, stored in in_order(places, query.sort, after):
            yield Candidate(stored, place)

    # -- chains and _has -----------------------------------------------------------------------------------------------

    def _fulfil(self, criterion: Criterion, candidates: dict[str, Resource]) -> set[str]:
        """References of the candidates that fulfil the criterion in the visible part."""
        if not candidates:
            return set()
        match criterion:
            case AnyOf(criteria):
                return set().union(*(self._fulfil(one, candidates) for one in criteria))
            case Chain():
                return self._chained(criterion, candidates)
            case Has():
                return self._referred(criterion, candidates)
        return {name for name, resource in candidates.items() if holds(criterion, resource, _never)}

    def _chained(self, chain: Chain, candidates: dict[str, Resource]) -> set[str]:
        targets = {
            name: {link.target for link in links(chain.parameter, resource) if _is_of(link.target, chain.target)}
            for name, resource in candidates.items()
        }
        ids = sorted({target.partition("/")[2] for found in targets.values() for target in found})
        own = Match(own_id(chain.target), "", tuple(TokenValue(None, one) for one in ids))
        query = Query(chain.target, (own, chain.inner))
        shown = {one.stored.reference for one in self.matches(query, None, len(ids))} if ids else set()
        return {name for name, found in targets.items() if found & shown}

    def _referred(self, has: Has, candidates: dict[str, Resource]) -> set[str]:
        pointing = Match(has.parameter, "", (LinkValue(tuple(sorted(candidates))),))
        query = Query(has.parameter.type, (pointing, has.inner))
        good: set[str] = set()
        for one in self.matches(query, None, _BATCH):
            source = self._as_seen([one])[one.stored.reference]
            good |= {link.target for link in links(has.parameter, source)} & set(candidates)
            if len(good) == len(candidates):
                break
        return good

    # -- totals --------------------------------------------------------------------------------------------------------

    def total(
        self, query: Query, wanted: int, found: int, *, first: bool, more: bool, last: Place | None
    ) -> int | None:
        """The number of visible matches, when it is wanted or costs little; on a first page counting goes on there."""
        if query.total == "none" and wanted:
            return None
        if first and not more and wanted:
            return found
        exact = query.total in {"accurate", "estimate"} or not wanted
        if self._visibility is None:
            counted = self._resources.count(query.type, query.criteria, limit=None if exact else TOTAL_LIMIT + 1)
            return counted if exact or counted <= TOTAL_LIMIT else None
        counted = found if first else 0
        for _ in self.matches(query, last, _BATCH):
            counted += 1
            if counted > TOTAL_LIMIT and not exact:
                return None
        return counted

    # -- includes ------------------------------------------------------------------------------------------------------

    def included(self, query: Query, matches: tuple[Stored, ...]) -> tuple[Stored, ...]:
        """What ``_include`` and ``_revinclude`` bring along, each once, in the order of its discovery."""
        if not query.includes or not matches:
            return ()
        known = {stored.reference for stored in matches}
        found: list[Stored] = []
        layer, rules = matches, query.includes
        while layer and rules and len(found) < INCLUDED_LIMIT:
            fresh = [stored for rule in rules for stored in self._brought(rule, layer)]
            layer = tuple({stored.reference: stored for stored in fresh if stored.reference not in known}.values())
            known |= {stored.reference for stored in layer}
            found += layer
            rules = tuple(rule for rule in query.includes if rule.iterate)
        return tuple(found[:INCLUDED_LIMIT])

    def _brought(self, rule: Include, layer: Sequence[Stored]) -> list[Stored]:
        if rule.reverse:
            return self._pointing(rule, layer)
        targets = [
            link.target
            for stored in layer
            if stored.type == rule.type
            for resource in (parse(stored.body),)
            for parameter in rule.parameters
            for link in links(parameter, resource)
            if not rule.target or _is_of(link.target, rule.target)
        ]
        reached = self._resources.many(dict.fromkeys(targets))
        return self._shown([reached[target] for target in dict.fromkeys(targets) if target in reached])

    def _pointing(self, rule: Include, layer: Sequence[Stored]) -> list[Stored]:
        names = tuple(stored.reference for stored in layer if not rule.target or stored.type == rule.target)
        found: list[Stored] = []
        for parameter in rule.parameters if names else ():
            query = Query(rule.type, (Match(parameter, "", (LinkValue(names),)),))
            for one in self.matches(query, None, _BATCH):
                found.append(one.stored)
                if len(found) >= INCLUDED_LIMIT:
                    return found
        return found

    def _shown(self, batch: list[Stored]) -> list[Stored]:
        if self._visibility is None or not batch:
            return batch
        shown = self._visibility.visible(batch)
        return [one for one, visible in zip(batch, shown, strict=True) if visible is True]


def _within(type_: str, after: Place | None) -> Place | None:
    """Where the matches of one type go on behind a place in the order of all types."""
    if after is None or (len(after) == 2 and type_ > str(after[0])):
        return None
    *values, other, key = after
    return (*values, key if type_ == other else _FIRST if type_ > str(other) else _LAST)


_FIRST: Final = -1  # keys are 63 bits, from 0
_LAST: Final = (1 << 63) - 1


def _never(criterion: Chain | Has, resource: Resource) -> bool:
    raise AssertionError(f"{type(criterion).__name__} of {reference_of(resource)} is decided elsewhere")


def _is_of(target: str, type_: str) -> bool:
    return target.startswith(f"{type_}/")
