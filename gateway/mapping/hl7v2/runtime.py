"""What the compiled tables run on: the state of one message, conversions of values, and codes (HL7 v2.5.1 ch. 2A)."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import orjson

from gateway.kernel.fhir import DOORWAY, JsonObject
from gateway.mapping.hl7v2.model import Code, Vocabulary
from gateway.mapping.hl7v2.values import (
    CONVERSIONS,
    Stamps,
    code_system_of,
    coding_of,
    system_of,
    to_base64,
    to_positive,
    to_ssn,
    to_time,
    universal_uri,
)

_LOCAL: Final = f"{DOORWAY}/CodeSystem/local"
Fields: TypeAlias = list[str]
Fail: TypeAlias = tuple[str, str, str]  # component ("4" or ""), own text, reason


class Scope:
    """One instance of a segment group: its segments and the resources made in it."""

    __slots__ = ("own", "parent", "seen", "segments")

    def __init__(self, parent: "Scope | None") -> None:
        self.parent = parent
        self.segments: dict[str, Fields] = {}
        self.own: dict[str, JsonObject] = {}
        self.seen: dict[str, JsonObject] = {}  # made in groups inside this one, the latest of each name


@dataclass(frozen=True, slots=True)
class Thing:
    """A shared thing that a text stands for, with what it is part of: made once, then remembered."""

    reference: str  # empty when the text stands for nothing, but holds values that are left over
    resources: tuple[tuple[str, JsonObject], ...]  # with their references
    fails: tuple[Fail, ...]


class Memory:
    """What one sender's texts stand for; only texts without escapes, and values that left nothing over."""

    THINGS: Final = 8_192
    VALUES: Final = 16_384
    LONGEST: Final = 256  # characters of a text that is remembered

    def __init__(self) -> None:
        self.things: dict[tuple[str, str, str], Thing | None] = {}
        self.written: dict[int, tuple[JsonObject, bytes]] = {}  # Bundle entries of things
        self.systems: dict[str, str | None] = {}
        self.values: defaultdict[int, dict[str, bytes]] = defaultdict(dict)  # site of the tables -> text -> JSON
        self._room = self.VALUES

    def keep(self, site: int, text: str, made: Any) -> None:
        """Remember the value that a text of a coded type has at one site."""
        if len(text) > self.LONGEST:
            return
        try:
            written = orjson.dumps(made)
        except TypeError:  # a decimal with its digits, or half a character: made anew each time
            return
        self._room -= 1
        if self._room < 0:
            self.values.clear()
            self._room = self.VALUES
        self.values[site][text] = written


_NEVER: Final[defaultdict[int, dict[str, bytes]]] = defaultdict(dict)  # only ever asked, never filled


