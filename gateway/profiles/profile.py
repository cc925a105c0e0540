"""Profiles compiled to checks of what they add to R4: everything that the base type says already is left out.

A profile is compiled on first use. Its elements become closures over :class:`Item`; an element that adds nothing, and
has nothing below it that adds anything, disappears.
"""

from collections.abc import Mapping, Sequence
from threading import RLock
from typing import Any, Final, Protocol

from gateway.kernel.fhir import JsonObject
from gateway.profiles.contexts import Contexts
from gateway.profiles.facts import Facts
from gateway.profiles.fhirpath_items import compare
from gateway.profiles.invariants import compile_rule
from gateway.profiles.issues import ERROR, WARNING, Severity
from gateway.profiles.items import Item, children, matches_pattern
from gateway.profiles.run import Run
from gateway.profiles.slices import ItemCheck, Slice, SlicesCheck, slicing, slicing_by_url
from gateway.profiles.slicing import matcher, url_of
from gateway.profiles.snapshot import ElementNode, read_tree
from gateway.profiles.structure import WITHOUT_SYSTEM, coded

CORE: Final = "http://hl7.org/fhir/StructureDefinition/"
_CHECKED_BY_STRUCTURE: Final = frozenset(
    {"ele-1", "ext-1", "ref-1", "dom-2", "dom-3", "dom-4", "dom-5", "dom-6", "txt-1", "txt-2", "sqty-1"}
)
_MAX_VALUE_SET: Final = f"{CORE}elementdefinition-maxValueSet"
_DEPTH_LIMIT_PROFILES: Final = 40


class Definitions(Protocol):
    """Where StructureDefinitions come from."""

    def find(self, kind: str, canonical: str) -> JsonObject | None:
        """The definition with that canonical URL (``url`` or ``url|version``), None when it is not loaded."""


class NoDefinitions:
    """Nothing loaded."""

    def find(self, kind: str, canonical: str) -> JsonObject | None:
        """Always None."""
        return None


def nothing(item: Item, run: Run) -> None:
    """The check of an element to which a profile adds nothing."""


