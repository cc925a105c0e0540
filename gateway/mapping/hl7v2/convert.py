"""One HL7 v2 message to FHIR R4 resources, by the compiled tables; pure: no clock, no store, no network."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gateway.codecs.er7 import Message
from gateway.kernel.errors import Invalid, Unsupported
from gateway.mapping.hl7v2.conversion import Conversion as Conversion
from gateway.mapping.hl7v2.conversion import Element as Element
from gateway.mapping.hl7v2.conversion import Feed as Feed
from gateway.mapping.hl7v2.conversion import Left as Left
from gateway.mapping.hl7v2.generate import Compiled
from gateway.mapping.hl7v2.interpret import Reasons, interpreted
from gateway.mapping.hl7v2.job import Job, Rules
from gateway.mapping.hl7v2.model import Tables, Trigger
from gateway.mapping.hl7v2.plan import plans
from gateway.mapping.hl7v2.program import Program
from gateway.mapping.hl7v2.runtime import Memory, Run
from gateway.mapping.hl7v2.shapes import Shapes
from gateway.mapping.hl7v2.values import Stamps, ZoneOf

_SENDERS: Final = 64  # whose doctors, places and codes are remembered at a time
_NOTHING_AGREED: Final = Feed()
_KINDS: Final = 1024  # message types that are remembered at a time


@lru_cache(64)
def zone_named(name: str) -> ZoneOf:
    """The offset of local times in a zone.

    Raises:
        Invalid: neither ``+hh:mm``, ``Z`` nor an IANA name.
    """
    if name in ("Z", "UTC", "+00:00"):
        return lambda *_: "Z"
    if len(name) == 6 and name[0] in "+-" and name[3] == ":":
        return lambda *_: name
    try:
        zone = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Invalid("no such time zone", at="zone", fix="give an IANA name or +hh:mm") from None

    def offset(year: int, month: int, day: int, hour: int, minute: int) -> str:
        shift = datetime(year, month, day, hour, minute, tzinfo=zone).strftime("%z")
        return f"{shift[:3]}:{shift[3:5]}"

    return offset


@lru_cache(64)
def _stamps(name: str) -> Stamps:
    return Stamps(zone_named(name))


class Converter:
    """The tables, compiled; converts any number of messages, from any number of threads."""

    def __init__(self, tables: Tables, *, explain: bool = False) -> None:
        self.tables = tables
        self.explain = explain
        planned = plans(tables)
        self._functions: Mapping[str, Callable[..., Any]] = (
            {} if explain else Compiled(planned, tables.vocabularies.values())
        )
        self._fields = {name: planned[name].handled for name in tables.segments}
        self._programs: dict[str, Program] = {}
        self._rules = Rules(tables)
        self._kinds: dict[tuple[str, str, str], Trigger] = {}
        self._memories: dict[tuple[str, ...], Memory] = {}
        self.shapes = None if explain else Shapes(tables, planned, self._run)

    def memory_of(self, key: tuple[str, ...]) -> Memory:
        """What is remembered of one sender's texts."""
        known = self._memories.get(key)
        if known is None:
            if len(self._memories) > _SENDERS:
                self._memories.clear()
            known = self._memories[key] = Memory()
        return known

    def convert(self, message: Message, feed: Feed = _NOTHING_AGREED) -> Conversion:
        """Map one message.

        Raises:
            Unsupported: no map for this message type and event.
            Invalid: a message that cannot be mapped as a whole, with place and fix.
        """
        shapes = self.shapes
        cut = shapes.cut(message, feed) if shapes is not None else None
        if shapes is None or cut is None:
            return self._run(message, feed)[0]
        said = shapes.filled(*cut)
        if said is None:
            said = self._run(message, feed)[0]
            shapes.notice(*cut, message, said)
        return said

    def by_rows(self, message: Message, feed: Feed = _NOTHING_AGREED) -> Conversion:
        """Map one message row by row: the slow twin of what is filled in from a remembered shape."""
        return self._run(message, feed)[0]

    def forget(self) -> None:
        """Let go of everything that was learned from messages."""
        self._memories.clear()
        if self.shapes is not None:
            self.shapes.clear()

    def _run(self, message: Message, feed: Feed, run_of: Callable[..., Run] = Run) -> tuple[Conversion, Run]:
        """The long way: row by row."""
        trigger = self.trigger_of(message)
        program, reasons = self._program(trigger.structure)
        job = Job(
            self._rules, program, trigger, message, feed, memory_of=self.memory_of, stamps_of=_stamps,
            reasons=reasons, run_of=run_of,
        )  # fmt: skip
        return job.run(), job.cx

    def _program(self, structure: str) -> tuple[Program, Reasons | None]:
        if self.explain:  # reasons belong to one message
            functions, reasons = interpreted(self.tables)
            return Program(self.tables, structure, functions, self._fields), reasons
        known = self._programs.get(structure)
        if known is None:
            known = self._programs[structure] = Program(self.tables, structure, self._functions, self._fields)
        return known, None

    def trigger_of(self, message: Message) -> Trigger:
        """The row of triggers.csv for a message, with the structure to use filled in.

        Raises:
            Unsupported: there is none, or its structure has no map.
        """
        key = (message.kind, message.trigger, message.structure)
        known = self._kinds.get(key)
        if known is None:
            if len(self._kinds) >= _KINDS:
                self._kinds.clear()
            known = self._kinds[key] = self._trigger(*key)
        return known

    def _trigger(self, kind: str, event: str, said: str) -> Trigger:
        found = self.tables.triggers.get(f"{kind}^{event}") or self.tables.triggers.get(f"{kind}^*")
        if found is None:
            raise Unsupported(
                "no mapping for this message type and event", at="MSH-9",
                fix="see doorway feed spec for what is mapped; a site overlay can add it",
            )  # fmt: skip
        if found.effect == "refuse":
            raise Unsupported("a message of this type holds nothing to convert", at="MSH-9", fix=found.note)
        structure = found.structure or said
        if structure not in self.tables.messages:
            raise Unsupported(
                "no message map for this structure", at="MSH-9.3", fix="add it to mappings/hl7v2/messages"
            )
        return Trigger(found.place, f"{kind}^{event}", structure, found.status, found.cancels, found.effect, found.note)
