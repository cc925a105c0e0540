"""Codings as ``system|code`` keys, and the hierarchies that consent rules are read with (terminology/consent)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from typing import Any, Final

from gateway.kernel.fhir import ACT_CODE, ACT_REASON, CONFIDENTIALITY, LEVEL

RANK: Final[Mapping[str, int]] = {code: rank for rank, code in enumerate("ULMNRV")}  # v3 Confidentiality, low to high
RANKED: Final[Mapping[str, int]] = {f"{CONFIDENTIALITY}|{code}": rank for code, rank in RANK.items()}
KNOWN_LABEL_SYSTEMS: Final = frozenset(
    {CONFIDENTIALITY, ACT_CODE, LEVEL}
)  # a label of these says: labels were computed

_V3: Final = "http://terminology.hl7.org/CodeSystem/v3-"
_SAME_SYSTEM: Final = {  # value sets and old addresses that people write where the code system belongs
    "v3-PurposeOfUse": ACT_REASON,
    "v3-InformationSensitivityPolicy": ACT_CODE,
    "v3-ActInformationSensitivityPolicy": ACT_CODE,
    "v3-ConfidentialityClassification": CONFIDENTIALITY,
    "PurposeOfUse": ACT_REASON,
    "2.16.840.1.113883.5.8": ACT_REASON,
    "2.16.840.1.113883.5.25": CONFIDENTIALITY,
    "2.16.840.1.113883.5.4": ACT_CODE,
}
_STEMS: Final = (
    "http://terminology.hl7.org/ValueSet/", "http://terminology.hl7.org/CodeSystem/", "http://hl7.org/fhir/ValueSet/",
    "http://hl7.org/fhir/v3/", "https://terminology.hl7.org/CodeSystem/", "https://terminology.hl7.org/ValueSet/",
    "urn:oid:",
)  # fmt: skip
_PREFIXED: Final = ("http://hl7.org/fhir/sid/icd-", "http://hl7.org/fhir/sid/icd10")  # code I10.2 lies under I10


@cache
def system_of(system: str) -> str:
    """The canonical address of a code system: known other spellings and a trailing slash are mended."""
    plain = system.strip().rstrip("/").split("|")[0]
    for stem in _STEMS:
        if plain.startswith(stem):
            name = plain.removeprefix(stem)
            if name in _SAME_SYSTEM:
                return _SAME_SYSTEM[name]
            if name.startswith("v3-"):
                return _V3 + name.removeprefix("v3-")
            if stem == "http://hl7.org/fhir/v3/":
                return _V3 + name
    return plain


def key_of(coding: Any) -> str:
    """``system|code`` of a Coding (or ``|code`` of a bare string); empty when there is no code."""
    if isinstance(coding, str):
        return f"|{coding.strip()}" if coding.strip() else ""
    if not isinstance(coding, dict) or not isinstance(coding.get("code"), str) or not coding["code"].strip():
        return ""
    system = coding.get("system")
    return f"{system_of(system) if isinstance(system, str) else ''}|{coding['code'].strip()}"


def codings_in(node: Any) -> Iterator[Any]:
    """Every Coding of a Coding, a CodeableConcept, a code string, or a list of these."""
    if isinstance(node, list):
        for item in node:
            yield from codings_in(item)
    elif isinstance(node, dict):
        inner = node.get("coding")
        if isinstance(inner, (list, dict)):
            yield from codings_in(inner)
        else:
            yield node
    elif isinstance(node, str):
        yield node


def keys_of(node: Any) -> Iterator[str]:
    """The keys of :func:`codings_in`, codings without a code left out."""
    for coding in codings_in(node):
        key = key_of(coding)
        if key:
            yield key


UNREAD: Final = "?"  # among the values of a stated element: one that holds no code, so nobody can tell what it means


def stated_keys(node: Any) -> Iterator[str]:
    """The keys of an element's values, :data:`UNREAD` for each value that holds no code (words only, null)."""
    for item in node if isinstance(node, list) else [node]:
        found = list(keys_of(item))
        yield from found or [UNREAD]


@dataclass(frozen=True)
class Vocabulary:
    """Which code lies under which: PurposeOfUse, sensitivity, Confidentiality (v3), and roles of actors by kind.

    ``parents`` maps ``system|code`` to the keys directly above; ``roles`` maps a role code to ``receiver``,
    ``custodian``, ``author`` or ``party``.
    """

    parents: Mapping[str, frozenset[str]]
    roles: Mapping[str, str]
    _up: dict[str, frozenset[str]] = field(default_factory=dict, compare=False, repr=False)
    _down: dict[str, frozenset[str]] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        for key in self.parents:
            self._up[key] = frozenset(self._climb(key))
        for key, above in self._up.items():
            for ancestor in above:
                self._down[ancestor] = self._down.get(ancestor, frozenset((ancestor,))) | {key}

    @property
    def digest(self) -> str:
        """The same for the same tables: what a store derived from Consents hangs on it."""
        text = repr([sorted((key, sorted(above)) for key, above in self.parents.items()), sorted(self.roles.items())])
        return sha256(text.encode()).hexdigest()[:12]

    def _climb(self, key: str) -> Iterator[str]:
        todo, seen = [key], {key}
        while todo:
            here = todo.pop()
            yield here
            for above in self.parents.get(here, ()):
                if above not in seen:
                    seen.add(above)
                    todo.append(above)

    def self_and_above(self, key: str) -> frozenset[str]:
        """The code and all codes that cover it."""
        return self._up.get(key) or frozenset((key,))

    def self_and_below(self, key: str) -> frozenset[str]:
        """The code and all codes that it covers."""
        return self._down.get(key) or frozenset((key,))

    def knows(self, key: str) -> bool:
        """Whether the tables hold the code."""
        return key in self.parents


def subsumes(wanted: Iterable[str], prefixes: tuple[str, ...], found: Iterable[str]) -> bool:
    """Whether a found clinical code equals a wanted one, or lies under it where the code itself shows it (ICD)."""
    have = found if isinstance(found, (set, frozenset)) else set(found)
    return not have.isdisjoint(wanted) or bool(prefixes and any(code.startswith(prefixes) for code in have))


def prefixes_of(keys: Iterable[str]) -> tuple[str, ...]:
    """What the codes under these begin with, for classifications whose codes show their place (ICD-9, ICD-10)."""
    return tuple(
        sorted(key if "." in key.rpartition("|")[2] else key + "." for key in keys if key.startswith(_PREFIXED))
    )


def read_vocabulary(rows: Iterable[Mapping[str, str]], roles: Iterable[Mapping[str, str]]) -> Vocabulary:
    """From the rows of terminology/consent/hierarchy.csv (system, code, parent) and roles.csv (code, kind)."""
    parents: dict[str, set[str]] = {}
    for row in rows:
        key = f"{row['system']}|{row['code']}"
        above = parents.setdefault(key, set())
        if row["parent"]:
            above.add(f"{row['system']}|{row['parent']}")
    return Vocabulary(
        {key: frozenset(above) for key, above in parents.items()}, {row["code"]: row["kind"] for row in roles}
    )
