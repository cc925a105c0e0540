"""The conversion of every message of one shape: text with gaps, and the steps that fill them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, TypeAlias, overload

import orjson

from gateway.codecs import json_text
from gateway.codecs.json_text import Exact
from gateway.kernel.fhir import JsonObject
from gateway.kernel.identifiers import id_of_name, name_of_parts
from gateway.mapping.hl7v2.conversion import Conversion, entry_bytes
from gateway.mapping.hl7v2.cuts import MARKS
from gateway.mapping.hl7v2.plan import SHARED
from gateway.mapping.hl7v2.symbolic import Book, Format, Opaque, Refused, Step, SymbolicRun, format_of, number_of
from gateway.mapping.hl7v2.values import CONVERSIONS, Stamps, to_date, to_ssn

Fill: TypeAlias = Callable[[list[str]], Any]
_UID, _THING, _CODED, _READ, _STAMPED = range(5)
_SHORT: Final = 300  # characters up to which ``%`` is the fastest
_TIMES: Final = {"dateTime": "datetime", "instant": "instant"}  # what the stamps of a sender remember


class Filled(Sequence[JsonObject]):
    """The resources of a filled template: the Bundle is written, the objects are read from it when asked for."""

    __slots__ = ("_exact", "_read", "_things", "bundle")

    def __init__(self, bundle: bytes, things: Mapping[str, JsonObject], exact: bool) -> None:
        """``exact``: some number is a decimal, which keeps its digits."""
        self.bundle = bundle
        self._things = things
        self._exact = exact
        self._read: tuple[JsonObject, ...] | None = None

    def _all(self) -> tuple[JsonObject, ...]:
        if self._read is None:
            whole = json_text.parse(self.bundle) if self._exact else orjson.loads(self.bundle)
            made, things = [entry["resource"] for entry in whole["entry"]], self._things
            self._read = tuple([things.get(f"{r['resourceType']}/{r['id']}", r) for r in made])
        return self._read

    @overload
    def __getitem__(self, index: int) -> JsonObject: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[JsonObject]: ...
    def __getitem__(self, index: int | slice) -> JsonObject | Sequence[JsonObject]:
        return self._all()[index]

    def __len__(self) -> int:
        return len(self._all())

    def __iter__(self) -> Iterator[JsonObject]:
        return iter(self._all())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._all() == tuple(other)

    __hash__ = None  # type: ignore[assignment]


def _filler(made: Format) -> Fill:
    text, numbers = made
    if not numbers:
        plain = text % ()
        return lambda outs: plain
    if len(numbers) == 1:
        only = numbers[0]
        return lambda outs: text % outs[only]
    pick = itemgetter(*numbers)
    if len(text) < _SHORT or "%%" in text:
        return lambda outs: text % pick(outs)
    pieces = [half for piece in text.split("%s") for half in (piece, "")][:-1]

    def fill(outs: list[str]) -> str:
        filled = pieces[:]
        filled[1::2] = pick(outs)
        return "".join(filled)

    return fill


def _maker(value: Any, bare: set[int]) -> Fill | None:
    """What makes a value with its marks filled; None when it has none and cannot be changed by who gets it."""
    if isinstance(value, str):
        if not MARKS.search(value):
            return None
        made = format_of(value)
        if not bare.isdisjoint(made[1]):
            raise Refused
        return _filler(made)
    if isinstance(value, Mapping):
        pairs = [(_always(k, bare), _always(v, bare)) for k, v in value.items()]
        return lambda outs: {k(outs): v(outs) for k, v in pairs}
    if isinstance(value, (list, tuple)):
        makers = [_maker(one, bare) for one in value]
        if isinstance(value, tuple) and not any(makers):
            return None
        every = [make or _same(one) for make, one in zip(makers, value, strict=True)]
        kind = type(value)
        return lambda outs: kind([one(outs) for one in every])
    if is_dataclass(value):
        every = [_always(getattr(value, f.name), bare) for f in fields(value)]
        made_of: Callable[..., Any] = value.__class__
        return lambda outs: made_of(*[one(outs) for one in every])
    return None


def _always(value: Any, bare: set[int]) -> Fill:
    return _maker(value, bare) or _same(value)


def _same(value: Any) -> Fill:
    return lambda outs: value


def _lists(node: Any) -> Iterator[list[Any]]:
    if isinstance(node, Opaque):
        return
    if isinstance(node, dict):
        for value in node.values():
            yield from _lists(value)
    elif isinstance(node, list):
        yield node
        for value in node:
            yield from _lists(value)


def _alike(one: Any, other: Any, book: Book) -> bool:
    """Whether two list items could become equal when their marks are filled; ids of different making never do."""
    if isinstance(one, Opaque) or isinstance(other, Opaque):
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[k], other[k], book) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_alike(a, b, book) for a, b in zip(one, other, strict=True))
    if isinstance(one, str) and isinstance(other, str):
        if not (MARKS.search(one) or MARKS.search(other)):
            return one == other
        (here, ours), (there, theirs) = format_of(one), format_of(other)
        ids = here == there and len(ours) == 1 and book.kind(ours[0]) == book.kind(theirs[0]) == "uid"
        return not ids or ours == theirs
    return bool(one == other)


def _exact(value: Any) -> Any:
    if isinstance(value, Exact):
        return orjson.Fragment(value.text)
    raise TypeError(type(value).__name__)


def _json(node: Any) -> str:
    return orjson.dumps(node, default=_exact).decode()


def _decimals(node: Any) -> bool:
    if isinstance(node, Opaque):
        return False
    if isinstance(node, dict):
        return any(map(_decimals, node.values()))
    return any(map(_decimals, node)) if isinstance(node, list) else isinstance(node, float)


@lru_cache(4096)
def _canonical(text: str) -> str:
    return orjson.dumps(orjson.loads(text), option=orjson.OPT_SORT_KEYS).decode()


def _string(text: str) -> str | None:
    found = orjson.loads(text)
    return found if isinstance(found, str) else None


def _written(made: Any) -> str | None:
    return made.text if isinstance(made, Exact) else None if made is None else str(made)


def _reader(kind: str, stamp: Stamps) -> Callable[[str], str | None]:
    """How a text of a FHIR primitive type is read; None of one that cannot be read."""
    if kind == "date":
        return to_date
    if kind in _TIMES:
        read: Callable[[str], str | None] = getattr(stamp, _TIMES[kind])
        return read
    convert = CONVERSIONS[kind]
    return lambda text: _written(convert(text, stamp))


class Template:
    """One shape, converted."""

    __slots__ = (
        "_decimals", "_equal", "_head", "_ids", "_memory", "_other", "_parts", "_said", "_shared", "_steps", "weight",
    )  # fmt: skip

    def __init__(self, said: Conversion, run: SymbolicRun) -> None:
        """``said``: the conversion of the shape, made by ``run``.

        Raises:
            Refused: something in it cannot be filled.
        """
        assert run.memory is not None
        book, bare = run.book, run.book.bare
        self._memory = run.memory
        head = said.head() | {"id": book.uid("Bundle", said.sender, said.control_id)}
        self._head = _filler(format_of(f'{_json(head)[:-1]},"entry":['))
        made: list[JsonObject] = []
        parts: list[Any] = []  # number of a thing, (reference, thing), or texts of entries that follow each other
        for resource in said.resources:
            reference = f"{resource['resourceType']}/{resource['id']}"
            if run.things.get(resource["id"]) is resource:
                parts.append(number_of(resource["id"]))
            elif run.things.get(reference) is resource:
                parts.append((reference, resource))
            else:
                made.append(resource)
                if not parts or not isinstance(parts[-1], list):
                    parts.append([])
                parts[-1].append(entry_bytes(resource).decode())
        self._parts = [_filler(format_of(",".join(p), bare)) if isinstance(p, list) else p for p in parts]
        self._shared = [
            _filler(format_of(f"{r['resourceType']}/{r['id']}")) for r in made if r["resourceType"] in SHARED
        ]
        self._ids = frozenset([r["id"] for r in made if not MARKS.search(r["id"])])
        self._equal = [tuple(_filler(format_of(text, bare)) for text in pair) for pair in _pairs(made, book)]
        self._decimals = any(s[0] == "read" and s[2] == "decimal" for s in book.steps) or any(map(_decimals, made))
        self._said = (said.kind, said.trigger, said.structure, _always(said.control_id, bare), said.sender)
        self._other = _always(
            (said.effects, said.deletions, said.residue, said.snapshots, said.renewed, said.labels), bare
        )  # fmt: skip
        self._steps = [_ready(step, run.stamp) for step in book.steps]
        texts = sum(len(text) for part in parts if isinstance(part, list) for text in part)
        self.weight = 2 * texts + 300 * (book.slots + len(book.steps))  # bytes, with what fills the gaps

    def fill(self, slots: list[str]) -> Conversion | None:
        """The conversion of the message with these texts in its slots; None when it must go the long way."""
        outs, found, ids = list(slots), {}, []
        memory = self._memory
        things, values = memory.things, memory.values
        for kind, one, other in self._steps:
            made: str | None
            if kind == _UID:
                made = id_of_name(
                    "".join([
                        p if p.__class__ is str
                        else f"{len(outs[p])}:{outs[p]}" if p.__class__ is int else p(outs)
                        for p in one
                    ])
                )  # fmt: skip
                ids.append(made)
            elif kind == _THING:
                thing = things.get((other[0], outs[one], other[1]))
                if thing is None or thing.fails or not thing.reference:
                    return None
                found[len(outs)] = thing.resources
                made = thing.reference
            elif kind == _CODED:
                written = values[other].get(outs[one])
                if written is None:
                    return None
                made = written.decode()
            else:
                made = other(outs[one])
                if made is None:
                    return None
            outs.append(made)
        distinct = set(ids)
        if len(distinct) != len(ids) or not distinct.isdisjoint(self._ids):
            return None  # two of them are one thing
        for left, right in self._equal:
            if left(outs) == right(outs):
                return None
        return self._assembled(outs, found)

    def _assembled(self, outs: list[str], found: Mapping[int, Iterable[tuple[str, JsonObject]]]) -> Conversion | None:
        things: dict[str, JsonObject] = {}
        written, entries = self._memory.written, []
        for part in self._parts:
            if callable(part):
                entries.append(part(outs).encode())
                continue
            for reference, resource in found[part] if part.__class__ is int else (part,):
                if reference in things:
                    if things[reference] != resource:
                        return None  # two texts tell different things of it
                else:
                    things[reference] = resource
                    there = written.get(id(resource))
                    if there is None or there[0] is not resource:
                        there = written[id(resource)] = (resource, entry_bytes(resource))
                    entries.append(there[1])
        for shared in self._shared:
            if shared(outs) in things:
                return None
        bundle = b"%b%b]}" % (self._head(outs).encode(), b",".join(entries))
        kind, trigger, structure, control_id, sender = self._said
        effects, deletions, residue, snapshots, renewed, labels = self._other(outs)
        return Conversion(
            kind, trigger, structure, control_id(outs), sender, Filled(bundle, things, self._decimals), effects,
            deletions, residue, snapshots, renewed, labels, (), things, written,
        )  # fmt: skip


def _pairs(made: Iterable[JsonObject], book: Book) -> Iterator[tuple[str, str]]:
    """Pairs of list items that could become equal, so that rows might join them, as JSON."""
    for resource in made:
        for items in _lists(resource):
            for at, one in enumerate(items):
                for other in items[:at]:
                    if _alike(one, other, book):
                        pair = _json(one), _json(other)
                        if MARKS.search("".join(pair)):
                            yield pair


def _ready(step: Step, stamp: Stamps) -> tuple[int, Any, Any]:
    """A step as :meth:`Template.fill` takes it."""
    kind, one, other, more = step
    if kind == "uid":
        return _UID, tuple([_sized(part) for part in one]), None
    if kind == "thing":
        return _THING, one, (other, more)
    if kind == "coded":
        return _CODED, one, other
    read = {"ssn": to_ssn, "text": _string, "canonical": _canonical}.get(kind) or _reader(other, stamp)
    return _READ, one, read


def _sized(part: str | Format) -> str | int | Fill:
    """A part of an id's name: as it is, the number of what goes there, or what makes it."""
    if isinstance(part, str):
        return name_of_parts((part,))
    text, numbers = part
    if text == "%s":
        return numbers[0]
    whole = _filler(part)

    def named(outs: list[str]) -> str:
        made: str = whole(outs)
        return f"{len(made)}:{made}"

    return named
