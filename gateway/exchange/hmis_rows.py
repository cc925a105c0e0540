"""Which of two versions of an HMIS row is the newer one, and what other rows need to know of a row."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import orjson

from gateway.exchange.ports.rows import RowState
from gateway.mapping.hmis.spec import Spec
from gateway.mapping.hmis.tables import COMPUTED, FileMap
from gateway.mapping.hmis.values import day_of

ORDER: Final = (  # parents before children
    "Export", "Organization", "User", "Project", "Funder", "Inventory", "HMISParticipation", "CEParticipation",
    "Affiliation", "ProjectCoC", "Client", "Enrollment", "Exit", "IncomeBenefits", "HealthAndDV",
    "EmploymentEducation", "Disabilities", "Services", "CurrentLivingSituation", "Assessment", "AssessmentQuestions",
    "AssessmentResults", "Event", "YouthEducationStatus", "Consent",
)  # fmt: skip
LABELLED: Final = ("Enrollment", "ProjectCoC")  # rows that carry the labels of the project that they name: its
# clients, and where it is. They come after everything that tells the labels of projects.
ABSENT_MEANS_DELETED: Final = tuple(
    name for name in ORDER if name not in ("Export", "Organization", "User", "Project", "Client", "Consent")
)
_REMEMBERED: Final[Mapping[str, tuple[str, ...]]] = {
    "Organization": ("VictimServiceProvider",),
    "Project": ("OrganizationID", "ProjectType", "TargetPopulation", "HOPWAMedAssistedLivingFac"),
    "Funder": ("Funder",),
    "Enrollment": ("RelationshipToHoH", "EntryDate"),
    "Exit": ("ExitDate",),
    "Event": ("EventDate", "ReferralResult", "LocationCrisisOrPHHousing"),
}
_FACTS_KEPT: Final = 50_000
_NO_EXTRA: Final[Mapping[str, str]] = {}


class Kind(StrEnum):
    """What became of a row."""

    NEW = "new"
    CHANGED = "changed"
    DELETED = "deleted"
    RESTORED = "restored"
    UNCHANGED = "unchanged"
    OLDER = "older"  # what is stored is newer
    WAITING = "waiting"  # kept until the client or enrollment that it names arrives
    REFUSED = "refused"  # a victim service provider's client-level row
    REJECTED = "rejected"


WRITTEN: Final = (Kind.NEW, Kind.CHANGED, Kind.DELETED, Kind.RESTORED)


@dataclass(slots=True)
class Row:
    """One row as it came: cells in the order of the specification, and those of columns that it does not know."""

    number: int
    key: str
    cells: Sequence[str] = field(repr=False)
    digest: bytes
    extra: Mapping[str, str] = field(default_factory=dict, repr=False)
    exported: str | None = None  # of the export that it came with, when that was an earlier one


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one row, and its state afterwards (None when nothing is kept of it)."""

    kind: Kind
    number: int
    state: RowState | None = None
    column: str = ""
    reason: str = ""
    before: RowState | None = None
    enrollment: str = ""  # EnrollmentID of a row of which nothing is kept
    older: bool = False  # of a refused row: what is stored is newer, and stays

    @property
    def withdrawn(self) -> bool:
        """Whether the row was FHIR and waits again: its newer version names what has not come."""
        return self.kind is Kind.WAITING and self.before is not None and not self.before.waiting


