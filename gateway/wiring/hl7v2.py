"""The HL7 v2 bridge: converters, listeners, senders, the answers to queries."""

import os
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import cache
from ipaddress import ip_address
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from gateway.exchange.ports.store import Store
from gateway.kernel.errors import Invalid
from gateway.settings import MllpDestination, MllpFeed, Settings

if TYPE_CHECKING:
    from gateway.adapters.mllp.receiver import Answers, Listener
    from gateway.adapters.mllp.sender import Sender
    from gateway.adapters.mllp.service import MllpService
    from gateway.codecs.er7 import Message
    from gateway.exchange.process_messages import Processing
    from gateway.exchange.query import AskerOf
    from gateway.exchange.referral_answers import ReferralAnswers
    from gateway.exchange.reply import Replies
    from gateway.mapping.hl7v2.convert import Conversion, Converter

from gateway.wiring.parts import clock, consent_knowledge, linker, now_us, saver, search_definitions, speakers


def hl7v2_converter(site: str = "") -> "Converter":
    """The mapping tables of HL7 v2 and one site's overlay, compiled once in a process.

    Raises:
        Invalid: a mistake in a table, with file:line.
    """
    return _converter(site)  # the cache takes f() and f("") for two calls


@cache
def _converter(site: str) -> "Converter":
    from gateway.adapters.files.hl7v2_tables import load_tables
    from gateway.mapping.hl7v2.convert import Converter

    return Converter(load_tables(site))


