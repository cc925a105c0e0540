"""Victim service providers: their client-level rows are refused, and what turns out to be theirs is forgotten.

Whose a row is shows in the Organization of its project. When that is learned or changes later, everything that is
stored of the project's clients is taken out again, whatever the order in which exports come. What stays of a refused
client or enrollment is a digest of its key under a secret of the store, so that a row which comes later and names it is
refused too, and nobody who knows keys can try them on a copy of the table.
"""

from collections.abc import Callable, Container, Iterable, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, Final

from gateway.exchange.hmis_convert import Conversion
from gateway.exchange.hmis_rows import WRITTEN, Kind, Outcome, Row, Shape
from gateway.exchange.hmis_write import HOUSEHOLD, TOGETHER, VICTIMS, RowWriter, Write, groups
from gateway.exchange.ports.rows import RowState
from gateway.exchange.ports.store import Reading, Unit

REFUSED: Final = "refused"  # the kind under which digests of refused clients and enrollments are kept
_MOST: Final = 1_000_000
Look = Callable[[Callable[[Reading], Any]], Any]


class Victims:
    """Which rows belong to victim service providers, and forgetting those that turn out to."""

    def __init__(self, conversion: Conversion, writer: RowWriter, salt: bytes) -> None:
        self._conversion, self._writer, self._source = conversion, writer, conversion.source.name
        self._refused: set[str] = set()  # digests
        self._secret = salt

    def column(self, shape: Shape, row: Row) -> str:
        """The column by which a row belongs to a victim service provider; empty when it does not."""
        if shape.file.name == "Enrollment" and self._serves(shape.cell(row, "ProjectID")):
            return "ProjectID"
        if not self._refused:
            return ""
        if shape.person >= 0 and self._client(row.cells[shape.person].strip()):
            return shape.names[shape.person]
        named = row.cells[shape.enrollment].strip() if shape.needs_enrollment else ""
        return "EnrollmentID" if named and self._digest("Enrollment", named) in self._refused else ""

    def names(self, project: str, person: str) -> bool:
        """Whether a row of an unknown file that names these is about a victim service provider's client or project."""
        return self._serves(project) or self._client(person)

    def _client(self, person: str) -> bool:
        return bool(self._refused) and self._digest("Client", person) in self._refused

    def _serves(self, project: str) -> bool:
        return bool(self._writer.victims) and bool(self._writer.projects.get(project, {}).get("vsp"))

    def find(self, look: Look, write: Write) -> None:
        """Learn whose clients are refused, and forget what is stored of them.

        Refused are clients whom this export, or what is stored of a project that now serves victims, shows there and
        nothing shows anywhere else: not even their existence is kept.
        """
        write(self._keep_secret)
        self._refused = set(look(lambda reading: reading.rows.todo(self._source, REFUSED, _MOST)))
        if not self._writer.victims and not self._refused:
            return
        since = look(lambda reading: reading.rows.todo(self._source, VICTIMS, _MOST))
        inside: set[str] = set()
        outside: set[str] = set()
        moved: set[str] = set()  # enrollments that may be stored as another project's
        for row in self._conversion.dicts("Enrollment"):
            victims = self._serves(row.get("ProjectID", "").strip())
            (inside if victims else outside).add(row.get("PersonalID", "").strip())
            if victims:
                moved.add(row.get("EnrollmentID", "").strip())
        theirs = [state for project in since if self._serves(project) for state in look(partial(self._at, project))]
        inside |= {state.person for state in theirs}
        for persons in groups(sorted(inside - outside), TOGETHER):
            outside |= look(partial(self._known_elsewhere, persons=persons, moved=moved))
            write(partial(self._forget_clients, persons=[p for p in persons if p not in outside]))
        for keys in groups([state.key for state in theirs], TOGETHER):
            write(partial(self._forget_enrollments, keys=keys))
        write(partial(self._remember, kind="Client", refused=inside - outside, taken=outside))
        if since:
            write(lambda unit: unit.rows.done(self._source, VICTIMS, since))

    def settle(self, unit: Unit, file: str, outcomes: Sequence[Outcome], keys: Sequence[str]) -> None:
        """Remember which enrollments were refused, and forget it of those that are not any more."""
        if file == "Enrollment":
            kinds = [(outcome.kind, key) for outcome, key in zip(outcomes, keys, strict=True)]
            refused = {key for kind, key in kinds if kind is Kind.REFUSED}
            self._remember(unit, file, refused, {key for kind, key in kinds if kind in (*WRITTEN, Kind.WAITING)})

    def _remember(self, unit: Unit, kind: str, refused: Iterable[str], taken: Iterable[str]) -> None:
        new = {self._digest(kind, key) for key in refused} - self._refused
        gone = {self._digest(kind, key) for key in taken} & self._refused if self._refused else set()
        if new:
            unit.rows.put_todo(self._source, REFUSED, new)
        if gone:
            unit.rows.done(self._source, REFUSED, sorted(gone))
        self._refused = (self._refused | new) - gone

    def _keep_secret(self, unit: Unit) -> None:
        self._secret = unit.clients.keep_secret("refused", self._secret)

    def _digest(self, file: str, key: str) -> str:
        """What is kept of the key of a refused client or enrollment."""
        text = f"{file} {key}".encode("utf-8", "surrogatepass")
        return blake2b(text, digest_size=16, key=self._secret).hexdigest()

    def _at(self, project: str, reading: Reading) -> list[RowState]:
        return reading.rows.of_projects(self._source, "Enrollment", [project], every=True)

    def _known_elsewhere(self, reading: Reading, persons: Sequence[str], moved: Container[str]) -> set[str]:
        """Those of the clients whom another project of the source has enrolled, if only in a row that still waits."""
        states = reading.rows.of_persons(self._source, "Enrollment", persons, every=True)
        elsewhere = (one for one in states if not one.deleted and one.key not in moved)
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
        self._remember(unit, "Enrollment", keys, ())

    def _forget(self, unit: Unit, file: str, states: Sequence[RowState]) -> None:
        if states:
            unit.rows.put_todo(self._source, HOUSEHOLD, [state.household for state in states if state.household])
            self._writer.forget(unit, file, [state.key for state in states])
