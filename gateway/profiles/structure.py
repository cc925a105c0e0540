"""Structure of R4 types, compiled from the facts on first use: elements, types, cardinality, choices, formats,
required bindings, reference targets and the invariants of the specification."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import orjson

from gateway.kernel.fhir import JsonObject
from gateway.profiles import ucum
from gateway.profiles.facts import RESOURCE_BASES, Codes, Element, Facts, Type, TypeUse
from gateway.profiles.issues import WARNING
from gateway.profiles.primitives import PRIMITIVES, Primitive
from gateway.profiles.run import Run, safe_key, strings_in

After: TypeAlias = Callable[[Any, str, Run], None]  # a further check on a well-formed item
CompileRule: TypeAlias = Callable[[str, str, str, str], After]  # (key, severity, expression, type path) -> check

_NESTING_LIMIT_LEVELS: Final = 64
_REMEMBERED: Final = frozenset({"CodeableConcept", "Coding"})  # types whose contents come again and again
_KNOWN_LIMIT: Final = 4_096  # elements that are remembered
_KNOWN_SIZE: Final = 1_000  # bytes of one that is worth it


class _Member:
    """What one JSON property of an object must be."""

    __slots__ = ("after", "choice", "codes", "many", "name", "primitive", "use")

    def __init__(self, name: str, use: TypeUse, *, many: bool, choice: str | None) -> None:
        self.name = name  # as FHIRPath says it: `value`, not `valueString`
        self.use = use
        self.many = many
        self.choice = choice
        self.primitive: Primitive | None = PRIMITIVES.get(use.code)
        self.codes: frozenset[str] | None = None
        self.after: tuple[After, ...] = ()


class Structure:
    """The compiled checks of every R4 type.

    Args:
        facts: what R4 says.
        compile_rule: makes a check of an invariant (see :mod:`gateway.profiles.invariants`).
    """

    def __init__(self, facts: Facts, compile_rule: CompileRule) -> None:
        self.facts = facts
        self.compile_rule = compile_rule
        self.after_resource: After | None = None  # profiles hook in here
        self.after_extension: After | None = None
        self._checks: dict[str, ObjectCheck | None] = {}
        self._good: set[tuple[After, bytes]] = set()
        self._good_links: set[tuple[After, str]] = set()

    def remembered(self, check: After) -> After:
        """The check of an element that depends on its content alone: content that was found good is not run again."""
        good = self._good

        def known(node: Any, path: str, run: Run) -> None:
            try:
                key = check, orjson.dumps(node)
            except TypeError:  # decimals that keep their digits, half a character
                return check(node, path, run)
            if key in good:
                return None
            before = len(run.issues)
            check(node, path, run)
            # an extension is judged by where it stands
            if len(run.issues) == before and len(key[1]) <= _KNOWN_SIZE and b'"extension"' not in key[1]:
                if len(good) >= _KNOWN_LIMIT:
                    good.clear()
                good.add(key)
            return None

        return known

    def remembered_link(self, check: After) -> After:
        """The check of a Reference whose literal is all that it says: one person's resources refer to the same few.

        Where it is looked up, in a Bundle or among contained resources, it does not depend on its content alone.
        """
        good = self._good_links

        def known(node: Any, path: str, run: Run) -> None:
            literal = node.get("reference") if type(node) is dict and len(node) == 1 else None
            if type(literal) is not str or run.bundle is not None or literal[:1] == "#":
                return check(node, path, run)
            if (check, literal) in good:
                return None
            before = len(run.issues)
            check(node, path, run)
            if len(run.issues) == before and len(literal) <= _KNOWN_SIZE:
                if len(good) >= _KNOWN_LIMIT:
                    good.clear()
                good.add((check, literal))
            return None

        return known

    def of(self, path: str) -> "ObjectCheck | None":
        """The check of a type or backbone element; None when R4 has no such type."""
        if path not in self._checks:
            found = self.facts.type(path)
            self._checks[path] = ObjectCheck(self, found) if found else None
        return self._checks[path]

    def resource(self, node: Any, path: str, run: Run) -> None:
        """Check a whole resource, whatever its type."""
        if type(node) is not dict:
            run.error("structure", path, "must be a JSON object")
            return
        kind = node.get("resourceType")
        check = self.of(kind) if isinstance(kind, str) and kind in self.facts.resource_types else None
        if check is None:
            fault = "resourceType is missing" if kind is None else "resourceType is not a resource type of FHIR R4"
            run.error("structure", path, fault)
            return
        check.check(node, path, run)
        if self.after_resource is not None:
            self.after_resource(node, path, run)


def _native_extension(node: JsonObject, path: str, run: Run) -> None:
    """ext-1: extensions or a value, never both, never neither."""
    valued = any(key.startswith(("value", "_value")) for key in node)
    if valued == ("extension" in node):
        run.error("invariant", path, "ext-1: an extension has either a value or extensions of its own")


def _native_contained(node: JsonObject, path: str, run: Run) -> None:
    """dom-2 to dom-5: what a contained resource may not have, and that something refers to it."""
    contained = node.get("contained")
    if type(contained) is not list:
        return
    said = {text for text in strings_in(node) if text.startswith("#")}
    seen: set[str] = set()
    for n, resource in enumerate(contained):
        if type(resource) is not dict:
            continue
        at = f"{path}.contained[{n}]"
        key = str(resource.get("id", ""))
        if key in seen:
            run.error("structure", f"{at}.id", "another contained resource has the same id")
        seen.add(key)
        if "contained" in resource:
            run.error("invariant", f"{at}.contained", "dom-2: a contained resource must not contain others")
        meta = resource.get("meta")
        if type(meta) is dict:
            for name in ("versionId", "lastUpdated"):
                if name in meta:
                    run.error("invariant", f"{at}.meta.{name}", f"dom-4: a contained resource has no meta.{name}")
            if "security" in meta:
                run.error("invariant", f"{at}.meta.security", "dom-5: a contained resource has no security label")
        if f"#{key}" not in said and "#" not in strings_in(resource):
            run.error("invariant", at, "dom-3: a contained resource must be referred to from the resource around it")


def _native_reference(node: JsonObject, path: str, run: Run) -> None:
    """ref-1: what refers to a contained resource finds it."""
    literal = node.get("reference")
    if type(literal) is str and literal.startswith("#") and run.resolve(literal) is None:
        run.error("invariant", path, "ref-1: there is no contained resource with this id")


def _native_coding(node: JsonObject, path: str, run: Run) -> None:
    """A code of a system that is wholly at hand should be one of its codes."""
    if _undefined(node, run) and ".coding[" not in path[-12:]:
        run.add(WARNING, "code-invalid", path, _UNDEFINED)


def _native_concept(node: JsonObject, path: str, run: Run) -> None:
    """The same within a CodeableConcept, where HL7's validator refuses it."""
    codings = node.get("coding")
    for n, coding in enumerate(codings if type(codings) is list else ()):
        if type(coding) is dict and _undefined(coding, run):
            run.error("code-invalid", f"{path}.coding[{n}]", _UNDEFINED)


