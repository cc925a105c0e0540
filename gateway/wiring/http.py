"""The web application: REST use cases, operations, the services beside them."""

import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gateway.exchange.ports.store import Store
from gateway.settings import Settings

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from gateway.adapters.http.app import Front
    from gateway.adapters.http.fhir import FhirUseCases
    from gateway.adapters.labels import LabelService
    from gateway.exchange.enumeration import Watch
    from gateway.exchange.rest.batch import Batches
    from gateway.exchange.rest.core import Rest
    from gateway.exchange.rest.doors import Doors
    from gateway.exchange.rest.find import Finds
    from gateway.exchange.rest.operations import Operation
    from gateway.profiles.validate import Validator
    from gateway.terminology import Terminology

from gateway.wiring.hl7v2 import mllp_service
from gateway.wiring.parts import (
    clock,
    consent_knowledge,
    emergency,
    linker,
    now_us,
    organization_labels,
    saver,
    search_definitions,
    terminology,
    validator,
)

_PATIENCE = 50  # tenths of a second that a command waits for the transactions of others


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

    labels = label_service(settings, store)
    if "mappings/hl7v2/triggers.csv" not in list_data("mappings/hl7v2"):
        return (labels,)  # an installation without HL7 v2 tables serves FHIR only
    return (labels, mllp_service(settings, store))


def label_service(settings: Settings, store: Store) -> "LabelService":
    """The worker that labels anew what names an Organization whose flags have changed."""
    from gateway.adapters.labels import LabelService
    from gateway.exchange.pending_labels import pending
    from gateway.exchange.relabel import Awaited, Step, settling

    awaited: Awaited = {}

    def passes() -> Iterator[Step]:
        with store.reading() as reading:
            if not pending(reading.resources).every:
                return iter(())
        naming = organization_labels(settings).naming  # rarely needed: a start does not wait for it
        return settling(store, saver(settings), naming, now_us=now_us, awaited=awaited)

    return LabelService(passes)


def label_at_once(settings: Settings, store: Store) -> None:
    """What that worker would do, to its end: for commands, since no gateway may be running beside them.

    Another's transaction that does not end is waited for a little only: what hangs on it stays withheld, and on record
    for the worker of the next gateway.
    """
    from gateway.exchange.pending_labels import pending

    service = label_service(settings, store)
    for _ in range(_PATIENCE):
        while service.turn():
            pass
        with store.reading() as reading:
            if not pending(reading.resources).every:
                return
        time.sleep(0.1)


@dataclass(frozen=True)
class RestParts:
    """The REST use cases over one store."""

    core: "Rest"
    finds: "Finds"
    batches: "Batches"
    doors: "Doors"
    uses: "FhirUseCases"
    types: frozenset[str]
    watch: "Watch"
    disagreements: Callable[[], int]  # of the search index and consent, since the start


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


def _operations(
    settings: Settings, core: "Rest", finds: "Finds", checks: "Validator", watch: "Watch", codes: "Terminology"
) -> "Mapping[str, Operation]":
    """The operations of the API by place and name."""
    from gateway.exchange.rest.consent_operations import ConsentOperations
    from gateway.exchange.rest.export import Exports
    from gateway.exchange.rest.matching import matching_operations
    from gateway.exchange.rest.operations import checked, operations_of
    from gateway.exchange.rest.review_operations import ReviewOperations
    from gateway.exchange.terminology import terminology_operations

    every = {
        **operations_of(core, finds, checks),
        **terminology_operations(codes),
        **matching_operations(finds, linker(settings), watch),
        **Exports(finds).operations(),
        **ReviewOperations(finds, linker(settings), core.saver, frozenset(settings.link_reviewer_roles)).operations(),
        **ConsentOperations(finds, consent_knowledge(settings), frozenset(settings.privacy_officer_roles)).operations(),
    }
    return checked(every, core.validate)


def _searches(settings: Settings, store: Store, checks: "Validator", codes: "Terminology") -> "Finds":
    """Everything that looks for resources, behind consent and audit; the audit trail beside them."""
    from gateway.adapters.http.seal import CursorSeal
    from gateway.exchange.audit_viewers import TRAIL
    from gateway.exchange.code_sets import CodeSets
    from gateway.exchange.rest.find import Finds
    from gateway.exchange.rest.record import RestGate
    from gateway.exchange.rest.subset import Subset
    from gateway.exchange.rest.trail import Trail
    from gateway.exchange.rest.validation import mandatory_of

    definitions = search_definitions(settings.data_folder)
    gate = RestGate(consent_knowledge(settings), emergency(settings))
    seal = CursorSeal(store.write(lambda unit: unit.clients.keep_secret("cursor", os.urandom(32))))
    subset = Subset(mandatory_of(checks.facts), checks.facts.summary)
    sets = CodeSets(codes, checks.facts)
    trail = Trail(store, gate, definitions, seal, subset, sets, frozenset(settings.privacy_officer_roles))
    return Finds(store, gate, definitions.without(TRAIL), seal, subset, trail, sets)


