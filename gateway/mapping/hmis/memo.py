"""What generated code looks up: cells of a row to the JSON text that they become, each distinct one converted once.

Every table is bounded. A cell whose FHIR form does not lead back to it raises :class:`Odd`: its row goes the way of the
explainable twin (explain.py).
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final

import orjson

from gateway.mapping.hmis import values
from gateway.mapping.hmis.conversions import VARIANT, Block, id_prefix
from gateway.mapping.hmis.explain import record_of
from gateway.mapping.hmis.people import SSN_SYSTEM, whole_ssn
from gateway.mapping.hmis.tables import RECORD_EXTENSION, FileMap, Part

KEPT_VALUES: Final = 1 << 15  # distinct cells remembered for a block: bounds memory
KEPT_GROUPS: Final = 1 << 13  # distinct combinations remembered for neighbouring blocks
SHORTEST_DIGEST: Final = 32


class Odd(Exception):
    """A cell whose FHIR form does not lead back to it."""


def to_json(value: Any) -> str:
    """FHIR JSON text of a value; a decimal keeps its digits."""
    return orjson.dumps(value, default=_decimal).decode()


def _decimal(value: Any) -> Any:
    if isinstance(value, Decimal):
        return orjson.Fragment(str(value).encode())
    raise TypeError(type(value).__name__)


_SAFE: Final = re.compile(r"[A-Za-z0-9_.:/-]+", re.ASCII).fullmatch


def key_text(cell: str) -> str:
    """A key as the inside of a JSON string.

    Raises:
        Odd: it is empty, or not its own trimmed, printable text.
    """
    if _SAFE(cell):
        return cell
    if not cell or values.text_of(cell) != cell:
        raise Odd
    return to_json(cell)[1:-1]


def frame(block: Block, alone: bool) -> tuple[str, str]:
    """What stands before and after a block's text: a comma, or its whole array when it is the only one in it."""
    return (f',"{block.element[:-2]}":[', "]") if alone else (",", "")


class Memo(dict[Any, str]):
    """Cells of a block -> its JSON text, converted on first sight."""

    def __init__(self, block: Block, alone: bool = False) -> None:
        super().__init__()
        self._forward, self._inverse = block.forward, block.inverse
        self._single = len(block.reads) == 1
        self._owned = tuple(i for i, slot in enumerate(block.slots) if slot.owned)
        self._array = block.element[:-2] if block.repeats else ""
        self._before, self._after = frame(block, alone)
        quick = QUICK.get(block.convert)
        self._quick = quick(block) if quick else None

    def __missing__(self, key: Any) -> str:
        inner = self._quick(key) if self._quick else None
        if inner is None:
            inner = self._slowly((key,) if self._single else key)
        text = self._before + inner + self._after if inner else ""
        if len(self) >= KEPT_VALUES:
            self.clear()
        self[key] = text
        return text

    def _slowly(self, cells: tuple[str, ...]) -> str:
        out = self._forward(cells)
        if self._owned:
            shape: Any = {self._array: out or ()} if self._array else out or {}
            if self._inverse(shape) != tuple(cells[i] for i in self._owned):
                raise Odd
        return to_json(out)[1:-1] if out else ""


class Group(dict[tuple[str, ...], str]):
    """Cells of neighbouring coded blocks of one array -> their JSON text joined: answers repeat as combinations."""

    def __init__(self, memos: Sequence[tuple[dict[Any, str], int]], before: str, after: str) -> None:
        super().__init__()
        self._memos, self._before, self._after = memos, before, after

    def __missing__(self, key: tuple[str, ...]) -> str:
        at, pieces = 0, []
        for memo, width in self._memos:
            pieces.append(memo[key[at] if width == 1 else key[at : at + width]])
            at += width
        inner = "".join(pieces)[1:]
        text = self._before + inner + self._after if inner else ""
        if len(self) >= KEPT_GROUPS:
            self.clear()
        self[key] = text
        return text


