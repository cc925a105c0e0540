"""Mapping tables as generated Python source: one function a file that writes NDJSON text straight from the cells.

Every distinct cell, or combination of neighbouring coded cells, is converted once, by the same functions as the
explainable twin (explain.py), and its JSON text is kept in a bounded table (memo.py); a row is then one hash for its
ids, a few lookups and one formatted string a resource. A cell that FHIR cannot give back raises :class:`Odd`, and that
row goes the twin's way; so the two must agree on every other row, and a test says that they do.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

from gateway.kernel.errors import Invalid
from gateway.mapping.hmis.conversions import (
    EPISODE_EXTENSION,
    HOUSEHOLD_EXTENSION,
    PROJECT_EXTENSION,
    VARIANT,
    Block,
    Slot,
    id_maker,
    id_prefix,
    part_tag,
)
from gateway.mapping.hmis.explain import SOURCE_PART, place_of
from gateway.mapping.hmis.memo import (
    DIRECT,
    Direct,
    Group,
    Ids,
    Memo,
    Odd,
    Profile,
    Record,
    Security,
    frame,
    key_text,
    to_json,
)
from gateway.mapping.hmis.tables import COMPUTED, ROW_EXTENSION, FileMap, Part

__all__ = ["FileFunction", "Odd", "RowFunction", "compile_file", "compile_map", "generate", "to_json"]
GROUP_BLOCKS: Final = 8  # more would repeat less often than it saves
_IN_EXTENSION: Final = {
    "episode": (EPISODE_EXTENSION, "Enrollment"),
    "project": (PROJECT_EXTENSION, "Project"),
    "household": (HOUSEHOLD_EXTENSION, "Household"),
}


@dataclass(frozen=True, slots=True)
class RowFunction:
    """The compiled mapping of a file, a row at a time.

    ``run(r, k, n, x, *appends)`` converts one row: ``r``: cells in the specification's order, computed columns after
    them; ``k``: the key as the inside of a JSON string; ``n``: ``#row``, or nothing in a store; ``x``: labels of the
    project; ``appends``: where a line of each of ``kinds`` goes. It raises Odd before it appends.
    """

    kinds: tuple[str, ...]
    key: int
    run: Callable[..., None]

    def __call__(self, cells: Sequence[str], number: str, labels: str) -> list[str]:
        """Resource types and their JSON lines in turn.

        Raises:
            Odd: the row has a cell that needs the twin.
        """
        out: dict[str, list[str]] = {kind: [] for kind in self.kinds}
        self.run(cells, key_text(cells[self.key]), number, labels, *[lines.append for lines in out.values()])
        return [text for kind, lines in out.items() for line in lines for text in (kind, line)]


@dataclass(frozen=True, slots=True)
class FileFunction:
    """The compiled mapping of a file, many rows at a time.

    ``run(rows, number, width, known, careful, odd, facts, labels, strangers, check, *appends)`` takes the rows after
    the one with that number. Those with another width, with a key in ``known``, or without key or client go to
    ``careful(number)``; a row that the twin must look at to ``odd(cells, number, labels)``. ``known`` takes the other
    keys. ``facts`` adds the computed columns to the cells (None: there are none) and ``labels`` tells those of the
    project (None: none); ``strangers(number)``, when it is not None, sees every row that was converted.
    """

    kinds: tuple[str, ...]
    computed: bool
    checked: bool  # then ``check(seen, shape, line)`` is called for a resource of a shape that is not in ``seen``
    run: Callable[..., None]


class _Writer:
    """Collects the source of one file's function and the objects that it uses."""

    def __init__(self, table: FileMap, ids: dict[str, Ids]) -> None:
        self.table, self.ids = table, ids
        self.names: dict[str, Any] = {
            "Odd": Odd,
            "sha1": hashlib.sha1,
            "prefix": id_prefix(table.source.name, table.file.name),
        }
        self.names["variant"] = VARIANT
        self.kinds = tuple(dict.fromkeys(part.resource for part in table.parts))
        self.index = {c.name: i for i, c in enumerate(table.file.columns)}
        self.columns = len(self.index)
        self.index |= {name: len(self.index) + i for i, name in enumerate(COMPUTED)}
        self.computed = False
        self.shared: dict[str, str] = {}
        self._kept: dict[Any, str] = {}

    def keep(self, prefix: str, value: Any, signature: Any = None) -> str:
        """A name for an object; objects of the same signature share it."""
        known = self._kept.get((prefix, signature)) if signature is not None else None
        if known is None:
            known = f"{prefix}{len(self.names)}"
            self.names[known] = value() if signature is not None else value
            if signature is not None:
                self._kept[prefix, signature] = known
        return known

    def cell(self, column: str) -> str:
        """The expression for a cell."""
        at = self.index[column]
        self.computed = self.computed or at >= self.columns
        return f"r[{at}]"

    def cells(self, columns: Sequence[str]) -> str:
        """The expression for some cells: itself, or a tuple."""
        if len(columns) == 1:
            return self.cell(columns[0])
        where = [self.index[name] for name in columns]
        for name in columns:
            self.cell(name)
        step = where[1] - where[0]
        if len(where) > 3 and step > 0 and where == list(range(where[0], where[-1] + 1, step)):
            return f"tuple(r[{where[0]}:{where[-1] + 1}{f':{step}' if step > 1 else ''}])"
        if len(where) > 3:
            return f"{self.keep('i', lambda: itemgetter(*where), tuple(where))}(r)"
        return f"({', '.join(f'r[{i}]' for i in where)})"

    def lookup(self, block: Block, alone: bool = False) -> str:
        """The expression for a block's text."""
        opening, closing = "()" if block.convert in DIRECT else "[]"
        return f"{self.memo(block, alone)}{opening}{self.cells(block.reads)}{closing}"

    def memo(self, block: Block, alone: bool = False) -> str:
        """The name of a block's memo; blocks that do the same share it."""
        if block.convert == "date":  # a further part tells the day that the main one gives back
            block = next((b for p in self.table.parts for b in p.blocks if b.owns and _same_day(b, block)), block)
        signature = (block.element, block.convert, tuple((s.role, s.list, s.owned, s.name) for s in block.slots), alone)
        return self.keep("m", lambda: (Direct if block.convert in DIRECT else Memo)(block, alone), signature)

    def reference(self, block: Block) -> str:
        """A reference as text of an f-string, with the key beside it where it is read back from here."""
        slot, opening, closing = block.slots[0], "", ""
        if block.convert in _IN_EXTENSION:
            url, file = _IN_EXTENSION[block.convert]
            opening, closing = f',{{"url":"{url}","valueReference":', "}"
        else:
            file = slot.role
            opening = "," if block.repeats else f',"{block.element}":'
        ids = self.ids_of(file)
        cell = self.cell(slot.name)
        beside = _quoted(',"identifier":{"value":"') + "{" + cell + "}" + _quoted('"}') if slot.owned else ""
        start = _quoted(f'{opening}{{"reference":"{self.table.source.anchors[file]}/')
        return start + "{" + f"{ids}[{cell}]" + '}"' + beside + _quoted("}" + closing)

    def ids_of(self, file: str) -> str:
        """The name of the ids of a file's rows."""
        return self.keep("f", lambda: self.ids.setdefault(file, Ids(self.table.source.name, file)), file)

    def group(self, blocks: Sequence[Block], alone: bool) -> str:
        """The expression for the texts of neighbouring blocks, looked up at once."""
        before, after = frame(blocks[0], alone)
        memos = [(self.names[self.memo(block)], len(block.reads)) for block in blocks]
        name = self.keep("g", Group(memos, before, after))
        return f"{name}[{self.cells([column for block in blocks for column in block.reads])}]"


