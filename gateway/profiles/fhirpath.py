"""FHIRPath compiled to closures over plain FHIR JSON (FHIRPath N1 with R4's additions, the part that invariants use).

What is not built raises :class:`NotFhirPath` when it is compiled; what cannot be told for a certain record (a value set
or a referenced resource that is not at hand) raises :class:`Undecided` when it runs. Neither ever counts as passed.

Items are JSON values. A value that came from a choice, or a primitive that has extensions, is wrapped in
:class:`Typed`, since plain JSON does not say its type. One leniency: two dates of different precision that agree as far
as both go satisfy ``<=`` and ``>=`` (FHIRPath leaves it undecided), as R4's per-1 needs.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias

from gateway.profiles.fhirpath_parse import (
    Binary,
    Call,
    EmptySet,
    Index,
    Literal,
    Negative,
    Node,
    NotFhirPath,
    Step,
    Variable,
    parse,
)
from gateway.profiles.run import Run

__all__ = ["Env", "Expression", "NotFhirPath", "Typed", "Undecided", "compile_expression", "truth"]


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
Expression: TypeAlias = Callable[[Any, Env], Items]

_TRUE: Final[Items] = [True]
_FALSE: Final[Items] = [False]
_URLS: Final[Mapping[str, str]] = {
    "%ucum": "http://unitsofmeasure.org",
    "%sct": "http://snomed.info/sct",
    "%loinc": "http://loinc.org",
}
_SUFFIXES: Final = frozenset(
    "Address Age Annotation Attachment Base64Binary Boolean Canonical Code CodeableConcept Coding ContactDetail "
    "ContactPoint Contributor Count DataRequirement Date DateTime Decimal Distance Dosage Duration Expression HumanName "
    "Id Identifier Instant Integer Markdown Meta Money Oid ParameterDefinition Period PositiveInt Quantity Range Ratio "
    "Reference RelatedArtifact SampledData Signature String Time Timing TriggerDefinition UnsignedInt Uri Url "
    "UsageContext Uuid".split()
)
_CHOICES: Final = frozenset(  # every element of R4 that is a choice, and no other, may stand as name + type in JSON
    "abatement additive age allowed amount answer asNeeded author born bounds characteristic chargeItem code collected "
    "content created date deceased defaultValue definingSubstance definition detail diagnosis dose doseNumber due "
    "effective entity event example fastingStatus fixed identified indication item legallyBinding location manufacturer "
    "maxValue medication minValue minimumVolume module multipleBirth name occurred occurrence offset onset "
    "participantEffective pattern performed probability procedure product quantity rate reported scheduled seriesDoses "
    "serviced source start statusReason studyEffective subject substance target time timing topic used value "
    "when".split()
)
_PARENTS: Final[Mapping[str, frozenset[str]]] = {
    "quantity": frozenset({"age", "count", "distance", "duration", "money", "simplequantity"}),
    "string": frozenset({"code", "id", "markdown"}),
    "uri": frozenset({"canonical", "oid", "url", "uuid"}),
    "integer": frozenset({"positiveint", "unsignedint"}),
}


def raw(item: Any) -> Any:
    """The JSON value of an item."""
    return item.value if type(item) is Typed else item


def _kids(item: Any, name: str) -> Items:
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
            return _paired(found or [], beside)
        return [Typed(found, "", beside)]
    if name not in _CHOICES:
        return []
    size = len(name)
    for key in value:
        if key.startswith(name) and key[size:] in _SUFFIXES:
            suffix = key[size:]
            return [Typed(value[key], suffix, value.get(f"_{key}"))]
        if key.startswith(f"_{name}") and key[size + 1 :] in _SUFFIXES and key[1:] not in value:
            return [Typed(None, key[size + 1 :], value[key])]
    return []


def _paired(values: Items, beside: Any) -> Items:
    extra = beside if type(beside) is list else []
    size = max(len(values), len(extra))
    pairs = [(values[n] if n < len(values) else None, extra[n] if n < len(extra) else None) for n in range(size)]
    return [value if element is None else Typed(value, "", element) for value, element in pairs]


def _all_kids(item: Any) -> Items:
    value = raw(item)
    if type(value) is Stub:
        raise Undecided
    out: Items = []
    if type(item) is Typed and type(item.element) is dict:
        out.extend(_all_kids(item.element))
    if type(value) is dict:
        for key, child in value.items():
            if key == "resourceType" or (key.startswith("_") and key[1:] in value):
                continue
            out.extend(child if type(child) is list else [child])
    return out


def _below(items: Iterable[Any]) -> Items:
    out: Items = []
    level = list(items)
    while level:
        level = [kid for item in level for kid in _all_kids(item)]
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


def _said(value: bool | None) -> Items:
    return [] if value is None else _TRUE if value else _FALSE


_DATE: Final = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(\d\d)(?::(\d\d)(?::(\d\d)(?:\.\d+)?)?)?(Z|[+-]\d\d:\d\d)?)?)?)?", re.ASCII
)


def _compare(left: Any, right: Any) -> tuple[int, bool] | None:
    """(-1, 0 or 1; whether that is certain), None when the two cannot be compared."""
    left, right = raw(left), raw(right)
    if type(left) in (int, float) and type(right) in (int, float):
        return (left > right) - (left < right), True
    if type(left) is dict and type(right) is dict:  # Quantity
        if left.get("code", left.get("unit")) != right.get("code", right.get("unit")):
            return None
        return _compare(left.get("value"), right.get("value"))
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


def _ordered(operator: str) -> Callable[[Items, Items], Items]:
    wanted = {"<": (-1,), ">": (1,), "<=": (-1, 0), ">=": (0, 1)}[operator]

    def compare(left: Items, right: Items) -> Items:
        if not left or not right:
            return []
        if len(left) > 1 or len(right) > 1:
            raise Undecided
        found = _compare(left[0], right[0])
        if found is None or (not found[1] and 0 not in wanted):
            return []
        return _said(found[0] in wanted)

    return compare


def _same(left: Any, right: Any) -> bool:
    left, right = raw(left), raw(right)
    if type(left) is bool or type(right) is bool:
        return left is right
    if type(left) is str and type(right) is str and left != right and _DATE.fullmatch(left) and _DATE.fullmatch(right):
        found = _compare(left, right)
        return found == (0, True)
    return bool(left == right)


def _equal(left: Items, right: Items) -> bool | None:
    if not left or not right:
        return None
    return len(left) == len(right) and all(_same(a, b) for a, b in zip(left, right, strict=True))


def _unique(items: Iterable[Any]) -> Items:
    out: Items = []
    seen: set[Any] = set()
    for item in items:
        value = raw(item)
        if type(value) in (str, int, float):
            if value in seen:
                continue
            seen.add(value)
        elif any(_same(item, other) for other in out):
            continue
        out.append(item)
    return out


def _is_type(item: Any, name: str) -> bool:
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


def _text_of(items: Items) -> str | None:
    if not items:
        return None
    if len(items) > 1:
        raise Undecided
    value = raw(items[0])
    return value if type(value) is str else None


# ---- functions over the whole collection: name -> (items, argument values) -> items


def _substring(items: Items, start: Items, length: Items | None = None) -> Items:
    text = _text_of(items)
    if text is None or not start or not 0 <= raw(start[0]) < len(text):
        return []
    first = raw(start[0])
    return [text[first:] if not length else text[first : first + raw(length[0])]]


def _to_integer(items: Items) -> Items:
    if not items:
        return []
    value = raw(items[0])
    if type(value) is bool:
        return [int(value)]
    if type(value) is int:
        return [value]
    return [int(value)] if type(value) is str and re.fullmatch(r"[+-]?\d{1,18}", value) else []


def _to_decimal(items: Items) -> Items:
    if not items:
        return []
    value = raw(items[0])
    if type(value) in (int, float):
        return [value]
    return [float(value)] if type(value) is str and re.fullmatch(r"[+-]?\d{1,30}(\.\d{1,30})?", value) else []


def _to_string(items: Items) -> Items:
    if not items:
        return []
    value = raw(items[0])
    if type(value) is bool:
        return ["true" if value else "false"]
    return [] if value is None or type(value) is dict else [str(value)]


def _on_text(function: Callable[[str, str], Any]) -> Callable[..., Items]:
    def call(items: Items, argument: Items) -> Items:
        text, other = _text_of(items), _text_of(argument)
        return [] if text is None or other is None else [function(text, other)]

    return call


def _asking(function: Callable[[str, str], bool]) -> Callable[..., Items]:
    """A question about a text; about no text the answer is no, as in HL7's own engine, on which R4's rules rely."""

    def call(items: Items, argument: Items) -> Items:
        text, other = _text_of(items), _text_of(argument)
        return [text is not None and other is not None and function(text, other)]

    return call


def _on_one_text(function: Callable[[str], Any]) -> Callable[..., Items]:
    def call(items: Items) -> Items:
        text = _text_of(items)
        return [] if text is None else [function(text)]

    return call


def _matches(text: str, pattern: str) -> bool:
    return re.search(pattern, text, re.DOTALL) is not None


def _matches_name(text: str, pattern: str) -> bool:
    """R4's own rules write ``matches`` without anchors and mean the whole text."""
    return re.fullmatch(pattern, text, re.DOTALL) is not None


