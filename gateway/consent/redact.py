"""Taking out of a copy what the asker may not see inside a resource that he may see."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from gateway.codecs import json_text
from gateway.consent.codes import KNOWN_LABEL_SYSTEMS
from gateway.consent.view import ResourceView, local, rank_of
from gateway.kernel.errors import Invalid
from gateway.kernel.fhir import LEVEL, JsonObject


@dataclass(frozen=True, slots=True)
class ElementRule:
    """An element that is more sensitive than its resource: ``path`` below ``type``, and the labels that it carries.

    ``where`` narrows a list: ``url=…`` or ``system=…`` of the entry.
    """

    type: str
    path: tuple[str, ...]
    where: tuple[str, str] | None
    labels: frozenset[str]

    def labelled(self, view: ResourceView) -> ResourceView:
        """The view of the element alone: the resource with this element's labels; the same view when it has them."""
        if self.labels <= view.labels:
            return view
        levelled = any(label.startswith(f"{LEVEL}|") for label in self.labels)  # an element has one level, its own
        labels = frozenset(x for x in view.labels if not (levelled and x.startswith(f"{LEVEL}|"))) | self.labels
        return replace(
            view, labels=labels, rank=rank_of(labels),
            labelled=view.labelled or any(label.rpartition("|")[0] in KNOWN_LABEL_SYSTEMS for label in self.labels),
        )  # fmt: skip


def read_element_rules(
    rows: Iterable[Mapping[str, str]], *, file: str = "terminology/policies/elements.csv"
) -> tuple[ElementRule, ...]:
    """From rows of (element, where, labels): ``Patient.extension``, ``url=…``, codes separated by spaces.

    Raises:
        Invalid: a row without element or labels, with file:line.
    """
    found = []
    for line, row in enumerate(rows, start=2):
        type_, *path = row["element"].split(".")
        if not path or not row["labels"]:
            raise Invalid("a row needs an element and labels", at=f"{file}:{line}")
        name, _, value = row["where"].partition("=")
        found.append(
            ElementRule(type_, tuple(path), (name, value) if value else None, frozenset(row["labels"].split()))
        )
    return tuple(found)


def redacted(body: bytes, hidden: Iterable[ElementRule], unseen: frozenset[str]) -> bytes | None:
    """The text without the hidden elements and without links to records that the asker may not know of.

    Only the members concerned are touched, every other character stays; the copy carries no mark of it: a mark would
    tell that something exists. None when nothing had to go.
    """
    document = json_text.read(body)
    resource = dict(document.resource)
    for rule in hidden:
        if rule.path[0] in resource:
            part = {rule.path[0]: deepcopy(resource[rule.path[0]])}
            _take(part, rule.path, rule.where)
            resource = {k: part.get(k, v) for k, v in resource.items() if k != rule.path[0] or k in part}
            if rule.path[0] not in part:
                resource.pop(f"_{rule.path[0]}", None)
    links = resource.get("link")
    if unseen and isinstance(links, list):
        resource["link"] = [link for link in links if not _names(link, unseen)]
        if not resource["link"]:
            del resource["link"]
    return spliced(document, resource)


def marked(body: bytes, labels: Iterable[str]) -> bytes | None:
    """The text with handling labels (``system|code``) at the end of ``meta.security``; None when it has them all.

    ``meta`` is written by the gateway itself, so every character else stays as it is stored.
    """
    document = json_text.read(body)
    meta = document.resource.get("meta")
    security = meta.get("security") if isinstance(meta, dict) else None
    if not isinstance(meta, dict) or not isinstance(security, list):
        return None  # a notice goes by a label in this list
    have = {f"{one.get('system', '')}|{one.get('code', '')}" for one in security if isinstance(one, dict)}
    fresh = [{"system": one.rpartition("|")[0], "code": one.rpartition("|")[2]} for one in labels if one not in have]
    if not fresh:
        return None
    return spliced(document, {**document.resource, "meta": {**meta, "security": [*security, *fresh]}})


def spliced(document: json_text.Document, wanted: JsonObject) -> bytes | None:
    """The document with members that changed written anew, and members that are gone cut out."""
    text = document.text
    edits = []
    for name, (start, end) in document.spans.items():
        if name not in wanted:
            edits.append((*_member(text, start, end), ""))
        elif wanted[name] is not document.resource[name] and wanted[name] != document.resource[name]:
            edits.append((start, end, json_text.write(wanted[name]).decode()))
    for start, end, value in sorted(edits, reverse=True):
        text = text[:start] + value + text[end:]
    return text.encode() if edits else None


def _member(text: str, start: int, end: int) -> tuple[int, int]:
    """From before the comma that leads to a member's name to the end of its value; resourceType stands before it."""
    name_ends = text.rindex('"', 0, text.rindex(":", 0, start))
    name_starts = text.rindex('"', 0, name_ends)
    before = text[:name_starts].rstrip()
    if before.endswith(","):
        return len(before) - 1, end
    after = end + len(text[end:]) - len(text[end:].lstrip())
    return name_starts, after + 1 if text[after] == "," else end


def _take(node: Any, path: tuple[str, ...], where: tuple[str, str] | None) -> None:
    if isinstance(node, list):
        for item in node:
            _take(item, path, where)
        return
    if not isinstance(node, dict) or path[0] not in node:
        return
    if len(path) > 1:
        _take(node[path[0]], path[1:], where)
        return
    value = node[path[0]]
    if where is None or not isinstance(value, list):
        del node[path[0]]
        node.pop(f"_{path[0]}", None)
        return
    kept = [item for item in value if not (isinstance(item, dict) and item.get(where[0]) == where[1])]
    if kept:
        node[path[0]] = kept
    else:
        del node[path[0]]


def _names(node: Any, unseen: frozenset[str]) -> bool:
    if isinstance(node, dict):
        literal = node.get("reference")
        if isinstance(literal, str) and local(literal) in unseen:
            return True
        return any(_names(value, unseen) for value in node.values())
    return isinstance(node, list) and any(_names(value, unseen) for value in node)
