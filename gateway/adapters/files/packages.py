"""FHIR packages on disk, and the validator over them."""

from pathlib import Path

from gateway.adapters.files.data import read_data
from gateway.profiles.validate import Validator


def open_validator(package_folder: Path | None = None) -> Validator:
    """A validator over the shipped tables and the packages of ``package_folder``."""
    return Validator(read_data)
