"""Translation by ConceptMaps (R4 ConceptMap/$translate), compiled from the resource on first use."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gateway.kernel.fhir import JsonObject

NO_MATCH: Final = frozenset({"unmatched", "disjoint"})
_REVERSED: Final = {
    "wider": "narrower",
    "narrower": "wider",
    "subsumes": "specializes",
    "specializes": "subsumes",
}


@dataclass(frozen=True, slots=True)
class Match:
    """One translation; ``equivalence`` says how the target relates to the source, ``map_url`` who says so."""

    equivalence: str
    system: str
    code: str
    display: str
    map_url: str
    comment: str = ""

    @property
    def usable(self) -> bool:
        """Whether there is a target to use."""
        return self.equivalence not in NO_MATCH and bool(self.code)


class CompiledMap:
    """One ConceptMap, by source code and by target code."""

    def __init__(self, resource: JsonObject) -> None:
        self.url: str = resource.get("url", "")
        self._forward: dict[tuple[str, str], list[Match]] = {}
        self._backward: dict[tuple[str, str], list[Match]] = {}
        self._unmapped: list[tuple[str, str, JsonObject]] = []
        for group in resource.get("group", ()):
            self._read(group)

    def _read(self, group: JsonObject) -> None:
        source, target_system = group.get("source", ""), group.get("target", "")
        for element in group.get("element", ()):
            code = element.get("code", "")
            matches = self._forward.setdefault((source, code), [])
            for target in element.get("target", ()):
                said = target.get("equivalence", "equivalent")
                comment = target.get("comment", "")
                to = target.get("code", "")
                matches.append(Match(said, target_system, to, target.get("display", ""), self.url, comment))
                if to:
                    back = Match(_REVERSED.get(said, said), source, code, element.get("display", ""), self.url, comment)
                    self._backward.setdefault((target_system, to), []).append(back)
        if "unmapped" in group:
            self._unmapped.append((source, target_system, group["unmapped"]))

    def translate(self, system: str, code: str, *, reverse: bool = False) -> list[Match]:
        """The matches of a code, in the order of the map; those without a usable target included."""
        if reverse:
            return list(self._backward.get((system, code), ()))
        found = self._forward.get((system, code))
        return list(found) if found is not None else list(self._otherwise(system, code))

    def _otherwise(self, system: str, code: str) -> Iterator[Match]:
        for source, target, unmapped in self._unmapped:
            if source == system and unmapped.get("mode") == "provided":
                yield Match("equal", target, code, "", self.url)
            elif source == system and unmapped.get("mode") == "fixed":
                yield Match("wider", target, unmapped.get("code", ""), unmapped.get("display", ""), self.url)

    def concerns(self, system: str, target: str, *, reverse: bool) -> bool:
        """Whether the map goes from ``system`` to ``target`` (empty: any)."""
        table = self._backward if reverse else self._forward
        unmapped = any(source == system for source, _, _ in self._unmapped) and not reverse
        known = unmapped or any(one == system for one, _ in table)
        return known and (not target or any(m.system == target for matches in table.values() for m in matches))
