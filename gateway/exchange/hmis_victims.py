"""Victim service providers: their client-level rows are refused, and what turns out to be theirs is forgotten.

Whose a row is shows in the Organization of its project. When that is learned or changes later, everything that is
stored of the project's clients is taken out again, whatever the order in which exports come. What stays of a refused
client or row is a digest of its key under a secret of the store, so that a row which comes later and names it is
refused too, and nobody who knows keys can try them on a copy of the table.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from itertools import islice
from typing import Any, Final

from gateway.exchange.hmis_convert import Conversion
from gateway.exchange.hmis_extra import drop_refused
from gateway.exchange.hmis_rows import WRITTEN, Kind, Outcome, Row, Shape, age_of, moment
from gateway.exchange.hmis_write import HOUSEHOLD, TOGETHER, VICTIMS, RowWriter, Write, groups
from gateway.exchange.ports.rows import RowState
from gateway.exchange.ports.store import Reading, Unit

CLIENTS: Final = "refused clients"  # no file of HUD's: the digests of clients, and of rows with their age
ROWS: Final = "refused rows"
OWN_FILES: Final = "own files"  # what is still to be done: rows of unknown files may name what was refused since
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

    Of a refused client a digest is kept; of a refused row its digest and its age, so that an older version which comes
    later is not believed: it would tell of a client what the newer one was refused for. Whoever revoked a Consent and
    turns up elsewhere has not signed again because an older row comes. Of an enrollment the digest of its client too.
    """

    def __init__(self, conversion: Conversion, writer: RowWriter, salt: bytes) -> None:
        self._conversion, self._writer, self._source = conversion, writer, conversion.source.name
        first = conversion.export[0] if conversion.export else {}
        self._exported = moment(first.get("ExportDate", ""))
        self._any = False  # whether anything of the source was ever refused
        self._clients: set[str] = set()  # digests of refused clients, of those that the rows met last name
        self._rows: dict[str, RowState] = {}  # refused rows by digest, likewise
        self._secret = salt

    def meet(self, reading: Reading, shape: Shape, rows: Sequence[Row]) -> None:
        """Look up what was refused of these rows; :meth:`column` and :meth:`settle` are asked about them only."""
        self._clients, self._rows = set(), {}
        if not self._any or not shape.table.personal:
            return
        file, clients, named = shape.file.name, set(), set()
        for row in rows:
            if shape.person >= 0:
                clients.add(self._digest("Client", row.cells[shape.person].strip()))
            if shape.needs_enrollment:
                named.add(self._digest("Enrollment", row.cells[shape.enrollment].strip()))
            named.add(self._digest(file, row.key))
        self._clients = set(reading.rows.digests(self._source, CLIENTS, sorted(clients)))
        self._rows = reading.rows.get(self._source, ROWS, sorted(named))

    def column(self, shape: Shape, row: Row) -> str:
        """The column by which a row belongs to a victim service provider; empty when it does not."""
        file = shape.file.name
        if file == "Enrollment" and self._serves(shape.cell(row, "ProjectID")):
            return "ProjectID"
        if shape.person >= 0 and self._client(row.cells[shape.person].strip()):
            return shape.names[shape.person]
        if not self._rows:
            return ""
        if shape.table.personal and shape.age(row, self._exported) < self._age(file, row.key):
            return shape.file.key
        named = row.cells[shape.enrollment].strip() if shape.needs_enrollment else ""
        return "EnrollmentID" if named and self._digest("Enrollment", named) in self._rows else ""

    def theirs(self, reading: Reading, rows: Sequence[Mapping[str, str]]) -> list[bool]:
        """Which rows of an unknown file name a client, an enrollment or a project of a victim service provider.

        Args:
            rows: their cells by column.
        """
        told = [{name.strip().casefold(): cell.strip() for name, cell in row.items()} for row in rows]
        found = [self._serves(row.get("projectid", "")) for row in told]
        if not self._any:
            return found
        clients = [self._digest("Client", row.get("personalid", "")) for row in told]
        stays = [self._digest("Enrollment", row.get("enrollmentid", "")) for row in told]
        hidden = set(reading.rows.digests(self._source, CLIENTS, sorted({*clients})))
        gone = set(reading.rows.digests(self._source, ROWS, sorted({*stays})))
        return [f or c in hidden or s in gone for f, c, s in zip(found, clients, stays, strict=True)]

    def _client(self, person: str) -> bool:
        return bool(self._clients) and self._digest("Client", person) in self._clients

    def _serves(self, project: str) -> bool:
        return bool(self._writer.victims) and bool(self._writer.projects.get(project, {}).get("vsp"))

    def _age(self, file: str, key: str) -> str:
        """The age of the newest refused version of a row; empty: none was."""
        refused = self._rows.get(self._digest(file, key)) if self._rows else None
        return age_of(refused) if refused is not None else ""

    def find(self, look: Look, write: Write) -> None:
        """Learn whose clients are refused, and forget what is stored of them.

        Refused are clients whom this export, or what is stored of a project that now serves victims, shows there and
        nothing shows anywhere else: not even their existence is kept.
        """
        write(self._keep_secret)
        self._any = look(lambda reading: any(reading.rows.page(self._source, kind, "", 1) for kind in (CLIENTS, ROWS)))
        if not self._writer.victims and not self._any:
            return
        since = look(lambda reading: reading.rows.todo(self._source, VICTIMS, _MOST))
        shown = _Shown()
        rows = self._conversion.dicts("Enrollment")
        while some := list(islice(rows, _AT_ONCE)):
            self._show(shown, some, look)
        theirs = [state for project in since if self._serves(project) for state in look(partial(self._at, project))]
        theirs = [state for state in theirs if state.key not in shown.stay]
        inside = shown.inside | {state.person for state in theirs}
        for persons in groups(sorted(shown.left - inside), _AT_ONCE):
            inside |= look(partial(self._known_there, persons=persons))
        for persons in groups(sorted(inside - shown.outside), TOGETHER):
            shown.outside |= look(partial(self._known_elsewhere, persons=persons, told=shown.told))
            write(partial(self._forget_clients, persons=[p for p in persons if p not in shown.outside]))
        for keys in groups([state.key for state in theirs], TOGETHER):
            write(partial(self._forget_enrollments, keys=keys))
        for persons in groups(sorted(shown.outside) if self._any else (), _AT_ONCE):
            write(partial(self._take_again, persons=persons))
        if since:
            write(lambda unit: unit.rows.done(self._source, VICTIMS, since))

    def _show(self, shown: _Shown, rows: Sequence[Mapping[str, str]], look: Look) -> None:
        """Where some rows of this export show clients, as far as nothing newer is known of their enrollments."""
        shape = self._writer.shape("Enrollment")
        made = [shape.of_told(0, row) for row in rows]
        stored = look(partial(self._enrolled, shape=shape, rows=made))
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

    def _enrolled(self, reading: Reading, shape: Shape, rows: Sequence[Row]) -> dict[str, RowState]:
        self.meet(reading, shape, rows)
        return reading.rows.get(self._source, "Enrollment", [row.key for row in rows])

    def sweep(self, look: Look, write: Write, known: Container[str]) -> None:
        """Rows of unknown files that name what was refused since they came; then nothing of it is left to be done.

        Args:
            known: what is kept beside the rows of known files.
        """
        if not look(lambda reading: reading.rows.todo(self._source, OWN_FILES, 1)):
            return
        for file in look(lambda reading: reading.rows.extra_files(self._source)):
            if file not in known:
                drop_refused(look, write, self._source, file, self.theirs)
        write(lambda unit: unit.rows.done(self._source, OWN_FILES, ["all"]))

    def settle(self, unit: Unit, shape: Shape, outcomes: Sequence[Outcome], rows: Sequence[Row]) -> None:
        """Remember which rows were refused, and forget it of those that are not any more."""
        if not shape.table.personal:
            return
        file = shape.file.name
        taken, refused = [], []
        for outcome, row in zip(outcomes, rows, strict=True):
            if outcome.kind is Kind.REFUSED:
                age = shape.age(row, self._exported)
                if not outcome.older and age >= self._age(file, row.key):
                    person = row.cells[shape.person].strip() if shape.person >= 0 else ""
                    refused.append(self._refused(file, row.key, person, age))
            elif self._rows and outcome.kind in (*WRITTEN, Kind.WAITING):
                taken.append(self._digest(file, row.key))
        taken = [digest for digest in taken if digest in self._rows]
        if taken:
            unit.rows.drop(self._source, ROWS, taken)
        self._remember(unit, refused)

    def _refused(self, file: str, key: str, person: str, age: str) -> RowState:
        """What is kept of a refused row; of an enrollment its client too: that he was there."""
        return RowState(
            source=self._source,
            file=ROWS,
            key=self._digest(file, key),
            digest=b"",
            updated=age[:10].strip(),
            exported=age[11:],
            person=self._digest("Client", person) if file == "Enrollment" else "",
            deleted=1,
        )

    def _remember(self, unit: Unit, states: Sequence[RowState]) -> None:
        """Keep what says that rows or clients were refused; of those that were not before more is to be looked at."""
        if not states:
            return
        self._any = True
        known = unit.rows.digests(self._source, states[0].file, [state.key for state in states])
        if len(known) < len(states):
            unit.rows.put_todo(self._source, OWN_FILES, ["all"])
        unit.rows.put(states)

    def _take_again(self, unit: Unit, persons: Sequence[str]) -> None:
        """Clients who are known elsewhere now."""
        unit.rows.drop(self._source, CLIENTS, [self._digest("Client", person) for person in persons])

    def _keep_secret(self, unit: Unit) -> None:
        self._secret = unit.clients.keep_secret("refused", self._secret)

    def _digest(self, file: str, key: str) -> str:
        """What is kept of the key of a refused client or enrollment."""
        text = f"{file} {key}".encode("utf-8", "surrogatepass")
        return blake2b(text, digest_size=16, key=self._secret).hexdigest()

    def _at(self, project: str, reading: Reading) -> list[RowState]:
        return reading.rows.of_projects(self._source, "Enrollment", [project], every=True)

    def _known_there(self, reading: Reading, persons: Sequence[str]) -> set[str]:
        """Those of the clients whom a refused enrollment shows at a victim service provider."""
        digests = {self._digest("Client", person): person for person in persons}
        found = reading.rows.of_persons(self._source, ROWS, sorted(digests), every=True)
        return {digests[state.person] for state in found}

    def _known_elsewhere(self, reading: Reading, persons: Sequence[str], told: Container[str]) -> set[str]:
        """Those of the clients whom another project of the source has enrolled, if only in a row that still waits."""
        states = reading.rows.of_persons(self._source, "Enrollment", persons, every=True)
        elsewhere = (one for one in states if not one.deleted and one.key not in told)
        return {state.person for state in elsewhere if not self._serves(state.project)}

    def _forget_clients(self, unit: Unit, persons: Sequence[str]) -> None:
        """Every row of clients whose existence must not be confirmed, deleted and waiting ones too."""
        digests = (self._digest("Client", person) for person in persons)
        self._remember(unit, [RowState(self._source, CLIENTS, digest, b"", deleted=1) for digest in digests])
        theirs = unit.rows.of_persons(self._source, "Enrollment", persons, every=True)
        self._forget_enrollments(unit, [state.key for state in theirs])  # rows that name somebody else with them too
        for file, table in self._conversion.maps.items():
            if table.personal:
                self._forget(unit, file, unit.rows.of_persons(self._source, file, persons, every=True))

    def forget(self, unit: Unit, file: str, keys: Sequence[str]) -> None:
        """Stored rows whose newer version is refused; with an enrollment every row that names it."""
        if file == "Enrollment":
            self._forget_enrollments(unit, keys)
        else:
            self._writer.forget(unit, file, keys)

    def _forget_enrollments(self, unit: Unit, keys: Sequence[str]) -> None:
        """Enrollments at projects that serve victims, and every row that names them."""
        by_file: dict[str, list[RowState]] = {}
        for state in unit.rows.of_enrollments(self._source, keys, every=True):
            by_file.setdefault(state.file, []).append(state)
        for file, states in by_file.items():
            self._forget(unit, file, states)

    def _forget(self, unit: Unit, file: str, states: Sequence[RowState]) -> None:
        """Some rows of a file; that nothing older of them must come back is remembered."""
        if not states:
            return
        unit.rows.put_todo(self._source, HOUSEHOLD, [state.household for state in states if state.household])
        self._writer.forget(unit, file, [state.key for state in states])
        if file == "Enrollment":
            self._writer.referrals(unit, states)
        self._remember(unit, [self._refused(file, state.key, state.person, age_of(state)) for state in states])
