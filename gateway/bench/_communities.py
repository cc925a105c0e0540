"""Two synthetic communities with truth, made by different error processes, so that linkage is tuned to neither.

``county`` imitates an HMIS beside a hospital network in the United States; ``region`` a Canadian housing registry
beside a health authority. No real person is in them; gateway/bench/_registers.py has two more kinds.
"""

import random
from dataclasses import dataclass, field

from gateway.bench._community_names import CODA, CULTURES, ENDING, NICK, NUCLEUS, ONSET, STREETS, TYPES, VARIANT

Row = dict[str, str]


@dataclass(slots=True)
class Human:
    """The truth behind records."""

    number: int
    given: str
    middle: str
    last: str
    sex: str
    dob: tuple[int, int, int]
    ssn: str
    health: str
    phone: str
    address: str
    city: str
    postal: str
    culture: str
    household: int
    suffix: str = ""
    twin: bool = False
    former: str = ""
    chosen: str = ""


@dataclass(slots=True)
class Community:
    """Two files and which records are one person; ``kind`` says why a right record has no partner."""

    left: list[Row]
    right: list[Row]
    truth: set[tuple[str, str]]
    kind: dict[str, str] = field(default_factory=dict)


class People:
    """Draws people; one instance a community."""

    def __init__(self, rng: random.Random, weights: dict[str, float], canadian: bool) -> None:
        self.rng = rng
        self._cultures, self._weights = list(weights), list(weights.values())
        self._canadian = canadian
        self._tail = [
            "".join((rng.choice(ONSET), rng.choice(NUCLEUS), rng.choice(CODA), rng.choice(ENDING))) for _ in range(4000)
        ]
        self._cities = [
            (c, rng.randrange(10, 99))
            for c in ("Riverton", "Lakeside", "Fairview", "Milford", "Clinton", "Ashland", "Oakdale")
        ]
        self.made = 0

    def pick(self, names: list[str]) -> str:
        """A name; those at the front of the list are the common ones."""
        return names[min(int(self.rng.expovariate(3.0 / len(names))), len(names) - 1)]

    def surname(self, culture: str) -> str:
        """A surname of a culture; most English ones are rare."""
        if culture == "english" and self.rng.random() < 0.6:
            return self.rng.choice(self._tail)
        return self.pick(CULTURES[culture][2])

    def place(self) -> tuple[str, str, str]:
        """(street with number, city, postal code)."""
        rng = self.rng
        city, base = rng.choices(self._cities, weights=[6, 3, 2, 2, 1, 1, 1])[0]
        street = f"{rng.randrange(1, 2400)} {rng.choice(STREETS).title()} {rng.choice(TYPES)[0]}"
        if rng.random() < 0.25:
            street += f" Apt {rng.randrange(1, 40)}"
        if self._canadian:
            area = f"T{base % 9}{'ABCEGHJKLM'[rng.randrange(10)]}"
            postal = f"{area} {rng.randrange(9)}{'ABCEGHJ'[rng.randrange(7)]}{rng.randrange(9)}"
        else:
            postal = f"{base:02d}{rng.randrange(1, 30):03d}"
        return street, city, postal

    def person(self, **fixed: object) -> Human:
        """A new person; ``fixed`` fields are as given, the rest is drawn."""
        rng = self.rng
        self.made += 1
        culture = str(fixed.pop("culture", "")) or rng.choices(self._cultures, self._weights)[0]
        sex = "F" if rng.random() < 0.42 else "M"
        women, men, _ = CULTURES[culture]
        names = women if sex == "F" else men
        last = self.surname(culture)
        if (culture == "spanish" and rng.random() < 0.45) or rng.random() < 0.02:
            last += f" {self.surname(culture)}"
        dob = (int(rng.triangular(1940, 2006, 1978)), rng.randrange(1, 13), rng.randrange(1, 29))
        if culture in {"muslim", "asian"} and rng.random() < 0.15:
            dob = (dob[0], 1, 1)
        street, city, postal = self.place()
        human = Human(
            self.made,
            self.pick(names),
            self.pick(names) if rng.random() < 0.7 else "",
            last,
            sex,
            dob,
            f"{rng.randrange(1, 772):03d}{rng.randrange(1, 100):02d}{rng.randrange(1, 10000):04d}",
            f"{rng.randrange(10**8, 10**9)}",
            f"{rng.choice((403, 587, 206, 312))}{rng.randrange(200, 999)}{rng.randrange(10000):04d}",
            street,
            city,
            postal,
            culture,
            self.made,
        )
        for name, value in fixed.items():
            setattr(human, name, value)
        return human

    def kin_of(self, human: Human) -> tuple[Human, str]:
        """A twin, a parent or child, a partner, or a namesake of the person."""
        rng = self.rng
        kind = rng.choices(["twin", "parent", "junior", "sibling", "namesake"], [2, 3, 2, 2, 3])[0]
        home = {"address": human.address, "city": human.city, "postal": human.postal, "household": human.household}
        if rng.random() < 0.6:
            home["phone"] = human.phone
        year = human.dob[0]
        if kind == "twin":
            human.twin = True
            neighbour = f"{int(human.ssn) + rng.choice((1, 1, 2)):09d}"
            given = next(n for n in (self.person(culture=human.culture).given for _ in range(99)) if n != human.given)
            return self.person(
                culture=human.culture,
                given=given,
                last=human.last,
                dob=human.dob,
                twin=True,
                ssn=neighbour if rng.random() < 0.5 else self.person().ssn,
                **home,
            ), kind
        if kind == "junior":
            human.suffix = human.suffix or ("Jr" if rng.random() < 0.5 else "")
            return self.person(
                culture=human.culture,
                given=human.given,
                last=human.last,
                sex=human.sex,
                suffix="Sr" if rng.random() < 0.4 else "",
                dob=(year - rng.randrange(19, 36), rng.randrange(1, 13), rng.randrange(1, 29)),
                **home,
            ), kind
        if kind == "parent":
            return self.person(
                culture=human.culture,
                last=human.last,
                dob=(year - rng.randrange(17, 38), rng.randrange(1, 13), rng.randrange(1, 29)),
                **home,
            ), kind
        if kind == "sibling":
            return self.person(
                culture=human.culture,
                last=human.last,
                dob=(year + rng.choice((-4, -3, -2, -1, 1, 2, 3, 4)), rng.randrange(1, 13), rng.randrange(1, 29)),
                **home,
            ), kind
        return self._namesake(human), kind

    def _namesake(self, human: Human) -> Human:
        """Somebody of the same names whose birth date is the same or near, and nothing else."""
        rng = self.rng
        year, month, day = human.dob
        near = rng.random()
        dob = (
            human.dob
            if near < 0.3
            else (year, month, rng.randrange(1, 29))
            if near < 0.6
            else (year + rng.choice((-1, 1)), month, day)
        )
        return self.person(
            culture=human.culture,
            given=human.given,
            middle=rng.choice(("", human.middle)),
            last=human.last,
            sex=human.sex,
            dob=dob,
        )


