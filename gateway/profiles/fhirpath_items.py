"""What FHIRPath works on: collections of JSON values, their children, types, equality and order.

A value that came from a choice, or a primitive that has extensions, is wrapped in :class:`Typed`, since plain JSON does
not say its type. One leniency: two dates of different precision that agree as far as both go satisfy ``<=`` and ``>=``
(FHIRPath leaves it undecided), as R4's per-1 needs.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias

from gateway.profiles.primitives import words
from gateway.profiles.run import Run


class Undecided(Exception):
    """This record does not hold what the answer depends on."""


class Typed:
    """A value with its FHIR type, and the ``_element`` that stands beside it when it is a primitive."""

    __slots__ = ("element", "type", "value")

    def __init__(self, value: Any, type_: str, element: Any = None) -> None:
        self.value = value
        self.type = type_
        self.element = element


class Stub(dict[str, Any]):
    """A resource that is referred to and not here: its type is known, nothing else."""


class Env:
    """What an expression can see besides its focus."""

    __slots__ = ("context", "index", "run", "this")

    def __init__(self, run: Run, context: Any) -> None:
        self.run = run
        self.context = context
        self.this = context
        self.index = 0


Items: TypeAlias = list[Any]

TRUE: Final[Items] = [True]
FALSE: Final[Items] = [False]
_SUFFIXES: Final = words(
    """Address Age Annotation Attachment Base64Binary Boolean Canonical Code CodeableConcept Coding ContactDetail
    ContactPoint Contributor Count DataRequirement Date DateTime Decimal Distance Dosage Duration Expression HumanName
    Id Identifier Instant Integer Markdown Meta Money Oid ParameterDefinition Period PositiveInt Quantity Range Ratio
    Reference RelatedArtifact SampledData Signature String Time Timing TriggerDefinition UnsignedInt Uri Url
    UsageContext Uuid"""
)
CHOICES: Final = words(  # every element of R4 that is a choice: no other may stand as name + type in JSON
    """abatement additive age allowed amount answer asNeeded author born bounds characteristic chargeItem code collected
    content created date deceased defaultValue definingSubstance definition detail diagnosis dose doseNumber due
    effective entity event example fastingStatus fixed identified indication item legallyBinding location manufacturer
    maxValue medication minValue minimumVolume module multipleBirth name occurred occurrence offset onset
    participantEffective pattern performed probability procedure product quantity rate reported scheduled seriesDoses
    serviced source start statusReason studyEffective subject substance target time timing topic used value when"""
)
_PARENTS: Final[Mapping[str, frozenset[str]]] = {
    "quantity": frozenset({"age", "count", "distance", "duration", "money", "simplequantity"}),
    "string": frozenset({"code", "id", "markdown"}),
    "uri": frozenset({"canonical", "oid", "url", "uuid"}),
    "integer": frozenset({"positiveint", "unsignedint"}),
}


PRIMITIVE: Final = (str, int, float, bool)


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number; decimals may come as a subclass of float that keeps its digits."""
    return isinstance(value, (int, float)) and type(value) is not bool


def raw(item: Any) -> Any:
    """The JSON value of an item."""
    return item.value if type(item) is Typed else item


def kids(item: Any, name: str) -> Items:
    """The children of ``item`` called ``name``, choices included."""
    value = item
    if type(item) is Typed:
        if type(item.element) is dict and name in ("extension", "id"):
            found = item.element.get(name)
            return found if type(found) is list else [] if found is None else [found]
        value = item.value
    if type(value) is not dict:
        if type(value) is Stub:
            if name == "resourceType":
                return [value[name]]
            raise Undecided
        return []
    found = value.get(name)
    beside = value.get(f"_{name}")
    if found is not None or beside is not None:
        if beside is None:
            return found if type(found) is list else [found]
        if type(found) is list or type(beside) is list:
            return _paired(found, beside)
        return [Typed(found, "", beside)]
    if name not in CHOICES:
        return []
    size = len(name)
    for key in value:
        if key.startswith(name) and key[size:] in _SUFFIXES:
            suffix = key[size:]
            return [Typed(value[key], suffix, value.get(f"_{key}"))]
        if key.startswith(f"_{name}") and key[size + 1 :] in _SUFFIXES and key[1:] not in value:
            return [Typed(None, key[size + 1 :], value[key])]
    return []


def _paired(found: Any, beside: Any) -> Items:
    values = found if type(found) is list else []
    extra = beside if type(beside) is list else []
    size = max(len(values), len(extra))
    pairs = [(values[n] if n < len(values) else None, extra[n] if n < len(extra) else None) for n in range(size)]
    return [value if element is None else Typed(value, "", element) for value, element in pairs]


def all_kids(item: Any) -> Items:
    """Every child of an item, whatever its name."""
    value = raw(item)
    if type(value) is Stub:
        raise Undecided
    out: Items = []
    if type(item) is Typed and type(item.element) is dict:
        out.extend(all_kids(item.element))
    if type(value) is dict:
        for key, child in value.items():
            if key == "resourceType" or (key.startswith("_") and key[1:] in value):
                continue
            out.extend(child if type(child) is list else [child])
    return out


