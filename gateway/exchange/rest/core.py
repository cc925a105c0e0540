"""Read, write and history of single resources, to the letter of R4 "RESTful API".

Each ``*_in`` function works inside one transaction, so that a Bundle can run many of them in one; the methods of
:class:`Rest` submit one each. A refusal that is an answer (404, 410, 403) is returned as a value and raised after the
commit, so that its audit record is durable like any other.
"""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeVar

from gateway.codecs import json_text
from gateway.codecs.json_text import Document
from gateway.consent.release import Released
from gateway.consent.view import local
from gateway.exchange.agreements import agreement_of
from gateway.exchange.audit_viewers import TRAIL
from gateway.exchange.clients import admit
from gateway.exchange.makers import made_by
from gateway.exchange.ports.resources import Draft, ResourceReader, Stored
from gateway.exchange.ports.store import Store, Unit
from gateway.exchange.rest.ask import ANY_VERSION, Answer, Ask
from gateway.exchange.rest.gate import Gate, Sight
from gateway.exchange.rest.issues import ERRORS, Issue, ManyMatches, Rejected
from gateway.exchange.rest.own_ids import given, names, own_id, with_own_links
from gateway.exchange.rest.trail import Trail
from gateway.exchange.rest.withheld import with_withheld
from gateway.exchange.save import Saver
from gateway.kernel.errors import DoorwayError, Forbidden, Gone, Invalid, Malformed, NotFound, PreconditionFailed
from gateway.kernel.fhir import Resource

T = TypeVar("T")

_ID: Final = re.compile(r"[A-Za-z0-9.-]{1,64}", re.ASCII)
_APPEND_ONLY: Final = frozenset({TRAIL})
_NOT_FOUND: Final = "no such resource"


class Finder(Protocol):
    """The matches of a search criterion among what the asker may see (STORE's search, bound by wiring)."""

    def __call__(self, reader: ResourceReader, type_: str, criteria: str, ask: Ask, limit: int) -> Sequence[Stored]: ...