def slip(rng: random.Random, text: str) -> str:
    """One keyboard slip: a letter lost, doubled, replaced, or two transposed."""
    if len(text) < 3:
        return text
    i = rng.randrange(len(text) - 1)
    kind = rng.randrange(4)
    if kind == 0:
        return text[:i] + text[i + 1 :]
    if kind == 1:
        return text[:i] + text[i] + text[i:]
    if kind == 2:
        pool = "0123456789" if text[i].isdigit() else "aeiourstlnm"
        return text[:i] + rng.choice(pool) + text[i + 1 :]
    return text[:i] + text[i + 1] + text[i] + text[i + 2 :]


def _date(
    rng: random.Random, dob: tuple[int, int, int], *, slips: float, swaps: float, partial: float, estimates: float
) -> tuple[str, str]:
    """(text, HUD quality) of a birth date as a clerk wrote it."""
    year, month, day = dob
    roll = rng.random()
    if roll < swaps and day <= 12:
        return f"{year:04d}-{day:02d}-{month:02d}", "1"
    roll -= swaps
    if 0 <= roll < slips:
        wrong = [year, month, day]
        which = rng.randrange(3)
        wrong[which] = (rng.choice((year - 1, year + 1, year - 10, year + 10)), month % 12 + 1, day % 28 + 1)[which]
        return f"{wrong[0]:04d}-{wrong[1]:02d}-{wrong[2]:02d}", "1"
    roll -= slips
    if 0 <= roll < partial:
        return (f"{year:04d}-{month:02d}" if rng.random() < 0.4 else f"{year:04d}"), "2"
    roll -= partial
    if 0 <= roll < estimates:
        return f"{year + rng.choice((-2, -1, 0, 0, 0, 1, 2)):04d}-01-01", rng.choice(("1", "2"))
    return f"{year:04d}-{month:02d}-{day:02d}", "1"


