"""What is known of each HMIS row that came: how new it is, what it belongs to, and rows that wait for their client."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar


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


@dataclass(frozen=True, slots=True)
class RowPlace:
    """A live row in a few words, for passes over a whole file."""

    key: str
    enrollment: str
    project: str
    facts: str


class RowReader(Protocol):
    """Reads of row states."""

    def get(self, source: str, file: str, keys: Iterable[str]) -> dict[str, RowState]:
        """The states by key; unknown keys are left out."""
        ...

    def digests(self, source: str, file: str, keys: Iterable[str]) -> dict[str, bytes]:
        """The digests by key of rows that are FHIR; others are left out."""
        ...

    def of_projects(
        self, source: str, file: str, projects: Sequence[str], *, deleted: bool = False, every: bool = False
    ) -> list[RowState]:
        """Live rows of a file that belong to one of the projects, by key; with ``deleted`` the deleted ones too, with
        ``every`` those that wait as well.
        """
        ...

    def of_enrollments(
        self, source: str, enrollments: Sequence[str], file: str = "", *, deleted: bool = False, every: bool = False
    ) -> list[RowState]:
        """Live rows of the enrollments, of every file or one, by file and key; ``deleted`` and ``every`` as above."""
        ...

    def of_households(self, source: str, households: Sequence[str]) -> list[RowState]:
        """Live enrollments of the households, by key."""
        ...

    def of_persons(self, source: str, file: str, persons: Sequence[str], *, every: bool = False) -> list[RowState]:
        """Live rows of a file that belong to one of the clients, by key; with ``every`` deleted and waiting ones."""
        ...

    def sources(self) -> list[str]:
        """The sources that rows came from."""
        ...

    def page(self, source: str, file: str, after: str, limit: int) -> list[RowState]:
        """Rows of a file that are FHIR, deleted ones too, by key, beginning after a key."""
        ...

    def places(self, source: str, file: str, after: str, limit: int) -> list[RowPlace]:
        """Live rows of a file, by key, beginning after a key."""
        ...

    def of_file(self, source: str, file: str) -> list[RowState]:
        """Every live row of a file, by key; for directory files, which are small."""
        ...

    def waiting(self, source: str, file: str, after: str, limit: int) -> list[RowState]:
        """Rows of a file that wait, by key, beginning after a key."""
        ...

    def counts(self, source: str) -> dict[str, int]:
        """Live rows by file."""
        ...

    def todo(self, source: str, kind: str, limit: int) -> list[str]:
        """Keys for which something is still to be done (:meth:`Rows.put_todo`), sorted."""
        ...

    def extras(self, source: str, file: str, keys: Iterable[str]) -> dict[str, str]:
        """What :meth:`Rows.put_extras` kept, by key."""
        ...

    def extra_page(self, source: str, file: str, after: str, limit: int) -> list[tuple[str, str]]:
        """Key and text of what is kept of a file, by key, beginning after a key."""
        ...

    def extra_files(self, source: str) -> list[str]:
        """Files of which something is kept, sorted."""
        ...


class Rows(RowReader, Protocol):
    """Reads and writes inside one transaction."""

    def put(self, states: Sequence[RowState]) -> None:
        """Keep states, replacing those with the same source, file and key."""
        ...

    def drop(self, source: str, file: str, keys: Iterable[str]) -> None:
        """Forget rows, and what is kept beside them."""
        ...

    def put_todo(self, source: str, kind: str, keys: Iterable[str]) -> None:
        """Note what follows from a write and is done in a later transaction: an interruption loses none of it."""
        ...

    def done(self, source: str, kind: str, keys: Iterable[str]) -> None:
        """Take keys off the list again."""
        ...

    def put_extras(self, source: str, file: str, texts: Mapping[str, str]) -> None:
        """Keep what HUD's format has no place for (columns and files of the source's own), by key; empty removes it.

        It is no resource: no door but an export back to the source reads it.
        """
        ...


T = TypeVar("T", RowPlace, RowState)


def pages_of(read: Callable[[str, str, str, int], list[T]], source: str, file: str, size: int = 5_000) -> Iterator[T]:
    """Every row of a file, page by page, by :meth:`RowReader.places` (live ones) or :meth:`RowReader.page`."""
    after = ""
    while page := read(source, file, after, size):
        yield from page
        after = page[-1].key