def _same_day(one: Block, other: Block) -> bool:
    return (one.convert, one.element, one.reads) == (other.convert, other.element, other.reads)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'").replace("{", "{{").replace("}", "}}")


@dataclass(slots=True)
class _Pieces:
    """The elements of one part as text of an f-string; ``owned`` are the expressions whose text says it is filled."""

    body: list[str]
    arrays: dict[str, list[tuple[str, bool]]]  # element -> pieces, and whether each is an expression
    owned: list[str]


def generate(
    table: FileMap, ids: dict[str, Ids] | None = None, *, checked: bool = False
) -> tuple[list[str], "_Writer"]:
    """The lines of source that convert a row, and the names that they use.

    They find in ``r`` the cells, in ``k`` the key as JSON text, in ``n`` the row's mark, in ``x`` the project's labels.
    """
    w = _Writer(table, {} if ids is None else ids)
    pieces = [_pieces(w, part) for part in table.parts]
    common = [p for part, p in zip(table.parts, pieces, strict=True) if _every_row(part)]
    used = [e for p in pieces for e in _expressions(p)]
    held = {e for p in common for e in _expressions(p)}
    lines = _identity(w)
    deleted = any(c.name == "DateDeleted" for c in table.file.columns)
    lines.append(f"d = {w.cell('DateDeleted')}" if deleted else "d = ''")
    for expression, count in Counter(used).items():
        if count > 1 and expression in held:
            w.shared[expression] = f"s{len(w.shared)}"
            lines.append(f"{w.shared[expression]} = {expression}")
    _parts(w, pieces, lines, checked)
    return lines, w


