"""HMIS exports on disk: a folder or a zip (folders in it too), refused by declared size before anything is unpacked."""

import lzma
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Final

from gateway.kernel.errors import Invalid, Malformed, TooLarge

CHUNK_BYTES: Final = 1 << 20
TOTAL_LIMIT_BYTES: Final = 64 * 1024**3
FILE_COUNT_LIMIT: Final = 10_000
EXPANSION_LIMIT: Final = 250  # declared size over packed size; CSV packs about 10 to 1, a bomb 1000 to 1
EXPANSION_FLOOR_BYTES: Final = 10 * 1024**2  # small files may pack as well as they like


def open_export(path: str) -> "FolderExport | ZipExport":
    """The export at ``path``.

    Raises:
        Invalid: nothing there, or neither a folder, a CSV file nor a zip.
        TooLarge, Malformed: a zip that declares too much, or whose entries leave the folder.
    """
    place = Path(path)
    if place.is_dir():
        return FolderExport(place)
    if not place.exists():
        raise Invalid("no such folder or zip", at=path)
    if zipfile.is_zipfile(place):
        return ZipExport(place)
    raise Invalid("neither a folder nor a zip", at=path, fix="give the folder or the zip that holds Export.csv")


class FolderExport:
    """Files below a folder; links that lead out of it are not followed."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def names(self) -> list[str]:
        """Paths below the folder, sorted.

        Raises:
            Malformed: something with the name of a CSV file is none, or lies elsewhere: without it the export is not
                the one that was meant.
        """
        found = []
        for file in sorted(self._root.rglob("*")):
            name = file.relative_to(self._root).as_posix()
            if file.is_file() and file.resolve().is_relative_to(self._root):
                found.append(name)
            elif file.suffix.casefold() == ".csv":
                what = "a link that leads out of the folder" if file.is_symlink() else "no file, though named like one"
                raise Malformed(what, at=name, fix="put the file itself there, or take it away")
        return found

    def chunks(self, name: str) -> Iterator[bytes]:
        """The file's bytes."""
        with (self._root / name).open("rb") as handle:
            yield from _pieces(handle)

    def bytes_of(self, name: str) -> int:
        """The file's size."""
        return (self._root / name).stat().st_size


class ZipExport:
    """Entries of a zip; nothing is ever written where an entry's name says."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        _refuse_tricks(entries, str(path))
        self._entries = {entry.filename: entry for entry in entries}

    def names(self) -> list[str]:
        """Entry names, sorted; what macOS adds is left out."""
        return sorted(
            n for n in self._entries if not n.startswith("__MACOSX/") and not n.rpartition("/")[2].startswith("._")
        )

    def chunks(self, name: str) -> Iterator[bytes]:
        """The entry's bytes, never more than declared.

        Raises:
            Malformed: the packed data is damaged.
        """
        try:
            with zipfile.ZipFile(self._path) as archive, archive.open(self._entries[name]) as handle:
                yield from _pieces(handle)
        except (zipfile.BadZipFile, EOFError, NotImplementedError, zlib.error, lzma.LZMAError, ValueError) as error:
            raise self._damaged() from error
        except OSError as error:
            if error.errno is not None:  # the disk's; without a number it is what bz2 says of its data
                raise
            raise self._damaged() from error

    def _damaged(self) -> Malformed:
        return Malformed("the zip is damaged", at=f"{self._path.name}: entry", fix="make the export again")

    def bytes_of(self, name: str) -> int:
        """The entry's declared size."""
        return self._entries[name].file_size


def _pieces(handle: IO[bytes]) -> Iterator[bytes]:
    while piece := handle.read(CHUNK_BYTES):
        yield piece


