"""Victim service providers: their client-level rows are refused, and what turns out to be theirs is forgotten.

Whose a row is shows in the Organization of its project. When that is learned or changes later, everything that is
stored of the project's clients is taken out again, whatever the order in which exports come. What stays of a refused
client or enrollment is a digest of its key under a secret of the store, so that a row which comes later and names it is
refused too, and nobody who knows keys can try them on a copy of the table.
"""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from itertools import islice
from typing import Any, Final

from gateway.exchange.hmis_convert import Conversion
from gateway.exchange.hmis_rows import WRITTEN, Kind, Outcome, Row, Shape, age_of, moment
from gateway.exchange.hmis_write import HOUSEHOLD, TOGETHER, VICTIMS, RowWriter, Write, groups
from gateway.exchange.ports.rows import RowState
from gateway.exchange.ports.store import Reading, Unit

REFUSED: Final = "refused"  # the kind under which digests of refused clients and enrollments are kept
_AGED: Final = ("Enrollment", "Consent")  # files of whose refused rows the age is kept
_MOST: Final = 1_000_000
_AT_ONCE: Final = 1_000
Look = Callable[[Callable[[Reading], Any]], Any]


@dataclass(slots=True)
class _Shown:
    """Where enrollments show clients, by their newest rows."""

    inside: set[str] = field(default_factory=set)  # at victim service providers
    outside: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)  # may not be outside any more
    told: set[str] = field(default_factory=set)  # enrollments of which these rows say more than what is stored
    stay: set[str] = field(default_factory=set)  # enrollments that are no victim service provider's