def _identity(w: _Writer) -> list[str]:
    """``u``: the id of the main part; ``w``: that of the others without their tag (see conversions.id_maker)."""
    key = w.cell(w.table.file.key)
    if w.table.file.name in w.table.source.anchors:  # other files ask for it
        lines = [f"u = {w.ids_of(w.table.file.name)}[{key}]"]
    else:
        lines = [
            f"key = {key}",
            'h = sha1(prefix + f"{len(key)}:{key}".encode(), usedforsecurity=False).hexdigest()',
            'u = f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{variant[h[16]]}{h[17:20]}-{h[20:32]}"',
        ]
    if not all(part.anchor or part.name == SOURCE_PART for part in w.table.parts):
        lines.append('w = f"{u[:14]}8{u[15:32]}"')
    return lines


def _every_row(part: Part) -> bool:
    return part.when is None and (part.anchor or part.always)


_INSIDE: Final = re.compile(r"(?<!{){([^{}]+)}(?!})")


def _expressions(pieces: _Pieces) -> list[str]:
    inside = [found for text in pieces.body for found in _INSIDE.findall(text)]
    for text, dynamic in (piece for its in pieces.arrays.values() for piece in its):
        inside += [text] if dynamic else _INSIDE.findall(text)
    return [text for text in inside if "[" in text and not text.startswith("r[")]


def _pieces(w: _Writer, part: Part) -> _Pieces:
    """The elements of a part; constant items of an array come first, so that its later ones begin with a comma."""
    out = _Pieces([], {}, [])
    for element, value in part.constants:
        if element.endswith("[]"):
            out.arrays.setdefault(element[:-2], []).append((_quoted("," + to_json(value)), False))
    runs = _runs(part.blocks)
    shares = Counter(run[0].element for run in runs)
    for blocks in runs:
        block = blocks[0]
        if _fixed(w, block):
            text, dynamic = _fixed(w, block), False
        else:
            alone = block.repeats and shares[block.element] == 1 and block.element[:-2] not in out.arrays
            text, dynamic = (w.group(blocks, alone) if len(blocks) > 1 else w.lookup(block, alone)), True
            if block.owns:
                out.owned.append(text)
            if alone or not block.repeats:
                out.body.append("{" + text + "}")
                continue
        if block.repeats:
            out.arrays.setdefault(block.element[:-2], []).append((text, dynamic))
        else:
            out.body.append(text)
    return out


def _fixed(w: _Writer, block: Block) -> str:
    """A block that every row fills with text that only ids and keys complete; empty: it is looked up.

    A row with an empty reference is odd; its key is refused where its id is made (memo.Ids).
    """
    if block.convert == "identifier" and block.owns == (w.table.file.key,):
        system = f"{w.table.source.base}/{block.owns[0]}"
        return _quoted(f',{{"system":{to_json(system)},"value":"') + "{k}" + _quoted('"}')
    if block.convert == "reference" or block.convert in _IN_EXTENSION:
        return w.reference(block)
    if block.convert == "part-reference":
        type_ = block.slots[0].role.split(":")[0]
        return _quoted(f',"{block.element}":{{"reference":"{type_}/') + "{u}" + _quoted('"}')
    return ""


def _runs(blocks: Sequence[Block]) -> list[list[Block]]:
    """Neighbouring blocks of coded or numeric columns of one array, in groups; every other block alone."""
    runs: list[list[Block]] = []
    for block in blocks:
        last = runs[-1] if runs else []
        if last and len(last) < GROUP_BLOCKS and _groups(block) and _alike(block, last[0]):
            last.append(block)
        else:
            runs.append([block])
    return runs


def _alike(block: Block, first: Block) -> bool:
    return _groups(first) and first.element == block.element and bool(first.owns) == bool(block.owns)


def _groups(block: Block) -> bool:
    coded = all(slot.list or slot.type[:1] in ("I", "M") for slot in block.slots)
    return coded and block.convert in ("component", "item", "extension")


