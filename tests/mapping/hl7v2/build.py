"""Short messages for tests; people carry the canary."""

from functools import cache

from gateway.adapters.files.hl7v2_tables import load_tables
from gateway.codecs.er7 import Message
from gateway.kernel.fhir import Resource
from gateway.mapping.hl7v2.convert import Conversion, Converter, Feed

US = Feed()
PID = "PID|1||4711^^^WEST^MR||Zqwalker^Maria||19800512|F"
PV1 = "PV1|1|I|3W^1^A||||||||||||||||V1^^^WEST^VN"


def message(event: str, *segments: str, control_id: str = "1") -> Message:
    """A message with the header that most tests need."""
    head = f"MSH|^~\\&|APP|WEST|GATE|WAY|20250310093000-0500||{event}|{control_id}|P|2.5.1"
    return Message.parse("\r".join((head, *segments)).encode())


@cache
def converter(*, explain: bool = False) -> Converter:
    """The shipped tables, compiled once."""
    return Converter(load_tables(), explain=explain)


def convert(event: str, *segments: str, feed: Feed = US, control_id: str = "1") -> Conversion:
    """One message through the shipped tables."""
    return converter().convert(message(event, *segments, control_id=control_id), feed)


def only(conversion: Conversion, kind: str) -> Resource:
    """The one resource of a type."""
    (found,) = [r for r in conversion.resources if r["resourceType"] == kind]
    return found
