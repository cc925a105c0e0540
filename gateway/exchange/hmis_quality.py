"""Data-quality rules of an export: enrollments, households and projects, by the ids of mappings/hmis/checks.csv."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from typing import Final

from gateway.exchange.hmis_check import Checked, rows_of
from gateway.exchange.hmis_convert import Conversion
from gateway.mapping.hmis.values import day_of

RESIDENTIAL: Final = ("0", "1", "2", "3", "8", "9", "10", "13")
PERMANENT: Final = ("3", "9", "10", "13")
_ASKED: Final = ("0", "2", "3", "8", "9", "10", "12", "13")  # project types that collect income and insurance
_UNKNOWN: Final = ("8", "9", "99")
_SSVF: Final = "33"
_WARS: Final = (
    "WorldWarII", "KoreanWar", "VietnamWar", "DesertStorm", "AfghanistanOEF", "IraqOIF", "IraqOND", "OtherTheater",
)  # fmt: skip
_SOURCES: Final = {
    "income": ("IncomeFromAnySource", (
        "Earned", "Unemployment", "SSI", "SSDI", "VADisabilityService", "VADisabilityNonService", "PrivateDisability",
        "WorkersComp", "TANF", "GA", "SocSecRetirement", "Pension", "ChildSupport", "Alimony", "OtherIncomeSource",
    )),
    "benefits": ("BenefitsFromAnySource", (
        "SNAP", "WIC", "TANFChildCare", "TANFTransportation", "OtherTANF", "OtherBenefitsSource",
    )),
    "insurance": ("InsuranceFromAnySource", (
        "Medicaid", "Medicare", "SCHIP", "VHAServices", "EmployerProvided", "COBRA", "PrivatePay", "StateHealthIns",
        "IndianHealthServices", "OtherInsurance",
    )),
}  # fmt: skip
_CONFLICT: Final = {
    ("income", "1"): "88",
    ("income", "3"): "90",
    ("benefits", "1"): "97",
    ("insurance", "1"): "94",
    ("insurance", "3"): "95",
}
_MISSING: Final = {
    ("income", "1"): "87",
    ("income", "3"): "89",
    ("benefits", "1"): "96",
    ("insurance", "1"): "92",
    ("insurance", "3"): "93",
}

Row = dict[str, str]


@dataclass(slots=True)
class Stay:
    """An enrollment with what belongs to it."""

    number: int
    row: Row
    project: Row
    exit: Row = field(default_factory=dict)
    exit_number: int = 0
    client: Row = field(default_factory=dict)
    collected: dict[str, tuple[int, Row]] = field(default_factory=dict)  # IncomeBenefits by stage
    bed_nights: set[str] = field(default_factory=set)

    @property
    def key(self) -> str:
        """ProjectID."""
        return self.row.get("ProjectID", "")

    @property
    def type(self) -> str:
        """Project type."""
        return self.project.get("ProjectType", "")

    @property
    def entry(self) -> str:
        """Entry day, empty when unreadable."""
        return day_of(self.row.get("EntryDate", "")) or ""

    @property
    def left(self) -> str:
        """Exit day, empty while open."""
        return day_of(self.exit.get("ExitDate", "")) or ""

    @property
    def head(self) -> bool:
        """Whether the client heads the household."""
        return self.row.get("RelationshipToHoH") == "1"

    @property
    def age(self) -> int | None:
        """Age at entry."""
        born = day_of(self.client.get("DOB", ""))
        if not born or not self.entry:
            return None
        b, e = date.fromisoformat(born), date.fromisoformat(self.entry)
        return e.year - b.year - ((e.month, e.day) < (b.month, b.day))

    @property
    def answers(self) -> bool:
        """Whether HUD asks this person: adults and heads."""
        return self.head or (self.age or 0) >= 18


def check_quality(conversion: Conversion, checked: Checked) -> None:
    """Run every data-quality rule."""
    projects = _Projects(conversion, checked)
    projects.check()
    stays = _stays(conversion, projects.rows)
    exported = day_of(conversion.export[0].get("ExportDate", "")) if conversion.export else None
    for stay in stays.values():
        _dates(stay, checked, exported or "9999", projects)
        _history(stay, checked)
        _asked(stay, checked, projects)
    _households(stays, checked)
    _overlaps(stays, checked)
    _clients(conversion, checked, exported or "9999")
    _contacts(conversion, checked)
    projects.check_use(stays)


def _stays(conversion: Conversion, projects: dict[str, Row]) -> dict[str, Stay]:
    keep = (
        "EnrollmentID", "PersonalID", "ProjectID", "EntryDate", "HouseholdID", "RelationshipToHoH", "EnrollmentCoC",
        "LivingSituation", "RentalSubsidyType", "LengthOfStay", "LOSUnderThreshold", "PreviousStreetESSH",
        "DateToStreetESSH", "TimesHomelessPastThreeYears", "MonthsHomelessPastThreeYears", "DisablingCondition",
        "MoveInDate", "PercentAMI", "VAMCStation",
    )  # fmt: skip
    stays: dict[str, Stay] = {}
    for number, row in rows_of(conversion, "Enrollment"):
        if not row.get("DateDeleted"):
            kept = {name: row.get(name, "") for name in keep}
            stays[row.get("EnrollmentID", "")] = Stay(number, kept, projects.get(row.get("ProjectID", ""), {}))
    clients = {row.get("PersonalID", ""): row for _, row in rows_of(conversion, "Client")}
    for stay in stays.values():
        stay.client = clients.get(stay.row["PersonalID"], {})
    for number, row in rows_of(conversion, "Exit"):
        found = stays.get(row.get("EnrollmentID", ""))
        if found is not None and not row.get("DateDeleted"):
            found.exit, found.exit_number = row, number
    for number, row in rows_of(conversion, "IncomeBenefits"):
        found = stays.get(row.get("EnrollmentID", ""))
        if found is not None and not row.get("DateDeleted"):
            found.collected[row.get("DataCollectionStage", "")] = (number, row)
    for _, row in rows_of(conversion, "Services"):
        found = stays.get(row.get("EnrollmentID", ""))
        if found is not None and row.get("RecordType") == "200" and not row.get("DateDeleted"):
            found.bed_nights.add(row.get("DateProvided", ""))
    return stays


def _dates(stay: Stay, checked: Checked, exported: str, projects: "_Projects") -> None:
    def say(rule: str, column: str) -> None:
        checked.say(rule, "Enrollment", stay.number, column, stay.key)

    entry, left = stay.entry, stay.left
    if not entry:
        return
    if entry > exported:
        say("75", "EntryDate")
    if left and left < entry:
        checked.say("99", "Exit", stay.exit_number, "ExitDate", stay.key)
    if left > exported:
        checked.say("14", "Exit", stay.exit_number, "ExitDate", stay.key)
    born = day_of(stay.client.get("DOB", ""))
    if born and born > entry:
        say("84", "EntryDate")
    moved = day_of(stay.row["MoveInDate"])
    if moved and (moved < entry or (left and moved > left)):
        say("40", "MoveInDate")
    if stay.type in PERMANENT and stay.head and not moved and stay.exit.get("Destination", "")[:1] == "4":
        say("72", "MoveInDate")
    opened, closed = (day_of(stay.project.get(f"Operating{end}Date", "")) or "" for end in ("Start", "End"))
    if closed and entry > closed:
        say("116", "EntryDate")
    elif closed and (left > closed or (not left and closed < exported)):
        say("119", "EntryDate")
    if opened and left and left < opened:
        say("118", "EntryDate")
    elif opened and entry < opened:
        say("117", "EntryDate")
    periods = projects.participation.get(stay.key, [])
    if periods and entry < min(start for start, _ in periods):
        say("112", "EntryDate")
    ended = max((end or "9999" for _, end in periods), default="9999")
    if (left or exported) > ended and ended < exported:
        say("114", "EntryDate")
    if stay.type == "1":
        if entry not in stay.bed_nights:
            say("107", "EntryDate")
        if left and left in stay.bed_nights:
            checked.say("108", "Exit", stay.exit_number, "ExitDate", stay.key)


def _history(stay: Stay, checked: Checked) -> None:
    """3.917 prior living situation, and the household's CoC."""

    def say(rule: str, column: str) -> None:
        checked.say(rule, "Enrollment", stay.number, column, stay.key)

    row = stay.row
    if stay.head and not row["EnrollmentCoC"]:
        say("27", "EnrollmentCoC")
    if row["DisablingCondition"] in _UNKNOWN:
        say("32", "DisablingCondition")
    if row["LivingSituation"] == "435" and not row["RentalSubsidyType"]:
        say("130", "RentalSubsidyType")
    if not stay.answers or stay.type not in RESIDENTIAL:
        return
    if not row["LivingSituation"]:
        say("30", "LivingSituation")
    elif row["LivingSituation"] in _UNKNOWN:
        say("64", "LivingSituation")
    if not row["LengthOfStay"]:
        say("26", "LengthOfStay")
    elif row["LengthOfStay"] in _UNKNOWN:
        say("73", "LengthOfStay")
    if row["LOSUnderThreshold"] == "1" and not row["PreviousStreetESSH"]:
        say("41", "PreviousStreetESSH")
    homeless = row["LivingSituation"][:1] == "1" or row["PreviousStreetESSH"] == "1"
    if not homeless:
        return
    began = day_of(row["DateToStreetESSH"])
    if not row["DateToStreetESSH"]:
        say("28", "DateToStreetESSH")
    elif began and stay.entry and began > stay.entry:
        say("69", "DateToStreetESSH")
    for column in ("TimesHomelessPastThreeYears", "MonthsHomelessPastThreeYears"):
        if not row[column]:
            say("31", column)
        elif row[column] in _UNKNOWN:
            say("61", column)
    months = row["MonthsHomelessPastThreeYears"]
    if (
        began
        and stay.entry
        and months.isdigit()
        and 101 <= int(months) <= 112
        and row["TimesHomelessPastThreeYears"] == "1"
    ):
        first, last = date.fromisoformat(began), date.fromisoformat(stay.entry)
        span = (last.year - first.year) * 12 + last.month - first.month + 1
        if int(months) - 100 > span + 1:
            say("71", "MonthsHomelessPastThreeYears")


