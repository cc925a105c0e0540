"""One HL7 v2 message on its way through a compiled program: walk, map, account, relate, resolve."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

from gateway.codecs.er7 import DELETE, Message, Segment
from gateway.kernel.errors import Invalid
from gateway.kernel.fhir import JsonObject
from gateway.kernel.identifiers import resource_id
from gateway.mapping.hl7v2 import after
from gateway.mapping.hl7v2.after import CONTROL, clean
from gateway.mapping.hl7v2.conversion import Conversion, Feed, Left, Snapshot
from gateway.mapping.hl7v2.events import Pending, effects_of
from gateway.mapping.hl7v2.identity import SHARED, Identities, Resolver
from gateway.mapping.hl7v2.interpret import Reasons
from gateway.mapping.hl7v2.model import SnapshotRow, Tables, Trigger
from gateway.mapping.hl7v2.program import FIELDS, Action, Connection, Deletions, Program
from gateway.mapping.hl7v2.runtime import Fields, Memory, Run, Scope
from gateway.mapping.hl7v2.settle import Requirements, prune
from gateway.mapping.hl7v2.values import Stamps, zone_of

_WORD: Final = re.compile(r"[A-Za-z0-9]+", re.ASCII)  # no sender takes these for delimiters
_FREE_TEXT: Final = frozenset({"NTE", "OBX"})  # blanks at the ends of their parts belong to the text


def _said(header: Segment, number: int) -> str:
    """The first component of a header field, decoded."""
    text = header.raw(number)
    return text if _WORD.fullmatch(text) else clean(header.get(number) or "")


@lru_cache(64)
def _hollow(field: str, inner: str) -> re.Pattern[str]:
    """Finds a field that holds delimiters and nothing else."""
    return re.compile(rf"{re.escape(field)}[{re.escape(inner)}]+(?:{re.escape(field)}|\r)")


class Ledger:
    """What is left over while one message is mapped; compiled functions know it as ``cx.trace``."""

    __slots__ = ("left", "run", "segment")

    def __init__(self, run: Run) -> None:
        self.run = run
        self.segment: Segment | None = None
        self.left: dict[tuple[str, str], Left] = {}

    def place_of(self, _: Fields) -> str:
        """``OBX[3]`` of the segment at hand."""
        return after.name_of(self.segment)

    def flush(self, _: Fields, number: int) -> None:
        """Turn the failed values of a field into left-over leaves."""
        fails = self.run.fails
        for component, text, reason in fails:
            self.add(f"{after.name_of(self.segment)}-{number}" + (f".{component}" if component else ""), text, reason)
        fails.clear()

    def add(self, place: str, text: str, reason: str) -> None:
        """One leaf; the same leaf is kept once."""
        self.left.setdefault((place, text), Left(place, text, reason))


class Rules:
    """What every message of a converter shares."""

    __slots__ = ("deletions", "identities", "requirements", "snapshots", "tables")

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.deletions = Deletions(tables)
        self.snapshots: dict[str, list[SnapshotRow]] = {}
        for row in tables.snapshots:
            self.snapshots.setdefault(row.segment, []).append(row)
        self.identities = Identities(tables)
        self.requirements = Requirements(tables.required)


class Job:
    """One message on its way."""

    __slots__ = (
        "control_id", "cx", "deleted", "dropped", "feed", "later", "ledger", "made", "message", "placed",
        "program", "reasons", "rules", "sender", "sources", "trigger",
        "whole",
    )  # fmt: skip

    def __init__(
        self,
        rules: Rules,
        program: Program,
        trigger: Trigger,
        message: Message,
        feed: Feed,
        *,
        memory_of: Callable[[tuple[str, ...]], Memory],
        stamps_of: Callable[[str], Stamps],
        reasons: Reasons | None,
        run_of: Callable[..., Run] = Run,
    ) -> None:
        self.rules = rules
        self.program = program
        self.trigger = trigger
        self.message = message
        self.feed = feed
        self.reasons = reasons
        header = message.header
        fields = header.fields
        self.whole = "\r".join([s.text for s in message.segments]) + "\r"
        self.sender = clean(feed.sender) if feed.sender else f"{_said(header, 3)}|{_said(header, 4)}"
        self.control_id = _said(header, 10) or resource_id("control", message.raw.hex())
        self.made: list[JsonObject] = []
        self.placed: list[tuple[Scope, Segment, Fields, int]] = []
        self.sources: dict[int, list[tuple[Segment, str]]] = {}  # id(resource) -> segments and message rows
        self.later: list[tuple[Connection, JsonObject, Mapping[str, int], Scope]] = []
        self.deleted: list[tuple[JsonObject, str]] = []
        self.dropped: set[int] = set()
        self.cx = self._run(fields[7] if len(fields) > 7 else "", memory_of, stamps_of, run_of)
        self.ledger: Ledger = self.cx.trace

    def _run(
        self,
        sent: str,
        memory_of: Callable[[tuple[str, ...]], Memory],
        stamps_of: Callable[[str], Stamps],
        run_of: Callable[..., Run],
    ) -> Run:
        marks, message, tables, feed = self.message.delimiters, self.message, self.rules.tables, self.feed
        escape, doubtful = marks.escape, message.doubtful
        whole = self.whole
        escaped = doubtful or (escape and whole.find(escape, len(message.header.text)) >= 0)
        if not escaped and not whole.replace("\r", "").isprintable():  # as nearly every message is
            escaped = CONTROL.search(whole) is not None
            escaped = escaped or "\n" in whole or "\t" in whole  # a value may be blank without being empty
        sent = sent.split(marks.component or "^", 1)[0]
        zone = zone_of(sent[-5:]) or feed.zone
        facts = {
            "JURISDICTION": feed.jurisdiction,
            "TRIGGER": message.trigger,
            "STRUCTURE": self.trigger.structure,
            "SENDER": self.sender,
        }
        escaped = escaped or run_of is not Run  # over marks: each value through a call
        run = run_of(
            (marks.repetition, marks.component, marks.subcomponent), self._plain if escaped else None,
            facts, stamps_of(zone), tables.authorities, tables.code_systems,
        )  # fmt: skip
        run.trace = Ledger(run)
        run.resolver = Resolver(self.rules.identities, self.sender, self.control_id)
        if self.reasons is None and not doubtful:
            run.remember(memory_of((self.sender, zone, feed.jurisdiction, marks.msh_2)), escape)
        return run

    def _plain(self, text: str) -> str:
        """A value without escapes and control characters."""
        return clean(self.message.unescape(text))

    def run(self) -> Conversion:
        """Walk, map, account, relate, resolve."""
        cx, message = self.cx, self.message
        self._walk()
        self._map()
        for link, resource, before, scope in self.later:
            link.connect(resource, before, scope, cx)
        effects = effects_of(self.trigger, self.placed, self.made, cx)
        effects += self._require()
        resources = cx.resolver.resolve(self.made, self._reachable(), cx.things)
        after.provenance(resources)
        if not resources and not self.ledger.left:
            raise Invalid("the message says nothing", at="MSH", fix="send the segments that the event demands")
        sets, lists = self._snapshots(resources)
        things = {key: one for key, one in cx.things.items() if key not in cx.gathered} if cx.gathered else cx.things
        left = self.ledger.left.values()
        labels = after.residue(resources, left, self.sender, self.control_id, cx.resolver.uid) if left else {}
        return Conversion(
            message.kind, message.trigger, self.trigger.structure, self.control_id, self.sender,
            tuple(resources), tuple([e.settled() for e in effects]),
            self._deletions() if self.deleted else {}, tuple(left), tuple(sets), lists, labels,
            after.explained(self.reasons, resources, self.sources), things,
            cx.memory.written if cx.memory is not None else {},
        )  # fmt: skip

    # -- segments to places ------------------------------------------------------------------------------------------

    def _walk(self) -> None:
        segments = self.message.segments
        stack = [self.cx.scope]
        trim, nulls = self._padded(), DELETE in self.whole
        marks = self.message.delimiters
        inner = marks.repetition + marks.component + marks.subcomponent
        hollow = nulls or (bool(inner) and self._hollow(marks.field, inner))
        for segment, stop in zip(segments, self.program.route(tuple([s.id for s in segments])), strict=True):
            fields = segment.fields
            if trim is not None and segment.id not in _FREE_TEXT:
                kept = 3 if segment.id == "MSH" else 1  # the delimiters themselves
                fields = [*fields[:kept], *map(trim, fields[kept:])]
            if nulls and DELETE in segment.text:
                fields = self._nulls(segment, fields)
            if hollow and segment.id != "MSH":  # delimiters alone say nothing
                fields = [text if text.strip(inner) else "" for text in fields]
            if stop is None:
                self._unmapped(segment, fields, "the structure has no such segment here")
                continue
            place, keep, opens = stop
            if len(stack) > keep + 1:
                del stack[keep + 1 :]
            for _ in range(opens):
                stack.append(Scope(stack[-1]))
            scope = stack[-1]
            scope.segments.setdefault(segment.id, fields)
            self.placed.append((scope, segment, fields, place))

    def _hollow(self, field: str, inner: str) -> bool:
        """Whether a field holds delimiters and nothing else; most messages have none that begins with one."""
        whole, start = self.whole, len(self.message.header.text)
        if not any(whole.find(field + mark, start) >= 0 for mark in inner):
            return False
        return _hollow(field, inner).search(whole, start) is not None

    def _padded(self) -> Callable[[str], str] | None:
        """A function that strips blanks at the ends of parts, when this message has any."""
        marks, whole = self.message.delimiters, self.whole
        found = [m for m in (marks.field, marks.repetition, marks.component, marks.subcomponent) if m]
        if " \r" not in whole:
            for mark in found:
                if f" {mark}" in whole or f"{mark} " in whole:
                    break
            else:
                return None
        inner = found[1:]

        def trim(text: str) -> str:
            text = text.strip(" ")
            for mark in inner:
                if mark in text:
                    text = mark.join([part.strip(" ") for part in text.split(mark)])
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

    def _map(self) -> None:
        cx, ledger, every = self.cx, self.ledger, self.program.acts
        nulls = DELETE in self.whole
        for scope, segment, fields, place in self.placed:
            acts = every[place]
            cx.scope = scope
            ledger.segment = segment
            ran, count = acts.actions, len(fields)
            if acts.conditional:
                ran = tuple([a for a in ran if a.condition is None or a.condition(fields, count, cx.R, cx)])
            for action in ran:
                resource = self._obtain(action, scope, segment, fields)
                if nulls and resource is not None and DELETE in segment.text:
                    self._mark_deleted(action, segment, resource)
                if resource is not None and segment.id in self.rules.tables.actions:
                    self._mark_removed(segment, fields, resource)
            if not ran and acts.silenced(fields, cx):
                continue
            for number in acts.unhandled(ran):
                if number >= count:
                    break
                if fields[number]:
                    ledger.add(f"{after.name_of(segment)}-{number}", fields[number], "no row maps this field")
            for number in range(FIELDS, count):
                ledger.add(f"{after.name_of(segment)}-{number}", fields[number], "no segment has so many fields")

    def _obtain(self, action: Action, scope: Scope, segment: Segment, fields: Fields) -> JsonObject | None:
        owner, cx = scope, self.cx
        if action.climb:
            for _ in range(action.climb):
                owner = owner.parent or owner
        resource = owner.own.get(action.key) if action.shared else None
        before: Mapping[str, int] = {}
        if resource is None:
            resource = {"resourceType": action.type}
            if action.lists:
                before = dict.fromkeys(action.lists, 0)
            action.function(fields, resource, cx)
            if len(resource) == 1:
                return None
            owner.own[action.key] = resource
            self.made.append(resource)
            above = owner.parent
            while above is not None:
                above.seen[action.key] = resource
                above = above.parent
            self.sources[id(resource)] = [(segment, action.place)]
        else:
            if action.lists:
                before = {name: len(resource.get(name, ())) for name in action.lists}
            action.function(fields, resource, cx)
            self.sources[id(resource)].append((segment, action.place))
        for link in action.links:
            if not link.connect(resource, before, scope, cx):  # RF1 stands before the PID that it is about
                self.later.append((link, resource, before, scope))
        return resource

    def _mark_deleted(self, action: Action, segment: Segment, resource: JsonObject) -> None:
        for number, text in enumerate(segment.fields):
            if text == DELETE:
                for path in self.rules.deletions.of(action.map, number):
                    self.deleted.append((resource, path))

    def _mark_removed(self, segment: Segment, fields: Fields, resource: JsonObject) -> None:
        part = self.cx.part
        for row in self.rules.tables.actions[segment.id]:
            if row.resource == resource["resourceType"] and part(fields, row.action) in row.codes:
                item = self.cx.plain(part(fields, row.field, row.component or 1))
                if item:
                    self.deleted.append((resource, f"{row.element}[{row.key}={item}]"))

    def _unmapped(self, segment: Segment, fields: Fields, reason: str) -> None:
        ignored = self.rules.tables.ignored
        if segment.id in ignored:
            return
        for number, text in enumerate(fields):
            if number and text and text != DELETE and f"{segment.id}-{number}" not in ignored:
                self.ledger.add(f"{after.name_of(segment)}-{number}", text, reason)

    # -- after mapping -----------------------------------------------------------------------------------------------

    def _reachable(self) -> list[tuple[JsonObject, JsonObject]]:
        """References whose element stands in a resource that is kept."""
        kept = {id(r) for r in self.made}
        return [(e, r) for e, r in self.cx.refs if id(r) in kept or r["resourceType"] in SHARED or self._adopt(r)]

    def _adopt(self, resource: JsonObject) -> bool:
        """Fill what R4 demands of a resource that a reference made; False when it cannot stand."""
        return id(resource) not in self.dropped and self.rules.requirements.complete(resource)

    def _require(self) -> list[Pending]:
        """Fill what R4 demands; where a default stands, what is stored is kept."""
        complete = self.rules.requirements.complete
        kept: list[JsonObject] = []
        defaults: list[Pending] = []
        for resource in self.made:
            filled: list[str] = []
            if complete(resource, filled):
                kept.append(resource)
                if filled and resource["resourceType"] not in after.OF_MESSAGE:
                    defaults.append(Pending("keep", resource, detail=" ".join(filled)))
                continue
            self.dropped.add(id(resource))
            for segment, _ in self.sources.get(id(resource), ()):
                self._unmapped(segment, segment.fields, f"no {resource['resourceType']} can be made without more")
        self.made = kept
        if self.dropped:
            gone = {id(e) for e, r in self.cx.refs if id(r) in self.dropped}
            for resource in kept:
                prune(resource, gone)
                self.rules.requirements.thin(resource)
        return defaults

    def _snapshots(self, resources: list[JsonObject]) -> tuple[list[Snapshot], dict[str, tuple[str, ...]]]:
        if self.message.kind != "ADT":  # other types tell of one thing, never of all there are
            return [], {}
        return after.snapshots(self.rules.snapshots, self.placed, resources, self.sources, self.dropped)

    def _deletions(self) -> dict[str, tuple[str, ...]]:
        out: dict[str, list[str]] = {}
        for resource, path in self.deleted:
            if "id" in resource:
                out.setdefault(f"{resource['resourceType']}/{resource['id']}", []).append(path)
        return {reference: tuple(dict.fromkeys(paths)) for reference, paths in out.items()}