@dataclass(frozen=True, slots=True)
class Rest:
    """The use cases of one gateway.

    Args:
        store: where everything is.
        saver: the one path for writing.
        gate: consent and audit.
        find: matches of a condition among the visible.
        validate: everything that is wrong with a resource.
        new_id: a fresh id for a created resource.
        types: the resource types that are served.
        trail: the audit trail.
    """

    store: Store
    saver: Saver
    gate: Gate
    find: Finder
    validate: Callable[[Resource], Sequence[Issue]]
    new_id: Callable[[], str]
    types: frozenset[str]
    trail: Trail

    # -- one interaction, one transaction ----------------------------------------------------------------------------

    def submit(
        self, ask: Ask, interaction: str, what: str, work: Callable[[Unit], T], *, light: bool = False
    ) -> "Future[T | DoorwayError]":
        """Run ``work`` in a transaction; the answer comes once it and its audit record are on disk.

        A refusal raised before anything was written is kept with its audit record and given back as a value. ``light``
        work only reads.
        """

        def attempt(unit: Unit) -> "T | DoorwayError":  # quoted: it would be worked out for each request
            admit(unit, ask.caller)
            try:
                return work(unit)
            except (NotFound, Gone, Forbidden) as refusal:
                self.gate.record(unit, ask, interaction, what=what, refused=refusal.category)
                return refusal.with_traceback(None)

        return self.store.submit(attempt, light=light)

    def read(self, ask: Ask, type_: str, id_: str) -> "Future[Answer | DoorwayError]":
        """``GET [type]/[id]``; hidden and missing look alike (404), 410 only for what the asker could see."""
        light = not ask.reason  # an emergency may write the notice of it
        return self.submit(ask, "read", f"{type_}/{id_}", lambda unit: self.read_in(unit, ask, type_, id_), light=light)

    def vread(self, ask: Ask, type_: str, id_: str, version: str) -> "Future[Answer | DoorwayError]":
        """``GET [type]/[id]/_history/[vid]``: the asker must be allowed that version and the current one."""
        return self.submit(
            ask, "vread", f"{type_}/{id_}", lambda unit: self.vread_in(unit, ask, type_, id_, version),
            light=not ask.reason,
        )  # fmt: skip

    def create(self, ask: Ask, type_: str, document: Document) -> "Future[Answer | DoorwayError]":
        """``POST [type]``; with ``if_none_exist`` a conditional create."""
        self.check(type_, document.resource)
        return self.submit(ask, "create", type_, lambda unit: self.create_in(unit, ask, type_, document))

    def update(self, ask: Ask, type_: str, id_: str, document: Document) -> "Future[Answer | DoorwayError]":
        """``PUT [type]/[id]``; creates when the id is new."""
        self.check(type_, document.resource)
        return self.submit(
            ask, "update", f"{type_}/{id_}", lambda unit: self.update_in(unit, ask, type_, id_, document)
        )

    def update_matching(
        self, ask: Ask, type_: str, criteria: str, document: Document
    ) -> "Future[Answer | DoorwayError]":
        """``PUT [type]?criteria`` (conditional update)."""
        self.check(type_, document.resource)
        return self.submit(
            ask, "update", type_, lambda unit: self.update_matching_in(unit, ask, type_, criteria, document)
        )

    def patch(
        self, ask: Ask, type_: str, id_: str, criteria: str, change: Callable[[Resource], Resource]
    ) -> "Future[Answer | DoorwayError]":
        """``PATCH [type]/[id]`` or, without id, ``PATCH [type]?criteria``; ``change`` makes the new content."""
        what = f"{type_}/{id_}" if id_ else type_
        return self.submit(ask, "patch", what, lambda unit: self.patch_in(unit, ask, type_, id_, criteria, change))

    def delete(self, ask: Ask, type_: str, id_: str) -> "Future[Answer | DoorwayError]":
        """``DELETE [type]/[id]``; what is missing or hidden is answered like what was deleted (204)."""
        return self.submit(ask, "delete", f"{type_}/{id_}", lambda unit: self.delete_in(unit, ask, type_, id_))

    def delete_matching(self, ask: Ask, type_: str, criteria: str) -> "Future[Answer | DoorwayError]":
        """``DELETE [type]?criteria``: one match at most (R4 conditionalDelete ``single``)."""
        return self.submit(ask, "delete", type_, lambda unit: self.delete_matching_in(unit, ask, type_, criteria))

    # -- reads -------------------------------------------------------------------------------------------------------

    def read_in(self, unit: Unit, ask: Ask, type_: str, id_: str) -> Answer:
        """A read inside a transaction.

        Raises:
            NotFound: missing or hidden. Gone: deleted, and the asker could see it before. Forbidden: scope.
        """
        ask.caller.scopes.constraints(type_, "r")
        sight = self.gate.sight(unit.resources, ask)
        if type_ == TRAIL:
            stored, seen = self.trail.look(unit, ask, id_)
        else:
            stored, seen = self.meant(unit, ask, sight, type_, id_, "r")
        if seen is None or stored is None:
            raise NotFound(_NOT_FOUND)
        if stored.deleted:
            raise Gone("the resource was deleted")
        self.gate.record(unit, ask, "read", what=stored.reference, sight=sight, released=seen)
        if _unchanged(ask, stored):
            return Answer.of(304, stored, b"")
        return Answer.of(200, stored, seen.resources[0].body).under(seen.notices)

    def vread_in(self, unit: Unit, ask: Ask, type_: str, id_: str, version: str) -> Answer:
        """A vread inside a transaction; raises as :meth:`read_in`."""
        ask.caller.scopes.constraints(type_, "r")
        if type_ == TRAIL:
            if version != "1":
                raise NotFound(_NOT_FOUND)
            return self.read_in(unit, ask, type_, id_)
        number = int(version) if version.isascii() and version.isdigit() and len(version) < 10 else 0
        sight = self.gate.sight(unit.resources, ask)
        newest, seen = self.meant(unit, ask, sight, type_, id_, "r")
        wanted = unit.resources.version(type_, newest.id, number) if number and newest is not None else None
        if seen is None or wanted is None:
            raise NotFound(_NOT_FOUND)
        if wanted.deleted:
            raise Gone("this version is a deletion")
        released = sight.release([wanted])
        if not released.resources:
            raise NotFound(_NOT_FOUND)
        self.gate.record(unit, ask, "vread", what=wanted.reference, sight=sight, released=released)
        return Answer.of(200, wanted, released.resources[0].body).under(released.notices)

    def meant(
        self,
        unit: Unit,
        ask: Ask,
        sight: Sight,
        type_: str,
        id_: str,
        letter: str,
        *,
        hold: bool = False,
        exact: bool = False,
    ) -> tuple[Stored | None, Released[Stored] | None]:
        """What the caller means by an id, with what it may see of it; both None when that is nothing.

        With ``hold`` it stays as it is until the commit; with ``exact`` the id is a stored one, such as a match's.
        """
        for name in (id_,) if exact else names(ask.client, type_, id_):
            if hold:
                unit.resources.hold(f"{type_}/{name}")
            stored = unit.resources.get(type_, name)
            seen = self.seen(unit, ask, sight, stored, letter)
            if seen is not None:
                return stored, seen
        return None, None

    def target(self, unit: Unit, ask: Ask, type_: str, id_: str, letter: str) -> str:
        """``Type/id`` as it is stored, or will be, of what the caller calls so."""
        ask.caller.scopes.constraints(type_, letter)
        current, _ = self.meant(unit, ask, self.gate.sight(unit.resources, ask), type_, id_, letter)
        if current is not None:
            return current.reference
        return f"{type_}/{id_ if given(id_) else _new_id(unit, ask, type_, id_)}"

    def seen(self, unit: Unit, ask: Ask, sight: Sight, stored: Stored | None, letter: str) -> Released[Stored] | None:
        """The newest live version, released; None when it is missing or hidden.

        For a deleted resource that is the version before the deletion.
        """
        if stored is None:
            return None
        live: Stored | None = stored
        if not stored.deleted:
            sight.at_hand(stored)
        else:
            live = unit.resources.version(stored.type, stored.id, stored.version - 1)
        if live is None or live.deleted:
            return None
        released = sight.release([live])
        return released if released.resources and self._in_scope(unit, ask, live, letter) else None

    def _in_scope(self, unit: Unit, ask: Ask, stored: Stored, letter: str) -> bool:
        """Whether one of the token's search-constrained scopes holds for the resource."""
        bounds = ask.caller.scopes.constraints(stored.type, letter)
        return bounds == ("",) or any(
            self.find(unit.resources, stored.type, f"{bound}&_id={stored.id}", ask, 1) for bound in bounds
        )

    # -- writes ------------------------------------------------------------------------------------------------------

    def check(self, type_: str, resource: Resource) -> None:
        """Refuse what must not be stored, before any transaction.

        Raises:
            Malformed: another type than the address says.
            Forbidden: the type is append-only.
            Rejected: the rules refuse it.
        """
        if resource.get("resourceType") != type_:
            raise Malformed("not the type of the address", at="resourceType", fix=f"send a {type_} here")
        if type_ in _APPEND_ONLY:
            raise Forbidden("records of the audit trail are written by the gateway only", at=type_)
        issues = self.validate(resource)
        if any(issue.severity in ERRORS for issue in issues):
            raise Rejected(issues)

    def create_in(self, unit: Unit, ask: Ask, type_: str, document: Document, id_: str = "") -> Answer:
        """A create, or conditional create, inside a transaction.

        Raises:
            ManyMatches: the condition has several matches. Forbidden: scope.
        """
        ask.caller.scopes.constraints(type_, "c")
        if ask.if_none_exist:
            found = self.matches(unit, ask, type_, ask.if_none_exist, "If-None-Exist")
            if found:
                sight = self.gate.sight(unit.resources, ask)
                released = sight.release(found)
                self.gate.record(unit, ask, "create", what=found[0].reference, sight=sight, released=released)
                return Answer.of(200, found[0], _body(released.resources), location=True).under(released.notices)
        return self._store(unit, ask, document, id_ or self.new_id(), "POST", None)

    def update_in(
        self, unit: Unit, ask: Ask, type_: str, id_: str, document: Document, *, exact: bool = False
    ) -> Answer:
        """An update, or a create under the caller's own id, inside a transaction.

        A create is stored under an id computed from the caller's name for it (own_ids): free and hidden look alike.

        Raises:
            Malformed: the body's id is not the address's.
            PreconditionFailed: If-Match names another version.
            NotFound: an id of the form that only the gateway gives, and nothing that the caller may see.
            Forbidden: the Organization of somebody else's registration.
        """
        _check_id(id_, document.resource)
        ask.caller.scopes.constraints(type_, "u")
        current, seen = self.meant(
            unit, ask, self.gate.sight(unit.resources, ask), type_, id_, "u", hold=True, exact=exact
        )
        _check_match(ask, current)
        if current is None or seen is None:
            ask.caller.scopes.constraints(type_, "c")
            stored_id = _new_id(unit, ask, type_, id_)
            if given(id_) or unit.resources.get(type_, stored_id) is not None:
                raise NotFound(_NOT_FOUND)  # nobody's to choose; or the caller's own, which it may not see any more
            return self._store(unit, ask, _with_id(document, stored_id), stored_id, "PUT", None)
        _check_consent(ask, current)
        if type_ == "Consent" and _patient_of(seen.resources[0]) != document.resource.get("patient"):
            document = with_own_links(unit.resources, ask.client, [document])[0]
            if _patient_of(seen.resources[0]) != document.resource.get("patient"):
                raise Invalid(
                    "the patient of a Consent does not change", at="Consent.patient", fix="write a new Consent"
                )
        return self._store(unit, ask, _with_id(document, current.id), current.id, "PUT", current, seen.resources[0])

    def update_matching_in(self, unit: Unit, ask: Ask, type_: str, criteria: str, document: Document) -> Answer:
        """A conditional update inside a transaction: no match creates, one is updated, more are refused."""
        ask.caller.scopes.constraints(type_, "u")
        found = self.matches(unit, ask, type_, criteria, "criteria")
        given = document.resource.get("id")
        if found:
            if given is not None and given != found[0].id:
                raise Malformed("not the id of the match", at=f"{type_}.id")
            return self.update_in(unit, ask, type_, found[0].id, _with_id(document, found[0].id), exact=True)
        if given is not None:
            return self.update_in(unit, ask, type_, str(given), document)
        _check_match(ask, None)
        return self.create_in(unit, replace(ask, if_none_exist=""), type_, document)

    def patch_in(
        self,
        unit: Unit,
        ask: Ask,
        type_: str,
        id_: str,
        criteria: str,
        change: Callable[[Resource], Resource],
        *,
        exact: bool = False,
    ) -> Answer:
        """A patch inside a transaction; the result is validated like any other content."""
        ask.caller.scopes.constraints(type_, "u")
        if not id_:
            found = self.matches(unit, ask, type_, criteria, "criteria")
            if not found:
                raise NotFound("no match", at="criteria")
            id_, exact = found[0].id, True
        current, seen = self.meant(
            unit, ask, self.gate.sight(unit.resources, ask), type_, id_, "u", hold=True, exact=exact
        )
        if current is None or seen is None:
            _check_match(ask, None)
            raise NotFound(_NOT_FOUND)
        if current.deleted:
            raise Gone("the resource was deleted")
        _check_match(ask, current)
        _check_consent(ask, current)
        changed = change(json_text.parse(seen.resources[0].body))
        if changed.get("id") != current.id or changed.get("resourceType") != type_:
            raise Invalid("a patch may not change type or id", at=f"{type_}.id")
        self.check(type_, changed)
        if type_ == "Consent" and changed.get("patient") != _patient_of(seen.resources[0]):
            raise Invalid("the patient of a Consent does not change", at="Consent.patient", fix="write a new Consent")
        document = json_text.read(json_text.write(changed))
        return self._store(unit, ask, document, current.id, "PATCH", current, seen.resources[0])

    def delete_in(self, unit: Unit, ask: Ask, type_: str, id_: str, *, exact: bool = False) -> Answer:
        """A delete inside a transaction.

        Raises:
            PreconditionFailed: If-Match names another version. Forbidden: scope, append-only, or a record of others.
        """
        ask.caller.scopes.constraints(type_, "d")
        if type_ in _APPEND_ONLY:
            raise Forbidden("records of the audit trail are not deleted", at=type_)
        current, _seen = self.meant(
            unit, ask, self.gate.sight(unit.resources, ask), type_, id_, "d", hold=True, exact=exact
        )
        _check_match(ask, current)
        if current is None or current.deleted:
            self.gate.record(unit, ask, "delete", what=f"{type_}/{id_}", refused="not-found")
            return Answer(204)
        if not made_by(current, ask.client, ask.caller.client.organization):
            raise Forbidden("only who made a record deletes it", at=type_, fix="ask its maker, or update its status")
        gone = unit.resources.delete(type_, current.id, now_us=ask.now_us, source=ask.client)
        if gone is not None:
            self.saver.deleted(unit, gone, now_us=ask.now_us)
        if ask.written is not None:
            ask.written.extend([gone] if gone else [])
        else:
            self.gate.record(unit, ask, "delete", what=current.reference, written=[gone] if gone else [])
        return Answer(204, version=gone.version if gone else None)

    def delete_matching_in(self, unit: Unit, ask: Ask, type_: str, criteria: str) -> Answer:
        """A conditional delete inside a transaction."""
        ask.caller.scopes.constraints(type_, "d")
        found = self.matches(unit, ask, type_, criteria, "criteria")
        if not found:
            self.gate.record(unit, ask, "delete", what=type_, query=criteria, refused="not-found")
            return Answer(204)
        return self.delete_in(unit, ask, type_, found[0].id, exact=True)

    def matches(self, unit: Unit, ask: Ask, type_: str, criteria: str, at: str) -> Sequence[Stored]:
        """None or the one match of a condition, held so that nobody can add another before the commit.

        Raises:
            Malformed: an empty condition. ManyMatches: more than one among what the asker may see.
        """
        criteria = criteria.removeprefix(f"{type_}?")
        if not criteria:
            raise Malformed("a condition is needed", at=at, fix="such as identifier=system|value")
        unit.resources.hold(f"{type_}?{criteria}")
        found = self.find(unit.resources, type_, criteria, ask, 2)
        if len(found) > 1:
            raise ManyMatches(at)
        return found

    def create_many_in(self, unit: Unit, ask: Ask, items: Sequence[tuple[str, Document, str]]) -> list[Answer]:
        """Creates of (type, document, id) written together, in few statements; the answers in order.

        Raises:
            Forbidden: scope.
        """
        for type_ in dict.fromkeys(type_ for type_, _, _ in items):
            ask.caller.scopes.constraints(type_, "c")
        documents = with_own_links(unit.resources, ask.client, [document for _, document, _ in items])
        drafts = [_draft(ask, one, item[2], "POST") for one, item in zip(documents, items, strict=True)]
        written = self.saver.save(unit, drafts, now_us=ask.now_us)
        return self._answers(unit, ask, written, "create", created=True)

    def _store(
        self, unit: Unit, ask: Ask, document: Document, id_: str, method: str, current: Stored | None,
        shown: Stored | None = None,
    ) -> Answer:  # fmt: skip
        document = with_own_links(unit.resources, ask.client, [document])[0]
        anew = False
        if current is not None and shown is not None and not current.deleted and shown.body != current.body:
            document, anew = with_withheld(document, shown, current)
        draft = _draft(ask, document, id_, method)
        draft = replace(draft, anew=True) if anew else draft
        stored = self.saver.save(unit, [draft], now_us=ask.now_us)[0]
        interaction = {"POST": "create", "PUT": "update", "PATCH": "patch"}[method]
        created = current is None or current.deleted
        changed = current is None or stored.version != current.version
        return self._answers(unit, ask, [stored], interaction, created=created, changed=changed)[0]

    def _answers(
        self, unit: Unit, ask: Ask, written: Sequence[Stored], interaction: str, *, created: bool, changed: bool = True
    ) -> list[Answer]:
        """Record and answer writes; links that the gateway keeps in a Patient may tell of records of others, and what
        others wrote before may hold what the writer was never shown."""
        own = [one.version == 1 and (one.type != "Patient" or b'"link"' not in one.body) for one in written]
        shown = iter(self.gate.own(ask, [one for one, mine in zip(written, own, strict=True) if mine]).resources)
        bodies = [
            next(shown).body if mine else _body(self.gate.sight(unit.resources, ask).release([one]).resources)
            for one, mine in zip(written, own, strict=True)
        ]
        if ask.written is not None:  # inside a transaction: one record tells of all that it wrote
            ask.written.extend(written)
        else:
            for one in written:
                self.gate.record(unit, ask, interaction, what=one.reference, written=[one] if changed else [])
        status = 201 if created else 200
        return [Answer.of(status, one, body, location=True) for one, body in zip(written, bodies, strict=True)]


