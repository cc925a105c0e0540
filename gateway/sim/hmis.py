"""A synthetic HMIS export of the community (population.py): valid FY2026 or FY2024, oddities on request, with truth.

Rows are written as they are drawn, so a million clients stream in flat memory. Same seed and size, same bytes.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

from gateway.mapping.hmis.spec import Read
from gateway.sim.hmis_files import END, START, Files, Told
from gateway.sim.hmis_people import agencies_of, write_client, write_directory, write_inventory
from gateway.sim.population import (
    AGENCIES,
    Agency,
    Person,
    Population,
    Record,
    agreed_agencies,
)

_SOURCES: Final = (
    "Earned", "Unemployment", "SSI", "SSDI", "VADisabilityService", "VADisabilityNonService", "PrivateDisability",
    "WorkersComp", "TANF", "GA", "SocSecRetirement", "Pension", "ChildSupport", "Alimony", "OtherIncomeSource",
)  # fmt: skip
_INSURANCES: Final = (
    "Medicaid", "Medicare", "SCHIP", "VHAServices", "EmployerProvided", "COBRA", "PrivatePay", "StateHealthIns",
    "IndianHealthServices", "OtherInsurance",
)  # fmt: skip
_HOMELESS: Final = ("101", "116", "118")
_YES_NO: Final = ("0", "1")


def write_export(
    read: Read, out: Path, *, seed: int, clients: int, version: str = "2026", oddities: Iterable[str] = ()
) -> Told:
    """Write the export, ``truth.ndjson`` (person, PersonalID, agency, household) and ``truth.json`` into ``out``.

    ``clients`` is the number of people; some have two records, as in every HMIS.
    """
    odd = frozenset(oddities)
    population = Population(seed, clients)
    files = Files(read, out, version, odd)
    write_directory(files, version, odd, seed)
    with (out / "truth.ndjson").open("w", encoding="utf-8") as truth:
        head_agency = AGENCIES[0]
        for person in population:
            files.told.people += 1
            records = population.hmis_records(person)
            if person.relation == 1:
                head_agency = _agency(records[0].agency)
            for n, record in enumerate(records):
                agency = head_agency if n == 0 and person.index else _agency(record.agency)
                told = {"person": person.index, "PersonalID": record.key, "agency": agency.key}
                truth.write(json.dumps({**told, "household": person.household}) + "\n")
                write_client(files, Random(f"{seed}:rows:{record.key}"), person, record, version)
                if n == 0 or person.relation != 2:  # a child's second record never entered a project alone
                    _stay(files, Random(f"{seed}:stay:{record.key}"), person, record, agency, n, seed)
            _consent(files, person, records)
            if "victim-services" in odd and person.index % 10 == 5:
                _victim(files, person, seed)
    write_inventory(files, agencies_of(odd), files.used)
    files.close()
    if "custom-files" in odd:
        (out / "CustomPetNames.csv").write_text("PersonalID,Pet\r\nC000001,Biscuitzq\r\n", encoding="utf-8")
    files.told.clients = files.told.rows.get("Client", 0)
    summary = {"seed": seed, "people": files.told.people, "version": version, "oddities": sorted(odd)}
    (out / "truth.json").write_text(json.dumps({**summary, "rows": files.told.rows}, indent=1) + "\n", encoding="utf-8")
    return files.told


def _agency(key: str) -> Agency:
    return next(agency for agency in AGENCIES if agency.key == key)


def _stay(files: Files, rng: Random, person: Person, record: Record, agency: Agency, n: int, seed: int) -> None:
    """An enrollment with everything that hangs on it. A household enters and leaves together."""
    shared = Random(f"{seed}:household:{person.household}:stay") if n == 0 and person.index else rng
    household = f"H{person.household:07d}" if n == 0 and person.index else f"H-{record.key}"
    relation = person.relation if n == 0 and person.index else 1
    project, _, type_ = agency.projects[0]
    entry = START + timedelta(days=shared.randrange(30, 300))
    leaves = entry + timedelta(days=shared.randrange(3, 200)) if shared.random() < 0.6 else None
    born = date.fromisoformat(record.birth) if record.birth else person.birth
    entry = max(entry, min(born, END))  # a child born into the household joins it at birth
    exit_ = max(leaves, entry) if leaves is not None and leaves <= END else None
    enrollment = f"E-{record.key}"
    files.used.add(project)
    adult = entry.year - born.year - ((entry.month, entry.day) < (born.month, born.day)) >= 18
    head = relation == 1
    situation = rng.choice(_HOMELESS)
    files.write(
        "Enrollment",
        {
            "EnrollmentID": enrollment,
            "PersonalID": record.key,
            "ProjectID": project,
            "EntryDate": entry,
            "HouseholdID": household,
            "RelationshipToHoH": relation,
            "EnrollmentCoC": "MT-500",
            "DisablingCondition": rng.choice(_YES_NO),
            **(_history(rng, situation, entry) if adult or head else {}),
            "DateOfEngagement": entry if type_ in (4, 1, 11) else "",
            "MoveInDate": entry + timedelta(days=2) if type_ in (3, 13) and head and _stays(entry, exit_) else "",
            **({"DateOfPATHStatus": entry, "ClientEnrolledInPATH": 1} if type_ == 4 and adult else {}),
        },
    )
    stages = [(1, entry), *([(3, exit_)] if exit_ else [])]
    for stage, day in stages:
        _collected(files, rng, record, enrollment, stage, day, adult or head)
    if exit_ is not None:
        subsidy = rng.random() < 0.3
        files.write(
            "Exit",
            {
                "ExitID": f"X-{record.key}",
                "EnrollmentID": enrollment,
                "PersonalID": record.key,
                "ExitDate": exit_,
                "Destination": "435" if subsidy else rng.choice(("410", "101", "116", "302", "206", "422")),
                "DestinationSubsidyType": "428" if subsidy else "",
            },
        )
    _services(files, rng, record, enrollment, project, type_, entry)
    if agency.key == "ORG1" and head:
        _coordinated_entry(files, rng, record, entry)


def _stays(entry: date, exit_: date | None) -> bool:
    return entry + timedelta(days=2) <= (exit_ or END)


def _history(rng: Random, situation: str, entry: date) -> dict[str, Any]:
    """3.917: from the street or a shelter."""
    since = entry - timedelta(days=rng.randrange(20, 300))
    months = (entry.year - since.year) * 12 + entry.month - since.month + 1
    length = rng.choice(("2", "3", "10", "11"))
    return {
        "LivingSituation": situation,
        "LengthOfStay": length if length != "3" or (entry - since).days >= 30 else "2",
        "DateToStreetESSH": since,
        "TimesHomelessPastThreeYears": 1,
        "MonthsHomelessPastThreeYears": 100 + min(months, 12),
    }


def _collected(files: Files, rng: Random, record: Record, enrollment: str, stage: int, day: date, adult: bool) -> None:
    own = {"EnrollmentID": enrollment, "PersonalID": record.key, "InformationDate": day, "DataCollectionStage": stage}
    if adult:
        _income(files, rng, f"IB-{record.key}-{stage}", own)
        _health(files, rng, f"HD-{record.key}-{stage}", own)
    if stage == 1:
        _disabilities(files, rng, record, own)


def _income(files: Files, rng: Random, key: str, own: dict[str, Any]) -> None:
    earned = rng.random() < 0.4
    amount = f"{rng.randrange(400, 2400)}.{rng.randrange(100):02d}"
    snap, covered = rng.random() < 0.5, rng.random() < 0.6
    files.write(
        "IncomeBenefits",
        {
            "IncomeBenefitsID": key,
            **own,
            "IncomeFromAnySource": int(earned),
            **dict.fromkeys(_SOURCES, 0),
            "Earned": int(earned),
            "EarnedAmount": amount if earned else "",
            "TotalMonthlyIncome": amount if earned else "0",
            "BenefitsFromAnySource": int(snap),
            "SNAP": int(snap),
            **dict.fromkeys(("WIC", "TANFChildCare", "TANFTransportation", "OtherTANF", "OtherBenefitsSource"), 0),
            "InsuranceFromAnySource": int(covered),
            **dict.fromkeys(_INSURANCES, 0),
            "Medicaid": int(covered),
        },
    )


def _health(files: Files, rng: Random, key: str, own: dict[str, Any]) -> None:
    survivor = rng.random() < 0.2
    files.write(
        "HealthAndDV",
        {
            "HealthAndDVID": key,
            **own,
            "DomesticViolenceSurvivor": int(survivor),
            **({"WhenOccurred": rng.choice((1, 2, 3, 4)), "CurrentlyFleeing": rng.choice(_YES_NO)} if survivor else {}),
        },
    )


def _disabilities(files: Files, rng: Random, record: Record, own: dict[str, Any]) -> None:
    for type_ in ("5", "6", "7", "8", "9", "10"):
        yes = rng.random() < 0.15
        files.write(
            "Disabilities",
            {
                "DisabilitiesID": f"D-{record.key}-{type_}",
                **own,
                "DisabilityType": type_,
                "DisabilityResponse": (rng.choice((1, 2, 3)) if type_ == "10" else 1) if yes else 0,
                "IndefiniteAndImpairs": rng.choice(_YES_NO) if yes else "",
            },
        )


def _services(
    files: Files, rng: Random, record: Record, enrollment: str, project: str, type_: int, entry: date
) -> None:
    own = {"EnrollmentID": enrollment, "PersonalID": record.key}
    if type_ == 4:
        files.write(
            "Services",
            {
                "ServicesID": f"S-{record.key}-1",
                **own,
                "DateProvided": entry,
                "RecordType": 141,
                "TypeProvided": rng.choice((1, 2, 3, 4)),
            },
        )
        files.write(
            "Services",
            {
                "ServicesID": f"S-{record.key}-2",
                **own,
                "DateProvided": entry,
                "RecordType": 161,
                "TypeProvided": rng.choice((1, 2, 7)),
                "ReferralOutcome": rng.choice((1, 2, 3)),
            },
        )
    if type_ in (4, 11, 14):
        files.write(
            "CurrentLivingSituation",
            {
                "CurrentLivingSitID": f"L-{record.key}",
                **own,
                "InformationDate": entry,
                "CurrentLivingSituation": rng.choice(_HOMELESS),
            },
        )


def _coordinated_entry(files: Files, rng: Random, record: Record, entry: date) -> None:
    enrollment, day = f"E-{record.key}-CE", entry + timedelta(days=1)
    own = {"EnrollmentID": enrollment, "PersonalID": record.key}
    files.write(
        "Enrollment",
        {
            **own,
            "ProjectID": "P12",
            "EntryDate": day,
            "HouseholdID": f"HC-{record.key}",
            "RelationshipToHoH": 1,
            "EnrollmentCoC": "MT-500",
            "DisablingCondition": rng.choice(_YES_NO),
            **_history(rng, "101", day),
        },
    )
    files.write(
        "CurrentLivingSituation",
        {"CurrentLivingSitID": f"L-{record.key}-CE", **own, "InformationDate": day, "CurrentLivingSituation": "101"},
    )
    _assessment(files, rng, record, own, day)
    result = rng.choice(("", "1", "2", "3"))
    files.write(
        "Event",
        {
            "EventID": f"V-{record.key}",
            **own,
            "EventDate": day,
            "Event": rng.choice((13, 14)),
            "LocationCrisisOrPHHousing": rng.choice(("P41", "P42")),
            "ReferralResult": result,
            "ResultDate": day + timedelta(days=5) if result else "",
        },
    )


def _assessment(files: Files, rng: Random, record: Record, own: dict[str, str], day: date) -> None:
    files.write(
        "Assessment",
        {
            "AssessmentID": f"A-{record.key}",
            **own,
            "AssessmentDate": day,
            "AssessmentLocation": "Harbour Coordinated Entry",
            "AssessmentType": 3,
            "AssessmentLevel": 2,
            "PrioritizationStatus": 1,
        },
    )
    files.write(
        "AssessmentQuestions",
        {
            "AssessmentQuestionID": f"AQ-{record.key}",
            "AssessmentID": f"A-{record.key}",
            **own,
            "AssessmentQuestionGroup": "A",
            "AssessmentQuestionOrder": 1,
            "AssessmentQuestion": "Nights outside in the past month",
            "AssessmentAnswer": rng.randrange(30),
        },
    )
    files.write(
        "AssessmentResults",
        {
            "AssessmentResultID": f"AR-{record.key}",
            "AssessmentID": f"A-{record.key}",
            **own,
            "AssessmentResultType": "score",
            "AssessmentResult": rng.randrange(1, 17),
        },
    )


def _consent(files: Files, person: Person, records: tuple[Record, ...]) -> None:
    if person.consents == "none":
        return
    for record in records:
        expired = person.consents == "expired"
        files.write(
            "Consent",
            {
                "ConsentID": f"R-{record.key}",
                "PersonalID": record.key,
                "ConsentStatus": {"expired": "full"}.get(person.consents, person.consents),
                "ConsentRegime": "explicit",
                "StartDate": "2023-01-01" if expired else "2025-07-01",
                "EndDate": "2024-12-31" if expired else "2028-06-30",
                "RevokedDate": "2026-03-01" if person.consents == "revoked" else "",
                "OrganizationID": record.agency,
                "Agencies": ";".join(agreed_agencies(person)),
                "SignedDate": "2023-01-01" if expired else "2025-07-01",
                "FormReference": f"roi/{record.key}.pdf",
            },
        )


def _victim(files: Files, person: Person, seed: int) -> None:
    key = f"V{person.index:06d}"
    files.write(
        "Client",
        {
            "PersonalID": key,
            "FirstName": person.given,
            "LastName": person.family,
            "NameDataQuality": 1,
            "SSNDataQuality": 99,
            "DOBDataQuality": 99,
            "VeteranStatus": 99,
        },
    )
    files.write(
        "Enrollment",
        {
            "EnrollmentID": f"E-{key}",
            "PersonalID": key,
            "ProjectID": "P91",
            "EntryDate": START + timedelta(days=seed % 90),
            "HouseholdID": f"H-{key}",
            "RelationshipToHoH": 1,
            "EnrollmentCoC": "MT-500",
            "DisablingCondition": 99,
        },
    )


def truth_of(out: Path) -> Iterator[tuple[int, str]]:
    """(person, PersonalID) of the truth file."""
    with (out / "truth.ndjson").open(encoding="utf-8") as handle:
        for line in handle:
            told = json.loads(line)
            yield int(told["person"]), str(told["PersonalID"])
