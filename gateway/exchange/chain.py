"""The hash chain of the audit trail: each record's digest covers the record and the digest before it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import orjson

from gateway.exchange.ports.audit import AuditRecord
from gateway.kernel.errors import Malformed
from gateway.kernel.fhir import Resource

GENESIS: Final = sha256(b"doorway audit").digest()  # stands before the first record of every lane


def canonical(event: Resource) -> bytes:
    """JSON with sorted names and no spaces: the same event always gives the same bytes."""
    return orjson.dumps(event, option=orjson.OPT_SORT_KEYS)


def digest_of(previous: bytes, lane: int, sequence: int, recorded_us: int, event: bytes) -> bytes:
    """SHA-256 over the previous digest, the record's place and time, and the canonical event."""
    return sha256(b"%b%d %d %d %b" % (previous, lane, sequence, recorded_us, event)).digest()


def link(previous: AuditRecord | None, lane: int, event: Resource | bytes, *, now_us: int) -> AuditRecord:
    """The record that follows ``previous`` in its lane (None at its start); bytes are the canonical text already."""
    sequence = previous.sequence + 1 if previous is not None else 1
    text = event if isinstance(event, bytes) else canonical(event)
    before = previous.digest if previous is not None else GENESIS
    return AuditRecord(lane, sequence, now_us, text, digest_of(before, lane, sequence, now_us, text))


@dataclass(frozen=True, slots=True)
class Head:
    """Where a lane ends: its last sequence and digest; kept outside, it proves later that nothing was cut off."""

    lane: int
    sequence: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be: where, and what it means."""

    lane: int
    sequence: int
    what: str


class Check:
    """Walks the trail, lane by lane in order, and says what was changed, taken out, put in or cut off.

    Args:
        anchors: heads that were kept outside at some time, oldest first; without them a cut at the end cannot show.
    """

    def __init__(self, anchors: Iterable[Head] = ()) -> None:
        self.heads: dict[int, Head] = {}
        self.records = 0
        self._anchors: dict[tuple[int, int], bytes] = {(one.lane, one.sequence): one.digest for one in anchors}

    def walk(self, records: Iterable[AuditRecord]) -> Iterator[Finding]:
        """Every finding, in order; those about anchors last."""
        unseen = dict(self._anchors)
        for record in records:
            self.records += 1
            lane, sequence = record.lane, record.sequence
            before = self.heads.get(lane)
            wanted = before.sequence + 1 if before is not None else 1
            digest = before.digest if before is not None else GENESIS
            if sequence != wanted:
                yield Finding(lane, wanted, f"records {wanted} to {sequence - 1} are missing")
            elif not _fits(digest, record):
                yield Finding(lane, sequence, "changed, or not in its place: the digest does not fit")
            anchored = unseen.pop((lane, sequence), None)
            if anchored is not None and anchored != record.digest:
                yield Finding(lane, sequence, "rewritten since the anchor was made")
            self.heads[lane] = Head(lane, sequence, record.digest)
        for lane, sequence in sorted(unseen):
            end = self.heads[lane].sequence if lane in self.heads else 0
            if sequence > end:
                yield Finding(lane, sequence, f"cut off: the anchor knew record {sequence}, the lane ends at {end}")
            else:
                yield Finding(lane, sequence, "the anchored record is gone")


def _fits(before: bytes, record: AuditRecord) -> bool:
    """Whether a record's digest is the one that it was written with; a value of another kind was put there later."""
    try:
        made = digest_of(before, record.lane, record.sequence, record.recorded_us, record.text)
    except TypeError:
        return False
    return made == record.digest


def write_anchor(heads: Iterable[Head]) -> bytes:
    """One line of JSON for the heads, to be appended to a file that lies outside (another machine, a printout)."""
    told = [[one.lane, one.sequence, one.digest.hex()] for one in sorted(heads, key=lambda one: one.lane)]
    return orjson.dumps({"heads": told}) + b"\n"


def read_anchors(text: bytes, *, at: str) -> list[Head]:
    """The heads of every line of an anchor file.

    Raises:
        Malformed: a line that is no anchor.
    """
    heads = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            told = orjson.loads(line)["heads"]
            heads += [Head(int(lane), int(sequence), bytes.fromhex(digest)) for lane, sequence, digest in told]
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            raise Malformed("not an anchor of the audit trail", at=f"{at}:{number}") from None
    return heads
