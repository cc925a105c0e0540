"""PDQ and PIX over HL7 v2: reading QBP^Q22 and QBP^Q23, writing RSP^K22 and RSP^K23 (v2.5.1 ch. 3.3.56-57 and 5).

A question becomes a PID segment that goes through the inbound tables, an answer is made by the outbound ones: so an
identifier asked for has the system that the same identifier got when it was stored.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, TypeAlias

from gateway.codecs.ack import answer_of
from gateway.codecs.er7 import DELETE, Message, Segment
from gateway.codecs.er7_build import Fields, Value, build, segment_text
from gateway.kernel.errors import DoorwayError, Invalid, Unsupported
from gateway.kernel.fhir import JsonObject, Resource
from gateway.mapping.hl7v2.answer import response
from gateway.mapping.hl7v2.outbound import Outbound, segments_about

DEMOGRAPHICS: Final = "Q22"  # IHE ITI-21
CROSS_REFERENCE: Final = "Q23"  # IHE ITI-9
_ANSWERS: Final = {DEMOGRAPHICS: ("RSP", "K22", "RSP_K21"), CROSS_REFERENCE: ("RSP", "K23", "RSP_K23")}
_DOMAINS: Final = {DEMOGRAPHICS: 8, CROSS_REFERENCE: 4}  # QPD field: the domains whose identifiers are wanted
_PARAMETER: Final = re.compile(r"@PID\.(\d{1,2})(?:\.(\d{1,2})(?:\.(\d))?)?", re.ASCII)
_MOST: Final = 50

PatientOf: TypeAlias = Callable[[bytes], Resource]  # a message with one PID -> the Patient that the tables make of it


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked."""

    trigger: str  # Q22 or Q23
    person: Resource = field(repr=False)  # Q22: the Patient sought; Q23: one whose first identifier is the source
    domains: tuple[str, ...]  # identifier systems wanted; empty: all
    count: int  # answers of a page
    pointer: str  # DSC-1: where to go on
    digest: str  # the same for every page of one question


@dataclass(frozen=True, slots=True)
class Page:
    """What is answered: Patients (released, cut to the domains) with the chance that each is meant, 0..1, or None."""

    people: Sequence[tuple[Resource, float | None]] = field(default=(), repr=False)
    total: int = 0
    remaining: int = 0
    pointer: str = ""


def is_query(message: Message) -> bool:
    """Whether a message asks what is answered here."""
    return message.kind == "QBP" and message.trigger in _ANSWERS


def read_query(message: Message, patient_of: PatientOf) -> Query:
    """Read QPD, RCP and DSC.

    Raises:
        Invalid, Unsupported: with the place; no value of the message in the words.
    """
    qpd = message.first("QPD")
    if qpd is None:
        raise Invalid("the query definition is missing", at="QPD")
    if not qpd.raw(2):
        raise Invalid("the query tag is missing", at="QPD-2")
    domains = _domains(message, qpd, patient_of)
    rcp, dsc = message.first("RCP"), message.first("DSC")
    count = _count(rcp) if rcp is not None else _MOST
    pointer = (dsc.get(1) or "") if dsc is not None else ""
    asked = _sought(message, qpd) if message.trigger == DEMOGRAPHICS else _source(message, qpd)
    person = patient_of(_question(message, asked))
    digest = sha256("\0".join([message.trigger, *qpd.fields[3:]]).encode("utf-8", "replace")).hexdigest()[:16]
    return Query(message.trigger, person, domains, count, pointer, digest)


def _sought(message: Message, qpd: Segment) -> Fields:
    """The parameters ``@PID.n.c.s`` as fields of a PID."""
    parts: dict[int, dict[int, dict[int, str]]] = {}
    for number, text in enumerate(qpd.repetitions(3), 1):
        at = f"QPD-3[{number}]"
        name, value = message.value_in(text, 1) or "", message.value_in(text, 2) or ""
        found = _PARAMETER.fullmatch(name.strip())
        if found is None:
            raise Unsupported("not a parameter that is searched by", at=f"{at}.1", fix="@PID.3, @PID.5.1, @PID.7 …")
        if "*" in value:
            raise Invalid("wildcards are not searched", at=f"{at}.2", fix="give the whole name; near ones are found")
        if value and value != DELETE:
            own = parts.setdefault(int(found[1]), {}).setdefault(int(found[2] or 1), {})
            own[int(found[3] or 1)] = value
    if not parts:
        raise Invalid("the parameters of the query are missing", at="QPD-3", fix="such as @PID.5.1^family")
    return {number: tuple(_sub(components.get(c, {})) for c in range(1, max(components) + 1))
            for number, components in parts.items()}  # fmt: skip