def _native_quantity(node: JsonObject, path: str, run: Run) -> None:
    """A unit that is said to be one of UCUM has the form of one."""
    if node.get("system") == ucum.SYSTEM:
        code = node.get("code")
        if type(code) is str and not ucum.well_formed(code):
            run.error("code-invalid", f"{path}.code", "not a UCUM expression")


def _undefined(node: JsonObject, run: Run) -> bool:
    system, code = node.get("system"), node.get("code")
    return type(system) is str and type(code) is str and run.terminology.defines(system, code) is False


_UNDEFINED: Final = "the code system has no such code"
WITHOUT_SYSTEM: Final = "a code without its system cannot be checked against the value set that is bound here"

_NATIVE: Final[Mapping[str, After]] = {
    "CodeableConcept": _native_concept,
    "Coding": _native_coding,
    **dict.fromkeys(("Quantity", "Age", "Count", "Distance", "Duration"), _native_quantity),
    "Extension": _native_extension,
    "Reference": _native_reference,
}
_NATIVE_KEYS: Final = frozenset({"ref-1"})  # written here by hand, since they are hot


class ObjectCheck:
    """The check of one type; its members are compiled on first use, since types refer to each other in circles."""

    __slots__ = ("_members", "_needed", "_needed_choices", "_rules", "_structure", "is_resource", "type")

    def __init__(self, structure: Structure, type_: Type) -> None:
        self._structure = structure
        self.type = type_
        self.is_resource = type_.base in RESOURCE_BASES
        self._members: dict[str, _Member] | None = None
        self._needed: tuple[tuple[str, str], ...] = ()
        self._needed_choices: tuple[str, ...] = ()
        self._rules: tuple[After, ...] = ()

    def _compile(self) -> dict[str, _Member]:
        members: dict[str, _Member] = {}
        needed, needed_choices = [], []
        for element in self.type.elements:
            for key, use in element.json_names():
                members[key] = self._member(element, use)
            if element.minimum and element.choice:
                needed_choices.append(element.name)
            elif element.minimum:
                needed.append((element.name, f"_{element.name}"))
        self._needed, self._needed_choices = tuple(needed), tuple(needed_choices)
        rules = [
            self._structure.compile_rule(rule.key, rule.severity, rule.expression, self.type.path)
            for rule in self._structure.facts.invariants(self.type.path)
            if rule.key not in _NATIVE_KEYS
        ]
        if self.type.base == "DomainResource":
            rules.append(_native_contained)
        if self.type.path in _NATIVE:
            rules.append(_NATIVE[self.type.path])
        if self.type.path == "Extension" and self._structure.after_extension is not None:
            rules.append(self._structure.after_extension)
        self._rules = tuple(rules)
        self._members = members
        return members

    def _member(self, element: Element, use: TypeUse) -> _Member:
        member = _Member(element.name, use, many=element.many, choice=element.name if element.choice else None)
        path = f"{self.type.path}.{element.name}" + ("[x]" if element.choice else "")
        facts = self._structure.facts
        after: list[After] = []
        valueset = facts.binding(path)
        if valueset is not None:
            codes = facts.codes(valueset)
            if valueset == MIME_TYPES:
                after.append(_mime_type)
            elif codes is not None and use.code == "code":
                member.codes = frozenset().union(*codes.values())
            else:
                after.append(_bound(valueset, codes, use.code))
        if use.code == "Reference":
            reference = self._structure.of("Reference")
            assert reference is not None
            referring = _all_of([reference.check, _referring(use.targets, facts.resource_types)])
            after.append(self._structure.remembered_link(referring))
        elif use.code not in PRIMITIVES and use.code != "Resource":
            check = self._structure.of(use.code)
            if check is None:
                raise LookupError(f"profiles/r4/elements.csv: {path} has an unknown type {use.code}")
            after.insert(0, check.check)
        elif use.code == "Resource":
            after.append(self._nested(contained=element.name == "contained"))
        if use.code in _REMEMBERED:
            after = [self._structure.remembered(_all_of(after))]
        if path != use.code:  # a backbone's own rules hang on its type
            for rule in facts.invariants(path):
                if path.removesuffix("[x]") != use.code:
                    after.append(self._structure.compile_rule(rule.key, rule.severity, rule.expression, use.code))
        member.after = tuple(after)
        return member

    def _nested(self, *, contained: bool) -> After:
        resource = self._structure.resource

        def check(node: Any, path: str, run: Run) -> None:
            if path.count(".") > _NESTING_LIMIT_LEVELS:
                run.error("too-costly", path, "is nested too deeply")
            else:
                resource(node, path, run.within(node, path, contained=contained) if type(node) is dict else run)

        return check

    def check(self, node: Any, path: str, run: Run) -> None:
        """Check ``node`` as this type; issues go to ``run``."""
        if type(node) is not dict:
            run.error("structure", path, "must be a JSON object")
            return
        members = self._members
        if members is None:
            members = self._compile()
        chosen: dict[str, str] = {}
        for key, value in node.items():
            member = members.get(key)
            if member is None:
                self._extra(node, key, value, path, run, chosen)
                continue
            if member.choice is not None and chosen.setdefault(member.choice, key) != key:
                run.error("structure", f"{path}.{member.choice}", "has more than one type: give one only")
            if member.many:
                self._many(member, node, key, path, run)
                continue
            primitive = member.primitive
            if primitive is not None:
                fault = primitive(value)
                if fault is not None:
                    run.error(*_faulty(value, f"{path}.{member.name}", fault))
                    continue
                if member.codes is not None and value not in member.codes:
                    run.error("code-invalid", f"{path}.{member.name}", _NOT_BOUND)
                if not member.after:
                    continue
            at = f"{path}.{member.name}"
            for after in member.after:
                after(value, at, run)
        self._whole(node, path, run, chosen)

    def _many(self, member: _Member, node: JsonObject, key: str, path: str, run: Run) -> None:
        values = node[key]
        if type(values) is not list:
            run.error("structure", f"{path}.{member.name}", "may repeat, so it must be a JSON array")
            return
        if not values:
            run.error("structure", f"{path}.{member.name}", "must not be an empty array")
        beside = node.get(f"_{key}") if member.primitive is not None else None
        for n, value in enumerate(values):
            at = f"{path}.{member.name}[{n}]"
            if member.primitive is not None:
                if value is None:
                    if not (type(beside) is list and n < len(beside) and beside[n]):
                        run.error("structure", f"{path}.{member.name}", "null needs an extension in its place")
                    continue
                fault = member.primitive(value)
                if fault is not None:
                    run.error(*_faulty(value, at, fault))
                    continue
                if member.codes is not None and value not in member.codes:
                    run.error("code-invalid", at, _NOT_BOUND)
            for after in member.after:
                after(value, at, run)

    def _extra(self, node: JsonObject, key: str, value: Any, path: str, run: Run, chosen: dict[str, str]) -> None:
        """A property that is no element: resourceType, the extensions of a primitive, or an unknown one."""
        if key == "resourceType" and self.is_resource:
            return
        assert self._members is not None
        member = self._members.get(key[1:]) if key.startswith("_") else None
        if member is None or member.primitive is None:
            if key == "fhir_comments":
                run.error("structure", path, "fhir_comments is not part of R4")
            elif safe_key(key):
                run.error("structure", f"{path}.{key}", f"there is no such element in {self.type.path}")
            else:
                run.error("structure", path, f"an element that is not in {self.type.path}")
            return
        if member.choice is not None and chosen.setdefault(member.choice, key[1:]) != key[1:]:
            run.error("structure", f"{path}.{member.choice}", "has more than one type: give one only")
        element = self._structure.of("Element") or _element(self._structure)
        at = f"{path}.{member.name}"
        if not member.many:
            element.check(value, at, run)
        elif type(value) is not list or not value:
            run.error("structure", at, "its extensions must be a JSON array that is not empty")
        else:
            values = node.get(key[1:])
            for n, item in enumerate(value):
                if item is not None:
                    element.check(item, f"{at}[{n}]", run)
                elif not (type(values) is list and n < len(values)):
                    run.error("structure", at, "null needs a value in its place")

    def _whole(self, node: JsonObject, path: str, run: Run, chosen: Mapping[str, str]) -> None:
        """What must be there, and the rules about the object as a whole."""
        if not node or (len(node) == 1 and "id" in node and not self.is_resource and self.type.path != "Element"):
            run.error("structure", path, "ele-1: must hold a value or an element")
            return
        for name, beside in self._needed:
            if name not in node and beside not in node:
                run.error("required", path, f"{name} is required (minimum 1)")
        for name in self._needed_choices:
            if name not in chosen:
                run.error("required", path, f"{name}[x] is required (minimum 1)")
        for rule in self._rules:
            rule(node, path, run)