class Profiles:
    """All profiles that can be found, compiled as they are asked for.

    Args:
        facts: what R4 says by itself.
        definitions: where StructureDefinitions are found.
    """

    def __init__(self, facts: Facts, definitions: Definitions) -> None:
        self.facts = facts
        self._definitions = definitions
        self._trees: dict[str, tuple[ElementNode, JsonObject]] = {}
        self._checks: dict[str, ItemCheck] = {}
        self._compiling: set[str] = set()
        self._lock = RLock()

    # ---- Library

    def _tree(self, canonical: str) -> tuple[ElementNode, JsonObject] | None:
        if canonical not in self._trees:
            found = self._definitions.find("StructureDefinition", canonical)
            if found is None:
                return None
            else:
                kept = {k: found.get(k) for k in ("url", "type", "kind", "baseDefinition", "derivation")}
                root, whole = read_tree(found)
                contexts = tuple((c.get("type"), c.get("expression")) for c in found.get("context", ()))
                self._trees[canonical] = (root, {**kept, "whole": whole, "contexts": contexts})
        return self._trees[canonical]

    def root_of(self, canonical: str) -> ElementNode | None:
        """The element tree of a profile."""
        found = self._tree(canonical)
        return found[0] if found else None

    def type_of(self, canonical: str) -> str | None:
        """The type that a canonical constrains; a base definition of R4 is known without being loaded."""
        plain = canonical.partition("|")[0]
        if plain.startswith(CORE) and self.facts.type(plain.removeprefix(CORE)) is not None:
            return plain.removeprefix(CORE)
        if plain == f"{CORE}Resource":
            return "Resource"
        found = self._tree(canonical)
        return str(found[1]["type"]) if found else None

    def contexts_of(self, canonical: str) -> Contexts:
        """Where an extension may stand, as (type, expression)."""
        found = self._tree(canonical)
        contexts: Contexts = found[1]["contexts"] if found else ()
        return contexts

    def conforms(self, resource: JsonObject, canonical: str, run: Run) -> bool | None:
        """Whether a resource meets a profile; None when the profile is not loaded."""
        if self.is_base(canonical):
            return bool(resource.get("resourceType") == self.type_of(canonical))
        check = self.check(canonical)
        if check is None:
            return None if self.type_of(canonical) is None else False
        if resource.get("resourceType") != self.type_of(canonical):
            return False
        silent = run.within(resource, "", contained=False)
        silent.bundle, silent.issues = run.bundle, []
        silent.depth = run.depth + 1
        if silent.depth > _DEPTH_LIMIT_PROFILES:
            return None
        check(Item(resource, None, str(resource.get("resourceType")), ""), silent)
        return not any(issue.severity == ERROR for issue in silent.issues)

    def child_items(self, item: Item, name: str) -> list[Item]:
        """The values of an element by its name, choices included; types come from the facts where they are known."""
        kind = item.type or str(item.object().get("resourceType", ""))
        return children(item, self.keys(kind, name), name)

    def keys(self, type_path: str, name: str) -> Mapping[str, str]:
        """The JSON names of an element with their types."""
        known = self.facts.type(type_path)
        if known is not None:
            for element in known.elements:
                if element.name == name:
                    return {key: use.code for key, use in element.json_names()}
        return {name: ""}

    # ---- checks

    def is_base(self, canonical: str) -> bool:
        """Whether a canonical is a plain type of R4, which structure has checked."""
        plain = canonical.partition("|")[0]
        return plain.startswith(CORE) and (
            self.facts.type(plain.removeprefix(CORE)) is not None
            or plain.removeprefix(CORE) in ("Resource", "DomainResource", "Element", "BackboneElement")
        )

    def check(self, canonical: str) -> ItemCheck | None:
        """The check of a profile on an instance of its type; None when it is not loaded."""
        known = self._checks.get(canonical)
        if known is not None:
            return known
        if self.is_base(canonical):
            return nothing
        found = self._tree(canonical)
        if found is None:
            return None  # not remembered: a sender could name any number of profiles
        with self._lock:  # one thread compiles; a profile that leads back to itself sees the stand-in
            if canonical in self._compiling:
                return lambda item, run: self._checks[canonical](item, run)
            if canonical not in self._checks:
                self._compiling.add(canonical)
                try:
                    self._checks[canonical] = self._compile_profile(*found)
                finally:
                    self._compiling.discard(canonical)
            return self._checks[canonical]

    def _compile_profile(self, root: ElementNode, about: JsonObject) -> ItemCheck:
        compiled = _Compiler(self, root).item_check(root, str(about["type"])) or nothing
        base = about.get("baseDefinition")
        if about["whole"] or base is None or self.is_base(base):
            return compiled
        under = self.check(base)
        if under is None:
            under = _unloaded(f"not checked: the base profile {base} is not loaded")

        def both(item: Item, run: Run) -> None:
            under(item, run)
            compiled(item, run)

        return both


