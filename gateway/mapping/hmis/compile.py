"""Mapping tables as generated Python source: one function a file that writes NDJSON text straight from the cells.

Every distinct cell is converted once, by the same functions as the explainable twin (explain.py), and its JSON text is
kept in a bounded table; a row is then a few lookups and one formatted string. A cell that FHIR cannot give back raises
:class:`Odd`, and that row goes the twin's way; so the two must agree on every other row, and a test says that they do.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final

import orjson

from gateway.mapping.hmis import values
from gateway.mapping.hmis.conversions import (
    EPISODE_EXTENSION,
    PROJECT_EXTENSION,
    Block,
    id_maker,
)
from gateway.mapping.hmis.explain import SOURCE_PART, audit_value
from gateway.mapping.hmis.tables import AUDIT, COMPUTED, ROW_EXTENSION, FileMap, Part

KEPT_VALUES: Final = 1 << 15  # distinct cells remembered for a block: bounds memory
KEPT_GROUPS: Final = 1 << 12  # distinct combinations remembered for neighbouring blocks
GROUP_BLOCKS: Final = 8  # more would repeat less often than it saves
RowFunction = Callable[[Sequence[str], str, str], "list[str]"]


class Odd(Exception):
    """A cell whose FHIR form does not lead back to it."""


def to_json(value: Any) -> str:
    """FHIR JSON text of a value; a decimal keeps its digits."""
    return orjson.dumps(value, default=_decimal).decode()


def _decimal(value: Any) -> Any:
    if isinstance(value, Decimal):
        return orjson.Fragment(str(value).encode())
    raise TypeError(type(value).__name__)


class Memo(dict[Any, str]):
    """Cells of a block -> its JSON text, converted on first sight."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self._forward, self._inverse = block.forward, block.inverse
        self._single = len(block.reads) == 1
        self._owned = tuple(i for i, slot in enumerate(block.slots) if slot.owned)
        self._array = block.element[:-2] if block.repeats else ""

    def __missing__(self, key: Any) -> str:
        cells = (key,) if self._single else key
        out = self._forward(cells)
        if self._owned:
            shape: Any = {self._array: out or ()} if self._array else out or {}
            back = self._inverse(shape)
            if back != (cells if self._single else tuple(cells[i] for i in self._owned)):
                raise Odd
        text = "," + to_json(out)[1:-1] if out else ""
        if len(self) >= KEPT_VALUES:
            self.clear()
        self[key] = text
        return text


class Group(dict[tuple[str, ...], str]):
    """Cells of neighbouring coded blocks of one array -> their JSON text joined: answers repeat as combinations."""

    def __init__(self, memos: Sequence[tuple[Memo, int]]) -> None:
        super().__init__()
        self._memos = memos

    def __missing__(self, key: tuple[str, ...]) -> str:
        at, pieces = 0, []
        for memo, width in self._memos:
            pieces.append(memo[key[at] if width == 1 else key[at : at + width]])
            at += width
        if len(self) >= KEPT_GROUPS:
            self.clear()
        self[key] = text = "".join(pieces)
        return text


class References(dict[str, str]):
    """Keys of other rows -> a reference to their resource: ``reference``, ``episode`` and ``project`` made cheaply."""

    def __init__(self, before: str, source: str, file: str, after: str) -> None:
        super().__init__()
        self._before, self._after = before, after
        self._make = id_maker(source, file)

    def __missing__(self, key: str) -> str:
        text = ""
        if key:
            text = f'{self._before}{self._make(key)}","identifier":{{"value":"{key_text(key)}"}}}}{self._after}'
        if len(self) >= KEPT_VALUES:
            self.clear()
        self[key] = text
        return text


class Audit(dict[str, str]):
    """An audit cell -> its part of the row extension."""

    def __init__(self, column: str) -> None:
        super().__init__()
        sample = to_json({"url": AUDIT[column], **audit_value(column, "|")})
        self._before, _, self._after = ("," + sample).partition("|")

    def __missing__(self, key: str) -> str:
        inside = key_text(key) if key else ""
        out = self._before + inside + self._after if key else ""
        if len(self) >= KEPT_VALUES:
            self.clear()
        self[key] = out
        return out


class Security(dict[Any, str]):
    """Labels of the project and of the values -> meta.security."""

    def __init__(self, table: FileMap, part: Part, columns: tuple[str, ...]) -> None:
        super().__init__()
        self._table, self._part, self._columns = table, part, columns

    def __missing__(self, key: Any) -> str:
        inherited, *cells = key if self._columns else (key,)
        names = set(self._part.labels) | set(inherited.split())
        for column, cell in zip(self._columns, cells, strict=True):
            names.update(self._part.value_labels[column].get(cell.strip(), "").split())
        found = self._table.labels.security(self._part.level, frozenset(names))
        if len(self) >= KEPT_VALUES:
            self.clear()
        self[key] = out = f',"security":{to_json(found)}' if found else ""
        return out


