"""``doorway client …``: registrations, and the agreements without which nobody receives anything."""

import json
from datetime import date, timedelta
from pathlib import Path

from click.testing import CliRunner

from gateway.commands.client import client
from gateway.settings import Settings
from gateway.wiring import clock

ADD = ("add", "ehr", "--organization", "Organization/h", "--scope", "system/*.rs")


def run(folder: Path, *arguments: str) -> list[str]:
    done = CliRunner().invoke(client, [*arguments, "--database", f"sqlite:///{folder / 'd.db'}"])
    assert done.exit_code == 0, done.output
    return done.output.splitlines()


def held(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in run(folder, "agreement", "Organization/h", "--json") if line.startswith("{")]


def test_a_registration_records_an_agreement_of_a_year_where_there_is_none(tmp_path: Path) -> None:
    today: date = clock(Settings())().date()
    said = run(tmp_path, *ADD)
    end = (today + timedelta(days=365)).isoformat()
    assert f"Organization/h: agreement from {today} until {end}" in said
    run(tmp_path, "agreement", "Organization/h", "--from", "2026-01-01", "--until", "2031-12-31")
    run(tmp_path, *ADD)
    assert held(tmp_path) == [{"organization": "Organization/h", "since": "2026-01-01", "until": "2031-12-31"}]
    run(tmp_path, *ADD, "--agreement-until", "2030-06-30")
    assert held(tmp_path)[0] == {"organization": "Organization/h", "since": "2026-01-01", "until": "2030-06-30"}


def test_an_agreement_is_ended_at_once_and_stays_ended(tmp_path: Path) -> None:
    today: date = clock(Settings())().date()
    run(tmp_path, *ADD)
    run(tmp_path, "agreement", "Organization/h", "--end")
    run(tmp_path, *ADD)
    assert held(tmp_path)[0]["until"] == (today - timedelta(days=1)).isoformat()


def test_none_is_recorded_when_none_is_wanted(tmp_path: Path) -> None:
    assert "Organization/h: no agreement recorded" in run(tmp_path, *ADD, "--no-agreement")
    assert held(tmp_path) == []
    assert run(tmp_path, "agreement", "Organization/h")[-1] == "Organization/h: no agreement recorded"
    wrong = CliRunner().invoke(
        client, ["agreement", "h", "--until", "2030-01-01", "--database", f"sqlite:///{tmp_path}/d.db"]
    )
    assert wrong.exit_code != 0
