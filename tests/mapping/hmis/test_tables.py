"""The generated code and its explainable twin; every column, both years."""

import json
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

import pytest

from gateway.adapters.files.data import read_data
from gateway.codecs.fhir_json import second_opinion
from gateway.kernel.errors import Invalid
from gateway.mapping.hmis import values
from gateway.mapping.hmis.compile import Odd, compile_file, compile_map, to_json
from gateway.mapping.hmis.conversions import Source, id_maker, part_tag
from gateway.mapping.hmis.explain import Facts, Made, convert_row, restore_row
from gateway.mapping.hmis.projects import ProjectRules
from gateway.mapping.hmis.spec import Spec, load_spec
from gateway.mapping.hmis.tables import COMPUTED, FileMap, Labels, load_map, load_maps
from tests.support.hmis import good_cell

SPECS = {version: load_spec(read_data, version) for version in ("2024", "2026")}
MAPS = {version: load_maps(read_data, spec, Source("Source é 1")) for version, spec in SPECS.items()}
TABLES = [(version, name) for version, maps in MAPS.items() for name in maps]
SENSITIVE = [
    (version, name, column, label)
    for version, name in TABLES
    for part in MAPS[version][name].parts
    for column in sorted({slot.name for block in part.blocks for slot in block.slots if slot.owned})
    for label in sorted(part.labels - {"SITE"})
]


def _row(spec: Spec, table: FileMap, seed: int, *, empty: float = 0.0) -> dict[str, str]:
    rng = Random(seed)
    row = {c.name: "" if rng.random() < empty else good_cell(rng, spec, c, seed) for c in table.file.columns}
    row |= {table.file.key: "k 1"} | ({"PersonalID": "p1"} if table.personal else {})
    if table.file.name == "Services":
        row["RecordType"] = rng.choice(("141", "144", "152", "161", "200", "300"))
    if rng.random() < 0.7 and "DateDeleted" in row:
        row["DateDeleted"] = ""
    races = (
        "AmIndAKNative",
        "Asian",
        "BlackAfAmerican",
        "MidEastNAfrican",
        "NativeHIPacific",
        "White",
        "HispanicLatinao",
        "HispanicLatinaeo",
    )
    row |= {column: rng.choice("01") for column in races if column in row}
    return row


def _computed(rng: Random) -> dict[str, str]:
    told = {
        "@exit": "2025-05-01",
        "@organization": "o",
        "@projecttype": "3",
        "@enrolled": "1",
        "@location": "1",
        "@funders": "8 21",
    }
    return {name: value if rng.random() < 0.5 else "" for name, value in told.items()}


def _id(resource: dict[str, str]) -> str:
    return resource["id"]


def _read(made: list[Made]) -> dict[str, object]:
    return {m.part.name: json.loads(to_json(m.resource), parse_float=Decimal) for m in made}


@pytest.mark.parametrize(("version", "name"), TABLES)
def test_generated_code_and_its_twin_write_the_same(version: str, name: str) -> None:
    table, spec = MAPS[version][name], SPECS[version]
    function, compared = compile_map(table), 0
    for seed in range(30):
        row, computed = _row(spec, table, seed, empty=0.5), _computed(Random(seed))
        facts = Facts(seed, "HIV SDV" if seed % 3 == 0 else "", computed)
        cells = [row.get(c.name, "") for c in table.file.columns] + [computed.get(n, "") for n in COMPUTED]
        try:
            out = function(cells, f"#{seed}", facts.labels)
        except Odd:
            continue
        compared += 1
        twin = [json.loads(to_json(made.resource)) for made in convert_row(table, row, facts)]
        found = [json.loads(line) for line in out[1::2]]
        assert out[::2] == [resource["resourceType"] for resource in found]
        assert sorted(found, key=_id) == sorted(twin, key=_id)
    assert compared > 5


@pytest.mark.parametrize(("version", "name"), TABLES)
def test_every_cell_comes_back_and_every_resource_is_valid(version: str, name: str) -> None:
    table, spec = MAPS[version][name], SPECS[version]
    for seed in range(10):
        row = _row(spec, table, seed, empty=0.3 if seed % 2 else 0.0)
        made = convert_row(table, row, Facts(seed, "", _computed(Random(seed))))
        found = _read(made)
        assert restore_row(table, found) == row  # type: ignore[arg-type]
        if seed < 4:
            for resource in found.values():
                text = json.loads(json.dumps(resource, default=float))
                assert second_opinion(text) in (None, ()), second_opinion(text)