def _place(address: str, at: str) -> tuple[str, int]:
    """Host, without the brackets of IPv6, and port."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise Invalid("not HOST:PORT", at=at)
    return host.strip("[]"), int(port)


def hl7v2_processing(settings: Settings) -> "Processing":
    """What turns a kept message into stored FHIR."""
    from gateway.exchange.directory import Directory
    from gateway.exchange.process_messages import Processing
    from gateway.mapping.hl7v2.update import merger

    tables = hl7v2_converter().tables
    usual = hl7v2_conversion(settings, None)
    agreed = {source: hl7v2_conversion(settings, one) for source, one in hl7v2_sources(settings).items()}
    sites = {one.site for one in settings.mllp_feeds.values()}
    return Processing(
        convert=lambda message, source: agreed.get(source, usual)(message),
        merge=merger(tables.updates),
        triggers={
            name: row for site in ("", *sorted(sites)) for name, row in hl7v2_converter(site).tables.triggers.items()
        },
        saver=saver(settings),
        answers=referral_answers(settings),
        directory=Directory(
            {
                source: {text.strip().casefold(): meant for text, meant in one.parties.items()}
                for source, one in hl7v2_sources(settings).items()
            }
        ),
        speaks_for=speakers(settings),
        default_charset=settings.mllp_default_charset,
        charsets={
            source: (one.default_charset or settings.mllp_default_charset, one.charset)
            for source, one in hl7v2_sources(settings).items()
        },
    )


def referral_answers(settings: Settings) -> "ReferralAnswers":
    """Whose messages answer our referrals: those of the destinations that they were told to, and of their feeds."""
    from gateway.exchange.referral_answers import ReferralAnswers, by_number

    partners = settings.mllp_destinations
    named = {f"{one.application}^{one.facility}": one.organization for one in partners.values() if one.application}
    return ReferralAnswers(
        speakers(settings) | named,
        {name: one.organization for name, one in partners.items()},
        by_number(search_definitions(settings.data_folder)),
    )


def hl7v2_sources(settings: Settings) -> dict[str, MllpFeed]:
    """What is agreed with each source of messages: ``MSH-3.1^MSH-4.1``, or the name of the feed of a listener.

    Raises:
        Invalid: a sender or a listener that stands in two feeds, or a listener that is not in ``mllp_address``.
    """
    out: dict[str, MllpFeed] = {}
    listeners = [address.strip() for address in settings.mllp_address.split(",")]
    for name, one in settings.mllp_feeds.items():
        place = f"setting mllp_feeds.{name}"
        if one.listener and one.listener not in listeners:
            raise Invalid("no such listener", at=f"{place}.listener", fix="write it as in mllp_address")
        if "^" in name or not all("^" in sender for sender in one.senders):
            raise Invalid("a name without ^ and senders as MSH-3^MSH-4 are needed", at=place)
        for source in one.senders or [name]:
            if source in out:
                raise Invalid("this sender has a feed already", at=f"{place}.senders")
            out[source] = one
        listeners = [address for address in listeners if address != one.listener]
    return out


def hl7v2_conversion(settings: Settings, agreed: MllpFeed | None) -> "Callable[[Message], Conversion]":
    """The conversion of one feed's messages; None: of a sender with whom nothing is agreed.

    Raises:
        Invalid: a time zone that nobody knows, or a mistake in the overlay.
    """
    from gateway.mapping.hl7v2.convert import Feed, zone_named

    one = agreed or MllpFeed(listener="any")
    zone, jurisdiction = one.time_zone or settings.time_zone, one.jurisdiction or settings.jurisdiction
    zone_named(zone)  # a wrong zone is told at the start
    converter, feed = hl7v2_converter(one.site), Feed(one.site, jurisdiction, zone)

    def convert(message: "Message") -> "Conversion":
        said = converter.convert(message, feed)
        if not one.organization:
            return said
        custodian = {"managingOrganization": {"reference": one.organization}}
        return replace(
            said,
            resources=tuple({**custodian, **r} if r["resourceType"] == "Patient" else r for r in said.resources),
        )

    return convert


def mllp_listeners(settings: Settings, supports: Callable[[str, str], bool]) -> "list[Listener]":
    """One listener for each address of ``mllp_address`` (several are separated by commas).

    Raises:
        Invalid: an address that is none, or a certificate that cannot be read.
    """
    from gateway.adapters.mllp.receiver import Listener
    from gateway.adapters.mllp.tls import server_context
    from gateway.exchange.receive import Feed
    from gateway.exchange.reply import answered

    def taken(one: MllpFeed, name: str = "") -> Feed:
        wait = settings.mllp_wait_for_processing if one.wait_for_processing is None else one.wait_for_processing
        charset = one.default_charset or settings.mllp_default_charset
        return Feed(name, charset, one.charset, wait, one.conflict, supports, answered, sequence=one.sequence_numbers)

    of_listener, by_sender = dict[str, Feed](), list[tuple[str, Feed]]()
    for source, one in hl7v2_sources(settings).items():
        if one.listener:
            of_listener[one.listener] = taken(one, source)
        else:
            by_sender.append((source, taken(one)))
    usual = replace(taken(MllpFeed(listener="any")), by_sender=tuple(by_sender))
    tls = server_context(settings.mllp_tls_certificate, settings.mllp_tls_key, settings.mllp_tls_client_authority)
    out = []
    for address in settings.mllp_address.split(","):
        host, port = _place(address.strip(), "setting mllp_address")
        out.append(
            Listener(
                host=host,
                port=port,
                feed=of_listener.get(address.strip(), usual),
                message_limit_bytes=settings.mllp_message_limit_bytes,
                idle_timeout_s=settings.mllp_idle_timeout_s,
                frame_timeout_s=settings.mllp_frame_timeout_s,
                peer_limit=settings.mllp_connections_per_peer,
                release=settings.mllp_release,
                tls=tls,
                senders={name: frozenset(who) for name, who in settings.mllp_certificate_senders.items()},
            )
        )
    return out


def mllp_senders(settings: Settings, store: Store) -> "list[tuple[str, Sender]]":
    """One sender for each destination of the settings.

    Raises:
        Invalid: an address that is none, certificates that cannot be used, or a mistake in an outbound table.
    """
    return [(name, _mllp_sender(name, one, settings, store)) for name, one in settings.mllp_destinations.items()]


def _mllp_sender(name: str, one: MllpDestination, settings: Settings, store: Store) -> "Sender":
    from gateway.adapters.files.hl7v2_tables import load_outbound
    from gateway.adapters.mllp.client import Client
    from gateway.adapters.mllp.sender import Sender, Steps
    from gateway.adapters.mllp.tls import client_context
    from gateway.codecs.ack import stamp
    from gateway.codecs.json_text import read
    from gateway.consent.request import AccessRequest
    from gateway.exchange import deliver
    from gateway.exchange.disclose import Disclosure, Gate
    from gateway.exchange.ports.store import Unit
    from gateway.mapping.hl7v2.outbound import Envelope, notices_of, to_v2

    host, port = _place(one.address, f"setting mllp_destinations.{name}.address")
    outbound = load_outbound()
    knowledge, zone = consent_knowledge(settings), ZoneInfo(settings.time_zone)

    def gate(unit: Unit, at_us: int) -> Gate:
        now = datetime.fromtimestamp(at_us / 1_000_000, zone)
        request = AccessRequest.of_organization(one.organization, now=now, purposes=(one.purpose,))
        return Gate(unit.resources, request, knowledge)

    def render(kind: str, released: Disclosure, control_id: str, created_us: int) -> bytes:
        resources = [read(stored.body, at=stored.reference).resource for stored in released.resources]
        envelope = Envelope(
            control_id, stamp(created_us), receiving_application=(one.application,), receiving_facility=(one.facility,)
        )
        return to_v2(kind, [*resources, *notices_of(released.notices, knowledge.notices)], envelope, outbound)

    destination = deliver.Destination(name, gate, render)

    def due() -> list[str]:
        with store.reading() as reading:
            return [found.id for found in reading.outbox.due(name, now_us=now_us(), limit=16)]

    steps = Steps(
        due=due,
        prepare=lambda id_: store.write(lambda unit: deliver.prepare_delivery(unit, id_, destination, now_us=now_us())),
        record=lambda sent, said, reply: store.write(
            lambda unit: deliver.record(unit, sent, said, reply, now_us=now_us())
        ),
        doubt=lambda sent, error: store.write(lambda unit: deliver.record_doubt(unit, sent, error, now_us=now_us())),
    )
    tls = client_context(one.tls_authority, one.tls_certificate, one.tls_key)
    return Sender(name, Client(host, port, timeout_s=one.timeout_s, tls=tls), steps)


def mllp_queries(settings: Settings, store: Store, arrivals: Callable[[], int]) -> "Answers":
    """What answers PDQ and PIX queries on the listeners."""
    from gateway.adapters.files.hl7v2_tables import load_outbound
    from gateway.adapters.http.seal import CursorSeal
    from gateway.codecs.er7 import Message
    from gateway.exchange.enumeration import Watch
    from gateway.exchange.query import Queries
    from gateway.exchange.receive import Feed as Incoming
    from gateway.kernel.fhir import Resource
    from gateway.mapping.hl7v2.convert import Feed

    converter = hl7v2_converter()
    feed = Feed(jurisdiction=settings.jurisdiction, zone=settings.time_zone)

    def patient_of(question: bytes) -> Resource:
        found = converter.convert(Message.parse(question), feed).resources
        return next((one for one in found if one["resourceType"] == "Patient"), {"resourceType": "Patient"})

    key = store.write(lambda unit: unit.clients.keep_secret("cursor", os.urandom(32)))
    outbound = load_outbound()
    queries = Queries(
        store, linker(settings), consent_knowledge(settings), search_definitions(settings.data_folder), patient_of,
        outbound,
        CursorSeal(key), _askers(settings), ZoneInfo(settings.time_zone), Watch(settings.match_people_per_hour),
    )  # fmt: skip

    def answers(payload: bytes, taken: Incoming, address: str, ack_id: str) -> bytes:
        return queries.answer(payload, taken, address=address, now_us=arrivals(), ack_id=ack_id)

    return answers


def _askers(settings: Settings) -> "AskerOf":
    """Who stands behind a sender: believed by its certificate or its network, else nobody."""
    from gateway.exchange.query import Asker

    def asker_of(sender: str, certified: bool, address: str) -> Asker:
        one = settings.mllp_askers.get(sender)
        near = one is not None and any(ip_address(address) in network for network in one.networks)
        return Asker(one.organization, one.purpose) if one is not None and (certified or near) else Asker()

    return asker_of


def mllp_replies(settings: Settings, store: Store, processing: "Processing", arrivals: Callable[[], int]) -> "Replies":
    """What makes the application answers to referrals and orders."""
    from gateway.adapters.files.hl7v2_tables import load_outbound
    from gateway.exchange.reply import Replies

    return Replies(
        store, processing, consent_knowledge(settings), load_outbound(), _askers(settings),
        ZoneInfo(settings.time_zone), arrivals, lambda: secrets.token_hex(10),
    )  # fmt: skip


def record_agreements(settings: Settings, store: Store) -> None:
    """Agreements of the organizations that the settings name as partners, as ``doorway client add`` records them.

    Only where none was ever on record: one that has ended stays ended.
    """
    from gateway.exchange.agreements import agree_at_first

    today = clock(settings)().date()
    told = {destination.organization for destination in settings.mllp_destinations.values()}
    for organization in sorted(told | {asker.organization for asker in settings.mllp_askers.values()}):
        store.write(lambda unit, one=organization: agree_at_first(unit.resources, one, today=today, now_us=now_us()))  # type: ignore[misc]


def mllp_service(settings: Settings, store: Store) -> "MllpService":
    """The HL7 v2 listeners over a store, and the worker that processes what they keep."""
    from gateway.adapters.mllp.receiver import Arrivals, Receiver
    from gateway.adapters.mllp.service import MllpService
    from gateway.adapters.worker import InboxWorker, Retention
    from gateway.exchange.receive import admit_all

    record_agreements(settings, store)
    processing = hl7v2_processing(settings)
    kinds = {tuple(event.split("^", 1)) for event, row in processing.triggers.items() if row.effect != "refuse"}
    types = {kind for kind, _ in kinds}

    def supports(kind: str, trigger: str) -> bool:
        return kind in types if not trigger else (kind, trigger) in kinds or (kind, "*") in kinds

    def oldest() -> int | None:
        with store.reading() as reading:
            return reading.inbox.oldest_open_us()

    arrivals = Arrivals()
    receiver = Receiver(
        mllp_listeners(settings, supports),
        lambda prepared: store.submit(lambda unit: admit_all(unit, prepared)),
        mllp_replies(settings, store, processing, arrivals).result,
        arrivals,
        lambda: service.inbox.wake(),
        mllp_queries(settings, store, arrivals),
    )
    worker = InboxWorker(store, processing, arrivals, receiver.processed)
    old = Retention(store, now_us, bodies_days=settings.mllp_keep_bodies_days, keys_days=settings.mllp_keep_keys_days)
    service = MllpService(receiver, worker, mllp_senders(settings, store), oldest, now_us, old)
    return service
