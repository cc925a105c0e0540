"""FHIR JSON as text that is kept: strict reading, decimals with their digits, and edits that touch nothing else.

What a sender wrote is what is stored and returned (R4 "JSON representation": precision of decimals is significant);
only ``id`` and ``meta`` change. Reading is strict where JSON parsers are lenient and disagree: a doubled name, NaN,
NUL, a lone surrogate or a nesting bomb is refused here, once, for every door.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from json.decoder import scanstring  # type: ignore[attr-defined]
from json.scanner import make_scanner
from typing import Any, Final

import orjson

from gateway.kernel.errors import Malformed
from gateway.kernel.fhir import JsonObject, Resource

DEPTH_LIMIT: Final = 64  # FHIR R4 nests about a dozen deep; extensions of extensions a few more
NUMBER_LIMIT: Final = 256  # characters of one number

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_STRING_OR_COLON: Final = re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"([ \t\n\r]*:)?')
_STRINGS: Final = re.compile(r'"([^"]*)"')  # of a text without a backslash


class Exact(float):
    """A decimal that remembers how it was written, so that ``0.10`` stays ``0.10``."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> "Exact":
        """From the JSON text of the number."""
        made = super().__new__(cls, text)
        made.text = text
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies keep the text."""
        return (Exact, (self.text,))


class _Refused(ValueError):
    """Carries what is wrong out of the C scanner; turned into Malformed with a place."""


def _object(pairs: list[tuple[str, Any]]) -> JsonObject:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _Refused("a name stands twice in one object")
    return made


def _decimal(text: str) -> Exact:
    if len(text) > NUMBER_LIMIT:
        raise _Refused("a number is too long")
    made = Exact(text)
    if made in (float("inf"), float("-inf")):
        raise _Refused("a number is too large")
    return made


def _integer(text: str) -> int | Exact:
    if len(text) < 19:
        return int(text)
    if len(text) > NUMBER_LIMIT:
        raise _Refused("a number is too long")
    made = int(text)
    return made if -(1 << 63) <= made < 1 << 64 else Exact(text)  # a decimal without a point: orjson writes 64 bits


def _constant(_text: str) -> Any:
    raise _Refused("NaN and Infinity are not JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_decimal, parse_int=_integer, parse_constant=_constant, strict=True
)
_SCAN: Final[Callable[[str, int], tuple[Any, int]]] = make_scanner(_DECODER)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON object read strictly, beside its own text and where each top-level value lies in it."""

    resource: Resource = field(repr=False)
    text: str = field(repr=False)
    spans: Mapping[str, tuple[int, int]]  # name -> start and end of its value in ``text``
    compact: bool = False  # the text is what is written from the resource, to the last character

    @property
    def body(self) -> bytes:
        """The text as UTF-8."""
        return self.text.encode()

    def slice(self, name: str) -> str:
        """The text of one top-level value."""
        start, end = self.spans[name]
        return self.text[start:end]


def parse(body: bytes, *, at: str = "body") -> Resource:
    """The resource of strict JSON, decimals as :class:`Exact`.

    Raises:
        Malformed: not UTF-8, not one JSON object, a doubled name, NaN, NUL, a lone surrogate, too deep, a number out of
            bounds. The message holds a place, never text of the body.
    """
    return read(body, at=at).resource


def read(body: bytes, *, at: str = "body") -> Document:
    """As :func:`parse`, with the text and the spans of the top-level members."""
    return _read_compact(body, at) or _read(body, at)


_DIGITS: Final = bytes.maketrans(b"123456789,[", b"000000000::")


def _read_compact(body: bytes, at: str) -> Document | None:
    """The document of a text that equals what is written from its reading, as most programs send it; else None.

    Such a text has no doubled name and nothing else that parsers read differently, so it need not be looked at as
    closely as :func:`_read` does, its slow twin. Decimals and numbered escapes are left to the twin.
    """
    if b'": ' in body[:40] or (b"\\" in body and b"\\u" in body):
        return None
    plain = body.translate(_DIGITS)
    if b"0.0" in plain or b":0e" in plain or b":-0e" in plain:  # so decimals look, where they are written compactly
        return None
    try:
        resource = orjson.loads(body)
        if type(resource) is not dict or orjson.dumps(resource) != body:
            return None
    except (ValueError, TypeError):  # no JSON, or too deep to be written
        return None
    text = body.decode()
    _check(resource, text, at)
    return _compact(text, resource)


def _compact(text: str, resource: Resource) -> Document:
    return Document(resource, text, _Spans(text, 0, resource, _first_members(text, 0, resource)), True)