_SAFE: Final = {ord(c): "0" for c in "-_.:"}


def key_text(cell: str) -> str:
    """A key as the inside of a JSON string."""
    if cell.isascii() and cell.translate(_SAFE).isalnum():
        return cell
    if not cell or values.text_of(cell) != cell:
        raise Odd
    return to_json(cell)[1:-1]


class _Writer:
    """Collects the source of one file's function and the objects that it uses."""

    def __init__(self, table: FileMap) -> None:
        self.table = table
        self.names: dict[str, Any] = {"KEY": key_text}
        self.lines: list[str] = []
        self.index = {c.name: i for i, c in enumerate(table.file.columns)}
        self.index |= {name: len(self.index) + i for i, name in enumerate(COMPUTED)}
        self._memos: dict[tuple[Any, ...], str] = {}

    def add(self, indent: int, line: str) -> None:
        self.lines.append("    " * indent + line)

    def keep(self, prefix: str, value: Any) -> str:
        name = f"{prefix}{len(self.names)}"
        self.names[name] = value
        return name

    def cell(self, column: str) -> str:
        return f"r[{self.index[column]}]"

    def lookup(self, block: Block) -> str:
        """The expression for a block's text."""
        return f"{self.memo(block)}[{', '.join(self.cell(name) for name in block.reads)}]"

    def memo(self, block: Block) -> str:
        """The name of a block's memo; blocks that do the same share it."""
        signature = (block.element, block.convert, block.reads, tuple((s.role, s.list, s.owned) for s in block.slots))
        memo = self._memos.get(signature)
        if memo is None:
            memo = self._memos[signature] = self.keep("m", _memo(self.table, block))
        return memo

    def group(self, blocks: Sequence[Block]) -> str:
        """The expression for the texts of neighbouring blocks, looked up at once."""
        name = self.keep("g", Group([(self.names[self.memo(block)], len(block.reads)) for block in blocks]))
        return f"{name}[{', '.join(self.cell(column) for block in blocks for column in block.reads)}]"


_IN_EXTENSION: Final = {"episode": (EPISODE_EXTENSION, "Enrollment"), "project": (PROJECT_EXTENSION, "Project")}


def _memo(table: FileMap, block: Block) -> Memo | References:
    source = table.source.name
    if block.convert in _IN_EXTENSION:
        url, file = _IN_EXTENSION[block.convert]
        before = f',{{"url":"{url}","valueReference":{{"reference":"{table.source.anchors[file]}/'
        return References(before, source, file, "}")
    if block.convert == "reference":
        file = block.slots[0].role
        before = (
            f',{{"reference":"{table.source.anchors[file]}/'
            if block.repeats
            else f',"{block.element}":{{"reference":"{table.source.anchors[file]}/'
        )
        return References(before, source, file, "")
    return Memo(block)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'").replace("{", "{{").replace("}", "}}")


def generate(table: FileMap) -> tuple[str, dict[str, Any]]:
    """The source of ``convert(r, n, x)`` and the names it uses.

    ``r``: cells in the specification's order, computed columns after them; ``n``: the row extension's ``,{row}`` part;
    ``x``: labels of the project. It returns pairs flattened in one list: resource type, JSON line without its end.
    """
    w = _Writer(table)
    w.add(0, "def convert(r, n, x):")
    w.add(1, "out = []")
    w.add(1, f"k = {w.cell(table.file.key)}")
    w.add(1, "kk = KEY(k)")
    w.add(1, f"u = {w.keep('id', id_maker(table.source.name, table.file.name))}(k)")
    deleted = any(c.name == "DateDeleted" for c in table.file.columns)
    w.add(1, f"d = {w.cell('DateDeleted')}" if deleted else "d = ''")
    chosen: list[str] = []
    for part in table.parts:
        indent = 1
        if part.when is not None:
            column, codes = part.when
            if column:
                test = f"{w.cell(column)}.strip() in {w.keep('s', frozenset(codes))}"
                if part.anchor:
                    chosen.append(test)
            else:
                test = "not (" + " or ".join(chosen) + ")" if chosen else "True"
            w.add(1, f"if {test}:")
            indent = 2
        _part(w, part, indent)
    w.add(1, "return out")
    return "\n".join(w.lines) + "\n", w.names


