"""Tables compiled to Python source: one function for each map, no lookups of rows at run time.

A data type function takes ``(v, S, cx)``: own text, the delimiter that divides it, the run; it returns a dict or value,
or None. A segment function takes ``(f, r, cx)``: fields, the resource to fill, the run. :mod:`interpret` does the same
step by step and says why; tests hold the two equal. Conditions on what is known already are folded away, parts that
conditions look at often are cut once, and the value of a coded text (a class, a ward's authority, a diagnosis) is
remembered by its text, since a feed has few of them; each use gets a copy of its own.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import orjson

from gateway.mapping.hl7v2 import runtime, values
from gateway.mapping.hl7v2.conditions import Both, Compare, Condition, Either, Not, Ref, Valued
from gateway.mapping.hl7v2.model import PRIMITIVES, Map, Row, Vocabulary
from gateway.mapping.hl7v2.plan import TEXTS, Group, Placed, Plan, value_key, walk

_QUICK: Final = {  # the usual case without a call, or with one that remembers; None goes the long way
    "code": "(({0} or None) if ' ' not in {0} and {0}.isprintable() else None)",
    "uri": "(({0} or None) if ' ' not in {0} and {0}.isprintable() else None)",
    "date": "to_date({0})",
    "dateTime": "cx.stamp.datetime({0})",
    "instant": "cx.stamp.instant({0})",
}
FILE: Final = "<tables of the HL7 v2 bridge>"
CODED: Final = frozenset({"CWE", "HD", "ID", "MSG", "PT", "FC"})  # data types of which a feed says the same few things
_OFTEN: Final = 2  # conditions that look at one component, from which on it is cut once


def function_name(map_name: str) -> str:
    """``d_CX_Identifier`` or ``s_PID_Patient``; one name for each map."""
    return "m_" + map_name.rstrip("]").replace("[", "_").replace("-", "_")


class _Writer:
    """Python source of one map."""

    def __init__(self, plan: Plan, coded: "Coded | None" = None) -> None:
        self.plan = plan
        self.coded = coded
        self.lines: list[str] = []
        self.depth = 0
        self.names = {name: f"i{index}" for index, name in enumerate(plan.names)}
        self.group: Group | None = None
        asked: Counter[int] = Counter()
        if not plan.of_segment:
            for group in plan.groups:
                for placed in group.rows:
                    asked.update(
                        ref.parts[0] for ref in refs_in(placed.row.condition)
                        if ref.name == plan.map.source and ref.parts and ref.parts[0] != group.position
                    )  # fmt: skip
        self.cut = {number: f"e{number}" for number, times in sorted(asked.items()) if times >= _OFTEN}

    def put(self, text: str) -> None:
        """One line of Python at the depth at hand."""
        self.lines.append("    " * self.depth + text)

    # -- functions ---------------------------------------------------------------------------------------------------

    def function(self) -> str:
        """The whole function of the map."""
        segment = self.plan.of_segment
        self.put(f"def {function_name(self.plan.map.name)}({'f, r, cx' if segment else 'v, S, cx'}):")
        self.depth += 1
        if segment:
            self.put("n = len(f); R = cx.R; C = cx.C; U = cx.E; F = cx.fails; M = cx.M; J = cx.facts['JURISDICTION']")
        else:
            self.put("c = v.split(S) if S else [v]")
            self.put("n = len(c); D = cx.T if S == cx.C else ''; U = cx.E; F = cx.fails; r = {}; z = None")
        for number, name in self.cut.items():
            self.put(f"{name} = c[{number - 1}] if n >= {number} else ''")
        if any(ref.name == "JURISDICTION" for ref in self._asked()) and not segment:
            self.put("J = cx.facts['JURISDICTION']")
        if self.names:
            self.put(" = ".join(self.names.values()) + " = None")
        for group in self.plan.groups:
            if group.silent:
                continue
            self.group = group
            (self.segment_group if segment else self.component_group)(group)
        if not segment:
            if not self.plan.consumes:
                lowest = min(set(range(1, max(self.plan.handled) + 2)) - self.plan.handled)
                self.put(f"if n >= {lowest}: cx.beyond(c, {function_name(self.plan.map.name)}_h)")
            self.put("return z" if self.plan.map.returns_value else "return r or None")
        return "\n".join(self.lines) + "\n"

    def _asked(self) -> Iterator[Ref]:
        for group in self.plan.groups:
            for placed in group.rows:
                yield from refs_in(placed.row.condition)

    def segment_group(self, group: Group) -> None:
        """The rows of one field, once for each repetition where they repeat."""
        start = self.depth
        k = group.position
        if k:
            self.put(f"if n > {k} and f[{k}]:")
            self.depth += 1
        if not group.always and group.first:
            self.put("d = False")
        if group.loops:
            self.put(f"w = False; t = f[{k}]")
            self.put("for v in (t.split(R) if R and R in t else (t,)):")
            self.depth += 1
            self.put("if not v: continue")
            if group.fresh:
                reset = " = ".join(self.names[name] for name in group.fresh)
                self.put(f"if w: {reset} = None")
            self.put("w = True")
        elif k:
            self.put(f"v = f[{k}]")
            if not group.whole:
                self.put("if R and R in v: v = cx.only(v)")
        for placed in group.rows:
            self.row(placed, "v" if k else "", "C")
        if group.loops:
            self.depth -= 1
        if k:
            if not group.always and group.last:
                self.put(f"if not d: cx.miss('', f[{k}], 'no row has a condition that holds')")
            self.put(f"if F: cx.trace.flush(f, {k})")
        self.depth = start

    def component_group(self, group: Group) -> None:
        """The rows of one component."""
        start = self.depth
        k = group.position
        if k:
            self.put(f"if n >= {k} and (t := c[{k - 1}]):")
            self.depth += 1
        if not group.always and k:
            self.put("d = False")
        for placed in group.rows:
            self.row(placed, "t" if k else "v", "D" if k else "S")
        if not group.always and k:
            self.put(f"if not d: cx.miss('{k}', t, 'no row has a condition that holds')")
        self.depth = start

    # -- one row -----------------------------------------------------------------------------------------------------

    def row(self, placed: Placed, text: str, mark: str) -> None:
        """One row: its condition, its value, its place."""
        row, start = placed.row, self.depth
        test = "" if row.condition is None else self.condition(row.condition)
        if test not in ("", "True"):
            self.put(f"if {test}:")
            self.depth += 1
        assert self.group is not None
        if not self.group.always and (self.group.position or not self.plan.of_segment):
            self.put("d = True")
        if not (row.target or row.extension):
            self.put("pass")
            self.depth = start
            return
        if placed.guard:
            self.put(f"if {self.names[placed.guard]} is not None:")
            self.depth += 1
        self.value(row, text, mark, placed.shared)
        if not row.constant:
            self.put("if x is not None:")
            self.depth += 1
        self.place(row, placed.shared, placed.guard)
        self.depth = start

    def value(self, row: Row, text: str, mark: str, shared: str) -> None:
        """Lines that put the value of a row in ``x``."""
        label = self.label(row)
        if row.assignment is not None:
            if row.constant:
                literal: Any = "".join(part for _, part in row.assignment)
                if row.type in ("boolean", "integer", "positiveInt", "decimal"):
                    literal = values.CONVERSIONS[row.type](literal, values.NO_STAMPS)
                self.put(f"x = {literal!r}")
            else:
                parts = [repr(p) if kind == "text" else self.ref_text(_ref(p), True) for kind, p in row.assignment]
                self.put(f"x = cx.joined(({', '.join(parts)},))")
            return
        inner = row.source.component if self.plan.of_segment else 0
        sub = row.source.subcomponent if self.plan.of_segment else row.source.component
        if inner:
            self.put(f"p = cx.piece({text}, {inner}, {sub})")
            text, mark = "p", "''" if sub else "cx.T"
        elif sub:
            self.put(f"p = cx.cut({text}, {sub})")
            text, mark = "p", "''"
        if inner or sub:
            self.put("x = None")
            self.put("if p:")
            self.depth += 1
        self.convert(row, text, mark, label, shared)
        if inner or sub:
            self.depth -= 1

    def label(self, row: Row) -> str:
        """The component that a left-over value of this row is told with."""
        numbers = (row.source.component, row.source.subcomponent)
        if not self.plan.of_segment:
            numbers = (row.source.field, row.source.component)
        return ".".join(str(n) for n in numbers if n)

    def convert(self, row: Row, text: str, mark: str, label: str, shared: str) -> None:
        """Lines that turn the own text into the value of the element."""
        if "[" in row.datatype:
            function = function_name(row.datatype)
            site = self.coded.site(row, mark) if self.coded is not None and self.plan.of_segment and not shared else 0
            if label:
                self.put("q = len(F)")
            if site:
                concept = f"V_{_plain(row.vocabulary)}" if row.vocabulary else "None"
                self.put(f"x = M[{site}].get({text})")
                self.put(f"x = loads(x) if x is not None else cx.learn({site}, {text}, {mark}, {function}, {concept})")
                if label:
                    self.put(f"if len(F) > q: cx.prefix(q, {label!r})")
                return
            if shared:
                self.put(f"x = cx.thing({row.datatype!r}, {shared!r}, {text}, {mark}, {function})")
            else:
                self.put(f"x = {function}({text}, {mark}, cx)")
            if label:
                self.put(f"if len(F) > q: cx.prefix(q, {label!r})")
            if row.vocabulary:
                self.put(f"if x is not None: x = cx.concept(x, V_{_plain(row.vocabulary)})")
            return
        if row.datatype:
            self.put(f"x = cx.built_in({row.datatype!r}, {text}, {label!r})")
            return
        keeps = row.type in TEXTS and not self.plan.of_segment
        if mark != "''" and not keeps and not (self.group and self.group.whole):
            self.put(f"p = cx.head({text}, {mark}, {label!r}) if {mark} and {mark} in {text} else {text}")
            text = "p"
        if row.vocabulary and row.type != "boolean":
            name = _plain(row.vocabulary)
            self.put(f"x = K_{name}.get({text})")
            self.put(f"if x is None: x = cx.coded(V_{name}, {text}, {label!r})")
        elif row.type in TEXTS:
            self.put(f"x = ({text} or None) if U is None else cx.primitive('string', {text}, {label!r})")
        elif row.type in _QUICK:
            self.put(f"x = {_QUICK[row.type].format(text)} if U is None else None")
            self.put(f"if x is None: x = cx.primitive({row.type!r}, {text}, {label!r})")
        elif row.type in PRIMITIVES:
            self.put(f"x = cx.primitive({row.type!r}, {text}, {label!r})")
        else:
            self.put(f"x = {text}")

    # -- placing -----------------------------------------------------------------------------------------------------

    def place(self, row: Row, shared: str, guard: str) -> None:
        """Lines that put ``x`` where the path leads."""
        if row.special == "$value":
            self.put("z = x")
            return
        if row.special == "$this" and not row.extension:
            self.put("merge(r, x)" if self.plan.of_segment else "r = merged(r, x) if r else x")
            return
        host, name = "r", ""
        steps = list(walk(row.steps))
        for index, (step, name) in enumerate(steps):
            if index == len(steps) - 1 and not row.extension:
                if shared:
                    self.put(_append(host, step.name, "{'reference': x}", step.repeats))
                else:
                    self.leaf(row, host, name)
                return
            if step.primitive:
                self.put(f"h = {host}.setdefault('_{step.name}', {{}})")
                host = "h"
            elif step.refers:
                var = self.names[name]
                self.put(f"if {var} is None:")
                self.put(f"    {var} = {{'resourceType': '{step.refers}'}}; e = {{}}; cx.refs.append((e, {var}))")
                self.put("    " + _append(host, step.name, "e", step.repeats))
                host = var
            elif step.repeats and name == guard:
                host = self.names[name]
            elif step.repeats:
                var = self.names[name]
                self.put(f"if {var} is None:")
                if step.written:
                    self.put(f"    {var} = {{}}; {_append(host, step.name, var, True)}")
                else:
                    self.put(f"    {var} = held({host}, '{step.name}')")
                host = var
            else:
                self.put(f"h{index} = {host}.get('{step.name}')")
                self.put(f"if h{index} is None: h{index} = {host}['{step.name}'] = {{}}")
                host = f"h{index}"
        self.extension(row, host, name)

    def leaf(self, row: Row, host: str, name: str) -> None:
        """Lines that set the last element of a path."""
        step = row.steps[-1]
        if step.refers:
            var = self.names[name]
            self.put(f"if {var} is None:")
            self.put(f"    {var} = x; x['resourceType'] = '{step.refers}'; e = {{}}; cx.refs.append((e, x))")
            self.put("    " + _append(host, step.name, "e", step.repeats))
            self.put(f"else: merge({var}, x)")
        elif step.repeats and name in self.names:
            var = self.names[name]
            self.put(f"if {var} is None:")
            self.put(f"    {var} = x; {_append(host, step.name, 'x', True)}")
            self.put(f"else: merge({var}, x)")
        elif step.repeats:
            self.put(_append(host, step.name, "x", True))
        elif step.primitive:
            self.put(f"{host}['{step.name}'] = x")
        else:
            self.put(f"y = {host}.get('{step.name}')")
            self.put(f"if y is None: {host}['{step.name}'] = x")
            self.put("else: merge(y, x)")

    def extension(self, row: Row, host: str, name: str) -> None:
        """Lines that add an extension or a part of one."""
        url, _, part = row.extension.partition("#")
        key = value_key(row.type)
        if not part:
            self.put(f"{host}.setdefault('extension', []).append({{'url': {url!r}, {key!r}: x}})")
            return
        if part.startswith("#"):
            self.put(f"put_extension(joined_extension({host}, {url!r}), {part[1:]!r}, {key!r}, x)")
            return
        var = self.names[f"{name}{'()' if row.steps and row.steps[-1].refers else ''}|{url}"]
        self.put(f"if {var} is None:")
        self.put(f"    {var} = {{'url': {url!r}}}; {host}.setdefault('extension', []).append({var})")
        self.put(f"put_extension({var}, {part!r}, {key!r}, x)")

    # -- conditions --------------------------------------------------------------------------------------------------

    def condition(self, tree: Condition) -> str:
        """Python expression of a condition; ``True`` and ``False`` when what is known already decides."""
        if isinstance(tree, (Both, Either)):
            both = isinstance(tree, Both)
            terms = [self.condition(term) for term in tree.terms]
            if str(not both) in terms:
                return str(not both)
            terms = [term for term in terms if term != str(both)]
            return "(" + (" and " if both else " or ").join(terms) + ")" if terms else str(both)
        if isinstance(tree, Not):
            inner = self.condition(tree.term)
            return {"True": "False", "False": "True"}.get(inner) or f"(not {inner})"
        if isinstance(tree, Valued):
            text = self.ref_text(tree.ref, False)
            return "True" if text == "t" and not self.plan.of_segment else f"({text} != '')"
        if tree.measure:
            text = self.ref_text(tree.ref, False, whole=True)
            left = f"cx.count({text})" if tree.measure == "count" else f"len({text})"
            sign = "==" if tree.operator == "in" else tree.operator
            return f"({left} {sign} {int(str(tree.values[0]))})"
        compared = [self.ref_text(v, True) if isinstance(v, Ref) else repr(v) for v in tree.values]
        if tree.operator == "in":
            return f"({self.ref_text(tree.ref, True)} in ({', '.join(compared)},))"
        return f"(cx.number({self.ref_text(tree.ref, True)}) {tree.operator} cx.number({compared[0]}))"

    def ref_text(self, ref: Ref, compared: bool, *, whole: bool = False) -> str:
        """Python expression for the own text of a place; ``compared``: its first component where it has some."""
        if not ref.parts and ref.name == "JURISDICTION" and self.coded is not None:
            return "J"
        if not ref.parts and ref.name in ("JURISDICTION", "TRIGGER", "STRUCTURE"):
            return f"cx.facts[{ref.name!r}]"
        if ref.name != self.plan.map.source:
            parts = (*ref.parts, 1) if compared and len(ref.parts) == 1 else ref.parts
            return f"cx.near({ref.name!r}, {parts!r})"
        if not ref.parts:
            return repr(ref.name) if self.plan.of_segment else "v"
        first, rest = ref.parts[0], ref.parts[1:]
        if not self.plan.of_segment:
            own = self.group is not None and self.group.position == first
            text = "t" if own else self.cut.get(first) or f"(c[{first - 1}] if n >= {first} else '')"
            return f"cx.cut({text}, {rest[0]})" if rest else text
        if whole:
            return f"(f[{first}] if n > {first} else '')"
        looped = self.group is not None and self.group.position == first and first > 0
        if compared and not rest:
            rest = (1,)
        if looped and rest == (1,):
            return "(v.split(C, 1)[0] if C else v)"
        if looped:
            return f"cx.piece(v, {', '.join(map(str, rest))})" if rest else "v"
        if rest:
            return f"cx.part(f, {first}, {', '.join(map(str, rest))})"
        return f"(f[{first}] if n > {first} else '')"


def _append(host: str, name: str, value: str, repeats: bool) -> str:
    return f"{host}.setdefault('{name}', []).append({value})" if repeats else f"{host}['{name}'] = {value}"


def _ref(text: str) -> Ref:
    name, *parts = text.replace("-", ".").split(".")
    return Ref(name, tuple(map(int, parts)))


def _plain(name: str) -> str:
    return name.replace("-", "_")


def refs_in(tree: Condition | None) -> Iterator[Ref]:
    """Every place that a condition looks at."""
    if isinstance(tree, (Both, Either)):
        for term in tree.terms:
            yield from refs_in(term)
    elif isinstance(tree, Not):
        yield from refs_in(tree.term)
    elif isinstance(tree, (Valued, Compare)):
        yield tree.ref
        if isinstance(tree, Compare):
            yield from (value for value in tree.values if isinstance(value, Ref))


class Coded:
    """Which data type maps give the same value for the same text of one sender, and a number for each use of one."""

    def __init__(self, every: Mapping[str, Plan]) -> None:
        self._plans = every
        self._pure: dict[str, bool] = {}
        self._sites: dict[tuple[str, str, str], int] = {}

    def site(self, row: Row, mark: str) -> int:
        """The number of this use; 0 when its values are not remembered."""
        if row.datatype.split("[")[0] not in CODED or not self.pure(row.datatype):
            return 0
        return self._sites.setdefault((row.datatype, row.vocabulary, mark), len(self._sites) + 1)

    def pure(self, name: str) -> bool:
        """Whether the map looks at nothing but its text and the sender's settings, and makes no resource."""
        known = self._pure.get(name)
        if known is None:
            self._pure[name] = True  # a map that uses itself is as pure as its other rows
            plan = self._plans[name]
            rows = [placed.row for group in plan.groups for placed in group.rows]
            known = self._pure[name] = all(
                not any(step.refers for step in row.steps)
                and all(ref.name in (plan.map.source, "JURISDICTION") for ref in refs_in(row.condition))
                and all(kind == "text" or part.split(".")[0] == plan.map.source for kind, part in row.assignment or ())
                and ("[" not in row.datatype or self.pure(row.datatype))
                for row in rows
            )
        return known