def _replace(items: Items, pattern: Items, by: Items, *, regex: bool) -> Items:
    text, old, new = _text_of(items), _text_of(pattern), _text_of(by)
    if text is None or old is None or new is None:
        return []
    return [re.sub(old, lambda _: new, text) if regex else text.replace(old, new)]


def _intersect(items: Items, other: Items) -> Items:
    return _unique(item for item in items if any(_same(item, o) for o in other))


_COLLECTION: Final[Mapping[str, tuple[Callable[..., Items], int, int]]] = {  # function, fewest and most arguments
    "empty": (lambda items: _said(not items), 0, 0),
    "not": (lambda items: _said(None if (t := truth(items)) is None else not t), 0, 0),
    "count": (lambda items: [len(items)], 0, 0),
    "first": (lambda items: items[:1], 0, 0),
    "last": (lambda items: items[-1:], 0, 0),
    "tail": (lambda items: items[1:], 0, 0),
    "single": (lambda items: items[:1], 0, 0),
    "skip": (lambda items, n: items[raw(n[0]) :], 1, 1),
    "take": (lambda items, n: items[: max(0, raw(n[0]))], 1, 1),
    "children": (lambda items: [kid for item in items for kid in _all_kids(item)], 0, 0),
    "descendants": (_below, 0, 0),
    "hasValue": (lambda items: _said(len(items) == 1 and type(raw(items[0])) in (str, int, float, bool)), 0, 0),
    "getValue": (lambda items: [v for i in items if type(v := raw(i)) in (str, int, float, bool)], 0, 0),
    "allTrue": (lambda items: _said(all(raw(i) is True for i in items)), 0, 0),
    "anyTrue": (lambda items: _said(any(raw(i) is True for i in items)), 0, 0),
    "allFalse": (lambda items: _said(all(raw(i) is False for i in items)), 0, 0),
    "anyFalse": (lambda items: _said(any(raw(i) is False for i in items)), 0, 0),
    "distinct": (_unique, 0, 0),
    "isDistinct": (lambda items: _said(len(_unique(items)) == len(items)), 0, 0),
    "combine": (lambda items, other: [*items, *other], 1, 1),
    "union": (lambda items, other: _unique([*items, *other]), 1, 1),
    "intersect": (_intersect, 1, 1),
    "exclude": (lambda items, other: [i for i in items if not any(_same(i, o) for o in other)], 1, 1),
    "subsetOf": (lambda items, other: _said(all(any(_same(i, o) for o in other) for i in items)), 1, 1),
    "supersetOf": (lambda items, other: _said(all(any(_same(i, o) for i in items) for o in other)), 1, 1),
    "startsWith": (_asking(str.startswith), 1, 1),
    "endsWith": (_asking(str.endswith), 1, 1),
    "contains": (_asking(lambda text, part: part in text), 1, 1),
    "indexOf": (_on_text(str.find), 1, 1),
    "matches": (_asking(_matches), 1, 1),
    "matchesFull": (_asking(_matches_name), 1, 1),
    "split": (lambda items, by: (_text_of(items) or "").split(_text_of(by)), 1, 1),
    "join": (lambda items, by: [(_text_of(by) or "").join(str(raw(i)) for i in items)], 1, 1),
    "replace": (lambda items, a, b: _replace(items, a, b, regex=False), 2, 2),
    "replaceMatches": (lambda items, a, b: _replace(items, a, b, regex=True), 2, 2),
    "substring": (_substring, 1, 2),
    "length": (_on_one_text(len), 0, 0),
    "upper": (_on_one_text(str.upper), 0, 0),
    "lower": (_on_one_text(str.lower), 0, 0),
    "trim": (_on_one_text(str.strip), 0, 0),
    "toInteger": (_to_integer, 0, 0),
    "toDecimal": (_to_decimal, 0, 0),
    "toString": (_to_string, 0, 0),
    "trace": (lambda items, *_: items, 1, 2),
    "htmlChecks": (lambda items: _TRUE, 0, 0),  # the format of xhtml is checked with every primitive
    "abs": (lambda items: [abs(raw(i)) for i in items], 0, 0),
}