class _Compiler:
    """The compilation of one profile's tree."""

    def __init__(self, library: Profiles, root: ElementNode) -> None:
        self._library = library
        self._facts = library.facts
        self._root = root
        self._busy: set[int] = set()

    def item_check(self, node: ElementNode, type_path: str) -> ItemCheck | None:
        """Everything that a node says about one value of it; None when it adds nothing."""
        checks: list[ItemCheck] = []
        for one in (
            self._fixed(node),
            self._types(node, type_path),
            self._limits(node),
            self._binding(node),
            self._references(node),
            self._type_profiles(node),
            self._constraints(node, type_path),
        ):
            if one is not None:
                checks.append(one)
        source = self._referred(node)
        for child in source.children.values():
            check = self._element(child, type_path)
            if check is not None:
                checks.append(check)
        return _all_of(checks)

    def _referred(self, node: ElementNode) -> ElementNode:
        """The node whose children count: that of contentReference, once, since it may be its own ancestor."""
        reference = str(node.definition.get("contentReference", ""))
        if not reference or node.children:
            return node
        target = self._root
        for name in reference.rpartition("#")[2].split(".")[1:]:
            if name not in target.children:
                return node
            target = target.children[name]
        if id(target) in self._busy:
            return node
        return target

    # ---- one element of an object: how many, which slice, each value

    def _element(self, node: ElementNode, type_path: str) -> ItemCheck | None:
        self._busy.add(id(node))
        try:
            return self._compile_element(node, type_path)
        finally:
            self._busy.discard(id(node))

    def _compile_element(self, node: ElementNode, type_path: str) -> ItemCheck | None:
        name, definition = node.name, node.definition
        keys = self._keys(node, type_path)
        base = definition.get("base", {})
        minimum = definition.get("min", 0) if definition.get("min", 0) > base.get("min", 0) else 0
        maximum = _number(definition.get("max"), base.get("max", "*"))
        child_type = next(iter(keys.values())) if len(keys) == 1 else ""
        per_item = self._per_type(node, keys) if len(keys) > 1 else self.item_check(node, child_type)
        slices = self._slices(node, keys, child_type)
        if not minimum and maximum is None and per_item is None and slices is None:
            return None

        single = next(iter(keys)) if len(keys) == 1 else ""
        beside = f"_{single}"
        silent = not minimum and slices is None

        def check(holder: Item, run: Run) -> None:
            if single:
                node_ = holder.object()
                absent = single not in node_ and beside not in node_
                if absent and silent:
                    return
                items = [] if absent else children(holder, keys, name)
            else:
                items = children(holder, keys, name)
            if len(items) < minimum:
                run.error("required", holder.path, f"{name} is required (minimum {minimum})")
            if maximum is not None and len(items) > maximum:
                words = "is not allowed" if maximum == 0 else f"may stand {maximum} times at most"
                run.error("structure", items[maximum].path, f"{name} {words} in this profile")
            if per_item is not None:
                for item in items:
                    per_item(item, run)
            if slices is not None:
                slices(holder, items, run)

        return check

    def _keys(self, node: ElementNode, type_path: str) -> Mapping[str, str]:
        keys = self._library.keys(type_path, node.name)
        base_path = str(node.definition.get("base", {}).get("path", ""))
        if base_path.endswith("[x]") and not node.choice:  # `valueQuantity` as a path of its own
            name = base_path.removesuffix("[x]").rpartition(".")[2]
            return {node.name: self._library.keys(type_path, name).get(node.name, "")}
        return keys

    def _per_type(self, node: ElementNode, keys: Mapping[str, str]) -> ItemCheck | None:
        """A choice: its values are judged by the type that each has."""
        by_type = {code: self.item_check(node, code) for code in set(keys.values())}
        found = {code: check for code, check in by_type.items() if check is not None}
        if not found:
            return None

        def check(item: Item, run: Run) -> None:
            one = found.get(item.type)
            if one is not None:
                one(item, run)

        return check

    # ---- slices

    def _slices(self, node: ElementNode, keys: Mapping[str, str], child_type: str) -> SlicesCheck | None:
        if not node.slices:
            return None
        said = node.definition.get("slicing", {})
        discriminators = said.get("discriminator")
        if discriminators is None:
            kind = ("value", "url") if node.name in ("extension", "modifierExtension") else ("type", "$this")
            discriminators = [{"type": kind[0], "path": kind[1]}]
        parts = []
        for part in node.slices.values():
            limits = (part.definition.get("min", 0), _number(part.definition.get("max"), "*"))
            if len(keys) > 1:
                check = self._per_type(part, {k: t for k, t in keys.items() if t in part.type_codes()} or keys)
            else:
                check = self.item_check(part, child_type)
            nested = self._slices(part, keys, child_type)
            parts.append(Slice(part, matcher(part, discriminators, self._library), limits, check, nested))
        closed = said.get("rules") == "closed"
        if not closed and all(p.adds_nothing for p in parts):
            return None
        if discriminators == [{"type": "value", "path": "url"}]:
            urls = {
                url: part for part, sliced in zip(parts, node.slices.values(), strict=True) if (url := url_of(sliced))
            }
            if len(urls) == len(parts):
                return slicing_by_url(node.name, urls, closed=closed)
        return slicing(node.name, parts, closed=closed)

    # ---- what an element says about one value

    def _fixed(self, node: ElementNode) -> ItemCheck | None:
        fixed, pattern = node.value("fixed"), node.value("pattern")
        if fixed is None and pattern is None:
            return None

        def check(item: Item, run: Run) -> None:
            if item.value is None:
                return  # only extensions, such as data-absent-reason: nothing to compare
            if fixed is not None and item.value != fixed:
                run.error("value", item.path, "does not have the value that the profile fixes")
            elif pattern is not None and not matches_pattern(item.value, pattern):
                run.error("value", item.path, "does not match the pattern of the profile")

        return check

    def _types(self, node: ElementNode, type_path: str) -> ItemCheck | None:
        codes = frozenset(node.type_codes())
        if not node.choice or not codes or node.slice_name or type_path in codes or not type_path:
            return None
        return lambda item, run: run.error(
            "structure", item.path, f"has a type that the profile does not allow; allowed: {', '.join(sorted(codes))}"
        )

    def _limits(self, node: ElementNode) -> ItemCheck | None:
        longest = node.definition.get("maxLength")
        bounds = [(node.value("minValue"), -1, "less than"), (node.value("maxValue"), 1, "more than")]
        bounds = [bound for bound in bounds if bound[0] is not None]
        if not isinstance(longest, int) and not bounds:
            return None

        def check(item: Item, run: Run) -> None:
            if isinstance(longest, int) and type(item.value) is str and len(item.value) > longest:
                run.error("value", item.path, f"is longer than {longest} characters")
            for bound, wrong, words in bounds:
                found = compare(item.value, bound)
                if found is not None and found[0] == wrong:
                    run.error("value", item.path, f"is {words} the profile allows")

        return check

    def _binding(self, node: ElementNode) -> ItemCheck | None:
        binding = node.definition.get("binding", {})
        checks = []
        valueset, strength = binding.get("valueSet"), binding.get("strength")
        if valueset and strength in ("required", "extensible"):
            base_path = str(node.definition.get("base", {}).get("path", ""))
            if self._facts.binding(base_path) != valueset.partition("|")[0]:
                checks.append(_bound(valueset, WARNING if strength == "extensible" else ERROR))
        for extension in binding.get("extension", ()):
            widest = extension.get("valueCanonical", extension.get("valueUri"))
            if extension.get("url") == _MAX_VALUE_SET and widest:
                checks.append(_bound(widest, ERROR))
        return _all_of(checks)

    def _references(self, node: ElementNode) -> ItemCheck | None:
        targets = node.target_profiles()
        if not targets or "Reference" not in node.type_codes():
            return None
        types = {target: self._library.type_of(target) for target in targets}
        if "Resource" in types.values():
            return None
        plain = frozenset(t for target, t in types.items() if t is not None and self._library.is_base(target))
        base = self._base_targets(node)
        if base is not None and base == plain and len(plain) == len(targets):
            return None
        profiled = {k: v for k, v in types.items() if not self._library.is_base(k)}
        return _referring(self._library, profiled, plain, base or frozenset())

    def _base_targets(self, node: ElementNode) -> frozenset[str] | None:
        parent, _, name = str(node.definition.get("base", {}).get("path", "")).rpartition(".")
        known = self._facts.type(parent)
        for element in known.elements if known else ():
            if element.name == name:
                return element.types[0].targets
        return None

    def _type_profiles(self, node: ElementNode) -> ItemCheck | None:
        profiles = [p for p in node.type_profiles() if not self._library.is_base(p)]
        if not profiles:
            return None
        if node.name in ("extension", "modifierExtension"):
            return _defined(self._library, profiles[0])
        if len(profiles) == 1:
            return _conforming(self._library, profiles[0])
        return _conforming_any(self._library, tuple(node.type_profiles()))

    def _constraints(self, node: ElementNode, type_path: str) -> ItemCheck | None:
        base_path = str(node.definition.get("base", {}).get("path", "")) or node.path
        known = {
            (rule.key, rule.expression)
            for path in (base_path, type_path, *node.type_codes())
            for rule in self._facts.invariants(path)
        }
        rules = []
        for constraint in node.definition.get("constraint", ()):
            key, expression = constraint["key"], constraint.get("expression")
            if key in _CHECKED_BY_STRUCTURE or (key, expression) in known:
                continue
            rules.append(
                compile_rule(key, constraint["severity"], expression or "", type_path, constraint.get("human", ""))
            )
        if not rules:
            return None

        def check(item: Item, run: Run) -> None:
            for rule in rules:
                rule(item.value if item.value is not None else item.object(), item.path, run)

        return check


