"""How one version of a resource follows another; shared by every store, so that they cannot differ."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from gateway.codecs.json_text import Document, document_with_identity, read, with_last_member, write
from gateway.consent.redact import spliced
from gateway.exchange.ports.resources import Draft, Stored
from gateway.kernel.errors import Invalid
from gateway.kernel.fhir import JsonObject, Resource, patients_named, reference_of, references_of, subject_of
from gateway.kernel.identifiers import key_of

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Facets(NamedTuple):
    """What the store keeps beside a body so that consent, compartments and search need not parse it."""

    shard: int  # which part of every table the rows belong to: that of the subject Patient, else of the resource itself
    subject: str  # ``Patient/id`` or empty
    patients: tuple[str, ...]  # every Patient that the resource names

    def __repr__(self) -> str:
        """Without the references."""
        return f"Facets(shard={self.shard})"


_SHARDS: Final = 1 << 15  # small enough for two bytes in every row, many more than there will be machines


def instant(updated_us: int) -> str:
    """Microseconds since 1970 UTC as a FHIR instant with milliseconds (``2026-01-02T03:04:05.678Z``)."""
    second, micros = divmod(updated_us, 1_000_000)
    return f"{_second(second)}.{micros // 1_000:03d}Z"


@lru_cache(maxsize=256)  # what is written now was written in this second
def _second(second: int) -> str:
    return (_EPOCH + timedelta(seconds=second)).isoformat()[:19]


View: TypeAlias = Callable[[Resource, Iterable[str] | None], bytes]  # a resource and its references, to packed facets


def no_view(resource: Resource, literals: Iterable[str] | None) -> bytes:
    """Nothing is kept beside the body."""
    return b""


def facets_of(resource: Resource, literals: Sequence[str]) -> Facets:
    """The facets of a resource that has its id, with its references."""
    subject = subject_of(resource) or ""
    return Facets(_shard(subject or reference_of(resource)), subject, patients_named(resource, literals))


@lru_cache(maxsize=1_024)  # the resources of one person come together
def _shard(reference: str) -> int:
    return key_of(reference) % _SHARDS


class NewVersion(NamedTuple):
    """A version to be written: the text, and the parsed resource (id and meta in place) from which to index."""

    stored: Stored
    resource: Resource
    facets: Facets

    def __repr__(self) -> str:
        """Without the content."""
        return f"NewVersion({self.stored!r})"


def next_version(current: Stored | None, draft: Draft, view: View = no_view, *, now_us: int) -> NewVersion | None:
    """The version that ``draft`` makes after ``current``; None when its content equals the current one, or when it was
    made from another version than that.

    ``view`` packs what consent looks at in the new content, to be kept beside it.

    In the text only ``id`` and ``meta`` are touched: ``meta.versionId`` and ``meta.lastUpdated`` are ours, and
    ``meta.security`` holds exactly ``draft.labels``, among which what its sender claimed stands where it may count
    (save.py).

    Raises:
        Invalid: the draft has no type or id.
        Malformed: its text is not strict JSON.
    """
    resource = draft.resource
    type_, id_ = resource.get("resourceType"), resource.get("id")
    if not isinstance(type_, str) or not isinstance(id_, str) or not type_ or not id_:
        raise Invalid("a resource to store needs resourceType and id", at="resource")
    if draft.over and current is not None and current.version != draft.over:
        return None
    if draft.amend and current is not None and not current.deleted:
        return _amended(current, draft, view)
    document = draft.document or read(
        draft.body if draft.body is not None else write(_identified(resource, type_, id_)), at=type_
    )
    if current is not None:
        same = document_with_identity(document, id_, _meta(document, draft, current.version, current.updated_us))
        if same == current.body and not draft.anew:
            return None
        now_us = max(now_us, current.updated_us + 1)  # a clock that stepped back must not reorder versions
    version = current.version + 1 if current is not None else 1
    meta = _meta(document, draft, version, now_us)
    body = document_with_identity(document, id_, meta)
    made = {**document.resource, "resourceType": type_, "id": id_, "meta": meta}
    literals = references_of(body.decode(), made)
    owner = draft.owner or draft.source
    if current is not None and not current.deleted:
        owner = "" if draft.shared else current.owner
    stored = Stored(type_, id_, version, now_us, draft.method, body, draft.source, view(made, literals), owner)
    return NewVersion(stored, made, facets_of(made, literals))


def _amended(current: Stored, draft: Draft, view: View) -> NewVersion | None:
    """The newest version with the links that we derive brought up to date: same number, same instant, same text else.

    A number, an instant or a space that moved would tell those who may not see the other record that there is one.
    """
    document = read(current.body, at=current.type)
    links = draft.resource.get("link")
    if links == document.resource.get("link"):
        return None
    rest = {name: value for name, value in document.resource.items() if name != "link"}
    body = with_last_member(document, "link", links) if links else spliced(document, rest) or current.body
    made = {**rest, "link": links} if links else rest
    literals = references_of(body.decode(), made)
    return NewVersion(replace(current, body=body, facets=view(made, literals)), made, facets_of(made, literals))


def deletion(current: Stored, *, now_us: int, source: str) -> Stored:
    """The version that says that ``current`` was deleted."""
    at = max(now_us, current.updated_us + 1)
    return Stored(current.type, current.id, current.version + 1, at, "DELETE", b"", source, owner=current.owner)


def _identified(resource: Resource, type_: str, id_: str) -> Resource:
    rest = {name: value for name, value in resource.items() if name not in {"resourceType", "id"}}
    return {"resourceType": type_, "id": id_, **rest}


def _meta(document: Document, draft: Draft, version: int, updated_us: int) -> JsonObject:
    given = document.resource.get("meta")
    kept = given if isinstance(given, dict) else {}
    meta: JsonObject = {"versionId": str(version), "lastUpdated": instant(updated_us)}
    if kept:
        meta |= {name: value for name, value in kept.items() if name not in _OURS}
    if draft.labels:
        meta["security"] = list(draft.labels)
    return meta


_OURS: Final = frozenset({"versionId", "lastUpdated", "security", "_versionId", "_lastUpdated"})
