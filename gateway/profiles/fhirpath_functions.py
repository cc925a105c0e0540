"""The functions of FHIRPath that look at a whole collection and at nothing else."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.profiles.fhirpath_items import (
    PRIMITIVE,
    TRUE,
    Items,
    all_kids,
    answer,
    below,
    is_number,
    raw,
    same,
    text_of,
    truth,
    unique,
)


def _substring(items: Items, start: Items, length: Items | None = None) -> Items:
    text = text_of(items)
    if text is None or not start or not 0 <= raw(start[0]) < len(text):
        return []
    first = raw(start[0])
    return [text[first:] if not length else text[first : first + raw(length[0])]]


def _to_integer(items: Items) -> Items:
    if not items:
        return []
    value = raw(items[0])
    if type(value) is bool:
        return [int(value)]
    if type(value) is int:
        return [value]
    return [int(value)] if type(value) is str and re.fullmatch(r"[+-]?\d{1,18}", value) else []


def _to_decimal(items: Items) -> Items:
    if not items:
        return []
    value = raw(items[0])
    if is_number(value):
        return [value]
    return [float(value)] if type(value) is str and re.fullmatch(r"[+-]?\d{1,30}(\.\d{1,30})?", value) else []


def _to_string(items: Items) -> Items:
    if not items:
        return []
    value = raw(items[0])
    if type(value) is bool:
        return ["true" if value else "false"]
    return [] if value is None or type(value) is dict else [str(value)]


def _on_text(function: Callable[[str, str], Any]) -> Callable[..., Items]:
    def call(items: Items, argument: Items) -> Items:
        text, other = text_of(items), text_of(argument)
        return [] if text is None or other is None else [function(text, other)]

    return call


def _asking(function: Callable[[str, str], bool]) -> Callable[..., Items]:
    """A question about a text; about no text the answer is no, as in HL7's own engine, on which R4's rules rely."""

    def call(items: Items, argument: Items) -> Items:
        text, other = text_of(items), text_of(argument)
        return [text is not None and other is not None and function(text, other)]

    return call


def _on_one_text(function: Callable[[str], Any]) -> Callable[..., Items]:
    def call(items: Items) -> Items:
        text = text_of(items)
        return [] if text is None else [function(text)]

    return call


def _matches(text: str, pattern: str) -> bool:
    return re.search(pattern, text, re.DOTALL) is not None


def _matches_name(text: str, pattern: str) -> bool:
    """R4's own rules write ``matches`` without anchors and mean the whole text."""
    return re.fullmatch(pattern, text, re.DOTALL) is not None


def _replace(items: Items, pattern: Items, by: Items, *, regex: bool) -> Items:
    text, old, new = text_of(items), text_of(pattern), text_of(by)
    if text is None or old is None or new is None:
        return []
    return [re.sub(old, lambda _: new, text) if regex else text.replace(old, new)]


def _intersect(items: Items, other: Items) -> Items:
    return unique(item for item in items if any(same(item, o) for o in other))


COLLECTION: Final[Mapping[str, tuple[Callable[..., Items], int, int]]] = {  # function, fewest and most arguments
    "not": (lambda items: answer(None if (t := truth(items)) is None else not t), 0, 0),
    "count": (lambda items: [len(items)], 0, 0),
    "first": (lambda items: items[:1], 0, 0),
    "last": (lambda items: items[-1:], 0, 0),
    "tail": (lambda items: items[1:], 0, 0),
    "single": (lambda items: items[:1], 0, 0),
    "skip": (lambda items, n: items[raw(n[0]) :], 1, 1),
    "take": (lambda items, n: items[: max(0, raw(n[0]))], 1, 1),
    "children": (lambda items: [kid for item in items for kid in all_kids(item)], 0, 0),
    "descendants": (below, 0, 0),
    "hasValue": (lambda items: answer(len(items) == 1 and isinstance(raw(items[0]), PRIMITIVE)), 0, 0),
    "getValue": (lambda items: [v for i in items if isinstance(v := raw(i), PRIMITIVE)], 0, 0),
    "allTrue": (lambda items: answer(all(raw(i) is True for i in items)), 0, 0),
    "anyTrue": (lambda items: answer(any(raw(i) is True for i in items)), 0, 0),
    "allFalse": (lambda items: answer(all(raw(i) is False for i in items)), 0, 0),
    "anyFalse": (lambda items: answer(any(raw(i) is False for i in items)), 0, 0),
    "distinct": (unique, 0, 0),
    "isDistinct": (lambda items: answer(len(unique(items)) == len(items)), 0, 0),
    "combine": (lambda items, other: [*items, *other], 1, 1),
    "union": (lambda items, other: unique([*items, *other]), 1, 1),
    "intersect": (_intersect, 1, 1),
    "exclude": (lambda items, other: [i for i in items if not any(same(i, o) for o in other)], 1, 1),
    "subsetOf": (lambda items, other: answer(all(any(same(i, o) for o in other) for i in items)), 1, 1),
    "supersetOf": (lambda items, other: answer(all(any(same(i, o) for i in items) for o in other)), 1, 1),
    "startsWith": (_asking(str.startswith), 1, 1),
    "endsWith": (_asking(str.endswith), 1, 1),
    "contains": (_asking(lambda text, part: part in text), 1, 1),
    "indexOf": (_on_text(str.find), 1, 1),
    "matches": (_asking(_matches), 1, 1),
    "matchesFull": (_asking(_matches_name), 1, 1),
    "split": (lambda items, by: (text_of(items) or "").split(text_of(by)), 1, 1),
    "join": (lambda items, by: [(text_of(by) or "").join(str(raw(i)) for i in items)], 1, 1),
    "replace": (lambda items, a, b: _replace(items, a, b, regex=False), 2, 2),
    "replaceMatches": (lambda items, a, b: _replace(items, a, b, regex=True), 2, 2),
    "substring": (_substring, 1, 2),
    "length": (_on_one_text(len), 0, 0),
    "upper": (_on_one_text(str.upper), 0, 0),
    "lower": (_on_one_text(str.lower), 0, 0),
    "trim": (_on_one_text(str.strip), 0, 0),
    "toInteger": (_to_integer, 0, 0),
    "toDecimal": (_to_decimal, 0, 0),
    "toString": (_to_string, 0, 0),
    "trace": (lambda items, *_: items, 1, 2),
    "htmlChecks": (lambda items: TRUE, 0, 0),  # the format of xhtml is checked with every primitive
    "abs": (lambda items: [abs(raw(i)) for i in items], 0, 0),
}