def _asked(stay: Stay, checked: Checked, projects: "_Projects") -> None:
    """Income, benefits and insurance at entry and exit; SSVF."""
    if stay.exit.get("Destination") in ("8", "9", "99", "30"):
        checked.say("59", "Exit", stay.exit_number, "Destination", stay.key)
    if stay.exit.get("Destination") == "435" and not stay.exit.get("DestinationSubsidyType"):
        checked.say("121", "Exit", stay.exit_number, "DestinationSubsidyType", stay.key)
    if _SSVF in projects.funders.get(stay.key, ()) and stay.head:
        for rule, column in (("22", "PercentAMI"), ("23", "VAMCStation")):
            if not stay.row[column]:
                checked.say(rule, "Enrollment", stay.number, column, stay.key)
    for stage, needed in (("1", True), ("3", bool(stay.left))):
        number, row = stay.collected.get(stage, (0, {}))
        for kind, (any_, sources) in _SOURCES.items():
            answer, yes = row.get(any_, ""), [name for name in sources if row.get(name) == "1"]
            conflict = (answer == "1" and not yes) or (answer == "0" and bool(yes))
            if conflict and (kind, stage) in _CONFLICT:
                checked.say(_CONFLICT[kind, stage], "IncomeBenefits", number, any_, stay.key)
            absent = answer in ("", "99") and needed and stay.answers and stay.type in _ASKED
            if absent and (kind, stage) in _MISSING:
                place = ("IncomeBenefits", number, any_) if number else ("Enrollment", stay.number, "EnrollmentID")
                checked.say(_MISSING[kind, stage], *place, stay.key)