def _draft(ask: Ask, document: Document, id_: str, method: str) -> Draft:
    fresh = method == "POST"  # a create is always under an id of ours
    owner = ask.caller.client.organization
    made = {**document.resource, "id": id_}
    return Draft(made, None, method, ask.client, document=document, fresh=fresh, owner=owner)


def _check_consent(ask: Ask, current: Stored) -> None:
    """A Consent says what its client signed with whoever recorded it; who may see it by it may not widen it.

    Raises:
        Forbidden: the Consent was recorded by others.
    """
    if current.type != "Consent" or current.deleted or made_by(current, ask.client, ask.caller.client.organization):
        return
    raise Forbidden("only who recorded a Consent changes it", at="Consent", fix="record one of your own")


def _new_id(unit: Unit, ask: Ask, type_: str, id_: str) -> str:
    """The id under which what the caller calls so will be stored: one of its own, but for registered Organizations.

    Registrations, agreements and Consents name those by their ids, so they have no other: their own clients describe
    them. Which organizations take part is no secret.

    Raises:
        Forbidden: the Organization of somebody else's registration.
    """
    reference = f"{type_}/{id_}"
    if type_ == "Organization" and local(ask.caller.client.organization) == reference:
        return id_
    if type_ == "Organization" and agreement_of(unit.resources, reference) is not None:
        raise Forbidden(
            "this id is that of a registered organization, which its own clients describe",
            at="Organization.id",
            fix="refer to it as it is, or choose another id for yours",
        )
    return own_id(ask.client, type_, id_)


