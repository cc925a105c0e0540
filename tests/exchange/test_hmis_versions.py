"""Up- and downgrade, hashing, and the way back out of the store."""

from hashlib import sha256

import pytest

from gateway.adapters.files.data import read_data
from gateway.adapters.memory.store import MemoryStore
from gateway.exchange.hmis_export import Rebuild
from gateway.exchange.hmis_hash import hash_name, hash_ssn, soundex
from gateway.exchange.hmis_store_export import StoreExport, format_of
from gateway.kernel.errors import Invalid
from tests.exchange.test_hmis_delta import asking, auditing
from tests.exchange.test_hmis_import import CLIENT, client, run
from tests.exchange.test_hmis_import import export as export_of_day
from tests.support.hmis import MemoryScratch, cells_of, convert_lines, table

EXPORT = [["ExportID", "CSVVersion", "ImplementationID"], ["E", "2024 v1.3", "s"]]
CLIENT_2024 = [["PersonalID", "LastName", "HispanicLatinaeo", "Woman", "SSN"], ["1", "Azq", "1", "1", "123456789"]]


def _back(
    files: dict[str, bytes], *, version: str | None = None, hashing: bool = False
) -> tuple[dict[str, bytes], list[str]]:
    lines, _ = convert_lines(files)
    out: dict[str, bytes] = {}
    rebuild = Rebuild(read_data, MemoryScratch(), version=version, hash_names=hashing)
    rebuild.begin(line.encode() for line in lines["DocumentReference"])
    for kind, its in lines.items():
        for line in its:
            rebuild.take(line.encode(), kind)
    rebuild.finish(lambda path, pieces: out.__setitem__(path, "".join(pieces).encode()))
    return out, rebuild.lost.lines(version or "")


def test_an_upgrade_renames_drops_and_never_makes_a_sex_of_a_gender() -> None:
    back, lost = _back({"Export.csv": table(EXPORT), "Client.csv": table(CLIENT_2024)}, version="2026")
    header, row = cells_of(back["Client.csv"])
    told = dict(zip(header, row, strict=True))
    assert (told["HispanicLatinao"], told["Sex"], "Woman" in told) == ("1", "", False)
    assert lost == ["Client.Woman: 1 values have no column in FY2026: see the Custom file"]
    assert cells_of(back["CustomClientFY2024.csv"]) == [["PersonalID", "Woman"], ["1", "1"]]
    assert "2026 v1.0" in cells_of(back["Export.csv"])[1]


def test_a_downgrade_says_which_codes_the_older_year_does_not_have() -> None:
    files = {
        "Export.csv": table([EXPORT[0], ["E", "2026 v1", "s"]]),
        "Funder.csv": table([["FunderID", "ProjectID", "Funder"], ["f", "p", "56"]]),
        "Client.csv": table([["PersonalID", "Sex"], ["1", "0"]]),
    }
    back, lost = _back(files, version="2024")
    assert [line.partition(":")[0] for line in lost if "requires" not in line] == ["Client.Sex", "Funder.Funder"]
    assert "56" in cells_of(back["Funder.csv"])[1]


def test_a_downgrade_says_what_is_too_long_what_is_empty_and_which_list_lost_a_code() -> None:
    files = {
        "Export.csv": table(
            [["ExportID", "CSVVersion", "SourceID", "ImplementationID"], ["E", "2026 v1", "x" * 40, "s"]]
        ),
        "Project.csv": table(
            [["ProjectID", "TargetPopulation", "DateDeleted"], ["p", "", ""], ["q", "", "2026-01-01"]]
        ),
        "Enrollment.csv": table([["EnrollmentID", "PersonalID", "UnemploymentFam"], ["e", "1", "8"]]),
    }
    lost = [line.partition(";")[0] for line in _back(files, version="2024")[1]]
    assert "Export.SourceID: 1 texts are longer than FY2024 allows" in lost
    assert "Project.TargetPopulation: 1 rows have no value that FY2024 requires" in lost
    assert "Enrollment.UnemploymentFam: 1 codes are not in FY2024's list" in lost


def test_a_source_of_another_shape_has_no_format_year() -> None:
    with pytest.raises(Invalid, match="--version"):
        _back({"Export.csv": table(EXPORT)}, version="hifis")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("Robert", "R163"),
        ("Rupert", "R163"),
        ("Ashcraft", "A261"),
        ("Tymczak", "T522"),
        ("Pfister", "P236"),
        ("Lee", "L000"),
    ],
)
def test_soundex_is_the_american_one(name: str, code: str) -> None:
    assert soundex(name) == code


def test_hashing_follows_the_recipe_and_leaves_digests_alone() -> None:
    assert hash_name("Robert") == sha256(b"R163").hexdigest() == hash_name("Rupert")
    assert hash_ssn("123456789") == "6789" + sha256(b"123456789").hexdigest()
    assert hash_ssn("6789")[:4] == "6789"
    assert hash_name(hash_name("Robert")) == hash_name("Robert")
    assert hash_ssn(hash_ssn("123456789")) == hash_ssn("123456789")
    back, _ = _back({"Export.csv": table(EXPORT), "Client.csv": table(CLIENT_2024)}, hashing=True)
    assert b"zq" not in back["Client.csv"]


def test_a_source_is_spoken_to_in_the_format_of_its_latest_export() -> None:
    store = MemoryStore()
    for day, version in (("2026-02-02", b"2024 v1.3"), ("2026-02-03", b"2026 v1"), ("2026-02-01", b"2024 v1.3")):
        files = export_of_day(day, "1", {"Client": [CLIENT, client("Azq", day)]})
        run(store, files | {"Export.csv": files["Export.csv"].replace(b"2026 v1", version)})
        with store.reading() as reading:
            assert format_of(reading, "source") == ("2024" if day == "2026-02-02" else "2026")


def test_a_source_comes_back_out_of_the_store() -> None:
    store = MemoryStore()
    rows = [client("Azq", "2026-01-01"), client("Bzq", "2026-01-02", "2026-01-20 00:00:00", key="2")]
    run(store, export_of_day("2026-02-01", "1", {"Client": [CLIENT, *rows]}))
    files: dict[str, list[list[str]]] = {}
    with store.reading() as reading:
        row = {"ExportID": "D1", "ImplementationID": "source"}
        job = StoreExport(read_data, "source", "2026", row, asking=asking(reading), audit=auditing(store))
        job.write(reading, lambda path, pieces: files.update({path: cells_of("".join(pieces).encode())}))
    told = [dict(zip(files["Client.csv"][0], row, strict=True)) for row in files["Client.csv"][1:]]
    assert [(t["LastName"], t["DateDeleted"], t["ExportID"]) for t in told] == [
        ("Azq", "", "D1"),
        ("Bzq", "2026-01-20 00:00:00", "D1"),
    ]
    assert len(files) == 25