_SHELTERS = [
    ("1200 Harbor Street", "Riverton"),
    ("77 Mercy Mission Way", "Lakeside"),
    ("450 Second Avenue", "Riverton"),
    ("NFA", ""),
    ("Homeless", ""),
    ("31 Hope Road", "Milford"),
]


def county(
    seed: int, clients: int = 3000, arrivals: int = 3000, *, overlap: float = 0.45, kin: float = 0.2
) -> Community:
    """An HMIS (left) and hospital registrations (right) of one county; error rates are those of rushed intake."""
    rng = random.Random(seed)
    people = People(
        rng, {"english": 60, "spanish": 16, "muslim": 8, "slavic": 4, "asian": 6, "indigenous": 6}, canadian=False
    )
    homeless = [people.person() for _ in range(clients)]
    for human in homeless:
        if human.sex == "F" and rng.random() < 0.12:
            human.former, human.last = human.last, people.surname(human.culture)
        if rng.random() < 0.02:
            women, men, _ = CULTURES[human.culture]
            human.chosen = people.pick(men if human.sex == "F" else women)
    out = Community([], [], set())
    pool: list[tuple[Human, str]] = [(h, "client") for h in rng.sample(homeless, min(int(arrivals * overlap), clients))]
    pool += [people.kin_of(rng.choice(homeless)) for _ in range(int(arrivals * kin))]
    while len(pool) < arrivals:
        pool.append((people.person(), "stranger"))
    rng.shuffle(pool)
    at: dict[int, str] = {}
    for i, human in enumerate(homeless):
        at[human.number] = f"C{i}"
        out.left.append(_county_left(rng, human, f"C{i}"))
    for j, (human, kind) in enumerate(pool):
        out.right.append(_county_right(rng, people, human, f"H{j}"))
        if kind == "client":
            out.truth.add((at[human.number], f"H{j}"))
        else:
            out.kind[f"H{j}"] = kind
    return out


def _county_left(rng: random.Random, h: Human, id_: str) -> Row:
    row: Row = {
        "id": id_,
        "first": h.given,
        "middle": h.middle if rng.random() < 0.5 else h.middle[:1],
        "last": h.last,
        "suffix": h.suffix,
        "alias": "",
        "sex": h.sex,
        "name_quality": "1",
    }
    roll = rng.random()
    if h.chosen and roll < 0.6:
        row["first"], row["alias"] = h.chosen, h.given if rng.random() < 0.3 else ""
    elif h.given in NICK and roll < 0.22:
        row["first"] = rng.choice(NICK[h.given].split())
    elif h.given in VARIANT and roll < 0.5:
        row["first"] = rng.choice(VARIANT[h.given].split())
    if h.former and rng.random() < 0.5:
        row["last"] = h.former
    parts = h.last.split()
    if len(parts) > 1 and rng.random() < 0.4:
        row["last"] = rng.choice((parts[0], parts[1], "-".join(parts)))
    if h.last in VARIANT and rng.random() < 0.4:
        row["last"] = rng.choice(VARIANT[h.last].split())
    if rng.random() < 0.03:
        row["first"], row["last"] = row["last"], row["first"]
    for name in ("first", "last"):
        if rng.random() < 0.05:
            row[name] = slip(rng, row[name])
    if rng.random() < 0.02:
        row["first"], row["name_quality"] = row["first"][:1], "2"
    row["dob"], row["dob_quality"] = _date(rng, h.dob, slips=0.035, swaps=0.02, partial=0.03, estimates=0.04)
    roll = rng.random()
    row["ssn"], row["ssn_quality"] = (
        (h.ssn, "1")
        if roll < 0.5
        else (f"XXXXX{h.ssn[5:]}", "2")
        if roll < 0.72
        else ("999999999", "9")
        if roll < 0.8
        else ("", "99")
    )
    if row["ssn_quality"] == "1" and rng.random() < 0.05:
        row["ssn"] = slip(rng, h.ssn)
    row["health_no"] = h.health if rng.random() < 0.08 else ""
    row["phone"] = h.phone if rng.random() < 0.45 else ""
    street, city = rng.choice(_SHELTERS) if rng.random() < 0.5 else (h.address, h.city)
    row["address"], row["city"], row["postal"] = street, city, h.postal if street == h.address else ""
    if rng.random() < 0.3:
        row = {k: v.upper() for k, v in row.items() if k != "id"} | {"id": id_}
    return row


