"""The slow twin of the compiled tables: the same plans, walked row by row, with the reason for each element kept.

It is what ``--explain`` and the analyst's commands run, and what tests compare the generated Python with.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.mapping.hl7v2 import runtime
from gateway.mapping.hl7v2.conditions import Both, Compare, Condition, Either, Not, Ref, Valued
from gateway.mapping.hl7v2.model import PRIMITIVES, Row, Tables
from gateway.mapping.hl7v2.plan import TEXTS, Group, Placed, Plan, plans, value_key, walk
from gateway.mapping.hl7v2.runtime import Fields, Run, joined_extension, put_extension


@dataclass(frozen=True, slots=True)
class Why:
    """One element and where it comes from."""

    host: int  # id() of the object that holds it; resolved to a path once the message is done
    name: str
    source: str  # PID-5[2].1
    row: str  # file:line


class Reasons:
    """Collects :class:`Why`; objects that are merged into others keep their trail."""

    def __init__(self) -> None:
        self.whys: list[Why] = []
        self.moved: dict[int, int] = {}
        self.kept: list[Any] = []  # objects seen, so that an id() is not used again

    def add(self, host: Any, name: str, source: str, row: str) -> None:
        """``host[name]`` was set by ``row``."""
        self.kept.append(host)
        self.whys.append(Why(id(host), name, source, row))

    def merged(self, into: Any, made: Any) -> None:
        """What was said of ``made`` holds of ``into``, all the way down."""
        self.kept.append(made)
        self.moved[id(made)] = id(into)
        if isinstance(made, dict) and isinstance(into, dict):
            for key, value in made.items():
                if isinstance(value, dict) and isinstance(into.get(key), dict) and into[key] is not value:
                    self.merged(into[key], value)


class _Walker:
    """One map applied to one text or segment."""

    def __init__(self, plan: Plan, cx: Run, tables: "_Interpreter", place: str) -> None:
        self.plan = plan
        self.cx = cx
        self.tables = tables
        self.place = place  # PID, or PID-3[2].4 for a data type
        self.kept: dict[str, Any] = {}
        self.fields: Fields = []
        self.components: list[str] = []
        self.text = ""
        self.mark = ""
        self.current = 0  # field of the group that runs, when it loops or is entered
        self.done = False
        self.result: dict[str, Any] = {}
        self.value: Any = None

    # -- entry points ------------------------------------------------------------------------------------------------

    def segment(self, fields: Fields, resource: dict[str, Any]) -> None:
        """Fill a resource from the fields of a segment."""
        self.fields, self.result = fields, resource
        for group in self.plan.groups:
            number = group.position
            if group.silent or (number and (number >= len(fields) or not fields[number])):
                continue
            self.current, self.done = number, self.done and not group.first
            self._repetitions(group)
            if number:
                if not group.always and group.last and not self.done:
                    self.cx.miss("", fields[number], "no row has a condition that holds")
                if self.cx.fails:
                    self.cx.trace.flush(fields, number)

    def _repetitions(self, group: Group) -> None:
        cx, number = self.cx, group.position
        texts = [self.fields[number]] if number else [""]
        if number and not group.whole and cx.R and cx.R in texts[0]:
            texts = texts[0].split(cx.R) if group.loops else [cx.only(texts[0])]
        seen = False
        for index, text in enumerate(texts):
            if number and not text:
                continue
            if seen:
                for name in group.fresh:
                    self.kept[name] = None
            seen = True
            self.text = text
            where = f"{self.place}-{number}" + (f"[{index + 1}]" if len(texts) > 1 else "") if number else self.place
            for placed in group.rows:
                self.row(placed, group, text, cx.C, where)

    def datatype(self, text: str, mark: str) -> Any:
        """The value of one text of a data type."""
        cx = self.cx
        self.text, self.mark = text, mark
        self.components = text.split(mark) if mark else [text]
        below = cx.T if mark == cx.C else ""
        for group in self.plan.groups:
            number = group.position
            if group.silent or (number and (number > len(self.components) or not self.components[number - 1])):
                continue
            self.current, self.done = number, False
            part = self.components[number - 1] if number else text
            where = f"{self.place}.{number}" if number else self.place
            for placed in group.rows:
                self.row(placed, group, part, below if number else mark, where)
            if number and not group.always and not self.done:
                cx.miss(str(number), part, "no row has a condition that holds")
        if not self.plan.consumes:
            cx.beyond(self.components, self.plan.handled)
        return self.value if self.plan.map.returns_value else self.result or None

    # -- one row -----------------------------------------------------------------------------------------------------

    def row(self, placed: Placed, group: Group, text: str, mark: str, where: str) -> None:
        """One row: its condition, its value, its place."""
        row = placed.row
        if row.condition is not None and not self.holds(row.condition):
            return
        self.done = True
        if not (row.target or row.extension):
            return
        if placed.guard and self.kept.get(placed.guard) is None:
            return
        made = self.made(row, group, text, mark, where, placed.shared)
        if made is not None:
            self.put(row, made, where, placed.shared)

    def made(self, row: Row, group: Group, text: str, mark: str, where: str, shared: str) -> Any:
        """The value of a row; None when there is none."""
        cx = self.cx
        if row.assignment is not None:
            if row.constant:
                literal = "".join(part for _, part in row.assignment)
                return cx.primitive(row.type, literal, "") if row.type in _NOT_TEXT else literal
            return cx.joined(tuple(p if k == "text" else self.text_of(_ref(p), True) for k, p in row.assignment))
        source = row.source
        numbers = (source.component, source.subcomponent) if self.plan.of_segment else (0, source.component)
        label = ".".join(
            str(n)
            for n in (
                (source.component, source.subcomponent) if self.plan.of_segment else (source.field, source.component)
            )
            if n
        )
        if numbers[0]:
            text, mark = cx.piece(text, numbers[0], numbers[1]), "" if numbers[1] else cx.T
        elif numbers[1]:
            text, mark = cx.cut(text, numbers[1]), ""
        if any(numbers) and not text:
            return None
        if any(numbers):
            where += "".join(f".{n}" for n in numbers if n)
        return self.converted(row, group, text, mark, label, where, shared)

    def converted(self, row: Row, group: Group, text: str, mark: str, label: str, where: str, shared: str) -> Any:
        """The own text as the value of the element."""
        cx = self.cx
        if "[" in row.datatype:
            since = len(cx.fails)
            if shared:

                def apply(text: str, mark: str, cx: Run) -> Any:
                    return self.tables.apply(row.datatype, text, mark, cx, where)

                made = cx.thing(row.datatype, shared, text, mark, apply)
            else:
                made = self.tables.apply(row.datatype, text, mark, cx, where)
            if label:
                cx.prefix(since, label)
            vocabulary = self.tables.vocabularies.get(row.vocabulary)
            return cx.concept(made, vocabulary) if vocabulary is not None and made is not None else made
        if row.datatype:
            return cx.built_in(row.datatype, text, label)
        keeps = row.type in TEXTS and not self.plan.of_segment
        if mark and mark in text and not keeps and not group.whole:
            text = cx.head(text, mark, label)
        if row.vocabulary and row.type != "boolean":
            return cx.coded(self.tables.vocabularies[row.vocabulary], text, label)
        if row.type in TEXTS:
            return text or None if cx.E is None else cx.primitive("string", text, label)
        return cx.primitive(row.type, text, label) if row.type in PRIMITIVES else text

    # -- placing -----------------------------------------------------------------------------------------------------

    def put(self, row: Row, made: Any, where: str, shared: str) -> None:
        """Set the value where the path leads, and remember why."""
        why = self.tables.reasons
        if row.special == "$value":
            self.value = made
            return
        if row.special == "$this" and not row.extension:
            runtime.merge(self.result, made)
            why.merged(self.result, made)
            return
        host: dict[str, Any] = self.result
        steps, name = list(walk(row.steps)), ""
        for index, (step, name) in enumerate(steps):
            if index == len(steps) - 1 and not row.extension:
                if shared:
                    why.add(host, step.name, where, row.place)
                    self.hang(host, step.name, step.repeats, {"reference": made})
                else:
                    self.leaf(row, host, name, made, where)
                return
            if step.primitive:
                host = host.setdefault(f"_{step.name}", {})
            elif step.refers or step.repeats:
                kept = self.kept.get(name)
                if kept is None and not (step.refers or step.written):
                    self.kept[name] = kept = runtime.held(host, step.name)
                elif kept is None:
                    kept = {"resourceType": step.refers} if step.refers else {}
                    self.kept[name] = kept
                    self.hang(host, step.name, step.repeats, self.reference(kept) if step.refers else kept)
                host = kept
            else:
                host = host.setdefault(step.name, {})
        self.extension(row, host, name, made, where)

    def reference(self, resource: dict[str, Any]) -> dict[str, Any]:
        """An element that will refer to the resource."""
        element: dict[str, Any] = {}
        self.cx.refs.append((element, resource))
        return element

    @staticmethod
    def hang(host: dict[str, Any], name: str, repeats: bool, made: Any) -> None:
        """Set or append."""
        if repeats:
            host.setdefault(name, []).append(made)
        else:
            host[name] = made

    def leaf(self, row: Row, host: dict[str, Any], name: str, made: Any, where: str) -> None:
        """Set the last element of a path."""
        step, why = row.steps[-1], self.tables.reasons
        why.add(host, step.name, where, row.place)
        if step.refers or (step.repeats and name in self.plan.names):
            kept = self.kept.get(name)
            if kept is not None:
                runtime.merge(kept, made)
                why.merged(kept, made)
                return
            self.kept[name] = made
            if step.refers:
                made["resourceType"] = step.refers
            self.hang(host, step.name, step.repeats, self.reference(made) if step.refers else made)
        elif step.repeats or step.primitive or host.get(step.name) is None:
            self.hang(host, step.name, step.repeats, made)
        else:
            runtime.merge(host[step.name], made)
            why.merged(host[step.name], made)

    def extension(self, row: Row, host: dict[str, Any], name: str, made: Any, where: str) -> None:
        """Add an extension or a part of one."""
        url, _, part = row.extension.partition("#")
        key = value_key(row.type)
        if not part:
            into = put_extension(host, url, key, made)
        elif part.startswith("#"):
            into = put_extension(joined_extension(host, url), part[1:], key, made)
        else:
            name = f"{name}{'()' if row.steps and row.steps[-1].refers else ''}|{url}"
            if self.kept.get(name) is None:
                self.kept[name] = {"url": url}
                host.setdefault("extension", []).append(self.kept[name])
            into = put_extension(self.kept[name], part, key, made)
        self.tables.reasons.add(into, key, where, row.place)

    # -- conditions --------------------------------------------------------------------------------------------------

    def holds(self, tree: Condition) -> bool:
        """Whether a condition holds."""
        if isinstance(tree, Both):
            return all(self.holds(term) for term in tree.terms)
        if isinstance(tree, Either):
            return any(self.holds(term) for term in tree.terms)
        if isinstance(tree, Not):
            return not self.holds(tree.term)
        if isinstance(tree, Valued):
            return self.text_of(tree.ref, False) != ""
        return self.compares(tree)

    def compares(self, tree: Compare) -> bool:
        """Whether a comparison holds."""
        if tree.measure:
            text = self.text_of(tree.ref, False, whole=True)
            size: float = self.cx.count(text) if tree.measure == "count" else len(text)
            return _SIGNS[tree.operator](size, int(str(tree.values[0])))
        text = self.text_of(tree.ref, True)
        values = [self.text_of(v, True) if isinstance(v, Ref) else v for v in tree.values]
        if tree.operator == "in":
            return text in values
        return _SIGNS[tree.operator](self.cx.number(text), self.cx.number(values[0]))

    def text_of(self, ref: Ref, compared: bool, *, whole: bool = False) -> str:
        """The own text of a place."""
        cx = self.cx
        if not ref.parts and ref.name in cx.facts:
            return cx.facts[ref.name]
        if ref.name != self.plan.map.source:
            return cx.near(ref.name, (*ref.parts, 1) if compared and len(ref.parts) == 1 else ref.parts)
        if not ref.parts:
            return ref.name if self.plan.of_segment else self.text
        first, rest = ref.parts[0], ref.parts[1:]
        if not self.plan.of_segment:
            text = self.components[first - 1] if first <= len(self.components) else ""
            return cx.cut(text, rest[0]) if rest else text
        own = self.fields[first] if first < len(self.fields) else ""
        if whole:
            return own
        if compared and not rest:
            rest = (1,)
        if self.current == first:
            return cx.piece(self.text, *rest) if rest else self.text
        return cx.part(self.fields, first, *rest) if rest else own


_NOT_TEXT = frozenset({"boolean", "integer", "positiveInt", "decimal"})
_SIGNS: Mapping[str, Callable[[float, float], bool]] = {
    "in": lambda a, b: a == b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _ref(text: str) -> Ref:
    name, *parts = text.replace("-", ".").split(".")
    return Ref(name, tuple(map(int, parts)))


class _Interpreter:
    """All maps of the tables, interpreted."""

    def __init__(self, tables: Tables) -> None:
        self.plans = plans(tables)
        self.vocabularies = tables.vocabularies
        self.reasons = Reasons()

    def apply(self, name: str, text: str, mark: str, cx: Run, place: str) -> Any:
        """A data type map."""
        return _Walker(self.plans[name], cx, self, place).datatype(text, mark)

    def function(self, name: str) -> Callable[[Fields, dict[str, Any], Run], None]:
        """A segment map with the signature of its compiled twin."""
        plan = self.plans[name]

        def run(fields: Fields, resource: dict[str, Any], cx: Run) -> None:
            _Walker(plan, cx, self, cx.trace.place_of(fields)).segment(fields, resource)

        return run


def interpreted(tables: Tables) -> tuple[Mapping[str, Callable[..., Any]], Reasons]:
    """Every segment map as a function that explains itself, and where the reasons gather."""
    interpreter = _Interpreter(tables)
    return {name: interpreter.function(name) for name in tables.segments}, interpreter.reasons
