"""Rules on seeded defects, and silence on a clean export."""

from pathlib import Path

import pytest

from gateway.adapters.files.data import read_data
from gateway.adapters.files.hmis_export import open_export
from gateway.codecs.hmis_csv import read_rows
from gateway.exchange.hmis_check import Checked, check_export
from gateway.exchange.hmis_convert import Conversion
from gateway.sim.hmis import write_export
from tests.support.hmis import MemoryFiles, table


@pytest.fixture(scope="module", params=["2024", "2026"])
def clean(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a generated export."""
    out = tmp_path_factory.mktemp("export")
    write_export(read_data, out, seed=5, clients=120, version=request.param)
    files = open_export(str(out))
    return {name: b"".join(files.chunks(name)) for name in files.names() if name.endswith(".csv")}


def check(files: dict[str, bytes]) -> Checked:
    """Check files."""
    return check_export(Conversion(MemoryFiles(files), read_data, fallback_source="test"), read_data)


def test_a_clean_export_has_no_findings(clean: dict[str, bytes]) -> None:
    checked = check(clean)
    assert checked.counts == {}
    assert checked.completeness


DEFECTS = [
    ("Client", "SSNDataQuality", "7", "50"),
    ("Client", "DOB", "13/01/1980", "47"),
    ("Client", "NameDataQuality", "", "6"),
    ("Enrollment", "EntryDate", "2026-13-01", "11"),
    ("Enrollment", "EntryDate", "2027-01-01", "75"),
    ("Enrollment", "RelationshipToHoH", "", "6"),
    ("Enrollment", "RelationshipToHoH", "9", "53"),
    ("Enrollment", "LivingSituation", "24", "52"),
    ("Enrollment", "ProjectID", "P99", "10"),
    ("Enrollment", "PersonalID", "nobody", "9"),
    ("Enrollment", "DisablingCondition", "5", "51"),
    ("Exit", "ExitDate", "2020-01-01", "99"),
    ("Exit", "Destination", "37", "54"),
    ("Exit", "EnrollmentID", "none", "ref"),
    ("IncomeBenefits", "EarnedAmount", "many", "48"),
    ("Event", "Event", "77", "code"),
    ("Project", "OrganizationID", "none", "ref"),
    ("Project", "HousingType", "", "36"),
    ("ProjectCoC", "GeographyType", "", "5"),
    ("Inventory", "BedInventory", "41", "46"),
    ("Inventory", "UnitInventory", "900", "138"),
    ("User", "ExportID", "other", "49"),
]


@pytest.mark.parametrize(("file", "column", "cell", "rule"), DEFECTS)
def test_a_seeded_defect_is_found_in_its_place(
    clean: dict[str, bytes], file: str, column: str, cell: str, rule: str
) -> None:
    path = f"{file}.csv"
    rows = list(read_rows([clean[path]], "utf-8"))
    rows[1][rows[0].index(column)] = cell
    found = check({**clean, path: table(rows)})
    assert (rule, file, 1, column) in {(f.rule, f.file, f.row, f.column) for f in found.found}
    assert found.rules[rule].fix


def test_doubles_and_missing_files_and_columns_are_found(clean: dict[str, bytes]) -> None:
    files = dict(clean)
    rows = list(read_rows([files["Client.csv"]], "utf-8"))
    files["Client.csv"] = table([*rows, rows[1]])
    enrollment = list(read_rows([files["Enrollment.csv"]], "utf-8"))
    at = enrollment[0].index("MoveInDate")
    files["Enrollment.csv"] = table([row[:at] + row[at + 1 :] for row in enrollment])
    del files["Event.csv"]
    found = {(f.rule, f.file, f.column) for f in check(files).found}
    assert {("7", "Client", "PersonalID"), ("12", "Enrollment", "MoveInDate"), ("125", "Event", "")} <= found


def test_every_oddity_of_the_simulator_is_survived(tmp_path: Path) -> None:
    from gateway.sim.hmis_files import ODDITIES

    for odd in ODDITIES:
        write_export(read_data, tmp_path / odd, seed=2, clients=12, oddities=[odd])
        checked = check_export(
            Conversion(open_export(str(tmp_path / odd)), read_data, fallback_source="test"), read_data
        )
        quiet = (
            "bom",
            "utf-16",
            "windows-1252",
            "mixed-line-ends",
            "header-case",
            "column-order",
            "custom-files",
            "no-version",
        )
        if odd in quiet and odd != "no-version":
            assert checked.counts == {}, odd
    assert checked.counts["139"]


def test_the_same_seed_gives_the_same_export(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_export(read_data, tmp_path / name, seed=4, clients=30)
    for file in sorted((tmp_path / "a").iterdir()):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name
