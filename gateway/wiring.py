"""Builds everything: the only file that knows every concrete class."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache, lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from zoneinfo import ZoneInfo

from gateway.exchange.ports.store import Store
from gateway.kernel.errors import Invalid
from gateway.profiles.search_parameters import Definitions
from gateway.settings import MllpDestination, MllpFeed, Settings

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from gateway.adapters.db.store import DbStore
    from gateway.adapters.http.app import Front
    from gateway.adapters.http.fhir import FhirUseCases
    from gateway.adapters.mllp.receiver import Answers, Listener
    from gateway.adapters.mllp.sender import Sender
    from gateway.adapters.mllp.service import MllpService
    from gateway.codecs.er7 import Message
    from gateway.exchange.disclose import Knowledge
    from gateway.exchange.link import Linker
    from gateway.exchange.process_messages import Processing
    from gateway.exchange.rest.batch import Batches
    from gateway.exchange.rest.core import Rest
    from gateway.exchange.rest.doors import Doors
    from gateway.exchange.rest.emergency import Emergency
    from gateway.exchange.rest.find import Finds
    from gateway.exchange.rest.operations import Operation
    from gateway.exchange.save import Saver
    from gateway.mapping.hl7v2.convert import Conversion, Converter
    from gateway.profiles.validate import Validator
    from gateway.terminology import Terminology


def describe(settings: Settings) -> str:
    """One line on what would be built, without secrets."""
    return (
        f"database {settings.database_url.split(':', 1)[0]}, http {settings.http_address}, mllp {settings.mllp_address}"
    )


def open_store(settings: Settings) -> Store:
    """The store of the settings, its schema and search index brought up to date.

    Raises:
        Busy: the database cannot be reached or written.
        Fault: it belongs to a newer release.
    """
    from gateway.adapters.db.engine import Database
    from gateway.adapters.db.migrate import upgrade
    from gateway.adapters.db.reindex import ensure

    upgrade(Database(settings.database_url))
    store = database_store(settings)
    ensure(store)
    return store


def database_store(settings: Settings) -> "DbStore":
    """The store of the settings as it lies there, for commands that look at its state themselves."""
    from gateway.adapters.db.engine import Database
    from gateway.adapters.db.reindex import INDEX_VERSION
    from gateway.adapters.db.store import DbStore, Derived
    from gateway.consent.view import pack, view_of

    zone = ZoneInfo(settings.time_zone)
    definitions = search_definitions()
    mark = f"{INDEX_VERSION} {definitions.digest} {settings.time_zone}"
    derived = Derived(definitions, lambda resource: pack(view_of(resource, zone)), mark)
    return DbStore(Database(settings.database_url), derived)


@cache
def search_definitions() -> Definitions:
    """The search parameters and compartments that ship with Doorway (profiles/search)."""
    from gateway.adapters.files.data import read_data
    from gateway.profiles.search_parameters import read_definitions

    return read_definitions(read_data("profiles/search/parameters.csv"), read_data("profiles/search/compartments.csv"))


# -- what several parts share ----------------------------------------------------------------------------------------


def clock(settings: Settings) -> Callable[[], datetime]:
    """The aware time in the civil zone in which consent dates begin and end."""
    zone = ZoneInfo(settings.time_zone)
    return lambda: datetime.now(zone)


def now_us() -> int:
    """The wall clock in microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def saver(settings: Settings, *, interactive: bool = False) -> "Saver":
    """The one path for writing: labels of the sensitivity tables, and what follows every write.

    Args:
        interactive: for partners that act over REST: their referral Tasks are held to the published transitions.
    """
    from gateway.adapters.files.data import read_data
    from gateway.exchange.consent_forms import ConsentRule, read_forms
    from gateway.exchange.referral import carry_referrals, check_referrals
    from gateway.exchange.relabel import read_labeller
    from gateway.exchange.save import Follower, Saver
    from gateway.exchange.tell import Partner, Tell

    labeller = read_labeller(read_data, settings.organization_labels)
    linking = linker(settings)
    told = ConsentRule(read_forms(read_data))
    followers: tuple[Follower, ...] = (check_referrals, carry_referrals) if interactive else (carry_referrals,)
    partners = {
        name: Partner(one.organization, f"{one.application}^{one.facility}" if one.application else "")
        for name, one in settings.mllp_destinations.items()
    }
    followers = (told, *followers, linking.follow, *([Tell(partners)] if partners else []))
    return Saver(labeller, followers, join=labeller.join, prepare=linking.prepare)


