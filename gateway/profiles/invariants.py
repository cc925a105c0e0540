"""Invariants as checks: the expression is compiled once; what cannot be compiled or decided is said, never passed."""

from functools import cache
from typing import Any

from gateway.profiles.fhirpath import Env, Expression, NotFhirPath, Typed, Undecided, compile_expression, truth
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

    def check(node: Any, path: str, run: Run) -> None:
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
