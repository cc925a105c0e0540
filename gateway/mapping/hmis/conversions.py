"""The conversions that a mapping table may name: each turns cells into an element, and the element back into cells."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from gateway.kernel.fhir import DOORWAY, JsonObject, Resource
from gateway.kernel.identifiers import NAMESPACE
from gateway.mapping.hmis import values
from gateway.mapping.hmis.spec import ABSENT, LIST_SYSTEM, Spec

COLUMN_EXTENSION: Final = f"{DOORWAY}/StructureDefinition/hmis-column"
PROJECT_EXTENSION: Final = f"{DOORWAY}/StructureDefinition/hmis-project"
HOUSEHOLD_EXTENSION: Final = f"{DOORWAY}/StructureDefinition/hmis-household"
OPERATING_EXTENSION: Final = f"{DOORWAY}/StructureDefinition/hmis-operating-period"
EPISODE_EXTENSION: Final = "http://hl7.org/fhir/StructureDefinition/workflow-episodeOfCare"
ANCHORS: Final = {  # the resource type that stands for a row of a file, where others refer to it
    "Client": "Patient",
    "Enrollment": "EpisodeOfCare",
    "Project": "HealthcareService",
    "Organization": "Organization",
    "Assessment": "QuestionnaireResponse",
    "User": "Practitioner",
    "Household": "Group",
}

Cells = tuple[str, ...]
Members = JsonObject  # top-level members of a resource
Forward = Callable[[Cells], "Members | list[Any] | None"]
Inverse = Callable[[Resource], Cells]


@dataclass(frozen=True, slots=True)
class Source:
    """Where the rows come from: the namespace of every id and identifier (Export.ImplementationID)."""

    name: str
    anchors: Mapping[str, str] = field(default_factory=lambda: ANCHORS, compare=False)

    @property
    def base(self) -> str:
        """The URI under which identifiers of this source are unique."""
        return f"{DOORWAY}/hmis/{_quoted(self.name)}"

    def id(self, file: str, key: str, part: str = "") -> str:
        """The id of a row's resource; further parts of a row have ids of their own."""
        return id_maker(self.name, file, part)(key)

    def reference(self, file: str, key: str, *, keyed: bool = True) -> JsonObject:
        """A literal reference; ``keyed``: with the source's own key beside it, so that the cell can be read back."""
        literal = f"{self.anchors[file]}/{self.id(file, key)}"
        return {"reference": literal, "identifier": {"value": key}} if keyed else {"reference": literal}


VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def id_prefix(source: str, file: str) -> bytes:
    """What is hashed before ``<length>:<key>``: the same bytes as in ``resource_id(source, file, key)``."""
    return NAMESPACE.bytes + f"{len(source)}:{source}{len(file)}:{file}".encode()


@cache
def part_tag(part: str) -> str:
    """Four hexadecimal digits that stand for a part of a row in its id; they tell nothing to who sees the id."""
    return hashlib.sha1(part.encode(), usedforsecurity=False).hexdigest()[:4]


@cache
def id_maker(source: str, file: str, part: str = "") -> Callable[[str], str]:
    """The id of a row's resource as a function of the key.

    The main part has ``resource_id(source, file, key)``, a UUIDv5. A further part has the UUIDv8 (RFC 9562, 5.8) that
    differs in its version and, instead of the last four digits, has the part's tag: a row costs one hash, and 106 of
    its bits are in every id.
    """
    prefix, variant, sha1 = id_prefix(source, file), VARIANT, hashlib.sha1
    tag = part_tag(part) if part else ""

    def make(key: str) -> str:
        h = sha1(prefix + f"{len(key)}:{key}".encode(), usedforsecurity=False).hexdigest()
        id_ = f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{variant[h[16]]}{h[17:20]}-{h[20:32]}"
        return f"{id_[:14]}8{id_[15:32]}{tag}" if tag else id_

    return make


def _quoted(text: str) -> str:
    safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"
    return "".join(c if c in safe else "".join(f"%{b:02X}" for b in c.encode()) for c in text)


