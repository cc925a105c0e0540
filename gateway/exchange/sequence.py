"""The sequence number protocol of a stream of messages (HL7 v2.5.1 ch. 2.10.1), for senders with whom it is agreed.

=============  ======================================================================================================
MSH-13         what happens, and what MSA-4 of the answer says
=============  ======================================================================================================
empty          a message outside of the stream: no number is looked at
0              the sender starts the link: nothing is kept; the number expected next, -1 when none is known
-1             the sender begins anew: the number of its next message will do; -1
as expected    accepted; the number itself. The first number ever seen is as expected
anything else  refused with an error, and kept for diagnosis; the number expected. Nothing overtakes a lost message
=============  ======================================================================================================

A message that is here already (same control id, same bytes) is answered as it was then, whatever its number: its
acknowledgement was lost on the way. The number is stored in the transaction that keeps the message, so that it is on
disk before the answer leaves.
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from gateway.codecs.er7 import Segment
from gateway.exchange.ports.inbox import Inbox, Received
from gateway.kernel.errors import DoorwayError, Invalid, PreconditionFailed

START: Final = 0
ANEW: Final = -1
_NUMBER: Final = re.compile(r"-1|\d{1,15}", re.ASCII)


class Numbered(NamedTuple):
    """A message of a stream: its number, and how it is answered when that alone decides."""

    number: int
    answer: Callable[[int, DoorwayError | None], bytes]  # the number expected, why it is refused


class Turn(NamedTuple):
    """What its number makes of a message: it is answered so, and kept as refused where there is a fault."""

    answer: bytes
    fault: DoorwayError | None = None


def number_of(head: Segment) -> int | None:
    """MSH-13; None when it is empty.

    Raises:
        Invalid: neither -1 nor a number.
    """
    text = head.raw(13)
    if not text:
        return None
    if _NUMBER.fullmatch(text) is None:
        raise Invalid("not a sequence number", at="MSH-13", fix="send -1, 0 or a positive integer")
    return int(text)


def take_turn(inbox: Inbox, message: Received, numbered: Numbered) -> Turn | None:
    """Whether a message is the one that is expected; None when it is to be kept as usual."""
    number = numbered.number
    expected = inbox.expected(message.source)
    if number == START:
        return Turn(numbered.answer(ANEW if expected is None else expected, None))
    if number == ANEW:
        inbox.expect(message.source, None)
        return Turn(numbered.answer(ANEW, None))
    if inbox.get(message.id) is not None:
        return None
    if expected is not None and number != expected:
        fault = PreconditionFailed(
            "not the sequence number that is expected", at="MSH-13", fix="go on from MSA-4, or send -1 to begin anew"
        )
        return Turn(numbered.answer(expected, fault), fault)
    inbox.expect(message.source, number + 1)
    return None