def linker(settings: Settings) -> "Linker":
    """Real-time linking with the shipped tables and the site's thresholds."""
    from gateway.adapters.files.linkage import default_reader, load_model
    from gateway.exchange.link import Linker, Rules

    rules = Rules(
        same_at_bits=settings.link_same_at_bits,
        review_at_bits=settings.link_review_at_bits,
        within_source=settings.link_within_source,
        two_people=settings.link_two_people,
    )
    return Linker(load_model(settings.link_model or None), default_reader(), rules)


def consent_knowledge(settings: Settings) -> "Knowledge":
    """What consent decisions rest on."""
    from gateway.adapters.files.data import read_data
    from gateway.exchange.disclose import read_knowledge

    return read_knowledge(read_data, zone=ZoneInfo(settings.time_zone))


def emergency(settings: Settings) -> "Emergency":
    """Who may break the glass over the API, how long, and who is told."""
    from gateway.exchange.rest.emergency import Emergency

    return Emergency(frozenset(settings.break_glass_roles), settings.break_glass_minutes, settings.privacy_officer)


def validator(settings: Settings) -> "Validator":
    """The validator over the shipped tables and the loaded packages."""
    from gateway.adapters.files.validation import open_validator

    return open_validator(Path(settings.data_folder) / "packages")


def terminology(settings: Settings) -> "Terminology":
    """Our tables of codes and the loaded packages."""
    from gateway.adapters.files.packages import AllDefinitions, PackageFolder
    from gateway.adapters.files.validation import open_terminology

    return open_terminology(AllDefinitions(PackageFolder(Path(settings.data_folder) / "packages")))


# -- HTTP ------------------------------------------------------------------------------------------------------------


class Service(Protocol):
    """A part of the gateway that runs beside HTTP: a listener, a worker. Started in order, stopped in reverse."""

    @property
    def name(self) -> str:
        """For readiness and log lines."""
        ...

    def start(self) -> str:
        """Begin; one line on what runs (``mllp on 127.0.0.1:2575``)."""
        ...

    def stop(self) -> None:
        """Finish what is begun and end."""
        ...

    def trouble(self) -> str:
        """Why it is not well, in a word; empty when it is."""
        ...


def services(settings: Settings, store: Store) -> tuple[Service, ...]:
    """What runs beside HTTP in ``doorway serve``, in the order of starting."""
    from gateway.adapters.files.data import list_data

    if "mappings/hl7v2/triggers.csv" not in list_data("mappings/hl7v2"):
        return ()  # an installation without HL7 v2 tables serves FHIR only
    return (mllp_service(settings, store),)


# -- HL7 v2 ----------------------------------------------------------------------------------------------------------


@cache
def hl7v2_converter(site: str = "") -> "Converter":
    """The mapping tables of HL7 v2 and one site's overlay, compiled.

    Raises:
        Invalid: a mistake in a table, with file:line.
    """
    from gateway.adapters.files.data import list_data, read_data
    from gateway.mapping.hl7v2.convert import Converter
    from gateway.mapping.hl7v2.tables import read_tables

    folders = ["mappings/hl7v2", "terminology/v2", *([f"mappings/sites/{site}"] if site else [])]
    return Converter(
        read_tables({path: read_data(path) for folder in folders for path in list_data(folder)}, site=site)
    )


