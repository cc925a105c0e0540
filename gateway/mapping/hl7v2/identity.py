"""Ids that a message does not carry: UUIDv5 of assigning authority, type and value, so that a thing keeps its id.

``identities.csv`` says, in order, which parts make the id of a resource type; the first row whose parts are all there
wins. Parts: ``identifier`` (the first with a value), ``identifier:MR,PI`` (the first of these types, in this order; an
untyped one counts as the first), a path (``subject``, ``code``, ``period.start``), ``scope`` (the sending application
and facility), ``message`` (its control id), ``index`` (running number of this type in the message), ``=text``. A ``?``
at the end makes a part optional.
"""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

import orjson

from gateway.codecs.json_text import Exact
from gateway.kernel.fhir import JsonObject
from gateway.kernel.identifiers import resource_id
from gateway.mapping.hl7v2.model import Identity, Tables
from gateway.mapping.hl7v2.plan import SHARED as SHARED
from gateway.mapping.hl7v2.runtime import merge
from gateway.mapping.hl7v2.values import SID

_NOTHING: Final[Mapping[str, JsonObject]] = {}
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


class Resolver:
    """Gives ids, joins doubles, and fills the references of one message."""

    def __init__(self, tables: Tables, sender: str, control_id: str) -> None:
        self._rules = tables.identities
        self._order = {name: index for index, name in enumerate(tables.order)}
        self._sender = sender
        self._message = control_id
        self._counts: dict[str, int] = {}

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
            waiting.setdefault(id(resource), []).append(element)
            every.setdefault(id(resource), resource)
        last = len(self._order)
        ranked = sorted(every.values(), key=lambda r: self._order.get(r["resourceType"], last))
        out: dict[str, JsonObject] = dict(known)
        for resource in self._parents_first(ranked, waiting):
            kind = resource["resourceType"]
            self._scoped(resource)
            identity = resource.get("id") or self.id_of(resource)
            reference = f"{kind}/{identity}"
            for element in waiting.get(id(resource), ()):
                element["reference"] = reference
            held = out.get(reference)
            if held is None:
                resource["id"] = identity
                out[reference] = resource
            elif held is not resource:
                if reference in known:
                    out[reference] = held = deepcopy(held)
                merge(held, resource)
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
            if "partOf" in resource:
                add(resource)
            elif id(resource) not in done:
                done.add(id(resource))
                out.append(resource)
        return out

    def _scoped(self, resource: JsonObject) -> None:
        held = resource.get("identifier")
        for identifier in held if isinstance(held, list) else ():
            if "system" not in identifier and "value" in identifier:
                identifier["system"] = scope_system(self._sender)

    def id_of(self, resource: JsonObject) -> str:
        """The id that the rules give.

        A type without rules, or none that fits, is known by its content and the message.
        """
        kind: str = resource["resourceType"]
        for rule in self._rules.get(kind, ()):
            parts = self._parts(rule, resource)
            if parts is not None:
                return _cached_id(*parts) if kind in SHARED else resource_id(*parts)
        return resource_id(kind, self._sender, self._message, key_text(resource))

    def _parts(self, rule: Identity, resource: JsonObject) -> tuple[str, ...] | None:
        parts: list[str] = []
        alone = len(rule.parts) == 1 and rule.parts[0].startswith("identifier")
        for spelled in rule.parts:
            name = spelled.rstrip("?")
            found = self._part(name, resource)
            if found is None:
                if not spelled.endswith("?"):
                    return None
                found = ("",)
            parts += found
        return tuple(parts) if alone else (rule.resource, *parts)

    def _part(self, name: str, resource: JsonObject) -> tuple[str, ...] | None:
        if name == "scope":
            return (self._sender,)
        if name == "message":
            return (self._sender, self._message)
        if name == "index":
            kind = resource["resourceType"]
            self._counts[kind] = number = self._counts.get(kind, 0) + 1
            return (str(number),)
        if name.startswith("="):
            return (name[1:],)
        if name.startswith("identifier"):
            held = resource.get("identifier")
            return identifier_key(held if isinstance(held, list) else [held] if held else [], name[11:])
        node: Any = resource
        for step in name.split("."):
            node = node.get(step) if isinstance(node, dict) else None
            if isinstance(node, list):
                node = node[0] if node and len(name.split(".")) > 1 else node
        if isinstance(node, dict) and "reference" in node:
            return (node["reference"],)
        return None if node in (None, "", [], {}) else (key_text(node),)


def identifier_key(identifiers: Iterable[JsonObject], types: str) -> tuple[str, ...] | None:
    """(assigning authority, type, value) of the identifier that names a thing.

    Args:
        types: ``MR,PI``: in this order; an identifier without type counts as the first; "" takes any.
    """
    wanted = types.split(",") if types else []
    best: tuple[int, tuple[str, ...]] | None = None
    for identifier in identifiers:
        value = identifier.get("value")
        if not value:
            continue
        kinds = [c.get("code") for c in identifier.get("type", {}).get("coding", ())] or [wanted[0] if wanted else ""]
        rank = next((wanted.index(k) for k in kinds if k in wanted), None) if wanted else 0
        if rank is not None and (best is None or rank < best[0]):
            kind = wanted[rank] if wanted else kinds[0] or ""
            best = (rank, (identifier.get("system", ""), kind, value))
    return best[1] if best else None
