"""What an export holds beyond HUD's format: columns of a source's own, and files such as CustomClientName.csv.

They are kept beside the rows, not as resources: their meaning is unknown, so no door discloses them. An export back to
the source (``doorway hmis export``) has them again.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final

from gateway.exchange.hmis_convert import Conversion, FileSeen
from gateway.exchange.hmis_rows import Kind, moment
from gateway.exchange.ports.store import Reading, Unit

HEADER: Final = ""  # the key under which a file's columns are kept
_AGAIN: Final = "\x1f"  # stands before the number of a column whose name came before
_TOGETHER: Final = 1_000
Refuse = Callable[[Reading, Sequence[Mapping[str, str]]], list[bool]]  # which rows name what must not be known
Look = Callable[[Callable[[Reading], Any]], Any]


def labelled(header: Sequence[str], places: Iterable[int]) -> list[tuple[str, int]]:
    """Name and place of columns; a name that came before has its number behind it."""
    out: list[tuple[str, int]] = []
    times: dict[str, int] = {}
    for index in places:
        name = header[index]
        times[name] = times.get(name, 0) + 1
        out.append((name if times[name] == 1 else f"{name}{_AGAIN}{times[name]}", index))
    return out


def extra_cells(columns: Sequence[tuple[str, int]], width: int, row: Sequence[str]) -> dict[str, str]:
    """The filled cells of these columns, and those beyond the header, by the column's name."""
    out = {name: row[index] for name, index in columns if index < len(row) and row[index]}
    for index in range(width, len(row)):
        if row[index]:
            out[f"{_AGAIN}{index - width + 1}"] = row[index]
    return out


def keep_columns(unit: Unit, source: str, file: str, names: Iterable[str]) -> None:
    """Note the columns of a file; those that it had before stay."""
    known = columns_kept(unit, source, file)
    new = [name for name in dict.fromkeys(names) if name not in known]
    if new:
        unit.rows.put_extras(source, file, {HEADER: json.dumps([*known, *new])})


def columns_kept(reading: Reading, source: str, file: str) -> list[str]:
    """The columns of a file beyond HUD's, in the order they came."""
    text = reading.rows.extras(source, file, [HEADER]).get(HEADER)
    found: list[str] = json.loads(text) if text else []
    return found


def shown(name: str) -> str:
    """The name of a column as it stood in the header."""
    return name.partition(_AGAIN)[0]


def rows_kept(reading: Reading, source: str, file: str) -> Iterator[list[str]]:
    """Header and rows of a file that HUD does not know."""
    columns = columns_kept(reading, source, file)
    yield [shown(name) for name in columns]
    after = HEADER
    while page := reading.rows.extra_page(source, file, after, _TOGETHER):
        for _, text in page:
            cells = json.loads(text)["row"]
            yield [cells.get(name, "") for name in columns]
        after = page[-1][0]


def own_name(path: str) -> str:
    """The name under which a file of the source's own is kept: the last part of its path."""
    return path.replace("\\", "/").rpartition("/")[2]


