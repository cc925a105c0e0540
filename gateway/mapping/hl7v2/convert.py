"""One HL7 v2 message to FHIR R4 resources, by the compiled tables; pure: no clock, no store, no network."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson

from gateway.codecs.er7 import DELETE, Message, Segment
from gateway.codecs.json_text import Exact
from gateway.kernel.errors import Invalid, Unsupported
from gateway.kernel.fhir import CONFIDENTIALITY, DOORWAY, LEVEL, JsonObject, coding
from gateway.kernel.identifiers import resource_id
from gateway.mapping.hl7v2.effects import Effect
from gateway.mapping.hl7v2.events import effects_of
from gateway.mapping.hl7v2.generate import compiled
from gateway.mapping.hl7v2.identity import SHARED, Resolver, scope_system
from gateway.mapping.hl7v2.interpret import Reasons, interpreted
from gateway.mapping.hl7v2.model import Tables, Trigger
from gateway.mapping.hl7v2.plan import plan_of
from gateway.mapping.hl7v2.program import Action, Connection, Deletions, Program
from gateway.mapping.hl7v2.runtime import Fields, Memory, Run, Scope
from gateway.mapping.hl7v2.settle import fill, paths_of, prune
from gateway.mapping.hl7v2.values import Stamps, ZoneOf

RESIDUE: Final = f"{DOORWAY}/StructureDefinition/hl7v2-residue"
KIND: Final = f"{DOORWAY}/CodeSystem/basic-kind"
_SENDERS: Final = 256  # whose doctors and places are remembered at a time
_SNAPSHOTS: Final = {"AL1": "AllergyIntolerance", "NK1": "RelatedPerson", "IN1": "Coverage", "DG1": "Condition"}


@dataclass(frozen=True, slots=True)
class Feed:
    """Where a message comes from, and what is agreed with that sender."""

    site: str = ""  # overlay of mappings/sites
    jurisdiction: str = "us"  # us or ca
    zone: str = "UTC"  # IANA name or +hh:mm: of times that carry no offset, unless MSH-7 carries one
    sender: str = ""  # replaces MSH-3 and MSH-4 as the scope of unscoped numbers


@dataclass(frozen=True, slots=True)
class Left:
    """A populated leaf that no row mapped."""

    place: str  # PID-18.4
    text: str = field(repr=False)  # own text
    reason: str


@dataclass(frozen=True, slots=True)
class Element:
    """Where one element came from (only with ``explain``)."""

    path: str  # Patient/id name[0].family
    source: str  # PID-5.1
    row: str  # mappings/hl7v2/datatypes/FN-HumanName.csv:2
    message_row: str  # mappings/hl7v2/messages/ADT_A01.csv:7


@dataclass(frozen=True, slots=True)
class Conversion:
    """What one message says, ready to be stored."""

    kind: str  # ADT
    trigger: str  # A01
    structure: str  # message map that was used
    control_id: str = field(repr=False)
    sender: str
    resources: tuple[JsonObject, ...] = field(repr=False)  # with ids; dependencies first
    effects: tuple[Effect, ...] = ()
    deletions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # Type/id -> elements the sender deletes
    residue: tuple[Left, ...] = field(default=(), repr=False)
    snapshots: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # type -> the whole set, as references
    labels: Mapping[str, tuple[JsonObject, ...]] = field(default_factory=dict)  # Type/id -> labels we vouch for
    reasons: tuple[Element, ...] = field(default=(), repr=False)

    @property
    def event(self) -> str:
        """``ADT^A01``."""
        return f"{self.kind}^{self.trigger}"

    def bundle(self) -> JsonObject:
        """A transaction Bundle (R4) of PUTs: run twice, it leaves the same state."""
        return {
            "resourceType": "Bundle",
            "id": resource_id("Bundle", self.sender, self.control_id),
            "type": "transaction",
            "entry": [
                {
                    "fullUrl": f"{DOORWAY}/{r['resourceType']}/{r['id']}",
                    "resource": r,
                    "request": {"method": "PUT", "url": f"{r['resourceType']}/{r['id']}"},
                }
                for r in self.resources
            ],
        }

    def bundle_bytes(self) -> bytes:
        """The Bundle as UTF-8 JSON, decimals with their digits."""
        return orjson.dumps(self.bundle(), default=_exact)


def _exact(value: Any) -> Any:
    if isinstance(value, Exact):
        return orjson.Fragment(value.text)
    raise TypeError(type(value).__name__)


class Ledger:
    """Who made what from where, and what is left over, while one message is mapped."""

    __slots__ = ("left", "segment")

    def __init__(self) -> None:
        self.segment: Segment | None = None
        self.left: dict[tuple[str, str], Left] = {}

    def place_of(self, _: Fields) -> str:
        """``OBX[3]`` of the segment at hand."""
        return _name(self.segment)

    def flush(self, run: Run, number: int) -> None:
        """Turn the failed values of a field into left-over leaves."""
        for component, text, reason in run.fails:
            self.add(f"{_name(self.segment)}-{number}" + (f".{component}" if component else ""), text, reason)
        run.fails.clear()

    def add(self, place: str, text: str, reason: str) -> None:
        """One leaf; the same leaf is kept once."""
        self.left.setdefault((place, text), Left(place, text, reason))


class _Trace:
    """What compiled functions see of the ledger."""

    __slots__ = ("ledger", "run")

    def __init__(self, ledger: Ledger, run: Run) -> None:
        self.ledger = ledger
        self.run = run

    def flush(self, _: Fields, number: int) -> None:
        self.ledger.flush(self.run, number)

    def place_of(self, fields: Fields) -> str:
        return self.ledger.place_of(fields)


def _name(segment: Segment | None) -> str:
    return segment.place(0)[:-2] if segment is not None else ""


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
        self._functions: Mapping[str, Callable[..., Any]] = {} if explain else compiled(tables)
        self._fields = {name: plan_of(m, tables).handled for name, m in tables.segments.items()}
        self._programs: dict[str, Program] = {}
        self._deletions = Deletions(tables)
        self._memories: dict[tuple[str, ...], Memory] = {}

    def memory_of(self, key: tuple[str, ...]) -> Memory:
        """What is remembered of one sender's texts."""
        known = self._memories.get(key)
        if known is None:
            if len(self._memories) > _SENDERS:
                self._memories.clear()
            known = self._memories[key] = Memory()
        return known

    def convert(self, message: Message, feed: Feed = Feed()) -> Conversion:
        """Map one message.

        Raises:
            Unsupported: no map for this message type and event.
            Invalid: a message that cannot be mapped as a whole, with place and fix.
        """
        trigger = self.trigger_of(message)
        structure = trigger.structure
        if self.explain:  # reasons belong to one message
            functions, reasons = interpreted(self.tables)
            program = Program(self.tables, structure, functions, self._fields)
            return _Job(self, program, trigger, message, feed, reasons).run()
        known = self._programs.get(structure)
        if known is None:
            known = self._programs[structure] = Program(self.tables, structure, self._functions, self._fields)
        return _Job(self, known, trigger, message, feed, None).run()

    def trigger_of(self, message: Message) -> Trigger:
        """The row of triggers.csv for a message, with the structure to use filled in.

        Raises:
            Unsupported: there is none, or its structure has no map.
        """
        kind, event = message.kind, message.trigger
        found = self.tables.triggers.get(f"{kind}^{event}") or self.tables.triggers.get(f"{kind}^*")
        if found is None:
            raise Unsupported(
                "no mapping for this message type and event", at="MSH-9",
                fix="see doorway feed spec for what is mapped; a site overlay can add it",
            )  # fmt: skip
        if found.effect == "refuse":
            raise Unsupported("a message of this type holds nothing to convert", at="MSH-9", fix=found.note)
        structure = found.structure or message.structure
        if structure not in self.tables.messages:
            raise Unsupported(
                "no message map for this structure", at="MSH-9.3", fix="add it to mappings/hl7v2/messages"
            )
        return Trigger(found.place, f"{kind}^{event}", structure, found.status, found.cancels, found.effect, found.note)


