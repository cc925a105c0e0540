"""``Patient/$match`` and ``Patient/$ihe-pix`` as operations of the API; the use cases are in exchange/match.py."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias
from urllib.parse import urlencode

from gateway.codecs import json_text
from gateway.exchange.enumeration import Watch
from gateway.exchange.link import Linker
from gateway.exchange.match import bundle_of, cross_reference, match
from gateway.exchange.ports.resources import Stored
from gateway.exchange.rest.ask import Answer, Ask
from gateway.exchange.rest.find import Finds
from gateway.exchange.rest.issues import Coded
from gateway.exchange.rest.operations import Operation, Where, part_of, simple_parameters
from gateway.exchange.search_text import token
from gateway.kernel.errors import Category, Exhausted, Malformed, NotFound
from gateway.kernel.fhir import JsonObject, Resource
from gateway.linkage.traits import Traits

Pairs: TypeAlias = Sequence[tuple[str, str]]
COUNT_DEFAULT = 10


def matching_operations(finds: Finds, linker: Linker, watch: Watch) -> Mapping[str, Operation]:
    """``$match`` and ``$ihe-pix`` by place and name; who asks for too many people is refused, and that is audited."""

    def watched(ask: Ask, what: str, work: Callable[[], Answer]) -> Answer:
        try:
            return work()
        except Exhausted as error:
            category = error.category
            finds.store.write(lambda unit: finds.gate.record(unit, ask, "operation", what=what, refused=category))
            raise

    def ask_match(ask: Ask, where: Where, pairs: Pairs, body: Resource | None) -> Answer:
        return watched(ask, "Patient/$match", lambda: _match(finds, linker, watch, ask, pairs, body))

    def ask_pix(ask: Ask, where: Where, pairs: Pairs, body: Resource | None) -> Answer:
        given = [*pairs, *simple_parameters(body), *_identifiers(body)]
        return watched(ask, "Patient/$ihe-pix", lambda: _pix(finds, watch, ask, given))

    return {"Patient:$match": ask_match, "Patient:$ihe-pix": ask_pix}


def _match(finds: Finds, linker: Linker, watch: Watch, ask: Ask, pairs: Pairs, body: Resource | None) -> Answer:
    """``$match`` (R4): who it may be, graded, among what the asker may see.

    Raises:
        Malformed: no Patient to match. Invalid: too little to go on. Forbidden: scope. Exhausted: too many people.
    """
    ask.caller.scopes.constraints("Patient", "s")
    asked = part_of(body, "resource") if body is not None and body.get("resourceType") == "Parameters" else body
    if asked is None:
        raise Malformed("no Patient to match", at="resource", fix="POST Parameters with a resource")
    given = dict([*pairs, *(simple_parameters(body) if body is not asked else [])])
    count = given.get("count", str(COUNT_DEFAULT))
    if not count.isascii() or not count.isdigit() or len(count) > 6:
        raise Malformed("a number is wanted", at="count")
    only_certain = given.get("onlyCertainMatches", "false") == "true"

    def asking(person: Traits) -> None:
        watch.person(ask.client, person, now_us=ask.now_us)

    with finds.store.reading() as reading:
        sight = finds.sight(reading.resources, ask)
        found = match(linker, reading, sight, asked, only_certain=only_certain, count=int(count), asking=asking)
        released = sight.release([one.stored for one in found])
        finds.recorded(ask, sight, released, "operation", "Patient/$match", "")
    shown = {stored.reference: stored for stored in released.resources}
    out = [replace(one, stored=shown[one.stored.reference]) for one in found if one.stored.reference in shown]
    return Answer(200, json_text.write(bundle_of(out, ask.base)))


def _identifiers(body: Resource | None) -> list[tuple[str, str]]:
    """Parameters that are Identifiers, as the tokens that they are in a URL."""
    out = []
    for parameter in (body or {}).get("parameter") or ():
        one = parameter.get("valueIdentifier")
        if isinstance(one, dict):
            out.append((str(parameter.get("name")), f"{one.get('system', '')}|{one.get('value', '')}"))
    return out


def _pix(finds: Finds, watch: Watch, ask: Ask, pairs: Pairs) -> Answer:
    """``$ihe-pix`` (IHE ITI-83): the other identifiers of the person that an identifier names.

    Raises:
        Malformed: no ``sourceIdentifier``, or several. NotFound: unknown, or hidden. Exhausted: too many people.
        Coded: a domain of which the asker sees no identifier (2:3.83.4.2.2.3 and .4).
    """
    ask.caller.scopes.constraints("Patient", "s")
    sources = [text for name, text in pairs if name == "sourceIdentifier"]
    system, mark, value = (sources or [""])[0].partition("|")
    if len(sources) != 1 or not (system and mark and value):
        raise Malformed("system|value is wanted, once", at="sourceIdentifier")
    watch.number(ask.client, system, value, now_us=ask.now_us)
    targets = [part for name, text in pairs if name == "targetSystem" for part in text.split(",") if part]
    with finds.store.reading() as reading:
        sight = finds.sight(reading.resources, ask)

        def by_identifier(wanted_system: str, wanted: str) -> Sequence[Stored]:
            return finds.plain(reading.resources, "Patient", [("identifier", token(wanted_system, wanted))], ask)

        def known(domain: str) -> bool:  # as the search for it would tell the asker
            asked = urlencode({"identifier": token(domain, "")})
            return domain == ask.base or bool(finds.matching(reading.resources, "Patient", asked, ask, 1))

        try:
            identifiers, references = cross_reference(
                reading, sight, by_identifier, (system, value), targets, server=ask.base
            )
        except NotFound:
            if known(system):
                raise
            words = "sourceIdentifier Assigning Authority not found"
            raise Coded(Category.MALFORMED, "code-invalid", words) from None
        if not all(known(domain) for domain in targets):
            raise Coded(Category.FORBIDDEN, "code-invalid", "targetSystem not found")
        released = sight.release(reading.resources.many(references).values())
        finds.recorded(ask, sight, released, "operation", "Patient/$ihe-pix", "")
    parameters: list[JsonObject] = [
        *({"name": "targetIdentifier", "valueIdentifier": one} for one in identifiers),
        *({"name": "targetId", "valueReference": {"reference": one}} for one in references),
    ]
    out: JsonObject = {"resourceType": "Parameters"}
    if parameters:
        out["parameter"] = parameters
    return Answer(200, json_text.write(out))
