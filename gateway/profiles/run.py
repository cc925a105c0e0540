"""What one validation carries along: the resource it stands in, its neighbours, and the issues found so far."""

import re
from typing import Any, Final, Protocol

from gateway.kernel.fhir import JsonObject
from gateway.profiles.issues import ERROR, INFORMATION, Issue, Severity


class Terminology(Protocol):
    """Whether a value set holds a code; the answer None means that it cannot be told here."""

    def holds(self, valueset: str, system: str | None, code: str) -> bool | None:
        """``system`` None: the code comes from a ``code`` element, whose system the value set implies."""

    def defines(self, system: str, code: str) -> bool | None:
        """Whether a code system has a code; None when its whole content is not at hand."""


class NoTerminology:
    """Nothing loaded: nothing can be told."""

    def holds(self, valueset: str, system: str | None, code: str) -> bool | None:
        """Always None."""
        return None

    def defines(self, system: str, code: str) -> bool | None:
        """Always None."""
        return None


_LITERAL: Final = re.compile(
    r"(?:(?:https?|file)://[^\s?#]+/)?([A-Z][A-Za-z]+)/[A-Za-z0-9.-]{1,64}(?:/_history/\S+)?(?:#\S*)?"
)
_SAFE_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII).fullmatch


def safe_key(key: str) -> bool:
    """Whether a property name may stand in a message (anything else could be data)."""
    return _SAFE_KEY(key) is not None


class Run:
    """The state of validating one resource; contained resources and Bundle entries get a child of it."""

    __slots__ = (
        "_contained",
        "_targets",
        "bundle",
        "depth",
        "issues",
        "path",
        "resource",
        "root",
        "terminology",
    )

    def __init__(self, resource: JsonObject, terminology: Terminology, path: str) -> None:
        self.resource = resource  # %resource
        self.path = path  # where it stands
        self.root = resource  # %rootResource: the container when `resource` is contained
        self.bundle: Run | None = None
        self.depth = 0  # of profiles judged for other profiles
        self.terminology = terminology
        self.issues: list[Issue] = []
        self._contained: dict[str, JsonObject] | None = None  # of the root, by id
        self._targets: dict[str, JsonObject] | None = None

    def within(self, resource: JsonObject, path: str, *, contained: bool) -> "Run":
        """The run of a contained resource, or of a resource in a Bundle entry or parameter."""
        child = Run(resource, self.terminology, path)
        child.issues, child.depth = self.issues, self.depth
        if contained:
            child.root, child.bundle = self.root, self.bundle
            child._contained = self._inside()
        else:
            child.bundle = self if self.resource.get("resourceType") == "Bundle" else self.bundle
        return child

    def add(self, severity: Severity, code: str, expression: str, diagnostics: str) -> None:
        """Note an issue."""
        self.issues.append(Issue(severity, code, expression, diagnostics))

    def error(self, code: str, expression: str, diagnostics: str) -> None:
        """Note an error."""
        self.issues.append(Issue(ERROR, code, expression, diagnostics))

    def unchecked(self, expression: str, diagnostics: str) -> None:
        """Note that something was not checked: never passed in silence."""
        self.issues.append(Issue(INFORMATION, "not-supported", expression, diagnostics))

    def resolve(self, literal: str) -> JsonObject | None:
        """The resource that a reference points to, when it is contained or in the same Bundle."""
        if literal.startswith("#"):
            if literal == "#":
                return self.root
            return self._inside().get(literal[1:])
        return self.bundle.entry(literal) if self.bundle is not None else None

    def _inside(self) -> dict[str, JsonObject]:
        if self._contained is None:
            contained = self.root.get("contained")
            nodes = contained if isinstance(contained, list) else []
            found = {n["id"]: n for n in reversed(nodes) if isinstance(n, dict) and isinstance(n.get("id"), str)}
            self._contained = found
        return self._contained

    def entry(self, literal: str) -> JsonObject | None:
        """A resource of this Bundle by fullUrl, or by Type/id (R4 Bundle, resolving references)."""
        if self._targets is None:
            self._targets = {}
            for entry in self.resource.get("entry") or ():
                resource = entry.get("resource") if isinstance(entry, dict) else None
                if not isinstance(resource, dict):
                    continue
                full, kind, key = entry.get("fullUrl"), resource.get("resourceType"), resource.get("id")
                if isinstance(full, str):
                    self._targets.setdefault(full, resource)
                if isinstance(kind, str) and isinstance(key, str):
                    self._targets.setdefault(f"{kind}/{key}", resource)
        return self._targets.get(literal.split("/_history")[0]) or self._targets.get(literal)

    def target_type(self, reference: JsonObject) -> str | None:
        """The resource type a Reference points to, as far as it says: by target, literal, condition or ``type``."""
        literal = reference.get("reference")
        if isinstance(literal, str):
            target = self.resolve(literal)
            if target is not None:
                kind = target.get("resourceType")
                return kind if isinstance(kind, str) else None
            found = _LITERAL.fullmatch(literal) or _CONDITIONAL.match(literal)
            if found is not None:
                return found[1]
        kind = reference.get("type")
        return kind if isinstance(kind, str) else None


_CONDITIONAL: Final = re.compile(r"([A-Z][A-Za-z]+)\?")


def strings_in(node: Any) -> list[str]:
    """Every string below ``node``."""
    found: list[str] = []
    stack = [node]
    while stack:
        item = stack.pop()
        if type(item) is str:
            found.append(item)
        elif type(item) is dict:
            stack.extend(item.values())
        elif type(item) is list:
            stack.extend(item)
    return found
