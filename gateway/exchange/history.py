"""Versions of several resource types in one order, for the history of a whole system (R4 "history-system")."""

from collections.abc import Iterator, Sequence
from heapq import merge
from typing import Final, TypeAlias

from gateway.exchange.ports.resources import ResourceReader, Stored

Moment: TypeAlias = tuple[int, str, str, int]  # updated_us, type, id, version: where a version stands in the order

_FEW: Final = 20  # versions that are read of a type at first; most types have none that are new
_MANY: Final = 500


def moment_of(stored: Stored) -> Moment:
    """The place of a version in the order."""
    return stored.updated_us, stored.type, stored.id, stored.version


def newest_first(
    resources: ResourceReader, types: Sequence[str], id_: str = "", *, since_us: int = 0, before: Moment | None = None
) -> Iterator[Stored]:
    """Versions of the types, deletions included, newest first by (updated_us, type, id, version); read when taken.

    Args:
        id_: one resource of the one type; empty: all.
        since_us: only versions made then or later.
        before: only versions that come after this place in the order.
    """
    streams = [_of_type(resources, type_, id_, since_us, _within(type_, before)) for type_ in types]
    return merge(*streams, key=moment_of, reverse=True)


def _within(type_: str, before: Moment | None) -> tuple[int, str, int] | None:
    """Where the versions of one type go on behind a place in the order of all."""
    if before is None:
        return None
    at, other, id_, version = before
    if type_ == other:
        return at, id_, version
    return (at, "", 0) if type_ > other else (at + 1, "", 0)  # of one instant, later types come first


def _of_type(
    resources: ResourceReader, type_: str, id_: str, since_us: int, before: tuple[int, str, int] | None
) -> Iterator[Stored]:
    count = _FEW
    while True:
        batch = resources.changes(type_, id_, since_us=since_us, before=before, count=count)
        yield from batch
        if len(batch) < count:
            return
        before = batch[-1].updated_us, batch[-1].id, batch[-1].version
        count = min(count * 2, _MANY)
