"""Lists inside a text that is kept: items taken out or added, with no other character touched.

:func:`without` undoes :func:`with_more` exactly, so a text to which hidden items were added and from which they are cut
again is the text that its sender wrote.
"""

import json
from collections.abc import Collection, Sequence
from typing import Final

from gateway.codecs.json_text import Document, skip_space

_DECODER: Final = json.JSONDecoder()


def items_of(document: Document, name: str) -> list[tuple[int, int]]:
    """Start and end of each item of a top-level list in the document's text."""
    text = document.text
    spans = []
    index = skip_space(text, document.spans[name][0] + 1)
    while text[index] != "]":
        _, end = _DECODER.raw_decode(text, index)
        spans.append((index, end))
        index = skip_space(text, end)
        if text[index] == ",":
            index = skip_space(text, index + 1)
    return spans


def without(document: Document, name: str, gone: Collection[int]) -> str:
    """The text of a top-level list without some of its items; at least one must stay."""
    start, end = document.spans[name]
    spans = items_of(document, name)
    cuts = []
    kept = False
    for number, (first, last) in enumerate(spans):
        if number not in gone:
            kept = True
        elif kept:
            cuts.append((spans[number - 1][1], last))  # with the comma before it
        else:
            cuts.append((first, spans[number + 1][0]))  # with the comma behind it
    text = document.text
    for first, last in reversed(cuts):
        text = text[:first] + text[last:]
    return text[start : end - sum(last - first for first, last in cuts)]


def with_more(document: Document, name: str, items: Sequence[str]) -> str:
    """The text of a top-level list, which may be missing or empty, with items behind its own."""
    more = ",".join(items)
    if name not in document.spans:
        return f"[{more}]"
    start, end = document.spans[name]
    spans = items_of(document, name)
    if not spans:
        return f"[{more}]"
    last = spans[-1][1]
    return f"{document.text[start:last]},{more}{document.text[last:end]}"
