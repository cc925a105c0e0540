"""Sets and hierarchies of codes in a search: ``:in``, ``:not-in``, ``:above`` and ``:below`` of a token (R4 "search").

A set is named by its canonical URL and must be one whose every code is known here: a value set of our tables, of a
loaded package or of R4's required bindings, or a code system at hand, which stands for all of its codes. A hierarchy is
that of a code system at hand. Anything else is refused: a search with an unknown set has no right answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.exchange.search_text import TokenValue, split, unescaped
from gateway.kernel.errors import Invalid
from gateway.kernel.fhir import JsonObject
from gateway.profiles.facts import Facts
from gateway.profiles.search_parameters import Parameter
from gateway.terminology import Terminology
from gateway.terminology.service import FindDefinition

CODES_LIMIT: Final = 1_000
_R4: Final = "4.0.1"


@dataclass(frozen=True, slots=True)
class CodeSets:
    """Turns the value of such a modifier into tokens; keeps :data:`gateway.exchange.search_text.Codes`.

    Args:
        terminology: our tables and the loaded packages.
        facts: which elements are plain codes.
    """

    terminology: Terminology
    facts: Facts

    def __call__(self, parameter: Parameter, modifier: str, text: str, at: str) -> tuple[TokenValue, ...]:
        """The tokens of one value.

        Raises:
            Invalid: no such set or code system here, or more codes than a search takes.
        """
        found = self._members(unescaped(text), at) if modifier in ("in", "not-in") else self._line(modifier, text, at)
        if len(found) > CODES_LIMIT:
            raise Invalid("too many codes in the set", at=at, fix=f"a set of at most {CODES_LIMIT} codes")
        tokens = [TokenValue(system, code.casefold()) for system, code in found]
        if self._plain(parameter):  # an element of type code has no system: its binding implies it
            tokens += [TokenValue("", code.casefold()) for _, code in found]
        return tuple(tokens)

    def _members(self, canonical: str, at: str) -> Sequence[tuple[str, str]]:
        """Every (system, code) of a set."""
        if self.terminology.knows(canonical):
            concepts = self.terminology.expand(canonical)
            if concepts is None:
                raise Invalid("the value set takes codes from a system that is not at hand", at=at)
            return [(one.system, one.code) for one in concepts]
        system = self.terminology.system(canonical)
        if system is not None and system.complete:
            return [(canonical.partition("|")[0], code) for code in system.concepts]
        raise Invalid("no such value set here", at=at, fix="the canonical URL of one that ValueSet/$expand gives")

    def _line(self, modifier: str, text: str, at: str) -> Sequence[tuple[str, str]]:
        """A code with all above or below it."""
        parts = [unescaped(part) for part in split(text, "|")]
        if len(parts) != 2 or not all(parts):
            raise Invalid("system|code is wanted", at=at)
        url, code = parts
        system = self.terminology.system(url)
        if system is None:
            raise Invalid("the code system is not at hand", at=at, fix="one that CodeSystem/$lookup knows")
        if modifier == "above":
            return [(url, one) for one in (code, *sorted(system.ancestors(code)))]
        return [(url, code), *((url, one) for one in system.concepts if code in system.ancestors(one))]

    def _plain(self, parameter: Parameter) -> bool:
        """Whether the parameter looks at elements of type ``code`` only."""
        return all(self._type_of(parameter.type, path) == "code" for path in parameter.path.split(" | "))

    def _type_of(self, type_: str, path: str) -> str:
        """The type of the element at a path; empty when it is no plain path."""
        *between, last = path.split(".")
        at = type_
        for name in between:
            backbone = self.facts.type(f"{at}.{name}")
            at = f"{at}.{name}" if backbone is not None else self._type_of(at, name)
        known = self.facts.type(at)
        found = next((one for one in known.elements if one.name == last), None) if known is not None else None
        return found.types[0].code if found is not None and not found.choice else ""


def with_required_sets(find: FindDefinition, facts: Facts) -> FindDefinition:
    """``find``, which also knows the value sets that R4 binds as required: they ship as tables of facts (R4 4.0.1)."""

    def found(kind: str, canonical: str) -> JsonObject | None:
        known = find(kind, canonical)
        url, _, version = canonical.partition("|")
        codes = facts.codes(url) if known is None and kind == "ValueSet" and version in ("", _R4) else None
        if codes is None:
            return known
        include = [{"system": s, "concept": [{"code": c} for c in sorted(all_)]} for s, all_ in sorted(codes.items())]
        return {
            "resourceType": "ValueSet",
            "url": url,
            "version": _R4,
            "name": "".join(word[:1].upper() + word[1:] for word in url.rpartition("/")[2].split("-")),
            "status": "active",
            "compose": {"include": include},
        }

    return found
