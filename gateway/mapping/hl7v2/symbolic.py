"""A run over marks instead of texts: copies pass, what is read or looked up becomes a step, anything else is refused.

The compiled rows run as they always do; only what they call (:class:`Run`) knows marks. So what comes out is right
for every text that a mark can stand for, or there is no outcome. :mod:`cuts` keeps marks away from what rows compare.
"""

import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import orjson

from gateway.kernel.identifiers import resource_id
from gateway.mapping.hl7v2.cuts import MARKS, PAD, READ, UNSAID
from gateway.mapping.hl7v2.model import Vocabulary
from gateway.mapping.hl7v2.plan import TEXTS
from gateway.mapping.hl7v2.runtime import Memory, Run

FIRST: Final = 0xE010  # the first mark; the characters before it are those of a shape
_LAST: Final = 0xF8FF
_SPAN: Final = f"[{chr(FIRST)}-{chr(_LAST)}]"
MARK: Final = re.compile(f"({_SPAN}){PAD}*")
_OPAQUE: Final = re.compile(f'\\{{"({_SPAN})":0\\}}')
_QUOTED: Final = re.compile(f'"({_SPAN})"')
_NUMBERS: Final = frozenset({"decimal", "integer", "positiveInt", "unsignedInt"})

Format: TypeAlias = tuple[str, tuple[int, ...]]  # text with %s, and the numbers of the marks that go there
Step: TypeAlias = tuple[str, Any, Any, Any]  # what is done, to which number (uid: its parts), details


class Refused(Exception):
    """A shape that cannot be filled; ``mark`` is the number of what something looked at, -1 when it is none."""

    def __init__(self, mark: int = -1) -> None:
        super().__init__("more than copied")
        self.mark = mark


class Opaque(dict[str, Any]):
    """A coded value that is not known yet: it can be put somewhere, and not looked into."""

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise Refused(number_of(next(dict.__iter__(self))))

    get = setdefault = pop = items = values = keys = update = clear = _refuse
    __getitem__ = __setitem__ = __iter__ = _refuse

    def __contains__(self, name: object) -> bool:
        return False if name == "reference" else bool(self._refuse())


def number_of(text: str) -> int:
    """The number of the mark that a text is; -1 when it is another text."""
    found = MARK.fullmatch(text)
    return ord(found[1]) - FIRST if found else -1


def format_of(text: str, bare: frozenset[int] | set[int] = frozenset()) -> Format:
    """A format for a text with marks; in JSON text the marks of ``bare`` lose their quotes.

    Raises:
        Refused: a mark that is no slot's, or a bare one inside a longer string.
    """
    plain = 0
    if bare:
        text = _OPAQUE.sub(r'"\1"', text)
        quoted = [n for n in (ord(mark) - FIRST for mark in _QUOTED.findall(text)) if n in bare]
        plain = len(quoted)
        text = _QUOTED.sub(lambda found: found[1] if ord(found[1]) - FIRST in bare else found[0], text)
    numbers = tuple([ord(mark) - FIRST for mark in MARK.findall(text)])
    made = MARK.sub("%s", text.replace("%", "%%"))
    if MARKS.search(made) or sum(n in bare for n in numbers) != plain:
        raise Refused
    return made, numbers


