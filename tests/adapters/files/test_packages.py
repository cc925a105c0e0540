"""FHIR packages: added once, found by canonical and version, and nothing in an archive escapes its folder."""

import io
import tarfile
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.adapters.files import packages
from gateway.adapters.files.packages import PackageFolder
from gateway.kernel.errors import DoorwayError, Invalid, Malformed, TooLarge

Files = dict[str, bytes]


def definition(url: str, version: str, **more: Any) -> bytes:
    return orjson.dumps({"resourceType": "StructureDefinition", "url": url, "version": version, **more})


def manifest(name: str = "test.pack", version: str = "1.0.0") -> bytes:
    return orjson.dumps({"name": name, "version": version})


def archive(folder: Path, files: Files, name: str = "p.tgz") -> Path:
    path = folder / name
    with tarfile.open(path, "w:gz") as tar:
        for member, data in files.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def pack(folder: Path, version: str, title: str) -> Path:
    files = {
        "package/package.json": manifest(version=version),
        "package/StructureDefinition-a.json": definition("http://a", version, title=title, text={"div": "long"}),
        "package/example/StructureDefinition-b.json": definition("http://b", version),
        "package/README.md": b"words",
    }
    return archive(folder, files, f"{version}.tgz")


def test_a_package_is_added_and_its_definitions_are_found(tmp_path: Path) -> None:
    folder = PackageFolder(tmp_path / "packages")
    package, counts = folder.add(pack(tmp_path, "1.0.0", "first"))
    assert (package.title, counts) == ("test.pack#1.0.0", {"StructureDefinition": 1})
    found = folder.find("StructureDefinition", "http://a")
    assert found is not None
    assert found["title"] == "first"
    assert "text" not in found
    assert folder.find("StructureDefinition", "http://b") is None
    assert folder.find("ValueSet", "http://a") is None


def test_the_newest_version_answers_unless_one_is_asked_for(tmp_path: Path) -> None:
    folder = PackageFolder(tmp_path / "packages")
    for version, title in (("1.10.0", "ten"), ("1.9.0", "nine"), ("2.0.0-ballot", "ballot")):
        folder.add(pack(tmp_path, version, title))
    titles = {
        canonical: (folder.find("StructureDefinition", canonical) or {}).get("title")
        for canonical in ("http://a", "http://a|1.9.0", "http://a|1.10", "http://a|3.0.0")
    }
    assert titles == {"http://a": "ballot", "http://a|1.9.0": "nine", "http://a|1.10": "ten", "http://a|3.0.0": None}
    assert [one["title"] for one in folder.every("StructureDefinition")] == ["ballot"]


def test_the_same_version_again_replaces_what_was_there(tmp_path: Path) -> None:
    folder = PackageFolder(tmp_path / "packages")
    folder.add(pack(tmp_path, "1.0.0", "first"))
    folder.add(pack(tmp_path, "1.0.0", "second"))
    assert (folder.find("StructureDefinition", "http://a") or {})["title"] == "second"
    assert sorted(p.name for p in (tmp_path / "packages").iterdir()) == ["test.pack#1.0.0"]


@pytest.mark.parametrize("name", ["package/../../evil.json", "/etc/evil.json", "../evil.json"])
def test_a_file_that_would_stand_outside_is_refused(tmp_path: Path, name: str) -> None:
    bad = archive(tmp_path, {"package/package.json": manifest(), name: definition("http://a", "1")})
    with pytest.raises(Invalid):
        PackageFolder(tmp_path / "packages").add(bad)
    assert list((tmp_path / "packages").iterdir()) == []


def test_a_link_in_an_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.tgz"
    with tarfile.open(path, "w:gz") as tar:
        link = tarfile.TarInfo("package/link.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(Invalid):
        PackageFolder(tmp_path / "packages").add(path)


def test_a_bomb_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_FILE_LIMIT_BYTES", 1000)
    bomb = archive(tmp_path, {"package/package.json": manifest(), "package/big.json": b'"' + b" " * 5000 + b'"'})
    with pytest.raises(TooLarge):
        PackageFolder(tmp_path / "packages").add(bomb)


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_FILE_LIMIT", 3)
    files = {f"package/{n}.json": b"{}" for n in range(5)}
    with pytest.raises(TooLarge):
        PackageFolder(tmp_path / "packages").add(archive(tmp_path, files))


@pytest.mark.parametrize(
    "files",
    [
        {"package/StructureDefinition-a.json": definition("http://a", "1")},  # no manifest
        {"package/package.json": manifest()},  # nothing in it
        {"package/package.json": manifest(name="../up"), "package/a.json": definition("http://a", "1")},
        {"package/package.json": manifest(), "package/a.json": b"{not json"},
    ],
)
def test_what_is_no_package_is_refused_and_leaves_nothing(tmp_path: Path, files: Files) -> None:
    with pytest.raises(DoorwayError):
        PackageFolder(tmp_path / "packages").add(archive(tmp_path, files))
    assert list((tmp_path / "packages").iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"not gzip", b"\x1f\x8b\x08\x00broken"])
def test_a_file_that_is_no_archive_is_malformed(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.tgz"
    path.write_bytes(data)
    with pytest.raises(Malformed):
        PackageFolder(tmp_path / "packages").add(path)
