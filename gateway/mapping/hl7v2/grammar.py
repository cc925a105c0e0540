"""Which group a segment belongs to: a walk over the structure of a message map that never refuses a segment order.

Senders leave out, repeat and misplace segments. The walk takes the first of these that fits: the same segment again; a
later place in the innermost group, or in a group that this segment can begin; a new repetition of the group; the same
in the groups around; an earlier place of an open group; a later place in a group whose beginning is missing; any place.
A segment that stands once outside all groups is taken once, wherever it comes. Steps are computed once and remembered.
"""

from collections.abc import Container
from dataclasses import dataclass

from gateway.mapping.hl7v2.model import MessageMap, MessageRow


@dataclass(frozen=True, slots=True)
class Place:
    """One segment place of a structure and the rows that act on it."""

    index: int
    groups: tuple[str, ...]
    segment: str
    least: int
    repeats: bool
    rows: tuple[MessageRow, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """Where a segment goes: the place, and how many of the open groups stay open."""

    place: Place
    keep: int


class Grammar:
    """The structure of one message map."""

    def __init__(self, message: MessageMap) -> None:
        places: list[tuple[tuple[str, ...], str, str, list[MessageRow]]] = []
        for row in message.rows:
            key = (row.groups, row.segment, row.number)
            if places and places[-1][:3] == key:
                places[-1][3].append(row)
            else:
                places.append((*key, [row]))
        self.places = tuple(
            Place(i, groups, segment, max(r.least for r in rows), any(r.repeats for r in rows), tuple(rows))
            for i, (groups, segment, _, rows) in enumerate(places)
        )
        self._moves: dict[tuple[int, str], Move | None] = {}
        self._openers = {g: self._opening(g) for p in self.places for g in self._prefixes(p.groups)}

    def move(self, at: int, name: str) -> Move | None:
        """The move from place ``at`` (-1 before the first) with segment ``name``; None when the structure has none."""
        key = (at, name)
        if key not in self._moves:
            self._moves[key] = self._find(at, name)
        return self._moves[key]

    def late(self, name: str, seen: Container[int]) -> Move | None:
        """The place of a segment that comes once and should have come before (EVN or SCH after the PID)."""
        for place in self.places:
            if place.segment == name and not place.groups and place.index not in seen:
                return Move(place, 0)
        return None

    @staticmethod
    def _prefixes(groups: tuple[str, ...]) -> list[tuple[str, ...]]:
        return [groups[:n] for n in range(1, len(groups) + 1)]

    def _opening(self, group: tuple[str, ...]) -> frozenset[str]:
        """Segments that can begin a group: its first ones up to the first that must be there."""
        names: set[str] = set()
        for place in self.places:
            if place.groups[: len(group)] == group:
                names.add(place.segment)
                if place.least:
                    break
        return frozenset(names)

    def _find(self, at: int, name: str) -> Move | None:
        if at < 0:
            return self._any(name)
        here = self.places[at]
        if here.segment == name and here.repeats:
            return Move(here, len(here.groups))
        for depth in range(len(here.groups), -1, -1):
            group = here.groups[:depth]
            for place in self.places[at + 1 :]:
                if place.groups[:depth] == group and place.segment == name and self._opens(place, depth):
                    return Move(place, depth)
            if depth and name in self._openers[group]:
                for place in self.places:
                    if place.groups[:depth] == group and place.segment == name and self._opens(place, depth):
                        return Move(place, depth - 1)
        for depth in range(len(here.groups), 0, -1):
            for place in self.places[:at]:
                if place.groups == here.groups[:depth] and place.segment == name and place.repeats:
                    return Move(place, depth)
        for depth in range(len(here.groups), -1, -1):  # the segment that should begin its group is missing
            for place in self.places[at + 1 :]:
                if place.groups[:depth] == here.groups[:depth] and place.segment == name:
                    return Move(place, depth)
        found = self._any(name)
        once = found is not None and not found.place.groups and not found.place.repeats and found.place.index <= at
        return None if once else found

    def _opens(self, place: Place, depth: int) -> bool:
        """Whether the segment can begin every group that would be opened for it."""
        return all(place.segment in self._openers[place.groups[:n]] for n in range(depth + 1, len(place.groups) + 1))

    def _any(self, name: str) -> Move | None:
        for place in self.places:
            if place.segment == name:
                return Move(place, 0)
        return None
