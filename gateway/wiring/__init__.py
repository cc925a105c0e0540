"""Builds everything: the only room that knows every concrete class."""

from gateway.wiring.hl7v2 import (
    hl7v2_conversion,
    hl7v2_converter,
    hl7v2_processing,
    hl7v2_sources,
    mllp_listeners,
    mllp_queries,
    mllp_senders,
    mllp_service,
)
from gateway.wiring.http import Built, RestParts, Service, build_app, build_rest, services
from gateway.wiring.parts import (
    clock,
    consent_knowledge,
    database_store,
    describe,
    emergency,
    linker,
    now_us,
    open_store,
    saver,
    search_definitions,
    terminology,
    validator,
)
from gateway.wiring.tables import check_tables

__all__ = [
    "Built",
    "RestParts",
    "Service",
    "build_app",
    "build_rest",
    "check_tables",
    "clock",
    "consent_knowledge",
    "database_store",
    "describe",
    "emergency",
    "hl7v2_conversion",
    "hl7v2_converter",
    "hl7v2_processing",
    "hl7v2_sources",
    "linker",
    "mllp_listeners",
    "mllp_queries",
    "mllp_senders",
    "mllp_service",
    "now_us",
    "open_store",
    "saver",
    "search_definitions",
    "services",
    "terminology",
    "validator",
]
