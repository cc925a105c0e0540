"""FHIRPath Patch (R4 "fhirpatch"): a Parameters resource with add, insert, delete, replace and move.

Paths are the part of FHIRPath that names elements: names, ``[n]``, ``first()``, ``last()``, ``ofType(x)``,
``extension('url')`` and ``where(a.b = 'c' and …)``. Anything else is refused, never guessed.
"""

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from gateway.kernel.errors import Invalid, Malformed
from gateway.kernel.fhir import JsonObject, Resource
from gateway.profiles.facts import Element, Facts

Change: TypeAlias = Callable[[Resource], Resource]

_STEP: Final = re.compile(
    r"(?P<call>where|ofType|extension)\(|(?P<end>first|last|single)\(\)|(?P<name>`?[A-Za-z_][A-Za-z0-9_]*`?)|\[(?P<index>[0-9]{1,6})\]"
)
_TERM: Final = re.compile(
    r"\s*(?P<path>[A-Za-z_][A-Za-z0-9_.]*?)(?:\.(?P<exists>exists)\(\)|\s*=\s*(?:'(?P<text>(?:[^'\\]|\\.)*)'|(?P<bare>true|false|-?[0-9.]+)))\s*"
)
_TYPES: Final = frozenset({"add", "insert", "delete", "replace", "move"})


@dataclass(frozen=True, slots=True)
class _Spot:
    """One element: its value, the dict or list that holds it, its key there, and its FHIR type."""

    value: Any
    holder: Any
    key: Any
    type: str


def fhirpath_patch(facts: Facts) -> Callable[[Resource], Change]:
    """The reader of FHIRPath Patch for the element tables of ``facts``."""

    def read(parameters: Resource) -> Change:
        if parameters.get("resourceType") != "Parameters":
            raise Malformed("not a FHIRPath Patch", at="resourceType", fix="send Parameters, or a JSON Patch")
        operations = [
            _operation(parameter, f"Parameters.parameter[{index}]")
            for index, parameter in enumerate(parameters.get("parameter") or ())
        ]

        def change(resource: Resource) -> Resource:
            document = copy.deepcopy(resource)
            for operation, at in operations:
                _Patcher(facts, document, at).apply(operation)
            return document

        return change

    return read


def _operation(parameter: Any, at: str) -> tuple[dict[str, Any], str]:
    """The parts of one operation by name."""
    if not isinstance(parameter, dict) or parameter.get("name") != "operation":
        raise Malformed("not an operation", at=at, fix='name "operation"')
    parts: dict[str, Any] = {}
    for part in parameter.get("part") or ():
        if not isinstance(part, dict) or not isinstance(part.get("name"), str):
            raise Malformed("a part without a name", at=at)
        parts[part["name"]] = part
    out: dict[str, Any] = {}
    for name, keys in (
        ("type", ("valueCode", "valueString")),
        ("path", ("valueString",)),
        ("name", ("valueString",)),
        ("index", ("valueInteger",)),
        ("source", ("valueInteger",)),
        ("destination", ("valueInteger",)),
    ):
        if name in parts:
            out[name] = next((parts[name][key] for key in keys if key in parts[name]), None)
    if "value" in parts:
        out["value"] = parts["value"]
    if out.get("type") not in _TYPES or not isinstance(out.get("path"), str):
        raise Malformed("type and path are needed", at=at, fix="type: add, insert, delete, replace or move")
    return out, at


