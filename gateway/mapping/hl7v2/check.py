"""What an interface analyst would say about a message: findings with place, problem and fix, never a value."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.codecs.er7 import Message, Segment
from gateway.kernel.errors import DoorwayError
from gateway.mapping.hl7v2.convert import Converter, Feed
from gateway.mapping.hl7v2.grammar import Grammar

ERROR, WARNING, NOTE = "error", "warning", "note"
_TIMED: Final = re.compile(r"\d{10,14}(\.\d+)?")
_VERSIONS: Final = frozenset("2.1 2.2 2.3 2.3.1 2.4 2.5 2.5.1 2.6 2.7 2.7.1 2.8 2.8.1 2.8.2 2.9".split())  # noqa: SIM905
_HEADER: Final[tuple[tuple[int, str, str, str], ...]] = (
    (3, WARNING, "no sending application", "fill it, it names the feed"),
    (4, WARNING, "no sending facility", "fill it, numbers without authority hang on it"),
    (7, WARNING, "no date and time of the message", "fill it, with the offset from UTC"),
    (9, ERROR, "no message type", "fill type, event and structure"),
    (10, ERROR, "no control id", "fill it with something unique: duplicates are found by it"),
    (11, NOTE, "no processing id", "P, T or D"),
    (12, NOTE, "no version", "fill it"),
)
_TIMES: Final = (("EVN", 2), ("EVN", 6), ("PV1", 44), ("PV1", 45), ("OBR", 7), ("OBX", 14))


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to mend, or to know."""

    severity: str
    place: str
    problem: str
    fix: str = ""


def check_message(message: Message, converter: Converter, feed: Feed) -> list[Finding]:
    """Everything that can be said of one message without its neighbours, worst first."""
    found = [*_text(message), *_header(message), *_identity(message), *_times(message)]
    found += _structure(message, converter)
    found += _mapping(message, converter, feed)
    rank = {ERROR: 0, WARNING: 1, NOTE: 2}
    return sorted(found, key=lambda one: rank[one.severity])


def _text(message: Message) -> Iterator[Finding]:
    if message.doubtful:
        yield Finding(
            ERROR, "MSH-18", "bytes that are not of the charset", "say the charset in MSH-18, or set it for the sender"
        )
    for oddity in message.oddities:
        yield Finding(WARNING, "text", oddity, "tolerated; HL7 ends segments with CR alone")


def _header(message: Message) -> Iterator[Finding]:
    head = message.segments[0]
    for number, severity, problem, fix in _HEADER:
        if not head.raw(number):
            yield Finding(severity, f"MSH-{number}", problem, fix)
    if head.raw(9) and not head.get(9, 1, 3):
        yield Finding(NOTE, "MSH-9.3", "no structure", f"derived from type and event: {message.structure}")
    version = head.get(12)
    if version and version not in _VERSIONS:
        yield Finding(WARNING, "MSH-12", "a version that HL7 never published", "2.1 to 2.9")
    if len(head.raw(10)) > 199:
        yield Finding(WARNING, "MSH-10", "longer than 199 characters", "shorten it")
    if not head.raw(18) and any(ord(c) > 127 for s in message.segments for c in s.text):
        yield Finding(WARNING, "MSH-18", "characters beyond ASCII without a charset", "say UNICODE UTF-8 or 8859/1")


def _identity(message: Message) -> Iterator[Finding]:
    for pid in message.all("PID"):
        place = pid.place(3)
        texts = pid.repetitions(3) or pid.repetitions(2)
        if not texts:
            yield Finding(ERROR, place, "no patient identifier", "without one every message makes a new person")
            continue
        parts = [text.split(message.delimiters.component or "^") for text in texts]
        if any(len(p) < 4 or not p[3] for p in parts):
            yield Finding(
                WARNING,
                place,
                "an identifier without assigning authority",
                "fill CX.4; it is unique in the sender only",
            )
        if any(len(p) < 5 or not p[4] for p in parts):
            yield Finding(
                NOTE, place, "an identifier without type", "fill CX.5; it is taken for a medical record number"
            )
        if not pid.raw(5):
            yield Finding(WARNING, pid.place(5), "no name", "linking has nothing to compare")
        if not pid.raw(7):
            yield Finding(NOTE, pid.place(7), "no birth date", "linking is weaker without")
    for pv1 in message.all("PV1"):
        if pv1.get(2) not in (None, "N") and not pv1.raw(19):
            yield Finding(WARNING, pv1.place(19), "no visit number", "updates and cancels cannot find the visit")


