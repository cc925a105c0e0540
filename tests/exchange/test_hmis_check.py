"""Rules on seeded defects, one of them and one harmless change a rule, and silence on clean exports."""

import csv
import json
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.adapters.files.data import read_data
from gateway.adapters.files.hmis_export import open_export
from gateway.adapters.files.hmis_tables import SqliteTables
from gateway.commands.tree import cli as main
from gateway.exchange.hmis_check import Checked, check_export, load_rules
from gateway.exchange.hmis_convert import Conversion
from gateway.exchange.hmis_quality import load_conditions, load_limits
from gateway.kernel.errors import Invalid
from gateway.mapping.hmis.values import day_of
from gateway.sim.hmis import write_export
from tests.support.hmis import MemoryFiles, table

EXAMPLES = Path(__file__).parents[1] / "examples/hmis_check"
Export = dict[str, list[list[str]]]  # path -> rows, header first


def checked_of(files: Export, **options: int) -> Checked:
    """Check an export that lies in memory; unknown answers are findings."""
    conversion = Conversion(MemoryFiles({p: table(r) for p, r in files.items()}), read_data, fallback_source="test")
    with SqliteTables(day_of) as tables:
        return check_export(conversion, read_data, tables, unknowns=True, limits=options)


def base() -> Export:
    """The small export without a finding."""
    out = {}
    for path in sorted((EXAMPLES / "base").glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as handle:
            out[path.name] = list(csv.reader(handle))
    return out


BASE = base()


def changed(changes: str) -> Export:
    """The base with changes (examples/hmis_check/README.md)."""
    files = deepcopy(BASE)
    for change in changes.split("; "):
        name, _, rest = change.partition(" ")
        if name == "-":
            del files[rest]
        elif name == ">":
            old, new = rest.split(" ")
            for path in [path for path in files if old in ("*", path)]:
                files[new.replace("*", path)] = files.pop(path)
        else:
            _change(files[f"{name}.csv"], rest)
    return files


def _change(rows: list[list[str]], change: str) -> None:
    words = change.split(" ")
    name, cells = words[0], dict(word.partition("=")[::2] for word in words[1:])
    if name.startswith("!"):
        _columns(rows, name[1:])
        return
    kind = next((mark for mark in ("++", "-", "=", "~") if name.startswith(mark)), "")
    key = name.removeprefix(kind)
    copies = 0
    if kind == "++":
        key, _, number = key.rpartition("x")
        copies = int(number)
    at = next((i for i, row in enumerate(rows) if i and row[0] == key), 0)
    assert at or key == "*", change
    if kind == "-":
        rows[1:] = [] if key == "*" else [row for i, row in enumerate(rows) if i not in (0, at)]
    elif kind == "=":
        rows.append(list(rows[at]))
    elif kind == "~":
        rows[at].pop()
    elif kind == "++":
        for copy in range(copies):
            rows.append([f"{key}-{copy}", *rows[at][1:]])
            _fill(rows, -1, cells)
    else:
        _fill(rows, at, cells)


def _fill(rows: list[list[str]], at: int, cells: dict[str, str]) -> None:
    for column, cell in cells.items():
        rows[at][rows[0].index(column)] = cell.replace("_", " ").replace("\\x07", "\x07")


def _columns(rows: list[list[str]], name: str) -> None:
    if name.startswith("+"):
        for row in rows:
            row.append(name[1:] if row is rows[0] else "")
    elif name in rows[0]:
        at = rows[0].index(name)
        for row in rows:
            del row[at]


def examples() -> Iterator[dict[str, str]]:
    """The rows of examples.csv."""
    with (EXAMPLES / "examples.csv").open(newline="", encoding="utf-8") as handle:
        yield from csv.DictReader(handle)


def test_the_base_of_the_examples_has_no_finding_at_all() -> None:
    assert checked_of(BASE).counts == {}


@pytest.fixture
def no_mapping(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check needs no mapping to FHIR: 270 of them need not load it."""
    monkeypatch.setattr("gateway.exchange.hmis_convert.load_maps", lambda *_: {})


@pytest.mark.usefixtures("no_mapping")
@pytest.mark.parametrize(
    "example", list(examples()), ids=lambda e: f"{e['rule']}-{re.sub('[^A-Za-z0-9]+', '-', e['defect'])[:40]}"
)
def test_a_defect_is_found_in_its_place_and_what_comes_close_is_not(example: dict[str, str]) -> None:
    place = (example["rule"], example["file"], int(example["row"]), example["column"])
    found = checked_of(changed(example["defect"]))
    assert place in {(f.rule, f.file, f.row, f.column) for f in found.found}
    assert example["rule"] not in checked_of(changed(example["harmless"])).counts


def test_every_rule_that_can_be_computed_has_an_example_and_the_others_a_reason() -> None:
    rules = load_rules(read_data)
    shown = {example["rule"] for example in examples()}
    assert {rule.id for rule in rules.values() if not rule.not_computed} == shown
    assert {condition.id for condition in load_conditions(read_data)} <= rules.keys()
    assert [rule.id for rule in rules.values() if rule.not_computed] == ["127"]


@pytest.mark.parametrize("version", ["2024", "2026"])
@pytest.mark.parametrize("clients", [12, 150])
def test_a_generated_export_has_no_findings(tmp_path: Path, version: str, clients: int) -> None:
    write_export(read_data, tmp_path, seed=clients, clients=clients, version=version)
    conversion = Conversion(open_export(str(tmp_path)), read_data, fallback_source="test")
    with SqliteTables(day_of) as tables:
        checked = check_export(conversion, read_data, tables)
    assert checked.counts == {}
    assert checked.completeness


def test_a_delta_is_not_blamed_for_rows_that_it_leaves_out() -> None:
    files = changed(
        "Export x1 ExportDirective=1; Services -s1; IncomeBenefits -n-e1-1; Enrollment e3 RelationshipToHoH=4"
    )
    files["Inventory.csv"] = files["Inventory.csv"][:1]
    assert checked_of(files).counts == {}


def test_a_site_sets_its_own_limits_by_name() -> None:
    files = changed("Event v1 ReferralResult= EventDate=2026-05-01")
    assert "100" not in checked_of(files).counts
    assert checked_of(files, referral=30).counts["100"] == 1
    with pytest.raises(Invalid, match="no such limit"):
        load_limits(read_data, {"referrals": 3})


def test_every_row_that_names_a_missing_client_is_listed() -> None:
    found = checked_of(changed("Client -d"))
    assert [f.row for f in found.found if (f.rule, f.file) == ("9", "Enrollment")] == [4, 5, 9]


def test_a_name_never_comes_near_the_rules() -> None:
    conversion = Conversion(MemoryFiles({p: table(r) for p, r in BASE.items()}), read_data, fallback_source="test")
    with SqliteTables(day_of) as tables:
        check_export(conversion, read_data, tables)
        kept = [
            row
            for (name,) in list(tables.ask("SELECT name FROM sqlite_master WHERE type = 'table'"))
            for row in tables.ask(f'SELECT * FROM "{name}"')
        ]
    assert kept
    assert not [cell for row in kept for cell in row if "zq" in str(cell) or str(cell) == "123456789"]


def test_the_command_lists_its_rules_and_reports_in_three_forms(tmp_path: Path) -> None:
    export = tmp_path / "export"
    export.mkdir()
    for path, rows in changed("Enrollment e7 PercentAMI=").items():
        (export / path).write_bytes(table(rows))
    run = CliRunner().invoke(main, ["hmis", "check", str(export), "--json", "--csv", str(tmp_path / "found.csv")])
    assert run.exit_code == 3
    told = json.loads(run.output)
    (finding,) = told["findings"]
    assert (finding["rule"], finding["file"], finding["line"], finding["project"]) == ("22", "Enrollment.csv", 8, "hp")
    assert told["projects"] == {"hp": {"22": 1}}
    with (tmp_path / "found.csv").open(newline="") as handle:
        assert [row["rule"] for row in csv.DictReader(handle)] == ["22"]
    readable = CliRunner().invoke(main, ["hmis", "check", str(export)])
    assert "area median income" in readable.output
    assert "findings by project" in readable.output
    rules = CliRunner().invoke(main, ["hmis", "check", "--rules"])
    assert "not computed from an export" in rules.output
    assert CliRunner().invoke(main, ["hmis", "check", str(export), "--limit", "referral"]).exit_code == 2


def test_every_oddity_of_the_simulator_is_survived(tmp_path: Path) -> None:
    from gateway.sim.hmis_files import ODDITIES

    told = {
        "trailing-commas": {"82"},
        "ragged": {"ragged", "6"},
        "truncated": {"ragged"},
        "export-rows": {"140"},
        "short-years": {"47"},
        "unknown-users": {"ref"},
        "retired-codes": {"code"},
        "decimal-codes": {"code", "50", "51", "52", "53", "54", "55"},
        "hash-flag": {"126"},
        "no-version": {"124"},
        "victim-services": {"139"},
    }
    for odd in ODDITIES:
        write_export(read_data, tmp_path / odd, seed=2, clients=12, oddities=[odd])
        conversion = Conversion(open_export(str(tmp_path / odd)), read_data, fallback_source="test")
        with SqliteTables(day_of) as tables:
            checked = check_export(conversion, read_data, tables)
        if odd in told:
            assert told[odd] <= set(checked.counts), odd
        else:
            assert checked.counts == {}, odd


def test_the_same_seed_gives_the_same_export(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_export(read_data, tmp_path / name, seed=4, clients=30)
    for file in sorted((tmp_path / "a").iterdir()):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


def test_cells_in_the_place_of_a_header_or_a_project_are_never_told() -> None:
    files = deepcopy(BASE)
    files["Client.csv"] = [["C9", "Joanzq", *["Riverzq"] * 36], *files["Client.csv"][1:]]
    at = files["Enrollment.csv"][0].index("ProjectID")
    for row in files["Enrollment.csv"][1:]:
        row[at] = "Jane Doezq"
        row[files["Enrollment.csv"][0].index("RelationshipToHoH")] = "77"
    told = json.dumps(checked_of(files).as_json())
    assert "zq" not in told
    assert "C9" not in told


def test_a_header_of_another_year_than_export_says_is_told() -> None:
    files = deepcopy(BASE)
    at = files["Export.csv"][0].index("CSVVersion")
    files["Export.csv"][1][at] = "2024 v1.3" if "2026" in files["Export.csv"][1][at] else "2026 v1"
    assert checked_of(files).counts["124"] == 1


def test_without_export_nothing_is_called_old_or_in_the_future() -> None:
    files = deepcopy(BASE)
    del files["Export.csv"]
    assert set(checked_of(files).counts) == {"125"}


def test_lines_are_counted_with_what_stands_before_the_header() -> None:
    files = deepcopy(BASE)
    files["Client.csv"][1][files["Client.csv"][0].index("VeteranStatus")] = "77"
    files["Client.csv"].insert(0, [])
    found = [f for f in checked_of(files).as_json()["findings"] if f["rule"] == "50"]
    assert [(f["row"], f["line"]) for f in found] == [(1, 3)]


def test_a_purpose_of_a_release_that_is_no_code_is_told() -> None:
    files = deepcopy(BASE)
    person = files["Client.csv"][1][0]
    names = ["ConsentID", "PersonalID", "ConsentStatus", "StartDate", "SignedDate", "Purposes"]
    row = ["1", person, "full", "2026-01-01", "2026-01-01"]
    files["Consent.csv"] = [names, [*row, "TREAT; etreat"], ["2", *row[1:], "All"], ["3", *row[1:], "TREAT;help zq"]]
    found = [(f.file, f.row, f.column, f.rule) for f in checked_of(files).found]
    assert found == [("Consent", 3, "Purposes", "code")]