class Book:
    """What the marks of one shape stand for: its slots, then what is made of them, in the order of making."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.steps: list[Step] = []
        self.bare: set[int] = set()  # numbers of JSON that is no string, or of a coded one
        self._known: dict[Step, str] = {}

    def mark(self, step: Step) -> str:
        """The mark of what a step makes; the same step has one mark.

        Raises:
            Refused: more marks than there are characters for them.
        """
        known = self._known.get(step)
        if known is None:
            code = FIRST + self.slots + len(self.steps)
            if code > _LAST:
                raise Refused
            self.steps.append(step)
            known = self._known[step] = chr(code)
        return known

    def kind(self, number: int) -> str:
        """What made it; empty for a slot."""
        return self.steps[number - self.slots][0] if number >= self.slots else ""

    def slot(self, number: int) -> int:
        """The slot that a mark was made of; -1 when it was made of several or of none."""
        while number >= self.slots:
            number = self.steps[number - self.slots][1] if self.kind(number) != "uid" else -1
        return number

    def uid(self, *parts: str) -> str:
        """:func:`resource_id`; of marked parts a mark."""
        if not MARKS.search("".join(parts)):
            return resource_id(*parts)
        return self.mark(("uid", tuple([self._part(part) for part in parts]), None, None))

    def _part(self, text: str) -> str | Format:
        if not MARKS.search(text):
            return text
        number = number_of(text)
        if number in self.bare:
            if self.kind(number) != "coded":
                raise Refused(number)
            text = self.mark(("text", number, None, None))
        text = _OPAQUE.sub(lambda found: self.mark(("canonical", ord(found[1]) - FIRST, None, None)), text)
        made = format_of(text)
        if any(n in self.bare for n in made[1]):
            raise Refused(next(n for n in made[1] if n in self.bare))
        return made


class SymbolicRun(Run):
    """The state of a shape while it is mapped."""

    __slots__ = ("book", "texts_of")

    def __init__(self, book: Book, texts_of: frozenset[str], *state: Any) -> None:
        """``texts_of``: names of the functions of data type maps whose result is a text."""
        super().__init__(*state)
        self.book = book
        self.texts_of = texts_of

    def remember(self, memory: Memory, escape: str) -> None:
        """As of any message; ids become steps from here on."""
        super().remember(memory, escape)
        self.resolver.uid = self.resolver.known = self.book.uid

    def primitive(self, kind: str, text: str, component: str) -> Any:
        """A copy, or a step that reads a date or a number."""
        if not MARKS.search(text):
            return super().primitive(kind, text, component)
        if kind in TEXTS:
            return text
        number = number_of(text)
        if number < 0 or kind not in READ:
            raise Refused(number)
        made = self.book.mark(("read", number, kind, None))
        if kind in _NUMBERS:
            self.book.bare.add(number_of(made))
        return made

    def thing(self, name: str, kind: str, text: str, mark: str, apply: Callable[..., Any]) -> str | None:
        """A step that finds what the text stands for."""
        number = number_of(text)
        if number < 0:
            self._unmarked(text)
            return super().thing(name, kind, text, mark, apply)
        made = self.book.mark(("thing", number, name, mark))
        self.things.setdefault(made, {"resourceType": kind, "id": made})
        return made

    def learn(self, site: int, text: str, mark: str, apply: Callable[..., Any], vocabulary: Vocabulary | None) -> Any:
        """A step that finds the value that the text has at this site."""
        number = number_of(text)
        if number < 0:
            self._unmarked(text)
            return super().learn(site, text, mark, apply, vocabulary)
        made = self.book.mark(("coded", number, site, None))
        self.book.bare.add(number_of(made))
        return made if apply.__name__ in self.texts_of else Opaque({made: 0})

    def built_in(self, kind: str, text: str, component: str) -> Any:
        """A step for a social number; no other conversion takes marks."""
        number = number_of(text)
        if number >= 0 and kind == "ssn":
            return self.book.mark(("ssn", number, None, None))
        self._unmarked(text)
        return super().built_in(kind, text, component)

    def coded(self, vocabulary: Vocabulary, text: str, component: str) -> str | None:
        """Of texts without marks only."""
        self._unmarked(text)
        return super().coded(vocabulary, text, component)

    def concept(self, made: Any, vocabulary: Vocabulary) -> Any:
        """Of values without marks only."""
        self._unmarked(made if isinstance(made, str) else orjson.dumps(made, default=str).decode())
        return super().concept(made, vocabulary)

    def number(self, text: str) -> float:
        """Of texts without marks only."""
        self._unmarked(text)
        return super().number(text)

    def plain(self, text: str) -> str | None:
        """Of texts without marks only."""
        self._unmarked(text)
        return super().plain(text)

    def _unmarked(self, text: str) -> None:
        found = MARK.search(text)
        if found or UNSAID in text:
            raise Refused(ord(found[1]) - FIRST if found else -1)
