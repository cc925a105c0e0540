"""Exports on disk: folders, zips with folders, bombs and path tricks."""

import io
import os
import zipfile
from pathlib import Path

import pytest

from gateway.adapters.files.hmis_export import FolderScratch, open_export
from gateway.kernel.errors import DoorwayError, Invalid, Malformed, TooLarge


def _zip(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def test_a_folder_and_a_zip_with_folders_read_alike(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "Client.csv").write_bytes(b"a\r\n")
    packed = _zip(tmp_path / "x.zip", {"deep/Client.csv": b"a\r\n", "__MACOSX/._Client.csv": b"x"})
    for files in (open_export(str(tmp_path / "in")), open_export(str(packed))):
        assert files.names() == ["deep/Client.csv"]
        assert b"".join(files.chunks("deep/Client.csv")) == b"a\r\n"


@pytest.mark.parametrize(
    "name", ["../Client.csv", "/etc/Client.csv", "a/../../Client.csv", "..\\Client.csv", "C:/Client.csv"]
)
def test_paths_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Malformed):
        open_export(str(_zip(tmp_path / "x.zip", {name: b"a"})))


def test_a_bomb_is_refused_by_what_it_declares(tmp_path: Path) -> None:
    with pytest.raises(TooLarge):
        open_export(str(_zip(tmp_path / "x.zip", {"Client.csv": b"\0" * 30_000_000})))


def test_overlapping_entries_and_links_are_refused(tmp_path: Path) -> None:
    place = _zip(tmp_path / "x.zip", {"A.csv": b"a" * 400, "B.csv": b"b" * 400})
    data = bytearray(place.read_bytes())
    second = data.rfind(b"PK\x01\x02")
    data[second + 42 : second + 46] = (0).to_bytes(4, "little")
    place.write_bytes(bytes(data))
    with pytest.raises(DoorwayError):
        open_export(str(place))
    info = zipfile.ZipInfo("Client.csv")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "l.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(Malformed):
        open_export(str(tmp_path / "l.zip"))


def test_a_damaged_zip_is_said_to_be_damaged(tmp_path: Path) -> None:
    place = _zip(tmp_path / "x.zip", {"Client.csv": os.urandom(2000)})
    data = bytearray(place.read_bytes())
    data[200:220] = b"\0" * 20
    place.write_bytes(bytes(data))
    with pytest.raises(Malformed):
        list(open_export(str(place)).chunks("Client.csv"))


def test_what_is_no_export_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(Invalid):
        open_export(str(tmp_path / "none"))
    (tmp_path / "text.zip").write_bytes(io.BytesIO(b"hello").getvalue())
    with pytest.raises(Invalid):
        open_export(str(tmp_path / "text.zip"))


def test_a_file_that_is_a_link_out_of_the_folder_or_no_file_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_bytes(b"secret")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes").symlink_to(tmp_path / "out.csv")
    (tmp_path / "in" / "Exit.csv").write_bytes(b"ExitID\n")
    (tmp_path / "in" / "Copy.csv").symlink_to(tmp_path / "in" / "Exit.csv")
    assert open_export(str(tmp_path / "in")).names() == ["Copy.csv", "Exit.csv"]
    (tmp_path / "in" / "Client.csv").symlink_to(tmp_path / "out.csv")
    with pytest.raises(Malformed) as refused:
        open_export(str(tmp_path / "in")).names()
    assert refused.value.at == "Client.csv"
    (tmp_path / "in" / "Client.csv").unlink()
    (tmp_path / "in" / "Event.csv").mkdir()
    with pytest.raises(Malformed) as refused:
        open_export(str(tmp_path / "in")).names()
    assert refused.value.at == "Event.csv"


def test_scratch_gives_lines_back_in_order() -> None:
    with FolderScratch() as scratch:
        scratch.add(1, "a")
        scratch.add(2, "b")
        scratch.add(1, "c")
        assert list(scratch.read(1)) == ["a", "c"]
        assert list(scratch.read(9)) == []


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_bytes_that_cannot_be_unpacked_are_said_to_be_damaged(tmp_path: Path, packing: int) -> None:
    place = tmp_path / "x.zip"
    with zipfile.ZipFile(place, "w", packing) as archive:
        archive.writestr("Client.csv", b"PersonalID,LastName\r\n" * 500)
    data = bytearray(place.read_bytes())
    for at in range(45, 75):
        data[at] ^= 0x5A
    place.write_bytes(bytes(data))
    with pytest.raises(Malformed):
        list(open_export(str(place)).chunks("Client.csv"))


def test_a_name_that_is_file_and_folder_at_once_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Malformed):
        open_export(str(_zip(tmp_path / "x.zip", {"x.csv": b"a", "x.csv/y.csv": b"b"})))
