"""Taking a message in: what it is, whose, in which order it stands, and what is answered once it is on disk.

:func:`prepare` is pure and does all the thinking; :func:`admit` runs inside the transaction that makes the message
durable. The edge sends ``Reply.answer`` only after that commit: an accept acknowledgement means "on disk".

In original mode AA is sent after the durable commit; processing follows (HL7 v2.5.1 ch. 2.9.2 lets a receiver answer
for "received and under responsibility"). A feed that is set to ``wait`` answers after processing instead.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from hashlib import blake2b, sha256
from typing import Final, Literal, NamedTuple

from gateway.codecs.ack import Due, Outcome, acknowledge, answer_of, due, enhanced, stamp, wants_any
from gateway.codecs.er7 import Segment, peek
from gateway.codecs.er7_charset import REPLACEMENT
from gateway.exchange.ports.inbox import Admission, InboxReader, Received, State
from gateway.exchange.ports.store import Unit
from gateway.exchange.sequence import ANEW, START, Numbered, number_of, take_turn
from gateway.exchange.standing import dtm_us, event_us_of, lanes_in
from gateway.kernel.errors import Conflict, DoorwayError, Forbidden, Invalid, Malformed, Unsupported

QUERIES: Final = frozenset({"QBP", "QRY"})  # the answer is a response message, so it comes after processing
_LOOKED_AT: Final = frozenset({b"PID", b"EVN", b"MRG"})
_REFUSED_KEPT_BYTES: Final = 65_536
_HEADER_BYTES: Final = 4_096  # of a header that is looked at to find the sender
_ZERO: Final = "\x00"  # PostgreSQL takes none into a text
_CONTROLS: Final = re.compile(rb"[\x00-\x1f]")
_NEW, _RECEIVED = Admission.NEW, State.RECEIVED  # looked at for every message
_PID_BYTE: Final = ord("P")
_LOCAL_BYTES: Final = (b"MR", b"PI", b"PT")  # table 0203: what a facility files its patients under


def no_kind(_kind: str, _trigger: str, _msh_15: str, _msh_16: str) -> bool:
    """No message has an application answer of its own."""
    return False


def any_kind(_kind: str, _trigger: str) -> bool:
    """Accept every type of message."""
    return True


@dataclass(frozen=True, slots=True)
class Feed:
    """How messages of a listener (or of one sender) are taken.

    Args:
        name: whose messages these are, for keys and counts; empty: MSH-3 and MSH-4 say it.
        default_charset: charset when MSH-18 is empty; ``charset`` overrules MSH-18.
        wait: answer an original-mode message after processing.
        conflict: what becomes of a control id that comes again with other content.
        supports: whether a type and trigger can be processed at all; others are rejected (200, 201).
        answered: whether a type and trigger (with MSH-15 and MSH-16) has an application answer of its own (reply.py),
            which is due after processing.
        senders: ``MSH-3.1^MSH-4.1`` values that this connection may send as (from its certificate); empty: any.
        by_sender: what is agreed with single senders, by ``MSH-3.1^MSH-4.1``; it stands before the rest.
        sequence: the sender numbers its messages (sequence.py).
    """

    name: str = ""
    default_charset: str = "utf-8"
    charset: str = ""
    wait: bool = False
    conflict: Literal["quarantine", "accept"] = "quarantine"
    supports: Callable[[str, str], bool] = any_kind
    answered: Callable[[str, str, str, str], bool] = no_kind
    senders: frozenset[str] = frozenset()
    by_sender: "tuple[tuple[str, Feed], ...]" = ()
    sequence: bool = False
    intake: "Intake" = field(init=False, repr=False, compare=False)  # what is remembered of this feed's headers

    def __post_init__(self) -> None:
        object.__setattr__(self, "intake", Intake(self))

    def limited_to(self, senders: frozenset[str]) -> "Feed":
        """The same for a connection that may send as ``senders`` only."""
        agreed = tuple((name, replace(feed, senders=senders)) for name, feed in self.by_sender)
        return replace(self, senders=senders, by_sender=agreed)

    def of(self, payload: bytes) -> "Feed":
        """What is agreed with the sender of a message, found from its first four fields."""
        if not self.by_sender:
            return self
        mark = payload[3:4]
        parts = payload.split(mark, 4) if mark else []
        start = mark.join(parts[:4])
        if len(parts) == 5 and start.isascii() and b"\r" not in start and b"\n" not in start:
            sender = _sender_in(start, self.default_charset)
        else:
            sender = _sender_in(payload.split(b"\r", 1)[0][:_HEADER_BYTES], self.charset or self.default_charset)
        return next((feed for name, feed in self.by_sender if name == sender), self)


@lru_cache(1024)
def _sender_in(start: bytes, charset: str) -> str:
    """``MSH-3.1^MSH-4.1`` of a header or the start of one; empty when there is none."""
    try:
        return _sender(peek(start, default_charset=charset)["MSH"])
    except DoorwayError:
        return ""


class Prepared(NamedTuple):
    """A message ready to be kept."""

    message: Received
    waits: bool = False  # an application acknowledgement may follow processing
    conflicting: Callable[[], bytes] = bytes  # the answer if its control id is taken by another content
    conflict: str = "quarantine"
    alarm: str = ""  # for the operator; no value of the message
    numbered: Numbered | None = None  # where the sender numbers its messages
    answered: bool = False  # its application answer is made anew each time


class Reply(NamedTuple):
    """What to send once the transaction is on disk."""

    id: str
    answer: bytes  # at once; empty: nothing
    result: bytes = b""  # the application acknowledgement, where it is known already
    waits: bool = False  # whether one is due is not known yet
    admission: Admission = Admission.NEW
    alarm: str = ""

    def __repr__(self) -> str:
        return f"Reply({self.id}, {self.admission.value})"  # an answer quotes its message


def prepare(payload: bytes, feed: Feed, *, now_us: int, ack_id: str, peer: str = "") -> Prepared:
    """Judge one message from its header; never raises for anything a sender can send.

    Args:
        payload: exactly the bytes received, kept as they are.
        now_us: arrival, microseconds since 1970 UTC; grows from message to message.
        ack_id: MSH-10 of the acknowledgement; unique.
    """
    feed = feed.of(payload)
    quick = feed.intake.quickly(payload, now_us, ack_id, peer)
    return quick if quick is not None else judge(payload, feed, now_us=now_us, ack_id=ack_id, peer=peer)


def judge(payload: bytes, feed: Feed, *, now_us: int, ack_id: str, peer: str = "") -> Prepared:
    """:func:`prepare` without what it remembers of earlier messages; the two always agree."""
    digest = sha256(payload).digest()
    try:
        seen = peek(payload, _LOOKED_AT, default_charset=feed.default_charset, charset=feed.charset)
    except DoorwayError as error:
        return _refused(payload, digest, None, feed, error, now_us=now_us, ack_id=ack_id, peer=peer)
    head = seen["MSH"]
    number = None
    try:
        number = number_of(head) if feed.sequence else None
        if number not in (START, ANEW):  # a message of the link itself has no content
            _check(head, feed)
        _check_sender(head, feed)
    except DoorwayError as error:
        return _refused(payload, digest, head, feed, error, now_us=now_us, ack_id=ack_id, peer=peer)
    message = head.message
    control_id = message.control_id
    source = _source(head, feed)
    queried = message.kind in QUERIES
    owed = _owed(head, Outcome.OK)
    # in enhanced mode the outcome decides whether MSH-16 wants to hear of it (ER, SU), and it is not known yet
    answered = feed.answered(message.kind, message.trigger, head.raw(15), head.raw(16))
    waits = wants_any(head.raw(16)) if _enhanced(head) else feed.wait or queried
    waits = waits or answered
    code = owed.accept if waits or owed.accept else owed.application
    answer = acknowledge(head, code, control_id=ack_id, now_us=now_us, expected=number) if code else b""
    lane, lane_2 = lanes_in(payload, seen, source)
    received = Received(
        id=_id_of(source, control_id or digest.hex()),
        source=source,
        control_id=control_id,
        digest=digest,
        kind=_storable(f"{message.kind}^{message.trigger}"),
        received_us=now_us,
        body=payload,
        answer=answer,
        lane=lane,
        lane_2=lane_2,
        event_us=event_us_of(seen) or now_us,
        peer=peer,
    )

    conflicting = partial(_conflict_answer, head, ack_id, now_us)
    if number is None:
        return Prepared(received, waits, conflicting, feed.conflict, answered=answered)
    numbered = Numbered(number, partial(_numbered_answer, head, ack_id, now_us))
    return Prepared(received, waits, conflicting, feed.conflict, numbered=numbered, answered=answered)


def _numbered_answer(head: Segment, ack_id: str, now_us: int, expected: int, error: DoorwayError | None) -> bytes:
    owed = _owed(head, Outcome.ERROR if error is not None else Outcome.OK)
    code = owed.accept or owed.application or ("" if error is not None else "AA")  # who asks for a number wants it
    if not code:
        return b""
    return acknowledge(head, code, control_id=ack_id, now_us=now_us, error=error, expected=expected)


def _conflict_answer(head: Segment, ack_id: str, now_us: int) -> bytes:
    taken = Conflict("this control id came before with other content", at="MSH-10", fix="send a new control id")
    refusal = _owed(head, Outcome.ERROR)
    no = refusal.accept or refusal.application
    return acknowledge(head, no, control_id=ack_id, now_us=now_us, error=taken) if no else b""


_MARKERS: Final = ("=ACKID=", "=ASKED=")  # where the two control ids stand in a remembered acknowledgement
_REMEMBERED: Final = 1024  # headers of a feed


class _Known:
    """What every message with the same header shares: the header without MSH-7 and MSH-10."""

    __slots__ = (
        "answer", "answered", "begins", "component", "evn", "kind", "mark", "others", "repetition", "source", "telling",
        "waits",
    )  # fmt: skip

    def __init__(self, judged: Prepared, marks: bytes, answer: "tuple[bytes, bytes, bytes, bytes] | None") -> None:
        self.source = judged.message.source
        self.kind = judged.message.kind
        self.waits, self.answered = judged.waits, judged.answered
        self.answer = answer  # around time, id and asked id; None: no answer at once
        self.begins = _id_begins(self.source)
        self.mark, self.component, self.repetition = marks[:1], marks[1:2], marks[2:3]
        self.others = tuple(marks[i : i + 1] for i in range(2, len(marks)))
        self.evn = b"\rEVN" + self.mark
        # who it is about; or an empty line, something before the name of a segment
        self.telling = re.compile(rb"\r(?:PID%b|MRG%b|[\x00-@])" % ((re.escape(self.mark),) * 2)).search


class Intake:
    """Messages of one feed. Senders repeat their headers, so what a header means is found out once.

    :meth:`quickly` takes the usual message (ASCII header and identifiers, CR between segments, one PID) on its bytes
    alone; whatever is unusual is left to :func:`judge`.
    """

    __slots__ = ("_feed", "_known")

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._known: dict[tuple[bytes, ...], _Known | None] = {}

    def quickly(self, payload: bytes, now_us: int, ack_id: str, peer: str) -> Prepared | None:
        """The message prepared, or None when it has to be judged in full."""
        if self._feed.sequence:  # each header is another one
            return None
        end = payload.find(b"\r")
        if end < 0 or payload[:3] != b"MSH" or 0x0A in payload or 0x0B in payload or 0x1C in payload:  # LF, VT, FS
            return None
        mark = payload[3:4]
        parts = payload[:end].split(mark, 10)
        if len(parts) < 10:
            return None
        asked, sent = parts[9], parts[6]
        if not (asked.isalnum() or _plain(asked)) or not (sent.isdigit() or _plain(sent) or not sent):
            return None
        parts[6] = parts[9] = b""
        key = tuple(parts)
        known = self._known.get(key)
        if known is None:
            known = None if key in self._known else self._learn(key, mark)
            if known is None:
                return None
        lane = _quick_lane(payload, end, known)
        event_us = _quick_event_us(payload, known, sent)
        if lane is None or event_us is None:
            return None
        control_id = asked.decode("ascii")
        answer = b""
        if known.answer is not None:
            before, middle, after, tail = known.answer
            answer = b"".join((before, _stamped(now_us // 1_000_000), middle, ack_id.encode(), after, asked, tail))
        hashed = known.begins.copy()
        hashed.update(asked)
        received = Received(
            _dashed(hashed.hexdigest()),
            known.source,
            control_id,
            sha256(payload).digest(),
            known.kind,
            now_us,
            payload,
            answer,
            lane,
            "",
            event_us or now_us,
            peer,
        )
        conflicting = partial(_conflict_of, payload, self._feed, ack_id, now_us)
        return Prepared(received, known.waits, conflicting, self._feed.conflict, "", None, known.answered)

    def _learn(self, key: tuple[bytes, ...], mark: bytes) -> _Known | None:
        """Judge a message of this header once, with marks in the places that differ from message to message."""
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        shared = mark.join(key)
        marked = any(marker.encode() in shared for marker in (*_MARKERS, stamp(0)))  # not to be told from a marker
        if marked or not shared.isascii() or _CONTROLS.search(shared) is not None:
            self._known[key] = None
            return None
        sample = mark.join([*key[:9], _MARKERS[1].encode(), *key[10:]]) + b"\r"
        judged = judge(sample, self._feed, now_us=0, ack_id=_MARKERS[0])
        found = None
        if judged.message.state is State.RECEIVED:
            around = _around(judged.message.answer)
            if around is not None or not judged.message.answer:
                found = _Known(judged, mark + key[1], around)
        self._known[key] = found
        return found


def _around(answer: bytes) -> tuple[bytes, bytes, bytes, bytes] | None:
    """What stands around the time, the id and the asked id of an acknowledgement that has markers there."""
    before, _, rest = answer.partition(stamp(0).encode())
    middle, _, rest = rest.partition(_MARKERS[0].encode())
    if rest.count(_MARKERS[1].encode()) != 1:
        return None
    after, _, tail = rest.partition(_MARKERS[1].encode())
    return before, middle, after, tail


def _plain(text: bytes) -> bool:
    """Something of ASCII without control characters."""
    return text.isalnum() or (bool(text) and text.isascii() and _CONTROLS.search(text) is None)


@lru_cache(4)
def _stamped(seconds: int) -> bytes:
    return stamp(seconds * 1_000_000).encode()


def _conflict_of(payload: bytes, feed: Feed, ack_id: str, now_us: int) -> bytes:
    return judge(payload, feed, now_us=now_us, ack_id=ack_id).conflicting()


def _fields(payload: bytes, at: int, mark: bytes, count: int) -> list[bytes]:
    """The first fields of the segment that begins with the CR at ``at``."""
    end = payload.find(b"\r", at + 5)
    return payload[at + 5 : end if end >= 0 else len(payload)].split(mark, count)


def _quick_lane(payload: bytes, begin: int, known: _Known) -> str | None:
    """The lane by PID-3 on the bytes; None when that needs a closer look."""
    found = known.telling(payload, begin)
    if found is None:
        return ""
    at = found.start()
    if payload[at + 1] != _PID_BYTE or known.telling(payload, at + 5) is not None:
        return None
    fields = _fields(payload, at, known.mark, 3)
    if len(fields) < 3:
        return None
    texts = fields[2]
    comp, rep = known.component, known.repetition
    if not texts or not comp or not rep or not texts.isascii() or b'"' in texts:
        return None
    chosen = b"", b""
    for text in texts.split(rep):
        parts = text.split(comp, 5)
        if not parts[0]:
            continue
        while len(parts) < 5:
            parts.append(b"")
        local = parts[4] in _LOCAL_BYTES
        if local or not chosen[0]:
            chosen = parts[0], parts[3]
        if local:
            break
    if not chosen[0]:
        return None
    whose = chosen[1] or known.source.encode()
    return blake2b(b"%d:%b%b" % (len(whose), whose, chosen[0]), digest_size=12).hexdigest()


def _quick_event_us(payload: bytes, known: _Known, msh_7: bytes) -> int | None:
    """0 when no time is given; None when one is written in a way that needs a closer look."""
    begins = payload.find(known.evn)
    found = _fields(payload, begins, known.mark, 6) if begins >= 0 else []
    if len(found) > 1 and found[1].isdigit() and (at := _instant_of(found[1])) is not None:
        return at
    for text in (found[1] if len(found) > 1 else b"", msh_7, found[5] if len(found) > 5 else b""):
        if not text:
            continue
        if not text.isdigit():
            if any(other in text for other in known.others):
                return None
            text = text.split(known.component, 1)[0] if known.component else text
        if text and (at := _instant_of(text)) is not None:
            return at
    return 0


@lru_cache(4096)
def _instant_of(text: bytes) -> int | None:
    return dtm_us(text.decode("ascii", "replace"))


def admit(unit: Unit, prepared: Prepared) -> Reply:
    """Keep the message inside the transaction, and say what to answer after its commit."""
    turn = take_turn(unit.inbox, prepared.message, prepared.numbered) if prepared.numbered is not None else None
    if turn is None:
        return _reply(unit, prepared, *unit.inbox.add(prepared.message))
    message, fault = prepared.message, turn.fault
    if fault is None:
        return Reply(message.id, turn.answer)
    refused = message._replace(
        id=_id_of("refused", message.source + message.digest.hex()),
        body=message.body[:_REFUSED_KEPT_BYTES],
        answer=turn.answer,
        lane="",
        lane_2="",
        state=State.REFUSED,
        category=fault.category.value,
        place=fault.at,
        fault=fault.message,
    )
    unit.inbox.add(refused)
    return Reply(refused.id, turn.answer, alarm=f"refused at {fault.at}: {fault.message}, message {refused.id}")


def admit_all(unit: Unit, several: Sequence[Prepared]) -> list[Reply]:
    """:func:`admit` for messages that share a transaction."""
    if any(one.numbered is not None for one in several):
        return [admit(unit, one) for one in several]
    added = unit.inbox.add_all([one.message for one in several])
    return [
        Reply(found.id, found.answer, b"", one.waits)
        if admission is _NEW and found.state is _RECEIVED
        else _reply(unit, one, admission, found)
        for one, (admission, found) in zip(several, added, strict=True)
    ]


def _reply(unit: Unit, prepared: Prepared, admission: Admission, found: Received) -> Reply:
    message = prepared.message
    if message.state is State.REFUSED:
        return Reply(message.id, message.answer, admission=admission, alarm=prepared.alarm)
    if admission is Admission.NEW:
        return Reply(message.id, message.answer, waits=prepared.waits)
    if admission is Admission.REPEATED:
        if prepared.answered:
            return Reply(found.id, found.answer, b"", True, admission)
        waits = prepared.waits and not found.result and found.state is State.RECEIVED
        return Reply(found.id, found.answer, found.result, waits, admission)
    return _conflicting(unit, prepared)


def result_of(inbox: InboxReader, id_: str) -> bytes | None:
    """The application acknowledgement of a kept message: empty where it wants none; None while it is not processed."""
    return result_in(inbox.get(id_))


def result_in(found: Received | None) -> bytes | None:
    """:func:`result_of` a message that has been read."""
    return None if found is None or (found.state is State.RECEIVED and not found.result) else found.result


def _conflicting(unit: Unit, prepared: Prepared) -> Reply:
    """The control id is taken: keep this one beside it, never over it, never silently."""
    message = prepared.message._replace(id=_id_of(prepared.message.id, prepared.message.digest.hex()))
    quarantine = prepared.conflict == "quarantine"
    if quarantine:
        message = message._replace(
            state=State.QUARANTINED,
            answer=prepared.conflicting(),
            category="conflict",
            place="MSH-10",
            fault="this control id came before with other content",
        )
    admission, found = unit.inbox.add(message)
    if admission is Admission.REPEATED:
        return Reply(found.id, found.answer, found.result, admission=admission)
    done = "quarantined" if quarantine else "accepted"
    alarm = f"a control id came again with other content: {done}, message {message.id}"
    waits = prepared.waits and not quarantine
    return Reply(message.id, message.answer, waits=waits, admission=Admission.CONFLICT, alarm=alarm)


def accepted(payload: bytes, feed: Feed, *, now_us: int, ack_id: str) -> bytes:
    """The accept acknowledgement of a query that is answered on its connection, b"" where MSH-15 asks for none.

    The response itself is sent whatever MSH-16 says: who asks wants to be answered.
    """
    feed = feed.of(payload)
    head = peek(payload, default_charset=feed.default_charset, charset=feed.charset)["MSH"]
    code = _owed(head, Outcome.OK).accept
    return acknowledge(head, code, control_id=ack_id, now_us=now_us) if code else b""


def refusal_of(
    payload: bytes, feed: Feed, error: DoorwayError, *, now_us: int, ack_id: str, peer: str = ""
) -> Prepared:
    """A frame that is not to be taken (too large, a store that cannot write): answered, and kept when it can be."""
    feed = feed.of(payload)
    try:
        head: Segment | None = peek(payload, default_charset=feed.default_charset, charset=feed.charset)["MSH"]
    except DoorwayError:
        head = None
    digest = sha256(payload).digest()
    return _refused(payload, digest, head, feed, error, now_us=now_us, ack_id=ack_id, peer=peer)


def _refused(
    payload: bytes,
    digest: bytes,
    head: Segment | None,
    feed: Feed,
    error: DoorwayError,
    *,
    now_us: int,
    ack_id: str,
    peer: str,
) -> Prepared:
    outcome = answer_of(error).outcome
    owed = _owed(head, outcome) if head is not None else Due(None, outcome.value[1])
    code = owed.accept or owed.application
    answer = acknowledge(head, code, control_id=ack_id, now_us=now_us, error=error) if code else b""
    source = _source(head, feed) if head is not None else feed.name
    received = Received(
        id=_id_of("refused", source + digest.hex()),
        source=source,
        control_id=_storable(head.message.control_id) if head is not None else "",
        digest=digest,
        kind=_storable(f"{head.message.kind}^{head.message.trigger}") if head is not None else "",
        received_us=now_us,
        body=payload[:_REFUSED_KEPT_BYTES],
        answer=answer,
        state=State.REFUSED,
        category=error.category.value,
        place=error.at,
        fault=error.message,
        peer=peer,
    )
    return Prepared(received, alarm=f"refused at {error.at}: {error.message}, message {received.id}")


def _storable(text: str) -> str:
    """``text`` as every database takes it."""
    return text.replace(_ZERO, REPLACEMENT)


def _check(head: Segment, feed: Feed) -> None:
    message = head.message
    if _ZERO in head.text:
        raise Malformed("a zero byte in the header", at="MSH", fix="send text")
    if not message.kind or (message.kind != "ACK" and not message.trigger):
        raise Invalid("the message type is missing", at="MSH-9", fix="send type and trigger, such as ADT^A01")
    if (head.raw(12) or "2")[0] != "2" and not (message.version or "2").startswith("2"):
        raise Unsupported("not a version of HL7 v2", at="MSH-12")
    if (head.raw(11) or "P")[0] not in "DPT":
        raise Unsupported("not a processing id of table 0103", at="MSH-11", fix="send P, T or D")
    if not feed.supports(message.kind, message.trigger):
        known = feed.supports(message.kind, "")
        raise Unsupported("nothing here processes such messages", at="MSH-9.2" if known else "MSH-9.1")


def _check_sender(head: Segment, feed: Feed) -> None:
    if feed.senders and _sender(head) not in feed.senders:
        raise Forbidden("the certificate of this connection is not that of the sender", at="MSH-3")


def _owed(head: Segment, outcome: Outcome) -> Due:
    return due(head.raw(15), head.raw(16), outcome)


def _enhanced(head: Segment) -> bool:
    return enhanced(head.raw(15), head.raw(16))


def _sender(head: Segment) -> str:
    return f"{head.get(3) or ''}^{head.get(4) or ''}"


def _source(head: Segment, feed: Feed) -> str:
    return feed.name or _storable(_sender(head))


def _id_begins(source: str) -> "blake2b":
    return blake2b(f"{len(source)}:{source}".encode("utf-8", "replace"), digest_size=16)


def _id_of(source: str, rest: str) -> str:
    """The id of a message: the same sender and control id have the same one, so the primary key tells a repeat."""
    hashed = _id_begins(source)
    hashed.update(rest.encode("utf-8", "replace"))
    return _dashed(hashed.hexdigest())


def _dashed(text: str) -> str:
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