def read_part(text: str, *, compact: bool, at: str = "body") -> Document:
    """As :func:`read` of what stands in a document that was read, its links replaced or not (:func:`with_links`).

    A part of ``compact`` text (:attr:`Document.compact`) is compact, and no deeper: it need not be looked at again.
    """
    resource = orjson.loads(text) if compact else None
    return _compact(text, resource) if type(resource) is dict else read(text.encode(), at=at)


def _read(body: bytes, at: str) -> Document:
    """The document of any text."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("not UTF-8", at=f"{at}, byte {error.start}", fix="send UTF-8") from None
    if text.startswith("\ufeff"):
        raise Malformed("starts with a byte order mark", at=at, fix="send UTF-8 without it")
    start = skip_space(text, 0)
    try:
        if text[start : start + 1] != "{":
            raise json.JSONDecodeError("", "", start)
        resource, end = _SCAN(text, start)
        _finish(text, end)
    except _Refused as error:
        raise Malformed(str(error), at=at) from None
    except RecursionError:
        raise Malformed("nested too deeply", at=at, fix=f"at most {DEPTH_LIMIT} levels") from None
    except (json.JSONDecodeError, StopIteration, IndexError) as error:
        place = error.value if isinstance(error, StopIteration) else getattr(error, "pos", len(text))
        raise Malformed("not a JSON object", at=f"{at}, character {place}", fix="send one JSON object") from None
    _check(resource, text, at)
    return Document(resource, text, _Spans(text, start, resource, _first_members(text, start, resource)))


class _Spans(Mapping[str, tuple[int, int]]):
    """Where the members of a text lie: those that a store edits are known, the others are looked for when asked for."""

    __slots__ = ("_all", "_few", "_resource", "_start", "_text")

    def __init__(self, text: str, start: int, resource: JsonObject, few: dict[str, tuple[int, int]]) -> None:
        self._text, self._start, self._resource, self._few = text, start, resource, few
        self._all: dict[str, tuple[int, int]] | None = None

    def __getitem__(self, name: str) -> tuple[int, int]:
        found = self._few.get(name)
        if found is None:
            if self._all is None:
                self._all = _member_spans(self._text, self._start, self._resource)
            found = self._all[name]
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._resource

    def __iter__(self) -> Iterator[str]:
        return iter(self._resource)

    def __len__(self) -> int:
        return len(self._resource)


_FIRST: Final = re.compile(
    r'\{\s*"resourceType"\s*:\s*("\w+")(?:\s*,\s*"id"\s*:\s*("[^"\\]*"))?(?:\s*,\s*"meta"\s*:\s*(?=\{))?', re.ASCII
)


def _first_members(text: str, start: int, resource: JsonObject) -> dict[str, tuple[int, int]]:
    """Spans of type, id and meta of a good text that begins with them, as nearly every one does."""
    found = _FIRST.match(text, start)
    if found is None:
        return {}
    few = {"resourceType": found.span(1)}
    if found[2] is not None:
        few["id"] = found.span(2)
    if text[found.end() : found.end() + 1] == "{":
        few["meta"] = (found.end(), _end(text, found.end(), resource["meta"]))
    return few


def _end(text: str, start: int, value: Any) -> int:
    """Where the value that was read at ``start`` ends: where it does as we would write it, else it is read again."""
    written = orjson.dumps(value, default=_default).decode()
    return start + len(written) if text.startswith(written, start) else _SCAN(text, start)[1]


_OWN: Final = re.compile(r'\{("resourceType"):("\w+"),("id"):("[^"\\]+"),("meta"):')
_NUMBER: Final = re.compile(r'":[-0-9]')  # a member may be a number, which keeps its digits
_NUMBERS: Final = re.compile(r"\[[-0-9]")
_OWN_DECODER: Final = json.JSONDecoder(parse_float=Exact)
_OWN_SCAN: Final[Callable[[str, int], tuple[Any, int]]] = make_scanner(_OWN_DECODER)  # type: ignore[arg-type]


def read_own(text: str) -> Document:
    """The document of text that Doorway itself has just written: compact, and known to be good JSON.

    What :func:`read` would refuse is not looked for, so text from outside must never come here. Where the text does not
    begin with type, id and meta, it is read as any other.
    """
    begin = _OWN.match(text)
    if begin is None:
        return read(text.encode())
    numbers = _NUMBER.search(text) or _NUMBERS.search(text)
    resource = _OWN_SCAN(text, 0)[0] if numbers else orjson.loads(text)
    few = {"resourceType": begin.span(2), "id": begin.span(4)}
    few["meta"] = (begin.end(), _end(text, begin.end(), resource["meta"]))
    return Document(resource, text, _Spans(text, 0, resource, few))


def skip_space(text: str, index: int) -> int:
    """Where the next character of a JSON text stands that is no white space."""
    if text[index : index + 1] > " ":
        return index
    found = _SPACE.match(text, index)
    return found.end() if found else index


def _finish(text: str, index: int) -> None:
    if skip_space(text, index) != len(text):
        raise json.JSONDecodeError("", "", index)


def _check(resource: JsonObject, text: str, at: str) -> None:
    """Depth, and what escapes can smuggle in: NUL and halves of surrogate pairs."""
    if text.count("{") + text.count("[") > DEPTH_LIMIT:
        _check_depth(resource, at)
    if "\\u" in text:
        _check_escapes(resource, at)


def _check_depth(resource: JsonObject, at: str) -> None:
    level: list[Any] = [resource]
    depth = 0
    while level:
        depth += 1
        if depth > DEPTH_LIMIT:
            raise Malformed("nested too deeply", at=at, fix=f"at most {DEPTH_LIMIT} levels")
        if depth == _ENTRIES_DEPTH:
            level = [node for node in level if _may_exceed(node, DEPTH_LIMIT - depth + 1)]
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, (dict, list))
        ]


_ENTRIES_DEPTH: Final = 3  # where the entries of a Bundle stand: many, and hardly any of them deep


def _may_exceed(node: Any, levels: int) -> bool:
    """Whether a node has so many brackets, those in its strings too, that it may go deeper than ``levels``."""
    try:
        text = write(node)
    except TypeError:  # too deep to be written
        return True
    return text.count(b"{") + text.count(b"[") > levels


def _check_escapes(resource: JsonObject, at: str) -> None:
    try:
        values = json.dumps(resource, ensure_ascii=False, default=float)
        values.encode("utf-8")
    except UnicodeEncodeError:
        raise Malformed("half of a surrogate pair", at=at, fix="escape characters as whole pairs") from None
    if "\\u0000" in values.replace("\\\\", ""):
        raise Malformed("a NUL character", at=at, fix="FHIR strings hold no NUL")


def _default(value: Any) -> Any:
    if isinstance(value, Exact):
        return orjson.Fragment(value.text)
    raise TypeError(type(value).__name__)


def write(value: Any) -> bytes:
    """JSON bytes; an :class:`Exact` decimal is written as it was read."""
    return orjson.dumps(value, default=_default)


def write_pretty(body: bytes) -> bytes:
    """The same JSON with two-space indentation; numbers keep their text."""
    return orjson.dumps(_DECODER.decode(body.decode()), default=_default, option=orjson.OPT_INDENT_2)


def with_identity(body: bytes, id_: str, meta: JsonObject, *, at: str = "body") -> bytes:
    """The text with ``id`` and ``meta`` set and every other character as it was.

    A value that is there is replaced in its place; what is missing is put after ``resourceType``.
    """
    return document_with_identity(read(body, at=at), id_, meta)


def document_with_identity(document: Document, id_: str, meta: JsonObject) -> bytes:
    """As :func:`with_identity` for a text that has been read already."""
    new_id, new_meta = write(id_).decode(), write(meta).decode()
    spans = document.spans
    if "id" in spans or "meta" in spans or "resourceType" not in spans:
        return _edited(document, {"id": new_id, "meta": new_meta}).encode()
    text, at = document.text, spans["resourceType"][1]  # as a create has it: one cut
    return f'{text[:at]},"id":{new_id},"meta":{new_meta}{text[at:]}'.encode()


def with_last_member(document: Document, name: str, value: Any) -> bytes:
    """The text with one member set and every other character as it was; when it is missing it becomes the last."""
    text, new = document.text, write(value).decode()
    if name in document.spans:
        start, end = document.spans[name]
        return f"{text[:start]}{new}{text[end:]}".encode()
    end = max((end for _, end in document.spans.values()), default=text.index("{") + 1)
    comma = "," if document.spans else ""
    return f'{text[:end]}{comma}"{name}":{new}{text[end:]}'.encode()


def _edited(document: Document, wanted: Mapping[str, str]) -> str:
    text, spans = document.text, document.spans
    edits = [(*spans[name], value) for name, value in wanted.items() if name in spans]
    missing = "".join(f',"{name}":{value}' for name, value in wanted.items() if name not in spans)
    if missing:
        after = spans["resourceType"][1] if "resourceType" in spans else None
        if after is not None:
            edits.append((after, after, missing))
        else:
            start = text.index("{") + 1
            edits.append((start, start, missing[1:] + ("," if spans else "")))
    for start, end, value in sorted(edits, reverse=True):
        text = text[:start] + value + text[end:]
    return text


def entry_texts(document: Document) -> list[str | None]:
    """The text of ``entry[i].resource`` of a Bundle, for each entry in order; None where an entry has no resource."""
    if not isinstance(document.resource.get("entry"), list) or "entry" not in document.spans:
        return []
    if document.compact:  # each part of it is what is written from its reading
        return [
            orjson.dumps(entry["resource"]).decode() if isinstance(entry, dict) and "resource" in entry else None
            for entry in document.resource["entry"]
        ]
    text, found = document.text, []
    index = skip_space(text, document.spans["entry"][0] + 1)
    for entry in document.resource["entry"]:
        if isinstance(entry, dict):
            inner, span = _member(text, index, entry, "resource")
            found.append(text[slice(*span)] if span is not None else None)
        else:
            inner = _end(text, index, entry)
            found.append(None)
        index = skip_space(text, inner)
        index = skip_space(text, index + 1)  # the comma, or the end of the array
    return found


def _member(text: str, index: int, node: JsonObject, wanted: str) -> tuple[int, tuple[int, int] | None]:
    """Where the object that begins at ``index`` and was read as ``node`` ends, and where one member's value lies."""
    span = None
    for name, start, end in _walked(text, index, node):
        if name == wanted:
            span = (start, end)
        index = end
    return text.index("}", index) + 1, span