@dataclass(frozen=True, slots=True)
class Slot:
    """One row of a mapping table: a column and its role in a conversion (``client-name.family``)."""

    column: str  # with ~ (read, owned elsewhere) or @ (computed) in front
    role: str
    type: str
    list: str
    element_code: str  # File.Column

    @property
    def owned(self) -> bool:
        """Whether the cell is read back from this conversion."""
        return bool(self.column) and self.column[0] not in "~@"

    @property
    def name(self) -> str:
        """The column without marks; computed ones keep their @."""
        return self.column.removeprefix("~")


@dataclass(frozen=True, slots=True)
class Block:
    """A conversion bound to its columns and to one element of one resource."""

    element: str
    convert: str
    slots: tuple[Slot, ...]
    reads: tuple[str, ...]  # columns that forward needs, in order
    forward: Forward  # a list of items for an element that repeats, else members of the resource
    inverse: Inverse  # cells of the owned columns, in order

    @property
    def owns(self) -> tuple[str, ...]:
        """The columns whose cells come back from here."""
        return tuple(slot.name for slot in self.slots if slot.owned)

    @property
    def repeats(self) -> bool:
        """Whether it adds items to an array."""
        return self.element.endswith("[]")


@dataclass(frozen=True, slots=True)
class Binding:
    """What a conversion is made from."""

    spec: Spec
    source: Source
    file: str
    element: str
    slots: tuple[Slot, ...]

    @property
    def name(self) -> str:
        """The element without ``[]``."""
        return self.element.removesuffix("[]")

    @property
    def first(self) -> Slot:
        """The only slot of most conversions."""
        return self.slots[0]

    def role(self, role: str) -> int:
        """Index of a slot by its role."""
        return next(i for i, slot in enumerate(self.slots) if slot.role == role)


Maker = Callable[[Binding], tuple[Forward, Inverse]]


def items(resource: Resource, name: str) -> Iterator[JsonObject]:
    """The objects of a repeating element."""
    for item in resource.get(name) or ():
        if isinstance(item, dict):
            yield item


def put(binding: Binding, value: Any) -> Members | list[Any]:
    """One value at the element, repeating or not."""
    return [value] if binding.element.endswith("[]") else {binding.name: value}


def got(binding: Binding, resource: Resource) -> Any:
    """The value at a single element, or the first of a repeating one."""
    value = resource.get(binding.name)
    return value[0] if isinstance(value, list) and value else value


def list_chooser(rule: str) -> tuple[tuple[str, ...], Callable[[Sequence[str]], str]]:
    """``by A+B: 144+3=V2.A; else=1.8`` as the columns it reads and the function that gives the list's id."""
    if not rule.startswith("by "):
        return (), lambda cells: rule
    by, _, choices = rule[3:].partition(":")
    table = dict(choice.strip().split("=") for choice in choices.split(";"))
    default = table.pop("else", "")
    return tuple(by.strip().split("+")), lambda cells: table.get("+".join(map(values.code_text, cells)), default)


def lists_of(rule: str) -> list[str]:
    """The lists that a rule can choose."""
    return [part.split("=")[1].strip() for part in rule.split(":")[1].split(";")] if rule.startswith("by ") else [rule]


def _identifier(b: Binding) -> tuple[Forward, Inverse]:
    system = f"{b.source.base}/{b.first.name}"

    def forward(cells: Cells) -> Members | list[Any] | None:
        text = values.text_of(cells[0])
        return None if text is None else put(b, {"system": system, "value": text})

    def inverse(resource: Resource) -> Cells:
        single = resource.get("identifier")
        for item in [single] if isinstance(single, dict) else items(resource, "identifier"):
            if item.get("system") == system:
                return (str(item.get("value", "")),)
        return ("",)

    return forward, inverse