def _all_of(checks: Sequence[After]) -> After:
    """One check that runs several."""
    run_all = tuple(checks)
    if len(run_all) == 1:
        return run_all[0]

    def check(node: Any, path: str, run: Run) -> None:
        for one in run_all:
            one(node, path, run)

    return check


MIME_TYPES: Final = "http://hl7.org/fhir/ValueSet/mimetypes"
_MIME: Final = re.compile(
    r"[\w!#$&^.+-]+/[\w!#$&^.+*-]+(?:\s*;.*)?|xml|json|ttl", re.ASCII
).fullmatch  # BCP 13; R4 format


def _mime_type(value: Any, path: str, run: Run) -> None:
    if type(value) is str and _MIME(value) is None:
        run.error("code-invalid", path, "must be a MIME type (BCP 13)")


_NOT_BOUND: Final = "the code is not in the value set that R4 requires here"
_CONTAINERS: Final = (dict, list)


def _faulty(value: Any, path: str, fault: str) -> tuple[str, str, str]:
    """Code, place and words for a primitive that is not well formed."""
    if type(value) is list:
        return "structure", path, "must not repeat (maximum 1), so it must not be a JSON array"
    if value is None:
        return "structure", path, "must not be null"
    return ("structure" if fault.startswith("must be a JSON") else "value"), path, fault