def _households(stays: dict[str, Stay], checked: Checked) -> None:
    groups: dict[tuple[str, str], list[Stay]] = {}
    for stay in stays.values():
        relation = stay.row["RelationshipToHoH"]
        if relation in ("", "99"):
            checked.say("4", "Enrollment", stay.number, "RelationshipToHoH", stay.key)
        if stay.row["HouseholdID"]:
            groups.setdefault((stay.row["HouseholdID"], stay.key), []).append(stay)
    for members in groups.values():
        heads = [stay for stay in members if stay.head]
        if not heads:
            checked.say("2", "Enrollment", members[0].number, "RelationshipToHoH", members[0].key)
        persons = {stay.row["PersonalID"] for stay in heads}
        if len(persons) > 1:
            for stay in heads[1:]:
                checked.say("3", "Enrollment", stay.number, "RelationshipToHoH", stay.key)
        ages = [stay.age for stay in members]
        if all(age is not None and age < 12 for age in ages):
            checked.say("86", "Enrollment", members[0].number, "HouseholdID", members[0].key)


def _overlaps(stays: dict[str, Stay], checked: Checked) -> None:
    by_person: dict[str, list[Stay]] = {}
    for stay in stays.values():
        by_person.setdefault(stay.row["PersonalID"], []).append(stay)
    for own in by_person.values():
        if len(own) < 2:
            continue
        own.sort(key=lambda stay: (stay.entry, stay.number))
        same: set[tuple[str, str]] = set()
        for stay in own:
            key = (stay.key, stay.entry)
            if key in same:
                checked.say("1", "Enrollment", stay.number, "EntryDate", stay.key)
            same.add(key)
        nights = [stay for stay in own if stay.type in ("0", "2", "8")]
        for before, after in pairwise(nights):
            if after.entry < (before.left or "9999") and before.entry != after.entry:
                checked.say("77", "Enrollment", after.number, "EntryDate", after.key)


