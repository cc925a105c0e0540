"""Conditions of the mapping tables: the guide's prose syntax with the deviations of its cells, read into one tree.

Grammar (case does not count)::

    condition  = ["IF"] or
    or         = and {"OR" ["IF"] and}
    and        = unary {"AND" ["IF"] unary}
    unary      = "NOT" unary | "(" or ")" | test
    test       = ref predicate {("AND" | "OR") predicate without a subject: it takes the subject before}
    predicate  = ["IS"] "VALUED" | "IS EMPTY" | ["IS"] "NOT" predicate | "EXISTS" | "DOES NOT EXIST"
               | ("EQUALS" | "EQUAL" ["TO"] | "IS" | "=") value | ("<>" | "!=") value
               | "IN" "(" value {"," value} ")"
               | ["COUNT" | "LENGTH"] ("EQUALS" | "GREATER THAN" | "LESS THAN" ["OR EQUALS"] | ">" | "=" …) number

``A AND B VALUED`` reads as both valued (the guide writes it so). A value is a quoted literal, a number or another ref.
References: ``PID-13.2``, ``CX.4.1``, ``OBX-5``, a bare segment name ("is there such a segment in the group"), and the
facts of the run: ``JURISDICTION``, ``TRIGGER``, ``STRUCTURE``.
"""

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from gateway.kernel.errors import Invalid


@dataclass(frozen=True, slots=True)
class Ref:
    """A place of the message: segment or data type, field, component, subcomponent; field 0 is the segment itself."""

    name: str
    parts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Valued:
    """The place holds something."""

    ref: Ref


@dataclass(frozen=True, slots=True)
class Compare:
    """``measure`` of the place (its text, LENGTH or COUNT) against one of ``values``."""

    ref: Ref
    operator: str  # in, <, <=, >, >=
    values: tuple["str | Ref", ...]
    measure: str = ""


@dataclass(frozen=True, slots=True)
class Not:
    """Negation."""

    term: "Condition"


@dataclass(frozen=True, slots=True)
class Both:
    """All of them."""

    terms: tuple["Condition", ...]


@dataclass(frozen=True, slots=True)
class Either:
    """At least one."""

    terms: tuple["Condition", ...]


Condition: TypeAlias = Valued | Compare | Not | Both | Either
FACTS: Final = frozenset({"JURISDICTION", "TRIGGER", "STRUCTURE"})

