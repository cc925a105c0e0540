"""Stable ids: the same source record always becomes the same FHIR id."""

import re
import uuid
from collections.abc import Iterable
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
    return id_of_name(name_of_parts(parts))


def name_of_parts(parts: Iterable[str]) -> str:
    """The parts of an id as one text; that of several is that of one after the other."""
    return "".join([f"{len(part)}:{part}" for part in parts])


def id_of_name(name: str) -> str:
    """The id of a text of :func:`name_of_parts`."""
    hexed = sha1(_SPACE + name.encode(), usedforsecurity=False).hexdigest()
    return f"{hexed[:8]}-{hexed[8:12]}-5{hexed[13:16]}-{_VARIANT[hexed[16]]}{hexed[17:20]}-{hexed[20:32]}"


def shard_of(reference: str) -> int:
    """The person key of a row: a signed 63-bit number from the Patient reference (or own reference when no person).

    Computed here, not in the database, so that every store and every future partition agrees.
    """
    hexed = sha1(_SPACE + reference.encode(), usedforsecurity=False).hexdigest()
    return int(f"{hexed[:12]}5{hexed[13:16]}", 16) >> 1  # the first half of the UUIDv5, whose version stands in it


_GIVEN: Final = re.compile(r"[A-Za-z]+/([0-9a-f]{4})[0-9a-f]{4}-[0-9a-f]{4}-8[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_LOW_BITS: Final = 47  # of a key that a hash gives where the id's first four digits give those above


def key_of(reference: str) -> int:
    """The short key of a resource in index tables: a 63-bit number from ``Type/id``.

    Ids that the gateway makes up (UUID version 8) and that begin alike have keys that lie together, in every index
    that ends in the key: what one transaction creates goes into few pages of the database (:func:`beside`).

    Two resources of one type share a key with a chance of 5 in a million at ten million resources, and of 1 in ten
    million within the largest transaction; the store refuses the second one.
    """
    hashed = int.from_bytes(blake2b(reference.encode(), digest_size=8).digest(), "big") >> 1
    if reference[-22:-21] != "8":  # where the version of a UUID stands
        return hashed
    given = _GIVEN.fullmatch(reference)
    return hashed if given is None else int(given[1], 16) << _LOW_BITS | hashed & ((1 << _LOW_BITS) - 1)


def beside(id_: str, other: str) -> str:
    """The made-up id ``id_`` as one whose key lies beside that of ``other``; 106 bits of it are still random."""
    return other[:4] + id_[4:]
