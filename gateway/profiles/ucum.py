"""The grammar of UCUM unit expressions (The Unified Code for Units of Measure, section 2, case sensitive).

Only the form is judged: ``mg/dL``, ``10*3/uL``, ``{beats}/min``, ``kg.m/s2``. Which atoms and prefixes there are is a
table of its own that changes; an expression of an unknown unit passes.
"""

import re
from functools import lru_cache
from typing import Final

SYSTEM: Final = "http://unitsofmeasure.org"

_ANNOTATION: Final = r"\{[\x21-\x7a\x7c\x7e ]*\}"
# an atom: printable ASCII without what has a meaning of its own; a part in square brackets may hold digits and signs
_ATOM: Final = (
    r"(?:10[*^]|(?:[A-Za-z%'\"_]|\[[\x21-\x5a\x5c\x5e-\x7e]+\])(?:[A-Za-z%'\"_]|\[[\x21-\x5a\x5c\x5e-\x7e]+\])*)"
)
_COMPONENT: Final = re.compile(
    rf"(?:{_ATOM}(?:[+-]?\d+)?(?:{_ANNOTATION})?|{_ANNOTATION}|\d+(?:{_ANNOTATION})?)", re.ASCII
)
_NESTING_LIMIT: Final = 20


@lru_cache(maxsize=4096)
def well_formed(expression: str) -> bool:
    """Whether the text is a UCUM expression."""
    end = _term(expression, 0, 0)
    return end == len(expression) and end > 0


def _term(text: str, at: int, depth: int) -> int:
    """The end of the term that begins at ``at``; -1 when there is none."""
    if depth > _NESTING_LIMIT:
        return -1
    if text[at : at + 1] == "/":
        at += 1
    while True:
        at = _component(text, at, depth)
        if at < 0 or text[at : at + 1] not in (".", "/"):
            return at
        at += 1


def _component(text: str, at: int, depth: int) -> int:
    if text[at : at + 1] == "(":
        end = _term(text, at + 1, depth + 1)
        return end + 1 if end >= 0 and text[end : end + 1] == ")" else -1
    found = _COMPONENT.match(text, at)
    return found.end() if found is not None else -1
