"""Taking out of a copy what the asker may not see inside a resource that he may see."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from gateway.codecs import json_items, json_text
from gateway.consent.codes import KNOWN_LABEL_SYSTEMS
from gateway.consent.view import ResourceView, local, rank_of
from gateway.kernel.errors import Invalid
from gateway.kernel.fhir import LEVEL, JsonObject

_NO_TEXTS: Final[Mapping[str, str]] = MappingProxyType({})


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

    Only what is hidden is cut, every other character stays; the copy carries no mark of it: a mark would tell that
    something exists. None when nothing had to go.
    """
    document = json_text.read(body)
    resource = dict(document.resource)
    gone: dict[str, set[int]] = {}
    for rule in hidden:
        name = rule.path[0]
        whole = document.resource.get(name)
        if len(rule.path) == 1 and rule.where is not None and isinstance(whole, list):
            taken = (number for number, item in enumerate(whole) if _meets(item, rule.where))
            gone.setdefault(name, set()).update(taken)
        elif name in resource:
            part = {name: deepcopy(resource[name])}
            _take(part, rule.path, rule.where)
            resource = {k: part.get(k, v) for k, v in resource.items() if k != name or k in part}
            if name not in part:
                resource.pop(f"_{name}", None)
    links = document.resource.get("link")
    if unseen and isinstance(links, list):
        gone["link"] = {number for number, link in enumerate(links) if _names(link, unseen)}
    texts: dict[str, str] = {}
    for name, numbers in gone.items():
        whole = document.resource[name]
        if not numbers or name not in resource:
            continue
        if len(numbers) == len(whole):
            del resource[name]
            resource.pop(f"_{name}", None)
        elif resource[name] is whole:
            texts[name] = json_items.without(document, name, numbers)
        else:
            resource[name] = [item for number, item in enumerate(resource[name]) if number not in numbers]
    return spliced(document, resource, texts)


def restored(sent: json_text.Document, shown: JsonObject, whole: json_text.Document) -> json_text.Document | None:
    """What a writer sent over a resource of which he was ``shown`` a part, with what was withheld from him.

    Items of a list stand behind his own, a single element that was withheld stands as it was, whatever he sent; all
    else is his, to the character. None where it cannot be told what belongs where: something was taken out of the
    inside of an item of a list.
    """
    texts: dict[str, str] = {}
    for name, value in whole.resource.items():
        if name in _GATEWAYS or (name in shown and shown[name] == value):
            continue
        seen = shown.get(name)
        if isinstance(value, list) and isinstance(seen or [], list) and all(isinstance(item, dict) for item in value):
            missing = _missing(value, seen or [])
            if missing is None:
                return None
            spans = json_items.items_of(whole, name)
            texts[name] = json_items.with_more(sent, name, [whole.text[slice(*spans[number])] for number in missing])
        elif name not in shown:
            texts[name] = whole.slice(name)
        else:
            stands = _stands(sent.resource.get(name), seen, value)
            if stands is None:
                return None
            texts[name] = json_text.write(stands).decode()
    text = spliced(sent, sent.resource, {name: made for name, made in texts.items() if name in sent.resource})
    made = json_text.read(text) if text is not None else sent
    end = max((end for _, end in made.spans.values()), default=made.text.index("{") + 1)
    more = "".join(f',"{name}":{made}' for name, made in texts.items() if name not in sent.resource)
    return json_text.read(f"{made.text[:end]}{more}{made.text[end:]}".encode())


_GATEWAYS: Final = frozenset({"resourceType", "id", "meta"})  # these are not the writer's


def _missing(whole: list[Any], shown: list[Any]) -> list[int] | None:
    """Which items of a list were not shown; None when those that were are not simply some of them, in order."""
    missing, place = [], 0
    for number, item in enumerate(whole):
        if place < len(shown) and shown[place] == item:
            place += 1
        else:
            missing.append(number)
    return missing if place == len(shown) else None


def _stands(sent: Any, shown: Any, whole: Any) -> JsonObject | None:
    """An object that he sent, with the members that were withheld from him."""
    if not isinstance(whole, dict) or not isinstance(shown, dict):
        return None
    made = dict(sent) if isinstance(sent, dict) else {}
    for name, value in whole.items():
        if name not in shown:
            made[name] = value
        elif shown[name] != value:
            inner = _stands(made.get(name), shown[name], value)
            if inner is None:
                return None
            made[name] = inner
    return made


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


def spliced(document: json_text.Document, wanted: JsonObject, texts: Mapping[str, str] = _NO_TEXTS) -> bytes | None:
    """The document with members that changed written anew, and members that are gone cut out.

    Args:
        texts: of members whose new text is known.
    """
    text = document.text
    edits = []
    for name, (start, end) in document.spans.items():
        if name not in wanted:
            edits.append((*_member(text, start, end), ""))
        elif name in texts:
            edits.append((start, end, texts[name]))
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
    kept = [item for item in value if not _meets(item, where)]
    if kept:
        node[path[0]] = kept
    else:
        del node[path[0]]


def _meets(item: Any, where: tuple[str, str]) -> bool:
    return isinstance(item, dict) and item.get(where[0]) == where[1]


def _names(node: Any, unseen: frozenset[str]) -> bool:
    if isinstance(node, dict):
        literal = node.get("reference")
        if isinstance(literal, str) and local(literal) in unseen:
            return True
        return any(_names(value, unseen) for value in node.values())
    return isinstance(node, list) and any(_names(value, unseen) for value in node)
