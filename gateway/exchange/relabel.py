"""The labeller from the shipped tables, and labelling everything again when a table has changed."""

from collections.abc import Iterable, Iterator, Mapping
from csv import DictReader
from dataclasses import dataclass
from io import StringIO

import orjson

from gateway.consent.labels import Labeller, read_label_tables, security_of, vouched_of
from gateway.exchange.disclose import ReadData
from gateway.exchange.ports.resources import Draft
from gateway.exchange.ports.store import Store, Unit
from gateway.exchange.save import Saver
from gateway.kernel.fhir import JsonObject

_BATCH = 200


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
        for start in range(0, len(references), _BATCH):
            part = references[start : start + _BATCH]
            changed = store.write(lambda unit, part=part: _again(unit, saver, part, now_us))  # type: ignore[misc]
            yield Step(part[-1], len(part), changed)


def _again(unit: Unit, saver: Saver, references: Iterable[str], now_us: int) -> int:
    changed = 0
    for reference, stored in unit.resources.many(references).items():
        resource = orjson.loads(stored.body)
        draft = Draft(resource, stored.body, stored.method, stored.source, vouched_of(resource))
        (labelled,) = saver.labelled(unit, [draft])
        if [_key(c) for c in labelled.labels or ()] == [_key(c) for c in security_of(resource)]:
            continue
        after = unit.resources.put(labelled, now_us=now_us)
        changed += after.version != stored.version and after.reference == reference
    return changed


def _key(coding: JsonObject) -> tuple[str, str]:
    return str(coding.get("system", "")), str(coding.get("code", ""))
