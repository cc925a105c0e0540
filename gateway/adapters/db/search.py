"""Finding resources by criteria: small key sets are intersected first, everything else is probed for what remains.

The cost follows the smallest set, not the size of the store: each criterion's keys are read up to a bound; sets that
end before it are intersected here, and the database probes the remaining criteria for the keys that are left. Where no
set is small, the search walks one index in the order of the answer and stops when the page is full: that of a criterion
where keys order it, that of the first sort key where one is asked for. So neither planner has a choice to get wrong.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from gateway.adapters.db.engine import Row, Session
from gateway.adapters.db.search_order import OWN, Walk, behind, in_sql, sort_expression, walkable_sort
from gateway.adapters.db.search_sql import Compiler, Within, Words, inexact, of_row, ranges
from gateway.adapters.db.search_visible import visible_keys, visible_part
from gateway.codecs.json_text import parse
from gateway.exchange.ports.resources import Candidate, Place, Stored
from gateway.exchange.search import (
    AnyOf,
    Chain,
    Criterion,
    DateValue,
    Has,
    LinkValue,
    Match,
    Missing,
    Shown,
    Sort,
    TokenValue,
    own_id,
)
from gateway.exchange.search_match import holds, in_order, last_value, sort_value
from gateway.kernel.fhir import Resource, reference_of
from gateway.profiles.search_values import links

_SMALL: Final = 1_000  # keys that cost nothing to carry around
_CARRIED: Final = 5_000  # keys that are still cheaper to carry than to look for, when no index can be walked
_WALKED: Final = 2_000  # values of a sort key that are walked for a page; is it not full by then, a set is sorted
_CHUNK: Final = 500
_TRIED: Final = 200  # given keys that are looked at together, at first

COLUMNS: Final = "r.type, r.id, r.version, r.updated_us, r.method, r.body, r.source, r.facets, r.owner"
WIDTH: Final = COLUMNS.count(",") + 1


def stored_of(row: Row) -> Stored:
    """A row of :data:`COLUMNS`."""
    type_, id_, version, updated_us, method, body, source, facets, owner = row[:WIDTH]
    return Stored(type_, id_, version, updated_us, method, bytes(body), source, bytes(facets), owner)


@dataclass(slots=True)
class _Plan:
    """How one search runs."""

    words: Words
    conditions: list[str]  # on the alias ``row``
    confirm: bool
    impossible: bool = False  # some small set leaves nothing
    source: str = "resource r"
    row: str = "r"  # or x0: keys of live resources of the type, which need not be touched
    keyed: bool = False  # its keys are given: no range of keys is to be walked instead
    given: list[int] | None = None  # the keys, in order, where they are the source

    def source_in(self, words: Words, keys: Sequence[int] | None = None) -> str:
        """The source, with ``keys`` or else with all that are given."""
        if self.given is None:
            return self.source
        of = words.every(self.given if keys is None else keys, "bigint")
        return f"(SELECT k.value AS key FROM {of} k) x0"


class DbSearch:
    """Searches inside one snapshot or transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def candidates(
        self, type_: str, criteria: Sequence[Criterion], sorts: Sequence[Sort], after: Place | None, limit: int,
        shown: Shown | None = None,
    ) -> list[Candidate]:  # fmt: skip
        """At most ``limit`` matches in order from behind ``after``, without what ``shown`` leaves out."""
        self._session.settle()
        if not all(in_sql(sort) for sort in sorts):
            return self._sorted_here(type_, criteria, sorts, after, limit, shown)
        keys = None if shown is None else visible_keys(self._session, shown, type_, _CARRIED)
        walk = walkable_sort(type_, sorts) if keys is None else None
        plan = self._shown_plan(type_, criteria, sorts, shown, keys, walk)
        found: list[Candidate] = []
        while not plan.impossible and len(found) < limit:
            wanted = max(limit - len(found), _CHUNK) if plan.confirm else limit
            rows = None
            if walk is not None and not plan.keyed:
                rows = self._walked(walk, criteria, sorts, after, wanted, shown)
                if rows is None:
                    walk = None
                    plan = self._shown_plan(type_, criteria, sorts, shown, keys, walk)
                    if plan.impossible:
                        break
            if rows is None:
                rows = self._rows(plan, type_, sorts, after, wanted)
            for row in rows:
                stored, place = stored_of(row), tuple(row[WIDTH:])
                after = place
                if plan.confirm and not self._confirmed(criteria, stored):
                    continue
                found.append(Candidate(stored, place))
                if len(found) == limit:
                    break
            if len(rows) < wanted:
                break
        return found

    def count(self, type_: str, criteria: Sequence[Criterion], limit: int | None) -> int:
        """How many live resources fulfil the criteria; counting stops at ``limit``."""
        self._session.settle()
        plan = self._plan(type_, criteria, (), bare=True, stream=True, bounds=(_SMALL, _CARRIED))
        if plan.impossible:
            return 0
        if plan.confirm:
            return sum(1 for _ in islice(self._all(type_, criteria), limit))
        if plan.given is not None and not plan.conditions:
            return len(plan.given) if limit is None else min(limit, len(plan.given))
        # by the index that has all that is asked: PostgreSQL would read the table from its beginning, or sort a type
        ordered = " ORDER BY r.updated_us" if plan.row == "r" else ""
        found = 0
        for keys in _parts(plan.given, limit):
            words = Words(plan.words.dialect, dict(plan.words.values))
            inner = f"SELECT 1 FROM {plan.source_in(words, keys)} WHERE {' AND '.join(plan.conditions) or '1 = 1'}"
            if limit is not None:
                inner += f"{ordered} LIMIT {words.bind(limit - found)}"
            text = f"SELECT count(*) FROM ({inner}) q"
            found += int(self._session.connection.execute(text, words.values).fetchone()[0])
            if found == limit:
                break
        return found

    # -- planning ------------------------------------------------------------------------------------------------------

    def _shown_plan(
        self, type_: str, criteria: Sequence[Criterion], sorts: Sequence[Sort], shown: Shown | None,
        keys: set[int] | None, walk: Walk | None,
    ) -> _Plan:  # fmt: skip
        """How the search runs, without what ``shown`` leaves out; ``keys`` are all that are visible, if so few are."""
        bounds = (_SMALL, _CARRIED) if walk is None else (_SMALL,)
        plan = self._plan(type_, criteria, sorts, bare=shown is None, stream=keys is None, bounds=bounds)
        if keys is not None:  # little can be visible: that is what the search walks
            plan.impossible = plan.impossible or not keys
            plan.conditions.append(_among(plan.words, sorted(keys)))
            plan.keyed = True
        if shown is not None and not plan.impossible:
            plan.conditions.append(visible_part(plan.words, shown, type_, plan.row))
        return plan

    def _plan(
        self, type_: str, criteria: Sequence[Criterion], sorts: Sequence[Sort], *, bare: bool, stream: bool,
        bounds: Sequence[int],
    ) -> _Plan:  # fmt: skip
        """How the search runs.

        Args:
            bare: nothing but the criteria and ``sorts`` looks at the rows.
            stream: no other keys are given, so that a set may be walked.
            bounds: of the sets that are small.
        """
        words = Words(self._session.dialect)
        compiler = Compiler(words, self._session)
        confirm = any(map(inexact, criteria))
        keys, settled = self._small_sets(type_, criteria, bounds, alone=stream and not sorts)
        if keys is not None and not keys:
            return _Plan(words, [], False, impossible=True)
        walked, driver = None, None
        by_key = all(sort.parameter.code not in OWN for sort in sorts) and not any(map(of_row, criteria))
        if stream and keys is None and by_key:
            found = ((index, compiler.walkable(criterion)) for index, criterion in enumerate(criteria))
            walked, driver = next((one for one in found if one[1] is not None), (None, None))
        plan = _Plan(words, [], confirm, keyed=keys is not None)
        if driver is not None:  # index rows belong to live resources of the type: the resources need not be touched
            plan.source, plan.row = f"({driver.keys()}) x0", "x0"
        elif keys is not None and by_key and bare:
            plan.given, plan.row = sorted(keys), "x0"
        else:
            plan.conditions = [f"r.type = {words.bind(type_)}", "r.method <> 'DELETE'"]
            if keys is not None:
                plan.conditions.append(_among(words, sorted(keys)))
        for index, criterion in enumerate(criteria):
            if index != walked and index not in settled:
                plan.conditions.append(compiler.probe(criterion, type_, plan.row))
        return plan

    def _small_sets(
        self, type_: str, criteria: Sequence[Criterion], bounds: Sequence[int], *, alone: bool
    ) -> tuple[set[int] | None, set[int]]:
        """The intersection of the small key sets (None: there is none), and which criteria it settles.

        Which is smallest is found out by reading a few rows of each, then more: a planner's statistics may be missing
        or old, and what a value matches differs from value to value.
        """
        if any(isinstance(one, Match) and one.parameter.code == "_id" and not one.modifier for one in criteria):
            return None, set()  # the ids drive
        worth = self._worth_reading(criteria)
        if alone and len(criteria) == 1 and self._walkable(criteria[0]):
            return None, set()  # nothing to intersect with: walk it
        for places, criterion in worth if len(worth) > 1 else ():  # one that is tiny saves reading those that are not
            found = self._set(type_, criterion, _FEW)
            if found is not None:
                return found, set(places)
        walked = alone and any(of_row(one) or self._walkable(one) for one in criteria)
        for bound in bounds:
            if bound != bounds[0] and walked:
                break
            keys: set[int] | None = None
            settled: set[int] = set()
            for places, criterion in worth:
                # a range is read in one go: walking something else would look at many that lie outside
                found = self._set(type_, criterion, bounds[-1] if isinstance(criterion, Within) else bound)
                if found is not None:
                    keys = found if keys is None else keys & found
                    settled.update(places)
                    if len(keys) <= _FEW:
                        return keys, settled
            if keys is not None:
                return keys, settled
        return None, set()

    def _worth_reading(self, criteria: Sequence[Criterion]) -> list[tuple[tuple[int, ...], Criterion | Within]]:
        """Criteria that may have small sets, with their places; the ends of a range are one, where they may be."""
        compiler = Compiler(Words(self._session.dialect), self._session)
        joined = {places: one for places, one in ranges(criteria).items() if compiler.one_each(one.parameter)}
        inside = {place for places in joined for place in places}
        single = [((place,), one) for place, one in enumerate(criteria) if place not in inside]
        worth: list[tuple[tuple[int, ...], Criterion | Within]] = [*single, *joined.items()]
        return sorted((one for one in worth if _rank(one[1]) < _NEVER_SMALL), key=lambda one: _rank(one[1]))

    def _walkable(self, criterion: Criterion) -> bool:
        return Compiler(Words(self._session.dialect), self._session).walkable(criterion) is not None

    def _set(self, type_: str, criterion: Criterion | Within, bound: int) -> set[int] | None:
        """As :meth:`_keys`, deleted ones too where it is about times; remembered, for the count asks the same again."""
        parts = criterion.matches if isinstance(criterion, Within) else (criterion,)
        known = self._session.memo.get(key := ("set", type_, bound, *map(id, parts)))
        if known is None:
            found = self._keys(type_, criterion, bound, live=False)
            known = self._session.memo[key] = found, parts  # held for their ids
        keys: set[int] | None = known[0]
        return keys

    def _keys(self, type_: str, criterion: Criterion | Within, bound: int, *, live: bool = True) -> set[int] | None:
        """The keys that fulfil the criterion; None when there are more than ``bound``, here or on the way."""
        words = Words(self._session.dialect)
        compiler = Compiler(words, self._session)
        if isinstance(criterion, (Chain, Has)):
            other = criterion.target if isinstance(criterion, Chain) else criterion.parameter.type
            narrowed, pointed = criterion.parameter.narrowed, other if isinstance(criterion, Chain) else type_
            if narrowed and pointed not in narrowed:
                return set()
            inner = self._keys(other, criterion.inner, bound)
            if not inner:
                return inner
            text = self._joined_keys(compiler, type_, criterion, sorted(inner))
        else:
            text = compiler.keys(criterion, type_, live=live)
        text += f" LIMIT {words.bind(bound + 1)}"
        rows = self._session.connection.execute(text, words.values).fetchall()
        return {row[0] for row in rows} if len(rows) <= bound else None

    def _joined_keys(self, compiler: Compiler, type_: str, criterion: Chain | Has, inner: Sequence[int]) -> str:
        words, sources = compiler.words, compiler.sources(criterion.parameter, "x.p")
        if isinstance(criterion, Chain):
            return f"SELECT x.key FROM search_link x WHERE {sources} AND {_among(words, inner, 'x.target')}"
        return (  # what is referred to may be gone; from the sources, never from all targets
            f"SELECT r.key FROM search_link x {words.join} resource r ON r.type = {words.bind(type_)}"
            f" AND r.key = x.target WHERE {sources} AND {_among(words, inner, 'x.key')} AND r.method <> 'DELETE'"
        )

    # -- reading -------------------------------------------------------------------------------------------------------

    def _rows(self, plan: _Plan, type_: str, sorts: Sequence[Sort], after: Place | None, limit: int) -> list[Row]:
        if plan.given is None or sorts:
            return self._part(plan, type_, sorts, after, limit, None)
        start = 0 if after is None else bisect_right(plan.given, int(after[-1]))
        rows: list[Row] = []
        for some in _parts(plan.given[start:], limit):  # in their order: a page ends early
            rows += self._part(plan, type_, sorts, None, limit - len(rows), some)
            if len(rows) == limit:
                break
        return rows

    def _part(
        self, plan: _Plan, type_: str, sorts: Sequence[Sort], after: Place | None, limit: int, keys: list[int] | None
    ) -> list[Row]:
        words = Words(plan.words.dialect, dict(plan.words.values))
        key = f"{plan.row}.key"
        sort_columns = [f"{sort_expression(words, sort, plan.row)} AS s{index}" for index, sort in enumerate(sorts)]
        inner = f"SELECT {', '.join([*sort_columns, f'{key} AS key'])} FROM {plan.source_in(words, keys)}"
        conditions = list(plan.conditions)
        if after is not None and not sorts:
            conditions.append(f"{'+' if plan.keyed else ''}{key} > {words.bind(after[-1])}")
        if after is not None and sorts:
            inner = f"SELECT * FROM ({inner} WHERE {' AND '.join(conditions) or '1 = 1'}) q"
            conditions = [behind(words, sorts, after)]
        return self._page(words, type_, sorts, f"{inner} WHERE {' AND '.join(conditions) or '1 = 1'}", limit)

    def _page(self, words: Words, type_: str, sorts: Sequence[Sort], inner: str, limit: int) -> list[Row]:
        """The resources of the first few keys that ``inner`` gives, with their sort values s0, s1, …"""
        order = [f"s{index}{' DESC' if sort.descending else ''}" for index, sort in enumerate(sorts)]
        inner += f" ORDER BY {', '.join([*order, 'key'])} LIMIT {words.bind(limit)}"
        outer = ", ".join([COLUMNS, *(f"q.s{index}" for index in range(len(sorts))), "q.key"])
        final = ", ".join([*(f"q.{one}" for one in order), "q.key"])
        text = (  # q outside, whatever the planner thinks
            f"SELECT {outer} FROM ({inner}) q {words.join} resource r ON r.type = {words.bind(type_)} AND r.key = q.key"
            f" ORDER BY {final}"
        )
        rows: list[Row] = self._session.connection.execute(text, words.values).fetchall()
        return rows

    def _walked(
        self, walk: Walk, criteria: Sequence[Criterion], sorts: Sequence[Sort], after: Place | None, limit: int,
        shown: Shown | None,
    ) -> list[Row] | None:  # fmt: skip
        """A full page by walking the values of the first sort key in their order; None: it is not full soon.

        Only what has a value is walked, and no more than some thousand values: where matches lie at the other end, a
        set of them is read and sorted for less.
        """
        if after is not None and after[0] == last_value(sorts[0]):
            return None
        for most in (max(_WALKED // 4, limit * 2), max(_WALKED, limit * 4)):
            words = Words(self._session.dialect)
            compiler = Compiler(words, self._session)
            inside = [] if after is None else [walk.from_(words.bind(after[0]))]
            inside += self._inside(walk, compiler, criteria, sorts[0])
            edge = self._session.connection.execute(walk.edge(words, inside, most), words.values).fetchone()
            inside += [] if edge is None else [walk.to(words.bind(edge[0]))]
            rows = self._window(walk, compiler, inside, criteria, sorts, after, limit, shown)
            if len(rows) == limit:
                return rows
            if edge is None:
                break
        return None

    def _window(
        self, walk: Walk, compiler: Compiler, inside: Sequence[str], criteria: Sequence[Criterion],
        sorts: Sequence[Sort], after: Place | None, limit: int, shown: Shown | None,
    ) -> list[Row]:  # fmt: skip
        """What is found of a page where ``inside`` holds of the values that are walked."""
        words, type_, row = compiler.words, walk.type, walk.row
        conditions = [walk.best(words), *inside]
        for criterion in criteria:
            if of_row(criterion) and row != "r":
                of_type = f"r.type = {words.bind(type_)} AND r.key = {row}.key"
                probe = compiler.probe(criterion, type_, "r")
                conditions.append(f"EXISTS (SELECT 1 FROM resource r WHERE {of_type} AND {probe}{words.apart})")
            else:
                conditions.append(compiler.probe(criterion, type_, row))
        if shown is not None:
            conditions.append(visible_part(words, shown, type_, row))
        columns = [f"{row}.{walk.column} AS s0"]
        columns += [f"{sort_expression(words, sort, row)} AS s{index}" for index, sort in enumerate(sorts) if index]
        of = f"{walk.table} {row} WHERE {' AND '.join(conditions)}"
        inner = f"SELECT {', '.join([*columns, f'{row}.key AS key'])} FROM {of}"
        if after is not None:
            inner = f"SELECT * FROM ({inner}) q WHERE {behind(words, sorts, after)}"
        return self._page(words, type_, sorts, inner, limit)

    def _inside(self, walk: Walk, compiler: Compiler, criteria: Sequence[Criterion], sort: Sort) -> list[str]:
        """What the criteria about the date that is sorted by say of the values that are walked."""
        same = [one for one in criteria if isinstance(one, Match) and one.parameter.name == sort.parameter.name]
        same = [one for one in same if not one.modifier and len(one.values) == 1]
        if sort.parameter.kind != "date" or not same or not compiler.one_each(sort.parameter):
            return []
        if walk.source is None:
            return [compiler.probe(one, walk.type, walk.row) for one in same]
        return compiler.begins(sort.parameter, [one.values[0] for one in same], f"{walk.row}.low")

    def _all(self, type_: str, criteria: Sequence[Criterion], shown: Shown | None = None) -> Iterator[Candidate]:
        after: Place | None = None
        while True:
            batch = self.candidates(type_, criteria, (), after, _CHUNK, shown)
            yield from batch
            if len(batch) < _CHUNK:
                return
            after = batch[-1].place

    def _confirmed(self, criteria: Sequence[Criterion], stored: Stored) -> bool:
        resource = parse(stored.body)
        return all(holds(criterion, resource, self._joined) for criterion in criteria)

    def _joined(self, criterion: Chain | Has, resource: Resource) -> bool:
        """A chain or ``_has`` of one resource, by a search of its own."""
        if isinstance(criterion, Has):
            own = Match(criterion.parameter, "", (LinkValue((reference_of(resource),)),))
            return bool(self.candidates(criterion.parameter.type, (own, criterion.inner), (), None, 1))
        targets = {link.target.partition("/") for link in links(criterion.parameter, resource)}
        ids = tuple(TokenValue(None, id_) for type_, _, id_ in sorted(targets) if type_ == criterion.target)
        target = Match(own_id(criterion.target), "", ids)
        return bool(ids) and bool(self.candidates(criterion.target, (target, criterion.inner), (), None, 1))

    def _sorted_here(
        self, type_: str, criteria: Sequence[Criterion], sorts: Sequence[Sort], after: Place | None, limit: int,
        shown: Shown | None = None,
    ) -> list[Candidate]:  # fmt: skip
        """For sort keys that are kept only as hashes (tokens, references): read every match and sort."""
        places: list[tuple[Place, int]] = []
        for one in self._all(type_, criteria, shown):
            resource = parse(one.stored.body)
            values = (sort_value(sort, resource, one.stored.updated_us) for sort in sorts)
            places.append(((*values, *one.place), int(one.place[-1])))
        page = in_order(places, sorts, after)[:limit]
        words = Words(self._session.dialect)
        text = f"SELECT {COLUMNS}, r.key FROM resource r WHERE r.type = {words.bind(type_)}"
        text += f" AND {_among(words, [key for _, key in page])}"
        rows = {row[WIDTH]: row for row in self._session.connection.execute(text, words.values)} if page else {}
        return [Candidate(stored_of(rows[key]), place) for place, key in page]


_FEW: Final = 50
_DAY_US: Final = 86_400_000_000
_NEVER_SMALL: Final = 9


def _rank(criterion: Criterion | Within) -> int:
    """Which criteria are tried first: those that tend to be selective and are cheap to read."""
    match criterion:
        case Within():
            return 3
        case AnyOf(criteria):
            return max(_rank(one) for one in criteria)
        case Match(_, "not", _):
            return _NEVER_SMALL
        case Match(_, "", (DateValue(prefix="eq", low=low, high=high),)) if high - low <= _DAY_US:
            return 0  # a birth date: what else is said of the person is then looked into
        case Match(parameter, modifier, _):
            if parameter.kind == "composite" or modifier == "contains":
                return _NEVER_SMALL
            return {"reference": 0, "token": 1, "string": 2, "uri": 2}.get(parameter.kind, 3)
        case Chain(_, _, inner) | Has(_, inner):
            return 5 if _rank(inner) < _NEVER_SMALL else _NEVER_SMALL
        case Missing():
            return _NEVER_SMALL


def _parts(keys: list[int] | None, limit: int | None) -> Iterator[list[int] | None]:
    """The keys in growing parts, so that a few matches are found without looking at all; no keys: one part."""
    if keys is None or limit is None:
        yield keys
        return
    start, size = 0, max(limit, _TRIED)
    while start < len(keys):
        yield keys[start : start + size]
        start, size = start + size, size * 4


def _among(words: Words, keys: Sequence[int], column: str = "r.key") -> str:
    if words.dialect == "sqlite":
        return f"{column} IN (SELECT value FROM json_each({words.bind('[' + ','.join(map(str, keys)) + ']')}))"
    return f"{column} = ANY({words.bind(list(keys))})"
