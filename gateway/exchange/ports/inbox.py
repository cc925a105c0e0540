"""The inbox: every message as it came, what was answered, and how far it is; nothing acknowledged is outside of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol


class State(StrEnum):
    """How far a message is."""

    RECEIVED = "received"  # durable, waits for its turn
    PROCESSED = "processed"
    PARKED = "parked"  # processing failed; later messages of its lane wait behind it
    QUARANTINED = "quarantined"  # kept aside for a human; holds up nobody
    REFUSED = "refused"  # answered with a refusal, or no message at all; kept for diagnosis


OPEN: tuple[str, ...] = (State.RECEIVED, State.PARKED)  # what holds up the later messages of a lane

DONE: tuple[str, ...] = (State.PROCESSED, State.REFUSED)  # nobody has anything to do with it any more


class Received(NamedTuple):
    """One message (or one frame that is none).

    A tuple, since one is made and one row is written for every message that is acknowledged: what stands first is what
    a new message brings, in the order of the table's columns.
    """

    id: str  # from source and MSH-10 (from the content where that is empty): what makes two messages "the same"
    source: str  # name of the feed, or sending application and facility
    control_id: str  # MSH-10
    digest: bytes  # SHA-256 of the body
    kind: str  # ADT^A01; empty for a frame that is no message
    received_us: int  # grows within a process: the order of arrival
    body: bytes  # exactly as received; empty once it is older than what is kept
    answer: bytes = b""  # what was sent at once; sent again for a repeat
    lane: str = ""  # order is kept within a lane (sender and patient, as a hash); empty: no order
    lane_2: str = ""  # the other patient of a merge
    event_us: int = 0  # when the sender recorded it (EVN-2, MSH-7); its arrival when unknown
    peer: str = ""  # address or certificate it came from
    state: State = State.RECEIVED
    attempts: int = 0
    not_before_us: int = 0
    result: bytes = b""  # application acknowledgement, made after processing
    category: str = ""  # of the failure that parked or refused it
    place: str = ""
    fault: str = ""  # in words that hold no value of the message

    def __repr__(self) -> str:
        return f"Received({self.id}, {self.state.value})"  # never its content


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at processing a message."""

    message: str
    number: int  # from 1
    at_us: int
    state: State  # how it ended
    stage: str = ""  # parse, convert, save, link
    category: str = ""
    place: str = ""
    fault: str = ""
    reason: str = ""  # why it was tried again, by whoever asked for it
    outputs: tuple[str, ...] = ()  # Type/id/_history/n of what it wrote


class Admission(StrEnum):
    """What the inbox says to a message."""

    NEW = "new"
    REPEATED = "repeated"  # the same message is there; answer as then
    CONFLICT = "conflict"  # that control id is taken by another content


class InboxReader(Protocol):
    """Reads of the inbox."""

    def get(self, id_: str) -> Received | None:
        """One message by our id."""
        ...

    def find(self, control_id: str) -> list[Received]:
        """The messages that carry this MSH-10, oldest first."""
        ...

    def ready(self, *, now_us: int, limit: int) -> list[Received]:
        """Messages whose turn has come, oldest first, at most one of each lane."""
        ...

    def folded(self, lane: str) -> list[Received]:
        """The processed messages of a lane, a merge that names it included, in order of event, then of arrival."""
        ...

    def newest(self, lane: str) -> tuple[int, int] | None:
        """(event_us, received_us) of the newest processed event of a lane; None when there is none."""
        ...

    def attempts(self, id_: str) -> list[Attempt]:
        """Every try at a message, in order."""
        ...

    def that_wrote(self, reference: str) -> list[Received]:
        """The messages that wrote a version of ``Type/id``, oldest first."""
        ...

    def in_front_of(self, message: Received) -> str:
        """Id of an open message that this one waits for; empty when its turn has come."""
        ...

    def in_state(self, state: State, *, limit: int = 100) -> list[Received]:
        """Messages in a state, oldest first."""
        ...

    def counts(self) -> dict[tuple[str, str], int]:
        """How many there are by (source, state); every message is looked at, so nothing that is asked often may ask."""
        ...

    def oldest_open_us(self) -> int | None:
        """Arrival of the oldest message that is not processed yet; None when all are."""
        ...


class Inbox(InboxReader, Protocol):
    """Reads and writes inside one transaction."""

    def add(self, message: Received) -> tuple[Admission, Received]:
        """Keep a message; with the answer comes what is in the inbox: the message itself, or the one before it."""
        ...

    def add_all(self, messages: Sequence[Received]) -> list[tuple[Admission, Received]]:
        """:meth:`add` for several at once, in as few round trips as the store can."""
        ...

    def claim(self, id_: str) -> Received | None:
        """Take a received message for this transaction; None when another has it or it is no longer to be done."""
        ...

    def settle(self, message: Received, attempt: Attempt) -> None:
        """Write state, attempts, not_before_us, result and failure of ``message``, and the attempt."""
        ...

    def reopen(self, id_: str) -> None:
        """Back to received, to be processed again."""
        ...

    def expected(self, source: str) -> int | None:
        """The sequence number that comes next of a source; None when any will do. Held against other writers."""
        ...

    def expect(self, source: str, number: int | None) -> None:
        """Say which sequence number comes next of a source; None: any."""
        ...

    def forget(self, *, bodies_before_us: int, keys_before_us: int, limit: int) -> int:
        """Empty the bodies of messages that are done and came before a time, and remove those before another.

        What is not done (received, parked, quarantined) stays whole. A message without body keeps its key and answers,
        so that a repeat is told as before; one that is removed is new when it comes again.

        Args:
            limit: of messages touched at once, so that acknowledgements do not wait.

        Returns:
            How many were touched; 0: nothing is left to do.
        """
        ...


def lanes_of(message: Received) -> Sequence[str]:
    """The lanes that a message stands in."""
    return [lane for lane in (message.lane, message.lane_2) if lane]