class Run:
    """The state of one message while it is mapped."""

    __slots__ = (
        "C", "E", "M", "R", "T", "authorities", "code_systems", "escape", "facts", "fails", "gathered", "linked",
        "memory", "refs", "resolver", "scope", "stamp", "things", "trace",
    )  # fmt: skip

    def __init__(
        self,
        delimiters: tuple[str, str, str],
        unescape: Callable[[str], str] | None,
        facts: Mapping[str, str],
        stamp: "Stamps",
        authorities: Mapping[str, str],
        code_systems: Mapping[str, str],
    ) -> None:
        self.R, self.C, self.T = delimiters
        self.E = unescape  # None when the message holds no escape
        self.facts = facts
        self.stamp = stamp
        self.authorities = authorities
        self.code_systems = code_systems
        self.fails: list[Fail] = []
        self.refs: list[tuple[JsonObject, JsonObject]] = []  # Reference element, resource it leads to
        self.linked: set[tuple[int, str, int]] = set()  # owner, element, target: no reference twice
        self.scope: Scope = Scope(None)
        self.trace: Any = None
        self.resolver: Any = None
        self.memory: Memory | None = None  # None: nothing is remembered from message to message
        self.escape = ""
        self.M: Mapping[int, dict[str, bytes]] = _NEVER  # values of coded texts, by site
        self.things: dict[str, JsonObject] = {}  # shared things of this message, by reference
        self.gathered: set[str] = set()  # those of which two texts tell different things: this message's own

    def remember(self, memory: Memory, escape: str) -> None:
        """Use what is known of the sender's texts; ``escape`` marks those that mean more than they say."""
        self.memory = memory
        self.escape = escape
        self.M = memory.values

    def _plain(self, text: str) -> bool:
        """Whether the text may be remembered: it holds no escape."""
        return self.memory is not None and (self.E is None or self.escape not in text)

    # -- parts of fields ---------------------------------------------------------------------------------------------

    def part(self, fields: Fields, number: int, component: int = 1, subcomponent: int = 0) -> str:
        """Own text of a part of the first repetition; "" when absent."""
        if number >= len(fields):
            return ""
        text = fields[number]
        if self.R and self.R in text:
            text = text.split(self.R, 1)[0]
        return self.piece(text, component, subcomponent)

    def piece(self, text: str, component: int, subcomponent: int = 0) -> str:
        """Own text of a part of one repetition."""
        if component:
            parts = text.split(self.C) if self.C else [text]
            text = parts[component - 1] if component <= len(parts) else ""
        return self.cut(text, subcomponent)

    def cut(self, text: str, subcomponent: int) -> str:
        """Own text of a subcomponent; 0 is the whole."""
        if not subcomponent:
            return text
        parts = text.split(self.T) if self.T else [text]
        return parts[subcomponent - 1] if subcomponent <= len(parts) else ""

    def near(self, name: str, parts: tuple[int, ...]) -> str:
        """Own text of a part of the nearest segment of that name: in this group, else in the groups around it."""
        scope: Scope | None = self.scope
        while scope is not None:
            fields = scope.segments.get(name)
            if fields is not None:
                if not parts:
                    return name
                return self.part(fields, parts[0], *(parts[1:] or (0,)))
            scope = scope.parent
        return ""

    def head(self, text: str, mark: str, component: str) -> str:
        """The first part of a text that should have one part only; the others are remembered."""
        first, *rest = text.split(mark)
        for index, other in enumerate(rest):
            if other:
                label = str(index + 2) if not component else f"{component}.{index + 2}"
                self.fails.append((label, other, "the data type of this row has no such part"))
        return first

    def only(self, text: str) -> str:
        """The first repetition with content of a field that maps to one element; the others are remembered."""
        first, *rest = [part for part in text.split(self.R) if part] or [""]
        for other in rest:
            self.fails.append(("", other, "the element takes one repetition"))
        return first

    def beyond(self, parts: list[str], handled: frozenset[int]) -> None:
        """Remember populated components that the data type map does not deal with."""
        for index, text in enumerate(parts):
            if text and index + 1 not in handled:
                self.fails.append((str(index + 1), text, "no row of the data type map reads it"))

    def miss(self, component: str, text: str, reason: str) -> None:
        """Remember a value that a row could not convert."""
        self.fails.append((component, text, reason))

    # -- values ------------------------------------------------------------------------------------------------------

    def primitive(self, kind: str, text: str, component: str) -> Any:
        """A value of a FHIR primitive type; None (and remembered) when the text cannot be one."""
        if self.E is not None:
            text = self.E(text)
        made = CONVERSIONS[kind](text, self.stamp)
        if made is None and text.strip():
            self.fails.append((component, text, f"cannot be a {kind}"))
        return made

    def coded(self, vocabulary: Vocabulary, text: str, component: str) -> str | None:
        """The target code of a vocabulary; None (and remembered) when the table has none."""
        if self.E is not None:
            text = self.E(text)
        if not text:
            return None
        code = vocabulary.codes.get(text)
        if code is None:
            code = vocabulary.codes.get(text.strip().upper())
        if code is None and text not in vocabulary.codes:
            code = vocabulary.fallback
        if code is None:
            self.fails.append((component, text, f"v2-{vocabulary.name} has no target for the code"))
            return None
        return code.code

    def concept(self, made: Any, vocabulary: Vocabulary) -> Any:
        """A CodeableConcept or Coding with the target coding of a vocabulary before the sender's own."""
        if not isinstance(made, dict):
            return self.coded(vocabulary, made, "")
        if "coding" not in made:
            if "code" not in made:
                return made
            if made["code"] in vocabulary.codes:
                made.setdefault("system", vocabulary.source_system)  # a Coding
            code = self._target(vocabulary, made)
            if code is not None:
                made.clear()
                made.update(coding_of(code))
            return made
        own = made["coding"]
        for entry in own:
            named = entry.get("system", "")
            if (not named or named.startswith(_LOCAL)) and entry.get("code") in vocabulary.codes:
                entry["system"] = vocabulary.source_system
        code = self._target(vocabulary, own[0])
        if code is not None and all(
            entry.get("system") != code.system or entry.get("code") != code.code for entry in own
        ):
            own.insert(0, coding_of(code))
        return made

    def _target(self, vocabulary: Vocabulary, entry: JsonObject) -> Code | None:
        text = entry.get("code")
        if not isinstance(text, str):
            return None
        code = vocabulary.codes.get(text) or vocabulary.codes.get(text.upper())
        return code or (vocabulary.fallback if text not in vocabulary.codes else None)

    def built_in(self, kind: str, text: str, component: str) -> Any:
        """A conversion that no row can express (mappings/hl7v2/README.md lists them)."""
        if kind == "authority":
            return self._known(text) if self.memory is not None and self._plain(text) else self.authority(text)
        if kind in ("lines", "text-base64"):
            joined = self.lines(text)
            return to_base64(joined) if joined and kind == "text-base64" else joined
        if kind == "ei-authority":
            mark = self.C if self.C and self.C in text else self.T
            parts = text.split(mark)[1:4] if mark else []
            return self.authority(mark.join(parts)) if any(parts) else None
        if kind == "texts":
            found = (self.text_in(part) for part in (text.split(self.R) if self.R else [text]))
            return ", ".join(t for t in found if t) or None
        if kind == "display":
            return self.plain(text)
        if self.E is not None:
            text = self.E(text)
        if kind.startswith("universal"):
            uri = universal_uri(text)
            return (uri or text.strip() or None) if kind == "universal-id" else uri and "urn:ietf:rfc:3986"
        made = {
            "base64": to_base64, "code-system": self.code_system, "minutes": to_positive,
            "hl7-time": to_time, "ssn": to_ssn,
        }[kind](text)  # fmt: skip
        if made is None and text.strip():
            self.fails.append((component, text, f"{kind} cannot read it"))
        return made

    def thing(self, name: str, kind: str, text: str, mark: str, apply: Callable[..., Any]) -> str | None:
        """Reference to the shared thing that ``text`` stands for; the thing itself goes with this message."""
        key = (name, text, mark)
        memory = self.memory
        known = memory is not None and key in memory.things
        if memory is not None and known:
            found = memory.things[key]
        else:
            found = self._made(kind, text, mark, apply)
            if memory is not None and self._plain(text):
                if len(memory.things) >= memory.THINGS:
                    memory.things.clear()
                    memory.written.clear()
                memory.things[key] = found
        if found is None:
            return None
        self.fails.extend(found.fails)
        things = self.things
        for reference, resource in found.resources:
            there = things.setdefault(reference, resource)
            if there is not resource and there != resource:  # a number alone here, the name with it there
                both: JsonObject = orjson.loads(orjson.dumps(there))
                merge(both, resource)
                things[reference] = both
                self.gathered.add(reference)
        return found.reference or None

    def learn(self, site: int, text: str, mark: str, apply: Callable[..., Any], vocabulary: Vocabulary | None) -> Any:
        """The value of a coded text, made once; the compiled tables look into ``M`` before they ask here."""
        fails = len(self.fails)
        made = apply(text, mark, self)
        if made is not None and vocabulary is not None:
            made = self.concept(made, vocabulary)
        if made is not None and len(self.fails) == fails and self.memory is not None and self._plain(text):
            self.memory.keep(site, text, made)
        return made

    def _made(self, kind: str, text: str, mark: str, apply: Callable[..., Any]) -> Thing | None:
        fails, refs, around = len(self.fails), len(self.refs), self.things
        self.things = {}
        made = apply(text, mark, self)
        inside, self.things = self.things, around
        failed = tuple(self.fails[fails:])
        del self.fails[fails:]
        if made is None:
            return Thing("", (), failed) if failed else None
        made["resourceType"] = kind
        resources = self.resolver.resolve([made], self.refs[refs:], inside)
        del self.refs[refs:]
        return Thing(f"{kind}/{made['id']}", tuple([(f"{r['resourceType']}/{r['id']}", r) for r in resources]), failed)

    def prefix(self, since: int, component: str) -> None:
        """Put the component before the places of what failed inside it."""
        for index in range(since, len(self.fails)):
            label, text, reason = self.fails[index]
            self.fails[index] = (f"{component}.{label}" if label else component, text, reason)

    def count(self, text: str) -> int:
        """Number of repetitions of a field."""
        return 0 if not text else text.count(self.R) + 1 if self.R else 1

    def number(self, text: str) -> float:
        """A number to compare with; what is none counts as less than every number."""
        try:
            return float(text)
        except ValueError:
            return float("-inf")

    def joined(self, texts: tuple[str, ...]) -> str | None:
        """An assignment of several parts; nothing when one of them is missing."""
        if not all(texts):
            return None
        return "".join(texts) if self.E is None else "".join(self.E(text) for text in texts)

    def lines(self, text: str) -> str | None:
        """Free text of all repetitions, one a line, delimiters that are no delimiters in text kept."""
        parts = text.split(self.R) if self.R and self.R in text else [text]
        joined = "\n".join(self.E(part) if self.E is not None else part for part in parts)
        return joined if joined.strip() else None

    def _known(self, text: str) -> str | None:
        systems = self.memory.systems if self.memory is not None else {}
        if text not in systems:
            if len(systems) > Memory.THINGS:
                systems.clear()
            systems[text] = self.authority(text)
        return systems[text]

    def text_in(self, text: str) -> str:
        """The words of a coded value: its text, else its code."""
        parts = [*(text.split(self.C) if self.C else [text]), "", "", "", "", "", "", "", ""]
        chosen = parts[8] or parts[1] or parts[0]
        return self.E(chosen) if self.E is not None else chosen

    def plain(self, text: str) -> str | None:
        """A structured value as one readable text: its parts with single spaces."""
        for mark in (self.C, self.T):
            if mark:
                text = text.replace(mark, " ")
        if self.E is not None:
            text = self.E(text)
        return " ".join(text.split()) or None

    def authority(self, text: str) -> str | None:
        """The identifier system of an assigning authority (HD, subcomponents or components; CX.4, EI.2-4)."""
        mark = self.C if self.C and self.C in text else self.T
        parts = [*(text.split(mark) if mark else [text]), "", "", ""]
        name, universal, kind = (self.E(p) if self.E is not None else p for p in parts[:3])
        return system_of(name.strip(), universal.strip(), kind.strip().upper(), self.authorities)

    def code_system(self, text: str) -> str | None:
        """The URI of a coding system named as in table 0396."""
        found = self.code_systems.get(text) or self.code_systems.get(text.upper())
        return found or code_system_of(text, self.facts["SENDER"])


