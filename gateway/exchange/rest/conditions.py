"""What a transaction will have made, for the conditional references inside it (R4: they are resolved last)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.codecs import json_text
from gateway.exchange.search import Match, Query
from gateway.exchange.search_match import holds
from gateway.exchange.search_text import TokenValue
from gateway.kernel.errors import TooLarge
from gateway.kernel.fhir import Resource

JUDGED_LIMIT: Final = 100_000  # resources that are held against conditions in one transaction: a second or two


@dataclass(slots=True)
class Making:
    """What the entries of a transaction write and take away.

    Args:
        made: by type, ``Type/id`` and text of what will be there, links between entries literal.
        changed: ``Type/id`` of what is stored and will not be there as it is.
    """

    made: Mapping[str, Sequence[tuple[str, str]]] = field(repr=False)
    changed: frozenset[str]
    _read: dict[str, Resource] = field(default_factory=dict, repr=False)
    _judged: int = 0

    def matching(self, type_: str, query: Query) -> set[str]:
        """``Type/id`` of what will be there and fulfils a condition; one that asks other resources finds nothing.

        Raises:
            TooLarge: too many conditions over too many entries.
        """
        needles = _needles(query)
        return {
            reference
            for reference, text in self.made.get(type_, ())
            if ("\\" in text or all(needle in text for needle in needles)) and self._fulfils(reference, text, query)
        }

    def _fulfils(self, reference: str, text: str, query: Query) -> bool:
        self._judged += 1
        if self._judged > JUDGED_LIMIT:
            raise TooLarge("too many conditional references over too many entries", at="Bundle.entry", fix="send less")
        resource = self._read.get(reference)
        if resource is None:
            id_ = reference.partition("/")[2]
            resource = self._read[reference] = {**json_text.parse(text.encode(), at="Bundle.entry"), "id": id_}
        return all(holds(one, resource, lambda _criterion, _resource: False) for one in query.criteria)


def _needles(query: Query) -> list[str]:
    """Texts that stand in whatever has the identifiers that a condition asks for: most entries need not be read."""
    return [
        one.values[0].code
        for one in query.criteria
        if isinstance(one, Match) and one.parameter.code == "identifier" and not one.modifier and len(one.values) == 1
        and isinstance(one.values[0], TokenValue) and one.values[0].code and '"' not in one.values[0].code
    ]  # fmt: skip
