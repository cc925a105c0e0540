"""Ids that clients choose: each client has names of its own, so that no answer tells which ids others have used.

``PUT Patient/mrn-17`` by a client that may not see a ``Patient/mrn-17`` must be answered alike whether there is one or
not. What a client creates under an id of its choice is therefore stored under an id computed from (client, type, id).
The client may go on saying its own id, in addresses, references and searches; answers tell the stored one. Ids of the
form that the gateway gives itself (UUID version 8, or version 5 for records of feeds) are nobody's to choose.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from gateway.codecs import json_text
from gateway.exchange.ports.resources import ResourceReader
from gateway.kernel.fhir import references_of
from gateway.kernel.identifiers import resource_id

_GIVEN: Final = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[58][0-9a-fA-F]{3}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}", re.ASCII)
_LITERAL: Final = re.compile(r"([A-Z][A-Za-z]{1,60})/([A-Za-z0-9.-]{1,64})", re.ASCII)
_ID: Final = re.compile(r"[A-Za-z0-9.-]{1,64}", re.ASCII)


def given(id_: str) -> bool:
    """Whether an id has the form that only the gateway gives."""
    return _GIVEN.fullmatch(id_) is not None


def own_id(client: str, type_: str, id_: str) -> str:
    """The id under which what a client calls ``type_/id_`` is stored."""
    return resource_id("client", client, type_, id_)


def names(client: str, type_: str, id_: str) -> tuple[str, ...]:
    """The stored ids that ``id_`` can mean when this client says it, the client's own first."""
    return (id_,) if given(id_) else (own_id(client, type_, id_), id_)


def own_links(reader: ResourceReader, client: str, literals: Iterable[str]) -> dict[str, str]:
    """``Type/id`` as the client says it, to ``Type/id`` as stored, for what it has created under its own ids."""
    wanted = {}
    for literal in literals:
        found = _LITERAL.fullmatch(literal)
        if found is not None and not given(found[2]):
            wanted[literal] = f"{found[1]}/{own_id(client, found[1], found[2])}"
    if not wanted:
        return {}
    there = reader.many(sorted(wanted.values()))
    return {literal: stored for literal, stored in wanted.items() if stored in there}


def with_own_links(
    reader: ResourceReader, client: str, documents: Sequence[json_text.Document]
) -> list[json_text.Document]:
    """The documents with references to the client's own ids as they are stored: one look for all of them."""
    named = [references_of(document.text, document.resource) for document in documents]
    targets = own_links(reader, client, {literal for literals in named for literal in literals})
    if not targets:
        return list(documents)
    return [
        _linked(document, {literal: targets[literal] for literal in literals if literal in targets})
        for document, literals in zip(documents, named, strict=True)
    ]


def _linked(document: json_text.Document, targets: Mapping[str, str]) -> json_text.Document:
    return json_text.read(json_text.with_links(document.text, targets).encode()) if targets else document


def in_query(
    reader: ResourceReader,
    client: str,
    type_: str,
    pairs: Sequence[tuple[str, str]],
    targets: Callable[[str], Sequence[str]] = lambda _code: (),
) -> Sequence[tuple[str, str]]:
    """A search in which the client's own ids stand as they are stored.

    It may say them as ``Type/id``, as ``_id``, as ``param:Type=id``, and as ``param=id`` where ``targets`` tells the
    types that the parameter may point to.
    """
    said: dict[tuple[int, int], tuple[list[str], bool]] = {}  # (pair, part) to literals, and whether the type is kept
    for place, (name, value) in enumerate(pairs):
        code, _, modifier = name.partition(":")
        of = (type_,) if code == "_id" else (modifier,) if modifier else tuple(targets(code))
        for part, text in enumerate(value.split(",")):
            if _LITERAL.fullmatch(text) and code != "_id":
                said[place, part] = ([text], True)
            elif _ID.fullmatch(text):
                typed = [f"{one}/{text}" for one in of if one[:1].isupper() and one.isalpha()]
                said[place, part] = (typed, code != "_id" and not modifier)
    stored = own_links(reader, client, (one for literals, _ in said.values() for one in literals)) if said else {}
    if not stored:
        return pairs
    out = []
    for place, (name, value) in enumerate(pairs):
        parts = []
        for part, text in enumerate(value.split(",")):
            literals, whole = said.get((place, part), ([], True))
            known = [stored[one] for one in literals if one in stored]
            parts += [one if whole else one.partition("/")[2] for one in known] or [text]
        out.append((name, ",".join(parts)))
    return out