@pytest.mark.parametrize(("version", "name", "column", "label"), SENSITIVE)
def test_a_sensitive_column_labels_the_resource_that_holds_it(version: str, name: str, column: str, label: str) -> None:
    table, spec = MAPS[version][name], SPECS[version]
    definition = table.file.column(column)
    assert definition is not None
    row = {c.name: "" for c in table.file.columns} | {table.file.key: "k", "PersonalID": "p"}
    row[column] = good_cell(Random(1), spec, definition, 1)
    code = Labels.load(read_data).security("L1", frozenset({label}))[-1]["code"]
    holders = [m for m in convert_row(table, row, Facts()) if column in m.part.owns]
    assert holders
    for made in holders:
        codes = {c["code"] for c in made.resource["meta"]["security"]}
        assert {code, "R", "L3"} <= codes


@pytest.mark.parametrize(("situation", "label"), [("204", "MH"), ("205", "SUD"), ("207", "justice"), ("116", "")])
def test_a_living_situation_is_as_sensitive_as_its_value(situation: str, label: str) -> None:
    table = MAPS["2026"]["CurrentLivingSituation"]
    row = {"CurrentLivingSitID": "1", "PersonalID": "p", "CurrentLivingSituation": situation}
    codes = {c["code"] for c in convert_row(table, row, Facts())[0].resource["meta"]["security"]}
    assert codes == ({"L3", "R", label} if label else {"L2", "N"})


@pytest.mark.parametrize(("kind", "label"), [("8", "HIV"), ("9", "MH"), ("10", "42CFRPart2"), ("6", "DVD")])
def test_a_disability_is_labelled_by_its_kind_and_never_confirmed(kind: str, label: str) -> None:
    table = MAPS["2026"]["Disabilities"]
    row = {"DisabilitiesID": "1", "PersonalID": "p", "DisabilityType": kind, "DisabilityResponse": "1"}
    made = convert_row(table, row, Facts())
    assert {m.resource["resourceType"] for m in made} == {"Observation", "Condition"}
    for one in made:
        assert label in {c["code"] for c in one.resource["meta"]["security"]}
    assert made[-1].resource["verificationStatus"]["coding"][0]["code"] == "unconfirmed"
    row["DisabilityResponse"] = "0"
    assert [m.resource["resourceType"] for m in convert_row(table, row, Facts())] == ["Observation"]


@pytest.mark.parametrize(("code", "reason"), [("8", "asked-unknown"), ("9", "asked-declined"), ("99", "not-asked")])
def test_an_answer_that_is_none_says_why(code: str, reason: str) -> None:
    row = {"HealthAndDVID": "1", "PersonalID": "p", "DomesticViolenceSurvivor": code}
    made = convert_row(MAPS["2026"]["HealthAndDV"], row, Facts())
    observation = next(m.resource for m in made if m.part.name == "Observation:domestic-violence")
    assert [c["code"] for c in observation["dataAbsentReason"]["coding"]] == [code, reason]
    assert not any(name.startswith("value") for name in observation)


@pytest.mark.parametrize(
    ("result", "enrolled", "task", "asked"),
    [
        ("", "", "requested", "active"),
        ("1", "", "accepted", "active"),
        ("1", "1", "completed", "completed"),
        ("2", "", "cancelled", "revoked"),
        ("3", "", "rejected", "active"),
    ],
)
def test_a_referral_follows_the_state_table(result: str, enrolled: str, task: str, asked: str) -> None:
    row = {"EventID": "1", "PersonalID": "p", "Event": "13", "EventDate": "2026-01-02", "ReferralResult": result}
    made = convert_row(MAPS["2026"]["Event"], row, Facts(computed={"@enrolled": enrolled}))
    assert [m.resource["status"] for m in made] == [asked, task]


@pytest.mark.parametrize(
    ("status", "cell"), [("rejected", "3"), ("completed", "1"), ("accepted", "1"), ("failed", ""), ("on-hold", "")]
)
def test_a_task_changed_in_fhir_changes_the_cell(status: str, cell: str) -> None:
    table = MAPS["2026"]["Event"]
    row = {c.name: "" for c in table.file.columns} | {
        "EventID": "1",
        "PersonalID": "p",
        "Event": "13",
        "ReferralResult": "2",
    }
    found = _read(convert_row(table, row, Facts()))
    found["Task"]["status"] = status  # type: ignore[index]
    assert restore_row(table, found)["ReferralResult"] == cell  # type: ignore[arg-type]