def _reference(b: Binding) -> tuple[Forward, Inverse]:
    file = b.first.role

    def forward(cells: Cells) -> Members | list[Any] | None:
        text = values.text_of(cells[0])
        return None if text is None else put(b, b.source.reference(file, text, keyed=b.first.owned))

    def inverse(resource: Resource) -> Cells:
        return (referenced(got(b, resource)),)

    return forward, inverse


def referenced(reference: Any) -> str:
    """The source's key behind a reference of ours."""
    if not isinstance(reference, dict):
        return ""
    return str((reference.get("identifier") or {}).get("value", ""))


def _extension_reference(url: str, file: str) -> Maker:
    def make(b: Binding) -> tuple[Forward, Inverse]:
        def forward(cells: Cells) -> Members | list[Any] | None:
            text = values.text_of(cells[0])
            if text is None:
                return None
            return [{"url": url, "valueReference": b.source.reference(file, text, keyed=b.first.owned)}]

        def inverse(resource: Resource) -> Cells:
            for item in items(resource, "extension"):
                if item.get("url") == url:
                    return (referenced(item.get("valueReference")),)
            return ("",)

        return forward, inverse

    return make


def _text(b: Binding) -> tuple[Forward, Inverse]:
    def forward(cells: Cells) -> Members | list[Any] | None:
        text = values.text_of(cells[0])
        return None if text is None else put(b, text)

    return forward, lambda resource: (str(got(b, resource) or ""),)


def _date(b: Binding) -> tuple[Forward, Inverse]:
    def forward(cells: Cells) -> Members | list[Any] | None:
        day = values.day_of(cells[0])
        return None if day is None else put(b, day)

    return forward, lambda resource: (str(got(b, resource) or ""),)


def _day(b: Binding) -> tuple[Forward, Inverse]:
    def forward(cells: Cells) -> Members | list[Any] | None:
        day = values.day_of(cells[0])
        return None if day is None else put(b, {"start": day, "end": day})

    return forward, lambda resource: (str((got(b, resource) or {}).get("start", "")),)


def _period(b: Binding) -> tuple[Forward, Inverse]:
    """``start`` and ``end``; ``end-derived`` is written and not read back. ``context.period`` is nested."""
    outer, _, inner = b.name.rpartition(".")

    def forward(cells: Cells) -> Members | list[Any] | None:
        period = {}
        for slot, cell in zip(b.slots, cells, strict=True):
            day = values.day_of(cell)
            if day is not None:
                period[slot.role.removesuffix("-derived")] = day
        if not period:
            return None
        if period.get("start", "") > period.get("end", "9999"):  # per-1: the end is not before the start
            del period["end"]
        return {outer: {inner: period}} if outer else {inner: period}

    def inverse(resource: Resource) -> Cells:
        holder = resource.get(outer) or {} if outer else resource
        period = holder.get(inner) or {}
        return tuple(str(period.get(slot.role, "")) for slot in b.slots if slot.owned)

    return forward, inverse


def _operating(b: Binding) -> tuple[Forward, Inverse]:
    def forward(cells: Cells) -> Members | list[Any] | None:
        period = {slot.role: day for slot, c in zip(b.slots, cells, strict=True) if (day := values.day_of(c))}
        if period.get("start", "") > period.get("end", "9999"):
            del period["end"]
        return [{"url": OPERATING_EXTENSION, "valuePeriod": period}] if period else None

    def inverse(resource: Resource) -> Cells:
        for item in items(resource, "extension"):
            if item.get("url") == OPERATING_EXTENSION:
                period = item.get("valuePeriod") or {}
                return tuple(str(period.get(slot.role, "")) for slot in b.slots)
        return tuple("" for _ in b.slots)

    return forward, inverse


