"""Terminology and validator over the shipped tables, Doorway's own definitions and the loaded packages."""

from functools import cache, cached_property
from pathlib import Path

from gateway.adapters.files.data import list_data, read_data
from gateway.adapters.files.packages import AllDefinitions, PackageFolder
from gateway.profiles.validate import Validator
from gateway.terminology import Terminology
from gateway.terminology.tables import Tables, read_tables


def open_terminology(definitions: AllDefinitions) -> Terminology:
    """Our tables of terminology/, then loaded definitions.

    Raises:
        Invalid: a mistake in a table, with file:line.
    """
    return Terminology(own_tables(), definitions.find)


@cache
def own_tables() -> Tables:
    """Every table of terminology/, read and checked; once a process, whoever asks: nobody changes them."""
    return read_tables((file, read_data(file)) for file in list_data("terminology"))


class _LazyTerminology:
    """Our tables are read when the first code is asked for, so that a command that needs none starts at once."""

    def __init__(self, definitions: AllDefinitions) -> None:
        self._definitions = definitions

    @cached_property
    def _terminology(self) -> Terminology:
        return open_terminology(self._definitions)

    def holds(self, valueset: str, system: str | None, code: str) -> bool | None:
        """As :meth:`Terminology.holds`."""
        return self._terminology.holds(valueset, system, code)

    def defines(self, system: str, code: str) -> bool | None:
        """As :meth:`Terminology.defines`."""
        return self._terminology.defines(system, code)


def open_validator(package_folder: Path) -> Validator:
    """A validator that knows what ships and what lies in ``package_folder`` (which need not exist)."""
    definitions = AllDefinitions(PackageFolder(package_folder))
    return Validator(read_data, definitions, _LazyTerminology(definitions))
