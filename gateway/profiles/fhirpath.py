"""FHIRPath compiled to closures over plain FHIR JSON (FHIRPath N1 with R4's additions, the part that invariants use).

What is not built raises :class:`NotFhirPath` when it is compiled; what cannot be told for a certain record (a value set
or a referenced resource that is not at hand) raises :class:`Undecided` when it runs. Neither ever counts as passed.
"""

import operator as op
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from gateway.profiles.fhirpath_functions import COLLECTION
from gateway.profiles.fhirpath_items import (
    FALSE,
    TRUE,
    Env,
    Items,
    Stub,
    Typed,
    Undecided,
    answer,
    equal,
    is_number,
    is_type,
    kids,
    ordered,
    raw,
    same,
    text_of,
    truth,
    unique,
)
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

__all__ = ["Env", "Expression", "NotFhirPath", "Typed", "Undecided", "compile_expression", "truth"]

Expression: TypeAlias = Callable[[Any, Env], Items]

_URLS: Final[Mapping[str, str]] = {
    "%ucum": "http://unitsofmeasure.org",
    "%sct": "http://snomed.info/sct",
    "%loinc": "http://loinc.org",
}


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
        return lambda this, env: kids(this, name)
    base = _compile(node.base)

    def step(this: Any, env: Env) -> Items:
        items = base(this, env)
        if len(items) == 1:
            return kids(items[0], name)
        return [kid for item in items for kid in kids(item, name)]

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
    if node.name not in COLLECTION:
        raise NotFhirPath(f"{node.name}() is not built")
    function, fewest, most = COLLECTION[node.name]
    if not fewest <= len(node.arguments) <= most:
        raise NotFhirPath(f"{node.name}() takes {fewest} to {most} arguments")
    base = _base(node)
    if node.name in ("matches", "replaceMatches"):
        _check_pattern(node.arguments[0])
        if node.name == "matches" and _unanchored(node.arguments[0]):
            function = COLLECTION["matchesFull"][0]
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
        return lambda this, env: TRUE if base(this, env) else FALSE
    where = _where(node)
    return lambda this, env: TRUE if where(this, env) else FALSE


def _empty(node: Call) -> Expression:
    base = _base(node)
    return lambda this, env: FALSE if base(this, env) else TRUE


def _all(node: Call) -> Expression:
    base, each = _base(node), _each(_argument(node))
    return lambda this, env: answer(all(truth(said) for _, said in each(base(this, env), env)))


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
        return answer(bool(items) and is_type(items[0], name))  # of nothing: no, as in HL7's own engine

    return call


def _of_type_call(node: Call) -> Expression:
    return _of_type(_base(node), _type_argument(node))


def _of_type(base: Expression, name: str) -> Expression:
    return lambda this, env: [item for item in base(this, env) if is_type(item, name)]


def _extension(node: Call) -> Expression:
    base, argument = _base(node), _argument(node)

    def call(this: Any, env: Env) -> Items:
        url = text_of(argument(this, env))
        found = [kid for item in base(this, env) for kid in kids(item, "extension")]
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
        valueset = text_of(argument(this, env))
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
    "empty": _empty,
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
            return FALSE
        two = truth(right(this, env))
        return FALSE if two is False else answer(True if one and two else None)

    return call


def _or(left: Expression, right: Expression) -> Expression:
    def call(this: Any, env: Env) -> Items:
        try:
            one = truth(left(this, env))
        except Undecided:
            if truth(right(this, env)):
                return TRUE
            raise
        if one:
            return TRUE
        two = truth(right(this, env))
        return TRUE if two else answer(False if one is False and two is False else None)

    return call


def _xor(left: Expression, right: Expression) -> Expression:
    def call(this: Any, env: Env) -> Items:
        one, two = truth(left(this, env)), truth(right(this, env))
        return answer(None if one is None or two is None else one != two)

    return call


def _implies(left: Expression, right: Expression) -> Expression:
    def call(this: Any, env: Env) -> Items:
        one = truth(left(this, env))
        if one is False:
            return TRUE
        two = truth(right(this, env))
        return TRUE if two else answer(None if one is None or two is None else False)

    return call


_LOGIC: Final = {"and": _and, "or": _or, "xor": _xor, "implies": _implies}


def _arithmetic(operator: str, left: Any, right: Any) -> Items:
    if type(left) is str and type(right) is str and operator == "+":
        return [left + right]
    if not is_number(left) or not is_number(right):
        return []
    if operator in ("/", "div", "mod") and right == 0:
        return []
    return [_ARITHMETIC[operator](left, right)]


_ARITHMETIC: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "+": op.add,
    "-": op.sub,
    "*": op.mul,
    "/": op.truediv,
    "div": lambda left, right: int(left / right),
    "mod": op.mod,
}


def _binary(operator: str, left_node: Node, right_node: Node) -> Expression:
    left = _compile(left_node)
    if operator in ("is", "as"):
        assert isinstance(right_node, Step)
        return _is(left, right_node.name) if operator == "is" else _of_type(left, right_node.name)
    constants = _constants(right_node)
    if constants is not None and operator in ("=", "!=", "in"):
        return _among(left, constants, wanted=operator != "!=")
    right = _compile(right_node)
    if operator in _LOGIC:
        return _LOGIC[operator](left, right)
    if operator in ("=", "~"):
        return lambda this, env: answer(equal(left(this, env), right(this, env)))
    if operator in ("!=", "!~"):
        return lambda this, env: answer(
            None if (same := equal(left(this, env), right(this, env))) is None else not same
        )
    if operator in ("<", ">", "<=", ">="):
        compare = ordered(operator)
        return lambda this, env: compare(left(this, env), right(this, env))
    if operator == "|":
        return lambda this, env: unique([*left(this, env), *right(this, env)])
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


def _constants(node: Node) -> frozenset[str] | None:
    """The texts of a literal or a union of literals, where plain comparison is enough (a date needs more)."""
    if isinstance(node, Literal):
        plain = isinstance(node.value, str) and not node.value[:1].isdigit()
        return frozenset({str(node.value)}) if plain else None
    if isinstance(node, Binary) and node.operator == "|":
        left, right = _constants(node.left), _constants(node.right)
        return left | right if left is not None and right is not None else None
    return None


def _among(left: Expression, texts: frozenset[str], *, wanted: bool) -> Expression:
    """``left = 'x'``, ``left != 'x'`` and ``left in ('x' | 'y')``: the common shapes, without building collections."""
    yes, no = (TRUE, FALSE) if wanted else (FALSE, TRUE)
    single = len(texts) == 1

    def call(this: Any, env: Env) -> Items:
        items = left(this, env)
        if len(items) == 1:
            value = raw(items[0])
            return yes if type(value) is str and value in texts else no
        if not items:
            return []
        if single:  # collections of different sizes are not equal
            return no
        raise Undecided

    return call


def _in(left: Expression, right: Expression) -> Expression:
    def call(this: Any, env: Env) -> Items:
        items = left(this, env)
        if not items:
            return []
        if len(items) > 1:
            raise Undecided
        return answer(any(same(items[0], other) for other in right(this, env)))

    return call