def _county_right(rng: random.Random, people: People, h: Human, id_: str) -> Row:
    row: Row = {
        "id": id_,
        "first": h.given,
        "middle": h.middle[:1] if rng.random() < 0.5 else h.middle if rng.random() < 0.5 else "",
        "last": h.last,
        "suffix": h.suffix if rng.random() < 0.7 else "",
        "sex": h.sex,
        "alias": "",
    }
    if h.chosen and rng.random() < 0.25:
        row["first"] = h.chosen
    if h.given in NICK and rng.random() < 0.08:
        row["first"] = rng.choice(NICK[h.given].split())
    if h.given in VARIANT and rng.random() < 0.25:
        row["first"] = rng.choice(VARIANT[h.given].split())
    parts = h.last.split()
    if len(parts) > 1 and rng.random() < 0.35:
        row["last"] = rng.choice((parts[0], " ".join(reversed(parts)), "".join(parts)))
    for name in ("first", "last"):
        if rng.random() < 0.03:
            row[name] = slip(rng, row[name])
    row["dob"], _ = _date(rng, h.dob, slips=0.02, swaps=0.008, partial=0.004, estimates=0.01)
    row["ssn"] = h.ssn if rng.random() < 0.55 else f"XXXXX{h.ssn[5:]}" if rng.random() < 0.3 else ""
    row["health_no"] = h.health if rng.random() < 0.75 else ""
    row["phone"] = h.phone if rng.random() < 0.55 else people.person().phone if rng.random() < 0.5 else ""
    roll = rng.random()
    moved = people.place()
    shelter = rng.choice(_SHELTERS)
    row["address"], row["city"], row["postal"] = (
        (h.address, h.city, h.postal)
        if roll < 0.45
        else moved
        if roll < 0.7
        else (*shelter, "")
        if roll < 0.9
        else ("", "", "")
    )
    row["multiple_birth"] = "Y" if h.twin and rng.random() < 0.4 else ""
    return row


def region(
    seed: int, clients: int = 3000, arrivals: int = 3000, *, overlap: float = 0.5, kin: float = 0.2
) -> Community:
    """A Canadian housing registry (left) and a health authority (right); errors cluster in bad intakes."""
    rng = random.Random(seed * 7 + 1)
    people = People(
        rng, {"english": 45, "indigenous": 22, "muslim": 10, "asian": 13, "slavic": 7, "spanish": 3}, canadian=True
    )
    base: list[Human] = []
    kinds: dict[int, str] = {}
    while len(base) < clients:
        human = people.person()
        base.append(human)
        if rng.random() < 0.12 and len(base) < clients:  # families stay in one shelter: both are clients
            other, kind = people.kin_of(human)
            kinds[other.number] = kind
            base.append(other)
    sample = rng.sample(base, min(int(arrivals * overlap), len(base)))
    pool: list[tuple[Human, str]] = [(h, "client") for h in sample]
    while len(pool) < int(arrivals * (overlap + kin)):
        pool.append(people.kin_of(rng.choice(base)))
    while len(pool) < arrivals:
        pool.append((people.person(), "stranger"))
    rng.shuffle(pool)
    out = Community([], [], set())
    at = {h.number: f"L-{i:05d}" for i, h in enumerate(base)}
    for human in base:
        out.left.append(_region_row(rng, people, human, at[human.number], housing=True))
    for j, (human, kind) in enumerate(pool):
        out.right.append(_region_row(rng, people, human, f"R-{j:05d}", housing=False))
        if kind == "client":
            out.truth.add((at[human.number], f"R-{j:05d}"))
        else:
            out.kind[f"R-{j:05d}"] = kind
    return out


