"""Search, compartments, history and $everything: pages of what the asker may see, self-contained next links."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import parse_qsl

import orjson

from gateway.codecs import json_text
from gateway.consent.release import Released
from gateway.exchange.audit_viewers import TRAIL
from gateway.exchange.clients import admit
from gateway.exchange.history import Moment, moment_of, newest_first
from gateway.exchange.link_people import one_person
from gateway.exchange.ports.resources import ResourceReader, Stored
from gateway.exchange.ports.store import Reading, Store
from gateway.exchange.rest.ask import Answer, Ask
from gateway.exchange.rest.bundles import Entry, bundle, found, history_entry, link
from gateway.exchange.rest.gate import Gate, Sight
from gateway.exchange.rest.own_ids import in_query, names
from gateway.exchange.rest.queries import CONTROLS, Pairs, Seal, passed_over, query_of
from gateway.exchange.rest.subset import Subset
from gateway.exchange.rest.trail import Trail
from gateway.exchange.search import COUNT_DEFAULT, COUNT_LIMIT, Query, Shown
from gateway.exchange.search_run import CURSOR, Page, search, search_all
from gateway.exchange.search_text import Codes
from gateway.kernel.errors import Invalid, Malformed, NotFound, Unsupported
from gateway.profiles.search_parameters import Definitions
from gateway.profiles.search_values import span_of

_SUPPORTING: Final = frozenset(
    {"Organization", "Practitioner", "PractitionerRole", "Location", "HealthcareService", "Medication", "Device",
     "CareTeam", "Substance", "Specimen"}
)  # fmt: skip
_OF_HISTORY: Final = frozenset({"_count", "_since", CURSOR})
_NOT_OF_HISTORY: Final = frozenset({"_at", "_list", "_sort"})  # of R4 or R5; other names that begin so are of clients
_EVER: Final = 1 << 62
_REFERENCE: Final = re.compile(
    rb'"reference"\s*:\s*"((?:' + "|".join(sorted(_SUPPORTING)).encode() + rb")/[A-Za-z0-9.-]{1,64})"
)


@dataclass(frozen=True, slots=True)
class _Window:
    """What of a history is asked for."""

    count: int  # entries of a page; 0: none, the total only
    since_us: int
    low_us: int  # versions that were current at some instant of [low, high)
    high_us: int
    before: Moment | None  # where the page before ended


@dataclass(frozen=True, slots=True)
class Scoped:
    """What consent and the token's scopes show together; the search never sees more."""

    sight: Sight
    ask: Ask
    matching: Callable[[str, Sequence[Stored]], Sequence[bool]]  # which of them fulfil a search

    def visible(self, candidates: Sequence[Stored]) -> Sequence[bool]:
        """For each candidate, in order, whether the asker may see it."""
        scoped = self._scoped(candidates)
        shown = self.sight.visible(candidates)
        return [one is True and two is True for one, two in zip(scoped, shown, strict=True)]

    def cut(self, type_: str) -> frozenset[str]:
        """Top-level elements in which something may be taken out for the asker."""
        return self.sight.cut(type_)

    def release(self, candidates: Iterable[Stored]) -> Released[Stored]:
        """The part of the candidates that the asker may see."""
        every = list(candidates)
        return self.sight.release([one for one, ok in zip(every, self._scoped(every), strict=True) if ok])

    def narrow(self, met: Sequence[Stored]) -> Shown | None:
        """What consent lets a store leave out; scopes are judged afterwards."""
        return self.sight.narrow(met)

    def contradicts(self, stored: Stored, shown: Shown) -> bool:
        """Whether consent denies what the store took for permitted."""
        return self.sight.contradicts(stored, shown)

    def alarm(self, stored: Stored) -> None:
        """Store and gate disagree."""
        self.sight.alarm(stored)

    def _scoped(self, candidates: Sequence[Stored]) -> list[bool]:
        if self.ask.caller.scopes.everything("r") or self.ask.caller.scopes.everything("s"):
            return [True] * len(candidates)
        return [self._allows(one) for one in candidates]

    def _allows(self, stored: Stored) -> bool:
        scopes = self.ask.caller.scopes
        letters = [letter for letter in "rs" if scopes.allows(stored.type, letter)]
        bounds = {bound for letter in letters for bound in scopes.constraints(stored.type, letter)}
        return "" in bounds or any(self.matching(bound, [stored])[0] for bound in sorted(bounds))


