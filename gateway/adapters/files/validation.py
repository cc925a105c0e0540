"""The validator over the shipped tables, the loaded packages and our own terminology."""

from pathlib import Path

from gateway.adapters.files.data import read_data
from gateway.adapters.files.packages import AllDefinitions, PackageFolder
from gateway.profiles.validate import Validator
from gateway.terminology.valuesets import ValueSets


def open_validator(package_folder: Path) -> Validator:
    """A validator that knows what ships and what lies in ``package_folder``."""
    definitions = AllDefinitions(PackageFolder(package_folder))
    return Validator(read_data, definitions, ValueSets(definitions.find))