def _element(structure: Structure) -> ObjectCheck:
    """The check of what stands beside a primitive: id and extension."""
    from gateway.profiles.facts import ELEMENT

    check = structure._checks["Element"] = ObjectCheck(structure, Type("Element", "Element", ELEMENT))
    return check


def _bound(valueset: str, codes: Codes | None, type_code: str) -> After:
    """A required binding on anything but a plain code with known codes."""

    def holds(system: str | None, code: str, run: Run) -> bool | None:
        if codes is not None:
            return any(code in c for c in codes.values()) if system is None else code in codes.get(system, ())
        return run.terminology.holds(valueset, system, code)

    def check(value: Any, path: str, run: Run) -> None:
        pairs = coded(value, type_code)
        verdicts = [holds(system, code, run) for system, code in pairs]
        if True in verdicts or (not pairs and type_code != "CodeableConcept"):
            return
        if type_code != "CodeableConcept" and any(system == "" for system, _ in pairs):
            run.add(WARNING, "code-invalid", path, WITHOUT_SYSTEM)
            return
        if None in verdicts:
            run.unchecked(path, f"not checked: the codes of {valueset} are not loaded")
        elif pairs or not (type(value) is dict and "extension" in value):
            run.error("code-invalid", path, f"no code from the value set that is required here: {valueset}")

    return check


