"""Stable ids: the same source record always becomes the same FHIR id."""

import uuid
from hashlib import blake2b, sha1
from typing import Final

NAMESPACE: Final = uuid.UUID("6f1f3c0e-5d3b-5b0e-9d5e-0d0012a70001")  # Doorway's own; never change it, ids hang on it

_SPACE: Final = NAMESPACE.bytes
_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def resource_id(*parts: str) -> str:
    """UUIDv5 over the parts that identify a record, such as (source system, file, key) or (authority, type, value).

    Parts are length-prefixed, so ("ab", "c") and ("a", "bc") differ. Case and spaces count. This is RFC 4122
    section 4.3 without the object of :mod:`uuid`, which costs more than the hash: version 5 and variant 10 are set
    in the digits.
    """
    name = "".join([f"{len(part)}:{part}" for part in parts])
    hexed = sha1(_SPACE + name.encode(), usedforsecurity=False).hexdigest()
    return f"{hexed[:8]}-{hexed[8:12]}-5{hexed[13:16]}-{_VARIANT[hexed[16]]}{hexed[17:20]}-{hexed[20:32]}"


def shard_of(reference: str) -> int:
    """The person key of a row: a signed 63-bit number from the Patient reference (or own reference when no person).

    Computed here, not in the database, so that every store and every future partition agrees.
    """
    hexed = sha1(_SPACE + reference.encode(), usedforsecurity=False).hexdigest()
    return int(f"{hexed[:12]}5{hexed[13:16]}", 16) >> 1  # the first half of the UUIDv5, whose version stands in it


def key_of(reference: str) -> int:
    """The short key of a resource in index tables: a 63-bit number from ``Type/id``.

    Two resources of one type share a key with a chance of 5 in a million at ten million resources; the store refuses
    the second one.
    """
    return int.from_bytes(blake2b(reference.encode(), digest_size=8).digest(), "big") >> 1