def _sub(parts: dict[int, str]) -> "str | tuple[str | None, ...] | None":
    if not parts:
        return None
    return parts[1] if list(parts) == [1] else tuple(parts.get(s) for s in range(1, max(parts) + 1))


def _source(message: Message, qpd: Segment) -> Fields:
    texts = qpd.repetitions(3)
    if len(texts) != 1 or not message.value_in(texts[0], 1):
        raise Invalid("one identifier is missing", at="QPD-3", fix="id^^^authority^type")
    return {3: _cx(message, texts[0])}


def _cx(message: Message, text: str, number: str = "") -> "tuple[str | tuple[str | None, ...] | None, ...]":
    hd = tuple(message.value_in(text, 4, s) for s in (1, 2, 3))
    return (number or message.value_in(text, 1), None, None, hd, message.value_in(text, 5))


def _domains(message: Message, qpd: Segment, patient_of: PatientOf) -> tuple[str, ...]:
    number = _DOMAINS[message.trigger]
    texts = qpd.repetitions(number)
    if not texts:
        return ()
    if any(not (message.value_in(t, 4, 1) or message.value_in(t, 4, 2)) for t in texts):
        raise Invalid("a domain is missing", at=f"QPD-{number}", fix="^^^namespace&oid&ISO")
    wanted: Value = [_cx(message, text, f"{n}") for n, text in enumerate(texts, 1)]
    found = patient_of(_question(message, {3: wanted})).get("identifier", ())
    return tuple(dict.fromkeys(str(one.get("system", "")) for one in found))


def _count(rcp: Segment) -> int:
    text = rcp.get(2) or ""
    if not text:
        return _MOST
    if not (text.isascii() and text.isdigit() and int(text[:9]) > 0) or (rcp.get(2, 1, 2) or "RD") != "RD":
        raise Invalid("not a number of records", at="RCP-2", fix="such as 10^RD")
    return min(int(text[:9]), _MOST)


def _question(message: Message, pid: Fields) -> bytes:
    head = message.header
    own: Fields = {
        3: tuple(head.get(3, 1, c) for c in (1, 2, 3)), 4: tuple(head.get(4, 1, c) for c in (1, 2, 3)),
        9: ("ADT", "A28", "ADT_A05"), 10: "question", 11: "P", 12: "2.5.1",
    }  # fmt: skip
    return build([("MSH", own), ("PID", pid)])


def respond(
    message: Message,
    page: Page,
    outbound: Outbound,
    *,
    control_id: str,
    now_us: int,
    error: DoorwayError | None = None,
    notices: Sequence[JsonObject] = (),
) -> bytes:
    """The bytes of the response: MSA, ERR, QAK, the QPD as it came, and a PID for each person.

    ``notices`` (:func:`notices_of`) follow as Z segments, since the structure has no place for a comment.

    It is in the charset of the query, or in UTF-8 and says so where that charset lacks a character.
    """
    marks, codec = message.delimiters, message.codec
    code = "AA" if error is None else answer_of(error).outcome.value[1]
    status = {"AA": "OK" if page.people else "NF"}.get(code, code)
    qpd = message.first("QPD")
    counts = {4: str(page.total), 5: str(len(page.people)), 6: str(page.remaining)} if error is None else {}
    tag, name = (qpd.get(2) or "", _ce(qpd)) if qpd is not None else ("", None)
    told: list[tuple[str, Fields]] = [("QAK", {1: tag, 2: status, 3: name, **counts})]
    for number, (person, chance) in enumerate(page.people, 1):
        told += _person(message.trigger, number, person, chance, outbound)
    told += segments_about("RSP_NOTICE", notices, outbound)
    if page.pointer:
        told.append(("DSC", {1: page.pointer, 2: "I"}))
    texts = [segment_text(segment, fields, delimiters=marks, codec=codec) for segment, fields in told]
    if qpd is not None:
        texts.insert(1, qpd.text)
    typed = _ANSWERS[message.trigger]
    return response(message, code, typed, texts, control_id=control_id, now_us=now_us, error=error)


def _ce(qpd: Segment) -> Value:
    return tuple(qpd.get(1, 1, c) for c in (1, 2, 3))


def _person(
    trigger: str, number: int, person: JsonObject, chance: float | None, outbound: Outbound
) -> list[tuple[str, Fields]]:
    out: list[tuple[str, Fields]] = []
    for name, fields in segments_about(f"RSP_K{trigger[1:]}", [person], outbound):
        own = {1: str(number), **fields}
        if trigger == CROSS_REFERENCE:  # ITI-9: no name is told, and the field is required
            own = {3: fields[3], 5: [None, (None, None, None, None, None, None, "S")]}
        out.append((name, own))
    if chance is not None:
        out.append(("QRI", {1: str(round(chance * 100))}))
    return out
