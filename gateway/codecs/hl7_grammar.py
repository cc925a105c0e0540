"""What the standard says of a version, message structure and segment; the one file that imports hl7apy.

hl7apy's tables are used, its parser is not: the parser drops whole segments by default, refuses the truncation
character before 2.7, moves fields over withdrawn positions and changes escapes when it writes (tests pin these faults).
Nothing here is on the way of a message; it serves conformance reports.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

import hl7apy
from hl7apy.exceptions import HL7apyException

from gateway.codecs.er7 import Message, Segment

VERSIONS: Final = tuple(sorted(hl7apy.SUPPORTED_LIBRARIES))
_Child: TypeAlias = tuple[str, int, int, bool, "tuple[Any, ...]"]  # name, least, most (-1: any), group?, children


@dataclass(frozen=True, slots=True)
class Deviation:
    """Where a message leaves its version of the standard; no value of the message is told."""

    place: str  # PID-3, OBX[2], MSH-12
    what: str


def deviations(message: Message) -> list[Deviation]:
    """What of the version and structure that the message claims it does not keep.

    Looks at segments (known, allowed in the structure, required, in order, repeated) and fields (required, repeated,
    beyond the last one, withdrawn); Z segments are the sender's own and pass.
    """
    version = message.version or "2.5.1"
    if version not in VERSIONS:
        return [Deviation("MSH-12", "not a version whose tables are known here")]
    out = [] if message.version else [Deviation("MSH-12", "the version is missing; read as 2.5.1")]
    structure = _structure(message.structure, version)
    if structure is None:
        out.append(Deviation("MSH-9", f"version {version} has no such message structure"))
    else:
        out.extend(_order(message.segments, structure))
    for segment in message.segments:
        out.extend(_fields(segment, version))
    return out


@lru_cache(256)
def _reference(name: str, kind: str, version: str) -> Any:
    try:
        return hl7apy.load_reference(name, kind, version)
    except (HL7apyException, KeyError, AttributeError):
        return None


@lru_cache(256)
def _structure(name: str, version: str) -> "tuple[_Child, ...] | None":
    found = _reference(name, "Message", version)
    return _children(found) if found is not None else None


def _children(reference: Any) -> "tuple[_Child, ...]":
    return tuple(
        (name, least, most, kind == "GRP", _children(inner) if kind == "GRP" else ())
        for name, inner, (least, most), kind in reference[1]
    )


def _names(children: Iterable[_Child]) -> Iterator[str]:
    for name, _, _, group, inner in children:
        if group:
            yield from _names(inner)
        else:
            yield name


def _order(segments: list[Segment], structure: "tuple[_Child, ...]") -> Iterator[Deviation]:
    """Walk the structure once; what does not fit is told where it stands, and passed over."""
    allowed = set(_names(structure))
    standing: list[Segment] = []
    for segment in segments:
        if segment.id.startswith("Z"):
            continue
        if segment.id in allowed:
            standing.append(segment)
        else:
            yield Deviation(segment.place(0)[:-2], "the message structure has no such segment")
    missing: list[str] = []
    position = _take(standing, 0, structure, missing)
    for name in missing:
        yield Deviation(name, "a required segment is missing or in the wrong place")
    for segment in standing[position:][:1]:
        yield Deviation(segment.place(0)[:-2], "the segment stands where the structure does not allow it")


def _take(segments: list[Segment], position: int, children: "tuple[_Child, ...]", missing: list[str]) -> int:
    """How far the children of one group reach; required ones that do not come are added to ``missing``."""
    for name, least, most, group, inner in children:
        times = 0
        while position < len(segments) and (most < 0 or times < most):
            if group:
                if segments[position].id not in _starts(inner):
                    break
                end = _take(segments, position, inner, missing)
                if end == position:
                    break
                position = end
            elif segments[position].id == name:
                position += 1
            else:
                break
            times += 1
        if times < least:
            missing.append(next(_names(inner)) if group else name)
    return position


def _starts(children: "tuple[_Child, ...]") -> set[str]:
    """Segments that a group can begin with."""
    out: set[str] = set()
    for name, least, _, group, inner in children:
        out |= _starts(inner) if group else {name}
        if least:
            break
    return out


def _fields(segment: Segment, version: str) -> Iterator[Deviation]:
    if segment.id.startswith("Z"):
        return
    found = _reference(segment.id, "Segment", version)
    if found is None:
        yield Deviation(segment.place(0)[:-2], f"version {version} has no such segment")
        return
    known = {}
    for name, _, (least, most), _ in found[1]:
        number = int(name.rpartition("_")[2])
        known[number] = most
        if least and not segment.raw(number):
            yield Deviation(segment.place(number), "a required field is missing")
    last = max(known, default=0)
    for number in range(1, len(segment.fields)):
        raw = segment.raw(number)
        if not raw or (number <= 2 and segment.id == "MSH"):
            continue
        if number > last:
            yield Deviation(segment.place(number), f"version {version} has no such field")
        elif number not in known:
            yield Deviation(segment.place(number), "the field was withdrawn")
        elif 0 < known[number] < len(segment.repetitions(number)):
            yield Deviation(segment.place(number), "the field repeats more often than allowed")