class _Job:
    """One message on its way."""

    def __init__(
        self,
        owner: Converter,
        program: Program,
        trigger: Trigger,
        message: Message,
        feed: Feed,
        reasons: Reasons | None,
    ) -> None:
        self.owner = owner
        self.tables = owner.tables
        self.program = program
        self.trigger = trigger
        self.message = message
        self.feed = feed
        self.reasons = reasons
        header = message.segments[0]
        application, facility = header.get(3) or "", header.get(4) or ""
        self.sender = feed.sender or f"{application}|{facility}"
        self.control_id = header.get(10) or resource_id("control", message.raw.hex())
        self.ledger = Ledger()
        self.made: list[JsonObject] = []
        self.placed: list[tuple[Scope, Segment, Fields]] = []
        self.sources: dict[int, list[tuple[Segment, str]]] = {}  # id(resource) -> segments and message rows
        self.later: list[tuple[Connection, JsonObject, Mapping[str, int], Scope]] = []
        self.deleted: list[tuple[JsonObject, str]] = []
        self.cx = self._run(header)

    def _run(self, header: Segment) -> Run:
        marks, message = self.message.delimiters, self.message
        escape = marks.escape
        escaped = (
            message.doubtful or any(escape in s.text for s in message.segments[1:]) if escape else message.doubtful
        )
        sent = header.raw(7).split(marks.component or "^", 1)[0]
        zone = f"{sent[-5:-2]}:{sent[-2:]}" if sent[-5:-4] in ("+", "-") and sent[-4:].isdigit() else self.feed.zone
        facts = {
            "JURISDICTION": self.feed.jurisdiction,
            "TRIGGER": self.trigger.event.partition("^")[2],
            "STRUCTURE": self.trigger.structure,
            "SENDER": self.sender,
        }
        run = Run(
            (marks.repetition, marks.component, marks.subcomponent), message.unescape if escaped else None,
            facts, _stamps(zone), self.tables.authorities, self.tables.code_systems,
        )  # fmt: skip
        run.trace = _Trace(self.ledger, run)
        run.resolver = Resolver(self.tables, self.sender, self.control_id)
        if self.reasons is None:
            run.memory = self.owner.memory_of((self.sender, zone, self.feed.jurisdiction, marks.msh_2))
        return run

    def run(self) -> Conversion:
        """Walk, map, account, relate, resolve."""
        self._walk()
        for scope, segment, fields, place in self._acts:
            self._act(scope, segment, fields, place)
        for link, resource, before, scope in self.later:
            link.connect(resource, before, scope, self.cx)
        effects = effects_of(self.trigger, self.placed, self.made, self.cx)
        self._require()
        resources = self.cx.resolver.resolve(self.made, self._reachable(), self.cx.things)
        self._provenance(resources)
        labels = self._residue(resources)
        return Conversion(
            self.message.kind, self.message.trigger, self.trigger.structure, self.control_id, self.sender,
            tuple(resources), tuple(e.settled() for e in effects), self._deletions(), tuple(self.ledger.left.values()),
            self._snapshots(resources),
            labels, self._explained(resources),
        )  # fmt: skip

    # -- segments to places ------------------------------------------------------------------------------------------

    def _walk(self) -> None:
        grammar, at = self.program.grammar, -1
        stack = [self.cx.scope]
        self._acts: list[tuple[Scope, Segment, Fields, int]] = []
        trim = self._padded()
        for segment in self.message.segments:
            fields = segment.fields
            if trim and segment.id not in ("NTE", "OBX"):
                kept = 3 if segment.id == "MSH" else 1  # the delimiters themselves
                fields = [*fields[:kept], *map(trim, fields[kept:])]
            if DELETE in segment.text:
                fields = self._nulls(segment, fields)
            move = grammar.move(at, segment.id)
            if move is None:
                self._unmapped(segment, fields, "the structure has no such segment here")
                continue
            at = move.place.index
            del stack[move.keep + 1 :]
            for _ in move.place.groups[move.keep :]:
                stack.append(Scope(stack[-1]))
            scope = stack[-1]
            scope.segments.setdefault(segment.id, fields)
            self.placed.append((scope, segment, fields))
            self._acts.append((scope, segment, fields, at))

    def _padded(self) -> Callable[[str], str] | None:
        """A function that strips blanks at the ends of parts, when this message has any."""
        marks = self.message.delimiters
        found = [m for m in (marks.field, marks.repetition, marks.component, marks.subcomponent) if m]
        texts = [s.text for s in self.message.segments]
        if not any(f" {m}" in t or f"{m} " in t or t.endswith(" ") for t in texts for m in found):
            return None
        inner = found[1:]

        def trim(text: str) -> str:
            text = text.strip(" ")
            for mark in inner:
                if mark in text:
                    text = mark.join(part.strip(" ") for part in text.split(mark))
            return text

        return trim

    def _nulls(self, segment: Segment, fields: Fields) -> Fields:
        """Take the explicit nulls out: a whole field deletes, a part of one is simply not there."""
        out = list(fields)
        marks = self.message.delimiters
        for number, text in enumerate(fields):
            if number == 0 or DELETE not in text or (number <= 2 and segment.id == "MSH"):
                continue
            if text == DELETE:
                out[number] = ""
                continue
            for mark in (marks.repetition, marks.component, marks.subcomponent):
                if mark:
                    text = mark.join("" if part == DELETE else part for part in text.split(mark))
            out[number] = text
        return out

    # -- rows --------------------------------------------------------------------------------------------------------

    def _act(self, scope: Scope, segment: Segment, fields: Fields, place: int) -> None:
        cx = self.cx
        cx.scope = scope
        self.ledger.segment = segment
        ran: list[Action] = []
        nulls = DELETE in segment.text
        for action in self.program.actions[place]:
            if action.condition is not None and not action.condition(fields, len(fields), cx.R, cx):
                continue
            resource = self._obtain(action, scope, segment, fields)
            ran.append(action)
            if nulls and resource is not None:
                self._mark_deleted(action, segment, resource)
        if not ran and self.program.silenced(place, fields, cx):
            return
        handled = self.program.handled(tuple(ran), segment.id)
        for number, text in enumerate(fields):
            if text and number not in handled:
                self.ledger.add(f"{_name(segment)}-{number}", text, "no row maps this field")

    def _obtain(self, action: Action, scope: Scope, segment: Segment, fields: Fields) -> JsonObject | None:
        owner = scope
        for _ in range(action.climb):
            owner = owner.parent or owner
        resource = owner.own.get(action.key) if action.shared else None
        fresh = resource is None
        if resource is None:
            resource = {"resourceType": action.type}
        before = {name: len(resource.get(name, ())) for name in action.lists}
        action.function(fields, resource, self.cx)
        if fresh:
            if len(resource) == 1:
                return None
            owner.own[action.key] = resource
            self.made.append(resource)
            above = owner.parent
            while above is not None:
                above.seen[action.key] = resource
                above = above.parent
        self.sources.setdefault(id(resource), []).append((segment, action.place))
        for link in action.links:
            if not link.connect(resource, before, scope, self.cx):  # RF1 stands before the PID that it is about
                self.later.append((link, resource, before, scope))
        return resource

    def _mark_deleted(self, action: Action, segment: Segment, resource: JsonObject) -> None:
        for number, text in enumerate(segment.fields):
            if text == DELETE:
                for path in self.owner._deletions.of(action.map, number):
                    self.deleted.append((resource, path))

    def _unmapped(self, segment: Segment, fields: Fields, reason: str) -> None:
        ignored = self.tables.ignored
        if segment.id in ignored:
            return
        for number, text in enumerate(fields):
            if number and text and f"{segment.id}-{number}" not in ignored:
                self.ledger.add(f"{_name(segment)}-{number}", text, reason)

    # -- after mapping -----------------------------------------------------------------------------------------------

    def _reachable(self) -> list[tuple[JsonObject, JsonObject]]:
        """References whose element stands in a resource that is kept."""
        kept = {id(r) for r in self.made}
        return [(e, r) for e, r in self.cx.refs if r["resourceType"] in SHARED or id(r) in kept or self._adopt(r)]

    def _adopt(self, resource: JsonObject) -> bool:
        """Fill what R4 demands of a resource that a reference made; False when it cannot stand."""
        return id(resource) not in self._dropped and self._completed(resource)

    def _require(self) -> None:
        self._dropped: set[int] = set()
        kept = []
        for resource in self.made:
            if self._completed(resource):
                kept.append(resource)
                continue
            self._dropped.add(id(resource))
            for segment, _ in self.sources.get(id(resource), ()):
                self._unmapped(segment, segment.fields, f"no {resource['resourceType']} can be made without more")
        self.made = kept
        if self._dropped:
            gone = {id(e) for e, r in self.cx.refs if id(r) in self._dropped}
            for resource in kept:
                prune(resource, gone)

    def _completed(self, resource: JsonObject) -> bool:
        standing = resource.get("verificationStatus", {}).get("coding", [{}])[0].get("code")
        if standing == "entered-in-error":  # R4 ait-2 and con-5: what was an error has no clinical state
            resource.pop("clinicalStatus", None)
        return all(fill(resource, row) for row in self.tables.required.get(resource["resourceType"], ()))

    def _provenance(self, resources: list[JsonObject]) -> None:
        """Every resource that the message made, except shared ones, is a target of its Provenance."""
        targets = [
            {"reference": f"{r['resourceType']}/{r['id']}"}
            for r in resources
            if r["resourceType"] not in SHARED and r["resourceType"] not in ("Provenance", "MessageHeader")
        ]
        for resource in list(resources):
            if resource["resourceType"] == "Provenance" and "target" not in resource:
                if targets:
                    resource["target"] = targets
                else:
                    resources.remove(resource)

    def _residue(self, resources: list[JsonObject]) -> dict[str, tuple[JsonObject, ...]]:
        """A Basic resource that keeps the leaves which no row maps; it belongs to the patient and is Level 3."""
        if not self.ledger.left:
            return {}
        patient = next((r for r in resources if r["resourceType"] == "Patient"), None)
        labels = (coding(LEVEL, "L3"), coding(CONFIDENTIALITY, "R"))
        basic: JsonObject = {
            "resourceType": "Basic",
            "id": resource_id("Basic", self.sender, self.control_id, "residue"),
            "meta": {"security": list(labels)},
            "extension": [
                {
                    "url": RESIDUE,
                    "extension": [
                        {"url": "place", "valueString": left.place},
                        {"url": "value", "valueString": left.text.strip() or "(blank)"},
                        {"url": "reason", "valueString": left.reason},
                    ],
                }
                for left in self.ledger.left.values()
            ],
            "identifier": [{"system": scope_system(self.sender), "value": self.control_id}],
            "code": {"coding": [{"system": KIND, "code": "hl7v2-residue"}]},
        }
        if patient is not None:
            basic["subject"] = {"reference": f"Patient/{patient['id']}"}
        resources.append(basic)
        return {f"Basic/{basic['id']}": labels}

    def _deletions(self) -> dict[str, tuple[str, ...]]:
        out: dict[str, list[str]] = {}
        for resource, path in self.deleted:
            if "id" in resource:
                out.setdefault(f"{resource['resourceType']}/{resource['id']}", []).append(path)
        return {reference: tuple(dict.fromkeys(paths)) for reference, paths in out.items()}

    def _snapshots(self, resources: Iterable[JsonObject]) -> dict[str, tuple[str, ...]]:
        """Of segments in snapshot mode (ADT), the whole set that the person or visit now has from this sender."""
        if self.message.kind != "ADT":
            return {}
        present = {segment.id for _, segment, _ in self.placed}
        out: dict[str, tuple[str, ...]] = {}
        for name, kind in _SNAPSHOTS.items():
            if name in present:
                out[kind] = tuple(f"{kind}/{r['id']}" for r in resources if r["resourceType"] == kind)
        return out

    def _explained(self, resources: Iterable[JsonObject]) -> tuple[Element, ...]:
        if self.reasons is None:
            return ()
        paths: dict[int, tuple[str, str]] = {}
        for resource in resources:
            rows = self.sources.get(id(resource), [])
            paths_of(resource, f"{resource['resourceType']}/{resource['id']}", rows[0][1] if rows else "", paths)
        rows_of = {
            (paths[key][0].split(" ")[0], _name(segment)): row
            for key, made in self.sources.items() if key in paths for segment, row in made
        }  # fmt: skip
        out = []
        for why in self.reasons.whys:
            host, hops = why.host, 0
            while host not in paths and host in self.reasons.moved and hops < 9:
                host, hops = self.reasons.moved[host], hops + 1
            if host in paths:
                path, row = paths[host]
                head = path.split(" ")[0]
                row = rows_of.get((head, why.source.split("-")[0]), row)
                mark = " " if " " not in path else "."
                out.append(Element(f"{path}{mark}{why.name}", why.source, why.row, row))
        return tuple(out)
