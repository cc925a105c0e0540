"""FHIR packages on disk: added once, indexed, read one definition at a time; and the validator over them.

A package becomes a folder ``NAME#VERSION`` with ``definitions.ndjson`` (one definition a line) and ``index.json``
(where each stands). Examples in a package are left out: nothing here needs them.
"""

import csv
import gzip
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Final

import orjson

from gateway.adapters.files.data import list_data, read_data
from gateway.kernel.errors import Conflict, Invalid, Malformed, TooLarge
from gateway.kernel.fhir import DOORWAY, JsonObject
from gateway.profiles.own import extensions_of_mapping, extensions_of_table

KINDS: Final = frozenset(
    [
        "CapabilityStatement",
        "CodeSystem",
        "CompartmentDefinition",
        "ConceptMap",
        "ImplementationGuide",
        "NamingSystem",
        "OperationDefinition",
        "Questionnaire",
        "SearchParameter",
        "StructureDefinition",
        "ValueSet",
    ]
)
_R4: Final = "hl7.fhir.r4.core"
_PACKAGE_LIMIT_BYTES: Final = 1024 * 1024 * 1024  # all files of a package, unpacked
_FILE_LIMIT_BYTES: Final = 64 * 1024 * 1024
_FILE_LIMIT: Final = 100_000


