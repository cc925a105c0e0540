"""What others wrote into the records of an HMIS source, asked of the gate for every agency that gets the row.

Its own words a source simply gets back. What somebody else wrote (a hospital's referral or its answer to one, a
corrected address) is a disclosure to the Organizations of the projects that hold the row: told where all of them may
see all of it, with the audit records on disk before the row is written, and the notices that the law sends along
(42 CFR Part 2) beside it. Where one of them may not, nothing is told to any, and the denial is on record.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from gateway.exchange.audit_event import DISCLOSE
from gateway.exchange.deliver import Gatekeeper
from gateway.exchange.disclose import Disclosure
from gateway.exchange.hmis_rows import facts_of
from gateway.exchange.ports.resources import Stored
from gateway.exchange.ports.store import Reading
from gateway.kernel.fhir import Resource
from gateway.mapping.hmis.conversions import Source
from gateway.mapping.hmis.tables import FileMap

NOTICES_FILE: Final = "notices.csv"


@dataclass(frozen=True, slots=True)
class Asking:
    """How an export asks whether it may tell what others wrote.

    Args:
        gate: the gate in front of one Organization (``Organization/id``), over the reading of the export.
        notices: notice to language to text (terminology/policies/notices.csv).
    """

    gate: Callable[[str], Gatekeeper]
    notices: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What everybody who gets a row may see of what it is made of; empty where one of them may not see all of it.

    The disclosures to them are on record once something is told of it (:meth:`Agencies.tell`).
    """

    resources: Mapping[str, Stored]
    disclosures: tuple[tuple[Gatekeeper, Disclosure], ...] = ()

    @property
    def notices(self) -> tuple[str, ...]:
        """Codes of the notices that travel with it."""
        return tuple(dict.fromkeys(code for _, released in self.disclosures for code in released.notices))


NOTHING: Final = Seen({})


class Agencies:
    """The Organizations of one source in front of the gate, for one export.

    Args:
        export: ExportID, by which the audit records are found again.
    """

    def __init__(self, reading: Reading, bound: Source, asking: Asking, export: str) -> None:
        self._reading, self._bound, self._export = reading, bound, export
        self._gate, self._texts = cache(asking.gate), asking.notices
        self._told: dict[Seen, None] = {}
        self._refused: list[tuple[Gatekeeper, Disclosure]] = []
        self._notices: dict[tuple[str, str, str], None] = {}  # file, key of the row, notice

    # -- who gets a row

    def of_projects(self, projects: Sequence[str]) -> list[str]:
        """``Organization/id`` of the agencies of projects; "", which may see nothing, for one that nobody knows.

        Args:
            projects: ProjectIDs.
        """
        states = self._reading.rows.get(self._bound.name, "Project", sorted(set(projects)))
        keys = sorted({facts_of(states.get(project)).get("OrganizationID", "") for project in projects})
        return [f"Organization/{self._bound.id('Organization', key)}" if key else "" for key in keys]

    def projects(self, file: str, key: str) -> list[str]:
        """ProjectIDs that hold a row: its own, its enrollment's; of a client's row those of all the enrollments."""
        rows, name = self._reading.rows, self._bound.name
        state = rows.get(name, file, [key]).get(key)
        if state is None:
            return []
        held = rows.get(name, "Enrollment", [state.enrollment]).values() if state.enrollment else ()
        found = {state.project, *(one.project for one in held)} - {""}
        if not found and state.person:
            found = {one.project for one in rows.of_persons(name, "Enrollment", [state.person])} - {""}
        return sorted(found)

    # -- what they may see

    def shown(self, owners: Sequence[str], candidates: Sequence[Stored]) -> Seen:
        """The candidates, cut to what every owner may see; nothing where one of them may not see one of them.

        A row tells of its agency what the source wrote; what others wrote into a record of the source is not its own.
        """
        mine = self._bound.name
        candidates = [one if one.source == mine else replace(one, owner="") for one in candidates]
        disclosures: list[tuple[Gatekeeper, Disclosure]] = []
        cut: dict[str, Stored] = {}
        for owner in dict.fromkeys(owners):
            gate = self._gate(owner)
            released = gate.release([cut.get(one.reference, one) for one in candidates])
            cut = {one.reference: one for one in released.resources}
            if hidden := [one for one in candidates if one.reference not in cut]:
                self._refused.append((gate, gate.release(hidden)))
                return NOTHING
            disclosures.append((gate, released))
        return Seen(cut, tuple(disclosures))

    def told(self, table: FileMap, key: str, stored: Stored) -> Stored | None:
        """A record as its row may tell it: as it stands, else as the source last wrote it; None: it never did."""
        own = self._bound.name
        if stored.source == own:
            return stored
        organization = table.file.name == "Organization"
        mine = f"Organization/{self._bound.id('Organization', key)}"
        seen = self.shown([mine] if organization else self.of_projects(self.projects(table.file.name, key)), [stored])
        if stored.reference in seen.resources and _content(seen.resources[stored.reference]) == _content(stored):
            self.tell(table.file.name, key, seen)
            return stored
        version: Stored | None = stored
        while version is not None and (version.source != own or version.deleted):
            before = version.version - 1
            version = self._reading.resources.version(stored.type, stored.id, before) if before else None
        return version

    # -- what is on record

    def tell(self, file: str, key: str, seen: Seen) -> None:
        """Something of what was seen stands in a row now."""
        self._told[seen] = None
        self._notices |= {(file, key, code): None for code in seen.notices}

    def events(self) -> list[Resource]:
        """The AuditEvents since the last call, disclosures and denials, to be on disk before a row is written."""
        pairs = [*(each for seen in self._told for each in seen.disclosures), *self._refused]
        self._told.clear()
        self._refused.clear()
        where = f"hmis {self._bound.name}"
        return [gate.event(told, activity=DISCLOSE, address=where, id_=self._export) for gate, told in pairs]

    def notice_rows(self) -> list[list[str]]:
        """The rows of :data:`NOTICES_FILE`, header first: which row of which file goes with which text."""
        due = [
            [*row, language, text]
            for row in self._notices
            for language, text in (self._texts.get(row[-1]) or {"en": row[-1]}).items()
        ]
        return [["file", "key", "notice", "language", "text"], *due]


def _content(stored: Stored) -> Resource:
    """What a row is made of: links between records stand in none."""
    found: Resource = json.loads(stored.body)
    return {name: value for name, value in found.items() if name not in ("link", "meta")}
