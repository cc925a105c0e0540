"""The hmis commands from the outside: exit codes, files, JSON."""

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.commands.hmis import hmis
from gateway.commands.hmis_run import no_place
from gateway.commands.sim import sim
from gateway.exchange.hmis_convert import Conversion
from tests.support.hmis import cells_of


def call(*arguments: str) -> Result:
    """Run ``doorway hmis …``."""
    return CliRunner().invoke(hmis, list(arguments))


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A generated export."""
    out = tmp_path / "export"
    assert CliRunner().invoke(sim, ["hmis", "--seed", "3", "--clients", "30", "--out", str(out)]).exit_code == 0
    return out


def test_convert_and_export_give_every_cell_back(export: Path, tmp_path: Path) -> None:
    for processes in ("1", "2"):
        fhir, back = tmp_path / f"fhir{processes}", tmp_path / f"back{processes}"
        assert call("convert", str(export), "--out", str(fhir), "--processes", processes).exit_code == 0
        assert json.loads((fhir / "report.json").read_text())["resources"]["Patient"]
        assert call("export", "--from", str(fhir), "--out", str(back)).exit_code == 0
        for file in sorted(export.glob("*.csv")):
            assert cells_of((back / file.name).read_bytes()) == cells_of(file.read_bytes()), file.name


def test_a_check_finds_nothing_in_a_clean_export_and_names_what_is_wrong(export: Path, tmp_path: Path) -> None:
    assert call("check", str(export)).exit_code == 0
    client = export / "Client.csv"
    client.write_text(client.read_text().replace(",2,", ",5,", 1))
    found = call("check", str(export), "--json", "--csv", str(tmp_path / "f.csv"))
    assert found.exit_code == 3
    places = [(f["file"], f["rule"]) for f in json.loads(found.stdout)["findings"]]
    with (tmp_path / "f.csv").open() as handle:
        assert [(row["file"], row["rule"]) for row in csv.DictReader(handle)] == places
    assert "zq" not in found.stdout


def test_an_import_can_be_rehearsed_done_and_repeated(export: Path, tmp_path: Path) -> None:
    database = ("--database", f"sqlite:///{tmp_path}/d.db")
    rehearsed = call("import", str(export), *database, "--dry-run", "--json")
    assert rehearsed.exit_code == 0, rehearsed.output
    done = json.loads(call("import", str(export), *database, "--json").stdout)
    assert json.loads(rehearsed.stdout)["files"] == done["files"]
    again = json.loads(call("import", str(export), *database, "--json").stdout)
    assert all(set(counts) == {"unchanged"} for counts in again["files"].values())
    told = json.loads(call("export", *database, "--out", str(tmp_path / "out"), "--json").stdout)
    assert (told["version"], told["lost"]) == ("2026", [])
    rows = cells_of((tmp_path / "out" / "Client.csv").read_bytes())
    assert len(rows) == len(cells_of((export / "Client.csv").read_bytes()))


def test_another_format_says_what_has_no_place_in_it() -> None:
    assert no_place("2024", "2024") == no_place("hifis", "2026") == []
    assert "Enrollment.csv: no place in FY2026 for SexualOrientation, SexualOrientationOther" in no_place(
        "2024", "2026"
    )


def test_a_delta_tells_nothing_that_the_source_itself_said_and_refuses_unclear_options(
    export: Path, tmp_path: Path
) -> None:
    database = ["--database", f"sqlite:///{tmp_path / 'd.db'}"]
    assert call("import", str(export), *database).exit_code in (0, 3)
    told = call("export", *database, "--out", str(tmp_path / "out"), "--delta", "--since", "2026-06-30", "--json")
    assert (told.exit_code, json.loads(told.stdout)["rows"]) == (0, {"Export": 1})
    checked = json.loads(call("check", str(tmp_path / "out"), "--json").stdout)
    assert checked["findings"] == []
    assert call("export", *database, "--out", str(tmp_path / "out"), "--since", "2026-06-30").exit_code == 2
    assert call("export", *database, "--out", str(tmp_path / "out"), "--delta", "--since", "soonzq").exit_code == 2


def test_what_is_no_export_is_an_error_and_no_defect(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("hello")
    result = call("convert", str(tmp_path / "x.txt"), "--out", str(tmp_path / "o"))
    assert result.exit_code == 1
    assert "neither a folder nor a zip" in str(result.exception)


def test_a_conversion_leaves_nothing_of_the_one_before_in_its_folder(export: Path, tmp_path: Path) -> None:
    out = tmp_path / "fhir"
    assert call("convert", str(export), "--out", str(out)).exit_code == 0
    for file in export.glob("*.csv"):
        if file.name not in ("Export.csv", "Organization.csv"):
            file.unlink()
    assert call("convert", str(export), "--out", str(out)).exit_code == 0
    left = {"DocumentReference", "Organization", "Device", "Provenance"}
    assert {file.stem for file in out.glob("*.ndjson")} == left


def test_a_folder_that_cannot_be_written_is_no_defect(export: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = call("convert", str(export), "--out", str(tmp_path / "file" / "deeper"))
    assert said.exit_code == 1
    assert "Not a directory" in said.output


def test_a_process_that_fails_ends_the_conversion_and_leaves_no_report(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Conversion, "convert_file", fails)
    said = call("convert", str(export), "--out", str(tmp_path / "fhir"), "--processes", "2")
    assert said.exit_code == 1
    assert "a process of the conversion failed" in said.output
    assert not (tmp_path / "fhir" / "report.json").exists()