class Compiled(Mapping[str, Callable[..., Any]]):
    """Every map as a function, by its name (``PID[Patient]``); compiled when first asked for, with what it calls."""

    def __init__(self, planned: Mapping[str, Plan], vocabularies: Iterable[Vocabulary]) -> None:
        self._plans = planned
        self._coded = Coded(self._plans)
        self._space: dict[str, Any] = {
            "merge": runtime.merge,
            "merged": runtime.merged,
            "put_extension": runtime.put_extension,
            "joined_extension": runtime.joined_extension,
            "held": runtime.held,
            "to_date": values.to_date,
            "loads": orjson.loads,
        }
        for vocabulary in vocabularies:
            name = _plain(vocabulary.name)
            self._space[f"V_{name}"] = vocabulary
            self._space[f"K_{name}"] = {k: c.code for k, c in vocabulary.codes.items() if c is not None}

    def __len__(self) -> int:
        return len(self._plans)

    def __iter__(self) -> Iterator[str]:
        return iter(self._plans)

    def __getitem__(self, name: str) -> Callable[..., Any]:
        function = function_name(name)
        if function not in self._space:
            wanted, source, taken = [name], [], set()
            while wanted:
                one = wanted.pop()
                if one not in taken and function_name(one) not in self._space:
                    plan = self._plans[one]
                    taken.add(one)
                    self._space[f"{function_name(one)}_h"] = plan.handled
                    source.append(self.source(one))
                    wanted += [p.row.datatype for g in plan.groups for p in g.rows if "[" in p.row.datatype]
            exec(compile("\n\n".join(source), FILE, "exec"), self._space)  # noqa: S102  our own tables, checked
        made: Callable[..., Any] = self._space[function]
        return made

    def source(self, name: str) -> str:
        """The Python text of one map."""
        return _Writer(self._plans[name], self._coded).function()


def condition_function(tree: Condition, segment: str) -> Callable[..., bool]:
    """A condition of a message row as ``(fields, number of fields, repetition mark, run) -> bool``."""
    plan = Plan(Map("", "/segments/", segment, "", ()), (), (), frozenset(), False)
    made: Callable[..., bool] = eval(f"lambda f, n, R, cx: {_Writer(plan).condition(tree)}", {})  # noqa: S307  as above
    return made