def test_an_edit_in_fhir_wins_over_the_cell_as_it_stood() -> None:
    table = MAPS["2026"]["Client"]
    row = {c.name: "" for c in table.file.columns} | {"PersonalID": "1", "DOB": "3/4/1980", "LastName": " Riverzq "}
    found = _read(convert_row(table, row, Facts()))
    assert restore_row(table, found) == row  # type: ignore[arg-type]
    found["Patient"]["birthDate"] = "1981-05-06"  # type: ignore[index]
    changed = restore_row(table, found)  # type: ignore[arg-type]
    assert (changed["DOB"], changed["LastName"]) == ("1981-05-06", " Riverzq ")


def test_digests_never_become_names() -> None:
    digest = "a" * 64
    row = {"PersonalID": "1", "FirstName": digest, "LastName": digest, "SSN": "6789" + digest}
    patient = convert_row(MAPS["2026"]["Client"], row, Facts())[0].resource
    assert set(patient["name"][0]) == {"use", "extension"}
    assert "us-ssn" not in json.dumps(patient)


def test_sex_is_not_derived_from_gender() -> None:
    row = {"PersonalID": "1", "Woman": "1", "Man": "0"}
    patient = convert_row(MAPS["2024"]["Client"], row, Facts())[0].resource
    assert patient["gender"] == "unknown"
    assert "us-core-sex" not in json.dumps(patient)


@pytest.mark.parametrize(
    ("cell", "gender", "told"),
    [
        ("0", "female", "248152002"),
        ("1", "male", "248153007"),
        ("9", "unknown", "asked-declined"),
        ("99", "unknown", ""),
    ],
)
def test_sex_is_an_extension_of_the_patient_beside_the_gender(cell: str, gender: str, told: str) -> None:
    patient = convert_row(MAPS["2026"]["Client"], {"PersonalID": "1", "Sex": cell}, Facts())[0].resource
    assert patient["gender"] == gender
    assert [e["valueCode"] for e in patient.get("extension", ()) if "us-core-sex" in e["url"]] == (
        [told] if told else []
    )
    assert "us-core-sex" not in json.dumps(patient["_gender"])
    assert restore_row(MAPS["2026"]["Client"], {"Patient": patient})["Sex"] == cell


def test_ids_are_those_of_the_kernel_and_parts_have_their_own() -> None:
    from gateway.kernel.identifiers import resource_id

    for key in ("1", "é 2", "x" * 40):
        main, part = id_maker("s", "Client")(key), id_maker("s", "Client", "Part")(key)
        assert main == resource_id("s", "Client", key)
        assert UUID(part).version == 8
        assert UUID(part).variant == UUID(main).variant
    for version, name in TABLES:
        tags = [(part.resource, part_tag(part.name)) for part in MAPS[version][name].parts]
        assert len(set(tags)) == len(tags)
        assert all(part.name.split(":")[0] == part.resource for part in MAPS[version][name].parts)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("DOB,Patient,birthDate,dtae,,,,", "unknown conversion 'dtae'"),
        ("DBO,Patient,birthDate,date,,,,", "Client has no column 'DBO'"),
        ("DOB,Patient,birthDate,date,,,SECRET,", "unknown label 'SECRET'"),
    ],
)
def test_a_mistake_in_a_table_names_its_line(line: str, said: str) -> None:
    text = f"column,part,element,convert,list,value,label,note\n{line}\n"
    spec = SPECS["2026"]
    with pytest.raises(Invalid, match=said) as caught:
        load_map(text, "Client.csv", spec, spec.files["Client"], Source("s"), Labels.load(read_data))
    assert caught.value.at == "Client.csv:2"


@pytest.mark.parametrize("version", SPECS)
def test_every_column_of_every_file_comes_back_from_a_resource(version: str) -> None:
    for name, file in SPECS[version].files.items():
        owned = [set(part.owns) for part in MAPS[version][name].parts]
        assert set().union(*owned) == {column.name for column in file.columns}, name
    assert sum(len(file.columns) for file in SPECS[version].files.values()) > 500


