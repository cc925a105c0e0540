"""AuditEvents over the API: the audit trail read and searched as it lies there, without a second copy or index.

Who may ask (gateway/README.md, decisions): with a scope for AuditEvent, a client sees the accesses of its own
Organization, a client with a role of the setting ``privacy_officer_roles`` sees all. What an officer looked up in the
trail is shown to that client and to officers only. Partners see no reasons (which Consents decided) and no counts of
what was withheld: both tell of what they may not see.

The records that the asker may see (exchange/audit_viewers.py) are walked in the order of time, newest first unless
``_sort=date``; ``date`` bounds the walk, names of records and Organizations are looked for in the text before it is
parsed, and one page walks a bounded number of them: a page may therefore be short, or empty, and still have a next
link. What others do moves no page. A search sees the trail as it was before its own request.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from urllib.parse import parse_qsl

import orjson

from gateway.codecs import json_text
from gateway.consent.release import Judgement, Released, release
from gateway.exchange.audit_event import BECAUSE, WITHHELD
from gateway.exchange.audit_viewers import TRAIL, asker_of, client_of, keys_for, of_trail
from gateway.exchange.clients import admit
from gateway.exchange.ports.audit import AuditReader, AuditRecord, Moment
from gateway.exchange.ports.resources import Stored
from gateway.exchange.ports.store import Reading, Store, Unit
from gateway.exchange.rest.ask import Answer, Ask
from gateway.exchange.rest.bundles import Entry, bundle, found, link
from gateway.exchange.rest.gate import Gate
from gateway.exchange.rest.own_ids import in_query
from gateway.exchange.rest.queries import Pairs, Seal, passed_over, query_of
from gateway.exchange.rest.subset import Subset
from gateway.exchange.search import AnyOf, Chain, Criterion, Has, Match, Query
from gateway.exchange.search_match import holds
from gateway.exchange.search_run import CURSOR
from gateway.exchange.search_text import Codes, DateValue, LinkValue, TokenValue
from gateway.exchange.versions import instant
from gateway.kernel.errors import DoorwayError, Malformed, Unsupported
from gateway.kernel.fhir import Resource
from gateway.profiles.search_parameters import Definitions

PAGE_COST: Final = 100_000  # of one page: a record that is passed over counts 1, one that is read _READ_COST
COUNT_RECORDS: Final = 1_000_000  # walked to count
_READ_COST: Final = 10
_FIRST: Final = 200  # records that a page begins with, of all viewers together; then more and more at a time
_CHUNK: Final = 1_000
_NEVER: Final = 1 << 62
_SLACK_US: Final = 300_000_000  # between the instant that an event tells and that of its record
_SORTS: Final = frozenset({"date", "_lastUpdated"})
View: TypeAlias = Callable[[AuditRecord], "tuple[Stored, Resource] | None"]


@dataclass(frozen=True, slots=True)
class Trail:
    """The use cases.

    Args:
        store: where the trail is.
        gate: writes the record of each look at it.
        definitions: the search parameters of AuditEvent.
        seal: for cursors and ids; an id tells nothing of how much is done by others.
        subset: for ``_summary`` and ``_elements``.
        codes: as :class:`gateway.exchange.rest.find.Finds` has them.
        officers: ``system|code`` roles that see the accesses of everybody.
    """

    store: Store
    gate: Gate
    definitions: Definitions
    seal: Seal
    subset: Subset
    codes: Codes | None = None
    officers: frozenset[str] = field(default_factory=frozenset)

    def search(self, ask: Ask, pairs: Pairs, within: str = "") -> Answer:
        """``GET AuditEvent?…``; ``within`` is the patient, practitioner or device of a compartment.

        Raises:
            Malformed: a parameter or value that cannot be honoured. Forbidden: scope.
            Unsupported: counting would take too long.
        """
        looks = self._bounds(ask, "s")
        cursor = next((value for name, value in pairs if name == CURSOR), "")
        plain, left_out = _unjoined([pair for pair in pairs if pair[0] != CURSOR], ask)
        with self.store.reading() as reading:
            admit(reading, ask.caller)
            query = self._query(reading, ask, plain, within)
            walk = _Walk(
                reading.audit, query, self._view(ask, looks), tuple(_needles(query.criteria)), ask.now_us,
                self._viewers(ask, reading), self._places(query),
            )  # fmt: skip
            after = _read_cursor(self.seal.open(cursor, ask.client), query) if cursor else None
            wanted = 0 if query.summary == "count" else query.count
            matches, place, whole = walk.page(after, wanted) if wanted else ([], None, False)
            total = len(matches) if whole and after is None else None
            if not wanted or (query.total in ("accurate", "estimate") and total is None):
                total = walk.count()
                if total is None and query.total != "estimate":
                    raise Unsupported(
                        f"more than {COUNT_RECORDS} records would be counted", at="_total", fix="bound it by date"
                    )
            released = self._released(ask, matches)
            self._recorded(ask, "search", query=link("", TRAIL, plain), released=released)
        entries = [
            found(ask.base, one, self.subset.cut(one.body, query.summary, query.elements), "match")
            for one in released.resources
        ]
        if (left_out or query.ignored) and ask.handling == "lenient":
            entries.append(Entry(passed_over([*left_out, *query.ignored]), "", "outcome"))
        address = f"{within}/{TRAIL}" if within else TRAIL
        links = [("self", link(ask.base, address, query.used))]
        if place is not None:
            told = orjson.dumps([query.digest, *place]).decode()
            counted = [*(pair for pair in query.used if pair[0] != "_count"), ("_count", str(query.count))]
            sealed = self.seal.close(told, ask.client)
            links.append(("next", link(ask.base, address, [*counted, (CURSOR, sealed)])))
        shown = None if query.total == "none" and wanted else total
        return Answer(200, bundle("searchset", entries, total=shown, links=links))

    def look(self, unit: Unit, ask: Ask, id_: str) -> tuple[Stored | None, Released[Stored] | None]:
        """One AuditEvent by its id, as the asker may see it; both None when there is none, or none for it."""
        bounds = self._bounds(ask, "r")
        place = self._place(id_)
        record = unit.audit.at(*place) if place is not None else None
        shown = self._view(ask, bounds)(record) if record is not None else None
        if shown is None or shown[0].id != id_:
            return None, None
        return shown[0], self._released(ask, [shown[0]])

    # -- who sees what -----------------------------------------------------------------------------------------------

    def _bounds(self, ask: Ask, letter: str) -> tuple[Query, ...]:
        """The searches of which one must hold by the token's scopes; none when it is not bounded."""
        return tuple(
            query_of(
                self.definitions, TRAIL, parse_qsl(bound, keep_blank_values=True), ask, strict=True, codes=self.codes
            )
            for bound in ask.caller.scopes.constraints(TRAIL, letter)
            if bound
        )

    def _view(self, ask: Ask, bounds: Sequence[Query]) -> View:
        """What the asker sees of a record: the AuditEvent with id and meta, or None."""
        officer = self._officer(ask)
        organization = ask.caller.client.organization

        def view(record: AuditRecord) -> tuple[Stored, Resource] | None:
            event = record.event
            if not officer:
                if asker_of(event) != organization or (of_trail(event) and client_of(event) != ask.client):
                    return None
                event = _without_reasons(event)
            id_ = self.seal.close(f"{record.lane} {record.sequence}", TRAIL).replace("_", ".")
            meta = {"versionId": "1", "lastUpdated": instant(record.recorded_us), **event.get("meta", {})}
            event = {"resourceType": TRAIL, "id": id_, **event} | {"meta": meta}
            if bounds and not any(_fulfils(event, bound.criteria) for bound in bounds):
                return None
            return Stored(TRAIL, id_, 1, record.recorded_us, "POST", json_text.write(event)), event

        return view

    def _officer(self, ask: Ask) -> bool:
        return not self.officers.isdisjoint(ask.caller.client.roles)

    def _viewers(self, ask: Ask, reading: Reading) -> Sequence[int]:
        """Whose records the asker may see."""
        return reading.audit.viewers() if self._officer(ask) else keys_for(ask.caller.client.organization, ask.client)

    def _released(self, ask: Ask, shown: Sequence[Stored]) -> Released[Stored]:
        judgement = Judgement(True, ("rule:privacy-officer" if self._officer(ask) else "rule:own-accesses",))
        return release(ask.caller.client.organization, shown, lambda _one: judgement)

    def _recorded(self, ask: Ask, interaction: str, *, query: str, released: Released[Stored]) -> None:
        self.store.write(
            lambda unit: self.gate.record(unit, ask, interaction, what=TRAIL, query=query, released=released)
        )

    # -- reading the question ----------------------------------------------------------------------------------------

    def _query(self, reading: Reading, ask: Ask, pairs: Pairs, within: str) -> Query:
        known = self.definitions.of(TRAIL)
        meant = in_query(
            reading.resources, ask.client, TRAIL, pairs, lambda code: known[code].targets if code in known else ()
        )
        query = query_of(
            self.definitions, TRAIL, meant, ask, strict=ask.handling != "lenient", within=within, codes=self.codes
        )
        if len(query.sort) > 1 or any(one.parameter.code not in _SORTS for one in query.sort):
            raise Malformed("the audit trail is sorted by time only", at="_sort", fix="write date or -date")
        return query

    def _places(self, query: Query) -> tuple[tuple[int, int], ...] | None:
        """Where the records lie that ``_id`` names; None when it names none."""
        for one in query.criteria:
            if isinstance(one, Match) and one.parameter.code == "_id" and not one.modifier:
                named = (value.code or "" for value in one.values if isinstance(value, TokenValue))
                return tuple(place for id_ in named if (place := self._place(id_)) is not None)
        return None

    def _place(self, id_: str) -> tuple[int, int] | None:
        try:
            lane, _, sequence = self.seal.open(id_.replace(".", "_"), TRAIL).partition(" ")
        except DoorwayError:
            return None
        return int(lane), int(sequence)


