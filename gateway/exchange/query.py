"""QBP^Q22 (PDQ) and QBP^Q23 (PIX) answered on the connection: linking finds, consent decides, the audit record first.

The asking organization comes from the settings, never from the message alone. A sender that is bound to none sees
nobody: it gets the answer for nobody. A person who did not consent and one whom nobody knows give the same bytes.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Final, TypeAlias

from gateway.codecs.er7 import Message
from gateway.codecs.er7_charset import presentable
from gateway.codecs.json_text import read
from gateway.consent.request import AccessRequest
from gateway.consent.times import instant_us
from gateway.exchange.disclose import Disclosure, Gate, Knowledge
from gateway.exchange.enumeration import Watch
from gateway.exchange.link import Linker
from gateway.exchange.match import cross_reference, demographics_query
from gateway.exchange.ports.resources import Stored
from gateway.exchange.ports.store import Reading, Store
from gateway.exchange.receive import Feed
from gateway.exchange.rest.queries import Seal
from gateway.exchange.search import parse_query
from gateway.exchange.search_run import search
from gateway.exchange.search_text import token
from gateway.kernel.errors import Category, DoorwayError, Forbidden, Invalid, Malformed, NotFound
from gateway.kernel.fhir import Resource
from gateway.mapping.hl7v2.outbound import Outbound, notices_of
from gateway.mapping.hl7v2.query import CROSS_REFERENCE, Page, PatientOf, Query, is_query, read_query, respond
from gateway.profiles.search_parameters import Definitions

NOTHING: Final = Page()


@dataclass(frozen=True, slots=True)
class Asker:
    """Who stands behind a sender: ``Organization/id``, and the v3 PurposeOfUse under which it asks."""

    organization: str = ""  # empty: nobody, who sees nothing
    purpose: str = "TREAT"


AskerOf: TypeAlias = Callable[[str, bool, str], Asker]  # MSH-3^MSH-4, vouched for by a certificate, address


@dataclass(frozen=True, slots=True)
class Queries:
    """The use case, bound to its store.

    Args:
        patient_of: the inbound tables.
        seal: makes pointers opaque and binds them to the sender.
        zone: civil zone in which consent dates begin and end.
    """

    store: Store
    linker: Linker
    knowledge: Knowledge = field(repr=False)
    definitions: Definitions = field(repr=False)
    patient_of: PatientOf
    outbound: Outbound = field(repr=False)
    seal: Seal
    asker_of: AskerOf
    zone: tzinfo
    watch: Watch = field(repr=False)

    def answer(self, payload: bytes, feed: Feed, *, address: str, now_us: int, ack_id: str) -> bytes:
        """The response to a query; b"" when the message is none that is answered here.

        Args:
            feed: how messages of this connection are taken; its senders are those of the certificate.
            address: network address of the peer.
            ack_id: MSH-10 of the response.

        Raises:
            Busy, Fault: the audit record could not be written, so nothing may leave.
        """
        feed = feed.of(payload)
        try:
            message = Message.parse(payload, default_charset=feed.default_charset, charset=feed.charset)
        except DoorwayError:
            return b""
        if not is_query(message):
            return b""
        sender = f"{message.header.get(3) or ''}^{message.header.get(4) or ''}"
        asker = self.asker_of(sender, bool(feed.senders), address)
        now = datetime.fromtimestamp(now_us / 1_000_000, self.zone)
        request = AccessRequest.of_organization(asker.organization, now=now, purposes=(asker.purpose,))
        page, released, failed = NOTHING, None, None
        with self.store.reading() as reading:
            gate = Gate(reading.resources, request, self.knowledge)
            try:
                if feed.senders and sender not in feed.senders:
                    raise Forbidden("the certificate of this connection is not that of the sender", at="MSH-3")
                query = read_query(message, self.patient_of)
                owner = f"{sender}|{asker.organization}"
                find = self._others if query.trigger == CROSS_REFERENCE else self._people
                page, released = find(reading, gate, query, owner)
            except DoorwayError as error:
                failed = _placed(error)
            asked = message.first("QPD")
            event = gate.event(
                released, activity="search", what="Patient", query=presentable(asked.text) if asked is not None else "",
                refused=failed.category.value if failed is not None else "", address=address, id_=message.control_id,
            )  # fmt: skip
        self.store.write(lambda unit: unit.audit.append(event, now_us=now_us))
        due = notices_of(released.notices if released is not None else (), self.knowledge.notices)
        return respond(message, page, self.outbound, control_id=ack_id, now_us=now_us, error=failed, notices=due)

    def _people(self, reading: Reading, gate: Gate, query: Query, owner: str) -> tuple[Page, Disclosure]:
        """PDQ: who it may be, a page of them."""
        start = self._start(query, owner)
        found = demographics_query(
            self.linker, reading, gate, query.person,
            asking=lambda person: self.watch.person(owner, person, now_us=instant_us(gate.request.now)),
        )  # fmt: skip
        chances = {one.stored.reference: one.score for one in found}
        people = [
            (stored, person)
            for stored in gate.release([one.stored for one in found]).resources
            if (person := _within(_patient(stored), query.domains)) is not None
        ]
        shown = people[start : start + query.count]
        released = gate.release(
            [one.stored for one in found if one.stored.reference in {s.reference for s, _ in shown}]
        )
        left = max(len(people) - start - len(shown), 0)
        pointer = self.seal.close(json.dumps([query.digest, start + len(shown)]), owner) if left else ""
        told = [(person, chances[stored.reference]) for stored, person in shown]
        return Page(told, len(people), left, pointer), released

    def _start(self, query: Query, owner: str) -> int:
        if not query.pointer:
            return 0
        try:
            digest, start = json.loads(self.seal.open(query.pointer, owner))
        except Malformed:
            raise Invalid("not a pointer of yours", at="DSC-1", fix="send it back as it came") from None
        if digest != query.digest:
            raise Invalid("the pointer belongs to another query", at="DSC-1", fix="send the same QPD")
        return int(start)

    def _others(self, reading: Reading, gate: Gate, query: Query, owner: str) -> tuple[Page, Disclosure]:
        """PIX: the person's other identifiers."""
        named = (query.person.get("identifier") or [{}])[0]
        source = str(named.get("system", "")), str(named.get("value", ""))
        self.watch.number(owner, *source, now_us=instant_us(gate.request.now))

        def by_identifier(system: str, value: str) -> Sequence[Stored]:
            pairs = [("identifier", token(system, value))]
            return search(reading.resources, parse_query("Patient", pairs, self.definitions), gate).matches

        _, references = cross_reference(reading, gate, by_identifier, source, query.domains)
        released = gate.release(reading.resources.many(references).values())
        identifiers = [
            one
            for stored in released.resources  # what is left after redaction, not what the store holds
            for one in _patient(stored).get("identifier", ())
            if one.get("system") and (one["system"], one.get("value")) != source
            and (not query.domains or one["system"] in query.domains)
        ]  # fmt: skip
        person: Resource = {"resourceType": "Patient", "identifier": identifiers}
        return (Page([(person, None)], 1) if identifiers else NOTHING), released


def _patient(stored: Stored) -> Resource:
    return read(stored.body, at=stored.reference).resource


def _within(person: Resource, domains: Sequence[str]) -> Resource | None:
    """The person with the identifiers of the domains only; None when there is none of them."""
    if not domains:
        return person
    kept = [one for one in person.get("identifier", ()) if one.get("system") in domains]
    return {**person, "identifier": kept} if kept else None


def _placed(error: DoorwayError) -> DoorwayError:
    """The failure with its place in the query."""
    if error.category is Category.NOT_FOUND:
        return NotFound("no such identifier", at="QPD-3")
    if error.at == "Parameters.resource":
        return Invalid(error.message, at="QPD-3", fix=error.fix)
    return error
