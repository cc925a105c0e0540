"""Keyed Bloom filters (cryptographic long-term keys) for two gateways that may not share clear names.

After Schnell, Bachteler and Reiher (BMC Med Inform Decis Mak 2009): bigrams of a field set bits, chosen by HMAC under
a secret of the agreement and its period; filters are compared by the Dice coefficient. Limits, said plainly: equal
people give equal filters, so frequency attacks on common names exist, the secret must never leave the two gateways,
and a filter is still personal data: law that forbids even hashes (34 USC 12291(b)(2)) forbids this. It finds
candidates and counts; it never links automatically.
"""

import hmac
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from gateway.kernel.errors import Invalid
from gateway.linkage.traits import Traits

BITS: Final = 512
_HASHES: Final = 12
_WEIGHTS: Final[Mapping[str, float]] = {
    "given": 1.0, "last": 1.2, "dob": 1.6, "sex": 0.2, "ssn": 2.0, "health": 2.0, "phone": 0.8, "address": 0.7,
}  # fmt: skip
_LEAST_SECRET: Final = 16
_BAND_BITS: Final = 20
_BANDS: Final = 14


@dataclass(frozen=True, slots=True)
class Encoded:
    """One record as filters, a number of :data:`BITS` bits each; 0 where the field is unknown."""

    key: str
    filters: tuple[int, ...]


class Encoder:
    """Encodes records under one secret.

    Args:
        secret: shared by the two gateways for one agreement and period, at least 16 bytes.

    Raises:
        Invalid: the secret is too short.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < _LEAST_SECRET:
            raise Invalid(
                "the secret is too short", at="--clk", fix=f"at least {_LEAST_SECRET} bytes, from a generator"
            )
        self._secret = secret
        self._known: dict[tuple[str, str], int] = {}

    def encode(self, person: Traits) -> Encoded:
        """The filters of a record, in the order of the field table."""
        return Encoded(person.key, tuple(self._filter(name, getattr(person, name)) for name in _WEIGHTS))

    def _filter(self, name: str, value: str) -> int:
        out = 0
        for gram in _grams(name, value):
            bits = self._known.get((name, gram))
            if bits is None:
                bits = self._known[name, gram] = self._bits(name, gram)
            out |= bits
        return out

    def _bits(self, name: str, gram: str) -> int:
        digest = hmac.new(self._secret, f"{name}|{gram}".encode(), sha256).digest()
        out = 0
        for i in range(_HASHES):
            out |= 1 << (int.from_bytes(digest[2 * i : 2 * i + 2], "big") % BITS)
        return out


def _grams(name: str, value: str) -> Iterator[str]:
    """Bigrams of names; digits with their place, so that dates and numbers differ where they differ."""
    if not value:
        return
    if name in {"given", "last", "address"}:
        padded = f"_{value}_"
        yield from (padded[i : i + 2] for i in range(len(padded) - 1))
    else:
        yield from (f"{i}{character}" for i, character in enumerate(value))


def dice(a: int, b: int) -> float:
    """2 |a and b| / (|a| + |b|); 0 when both are empty."""
    size = a.bit_count() + b.bit_count()
    return 2 * (a & b).bit_count() / size if size else 0.0


def similarity(a: Encoded, b: Encoded) -> float:
    """0..1: what agrees of what both know, weighted; names far apart count against, so that kin fall behind."""
    total = weight = 0.0
    for name, x, y in zip(_WEIGHTS, a.filters, b.filters, strict=True):
        if x and y:
            share = _WEIGHTS[name]
            total += share * max((dice(x, y) - 0.4) / 0.6, -0.3)
            weight += share
    known = sum(_WEIGHTS[name] for name in ("given", "last", "dob"))
    return max(total, 0.0) / max(weight, known) if weight else 0.0


def _bands(person: Encoded) -> Iterator[tuple[int, int, int]]:
    """Samples of bits of whole fields as blocking keys: (field, band, bits)."""
    for field, value in enumerate(person.filters):
        if not value:
            continue
        for band in range(_BANDS):
            start = band * (BITS // _BANDS)
            yield field, band, (value >> start) & ((1 << _BAND_BITS) - 1)


def candidates(left: Sequence[Encoded], right: Sequence[Encoded], *, limit: int = 60) -> Iterator[tuple[int, int]]:
    """Pairs that share several bands, without comparing everybody with everybody."""
    index: dict[tuple[int, int, int], list[int]] = {}
    for i, person in enumerate(left):
        for key in _bands(person):
            index.setdefault(key, []).append(i)
    for j, person in enumerate(right):
        shared: dict[int, int] = {}
        for key in _bands(person):
            block = index.get(key, ())
            if len(block) <= limit:
                for i in block:
                    shared[i] = shared.get(i, 0) + 1
        for i, count in shared.items():
            if count >= 2:
                yield i, j


def link_encoded(
    left: Sequence[Encoded], right: Sequence[Encoded], *, at_least: float = 0.55
) -> list[tuple[int, int, float]]:
    """(left number, right number, similarity) of each right record's best candidate, one to one on both sides."""
    scored = [(similarity(left[i], right[j]), i, j) for i, j in candidates(left, right)]
    taken_left: set[int] = set()
    taken_right: set[int] = set()
    out = []
    for score, i, j in sorted(scored, key=lambda s: (-s[0], s[1], s[2])):
        if score < at_least:
            break
        if i not in taken_left and j not in taken_right:
            taken_left.add(i)
            taken_right.add(j)
            out.append((i, j, score))
    return out
