"""Our tables beside a guide: executed, replaced, left with a reason."""

from gateway.mapping.hl7v2.coverage import Ruling, guide_conditions, guide_rows
from tests.mapping.hl7v2.build import converter

FIELDS = "a,b\nSort,Identifier\n{}\n"
GUIDE = {
    "segments/HL7 Segment - FHIR R4_ PID[Patient] - PID.csv": FIELDS.format(
        "\n".join(
            (
                "5,PID-5,Patient Name,XPN,1,-1,,,,name[1],,HumanName",
                "9,PID-9,Alias,XPN,0,-1,,,,contact.name,,HumanName",
                "12,PID-12,County,IS,0,1,IF PID-11 LST.COUNT EQUALS 1,,,address[1].district,,string",
                "1,PID-1,Set ID,SI,0,1,,,,,,",
                "99,PID-99,None,ST,0,1,IF PID-99 LIKE 1,,,birthDate,,date",
            )
        )
    ),
    "segments/HL7 Segment - FHIR R4_ EVN[Provenance] - EVN.csv": FIELDS.format("1,EVN-1,Code,ID,0,1,,,,reason,,Coding"),
    "segments/HL7 Segment - FHIR R4_ SFT[Device] - Sheet1.csv": FIELDS.format(
        "1,SFT-1,Vendor,XON,1,1,,,,owner,,Reference"
    ),
    "codesystems/HL7 Concept Map_ AdministrativeSex - Sheet1.csv": FIELDS.format(
        "F,Female,HL70001,,,,female,,Female,x\nQ,Other kind,HL70001,,,,other,,Other,x"
    ),
    "messages/HL7 Message - FHIR R4_ ADT_A01 - Sheet1.csv": FIELDS.format(
        "7,ADT_A01.PID,PID,,1,1,,,,Basic[1],PID[Basic]\n35,ADT_A01.DSC,DSC,,0,1,,,,Basic[2],DSC[Basic]"
    ),
}
RULINGS = {
    ("segments", "SFT[Device]"): Ruling("", "software is no person"),
    ("rows", "PID[Patient] PID-9"): Ruling("", "an alias is a name of the person"),
    ("rows", "AdministrativeSex Q"): Ruling("", "nobody sends it"),
    ("rows", "ADT_A01 DSC"): Ruling("", "a message is read whole"),
}


def test_each_row_of_the_guide_has_a_status_and_a_reason() -> None:
    rows = {
        (r.map, r.source): (r.status, bool(r.ours), r.reason) for r in guide_rows(GUIDE, converter().tables, RULINGS)
    }
    assert rows["PID[Patient]", "PID-5"][:2] == ("executed", True)
    assert rows["PID[Patient]", "PID-9"] == ("replaced", True, "an alias is a name of the person")
    assert rows["PID[Patient]", "PID-12"][0] == "executed"
    assert rows["PID[Patient]", "PID-1"][0] == "no target"
    assert rows["PID[Patient]", "PID-99"][0] == "left"
    assert rows["SFT[Device]", "SFT-1"] == ("left", False, "software is no person")
    assert rows["AdministrativeSex", "F"][0] == "executed"


def test_a_row_that_is_not_executed_tells_its_own_reason() -> None:
    rows = {(r.map, r.source): (r.status, r.reason) for r in guide_rows(GUIDE, converter().tables, RULINGS)}
    (rule,) = {row.note for row in converter().tables.segments["EVN[Provenance]"].rows if row.source.field == 1}
    assert rows["EVN[Provenance]", "EVN-1"] == ("left", rule)
    assert rows["AdministrativeSex", "Q"] == ("left", "nobody sends it")
    status, reason = rows["ADT_A01", "ADT_A01.PID"]
    assert (status, "PID[Patient]" in reason) == ("replaced", True)
    assert rows["ADT_A01", "ADT_A01.DSC"] == ("left", "a message is read whole")


def test_conditions_of_the_guide_compile_or_are_listed() -> None:
    assert [bool(c.problem) for c in guide_conditions(GUIDE)] == [False, True]