@dataclass(frozen=True, slots=True)
class _Walk:
    """One search on its way through the trail."""

    reader: AuditReader
    query: Query
    view: View
    needles: Sequence[Sequence[bytes]]  # of each, one text must stand in the record
    before_us: int  # the instant of the request: what it does itself, beside this search in a batch, is not in it yet
    viewers: Sequence[int]  # whose records there are
    places: Sequence[tuple[int, int]] | None = None  # the only records that count

    def page(self, after: Moment | None, wanted: int) -> tuple[list[Stored], Moment | None, bool]:
        """The next matches; where the next page begins, None at the end; whether the walk came to the end."""
        out: list[Stored] = []
        place = after
        cost = 0
        for record, looked, match in self._walked(after):
            if match is not None:
                if len(out) == wanted:
                    return out, place, False
                out.append(match)
            place = record.moment
            cost += _READ_COST if looked else 1
            if cost >= PAGE_COST:
                return out, place, False
        return out, None, True

    def count(self) -> int | None:
        """How many there are in all; None when that would take too long."""
        counted = 0
        for walked, (_, _, match) in enumerate(self._walked(None), 1):
            if walked > COUNT_RECORDS:
                return None
            counted += match is not None
        return counted

    def _walked(self, after: Moment | None) -> Iterator[tuple[AuditRecord, bool, Stored | None]]:
        """Every record, whether it had to be read, and it as a match."""
        for record in self._records(after):
            if not all(any(word in record.text for word in words) for words in self.needles):
                yield record, False, None
                continue
            shown = self.view(record)
            good = shown is not None and _fulfils(shown[1], self.query.criteria)
            yield record, True, shown[0] if good and shown is not None else None

    def _records(self, after: Moment | None) -> Iterator[AuditRecord]:
        """The records from before the request, in order."""
        newest_first = not self.query.sort or self.query.sort[0].descending
        if self.places is not None:
            named = sorted(
                (one for place in self.places if (one := self.reader.at(*place)) and one.recorded_us < self.before_us),
                key=lambda one: one.moment,
            )
            ordered = reversed(named) if newest_first else iter(named)
            yield from (
                one for one in ordered if after is None or (one.moment < after if newest_first else one.moment > after)
            )
            return
        several = [self._of_viewer(viewer, after, newest_first) for viewer in self.viewers]
        yield from heapq.merge(*several, key=lambda one: one.moment, reverse=newest_first)

    def _of_viewer(self, viewer: int, after: Moment | None, newest_first: bool) -> Iterator[AuditRecord]:
        since, until = _span(self.query.criteria)
        until = min(until, self.before_us - 1)
        limit = max(_FIRST // len(self.viewers), 8)
        while True:
            records = self.reader.page(
                viewer, since_us=since, until_us=until, after=after, newest_first=newest_first, limit=limit
            )
            yield from records
            if len(records) < limit:
                return
            after, limit = records[-1].moment, min(limit * 4, _CHUNK)


def _fulfils(event: Resource, criteria: Sequence[Criterion]) -> bool:
    return all(holds(one, event, _never) for one in criteria)


def _never(criterion: Chain | Has, _resource: Resource) -> bool:
    raise Malformed("the audit trail is not joined with other records", at=criterion.parameter.name)


def _needles(criteria: Sequence[Criterion]) -> Iterator[tuple[bytes, ...]]:
    """For each criterion that names records: texts of which one must stand in the event."""
    for one in criteria:
        match one:
            case Match(parameter, "", values) if parameter.kind == "reference":
                links = [value for value in values if isinstance(value, LinkValue)]
                if len(links) == len(values) and all(value.identifier is None for value in links):
                    yield tuple(json_text.write(target)[1:-1] for value in links for target in value.targets)
            case AnyOf(parts):
                inner = [words for part in parts for words in _needles((part,))]
                if len(inner) == len(parts):
                    yield tuple(word for words in inner for word in words)


def _span(criteria: Sequence[Criterion]) -> tuple[int, int]:
    """The instants between which every match was recorded."""
    since, until = 0, _NEVER
    for one in criteria:
        if not (isinstance(one, Match) and one.parameter.code in _SORTS and not one.modifier):
            continue
        spans = [_reach(value) for value in one.values if isinstance(value, DateValue)]
        since = max(since, min((low for low, _ in spans), default=0) - _SLACK_US)
        until = min(until, max((high for _, high in spans), default=_NEVER) + _SLACK_US)
    return max(since, 0), max(until, 0)


def _reach(value: DateValue) -> tuple[int, int]:
    """The least span that holds everything that the value finds."""
    width = value.high - value.low
    return {
        "eq": (value.low, value.high),
        "ap": (value.low - width, value.high + width),
        **dict.fromkeys(("ge", "gt", "sa"), (value.low, _NEVER)),
        **dict.fromkeys(("le", "lt", "eb"), (0, value.high)),
    }.get(value.prefix, (0, _NEVER))


def _unjoined(pairs: Pairs, ask: Ask) -> tuple[list[tuple[str, str]], list[str]]:
    """The parameters less those that would join other records; under lenient handling the names of these."""
    joined = [name for name, _ in pairs if "." in name or name.startswith(("_has:", "_include", "_revinclude"))]
    if joined and ask.handling != "lenient":
        at = joined[0] if joined[0].replace(":", "").replace(".", "").replace("_", "").isalnum() else "query"
        raise Malformed("the audit trail is not joined with other records", at=at, fix="ask for them by themselves")
    return [pair for pair in pairs if pair[0] not in joined], joined


def _read_cursor(told: str, query: Query) -> Moment:
    try:
        digest, recorded, lane, sequence = orjson.loads(told)
        place = (int(recorded), int(lane), int(sequence))
    except (ValueError, TypeError):
        digest, place = "", (0, 0, 0)
    if digest != query.digest:
        raise Malformed("the cursor belongs to another request", at=CURSOR, fix="follow the next link as it is")
    return place


# -- what an event tells -----------------------------------------------------------------------------------------------


def _without_reasons(event: Resource) -> Resource:
    """Without Consents and rules that decided, and without counts of what was withheld."""
    entities = []
    for entity in event.get("entity", ()):
        if "detail" in entity:
            told = [one for one in entity["detail"] if one.get("type") not in (BECAUSE, WITHHELD)]
            entity = {name: value for name, value in entity.items() if name != "detail"}
            if told:
                entity["detail"] = told
            elif not set(entity) & {"what", "description", "query", "name"}:
                continue
        entities.append(entity)
    out = {name: value for name, value in event.items() if name != "entity"}
    return {**out, "entity": entities} if entities else out
