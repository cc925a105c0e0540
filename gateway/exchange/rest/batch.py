"""Batch and transaction (R4 "RESTful API", transaction processing rules).

A transaction is one database transaction: all of it or nothing, with an error for every entry that failed, named
``Bundle.entry[i]``. Links between entries (``urn:uuid:…``, any fullUrl) and conditional references become literal
references before anything is stored; no other character of an entry changes.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import parse_qsl

from gateway.codecs import json_text
from gateway.codecs.json_text import Document
from gateway.exchange.audit_viewers import TRAIL
from gateway.exchange.ports.resources import Stored
from gateway.exchange.ports.store import Unit
from gateway.exchange.rest.ask import Answer, Ask, version_of
from gateway.exchange.rest.bundles import Entry, bundle
from gateway.exchange.rest.conditions import Making
from gateway.exchange.rest.core import Rest
from gateway.exchange.rest.find import Finds
from gateway.exchange.rest.issues import EntriesFailed, Issue, ManyMatches, Rejected, issues_of
from gateway.exchange.search_run import CURSOR
from gateway.exchange.versions import instant
from gateway.kernel.errors import Category, DoorwayError, Fault, Invalid, Malformed, NotFound, TooLarge, Unsupported
from gateway.kernel.fhir import Resource, references_in
from gateway.kernel.identifiers import beside

ENTRY_LIMIT: Final = 5_000
_RESTFUL: Final = re.compile(r"(?:.*/)?([A-Z][A-Za-z]{1,60}/[A-Za-z0-9.-]{1,64})(?:/_history/.*)?")
_CONDITION: Final = re.compile(r"([A-Z][A-Za-z]{1,60})\?(.+)", re.DOTALL)
_ORDER: Final = {"DELETE": 0, "POST": 1, "PUT": 2, "PATCH": 2, "GET": 3, "HEAD": 3}
_OF_ALL: Final = frozenset({"", "_history", "metadata"})  # paths of what no type is named for
_CONDITIONS: Final = frozenset({"ifMatch", "ifNoneMatch", "ifNoneExist"})
_TEXT: Final = {200: "OK", 201: "Created", 204: "No Content", 304: "Not Modified"}
Status = Callable[[DoorwayError], tuple[int, str]]  # HTTP status and issue code of an error
Patches = Mapping[str, Callable[[Any], Callable[[Resource], Resource]]]


@dataclass(slots=True)
class _Step:
    """One entry on its way."""

    index: int
    method: str
    type: str
    id: str
    criteria: str  # the search of a conditional interaction, or of a GET
    operation: str  # _history, a version or $operation
    ask: Ask = field(repr=False)
    full_url: str = ""
    text: str = field(default="", repr=False)
    document: Document | None = field(default=None, repr=False)
    target: str = ""  # ``Type/id`` that the entry will have
    exact: bool = False  # whether ``id`` is the stored id of a match, not what the caller calls it
    compact: bool = False  # whether the Bundle's text is (codecs/json_text.py)

    def anew(self, ask: Ask) -> "_Step":
        """The entry as it was sent, to be worked on."""
        return _Step(
            self.index, self.method, self.type, self.id, self.criteria, self.operation, ask, self.full_url, self.text,
            compact=self.compact,
        )  # fmt: skip


@dataclass(slots=True)
class _Bundle:
    """What links inside a transaction are resolved by."""

    steps: Sequence[_Step]  # those that have an identity
    targets: Mapping[str, str]  # what entries call one another, to ``Type/id``
    meant: dict[str, str] = field(default_factory=dict)  # conditional references, to the ``Type/id`` of their match
    making: Making | None = None  # what conditional references may find here, once there is one


@dataclass(frozen=True, slots=True)
class Batches:
    """The use case of ``POST [base]``.

    Args:
        core: single interactions.
        finds: searches.
        patches: readers of patch formats, ``json`` and ``fhirpath``.
        status: HTTP status and issue code of an error, for the entries of a batch.
        metadata: the CapabilityStatement for a base URL.
    """

    core: Rest
    finds: Finds
    patches: Patches
    status: Status
    metadata: Callable[[str], bytes]

    def run(self, ask: Ask, document: Document) -> Answer:
        """Process a Bundle.

        Raises:
            Malformed: not a batch or transaction. TooLarge: too many entries. EntriesFailed: a transaction that failed.
        """
        resource = document.resource
        kind = resource.get("type")
        if resource.get("resourceType") != "Bundle" or kind not in ("batch", "transaction"):
            raise Malformed("not a batch or transaction", at="Bundle.type", fix="send one of the two")
        entries = resource.get("entry", [])
        if not isinstance(entries, list):
            raise Malformed("not a list", at="Bundle.entry")
        if len(entries) > ENTRY_LIMIT:
            raise TooLarge("too many entries", at="Bundle.entry", fix=f"at most {ENTRY_LIMIT}")
        texts = json_text.entry_texts(document)
        plain = ask.inside(if_match=None, if_none_match="", if_modified_since_us=None, if_none_exist="")
        steps: list[_Step] = []
        failed: dict[int, DoorwayError] = {}
        for index, entry in enumerate(entries):
            try:
                steps.append(self._step(plain, index, entry, texts[index]))
                steps[-1].compact = document.compact
            except DoorwayError as error:
                failed[index] = error
        if kind == "transaction":
            if failed:
                raise _together(failed)
            return self._transaction(ask, steps)
        return self._batch(ask, steps, failed, len(entries))

    # -- reading entries ---------------------------------------------------------------------------------------------

    def _step(self, ask: Ask, index: int, entry: Any, text: str | None) -> _Step:
        """An entry; ``ask`` is that of one without conditions."""
        at = f"Bundle.entry[{index}]"
        request = entry.get("request") if isinstance(entry, dict) else None
        if not isinstance(request, dict):
            raise Malformed("no request", at=at)
        method, url = request.get("method"), request.get("url")
        if method not in _ORDER or not isinstance(url, str):
            raise Malformed("method and url are needed", at=f"{at}.request")
        inner = ask
        if not _CONDITIONS.isdisjoint(request):
            inner = ask.inside(
                if_match=_etag(request.get("ifMatch"), f"{at}.request.ifMatch"),
                if_none_match=str(request.get("ifNoneMatch", "")),
                if_modified_since_us=None,
                if_none_exist=str(request.get("ifNoneExist", "")).removeprefix("?"),
            )
        step = _placed(index, method, url, inner, f"{at}.request.url")
        if step.type not in self.core.types and not (step.type == "" and method in ("GET", "HEAD")):
            raise NotFound("this resource type is not served", at=f"{at}.request.url")
        full_url = entry.get("fullUrl")
        step.full_url = full_url if isinstance(full_url, str) else ""
        if method in ("POST", "PUT", "PATCH"):
            if text is None:
                raise Malformed("no resource", at=f"{at}.resource")
            step.text = text
        return step

    def _parsed(self, step: _Step) -> None:
        """Read and check the resource of an entry that writes one; the links in it are final."""
        if step.method not in ("POST", "PUT"):
            return
        at = f"Bundle.entry[{step.index}].resource"
        step.document = json_text.read_part(step.text, compact=step.compact, at=at)
        self.core.check(step.type, step.document.resource)

    def _change(self, step: _Step) -> Callable[[Resource], Resource]:
        at = f"Bundle.entry[{step.index}].resource"
        resource = json_text.parse(step.text.encode(), at=at)
        if resource.get("resourceType") == "Parameters":
            return self.patches["fhirpath"](resource)
        if resource.get("resourceType") == "Binary" and "json-patch" in str(resource.get("contentType")):
            try:
                return self.patches["json"](base64.b64decode(str(resource.get("data", "")), validate=True))
            except binascii.Error:
                raise Malformed("not base64", at=f"{at}.data") from None
        raise Malformed("not a patch", at=at, fix="Parameters, or a Binary with a JSON Patch")

    # -- transaction -------------------------------------------------------------------------------------------------

    def _transaction(self, ask: Ask, steps: Sequence[_Step]) -> Answer:
        _distinct([step.full_url for step in steps if step.full_url])

        def work(unit: Unit) -> dict[int, Answer]:
            failed: dict[int, DoorwayError] = {}
            written: list[Stored] = []
            asks = {id(step.ask): step.ask for step in steps}
            inside = {key: replace(one, written=written) for key, one in asks.items()}
            fresh = [step.anew(inside[id(step.ask)]) for step in steps]  # work may run twice
            self._resolved(unit, fresh, failed)
            if failed:
                raise _together(failed)
            done: dict[int, Answer] = {}
            self._created(unit, fresh, done, failed)
            for step in sorted(fresh, key=lambda one: _ORDER[one.method]):
                if step.index in done or step.index in failed:
                    continue
                if step.method in ("GET", "HEAD") and not (step.id and _is_read(step)):
                    continue  # searches run on what was committed
                try:
                    done[step.index] = self._done(unit, step)
                except DoorwayError as error:
                    failed[step.index] = error
            if failed:
                raise _together(failed)
            self.core.gate.record(unit, ask, "transaction", what="Bundle", written=written)
            return done

        try:
            done = self.core.store.write(work)
        except DoorwayError as error:
            category = error.category
            self.core.store.write(
                lambda unit: self.core.gate.record(unit, ask, "transaction", what="Bundle", refused=category)
            )
            raise
        entries = []
        for step in steps:
            try:
                answer = done[step.index] if step.index in done else self._searched(step)
            except DoorwayError as error:  # what was written stays written: only this answer is an error
                entries.append(self._failure(error, step.index))
            else:
                entries.append(_entry(ask, answer))
        return Answer(200, bundle("transaction-response", entries))

    def _created(
        self, unit: Unit, steps: Sequence[_Step], done: dict[int, Answer], failed: dict[int, DoorwayError]
    ) -> None:
        """All plain creates written together; when that fails, one by one, to tell which of them it was."""
        plain = [
            one for one in steps if one.method == "POST" and not one.ask.if_none_exist and one.document is not None
        ]
        items = [(one.type, one.document, one.id) for one in plain if one.document is not None]
        if not items:
            return
        try:
            answers = self.core.create_many_in(unit, plain[0].ask, items)
        except DoorwayError as error:
            for step, item in zip(plain, items, strict=True):
                try:
                    self.core.create_many_in(unit, step.ask, [item])
                except DoorwayError as reason:
                    failed[step.index] = reason
            if not failed:
                failed[plain[0].index] = error
            return
        done.update((step.index, answer) for step, answer in zip(plain, answers, strict=True))

    def _resolved(self, unit: Unit, steps: Sequence[_Step], failed: dict[int, DoorwayError]) -> None:
        """Give every entry its identity, then make every link between entries literal, then check what results."""
        targets: dict[str, str] = {}
        seen: dict[str, int] = {}  # by target, or by condition of a create
        first = self.core.new_id()
        for step in steps:
            try:
                self._askable(step)
                step.target = self._identity(unit, step, first)
            except DoorwayError as error:
                failed[step.index] = error
                continue
            if step.target and step.method not in ("GET", "HEAD"):
                if step.target in seen:
                    failed[step.index] = Invalid(
                        "the same resource as another entry",
                        at="request",
                        fix=f"Bundle.entry[{seen[step.target]}] has it too",
                    )
                seen[step.target] = step.index
            if step.method == "PUT" and step.id:
                targets.setdefault(f"{step.type}/{step.id}", step.target)
            if step.method == "POST" and step.ask.if_none_exist:
                condition = f"{step.type}?{step.ask.if_none_exist}"
                if condition in seen:
                    failed[step.index] = Invalid(
                        "the same condition as another entry", at="request.ifNoneExist",
                        fix=f"Bundle.entry[{seen[condition]}] makes it; refer to that one's fullUrl",
                    )  # fmt: skip
                seen.setdefault(condition, step.index)
            if step.full_url and step.target and step.method != "DELETE":
                targets[step.full_url] = step.target
                local = _RESTFUL.fullmatch(step.full_url)
                if local and step.method == "POST":
                    targets.setdefault(local[1], step.target)
        around = _Bundle([one for one in steps if one.index not in failed], targets)
        literal: dict[int, str] = {}
        for step in around.steps:
            if step.method not in ("POST", "PUT", "PATCH"):
                continue
            try:
                literal[step.index] = self._literal(unit, step, around)
            except DoorwayError as error:
                failed[step.index] = error
        for step in around.steps:
            if step.index not in literal:
                continue
            step.text = literal[step.index]
            try:
                self._parsed(step)
            except DoorwayError as error:
                failed[step.index] = error

    def _askable(self, step: _Step) -> None:
        """Refuse a search that cannot be read while nothing is written; it runs on what was committed."""
        searches = (
            step.type
            and step.method in ("GET", "HEAD")
            and (step.operation[:1].isupper() or not (step.id or step.operation))
        )
        if not searches or TRAIL in (step.type, step.operation):
            return
        pairs = [pair for pair in parse_qsl(step.criteria, keep_blank_values=True) if pair[0] != CURSOR]
        type_ = step.operation or step.type
        step.ask.caller.scopes.constraints(type_, "s")
        within = f"{step.type}/{step.id}" if step.id else ""
        self.finds.query(type_, pairs, step.ask, strict=step.ask.handling != "lenient", within=within)

    def _identity(self, unit: Unit, step: _Step, first: str) -> str:
        """``Type/id`` of what the entry will touch; a conditional match is looked up among the visible.

        What is new gets an id beside ``first``.
        """
        if step.method == "POST":
            if step.operation:
                raise Unsupported("operations are not run inside a transaction", at="request.url")
            if step.ask.if_none_exist:
                found = self.core.matches(unit, step.ask, step.type, step.ask.if_none_exist, "request.ifNoneExist")
                if found:
                    return found[0].reference
            step.id = beside(self.core.new_id(), first)
            return f"{step.type}/{step.id}"
        if step.criteria and step.method in ("PUT", "PATCH", "DELETE"):
            found = self.core.matches(unit, step.ask, step.type, step.criteria, "request.url")
            if found:
                step.id, step.exact = found[0].id, True
                return found[0].reference
            if step.method == "PUT":
                given = json_text.parse(step.text.encode()).get("id")
                step.id = given if isinstance(given, str) else ""
                if not step.id:
                    step.id, step.method = beside(self.core.new_id(), first), "POST"
            if not step.id:
                return ""
            if step.method == "POST":
                return f"{step.type}/{step.id}"
        if step.id and step.method in ("PUT", "PATCH", "DELETE"):
            return self.core.target(unit, step.ask, step.type, step.id, "d" if step.method == "DELETE" else "u")
        return f"{step.type}/{step.id}" if step.id else ""

    def _literal(self, unit: Unit, step: _Step, around: "_Bundle") -> str:
        text = json_text.with_links(step.text, around.targets)
        if "urn:uuid:" in text and step.type != "Bundle":
            self._whole(step, text)
        if "?" not in text:
            return text
        at = f"Bundle.entry[{step.index}].resource"
        conditions: dict[str, str] = {}
        for literal in references_in(json_text.parse(text.encode(), at=at)):
            found = _CONDITION.fullmatch(literal)
            if found is not None:
                if literal not in around.meant:
                    around.meant[literal] = self._match(unit, step.ask, found[1], found[2], around)
                conditions[literal] = around.meant[literal]
        return json_text.with_links(text, conditions)

    def _match(self, unit: Unit, ask: Ask, type_: str, criteria: str, around: "_Bundle") -> str:
        """``Type/id`` of the one match of a conditional reference, of what is there or will be."""
        making = around.making
        if making is None:
            making = around.making = _making(around.steps, around.targets)
        try:
            stored = self.core.find(unit.resources, type_, criteria, ask, 2 + len(making.changed))
            query = self.finds.query(type_, parse_qsl(criteria, keep_blank_values=True), ask, strict=True)
        except Malformed as error:
            raise Malformed(f"a conditional reference: {error.message}", at="resource", fix=error.fix) from None
        matches = ({one.reference for one in stored} - making.changed) | making.matching(type_, query)
        if len(matches) > 1:
            raise ManyMatches("resource")
        if not matches:
            raise Invalid("a conditional reference has no match", at="resource")
        return matches.pop()

    def _whole(self, step: _Step, text: str) -> None:
        """Refuse a reference to an entry that is not there: nobody could ever follow it."""
        resource = json_text.parse(text.encode(), at=f"Bundle.entry[{step.index}].resource")
        if any(literal.startswith("urn:uuid:") for literal in references_in(resource)):
            raise Invalid(
                "a reference to urn:uuid: that no entry has as its fullUrl", at="resource", fix="send that entry too"
            )  # fmt: skip

    def _done(self, unit: Unit, step: _Step) -> Answer:
        core, ask = self.core, step.ask
        if step.method == "DELETE":
            if not step.id:
                return Answer(204)
            return core.delete_in(unit, ask, step.type, step.id, exact=step.exact)
        if step.method == "PATCH":
            return core.patch_in(unit, ask, step.type, step.id, step.criteria, self._change(step), exact=step.exact)
        if step.method in ("GET", "HEAD"):
            if step.operation.startswith("_history/"):
                return core.vread_in(unit, ask, step.type, step.id, step.operation.partition("/")[2])
            return core.read_in(unit, ask, step.type, step.id)
        if step.document is None:
            raise Fault("an entry without its document")
        if step.method == "POST":
            return core.create_in(unit, ask, step.type, step.document, step.id)
        document = step.document
        if step.criteria:  # the id of the match is the id, whatever the text says or leaves out
            given = document.resource.get("id")
            if given is not None and given != step.id:
                raise Malformed("not the id of the match", at=f"{step.type}.id")
            document = replace(document, resource={**document.resource, "id": step.id})
        return core.update_in(unit, ask, step.type, step.id, document, exact=step.exact)

    # -- batch -------------------------------------------------------------------------------------------------------

    def _batch(self, ask: Ask, steps: Sequence[_Step], failed: dict[int, DoorwayError], size: int) -> Answer:
        done: dict[int, Answer] = {}
        for rank in range(4):
            pending: list[tuple[int, Future[Answer | DoorwayError]]] = []
            for step in steps:
                if _ORDER[step.method] != rank:
                    continue
                try:
                    if step.method in ("GET", "HEAD") and not (step.id and _is_read(step)):
                        done[step.index] = self._searched(step)
                    else:
                        pending.append((step.index, self._submitted(step)))
                except DoorwayError as error:
                    failed[step.index] = error
            for index, future in pending:
                try:
                    answer = future.result()
                except DoorwayError as error:
                    answer = error
                if isinstance(answer, DoorwayError):
                    failed[index] = answer
                else:
                    done[index] = answer
        entries = [
            _entry(ask, done[index]) if index in done else self._failure(failed[index], index) for index in range(size)
        ]
        return Answer(200, bundle("batch-response", entries))

    def _submitted(self, step: _Step) -> "Future[Answer | DoorwayError]":
        core, ask = self.core, step.ask
        if step.method in ("GET", "HEAD"):
            if step.operation:
                return core.vread(ask, step.type, step.id, step.operation.partition("/")[2])
            return core.read(ask, step.type, step.id)
        if step.method == "DELETE":
            if step.id:
                return core.delete(ask, step.type, step.id)
            return core.delete_matching(ask, step.type, step.criteria)
        if step.method == "PATCH":
            return core.patch(ask, step.type, step.id, step.criteria, self._change(step))
        self._parsed(step)
        if step.document is None:
            raise Fault("an entry without its document")
        if step.method == "POST":
            if step.operation:
                raise Unsupported("operations are not run inside a batch", at="request.url")
            return core.create(ask, step.type, step.document)
        if step.id:
            return core.update(ask, step.type, step.id, step.document)
        return core.update_matching(ask, step.type, step.criteria, step.document)

    def _searched(self, step: _Step) -> Answer:
        """A GET that is no read: search, compartment, history, $everything or the CapabilityStatement."""
        if step.operation == "metadata":
            return Answer(200, self.metadata(step.ask.base))
        pairs = parse_qsl(step.criteria, keep_blank_values=True)
        if step.operation == "_history":
            return self.finds.history(step.ask, step.type, step.id, pairs)
        if step.operation == "$everything" and step.type == "Patient" and step.id:
            return self.finds.everything(step.ask, step.id, pairs)
        if step.id and step.operation in self.core.types:
            return self.finds.compartment(step.ask, f"{step.type}/{step.id}", step.operation, pairs)
        if step.operation or step.id:
            raise Unsupported("this is not run inside a Bundle", at="request.url")
        return self.finds.search(step.ask, step.type, pairs)

    def _failure(self, error: DoorwayError, index: int) -> Entry:
        status, code = self.status(error)
        outcome = {
            "resourceType": "OperationOutcome",
            "issue": [
                issue.below(f"Bundle.entry[{index}]", relative=isinstance(error, Rejected)).as_fhir()
                for issue in issues_of(error, code)
            ],
        }
        response = {"status": str(status), "outcome": outcome}
        return Entry(b"", more=b'"response":' + json_text.write(response))


def _making(steps: Sequence[_Step], targets: Mapping[str, str]) -> Making:
    made: dict[str, list[tuple[str, str]]] = {}
    for step in steps:
        if step.method in ("POST", "PUT") and step.id and step.target:  # a create that found its like writes nothing
            made.setdefault(step.type, []).append((step.target, json_text.with_links(step.text, targets)))
    return Making(made, frozenset(step.target for step in steps if step.method in ("PUT", "DELETE") and step.target))


def _is_read(step: _Step) -> bool:
    return not step.operation or step.operation.startswith("_history/")


def _together(failed: Mapping[int, DoorwayError]) -> EntriesFailed:
    made = EntriesFailed(sorted(failed.items()))
    if made.category in (Category.NOT_FOUND, Category.GONE, Category.UNSUPPORTED):
        made.category = Category.MALFORMED  # type: ignore[misc]
    return made


def _distinct(full_urls: Sequence[str]) -> None:
    if len(set(full_urls)) != len(full_urls):
        raise Malformed("two entries have the same fullUrl", at="Bundle.entry", fix="one identity, one entry")


def _etag(value: Any, at: str) -> int | None:
    if value is None:
        return None
    found = version_of(str(value), at=at)
    if found is None:  # to pass over it would overwrite what it was to guard
        raise Malformed("not a version", at=at, fix='write W/"1", or * for any')
    return found


def _placed(index: int, method: str, url: str, ask: Ask, at: str) -> _Step:
    """The interaction that a request's method and url name."""
    if method == "POST" and url.isalpha():  # a create, as most entries are
        return _Step(index, method, url, "", "", "", ask)
    path, _, criteria = url.removeprefix(ask.base).lstrip("/").partition("?")
    parts = [part for part in path.split("/") if part]
    if len(parts) < 2 and "".join(parts) in _OF_ALL and (parts or criteria):  # what is asked of the server as a whole
        return _Step(index, method, "", "", criteria, "".join(parts), ask)
    if not 1 <= len(parts) <= 4 or (len(parts) == 4 and parts[2] != "_history"):
        raise Malformed("not an address below this server", at=at)
    type_, *rest = parts
    id_ = rest.pop(0) if rest and rest[0][0] not in "_$" else ""
    operation = "/".join(rest)
    inside = method in ("GET", "HEAD") and id_ and len(rest) == 1 and rest[0][:1].isupper()
    if operation and not (inside or operation.startswith("$") or rest[0] in ("_history", "_search")):
        raise Malformed("not an address below this server", at=at)
    if operation == "_search":
        operation = "" if method == "GET" else operation
    if method in ("PUT", "PATCH", "DELETE") and (operation or not (id_ or criteria)):
        raise Malformed("an id or a condition is needed", at=at)
    if method == "POST" and id_ and not operation:
        raise Malformed("POST goes to a type", at=at)
    return _Step(index, method, type_, id_, criteria, operation, ask)


def _entry(ask: Ask, answer: Answer) -> Entry:
    """An answer as an entry; its ``response`` is put together as text, since there are many."""
    status = f"{answer.status} {_TEXT.get(answer.status, '')}".strip()
    told = [f'"status":"{status}"']
    full_url = ""
    if answer.location:
        full_url = f"{ask.base}/{answer.location.partition('/_history')[0]}"
        told.append(f'"location":{json_text.write(f"{ask.base}/{answer.location}").decode()}')
    if answer.version is not None:
        told.append(f'"etag":"W/\\"{answer.version}\\""')
    if answer.updated_us is not None:
        told.append(f'"lastModified":"{instant(answer.updated_us)}"')
    body = answer.body if ask.returning == "representation" or not answer.location else b""
    if ask.returning == "OperationOutcome" and answer.location:
        issue = Issue("information", "informational", "created" if answer.status == 201 else "updated")
        outcome = {"resourceType": "OperationOutcome", "issue": [issue.as_fhir()]}
        told.append(f'"outcome":{json_text.write(outcome).decode()}')
    return Entry(body, full_url, more=f'"response":{{{",".join(told)}}}'.encode())