def _singles(settings: Settings, store: Store, checks: "Validator", finds: "Finds") -> "Rest":
    """Reads and writes of single resources."""
    from gateway.adapters.http.entropy import ENTROPY
    from gateway.exchange.rest.core import Rest
    from gateway.exchange.rest.validation import checker

    return Rest(
        store,
        saver(settings, interactive=True),
        finds.gate,
        finds.matching,
        checker(checks.validate),
        ENTROPY.id,
        checks.facts.resource_types,
        finds.trail,
    )


def _statement(
    settings: Settings, types: frozenset[str], operations: "Mapping[str, Operation]"
) -> Callable[[str], bytes]:
    """The CapabilityStatement of a base; it may come from a stranger's Host header, so not all of them are kept."""
    from gateway import __version__
    from gateway.adapters.files.packages import PackageFolder
    from gateway.exchange.rest.capability import statement

    profiles = cache(PackageFolder(Path(settings.data_folder) / "packages").profiles)  # read when first asked for

    @lru_cache(16)
    def told(base: str) -> bytes:
        return statement(
            base=base,
            version=__version__,
            types=types,
            definitions=search_definitions(settings.data_folder),
            operations=operations,
            profiles=profiles(),
            xml=True,
        )

    return told


def build_rest(settings: Settings, store: Store) -> RestParts:
    """The REST use cases over a store, for ``serve``, tests and benchmarks."""
    from gateway.adapters.http.fhir import FhirUseCases
    from gateway.adapters.http.outcome import code_of, status_of
    from gateway.codecs import json_text
    from gateway.codecs.fhir_xml import XmlCodec
    from gateway.exchange.enumeration import Watch
    from gateway.exchange.rest.batch import Batches
    from gateway.exchange.rest.doors import Doors
    from gateway.exchange.rest.fhirpath_patch import fhirpath_patch
    from gateway.exchange.rest.patch import json_patch

    checks = validator(settings)
    codes = terminology(settings, checks.facts)
    finds = _searches(settings, store, checks, codes)
    core = _singles(settings, store, checks, finds)
    patches: Mapping[str, Callable[[Any], Callable[[Any], Any]]] = {
        "json": json_patch,
        "fhirpath": fhirpath_patch(checks.facts),
    }
    doors = Doors(store, now_us)
    xml = XmlCodec(checks.facts.type)
    watch = Watch(settings.match_people_per_hour)
    operations = _operations(settings, core, finds, checks, watch, codes)
    metadata = _statement(settings, core.types, operations)
    batches = Batches(core, finds, patches, lambda error: (status_of(error), code_of(error)), metadata)
    uses = FhirUseCases(
        core=core,
        searches=finds,
        bundle=batches.run,
        caller=doors.caller,
        metadata=metadata,
        patches=patches,
        operations=operations,
        read_xml=xml.read,
        write_xml=lambda body: xml.write(json_text.parse(body)),
        subset=finds.subset.of_query,
    )
    knowledge = consent_knowledge(settings)
    return RestParts(core, finds, batches, doors, uses, core.types, watch, lambda: knowledge.disagreements.count)


def _readiness(
    store: Store, beside: tuple[Service, ...], executor: "ThreadPoolExecutor"
) -> Callable[[], Awaitable[Mapping[str, str]]]:
    """Says of the database and of each service whether it is well, within three seconds."""
    import asyncio

    def look() -> dict[str, str]:
        try:
            store.write(lambda unit: unit.clients.secret("cursor"))
            return {"database": "", **{one.name: one.trouble() for one in beside}}  # they ask the database too
        except Exception as error:
            return {"database": type(error).__name__}

    async def ready() -> Mapping[str, str]:
        try:
            return await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(executor, look), 3.0)
        except TimeoutError:
            return {"database": "slow"}

    return ready


def build_app(settings: Settings, store: Store, beside: tuple[Service, ...] = ()) -> Built:
    """The web application over a store; ``beside`` are the services whose state ``/readyz`` tells.

    Raises:
        Invalid: a shipped table that cannot be read, with file:line.
    """
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
    metrics.add(rest.watch.numbers)
    metrics.add(lambda: [("doorway_consent_disagreements_total", rest.disagreements())])
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

    def openapi() -> dict[str, Any]:
        return document(rest.types, rest.uses.operations)

    app = web.build_app(
        api, tokens, metrics=metrics, ready=_readiness(store, beside, executor), executor=executor, openapi=openapi
    )
    return Built(settings, store, app, beside, executor)
