"""Ids that a message does not carry: UUIDv5 of assigning authority, type and value, so that a thing keeps its id.

``identities.csv`` says, in order, which parts make the id of a resource type; the first row whose parts are all there
wins. Parts: ``identifier`` (the first with a value), ``identifier:MR,PI`` (the first of these types, in this order; an
untyped one counts as the first), a path (``subject``, ``code``, ``period.start``), ``scope`` (the sending application
and facility), ``message`` (its control id), ``index`` (running number of this type in the message), ``=text``. A ``?``
at the end makes a part optional.
"""

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from functools import lru_cache
from typing import Any, Final, TypeAlias
from urllib.parse import quote

import orjson

from gateway.codecs.json_text import Exact
from gateway.kernel.fhir import JsonObject
from gateway.kernel.identifiers import resource_id
from gateway.mapping.hl7v2.model import Identity, Tables
from gateway.mapping.hl7v2.plan import SHARED as SHARED
from gateway.mapping.hl7v2.runtime import merge
from gateway.mapping.hl7v2.update import drop_choices
from gateway.mapping.hl7v2.values import SID

_NOTHING: Final[Mapping[str, JsonObject]] = {}
_EMPTY: Final[tuple[Any, ...]] = ([], {})
_cached_id = lru_cache(16384)(resource_id)


def _plain(value: Any) -> Any:
    return value.text if isinstance(value, Exact) else str(value)


def key_text(value: Any) -> str:
    """A part of an id as text: strings as they are, elements as canonical JSON."""
    if isinstance(value, str):
        return value
    return orjson.dumps(value, default=_plain, option=orjson.OPT_SORT_KEYS).decode()


@lru_cache(512)
def scope_system(sender: str) -> str:
    """The identifier system of numbers that came without an assigning authority: unique in their sender."""
    return f"{SID}/sender/{quote(sender, safe='')}"


Rule: TypeAlias = "Callable[[JsonObject, Resolver], str | None]"  # the id; None when no row has all its parts


class Identities:
    """The rules of identities.csv as generated functions, one for each type; shared by all messages."""

    def __init__(self, tables: Tables) -> None:
        space: dict[str, Any] = {"text": text_at, "along": _along, "named": identifier_key}
        source = "\n".join(_source(kind, rows) for kind, rows in tables.identities.items())
        exec(compile(source, "<identities of the HL7 v2 bridge>", "exec"), space)  # noqa: S102  our own table
        self.rules: dict[str, Rule] = {kind: space[f"id_{kind}"] for kind in tables.identities}
        self._order = {name: index for index, name in enumerate(tables.order)}

    def ranked(self, resources: Iterable[JsonObject]) -> list[JsonObject]:
        """Dependencies first; those of one type in their order."""
        order, last = self._order, len(self._order)
        several = list(resources)
        if len(several) < 2:
            return several
        ranks = [order.get(r["resourceType"], last) for r in several]
        return [several[i] for i in sorted(range(len(ranks)), key=ranks.__getitem__)]


def _source(kind: str, rows: Iterable[Identity]) -> str:
    """A function ``(r, s)`` of resource and resolver: row after row, part after part, the first complete row wins."""
    lines = [f"def id_{kind}(r, s):"]
    make = "s.known" if kind in SHARED else "s.uid"
    for row in rows:
        depth, texts = 1, [repr(row.resource)]
        if len(row.parts) == 1 and row.parts[0].startswith("identifier"):
            texts = []
        for index, spelled in enumerate(row.parts):
            value, several = _value(spelled.rstrip("?"))
            if value.startswith(("s.sender", "'")):
                texts.append(value)
                continue
            lines.append(f"{'    ' * depth}a{index} = {value}")
            if spelled.endswith("?"):
                texts.append(f"*(a{index} or ('',))" if several else f"('' if a{index} is None else a{index})")
                continue
            lines.append(f"{'    ' * depth}if a{index} is not None:")
            depth += 1
            texts.append(f"*a{index}" if several else f"a{index}")
        lines.append(f"{'    ' * depth}return {make}({', '.join(texts)})")
    return "\n".join([*lines, "    return None\n"])


def _value(name: str) -> tuple[str, bool]:
    """Python for one part of a rule (None when the resource has none), and whether it is several texts."""
    if name == "scope":
        return "s.sender", False
    if name == "message":
        return "s.sender, s.message", True
    if name == "index":
        return "s.count(r['resourceType'])", False
    if name.startswith("="):
        return repr(name[1:]), False
    if name.startswith("identifier"):
        return f"named(r.get('identifier'), {_ranks(name[11:])!r})", True
    steps = name.split(".")
    return (f"text(r.get({name!r}))" if len(steps) == 1 else f"along(r, {tuple(steps)!r})"), False


def _along(node: Any, steps: tuple[str, ...]) -> str | None:
    for step in steps:
        node = node.get(step) if isinstance(node, dict) else None
        if isinstance(node, list) and node:
            node = node[0]
    return text_at(node)


def text_at(node: Any) -> str | None:
    """An element as a part of an id; None when it is absent or empty."""
    if node.__class__ is str:
        return node or None
    if node is None:
        return None
    if isinstance(node, dict) and "reference" in node:
        found: str = node["reference"]
        return found
    return None if node in _EMPTY else key_text(node)


