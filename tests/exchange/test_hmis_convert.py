"""A whole export to FHIR and back, cell for cell."""

import json
from random import Random

import pytest

from gateway.adapters.files.data import read_data
from gateway.codecs import hmis_csv
from gateway.consent.decide import decide
from gateway.consent.lint import lint
from gateway.exchange import hmis_convert_file
from gateway.exchange.hmis_convert import Conversion, Report
from gateway.exchange.hmis_keys import Seen
from gateway.exchange.hmis_manifest import Households, household_of
from gateway.kernel.errors import Invalid
from gateway.mapping.hmis.explain import row_of
from gateway.mapping.hmis.spec import load_spec
from tests.consent.build import directive, line, words
from tests.support.hmis import MemoryFiles, MemoryScratch, cells_of, convert, convert_lines, export, export_of, table

EXPORT = table(
    [["ExportID", "ExportDate", "CSVVersion", "ImplementationID"], ["E", "2026-01-01 00:00:00", "2026 v1", "s"]]
)


@pytest.mark.parametrize(
    ("seed", "version", "encoding"),
    [
        (1, "2026", "utf-8"),
        (2, "2024", "utf-16"),
        (3, "2026", "cp1252"),
        (4, "2024", "mac_roman"),
        (5, "2026", "utf-8-sig"),
    ],
)
def test_every_cell_of_a_wild_export_comes_back(seed: int, version: str, encoding: str) -> None:
    files = export_of(load_spec(read_data, version), Random(seed), rows=12, nasty=0.15, encoding=encoding)
    lines, report = convert_lines(files)
    back, _ = export(lines)
    assert report.version == version
    assert set(back) == set(files)
    for path, data in files.items():
        assert cells_of(back[path]) == cells_of(data), path


def test_a_client_edited_in_fhir_is_another_cell_in_the_export() -> None:
    client = table([["PersonalID", "LastName", "Mine"], ["1", "Oldzq", "kept"], ["2", "Otherzq", ""]])
    lines, _ = convert_lines({"Export.csv": EXPORT, "Client.csv": client})
    patient = json.loads(lines["Patient"][0])
    patient["name"][0]["family"] = "Newzq"
    lines["Patient"][0] = json.dumps(patient)
    back, _ = export(lines)
    assert cells_of(back["Client.csv"])[1:] == [["1", "Newzq", "kept"], ["2", "Otherzq", ""]]


def test_rows_that_cannot_be_mapped_are_kept_and_named() -> None:
    client = table([["PersonalID", "LastName"], ["1", "Azq"], ["1", "Bzq"], ["", "Czq"]])
    lines, report = convert_lines({"Export.csv": EXPORT, "Client.csv": client})
    assert len(lines["Patient"]) == 1
    assert [(f.row, f.column) for f in report.findings if f.file == "Client.csv"] == [
        (2, "PersonalID"),
        (3, "PersonalID"),
    ]
    back, _ = export(lines)
    assert cells_of(back["Client.csv"]) == cells_of(client)


def test_unknown_columns_are_kept_behind_the_strictest_label() -> None:
    client = table([["PersonalID", "SexualOrientation"], ["1", "2"]])
    found, _ = convert({"Export.csv": EXPORT, "Client.csv": client})
    codes = {c["code"] for c in found["Basic"][0]["meta"]["security"]}
    assert {"L3", "R"} <= codes
    assert "2" not in json.dumps(found["Patient"][0].get("extension", []))


def test_a_household_is_a_group_with_relations_and_the_episode_ends_with_the_exit() -> None:
    enrollment = table(
        [
            ["EnrollmentID", "PersonalID", "ProjectID", "EntryDate", "HouseholdID", "RelationshipToHoH"],
            ["e1", "1", "p", "2026-01-01", "h", "1"],
            ["e2", "2", "p", "2026-01-01", "h", "2"],
        ]
    )
    exit_ = table(
        [["ExitID", "EnrollmentID", "PersonalID", "ExitDate", "Destination"], ["x", "e1", "1", "2026-02-01", "410"]]
    )
    found, _ = convert({"Export.csv": EXPORT, "Enrollment.csv": enrollment, "Exit.csv": exit_})
    group = found["Group"][0]
    relations = [m["extension"][0]["valueCodeableConcept"]["coding"][0]["code"] for m in group["member"]]
    assert relations == ["1", "2"]
    assert [e["status"] for e in found["EpisodeOfCare"]] == ["finished", "active"]
    assert found["EpisodeOfCare"][0]["period"] == {"start": "2026-01-01", "end": "2026-02-01"}