class Ids(dict[str, str]):
    """Keys of the rows of a file -> the ids of their main resources."""

    def __init__(self, source: str, file: str) -> None:
        super().__init__()
        self._prefix = id_prefix(source, file)

    def __missing__(self, key: str) -> str:
        name = self._prefix + f"{len(key)}:{key}".encode()
        h = hashlib.sha1(name, usedforsecurity=False).hexdigest()
        if len(self) >= KEPT_VALUES:
            self.clear()
        self[key] = out = f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{VARIANT[h[16]]}{h[17:20]}-{h[20:32]}"
        return out


class References(dict[str, str]):
    """Keys of other rows -> a reference to their resource, with the key beside it where it is read back from here."""

    def __init__(self, before: str, ids: Ids, after: str, keyed: bool) -> None:
        super().__init__()
        self._before, self._ids, self._after, self._keyed = before, ids, after, keyed

    def __missing__(self, key: str) -> str:
        text = ""
        if key:
            inside = key_text(key)
            beside = f',"identifier":{{"value":"{inside}"}}' if self._keyed else ""
            text = f'{self._before}{self._ids[key]}"{beside}}}{self._after}'
        if len(self) >= KEPT_VALUES:
            self.clear()
        self[key] = text
        return text


class Record(dict[tuple[str, ...], str]):
    """Audit cells of a row -> its record extension."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        super().__init__()
        self._columns = columns

    def __missing__(self, key: tuple[str, ...]) -> str:
        if any(cell and values.text_of(cell) != cell for cell in key):
            raise Odd
        told = [f'{{"url":"{url}","valueString":{to_json(text)}}}' for url, text in record_of(self._columns, key)]
        text = f',{{"url":"{RECORD_EXTENSION}","extension":[{",".join(told)}]}}' if told else ""
        if len(self) >= KEPT_VALUES:
            self.clear()
        self[key] = text
        return text


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


# -- cells that hardly repeat, written straight as text; None: the conversion itself must look ------------------------


def _plain(cell: str) -> bool:
    """Whether a cell is its own JSON text and its own trimmed FHIR string."""
    return cell.isprintable() and '"' not in cell and "\\" not in cell and cell.strip() == cell


def _quick_date(block: Block) -> Callable[[Any], str | None]:
    name = block.element.removesuffix("[]")

    def text(cell: str) -> str | None:
        return f'"{name}":"{cell}"' if len(cell) == 10 and values.day_of(cell) == cell else None

    return text if not block.repeats else lambda cell: None


def _quick_ssn(block: Block) -> Callable[[Any], str | None]:
    def text(cell: str) -> str | None:
        return f'{{"system":"{SSN_SYSTEM}","value":"{cell}"}}' if whole_ssn(cell) else None

    return text


def _quick_name(block: Block) -> Callable[[Any], str | None]:
    roles = [slot.role for slot in block.slots]
    order = [roles.index(role) if role in roles else -1 for role in ("given", "middle", "family", "suffix", "quality")]

    def text(cells: tuple[str, ...]) -> str | None:
        given, middle, family, suffix, quality = ("" if at < 0 else cells[at] for at in order)
        whole = given + middle + family + suffix
        if not given or not family or len(whole) >= SHORTEST_DIGEST or not _plain(whole):
            return None
        if any(part.strip() != part for part in (given, middle, family, suffix)):
            return None
        use = "nickname" if quality == "2" else "official"
        more = (f',"{middle}"' if middle else "") + (f'],"suffix":["{suffix}"' if suffix else "")
        return f'{{"use":"{use}","family":"{family}","given":["{given}"{more}]}}'

    return text


QUICK: Final[dict[str, Callable[[Block], Callable[[Any], str | None]]]] = {
    "date": _quick_date,
    "ssn": _quick_ssn,
    "client-name": _quick_name,
}
