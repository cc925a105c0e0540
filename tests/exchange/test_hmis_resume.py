"""An import that is cut off between any two of its transactions is finished by the next one: nothing half labelled."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from copy import copy
from typing import Any

import pytest

from gateway.adapters.memory.store import MemoryStore
from gateway.exchange.hmis_rows import Kind
from gateway.exchange.ports.store import Reading
from tests.exchange.test_hmis_import import CLIENT, ENROLLMENT, EXIT, PROJECT, client, export, live, run

TYPES = ("Patient", "EpisodeOfCare", "Observation", "HealthcareService", "Group", "Location", "Organization")
BEFORE = export(
    "2026-02-01",
    "2",
    {
        "Organization": [["OrganizationID"], ["o"]],
        "Project": [PROJECT, ["p", "o", "2026-01-01"]],
        "Funder": [["FunderID", "ProjectID", "Funder"]],
        "Client": [CLIENT, client("Azq", "2026-01-01"), client("Bzq", "2026-01-01", key="2")],
        "Enrollment": [
            ENROLLMENT,
            ["e1", "1", "p", "2026-01-05", "h", "1", "2026-01-05", ""],
            ["e2", "2", "p", "2026-01-05", "h", "2", "2026-01-05", ""],
        ],
        "Exit": [EXIT],
    },
)
AFTER = export(
    "2026-02-02",
    "2",
    {
        "Organization": [["OrganizationID"], ["o"]],
        "Project": [PROJECT, ["p", "o", "2026-01-01"]],
        "Funder": [["FunderID", "ProjectID", "Funder"], ["f", "p", "13"]],  # HOPWA: everything is HIV-related now
        "Client": [CLIENT, client("Azq", "2026-01-01"), client("Bzq", "2026-01-01", key="2")],
        "Enrollment": [
            ENROLLMENT,
            ["e1", "1", "p", "2026-01-05", "h", "1", "2026-01-05", ""],
            ["e3", "2", "p", "2026-01-06", "h2", "1", "2026-01-06", ""],
        ],
        "Exit": [EXIT, ["x", "e1", "1", "2026-01-25", "410", "2026-01-25"]],
    },
)


class Cut(Exception):
    """The process is gone."""


class Mortal:
    """A store whose process dies before its n-th transaction."""

    def __init__(self, store: MemoryStore, lives: int) -> None:
        self._store, self._lives = store, lives

    def reading(self) -> AbstractContextManager[Reading]:
        """As the store."""
        return self._store.reading()

    def write(self, work: Callable[[Any], Any]) -> Any:
        """As the store, while it lives."""
        if self._lives == 0:
            raise Cut
        self._lives -= 1
        return self._store.write(work)


def everything(store: MemoryStore) -> dict[str, list[Any]]:
    """Bodies by type."""
    return {type_: sorted(live(store, type_), key=lambda r: str(r["id"])) for type_ in TYPES}


def test_cut_off_anywhere_the_next_run_ends_where_an_uncut_one_would() -> None:
    before = MemoryStore()
    run(before, BEFORE)
    straight = copy(before)  # a write replaces what a store holds: the copies part ways
    run(straight, AFTER)
    wanted = everything(straight)
    assert "HIV" in json.dumps(wanted["Group"])
    for lives in range(40):
        store = copy(before)
        try:
            run(Mortal(store, lives), AFTER)  # type: ignore[arg-type]
        except Cut:
            again = run(store, AFTER)
            assert everything(store) == wanted, lives
            assert run(store, AFTER).total(Kind.CHANGED) == 0
            assert again.total(Kind.REJECTED) == 0
        else:
            assert lives > 5
            return
    pytest.fail("never ran to the end")