class Victims:
    """Which rows belong to victim service providers, and forgetting those that turn out to.

    Of a refused client a digest is kept; of a refused enrollment its digest, that of its client, and its age, so that
    an older version which comes later does not tell of a client what the newer one was refused for. The same of a
    refused Consent: whoever revoked it and turns up elsewhere later has not signed again because an older row comes.
    """

    def __init__(self, conversion: Conversion, writer: RowWriter, salt: bytes) -> None:
        self._conversion, self._writer, self._source = conversion, writer, conversion.source.name
        first = conversion.export[0] if conversion.export else {}
        self._exported = moment(first.get("ExportDate", ""))
        self._clients: set[str] = set()  # digests
        self._rows: dict[str, tuple[str, str]] = {}  # digest -> that of its client where it was enrolled, and its age
        self._secret = salt

    def column(self, shape: Shape, row: Row) -> str:
        """The column by which a row belongs to a victim service provider; empty when it does not."""
        file = shape.file.name
        if file == "Enrollment" and self._serves(shape.cell(row, "ProjectID")):
            return "ProjectID"
        if shape.person >= 0 and self._client(row.cells[shape.person].strip()):
            return shape.names[shape.person]
        if not self._rows:
            return ""
        if file in _AGED and shape.age(row, self._exported) < self._age(file, row.key):
            return shape.file.key
        named = row.cells[shape.enrollment].strip() if shape.needs_enrollment else ""
        return "EnrollmentID" if named and self._digest("Enrollment", named) in self._rows else ""

    def names(self, project: str, person: str) -> bool:
        """Whether a row of an unknown file that names these is about a victim service provider's client or project."""
        return self._serves(project) or self._client(person)

    def _client(self, person: str) -> bool:
        return bool(self._clients) and self._digest("Client", person) in self._clients

    def _serves(self, project: str) -> bool:
        return bool(self._writer.victims) and bool(self._writer.projects.get(project, {}).get("vsp"))

    def _age(self, file: str, key: str) -> str:
        """The age of the newest refused version of a row; empty: none was."""
        return self._rows.get(self._digest(file, key), ("", ""))[1]

    def find(self, look: Look, write: Write) -> None:
        """Learn whose clients are refused, and forget what is stored of them.

        Refused are clients whom this export, or what is stored of a project that now serves victims, shows there and
        nothing shows anywhere else: not even their existence is kept.
        """
        write(self._keep_secret)
        for text in look(lambda reading: reading.rows.todo(self._source, REFUSED, _MOST)):
            digest, *more = text.split(" ", 2)
            if more:
                self._rows[digest] = (more[0], more[1])
            else:
                self._clients.add(digest)
        if not self._writer.victims and not self._clients and not self._rows:
            return
        since = look(lambda reading: reading.rows.todo(self._source, VICTIMS, _MOST))
        shown = _Shown()
        rows = self._conversion.dicts("Enrollment")
        while some := list(islice(rows, _AT_ONCE)):
            self._show(shown, some, look)
        theirs = [state for project in since if self._serves(project) for state in look(partial(self._at, project))]
        theirs = [state for state in theirs if state.key not in shown.stay]
        inside = shown.inside | {state.person for state in theirs}
        there = {person for person, _ in self._rows.values()}
        inside |= {person for person in shown.left if self._digest("Client", person) in there}
        for persons in groups(sorted(inside - shown.outside), TOGETHER):
            shown.outside |= look(partial(self._known_elsewhere, persons=persons, told=shown.told))
            write(partial(self._forget_clients, persons=[p for p in persons if p not in shown.outside]))
        for keys in groups([state.key for state in theirs], TOGETHER):
            write(partial(self._forget_enrollments, keys=keys))
        write(partial(self._remember_clients, refused=inside - shown.outside, taken=shown.outside))
        if since:
            write(lambda unit: unit.rows.done(self._source, VICTIMS, since))

    def _show(self, shown: _Shown, rows: Sequence[Mapping[str, str]], look: Look) -> None:
        """Where some rows of this export show clients, as far as nothing newer is known of their enrollments."""
        shape = self._writer.shape("Enrollment")
        made = [shape.of_told(0, row) for row in rows]
        stored = look(lambda reading: reading.rows.get(self._source, "Enrollment", [row.key for row in made]))
        for row in made:
            age, before = shape.age(row, self._exported), stored.get(row.key)
            if age < max(self._age("Enrollment", row.key), age_of(before) if before is not None else ""):
                continue
            person = row.cells[shape.person].strip()
            if before is not None and before.person != person:
                shown.left.add(before.person)
            shown.told.add(row.key)
            if self._serves(shape.cell(row, "ProjectID")):
                shown.inside.add(person)
                continue
            shown.stay.add(row.key)
            if shape.gone(row):  # it tells of nobody that he was there
                shown.left.add(person)
            else:
                shown.outside.add(person)

    def settle(self, unit: Unit, shape: Shape, outcomes: Sequence[Outcome], rows: Sequence[Row]) -> None:
        """Remember which enrollments and Consents were refused, and forget it of those that are not any more."""
        file = shape.file.name
        if file not in _AGED:
            return
        taken, refused = [], {}
        for outcome, row in zip(outcomes, rows, strict=True):
            digest, age = self._digest(file, row.key), shape.age(row, self._exported)
            if outcome.kind in (*WRITTEN, Kind.WAITING):
                taken.append(digest)
            elif outcome.kind is Kind.REFUSED and not outcome.older and age >= self._age(file, row.key):
                refused[digest] = (self._whose(file, row.cells[shape.person].strip()), age)
        self._remember(unit, refused, taken)

    def _whose(self, file: str, person: str) -> str:
        """What is kept of the client of a refused row: that he was enrolled; of a Consent nothing."""
        return self._digest("Client", person) if file == "Enrollment" else "-"

    def _remember(self, unit: Unit, refused: Mapping[str, tuple[str, str]], taken: Iterable[str] = ()) -> None:
        """Rows, by digest."""
        gone = {digest for digest in (*refused, *taken) if digest in self._rows}
        if gone:
            texts = [" ".join((digest, *self._rows.pop(digest))) for digest in sorted(gone)]
            unit.rows.done(self._source, REFUSED, texts)
        if refused:
            unit.rows.put_todo(self._source, REFUSED, [" ".join((digest, *told)) for digest, told in refused.items()])
            self._rows |= refused

    def _remember_clients(self, unit: Unit, refused: Iterable[str], taken: Iterable[str]) -> None:
        new = {self._digest("Client", person) for person in refused} - self._clients
        gone = {self._digest("Client", person) for person in taken} & self._clients if self._clients else set()
        if new:
            unit.rows.put_todo(self._source, REFUSED, new)
        if gone:
            unit.rows.done(self._source, REFUSED, sorted(gone))
        self._clients = (self._clients | new) - gone

    def _keep_secret(self, unit: Unit) -> None:
        self._secret = unit.clients.keep_secret("refused", self._secret)

    def _digest(self, file: str, key: str) -> str:
        """What is kept of the key of a refused client or enrollment."""
        text = f"{file} {key}".encode("utf-8", "surrogatepass")
        return blake2b(text, digest_size=16, key=self._secret).hexdigest()

    def _at(self, project: str, reading: Reading) -> list[RowState]:
        return reading.rows.of_projects(self._source, "Enrollment", [project], every=True)

    def _known_elsewhere(self, reading: Reading, persons: Sequence[str], told: Container[str]) -> set[str]:
        """Those of the clients whom another project of the source has enrolled, if only in a row that still waits."""
        states = reading.rows.of_persons(self._source, "Enrollment", persons, every=True)
        elsewhere = (one for one in states if not one.deleted and one.key not in told)
        return {state.person for state in elsewhere if not self._serves(state.project)}

    def _forget_clients(self, unit: Unit, persons: Sequence[str]) -> None:
        """Every row of clients whose existence must not be confirmed, deleted and waiting ones too."""
        for file, table in self._conversion.maps.items():
            if table.personal:
                self._forget(unit, file, unit.rows.of_persons(self._source, file, persons, every=True))

    def _forget_enrollments(self, unit: Unit, keys: Sequence[str]) -> None:
        """Enrollments at projects that serve victims, and every row that names them."""
        by_file: dict[str, list[RowState]] = {}
        for state in unit.rows.of_enrollments(self._source, keys, every=True):
            by_file.setdefault(state.file, []).append(state)
        for file, states in by_file.items():
            self._forget(unit, file, states)

    def _forget(self, unit: Unit, file: str, states: Sequence[RowState]) -> None:
        """Some rows of a file; that something older of an enrollment must not come back is remembered."""
        if not states:
            return
        unit.rows.put_todo(self._source, HOUSEHOLD, [state.household for state in states if state.household])
        self._writer.forget(unit, file, [state.key for state in states])
        if file == "Enrollment":
            self._writer.referrals(unit, states)
        if file in _AGED:
            told = ((self._digest(file, s.key), self._whose(file, s.person), age_of(s)) for s in states)
            self._remember(unit, {digest: (person, age) for digest, person, age in told})