def _clients(conversion: Conversion, checked: Checked, exported: str) -> None:
    for number, row in rows_of(conversion, "Client"):
        if row.get("DateDeleted"):
            continue
        born, quality = day_of(row.get("DOB", "")), row.get("DOBDataQuality", "")
        if not born and quality in ("1", "2") and not row.get("DOB"):
            checked.say("34", "Client", number, "DOB")
        if born and int(exported[:4]) - int(born[:4]) > 100:
            checked.say("143", "Client", number, "DOB")
        for rule, column, codes in (
            ("67", "SSNDataQuality", ("2", *_UNKNOWN)),
            ("60", "DOBDataQuality", ("2", *_UNKNOWN)),
            ("78", "NameDataQuality", ("2", *_UNKNOWN)),
            ("66", "VeteranStatus", _UNKNOWN),
            ("63", "RaceNone", _UNKNOWN),
        ):
            if row.get(column) in codes:
                checked.say(rule, "Client", number, column)
        if row.get("VeteranStatus") == "1":
            _veteran(number, row, checked, born, exported)


def _veteran(number: int, row: Row, checked: Checked, born: str | None, exported: str) -> None:
    entered, left = row.get("YearEnteredService", ""), row.get("YearSeparated", "")
    for rule, column in (
        ("15", "YearEnteredService"),
        ("17", "YearSeparated"),
        ("20", "MilitaryBranch"),
        ("21", "DischargeStatus"),
    ):
        if not row.get(column):
            checked.say(rule, "Client", number, column)
    if any(not row.get(war) for war in _WARS):
        checked.say("19", "Client", number, next(war for war in _WARS if not row.get(war)))
    if entered.isdigit() and (int(entered) > int(exported[:4]) or (born and int(entered) < int(born[:4]) + 16)):
        checked.say("16", "Client", number, "YearEnteredService")
    if left.isdigit() and (int(left) > int(exported[:4]) or (entered.isdigit() and left < entered)):
        checked.say("18", "Client", number, "YearSeparated")


def _contacts(conversion: Conversion, checked: Checked) -> None:
    for number, row in rows_of(conversion, "CurrentLivingSituation"):
        if row.get("CurrentLivingSituation") == "435" and not row.get("CLSSubsidyType"):
            checked.say("129", "CurrentLivingSituation", number, "CLSSubsidyType")


