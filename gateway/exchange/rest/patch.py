"""JSON Patch (RFC 6902) as a change of a resource; applied to a copy, all operations or none."""

import copy
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from gateway.codecs import json_text
from gateway.kernel.errors import Invalid, Malformed
from gateway.kernel.fhir import Resource

Change: TypeAlias = Callable[[Resource], Resource]

_NEEDS: Final = {
    "add": ("value",), "replace": ("value",), "test": ("value",), "remove": (), "move": ("from",), "copy": ("from",),
}  # fmt: skip
OPERATIONS_LIMIT: Final = 1_000


def json_patch(body: bytes) -> Change:
    """Read a JSON Patch document.

    Raises:
        Malformed: not an array of operations of RFC 6902.
    """
    wrapped = json_text.parse(b'{"patch":' + body + b"}")
    operations = wrapped.get("patch")
    if len(wrapped) != 1 or not isinstance(operations, list) or len(operations) > OPERATIONS_LIMIT:
        raise Malformed("not a JSON Patch", at="body", fix="send an array of operations (RFC 6902)")
    for index, operation in enumerate(operations):
        at = f"patch[{index}]"
        if not isinstance(operation, dict) or operation.get("op") not in _NEEDS:
            raise Malformed("not an operation", at=at, fix="add, remove, replace, move, copy or test")
        for name in ("path", *_NEEDS[operation["op"]]):
            if name not in operation:
                raise Malformed(f"{name} is missing", at=at)
        for name in ("path", "from"):
            if name in operation and not _is_pointer(operation[name]):
                raise Malformed("not a JSON Pointer", at=f"{at}.{name}", fix="RFC 6901, such as /name/0/given")
    return lambda resource: _apply(resource, operations)


def _is_pointer(text: Any) -> bool:
    return isinstance(text, str) and (text == "" or text.startswith("/"))


def _apply(resource: Resource, operations: list[Any]) -> Resource:
    document = copy.deepcopy(resource)
    for index, operation in enumerate(operations):
        at = f"patch[{index}]"
        kind, path = operation["op"], _steps(operation["path"])
        if kind == "test":
            if not _same(_value_at(document, path, at), operation["value"]):
                raise Invalid("the test does not hold", at=at, fix="read again and merge")
            continue
        if not path:
            raise Invalid("the whole resource cannot be patched", at=at, fix="use PUT")
        if kind == "remove":
            _remove(document, path, at)
        elif kind == "replace":
            _remove(document, path, at)
            _add(document, path, operation["value"], at)
        elif kind == "add":
            _add(document, path, operation["value"], at)
        else:
            source = _steps(operation["from"])
            value = copy.deepcopy(_value_at(document, source, at))
            if kind == "move":
                if path[: len(source)] == source and path != source:
                    raise Invalid("a value cannot move into itself", at=at)
                _remove(document, source, at)
            _add(document, path, value, at)
    cleaned: Resource = _without_empty(document)
    return cleaned


def _steps(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _index(step: str, size: int, at: str) -> int:
    if not step.isascii() or not step.isdigit() or (len(step) > 1 and step[0] == "0") or len(step) > 9:
        raise Invalid("not an index", at=at)
    if int(step) > size:
        raise Invalid("the path leads nowhere", at=at)
    return int(step)


def _value_at(document: Any, path: list[str], at: str) -> Any:
    node = document
    for step in path:
        if isinstance(node, dict) and step in node:
            node = node[step]
        elif isinstance(node, list) and _index(step, len(node) - 1, at) >= 0:
            node = node[int(step)]
        else:
            raise Invalid("the path leads nowhere", at=at)
    return node


def _add(document: Any, path: list[str], value: Any, at: str) -> None:
    parent, last = _value_at(document, path[:-1], at), path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(last, len(parent), at), value)
    else:
        raise Invalid("the path leads nowhere", at=at)


def _remove(document: Any, path: list[str], at: str) -> None:
    _value_at(document, path, at)
    parent = _value_at(document, path[:-1], at)
    if isinstance(parent, list):
        del parent[int(path[-1])]
    else:
        del parent[path[-1]]


def _without_empty(node: Any) -> Any:
    """FHIR allows no empty array or object: an element goes with its last item."""
    if isinstance(node, dict):
        return {name: cleaned for name, value in node.items() if (cleaned := _without_empty(value)) not in ([], {})}
    if isinstance(node, list):
        return [_without_empty(value) for value in node]
    return node


def _same(left: Any, right: Any) -> bool:
    """Equality of JSON: true is not 1."""
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(_same(a, b) for a, b in zip(left, right, strict=True))
    return bool(left == right)