def _all_of(checks: Sequence[ItemCheck]) -> ItemCheck | None:
    """Several checks as one."""
    if len(checks) < 2:
        return checks[0] if checks else None
    every = tuple(checks)

    def run_all(item: Item, run: Run) -> None:
        for check in every:
            check(item, run)

    return run_all


def _unloaded(words: str) -> ItemCheck:
    return lambda item, run: run.unchecked(item.path, words)


def _number(maximum: Any, base: Any) -> int | None:
    """The maximum that a profile adds, None when it adds none."""
    return None if maximum in (None, "*") or maximum == base else int(maximum)


_CODED: Final = frozenset({"", "CodeableConcept", "Coding", "Quantity", "code", "string", "uri", "Duration", "Age"})


def _bound(valueset: str, severity: Severity) -> ItemCheck:
    plain = valueset.partition("|")[0]

    def check(item: Item, run: Run) -> None:
        if item.type not in _CODED:
            return
        pairs = coded(item.value, item.type or "CodeableConcept")
        if not pairs:
            if severity == ERROR and item.type == "CodeableConcept" and _says_nothing(item.value):
                run.error("code-invalid", item.path, f"no code from the value set that is required here: {plain}")
            return
        said = [run.terminology.holds(valueset, system, code) for system, code in pairs]
        if True in said:
            return
        if item.type != "CodeableConcept" and any(system == "" for system, _ in pairs):
            run.add(WARNING, "code-invalid", item.path, WITHOUT_SYSTEM)
        elif None in said:
            run.unchecked(item.path, f"not checked: the codes of {plain} are not all known here")
        else:
            words = "is required here" if severity == ERROR else "should be used where it has a fitting code"
            run.add(severity, "code-invalid", item.path, f"no code from the value set that {words}: {plain}")

    return check


