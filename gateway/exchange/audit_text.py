"""AuditEvents as the text that the trail keeps, from templates: what :func:`audit_event` says, at a tenth of its cost.

Two reads of one client differ in a handful of values: the time, the patient, the version, the request id, the Consent.
The template of a kind of event is cut out of an event that :func:`audit_event` itself made with marks in the place of
those values, so the two cannot drift apart; whatever has no template goes the long way.
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import Any, Final, TypeAlias

import orjson

from gateway.consent.request import AccessRequest
from gateway.exchange.audit_event import audit_event
from gateway.exchange.chain import canonical

_Shape: TypeAlias = tuple[Any, ...]
_Template: TypeAlias = tuple[tuple[str, ...], tuple[int, ...]]  # texts, and which value follows each but the last
_MEETING: Final = frozenset({"search", "search-type", "search-system"})  # entities there are typed by their matches
_NOW: Final = datetime(1971, 1, 1, tzinfo=UTC)
_DECISIONS_LIMIT: Final = 8  # more Consents and rules behind one event than this are not worth a template
# where a value stands among those of an event: first the fixed ones, then patients, then Consents and rules
_RECORDED, _DATA, _WHAT, _QUERY, _ID, _FIXED = range(6)


def audit_text(
    request: AccessRequest, activity: str, *, patients: Sequence[str] = (), released: Sequence[str] = (),
    because: Sequence[str] = (), withheld: Mapping[str, int] | None = None, what: str = "", query: str = "",
    refused: str = "", address: str = "", id_: str = "", server: str = "",
) -> bytes:  # fmt: skip
    """``canonical(audit_event(…))`` of the same arguments."""
    rare = withheld or request.break_glass is not None or len(because) > _DECISIONS_LIMIT or len(patients) > 1
    template: _Template | None = None
    if not rare and (not released or (len(released) == 1 and activity not in _MEETING)):
        template = _template(
            (
                activity, request.client, request.organization, request.actors, request.purposes, refused, address,
                server, len(patients), len(released), len(because), bool(what) + 2 * (what.count("/") == 1),
                bool(query), bool(id_),
            )
        )  # fmt: skip
    if template is None:
        return canonical(
            audit_event(
                request, activity, patients=patients, released=released, because=because, withheld=withheld,
                what=what, query=query, refused=refused, address=address, id_=id_, server=server,
            )
        )  # fmt: skip
    values = (
        _told(request.now), released[0] if released else "", what,
        b64encode(query.encode()).decode() if query else "", id_, *patients, *because,
    )  # fmt: skip
    written = "".join(values)
    if not (written.isascii() and written.isprintable()) or '"' in written or "\\" in written:
        values = tuple(orjson.dumps(value)[1:-1].decode() for value in values)
    texts, places = template
    pieces = [texts[0]]
    for place, text in zip(places, texts[1:], strict=True):
        pieces += (values[place], text)
    return "".join(pieces).encode()


def _told(now: datetime) -> str:
    """``now.isoformat(timespec="milliseconds")``."""
    second = _second(now.year, now.month, now.day, now.hour, now.minute, now.second, now.fold, now.tzinfo)
    return f"{second[0]}.{now.microsecond // 1_000:03d}{second[1]}"


@lru_cache(maxsize=64)  # looking up what a zone's clocks show takes longer than all else here
def _second(
    year: int, month: int, day: int, hour: int, minute: int, second: int, fold: int, zone: tzinfo | None
) -> tuple[str, str]:
    text = datetime(year, month, day, hour, minute, second, tzinfo=zone, fold=fold).isoformat()
    return text[:19], text[19:]


def _mark(place: int) -> str:
    """A text that no real value holds: control characters never get into one."""
    return f"\x01a value of an event: {place}\x02"


@lru_cache(maxsize=2048)
def _template(shape: _Shape) -> _Template | None:
    """The template for events of one shape; None when a mark does not come out as it went in."""
    if "\\x01" in repr(shape):
        return None  # somebody's address looks like a mark
    activity, client, organization, actors, purposes, refused, address, server, *counts = shape
    people, data, reasons, what, asked, known = counts
    request = AccessRequest(now=_NOW, organization=organization, actors=actors, purposes=purposes, client=client)
    named = ["", _mark(_WHAT), "", f"{_mark(_WHAT)}/"][what]
    text = canonical(
        audit_event(
            request, activity,
            patients=[_mark(_FIXED + n) for n in range(people)],
            released=[_mark(_DATA)] * data,
            because=[_mark(_FIXED + people + n) for n in range(reasons)],
            what=named, query=_mark(_QUERY) if asked else "", refused=refused, address=address,
            id_=_mark(_ID) if known else "", server=server,
        )
    )  # fmt: skip
    marks = {_escaped(_mark(place)): place for place in range(_FIXED + people + reasons)}
    marks[_NOW.isoformat(timespec="milliseconds").encode()] = _RECORDED
    marks[b64encode(_mark(_QUERY).encode())] = _QUERY
    marks[_escaped(f"{_mark(_WHAT)}/")] = _WHAT
    return _cut(text, marks)


def _escaped(mark: str) -> bytes:
    return orjson.dumps(mark)[1:-1]


def _cut(text: bytes, marks: Mapping[bytes, int]) -> _Template | None:
    texts: list[str] = []
    places: list[int] = []
    while True:
        at, mark = min(_found(text, marks), default=(-1, b""), key=lambda each: (each[0], -len(each[1])))
        if at < 0:
            break
        texts.append(text[:at].decode())
        places.append(marks[mark])
        text = text[at + len(mark) :]
    if places.count(_RECORDED) != 1:
        return None
    return (*texts, text.decode()), tuple(places)


def _found(text: bytes, marks: Iterable[bytes]) -> Iterable[tuple[int, bytes]]:
    return ((at, mark) for mark in marks if (at := text.find(mark)) >= 0)
