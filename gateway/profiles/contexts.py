"""Where an extension may stand (R4 StructureDefinition.context, type ``element``)."""

import re
from collections.abc import Sequence
from typing import Final

from gateway.profiles.facts import RESOURCE_BASES, Facts
from gateway.profiles.run import Run

Contexts = Sequence[tuple[str, str]]  # (type, expression)

_INDEX: Final = re.compile(r"\[\d+\]")
_ABOVE: Final = {
    **dict.fromkeys(("Age", "Count", "Distance", "Duration"), "Quantity"),
    **dict.fromkeys(("code", "id", "markdown"), "string"),
    **dict.fromkeys(("canonical", "oid", "url", "uuid"), "uri"),
    **dict.fromkeys(("positiveInt", "unsignedInt"), "integer"),
}
_ABSTRACT: Final = frozenset({"Element", "BackboneElement", *RESOURCE_BASES})


def names_of_place(path: str, run: Run, facts: Facts) -> frozenset[str] | None:
    """Every name that the element holding the extension at ``path`` goes by; None when it cannot be told.

    ``Patient.name[0].family.extension[0]`` stands in ``Patient.name.family``, ``HumanName.family``, ``string``,
    ``Element``.
    """
    kind = run.resource.get("resourceType")
    steps = _INDEX.sub("", path[len(run.path) :]).split(".")[1:-1]
    known = facts.type(kind) if isinstance(kind, str) else None
    if known is None or "extension" in steps or "modifierExtension" in steps:
        return None
    if not steps:
        return frozenset({known.path, known.base, "Resource", "Element"})
    names: frozenset[str] = frozenset()
    full = known.path
    for step in steps:
        element = next((e for e in known.elements if e.name == step), None) if known is not None else None
        if known is None or element is None:
            return None
        full = f"{full}.{step}"
        shown = ("", "[x]") if element.choice else ("",)
        names = frozenset(f"{above}{end}" for above in (full, f"{known.path}.{step}") for end in shown)
        if element.choice:
            return names | _types([use.code for use in element.types]) if step == steps[-1] else None
        names |= _types([element.types[0].code])
        known = facts.type(element.types[0].code)
        if known is not None:
            names |= {known.base}
    return names


def _types(codes: Sequence[str]) -> frozenset[str]:
    return frozenset(codes) | {_ABOVE[code] for code in codes if code in _ABOVE} | {"Element"}


def may_stand(contexts: Contexts, path: str, run: Run, facts: Facts) -> bool:
    """Whether one of the contexts allows the place; contexts of other kinds, and what cannot be told, allow it."""
    if not contexts or any(kind != "element" for kind, _ in contexts):
        return True
    expressions = {expression for _, expression in contexts}
    if any(facts.type(one.partition(".")[0]) is None and one not in _ABSTRACT for one in expressions):
        return True  # a context that R4 does not know, such as a type of a later version
    names = names_of_place(path, run, facts)
    return names is None or not names.isdisjoint(expressions)
