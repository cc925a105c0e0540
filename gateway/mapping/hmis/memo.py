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
from gateway.mapping.hmis.roi import NO_TITLE
from gateway.mapping.hmis.tables import RECORD_EXTENSION, FileMap, Part, claims

KEPT_VALUES: Final = 1 << 15  # distinct cells remembered for a block: bounds memory
KEPT_IDS: Final = 1 << 17
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


class Direct(Memo):
    """A block whose cells hardly ever repeat: called, and nothing remembered."""

    def __call__(self, key: Any) -> str:
        """The JSON text of the cells."""
        inner = self._quick(key) if self._quick else None
        if inner is None:
            inner = self._slowly((key,) if self._single else key)
        return self._before + inner + self._after if inner else ""


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
    """Keys of the rows of a file -> the ids of their main resources.

    Raises:
        Odd: a key that is empty or not its own JSON text.
    """

    def __init__(self, source: str, file: str) -> None:
        super().__init__()
        self._prefix = id_prefix(source, file)

    def __missing__(self, key: str) -> str:
        if not _SAFE(key) and key_text(key) != key:
            raise Odd
        name = self._prefix + f"{len(key)}:{key}".encode()
        h = hashlib.sha1(name, usedforsecurity=False).hexdigest()
        if len(self) >= KEPT_IDS:
            self.clear()
        self[key] = out = f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{VARIANT[h[16]]}{h[17:20]}-{h[20:32]}"
        return out


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
            names.update(self._part.value_labels[column].of(cell))
        found = self._table.labels.security(self._part.level, frozenset(names))
        if len(self) >= KEPT_VALUES:
            self.clear()
        self[key] = out = f',"security":{to_json(found)}' if found else ""
        return out


class Profile(dict[Any, str]):
    """Cells of the block that makes an element -> meta.profile, where the element allows the claim."""

    def __init__(self, profile: tuple[str, str], block: Block) -> None:
        super().__init__()
        self._profile, self._forward, self._single = profile, block.forward, len(block.reads) == 1

    def __missing__(self, key: Any) -> str:
        out = self._forward((key,) if self._single else key)
        if len(self) >= KEPT_VALUES:
            self.clear()
        claimed = isinstance(out, dict) and claims(self._profile, out)
        self[key] = text = f',"profile":["{self._profile[0]}"]' if claimed else ""
        return text


# -- cells that hardly repeat, written straight as text; None: the conversion itself must look ------------------------


def _plain(cell: str) -> bool:
    """Whether a cell is its own JSON text and its own trimmed FHIR string."""
    return cell.isprintable() and '"' not in cell and "\\" not in cell and cell.strip() == cell


def _quick_date(block: Block) -> Callable[[Any], str | None]:
    name = block.element.removesuffix("[]")

    def text(cell: str) -> str | None:
        return f'"{name}":"{cell}"' if _is_day(cell) else None

    return text if not block.repeats else lambda cell: None


def _quick_birth(block: Block) -> Callable[[Any], str | None]:
    roles = [slot.role for slot in block.slots]
    date_at, quality_at = roles.index("date"), roles.index("quality")

    def text(cells: tuple[str, ...]) -> str | None:
        day = cells[date_at]
        whole = cells[quality_at] == "1" and _is_day(day)
        return f'"birthDate":"{day}"' if whole else None

    return text


def _quick_period(block: Block) -> Callable[[Any], str | None]:
    roles = [slot.role.removesuffix("-derived") for slot in block.slots]
    if block.element != "period" or sorted(roles) != ["end", "start"]:
        return lambda cells: None
    start_at, end_at = roles.index("start"), roles.index("end")

    def text(cells: tuple[str, ...]) -> str | None:
        start, end = cells[start_at], cells[end_at]
        if not _is_day(start) or (end and (not _is_day(end) or start > end)):
            return None
        return f'"period":{{"start":"{start}"' + (f',"end":"{end}"}}' if end else "}")

    return text


def _is_day(cell: str) -> bool:
    return len(cell) == 10 and values.day_of(cell) == cell


def _is_number(cell: str) -> bool:
    return values.INTEGER.fullmatch(cell) is not None and cell[0] != "-"


def _is_amount(cell: str) -> bool:
    return values.MONEY.fullmatch(cell) is not None and cell[0] != "-"


_SAMPLES: Final = {"I": ("1976543", _is_number), "M": ("1976543.25", _is_amount), "D": ("1976-05-04", _is_day)}


def _quick_number(block: Block) -> Callable[[Any], str | None]:
    """The block's own JSON text with another number, amount or day in it; of one uncoded column only."""
    slot = block.slots[0]
    sample, right = _SAMPLES.get(slot.type[:1], ("", None))
    if slot.list or right is None or len(block.reads) > 1:
        return lambda cell: None
    before, _, after = to_json(block.forward((sample,)))[1:-1].partition(sample)

    def text(cell: str) -> str | None:
        return before + cell + after if right(cell) else None

    return text


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
        if quality and not values.INTEGER.fullmatch(quality):
            return None
        if not given or not family or len(whole) >= SHORTEST_DIGEST or not _plain(whole):
            return None
        if any(part.strip() != part for part in (given, middle, family, suffix)):
            return None
        use = "nickname" if quality == "2" else "official"
        more = (f',"{middle}"' if middle else "") + (f'],"suffix":["{suffix}"' if suffix else "")
        return f'{{"use":"{use}","family":"{family}","given":["{given}"{more}]}}'

    return text


def _quick_form(block: Block) -> Callable[[Any], str | None]:
    return lambda cell: (
        f'"sourceAttachment":{{"title":"{cell}"}}' if cell and _plain(cell) and cell != NO_TITLE else None
    )


DIRECT: Final = ("client-name", "ssn", "form", "period")
QUICK: Final[dict[str, Callable[[Block], Callable[[Any], str | None]]]] = {
    "date": _quick_date,
    "birth": _quick_birth,
    "component": _quick_number,
    "value": _quick_number,
    "item": _quick_number,
    "extension": _quick_number,
    "ssn": _quick_ssn,
    "client-name": _quick_name,
    "form": _quick_form,
    "period": _quick_period,
}