# -- placing -----------------------------------------------------------------------------------------------------------


def merge(into: JsonObject, made: JsonObject) -> None:
    """Add what ``made`` holds: elements merge, lists join, values replace."""
    for key, value in made.items():
        held = into.get(key)
        if isinstance(held, dict) and isinstance(value, dict):
            merge(held, value)
        elif isinstance(held, list) and isinstance(value, list):
            held.extend(item for item in value if item not in held)
        else:
            into[key] = value


def merged(into: JsonObject, made: JsonObject) -> JsonObject:
    """:func:`merge`, as an expression."""
    merge(into, made)
    return into


def held(host: JsonObject, name: str) -> JsonObject:
    """The last item of a list, made when there is none: what a path without [n] means."""
    items = host.setdefault(name, [])
    if not items:
        items.append({})
    last: JsonObject = items[-1]
    return last


def put_extension(host: JsonObject, url: str, key: str, value: Any) -> JsonObject:
    """Append ``{url, value[x]}``; returns it."""
    made: JsonObject = {"url": url, key: value}
    host.setdefault("extension", []).append(made)
    return made


def joined_extension(host: JsonObject, url: str) -> JsonObject:
    """The one extension with this URL, made when missing; the parts of all repetitions go into it."""
    for entry in host.setdefault("extension", []):
        if entry["url"] == url:
            found: JsonObject = entry
            return found
    made: JsonObject = {"url": url, "extension": []}
    host["extension"].append(made)
    return made
