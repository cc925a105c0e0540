"""FHIR resources with all their versions, as the use cases see them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import orjson

from gateway.codecs.json_text import Document
from gateway.exchange.search import Criterion, Shown, Sort
from gateway.kernel.fhir import JsonObject, Resource

Place: TypeAlias = tuple[str | int | float, ...]  # where a match stands in the order: its sort values, then its key


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
    facets: bytes = field(default=b"", repr=False, compare=False)  # consent.view.pack of the content; b"": not kept
    owner: str = ""  # whose own it is, whoever updates it: Organization/id, or the source that created it

    @property
    def reference(self) -> str:
        """``Type/id``."""
        return f"{self.type}/{self.id}"

    @property
    def deleted(self) -> bool:
        """Whether this version is a deletion."""
        return self.method == "DELETE"


def parsed(stored: Stored | None) -> Resource:
    """The resource of a stored version, for looking at; {} of a deletion and of nothing."""
    found = orjson.loads(stored.body) if stored is not None and stored.body else {}
    return found if isinstance(found, dict) else {}


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
    # security labels that our own mapping vouches for; None: nobody does anew, and those of before stay
    labels: tuple[JsonObject, ...] | None = field(default=None, repr=False)
    document: Document | None = field(default=None, repr=False)  # ``body`` as read already, to save reading it again
    fresh: bool = False  # its id was made for it a moment ago, so that nothing can be there already
    amend: bool = False  # only ``link``, which we derive, changes: in the newest version, without a new one
    over: int = 0  # the version that it was made from: nothing is written where another has come meanwhile; 0: any
    owner: str = ""  # the Organization/id whose own it is if it is new; "": its source
    shared: bool = False  # others tell of it too: that its first teller created it makes it nobody's own any more
    anew: bool = False  # a new version even where the content comes out equal: its writer changed what he saw

    def with_labels(self, labels: tuple[JsonObject, ...]) -> "Draft":
        """The same with other labels."""
        return Draft(
            self.resource, self.body, self.method, self.source, labels, self.document, self.fresh, self.amend,
            self.over, self.owner, self.shared, self.anew,
        )  # fmt: skip

    def may_name(self, type_: str) -> bool:
        """Whether its text can hold a reference to a resource of the type; a glance at the text, if there is one."""
        return self.document is None or f"{type_}/" in self.document.text or "\\" in self.document.text


@dataclass(frozen=True, slots=True)
class Candidate:
    """A live resource that fulfils the criteria of a search, and its place in the order."""

    stored: Stored
    place: Place = field(repr=False)


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

    def under_way(self) -> frozenset[str] | None:
        """Names of the transactions of others that have begun and not ended; None where no two writers work at once."""
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

    def candidates(
        self,
        type_: str,
        criteria: Sequence[Criterion],
        sorts: Sequence[Sort] = (),
        *,
        after: Place | None = None,
        limit: int,
        shown: Shown | None = None,
    ) -> list[Candidate]:
        """At most ``limit`` matches in order, from behind the place ``after``; fewer only when there are no more.

        ``shown``: what cannot be visible may be left out; a store that has no :meth:`forms` leaves out nothing.

        Nothing here regards who asks: ``exchange.search_run.search`` puts visibility on top; use that.
        """
        ...

    def count(self, type_: str, criteria: Sequence[Criterion], *, limit: int | None = None) -> int:
        """How many live resources fulfil the criteria, without regard to who asks; counting stops at ``limit``."""
        ...

    def forms(self, limit: int) -> dict[int, Stored] | None:
        """One live Consent of each form (consent.outline) that permits something; None: too many, or not kept."""
        ...

    def changes(
        self, type_: str, id_: str = "", *, since_us: int = 0, before: tuple[int, str, int] | None = None, count: int
    ) -> list[Stored]:
        """Versions, deletions included, newest first by (updated_us, id, version).

        Args:
            type_: the resource type.
            id_: one resource; empty: all of the type.
            since_us: only versions made then or later.
            before: only versions that come after this (updated_us, id, version) in that order.
            count: how many at most.
        """
        ...


class Resources(ResourceReader, Protocol):
    """Reads and writes inside one transaction."""

    def hold(self, name: str) -> None:
        """Wait for and hold a name until the transaction ends, so that "look, then write" is one step for everybody."""
        ...

    def put(self, draft: Draft, *, now_us: int) -> Stored:
        """Write a new version; when the content equals the newest version nothing is written and that one returned."""
        ...

    def put_all(self, drafts: Sequence[Draft], *, now_us: int) -> list[Stored]:
        """As :meth:`put` for many, in order, at a fraction of the round trips."""
        ...

    def delete(self, type_: str, id_: str, *, now_us: int, source: str = "") -> Stored | None:
        """Write a deletion; None when there is nothing to delete."""
        ...