def test_households_are_written_as_their_twin_makes_them() -> None:
    conversion = Conversion(MemoryFiles({"Export.csv": EXPORT}), read_data, fallback_source="test")
    households = Households(conversion)
    rng = Random(3)
    for number in range(200):
        days = ("", "2026-01-01", "2025-03-04", "3/4/2025", "soon")
        members = [
            [rng.choice(("1", "2 b", "é", "x")), rng.choice(("1", "2", "99", "")), rng.choice(days), "", "HIV"]
            for _ in range(rng.randrange(1, 4))
        ]
        members[0][3:] = [rng.choice(("", "2025-06-01")), rng.choice(("", "SDV HIV"))]
        name = rng.choice((f"h{number}", f'h "{number}"'))
        assert json.loads(households.text(name, members)) == household_of(conversion, name, members)


def test_a_destination_in_words_has_the_labels_of_all_that_words_may_name_and_the_code_beside_it_has_none() -> None:
    header = ["ExitID", "EnrollmentID", "PersonalID", "ExitDate", "Destination", "OtherDestination"]
    lines, _ = convert_lines(
        {"Exit.csv": table([header, ["x", "e", "1", "2026-01-20", "17", "with zq, Mercy Ward 4"]])}
    )
    made = [json.loads(line) for line in lines["Observation"]]
    labels = {"valueString" in one: {label["code"] for label in one["meta"]["security"]} for one in made}
    assert labels == {True: {"L3", "R", "MH", "SUD", "justice", "LOCIS"}, False: {"L2", "N"}}


def test_labels_come_from_the_project_and_its_funder() -> None:
    files = {
        "Export.csv": EXPORT,
        "Organization.csv": table([["OrganizationID", "VictimServiceProvider"], ["o", "0"], ["v", "1"]]),
        "Project.csv": table([["ProjectID", "OrganizationID"], ["p", "o"], ["q", "v"], ["r", "o"]]),
        "Funder.csv": table([["FunderID", "ProjectID", "Funder"], ["f", "p", "13"]]),
        "Enrollment.csv": table(
            [["EnrollmentID", "PersonalID", "ProjectID"], ["e1", "1", "p"], ["e2", "2", "q"], ["e3", "3", "r"]]
        ),
        "Exit.csv": table([["ExitID", "EnrollmentID", "PersonalID"], ["x", "e1", "1"]]),
    }
    found, _ = convert(files)
    labels = [{c["code"] for c in e["meta"]["security"]} for e in found["EpisodeOfCare"]]
    assert labels == [{"L3", "R", "HIV"}, {"L3", "R", "SDV"}, {"L1", "N"}]
    destination = next(o for o in found["Observation"] if (row_of(o) or {})["file"] == "Exit")
    assert "HIV" in {c["code"] for c in destination["meta"]["security"]}


def test_keys_are_remembered_in_flat_memory() -> None:
    seen = Seen()
    Seen._SMALL = 50  # type: ignore[misc]
    try:
        assert not any(seen.add(f"k{n}") for n in range(400))
        assert all(seen.add(f"k{n}") for n in range(400))
        assert seen.holds("k3")
        assert not seen.holds("other")
    finally:
        Seen._SMALL = 200_000  # type: ignore[misc]


