"""The labeller from the shipped tables, and labelling everything again when a table has changed."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from csv import DictReader
from dataclasses import dataclass
from io import StringIO
from typing import TypeAlias

import orjson

from gateway.consent.labels import Labeller, read_label_tables, security_of, vouched_of
from gateway.exchange.disclose import ReadData
from gateway.exchange.pending_labels import pending, settle
from gateway.exchange.ports.resources import Draft, ResourceReader, Stored
from gateway.exchange.ports.store import Store, Unit
from gateway.exchange.save import Saver
from gateway.kernel.fhir import JsonObject

_BATCH = 200

Naming: TypeAlias = Callable[[ResourceReader, str], Iterable[Stored]]  # every record that names an organization


def read_labeller(read_data: ReadData, organizations: Mapping[str, Iterable[str]] | None = None) -> Labeller:
    """The labeller over terminology/sensitivity.

    Args:
        organizations: ``Organization/id`` (or a Location, a HealthcareService) to the sensitivities its name tells.

    Raises:
        Invalid: a mistake in a table.
    """
    tables = (
        DictReader(StringIO(read_data(f"terminology/sensitivity/{name}.csv")))
        for name in ("codes", "words", "sources", "implied", "levels")
    )
    told = {reference: frozenset(codes) for reference, codes in (organizations or {}).items()}
    return Labeller(read_label_tables(*tables), told)


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction of a relabelling: the last reference in it, how many it looked at, how many changed."""

    last: str
    seen: int
    changed: int


def relabel(store: Store, saver: Saver, types: Iterable[str], *, now_us: int) -> int:
    """Label every live resource of the types anew; how many changed."""
    return sum(step.changed for step in relabelling(store, saver, types, now_us=now_us))


def relabelling(store: Store, saver: Saver, types: Iterable[str], *, now_us: int, after: str = "") -> Iterator[Step]:
    """Label every live resource of the types anew, a transaction at a time, by type and id.

    Labels with a basis came from the tables and are found again; the others were vouched for by a mapping and stay.
    A resource whose labels do not change gets no new version, so a run that was broken off is simply run again.

    Args:
        after: ``Type/id`` of the last one that was done; the run goes on behind it.
    """
    for type_ in sorted(set(types)):
        if type_ < after.partition("/")[0]:
            continue
        with store.reading() as reading:
            references = sorted(stored.reference for stored in reading.resources.of_type(type_))
        references = [one for one in references if not (after.startswith(f"{type_}/") and one <= after)]
        yield from _steps(store, saver, references, now_us)


Awaited: TypeAlias = dict[tuple[str, int], frozenset[str]]  # (organization, version): who may not know that one


def settling(
    store: Store, saver: Saver, naming: Naming, *, now_us: Callable[[], int], awaited: Awaited
) -> Iterator[Step]:
    """One pass over what waits to be labelled since an Organization's flags changed, a transaction at a time.

    An organization is taken off the record when a pass has found nothing to change that began after every transaction
    had ended which was under way when that version was first met: such a one may have read the version before, and
    commit what it labelled by it at any time. A pass that is broken off is simply begun again.

    Args:
        awaited: what the passes of one worker remember from one to the next; empty for the first.
    """
    with store.reading() as reading:
        waiting = sorted(pending(reading.resources).every)
        known = reading.resources.many(waiting)
        versions = {one: known[one].version if one in known else 0 for one in waiting}
        there = reading.resources.under_way() or frozenset()
    for place in awaited.keys() - versions.items():
        del awaited[place]
    for organization, version in versions.items():
        left = awaited[organization, version] = awaited.get((organization, version), there) & there
        with store.reading() as reading:
            references = [stored.reference for stored in naming(reading.resources, organization)]
        changed = 0
        for step in _steps(store, saver, references, now_us()):
            changed += step.changed
            yield step
        if not changed and not left:
            at = now_us()
            store.write(lambda unit, one=organization, of=version, at=at: settle(  # type: ignore[misc]
                unit.resources, one, version=of, now_us=at
            ))  # fmt: skip


def _steps(store: Store, saver: Saver, references: list[str], now_us: int) -> Iterator[Step]:
    for start in range(0, len(references), _BATCH):
        part = references[start : start + _BATCH]
        changed = store.write(lambda unit, part=part: _again(unit, saver, part, now_us))  # type: ignore[misc]
        yield Step(part[-1], len(part), changed)


def _again(unit: Unit, saver: Saver, references: Iterable[str], now_us: int) -> int:
    drafts, versions = [], {}
    for reference, stored in unit.resources.many(references).items():
        resource = orjson.loads(stored.body)
        draft = Draft(resource, stored.body, stored.method, stored.source, vouched_of(resource), over=stored.version)
        drafts.append(draft)
        versions[reference] = stored.version
    changed = [
        labelled
        for labelled in saver.labelled(unit, drafts)
        if [_key(c) for c in labelled.labels or ()] != [_key(c) for c in security_of(labelled.resource)]
    ]
    written = unit.resources.put_all(changed, now_us=now_us)
    return sum(versions.get(one.reference) not in (None, one.version) for one in written)


def _key(coding: JsonObject) -> tuple[str, str]:
    return str(coding.get("system", "")), str(coding.get("code", ""))