class OwnFile:
    """One file that HUD does not know, on its way into the store.

    Rows have the key that their file's name calls for (``CustomPet.csv``: CustomPetID or PetID), with DateUpdated
    deciding which is newer; without such a column a row is its place, and the file of the later export replaces all.
    """

    def __init__(self, conversion: Conversion, seen: FileSeen, exported: str, refuse: Refuse) -> None:
        self._conversion, self._seen, self._source = conversion, seen, conversion.source.name
        self._exported, self._refuse = exported, refuse
        self.name = own_name(seen.path)
        self._width = len(seen.header.cells)
        self._columns = labelled(seen.header.cells, range(self._width))
        at = {name.strip().casefold(): index for name, index in self._columns}
        stem = self.name.rpartition(".")[0].casefold()
        self._key = next((at[name] for name in (f"{stem}id", f"{stem.removeprefix('custom')}id") if name in at), -1)
        self._updated = at.get("dateupdated", -1)
        self._keys: set[str] = set()

    def run(self, write: Callable[[Callable[[Unit], Any]], Any], full: bool) -> dict[str, int]:
        """Store the rows; how many there are of each kind."""
        counts: dict[str, int] = {}
        rows = self._rows()
        names = [name for name, _ in self._columns]
        write(lambda unit: keep_columns(unit, self._source, self.name, names))
        while batch := list(islice(rows, _TOGETHER)):
            for kind in write(partial(self._batch, rows=batch)):
                counts[kind.value] = counts.get(kind.value, 0) + 1
        if full or self._key < 0:
            gone = write(self._drop_absent)
            if gone:
                counts[Kind.DELETED.value] = gone
        return counts

    def _rows(self) -> Iterator[tuple[str, str, dict[str, str]]]:
        """Key, what decides its age, and cells."""
        for number, cells in enumerate(self._conversion.rows(self._seen), 1):
            if not cells:
                continue
            told = extra_cells(self._columns, self._width, cells)
            key = cells[self._key].strip() if 0 <= self._key < len(cells) else ""
            key = key if key and key not in self._keys else f"{number:010d}"
            self._keys.add(key)
            stamp = cells[self._updated] if 0 <= self._updated < len(cells) else ""
            yield key, f"{moment(stamp)[:10]} {self._exported}", told

    def _batch(self, unit: Unit, rows: Sequence[tuple[str, str, dict[str, str]]]) -> list[Kind]:
        known = unit.rows.extras(self._source, self.name, [key for key, _, _ in rows])
        kinds, texts = [], {}
        refused = self._refuse(unit, [cells for _, _, cells in rows])
        for (key, age, cells), not_ours in zip(rows, refused, strict=True):
            before = json.loads(known[key]) if key in known else None
            if not_ours:
                kinds.append(Kind.REFUSED)
                if before is not None:
                    texts[key] = ""
            elif before is not None and before["row"] == cells:
                kinds.append(Kind.UNCHANGED)
            elif before is not None and before["age"] > age:
                kinds.append(Kind.OLDER)
            else:
                kinds.append(Kind.NEW if before is None else Kind.CHANGED)
                texts[key] = json.dumps({"row": cells, "age": age})
        beyond = sorted({name for _, _, cells in rows for name in cells if name.startswith(_AGAIN)})
        keep_columns(unit, self._source, self.name, beyond)
        unit.rows.put_extras(self._source, self.name, texts)
        return kinds

    def _drop_absent(self, unit: Unit) -> int:
        """Rows that this file no longer has and that came with an export which is not later."""
        gone: dict[str, str] = {}
        after = HEADER
        while page := unit.rows.extra_page(self._source, self.name, after, _TOGETHER):
            after = page[-1][0]
            for key, text in page:
                if key not in self._keys and json.loads(text)["age"].partition(" ")[2] <= self._exported:
                    gone[key] = ""
        unit.rows.put_extras(self._source, self.name, gone)
        return len(gone)


def drop_refused(
    look: Look, write: Callable[[Callable[[Unit], Any]], Any], source: str, file: str, refuse: Refuse
) -> None:
    """Take the rows of a file that HUD does not know out of the store which name what must not be known any more."""
    after = HEADER
    while page := look(partial(_page, source=source, file=file, after=after)):
        after = page[-1][0]
        refused = look(partial(_refused, refuse=refuse, rows=[json.loads(text)["row"] for _, text in page]))
        gone = {key: "" for (key, _), not_ours in zip(page, refused, strict=True) if not_ours}
        if gone:
            write(partial(_put, source=source, file=file, texts=gone))


def _page(reading: Reading, source: str, file: str, after: str) -> list[tuple[str, str]]:
    return reading.rows.extra_page(source, file, after, _TOGETHER)


def _refused(reading: Reading, refuse: Refuse, rows: Sequence[Mapping[str, str]]) -> list[bool]:
    return refuse(reading, rows)


def _put(unit: Unit, source: str, file: str, texts: Mapping[str, str]) -> None:
    unit.rows.put_extras(source, file, texts)
