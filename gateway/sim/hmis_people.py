"""Rows of a synthetic export that are of no stay: the directory (agencies, projects, beds) and the clients."""

from collections.abc import Iterable
from random import Random
from typing import Any, Final

from gateway.sim.hmis_files import END, EXPORTED, SOURCE, START, Files
from gateway.sim.population import AGENCIES, PARTNER, VICTIM_SERVICES, Agency, Person, Record

_FUNDERS: Final = {"P11": "8", "P12": "8", "P21": "21", "P31": "5", "P41": "2", "P42": "3", "P51": "46", "P91": "46"}
RESIDENTIAL: Final = (0, 1, 2, 3, 8, 9, 10, 13)  # HUD 2.02.6
_WARS: Final = (
    "WorldWarII", "KoreanWar", "VietnamWar", "DesertStorm", "AfghanistanOEF", "IraqOIF", "IraqOND", "OtherTheater",
)  # fmt: skip


def agencies_of(odd: frozenset[str]) -> list[Agency]:
    """The agencies of the community; one that serves victims only when asked for."""
    return [*AGENCIES, PARTNER, *([VICTIM_SERVICES] if "victim-services" in odd else [])]


def write_directory(files: Files, version: str, odd: frozenset[str], seed: int) -> None:
    """Export, User, Organization, Project and what hangs on a project, but its beds."""
    export = {
        "ExportID": "E1",
        "SourceType": 1,
        "SourceID": "MT-500",
        "SourceName": "Riverton CoC",
        "SourceContactFirst": "Data",
        "SourceContactLast": "Desk",
        "SourceContactPhone": "4065550100",
        "SourceContactEmail": "data@riverton.example",
        "ExportDate": EXPORTED,
        "ExportStartDate": START,
        "ExportEndDate": END,
        "SoftwareName": "Doorway simulator",
        "SoftwareVersion": seed,
        "CSVVersion": "" if "no-version" in odd else f"{version} v1.0",
        "ExportPeriodType": 3,
        "ExportDirective": 2,
        "HashStatus": 4 if "hash-flag" in odd else 1,
        "ImplementationID": SOURCE,
    }
    files.write("Export", export)
    for number in range(2, 5 if "export-rows" in odd else 2):
        files.write("Export", {**export, "ExportID": f"E{number}"})
    files.write(
        "User", {"UserID": "U1", "UserFirstName": "Pat", "UserLastName": "Deskzq", "UserEmail": "pat@riverton.example"}
    )
    for agency in agencies_of(odd):
        victims = 1 if agency.victim_services else 0
        files.write(
            "Organization",
            {"OrganizationID": agency.key, "OrganizationName": agency.name, "VictimServiceProvider": victims},
        )
        for key, name, type_ in agency.projects:
            _project(files, agency, key, name, type_, "retired-codes" in odd)


def _project(files: Files, agency: Agency, key: str, name: str, type_: int, retired: bool) -> None:
    residential = type_ in RESIDENTIAL
    files.write(
        "Project",
        {
            "ProjectID": key,
            "OrganizationID": agency.key,
            "ProjectName": name,
            "OperatingStartDate": "2018-10-01",
            "ContinuumProject": 1,
            "ProjectType": type_,
            "HousingType": 1 if residential and type_ != 13 else 3 if type_ == 13 else "",
            "RRHSubType": 2 if type_ == 13 else "",
            "ResidentialAffiliation": 0 if type_ in (6, 13) else "",
            "TargetPopulation": 1 if agency.victim_services else 4,
        },
    )
    files.write(
        "ProjectCoC",
        {
            "ProjectCoCID": f"PC{key}",
            "ProjectID": key,
            "CoCCode": "MT-500",
            "Geocode": "300066",
            "Address1": "1 Depot Road",
            "City": "Riverton",
            "State": "MT",
            "ZIP": "59901",
            "GeographyType": 3,
        },
    )
    files.write(
        "Funder",
        {
            "FunderID": f"F{key}",
            "ProjectID": key,
            "Funder": 47 if retired else _FUNDERS[key],
            "GrantID": f"G-{key}",
            "OtherFunder": "local" if _FUNDERS[key] == "46" and not retired else "",
            "StartDate": "2018-10-01",
        },
    )
    _participation(files, agency, key, type_)