# ---- compilation


def compile_expression(text: str) -> Expression:
    """The expression as a function of its focus.

    Raises:
        NotFhirPath: it does not parse, or uses something that is not built.
    """
    return _compile(parse(text), top=True)


def _compile(node: Node, *, top: bool = False) -> Expression:
    match node:
        case Literal(value):
            items = [value]
            return lambda this, env: items
        case EmptySet():
            return lambda this, env: []
        case Variable(name):
            return _variable(name)
        case Step():
            return _step(node)
        case Call():
            return _call(node)
        case Index(base, index):
            return _index(_compile(base), _compile(index))
        case Negative(operand):
            inner = _compile(operand)
            return lambda this, env: [-raw(item) for item in inner(this, env)]
        case Binary(operator, left, right):
            return _binary(operator, left, right)


def _variable(name: str) -> Expression:
    if name == "$this":
        return lambda this, env: [this]
    if name == "$index":
        return lambda this, env: [env.index]
    if name == "%resource":
        return lambda this, env: [env.run.resource]
    if name == "%rootResource":
        return lambda this, env: [env.run.root]
    if name == "%context":
        return lambda this, env: [env.context]
    if name in _URLS:
        url = [_URLS[name]]
        return lambda this, env: url
    if name.startswith(("%vs-", "%ext-")):
        kind = "ValueSet" if name.startswith("%vs-") else "StructureDefinition"
        url = [f"http://hl7.org/fhir/{kind}/{name.partition('-')[2]}"]
        return lambda this, env: url
    raise NotFhirPath(f"{name} is not built")


