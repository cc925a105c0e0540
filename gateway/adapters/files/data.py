"""The tables that ship with Doorway: mappings/, profiles/ and terminology/, beside the package or inside the wheel."""

from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[2]


@cache
def data_folder(name: str) -> Path:
    """The folder ``mappings``, ``profiles`` or ``terminology``: in a checkout beside the package, else in the wheel."""
    for folder in (_PACKAGE.parent / name, _PACKAGE / "data" / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"the folder {name}/ of this installation is missing: install Doorway again")


def read_data(path: str) -> str:
    """The text of one shipped file, such as ``mappings/hmis/fy2026/Client.csv``."""
    name, _, rest = path.partition("/")
    return (data_folder(name) / rest).read_text(encoding="utf-8")


def list_data(path: str, suffix: str = ".csv") -> list[str]:
    """The shipped files below a folder, sorted, as paths for :func:`read_data`."""
    name, _, rest = path.partition("/")
    root = data_folder(name)
    return sorted(f"{name}/{file.relative_to(root).as_posix()}" for file in (root / rest).rglob(f"*{suffix}"))
