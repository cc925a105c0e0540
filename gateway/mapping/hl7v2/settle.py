"""Last touches on mapped resources: what R4 demands, references that lead nowhere, and where elements stand."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from gateway.kernel.fhir import JsonObject
from gateway.mapping.hl7v2.model import Required


def fill(resource: JsonObject, row: Required) -> bool:
    """Put the value of a required row where the element is missing; False when there is no value to put."""
    *path, last = row.steps
    if not path and last in resource:
        return True
    hosts: list[Any] = [resource]
    for step in path:
        found: list[Any] = []
        for host in hosts:
            node = host.get(step)
            found += node if isinstance(node, list) else [node] if node is not None else []
        hosts = found
    for host in hosts:
        choices = last.split("|")
        if any(name in host or f"_{name}" in host for name in choices):
            continue
        if row.value is None:
            return False
        host[choices[0]] = orjson.loads(orjson.dumps(row.value))
    return True


def _inside(outer: str, choices: Sequence[str], value: str) -> Callable[[JsonObject], bool]:
    """:func:`fill` for a text one level down, which most messages need."""
    names, first = tuple([name for c in choices for name in (c, f"_{c}")]), choices[0]

    def check(resource: JsonObject) -> bool:
        node = resource.get(outer)
        if node is not None:
            for host in node if node.__class__ is list else (node,):
                for name in names:
                    if name in host:
                        break
                else:
                    host[first] = value
        return True

    return check


class Requirements:
    """The rows of required.csv, compiled: an element of the resource itself costs a look-up, a deeper one a walk."""

    def __init__(self, required: Mapping[str, Sequence[Required]]) -> None:
        self._checks = {
            kind: tuple([self._check(row) for row in rows if row.value is not False]) for kind, rows in required.items()
        }
        self._thin = {kind: tuple([row.steps for row in rows if row.value is False]) for kind, rows in required.items()}

    @staticmethod
    def _check(row: Required) -> Callable[[JsonObject], bool | str]:
        if len(row.steps) == 2 and isinstance(row.value, str):
            return _inside(row.steps[0], row.steps[1].split("|"), row.value)
        if len(row.steps) > 1:
            return lambda resource: fill(resource, row) if row.steps[0] in resource else True
        choices = row.steps[0].split("|")
        names, first = tuple([name for c in choices for name in (c, f"_{c}")]), choices[0]
        value, text = row.value, orjson.dumps(row.value)
        plain = isinstance(value, str)

        def check(resource: JsonObject) -> bool | str:
            for name in names:
                if name in resource:
                    return True
            if value is None:
                return False
            resource[first] = value if plain else orjson.loads(text)
            return row.steps[0]

        return check

    def thin(self, resource: JsonObject) -> None:
        """Take out the list items that nothing is left of but what belongs to a missing reference."""
        for name, leaf in self._thin.get(resource["resourceType"], ()):
            if name in resource:
                resource[name] = [item for item in resource[name] if leaf in item]
                if not resource[name]:
                    del resource[name]

    def complete(self, resource: JsonObject, filled: list[str] | None = None) -> bool:
        """Fill what R4 demands; False when something is missing that nothing can stand for.

        Args:
            filled: takes the elements that the message did not tell; what is stored of them is better than a default.
        """
        if "verificationStatus" in resource:
            standing = resource["verificationStatus"].get("coding", [{}])[0].get("code")
            if standing == "entered-in-error":  # R4 ait-2 and con-5: what was an error has no clinical state
                resource.pop("clinicalStatus", None)
        for check in self._checks.get(resource["resourceType"], ()):
            said = check(resource)
            if said is False:
                return False
            if said is not True and filled is not None:
                filled.append(str(said))
        return True


def prune(node: Any, gone: set[int]) -> None:
    """Take out the references to resources that could not stand."""
    if isinstance(node, dict):
        for key, value in list(node.items()):
            if id(value) in gone:
                del node[key]
            elif isinstance(value, list):
                kept = [item for item in value if id(item) not in gone]
                if kept:
                    node[key] = kept
                    for item in kept:
                        prune(item, gone)
                else:
                    del node[key]
            else:
                prune(value, gone)


def paths_of(node: Any, path: str, row: str, out: dict[int, tuple[str, str]]) -> None:
    """Path and message row of every object below ``node``, by its id()."""
    out[id(node)] = (path, row)
    mark = " " if " " not in path else "."
    for name, value in node.items():
        if isinstance(value, dict):
            paths_of(value, f"{path}{mark}{name}", row, out)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, dict):
                    paths_of(item, f"{path}{mark}{name}[{index}]", row, out)
