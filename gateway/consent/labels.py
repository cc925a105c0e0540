"""The labelling step: sensitivity, Confidentiality and visibility level of a resource, each with its basis.

Labels come from codes, from words where there is no code, from the source, and by implication; what a mapping vouches
for (an HMIS column, a programme) is joined by :func:`merged`, and so is what the sender of a record claims for it where
that can only close. Tables: terminology/sensitivity.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

import orjson

from gateway.consent.codes import RANK, system_of
from gateway.consent.law import EMBARGO, HANDLING
from gateway.kernel.errors import Invalid
from gateway.kernel.fhir import ACT_CODE, CONFIDENTIALITY, DOORWAY, LEVEL, JsonObject, Resource

BASIS: Final = "http://hl7.org/fhir/uv/security-label-ds4p/StructureDefinition/extension-sec-label-basis"
BASIS_SYSTEM: Final = f"{DOORWAY}/CodeSystem/label-basis"
_CLAIM: Final = "sender"  # basis of a label that came with the record
_CLOSED: Final = ("R", "V")  # Confidentiality above normal
_HANDLING_CODES: Final = frozenset({"VSP", "RESTRICTED"})
_KNOWN_LIMIT: Final = 4_096  # elements whose labels are remembered
_KNOWN_SIZE: Final = 4_000  # bytes of an element that is worth it
_WORD: Final = re.compile(r"[a-z0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class LabelTables:
    """The tables, indexed. ``version`` changes when any row changes."""

    exact: Mapping[tuple[str, str], tuple[str, ...]]
    below: Mapping[str, Mapping[str, tuple[str, ...]]]  # system -> code -> labels
    words: Mapping[str, tuple[tuple[str, ...], ...]] = field(repr=False)  # first word -> (words..., label)
    sources: tuple[tuple[str, tuple[str, ...]], ...]
    implied: Mapping[str, tuple[str, ...]]
    levels: Mapping[str, str]
    version: str
    prefixes: tuple[str, ...] = field(init=False, repr=False, compare=False)  # what the ``sources`` begin with
    sensitivities: frozenset[str] = field(init=False, repr=False, compare=False)  # every label that a table gives

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefixes", tuple(prefix for prefix, _ in self.sources))
        given = [*self.exact.values(), *(held for tree in self.below.values() for held in tree.values())]
        given += [labels for _, labels in self.sources] + [*self.implied.values(), tuple(self.implied)]
        given += [(phrase[-1],) for phrases in self.words.values() for phrase in phrases]
        object.__setattr__(self, "sensitivities", frozenset(one for labels in given for one in labels))


def read_label_tables(
    codes: Iterable[Mapping[str, str]], words: Iterable[Mapping[str, str]], sources: Iterable[Mapping[str, str]],
    implied: Iterable[Mapping[str, str]], levels: Iterable[Mapping[str, str]],
) -> LabelTables:  # fmt: skip
    """Index the rows of terminology/sensitivity.

    Raises:
        Invalid: a match that is neither exact nor below, or no level for ``*``.
    """
    digest = sha256()
    exact: dict[tuple[str, str], tuple[str, ...]] = {}
    below: dict[str, dict[str, tuple[str, ...]]] = {}
    for line, row in enumerate(codes, start=2):
        digest.update(repr(sorted(row.items())).encode())
        system, code = system_of(row["system"]), row["code"]
        if row["match"] == "exact":
            exact[system, code] = (*exact.get((system, code), ()), row["label"])
        elif row["match"] == "below":
            held = below.setdefault(system, {})
            held[code] = (*held.get(code, ()), row["label"])
        else:
            raise Invalid("neither exact nor below", at=f"terminology/sensitivity/codes.csv:{line} match")
    phrases: dict[str, tuple[tuple[str, ...], ...]] = {}
    for row in words:
        digest.update(repr(sorted(row.items())).encode())
        parts = tuple(_WORD.findall(row["word"].casefold()))
        phrases[parts[0]] = (*phrases.get(parts[0], ()), (*parts, row["label"]))
    feeds, also, heights = list(sources), list(implied), list(levels)
    for row in (*feeds, *also, *heights):
        digest.update(repr(sorted(row.items())).encode())
    by_type = {row["type"]: row["level"] for row in heights}
    if "*" not in by_type:
        raise Invalid("no level for all other types", at="terminology/sensitivity/levels.csv", fix="add a row *")
    grown: dict[str, tuple[str, ...]] = {}
    for row in also:
        grown[row["label"]] = (*grown.get(row["label"], ()), row["also"])
    return LabelTables(
        exact, below, phrases, tuple((row["source"], tuple(row["labels"].split())) for row in feeds), grown, by_type,
        digest.hexdigest()[:12],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Labeller:
    """Labels resources by tables.

    Args:
        organizations: labels of organizations, so that naming one as sender or place tells (a referral *from* a
            shelter for survivors reveals why): ``Organization/id`` to labels.
    """

    tables: LabelTables
    organizations: Mapping[str, frozenset[str]] = field(default_factory=dict)
    _known: dict[tuple[bool, bytes], tuple[tuple[str, ...], tuple[str, ...]]] = field(
        default_factory=dict, repr=False, compare=False
    )
    _made: dict[tuple[object, ...], tuple[JsonObject, ...]] = field(default_factory=dict, repr=False, compare=False)
    _joined: dict[bytes, tuple[JsonObject, ...]] = field(default_factory=dict, repr=False, compare=False)
    # by the identity of labels that were found, which are kept so that it stays theirs
    _alone: dict[int, tuple[object, tuple[JsonObject, ...]]] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, resource: Resource) -> tuple[JsonObject, ...]:
        """The Codings for ``meta.security``: level, Confidentiality, sensitivities, each with its basis.

        Many resources have the same ones, and share them: they are not to be changed.
        """
        found = self.sensitivities(resource)
        type_ = str(resource.get("resourceType", ""))
        level = "L3" if found else self.tables.levels.get(type_, self.tables.levels["*"])
        key = (level, *found.items())
        made = self._made.get(key)
        if made is None:
            if len(self._made) >= _KNOWN_LIMIT:
                self._made.clear()
            made = self._made[key] = self._labels(found, level)
        return made

    def _labels(self, found: Mapping[str, str], level: str) -> tuple[JsonObject, ...]:
        out = [self._coding(LEVEL, level, "levels"), self._coding(CONFIDENTIALITY, "R" if found else "N", "levels")]
        out += [
            self._coding(HANDLING if code in _HANDLING_CODES else ACT_CODE, code, basis)
            for code, basis in sorted(found.items())
        ]
        return tuple(out)

    def claimed(self, resource: Resource, source: str) -> tuple[JsonObject, ...]:
        """What a sender says of his record where that can only close it: Confidentiality above normal, sensitivities
        that the tables know, the law's closures and embargoes. All else that a sender writes is not heard.

        Args:
            source: feed or client that says it, by which :func:`is_claim` knows it again.
        """
        if _LABELLED.isdisjoint(resource):
            return ()
        said = [(str(c.get("system", "")), str(c.get("code", ""))) for c in _written(resource) if not has_basis(c)]
        shut = [(s, c) for s, c in said if (c in _CLOSED if s == CONFIDENTIALITY else self._closes(s, c))]
        if not shut:
            return ()
        raised = dict.fromkeys([(LEVEL, "L3"), *shut])
        if not any(system == CONFIDENTIALITY for system, _ in shut):
            raised[CONFIDENTIALITY, "R"] = None
        return tuple(_coding(system, code, _CLAIM, _mark(source)) for system, code in raised)

    def _closes(self, system: str, code: str) -> bool:
        if system == HANDLING:
            return code in _HANDLING_CODES or code.startswith(EMBARGO.rpartition("|")[2])
        return system == ACT_CODE and code in self.tables.sensitivities

    def sensitivities(self, resource: Resource) -> dict[str, str]:
        """Label code -> the table that says so (the first that did)."""
        by_code: tuple[str, ...] = ()
        by_words: tuple[str, ...] = ()
        saying = False
        for name, value in resource.items():
            if isinstance(value, str):
                saying = saying or name in _SAYING
            elif isinstance(value, (dict, list)) and name != "meta":
                for item in value if isinstance(value, list) else (value,):
                    codes, words = self._in_element(item, name in _NARRATIVE)
                    by_code += codes
                    by_words += words
        if saying:
            codes, words = self._in_node({name: one for name, one in resource.items() if isinstance(one, str)})
            by_code, by_words = codes + by_code, words + by_words
        found = dict.fromkeys(by_code, "codes")
        for label in by_words:
            found.setdefault(label, "words")
        if "meta" in resource:
            for label in self._by_source(resource):
                found.setdefault(label, "sources")
        if self.organizations:
            for label in self._by_inference(resource):
                found.setdefault(label, "inference")
        return self.with_implied(found)

    def with_implied(self, found: Mapping[str, str]) -> dict[str, str]:
        """The labels and what they bring with them."""
        if not found:
            return {}
        grown = dict(found)
        todo = list(found)
        while todo:
            for also in self.tables.implied.get(todo.pop(), ()):
                if also not in grown:
                    grown[also] = "implied"
                    todo.append(also)
        return grown

    def join(self, vouched: Iterable[JsonObject], found: Iterable[JsonObject]) -> tuple[JsonObject, ...]:
        """:func:`merged`, with what the vouched labels bring with them."""
        alone = self._alone.get(id(found)) if not vouched else None
        if alone is not None and alone[0] is found:  # for most that is all, and the tables' answers are few
            return alone[1]
        known = self._join_texts(vouched, found)
        if not vouched and isinstance(found, tuple):
            if len(self._alone) >= _KNOWN_LIMIT:
                self._alone.clear()
            self._alone[id(found)] = found, known
        return known

    def _join_texts(self, vouched: Iterable[JsonObject], found: Iterable[JsonObject]) -> tuple[JsonObject, ...]:
        both = list(vouched), list(found)
        try:
            key = orjson.dumps(both)
        except TypeError:  # decimals that keep their digits
            return self._join(*both)
        known = self._joined.get(key)
        if known is None:
            if len(self._joined) >= _KNOWN_LIMIT:
                self._joined.clear()
            known = self._joined[key] = self._join(*both)
        return known

    def _join(self, mapped: list[JsonObject], tabled: list[JsonObject]) -> tuple[JsonObject, ...]:
        codes = {str(c["code"]): "mapping" for c in mapped if c.get("system") == ACT_CODE and "code" in c}
        grown = self.with_implied(codes)
        tabled += [self._coding(ACT_CODE, code, "implied") for code in sorted(grown) if code not in codes]
        return merged(mapped, tabled)

    def codings(self, labels: Iterable[str], basis: str) -> tuple[JsonObject, ...]:
        """Sensitivities that another resource tells of, with all that they bring along."""
        found = self.with_implied(dict.fromkeys(labels, basis))
        heights = (self._coding(LEVEL, "L3", basis), self._coding(CONFIDENTIALITY, "R", basis))
        return (*heights, *(self._coding(ACT_CODE, code, why) for code, why in sorted(found.items())))

    def _coding(self, system: str, code: str, basis: str) -> JsonObject:
        return _coding(system, code, basis, self.tables.version)

    def _by_code(self, system: str, code: str) -> Iterator[str]:
        yield from self.tables.exact.get((system, code), ())
        held = self.tables.below.get(system)
        if held is None:
            return
        plain = code.upper()
        for end in range(len(plain), 0, -1):  # F10.20, F10.2, F10. ... F: the classification's own tree
            yield from held.get(plain[:end], ())
        if "." not in plain and len(plain) > 3:  # written without the point, as claims have it
            dotted = f"{plain[:3]}.{plain[3:]}"
            for end in range(len(dotted), 3, -1):
                yield from held.get(dotted[:end], ())

    def _in_element(self, value: Any, narrative: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What codes and words in a top-level element say; remembered, since codes and categories repeat."""
        if not isinstance(value, (dict, list)):
            return (), ()
        try:
            key = narrative, orjson.dumps(value)  # tells 304.0 from "304.0": a number is no code
        except TypeError:  # decimals that keep their digits; half a character, which the store will refuse
            return self._in_node(value, narrative)
        known = self._known.get(key)
        if known is None:
            known = self._in_node(value, narrative)
            if len(key[1]) <= _KNOWN_SIZE:
                if len(self._known) >= _KNOWN_LIMIT:
                    self._known.clear()
                self._known[key] = known
        return known

    def _in_node(self, node: Any, narrative: bool = False) -> tuple[tuple[str, ...], tuple[str, ...]]:
        codes = (label for system, code in _codings(node) for label in self._by_code(system_of(system), code))
        words = (label for text in (() if narrative else _texts(node)) for label in self._by_words(text))
        return tuple(codes), tuple(words)

    def _by_words(self, text: str) -> Iterator[str]:
        words = _WORD.findall(text.casefold())
        for at, word in enumerate(words):
            for phrase in self.tables.words.get(word, ()):
                *parts, label = phrase
                if words[at : at + len(parts)] == parts:
                    yield label

    def _by_source(self, resource: Resource) -> Iterator[str]:
        meta = resource.get("meta")
        meta = meta if isinstance(meta, dict) else {}
        tags = meta.get("tag")
        marks = [meta.get("source")]
        marks += [tag.get("code") for tag in (tags if isinstance(tags, list) else ()) if isinstance(tag, dict)]
        for mark in marks:
            if isinstance(mark, str) and mark.startswith(self.tables.prefixes):
                for prefix, labels in self.tables.sources:
                    if mark.startswith(prefix):
                        yield from labels

    def _by_inference(self, resource: Resource) -> Iterator[str]:
        if not self.organizations or resource.get("resourceType") in ("Organization", "Location", "HealthcareService"):
            return
        for literal in _references(resource):
            yield from sorted(self.organizations.get(literal, ()))