class Resolver:
    """Gives ids, joins doubles, and fills the references of one message."""

    __slots__ = ("_counts", "_identities", "known", "message", "sender", "uid")

    def __init__(self, identities: Identities, sender: str, control_id: str) -> None:
        self._identities = identities
        self.sender = sender
        self.message = control_id
        self._counts: dict[str, int] = {}
        self.uid: Callable[..., str] = resource_id
        self.known: Callable[..., str] = _cached_id  # of what comes again and again

    def count(self, kind: str) -> str:
        """The running number of a type in the message."""
        self._counts[kind] = number = self._counts.get(kind, 0) + 1
        return str(number)

    def resolve(
        self,
        made: Iterable[JsonObject],
        refs: Iterable[tuple[JsonObject, JsonObject]],
        known: Mapping[str, JsonObject] = _NOTHING,
    ) -> list[JsonObject]:
        """Every resource once, with id; dependencies first in the order of identities.csv.

        Args:
            made: resources that rows made, in order.
            refs: Reference elements and the resources that they lead to; those may be new.
            known: resources with ids already, by reference; they are not changed.
        """
        waiting: dict[int, list[JsonObject]] = {}
        every: dict[int, JsonObject] = {id(r): r for r in made}
        for element, resource in refs:
            key = id(resource)
            elements = waiting.get(key)
            if elements is None:
                waiting[key] = [element]
                if key not in every:
                    every[key] = resource
            else:
                elements.append(element)
        ranked = self._identities.ranked(every.values())
        for resource in ranked:
            if "partOf" in resource:
                ranked = self._parents_first(ranked, waiting)
                break
        out: dict[str, JsonObject] = dict(known)
        for resource in ranked:
            if "identifier" in resource and (held := resource["identifier"]).__class__ is list:
                self._scope(held)
            identity = resource["id"] if "id" in resource else self.id_of(resource)
            reference = f"{resource['resourceType']}/{identity}"
            if (key := id(resource)) in waiting:
                for element in waiting[key]:
                    element["reference"] = reference
            there = out.get(reference)
            if there is None:
                resource["id"] = identity
                out[reference] = resource
            elif there is not resource:
                if reference in known:
                    out[reference] = there = deepcopy(there)
                resource["id"] = identity  # effects may speak of either
                drop_choices(there, resource)
                merge(there, resource)
                _not_on_itself(there, reference)
        return list(out.values())

    def _parents_first(self, ranked: list[JsonObject], waiting: Mapping[int, list[JsonObject]]) -> list[JsonObject]:
        """A Location after the one it is part of, since its id hangs on it."""
        owner = {id(element): key for key, elements in waiting.items() for element in elements}
        by_id = {id(r): r for r in ranked}
        out: list[JsonObject] = []
        done: set[int] = set()

        def add(resource: JsonObject) -> None:
            if id(resource) in done:
                return
            done.add(id(resource))
            above = resource.get("partOf")
            if isinstance(above, dict) and id(above) in owner:
                add(by_id[owner[id(above)]])
            out.append(resource)

        for resource in ranked:
            add(resource)
        return out

    def _scope(self, identifiers: list[JsonObject]) -> None:
        """A number without an assigning authority is unique in its sender."""
        for identifier in identifiers:
            if "system" not in identifier and "value" in identifier:
                identifier["system"] = scope_system(self.sender)

    def id_of(self, resource: JsonObject) -> str:
        """The id that the rules give.

        A type without rules, or none that fits, is known by its content and the message.
        """
        kind: str = resource["resourceType"]
        rule = self._identities.rules.get(kind)
        found = rule(resource, self) if rule is not None else None
        return found or self.uid(kind, self.sender, self.message, key_text(resource))


def _not_on_itself(resource: JsonObject, reference: str) -> None:
    """A request that two segments tell of (RF1 and OBR under one number) is one request, not one based on itself."""
    for name in ("basedOn", "partOf", "replaces"):
        if resource.get(name).__class__ is list:
            rest = [one for one in resource[name] if one.get("reference") != reference]
            if rest:
                resource[name] = rest
            else:
                del resource[name]


def identifier_key(held: Any, wanted: Mapping[str, int]) -> tuple[str, ...] | None:
    """(assigning authority, type, value) of the identifier that names a thing.

    Args:
        held: the element ``identifier``: a list, one Identifier, or None.
        wanted: types to their rank; an identifier without type counts as the first; none takes any.
    """
    best: tuple[str, ...] | None = None
    least = len(wanted) or 1
    for identifier in held if held.__class__ is list else (held,) if held else ():
        value = identifier.get("value")
        if not value:
            continue
        coded = identifier["type"].get("coding") if "type" in identifier else None
        if not wanted:
            return (identifier.get("system", ""), (coded[0].get("code") if coded else "") or "", value)
        if not coded:
            rank, kind = 0, next(iter(wanted))
        else:
            rank, kind = least, ""
            for entry in coded:
                code = entry.get("code")
                if code in wanted:
                    rank, kind = wanted[code], code
                    break
        if rank < least:
            least, best = rank, (identifier.get("system", ""), kind, value)
            if not rank:
                break
    return best


def _ranks(types: str) -> dict[str, int]:
    return {kind: rank for rank, kind in enumerate(dict.fromkeys(types.split(",")))} if types else {}
