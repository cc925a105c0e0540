"""The tables of the HL7 v2 bridge from disk: the shipped ones, and a site's overlay from here or from a folder."""

from functools import lru_cache
from pathlib import Path
from typing import Final

from gateway.adapters.files.data import data_folder, list_data, read_data
from gateway.kernel.errors import Invalid
from gateway.mapping.hl7v2.model import Tables
from gateway.mapping.hl7v2.outbound import Outbound, read_outbound
from gateway.mapping.hl7v2.tables import read_tables

_SHIPPED: Final = ("mappings/hl7v2", "terminology/v2")


@lru_cache(16)
def load_tables(site: str = "") -> Tables:
    """The compiled-in tables, with the overlay ``mappings/sites/<site>`` or the folder ``site`` laid over them.

    Raises:
        Invalid: no such site, or any mistake in a table, with file:line.
    """
    texts = {path: read_data(path) for folder in _SHIPPED for path in list_data(folder)}
    if not site:
        return read_tables(texts)
    folder, name = _folder_of(site)
    for file in sorted(folder.rglob("*.csv")):
        texts[f"mappings/sites/{name}/{file.relative_to(folder).as_posix()}"] = file.read_text(encoding="utf-8")
    return read_tables(texts, site=name)


def _folder_of(site: str) -> tuple[Path, str]:
    for folder in (data_folder("mappings") / "sites" / site, Path(site)):
        if folder.is_dir() and any(folder.rglob("*.csv")):
            return folder, folder.name
    raise Invalid("no such site", at="site", fix="name a folder of mappings/sites, or a folder with an overlay")


def list_sites() -> list[str]:
    """Names of the overlays that ship."""
    root = data_folder("mappings") / "sites"
    return sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []


@lru_cache(4)
def load_outbound(site: str = "") -> Outbound:
    """The tables for messages that go out (mappings/hl7v2/outbound).

    Raises:
        Invalid: any mistake in a table, with file:line.
    """
    return read_outbound({p: read_data(p) for p in list_data("mappings/hl7v2/outbound")}, load_tables(site))