def _codings(node: Any) -> list[tuple[str, str]]:
    """Every (system, code) below, no meta among them."""
    found: list[tuple[str, str]] = []
    _collect_codings(node, found)
    return found


def _collect_codings(node: Any, found: list[tuple[str, str]]) -> None:
    if isinstance(node, dict):
        system, code = node.get("system"), node.get("code")
        if isinstance(system, str) and isinstance(code, str):
            found.append((system, code))
        for name, value in node.items():
            if isinstance(value, (dict, list)) and name != "meta":
                _collect_codings(value, found)
    else:
        for item in node:
            if isinstance(item, (dict, list)):
                _collect_codings(item, found)


_LABELLED: Final = frozenset({"meta", "securityLabel", "confidentiality"})  # where a sender writes labels: _written
_SAYING: Final = ("code", "text", "display")  # strings of a resource itself that say what it is about
_NARRATIVE: Final = frozenset({"meta", "name", "address", "telecom", "contact", "div"})


def _texts(node: Any) -> list[str]:
    """Text and display of concepts, wherever they stand; names and addresses of people are none."""
    found: list[str] = []
    _collect_texts(node, found)
    return found


def _collect_texts(node: Any, found: list[str]) -> None:
    if isinstance(node, dict):
        if "reference" not in node:
            for name in ("text", "display"):
                text = node.get(name)
                if isinstance(text, str):
                    found.append(text)
        for name, value in node.items():
            if isinstance(value, (dict, list)) and name not in _NARRATIVE:
                _collect_texts(value, found)
    else:
        for item in node:
            if isinstance(item, (dict, list)):
                _collect_texts(item, found)


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        literal = node.get("reference")
        if isinstance(literal, str):
            yield literal
        for value in node.values():
            if isinstance(value, (dict, list)):
                yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