def _walked(text: str, index: int, node: JsonObject) -> Iterator[tuple[str, int, int]]:
    """The members of the object that begins at ``index`` and was read as ``node``: name, start and end of the value."""
    index = skip_space(text, index + 1)
    for name, value in node.items():
        _, index = scanstring(text, index + 1, True)
        start = skip_space(text, skip_space(text, index) + 1)
        index = _end(text, start, value)
        yield name, start, index
        index = skip_space(text, index)
        if text[index] == ",":
            index = skip_space(text, index + 1)


def _member_spans(text: str, start: int, node: JsonObject) -> dict[str, tuple[int, int]]:
    return {name: (begin, end) for name, begin, end in _walked(text, start, node)}


_FEW: Final = 16  # links that are looked for one by one faster than among all strings of a text
_NOT_LINKS: Final = frozenset({"value", "valueString", "display", "text", "id", "title", "description", "comment"})


def with_links(text: str, targets: Mapping[str, str]) -> str:
    """JSON text in which each link that equals a key of ``targets`` becomes the value (R4 transaction processing).

    Links are references, uris, canonicals and uuids, and ``href`` and ``src`` in the narrative; the value of an
    identifier and human text are left alone.
    """
    if not targets:
        return text
    if "\\" in text:
        return _with_links(text, targets)
    # each string stands there as it is meant
    there: Iterable[str]
    if len(targets) <= _FEW:
        there = [key for key in targets if f'"{key}"' in text]
    else:
        there = targets.keys() & set(_STRINGS.findall(text))
    made = text
    for key in there:
        linked = _with_link(made, key, targets[key]) if targets[key] not in targets else None
        if linked is None:
            return _with_links(text, targets)
        made = linked
    return made


def _with_links(text: str, targets: Mapping[str, str]) -> str:
    """As :func:`with_links`, string by string, in any text."""
    out: list[str] = []
    done, name = 0, ""
    for found in _STRING_OR_COLON.finditer(text):
        if found[2] is not None:
            name = found[1]
            continue
        value = found[1]
        target = targets.get(value)
        if target is not None and name not in _NOT_LINKS:
            out += (text[done : found.start(1)], target)
            done = found.end(1)
        elif name == "div" and ("href" in value or "src" in value):
            for key, to in targets.items():
                value = value.replace(f'=\\"{key}\\"', f'=\\"{to}\\"')
            out += (text[done : found.start(1)], value)
            done = found.end(1)
    out.append(text[done:])
    return "".join(out)


def _with_link(text: str, key: str, target: str) -> str | None:
    """A text without a backslash with one link replaced; None when it stands elsewhere than in Reference.reference."""
    made, left = text, text.count(f'"{key}"')
    for before in ('"reference":"', '"reference": "'):
        left -= text.count(f'{before}{key}"')
        made = made.replace(f'{before}{key}"', f'{before}{target}"')
    return made if left == 0 else None
