"""The demo's community on disk, and who is who in it: the truth that everything seen is compared with."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gateway.adapters.files.data import read_data
from gateway.codecs.er7_batch import split_interchange
from gateway.kernel.identifiers import resource_id
from gateway.sim.hmis import write_export
from gateway.sim.hmis_files import SOURCE
from gateway.sim.hospital import write_feed
from gateway.sim.population import AGENCIES, PARTNER, Person, Population, agreed_agencies


def organization(key: str) -> str:
    """``Organization/id`` of an agency of the export."""
    return f"Organization/{resource_id(SOURCE, 'Organization', key)}"


def client(personal_id: str) -> str:
    """``Patient/id`` of a client of the export."""
    return f"Patient/{resource_id(SOURCE, 'Client', personal_id)}"


HOSPITAL_ORGANIZATION = organization(PARTNER.key)
AGENCY_NAMES = {agency.key: agency.name for agency in (*AGENCIES, PARTNER)}


@dataclass(slots=True)
class Community:
    """The files of a community, and its truth."""

    folder: Path
    people: list[Person] = field(repr=False)
    clients: dict[str, int] = field(default_factory=dict, repr=False)  # Patient/id of an HMIS record -> person
    numbers: dict[str, str] = field(default_factory=dict, repr=False)  # hospital record number -> person, as text
    visits: dict[str, str] = field(default_factory=dict, repr=False)  # visit number -> Encounter.status at the end
    inactive: set[str] = field(default_factory=set, repr=False)  # record numbers that were merged into others
    rows: int = 0
    messages: int = 0

    @property
    def export(self) -> Path:
        """The HMIS export."""
        return self.folder / "export"

    def feed(self) -> Iterator[bytes]:
        """The hospital's messages, in order."""
        for file in sorted((self.folder / "feed").glob("feed-*.hl7")):
            yield from (message.strip(b"\x0b\x1c\n") for message in split_interchange(file.read_bytes()).messages)

    def may_see(self, person: int, agency: str) -> bool:
        """Whether the person's own form admits the agency (or hospital)."""
        return agency in agreed_agencies(self.people[person])


def make_community(folder: Path, *, seed: int, size: int) -> Community:
    """Write the export and the feed of one population, and read their truth back."""
    made = Community(folder, list(Population(seed, size)))
    told = write_export(read_data, made.export, seed=seed, clients=size)
    made.rows = sum(told.rows.values())
    made.messages = write_feed(folder / "feed", seed=seed, patients=size).messages
    for line in (made.export / "truth.ndjson").read_text(encoding="utf-8").splitlines():
        fact = json.loads(line)
        made.clients[client(fact["PersonalID"])] = fact["person"]
    for line in (folder / "feed" / "truth.ndjson").read_text(encoding="utf-8").splitlines():
        fact = json.loads(line)
        made.numbers[fact["MRN"]] = str(fact["person"])
        made.visits.update(fact.get("visits", {}))
        if not fact["active"]:
            made.inactive.add(fact["MRN"])
    return made