@dataclass(frozen=True, slots=True)
class Finds:
    """The use cases of looking for resources.

    Args:
        store: where everything is.
        gate: consent and audit.
        definitions: the search parameters.
        seal: for cursors.
        subset: for ``_summary`` and ``_elements``.
        trail: the audit trail, which is searched by itself; ``definitions`` leave AuditEvent out.
        codes: what sets and hierarchies of codes come to, for ``:in`` and the like.
    """

    store: Store
    gate: Gate
    definitions: Definitions
    seal: Seal
    subset: Subset
    trail: Trail
    codes: Codes | None = None

    # -- for conditional interactions --------------------------------------------------------------------------------

    def matching(self, reader: ResourceReader, type_: str, criteria: str, ask: Ask, limit: int) -> Sequence[Stored]:
        """The first ``limit`` matches of a condition among what the asker may see (core.Finder).

        Raises:
            Malformed: the condition cannot be read; nothing in it is ever ignored.
        """
        try:
            pairs = parse_qsl(criteria, keep_blank_values=True, errors="strict")
        except UnicodeDecodeError:
            raise Malformed("cannot be read", at=f"{type_}?", fix="percent-encoded UTF-8") from None
        if not pairs or any(name in CONTROLS for name, _ in pairs):
            raise Malformed("not a condition", at=f"{type_}?", fix="search parameters of the type only")
        pairs = list(in_query(reader, ask.client, type_, pairs, self.targets(type_)))
        query = self.query(type_, [*pairs, ("_count", str(limit))], ask, strict=True)
        return search(reader, query, self.sight(reader, ask)).matches

    def targets(self, type_: str) -> Callable[[str], Sequence[str]]:
        """For a search parameter of the type: the types that it may point to; nothing when it is no reference."""
        known = self.definitions.of(type_)
        return lambda code: known[code].targets if code in known and known[code].kind == "reference" else ()

    def plain(self, reader: ResourceReader, type_: str, pairs: Pairs, ask: Ask) -> Sequence[Stored]:
        """Matches without regard to who asks; the caller judges them before anything is told."""
        return search(reader, self.query(type_, pairs, ask, strict=True), None).matches

    def sight(self, reader: ResourceReader, ask: Ask) -> Scoped:
        """What the asker may see by consent and scopes."""

        def matching(bound: str, candidates: Sequence[Stored]) -> Sequence[bool]:
            out = []
            for one in candidates:
                pairs = [*parse_qsl(bound, keep_blank_values=True), ("_id", one.id), ("_count", "1")]
                out.append(bool(search(reader, self.query(one.type, pairs, ask, strict=True), None).matches))
            return out

        return Scoped(self.gate.sight(reader, ask), ask, matching)

    # -- search ------------------------------------------------------------------------------------------------------

    def search(self, ask: Ask, type_: str, pairs: Pairs) -> Answer:
        """``GET [type]?…`` and ``POST [type]/_search``; without a type ``GET [base]?_type=…``.

        Raises:
            Malformed: a parameter or value that cannot be honoured. Forbidden: scope.
        """
        if type_ == TRAIL:
            return self.trail.search(ask, pairs)
        return self._searched(ask, type_, pairs, "") if type_ else self._searched_all(ask, pairs)

    def _searched_all(self, ask: Ask, pairs: Pairs) -> Answer:
        """One search over several types: every parameter must be one of each; without ``_type``, all there are."""
        cursor = next((value for name, value in pairs if name == CURSOR), "")
        named = [one for name, value in pairs if name == "_type" for one in value.split(",") if one]
        if set(named) - set(self.definitions.types):
            raise Malformed("a type that is not searched here", at="_type", fix="AuditEvent is searched by itself")
        plain = [pair for pair in pairs if pair[0] not in {CURSOR, "_type"}]
        types = self._allowed(ask, named, "s")
        inner = self.seal.open(cursor, ask.client) if cursor else ""
        with self.store.reading() as reading:
            admit(reading, ask.caller)
            sight = self.sight(reading.resources, ask)
            queries = []
            for type_ in types:
                meant = in_query(reading.resources, ask.client, type_, plain, self.targets(type_))
                queries.append(self.query(type_, meant, ask, strict=ask.handling != "lenient"))
            try:
                page = search_all(reading.resources, queries, sight, cursor=inner)
            except Invalid as error:
                raise Malformed(error.message, at=error.at, fix=error.fix) from None
            released = sight.release((*page.matches, *page.included))
            told = replace(queries[0], used=((("_type", ",".join(types)),) if named else ()) + queries[0].used)
            answer = self._searchset(ask, told, page, released, "")
            self.recorded(ask, sight, released, "search-system", ",".join(named), link("", "", pairs))
        return answer

    def _allowed(self, ask: Ask, named: Sequence[str], letter: str) -> tuple[str, ...]:
        """The types that a system interaction is about: those named, each of which must be allowed, or all allowed.

        Raises:
            Forbidden: a type that is named, or every type, lies outside of the token's scopes.
        """
        for type_ in named:
            ask.caller.scopes.constraints(type_, letter)
        every = named or [type_ for type_ in self.definitions.types if ask.caller.scopes.allows(type_, letter)]
        if not every:
            ask.caller.scopes.constraints("*", letter)
        return tuple(sorted(set(every)))

    def compartment(self, ask: Ask, owner: str, type_: str, pairs: Pairs) -> Answer:
        """``GET [compartment]/[id]/[type]?…``."""
        if type_ == "*":
            raise Unsupported("all types at once are not searched", at="address", fix="use $everything")
        if type_ == TRAIL:
            return self.trail.search(ask, pairs, owner)
        if type_ not in self.definitions.types:
            raise NotFound("this resource type is not served", at="address")
        return self._searched(ask, type_, pairs, owner)

    def _searched(self, ask: Ask, type_: str, pairs: Pairs, within: str) -> Answer:
        ask.caller.scopes.constraints(type_, "s")
        cursor = next((value for name, value in pairs if name == CURSOR), "")
        plain = [pair for pair in pairs if pair[0] != CURSOR]
        query = self.query(type_, plain, ask, strict=ask.handling != "lenient", within=within)
        inner = self.seal.open(cursor, ask.client) if cursor else ""
        with self.store.reading() as reading:
            admit(reading, ask.caller)
            sight = self.sight(reading.resources, ask)
            meant = in_query(reading.resources, ask.client, type_, plain, self.targets(type_))
            owner = self._meant(reading, sight, within) if within else ""
            if meant is not plain or owner != within:
                query = self.query(type_, meant, ask, strict=ask.handling != "lenient", within=owner)
            try:
                page = search(reading.resources, query, sight, cursor=inner)
            except Invalid as error:
                raise Malformed(error.message, at=error.at, fix=error.fix) from None
            released = sight.release((*page.matches, *page.included))
            answer = self._searchset(ask, query, page, released, f"{within}/{type_}" if within else type_)
            self.recorded(ask, sight, released, "search", type_, link("", type_, plain))
        return answer

    def query(self, type_: str, pairs: Pairs, ask: Ask, *, strict: bool, within: str = "") -> Query:
        """The parsed search; an unknown ``_name`` is left out unless the caller asked for strictness."""
        return query_of(self.definitions, type_, pairs, ask, strict=strict, within=within, codes=self.codes)

    def _searchset(self, ask: Ask, query: Query, page: Page, released: Released[Stored], type_: str) -> Answer:
        shown = {one.reference: one for one in released.resources}
        entries = [
            found(ask.base, one, self.subset.cut(shown[one.reference].body, query.summary, query.elements), mode)
            for mode, group in (("match", page.matches), ("include", page.included))
            for one in group
            if one.reference in shown
        ]
        if query.ignored and ask.handling == "lenient":
            entries.append(Entry(passed_over(query.ignored), "", "outcome"))
        entries += self._notices(released)
        used = [pair for pair in query.used if pair[0] != "_count"]
        counted = [*used, ("_count", str(query.count))]
        links = [("self", link(ask.base, type_, query.used))]
        if page.next_cursor:
            sealed = self.seal.close(page.next_cursor, ask.client)
            links.append(("next", link(ask.base, type_, [*counted, (CURSOR, sealed)])))
        return Answer(200, bundle("searchset", entries, total=page.total, links=links)).under(released.notices)

    def _notices(self, released: Released[Stored]) -> list[Entry]:
        """The texts that travel with the resources of a searchset."""
        return [Entry(json_text.write(self.gate.notice(released.notices)), "", "outcome")] if released.notices else []

    def recorded(
        self, ask: Ask, sight: Scoped, released: Released[Stored], interaction: str, what: str, query: str
    ) -> None:
        """The audit record, on disk before anything leaves."""
        self.store.write(
            lambda unit: self.gate.record(
                unit, ask, interaction, what=what, query=query, sight=sight.sight, released=released
            )
        )

    # -- history -----------------------------------------------------------------------------------------------------

    def history(self, ask: Ask, type_: str, id_: str, pairs: Pairs) -> Answer:
        """``GET [type]/[id]/_history``, ``GET [type]/_history`` and ``GET [base]/_history``, newest first.

        A version shows when the asker may see that version and the current one; a deletion when he could see what
        was deleted. ``_at`` is taken for one resource: the versions that were current at some instant of it.

        Raises:
            NotFound: the resource is missing or hidden. Malformed: a parameter that cannot be read.
            Unsupported: of AuditEvents, which never change.
        """
        if type_ == TRAIL:
            raise Unsupported("an AuditEvent never changes, it has no history", at="address", fix="search it by date")
        types = self._allowed(ask, [type_] if type_ else [], "r")
        given = dict(pairs)
        window = self._window(ask, given, one=bool(id_))
        count = window.count
        place = f"{type_}/{id_}" if id_ else type_
        with self.store.reading() as reading:
            admit(reading, ask.caller)
            sight = self.sight(reading.resources, ask)
            id_ = self._meant(reading, sight, place).partition("/")[2] if id_ else ""
            if id_ and window.before is None and not self._known(reading, sight, type_, id_):
                self.recorded(ask, sight, sight.release(()), "history", place, "")
                raise NotFound("no such resource")
            changes = _current(
                newest_first(reading.resources, types, id_, since_us=window.since_us, before=window.before), window
            )
            if not count:  # nothing but the total, where there is one
                total = len(self._versions(reading, sight, changes, _EVER)) if id_ else None
                changes = iter(())
            shown = self._versions(reading, sight, changes, count + 1)
            more = len(shown) > count
            shown = shown[:count]
            anew = {moment_of(one) for one, _ in shown if self._made_anew(reading, sight, one)}
            released = sight.release([one for one, body in shown if body])
            bodies = {(one.reference, one.version): one.body for one in released.resources}
            self.recorded(ask, sight, released, "history" if type_ else "history-system", place, "")
        entries = [
            history_entry(ask.base, one, bodies.get((one.reference, one.version), b""), anew=moment_of(one) in anew)
            for one, body in shown
            if not body or (one.reference, one.version) in bodies
        ]
        kept = [(name, value) for name, value in pairs if name in {"_since", "_at"}]
        address = f"{place}/_history" if place else "_history"
        links = [("self", link(ask.base, address, pairs))]
        if more:
            sealed = self.seal.close(orjson.dumps(moment_of(shown[-1][0])).decode(), ask.client)
            links.append(("next", link(ask.base, address, [*kept, ("_count", str(count)), (CURSOR, sealed)])))
        if count:
            total = len(entries) if id_ and not more and window.before is None else None
        return Answer(200, bundle("history", entries, total=total, links=links)).under(released.notices)

    def _window(self, ask: Ask, given: dict[str, str], *, one: bool) -> "_Window":
        """The parameters of a history, of ``one`` resource or of many."""
        taken = _OF_HISTORY | ({"_at"} if one else frozenset())
        for name in given:  # what is passed over would make another list than was asked for
            if name not in taken and ask.handling != "lenient" and (name in _NOT_OF_HISTORY or name[:1] != "_"):
                raise Malformed("not a parameter of a history here", at=name if name.isidentifier() else "query")
        low, high = _at(given["_at"]) if one and "_at" in given else (0, _EVER)
        return _Window(
            0 if set(given.get("_count", "")) == {"0"} else _count(given),
            since_of(given["_since"]) if "_since" in given else 0,
            low,
            high,
            _place(self.seal.open(given[CURSOR], ask.client)) if CURSOR in given else None,
        )

    def _meant(self, reading: Reading, sight: Scoped, said: str) -> str:
        """``Type/id`` as it is stored of what the asker calls ``said``; ``said`` itself when it sees nothing of it."""
        type_, _, id_ = said.partition("/")
        for name in names(sight.ask.client, type_, id_):
            if self._known(reading, sight, type_, name):
                return f"{type_}/{name}"
        return said

    def _known(self, reading: Reading, sight: Scoped, type_: str, id_: str) -> bool:
        newest = reading.resources.get(type_, id_)
        if newest is not None and newest.deleted:
            newest = reading.resources.version(type_, id_, newest.version - 1)
        return newest is not None and bool(sight.visible([newest])[0])

    def _versions(
        self, reading: Reading, sight: Scoped, changes: Iterator[Stored], wanted: int
    ) -> list[tuple[Stored, bool]]:
        """Versions that may show, each with whether it has a body."""
        out: list[tuple[Stored, bool]] = []
        known: dict[str, bool] = {}
        for one in changes:
            if one.reference not in known:
                known[one.reference] = self._known(reading, sight, one.type, one.id)
            if not known[one.reference]:
                continue
            if one.deleted:
                prior = reading.resources.version(one.type, one.id, one.version - 1)
                if prior is not None and sight.visible([prior])[0]:
                    out.append((one, False))
            elif sight.visible([one])[0]:
                out.append((one, True))
            if len(out) == wanted:
                break
        return out

    def _made_anew(self, reading: Reading, sight: Scoped, one: Stored) -> bool:
        """Whether a version follows a deletion that the asker may know of: it was a create (R4 "history")."""
        if one.method != "PUT" or one.version < 3:
            return False
        gone = reading.resources.version(one.type, one.id, one.version - 1)
        if gone is None or not gone.deleted:
            return False
        before = reading.resources.version(one.type, one.id, one.version - 2)
        return before is not None and bool(sight.visible([before])[0])

    # -- everything --------------------------------------------------------------------------------------------------

    def everything(self, ask: Ask, id_: str, pairs: Pairs) -> Answer:
        """``GET Patient/[id]/$everything``: the patient, what names it, and who and where that refers to.

        Raises:
            NotFound: the patient is missing or hidden. Unsupported: ``start`` or ``end``.
        """
        ask.caller.scopes.constraints("Patient", "r")
        given = dict(pairs)
        for name in ("start", "end"):
            if name in given:
                raise Unsupported("dates of care are not selected", at=name, fix="leave it out, or ask with _since")
        unknown = sorted(set(given) - {"_since", "_type", "_count", CURSOR})
        if unknown and ask.handling == "strict":
            raise Malformed("a parameter that $everything does not take", at="$everything")
        types = frozenset(part for part in given.get("_type", "").split(",") if part)
        if types - set(self.definitions.types):
            raise Malformed("a type that is not served", at="_type")
        since = since_of(given["_since"]) if "_since" in given else 0
        count = _count(given) if "_count" in given else 0
        after = self.seal.open(given[CURSOR], ask.client) if CURSOR in given else ""
        patient = f"Patient/{id_}"
        with self.store.reading() as reading:
            admit(reading, ask.caller)
            sight = self.sight(reading.resources, ask)
            patient = self._meant(reading, sight, patient)
            own = reading.resources.many([patient]).get(patient)
            if own is None or not sight.visible([own])[0]:
                self.recorded(ask, sight, sight.release(()), "operation", patient, "$everything")
                raise NotFound("no such resource")
            released = sight.release(self._record_of(reading, own))
            supporting = sight.release(self._supporting(reading, released.resources))
            chosen = sorted(
                (one for one in (*released.resources, *supporting.resources) if not types or one.type in types),
                key=lambda one: (one.reference != patient, one.type, one.id),
            )
            chosen = [one for one in chosen if one.updated_us >= since]
            total = len(chosen)
            chosen = [one for one in chosen if not after or _order(one, patient) > after]
            more = bool(count) and len(chosen) > count
            chosen = chosen[:count] if count else chosen
            gone = sight.release(chosen)
            self.recorded(ask, sight, gone, "operation", patient, "$everything")
        members = {one.reference for one in released.resources}
        entries = [
            found(ask.base, one, one.body, "match" if one.reference in members else "include") for one in gone.resources
        ]
        entries += self._notices(gone)
        place = f"{patient}/$everything"
        kept = [(name, value) for name, value in pairs if name != CURSOR]
        links = [("self", link(ask.base, place, kept))]
        if more:
            sealed = self.seal.close(_order(chosen[-1], patient), ask.client)
            links.append(("next", link(ask.base, place, [*kept, (CURSOR, sealed)])))
        return Answer(200, bundle("searchset", entries, total=total, links=links)).under(gone.notices)

    def _record_of(self, reading: Reading, own: Stored) -> list[Stored]:
        """The one file of the person: this record and those linked with it; each resource is judged by itself."""
        out = {own.reference: own}
        for one in reading.resources.compartment(one_person(reading.links, own.reference)):
            out.setdefault(one.reference, one)
        return list(out.values())

    def _supporting(self, reading: Reading, resources: Sequence[Stored]) -> list[Stored]:
        have = {one.reference for one in resources}
        names = {literal.decode() for one in resources for literal in _REFERENCE.findall(one.body)} - have
        return list(reading.resources.many(sorted(names)).values())