def _times(message: Message) -> Iterator[Finding]:
    head = message.segments[0].get(7) or ""
    if re.search(r"[+-]\d{4}$", head):
        return
    for name, number in _TIMES:
        segment = message.first(name)
        if segment is not None and _TIMED.fullmatch(segment.get(number) or ""):
            yield Finding(
                NOTE,
                segment.place(number),
                "a time without offset",
                "add it here or in MSH-7; the zone of the feed is used",
            )
            return


def _structure(message: Message, converter: Converter) -> Iterator[Finding]:
    try:
        structure = converter.trigger_of(message).structure
    except DoorwayError:
        return
    grammar = Grammar(converter.tables.messages[structure])
    at, seen = -1, set[str]()
    for segment in message.segments:
        move = grammar.move(at, segment.id)
        if move is None:
            severity = NOTE if segment.id.startswith("Z") else WARNING
            yield Finding(
                severity, _bare(segment), f"{structure} has no such segment here", "its values are kept, unmapped"
            )
            continue
        if move.place.index < at and not move.place.groups:
            yield Finding(NOTE, _bare(segment), "stands later than the structure says", "tolerated")
        at = move.place.index
        seen.add(segment.id)
    for place in grammar.places:
        if place.least and not place.groups and place.segment not in seen:
            yield Finding(WARNING, place.segment, f"{structure} demands this segment", "send it")


def _bare(segment: Segment) -> str:
    return segment.place(0)[:-2]


def _mapping(message: Message, converter: Converter, feed: Feed) -> Iterator[Finding]:
    try:
        conversion = converter.convert(message, feed)
    except DoorwayError as error:
        yield Finding(ERROR, error.at, error.message, error.fix)
        return
    for left in conversion.residue:
        if left.reason == "the structure has no such segment here":
            continue  # said once for the segment
        severity = WARNING if "cannot be" in left.reason or "no target" in left.reason else NOTE
        yield Finding(severity, left.place, left.reason, "kept in the residue; a row or a site overlay can map it")


def specification(converter: Converter, name: str) -> Iterator[str]:
    """The interface specification of a feed as Markdown, from the tables that run: events, segments, fields, codes."""
    tables = converter.tables
    yield f"# Interface specification: {name}\n"
    yield "Written from the mapping tables that run. HL7 v2.1 to v2.9 over MLLP; MSH-9.3 may be empty.\n"
    yield "## Events\n"
    yield (
        "*sets* is the state of the visit (keep: as it is) or of another resource: `=status` where fields say none, "
        "`=!status` whatever they say, `=?status` only where none is stored.\n"
    )
    yield "| event | structure | sets | takes back | effect | why |\n|---|---|---|---|---|---|"
    for row in tables.triggers.values():
        cells = (row.event, row.structure, row.status, " ".join(row.cancels), row.effect, row.note)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    used: dict[str, None] = {}
    yield "\n## Message structures\n"
    for structure, message in tables.messages.items():
        yield f"### {structure}\n"
        yield "| segment | repeats | condition | becomes | map |\n|---|---|---|---|---|"
        for line in message.rows:
            spot = ".".join((*line.groups, line.segment))
            many = "yes" if line.repeats else ""
            yield f"| {spot} | {many} | {'conditional' if line.condition else ''} | {line.resource} | {line.map} |"
            used[line.map] = None
        yield ""
    yield "## Fields\n"
    for map_name in sorted(filter(None, used)):
        yield f"### {map_name}\n"
        yield "| row | field | element or extension | type | data type map | codes |\n|---|---|---|---|---|---|"
        for entry in tables.segments[map_name].rows:
            source = ".".join(str(n) for n in (entry.source.field, entry.source.component) if n) or "-"
            target = f"{entry.target} {entry.extension}".strip() or "not mapped, by rule"
            yield f"| {entry.number} | {source} | {target} | {entry.type} | {entry.datatype} | {entry.vocabulary} |"
        yield ""
    yield from _identities(tables.identities, tables.order)


def _identities(identities: Mapping[str, tuple[object, ...]], order: tuple[str, ...]) -> Iterator[str]:
    yield "## How things are recognised\n"
    yield "| resource | parts of the id, the first complete row wins |\n|---|---|"
    for name in order:
        rows = ["+".join(getattr(rule, "parts", ())) for rule in identities[name]]
        yield f"| {name} | {'<br>'.join(rows)} |"
