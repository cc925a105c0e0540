"""How common a value is: agreement on a rare surname says more than on a common one, on a shelter's phone nothing."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from gateway.linkage.traits import Traits

FIELDS: Final = ("given", "last", "dob", "phone", "address", "postal", "city", "ssn", "health", "middle")


class Frequencies:
    """Counts of values over the records of one side (people, roughly), with the number of records that have one.

    Args:
        counts: field -> value -> records.
    """

    def __init__(self, counts: Mapping[str, Mapping[str, int]], known: Mapping[str, int], records: int) -> None:
        self.counts: Final = counts
        self.known: Final = known
        self.records: Final = records

    @classmethod
    def of(cls, people: Iterable[Traits]) -> "Frequencies":
        """Count the values of :data:`FIELDS`."""
        counts: dict[str, Counter[str]] = {name: Counter() for name in FIELDS}
        records = 0
        for person in people:
            records += 1
            for name in FIELDS:
                value = getattr(person, name)
                if value:
                    counts[name][value] += 1
        return cls(counts, {name: sum(found.values()) for name, found in counts.items()}, records)

    def expect(self, people: Iterable[Traits]) -> None:
        """Everything is counted already."""

    def count(self, name: str, value: str) -> int:
        """Records with this value."""
        return self.counts[name].get(value, 0)

    def others(self, name: str, value: str, u: float, smoothing: float) -> float:
        """The chance that another person has this value: those seen, with ``u`` believed for ``smoothing`` records."""
        seen = max(self.counts[name].get(value, 0) - 1, 0)
        return (seen + smoothing * u) / (self.known.get(name, 0) + smoothing)

    def chance_of_agreement(self, name: str) -> float | None:
        """The chance that two different records share a value; None when too few are known."""
        known = self.known.get(name, 0)
        if known < 30:
            return None
        return sum(n * (n - 1) for n in self.counts[name].values()) / (known * (known - 1))


class LargerOf:
    """Two sides' frequencies: a value counts as its more common side says."""

    def __init__(self, left: Frequencies, right: Frequencies) -> None:
        self._sides: Final = (left, right)
        self.records: Final = max(left.records, right.records)

    def expect(self, people: Iterable[Traits]) -> None:
        """Everything is counted already."""

    def count(self, name: str, value: str) -> int:
        """Records of the side that has more."""
        return max(side.count(name, value) for side in self._sides)

    def others(self, name: str, value: str, u: float, smoothing: float) -> float:
        """As :meth:`Frequencies.others`, the larger of both sides."""
        return max(side.others(name, value, u, smoothing) for side in self._sides)

    def chance_of_agreement(self, name: str) -> float | None:
        """The larger of both sides; None when neither knows enough."""
        known = [chance for side in self._sides if (chance := side.chance_of_agreement(name)) is not None]
        return max(known) if known else None