def below(items: Iterable[Any]) -> Items:
    """Every descendant, level by level."""
    out: Items = []
    level = list(items)
    while level:
        level = [kid for item in level for kid in all_kids(item)]
        out.extend(level)
    return out


def truth(items: Items) -> bool | None:
    """Singleton evaluation as a boolean: None for empty; one item that is no boolean is true.

    Raises:
        Undecided: more than one item, which FHIRPath forbids here.
    """
    if not items:
        return None
    if len(items) > 1:
        raise Undecided
    value = raw(items[0])
    return value if type(value) is bool else True


def answer(value: bool | None) -> Items:
    """A truth value as a collection; None is the empty one."""
    return [] if value is None else TRUE if value else FALSE


_DATE: Final = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d)(?::(\d\d)(?::(\d\d)(?:\.\d+)?)?)?(Z|[+-]\d\d:\d\d)?)?)?)?", re.ASCII
)


def compare(left: Any, right: Any) -> tuple[int, bool] | None:
    """(-1, 0 or 1; whether that is certain), None when the two cannot be compared."""
    left, right = raw(left), raw(right)
    if is_number(left) and is_number(right):
        return (left > right) - (left < right), True
    if type(left) is dict and type(right) is dict:  # Quantity
        if left.get("code", left.get("unit")) != right.get("code", right.get("unit")):
            return None
        return compare(left.get("value"), right.get("value"))
    if type(left) is not str or type(right) is not str:
        return None
    one, two = _DATE.fullmatch(left), _DATE.fullmatch(right)
    if one is None or two is None:
        return (left > right) - (left < right), True
    if one[7] and two[7]:
        a, b = datetime.fromisoformat(left), datetime.fromisoformat(right)
        return (a > b) - (a < b), True
    first = [part for part in one.groups()[:6] if part]
    second = [part for part in two.groups()[:6] if part]
    size = min(len(first), len(second))
    a_, b_ = first[:size], second[:size]
    if bool(one[7]) != bool(two[7]) and a_ == b_:
        return 0, False
    return (a_ > b_) - (a_ < b_), a_ != b_ or len(first) == len(second)


def ordered(operator: str) -> Callable[[Items, Items], Items]:
    """The comparison of two singletons by ``<``, ``>``, ``<=`` or ``>=``; empty when it cannot be told."""
    wanted = {"<": (-1,), ">": (1,), "<=": (-1, 0), ">=": (0, 1)}[operator]

    def judge(left: Items, right: Items) -> Items:
        if not left or not right:
            return []
        if len(left) > 1 or len(right) > 1:
            raise Undecided
        found = compare(left[0], right[0])
        if found is None or (not found[1] and 0 not in wanted):
            return []
        return answer(found[0] in wanted)

    return judge


def same(left: Any, right: Any) -> bool:
    """Whether two items are equal; dates by what they mean."""
    left, right = raw(left), raw(right)
    if type(left) is bool or type(right) is bool:
        return left is right
    if left == right:
        return True
    if type(left) is str and type(right) is str and left[:1].isdigit() and right[:1].isdigit():
        return bool(_DATE.fullmatch(left) and _DATE.fullmatch(right)) and compare(left, right) == (0, True)
    return False


def equal(left: Items, right: Items) -> bool | None:
    """``=`` of two collections, in order; None when one is empty."""
    if not left or not right:
        return None
    return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))


def unique(items: Iterable[Any]) -> Items:
    """The items without doubles, first ones kept."""
    out: Items = []
    seen: set[Any] = set()
    for item in items:
        value = raw(item)
        if type(value) is str or is_number(value):
            if value in seen:
                continue
            seen.add(value)
        elif any(same(item, other) for other in out):
            continue
        out.append(item)
    return out


def is_type(item: Any, name: str) -> bool:
    """Whether an item is of a FHIR or System type, as far as the item says it."""
    wanted = name.casefold()
    value = raw(item)
    if type(item) is Typed and item.type:
        own = item.type.casefold()
        return own == wanted or own in _PARENTS.get(wanted, ())
    if isinstance(value, dict) and "resourceType" in value:
        return str(value["resourceType"]) == name or name in ("Resource", "DomainResource")
    if type(value) is bool:
        return wanted == "boolean"
    if type(value) is int and wanted in ("integer", "decimal", "quantity", "string", "boolean"):
        return wanted in ("integer", "decimal")
    if type(value) is str and wanted in ("boolean", "integer", "decimal", "quantity"):
        return False
    if type(value) is dict and wanted in ("boolean", "integer", "decimal", "string", "datetime", "date", "code", "uri"):
        return False
    if type(value) is dict and name[:1].isupper() and wanted in ("patient", "practitioner", "organization", "device"):
        return False
    raise Undecided


def text_of(items: Items) -> str | None:
    """The one text in a collection; None when there is none."""
    if not items:
        return None
    if len(items) > 1:
        raise Undecided
    value = raw(items[0])
    return value if type(value) is str else None