def merged(vouched: Iterable[JsonObject], found: Iterable[JsonObject]) -> tuple[JsonObject, ...]:
    """Labels that a mapping vouches for, joined with those of the tables.

    A level of the mapping stands unless the tables find a sensitivity; of Confidentiality the higher stays (high-water
    mark); everything else is the union.
    """
    mapped, tabled = list(vouched), list(found)
    sensitive = any(c.get("system") not in (LEVEL, CONFIDENTIALITY) for c in tabled)
    if not sensitive and any(c.get("system") == LEVEL for c in mapped):
        tabled = [c for c in tabled if c.get("system") != LEVEL]
    kept: dict[tuple[str, str], JsonObject] = {}
    for one in (*mapped, *tabled):
        kept.setdefault((str(one.get("system", "")), str(one.get("code", ""))), one)
    ranks = [code for system, code in kept if system == CONFIDENTIALITY and code in RANK]
    levels = [code for system, code in kept if system == LEVEL]
    for code in ranks:
        if RANK[code] < max(RANK[c] for c in ranks):
            del kept[CONFIDENTIALITY, code]
    for code in levels:
        if code < max(levels):
            del kept[LEVEL, code]
    return tuple(kept[key] for key in sorted(kept))


def has_basis(label: JsonObject) -> bool:
    """Whether a label came from the tables, so that a changed table may take it away."""
    return any(basis != _CLAIM for basis, _ in _bases(label))


