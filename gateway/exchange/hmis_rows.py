"""Which of two versions of an HMIS row is the newer one, and what other rows need to know of a row."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import Final

from gateway.exchange.ports.rows import RowState
from gateway.mapping.hmis.spec import File
from gateway.mapping.hmis.values import day_of

ORDER: Final = (  # parents before children
    "Export", "Organization", "User", "Project", "ProjectCoC", "Funder", "Inventory", "HMISParticipation",
    "CEParticipation", "Affiliation", "Client", "Enrollment", "Exit", "IncomeBenefits", "HealthAndDV",
    "EmploymentEducation", "Disabilities", "Services", "CurrentLivingSituation", "Assessment", "AssessmentQuestions",
    "AssessmentResults", "Event", "YouthEducationStatus", "Consent",
)  # fmt: skip
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


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it came."""

    number: int
    cells: Mapping[str, str] = field(repr=False)
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


_MOMENT: Final = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d(?::\d\d)?)")


def moment(cell: str) -> str:
    """A HUD datetime as sortable text; a date alone sorts before its times; unreadable text sorts first."""
    found = _MOMENT.match(cell.strip())
    if found:
        return f"{found[1]} {found[2]}"
    short = re.match(r"(\d\d)[-/](\d\d)[-/](\d\d)(?: (\d\d:\d\d(?::\d\d)?))?$", cell.strip())
    if short:  # two-digit years stand in record stamps of this century only, never in birth dates
        return f"20{short[3]}-{short[1]}-{short[2]} {short[4] or ''}".strip()
    return day_of(cell) or ""


def state_of(source: str, file: File, row: Row, exported: str, facts: Mapping[str, str]) -> RowState:
    """The state of a row, before anything is compared."""
    cells = row.cells
    digest = blake2b(digest_size=16)
    for column in file.columns:
        if column.name != "ExportID":
            digest.update(cells.get(column.name, "").encode("utf-8", "surrogatepass"))
            digest.update(b"\x1f")
    own = cells.get(file.key, "").strip()
    remembered = {name: cells.get(name, "").strip() for name in _REMEMBERED.get(file.name, ())}
    return RowState(
        source=source,
        file=file.name,
        key=own,
        digest=digest.digest(),
        updated=max(moment(cells.get("DateUpdated", "")), moment(cells.get("DateCreated", ""))),
        exported=exported,
        person=cells.get("PersonalID", "").strip(),
        enrollment=cells.get("EnrollmentID", "").strip(),
        project=cells.get("ProjectID", "").strip(),
        household=cells.get("HouseholdID", "").strip(),
        facts=json.dumps({**remembered, **facts}, sort_keys=True),
        deleted=1 if cells.get("DateDeleted", "").strip() else 0,
    )


def newer(state: RowState, than: RowState) -> bool:
    """Whether an incoming version may replace a stored one.

    DateUpdated decides by the day (systems write times of several clocks); on the same day the later export; of the
    same export instant the one that came last.
    """
    return (state.updated[:10], state.exported) >= (than.updated[:10], than.exported)


def facts_of(state: RowState | None) -> dict[str, str]:
    """What is remembered of a row."""
    found: dict[str, str] = json.loads(state.facts) if state is not None and state.facts else {}
    return found


def kind_of(state: RowState, before: RowState | None) -> Kind:
    """What writing this version is."""
    if before is None or before.waiting:
        return Kind.DELETED if state.deleted else Kind.NEW
    if state.deleted and not before.deleted:
        return Kind.DELETED
    if before.deleted and not state.deleted:
        return Kind.RESTORED
    return Kind.CHANGED


def held(state: RowState, cells: Mapping[str, str], columns: Sequence[str]) -> str:
    """The cells of a waiting row as JSON."""
    return json.dumps({name: cells[name] for name in columns if cells.get(name)})
