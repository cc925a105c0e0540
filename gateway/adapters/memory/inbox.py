"""The inbox in memory: the same contract as the database, for tests."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.exchange.ports.inbox import DONE, OPEN, Admission, Attempt, Received, State, lanes_of


def _order(message: Received) -> tuple[int, str]:
    return message.received_us, message.id


@dataclass(slots=True)
class MemoryInbox:
    """Messages by id, attempts by (message, number)."""

    messages: dict[str, Received] = field(default_factory=dict)
    tries: dict[tuple[str, int], Attempt] = field(default_factory=dict)
    next_numbers: dict[str, int | None] = field(default_factory=dict)

    def get(self, id_: str) -> Received | None:
        """One message by our id."""
        return self.messages.get(id_)

    def _sorted(self) -> list[Received]:
        return sorted(self.messages.values(), key=_order)

    def find(self, control_id: str) -> list[Received]:
        """The messages that carry this MSH-10, oldest first."""
        return [one for one in self._sorted() if one.control_id == control_id]

    def ready(self, *, now_us: int, limit: int) -> list[Received]:
        """Messages whose turn has come, oldest first, at most one of each lane."""
        taken: set[str] = set()
        out: list[Received] = []
        for one in self._sorted():
            if one.state not in OPEN:
                continue
            free = taken.isdisjoint(lanes_of(one))
            taken.update(lanes_of(one))
            if free and one.state is State.RECEIVED and one.not_before_us <= now_us and len(out) < limit:
                out.append(one)
        return out

    def folded(self, lane: str) -> list[Received]:
        """The processed messages of a lane, in order of event, then of arrival."""
        mine = [one for one in self.messages.values() if one.state is State.PROCESSED and lane in lanes_of(one)]
        return sorted(mine, key=lambda one: (one.event_us, *_order(one)))

    def newest(self, lane: str) -> tuple[int, int] | None:
        """(event_us, received_us) of the newest processed event of a lane."""
        return max(((one.event_us, one.received_us) for one in self.folded(lane)), default=None)

    def attempts(self, id_: str) -> list[Attempt]:
        """Every try at a message, in order."""
        return [self.tries[key] for key in sorted(self.tries) if key[0] == id_]

    def that_wrote(self, reference: str) -> list[Received]:
        """The messages that wrote a version of ``Type/id``, oldest first."""
        wrote = {key[0] for key, one in self.tries.items() if any(o.startswith(f"{reference}/") for o in one.outputs)}
        return [one for one in self._sorted() if one.id in wrote]

    def in_front_of(self, message: Received) -> str:
        """Id of an open message that this one waits for; empty when its turn has come."""
        mine = set(lanes_of(message))
        for one in self._sorted():
            if _order(one) < _order(message) and one.state in OPEN and mine.intersection(lanes_of(one)):
                return one.id
        return ""

    def in_state(self, state: State, *, limit: int = 100) -> list[Received]:
        """Messages in a state, oldest first."""
        return [one for one in self._sorted() if one.state is state][:limit]

    def counts(self) -> dict[tuple[str, str], int]:
        """How many there are by (source, state)."""
        out: dict[tuple[str, str], int] = {}
        for one in self.messages.values():
            key = (one.source, one.state.value)
            out[key] = out.get(key, 0) + 1
        return out

    def oldest_open_us(self) -> int | None:
        """Arrival of the oldest message that is not processed yet."""
        return min((one.received_us for one in self.messages.values() if one.state is State.RECEIVED), default=None)

    def add(self, message: Received) -> tuple[Admission, Received]:
        """Keep a message; the unique keys say whether it was there."""
        before = self.messages.get(message.id)
        if before is not None:
            return (Admission.REPEATED if before.digest == message.digest else Admission.CONFLICT), before
        self.messages[message.id] = message
        return Admission.NEW, message

    def add_all(self, messages: Sequence[Received]) -> list[tuple[Admission, Received]]:
        """Keep several."""
        return [self.add(message) for message in messages]

    def claim(self, id_: str) -> Received | None:
        """Take a received message for this transaction."""
        found = self.messages.get(id_)
        return found if found is not None and found.state is State.RECEIVED else None

    def settle(self, message: Received, attempt: Attempt) -> None:
        """Write how it ended, and the attempt."""
        self.messages[message.id] = message
        self.tries[(attempt.message, attempt.number)] = attempt

    def reopen(self, id_: str) -> None:
        """Back to received, to be processed again."""
        self.messages[id_] = self.messages[id_]._replace(
            state=State.RECEIVED, not_before_us=0, category="", place="", fault=""
        )

    def expected(self, source: str) -> int | None:
        """The sequence number that comes next of a source; None when any will do."""
        return self.next_numbers.get(source)

    def expect(self, source: str, number: int | None) -> None:
        """Say which sequence number comes next of a source; None: any."""
        self.next_numbers[source] = number

    def forget(self, *, bodies_before_us: int, keys_before_us: int, limit: int) -> int:
        """Empty the bodies of what is done and old; remove what is older still."""
        done = [one for one in self._sorted() if one.state in DONE]
        gone = [one.id for one in done if one.received_us < keys_before_us][:limit]
        emptied = [one for one in done if one.id not in gone and one.received_us < bodies_before_us and one.body]
        for id_ in gone:
            del self.messages[id_]
            self.tries = {key: one for key, one in self.tries.items() if key[0] != id_}
        for one in emptied[:limit]:
            self.messages[one.id] = one._replace(body=b"")
        return len(gone) + len(emptied[:limit])