@dataclass(frozen=True, slots=True)
class Package:
    """A FHIR package that is here."""

    name: str
    version: str
    folder: Path

    @property
    def title(self) -> str:
        """``name#version``."""
        return f"{self.name}#{self.version}"


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where one definition stands."""

    package: Package
    version: str
    offset: int
    length: int
    rank: tuple[Any, ...]


def _version_key(version: str) -> tuple[Any, ...]:
    """Versions in their order; a pre-release stands before its release."""
    main, _, tail = version.partition("-")
    return (tuple(int(p) if p.isdigit() else -1 for p in main.split(".")), tail == "", tail)


class PackageFolder:
    """The packages of one data folder.

    Args:
        folder: where ``NAME#VERSION`` folders stand; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def packages(self) -> list[Package]:
        """What is here, by name and version."""
        found = []
        for index in sorted(self.folder.glob("*#*/index.json")) if self.folder.is_dir() else ():
            name, _, version = index.parent.name.partition("#")
            found.append(Package(name, version, index.parent))
        return sorted(found, key=lambda p: (p.name, _version_key(p.version)))

    @cached_property
    def _index(self) -> dict[tuple[str, str], list[_Entry]]:
        return self._entries(self.packages())

    def _entries(self, packages: Iterable[Package]) -> dict[tuple[str, str], list[_Entry]]:
        found: dict[tuple[str, str], list[_Entry]] = {}
        for package in packages:
            rows = orjson.loads((package.folder / "index.json").read_bytes())["definitions"]
            for kind, url, version, offset, length in rows:
                rank = (url.startswith(_home(package.name)), _version_key(version), _version_key(package.version))
                found.setdefault((kind, url), []).append(_Entry(package, version, offset, length, rank))
        return found

    def find(self, kind: str, canonical: str) -> JsonObject | None:
        """The definition with this canonical URL: the version it names, else the newest; None when it is not here."""
        url, _, version = canonical.partition("|")
        entries = self._index.get((kind, url), [])
        if version:
            entries = [e for e in entries if e.version == version or e.version.startswith(f"{version}.")]
        return _read(max(entries, key=lambda e: e.rank)) if entries else None

    def every(self, kind: str) -> Iterator[JsonObject]:
        """All definitions of a kind, one a canonical URL (the newest), in the order of their URLs."""
        for (one, _), entries in sorted(self._index.items(), key=lambda pair: pair[0]):
            if one == kind:
                yield _read(max(entries, key=lambda e: e.rank))

    def search_parameters(self) -> Iterator[JsonObject]:
        """The SearchParameters of all packages but R4's own, which the shipped table is made from."""
        others = self._entries(one for one in self.packages() if one.name != _R4)  # R4's index is long, and not needed
        for (kind, _), entries in sorted(others.items(), key=lambda pair: pair[0]):
            if kind == "SearchParameter":
                yield _read(max(entries, key=lambda e: e.rank))

    def profiles(self) -> dict[str, list[str]]:
        """Canonical URLs of the profiles on resources that are here, which validation can hold content to, by type."""
        found: dict[str, list[str]] = {}
        for one in self.every("StructureDefinition"):
            if one.get("kind") == "resource" and one.get("derivation") == "constraint":
                found.setdefault(str(one.get("type")), []).append(str(one["url"]))
        return found

    def add(self, archive: Path) -> tuple[Package, dict[str, int]]:
        """Take in a package from its ``.tgz``; the same version again replaces what was there.

        Returns:
            The package, and how many definitions of each kind it has.

        Raises:
            Malformed: not a package archive.
            Invalid: a file of it does not stand inside, or has no usable name.
            TooLarge: unpacked, it exceeds the limits.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".adding-", dir=self.folder))
        try:
            name, version, counts = _unpack(archive, work)
            package = Package(name, version, self.folder / f"{name}#{version}")
            old = Path(f"{package.folder}.old")
            if package.folder.exists():
                package.folder.replace(old)  # a folder is never half there
            work.replace(package.folder)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        self.__dict__.pop("_index", None)
        return package, counts


def _home(package: str) -> str:
    return "http://hl7.org/fhir/" if package.startswith("hl7.fhir.") else ""


def _read(entry: _Entry) -> JsonObject:
    with (entry.package.folder / "definitions.ndjson").open("rb") as lines:
        lines.seek(entry.offset)
        value: JsonObject = orjson.loads(lines.read(entry.length))
        return value


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """The files of a package with their content, within the limits; nothing is written to disk under their names."""
    total = count = 0
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                count += 1
                if count > _FILE_LIMIT:
                    raise TooLarge(f"more than {_FILE_LIMIT} files", at=archive.name)
                path = PurePosixPath(member.name)
                if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
                    raise Invalid("a file that is not plainly inside the package", at=f"{archive.name}, file {count}")
                if member.isdir() or path.suffix != ".json":
                    continue
                total += member.size
                if member.size > _FILE_LIMIT_BYTES or total > _PACKAGE_LIMIT_BYTES:
                    raise TooLarge("unpacked, the package is too large", at=archive.name)
                content = tar.extractfile(member)
                if content is not None:
                    yield path.as_posix(), content.read()
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, OSError) as error:
        raise Malformed(f"not a FHIR package ({type(error).__name__})", at=archive.name, fix="give a .tgz") from None


def _unpack(archive: Path, work: Path) -> tuple[str, str, dict[str, int]]:
    manifest: JsonObject = {}
    rows: list[tuple[str, str, str, int, int]] = []
    counts: dict[str, int] = {}
    with (work / "definitions.ndjson").open("wb") as out:
        for path, data in _members(archive):
            parts = PurePosixPath(path).parts
            try:
                value = orjson.loads(data)
            except orjson.JSONDecodeError:
                raise Malformed("not JSON", at=f"{archive.name} {path}") from None
            if parts[-1] == "package.json" and len(parts) <= 2:
                manifest = value
            if not isinstance(value, dict) or value.get("resourceType") not in KINDS or "example" in parts:
                continue
            if not isinstance(value.get("url"), str):
                continue
            value.pop("text", None)  # the narrative of a definition is never read here
            line = orjson.dumps(value)
            row = (value["resourceType"], value["url"], str(value.get("version", "")), out.tell(), len(line))
            out.write(line + b"\n")
            rows.append(row)
            counts[row[0]] = counts.get(row[0], 0) + 1
    name, version = manifest.get("name"), manifest.get("version")
    if not isinstance(name, str) or not isinstance(version, str) or not (name + version).replace("-", "").isascii():
        raise Malformed("there is no package.json with name and version", at=archive.name)
    if any(not c.isalnum() and c not in "._-+@" for c in name + version):
        raise Invalid("the package's name or version cannot be a folder name", at=archive.name)
    if not rows:
        raise Conflict("the package holds no definitions", at=archive.name)
    (work / "index.json").write_bytes(orjson.dumps({"name": name, "version": version, "definitions": rows}))
    return name, version, counts


class ShippedDefinitions:
    """Doorway's own definitions: the extensions of profiles/doorway and of the HL7 v2 mapping tables."""

    @cached_property
    def _all(self) -> dict[str, JsonObject]:
        rows = (
            row
            for path in list_data("mappings/hl7v2/segments") + list_data("mappings/hl7v2/datatypes")
            for row in csv.DictReader(read_data(path).splitlines())
        )
        table = "profiles/doorway/extensions.csv"
        return {**extensions_of_mapping(rows), **extensions_of_table(read_data(table), file=table)}

    def find(self, kind: str, canonical: str) -> JsonObject | None:
        """One of ours by canonical URL."""
        if kind != "StructureDefinition" or not canonical.startswith(DOORWAY):
            return None
        return self._all.get(canonical.partition("|")[0])

    def every(self, kind: str) -> Iterator[JsonObject]:
        """All of ours of a kind, by URL."""
        return (self._all[url] for url in sorted(self._all) if kind == "StructureDefinition")


class AllDefinitions:
    """Ours first, then the packages."""

    def __init__(self, packages: PackageFolder) -> None:
        self.packages = packages
        self.shipped = ShippedDefinitions()

    def find(self, kind: str, canonical: str) -> JsonObject | None:
        """A definition by canonical URL."""
        return self.shipped.find(kind, canonical) or self.packages.find(kind, canonical)