def _part(w: _Writer, part: Part, indent: int) -> None:
    arrays: dict[str, list[str]] = {}
    owned: list[str] = []
    rest: list[str] = []
    variables: list[tuple[str, str]] = []
    for element, value in part.constants:
        if element.endswith("[]"):
            arrays.setdefault(element[:-2], []).append(_quoted("," + to_json(value)))
    for blocks in _runs(part.blocks):
        block = blocks[0]
        expression = "{" + w.group(blocks) + "}" if len(blocks) > 1 else _block(w, block)
        if block.owns and not (part.anchor or part.always):
            variable = f"v{len(variables)}"
            variables.append((variable, expression[1:-1] if expression[:1] == "{" else repr(expression)))
            owned.append(variable)
            expression = "{" + variable + "}"
        if block.repeats:
            arrays.setdefault(block.element[:-2], []).append(expression)
        else:
            rest.append(expression)
    for variable, expression in variables:
        w.add(indent, f"{variable} = {expression}")
    if owned:
        w.add(indent, f"if {' or '.join(owned)}:")
        indent += 1
    body, after = _head(w, part), []
    for number, (name, pieces) in enumerate(arrays.items()):
        if any(not p.startswith("{") for p in pieces):
            first = next(i for i, p in enumerate(pieces) if not p.startswith("{"))
            ordered = [pieces[first][1:], *pieces[:first], *pieces[first + 1 :]]
            after.append(f',"{name}":[' + "".join(ordered) + "]")
        else:
            w.add(indent, "a = f'" + "".join(pieces) + "'")
            w.add(indent, f"a{number} = ',\"{name}\":[' + a[1:] + ']' if a else ''")
            after.append(f"{{a{number}}}")
    text = body + "".join(rest) + "".join(after)
    for name, expression in _choices(w, part):
        w.add(indent, f"{name} = {expression}")
    w.add(indent, "out.append(" + repr(part.resource) + ")")
    w.add(indent, "out.append(f'" + text + "}}')")


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


def _block(w: _Writer, block: Block) -> str:
    if block.convert == "identifier" and block.owns == (w.table.file.key,):
        system = f"{w.table.source.base}/{block.owns[0]}"
        return _quoted(f',{{"system":{to_json(system)},"value":"') + "{kk}" + _quoted('"}')
    if block.convert == "part-reference":
        type_ = block.slots[0].role.split(":")[0]
        return _quoted(f',"{block.element}":{{"reference":"{type_}/') + "{u}" + _quoted('"}')
    return "{" + w.lookup(block) + "}"


def _choices(w: _Writer, part: Part) -> list[tuple[str, str]]:
    """Constants that differ for deleted rows."""
    plain = [(e, v) for e, v in part.constants if not e.endswith("[]")]
    if not part.deleted:
        return [("c", repr("".join(f",{to_json(e)}:{to_json(v)}" for e, v in plain)))]
    normal = "".join(f",{to_json(e)}:{to_json(v)}" for e, v in plain)
    kept = [(e, v) for e, v in plain if e not in part.deleted] + [(e, v) for e, v in part.deleted.items() if v != ""]
    gone = "".join(f",{to_json(e)}:{to_json(v)}" for e, v in kept)
    return [("c", f"{w.keep('c', gone)} if d else {w.keep('c', normal)}")]


def _head(w: _Writer, part: Part) -> str:
    """resourceType, id, meta and the constants."""
    if part.anchor:
        identity = "{u}"
    else:
        maker = w.keep("id", id_maker(w.table.source.name, w.table.file.name, part.name))
        identity = "{" + f"{maker}({w.cell('@source') if part.name == SOURCE_PART else 'k'})" + "}"
    audit = "".join("{" + f"{w.keep('q', Audit(name))}[{w.cell(name)}]" + "}" for name in part.audit)
    columns = tuple(part.value_labels)
    security = w.keep("z", Security(w.table, part, columns))
    labels = ", ".join(["x", *(w.cell(c) for c in columns)])
    row = f'{{"url":"file","valueCode":"{w.table.file.name}"}},{{"url":"part","valueCode":"{part.name}"}}'
    return (
        _quoted(f'{{"resourceType":"{part.resource}","id":"')
        + identity
        + _quoted(f'","meta":{{"extension":[{{"url":"{ROW_EXTENSION}","extension":[{row}')
        + "{n}"
        + audit
        + _quoted(f']}}],"source":{to_json(w.table.source.base)}')
        + "{"
        + f"{security}[{labels}]"
        + "}"
        + _quoted("}")
        + "{c}"
    )


def compile_map(table: FileMap) -> RowFunction:
    """The generated function of a file.

    Raises (when called):
        Odd: the row has a cell that needs the twin.
    """
    source, names = generate(table)
    scope = dict(names)
    exec(compile(source, f"<hmis {table.file.name}>", "exec"), scope)  # noqa: S102 - our own tables, checked at load
    function: RowFunction = scope["convert"]
    return function