class Shape:
    """Where a file's cells lie, worked out once: keys, links, stamps and what is remembered of a row."""

    def __init__(self, table: FileMap) -> None:
        self.table, self.file = table, table.file
        self.names = [column.name for column in table.file.columns]
        self.at = {name: i for i, name in enumerate(self.names)}
        self.key = self.at[table.file.key]
        self.person = self.at.get(table.person or "", -1)
        self.enrollment, self.project = self.at.get("EnrollmentID", -1), self.at.get("ProjectID", -1)
        self.household, self.deleted = self.at.get("HouseholdID", -1), self.at.get("DateDeleted", -1)
        self.needs_enrollment = self.enrollment >= 0 and table.file.name != "Enrollment"
        self.needs_person = table.personal and table.file.name != "Client"
        self._export = self.at.get("ExportID", -1)
        self._stamps = [self.at[name] for name in ("DateUpdated", "DateCreated") if name in self.at]
        self._remembered = [(name, self.at[name]) for name in _REMEMBERED.get(table.file.name, ()) if name in self.at]
        self.computed = [""] * len(COMPUTED)

    def cell(self, row: Row, column: str) -> str:
        """A trimmed cell."""
        return row.cells[self.at[column]].strip()

    def told(self, row: Row) -> dict[str, str]:
        """The cells by column."""
        return dict(zip(self.names, row.cells, strict=True))

    def of_told(
        self, number: int, told: Mapping[str, str], exported: str | None = None, extra: Mapping[str, str] = _NO_EXTRA
    ) -> Row:
        """A row from cells by column; missing ones are empty."""
        cells = [told.get(name, "") for name in self.names]
        return Row(number, cells[self.key].strip(), cells, self.digest(cells, extra), extra, exported)

    def digest(self, cells: Sequence[str], extra: Mapping[str, str]) -> bytes:
        """Of every cell but ExportID, which says nothing of the row."""
        at = self._export
        own = [*cells[:at], *cells[at + 1 :]] if at >= 0 else list(cells)
        try:
            text = orjson.dumps([own, extra] if extra else own)
        except TypeError:  # half of a surrogate pair, which UTF-16 may hold
            text = json.dumps([own, dict(extra)] if extra else own).encode()
        return blake2b(text, digest_size=16).digest()

    def state(self, source: str, row: Row, exported: str, facts: Mapping[str, str]) -> RowState:
        """The state of a row, before anything is compared."""
        cells = row.cells
        remembered = {name: cells[at].strip() for name, at in self._remembered}
        return RowState(
            source=source,
            file=self.file.name,
            key=row.key,
            digest=row.digest,
            updated=max((moment(cells[at]) for at in self._stamps), default=""),
            exported=exported if row.exported is None else row.exported,
            person=cells[self.person].strip() if self.person >= 0 else "",
            enrollment=cells[self.enrollment].strip() if self.enrollment >= 0 else "",
            project=cells[self.project].strip() if self.project >= 0 else "",
            household=cells[self.household].strip() if self.household >= 0 else "",
            facts=facts_text({**remembered, **facts}),
            deleted=1 if self.gone(row) else 0,
        )

    def age(self, row: Row, exported: str) -> str:
        """What decides which of two versions is newer (:func:`age_of`)."""
        updated = max((moment(row.cells[at]) for at in self._stamps), default="")
        return _age(updated, exported if row.exported is None else row.exported)

    def gone(self, row: Row) -> bool:
        """Whether the row is marked deleted."""
        return self.deleted >= 0 and bool(row.cells[self.deleted].strip())

    def held(self, row: Row) -> str:
        """The cells of a waiting row as JSON."""
        return json.dumps({name: cell for name, cell in zip(self.names, row.cells, strict=True) if cell})


def order_of(spec: Spec) -> list[str]:
    """The files of a set, what is referred to before what refers."""
    if set(spec.files) <= set(ORDER):
        return [name for name in ORDER if name in spec.files]
    needs = {
        name: {column.key.split()[1].partition(".")[0] for column in file.columns if column.key.startswith("FK ")}
        for name, file in spec.files.items()
    }
    out: list[str] = []
    while len(out) < len(needs):
        ready = [
            name
            for name in needs
            if name not in out and needs[name] - {name} <= {*out, *(set(needs) ^ set(spec.files))}
        ]
        out += ready or [name for name in needs if name not in out]  # a circle of references: as they stand
    return out


_MOMENT: Final = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d(?::\d\d)?)")


@lru_cache(8192)
def moment(cell: str) -> str:
    """A HUD datetime as sortable text; a date alone sorts before its times; unreadable text sorts first."""
    found = _MOMENT.match(cell.strip())
    if found:
        return f"{found[1]} {found[2]}"
    short = re.match(r"(\d\d)[-/](\d\d)[-/](\d\d)(?: (\d\d:\d\d(?::\d\d)?))?$", cell.strip())
    if short:  # two-digit years stand in record stamps of this century only, never in birth dates
        return f"20{short[3]}-{short[1]}-{short[2]} {short[4] or ''}".strip()
    return day_of(cell) or ""


def newer(state: RowState, than: RowState) -> bool:
    """Whether an incoming version may replace a stored one; of the same age the one that came last."""
    return age_of(state) >= age_of(than)


def age_of(state: RowState) -> str:
    """What decides which of two versions is newer, as sortable text.

    DateUpdated decides by the day (systems write times of several clocks); on the same day the later export.
    """
    return _age(state.updated, state.exported)


def _age(updated: str, exported: str) -> str:
    return f"{updated[:10]:10} {exported}"


@lru_cache(_FACTS_KEPT)
def _facts(text: str) -> tuple[tuple[str, str], ...]:
    return tuple(json.loads(text).items())


def facts_of(state: RowState | None) -> dict[str, str]:
    """What is remembered of a row."""
    return dict(_facts(state.facts)) if state is not None and state.facts else {}


def facts_in(text: str) -> dict[str, str]:
    """What is remembered of a row, from its text."""
    return dict(_facts(text)) if text else {}


def facts_text(facts: Mapping[str, str]) -> str:
    """What is remembered, as it is stored; what is empty is not."""
    return _facts_text(tuple((name, facts[name]) for name in sorted(facts) if facts[name]))


@lru_cache(_FACTS_KEPT)  # the rows of many say the same
def _facts_text(kept: tuple[tuple[str, str], ...]) -> str:
    return json.dumps(dict(kept), separators=(",", ":"))


def kind_of(state: RowState, before: RowState | None) -> Kind:
    """What writing this version is."""
    if before is None or before.waiting:
        return Kind.DELETED if state.deleted else Kind.NEW
    if state.deleted and not before.deleted:
        return Kind.DELETED
    if before.deleted and not state.deleted:
        return Kind.RESTORED
    return Kind.CHANGED
