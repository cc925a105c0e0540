"""Invariants as checks: the expression is compiled once; what cannot be compiled or decided is said, never passed."""

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from gateway.profiles.fhirpath import Env, Expression, NotFhirPath, Typed, Undecided, compile_expression, truth
from gateway.profiles.fhirpath_items import CHOICES
from gateway.profiles.fhirpath_parse import Binary, Call, Node, Step, parse
from gateway.profiles.issues import ERROR, WARNING
from gateway.profiles.run import Run
from gateway.profiles.structure import After


@cache
def _compiled(expression: str) -> Expression | str:
    """The function, or why there is none."""
    try:
        return compile_expression(expression)
    except NotFhirPath as error:
        return str(error)


_OF_NOTHING_NOTHING: Final = frozenset({"where", "select", "intersect", "ofType", "extension", "first", "last"})


@cache
def shortcuts(expression: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Elements of the focus by which an expression that can be compiled is seen to hold without running it.

    Any one of the first that is not there, or any one of the second that is, decides: the expression is a row of
    alternatives, of which one says ``a.b.empty()`` (or ``a.exists() implies …``), or ``a.exists()``.
    """
    absent, present = [], []
    for node in _alternatives(parse(expression)):
        if isinstance(node, Call) and not node.arguments and node.base is not None:
            name = _root(node.base)
            if name and node.name == "empty":
                absent.append(name)
            elif name and node.name == "exists" and isinstance(node.base, Step) and node.base.base is None:
                present.append(name)
        elif isinstance(node, Binary):  # implies
            left = node.left
            if isinstance(left, Call) and left.name == "exists" and not left.arguments and left.base is not None:
                absent.append(_root(left.base))
    return tuple(name for name in absent if name), tuple(present)


def _alternatives(node: Node) -> Iterator[Node]:
    """What stands between the ``or`` of an expression, as far as any of it alone makes it true."""
    if isinstance(node, Binary) and node.operator == "or":
        yield from _alternatives(node.left)
        yield from _alternatives(node.right)
    elif isinstance(node, Call) or (isinstance(node, Binary) and node.operator == "implies"):
        yield node


def _root(node: Node) -> str:
    """The element of the focus without which a path finds nothing; empty when that cannot be told."""
    while isinstance(node, (Step, Call)):
        if isinstance(node, Call) and node.name not in _OF_NOTHING_NOTHING:
            return ""
        if node.base is None:
            plain = isinstance(node, Step) and node.name[0].islower() and node.name not in CHOICES
            return node.name if plain else ""
        node = node.base
    return ""


def compile_rule(key: str, severity: str, expression: str, type_code: str, human: str = "") -> After:
    """The check of one rule on an item of type ``type_code``.

    An expression that yields nothing counts as violated for an error (so does HL7's validator), not for a warning.
    """
    test = _compiled(expression)
    words = f"{key}: {human or expression}"
    if isinstance(test, str):
        reason = f"{key}: not checked, {test}"
        return lambda node, path, run: run.unchecked(path, reason)
    run_test: Expression = test
    absent, present = shortcuts(expression)
    beside = tuple((name, f"_{name}") for name in absent)

    def check(node: Any, path: str, run: Run) -> None:
        if type(node) is dict:
            for name, other in beside:
                if name not in node and other not in node:
                    return
            for name in present:
                if node.get(name):
                    return
        focus = node if type(node) is dict and "resourceType" in node else Typed(node, type_code)
        try:
            said = truth(run_test(focus, Env(run, focus)))
        except Undecided:
            run.unchecked(path, f"{key}: not checked, it depends on something that is not at hand")
            return
        except (TypeError, ValueError, AttributeError, RecursionError):  # ill-typed data, reported by its own check
            run.unchecked(path, f"{key}: not checked, an element that it reads is not well formed")
            return
        if said or (said is None and severity == "warning"):
            return
        run.add(ERROR if severity == "error" else WARNING, "invariant", path, words)

    return check
