"""Which slice a value is in: discriminators by value, pattern, exists, type, profile and binding (R4 Profiling)."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeAlias

from gateway.kernel.fhir import JsonObject
from gateway.profiles.items import Item, matches_pattern
from gateway.profiles.run import Run
from gateway.profiles.snapshot import ElementNode
from gateway.profiles.structure import coded

Matcher: TypeAlias = Callable[[Item, Run], bool | None]  # None: it cannot be told here


class Library(Protocol):
    """What slicing needs to know of other definitions."""

    def root_of(self, canonical: str) -> ElementNode | None:
        """The element tree of a profile."""

    def type_of(self, canonical: str) -> str | None:
        """The resource or data type that a profile constrains; the type itself for a base definition."""

    def conforms(self, resource: JsonObject, canonical: str, run: Run) -> bool | None:
        """Whether a resource meets a profile."""

    def child_items(self, item: Item, name: str) -> list[Item]:
        """The values of an element by its name, choices included."""


_STEP: Final = re.compile(r"(extension|ofType)\('?([^')]+)'?\)|([A-Za-z]\w*)(\(\))?|(\$this)")


def _steps(path: str) -> list[tuple[str, str]]:
    """``code.coding`` and the like as (kind, argument): name, extension, ofType, resolve."""
    steps = []
    for found in _STEP.finditer(path):
        if found[1]:
            steps.append((found[1], found[2]))
        elif found[4]:
            steps.append((found[3], ""))
        elif found[3]:
            steps.append(("name", found[3]))
    return steps


def matcher(node: ElementNode, discriminators: Sequence[JsonObject], library: Library) -> Matcher | None:
    """The test of one slice; None when a discriminator cannot be used (then nothing can be told of its slices)."""
    tests: list[Matcher] = []
    for discriminator in discriminators:
        steps = _steps(str(discriminator.get("path", "$this")))
        test = _test(node, str(discriminator.get("type")), steps, library)
        if test is None:
            return None
        tests.append(test)

    def all_match(item: Item, run: Run) -> bool | None:
        unknown = False
        for test in tests:
            said = test(item, run)
            if said is False:
                return False
            unknown = unknown or said is None
        return None if unknown else True

    return all_match


def _test(node: ElementNode, kind: str, steps: list[tuple[str, str]], library: Library) -> Matcher | None:
    targets = _targets_of(node, steps, library)
    if steps == _URL and kind in ("value", "pattern"):
        wanted = url_of(node)
        return None if wanted is None else lambda item, run: item.object().get("url") == wanted
    if kind == "type":
        return _by_type(targets, steps, library)
    if kind == "profile":
        return _by_profile(targets, steps, library)
    if kind == "exists":
        return _by_existence(targets, steps, library)
    if kind not in ("value", "pattern"):
        return None
    for target in targets:
        value_test = value_test_of(target, library)
        if value_test is not None:
            return _any_at(steps, library, value_test)
    return None


_URL: Final = [("name", "url")]


def url_of(node: ElementNode) -> str | None:
    """The url of an extension slice: fixed in the profile itself, else that of the definition it must follow."""
    own = node.children.get("url")
    fixed = own.value("fixed") if own is not None else None
    if isinstance(fixed, str):
        return fixed
    urls = node.type_profiles("Extension")
    return urls[0].partition("|")[0] if urls else None


def _targets_of(node: ElementNode, steps: list[tuple[str, str]], library: Library) -> list[ElementNode]:
    """The element definitions that the discriminator path leads to, through type and target profiles."""
    nodes = [node]
    for kind, argument in steps:
        following: list[ElementNode] = []
        for one in nodes:
            following.extend(_follow(one, kind, argument, library))
        nodes = following
    return nodes


def _follow(node: ElementNode, kind: str, argument: str, library: Library) -> list[ElementNode]:
    if kind == "resolve":
        return [node]  # its targetProfile tells; a profile discriminator reads it there
    if kind == "ofType":
        return [s for s in node.slices.values() if argument in s.type_codes()] or [node]
    if kind == "extension":
        holder = node.children.get("extension")
        slices = holder.slices.values() if holder else ()
        return [s for s in slices if argument in {p.partition("|")[0] for p in s.type_profiles()}]
    child = node.children.get(argument)
    if child is not None:
        typed = list(child.slices.values()) if child.choice and not _constrained(child) else []
        return typed or [child, *child.slices.values()]
    roots = [library.root_of(p) for p in node.type_profiles()]
    return [r.children[argument] for r in roots if r is not None and argument in r.children]


def _constrained(node: ElementNode) -> bool:
    return node.value("fixed") is not None or node.value("pattern") is not None or "binding" in node.definition


def value_test_of(node: ElementNode, library: Library) -> Matcher | None:
    """How a value is told by fixed[x], pattern[x], a required binding, or those of the elements below."""
    fixed = node.value("fixed")
    if fixed is not None:
        return lambda item, run: bool(item.value == fixed)
    pattern = node.value("pattern")
    if pattern is not None:
        return lambda item, run: matches_pattern(item.value, pattern)
    tests = []
    for child in node.children.values():
        for one in (child, *child.slices.values()):
            test = value_test_of(one, library)
            if test is not None and (one.definition.get("min", 0) > 0 or one.slice_name or _constrained(one)):
                tests.append(_any_at([("name", child.name)], library, test))
    if tests:
        return lambda item, run: _all_of([test(item, run) for test in tests])
    binding = node.definition.get("binding", {})
    if binding.get("strength") == "required" and "valueSet" in binding:
        return _by_binding(str(binding["valueSet"]))
    return None


def _all_of(said: list[bool | None]) -> bool | None:
    return False if False in said else None if None in said else True


def _by_binding(valueset: str) -> Matcher:
    def test(item: Item, run: Run) -> bool | None:
        pairs = coded(item.value, item.type)
        said = [run.terminology.holds(valueset, system, code) for system, code in pairs]
        return True if True in said else None if None in said else False

    return test


def reach(item: Item, steps: Sequence[tuple[str, str]], library: Library, run: Run) -> list[Item | None]:
    """What the path finds from ``item``; None stands for a resource that is referred to and not at hand."""
    found: list[Item | None] = [item]
    for kind, argument in steps:
        following: list[Item | None] = []
        for one in found:
            if one is None:
                following.append(None)
            elif kind == "resolve":
                following.append(_resolved(one, run))
            elif kind == "ofType":
                following.extend([one] if one.type == argument else [])
            elif kind == "extension":
                extensions = library.child_items(one, "extension")
                following.extend(e for e in extensions if e.object().get("url") == argument)
            else:
                following.extend(library.child_items(one, argument))
        found = following
    return found


def _resolved(item: Item, run: Run) -> Item | None:
    literal = item.object().get("reference")
    target = run.resolve(literal) if type(literal) is str else None
    return None if target is None else Item(target, None, str(target.get("resourceType", "")), item.path)


def _any_at(steps: Sequence[tuple[str, str]], library: Library, test: Matcher) -> Matcher:
    if not steps:
        return test

    def any_matches(item: Item, run: Run) -> bool | None:
        said = [None if one is None else test(one, run) for one in reach(item, steps, library, run)]
        return True if True in said else None if None in said else False

    return any_matches


def _by_existence(targets: list[ElementNode], steps: list[tuple[str, str]], library: Library) -> Matcher | None:
    wanted = {True for t in targets if t.definition.get("min", 0) > 0}
    wanted |= {False for t in targets if t.definition.get("max") == "0"}
    if len(wanted) != 1:
        return None
    present = wanted.pop()
    return lambda item, run: bool(reach(item, steps, library, run)) is present


def _by_type(targets: list[ElementNode], steps: list[tuple[str, str]], library: Library) -> Matcher | None:
    resolves = bool(steps) and steps[-1][0] == "resolve"
    names: set[str] = set()
    for target in targets:
        profiles = target.target_profiles() if resolves else ()
        names |= {t for p in profiles if (t := library.type_of(p)) is not None}
        names |= set() if resolves else set(target.type_codes())
    if not names or "Resource" in names:
        return None
    before = steps[:-1] if resolves else steps

    def test(item: Item, run: Run) -> bool | None:
        said: list[bool | None] = []
        for one in reach(item, before, library, run):
            kind = None if one is None else run.target_type(one.object()) if resolves else _type_of(one)
            said.append(None if kind is None else kind in names)
        return True if True in said else None if None in said else False

    return test


def _type_of(item: Item) -> str | None:
    kind: Any = item.object().get("resourceType")
    return kind if isinstance(kind, str) else item.type or None


def _by_profile(targets: list[ElementNode], steps: list[tuple[str, str]], library: Library) -> Matcher | None:
    resolves = bool(steps) and steps[-1][0] == "resolve"
    wanted = {p for t in targets for p in (t.target_profiles() if resolves else t.type_profiles())}
    if not wanted:
        return None
    types = {library.type_of(p) for p in wanted}

    def test(item: Item, run: Run) -> bool | None:
        said: list[bool | None] = []
        for one in reach(item, steps[:-1] if resolves else steps, library, run):
            target = _resolved(one, run) if resolves and one is not None else one
            if target is None:
                kind = run.target_type(one.object()) if one is not None else None
                said.append(None if kind is None or None in types or kind in types else False)
            else:
                verdicts = [library.conforms(target.object(), profile, run) for profile in wanted]
                said.append(True if True in verdicts else None if None in verdicts else False)
        return True if True in said else None if None in said else False

    return test
