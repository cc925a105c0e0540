"""The tables of linkage on disk: the model, nicknames and spellings, institutions; and CSV files of people."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final, TypeAlias

from nicknames import NickNamer

from gateway.adapters.files.data import read_data
from gateway.kernel.errors import Invalid
from gateway.linkage.model import Model, read_model
from gateway.linkage.names import Nicknames, fold
from gateway.linkage.traits import COLUMNS, Reader, read_address

_FOLDER: Final = "mappings/linkage"


def _rows(name: str) -> Iterator[list[str]]:
    for row in list(csv.reader(read_data(f"{_FOLDER}/{name}").splitlines()))[1:]:
        if row and not row[0].startswith("#"):
            yield row


@cache
def nickname_table() -> Nicknames:
    """English nicknames of the ``nicknames`` package and our own tables of other languages."""
    pairs = list(_packaged())
    for row in _rows("nicknames.csv"):
        pairs += [(fold(row[0]).replace(" ", ""), fold(nick).replace(" ", "")) for nick in row[1].split()]
    return Nicknames(pairs)


def _packaged() -> Iterator[tuple[str, str]]:
    for formal, nicks in NickNamer().nickname_lookup.items():
        for nick in nicks:
            yield fold(formal).replace(" ", ""), fold(nick).replace(" ", "")


@cache
def default_reader() -> Reader:
    """The reader of traits with all shipped tables."""
    institutions = (read_address(row[0]) for row in _rows("institutions.csv"))
    return Reader(nickname_table(), [address for address in institutions if address])


def load_model(file: str | None = None) -> Model:
    """The shipped model, or the one in ``file``.

    Raises:
        Invalid: it cannot be read, or is no model.
    """
    if file is None:
        return read_model(read_data(f"{_FOLDER}/default-model.json"), at="default-model.json")
    try:
        return read_model(Path(file).read_text(encoding="utf-8"), at=file)
    except (OSError, UnicodeDecodeError):
        raise Invalid("cannot be read", at=file) from None


def check_out(file: str, *inputs: str | None) -> None:
    """Whether ``--out`` can be written, asked before an hour of work and not after it.

    Raises:
        Invalid: its folder does not exist, or it is one of the files that are read.
    """
    out = Path(file)
    if not out.absolute().parent.is_dir():
        raise Invalid("cannot be written", at=f"--out {file}", fix="a file in a folder that exists")
    if out.exists() and any(one and out.samefile(one) for one in inputs):
        raise Invalid("is a file that is read here", at=f"--out {file}", fix="write to another file")


Columns: TypeAlias = Mapping[str, Sequence[str]]  # our name -> their headings; of several the first that a file has


def check_columns(columns: Columns, *files: str | None) -> None:
    """Whether each heading that is named is in one of the files at least: two files rarely have the same ones.

    Raises:
        Invalid: a heading that none has, or a file that cannot be read.
    """
    there = [set(_headings(file)) for file in files if file]
    for theirs in (heading for headings in columns.values() for heading in headings):
        if not any(set(_parts(theirs)) <= heads for heads in there):
            names = " ".join(file for file in files if file)
            raise Invalid("has no such column", at=f"{names} {theirs}", fix="--columns name=heading")


def _headings(file: str) -> list[str]:
    try:
        with Path(file).open(encoding="utf-8-sig", newline="") as stream:
            return [h.strip().casefold() for h in next(csv.reader(stream, skipinitialspace=True), [])]
    except OSError:
        raise Invalid("cannot be read", at=file) from None
    except UnicodeDecodeError:
        raise _not_utf8(file) from None
    except csv.Error:
        raise Invalid("not CSV", at=f"{file}:1") from None


def _parts(theirs: str) -> list[str]:
    return [part.strip().casefold() for part in theirs.split("+")]


def read_people(file: str, columns: Columns, group: str = "") -> Iterator[dict[str, str]]:
    """Rows of a CSV of people under our column names.

    Args:
        group: a heading whose value comes along as ``group``; no error when the file lacks it.
        columns: our name -> theirs, ours where the file has none of them; ``street_number+address_1`` joins several
            with a space.

    Raises:
        Invalid: not readable as UTF-8 CSV, no ``id``, or an id twice; with the line.
    """
    try:
        with Path(file).open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, skipinitialspace=True)
            heads = [h.strip().casefold() for h in next(reader, [])]
            sources = _sources(file, heads, columns)
            if group.strip().casefold() in heads:
                sources["group"] = [heads.index(group.strip().casefold())]
            seen: set[str] = set()
            began = reader.line_num + 1
            for row in reader:
                at, began = f"{file}:{began}", reader.line_num + 1
                if not any(cell.strip() for cell in row):
                    continue
                if len(row) != len(heads):
                    _check_width(row, len(heads), at)
                values = {
                    name: " ".join(cell for i in places if i < len(row) and (cell := row[i].strip()))
                    for name, places in sources.items()
                }
                id_ = values["id"]
                if not id_ or id_ in seen:
                    raise Invalid("no id" if not id_ else "this id is used twice", at=f"{at} id")
                seen.add(id_)
                yield values
    except OSError:
        raise Invalid("cannot be read", at=file) from None
    except UnicodeDecodeError:
        raise _not_utf8(file) from None
    except csv.Error:
        most = f"{csv.field_size_limit():,}"
        raise Invalid(f"not CSV, or a value of more than {most} characters", at=f"{file}:{reader.line_num}") from None


def _check_width(row: list[str], width: int, at: str) -> None:
    """A row may end early; one that is longer, or that a quotation mark stretched over lines, is shifted."""
    if any("\n" in cell for cell in row):
        raise Invalid("a quotation mark is not closed", at=at, fix='write " as "" within quoted values')
    if any(cell.strip() for cell in row[width:]):
        raise Invalid(f"{len(row)} values under {width} headings", at=at, fix="quote values that hold a comma")


def _not_utf8(file: str) -> Invalid:
    """The error with the line: decoding in pieces does not tell it."""
    read = Path(file).read_bytes()
    try:
        read.decode("utf-8")
        line = 1
    except UnicodeDecodeError as error:
        line = read.count(b"\n", 0, error.start) + 1
    return Invalid("not UTF-8", at=f"{file}:{line}", fix="write the file again as UTF-8")


def _sources(file: str, heads: list[str], columns: Columns) -> dict[str, list[int]]:
    out: dict[str, list[int]] = {}
    used = {part for headings in columns.values() for theirs in headings for part in _parts(theirs)} | set(COLUMNS)
    twice = sorted({head for head in used if heads.count(head) > 1})
    if twice:
        raise Invalid("two columns have this heading", at=f"{file}:1 {twice[0]}", fix="rename or remove one")
    for name in COLUMNS:
        asked = [_parts(theirs) for theirs in columns.get(name, ())]
        wanted = next((parts for parts in asked if set(parts) <= set(heads)), [name])
        places = [heads.index(head) for head in wanted if head in heads]
        if places:
            out[name] = places
    if "id" not in out:
        other = next((mark for mark in ";\t|" if len(heads) == 1 and mark in heads[0]), "")
        fix = "separate values by commas" if other else "--columns id=heading"
        raise Invalid("has no column id", at=f"{file}:1", fix=fix)
    return out


def read_pairs(file: str) -> list[tuple[int, str, str]]:
    """(line, and the first two columns) of a CSV of pairs, the header included (who knows the ids knows a header).

    Raises:
        Invalid: not readable, or a row with fewer than two columns.
    """
    try:
        with Path(file).open(encoding="utf-8-sig", newline="") as stream:
            out = []
            for number, row in enumerate(csv.reader(stream, skipinitialspace=True), start=1):
                if not any(cell.strip() for cell in row):
                    continue
                if len(row) < 2:
                    raise Invalid("needs two columns", at=f"{file}:{number}", fix="left id, right id")
                out.append((number, row[0].strip(), row[1].strip()))
            return out
    except OSError:
        raise Invalid("cannot be read", at=file) from None
    except UnicodeDecodeError:
        raise _not_utf8(file) from None
    except csv.Error:
        raise Invalid("not CSV", at=file) from None