def test_the_consent_companion_becomes_consent_and_implied_ones_do_not() -> None:
    header = [
        "ConsentID",
        "PersonalID",
        "ConsentStatus",
        "ConsentRegime",
        "StartDate",
        "EndDate",
        "RevokedDate",
        "Agencies",
    ]
    rows = [
        ["1", "1", "full", "explicit", "2026-01-01", "2027-01-01", "", "o1;o2"],
        ["2", "1", "partial", "explicit", "2026-01-01", "", "", ""],
        ["3", "1", "revoked", "explicit", "2026-01-01", "2027-01-01", "2026-03-01", "o1"],
        ["4", "1", "full", "implied", "2026-01-01", "", "", ""],
    ]
    lines, _ = convert_lines({"Export.csv": EXPORT, "ROI.csv": table([header, *rows])})
    consents = [json.loads(line) for line in lines["Consent"]]
    assert [c["status"] for c in consents] == ["active", "active", "inactive"]
    assert [len(c["provision"].get("actor", [])) for c in consents] == [2, 0, 1]
    assert consents[1]["provision"]["securityLabel"][0]["code"] == "L1"
    assert consents[2]["provision"]["period"]["end"] == "2026-03-01"
    assert len(lines["Basic"]) == 1
    assert cells_of(export(lines)[0]["ROI.csv"])[1:] == rows


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("EndDate", "soon"),
        ("EndDate", "2025-06-01"),
        ("StartDate", "2026-02-30"),
        ("Agencies", " ; "),
        ("CoCCodes", ";"),
        ("ConsentRegime", "implicit"),
        ("ConsentStatus", "yes"),
        ("StartDate", ""),
    ],
)
def test_a_limit_of_a_consent_that_cannot_be_read_is_never_lost(column: str, cell: str) -> None:
    row = {"ConsentID": "1", "PersonalID": "1", "ConsentStatus": "full", "StartDate": "2026-01-01"} | {column: cell}
    files = {"Export.csv": EXPORT, "Consent.csv": table([list(row), list(row.values())])}
    lines, _ = convert_lines(files)
    assert json.loads(lines["Consent"][0])["status"] == "proposed"
    assert cells_of(export(lines)[0]["Consent.csv"]) == cells_of(files["Consent.csv"])


def test_a_purpose_in_words_stays_words_and_the_linter_and_the_check_tell_of_it() -> None:
    names = ("ConsentID", "PersonalID", "ConsentStatus", "StartDate", "Purposes")
    rows = [names, ("1", "1", "full", "2026-01-01", "treat; housing help zq")]
    files = {"Export.csv": EXPORT, "Consent.csv": table(rows)}
    consent = json.loads(convert_lines(files)[0]["Consent"][0])
    told = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "TREAT"}
    assert consent["provision"]["purpose"] == [told, {"display": "housing help zq"}]
    said = [(f.place, f.rule) for f in lint([directive(consent)], words(), 0)]
    assert ("provision.purpose", "unreadable-value") in said
    assert cells_of(export(convert_lines(files)[0])[0]["Consent.csv"]) == cells_of(files["Consent.csv"])


@pytest.mark.parametrize(("purposes", "permitted"), [("TREAT", True), ("help;TREAT", True), ("help", False)])
def test_a_purpose_in_words_permits_nothing(purposes: str, permitted: bool) -> None:
    names = ("ConsentID", "PersonalID", "ConsentStatus", "StartDate", "Purposes")
    files = {"Consent.csv": table([names, ("1", "1", "full", "2026-01-01", purposes)]), "Export.csv": EXPORT}
    consent = json.loads(convert_lines(files)[0]["Consent"][0])
    patient = {"resourceType": "Patient", "id": consent["patient"]["reference"].removeprefix("Patient/")}
    answer = decide(line([consent], [patient]), words())
    assert [one["decision"] == "permit" for one in answer["resources"]] == [permitted]


def test_a_revocation_ends_a_consent_whatever_its_status_says() -> None:
    row = {
        "ConsentID": "1",
        "PersonalID": "1",
        "ConsentStatus": "full",
        "EndDate": "2027-01-01",
        "RevokedDate": "2026-03-01",
    }
    lines, _ = convert_lines({"Export.csv": EXPORT, "Consent.csv": table([list(row), list(row.values())])})
    assert json.loads(lines["Consent"][0])["provision"]["period"]["end"] == "2026-03-01"


@pytest.mark.parametrize("small", [0, 1 << 18])
def test_processes_that_share_the_rows_write_together_what_one_writes(
    small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hmis_csv, "BLOCK_BYTES", 100)
    monkeypatch.setattr(hmis_convert_file, "SMALL_BYTES", small)
    files = export_of(load_spec(read_data, "2026"), Random(7), rows=24, nasty=0.1)
    whole, told = shares(files, 1)
    shared, said = shares(files, 3)
    assert {kind: sorted(lines) for kind, lines in shared.items()} == {k: sorted(v) for k, v in whole.items()}
    assert said.as_json() == told.as_json() | {"findings": said.as_json()["findings"]}
    assert sorted(map(repr, said.findings)) == sorted(map(repr, told.findings))


