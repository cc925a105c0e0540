"""One synthetic community, seen through many systems: true people, and what each system wrote down of them.

Every simulator and the demo draw from here, so that an HMIS export and a hospital feed are about the same people and
the truth is known. A person depends on (seed, household) only: any number of people streams in flat memory, and the
first K of a larger community are the same K. Every family name carries ``zq``, the canary that no log line may hold.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from random import Random
from typing import Final

_GIVEN_F: Final = """Maria Aiyana Fatima Grace Linh Amina Rosa Dakota Chloe Hodan Olena Sofia Wei Tanisha Ruth Nizhoni
Ingrid Keisha Guadalupe Mei Ayaan Patricia Deborah Yolanda Shania Latoya Carmen Esperanza Halima Oksana Anna Joy
Winona Pearl Brenda Zainab Thuy Elena Margaret Kateri Sarah Naomi Angela Dolores Hanna Leilani Teresa Sunita Alma
Ivy Beatrice Mercy Paula Catherine Elizabeth Susan""".split()
_GIVEN_M: Final = """James Hector Abdi Minh Joseph Chayton Dmytro Luis Marcus Kwame Ahmed Robert Jerome Ramon Tyrell
Wesley Ignacio Bao Takoda Samuel Hassan Andriy Miguel Terrence Omar William Leroy Curtis Carlos Elijah Yusuf Viktor
Duane Angelo Isaiah Rafael Emeka Jing Raymond Daniel Kenneth Antonio Lamar Jesus Kofi Mahad Peter Nelson Earl
Michael Christopher Thomas Edward Charles Richard Alexander""".split()
_FAMILY: Final = """Walker Garcia Nguyen Redcloud Mohamed Okafor Johnson Kowalski Tran Littlebear Hernandez Williams
Shevchenko Martin Yellowhorse Lopez Chen Brown Osman Fontaine Cardinal Singh Robinson Morales Bearspaw Davis Haile
Petrenko Jackson Crowfoot Rivera Thompson Warsame Boudreau Makokis Ramirez Lewis Bui Mensah Harris Whitecalf Ortiz
Clark Ibrahim Moreau Twoguns Castillo Young Diallo Bondarenko Hill Starlight Flores Adams Farah Gagnon Runningwolf
Reyes Baker Pham Mitchell Lafond Cruz Carter Yusuf Houle Gomez Phillips Le Eagle
Torres Evans Adeyemi Desjarlais""".split()
_NICKNAMES: Final = {
    "James": "Jim", "Robert": "Bob", "William": "Bill", "Michael": "Mike", "Christopher": "Chris", "Thomas": "Tom",
    "Edward": "Ed", "Charles": "Chuck", "Richard": "Rick", "Alexander": "Alex", "Samuel": "Sam", "Daniel": "Dan",
    "Kenneth": "Ken", "Joseph": "Joe", "Patricia": "Pat", "Deborah": "Deb", "Margaret": "Peggy", "Catherine": "Cathy",
    "Elizabeth": "Liz", "Susan": "Sue", "Teresa": "Terry", "Angela": "Angie", "Raymond": "Ray", "Antonio": "Tony",
}  # fmt: skip
_STREETS: Final = ("Alder", "Bridge", "Cedar", "Depot", "Elm", "Foundry", "Grain", "Harbour", "Iron", "Juniper")
SHELTERS: Final = (
    ("100 Harbour Street", "Riverton", "59901"),
    ("22 Mission Lane", "Riverton", "59902"),
    ("7 Depot Road", "Riverton", "59901"),
)
PATHWAYS: Final = (
    "unknown-address", "shelter-as-address", "alias", "left-without-being-seen", "psychiatric-pending-discharge",
    "merge", "merge-undone", "newborn", "transfer", "cancelled-admit", "late-message", "duplicated-message",
    "name-change", "twins", "deceased", "planned-discharge", "outpatient",
)  # fmt: skip

HMIS: Final = "hmis-riverton"
HOSPITAL: Final = "hospital-riverton"


@dataclass(frozen=True, slots=True)
class Agency:
    """An organization that records people; ``projects`` are (key, name, HUD project type 2.02.6)."""

    key: str
    name: str
    projects: tuple[tuple[str, str, int], ...]
    victim_services: bool = False


AGENCIES: Final = (
    Agency("ORG1", "Harbour Night Shelter", (("P11", "Harbour Shelter", 0), ("P12", "Harbour Coordinated Entry", 14))),
    Agency("ORG2", "Street Outreach Riverton", (("P21", "Riverton Street Outreach", 4),)),
    Agency("ORG3", "Mission Transitional Housing", (("P31", "Mission Transitional", 2),)),
    Agency("ORG4", "Riverton Housing First", (("P41", "Housing First Homes", 3), ("P42", "Rapid Rehousing", 13))),
    Agency("ORG5", "Depot Day Centre", (("P51", "Depot Day Shelter", 11),)),
)  # fmt: skip
PARTNER: Final = Agency("ORG8", "Riverton General Hospital", ())  # sends HL7 v2, and asks; it has no HMIS project
VICTIM_SERVICES: Final = Agency("ORG9", "Safe Harbour", (("P91", "Safe Harbour Refuge", 2),), victim_services=True)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody as they are; no system sees this. ``relation`` is HUD 3.15.1 (1 head, 2 child, 3 spouse or partner)."""

    index: int
    household: int
    relation: int
    given: str = field(repr=False)
    middle: str = field(repr=False)
    family: str = field(repr=False)
    suffix: str = field(repr=False)
    alias: str = field(repr=False)  # former family name or street name; empty for most
    birth: date = field(repr=False)
    sex: str  # F or M
    ssn: str = field(repr=False)
    health_number: str = field(repr=False)
    phone: str = field(repr=False)
    address: tuple[str, str, str] = field(repr=False)  # line, city, postal code; a shelter's for many
    veteran: bool
    consents: str  # full, partial, revoked, expired or none
    pathway: str  # what happens to them at the hospital; empty when they are never there