def _order(stored: Stored, patient: str) -> str:
    return f"{'1' if stored.reference != patient else '0'} {stored.type} {stored.id}"


def _count(given: dict[str, str]) -> int:
    text = given.get("_count", str(COUNT_DEFAULT))
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Malformed("a number is wanted", at="_count")
    return max(1, min(int(text), COUNT_LIMIT))


def _at(text: str) -> tuple[int, int]:
    """From when until when a date or instant lasts, in microseconds since 1970."""
    span = span_of(text.replace(" ", "+"))
    if span is None:
        raise Malformed("not a date", at="_at", fix="such as 2026-01-01 or 2026-01-01T00:00:00Z")
    return span


def _current(changes: Iterator[Stored], window: _Window) -> Iterator[Stored]:
    """Of the versions of one resource, newest first, those that were current at some instant of the window."""
    for one in changes:
        if one.updated_us < window.high_us:
            yield one
            if one.updated_us <= window.low_us:
                return


def since_of(text: str) -> int:
    """A FHIR instant or date in microseconds since 1970; without a zone UTC is taken.

    Raises:
        Malformed: not an instant.
    """
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return int(moment.timestamp() * 1_000_000)
    except (ValueError, OverflowError):
        raise Malformed("not an instant", at="_since", fix="such as 2026-01-01T00:00:00Z") from None


def _place(text: str) -> Moment:
    try:
        at, type_, id_, version = orjson.loads(text)
        return int(at), str(type_), str(id_), int(version)
    except (ValueError, TypeError):
        raise Invalid("the cursor belongs to another request", at=CURSOR) from None