def _step(node: Step) -> Expression:
    name = node.name
    if node.base is None:
        if name[0].isupper():  # a type name at the start stands for the focus, when it is of that type

            def typed(this: Any, env: Env) -> Items:
                value = raw(this)
                if type(value) is dict and value.get("resourceType") == name:
                    return [this]
                return [] if type(value) is dict and "resourceType" in value else [this]

            return typed
        return lambda this, env: _kids(this, name)
    base = _compile(node.base)

    def step(this: Any, env: Env) -> Items:
        items = base(this, env)
        if len(items) == 1:
            return _kids(items[0], name)
        return [kid for item in items for kid in _kids(item, name)]

    return step


def _index(base: Expression, index: Expression) -> Expression:
    def call(this: Any, env: Env) -> Items:
        items, at = base(this, env), index(this, env)
        return items[at[0] : at[0] + 1] if at and type(at[0]) is int and at[0] >= 0 else []

    return call


def _base(node: Call) -> Expression:
    return _compile(node.base) if node.base is not None else lambda this, env: [this]


def _call(node: Call) -> Expression:
    special = _SPECIAL.get(node.name)
    if special is not None:
        return special(node)
    if node.name not in _COLLECTION:
        raise NotFhirPath(f"{node.name}() is not built")
    function, fewest, most = _COLLECTION[node.name]
    if not fewest <= len(node.arguments) <= most:
        raise NotFhirPath(f"{node.name}() takes {fewest} to {most} arguments")
    base = _base(node)
    if node.name in ("matches", "replaceMatches"):
        _check_pattern(node.arguments[0])
        if node.name == "matches" and _unanchored(node.arguments[0]):
            function = _COLLECTION["matchesFull"][0]
    arguments = [_compile(argument) for argument in node.arguments]
    if not arguments:
        return lambda this, env: function(base(this, env))
    return lambda this, env: function(base(this, env), *(argument(this, env) for argument in arguments))


def _check_pattern(argument: Node) -> None:
    if not isinstance(argument, Literal):
        raise NotFhirPath("a pattern must be a literal")
    try:
        re.compile(str(argument.value))
    except re.error:
        raise NotFhirPath("the pattern is not one that is understood here") from None


def _unanchored(argument: Node) -> bool:
    return isinstance(argument, Literal) and not str(argument.value).startswith("^")


def _each(argument: Expression) -> Callable[[Items, Env], Iterable[tuple[Any, Items]]]:
    """Evaluate ``argument`` with every item as ``$this``."""

    def run(items: Items, env: Env) -> Iterable[tuple[Any, Items]]:
        outer = env.index
        for n, item in enumerate(items):
            env.index = n
            yield item, argument(item, env)
        env.index = outer

    return run


