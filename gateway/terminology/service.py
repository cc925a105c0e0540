"""One door to everything that is known about codes."""

from collections.abc import Callable, Iterable, Sequence

from gateway.kernel.fhir import JsonObject
from gateway.terminology.conceptmaps import CompiledMap, Match
from gateway.terminology.tables import Tables
from gateway.terminology.valuesets import Concept, System, ValueSets

FindDefinition = Callable[[str, str], JsonObject | None]  # (resource type, canonical) -> resource


class Terminology:
    """Our own tables first, then whatever definitions are loaded.

    Args:
        tables: from :func:`gateway.terminology.tables.read_tables`.
        find: further definitions (packages) by resource type and canonical URL.
    """

    def __init__(self, tables: Tables, find: FindDefinition | None = None) -> None:
        self.tables = tables
        self._elsewhere = find
        self._sets = ValueSets(self.find)
        self._maps: dict[str, CompiledMap] = {}

    def find(self, kind: str, canonical: str) -> JsonObject | None:
        """A CodeSystem, ValueSet or ConceptMap by canonical URL."""
        found = self.tables.find(kind, canonical)
        return found if found is not None or self._elsewhere is None else self._elsewhere(kind, canonical)

    def holds(self, valueset: str, system: str | None, code: str) -> bool | None:
        """Whether a value set holds a code; None when the content needed is not at hand (system None: implied)."""
        return self._sets.holds(valueset, system, code)

    def defines(self, system: str, code: str) -> bool | None:
        """Whether a code system has a code; None when its whole content is not at hand."""
        return self._sets.defines(system, code)

    def knows(self, valueset: str) -> bool:
        """Whether a value set is at hand."""
        return self._sets.knows(valueset)

    def expand(self, valueset: str) -> list[Concept] | None:
        """Every code of a value set, None when it is not at hand or has content that is elsewhere."""
        return self._sets.codes(valueset)

    def system(self, url: str) -> System | None:
        """The content of a code system."""
        return self._sets.system(url)

    def display(self, valueset: str, system: str, code: str) -> str:
        """The word that a value set has for a code, itself or by the code system; empty when neither has one."""
        return self._sets.display(valueset, system, code)

    def lookup(self, system: str, code: str) -> Concept | None:
        """A code with its display; None when the system is not at hand or has no such code."""
        content = self.system(system)
        if content is None or code not in content.concepts:
            return None
        return Concept(system, code, content.concepts[code])

    def translate(
        self, map_url: str, system: str, code: str, *, target: str = "", reverse: bool = False
    ) -> Sequence[Match]:
        """What a code becomes; empty when the map is not at hand or says nothing about it.

        Args:
            map_url: canonical of a ConceptMap; empty: every map of our tables that starts from ``system``.
            target: keep matches in this code system only; empty: all.
            reverse: from target to source.
        """
        maps: Iterable[CompiledMap | None] = (
            [self._map(map_url)] if map_url else [self._map(one["url"]) for one in self.tables.every("ConceptMap")]
        )
        found = [match for one in maps if one is not None for match in one.translate(system, code, reverse=reverse)]
        return [match for match in found if not target or match.system == target]

    def has_map(self, map_url: str) -> bool:
        """Whether a ConceptMap is at hand."""
        return self._map(map_url) is not None

    def _map(self, url: str) -> CompiledMap | None:
        known = self._maps.get(url)
        if known is None:
            found = self.find("ConceptMap", url)
            if found is None:
                return None
            known = self._maps[url] = CompiledMap(found)
        return known
