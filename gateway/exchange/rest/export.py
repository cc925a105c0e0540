"""Bulk Data export (FHIR Bulk Data Access 2.0): system, Patient and Group; NDJSON made while it is downloaded.

No copy is ever kept: a job is its own parameters, sealed into its address and bound to the client. What a file holds is
decided when it is downloaded, so a consent withdrawn after the kick-off holds, and nothing lies about on a disk.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import urlencode

import orjson

from gateway.codecs import json_text
from gateway.exchange.clients import digest_of
from gateway.exchange.rest.ask import Answer, Ask
from gateway.exchange.rest.find import Finds, since_of
from gateway.exchange.rest.operations import Operation, Where, simple_parameters
from gateway.exchange.search_run import search
from gateway.exchange.versions import instant
from gateway.kernel.errors import Malformed, NotFound
from gateway.kernel.fhir import JsonObject, Resource

Pairs: TypeAlias = Sequence[tuple[str, str]]
JOB_LIFETIME_S: Final = 24 * 3600
PAGE: Final = 500  # resources that are judged, audited and sent at a time
_FORMATS: Final = frozenset({"", "application/fhir+ndjson", "application/ndjson", "ndjson"})
_PARAMETERS: Final = frozenset({"_outputFormat", "_since", "_type", "_elements", "includeAssociatedData", "patient"})


@dataclass(frozen=True, slots=True)
class _Job:
    level: str  # system, Patient, or the id of a Group
    types: tuple[str, ...]  # those asked for; empty: all there are (a list of all makes an address that proxies refuse)
    since_us: int
    started_us: int
    url: str

    def packed(self) -> str:
        return orjson.dumps([self.level, self.types, self.since_us, self.started_us, self.url]).decode()

    @classmethod
    def unpacked(cls, text: str) -> "_Job":
        level, types, since, started, url = orjson.loads(text)
        return cls(level, tuple(types), since, started, url)


@dataclass(frozen=True, slots=True)
class Exports:
    """The use cases of ``$export``."""

    finds: Finds

    def operations(self) -> Mapping[str, Operation]:
        """By place and name, as the FHIR routes call them."""
        return {
            "system:$export": self.start,
            "Patient:$export": self.start,
            "Group/*:$export": self.start,
            "job:GET": self.job,
            "job:DELETE": self.end,
        }

    def start(self, ask: Ask, where: Where, pairs: Pairs, body: Resource | None) -> Answer:
        """The kick-off: 202 with the address of the job.

        Raises:
            Malformed: no ``Prefer: respond-async``, or a parameter that cannot be honoured. NotFound: no such Group.
            Forbidden: the scopes allow none of the types.
        """
        given = [*pairs, *simple_parameters(body)]
        if not ask.respond_async:
            raise Malformed("an export is answered later", at="Prefer", fix="send Prefer: respond-async")
        unknown = sorted({name for name, _ in given} - _PARAMETERS)
        ignored = {name for name, _ in given} & {"_elements", "includeAssociatedData", "patient"}
        if unknown or (ignored and ask.handling != "lenient"):
            raise Malformed("a parameter that $export does not take", at="$export")
        values = dict(given)
        if values.get("_outputFormat", "") not in _FORMATS:
            raise Malformed("no such format", at="_outputFormat", fix="application/fhir+ndjson")
        wanted = {part for name, text in given if name == "_type" for part in text.split(",") if part}
        if wanted - set(self.finds.definitions.types):
            raise Malformed("a type that is not served", at="_type")
        level = where.id if where.type == "Group" else where.type or "system"
        types = tuple(sorted(wanted))
        if not self._types(ask, level, types):
            ask.caller.scopes.constraints(next(iter(sorted(wanted or {"Patient"}))), "r")
        if where.type == "Group":
            self._members(ask, level)
        since = since_of(values["_since"]) if "_since" in values else 0
        target = "/".join(part for part in (where.type, where.id, "$export") if part)
        asked = f"?{urlencode(pairs, safe=',:/')}" if pairs else ""
        job = _Job(level, types, since, ask.now_us, f"{ask.base}/{target}{asked}")
        sealed = self.finds.seal.close(job.packed(), ask.client)
        self.finds.store.write(
            lambda unit: self.finds.gate.record(unit, ask, "operation", what=target, query="$export")
        )
        return Answer(202, headers={"Content-Location": f"{ask.base}/_export/{sealed}"})

    def job(self, ask: Ask, where: Where, pairs: Pairs, body: Resource | None) -> Answer:
        """``GET`` of a job: its manifest; of a file of it: NDJSON.

        Raises:
            NotFound: unknown, ended, too old, or another client's.
        """
        job = self._opened(ask, where.id)
        if where.rest:
            return self._file(ask, job, where.rest.removesuffix(".ndjson"))
        output = [
            {"type": type_, "url": f"{ask.base}/_export/{where.id}/{type_}.ndjson"}
            for type_ in self._types(ask, job.level, job.types)
            if self._any(ask, job, type_)
        ]
        manifest: JsonObject = {
            "transactionTime": instant(job.started_us),
            "request": job.url,
            "requiresAccessToken": True,
            "output": output,
            "error": [],
        }
        headers = {"Content-Type": "application/json", "X-Progress": "100%"}
        return Answer(200, json_text.write(manifest), headers=headers)

    def end(self, ask: Ask, where: Where, pairs: Pairs, body: Resource | None) -> Answer:
        """``DELETE`` of a job: nothing of it can be downloaded any more."""
        job = self._opened(ask, where.id)
        digest = digest_of(where.id)
        until = job.started_us + JOB_LIFETIME_S * 1_000_000
        self.finds.store.write(
            lambda unit: unit.clients.use_assertion(ask.client, digest, expires_us=until, now_us=ask.now_us)
        )
        return Answer(202)

    def _opened(self, ask: Ask, sealed: str) -> _Job:
        try:
            job = _Job.unpacked(self.finds.seal.open(sealed, ask.client))
        except (Malformed, ValueError):
            raise NotFound("no such export", at="address") from None
        with self.finds.store.reading() as reading:
            ended = reading.clients.used(ask.client, digest_of(sealed))
        if ended or ask.now_us > job.started_us + JOB_LIFETIME_S * 1_000_000:
            raise NotFound("no such export", at="address")
        return job

    def _types(self, ask: Ask, level: str, named: tuple[str, ...]) -> tuple[str, ...]:
        """The types of a job's files, in order: of those named (all, when none is) what its level has and the caller
        may read now."""
        definitions, scopes = self.finds.definitions, ask.caller.scopes
        return tuple(
            one
            for one in named or sorted(definitions.types)
            if one != "AuditEvent"
            and (level == "system" or one == "Patient" or definitions.compartment("Patient", one))
            and scopes.allows(one, "r")
        )

    def _members(self, ask: Ask, group: str) -> list[str]:
        with self.finds.store.reading() as reading:
            stored = reading.resources.get("Group", group)
            released = self.finds.sight(reading.resources, ask).release([stored] if stored is not None else [])
        if not released.resources:
            raise NotFound("no such resource")
        members = json_text.parse(released.resources[0].body).get("member") or ()
        found = [
            str((one.get("entity") or {}).get("reference", ""))
            for one in members
            if isinstance(one, dict) and one.get("inactive") is not True
        ]
        return sorted({one for one in found if one.startswith("Patient/")})

    def _scans(self, ask: Ask, job: _Job) -> list[str]:
        """The compartments to walk; one empty name: everything."""
        return [""] if job.level in ("system", "Patient") else self._members(ask, job.level)

    def _any(self, ask: Ask, job: _Job, type_: str) -> bool:
        return next(self._pages(ask, job, type_, 1, told=False), None) is not None

    def _pages(self, ask: Ask, job: _Job, type_: str, size: int, *, told: bool) -> Iterator[bytes]:
        """Pieces of NDJSON; each is judged anew, and its audit record is on disk before it is given out."""
        finds = self.finds
        pairs = [("_count", str(size)), ("_total", "none")]
        if job.since_us:
            pairs.append(("_lastUpdated", f"ge{instant(job.since_us)}"))
        for within in self._scans(ask, job):
            query = finds.query(type_, pairs, ask, strict=True, within=within)
            cursor = ""
            while True:
                with finds.store.reading() as reading:
                    sight = finds.sight(reading.resources, ask)
                    page = search(reading.resources, query, sight, cursor=cursor)
                    released = sight.release(page.matches)
                if told and released.resources:
                    finds.recorded(ask, sight, released, "operation", f"{type_}.ndjson", "$export")
                if released.resources:
                    yield b"".join(_line(one.body) for one in released.resources)
                cursor = page.next_cursor
                if not cursor:
                    break

    def _file(self, ask: Ask, job: _Job, type_: str) -> Answer:
        if type_ not in self._types(ask, job.level, job.types):
            raise NotFound("no such file", at="address")
        headers = {"Content-Type": "application/fhir+ndjson"}
        return Answer(200, headers=headers, chunks=lambda: self._pages(ask, job, type_, PAGE, told=True))


def _line(body: bytes) -> bytes:
    """One resource on one line: a line end in JSON text can only stand between tokens."""
    return body.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n"
