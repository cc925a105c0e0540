"""doorway validate and doorway package: what they print, for whom, and how they exit."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.commands.tree import cli
from tests.adapters.files.test_packages import archive, definition, manifest

GOOD = '{"resourceType":"Patient","name":[{"family":"Zqa"}]}'
BAD = '{"resourceType":"Patient","birthDate":"12/31/1980","name":[{"family":"Zqa"}]}'


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments])


def outcomes(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.output.splitlines()]


def test_each_file_gets_an_operation_outcome_and_errors_exit_with_3() -> None:
    Path("good.json").write_text(GOOD)
    Path("bad.json").write_text(BAD)
    result = run("validate", "good.json", "bad.json", "--json")
    first, second = outcomes(result)
    assert result.exit_code == 3
    assert first["issue"][0]["severity"] == "information"
    assert first["extension"][0]["valueString"] == "good.json"
    assert second["issue"][0]["expression"] == ["Patient.birthDate"]
    assert "Zqa" not in result.output
    assert "12/31" not in result.output


def test_files_without_errors_exit_with_0() -> None:
    Path("good.json").write_text(GOOD)
    assert run("validate", "good.json").exit_code == 0
    assert run("validate", "good.json", "--text").output == "good.json: no issues\n"


def test_ndjson_is_judged_line_by_line() -> None:
    Path("x.ndjson").write_text(f"{GOOD}\n\n{BAD}\n")
    Path("y.json").write_text(f"{GOOD}\n{BAD}\n")  # NDJSON under another name
    found = outcomes(run("validate", "x.ndjson", "y.json"))
    sources = [one["extension"][0]["valueString"] for one in found]
    assert sources == ["x.ndjson:1", "x.ndjson:3", "y.json:1", "y.json:2"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a":1,"a":2}', '{"a":NaN}', "\ud800"])
def test_what_is_not_json_is_an_issue_of_its_file(text: str) -> None:
    Path("x.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    result = run("validate", "x.json")
    assert result.exit_code == 3
    assert outcomes(result)[0]["issue"][0]["code"] == "structure"


def test_xml_is_read_too() -> None:
    Path("x.xml").write_text('<Patient xmlns="http://hl7.org/fhir"><gender value="F"/></Patient>')
    result = run("validate", "x.xml", "--text")
    assert "Patient.gender" in result.output
    assert result.exit_code == 3


def test_a_folder_stands_for_its_files_and_a_byte_order_mark_is_tolerated() -> None:
    Path("in").mkdir()
    Path("in/a.json").write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    Path("in/b.txt").write_text("no")
    result = run("validate", "in")
    assert (result.exit_code, len(outcomes(result))) == (0, 1)


def test_a_profile_comes_from_a_package_that_was_added(tmp_path: Path) -> None:
    Path("good.json").write_text(GOOD)
    elements = [
        {"id": "Patient", "path": "Patient"},
        {"id": "Patient.birthDate", "path": "Patient.birthDate", "min": 1},
    ]
    made = definition("http://x/born", "1", type="Patient", differential={"element": elements})
    pack = archive(tmp_path, {"package/package.json": manifest(), "package/StructureDefinition-x.json": made})
    assert run("validate", "good.json", "--profile", "http://x/born").exit_code == 2
    added = run("package", "add", str(pack))
    assert (added.exit_code, added.output) == (0, "test.pack#1.0.0: 1 StructureDefinition\n")
    assert run("package", "list").output == "test.pack#1.0.0\n"
    result = run("validate", "good.json", "--profile", "http://x/born", "--text")
    assert result.output == "good.json: error Patient: birthDate is required (minimum 1)\n"
    assert result.exit_code == 3
    assert outcomes(run("package", "list", "--json")) == [{"name": "test.pack", "version": "1.0.0"}]
