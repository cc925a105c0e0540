"""The paths of search parameters: a restricted FHIRPath, written compactly, compiled once to closures over JSON.

A compact path is alternatives joined by `` | `` of steps joined by dots. A step is an element's JSON name, with what
narrows it in brackets: ``value[x]`` any type of a choice, ``telecom[system=phone]`` equality of a child,
``subject[->Patient]`` references to a type, ``deceased[x][present]`` true when there and not false.
:func:`from_fhirpath` translates the ``expression`` of a SearchParameter into that form.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from gateway.kernel.errors import Unsupported

Path: TypeAlias = Callable[[Any], Iterator[Any]]

_STEP: Final = re.compile(r"([A-Za-z_]\w*)((?:\[[^\]]*\])*)")
_BRACKET: Final = re.compile(r"\[([^\]]*)\]")
_SPLIT: Final = re.compile(r"\.(?![^\[]*\])")  # dots outside of brackets

_AS: Final = re.compile(r"\(\s*([\w.]+)\s+as\s+(\w+)\s*\)")
_CALL: Final = re.compile(r"\.(?:as|ofType)\(\s*(\w+)\s*\)")
_RESOLVE: Final = re.compile(r"\.where\(\s*resolve\(\)\s+is\s+(\w+)\s*\)")
_WHERE: Final = re.compile(r"\.where\(\s*(\w+)\s*=\s*'([^']*)'\s*\)")
_PRESENT: Final = re.compile(r"([\w.]+)\.exists\(\) and \1 != false")


def _children(node: Any, name: str) -> Iterator[Any]:
    value = node.get(name) if isinstance(node, dict) else None
    if isinstance(value, list):
        yield from (item for item in value if item is not None)
    elif value is not None:
        yield value


def _choices(node: Any, name: str) -> Iterator[Any]:
    if not isinstance(node, dict):
        return
    size = len(name)
    for key in node:
        if key.startswith(name) and key[size : size + 1].isupper():
            yield from _children(node, key)


def points_to(reference: Any, type_: str) -> bool:
    """Whether a Reference (or its text) names a resource of the type, as far as its own words tell."""
    if isinstance(reference, dict):
        if reference.get("type") == type_:
            return True
        reference = reference.get("reference")
    if not isinstance(reference, str):
        return False
    return f"/{type_}/" in f"/{reference}"


def _step(text: str) -> Path:
    found = _STEP.fullmatch(text)
    if found is None:
        raise Unsupported("a search path that cannot be compiled", at=text)
    name, brackets = found[1], _BRACKET.findall(found[2])
    choice = "x" in brackets
    base: Path = (lambda node: _choices(node, name)) if choice else (lambda node: _children(node, name))
    for bracket in brackets:
        base = _narrowed(base, bracket)
    return base


def _narrowed(base: Path, bracket: str) -> Path:
    if bracket == "x":
        return base
    if bracket == "present":
        return lambda node: iter((any(value is not False for value in base(node)),))
    if bracket.startswith("->"):
        type_ = bracket[2:]
        return lambda node: (value for value in base(node) if points_to(value, type_))
    name, equals, wanted = bracket.partition("=")
    if not equals:
        raise Unsupported("a search path that cannot be compiled", at=f"[{bracket}]")
    return lambda node: (value for value in base(node) if isinstance(value, dict) and value.get(name) == wanted)


def _itself(node: Any) -> Iterator[Any]:
    yield node


def _joined(first: Path, second: Path) -> Path:
    return lambda node: (value for middle in first(node) for value in second(middle))


def compile_path(text: str) -> Path:
    """A function from a parsed resource (or element) to the values at the path, in document order.

    Raises:
        Unsupported: a path outside of the compact form.
    """
    alternatives: list[Path] = []
    for alternative in text.split(" | "):
        if alternative == "$this":
            alternatives.append(_itself)
            continue
        steps = [_step(step) for step in _SPLIT.split(alternative)]
        path = steps[0]
        for step in steps[1:]:
            path = _joined(path, step)
        alternatives.append(path)
    if len(alternatives) == 1:
        return alternatives[0]
    return lambda node: (value for path in alternatives for value in path(node))


def from_fhirpath(expression: str, type_: str, is_choice: Callable[[str], bool]) -> str:
    """The compact form of a SearchParameter's expression for one resource type; empty when none of it applies.

    Args:
        is_choice: whether an element path such as ``Observation.value`` is a choice of types.

    Raises:
        Unsupported: FHIRPath outside of what search parameters use.
    """
    present = _PRESENT.fullmatch(expression.strip())
    if present:
        return present[1].removeprefix(f"{type_}.") + "[x][present]"
    parts = []
    for alternative in _alternatives(expression):
        if alternative == type_:
            parts.append("$this")
        elif alternative.lstrip("(").startswith((f"{type_}.", "Resource.", "DomainResource.")):
            parts.append(_compact(alternative, type_, is_choice))
    return " | ".join(dict.fromkeys(parts))


def _alternatives(expression: str) -> Iterator[str]:
    depth, start = 0, 0
    for index, letter in enumerate(expression + "|"):
        depth += (letter == "(") - (letter == ")")
        if letter == "|" and depth == 0:
            yield expression[start:index].strip()
            start = index + 1


def _compact(text: str, type_: str, is_choice: Callable[[str], bool]) -> str:
    text = re.sub(r"^\(([\w.]+)\)$", r"\1", text)
    text = _AS.sub(lambda found: f"{found[1]}.as({found[2]})", text)
    text = _CALL.sub(lambda found: f"<{found[1][0].upper()}{found[1][1:]}>", text)
    text = _RESOLVE.sub(r"[->\1]", text)
    text = _WHERE.sub(r"[\1=\2]", text)
    steps, walked = [], ""
    for step in _SPLIT.split(text):
        name = re.split(r"[\[<]", step)[0]
        walked = f"{walked}.{name}" if walked else name
        if is_choice(walked) and "<" not in step:
            step = step.replace(name, f"{name}[x]", 1)
        elif not is_choice(walked) and "<" in step:
            step = step.split("<")[0]  # a cast to the only type that there is
        steps.append(step.replace("<", "").replace(">", "") if "->" not in step else step)
    out = ".".join(steps[1:])
    if re.search(r"[()' ]", out):
        raise Unsupported("a search expression outside of the restricted FHIRPath", at=type_)
    return out
