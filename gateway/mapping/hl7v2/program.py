"""A message structure ready to run: for each segment place what is done there."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeAlias

from gateway.kernel.fhir import JsonObject
from gateway.mapping.hl7v2.conditions import Condition
from gateway.mapping.hl7v2.generate import condition_function
from gateway.mapping.hl7v2.grammar import Grammar, Place
from gateway.mapping.hl7v2.model import Link, MessageRow, Tables
from gateway.mapping.hl7v2.plan import walk
from gateway.mapping.hl7v2.runtime import Fields, Run, Scope

OWN: Final = "$"
FIELDS: Final = 1000  # field numbers that rows can speak of; what stands beyond is always left over
Stop: TypeAlias = tuple[int, int, int]  # place, open groups that stay open, groups that it opens


class Connection:
    """One reference between resources, made after its row ran."""

    __slots__ = ("_deep", "_leaf", "_name", "_path", "_simple", "_spelled", "_target", "link", "owner")

    def __init__(self, owner: str, link: Link) -> None:
        self.owner = owner
        self.link = link
        *self._path, self._leaf = link.steps
        self._deep = bool(self._path)
        self._spelled = ".".join(step.name for step in link.steps)
        self._name, self._target = self._leaf.name, "" if link.target == OWN else link.target
        self._simple = not (self._deep or self._leaf.repeats)

    def connect(self, resource: JsonObject, before: Mapping[str, int], scope: Scope, run: Run) -> bool:
        """Make the Reference element; False when one of the two resources is not there (yet)."""
        element: JsonObject
        host = found(self.owner, scope) if self.owner else resource
        target = found(self._target, scope) if self._target else resource
        if host is None or target is None:
            return False
        if self._simple:
            host[self._name] = element = {}
            run.refs.append((element, target))
            return True
        leaf = self._leaf
        if leaf.repeats:
            known = (id(host), self._spelled, id(target))
            if known in run.linked:
                return True
            run.linked.add(known)
        element = {}
        run.refs.append((element, target))
        if self._deep:
            owner, host = host, self._host(host, resource, before)
            if owner is resource and self._path[0].repeats and not leaf.repeats:
                for item in owner[self._path[0].name][before.get(self._path[0].name, 0) :]:  # one a repetition
                    if item is not host and leaf.name not in item and len(self._path) == 1:
                        other: JsonObject = {}
                        item[leaf.name] = other
                        run.refs.append((other, target))
        if leaf.repeats:
            host.setdefault(leaf.name, []).append(element)
        else:
            host[leaf.name] = element
        return True

    def _host(self, host: JsonObject, resource: JsonObject, before: Mapping[str, int]) -> JsonObject:
        """The backbone element that the reference stands in; a new item unless this row made one."""
        for step in self._path:
            if step.repeats:
                held = host.setdefault(step.name, [])
                if (
                    not held
                    or step.instance == 0
                    or (host is resource and len(held) == before.get(step.name, len(held)))
                ):
                    held.append({})
                host = held[-1]
            else:
                host = host.setdefault(step.name, {})
        return host


def found(key: str, scope: Scope) -> JsonObject | None:
    """The resource of that name: of this group, of one inside it, or of the groups around."""
    here: Scope | None = scope
    while here is not None:
        made = here.own.get(key) or here.seen.get(key)
        if made is not None:
            return made
        here = here.parent
    return None


@dataclass(frozen=True, slots=True, eq=False)
class Action:
    """What one message row does."""

    place: str  # file:line
    number: int  # unique in the program, for caches
    condition: Callable[..., bool] | None
    key: str  # Patient[1]; a name without number makes a new resource each time
    shared: bool
    type: str
    climb: int  # groups between this place and the group that owns the resource
    map: str
    function: Callable[..., Any]
    links: tuple[Connection, ...]
    lists: tuple[str, ...]  # repeating elements that links may add to


class Acts:
    """What is done at one place of a structure."""

    __slots__ = ("_handles", "_silent", "_unhandled", "actions", "conditional", "segment")

    def __init__(
        self,
        segment: str,
        actions: tuple[Action, ...],
        silent: tuple[Callable[..., bool] | None, ...],
        handles: Callable[[tuple[Action, ...], str], tuple[int, ...]],
    ) -> None:
        self.segment = segment
        self.actions = actions
        self.conditional = any(action.condition is not None for action in actions)
        self._silent = silent
        self._handles = handles
        self._unhandled: dict[tuple[Action, ...], tuple[int, ...]] = {}

    def silenced(self, fields: Fields, run: Run) -> bool:
        """Whether a row says that this segment is deliberately not mapped."""
        return any(rule is None or rule(fields, len(fields), run.R, run) for rule in self._silent)

    def unhandled(self, ran: tuple[Action, ...]) -> tuple[int, ...]:
        """Field numbers, rising, that neither these actions nor a rule deals with: where residue can be."""
        known = self._unhandled.get(ran)
        if known is None:
            known = self._unhandled[ran] = self._handles(ran, self.segment)
        return known


class Program:
    """The grammar of a structure and the actions of its places."""

    _ROUTES: Final = 4096  # sequences of segments that are remembered at a time

    def __init__(
        self,
        tables: Tables,
        structure: str,
        functions: Mapping[str, Callable[..., Any]],
        fields: Mapping[str, frozenset[int]],
    ) -> None:
        """``fields``: for each segment map the field numbers that it deals with."""
        message = tables.messages[structure]
        self.grammar = Grammar(message)
        self._ignored = tables.ignored
        self._fields = fields
        self._routes: dict[tuple[str, ...], tuple[Stop | None, ...]] = {}
        owners: dict[str, int] = {}
        for place in self.grammar.places:
            for row in place.rows:
                if row.resource:
                    owners.setdefault(row.resource, len(row.groups))
        self.acts = tuple(
            Acts(
                place.segment,
                tuple(self._action(place, row, owners, functions) for row in place.rows if row.resource),
                tuple(_compiled(row.condition, row.segment) for row in place.rows if row.note and not row.map),
                self._handles,
            )
            for place in self.grammar.places
        )

    def _action(
        self, place: Place, row: MessageRow, owners: Mapping[str, int], functions: Mapping[str, Callable[..., Any]]
    ) -> Action:
        shared = row.resource.endswith("]")
        links = tuple(Connection(link.owner, link) for link in row.links)
        return Action(
            row.place, place.index, _compiled(row.condition, row.segment), row.resource, shared,
            row.resource.split("[")[0], max(0, len(place.groups) - owners[row.resource]) if shared else 0,
            row.map, functions[row.map], links,
            tuple(dict.fromkeys(c.link.steps[0].name for c in links if c.link.steps[0].repeats)),
        )  # fmt: skip

    def route(self, names: tuple[str, ...]) -> "tuple[Stop | None, ...]":
        """For each segment of a message its place, how many open groups stay open, and how many it opens.

        Messages of one feed have few shapes, so the walk over the structure is done once for each of them. None: the
        structure has no such segment there.
        """
        known = self._routes.get(names)
        if known is None:
            if len(self._routes) >= self._ROUTES:
                self._routes.clear()
            known = self._routes[names] = tuple(self._walk(names))
        return known

    def _walk(self, names: Iterable[str]) -> "Iterator[Stop | None]":
        at = -1
        seen: set[int] = set()
        for name in names:
            move = self.grammar.move(at, name) or self.grammar.late(name, seen)
            if move is None:
                yield None
            else:
                at = move.place.index
                seen.add(at)
                yield at, move.keep, len(move.place.groups) - move.keep

    def _handles(self, ran: tuple[Action, ...], segment: str) -> tuple[int, ...]:
        if segment in self._ignored:
            return ()
        dealt = frozenset({0}).union(*(self._fields[action.map] for action in ran))
        return tuple(n for n in range(FIELDS) if n not in dealt and f"{segment}-{n}" not in self._ignored)


@cache
def _compiled(condition: Condition | None, segment: str) -> Callable[..., bool] | None:
    return None if condition is None else condition_function(condition, segment)


class Deletions:
    """Which elements of a resource a deleted field clears."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._known: dict[tuple[str, int], tuple[str, ...]] = {}

    def of(self, map_name: str, number: int) -> tuple[str, ...]:
        """Paths such as ``birthDate``, ``telecom[use=home]``, ``extension[url=http://…]``.

        The filter is what tells the entries of this field from those of other fields: the constants of its rows.
        """
        key = (map_name, number)
        if key not in self._known:
            self._known[key] = tuple(dict.fromkeys(self._paths(map_name, number)))
        return self._known[key]

    def _paths(self, map_name: str, number: int) -> list[str]:
        rows = [row for row in self._tables.segments[map_name].rows if row.source.field == number]
        out = []
        for row in rows:
            if row.constant or not (row.target or row.extension) or row.special:
                continue
            if row.extension:
                host = ".".join(f"_{s.name}" if s.primitive else s.name for s in row.steps)
                out.append(f"{host}{'.' if host else ''}extension[url={row.extension.split('#')[0]}]")
                continue
            names, path = [], list(walk(row.steps))
            for index, (step, label) in enumerate(path):
                names.append(step.name)
                if step.repeats:
                    names[-1] += self._filter(rows, label, index)
                    break
                if step.refers:
                    break
            out.append(".".join(names))
        return out

    @staticmethod
    def _filter(rows: list[Any], label: str, index: int) -> str:
        for row in rows:
            path = list(walk(row.steps))
            if row.constant and len(path) > index + 1 and path[index][1] == label and row.assignment:
                inner = ".".join(step.name for step, _ in path[index + 1 :])
                if not inner.endswith(("system", "display", "text")):
                    return f"[{inner}={row.assignment[0][1]}]"
        return ""
