"""FHIR resources with all their versions, as the use cases see them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from gateway.kernel.fhir import JsonObject, Resource


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of a resource as it lies in the store; ``body`` is the exact JSON text to return."""

    type: str
    id: str
    version: int  # meta.versionId, from 1
    updated_us: int  # meta.lastUpdated, microseconds since 1970 UTC
    method: str  # POST, PUT, PATCH or DELETE: how this version came
    body: bytes = field(repr=False)  # UTF-8 JSON with id and meta in place; b"" when deleted
    source: str = ""  # feed, export or client that wrote it

    @property
    def reference(self) -> str:
        """``Type/id``."""
        return f"{self.type}/{self.id}"

    @property
    def deleted(self) -> bool:
        """Whether this version is a deletion."""
        return self.method == "DELETE"


@dataclass(frozen=True, slots=True)
class Draft:
    """A resource about to be written: parsed form for indexing, text for keeping.

    ``resource`` carries its id. ``body`` is the text as received; None means that there is no original text and the
    resource is written out as it is. Id and meta are set in the text without touching any other character.
    """

    resource: Resource = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    method: str = "PUT"
    source: str = ""
    labels: tuple[JsonObject, ...] = field(default=(), repr=False)  # security labels that our own mapping vouches for


class ResourceReader(Protocol):
    """Reads; every method sees the same snapshot."""

    def get(self, type_: str, id_: str) -> Stored | None:
        """The newest version, a deletion included; None when the id was never used."""
        ...

    def many(self, references: Iterable[str]) -> dict[str, Stored]:
        """Newest versions by ``Type/id``; deleted and unknown ones are left out."""
        ...

    def version(self, type_: str, id_: str, version: int) -> Stored | None:
        """One version."""
        ...

    def compartment(self, patients: Iterable[str]) -> Iterator[Stored]:
        """Every live resource that names one of the patients (``Patient/id``), the patients themselves included."""
        ...

    def of_type(self, type_: str) -> Iterator[Stored]:
        """Every live resource of a type, by id."""
        ...

    def consents(self, patients: Iterable[str]) -> list[Stored]:
        """The Consents, in any state, whose patient is one of these."""
        ...


class Resources(ResourceReader, Protocol):
    """Reads and writes inside one transaction."""

    def put(self, draft: Draft, *, now_us: int) -> Stored:
        """Write a new version; when the content equals the newest version nothing is written and that one returned."""
        ...

    def delete(self, type_: str, id_: str, *, now_us: int, source: str = "") -> Stored | None:
        """Write a deletion; None when there is nothing to delete."""
        ...
