"""Keys of millions of rows in flat memory: which came before, and which enrollment ended when."""

from array import array
from bisect import bisect_left
from typing import Final


class Seen:
    """Which keys came before, in flat memory: a set of strings while small, then 64-bit hashes behind a bit filter.

    Who looks at every key of a file may use ``few`` itself while not ``many``, and calls :meth:`settle` now and then.
    """

    _SMALL: Final = 200_000

    def __init__(self) -> None:
        self.few: set[str] = set()
        self._hashes: set[int] = set()
        self._filter: bytearray | None = None
        self._sorted: list[array[int]] = []

    @property
    def many(self) -> bool:
        """Whether they are hashes by now."""
        return self._filter is not None

    def add(self, key: str) -> bool:
        """True when the key came before."""
        if self._filter is None:
            if key in self.few:
                return True
            self.few.add(key)
            self.settle()
            return False
        value = hash(key) & 0xFFFFFFFFFFFFFFFF
        byte, bit = (value >> 3) & 0x1FFFFFF, 1 << (value & 7)
        if self._filter[byte] & bit and (value in self._hashes or any(_holds(part, value) for part in self._sorted)):
            return True
        self._filter[byte] |= bit
        self._hashes.add(value)
        if len(self._hashes) > self._SMALL:
            self._pack()
        return False

    def __contains__(self, key: str) -> bool:
        return self.holds(key)

    def holds(self, key: str) -> bool:
        """Whether the key came."""
        if self._filter is None:
            return key in self.few
        value = hash(key) & 0xFFFFFFFFFFFFFFFF
        byte, bit = (value >> 3) & 0x1FFFFFF, 1 << (value & 7)
        return bool(self._filter[byte] & bit) and (
            value in self._hashes or any(_holds(part, value) for part in self._sorted)
        )

    def settle(self) -> None:
        """Go over to hashes when there are many."""
        if self._filter is not None or len(self.few) <= self._SMALL:
            return
        self._hashes = {hash(key) & 0xFFFFFFFFFFFFFFFF for key in self.few}
        self.few.clear()
        self._filter = bytearray(1 << 25)
        for value in self._hashes:
            self._filter[(value >> 3) & 0x1FFFFFF] |= 1 << (value & 7)
        self._pack()

    def _pack(self) -> None:
        """Put the new hashes beside the sorted ones, eight bytes each."""
        run = array("Q", sorted(self._hashes))
        self._hashes.clear()
        self._sorted.append(run)


def _holds(part: "array[int]", value: int) -> bool:
    at = bisect_left(part, value)
    return at < len(part) and part[at] == value


class Exits:
    """EnrollmentID -> exit day, twelve bytes each once sorted."""

    def __init__(self) -> None:
        self._days: dict[str, str] = {}
        self._hashes: array[int] | None = None
        self._values: array[int] = array("L")
        self._texts: list[str] = []

    def add(self, enrollment: str, day: str) -> None:
        """Note an exit."""
        self._days[enrollment] = day

    def close(self) -> None:
        """Pack when large; the texts of days repeat, so each is kept once."""
        if len(self._days) < 200_000:
            return
        texts = {text: i for i, text in enumerate(sorted(set(self._days.values())))}
        self._texts = list(texts)
        pairs = sorted((hash(key) & 0xFFFFFFFFFFFFFFFF, texts[day]) for key, day in self._days.items())
        self._hashes = array("Q", (pair[0] for pair in pairs))
        self._values = array("L", (pair[1] for pair in pairs))
        self._days = {}

    def get(self, enrollment: str) -> str:
        """The exit day, or empty."""
        if self._hashes is None:
            return self._days.get(enrollment, "")
        value = hash(enrollment) & 0xFFFFFFFFFFFFFFFF
        at = bisect_left(self._hashes, value)
        return self._texts[self._values[at]] if at < len(self._hashes) and self._hashes[at] == value else ""