def _parts(w: _Writer, pieces: Sequence[_Pieces], out: list[str], checked: bool) -> None:
    """The code of every part: those of every row as they are, others behind the test that calls for them."""
    chosen: list[str] = []
    appends: list[str] = []
    for number, (part, its) in enumerate(zip(w.table.parts, pieces, strict=True)):
        indent = 0
        if part.when is not None:
            column, codes = part.when
            test = "not (" + " or ".join(chosen) + ")" if chosen else "True"
            if column:
                test = f"{w.cell(column)}.strip() in {w.keep('s', frozenset(codes))}"
                if part.anchor:
                    chosen.append(test)
            out.append(f"if {test}:")
            indent = 1
        elif not _every_row(part):
            out.append(f"t{number} = None")
            out.append("if " + " or ".join(_ranges(w, part)) + ":")
            indent = 1
        if part.when is not None:
            out.insert(len(out) - 1, f"t{number} = None")
        _part(w, part, its, number, indent, out)
        test = "" if _every_row(part) else f"if t{number} is not None: "
        if checked:
            seen = w.keep("V", set())
            there = "" if _every_row(part) else f"t{number} is not None and "
            appends.append(f"if {there}(g := {_shape(w, part)}) not in {seen}: check({seen}, g, t{number})")
        appends.append(f"{test}A{w.kinds.index(part.resource)}(t{number})")
    out += appends


def _shape(w: _Writer, part: Part) -> str:
    """The expression for what decides whether a resource is valid: codes as they are, of all else whether it is there.

    Keys, days, numbers, names and texts have their form by the conversions themselves (a test holds them to it), so one
    resource of a shape stands for all of them.
    """
    free = {slot.name for block in part.blocks for slot in block.slots if not _coded(slot)} | set(part.audit)
    names = {name for block in part.blocks for name in block.reads} | free
    names |= {part.when[0]} if part.when and part.when[0] else set()
    names |= {"DateDeleted"} if "DateDeleted" in w.index else set()
    known = sorted((name for name in names if name in w.index), key=lambda name: w.index[name])
    texts = [f"r[{w.index[name]}]" if name not in free else f"not r[{w.index[name]}]" for name in known]
    return f"({', '.join(['x', *texts])},)"


def _coded(slot: Slot) -> bool:
    return bool(slot.list) or slot.name[:1] == "@"


def _ranges(w: _Writer, part: Part) -> list[str]:
    """Tests whether any column that the part owns is filled: neighbouring columns are compared at once."""
    where = sorted(w.index[name] for name in part.owns)
    tests, start = [], 0
    for at in range(1, len(where) + 1):
        if at == len(where) or where[at] != where[at - 1] + 1:
            first, count = where[start], at - start
            empty = w.keep("e", lambda n=count: [""] * n, count)
            tests.append(f"r[{first}]" if count == 1 else f"r[{first}:{first + count}] != {empty}")
            start = at
    return tests or ["False"]


def _part(w: _Writer, part: Part, pieces: _Pieces, number: int, indent: int, out: list[str]) -> None:
    pad = "    " * indent
    local: dict[str, str] = dict(w.shared)
    if not (part.anchor or part.always):
        names: list[str] = []
        for expression in dict.fromkeys(pieces.owned):
            names.append(f"v{len(names)}")
            out.append(f"{pad}{names[-1]} = {expression}")
            local[expression] = names[-1]
        out.append(f"{pad}if {' or '.join(names) or 'False'}:")
        pad += "    "
    body = "".join(_known(text, local) for text in pieces.body)
    after = []
    for count, (name, its) in enumerate(pieces.arrays.items()):
        texts = [_known("{" + text + "}" if dynamic else text, local) for text, dynamic in its]
        fixed = [i for i, (_, dynamic) in enumerate(its) if not dynamic]
        if fixed:
            first = fixed[0]
            after.append(f',"{name}":[' + "".join([texts[first][1:], *texts[:first], *texts[first + 1 :]]) + "]")
        else:
            out.append(f"{pad}a = f'" + "".join(texts) + "'")
            out.append(f"{pad}a{count} = ',\"{name}\":[' + a[1:] + ']' if a else ''")
            after.append(f"{{a{count}}}")
    head, constants = _head(w, part), _constants(w, part)
    out.append(f"{pad}t{number} = f'{head}{constants}{body}{''.join(after)}}}}}'")


def _known(text: str, local: dict[str, str]) -> str:
    for expression, name in local.items():
        text = text.replace("{" + expression + "}", "{" + name + "}")
    return text


def _constants(w: _Writer, part: Part) -> str:
    """Constant elements, and those that a deleted row has instead."""
    plain = [(e, v) for e, v in part.constants if not e.endswith("[]")]
    normal = "".join(f",{to_json(e)}:{to_json(v)}" for e, v in plain)
    if not part.deleted:
        return _quoted(normal)
    kept = [(e, v) for e, v in plain if e not in part.deleted] + [(e, v) for e, v in part.deleted.items() if v != ""]
    gone = "".join(f",{to_json(e)}:{to_json(v)}" for e, v in kept)
    return "{" + f"{w.keep('c', gone)} if d else {w.keep('c', normal)}" + "}"