def _heard(rng: random.Random, name: str) -> str:
    """A name written as heard."""
    pairs = [
        ("ph", "f"),
        ("ck", "k"),
        ("c", "k"),
        ("ie", "y"),
        ("y", "i"),
        ("ee", "ea"),
        ("ou", "u"),
        ("v", "w"),
        ("z", "s"),
        ("th", "t"),
        ("nn", "n"),
        ("ll", "l"),
        ("sh", "ch"),
        ("a", "e"),
        ("o", "u"),
    ]
    rng.shuffle(pairs)
    for old, new in pairs:
        if old in name[1:]:
            return name[0] + name[1:].replace(old, new, 1)
    return name


def _region_place(rng: random.Random, people: People, h: Human, *, housing: bool) -> tuple[str, str, str]:
    """What a clerk writes for an address: the right one, a former one, or the shelter's."""
    street, city, postal = (
        (h.address, h.city, h.postal) if rng.random() < (0.35 if housing else 0.6) else people.place()
    )
    if housing and rng.random() < 0.45:
        street, city, postal = (
            rng.choice(("Unity Shelter, 12 Front Street", "501 River Ave", "no fixed address")),
            "Riverton",
            "T2A 1A1",
        )
    if rng.random() < 0.5:
        for long, short in TYPES:
            street = street.replace(long, short)
    return street, city, postal


def _region_row(rng: random.Random, people: People, h: Human, id_: str, *, housing: bool) -> Row:
    bad = rng.random() < (0.3 if housing else 0.12)  # a bad intake: several things go wrong together
    rate = 0.35 if bad else 0.04
    given, last, alias = h.given, h.last, ""
    if given in NICK and rng.random() < (0.3 if housing else 0.1):
        nick = rng.choice(NICK[given].split())
        given, alias = (nick, "") if rng.random() < 0.6 else (given, nick)
    if rng.random() < rate * 0.6:
        given = _heard(rng, given)
    if rng.random() < rate * 0.6:
        last = _heard(rng, last)
    if rng.random() < rate * 0.4:
        last = slip(rng, last)
    if last in VARIANT and rng.random() < 0.3:
        last = rng.choice(VARIANT[last].split())
    if rng.random() < 0.05:
        last = people.surname(h.culture) if rng.random() < 0.5 else f"{last}-{people.surname(h.culture)}"
    if rng.random() < 0.03 and h.middle:
        given = h.middle
    if rng.random() < 0.02:
        given, last = last, given
    date, quality = _date(
        rng, h.dob, slips=rate * 0.25, swaps=rate * 0.12, partial=0.05 if housing else 0.003, estimates=rate * 0.2
    )
    if rng.random() < 0.3:
        date = date.replace("-", "")
    known = rng.random()
    health = h.health if known < (0.3 if housing else 0.9) else ""
    if health and rng.random() < rate * 0.2:
        health = slip(rng, health)
    street, city, postal = _region_place(rng, people, h, housing=housing)
    row = {
        "id": id_,
        "first": given.title() if not housing else given,
        "last": last.upper() if not housing else last,
        "alias": alias,
        "middle": h.middle if rng.random() < 0.3 else "",
        "dob": date,
        "sex": h.sex if rng.random() < 0.97 else "",
        "health_no": health,
        "phone": (
            f"({h.phone[:3]}) {h.phone[3:6]}-{h.phone[6:]}"
            if rng.random() < 0.55
            else people.person().phone
            if rng.random() < 0.3
            else ""
        ),
        "address": street,
        "city": city,
        "postal": postal,
        "suffix": h.suffix if rng.random() < 0.5 else "",
        "name_quality": "1",
        "dob_quality": quality,
    }
    if rng.random() < 0.01 and housing:
        row["first"], row["last"] = "Unknown", rng.choice(("Doe", "Unknown", "Refused"))
    return row