def _body(resources: Sequence[Stored]) -> bytes:
    """What is shown of a resource just written: nothing when consent lets the writer no longer see it."""
    return resources[0].body if resources else b""


def _with_id(document: Document, id_: str) -> Document:
    return replace(document, resource={**document.resource, "id": id_})


def _patient_of(stored: Stored) -> object:
    return json_text.parse(stored.body).get("patient")


def _check_id(id_: str, resource: Resource) -> None:
    if not _ID.fullmatch(id_):
        raise Invalid("not an id", at="id", fix="1 to 64 letters, digits, dots and dashes")
    if resource.get("id") != id_:
        raise Malformed(
            "the id of the body is not the id of the address", at=f"{resource.get('resourceType', '')}.id",
            fix="send the same id in both",
        )  # fmt: skip


def _check_match(ask: Ask, current: Stored | None) -> None:
    """If-Match and If-None-Match of a write."""
    met = current is not None and (
        not current.deleted if ask.if_match == ANY_VERSION else current.version == ask.if_match
    )
    if ask.if_match is not None and not met:
        raise PreconditionFailed("not the current version", at="If-Match", fix="read again and merge")
    if ask.if_none_match == "*" and current is not None and not current.deleted:
        raise PreconditionFailed("it exists already", at="If-None-Match")


def _unchanged(ask: Ask, stored: Stored) -> bool:
    """Whether a conditional read finds what the caller has already (R4 "conditional read"; RFC 9110 precedence)."""
    if ask.if_none_match:
        tags = [tag.strip().removeprefix("W/").strip('"') for tag in ask.if_none_match.split(",")]
        return "*" in tags or str(stored.version) in tags
    if ask.if_modified_since_us is not None:
        return stored.updated_us // 1_000_000 <= ask.if_modified_since_us // 1_000_000
    return False