@dataclass(frozen=True, slots=True)
class Record:
    """What one system wrote down of a person. Qualities are HUD data-quality codes (1 full, 2 partial, 8, 9, 99)."""

    system: str
    key: str
    agency: str  # key of the agency that made it, or of the hospital
    person: int
    given: str = field(repr=False)
    middle: str = field(repr=False)
    family: str = field(repr=False)
    suffix: str = field(repr=False)
    alias: str = field(repr=False)
    name_quality: int
    birth: str = field(repr=False)  # YYYY-MM-DD, or empty
    birth_quality: int
    ssn: str = field(repr=False)  # nine digits, XXXXX1234, or empty
    ssn_quality: int
    sex: str
    health_number: str = field(repr=False)
    phone: str = field(repr=False)
    address: tuple[str, str, str] = field(repr=False)
    veteran: bool


class Population:
    """The people of one community, in households, and their records.

    Args:
        seed: same seed, same community.
        size: how many people.
        hospital_share: part of the people who also come to the hospital.
    """

    def __init__(self, seed: int, size: int, *, hospital_share: float = 0.5) -> None:
        self.seed = seed
        self.size = size
        self._hospital_share = hospital_share

    def __iter__(self) -> Iterator[Person]:
        """Everybody, by index; the first is the demo's client, known to five agencies and the hospital."""
        index = household = 0
        while index < self.size:
            for person in self._household(household, index):
                if index >= self.size:
                    return
                yield person
                index += 1
            household += 1

    # -- the true people ---------------------------------------------------------------------------------------------

    def _household(self, household: int, first: int) -> list[Person]:
        rng = Random(f"{self.seed}:household:{household}")
        size = 1 if household == 0 else rng.choices((1, 2, 3, 4, 5), (70, 12, 9, 6, 3))[0]
        family = f"{rng.choice(_FAMILY)}zq"
        address = rng.choice(SHELTERS) if rng.random() < 0.45 else self._street(rng)
        head = self._adult(rng, first, household, 1, family, address)
        people = [_first_client(head)] if household == 0 else [head]
        for n in range(1, size):
            if n == 1 and rng.random() < 0.5:
                people.append(self._adult(rng, first + n, household, 3, family, address))
            else:
                people.append(self._child(rng, first + n, household, family, address, head))
        return self._twins(rng, people)

    def _adult(
        self, rng: Random, index: int, household: int, relation: int, family: str, address: tuple[str, str, str]
    ) -> Person:
        sex = rng.choice("FM")
        birth = date(2026, 1, 1) - timedelta(days=int(365.25 * rng.triangular(18, 82, 40)) + rng.randrange(365))
        given = rng.choice(_GIVEN_F if sex == "F" else _GIVEN_M)
        alias = f"{rng.choice(_FAMILY)}zq" if rng.random() < 0.12 else ""
        return self._finish(rng, index, household, relation, given, family, alias, birth, sex, address)

    def _child(
        self, rng: Random, index: int, household: int, family: str, address: tuple[str, str, str], head: Person
    ) -> Person:
        sex = rng.choice("FM")
        given = rng.choice(_GIVEN_F if sex == "F" else _GIVEN_M)
        youngest, oldest = date(2025, 12, 1), head.birth + timedelta(days=16 * 366)
        span = max((youngest - oldest).days, 1)
        birth = max(oldest + timedelta(days=rng.randrange(span)), youngest - timedelta(days=17 * 365))
        child = self._finish(rng, index, household, 2, given, family, "", birth, sex, address)
        return replace(child, veteran=False, suffix="Jr" if given == head.given else "")

    def _finish(
        self, rng: Random, index: int, household: int, relation: int, given: str, family: str, alias: str, birth: date,
        sex: str, address: tuple[str, str, str],
    ) -> Person:  # fmt: skip
        if relation != 2 and rng.random() < 0.06:
            family = f"{family.removesuffix('zq')}-{rng.choice(_FAMILY)}zq"
        pathway = rng.choice(PATHWAYS) if rng.random() < self._hospital_share else ""
        consents = rng.choices(("full", "partial", "revoked", "expired", "none"), (45, 20, 8, 7, 20))[0]
        return Person(
            index=index, household=household, relation=relation, given=given, family=family, alias=alias, birth=birth,
            middle=rng.choice(_GIVEN_F if sex == "F" else _GIVEN_M) if rng.random() < 0.7 else "",
            suffix="", sex=sex, address=address, consents=consents, pathway=pathway,
            ssn=f"{rng.randrange(1, 650):03d}{rng.randrange(1, 99):02d}{rng.randrange(1, 9999):04d}",
            health_number=f"{rng.randrange(10**8, 10**9)}{index % 10}",
            phone=f"406555{rng.randrange(10000):04d}" if rng.random() < 0.6 else "",
            veteran=rng.random() < 0.08,
        )  # fmt: skip

    def _twins(self, rng: Random, people: list[Person]) -> list[Person]:
        children = [i for i, person in enumerate(people) if person.relation == 2]
        if len(children) >= 2 and rng.random() < 0.25:
            first, second = children[0], children[1]
            people[second] = replace(people[second], birth=people[first].birth, pathway="twins", suffix="")
            people[first] = replace(people[first], pathway="twins", suffix="")
        return people

    def _street(self, rng: Random) -> tuple[str, str, str]:
        return (f"{rng.randrange(1, 999)} {rng.choice(_STREETS)} Street", "Riverton", f"5990{rng.randrange(1, 6)}")

    # -- what systems wrote down -------------------------------------------------------------------------------------

    def hmis_records(self, person: Person) -> tuple[Record, ...]:
        """The HMIS's records of a person: one, at times two, and one at each of five agencies for the first."""
        rng = Random(f"{self.seed}:hmis:{person.index}")
        agencies = list(AGENCIES) if person.index == 0 else rng.sample(AGENCIES, 2 if rng.random() < 0.04 else 1)
        return tuple(self._hmis(rng, person, n, agency) for n, agency in enumerate(agencies))

    def _hmis(self, rng: Random, person: Person, n: int, agency: Agency) -> Record:
        key = f"C{person.index + 1:06d}" + (f"-{n + 1}" if n else "")
        record = self._true_record(person, HMIS, key, agency.key)
        ssn, quality = person.ssn, 1
        draw = rng.random()
        if draw < 0.35:
            ssn, quality = "", rng.choice((8, 9, 99))
        elif draw < 0.6:
            ssn, quality = f"XXXXX{person.ssn[-4:]}", 2
        record = replace(record, ssn=ssn, ssn_quality=quality, health_number="")
        if person.index == 0:
            return _fragment(person, record, n)
        return self._smudged(rng, person, record)

    def hospital_record(self, person: Person) -> Record | None:
        """The hospital's record of a person, or None when they were never there."""
        if not person.pathway:
            return None
        rng = Random(f"{self.seed}:hospital:{person.index}")
        record = self._true_record(person, HOSPITAL, f"MRN{700000 + person.index}", "hospital")
        ssn = f"XXXXX{person.ssn[-4:]}" if rng.random() < 0.3 else person.ssn if rng.random() < 0.75 else ""
        record = replace(record, ssn=ssn, ssn_quality=1 if len(ssn) == 9 else 99)
        if person.index == 0:
            return replace(record, ssn=person.ssn)
        if person.pathway == "alias" and person.alias:
            record = replace(record, family=person.alias, alias=person.family)
        if person.pathway == "unknown-address":
            record = replace(record, address=("NO FIXED ADDRESS", "", ""))
        elif person.pathway == "shelter-as-address":
            record = replace(record, address=SHELTERS[person.index % len(SHELTERS)])
        return self._smudged(rng, person, record)

    def _true_record(self, person: Person, system: str, key: str, agency: str) -> Record:
        return Record(
            system=system, key=key, agency=agency, person=person.index, given=person.given, middle=person.middle,
            family=person.family, suffix=person.suffix, alias=person.alias, name_quality=1,
            birth=person.birth.isoformat(), birth_quality=1, ssn=person.ssn, ssn_quality=1, sex=person.sex,
            health_number=person.health_number, phone=person.phone, address=person.address, veteran=person.veteran,
        )  # fmt: skip

    def _smudged(self, rng: Random, person: Person, record: Record) -> Record:
        """The errors of a front desk: nickname, typing slip, swapped day and month, estimated birth date."""
        if rng.random() < 0.15 and record.given in _NICKNAMES:
            record = replace(record, given=_NICKNAMES[record.given], name_quality=2)
        if rng.random() < 0.08:
            record = replace(record, family=_slip(rng, record.family))
        if rng.random() < 0.04:
            record = replace(record, given=_slip(rng, record.given))
        if rng.random() < 0.2:
            record = replace(record, middle=record.middle[:1])
        draw = rng.random()
        if draw < 0.04 and person.birth.day <= 12:
            swapped = date(person.birth.year, person.birth.day, person.birth.month)
            record = replace(record, birth=swapped.isoformat())
        elif draw < 0.09:
            record = replace(record, birth=f"{person.birth.year}-01-01", birth_quality=2)
        elif draw < 0.11:
            record = replace(record, birth="", birth_quality=rng.choice((8, 9, 99)))
        return record