def shares(files: dict[str, bytes], processes: int) -> tuple[dict[str, list[str]], Report]:
    conversion = Conversion(MemoryFiles(files), read_data, fallback_source="test")
    reports, out = [], dict[str, list[str]]()
    for which in range(processes):
        conversion.report = Report()
        scratch = MemoryScratch()
        for seen in conversion.seen:
            share = (which, processes)
            conversion.convert_file(seen, lambda kind, its: out.setdefault(kind, []).extend(its), scratch, share)
        reports.append(conversion.report)
    total = Report()
    for report in reports:
        total.absorb(report)
    return out, total


def test_keys_with_blanks_around_them_carry_the_labels_of_their_project() -> None:
    organization = table([["OrganizationID", "VictimServiceProvider"], ["O ", "1.0"]])
    project = table([["ProjectID", "OrganizationID"], ["P", " O"], ["P", "other"]])
    enrollment = table([["EnrollmentID", "PersonalID", "ProjectID"], ["E", "1", " P "]])
    services = table([["ServicesID", "PersonalID", "EnrollmentID", "RecordType"], ["S", "1", "E ", "200.0"]])
    files = {"Export.csv": EXPORT, "Organization.csv": organization, "Project.csv": project}
    found, _ = convert({**files, "Enrollment.csv": enrollment, "Services.csv": services})
    for kind in ("EpisodeOfCare", "Encounter"):
        assert "SDV" in {c["code"] for c in found[kind][0]["meta"]["security"]}


def test_a_household_key_may_hold_any_character() -> None:
    rows = [["EnrollmentID", "PersonalID", "HouseholdID"], ["E", "1\x1f", "H\x1f\nzq"], ["F", "2", "H\x1f\nzq"]]
    found, _ = convert({"Export.csv": EXPORT, "Enrollment.csv": table(rows)})
    assert [group["quantity"] for group in found["Group"]] == [2]


def test_blank_rows_come_back_however_many_and_where_they_were() -> None:
    client = table([["PersonalID", "LastName"], [], ["1", "Azq"], *([[]] * 3000), ["2", "Bzq"], []])
    lines, report = convert_lines({"Export.csv": EXPORT, "Client.csv": b"\r\n" + client})
    assert report.files["Client.csv"]["blank_rows"] == ["1", "3-3002", "3004"]
    assert cells_of(export(lines)[0]["Client.csv"]) == [[], *cells_of(client)]


def test_other_delimiters_are_read_and_come_back_as_commas() -> None:
    client = b'sep=;\r\nPersonalID;LastName;DOB;Mine\r\n1;"A;zq";2000-01-02;"x,y"\r\n'
    lines, _ = convert_lines({"Export.csv": EXPORT, "Client.csv": client})
    assert json.loads(lines["Patient"][0])["name"][0]["family"] == "A;zq"
    rows = [["PersonalID", "LastName", "DOB", "Mine"], ["1", "A;zq", "2000-01-02", "x,y"]]
    assert cells_of(export(lines)[0]["Client.csv"]) == rows


def test_a_file_without_a_header_comes_back_and_its_first_row_is_told_nowhere() -> None:
    client = table([["C1", "Joanzq", "Riverzq"], ["C2", "Annzq", "Lakezq"]])
    lines, report = convert_lines({"Export.csv": EXPORT, "Client.csv": client})
    assert "zq" not in json.dumps(report.as_json())
    assert json.loads(lines["DocumentReference"][-1])["meta"]["security"]
    assert cells_of(export(lines)[0]["Client.csv"]) == cells_of(client)


def test_a_resource_of_no_known_form_is_refused_by_its_line() -> None:
    lines, _ = convert_lines({"Export.csv": EXPORT, "Client.csv": table([["PersonalID"], ["1"]])})
    patient = json.loads(lines["Patient"][0])
    patient["meta"]["extension"] = "zq"
    lines["Patient"] = [json.dumps(patient)]
    with pytest.raises(Invalid, match="Patient:1") as refused:
        export(lines)
    assert "zq" not in str(refused.value)
