"""FHIRPath text to a tree (FHIRPath N1, the part that invariants use)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from gateway.profiles.primitives import words


class NotFhirPath(ValueError):
    """The text is not FHIRPath, or uses a part of it that is not built here."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant; ``value`` is str, int, float or bool."""

    value: str | int | float | bool


@dataclass(frozen=True, slots=True)
class EmptySet:
    """``{}``."""


@dataclass(frozen=True, slots=True)
class Variable:
    """``$this``, ``$index`` or ``%name``, with its sign."""

    name: str


@dataclass(frozen=True, slots=True)
class Step:
    """``base.name``; ``base`` None starts at the focus."""

    base: "Node | None"
    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """``base.name(arguments)``."""

    base: "Node | None"
    name: str
    arguments: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Index:
    """``base[number]``."""

    base: "Node"
    index: "Node"


@dataclass(frozen=True, slots=True)
class Binary:
    """``left operator right``; for ``is`` and ``as`` the right side is a Step that names a type."""

    operator: str
    left: "Node"
    right: "Node"


@dataclass(frozen=True, slots=True)
class Negative:
    """``-operand``."""

    operand: "Node"


Node: TypeAlias = Literal | EmptySet | Variable | Step | Call | Index | Binary | Negative

_TOKEN: Final = re.compile(
    r"""\s*(?:
    (?P<string>'(?:[^'\\]|\\.)*') |
    (?P<date>@T?[0-9][0-9T:.Z+-]*) |
    (?P<number>[0-9]+(?:\.[0-9]+)?) |
    (?P<variable>\$(?:this|index|total)|%(?:[A-Za-z_][A-Za-z0-9_-]*|'[^']*'|`[^`]*`)) |
    (?P<name>[A-Za-z_][A-Za-z0-9_]*|`(?:[^`\\]|\\.)*`) |
    (?P<operator><=|>=|!=|!~|[-+*/&|=~<>.,()\[\]{}])
    )""",
    re.VERBOSE | re.ASCII,
)
_LEVELS: Final[Mapping[str, int]] = {
    "implies": 1,
    "or": 2,
    "xor": 2,
    "and": 3,
    "in": 4,
    "contains": 4,
    **dict.fromkeys(("=", "~", "!=", "!~"), 5),
    **dict.fromkeys(("<", ">", "<=", ">="), 6),
    "|": 7,
    "is": 8,
    "as": 8,
    **dict.fromkeys(("+", "-", "&"), 9),
    **dict.fromkeys(("*", "/", "div", "mod"), 10),
}
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}
_LENGTH_LIMIT_CHARACTERS: Final = 20_000


def parse(text: str) -> Node:
    """The tree of an expression.

    Raises:
        NotFhirPath: the text does not follow the grammar; the message quotes the expression (a rule, never a record).
    """
    if len(text) > _LENGTH_LIMIT_CHARACTERS:
        raise NotFhirPath("the expression is too long")
    parser = _Parser(_tokens(text))
    try:
        node = parser.expression(0)
    except RecursionError:
        raise NotFhirPath("the expression is nested too deeply") from None
    if parser.kind:
        raise NotFhirPath(f"{parser.text!r} is not expected here")
    return node


def _tokens(text: str) -> list[tuple[str, str]]:
    found, at, end = [], 0, len(text.rstrip())
    while at < end:
        token = _TOKEN.match(text, at)
        if token is None or token.lastgroup is None:
            raise NotFhirPath(f"character {at + 1} is not FHIRPath")
        found.append((token.lastgroup, token[token.lastgroup]))
        at = token.end()
    found.append(("", ""))
    return found


def _unescape(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        if found[0].startswith("\\u"):
            return chr(int(found[0][2:], 16))
        return _ESCAPES.get(found[0][1], found[0][1])

    return re.sub(r"\\(?:u[0-9a-fA-F]{4}|.)", one, text, flags=re.DOTALL)


class _Parser:
    """Precedence climbing over the tokens."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._at = 0

    @property
    def kind(self) -> str:
        """Kind of the token at hand; empty at the end."""
        return self._tokens[self._at][0]

    @property
    def text(self) -> str:
        """Text of the token at hand."""
        return self._tokens[self._at][1]

    def _take(self) -> str:
        text = self.text
        self._at += 1
        return text

    def _accept(self, text: str) -> bool:
        if self.kind == "operator" and self.text == text:
            self._at += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise NotFhirPath(f"{text!r} is missing")

    def expression(self, lowest: int) -> Node:
        """An expression whose operators bind tighter than level ``lowest``."""
        left = self._unary()
        while self.kind in ("operator", "name"):
            level = _LEVELS.get(self.text, 0)
            if not level or level <= lowest:
                break
            operator = self._take()
            if operator in ("is", "as"):
                left = Binary(operator, left, self._type_name())
            else:
                left = Binary(operator, left, self.expression(level))
        return left

    def _type_name(self) -> Step:
        if self.kind != "name":
            raise NotFhirPath("a type name is missing")
        name = self._take().strip("`")
        while self._accept("."):
            name = self._take().strip("`")
        return Step(None, name)

    def _unary(self) -> Node:
        if self._accept("-"):
            return Negative(self._unary())
        if self._accept("+"):
            return self._unary()
        node = self._term()
        while True:
            if self._accept("."):
                node = self._invocation(node)
            elif self._accept("["):
                node = Index(node, self.expression(0))
                self._expect("]")
            else:
                return node

    def _term(self) -> Node:
        kind = self.kind
        if kind == "operator":
            if self._accept("("):
                node = self.expression(0)
                self._expect(")")
                return node
            if self._accept("{"):
                self._expect("}")
                return EmptySet()
            raise NotFhirPath(f"{self.text!r} is not expected here")
        if kind == "string":
            return Literal(_unescape(self._take()[1:-1]))
        if kind == "date":
            return Literal(self._take().lstrip("@"))
        if kind == "number":
            return self._number()
        if kind == "variable":
            name = self._take()
            return Variable(name[0] + name[1:].strip("'`"))
        if kind == "name":
            if self.text in ("true", "false"):
                return Literal(self._take() == "true")
            return self._invocation(None)
        raise NotFhirPath("the expression ends too early")

    def _number(self) -> Node:
        text = self._take()
        if self.kind == "string" or (self.kind == "name" and self.text in _CALENDAR):
            raise NotFhirPath("quantities are not built")
        return Literal(float(text) if "." in text else int(text))

    def _invocation(self, base: Node | None) -> Node:
        if self.kind == "variable":
            return self._term()
        if self.kind != "name":
            raise NotFhirPath("a name is missing")
        text = self._take()
        name = _unescape(text[1:-1]) if text.startswith("`") else text
        if not self._accept("("):
            return Step(base, name)
        arguments = []
        if not self._accept(")"):
            arguments.append(self.expression(0))
            while self._accept(","):
                arguments.append(self.expression(0))
            self._expect(")")
        return Call(base, name, tuple(arguments))


_CALENDAR: Final = words("year month week day hour minute second years months weeks days hours minutes seconds")