def test_negatives_of_a_multiple_choice_share_one_component_and_the_head_question_answers_itself() -> None:
    table = MAPS["2026"]["IncomeBenefits"]
    row = {c.name: "" for c in table.file.columns} | {
        "IncomeBenefitsID": "1",
        "PersonalID": "p",
        "IncomeFromAnySource": "0",
        "SSI": "0",
        "TANF": "99",
        "Pension": "1",
        "PensionAmount": "12.50",
    }
    found = _read(convert_row(table, row, Facts()))
    income: Any = found["Observation:income"]
    told = {item["code"]["coding"][0]["code"]: item for item in income["component"]}
    assert told["IncomeBenefits"]["valueString"] == "SSI=0;TANF=99"
    assert told["IncomeBenefits.IncomeFromAnySource"]["valueCodeableConcept"]["coding"][0]["code"] == "0"
    assert set(told) == {f"IncomeBenefits{c}" for c in ("", ".IncomeFromAnySource", ".Pension", ".PensionAmount")}
    assert restore_row(table, found) == row  # type: ignore[arg-type]
    told["IncomeBenefits"]["valueString"] = "TANF=0"
    assert {k: v for k, v in restore_row(table, found).items() if v != row[k]} == {"SSI": "", "TANF": "0"}  # type: ignore[arg-type]


@pytest.mark.parametrize(("version", "name"), TABLES)
def test_rows_together_become_what_each_becomes_alone(version: str, name: str) -> None:
    table, spec = MAPS[version][name], SPECS[version]
    single, many = compile_map(table), compile_file(table, {})
    columns = [c.name for c in table.file.columns]
    rows, odd, alone = [], [], []
    for seed in range(12):
        row = _row(spec, table, seed, empty=0.5) | {table.file.key: f"k{seed}"}
        rows.append([row[column] for column in columns])
        try:
            alone += single([*rows[-1], *[""] * len(COMPUTED)], f"#{seed + 1}", "HIV")
        except Odd:
            odd.append(seed + 1)
    together: list[str] = []
    found: list[int] = []
    facts = (lambda cells: [""] * len(COMPUTED)) if many.computed else None
    appends = [lambda line, kind=kind: together.extend((kind, line)) for kind in many.kinds]
    many.run(
        rows,
        0,
        len(columns),
        set(),
        None,
        lambda cells, n, x: found.append(n),
        facts,
        lambda cells: "HIV",
        None,
        None,
        *appends,
    )
    assert found == odd
    assert sorted(together) == sorted(alone)


def test_answers_that_share_a_component_share_their_label() -> None:
    head = "column,part,element,convert,list,value,label,note\n"
    rows = "Earned,Observation:x,component[],choices.a,1.7,,,\nSSI,Observation:x,component[],choices.a,1.7,,HIV,\n"
    spec = SPECS["2026"]
    with pytest.raises(Invalid, match="different labels in one component"):
        load_map(head + rows, "t.csv", spec, spec.files["IncomeBenefits"], Source("s"), Labels.load(read_data))


def test_one_resource_of_a_shape_is_checked_for_all_of_them() -> None:
    table = MAPS["2026"]["Client"]
    columns = [c.name for c in table.file.columns]

    def row(**cells: str) -> list[str]:
        return [cells.get(column, "") for column in columns]

    rows = [
        row(PersonalID="1", FirstName="Azq", LastName="Bzq", DOB="1980-01-02", DOBDataQuality="1", VeteranStatus="0"),
        row(PersonalID="2", FirstName="Czq", LastName="Dzq", DOB="1990-03-04", DOBDataQuality="1", VeteranStatus="0"),
        row(PersonalID="3", FirstName="Ezq", LastName="Fzq", DOB="1970-05-06", DOBDataQuality="1", VeteranStatus="1"),
        row(PersonalID="4", LastName="Gzq", DOBDataQuality="99"),
    ]
    checked: list[str] = []

    def check(seen: set[Any], shape: Any, line: str) -> None:
        seen.add(shape)
        checked.append(line)

    function = compile_file(table, {}, checked=True)
    lines: list[str] = []
    appends = [lines.append for _ in function.kinds]
    function.run(rows, 0, len(columns), set(), None, None, None, None, None, check, *appends)
    assert len(lines) == 7
    assert [json.loads(line)["resourceType"] for line in checked] == [
        "Patient",
        "Observation",
        "Observation",
        "Patient",
    ]


def test_rows_that_need_a_look_are_handed_over_and_known_keys_are_kept() -> None:
    table = MAPS["2026"]["Client"]
    blank = [""] * len(table.file.columns)
    rows = [[key, *blank[1:]] for key in ("a", "b", "a", "")] + [[], ["c"]]
    known, careful, lines = {"b"}, list[int](), list[str]()
    function = compile_file(table, {})
    appends = [lines.append for _ in function.kinds]
    function.run(rows, 10, len(blank), known, careful.append, None, None, None, None, None, *appends)
    assert careful == [12, 13, 14, 15, 16]
    assert known == {"a", "b"}
    assert len(lines) == 1


