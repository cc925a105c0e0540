"""The acts in order: what is told on the terminal, and what is kept for the comparison at the end."""

import json
import secrets
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from gateway import wiring
from gateway.commands.demo import acts
from gateway.commands.demo.community import AGENCY_NAMES, Community, make_community, organization
from gateway.commands.demo.partner import Partner
from gateway.commands.demo.server import Server, await_ready, begin
from gateway.exchange.agreements import agree_at_first
from gateway.exchange.clients import issue, register
from gateway.exchange.ports.store import Store
from gateway.settings import Settings, read_settings

SCOPES = ("system/*.cruds",)


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that the truth file foretells."""

    what: str
    expected: int | str
    seen: int | str

    @property
    def holds(self) -> bool:
        """Whether it came true."""
        return self.expected == self.seen


@dataclass(slots=True)
class Stage:
    """What the acts share."""

    community: Community
    settings: Settings
    store: Store
    server: Server
    say: Callable[[str], None]
    partners: dict[str, Partner] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)

    def expect(self, what: str, expected: int | str, seen: int | str) -> None:
        """Keep a fact for the end."""
        self.facts.append(Fact(what, expected, seen))

    def partner(self, key: str) -> Partner:
        """The system of an agency (or of the hospital) with a ready-made token."""
        if key not in self.partners:
            token, name, today = secrets.token_urlsafe(32), f"demo-{key.lower()}", wiring.clock(self.settings)().date()

            def admit(unit: Any) -> None:
                register(unit.clients, name, organization=organization(key), scopes=SCOPES, now_us=wiring.now_us())
                agree_at_first(unit.resources, organization(key), today=today, now_us=wiring.now_us())
                issue(unit.clients, name, token, now_us=wiring.now_us(), lifetime_s=8 * 3600)

            self.store.write(admit)
            self.partners[key] = Partner(AGENCY_NAMES[key], organization(key), self.server.fhir, token)
        return self.partners[key]


def play(*, people: int, seed: int, database: str | None, check: bool, as_json: bool) -> None:
    """Tell the story; with ``check`` compare, stop and exit 1 if anything differs from the truth."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="doorway-demo-"))
    settings = read_settings(database_url=database or f"sqlite:///{folder / 'doorway.db'}")
    say: Callable[[str], None] = (lambda line: None) if as_json else click.echo
    store = wiring.open_store(settings)
    process = begin(settings.database_url, folder / "serve.log")  # makes itself ready while the files are written
    try:
        community = make_community(folder, seed=seed, size=people)
        stage = Stage(community, settings, store, await_ready(process), say)
        try:
            for act in acts.STORY:
                act(stage)
        finally:
            stage.store.close()
        _compare(stage, time.monotonic() - began, as_json)
        if not check:
            _stay(stage)
    finally:
        Server(process, "", ("", 0)).stop()
    if not all(fact.holds for fact in stage.facts):
        sys.exit(1)


def _compare(stage: Stage, seconds: float, as_json: bool) -> None:
    if as_json:
        rows = [{"what": f.what, "expected": f.expected, "seen": f.seen, "holds": f.holds} for f in stage.facts]
        click.echo(json.dumps({"seconds": round(seconds, 1), "facts": rows}))
        return
    stage.say("\nExpected from the truth file, and seen")
    for fact in stage.facts:
        mark = "ok " if fact.holds else "NOT"
        stage.say(f"  {mark}  {fact.what:<66} {fact.expected!s:>8} {fact.seen!s:>8}")
    stage.say(f"  {seconds:.0f} s; everything is in {stage.community.folder}")


def _stay(stage: Stage) -> None:
    hospital = stage.partner("ORG8")
    stage.say(
        f"\nThe gateway is still running: console http://{stage.server.http}/  FHIR {stage.server.fhir}\n"
        f"  MLLP {stage.server.mllp[0]}:{stage.server.mllp[1]}  database {stage.settings.database_url}\n"
        f"  try, as the hospital:  curl -H 'Authorization: Bearer {hospital.token}' '{stage.server.fhir}/Patient'\n"
        "Ctrl-C ends it."
    )
    try:
        stage.server.process.wait()
    except KeyboardInterrupt:
        stage.say("")
