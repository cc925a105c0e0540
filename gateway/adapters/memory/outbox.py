"""The outbox in memory: the same contract as the database, for tests."""

from dataclasses import dataclass, field

from gateway.exchange.ports.outbox import WAITING, Delivery, OutState


@dataclass(slots=True)
class MemoryOutbox:
    """Deliveries by id."""

    deliveries: dict[str, Delivery] = field(default_factory=dict)

    def _sorted(self) -> list[Delivery]:
        return sorted(self.deliveries.values(), key=lambda one: (one.created_us, one.id))

    def get(self, id_: str) -> Delivery | None:
        """One delivery."""
        return self.deliveries.get(id_)

    def find(self, control_id: str) -> list[Delivery]:
        """The deliveries under this MSH-10."""
        return [one for one in self._sorted() if one.control_id == control_id]

    def due(self, destination: str, *, now_us: int, limit: int) -> list[Delivery]:
        """What may be sent now, oldest first, at most one of each lane."""
        taken: set[str] = set()
        out: list[Delivery] = []
        for one in self._sorted():
            if one.destination != destination or one.state not in WAITING:
                continue
            first = not one.lane or one.lane not in taken
            taken.add(one.lane)
            if first and one.not_before_us <= now_us and len(out) < limit:
                out.append(one)
        return out

    def in_state(self, state: OutState, *, limit: int = 100) -> list[Delivery]:
        """Deliveries in a state, oldest first."""
        return [one for one in self._sorted() if one.state is state][:limit]

    def counts(self) -> dict[tuple[str, str], int]:
        """How many there are by (destination, state)."""
        out: dict[tuple[str, str], int] = {}
        for one in self.deliveries.values():
            key = (one.destination, one.state.value)
            out[key] = out.get(key, 0) + 1
        return out

    def queue(self, delivery: Delivery) -> bool:
        """Add a delivery; False when that id is there already."""
        if delivery.id in self.deliveries:
            return False
        self.deliveries[delivery.id] = delivery
        return True

    def claim(self, id_: str) -> Delivery | None:
        """Take a waiting delivery for this transaction."""
        found = self.deliveries.get(id_)
        return found if found is not None and found.state in WAITING else None

    def settle(self, delivery: Delivery) -> None:
        """Write everything that may change of it."""
        self.deliveries[delivery.id] = delivery
