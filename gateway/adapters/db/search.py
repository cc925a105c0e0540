"""Finding resources by criteria: small key sets are intersected first, everything else is probed for what remains.

The cost follows the smallest set, not the size of the store: each criterion's keys are read up to a bound; sets that
end before it are intersected here, and the database probes the remaining criteria for the keys that are left. Where no
set is small, the search walks one index in the order of the answer and stops when the page is full: that of a criterion
where keys order it, that of the first sort key where one is asked for. So neither planner has a choice to get wrong.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from gateway.adapters.db.engine import Row, Session
from gateway.adapters.db.search_order import OWN, Walk, behind, in_sql, sort_expression, walkable_sort
from gateway.adapters.db.search_sql import Compiler, Words, by_time, inexact, of_row
from gateway.adapters.db.search_visible import visible_keys, visible_part
from gateway.codecs.json_text import parse
from gateway.exchange.ports.resources import Candidate, Place, Stored
from gateway.exchange.search import (
    AnyOf,
    Chain,
    Criterion,
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
        walk = walkable_sort(sorts) if keys is None else None
        plan = self._shown_plan(type_, criteria, sorts, shown, keys, walk)
        found: list[Candidate] = []
        while not plan.impossible and len(found) < limit:
            wanted = max(limit - len(found), _CHUNK) if plan.confirm else limit
            rows = None
            if walk is not None and not plan.keyed:
                rows = self._walked(walk, type_, criteria, sorts, after, wanted, shown)
                if rows is None:
                    walk = None
                    plan = self._shown_plan(type_, criteria, sorts, shown, keys, walk)
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
        inner = f"SELECT 1 FROM {plan.source} WHERE {' AND '.join(plan.conditions) or '1 = 1'}"
        if limit is not None:
            if plan.row == "r":
                # by an index: PostgreSQL would read the table from its beginning
                inner += f" ORDER BY {'r.updated_us' if any(map(by_time, criteria)) else 'r.key'}"
            inner += f" LIMIT {plan.words.bind(limit)}"
        text = f"SELECT count(*) FROM ({inner}) q"
        return int(self._session.connection.execute(text, plan.words.values).fetchone()[0])

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
            plan.source, plan.row = f"(SELECT k.value AS key FROM {words.every(sorted(keys), 'bigint')} k) x0", "x0"
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

        What was found is remembered as long as nothing changes: the count of a page asks for the same.
        """
        memo, key = self._session.memo, ("small sets", type_, *map(id, criteria), *bounds, alone)
        known = memo.get(key)
        if known is None:
            known = memo[key] = self._looked_for(type_, criteria, bounds, alone=alone), tuple(criteria)  # for their ids
        found: tuple[set[int] | None, set[int]] = known[0]
        return found

    def _looked_for(
        self, type_: str, criteria: Sequence[Criterion], bounds: Sequence[int], *, alone: bool
    ) -> tuple[set[int] | None, set[int]]:
        """Small sets.

        Which is smallest is found out by reading a few rows of each, then more: a planner's statistics may be missing
        or old, and what a value matches differs from value to value.
        """
        if any(isinstance(one, Match) and one.parameter.code == "_id" and not one.modifier for one in criteria):
            return None, set()  # the ids drive
        ranked = sorted(enumerate(criteria), key=lambda one: _rank(one[1]))
        worth = [(index, one) for index, one in ranked if _rank(one) < _NEVER_SMALL]
        if alone and len(criteria) == 1 and self._walkable(criteria[0]):
            return None, set()  # nothing to intersect with: walk it
        for index, criterion in worth if len(worth) > 1 else ():  # one that is tiny saves reading those that are not
            found = self._keys(type_, criterion, _FEW)
            if found is not None:
                return found, {index}
        for bound in bounds:
            keys: set[int] | None = None
            settled: set[int] = set()
            for index, criterion in worth:
                found = self._keys(type_, criterion, bound)
                if found is not None:
                    keys = found if keys is None else keys & found
                    settled.add(index)
                    if len(keys) <= _FEW:
                        return keys, settled
            if keys is not None or (alone and any(of_row(one) or self._walkable(one) for _, one in worth)):
                return keys, settled
        return None, set()

    def _walkable(self, criterion: Criterion) -> bool:
        return Compiler(Words(self._session.dialect), self._session).walkable(criterion) is not None

    def _keys(self, type_: str, criterion: Criterion, bound: int) -> set[int] | None:
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
            text = compiler.keys(criterion, type_)
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
        words = Words(plan.words.dialect, dict(plan.words.values))
        key = f"{plan.row}.key"
        sort_columns = [f"{sort_expression(words, sort, plan.row)} AS s{index}" for index, sort in enumerate(sorts)]
        inner = f"SELECT {', '.join([*sort_columns, f'{key} AS key'])} FROM {plan.source}"
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
        self, walk: Walk, type_: str, criteria: Sequence[Criterion], sorts: Sequence[Sort], after: Place | None,
        limit: int, shown: Shown | None,
    ) -> list[Row] | None:  # fmt: skip
        """A full page by walking the values of the first sort key in their order; None: it is not full soon.

        Only what has a value is walked, and no more than some thousand values: where matches lie at the other end, a
        set of them is read and sorted for less.
        """
        words = Words(self._session.dialect)
        if after is not None and after[0] == last_value(sorts[0]):
            return None
        begin = "" if after is None else f" AND {walk.from_(words.bind(after[0]))}"
        edge = self._session.connection.execute(*walk.edge(words, begin, _WALKED)).fetchone()
        words = Words(self._session.dialect)
        compiler = Compiler(words, self._session)
        conditions = [walk.best(words)]
        if after is not None:
            conditions.append(walk.from_(words.bind(after[0])))
        if edge is not None:
            conditions.append(walk.to(words.bind(edge[0])))
        for criterion in criteria:
            if of_row(criterion):
                of_type = f"r.type = {words.bind(type_)} AND r.key = x0.key"
                probe = compiler.probe(criterion, type_, "r")
                conditions.append(f"EXISTS (SELECT 1 FROM resource r WHERE {of_type} AND {probe}{words.apart})")
            else:
                conditions.append(compiler.probe(criterion, type_, "x0"))
        if shown is not None:
            conditions.append(visible_part(words, shown, type_, "x0"))
        columns = [f"x0.{walk.column} AS s0"]
        columns += [f"{sort_expression(words, sort, 'x0')} AS s{index}" for index, sort in enumerate(sorts) if index]
        inner = f"SELECT {', '.join([*columns, 'x0.key AS key'])} FROM {walk.table} x0 WHERE {' AND '.join(conditions)}"
        if after is not None:
            inner = f"SELECT * FROM ({inner}) q WHERE {behind(words, sorts, after)}"
        rows = self._page(words, type_, sorts, inner, limit)
        return rows if len(rows) == limit else None

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
_NEVER_SMALL: Final = 9


def _rank(criterion: Criterion) -> int:
    """Which criteria are tried first: those that tend to be selective and are cheap to read."""
    match criterion:
        case AnyOf(criteria):
            return max(_rank(one) for one in criteria)
        case Match(_, "not", _):
            return _NEVER_SMALL
        case Match(parameter, modifier, _):
            if parameter.kind == "composite" or modifier == "contains":
                return _NEVER_SMALL
            return {"reference": 0, "token": 1, "string": 2, "uri": 2}.get(parameter.kind, 3)
        case Chain(_, _, inner) | Has(_, inner):
            return 5 if _rank(inner) < _NEVER_SMALL else _NEVER_SMALL
        case Missing():
            return _NEVER_SMALL


def _among(words: Words, keys: Sequence[int], column: str = "r.key") -> str:
    if words.dialect == "sqlite":
        return f"{column} IN (SELECT value FROM json_each({words.bind('[' + ','.join(map(str, keys)) + ']')}))"
    return f"{column} = ANY({words.bind(list(keys))})"
