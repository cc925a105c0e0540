"""Stable ids: the same source record always becomes the same FHIR id."""

import uuid
from hashlib import blake2b
from typing import Final

NAMESPACE: Final = uuid.UUID("6f1f3c0e-5d3b-5b0e-9d5e-0d0012a70001")  # Doorway's own; never change it, ids hang on it


def resource_id(*parts: str) -> str:
    """UUIDv5 over the parts that identify a record, such as (source system, file, key) or (authority, type, value).

    Parts are length-prefixed, so ("ab", "c") and ("a", "bc") differ. Case and spaces count.
    """
    return str(uuid.uuid5(NAMESPACE, "".join(f"{len(part)}:{part}" for part in parts)))


def shard_of(reference: str) -> int:
    """The person key of a row: a signed 63-bit number from the Patient reference (or own reference when no person).

    Computed here, not in the database, so that every store and every future partition agrees.
    """
    return int.from_bytes(uuid.uuid5(NAMESPACE, reference).bytes[:8], "big") >> 1


def key_of(reference: str) -> int:
    """The short key of a resource in index tables: a 63-bit number from ``Type/id``.

    Two resources of one type share a key with a chance of 5 in a million at ten million resources; the store refuses
    the second one.
    """
    return int.from_bytes(blake2b(reference.encode(), digest_size=8).digest(), "big") >> 1
