"""Values of a resource with what validation needs beside them: type, place and the extensions of a primitive."""

from collections.abc import Mapping
from typing import Any, Final


class Item:
    """One value of an element. ``beside`` is the ``_name`` object of a primitive; ``type`` is empty when not known."""

    __slots__ = ("beside", "path", "type", "value")

    def __init__(self, value: Any, beside: Any, type_: str, path: str) -> None:
        self.value = value
        self.beside = beside
        self.type = type_
        self.path = path

    def object(self) -> dict[str, Any]:
        """What holds its children: the object itself, or what stands beside a primitive."""
        if type(self.value) is dict:
            return self.value
        return self.beside if type(self.beside) is dict else _NOTHING


_NOTHING: Final[dict[str, Any]] = {}


def children(holder: Item, keys: Mapping[str, str], name: str) -> list[Item]:
    """The items of one element; ``keys`` maps each JSON name it can have to its type."""
    node = holder.object()
    found: list[Item] = []
    for key, type_ in keys.items() if len(keys) == 1 else [(k, keys[k]) for k in _present(node, keys)]:
        value, beside = node.get(key), node.get(f"_{key}")
        if value is None and beside is None:
            continue
        path = f"{holder.path}.{name}"
        if type(value) is list or type(beside) is list:
            values = value if type(value) is list else []
            besides = beside if type(beside) is list else []
            for n in range(max(len(values), len(besides))):
                one = values[n] if n < len(values) else None
                other = besides[n] if n < len(besides) else None
                found.append(Item(one, other, type_, f"{path}[{n}]"))
        else:
            found.append(Item(value, beside, type_, path))
    return found


def _present(node: Mapping[str, Any], keys: Mapping[str, str]) -> list[str]:
    found = []
    for key in node:
        if key in keys:
            found.append(key)
        elif key[0:1] == "_" and key[1:] in keys and key[1:] not in node:
            found.append(key[1:])
    return found


def matches_pattern(value: Any, pattern: Any) -> bool:
    """R4 ElementDefinition.pattern[x]: what the pattern says must be there, more may be."""
    if type(pattern) is dict:
        return type(value) is dict and all(k in value and matches_pattern(value[k], p) for k, p in pattern.items())
    if type(pattern) is list:
        return type(value) is list and all(any(matches_pattern(v, p) for v in value) for p in pattern)
    return bool(value == pattern)