class _Patcher:
    """Applies one operation to one document."""

    def __init__(self, facts: Facts, document: Resource, at: str) -> None:
        self._facts = facts
        self._document = document
        self._at = at

    def apply(self, operation: dict[str, Any]) -> None:
        """Change the document in place."""
        kind = operation["type"]
        spots = self._find(operation["path"])
        if kind == "delete":
            if spots:
                self._delete(self._one(spots))
        elif kind == "add":
            self._add(self._one(spots), operation)
        elif kind == "replace":
            self._replace(self._one(spots), operation)
        else:
            self._in_list(spots, kind, operation)

    def _wrong(self, message: str, fix: str = "") -> Invalid:
        return Invalid(message, at=self._at, fix=fix)

    def _one(self, spots: list[_Spot]) -> _Spot:
        if len(spots) != 1:
            raise self._wrong("the path must find one element", f"it finds {len(spots)}")
        return spots[0]

    def _delete(self, spot: _Spot) -> None:
        if spot.holder is None:
            raise self._wrong("the whole resource cannot be deleted by a patch")
        del spot.holder[spot.key]
        if isinstance(spot.key, str):
            spot.holder.pop(f"_{spot.key}", None)
        self._drop_empty(self._document)

    def _drop_empty(self, node: Any) -> bool:
        """Take away arrays that became empty: FHIR has none."""
        if isinstance(node, dict):
            for name in [name for name, value in node.items() if self._drop_empty(value)]:
                del node[name]
            return False
        if isinstance(node, list):
            for value in node:
                self._drop_empty(value)
            return not node
        return False

    def _add(self, spot: _Spot, operation: dict[str, Any]) -> None:
        name = operation.get("name")
        if not isinstance(spot.value, dict) or not isinstance(name, str):
            raise self._wrong("add needs an element that has children, and a name")
        element = self._element(spot.type, name)
        key, value, _ = self._value(operation, element, spot.type, name)
        if element is not None and element.many:
            spot.value.setdefault(key, []).append(value)
        elif any(one in spot.value for one, _ in (element.json_names() if element is not None else ((key, None),))):
            raise self._wrong("the element is there already", "use replace")
        else:
            spot.value[key] = value

    def _replace(self, spot: _Spot, operation: dict[str, Any]) -> None:
        if spot.holder is None:
            raise self._wrong("the whole resource cannot be replaced by a patch", "use PUT")
        if isinstance(spot.holder, list):
            spot.holder[spot.key] = self._value(operation, None, spot.type, "")[1]
            return
        element = self._element_of_key(spot)
        key, value, _ = self._value(operation, element, spot.type, spot.key)
        if key == spot.key:
            spot.holder[key] = value
        else:  # a choice that changes its type
            del spot.holder[spot.key]
            spot.holder[key] = value

    def _element_of_key(self, spot: _Spot) -> Element | None:
        shape = self._facts.type(spot.type.partition("|")[2]) if "|" in spot.type else None
        for element in shape.elements if shape is not None else ():
            if any(key == spot.key for key, _ in element.json_names()):
                return element
        return None

    def _in_list(self, spots: list[_Spot], kind: str, operation: dict[str, Any]) -> None:
        if not spots or not isinstance(spots[0].holder, list) or any(s.holder is not spots[0].holder for s in spots):
            raise self._wrong("the path must find the items of one list")
        items = spots[0].holder
        if kind == "insert":
            index = operation.get("index")
            if not isinstance(index, int) or not 0 <= index <= len(items):
                raise self._wrong("no such index")
            items.insert(index, self._value(operation, None, spots[0].type, "")[1])
            return
        source, destination = operation.get("source"), operation.get("destination")
        if not isinstance(source, int) or not isinstance(destination, int):
            raise self._wrong("move needs source and destination")
        if not (0 <= source < len(items) and 0 <= destination < len(items)):
            raise self._wrong("no such source or destination")
        items.insert(destination, items.pop(source))

    # -- values ------------------------------------------------------------------------------------------------------

    def _value(self, operation: dict[str, Any], element: Element | None, type_: str, name: str) -> tuple[str, Any, str]:
        part = operation.get("value")
        if not isinstance(part, dict):
            raise self._wrong("a value is needed")
        return self._built(part, element, name)

    def _built(self, part: JsonObject, element: Element | None, name: str) -> tuple[str, Any, str]:
        """Key, value and type name of a ``value`` part: a data type, or parts for a backbone element."""
        for key, value in part.items():
            if key.startswith("value") and len(key) > 5:
                suffix = key[5:]
                if element is not None and element.choice:
                    wanted = element.name + suffix
                    if all(wanted != one for one, _ in element.json_names()):
                        raise self._wrong("not a type that the element may have")
                    return wanted, value, suffix
                return name, value, suffix
        if isinstance(part.get("resource"), dict):
            return name, part["resource"], "Resource"
        made: JsonObject = {}
        shape_name = element.types[0].code if element is not None else ""
        for inner in part.get("part") or ():
            child = self._element(shape_name, str(inner.get("name"))) if shape_name else None
            key, value, _ = self._built(inner, child, str(inner.get("name")))
            if child is not None and child.many:
                made.setdefault(key, []).append(value)
            else:
                made[key] = value
        if not made:
            raise self._wrong("a value is needed")
        return name, made, shape_name

    def _element(self, type_: str, name: str) -> Element | None:
        shape = self._facts.type(type_.partition("|")[0])
        found = next((one for one in shape.elements if one.name == name), None) if shape is not None else None
        if shape is not None and found is None:
            raise self._wrong("no such element")
        return found

    # -- paths -------------------------------------------------------------------------------------------------------

    def _find(self, path: str) -> list[_Spot]:
        root = _Spot(self._document, None, None, str(self._document.get("resourceType")))
        spots, position, first = [root], 0, True
        while position < len(path):
            if path[position] == "." and not first:
                position += 1
            found = _STEP.match(path, position)
            if found is None:
                raise self._wrong("a path that cannot be followed", "names, [n], first(), ofType(), where()")
            position = found.end()
            if found["name"]:
                name = found["name"].strip("`")
                if not (first and name in (root.type, "Resource", "DomainResource")):
                    spots = [child for spot in spots for child in self._children(spot, name)]
            elif found["index"]:
                spots = spots[int(found["index"]) : int(found["index"]) + 1]
            elif found["end"]:
                spots = spots[-1:] if found["end"] == "last" else spots[:1]
            else:
                argument, position = self._argument(path, position)
                spots = self._called(spots, found["call"], argument)
            first = False
        return spots

    def _argument(self, path: str, position: int) -> tuple[str, int]:
        quoted, start = False, position
        while position < len(path):
            letter = path[position]
            if letter == "\\" and quoted:
                position += 1
            elif letter == "'":
                quoted = not quoted
            elif letter == ")" and not quoted and path[start:position].count("(") == path[start:position].count(")"):
                return path[start:position], position + 1
            position += 1
        raise self._wrong("a path that does not end")

    def _called(self, spots: list[_Spot], call: str, argument: str) -> list[_Spot]:
        if call == "extension":
            url = argument.strip().strip("'")
            return [one for s in spots for one in self._children(s, "extension") if one.value.get("url") == url]
        if call == "ofType":
            wanted = argument.strip().removeprefix("FHIR.")
            return [one for one in spots if one.type.partition("|")[0] == wanted]
        return [one for one in spots if self._holds(one, argument)]

    def _holds(self, spot: _Spot, condition: str) -> bool:
        position = 0
        while True:
            term = _TERM.match(condition, position)
            if term is None:
                raise self._wrong("a where() that cannot be decided", "a.b = 'c' and d.exists()")
            values = [spot]
            for name in term["path"].split("."):
                values = [child for one in values for child in self._children(one, name)]
            if term["exists"]:
                if not values:
                    return False
            elif not any(_equals(one.value, term["text"], term["bare"]) for one in values):
                return False
            position = term.end()
            if position >= len(condition):
                return True
            if not condition.startswith("and ", position):
                raise self._wrong("a where() that cannot be decided", "a.b = 'c' and d.exists()")
            position += 4

    def _children(self, spot: _Spot, name: str) -> list[_Spot]:
        if not isinstance(spot.value, dict):
            return []
        shape = self._facts.type(spot.type.partition("|")[0])
        element = next((one for one in shape.elements if one.name == name), None) if shape is not None else None
        keys = [(key, use.code) for key, use in element.json_names()] if element is not None else [(name, "")]
        parent = spot.type.partition("|")[0]
        out: list[_Spot] = []
        for key, type_ in keys:
            value = spot.value.get(key)
            if isinstance(value, list):
                out += [_Spot(one, value, index, f"{type_}|{parent}") for index, one in enumerate(value)]
            elif value is not None:
                actual = str(value.get("resourceType")) if type_ == "Resource" and isinstance(value, dict) else type_
                out.append(_Spot(value, spot.value, key, f"{actual}|{parent}"))
        return out


def _equals(value: Any, text: str | None, bare: str | None) -> bool:
    if text is not None:
        return bool(value == re.sub(r"\\(.)", r"\1", text))
    if bare in ("true", "false"):
        return value is (bare == "true")
    return not isinstance(value, bool) and isinstance(value, (int, float)) and value == float(bare or "nan")
