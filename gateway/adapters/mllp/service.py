"""What runs beside HTTP for HL7 v2: the listeners, the worker behind them, and the senders."""

from collections.abc import Callable, Sequence

from gateway.adapters.mllp.receiver import Receiver
from gateway.adapters.mllp.sender import Sender
from gateway.adapters.worker import InboxWorker, Loop, Retention

RETENTION_S = 3_600.0  # how often old messages are looked for
STUCK_AFTER_US = 600_000_000  # a message that waits longer than this means that no worker gets on


class MllpService:
    """Starts and stops together; its trouble shows at ``/readyz``.

    Args:
        oldest_open_us: arrival of the oldest message that is not processed yet, or None.
        now_us: the clock that such times are told by.
        retention: empties and removes old messages; None: all are kept.
    """

    name = "mllp"

    def __init__(
        self,
        receiver: Receiver,
        worker: InboxWorker,
        senders: Sequence[tuple[str, Sender]],
        oldest_open_us: Callable[[], int | None],
        now_us: Callable[[], int],
        retention: Retention | None = None,
    ) -> None:
        self._receiver = receiver
        self._senders = senders
        self._oldest_open_us = oldest_open_us
        self._now_us = now_us
        self.inbox = Loop("doorway-inbox", worker.turn)
        self._loops = [self.inbox, *(Loop(f"doorway-to-{name}", sender.turn) for name, sender in senders)]
        if retention is not None and retention.limited:
            self._loops.append(Loop("doorway-retention", retention.turn, idle_s=RETENTION_S))

    def start(self) -> str:
        """Begin; which addresses listen."""
        addresses = self._receiver.start()
        for loop in self._loops:
            loop.start()
        return ", ".join(f"mllp on {host}:{port}" for host, port in addresses)

    def stop(self) -> None:
        """Take no new message, finish what is begun."""
        self._receiver.stop()
        for loop in self._loops:  # all are told before any is waited for: silent peers are waited for side by side
            loop.end()
        for loop in self._loops:
            loop.stop()
        for _, sender in self._senders:
            sender.close()

    def trouble(self) -> str:
        """Why it is not well, in a word; empty when it is."""
        if not self._receiver.alive:
            return "the listener has ended"
        if not all(loop.alive for loop in self._loops):
            return "a worker has ended"
        oldest = self._oldest_open_us()
        return "messages wait" if oldest is not None and self._now_us() - oldest > STUCK_AFTER_US else ""
