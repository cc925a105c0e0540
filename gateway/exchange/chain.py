"""The hash chain of the audit trail: each record's digest covers the record and the digest before it."""

from hashlib import sha256
from typing import Final

import orjson

from gateway.exchange.ports.audit import AuditRecord
from gateway.kernel.fhir import Resource

GENESIS: Final = sha256(b"doorway audit").digest()  # stands before the first record of every lane


def canonical(event: Resource) -> bytes:
    """JSON with sorted names and no spaces: the same event always gives the same bytes."""
    return orjson.dumps(event, option=orjson.OPT_SORT_KEYS)


def digest_of(previous: bytes, lane: int, sequence: int, recorded_us: int, event: bytes) -> bytes:
    """SHA-256 over the previous digest, the record's place and time, and the canonical event."""
    return sha256(b"%b%d %d %d %b" % (previous, lane, sequence, recorded_us, event)).digest()


def link(previous: AuditRecord | None, lane: int, event: Resource, *, now_us: int) -> tuple[AuditRecord, bytes]:
    """The record that follows ``previous`` in its lane (None at its start), and its canonical event."""
    sequence = previous.sequence + 1 if previous is not None else 1
    text = canonical(event)
    digest = digest_of(previous.digest if previous is not None else GENESIS, lane, sequence, now_us, text)
    return AuditRecord(lane, sequence, now_us, event, digest), text