def hl7v2_processing(settings: Settings) -> "Processing":
    """What turns a kept message into stored FHIR."""
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
        default_charset=settings.mllp_default_charset,
        charsets={
            source: (one.default_charset or settings.mllp_default_charset, one.charset)
            for source, one in hl7v2_sources(settings).items()
        },
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

    def taken(one: MllpFeed, name: str = "") -> Feed:
        wait = settings.mllp_wait_for_processing if one.wait_for_processing is None else one.wait_for_processing
        charset = one.default_charset or settings.mllp_default_charset
        return Feed(name, charset, one.charset, wait, one.conflict, supports)

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
        host, _, port = address.strip().rpartition(":")
        if not host or not port.isdigit():
            raise Invalid("not HOST:PORT", at="setting mllp_address")
        out.append(
            Listener(
                host=host.strip("[]"),
                port=int(port),
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
    from gateway.adapters.files.data import list_data, read_data
    from gateway.adapters.mllp.client import Client
    from gateway.adapters.mllp.sender import Sender, Steps
    from gateway.adapters.mllp.tls import client_context
    from gateway.codecs.ack import stamp
    from gateway.codecs.json_text import read
    from gateway.consent.request import AccessRequest
    from gateway.exchange import deliver
    from gateway.exchange.disclose import Disclosure, Gate
    from gateway.exchange.ports.store import Unit
    from gateway.mapping.hl7v2.outbound import Envelope, read_outbound, to_v2

    host, _, port = one.address.rpartition(":")
    if not host or not port.isdigit():
        raise Invalid("not HOST:PORT", at=f"setting mllp_destinations.{name}.address")
    outbound = read_outbound({p: read_data(p) for p in list_data("mappings/hl7v2/outbound")}, hl7v2_converter().tables)
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
        return to_v2(kind, resources, envelope, outbound)

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
    return Sender(name, Client(host.strip("[]"), int(port), timeout_s=one.timeout_s, tls=tls), steps)


def mllp_queries(settings: Settings, store: Store, arrivals: Callable[[], int]) -> "Answers":
    """What answers PDQ and PIX queries on the listeners."""
    from gateway.adapters.files.data import list_data, read_data
    from gateway.adapters.http.seal import CursorSeal
    from gateway.codecs.er7 import Message
    from gateway.exchange.query import Asker, Queries
    from gateway.exchange.receive import Feed as Incoming
    from gateway.kernel.fhir import Resource
    from gateway.mapping.hl7v2.convert import Feed
    from gateway.mapping.hl7v2.outbound import read_outbound

    converter = hl7v2_converter()
    feed = Feed(jurisdiction=settings.jurisdiction, zone=settings.time_zone)

    def patient_of(question: bytes) -> Resource:
        found = converter.convert(Message.parse(question), feed).resources
        return next((one for one in found if one["resourceType"] == "Patient"), {"resourceType": "Patient"})

    def asker_of(sender: str, certified: bool, address: str) -> Asker:
        one = settings.mllp_askers.get(sender)
        near = one is not None and any(ip_address(address) in network for network in one.networks)
        return Asker(one.organization, one.purpose) if one is not None and (certified or near) else Asker()

    key = store.write(lambda unit: unit.clients.keep_secret("cursor", os.urandom(32)))
    outbound = read_outbound({p: read_data(p) for p in list_data("mappings/hl7v2/outbound")}, converter.tables)
    queries = Queries(
        store, linker(settings), consent_knowledge(settings), search_definitions(), patient_of, outbound,
        CursorSeal(key), asker_of, ZoneInfo(settings.time_zone),
    )  # fmt: skip

    def answers(payload: bytes, taken: Incoming, address: str, ack_id: str) -> bytes:
        return queries.answer(payload, taken, address=address, now_us=arrivals(), ack_id=ack_id)

    return answers


def mllp_service(settings: Settings, store: Store) -> "MllpService":
    """The HL7 v2 listeners over a store, and the worker that processes what they keep."""
    from gateway.adapters.mllp.receiver import Arrivals, Receiver
    from gateway.adapters.mllp.service import MllpService
    from gateway.adapters.worker import InboxWorker
    from gateway.exchange.receive import admit_all

    processing = hl7v2_processing(settings)
    kinds = {tuple(event.split("^", 1)) for event, row in processing.triggers.items() if row.effect != "refuse"}
    types = {kind for kind, _ in kinds}

    def supports(kind: str, trigger: str) -> bool:
        return kind in types if not trigger else (kind, trigger) in kinds or (kind, "*") in kinds

    def result_of(id_: str) -> bytes:
        with store.reading() as reading:
            found = reading.inbox.get(id_)
        return found.result if found is not None else b""

    def oldest() -> int | None:
        with store.reading() as reading:
            return reading.inbox.oldest_open_us()

    arrivals = Arrivals()
    receiver = Receiver(
        mllp_listeners(settings, supports),
        lambda prepared: store.submit(lambda unit: admit_all(unit, prepared)),
        result_of,
        arrivals,
        lambda: service.inbox.wake(),
        mllp_queries(settings, store, arrivals),
    )
    worker = InboxWorker(store, processing, arrivals, receiver.processed)
    service = MllpService(receiver, worker, mllp_senders(settings, store), oldest, now_us)
    return service


@dataclass(frozen=True)
class RestParts:
    """The REST use cases over one store."""

    core: "Rest"
    finds: "Finds"
    batches: "Batches"
    doors: "Doors"
    uses: "FhirUseCases"
    types: frozenset[str]


@dataclass(frozen=True)
class Built:
    """A gateway that is ready to run: the store, the web application, and what runs beside it."""

    settings: Settings
    store: Store
    app: "Front"
    services: tuple[Service, ...]
    executor: "ThreadPoolExecutor"

    def close(self) -> None:
        """Let go of everything; services must be stopped."""
        self.executor.shutdown(wait=True, cancel_futures=True)
        self.store.close()


def _operations(settings: Settings, core: "Rest", finds: "Finds", checks: "Validator") -> "Mapping[str, Operation]":
    """The operations of the API by place and name."""
    from gateway.exchange.rest.consent_operations import ConsentOperations
    from gateway.exchange.rest.export import Exports
    from gateway.exchange.rest.matching import matching_operations
    from gateway.exchange.rest.operations import operations_of
    from gateway.exchange.terminology import terminology_operations

    return {
        **operations_of(core, finds, checks),
        **terminology_operations(terminology(settings)),
        **matching_operations(finds, linker(settings)),
        **Exports(finds).operations(),
        **ConsentOperations(finds, consent_knowledge(settings), frozenset(settings.privacy_officer_roles)).operations(),
    }


def build_rest(settings: Settings, store: Store) -> RestParts:
    """The REST use cases over a store, for ``serve``, tests and benchmarks."""
    from gateway import __version__
    from gateway.adapters.files.packages import PackageFolder
    from gateway.adapters.http.entropy import ENTROPY
    from gateway.adapters.http.fhir import FhirUseCases
    from gateway.adapters.http.outcome import code_of, status_of
    from gateway.adapters.http.seal import CursorSeal
    from gateway.codecs import json_text
    from gateway.codecs.fhir_xml import XmlCodec
    from gateway.exchange.rest.batch import Batches
    from gateway.exchange.rest.capability import statement
    from gateway.exchange.rest.core import Rest
    from gateway.exchange.rest.doors import Doors
    from gateway.exchange.rest.fhirpath_patch import fhirpath_patch
    from gateway.exchange.rest.find import Finds
    from gateway.exchange.rest.patch import json_patch
    from gateway.exchange.rest.record import RestGate
    from gateway.exchange.rest.subset import Subset
    from gateway.exchange.rest.validation import checker, mandatory_of

    definitions, checks = search_definitions(), validator(settings)
    gate = RestGate(consent_knowledge(settings), emergency(settings))
    key = store.write(lambda unit: unit.clients.keep_secret("cursor", os.urandom(32)))
    subset = Subset(mandatory_of(checks.facts), checks.facts.summary)
    finds = Finds(store, gate, definitions, CursorSeal(key), subset)
    types = checks.facts.resource_types
    core = Rest(
        store, saver(settings, interactive=True), gate, finds.matching, checker(checks.validate), ENTROPY.id, types
    )
    patches: Mapping[str, Callable[[Any], Callable[[Any], Any]]] = {
        "json": json_patch,
        "fhirpath": fhirpath_patch(checks.facts),
    }
    batches = Batches(core, finds, patches, lambda error: (status_of(error), code_of(error)))
    doors = Doors(store, now_us)
    xml = XmlCodec(checks.facts.type)
    profiles = cache(PackageFolder(Path(settings.data_folder) / "packages").profiles)  # read when first asked for
    operations = _operations(settings, core, finds, checks)

    uses = FhirUseCases(
        core=core,
        searches=finds,
        bundle=batches.run,
        caller=doors.caller,
        metadata=lru_cache(16)(  # the base may come from a stranger's Host header: not all of them are kept
            lambda base: statement(
                base=base,
                version=__version__,
                types=types,
                definitions=definitions,
                operations=operations,
                profiles=profiles(),
                xml=True,
            )
        ),
        patches=patches,
        operations=operations,
        read_xml=xml.read,
        write_xml=lambda body: xml.write(json_text.parse(body)),
        subset=subset.of_query,
    )
    return RestParts(core, finds, batches, doors, uses, types)


def build_app(settings: Settings, store: Store, beside: tuple[Service, ...] = ()) -> Built:
    """The web application over a store; ``beside`` are the services whose state ``/readyz`` tells.

    Raises:
        Invalid: a shipped table that cannot be read, with file:line.
    """
    import asyncio
    import secrets
    from concurrent.futures import ThreadPoolExecutor

    from gateway.adapters.http import app as web
    from gateway.adapters.http.exchange import Exchange
    from gateway.adapters.http.fhir import FhirApi
    from gateway.adapters.http.limits import Limits
    from gateway.adapters.http.metrics import Metrics
    from gateway.adapters.http.openapi import document
    from gateway.adapters.http.smart import TokenEndpoint
    from gateway.adapters.http.tls import Bindings

    rest = build_rest(settings, store)
    bindings = Bindings(settings.http_certificate_clients)
    executor = ThreadPoolExecutor(max_workers=8, thread_name_prefix="doorway-http")
    metrics = Metrics()
    api = FhirApi(
        rest.uses,
        types=rest.types,
        clock=clock(settings),
        executor=executor,
        metrics=metrics,
        limits=Limits(
            in_flight=settings.http_requests_in_flight,
            per_minute=settings.match_per_minute,
            clock_s=time.monotonic,
        ),
        cors_origins=settings.http_cors_origins,
        bindings=bindings,
        public_base_url=settings.public_base_url,
        body_limit=settings.http_body_limit_bytes,
        body_timeout_s=settings.http_receive_timeout_s,
    )

    def addresses(exchange: Exchange) -> frozenset[str]:
        root = api.base_of(exchange).removesuffix("/fhir")
        return frozenset({root, f"{root}/oauth/token", f"{root}/fhir"})

    tokens = TokenEndpoint(rest.doors, addresses, time.time, lambda: secrets.token_urlsafe(32), bindings)

    async def ready() -> Mapping[str, str]:
        def look() -> dict[str, str]:
            try:
                store.write(lambda unit: unit.clients.secret("cursor"))
                return {"database": "", **{one.name: one.trouble() for one in beside}}  # they ask the database too
            except Exception as error:
                return {"database": type(error).__name__}

        try:
            return await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(executor, look), 3.0)
        except TimeoutError:
            return {"database": "slow"}

    def openapi() -> dict[str, Any]:
        return document(rest.types, rest.uses.operations)

    app = web.build_app(api, tokens, metrics=metrics, ready=ready, executor=executor, openapi=openapi)
    return Built(settings, store, app, beside, executor)


# -- everything at once ----------------------------------------------------------------------------------------------


def check_tables() -> str:
    """Compile every shipped table; one line on what there is.

    Raises:
        Invalid: a mistake in one of them, with file:line.
    """
    from gateway.adapters.files.data import list_data, read_data
    from gateway.exchange.relabel import read_labeller
    from gateway.mapping.hmis.compile import compile_map
    from gateway.mapping.hmis.conversions import Source
    from gateway.mapping.hmis.spec import load_spec
    from gateway.mapping.hmis.tables import load_maps

    hl7v2_converter()
    search_definitions()
    read_labeller(read_data)
    for version in ("2024", "2026"):
        for table in load_maps(read_data, load_spec(read_data, version), Source("check")).values():
            compile_map(table)
    counts = {name: len(list_data(name)) for name in ("mappings", "profiles", "terminology")}
    return ", ".join(f"{count} tables of {name}" for name, count in counts.items()) + " compile"