def is_claim(label: JsonObject, source: str) -> bool:
    """Whether a label came with a record that the source sent."""
    return (_CLAIM, _mark(source)) in _bases(label)


def security_of(resource: Resource) -> list[JsonObject]:
    """The Codings of ``meta.security``."""
    meta = resource.get("meta")
    labels = meta.get("security") if isinstance(meta, dict) else None
    return [label for label in labels if isinstance(label, dict)] if isinstance(labels, list) else []


def vouched_of(resource: Resource) -> tuple[JsonObject, ...]:
    """The labels of a stored resource that a mapping vouched for or its sender claimed: no table finds them again."""
    return tuple(label for label in security_of(resource) if not has_basis(label))


def _coding(system: str, code: str, basis: str, version: str) -> JsonObject:
    why = {"system": BASIS_SYSTEM, "code": basis, "version": version}
    return {"system": system, "code": code, "extension": [{"url": BASIS, "valueCoding": why}]}


def _mark(source: str) -> str:
    """Stands for a source without naming it."""
    return sha256(source.encode()).hexdigest()[:12]


def _bases(label: JsonObject) -> list[tuple[str, str]]:
    extensions = label.get("extension")
    found = [e for e in extensions if isinstance(e, dict)] if isinstance(extensions, list) else []
    codings = [e.get("valueCoding") for e in found if e.get("url") == BASIS]
    plain = [coding if isinstance(coding, dict) else {} for coding in codings]
    return [(str(coding.get("code", "")), str(coding.get("version", ""))) for coding in plain]


def _written(resource: Resource) -> Iterator[JsonObject]:
    """The labels that a sender wrote: those of the record, of a document, of a composition."""
    yield from security_of(resource)
    concepts = resource.get("securityLabel")  # DocumentReference; a Consent's stand in its provisions
    for concept in concepts if isinstance(concepts, list) else ():
        codings = concept.get("coding") if isinstance(concept, dict) else None
        yield from (one for one in codings if isinstance(one, dict)) if isinstance(codings, list) else ()
    if isinstance(resource.get("confidentiality"), str):  # Composition
        yield {"system": CONFIDENTIALITY, "code": resource["confidentiality"]}
