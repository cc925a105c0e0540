"""Search parameters as data: what profiles/search/*.csv and loaded SearchParameter resources declare (FHIR R4)."""

import csv
import io
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from gateway.kernel.errors import Unsupported
from gateway.kernel.fhir import Resource
from gateway.profiles.search_paths import Path, compile_path, from_fhirpath

ANY: Final = "*"  # a reference that may point to any type
KINDS: Final = frozenset({"token", "string", "date", "reference", "quantity", "number", "uri", "composite"})

_ELEMENTS_LIMIT: Final = 400
_BITS: Final = 62  # parameters of a type whose presence one integer can tell; packages rarely bring a type so many
_PARTS: Final = frozenset(
    {"text", "family", "given", "prefix", "suffix", "line", "city", "district", "state", "postalCode", "country"}
)  # of names and addresses, as string parameters see them
_TO_TYPE: Final = re.compile(r"\[->(\w+)\]")
_CONTACT: Final = re.compile(r"(.*telecom)\[system=(\w+)\]")

# elements that are choices of types wherever they stand; for SearchParameters that come without definitions
_CHOICES: Final = frozenset(
    {"abatement", "asNeeded", "collected", "deceased", "due", "effective", "multipleBirth", "medication", "occurrence"}
    | {"onset", "performed", "rate", "scheduled", "serviced", "timing", "value"}
)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One search parameter of one resource type."""

    type: str
    code: str
    kind: str
    path: str
    targets: tuple[str, ...] = ()  # of a reference; ("*",) for any
    components: tuple["Parameter", ...] = ()  # of a composite, relative to the nodes at ``path``
    values: Path = field(repr=False, compare=False, default=lambda node: iter(()))  # compiled ``path``
    sources: tuple[str, ...] = field(default=(), repr=False, compare=False)  # names of what serves it
    narrowed: tuple[str, ...] = field(default=(), repr=False, compare=False)  # only references to these of a source
    system: str | None = field(default=None, repr=False, compare=False)  # only tokens of this system of a source
    bit: int = field(default=0, repr=False, compare=False)  # of the number that tells what a resource has; 0: none
    name: str = field(init=False, repr=False)  # ``Type?code``

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.type}?{self.code}")
        if not self.sources:  # made by hand: the paths themselves
            named = tuple(f"{self.type}:{self.kind}:{path}" for path in self.path.split(" | "))
            object.__setattr__(self, "sources", named)


@dataclass(frozen=True, slots=True)
class Source:
    """A path whose values an index keeps, once for every parameter that looks there.

    ``combo-code`` looks where ``code`` and ``component-code`` look, ``patient`` at some of what ``subject`` finds,
    ``name`` at what ``family`` and ``given`` find and a little more: rows belong to the path, parameters share them.
    """

    name: str
    parameter: Parameter  # the path as if it were a parameter of its own
    without: frozenset[str] = frozenset()  # parts of names and addresses that sources of their own keep
    served: tuple[Parameter, ...] = field(default=(), repr=False)  # parameters that look here


@dataclass(frozen=True, slots=True)
class _Heads:
    """Which sources begin at which top-level element."""

    named: Mapping[str, tuple[Source, ...]]
    choices: tuple[tuple[str, Source], ...]  # first letters of the element's name
    always: tuple[Source, ...]  # those that find something in what is not there
    found: dict[str, tuple[Source, ...]] = field(default_factory=dict)  # by element, once it was asked for


@lru_cache(maxsize=4096)
def heads_of(parameter: Parameter) -> frozenset[str]:
    """The top-level elements that a parameter looks at."""
    found = {re.split(r"[.\[]", alternative)[0] for alternative in parameter.path.split(" | ")} - {"$this"}
    return frozenset(found).union(*(heads_of(part) for part in parameter.components))


def _heads_of(sources: Collection[Source]) -> _Heads:
    named: dict[str, tuple[Source, ...]] = {}
    choices = []
    for source in sources:
        path = source.parameter.path
        head = re.split(r"[.\[]", path)[0]
        if path[len(head) : len(head) + 3] == "[x]":
            choices.append((head, source))
        else:
            named[head] = (*named.get(head, ()), source)
    return _Heads(named, tuple(choices), tuple(one for one in sources if "[present]" in one.parameter.path))


class Definitions:
    """Every search parameter by type and code, compiled when a type is first used, and the compartments."""

    def __init__(self, rows: Iterable[Mapping[str, str]], compartments: Iterable[Mapping[str, str]]) -> None:
        self._rows: dict[str, dict[str, Mapping[str, str]]] = {}
        for row in rows:
            self._rows.setdefault(row["type"], {})[row["code"]] = row
        self._compiled: dict[str, dict[str, Parameter]] = {}
        self._heads: dict[str, _Heads] = {}
        self._compartments = {
            (row["compartment"], row["type"]): tuple(row["parameters"].split()) for row in compartments
        }

    @property
    def digest(self) -> str:
        """Names these definitions: other rows, another digest."""
        told = [sorted(row.items()) for _, rows in sorted(self._rows.items()) for _, row in sorted(rows.items())]
        return sha256(repr(told).encode()).hexdigest()[:16]

    @property
    def types(self) -> tuple[str, ...]:
        """Every resource type with parameters, sorted."""
        return tuple(sorted(set(self._rows) - {"Resource"}))

    def of(self, type_: str) -> Mapping[str, Parameter]:
        """The parameters of a type by code, those of every resource included."""
        found = self._compiled.get(type_)
        if found is None:
            if type_ not in self._rows:
                return {}
            rows = {**self._rows.get("Resource", {}), **self._rows.get(type_, {})}
            found = _with_sources(type_, {code: _parameter(type_, row, rows) for code, row in rows.items()})
            self._compiled = {**self._compiled, type_: found}
        return found

    def sources(self, type_: str) -> tuple[Source, ...]:
        """Every path of a type that an index keeps."""
        return tuple(_sources(type_, self.of(type_)))

    def beginning_at(self, type_: str, element: str) -> tuple[Source, ...]:
        """The sources of a type that may find something in a top-level element, those of :meth:`always` left out."""
        heads = self._heads.get(type_)
        if heads is None:
            heads = self._heads[type_] = _heads_of(self.sources(type_))
        found = heads.found.get(element)
        if found is None:
            named = [*heads.named.get(element, ()), *(one for head, one in heads.choices if element.startswith(head))]
            found = tuple({one.name: one for one in named if one not in heads.always}.values())
            if len(heads.found) < _ELEMENTS_LIMIT:  # names come from senders
                heads.found[element] = found
        return found

    def always(self, type_: str) -> tuple[Source, ...]:
        """The sources that find something in what is not there."""
        self.beginning_at(type_, "")
        return self._heads[type_].always

    def compartment(self, name: str, type_: str) -> tuple[str, ...]:
        """Codes of the reference parameters that put a resource of the type into the compartment; may be empty."""
        return self._compartments.get((name, type_), ())

    def without(self, *types: str) -> "Definitions":
        """These definitions less those of some types, which are searched elsewhere or not at all."""
        made = Definitions((), ())
        made._rows = {type_: rows for type_, rows in self._rows.items() if type_ not in types}
        made._compartments = {key: codes for key, codes in self._compartments.items() if key[1] not in types}
        return made

    def with_resources(self, resources: Iterable[Resource], *, only_new: bool = False) -> "Definitions":
        """These definitions and those of SearchParameter resources (from a loaded package), the latter winning.

        Args:
            resources: SearchParameters.
            only_new: what is declared here already stays as it is; guides state the same parameters once more.

        A parameter whose expression lies outside of the restricted FHIRPath is left out; then it is undeclared and
        asking for it is an error, which is better than a wrong answer.
        """
        made = Definitions((), ())
        made._rows = {type_: dict(rows) for type_, rows in self._rows.items()}
        made._compartments = self._compartments
        for resource in resources:
            for row in _rows_of(resource):
                known = row["code"] in self._rows.get(row["type"], ()) or row["code"] in self._rows.get("Resource", ())
                if not (only_new and known) and row["type"] in self._rows:
                    made._rows[row["type"]][row["code"]] = row
        return made


def read_definitions(parameters: str, compartments: str) -> Definitions:
    """From the texts of parameters.csv and compartments.csv."""
    return Definitions(csv.DictReader(io.StringIO(parameters)), csv.DictReader(io.StringIO(compartments)))


def _parameter(type_: str, row: Mapping[str, str], rows: Mapping[str, Mapping[str, str]]) -> Parameter:
    if row["kind"] != "composite":
        targets = tuple(row["targets"].split())
        return Parameter(type_, row["code"], row["kind"], row["path"], targets, (), compile_path(row["path"]))
    base, *parts = row["path"].split(" : ")
    components = []
    for part in parts:
        code, _, path = part.partition(" ")
        of = rows[code]
        components.append(
            Parameter(type_, code, of["kind"], path, tuple(of["targets"].split()), (), compile_path(path))
        )
    return Parameter(type_, row["code"], "composite", base, (), tuple(components), compile_path(base))


def _with_sources(type_: str, parameters: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """The parameters, told which sources serve them and which bit says that they find something."""
    paths = {
        kind: {part for one in parameters.values() if one.kind == kind for part in one.path.split(" | ")}
        for kind in KINDS
    }
    done = {}
    for index, code in enumerate(sorted(parameters)):
        one = parameters[code]
        bit = 1 << index if index < _BITS else 0
        done[code] = one if one.kind == "composite" else replace(one, bit=bit, **_served(type_, one, paths))
    for code, one in done.items():
        if one.kind == "composite":  # each part is looked for by the parameter that it is made of
            parts = tuple(replace(part, sources=done[part.code].sources, bit=done[part.code].bit,
                                  narrowed=done[part.code].narrowed, system=done[part.code].system)
                          for part in one.components)  # fmt: skip
            done[code] = replace(one, components=parts)
    return done


def _served(type_: str, one: Parameter, paths: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """Sources, narrowing and system of a parameter."""
    sources: list[str] = []
    narrowed: list[str] = []
    system = None
    for path in one.path.split(" | "):
        contact = _CONTACT.fullmatch(path) if one.kind == "token" and path == one.path else None
        if contact and contact[1] in paths["token"]:
            path, system = contact[1], contact[2]
        elif one.kind == "reference" and _TO_TYPE.search(path):
            narrowed += _TO_TYPE.findall(path)
            path = _TO_TYPE.sub("", path)
        sources.append(f"{type_}:{one.kind}:{path}")
        if one.kind == "string":
            parts = (f"{path}.{part}" for part in sorted(_PARTS))
            sources += [f"{type_}:string:{part}" for part in parts if part in paths["string"]]
    return {"sources": tuple(dict.fromkeys(sources)), "narrowed": tuple(dict.fromkeys(narrowed)), "system": system}


def _sources(type_: str, parameters: Mapping[str, Parameter]) -> list[Source]:
    """Every source of a type, each with the parameters that it serves."""
    served: dict[str, tuple[Parameter, ...]] = {}
    for one in parameters.values():
        for name in one.sources:
            served[name] = (*served.get(name, ()), one)
    found = []
    for name, users in served.items():
        _, kind, path = name.split(":", 2)
        own = {part for part in _PARTS if kind == "string" and f"{type_}:string:{path}.{part}" in served}
        parameter = Parameter(type_, path, kind, path, values=compile_path(path))
        found.append(Source(name, parameter, frozenset(own), users))
    return found


def _rows_of(resource: Resource) -> Iterable[dict[str, str]]:
    if resource.get("resourceType") != "SearchParameter" or resource.get("type") not in KINDS - {"composite"}:
        return
    for base in resource.get("base", ()):
        try:
            path = from_fhirpath(str(resource.get("expression", "")), base, _is_choice)
            if path:
                compile_path(path)
        except Unsupported:
            continue
        if path:
            targets = " ".join(resource.get("target", ())) or ANY
            yield {"type": base, "code": resource["code"], "kind": resource["type"], "path": path, "targets": targets}


def _is_choice(path: str) -> bool:
    return path.rpartition(".")[2] in _CHOICES
