"""Keys of millions of rows in flat memory: which came before, and which enrollment ended when."""

from array import array
from bisect import bisect_left
from typing import Any, Final


class Seen:
    """Which keys came before, in flat memory: a set of strings while small, then 64-bit hashes behind a bit filter."""

    _SMALL: Final = 200_000

    def __init__(self) -> None:
        self._set: set[Any] = set()
        self._filter: bytearray | None = None
        self._sorted: list[array[int]] = []

    def add(self, key: str) -> bool:
        """True when the key came before."""
        if self._filter is None:
            if key in self._set:
                return True
            self._set.add(key)
            if len(self._set) > self._SMALL:
                self._spill()
            return False
        value = hash(key) & 0xFFFFFFFFFFFFFFFF
        byte, bit = (value >> 3) & 0x1FFFFFF, 1 << (value & 7)
        if self._filter[byte] & bit and (value in self._set or any(_holds(part, value) for part in self._sorted)):
            return True
        self._filter[byte] |= bit
        self._set.add(value)
        if len(self._set) > self._SMALL:
            self._sorted.append(array("Q", sorted(self._set)))
            self._set.clear()
        return False

    def holds(self, key: str) -> bool:
        """Whether the key came."""
        if self._filter is None:
            return key in self._set
        value = hash(key) & 0xFFFFFFFFFFFFFFFF
        byte, bit = (value >> 3) & 0x1FFFFFF, 1 << (value & 7)
        return bool(self._filter[byte] & bit) and (
            value in self._set or any(_holds(part, value) for part in self._sorted)
        )

    def _spill(self) -> None:
        values = sorted(hash(key) & 0xFFFFFFFFFFFFFFFF for key in self._set)
        self._filter = bytearray(1 << 25)
        for value in values:
            self._filter[(value >> 3) & 0x1FFFFFF] |= 1 << (value & 7)
        self._sorted.append(array("Q", values))
        self._set = set()


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