def _argument(node: Call) -> Expression:
    if len(node.arguments) != 1:
        raise NotFhirPath(f"{node.name}() takes one argument")
    return _compile(node.arguments[0])


def _where(node: Call) -> Expression:
    base, each = _base(node), _each(_argument(node))
    return lambda this, env: [item for item, said in each(base(this, env), env) if truth(said)]


def _exists(node: Call) -> Expression:
    base = _base(node)
    if not node.arguments:
        return lambda this, env: _said(bool(base(this, env)))
    where = _where(node)
    return lambda this, env: _said(bool(where(this, env)))


def _all(node: Call) -> Expression:
    base, each = _base(node), _each(_argument(node))
    return lambda this, env: _said(all(truth(said) for _, said in each(base(this, env), env)))


def _select(node: Call) -> Expression:
    base, each = _base(node), _each(_argument(node))
    return lambda this, env: [out for _, said in each(base(this, env), env) for out in said]


def _repeat(node: Call) -> Expression:
    base, argument = _base(node), _argument(node)

    def call(this: Any, env: Env) -> Items:
        out: Items = []
        level = base(this, env)
        while level:
            level = [found for item in level for found in argument(item, env)]
            out.extend(level)
        return out

    return call


def _iif(node: Call) -> Expression:
    if not 2 <= len(node.arguments) <= 3:
        raise NotFhirPath("iif() takes 2 or 3 arguments")
    base = _base(node)
    condition, yes, *rest = [_compile(argument) for argument in node.arguments]

    def call(this: Any, env: Env) -> Items:
        if node.base is not None:
            items = base(this, env)
            this = items[0] if items else this
            if not items:  # `X.iif(empty(), …)`: the condition sees the empty collection
                return yes(this, env) if _says_empty(node.arguments[0]) else (rest[0](this, env) if rest else [])
        return yes(this, env) if truth(condition(this, env)) else (rest[0](this, env) if rest else [])

    return call


def _says_empty(node: Node) -> bool:
    return isinstance(node, Call) and node.base is None and node.name == "empty"


def _type_argument(node: Call) -> str:
    if len(node.arguments) == 1 and isinstance(node.arguments[0], Step):
        return node.arguments[0].name
    raise NotFhirPath(f"{node.name}() takes a type name")


def _is_call(node: Call) -> Expression:
    return _is(_base(node), _type_argument(node))


def _is(base: Expression, name: str) -> Expression:
    def call(this: Any, env: Env) -> Items:
        items = base(this, env)
        if len(items) > 1:
            raise Undecided
        return _said(bool(items) and _is_type(items[0], name))  # of nothing: no, as in HL7's own engine

    return call


def _of_type_call(node: Call) -> Expression:
    return _of_type(_base(node), _type_argument(node))


def _of_type(base: Expression, name: str) -> Expression:
    return lambda this, env: [item for item in base(this, env) if _is_type(item, name)]


def _extension(node: Call) -> Expression:
    base, argument = _base(node), _argument(node)

    def call(this: Any, env: Env) -> Items:
        url = _text_of(argument(this, env))
        found = [kid for item in base(this, env) for kid in _kids(item, "extension")]
        return [kid for kid in found if type(kid) is dict and kid.get("url") == url]

    return call


def _resolve(node: Call) -> Expression:
    if node.arguments:
        raise NotFhirPath("resolve() takes no argument")
    base = _base(node)

    def call(this: Any, env: Env) -> Items:
        out: Items = []
        for item in base(this, env):
            value = raw(item)
            reference = {"reference": value} if type(value) is str else value
            literal = reference.get("reference") if type(reference) is dict else None
            target = env.run.resolve(literal) if type(literal) is str else None
            kind = env.run.target_type(reference) if target is None and type(reference) is dict else None
            if target is not None:
                out.append(target)
            elif kind is not None:
                out.append(Stub(resourceType=kind))
            elif type(literal) is str and not literal.startswith("#"):
                raise Undecided
        return out

    return call