def _refuse_tricks(entries: list[zipfile.ZipInfo], at: str) -> None:
    if len(entries) > FILE_COUNT_LIMIT:
        raise TooLarge(f"more than {FILE_COUNT_LIMIT} files", at=at)
    if sum(entry.file_size for entry in entries) > TOTAL_LIMIT_BYTES:
        raise TooLarge("declares more bytes than the limit", at=at)
    names = set()
    for number, entry in enumerate(entries, 1):
        place = f"{at}: entry {number}"
        name = PurePosixPath(entry.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in entry.filename.split("/")[0] or "\0" in entry.filename:
            raise Malformed("a path that leaves the folder", at=place)
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise Malformed("a link instead of a file", at=place)
        if entry.flag_bits & 1:
            raise Invalid("encrypted", at=place, fix="send the export unencrypted through an encrypted channel")
        if entry.filename in names:
            raise Malformed("two entries with one name", at=place)
        names.add(entry.filename)
        if entry.file_size > max(EXPANSION_FLOOR_BYTES, entry.compress_size * EXPANSION_LIMIT):
            raise TooLarge("declares far more bytes than are packed: a zip bomb", at=place)
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    if folders & names:
        raise Malformed("a file and a folder of one name", at=at)
    ends = 0
    for entry in sorted(entries, key=lambda e: e.header_offset):
        if entry.header_offset < ends:
            raise Malformed("entries overlap: a zip bomb", at=at)
        ends = entry.header_offset + entry.compress_size


class FolderScratch:
    """Buckets of lines, in memory while they are few, then in temporary files; a context manager."""

    _HELD: Final = 8_000_000  # characters

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._open: dict[int, IO[str]] = {}
        self._held: dict[int, list[str]] = {}
        self._count = 0

    def __enter__(self) -> "FolderScratch":
        return self

    def __exit__(self, *exc: object) -> None:
        for handle in self._open.values():
            handle.close()
        if self._folder is not None:
            self._folder.cleanup()

    def add(self, bucket: int, line: str) -> None:
        """Keep a line (without its end)."""
        held = self._held.get(bucket)
        if held is None:
            held = self._held[bucket] = []
        held.append(line)
        self._count += len(line)
        if self._count > self._HELD:
            self._spill()

    def _spill(self) -> None:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="doorway-")
        for bucket, lines in self._held.items():
            handle = self._open.get(bucket)
            if handle is None:
                place = Path(self._folder.name) / str(bucket)
                handle = self._open[bucket] = place.open("w+", encoding="utf-8", newline="\n")
            handle.write("\n".join(lines) + "\n")
        self._held.clear()
        self._count = 0

    def read(self, bucket: int) -> Iterator[str]:
        """The bucket's lines in the order they came."""
        handle = self._open.get(bucket)
        if handle is not None:
            handle.seek(0)
            for line in handle:
                yield line.rstrip("\n")
            handle.seek(0, 2)
        yield from self._held.get(bucket, ())


class NdjsonFolder:
    """One ``<Type>.ndjson`` a resource type in a folder; for writing use it as a context manager."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: dict[str, IO[bytes]] = {}

    def __enter__(self) -> "NdjsonFolder":
        """Make the folder; files that an earlier run left there would be taken for a part of this one: they go."""
        self._root.mkdir(parents=True, exist_ok=True)
        for old in self._root.glob("[A-Z]*.ndjson"):
            old.unlink()
        return self

    def __exit__(self, *exc: object) -> None:
        for handle in self._open.values():
            handle.close()

    def write(self, kind: str, lines: list[str]) -> None:
        """Append resources."""
        handle = self._open.get(kind)
        if handle is None:
            handle = self._open[kind] = (self._root / f"{kind}.ndjson").open("wb")
        handle.write(("\n".join(lines) + "\n").encode())

    def lines(self) -> Iterator[tuple[str, int, bytes]]:
        """File name, line number and text of every resource in the folder, DocumentReference first."""
        names = sorted(self._root.glob("*.ndjson"), key=lambda p: (p.stem != "DocumentReference", p.name))
        for name in names:
            with name.open("rb") as handle:
                for number, line in enumerate(handle, 1):
                    if line.strip():
                        yield name.name, number, line
