"""A mistake in a table stops with its file and line."""

import pytest

from gateway.adapters.files.data import list_data, read_data
from gateway.kernel.errors import Invalid
from gateway.mapping.hl7v2.conditions import parse_condition
from gateway.mapping.hl7v2.tables import read_tables

TEXTS = {path: read_data(path) for folder in ("mappings/hl7v2", "terminology/v2") for path in list_data(folder)}
HEAD = "row,source,condition,target,extension,type,datatype,vocabulary,assignment,note\n"
MESSAGE = "row,segment,min,max,condition,resource,map,references,note\n"


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        (
            "segments/PID-Patient.csv",
            HEAD + "7,PID-7,,birthDay,,,,,,",
            "PID-Patient.csv:2: R4 has no element Patient.birthDay",
        ),
        (
            "segments/PID-Patient.csv",
            HEAD + "7,PV1-7,,birthDate,,,,,,",
            "PID-Patient.csv:2: 'PV1-7' is no place in PID",
        ),
        ("segments/PID-Patient.csv", HEAD + "7,PID-7,IF PID-7 LIKE 1,birthDate,,,,,,", "PID-Patient.csv:2: "),
        (
            "segments/PID-Patient.csv",
            HEAD + "5,PID-5,,name[1],,,XPN[Name],,,",
            "PID-Patient.csv:2: no data type map XPN[Name]",
        ),
        (
            "segments/PID-Patient.csv",
            HEAD + "5,PID-5,,name[1],,,wave,,,",
            "PID-Patient.csv:2: unknown conversion 'wave'",
        ),
        ("segments/PID-Patient.csv", HEAD + "8,PID-8,,gender,,,,Sex,,", "PID-Patient.csv:2: no concept map v2-Sex"),
        (
            "segments/PID-Patient.csv",
            HEAD + "7,PID-7,,birthDate[2],,,,,,",
            "PID-Patient.csv:2: Patient.birthDate does not repeat",
        ),
        (
            "segments/PID-Patient.csv",
            HEAD + "7,PID-7,,birthDate(Patient),,,,,,",
            "PID-Patient.csv:2: Patient.birthDate is no reference",
        ),
        ("segments/PID-Patient.csv", HEAD + "7,PID-7,,,,,,,,", "PID-Patient.csv:2: a row without target says"),
        (
            "segments/PID-Patient.csv",
            HEAD + "7,PID-7,,birthDate,,Quantity,,,,",
            "PID-Patient.csv:2: the element has type date",
        ),
        (
            "segments/PID-Patient.csv",
            HEAD + "7,PID-7,,,http://x,,,,,",
            "PID-Patient.csv:2: an extension needs the type",
        ),
        (
            "segments/PID-Patient.csv",
            HEAD + "7,PID-7,,birthDate,,,,,x,",
            "PID-Patient.csv:2: cannot read the assignment",
        ),
        (
            "messages/ADT_A01.csv",
            MESSAGE + "1,PID,1,1,,Patient[1],PID[Person],,",
            "ADT_A01.csv:2: no segment map PID[Person]",
        ),
        (
            "messages/ADT_A01.csv",
            MESSAGE + "1,PV1,1,1,,Patient[1],PID[Patient],,",
            "ADT_A01.csv:2: PID[Patient] does not read PV1",
        ),
        (
            "messages/ADT_A01.csv",
            MESSAGE + "1,PID,1,1,,Patient[1],PID[Patient],name=Patient[2],",
            "ADT_A01.csv:2: name is no reference",
        ),
        (
            "triggers.csv",
            "event,structure,status,cancels,effect,note\nADT^A01,ADT_X,,,upsert,",
            "triggers.csv:2: no message map ADT_X",
        ),
        ("required.csv", "resource,element,value,note\nPatient,active,yes,", "required.csv:2: the value is not JSON"),
    ],
)
def test_the_complaint_names_file_line_and_reason(file: str, text: str, complaint: str) -> None:
    with pytest.raises(Invalid) as stopped:
        read_tables(TEXTS | {f"mappings/hl7v2/{file}": text})
    assert complaint in str(stopped.value)


@pytest.mark.parametrize(
    "cell",
    [
        "IF PID-13.2 IS NOT VALUED",
        "IF PID-33 AND PID-34 VALUED",
        "IF PID-11 LST.COUNT EQUALS 1 AND PID-11.9 IS VALUED NOT EQUAL PID-12",
        'IF OBX-5 LST.count LESS THAN OR EQUALS 1 OR OBX-2 IS "NA"',
        "IF OBX-33 COUNT>1",
        'IF IAM-15 VALUED AND NOT "SEL"',
        "IF RXO-2 IS VALUED AND (IF RXO-4.1 IS VALUED OR RXO-4.3 IS VALUED)",
        "IF XCN.19 DOES NOT EXIST AND IF XCN.20 DOES NOT EXIST",
        'IF HD-3 NOT IN ("ISO", "UUID")',
        "IF TQ1-3.9 IS EMPTY",
        "if txa-19 = 'AV'",
    ],
)
def test_the_guides_ways_of_writing_a_condition_are_read(cell: str) -> None:
    assert parse_condition(cell, at="x") is not None


@pytest.mark.parametrize("cell", ["IF", "IF PID-3 VALUED PID-4", "IF (PID-3 VALUED", 'IF PID-3 EQUALS "A', "IF VALUED"])
def test_what_cannot_be_read_is_not_guessed(cell: str) -> None:
    with pytest.raises(Invalid):
        parse_condition(cell, at="x")


def test_a_site_replaces_rows_and_maps_its_own_segments() -> None:
    site = "mappings/sites/west/"
    tables = read_tables(
        TEXTS
        | {
            f"{site}segments/PID-Patient.csv": HEAD + "8,PID-8,,,,,,,,never sent right",
            f"{site}segments/ZPI-Patient.csv": HEAD + "1,ZPI-1,,,https://doorway.example/x,string,,,,",
            f"{site}messages/ADT_A01.csv": MESSAGE + "900,ZPI,0,1,,Patient[1],ZPI[Patient],,",
        },
        site="west",
    )
    assert [row.target for row in tables.segments["PID[Patient]"].rows if row.source.field == 8] == [""]
    assert tables.messages["ADT_A01"].rows[-1].map == "ZPI[Patient]"
