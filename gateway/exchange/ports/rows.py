"""What is known of each HMIS row that came: how new it is, what it belongs to, and rows that wait for their client."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class RowState:
    """One row of a source's file, by its key.

    ``digest`` covers every cell but ExportID. ``updated`` and ``exported`` (DateUpdated, ExportDate as sortable text)
    decide which of two versions is newer. ``cells`` holds the row as JSON while it waits for a row that it points to.
    """

    source: str
    file: str
    key: str
    digest: bytes
    updated: str = ""
    exported: str = ""
    person: str = ""  # PersonalID
    enrollment: str = ""  # EnrollmentID; of an Enrollment its own
    project: str = ""
    household: str = ""
    facts: str = ""  # what other rows need to know of it: labels, organization, days; JSON
    cells: str = field(default="", repr=False)
    deleted: int = 0

    @property
    def waiting(self) -> bool:
        """Whether it is not FHIR yet."""
        return bool(self.cells)


class RowReader(Protocol):
    """Reads of row states."""

    def get(self, source: str, file: str, keys: Iterable[str]) -> dict[str, RowState]:
        """The states by key; unknown keys are left out."""
        ...

    def of_projects(self, source: str, file: str, projects: Sequence[str]) -> list[RowState]:
        """Live rows of a file that belong to one of the projects, by key."""
        ...

    def of_enrollments(self, source: str, enrollments: Sequence[str]) -> list[RowState]:
        """Live rows of every file that belong to one of the enrollments, by file and key."""
        ...

    def of_households(self, source: str, households: Sequence[str]) -> list[RowState]:
        """Live enrollments of the households, by key."""
        ...

    def of_persons(self, source: str, file: str, persons: Sequence[str]) -> list[RowState]:
        """Live rows of a file that belong to one of the clients, by key."""
        ...

    def sources(self) -> list[str]:
        """The sources that rows came from."""
        ...

    def page(self, source: str, file: str, after: str, limit: int) -> list[RowState]:
        """Rows of a file that are FHIR, deleted ones too, by key, beginning after a key."""
        ...

    def of_file(self, source: str, file: str) -> list[RowState]:
        """Every live row of a file, by key; for directory files, which are small."""
        ...

    def waiting(self, source: str) -> Iterator[RowState]:
        """Rows that wait, by file and key."""
        ...

    def counts(self, source: str) -> dict[str, int]:
        """Live rows by file."""
        ...


class Rows(RowReader, Protocol):
    """Reads and writes inside one transaction."""

    def put(self, states: Sequence[RowState]) -> None:
        """Keep states, replacing those with the same source, file and key."""
        ...