_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<quoted>"[^"]*"|'[^']*'|“[^”]*”)
      | (?P<mark>[(),]|<=|>=|<>|!=|=|<|>)
      | (?P<url>https?://\S+)
      | (?P<word>[A-Za-z][A-Za-z0-9_]*(?:[.-]\d+)*|LST\.COUNT|\d+)
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_REF: Final = re.compile(r"([A-Z][A-Z0-9]{1,2})((?:[.-]\d+)*)", re.IGNORECASE)
_WORDS: Final = frozenset(
    [
        "IF",
        "AND",
        "OR",
        "NOT",
        "IS",
        "IN",
        "VALUED",
        "VALUE",
        "EMPTY",
        "EXIST",
        "EXISTS",
        "DOES",
        "EQUALS",
        "EQUAL",
        "TO",
        "THAN",
        "GREATER",
        "LESS",
        "COUNT",
        "LENGTH",
    ]
)
_ORDER: Final = {"<": "<", "<=": "<=", ">": ">", ">=": ">="}


_READ: Final[dict[tuple[str, Ref | None], "Condition"]] = {}  # of a thousand cells, three quarters say what others say


def parse_condition(text: str, *, at: str, subject: Ref | None = None) -> "Condition | None":
    """Read a condition cell; empty means always (None).

    Args:
        subject: the place that a condition without one speaks of (``IF NOT VALUED``): the row's own source.

    Raises:
        Invalid: the cell does not follow the grammar above; the message names ``at`` and what was met.
    """
    if not text.strip():
        return None
    tree = _READ.get((text, subject))
    if tree is None:
        reader = _Reader(_tokens(text, at), at, subject)
        tree = reader.either()
        if not reader.done:
            raise Invalid(
                f"cannot read the condition from {reader.peek!r} on", at=at, fix="see mappings/hl7v2/README.md"
            )
        _READ[text, subject] = tree
    return tree


def _tokens(text: str, at: str) -> list[str]:
    text = re.sub(r"LST\s*\.\s*COUNT|LST\s+COUNT", "COUNT", text.strip(), flags=re.IGNORECASE)
    out, position = [], 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise Invalid(f"cannot read the condition at character {position + 1}", at=at)
        token = found[0].strip()
        if found["word"] and token.upper() in _WORDS:
            token = token.upper()
        out.append(token)
        position = found.end()
        while position < len(text) and text[position].isspace():
            position += 1
    return out


class _Reader:
    """Recursive descent over the tokens; ``subject`` is the place that a predicate without one speaks of."""

    def __init__(self, tokens: list[str], at: str, subject: Ref | None) -> None:
        self._tokens = tokens
        self._next = 0
        self._at = at
        self._subject = subject

    @property
    def done(self) -> bool:
        """Whether every token was read."""
        return self._next >= len(self._tokens)

    @property
    def peek(self) -> str:
        """The next token; empty at the end."""
        return self._tokens[self._next] if not self.done else ""

    def take(self, *words: str) -> bool:
        """Consume these tokens when they come next."""
        if self._tokens[self._next : self._next + len(words)] != list(words):
            return False
        self._next += len(words)
        return True

    def fail(self, wanted: str) -> Invalid:
        """The error that says what was expected here."""
        return Invalid(f"{wanted} expected in the condition, met {self.peek!r}", at=self._at)

    def either(self) -> Condition:
        """Terms joined by OR."""
        self.take("IF")
        terms = [self.both()]
        while self.take("OR"):
            self.take("IF")
            terms.append(self.both())
        return terms[0] if len(terms) == 1 else Either(tuple(terms))

    def both(self) -> Condition:
        """Terms joined by AND."""
        self.take("IF")
        terms = [self.unary()]
        while self.take("AND"):
            self.take("IF")
            terms.append(self.unary())
        return terms[0] if len(terms) == 1 else Both(tuple(terms))

    def unary(self) -> Condition:
        """A negation, a parenthesis or one test."""
        self.take("IF")
        if self.peek == "NOT" and self._next + 1 < len(self._tokens) and self._tokens[self._next + 1] == "(":
            self.take("NOT")
            return Not(self.unary())
        if self.take("("):
            tree = self.either()
            if not self.take(")"):
                raise self.fail("a closing parenthesis")
            return tree
        ref = self._ref()
        if ref is not None:
            self._subject = ref
            if self._distributed():
                return Valued(ref)
        if self._subject is None:
            raise self.fail("a place such as PID-3")
        return self.predicate(self._subject)

    def _distributed(self) -> bool:
        """``A AND B VALUED``: A has no predicate of its own, so it shares the one that follows."""
        return self.done or self.peek in ("AND", "OR", ")")

    def predicate(self, ref: Ref) -> Condition:
        """What is asked of a place."""
        self.take("IS")
        if self.take("DOES", "NOT", "EXIST") or self.take("EMPTY"):
            return Not(Valued(ref))
        if self.take("NOT"):
            self.take("IS")
            return Not(self.predicate(ref))
        if self.take("VALUED") or self.take("VALUE") or self.take("EXISTS"):
            return self._also(ref, Valued(ref))
        if self.take("IN"):
            return Compare(ref, "in", self._set())
        measure = "count" if self.take("COUNT") else "length" if self.take("LENGTH") else ""
        return self._comparison(ref, measure)

    def _also(self, ref: Ref, said: Condition) -> Condition:
        """``VALUED NOT EQUAL x`` and ``VALUED AND NOT "x"``: a second predicate on the same place."""
        if self.peek == "NOT" and not self.done:
            return Both((said, self.predicate(ref)))
        return said

    def _comparison(self, ref: Ref, measure: str) -> Condition:
        self.take("IS")
        if self.take("NOT"):
            return Not(self._comparison(ref, measure))
        operator = "in"
        if self.take("GREATER", "THAN"):
            operator = ">"
        elif self.take("LESS", "THAN"):
            operator = "<"
        elif self.peek in _ORDER:
            operator = _ORDER[self.peek]
            self._next += 1
        elif self.take("<>") or self.take("!="):
            return Not(Compare(ref, "in", (self._value(),), measure))
        else:
            _ = self.take("EQUALS") or self.take("EQUAL") or self.take("=")
            self.take("TO")
        if operator in "<>" and self.take("OR"):
            _ = self.take("EQUALS") or self.take("EQUAL")
            self.take("TO")
            operator += "="
        return Compare(ref, operator, (self._value(),), measure)

    def _set(self) -> tuple["str | Ref", ...]:
        if not self.take("("):
            return (self._value(),)
        values = [self._value()]
        while self.take(","):
            values.append(self._value())
        if not self.take(")"):
            raise self.fail("a closing parenthesis")
        return tuple(values)

    def _value(self) -> "str | Ref":
        token = self.peek
        if token[:1] in ('"', "'", "“"):
            self._next += 1
            return token[1:-1]
        if token.isdigit() or token.startswith("http"):
            self._next += 1
            return token
        ref = self._ref()
        if ref is None:
            raise self.fail("a value in quotes")
        return ref

    def _ref(self) -> Ref | None:
        token = self.peek
        if token in _WORDS or token[:1] in ('"', "'", "“"):
            return None
        if token.upper() in FACTS:
            self._next += 1
            return Ref(token.upper())
        found = _REF.fullmatch(token)
        if found is None:
            return None
        self._next += 1
        return Ref(found[1].upper(), tuple(int(part) for part in re.findall(r"\d+", found[2])))
