"""Responses on the connection: the header of an acknowledgement with the type and the segments of the answer.

An answer to a referral (v2.5.1 ch. 11.4: REF to RRI) or an order (ch. 4.4.4: OMG^O19 to ORG^O20) is made by the
outbound tables. Where the application cannot answer, the standard's plain ACK stands in (ch. 2.12.1).
"""

from collections.abc import Iterable, Sequence
from typing import Final

from gateway.codecs.ack import acknowledge
from gateway.codecs.er7 import Message
from gateway.codecs.er7_build import segment_text
from gateway.kernel.errors import DoorwayError
from gateway.kernel.fhir import JsonObject
from gateway.mapping.hl7v2.outbound import Outbound, segments_about

ANSWERS: Final = {  # event that comes -> event that answers it
    "REF^I12": "RRI^I12", "REF^I13": "RRI^I13", "REF^I14": "RRI^I14", "REF^I15": "RRI^I15", "OMG^O19": "ORG^O20",
}  # fmt: skip
ASKS: Final = "REF^I15"  # asks for the state of a referral and changes nothing
_AGREED: Final = {"CA": "CR", "XO": "XR"}  # ORC-1, table 0119: cancelled, changed as requested; else OK


def answer_about(
    message: Message, resources: Sequence[JsonObject], outbound: Outbound, *, control_id: str, now_us: int
) -> bytes:
    """The application answer to a referral or an order, about the resources that may be told of; b"" without those
    that its row of events.csv needs.

    Args:
        control_id: MSH-10 of the answer.
        now_us: MSH-7, microseconds since 1970 UTC.
    """
    event = ANSWERS[f"{message.kind}^{message.trigger}"]
    if not outbound.needs[event] <= {one["resourceType"] for one in resources}:
        return b""
    kind, trigger = event.split("^")
    order = message.first("ORC")
    control = _AGREED.get(order.raw(1), "OK") if order is not None else ""
    segments = segments_about(outbound.structures[event], resources, outbound, control)
    if not outbound.segments[event] <= {name for name, _ in segments}:
        return b""
    marks, codec = message.delimiters, message.codec
    texts = [segment_text(name, fields, delimiters=marks, codec=codec) for name, fields in segments]
    typed = (kind, trigger, outbound.structures[event])
    return response(message, "AA", typed, texts, control_id=control_id, now_us=now_us)


def response(
    message: Message,
    code: str,
    typed: Iterable[str],
    texts: Sequence[str],
    *,
    control_id: str,
    now_us: int,
    error: DoorwayError | None = None,
) -> bytes:
    """A response: MSH of the type ``typed`` (MSH-9), MSA with ``code``, ERR, and the segments ``texts``.

    It is in the charset of the message, or in UTF-8 and says so where that charset lacks a character.
    """
    marks, codec = message.delimiters, message.codec
    acked = acknowledge(message.header, code, control_id=control_id, now_us=now_us, error=error)
    lines = acked.decode(codec, "surrogateescape").rstrip("\r").split("\r")
    msh = lines[0].split(marks.field)
    msh[8] = (marks.component or " ").join(typed)
    rest = [*lines[1:], *texts]
    try:
        return ("\r".join([marks.field.join(msh), *rest]) + "\r").encode(codec)
    except UnicodeEncodeError:
        msh += [""] * (18 - len(msh))
        msh[17] = "UNICODE UTF-8"
        return ("\r".join([marks.field.join(msh), *rest]) + "\r").encode("utf-8", "replace")
