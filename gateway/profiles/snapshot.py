"""A StructureDefinition as a tree of its elements and slices; snapshot where there is one, else the differential."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gateway.kernel.fhir import JsonObject


@dataclass(slots=True)
class ElementNode:
    """One ElementDefinition with what stands below it. ``name`` has no ``[x]``; ``definition`` is empty for a node
    that a differential only passes through."""

    path: str
    name: str
    choice: bool = False
    slice_name: str = ""
    definition: JsonObject = field(default_factory=dict)
    children: "dict[str, ElementNode]" = field(default_factory=dict)
    slices: "dict[str, ElementNode]" = field(default_factory=dict)

    def value(self, prefix: str) -> Any:
        """``fixed[x]`` or ``pattern[x]``, whatever its type; None when there is none."""
        for key, value in self.definition.items():
            if key.startswith(prefix) and key[len(prefix) : len(prefix) + 1].isupper():
                return value
        return None

    def type_codes(self) -> tuple[str, ...]:
        """The types that it may have."""
        return tuple(t["code"] for t in self.definition.get("type", ()))

    def type_profiles(self, code: str | None = None) -> tuple[str, ...]:
        """The profiles that its value must have one of, of all types or one."""
        return tuple(
            p
            for t in self.definition.get("type", ())
            if code is None or t["code"] == code
            for p in t.get("profile", ())
        )

    def target_profiles(self) -> tuple[str, ...]:
        """The profiles that what it refers to must have one of."""
        return tuple(p for t in self.definition.get("type", ()) for p in t.get("targetProfile", ()))

    def below(self) -> "Iterator[ElementNode]":
        """Children and slices."""
        yield from self.children.values()
        yield from self.slices.values()


def read_tree(structure: JsonObject) -> tuple[ElementNode, bool]:
    """The root element, and whether it is a whole snapshot (False: a differential, to be laid over its base)."""
    snapshot = structure.get("snapshot", {}).get("element")
    elements = snapshot or structure.get("differential", {}).get("element") or []
    kind = structure.get("type", "")
    root = ElementNode(kind, kind)
    for definition in elements:
        _place(root, definition)
    return root, bool(snapshot)


def _place(root: ElementNode, definition: JsonObject) -> None:
    """Put one ElementDefinition where its id says (``Patient.identifier:MRN.system``)."""
    segments = str(definition.get("id") or definition["path"]).split(".")
    names = str(definition["path"]).split(".")
    if len(segments) != len(names):  # a slice name with a dot: fall back on the path
        segments = names
    node, path = root, root.path
    for segment in segments[1:]:
        element, _, slice_name = segment.partition(":")
        name = element.removesuffix("[x]")
        path = f"{path}.{element}"
        child = node.children.get(name)
        if child is None:
            child = node.children[name] = ElementNode(path, name, element.endswith("[x]"))
        node = child
        if slice_name:
            sliced = node.slices.get(slice_name)
            if sliced is None:
                sliced = node.slices[slice_name] = ElementNode(path, name, node.choice, slice_name)
            node = sliced
    node.definition = definition
