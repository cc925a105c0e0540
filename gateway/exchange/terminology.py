"""Terminology operations of R4: ``$lookup``, ``$validate-code``, ``$expand`` and ``$translate`` over what is at hand.

They answer from our own tables and from loaded packages and touch no person's data, so no consent is asked.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from gateway.codecs import json_text
from gateway.exchange.rest.ask import Answer, Ask
from gateway.exchange.rest.operations import Operation, Where
from gateway.kernel.errors import Malformed, NotFound, TooLarge, Unsupported
from gateway.kernel.fhir import JsonObject, Resource, coding
from gateway.terminology import Terminology

Pairs: TypeAlias = Sequence[tuple[str, str]]
Use: TypeAlias = Callable[[Terminology, "Given", str], JsonObject]  # (terminology, parameters, now) -> resource

EXPANSION_LIMIT_CODES: Final = 10_000


class Given:
    """The parameters of an operation, from the address and from a Parameters resource; the body wins."""

    def __init__(self, pairs: Pairs, body: Resource | None) -> None:
        self._values: dict[str, list[object]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)
        if body is None:
            return
        if body.get("resourceType") != "Parameters":
            raise Malformed("not Parameters", at="body", fix="send a Parameters resource")
        for parameter in body.get("parameter") or ():
            value = next((v for k, v in parameter.items() if k.startswith("value")), parameter.get("resource"))
            self._values.setdefault(str(parameter.get("name")), []).append(value)

    def text(self, name: str) -> str:
        """A simple value as text, empty when it is not given."""
        value = self._values.get(name, [""])[-1]
        return str(value).lower() if isinstance(value, bool) else value if isinstance(value, str) else str(value)

    def number(self, name: str, default: int) -> int:
        """A count.

        Raises:
            Malformed: not a number of zero or more.
        """
        text = self.text(name)
        if text and not (text.isascii() and text.isdigit() and len(text) < 10):
            raise Malformed("not a number", at=name)
        return int(text) if text else default

    def object(self, name: str) -> JsonObject | None:
        """A structured value."""
        value = self._values.get(name, [None])[-1]
        return value if isinstance(value, dict) else None

    def codings(self) -> list[tuple[str, str, str]]:
        """(system, code, display) of ``coding``, ``codeableConcept`` or ``code`` with ``system``.

        Raises:
            Malformed: no code at all.
        """
        one, concept = self.object("coding"), self.object("codeableConcept")
        found = [one] if one is not None else list((concept or {}).get("coding") or ())
        if not found and self.text("coding"):  # a token in the address: system|code
            system, _, code = self.text("coding").rpartition("|")
            found = [{"system": system, "code": code}]
        if not found and self.text("code"):
            found = [{"system": self.text("system"), "code": self.text("code"), "display": self.text("display")}]
        usable = [c for c in found if isinstance(c, dict) and isinstance(c.get("code"), str)]
        if not usable:
            raise Malformed("no code", at="code", fix="give code and system, coding or codeableConcept")
        return [(str(c.get("system") or ""), c["code"], str(c.get("display") or "")) for c in usable]


def lookup(terminology: Terminology, given: Given, now: str) -> JsonObject:
    """``CodeSystem/$lookup``: name, display, definition and place of a code.

    Raises:
        NotFound: the system is not at hand, or has no such code.
    """
    system, code, _ = given.codings()[0]
    content = terminology.system(system)
    found = terminology.lookup(system, code)
    if content is None or found is None:
        raise NotFound("no such code, or its system is not at hand", at="code")
    out: list[JsonObject] = [{"name": "name", "valueString": content.name}]
    if content.version:
        out.append({"name": "version", "valueString": content.version})
    out.append({"name": "display", "valueString": found.display or code})
    if code in content.definitions:
        out.append({"name": "definition", "valueString": content.definitions[code]})
    for name, codes in (("parent", sorted(content.parents(code))), ("child", content.children(code))):
        out.extend(_property(name, {"name": "value", "valueCode": one}) for one in codes)
    if content.retired(code):
        out.append(_property("inactive", {"name": "value", "valueBoolean": True}))
    return _parameters(out)


def _property(name: str, value: JsonObject) -> JsonObject:
    return {"name": "property", "part": [{"name": "code", "valueCode": name}, value]}


def validate_code_in_system(terminology: Terminology, given: Given, now: str) -> JsonObject:
    """``CodeSystem/$validate-code``.

    Raises:
        NotFound: the code system is not at hand.
    """
    url = given.text("url")
    for system, code, display in given.codings():
        content = terminology.system(url or system)
        if content is None:
            raise NotFound("the code system is not at hand", at="url")
        if terminology.defines(url or system, code) or code in content.concepts:
            return _verdict(True, content.concepts.get(code, ""), display, content.designations.get(code, frozenset()))
    return _verdict(False, "", "")


def validate_code_in_set(terminology: Terminology, given: Given, now: str) -> JsonObject:
    """``ValueSet/$validate-code``.

    Raises:
        NotFound: the value set is not at hand.
        Unsupported: it cannot be told, since content lies elsewhere.
    """
    url = given.text("url")
    if not url:
        raise Malformed("no value set", at="url", fix="give the canonical URL of a value set")
    if not terminology.knows(url):
        raise NotFound("the value set is not at hand", at="url")
    said: list[bool | None] = []
    for system, code, display in given.codings():
        verdict = terminology.holds(url, system or None, code)
        said.append(verdict)
        if verdict:
            content = terminology.system(system)
            others = content.designations.get(code, frozenset()) if content is not None else frozenset()
            return _verdict(True, terminology.display(url, system, code), display, others)
    if None in said:
        raise Unsupported("cannot be told: the value set takes codes from a system that is not at hand", at="url")
    return _verdict(False, "", "")


def _verdict(result: bool, display: str, claimed: str, others: frozenset[str] = frozenset()) -> JsonObject:
    """The answer of ``$validate-code`` (R4): a display that the code does not have makes the result false, and is told
    with the one it has; case and spaces do not count, and words in other languages are as good.
    """
    out: list[JsonObject] = [{"name": "result", "valueBoolean": result}]
    if not result:
        out.append({"name": "message", "valueString": "there is no such code in it"})
    elif display and claimed and _folded(claimed) not in {_folded(one) for one in (display, *others)}:
        out[0]["valueBoolean"] = False
        out.append({"name": "message", "valueString": "the code is in it; the display is not the one it has there"})
    if display:
        out.append({"name": "display", "valueString": display})
    return _parameters(out)


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def expand(terminology: Terminology, given: Given, now: str) -> JsonObject:
    """``ValueSet/$expand`` with ``filter``, ``offset`` and ``count``.

    Raises:
        NotFound: the value set is not at hand.
        Unsupported: it takes codes from a system whose content lies elsewhere.
        TooLarge: more than 10,000 codes, and no ``count``.
    """
    url = given.text("url")
    source = terminology.find("ValueSet", url) if url else None
    if source is None:
        raise NotFound("the value set is not at hand", at="url")
    concepts = terminology.expand(url)
    if concepts is None:
        raise Unsupported("cannot be expanded: it takes codes from a system that is not at hand", at="url")
    wanted = given.text("filter").casefold()
    if wanted:
        concepts = [c for c in concepts if wanted in c.display.casefold() or wanted in c.code.casefold()]
    offset, count = given.number("offset", 0), given.number("count", -1)
    if count < 0 and len(concepts) > EXPANSION_LIMIT_CODES:
        raise TooLarge("too many codes for one answer", at="count", fix="ask for pages with offset and count")
    page = concepts[offset:] if count < 0 else concepts[offset : offset + count]
    kept: JsonObject = {k: source[k] for k in ("url", "version", "name", "title") if k in source}
    expansion: JsonObject = {"timestamp": now, "total": len(concepts), "offset": offset}
    expansion["parameter"] = [
        {"name": name, "valueString": given.text(name)} for name in ("filter", "count") if given.text(name)
    ]
    expansion["contains"] = [
        {"system": c.system, "code": c.code} | ({"display": c.display} if c.display else {}) for c in page
    ]
    for name in ("parameter", "contains"):
        if not expansion[name]:
            del expansion[name]
    return {"resourceType": "ValueSet", **kept, "status": source.get("status", "active"), "expansion": expansion}


def translate(terminology: Terminology, given: Given, now: str) -> JsonObject:
    """``ConceptMap/$translate``: by a map (``url``), or by every map of ours that starts from the system.

    Raises:
        NotFound: the map is not at hand.
    """
    url = given.text("url") or given.text("conceptMap")
    if url and not terminology.has_map(url):
        raise NotFound("the concept map is not at hand", at="url")
    target = given.text("targetsystem") or given.text("targetSystem")
    reverse = given.text("reverse") == "true"
    matches = [
        match
        for system, code, _ in given.codings()
        for match in terminology.translate(url, system, code, target=target, reverse=reverse)
    ]
    usable = any(match.usable for match in matches)
    out: list[JsonObject] = [{"name": "result", "valueBoolean": usable}]
    if not usable:
        out.append({"name": "message", "valueString": "no map that is at hand has a match"})
    for match in matches:
        parts: list[JsonObject] = [{"name": "equivalence", "valueCode": match.equivalence}]
        if match.code:
            parts.append({"name": "concept", "valueCoding": coding(match.system, match.code, match.display or None)})
        parts.append({"name": "source", "valueUri": match.map_url})
        out.append({"name": "match", "part": parts})
    return _parameters(out)


def _parameters(parameters: list[JsonObject]) -> JsonObject:
    return {"resourceType": "Parameters", "parameter": parameters}


USES: Final[Mapping[str, Use]] = {
    "CodeSystem:$lookup": lookup,
    "CodeSystem:$validate-code": validate_code_in_system,
    "ValueSet:$validate-code": validate_code_in_set,
    "ValueSet:$expand": expand,
    "ConceptMap:$translate": translate,
}


def terminology_operations(terminology: Terminology) -> Mapping[str, Operation]:
    """The operations by place and name, as the FHIR routes call them."""

    def bound(use: Use) -> Operation:
        def run(ask: Ask, where: Where, pairs: Pairs, body: Resource | None) -> Answer:
            made = use(terminology, Given(pairs, body), ask.now.isoformat(timespec="seconds"))
            return Answer(200, json_text.write(made))

        return run

    return {name: bound(use) for name, use in USES.items()}