def _participation(files: Files, agency: Agency, key: str, type_: int) -> None:
    residential = type_ in RESIDENTIAL
    participation = 2 if agency.victim_services else 1
    files.write(
        "HMISParticipation",
        {
            "HMISParticipationID": f"H{key}",
            "ProjectID": key,
            "HMISParticipationType": participation,
            "HMISParticipationStatusStartDate": "2018-10-01",
        },
    )
    files.write(
        "CEParticipation",
        {
            "CEParticipationID": f"CE{key}",
            "ProjectID": key,
            "AccessPoint": 1 if type_ == 14 else 0,
            **dict.fromkeys(
                ("PreventionAssessment", "CrisisAssessment", "HousingAssessment", "DirectServices"), int(type_ == 14)
            ),
            "ReceivesReferrals": 1 if residential else 0,
            "CEParticipationStatusStartDate": "2018-10-01",
        },
    )


def write_inventory(files: Files, agencies: Iterable[Agency], used: set[str]) -> None:
    """Beds of residential projects; written last, since beds where nobody was would be a finding of their own."""
    for key, type_ in ((key, type_) for agency in agencies for key, _, type_ in agency.projects):
        if type_ not in RESIDENTIAL:
            continue
        beds = 40 if key in used else 0
        files.write(
            "Inventory",
            {
                "InventoryID": f"I{key}",
                "ProjectID": key,
                "CoCCode": "MT-500",
                "HouseholdType": 1,
                "Availability": 1 if type_ in (0, 1) else "",
                "UnitInventory": beds,
                "BedInventory": beds,
                "CHVetBedInventory": 0,
                "YouthVetBedInventory": 0,
                "VetBedInventory": 0,
                "CHYouthBedInventory": 0,
                "YouthBedInventory": 0,
                "CHBedInventory": 0,
                "OtherBedInventory": beds,
                "ESBedType": 1 if type_ in (0, 1) else "",
                "InventoryStartDate": "2018-10-01",
            },
        )


def write_client(files: Files, rng: Random, person: Person, record: Record, version: str) -> None:
    """One Client row as the agency recorded the person."""
    born = int(record.birth[:4]) if record.birth else person.birth.year
    veteran = record.veteran and born + 18 <= END.year  # a mistyped birth year makes no soldier of a child
    race = rng.choices(
        ("AmIndAKNative", "Asian", "BlackAfAmerican", "White", "NativeHIPacific", "MidEastNAfrican"), (4, 2, 6, 9, 1, 1)
    )[0]
    row: dict[str, Any] = {
        "PersonalID": record.key,
        "FirstName": record.given,
        "MiddleName": record.middle,
        "LastName": record.family,
        "NameSuffix": record.suffix,
        "NameDataQuality": record.name_quality,
        "SSN": record.ssn.replace("X", "x"),
        "SSNDataQuality": record.ssn_quality,
        "DOB": record.birth,
        "DOBDataQuality": record.birth_quality,
        **dict.fromkeys(
            ("AmIndAKNative", "Asian", "BlackAfAmerican", "MidEastNAfrican", "NativeHIPacific", "White"), 0
        ),
        race: 1,
        "HispanicLatinao": rng.choices((0, 1), (4, 1))[0],
        "VeteranStatus": 1 if veteran else 0,
    }
    if version == "2024":
        row["HispanicLatinaeo"] = row.pop("HispanicLatinao")
        row |= dict.fromkeys(
            ("Woman", "Man", "NonBinary", "CulturallySpecific", "Transgender", "Questioning", "DifferentIdentity"), 0
        )
        row["Woman" if record.sex == "F" else "Man"] = 1
    else:
        row["Sex"] = 0 if record.sex == "F" else 1
    if veteran:
        entered = min(born + 18 + rng.randrange(4), END.year)
        row |= dict.fromkeys(_WARS, 0) | {
            "OtherTheater": 1,
            "YearEnteredService": entered,
            "YearSeparated": min(entered + 4, END.year),
        }
        row |= {"MilitaryBranch": rng.choice((1, 2, 3, 4)), "DischargeStatus": rng.choice((1, 2))}
    files.write("Client", row)