def coded(value: Any, type_code: str) -> Sequence[tuple[str | None, str]]:
    """The (system, code) pairs in a code, Coding, CodeableConcept or Quantity; a missing system is the empty string."""
    if type(value) is str:
        return ((None, value),)
    if type(value) is not dict:
        return ()
    if type_code == "CodeableConcept":
        codings = value.get("coding")
        nodes = [c for c in codings if type(c) is dict] if type(codings) is list else []
    else:
        nodes = [value]
    return [(_system_of(n), n["code"]) for n in nodes if type(n.get("code")) is str]


def _system_of(node: JsonObject) -> str:
    system = node.get("system")
    return system if type(system) is str else ""


# no scheme, fragment or condition, and not [Type]/[id] with or without a version (R4 References)
_MALFORMED_REFERENCE: Final = re.compile(
    r"(?![a-zA-Z][a-zA-Z0-9+.-]*:)(?!#)(?!/?[A-Z][A-Za-z]+/[A-Za-z0-9.-]{1,64}(?:/_history/[A-Za-z0-9.-]{1,64})?(?:#\S*)?$)"
    r"(?![A-Z][A-Za-z]+\?).*",
    re.ASCII,
).fullmatch


def _referring(targets: frozenset[str], known: frozenset[str]) -> After:
    """Reference targets: what a literal, a contained or bundled resource, or Reference.type says must be allowed."""

    def check(node: Any, path: str, run: Run) -> None:
        if type(node) is not dict:
            return
        kind = run.target_type(node)
        literal = node.get("reference")
        if type(literal) is str and _MALFORMED_REFERENCE(literal):
            run.error("value", path, "a relative reference must be Type/id")
        if kind is None:
            return
        if kind not in known:
            if not (type(literal) is str and literal.startswith(("http:", "https:"))) or "type" in node:
                run.error("value", path, "refers to something that is not a resource type of FHIR R4")
        elif targets and kind not in targets:
            run.error("value", path, f"must refer to {' or '.join(sorted(targets))}")

    return check