def _concept(b: Binding) -> tuple[Forward, Inverse]:
    """A CodeableConcept of a HUD list. A code that no list knows becomes text, where the place is the column's own."""
    by, choose = list_chooser(b.first.list)
    shared = b.element.endswith("[]")
    wanted = {LIST_SYSTEM + list_.lower() for list_ in lists_of(b.first.list)}
    needed = b.element == "code"  # Observation.code and the like are 1..1

    def forward(cells: Cells) -> Members | list[Any] | None:
        if not cells[0]:
            own = {"coding": [{"system": values.ELEMENT_SYSTEM, "code": b.first.element_code}]}
            return put(b, own) if needed else None
        code = values.code_of(b.spec, choose(cells[1:]), cells[0])
        if code is None:
            text = values.text_of(cells[0])
            return None if shared or text is None else put(b, {"text": text})
        return put(b, values.concept_of(b.spec, choose(cells[1:]), code))

    def inverse(resource: Resource) -> Cells:
        if not shared:
            return (values.hud_code(resource.get(b.name)),)
        for item in items(resource, b.name):
            for coding in item.get("coding", ()):
                if str(coding.get("system", "")) in wanted:
                    return (str(coding.get("code", "")),)
        return ("",)

    del by
    return forward, inverse


def _value(b: Binding) -> tuple[Forward, Inverse]:
    """Observation.value[x], or dataAbsentReason when the answer is that there is none (R4 obs-6).

    ``value.asked``: an Observation that every row makes says so too when the cell is empty (US Core us-core-2).
    """
    _, choose = list_chooser(b.first.list)
    empty = {"dataAbsentReason": {"coding": [values.absent_coding("unknown")]}} if b.first.role == "asked" else None

    def forward(cells: Cells) -> Members | list[Any] | None:
        found = values.typed(b.spec, b.first.type, choose(cells[1:]), cells[0])
        if found is None:
            return empty
        suffix, value = found
        return {"dataAbsentReason": value} if suffix == "Absent" else {f"value{suffix}": value}

    return forward, lambda resource: (values.cell_of(resource),)


def _component(b: Binding) -> tuple[Forward, Inverse]:
    code = {"coding": [{"system": values.ELEMENT_SYSTEM, "code": b.first.element_code}]}

    def forward(cells: Cells) -> Members | list[Any] | None:
        found = values.typed(b.spec, b.first.type, b.first.list, cells[0])
        if found is None:
            return None
        suffix, value = found
        return [{"code": code, "dataAbsentReason" if suffix == "Absent" else f"value{suffix}": value}]

    def inverse(resource: Resource) -> Cells:
        for item in items(resource, b.name):
            if item.get("code") == code:
                return (values.cell_of({k: v for k, v in item.items() if k != "code"}),)
        return ("",)

    return forward, inverse


def _choices(b: Binding) -> tuple[Forward, Inverse]:
    """The columns of a question with several answers: a component for each that applies, one for all the others.

    A no, or a reason why there is no answer, says nothing beyond the question's own answer: ``SSI=0;TANF=99``, HMIS
    columns and codes as they stand. A cell that is no code of the list is a component with the text.
    """
    apart = [({"coding": [{"system": values.ELEMENT_SYSTEM, "code": slot.element_code}]}, slot) for slot in b.slots]
    rest = {"coding": [{"system": values.ELEMENT_SYSTEM, "code": b.file}]}

    def forward(cells: Cells) -> Members | list[Any] | None:
        out: list[Any] = []
        pairs = []
        for (code, slot), cell in zip(apart, cells, strict=True):
            if cell != "1" and b.spec.code(slot.list, cell) is not None:
                pairs.append(f"{slot.name}={cell}")
            elif (found := values.typed(b.spec, slot.type, slot.list, cell)) is not None:
                suffix, value = found
                out.append({"code": code, "dataAbsentReason" if suffix == "Absent" else f"value{suffix}": value})
        if pairs:
            out.append({"code": rest, "valueString": ";".join(pairs)})
        return out or None

    def inverse(resource: Resource) -> Cells:
        said: dict[str, str] = {}
        for item in items(resource, b.name):
            code = item.get("code")
            if code == rest:
                said |= dict(pair.split("=", 1) for pair in str(item.get("valueString", "")).split(";") if "=" in pair)
        for item in items(resource, b.name):
            for code, slot in apart:
                if item.get("code") == code:
                    said[slot.name] = values.cell_of({k: v for k, v in item.items() if k != "code"})
        return tuple(said.get(slot.name, "") for slot in b.slots)

    return forward, inverse


