"""What a resource that names no person is judged by: a Provenance by its targets, a Binary by what it belongs to.

R4 Binary.securityContext says whose rules apply; without one, the DocumentReference that the same source wrote with
this Binary as its content speaks for it: not one of somebody else, who could open a Binary by pointing at it.
"""

from dataclasses import dataclass
from typing import Final

from gateway.consent.view import local
from gateway.exchange.ports.resources import ResourceReader, Stored
from gateway.exchange.search import Match, TextValue
from gateway.kernel.fhir import JsonObject
from gateway.profiles.search_parameters import Parameter
from gateway.profiles.search_paths import compile_path

KINDS: Final = frozenset({"Provenance", "Binary"})
_CONTENT: Final = "content.attachment.url"
_LOCATION: Final = Parameter("DocumentReference", "location", "uri", _CONTENT, values=compile_path(_CONTENT))
_MOST: Final = 50  # DocumentReferences of one Binary that are looked at


@dataclass(frozen=True, slots=True)
class StandIns:
    """``Type/id`` of the resources that decide; ``every``: all must be seen, else one will do. None: nobody sees it."""

    references: tuple[str, ...] = ()
    every: bool = True


def stand_ins(stored: Stored, resource: JsonObject, resources: ResourceReader) -> StandIns:
    """Who decides about a Provenance or a Binary; a reference that leads nowhere decides against it."""
    if stored.type == "Provenance":
        listed = resource.get("target")
        nodes = listed if isinstance(listed, list) else []
        return StandIns(tuple(_literal(node) for node in nodes))
    context = resource.get("securityContext")
    if context is not None:
        return StandIns((_literal(context),))
    pointing = Match(_LOCATION, "", (TextValue(stored.reference, stored.reference.casefold()),))
    found = resources.candidates("DocumentReference", (pointing,), limit=_MOST)
    return StandIns(tuple(one.stored.reference for one in found if one.stored.owner == stored.owner), every=False)


def _literal(node: object) -> str:
    literal = node.get("reference") if isinstance(node, dict) else None
    return local(literal) if isinstance(literal, str) else ""