def _says_nothing(value: Any) -> bool:
    """No code, and neither text nor extension in its place."""
    return type(value) is dict and "extension" not in value and "text" not in value


def _referring(
    library: Profiles, profiled: Mapping[str, str | None], plain: frozenset[str], base: frozenset[str]
) -> ItemCheck:
    """A reference whose target must have one of several types or meet one of several profiles."""
    known = plain | {t for t in profiled.values() if t is not None}

    def check(item: Item, run: Run) -> None:
        node = item.object()
        kind = run.target_type(node)
        if kind is None or (base and kind not in base):  # the latter is said by structure
            return
        fitting = [profile for profile, t in profiled.items() if t is None or t == kind]
        if kind not in known and not fitting:
            run.error("value", item.path, f"must refer to {' or '.join(sorted(known))} in this profile")
            return
        literal = node.get("reference")
        target = run.resolve(literal) if type(literal) is str and kind not in plain else None
        if target is None:
            return
        said = [library.conforms(target, profile, run) for profile in fitting]
        if True not in said and None not in said:
            run.error("value", item.path, f"refers to a resource that does not meet {' or '.join(fitting)}")

    return check


def _defined(library: Profiles, profile: str) -> ItemCheck | None:
    """An extension's own definition: structure has judged it where it stands, if only it is loaded."""
    if library.type_of(profile) is not None:
        return None
    return lambda item, run: run.unchecked(item.path, f"not checked: {profile} is not loaded")


def _conforming(library: Profiles, profile: str) -> ItemCheck:
    def check(item: Item, run: Run) -> None:
        compiled = library.check(profile)
        if compiled is None:
            run.unchecked(item.path, f"not checked: {profile} is not loaded")
        elif item.value is not None:
            compiled(item, run)

    return check


def _conforming_any(library: Profiles, profiles: tuple[str, ...]) -> ItemCheck:
    def check(item: Item, run: Run) -> None:
        unknown = False
        for profile in profiles:
            compiled = library.check(profile)
            if compiled is None:
                unknown = True
                continue
            silent = run.within(run.resource, "", contained=False)
            silent.root, silent.bundle, silent.issues = run.root, run.bundle, []
            compiled(item, silent)
            if not any(issue.severity == ERROR for issue in silent.issues):
                return
        if unknown:
            run.unchecked(item.path, "not checked: a profile that it may have is not loaded")
        else:
            run.error("value", item.path, f"meets none of {', '.join(profiles)}")

    return check