def test_every_hud_code_is_mapped_or_said_to_be_unmapped() -> None:
    text = read_data("terminology/hud/lists.conceptmap.csv")
    seen = {tuple(line.split(",")[1:3]) for line in text.splitlines()[1:]}
    systems = {system for system, _ in seen}
    for name, codes in SPECS["2026"].lists.items():
        system = f"https://doorway.example/fhir/CodeSystem/hud-{name.lower()}"
        if (system, "*") in seen or name.startswith("ROI"):
            continue
        assert system in systems
        assert {code for one, code in seen if one == system} == set(codes), name


@pytest.mark.parametrize("spelling", ["{}", "0{}", "{}.0", " {} ", "+{}"])
@pytest.mark.parametrize(("kind", "label"), [("8", "HIV"), ("9", "MH"), ("10", "42CFRPart2")])
def test_another_spelling_of_a_code_does_not_slip_past_its_label(spelling: str, kind: str, label: str) -> None:
    table = MAPS["2026"]["Disabilities"]
    told = {"DisabilityType": spelling.format(kind), "DisabilityResponse": spelling.format("1")}
    made = convert_row(table, {"DisabilitiesID": "1", "PersonalID": "p", **told}, Facts())
    assert [m.resource["resourceType"] for m in made] == ["Observation", "Condition"]
    assert all(label in {c["code"] for c in m.resource["meta"]["security"]} for m in made)


@pytest.mark.parametrize("kind", ["HIV", "88", "?", ""])
def test_a_disability_of_a_kind_that_cannot_be_read_is_as_sensitive_as_any(kind: str) -> None:
    row = {"DisabilitiesID": "1", "PersonalID": "p", "DisabilityType": kind, "DisabilityResponse": "1"}
    for made in convert_row(MAPS["2026"]["Disabilities"], row, Facts()):
        assert {"HIV", "MH", "SUD", "DVD", "R"} <= {c["code"] for c in made.resource["meta"]["security"]}


@pytest.mark.parametrize(
    ("cell", "day"),
    [
        ("2026/3/9", "2026-03-09"),
        ("20260309", "2026-03-09"),
        ("9-Mar-2026", "2026-03-09"),
        ("9 March 2026 3:04 PM", "2026-03-09"),
        ("3/9/2026 3:04:05 PM", "2026-03-09"),
        ("31/12/2026", None),
        ("03-09-26", None),
        ("20261399", None),
        ("44266", None),
    ],
)
def test_a_day_is_read_in_every_order_that_says_which_is_which(cell: str, day: str | None) -> None:
    assert values.day_of(cell) == day


@pytest.mark.parametrize(
    ("cell", "amount"),
    [("$1,200.50", "1200.50"), ("1200,50", None), ("1,2", None), ("-3,000", "-3000"), ("1.2.3", None)],
)
def test_a_decimal_comma_is_never_read_as_thousands(cell: str, amount: str | None) -> None:
    assert values.money_of(cell) == (None if amount is None else Decimal(amount))


@pytest.mark.parametrize("digits", ["111111111", "123456789", "078051120", "000123456", "900123456"])
def test_numbers_that_nobody_was_given_are_no_ssn(digits: str) -> None:
    row = {"PersonalID": "p", "SSN": digits}
    patient = convert_row(MAPS["2026"]["Client"], row, Facts())[0].resource
    assert not any(i["system"] == "http://hl7.org/fhir/sid/us-ssn" for i in patient["identifier"])
    assert restore_row(MAPS["2026"]["Client"], {"Patient": patient})["SSN"] == digits


@pytest.mark.parametrize(
    ("cell", "counts"), [("1", True), ("01", True), ("1.0", True), ("Yes", True), ("0", False), ("", False)]
)
def test_an_answer_on_victim_services_that_cannot_be_read_counts_as_yes(cell: str, counts: bool) -> None:
    rules = ProjectRules.load(read_data, SPECS["2026"])
    owner = {"VictimServiceProvider": cell}
    assert rules.victims(owner) is counts
    assert rules.labels({}, owner, ()) == (frozenset({"SDV"}) if counts else frozenset())
    assert rules.labels({}, {}, ["021"]) == {"MH"}
