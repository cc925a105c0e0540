"""HL7 v2 on the processor alone: the tokenizer against a bare split, conversion by the tables, memory.

Conversion stands against hl7apy's parse of the feed of ``doorway sim hospital``, and against a converter written by
hand that gives the same content for admissions of ever new people, resource by resource (``_by_hand.py``, held equal by
a test); beds, doctors and diagnoses come again as in a hospital. The wire with its durable acknowledgement is measured
by ``doorway bench ingest``.
"""

import time
import tracemalloc
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gateway.bench._by_hand import admissions, by_hand
from gateway.bench.ingest import adt
from gateway.codecs.er7 import Message, peek
from gateway.codecs.er7_batch import split_interchange
from gateway.codecs.mllp import FrameDecoder, encode_frame
from gateway.exchange.receive import Feed, prepare
from gateway.sim.hospital import write_feed
from gateway.wiring import hl7v2_converter

ROUNDS = 7
_PID = frozenset({b"PID"})


def oru(control_id: str, mrn: int, results: int = 60) -> bytes:
    """An ORU^R01 of about 7 kB, of nobody."""
    head = adt(control_id, mrn).replace(b"ADT^A01^ADT_A01", b"ORU^R01^ORU_R01").split(b"\r")
    lines = [
        head[0],
        head[2],
        b"OBR|1|7^LAB|8^LAB|24331-1^Lipid panel^LN|||20260105090000|||||||||77^Zqdoc^Bea||||||||LAB|F",
    ]
    lines += [
        f"OBX|{n}|NM|2093-{n}^Cholesterol in serum^LN^CH^Chol^L||{180 + n}.5|mg/dL^^UCUM|0-200|N|||F|||20260105090000||"
        f"88^Zqtech^Cy".encode()
        for n in range(1, results + 1)
    ]
    return b"\r".join(lines) + b"\r"


def best_of(messages: Sequence[bytes], work: Callable[[bytes], Any]) -> float:
    """Seconds of processor time for all messages, the best of several rounds."""
    return min(spent(messages, work) for _ in range(ROUNDS))


def bare_split(raw: bytes) -> list[Any]:
    """The floor of a full parse: nested splits, no escapes, no header, no charset."""
    return [
        [[[part.split("&") for part in rep.split("^")] for rep in field.split("~")] for field in line.split("|")]
        for line in raw.decode("utf-8").split("\r")
    ]


def lazy_split(raw: bytes) -> list[list[str]]:
    """The floor of a look: segments and fields."""
    return [line.split("|") for line in raw.decode("utf-8").split("\r")]


def parser_of(module: str, name: str) -> Callable[[bytes], Any] | None:
    """Another library's parser; None where it is not installed. Imported by name: nothing here depends on it."""
    try:
        parse = getattr(import_module(module), name)
    except ImportError:
        return None
    return lambda raw: parse(raw.decode("utf-8"))


def _memory(limit: int) -> float:
    """Peak bytes of a connection's decoder for a message at its limit, in units of that limit."""
    stream = encode_frame(b"MSH|" + b"x" * (limit - 4))
    tracemalloc.start()
    decoder = FrameDecoder(limit)
    for start in range(0, len(stream), 65536):
        for _ in decoder.feed(stream[start : start + 65536]):
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / limit


def run() -> dict[str, Any]:
    """Ratios on ADT of 650 bytes and ORU of 7 kB."""
    adts = [adt(f"B{n}", n) for n in range(300)]
    orus = [oru(f"B{n}", n) for n in range(40)]
    out: dict[str, Any] = {}
    for name, messages in (("ADT", adts), ("ORU", orus)):
        full = best_of(messages, bare_split)
        parsed = best_of(messages, lambda raw: Message.parse(raw).tree())
        out[f"full parse / bare full split, {name}"] = full / parsed
        look = best_of(messages, lambda raw: peek(raw, _PID)["PID"].get(3))
        out[f"look at MSH and PID-3 / lazy split, {name}"] = best_of(messages, lazy_split) / look
        out[f"full parses a second, {name}"] = round(len(messages) / parsed)
        out[f"full parse / python-hl7, {name}"] = _times_faster(messages, parser_of("hl7", "parse"), parsed)
    feed = Feed()
    out["judging a received ADT, microseconds"] = round(
        best_of(adts, lambda raw: prepare(raw, feed, now_us=1, ack_id="X")) / len(adts) * 1e6, 1
    )
    out |= _conversion()
    out["memory of a connection / frame limit"] = _memory(4 * 1024 * 1024)
    return out


def _conversion() -> dict[str, Any]:
    """ADT to Bundle bytes: a synthetic hospital's feed against hl7apy, which only parses, and admissions by hand.

    Every message is converted once: its people are new or come again as they do in the feed. What a feed repeats is
    remembered (:mod:`gateway.mapping.hl7v2.shapes`) from the 26,000 messages before; ``nothing remembered`` converts
    each message as if it were the first.
    """
    converter, pieces = hl7v2_converter(), 10

    def by_tables(raw: bytes) -> bytes:
        return converter.convert(Message.parse(raw)).bundle_bytes()

    feed = _hospital(20_000)
    before, rest = feed[:-2_000], feed[-2_000:]
    for message in before:
        by_tables(message)
    slow = parser_of("hl7apy.parser", "parse_message")
    usual, parsed = 0.0, 0.0
    for piece in range(pieces):  # in turns: the machine is not equally quick all the time
        some = rest[piece::pieces]
        usual += spent(some, by_tables)
        if slow is not None:
            parsed += spent(some[::20], slow) / len(some[::20]) / pieces
    out: dict[str, Any] = {
        "ADT to Bundle / hl7apy parse (rate)": parsed / (usual / len(rest))
        if slow is not None
        else None,  # at least 100
        "ADT to Bundle a second": round(len(rest) / usual),
    }
    few = rest[:150]

    def first(raw: bytes) -> bytes:
        converter.forget()
        return by_tables(raw)

    cold = min(spent(few, first) for _ in range(3)) / len(few)
    out["ADT to Bundle / hl7apy parse (rate), nothing remembered"] = parsed / cold if slow is not None else None
    tables, hand, every = float("inf"), float("inf"), admissions(300 * ROUNDS)
    for start in range(0, len(every), 300):  # new people each time
        some = every[start : start + 300]
        tables, hand = min(tables, spent(some, by_tables)), min(hand, spent(some, by_hand))
    out["ADT to Bundle / hl7apy parse (rate), admissions"] = _times_faster(every[:300], slow, tables)
    return {"ADT to Bundle / the same content by hand (time)": tables / hand, **out}  # at most 5


def _hospital(patients: int) -> list[bytes]:
    """The messages of ``doorway sim hospital`` in their order."""
    with TemporaryDirectory() as folder:
        write_feed(Path(folder), seed=1, patients=patients)
        files = sorted(Path(folder).glob("feed-*.hl7"))
        return [message for file in files for message in split_interchange(file.read_bytes()).messages]


def spent(messages: Sequence[bytes], work: Callable[[bytes], Any]) -> float:
    """Seconds of processor time for all messages, once each."""
    started = time.process_time()
    for message in messages:
        work(message)
    return time.process_time() - started


def _times_faster(messages: Sequence[bytes], slow: Callable[[bytes], Any] | None, ours: float) -> float | None:
    """How many times faster ours is than something slow, which is timed on a few messages only."""
    if slow is None:
        return None
    few = messages[:5]
    slow(few[0])
    started = time.process_time()
    for message in few:
        slow(message)
    return (time.process_time() - started) / len(few) / (ours / len(messages))