def agreed_agencies(person: Person) -> tuple[str, ...]:
    """Keys of the agencies that the person's form names: all of them, or all but the day centre for a partial one."""
    left_out = {"full": (), "partial": ("ORG5",)}.get(person.consents)
    if left_out is None:
        return ()
    return tuple(agency.key for agency in (*AGENCIES, PARTNER) if agency.key not in left_out)


def _first_client(drawn: Person) -> Person:
    """The demo's client: five agencies each hold a fragment of her."""
    return replace(
        drawn, given="Margaret", middle="Rose", family="Cardinalzq", suffix="", alias="Fontainezq", sex="F",
        birth=date(1979, 11, 4), veteran=False, consents="partial", pathway="planned-discharge", phone="4065550142",
        address=SHELTERS[0],
    )  # fmt: skip


def _fragment(person: Person, record: Record, n: int) -> Record:
    """What each of the five agencies knows of the first client: never the whole of her."""
    last_four = f"XXXXX{person.ssn[-4:]}"
    cut: tuple[Record, ...] = (
        replace(record, ssn=person.ssn, ssn_quality=1),
        replace(record, given="Peggy", name_quality=2, middle="", ssn=last_four, ssn_quality=2),
        replace(record, family=person.alias, alias="", ssn=person.ssn, ssn_quality=1, phone=""),
        replace(record, middle="R", ssn=person.ssn, ssn_quality=1, birth="1979-11-04"),
        replace(record, given="Margret", birth="1979-01-01", birth_quality=2, ssn=last_four, ssn_quality=2),
    )
    return cut[n]


def _slip(rng: Random, name: str) -> str:
    """One typing slip that leaves the canary alone: a doubled, dropped or swapped letter."""
    at = rng.randrange(1, max(2, len(name) - 3))
    kind = rng.randrange(3)
    if kind == 0:
        return name[:at] + name[at] + name[at:]
    if kind == 1 and len(name) > 5:
        return name[:at] + name[at + 1 :]
    return name[: at - 1] + name[at] + name[at - 1] + name[at + 1 :] if at > 1 else name
