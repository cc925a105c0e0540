"""Where a message stands: in whose lane, and at which time its sender recorded it (HL7 v2.5.1 ch. 3: PID, MRG, EVN)."""

import re
from calendar import timegm
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from gateway.codecs.er7 import DELETE, Message, Segment

_DTM: Final = re.compile(r"(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\.\d{1,6})?(?:([+-])(\d\d)(\d\d))?", re.ASCII)
_LOCAL_TYPES: Final = ("MR", "PI", "PT")  # table 0203: what a facility files its patients under


def lanes_in(payload: bytes, seen: dict[str, Segment], source: str) -> tuple[str, str]:
    """The patient of the message, and the other one of a merge, link or swap, as keys that reveal neither."""
    pid = seen.get("PID")
    first = _patient(pid, source) if pid is not None else ""
    other = seen.get("MRG")
    if other is not None and first:
        second = _lane(other.repetitions(1), other.message, source)
    elif pid is not None and payload.count(b"PID" + payload[3:4]) > 1:  # A17, A24, A37: a second PID
        pids = Message.parse(payload).all("PID")
        second = _patient(pids[1], source) if len(pids) > 1 else ""
    else:
        second = ""
    return first, second if second != first else ""


def _patient(pid: Segment, source: str) -> str:
    for number in (3, 2, 4, 18):
        if lane := _lane(pid.repetitions(number), pid.message, source):
            return lane
    return ""


def _lane(texts: list[str], message: Message, source: str) -> str:
    mark, chosen = message.delimiters.component or "^", list[str]()
    for text in texts:
        parts = [*text.split(mark), *[""] * 5]
        if (
            parts[0]
            and parts[0] != DELETE
            and (not chosen or (parts[4] in _LOCAL_TYPES and chosen[4] not in _LOCAL_TYPES))
        ):
            chosen = parts
    if not chosen:
        return ""
    whose = chosen[3] or source  # an identifier without authority is the sender's own
    named = f"{len(whose)}:{whose}{chosen[0]}".encode("utf-8", "replace")
    return blake2b(named, digest_size=12).hexdigest()


def event_us_of(seen: dict[str, Segment]) -> int:
    """When the sender recorded it: EVN-2, else MSH-7, else EVN-6; a time without zone counts as UTC, 0 when unknown."""
    event, head = seen.get("EVN"), seen["MSH"]
    for segment, number in ((event, 2), (head, 7), (event, 6)):
        text = (segment.get(number) or "") if segment is not None else ""
        if text and (at := dtm_us(text)) is not None:
            return at
    return 0


def dtm_us(text: str) -> int | None:
    """A DTM as microseconds since 1970 UTC, missing parts at their earliest; None when it is none."""
    if len(text) == 14 and text.isascii() and text.isdigit() and text[12:] < "60":
        minute = _minute_us(text[:12])
        return minute + int(text[12:]) * 1_000_000 if minute is not None else None
    return _minute_us(text)


@lru_cache(1024)
def _minute_us(text: str) -> int | None:
    found = _DTM.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(part) if part else default for part, default in zip(
        found.groups()[:6], (1, 1, 1, 0, 0, 0), strict=True
    ))  # fmt: skip
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61):
        return None
    at = timegm((year, month, day, hour, minute, second)) * 1_000_000
    at += int(float(found[7] or 0) * 1_000_000)
    if found[8]:
        shift = (int(found[9]) * 60 + int(found[10])) * 60_000_000
        at -= shift if found[8] == "+" else -shift
    return at