def _item(b: Binding) -> tuple[Forward, Inverse]:
    """A QuestionnaireResponse item; linkId is ``File.Column``."""

    def forward(cells: Cells) -> Members | list[Any] | None:
        found = values.typed(b.spec, b.first.type, b.first.list, cells[0])
        if found is None:
            return None
        suffix, value = found
        answer: JsonObject
        if suffix in ("CodeableConcept", "Absent"):
            answer = _coded_answer(value)
        else:
            answer = {"valueDate" if suffix == "DateTime" else f"value{suffix}": value}
        return [{"linkId": b.first.element_code, "answer": [answer]}]

    def inverse(resource: Resource) -> Cells:
        for item in items(resource, "item"):
            if item.get("linkId") == b.first.element_code:
                answers = item.get("answer") or [{}]
                return (values.cell_of(answers[0]),)
        return ("",)

    return forward, inverse


_DATA_ABSENT: Final = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"


def _coded_answer(concept: JsonObject) -> JsonObject:
    if "coding" not in concept:
        return {"valueString": concept["text"]}
    absent = [c["code"] for c in concept["coding"] if c["system"] == ABSENT]
    answer: JsonObject = {"valueCoding": concept["coding"][0]}
    if absent:
        answer["extension"] = [{"url": _DATA_ABSENT, "valueCode": absent[0]}]
    return answer


def _extension(b: Binding) -> tuple[Forward, Inverse]:
    """Our complex extension for a column that FHIR has no place for: the column, the value, why it is missing."""
    _, choose = list_chooser(b.first.list)
    marker = {"url": "column", "valueCode": b.first.element_code}

    def forward(cells: Cells) -> Members | list[Any] | None:
        found = values.typed(b.spec, b.first.type, choose(cells[1:]), cells[0])
        if found is None:
            return None
        suffix, value = found
        parts: list[JsonObject] = [marker]
        if suffix in ("CodeableConcept", "Absent"):
            answer = _coded_answer(value)
            absent = answer.pop("extension", None)
            parts.append({"url": "value", **answer})
            if absent:
                parts.append({"url": "absent", "valueCode": absent[0]["valueCode"]})
        else:
            parts.append({"url": "value", "valueDate" if suffix == "DateTime" else f"value{suffix}": value})
        return [{"url": COLUMN_EXTENSION, "extension": parts}]

    def inverse(resource: Resource) -> Cells:
        for item in items(resource, "extension"):
            parts = item.get("extension") or ()
            if item.get("url") == COLUMN_EXTENSION and parts and parts[0] == marker:
                for part in parts:
                    if part.get("url") == "value":
                        return (values.cell_of(part),)
        return ("",)

    return forward, inverse


def _question(b: Binding) -> tuple[Forward, Inverse]:
    """A local question as code.text: assessment questions are each community's own."""

    def forward(cells: Cells) -> Members | list[Any] | None:
        text = values.text_of(cells[0])
        own = {"coding": [{"system": values.ELEMENT_SYSTEM, "code": b.first.element_code}]}
        return {"code": own if text is None else {**own, "text": text}}

    return forward, lambda resource: (str((resource.get("code") or {}).get("text", "")),)


BASIC: Final[dict[str, Maker]] = {
    "identifier": _identifier,
    "identifier-single": _identifier,
    "reference": _reference,
    "episode": _extension_reference(EPISODE_EXTENSION, "Enrollment"),
    "project": _extension_reference(PROJECT_EXTENSION, "Project"),
    "household": _extension_reference(HOUSEHOLD_EXTENSION, "Household"),
    "text": _text,
    "date": _date,
    "day": _day,
    "period": _period,
    "operating": _operating,
    "concept": _concept,
    "value": _value,
    "component": _component,
    "choices": _choices,
    "item": _item,
    "extension": _extension,
    "question": _question,
}