def _head(w: _Writer, part: Part) -> str:
    """resourceType, id and meta."""
    if part.anchor:
        identity = "{u}"
    elif part.name == SOURCE_PART:
        maker = w.keep("id", id_maker(w.table.source.name, w.table.file.name, part.name))
        identity = "{" + f"{maker}({w.cell('@source')})" + "}"
    else:
        identity = "{w}" + part_tag(part.name)
    record = "{" + f"{w.keep('q', Record(part.audit))}[{_tuple(w, part.audit)}]" + "}" if part.audit else ""
    columns = tuple(part.value_labels)
    security = w.keep("z", Security(w.table, part, columns))
    labels = ", ".join(["x", *(w.cell(c) for c in columns)])
    place = place_of(w.table.file.name, part, None)
    return (
        _quoted(f'{{"resourceType":"{part.resource}","id":"')
        + identity
        + _quoted(f'","meta":{{"extension":[{{"url":"{ROW_EXTENSION}","valueString":"{place}')
        + "{n}"
        + _quoted('"}')
        + record
        + _quoted(f'],"source":{to_json(w.table.source.base)}')
        + "".join(_profile(w, part, profile) for profile in part.profiles)
        + "{"
        + f"{security}[{labels}]"
        + "}"
        + _quoted("}")
    )


def _profile(w: _Writer, part: Part, profile: tuple[str, str]) -> str:
    """A claim that every row makes, or the look-up of those that do. No part has two.

    Raises:
        Invalid: a part with two profiles, or one for an element that none of its rows makes.
    """
    if not profile[1]:
        return f',"profile":["{profile[0]}"]'
    element = profile[1].partition(" ")[0]
    block = next((b for b in part.blocks if b.element == element or (b.convert, element) == ("roi", "dateTime")), None)
    if block is None or len(part.profiles) > 1:
        raise Invalid(f"{part.name} cannot claim a profile by {element}", at=f"mappings: {w.table.file.name}")
    return "{" + f"{w.keep('p', Profile(profile, block))}[{w.cells(block.reads)}]" + "}"


def _tuple(w: _Writer, columns: Sequence[str]) -> str:
    text = w.cells(columns)
    return f"({text},)" if len(columns) == 1 else text


@lru_cache(maxsize=256)
def compile_map(table: FileMap) -> RowFunction:
    """The generated function of a file, for a row at a time; kept as long as the maps of the last sources are."""
    lines, w = generate(table)
    head = f"def convert(r, k, n, x{_appends(w)}):"
    key = [column.name for column in table.file.columns].index(table.file.key)
    return RowFunction(w.kinds, key, _compiled(w, [head, *(f"    {line}" for line in lines)]))


def compile_file(table: FileMap, ids: dict[str, Ids], *, checked: bool = False) -> FileFunction:
    """The generated function of a file, for many rows at a time; ``ids`` by file are shared by an export's files."""
    lines, w = generate(table, ids, checked=checked)
    columns = [column.name for column in table.file.columns]
    key, person = columns.index(table.file.key), columns.index(table.person or table.file.key)
    blank = "not k" if person == key else f"not k or not r[{person}].strip()"
    source = [
        f"def convert(rows, number, width, known, careful, odd, facts, labels, strangers, check{_appends(w)}):",
        "    add, x = known.add, ''",
        "    for r in rows:",
        "        number += 1",
        "        if len(r) != width:",
        "            careful(number)",
        "            continue",
        f"        k = r[{key}]",
        f"        if k in known or {blank}:",
        "            careful(number)",
        "            continue",
        "        add(k)",
        "        if labels is not None:",
        "            x = labels(r)",
        "        if facts is not None:",
        "            r = r + facts(r)",
        '        n = f"#{number}"',
        "        try:",
        *(f"            {line}" for line in lines),
        "        except Odd:",
        "            odd(r, number, x)",
        "        if strangers is not None:",
        "            strangers(number)",
    ]
    return FileFunction(w.kinds, w.computed, checked, _compiled(w, source))


def _appends(w: _Writer) -> str:
    return "".join(f", A{i}" for i in range(len(w.kinds)))


def _compiled(w: _Writer, source: Sequence[str]) -> Callable[..., None]:
    scope = dict(w.names)
    exec(compile("\n".join(source) + "\n", f"<hmis {w.table.file.name}>", "exec"), scope)  # noqa: S102 - our own tables
    function: Callable[..., None] = scope["convert"]
    return function
