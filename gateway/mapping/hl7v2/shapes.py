"""Conversions remembered by shape: a message that differs from earlier ones only in its slots is filled in, not mapped.

A shape that comes again and again is converted once more with marks in place of the texts of its slots (:mod:`cuts`,
:mod:`symbolic`). What comes out is the conversion of every message of that shape, with marks where a text, what was
read from it, what it stands for, or an id made of it goes (:mod:`templates`). The ordinary rows do this; nothing here
knows a segment or an element. Where something looked at a marked value, its field is a slot no longer; and a template
is used only when it makes of the message that it was made from, byte for byte, what the rows make of it. Whatever a
template cannot do goes the long way: a text with an escape, a value that is no date, a doctor or a code not yet
known, two list items or ids that become equal.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeAlias

from gateway.codecs.er7 import Message
from gateway.kernel.errors import DoorwayError
from gateway.mapping.hl7v2.conversion import Conversion, Feed
from gateway.mapping.hl7v2.cuts import MARKS, PAD, SLOT, UNSAID, Cutter, copied
from gateway.mapping.hl7v2.generate import function_name
from gateway.mapping.hl7v2.model import Tables
from gateway.mapping.hl7v2.plan import Plan
from gateway.mapping.hl7v2.runtime import Run
from gateway.mapping.hl7v2.symbolic import FIRST, Book, Refused, SymbolicRun
from gateway.mapping.hl7v2.templates import Template
from gateway.mapping.hl7v2.values import zone_of

Key: TypeAlias = tuple[Feed, str, str, str]  # feed, zone of its times, charset, shape
RunOf: TypeAlias = Callable[..., Run]
_BYTES: Final = 16 * 1024 * 1024  # of templates that are kept at a time, the oldest go first
_SEEN: Final = 16_384  # shapes that came a few times, as numbers
_TIMES: Final = 4  # a template costs about as much as so many messages the long way: it is made for a shape that recurs
_LONGEST: Final = 65_536  # characters of a message that has a shape
_COMPARING: Final = frozenset({"move-identifier"})  # effects that hang on which values are equal


class Shapes:
    """What is remembered of the shapes of messages; for any number of threads."""

    def __init__(
        self,
        tables: Tables,
        planned: Mapping[str, Plan],
        convert: Callable[[Message, Feed, RunOf], tuple[Conversion, Run]],
    ) -> None:
        """``convert``: the long way, with the run to use."""
        self._cutter = Cutter(tables, planned)
        self._convert = convert
        self._comparing = {t.event for t in tables.triggers.values() if t.effect in _COMPARING}
        self._texts_of = frozenset([function_name(m.name) for m in tables.datatypes.values() if m.returns_value])
        self._templates: dict[Key, Template | None] = {}  # None: this shape always goes the long way
        self._seen: dict[int, int] = {}
        self._weight = 0
        self.refused = 0  # templates that were not what the rows make; tests hold it at 0

    def cut(self, message: Message, feed: Feed) -> tuple[Key, list[str]] | None:
        """The shape of a message and the texts of its slots; None when it has to go the long way."""
        texts, marks = message.texts, message.delimiters
        if message.doubtful or len(message.raw) > _LONGEST:
            return None
        shape, slots = self._cutter.cut(texts, marks)
        if not copied(slots, marks) or shape.count(SLOT) != len(slots):
            return None
        header = texts[0].split(marks.field, 10)
        if len(header) < 10 or header[9] not in slots:  # a message without a control id is known by its bytes
            return None
        zone = zone_of(header[6].split(marks.component or "^", 1)[0][-5:])
        return (feed, zone or feed.zone, message.codec, shape), slots

    def filled(self, key: Key, slots: list[str]) -> Conversion | None:
        """The conversion by the template of a shape; None when there is none, or it cannot do it."""
        template = self._templates.get(key)
        return template.fill(slots) if template is not None else None

    def notice(self, key: Key, slots: list[str], message: Message, said: Conversion) -> None:
        """Keep the template of a shape that comes again.

        Args:
            said: what the rows made of the message.
        """
        if key in self._templates:
            return
        seen = hash(key)
        times = self._seen.pop(seen, 0) + 1
        if times < _TIMES:
            if len(self._seen) >= _SEEN:
                self._seen.clear()
            self._seen[seen] = times
            return
        self._keep(key, None if said.event in self._comparing else self._made(key, slots, message, said))

    def clear(self) -> None:
        """Forget every shape."""
        self._templates.clear()
        self._seen.clear()
        self._weight = 0

    def _made(self, key: Key, slots: list[str], message: Message, said: Conversion) -> Template | None:
        book = Book(len(slots))

        def run_of(*state: Any) -> Run:
            return SymbolicRun(book, self._texts_of, *state)

        try:
            marked, run = self._convert(_marked(key[3], message), replace(key[0], zone=key[1]), run_of)
            assert isinstance(run, SymbolicRun)
            template = Template(marked, run)
        except Refused as error:
            place = _place(key[3], message.delimiters.field, book.slot(error.mark))
            if place is not None:
                self._cutter.refuse(*place)
            return None
        except DoorwayError:
            return None
        again = template.fill(slots)
        if again is not None and not _same(again, said):
            self.refused += 1
            return None
        return template

    def _keep(self, key: Key, template: Template | None) -> None:
        if self._templates.setdefault(key, template) is not template:
            return  # another thread was quicker
        self._weight += _weight(key, template)
        if self._weight > _BYTES:
            for oldest, held in list(self._templates.items()):  # a copy: other threads keep theirs meanwhile
                self._templates.pop(oldest, None)
                self._weight -= _weight(oldest, held)
                if self._weight <= _BYTES:
                    break
            self._weight = sum(_weight(one, held) for one, held in list(self._templates.items()))


def _weight(key: Key, template: Template | None) -> int:
    return 2 * len(key[3]) + 500 + (template.weight if template is not None else 0)


def _marked(shape: str, message: Message) -> Message:
    """The message of a shape, a mark in each slot.

    Raises:
        Refused: it has characters that are used as marks.
    """
    first, *rest = shape.split(SLOT)
    if not set(MARKS.findall(shape)) <= {SLOT, UNSAID, PAD}:
        raise Refused
    text = "".join([first, *(chr(FIRST + n) + piece for n, piece in enumerate(rest))])
    return Message(b"", text.split("\r"), message.codec, message.delimiters)


def _place(shape: str, field: str, slot: int) -> tuple[str, int] | None:
    """Segment and field of a slot."""
    for line in shape.split("\r"):
        if 0 <= slot < line.count(SLOT):
            for number, text in enumerate(line.split(field)):
                if slot < text.count(SLOT):
                    return line[:3], number + (line[:3] == "MSH")
                slot -= text.count(SLOT)
        slot -= line.count(SLOT)
    return None


def _same(one: Conversion, other: Conversion) -> bool:
    """Whether two conversions are equal to the byte."""
    return one.bundle_bytes() == other.bundle_bytes() and one == other
