"""Application answers to referrals and orders on their connection: RRI to REF, ORG^O20 to OMG^O19 (v2.5.1 ch. 11, 4).

What an answer tells of the store, consent lets the sender see at that moment: it is made anew for every repeat and
never kept. A sender that is bound to no organization hears of the store nothing at all: its own words come back with
the number that the referral has here, and whoever asks for a state (REF^I15) hears what asking for an unknown referral
gives. The audit record is on disk before an answer leaves.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Final

from gateway.codecs.ack import Outcome, acknowledge, due, enhanced
from gateway.codecs.er7 import Message
from gateway.codecs.json_text import read
from gateway.consent.request import AccessRequest
from gateway.exchange.disclose import Disclosure, Gate, Knowledge
from gateway.exchange.parties import task_of
from gateway.exchange.ports.inbox import Received, State
from gateway.exchange.ports.resources import Stored, parsed
from gateway.exchange.ports.store import Reading, Store
from gateway.exchange.process_messages import Processing, Stage, Work, understand
from gateway.exchange.query import AskerOf
from gateway.exchange.receive import Feed, result_in
from gateway.exchange.tell import sides_of, told_of
from gateway.kernel.errors import DoorwayError, NotFound
from gateway.mapping.hl7v2.answer import ANSWERS, ASKS, answer_about
from gateway.mapping.hl7v2.outbound import Outbound, notices_of

PATIENCE_US: Final = 5_000_000  # an answer waits this long for the processing of its message


@dataclass(frozen=True, slots=True)
class Replies:
    """The use case, bound to its store.

    Args:
        asker_of: who stands behind a sender; as for queries.
        zone: civil zone in which consent dates begin and end.
        ack_id: a new MSH-10 of ours.
    """

    store: Store
    processing: Processing = field(repr=False)
    knowledge: Knowledge = field(repr=False)
    outbound: Outbound = field(repr=False)
    asker_of: AskerOf
    zone: tzinfo
    now_us: Callable[[], int]
    ack_id: Callable[[], str]

    def result(self, id_: str, feed: Feed, address: str) -> bytes | None:
        """The application answer to a kept message, b"" where it wants none; None while it is not there yet.

        Args:
            feed: how messages of the connection are taken; its senders are those of the certificate.
            address: network address of the peer.

        Raises:
            Busy, Fault: the audit record could not be written, so nothing may leave.
        """
        with self.store.reading() as reading:
            found = reading.inbox.get(id_)
        result = result_in(found)
        if found is None or found.kind not in ANSWERS or (result is not None and not self._wanted(found, result)):
            return result
        if result is None and self.now_us() - found.received_us < PATIENCE_US:
            return None
        try:
            work = understand(found, self.processing)
        except Stage:
            return result  # its failure is told when processing meets it
        if found.kind == ASKS:
            told = self._told(work, feed, address)
            return told or self._answer(work, "AE", NotFound("no such referral", at="RF1-6"))
        if result is None:  # it stands behind others; in original mode the sender is not kept waiting
            head = work.message.header
            return None if enhanced(head.raw(15), head.raw(16)) else self._answer(work, "AA")
        return self._told(work, feed, address) or self._in_its_words(work) or result

    @staticmethod
    def _wanted(found: Received, result: bytes) -> bool:
        """Whether an application answer takes the place of what processing has left."""
        return bool(found.body) and found.state is State.PROCESSED and (bool(result) or found.kind == ASKS)

    def _answer(self, work: Work, code: str, error: DoorwayError | None = None) -> bytes:
        return acknowledge(work.message.header, code, control_id=self.ack_id(), now_us=self.now_us(), error=error)

    def _in_its_words(self, work: Work) -> bytes:
        return answer_about(
            work.message, work.conversion.resources, self.outbound, control_id=self.ack_id(), now_us=self.now_us()
        )

    def _told(self, work: Work, feed: Feed, address: str) -> bytes:
        """The answer from the store, as far as consent lets the sender see it; b"" when that makes none."""
        message = work.message
        sender = f"{message.header.get(3) or ''}^{message.header.get(4) or ''}"
        asker = self.asker_of(sender, bool(feed.senders), address)
        if not asker.organization:
            return b""
        now_us = self.now_us()
        now = datetime.fromtimestamp(now_us / 1_000_000, self.zone)
        request = AccessRequest(  # what this sender created is its own: it has just been vouched for
            now=now, organization=asker.organization, purposes=(asker.purpose,), client=work.received.source
        )
        with self.store.reading() as reading:
            gate = Gate(reading.resources, request, self.knowledge)
            text, released = b"", None
            for stored in self._requests(reading, work):
                released = self._released(reading, gate, stored)
                text = self._text(message, released, now_us) if released is not None else b""
                if text:
                    break
            shown = released if text else None
            event = gate.event(
                shown, activity="search", what="ServiceRequest", refused="" if text else "not-found",
                address=address, id_=message.control_id,
            )  # fmt: skip
        self.store.write(lambda unit: unit.audit.append(event, now_us=now_us))
        return text

    def _text(self, message: Message, released: Disclosure, now_us: int) -> bytes:
        resources = [read(one.body, at=one.reference).resource for one in released.resources]
        due_notices = notices_of(released.notices, self.knowledge.notices)
        return answer_about(message, [*resources, *due_notices], self.outbound, control_id=self.ack_id(), now_us=now_us)

    def _requests(self, reading: Reading, work: Work) -> list[Stored]:
        """The stored requests that the message may speak of: the sender's own, then those that have its numbers."""
        found: dict[str, Stored] = {}
        for said in work.conversion.resources:
            if said["resourceType"] == "ServiceRequest":
                own = reading.resources.get("ServiceRequest", str(said["id"]))
                for one in (own, *self.processing.answers.numbered(reading, said)):
                    if one is not None and not one.deleted:
                        found.setdefault(one.reference, one)
        return list(found.values())

    def _released(self, reading: Reading, gate: Gate, stored: Stored) -> Disclosure | None:
        """What of one request and what belongs to it the sender may see; None when the request is not among it."""
        request = parsed(stored)
        task = task_of(reading, stored, request)
        asked, doing = sides_of(reading, request, task)
        references = told_of(reading, stored, request, task, [*asked, *doing])
        there = reading.resources.many(references)
        released = gate.release([there[one] for one in references if one in there])
        return released if any(one.reference == stored.reference for one in released.resources) else None


def answered(kind: str, trigger: str, msh_15: str, msh_16: str) -> bool:
    """Whether a message that is taken gets an application answer of its own: who asks always, others where wanted."""
    event = f"{kind}^{trigger}"
    return event == ASKS or (event in ANSWERS and due(msh_15, msh_16, Outcome.OK).application is not None)
