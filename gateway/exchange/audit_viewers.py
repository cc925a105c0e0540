"""Whose a record of the audit trail is: the key of the index by which partners find theirs (rest/trail.py).

An access belongs to the Organization that asked; a look at the trail itself to the client that looked. A partner's
search walks the records of its own two keys and no other, so neither its pages nor its work hang on what others do.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import orjson

from gateway.kernel.fhir import DOORWAY, Resource
from gateway.kernel.identifiers import key_of

NOBODY: Final = 0  # key of a record that names no Organization as asker
TRAIL: Final = "AuditEvent"
_CLIENT: Final = f"{DOORWAY}/client"
_ENTITIES: Final = b'"entity":'  # canonical text has sorted names: agents stand before, and no string holds this
_WHO: Final = b'"reference":"'
_ASKED: Final = _WHO + b"Organization/"
_NAMED: Final = TRAIL.encode()


def asker_of(event: Resource) -> str:
    """The Organization that asked: the first among the agents (audit_event.py); empty when there is none."""
    named = (str(agent.get("who", {}).get("reference", "")) for agent in event.get("agent", ()))
    return next((one for one in named if one.startswith("Organization/")), "")


def client_of(event: Resource) -> str:
    """The registered client that asked."""
    named = (agent.get("who", {}).get("identifier", {}) for agent in event.get("agent", ()))
    return next((str(one.get("value", "")) for one in named if one.get("system") == _CLIENT), "")


def of_trail(event: Resource) -> bool:
    """Whether somebody looked at the trail itself."""
    return any(
        str(entity.get("description", "")).startswith(TRAIL)
        or str(entity.get("what", {}).get("reference", "")).startswith(f"{TRAIL}/")
        for entity in event.get("entity", ())
    )


def keys_for(organization: str, client: str) -> Sequence[int]:
    """The keys of everything that a client may see of the trail: accesses of its Organization, and its own looks."""
    return _key(organization, ""), _key(organization, client)


def viewer_of(text: bytes) -> int:
    """The key of a record, from its canonical text; what :func:`viewer_in` says, without reading it all."""
    agents, _, rest = text.partition(_ENTITIES)
    if rest.count(_NAMED) > 1 or b"\\" in agents:  # once it is the resourceType
        return viewer_in(orjson.loads(text))
    return _of_agents(agents)


@lru_cache(maxsize=4_096)  # the accesses of one client begin alike
def _of_agents(agents: bytes) -> int:
    start = agents.find(_ASKED) + len(_WHO)
    return _key(agents[start : agents.index(b'"', start)].decode(), "") if start >= len(_WHO) else NOBODY


def viewer_in(event: Resource) -> int:
    """The key of a record by its parsed event; the meaning of :func:`viewer_of`."""
    organization = asker_of(event)
    if not organization:
        return NOBODY
    return _key(organization, client_of(event) if of_trail(event) else "")


@lru_cache(maxsize=4_096)
def _key(organization: str, client: str) -> int:
    return key_of(f"{organization} {client}" if client else organization)