def _member_of(node: Call) -> Expression:
    base, argument = _base(node), _argument(node)

    def call(this: Any, env: Env) -> Items:
        valueset = _text_of(argument(this, env))
        out: list[bool | None] = []
        for item in base(this, env):
            value = raw(item)
            nodes = value.get("coding", [value]) if type(value) is dict else [value]
            verdicts = [
                env.run.terminology.holds(valueset or "", n.get("system") or "", str(n.get("code")))
                if type(n) is dict
                else env.run.terminology.holds(valueset or "", None, str(n))
                for n in nodes
            ]
            out.append(True if True in verdicts else None if None in verdicts else False)
        if None in out:
            raise Undecided
        return list(out)

    return call


_SPECIAL: Final[Mapping[str, Callable[[Call], Expression]]] = {
    "where": _where,
    "exists": _exists,
    "all": _all,
    "select": _select,
    "repeat": _repeat,
    "iif": _iif,
    "is": _is_call,
    "as": _of_type_call,
    "ofType": _of_type_call,
    "extension": _extension,
    "resolve": _resolve,
    "memberOf": _member_of,
}


def _and(left: Expression, right: Expression) -> Expression:
    def call(this: Any, env: Env) -> Items:
        one = truth(left(this, env))
        if one is False:
            return _FALSE
        two = truth(right(this, env))
        return _FALSE if two is False else _said(True if one and two else None)

    return call


def _or(left: Expression, right: Expression) -> Expression:
    def call(this: Any, env: Env) -> Items:
        try:
            one = truth(left(this, env))
        except Undecided:
            if truth(right(this, env)):
                return _TRUE
            raise
        if one:
            return _TRUE
        two = truth(right(this, env))
        return _TRUE if two else _said(False if one is False and two is False else None)

    return call


def _xor(left: Expression, right: Expression) -> Expression:
    def call(this: Any, env: Env) -> Items:
        one, two = truth(left(this, env)), truth(right(this, env))
        return _said(None if one is None or two is None else one != two)

    return call


def _implies(left: Expression, right: Expression) -> Expression:
    def call(this: Any, env: Env) -> Items:
        one = truth(left(this, env))
        if one is False:
            return _TRUE
        two = truth(right(this, env))
        return _TRUE if two else _said(None if one is None or two is None else False)

    return call


_LOGIC: Final = {"and": _and, "or": _or, "xor": _xor, "implies": _implies}


def _arithmetic(operator: str, left: Any, right: Any) -> Items:
    if type(left) is str and type(right) is str and operator == "+":
        return [left + right]
    if type(left) not in (int, float) or type(right) not in (int, float):
        return []
    if operator in ("/", "div", "mod") and right == 0:
        return []
    return [
        {
            "+": lambda: left + right,
            "-": lambda: left - right,
            "*": lambda: left * right,
            "/": lambda: left / right,
            "div": lambda: int(left / right),
            "mod": lambda: left % right,
        }[operator]()
    ]


def _binary(operator: str, left_node: Node, right_node: Node) -> Expression:
    left = _compile(left_node)
    if operator in ("is", "as"):
        assert isinstance(right_node, Step)
        return _is(left, right_node.name) if operator == "is" else _of_type(left, right_node.name)
    right = _compile(right_node)
    if operator in _LOGIC:
        return _LOGIC[operator](left, right)
    if operator in ("=", "~"):
        return lambda this, env: _said(_equal(left(this, env), right(this, env)))
    if operator in ("!=", "!~"):
        return lambda this, env: _said(
            None if (same := _equal(left(this, env), right(this, env))) is None else not same
        )
    if operator in ("<", ">", "<=", ">="):
        compare = _ordered(operator)
        return lambda this, env: compare(left(this, env), right(this, env))
    if operator == "|":
        return lambda this, env: _unique([*left(this, env), *right(this, env)])
    if operator == "in":
        return _in(left, right)
    if operator == "contains":
        return _in(right, left)
    if operator == "&":
        return lambda this, env: [
            "".join(str(raw(i)) for i in left(this, env)) + "".join(str(raw(i)) for i in right(this, env))
        ]

    def arithmetic(this: Any, env: Env) -> Items:
        one, two = left(this, env), right(this, env)
        if not one or not two:
            return []
        if len(one) > 1 or len(two) > 1:
            raise Undecided
        return _arithmetic(operator, raw(one[0]), raw(two[0]))

    return arithmetic


def _in(left: Expression, right: Expression) -> Expression:
    def call(this: Any, env: Env) -> Items:
        items = left(this, env)
        if not items:
            return []
        if len(items) > 1:
            raise Undecided
        return _said(any(_same(items[0], other) for other in right(this, env)))

    return call