class _Projects:
    """Projects with what belongs to them, and the rules about them."""

    def __init__(self, conversion: Conversion, checked: Checked) -> None:
        self._conversion, self._checked = conversion, checked
        self._numbers: dict[str, int] = {}
        self.rows: dict[str, Row] = {}
        for number, row in rows_of(conversion, "Project"):
            if not row.get("DateDeleted"):
                self.rows[row.get("ProjectID", "")] = row
                self._numbers[row.get("ProjectID", "")] = number
        self._organizations = {row.get("OrganizationID", ""): row for _, row in rows_of(conversion, "Organization")}
        self.funders: dict[str, set[str]] = {}
        for _, row in rows_of(conversion, "Funder"):
            self.funders.setdefault(row.get("ProjectID", ""), set()).add(row.get("Funder", ""))
        self.participation: dict[str, list[tuple[str, str]]] = {}
        for _, row in rows_of(conversion, "HMISParticipation"):
            if row.get("HMISParticipationType") == "1" and not row.get("DateDeleted"):
                period = (
                    row.get("HMISParticipationStatusStartDate", ""),
                    row.get("HMISParticipationStatusEndDate", ""),
                )
                self.participation.setdefault(row.get("ProjectID", ""), []).append(period)

    def _victims(self, key: str) -> bool:
        owner = self._organizations.get(self.rows.get(key, {}).get("OrganizationID", ""), {})
        return owner.get("VictimServiceProvider") == "1"

    def check(self) -> None:
        """Rules that need no clients."""
        self._sites()
        self._inventory()
        self._periods("HMISParticipation", "131", "HMISParticipationStatus")
        self._periods("CEParticipation", "128", "CEParticipationStatus")
        for number, row in rows_of(self._conversion, "HMISParticipation"):
            if row.get("HMISParticipationType") == "1" and self._victims(row.get("ProjectID", "")):
                self._checked.say("133", "HMISParticipation", number, "HMISParticipationType", row.get("ProjectID", ""))
        for key, row in self.rows.items():
            type_ = row.get("ProjectType", "")
            if type_ in RESIDENTIAL and type_ != "13" and not row.get("HousingType"):
                self._checked.say("36", "Project", self._numbers[key], "HousingType", key)
            if type_ == "13" and not row.get("RRHSubType"):
                self._checked.say("110", "Project", self._numbers[key], "RRHSubType", key)

    def _sites(self) -> None:
        placed = set()
        for number, row in rows_of(self._conversion, "ProjectCoC"):
            key = row.get("ProjectID", "")
            if row.get("DateDeleted") or key not in self.rows:
                continue
            placed.add(key)
            if not row.get("GeographyType"):
                self._checked.say("5", "ProjectCoC", number, "GeographyType", key)
            needs = self.rows[key].get("ProjectType") in ("0", "1", "2", "3", "8") and not self._victims(key)
            if needs and not (row.get("Address1") and row.get("City") and row.get("State") and row.get("ZIP")):
                self._checked.say("42", "ProjectCoC", number, "Address1", key)
        for key in self.rows:
            if key not in placed:
                self._checked.say("35", "Project", self._numbers[key], "ProjectID", key)

    def _inventory(self) -> None:
        counted, cocs = set(), set()
        for _, row in rows_of(self._conversion, "ProjectCoC"):
            cocs.add((row.get("ProjectID", ""), row.get("CoCCode", "")))
        for number, row in rows_of(self._conversion, "Inventory"):
            key = row.get("ProjectID", "")
            if row.get("DateDeleted") or key not in self.rows:
                continue
            counted.add(key)
            for rule, column in self._bed_rules(row, self.rows[key], cocs):
                self._checked.say(rule, "Inventory", number, column, key)
        for key, row in self.rows.items():
            beds = row.get("ProjectType") in RESIDENTIAL and row.get("RRHSubType") != "1"
            if beds and key not in counted:
                self._checked.say("43", "Project", self._numbers[key], "ProjectID", key)

    def _bed_rules(self, row: Row, project: Row, cocs: set[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        parts = (
            "CHVetBedInventory",
            "YouthVetBedInventory",
            "VetBedInventory",
            "CHYouthBedInventory",
            "YouthBedInventory",
            "CHBedInventory",
            "OtherBedInventory",
        )
        numbers = [int(row[name]) for name in parts if row.get(name, "").isdigit()]
        beds, units = row.get("BedInventory", ""), row.get("UnitInventory", "")
        if beds.isdigit() and len(numbers) == len(parts) and sum(numbers) != int(beds):
            yield "46", "BedInventory"
        if beds.isdigit() and units.isdigit() and int(units) > int(beds) > 0:
            yield "138", "UnitInventory"
        if (row.get("ProjectID", ""), row.get("CoCCode", "")) not in cocs:
            yield "137", "CoCCode"
        closed, opened = project.get("OperatingEndDate", ""), project.get("OperatingStartDate", "")
        if closed and (row.get("InventoryEndDate") or "9999") > closed:
            yield "44", "InventoryEndDate"
        if opened and row.get("InventoryStartDate", "9999") < opened:
            yield "79", "InventoryStartDate"
        if project.get("RRHSubType") == "1" and beds.isdigit() and int(beds) > 0:
            yield "132", "BedInventory"
        if row.get("ESBedType") and project.get("ProjectType") not in ("0", "1"):
            yield "135", "ESBedType"

    def _periods(self, name: str, rule: str, prefix: str) -> None:
        own: dict[str, list[tuple[str, str, int]]] = {}
        for number, row in rows_of(self._conversion, name):
            if not row.get("DateDeleted") and row.get(f"{prefix}StartDate"):
                period = (row[f"{prefix}StartDate"], row.get(f"{prefix}EndDate") or "9999", number)
                own.setdefault(row.get("ProjectID", ""), []).append(period)
        for key, periods in own.items():
            periods.sort()
            for before, after in pairwise(periods):
                if after[0] < before[1]:
                    self._checked.say(rule, name, after[2], f"{prefix}StartDate", key)

    def check_use(self, stays: dict[str, Stay]) -> None:
        """Rules about what clients did at the projects."""
        nights: dict[str, int] = {}
        used = set()
        for stay in stays.values():
            used.add(stay.key)
            nights[stay.key] = nights.get(stay.key, 0) + len(stay.bed_nights)
        for key in sorted(used):
            if self._victims(key):
                self._checked.say("139", "Project", self._numbers.get(key, 0), "OrganizationID", key)
            if self.rows.get(key, {}).get("ProjectType") == "1" and not nights.get(key):
                self._checked.say("106", "Project", self._numbers[key], "ProjectID", key)
