"""A third synthetic community, kept for judging only: errors belong to the clerk who types, not to the record.

Every clerk has habits (reads dates the other way round, never asks for the middle name, writes the office's phone, cuts
long names, leaves out what is hard); a person's records are typed by different clerks years apart, between which people
marry, move and change phones. Nobody tuned a weight on it.
"""

import random
from dataclasses import dataclass
from typing import Final

from gateway.bench._communities import Community, Human, People, Row, slip
from gateway.bench._community_names import NICK, VARIANT

_OFFICES: Final = (
    ("4035550100", "900 Bridge Street"),
    ("5875550111", "14 Station Road"),
    ("4035550122", "6 Mill Lane"),
)


@dataclass(frozen=True, slots=True)
class _Clerk:
    swaps_dates: float
    guesses_dates: float
    slips: float
    longest_name: int
    asks_middle: float
    asks_numbers: float
    office: tuple[str, str] | None  # whose phone and address are written for people without


def clerks(
    seed: int, clients: int = 3000, arrivals: int = 3000, *, overlap: float = 0.4, kin: float = 0.25
) -> Community:
    """Housing intakes (left) and an emergency department (right); a quarter of the arrivals are kin or namesakes."""
    rng = random.Random(seed * 31 + 17)
    people = People(
        rng, {"english": 38, "spanish": 22, "muslim": 16, "asian": 8, "slavic": 6, "indigenous": 10}, canadian=False
    )
    base = [people.person() for _ in range(clients)]
    pool = [(human, "client") for human in rng.sample(base, min(int(arrivals * overlap), clients))]
    pool += [people.kin_of(rng.choice(base)) for _ in range(int(arrivals * kin))]
    pool += [(people.person(), "stranger") for _ in range(arrivals - len(pool))]
    rng.shuffle(pool)
    housing = [_clerk(rng, housing=True) for _ in range(25)]
    health = [_clerk(rng, housing=False) for _ in range(40)]
    at = {human.number: f"I{n}" for n, human in enumerate(base)}
    out = Community([_typed(rng, people, rng.choice(housing), h, at[h.number]) for h in base], [], set())
    for n, (human, kind) in enumerate(pool):
        later = _later(rng, people, human) if kind == "client" else human
        out.right.append(_typed(rng, people, rng.choice(health), later, f"E{n}"))
        if kind == "client":
            out.truth.add((at[human.number], f"E{n}"))
        else:
            out.kind[f"E{n}"] = kind
    return out


def _clerk(rng: random.Random, *, housing: bool) -> _Clerk:
    hurried = rng.random() < (0.4 if housing else 0.2)
    return _Clerk(
        swaps_dates=0.2 if rng.random() < 0.06 else 0.005,
        guesses_dates=0.15 if hurried and housing else 0.01,
        slips=0.09 if hurried else 0.02,
        longest_name=rng.choice((8, 10, 40, 40, 40, 40, 40)),
        asks_middle=rng.choice((0.0, 0.3, 0.9)),
        asks_numbers=rng.choice((0.15, 0.5, 0.8)) if housing else rng.choice((0.5, 0.8, 0.95)),
        office=rng.choice(_OFFICES) if housing and rng.random() < 0.6 else None,
    )


def _later(rng: random.Random, people: People, human: Human) -> Human:
    """The same person some years on."""
    moved = people.place() if rng.random() < 0.5 else (human.address, human.city, human.postal)
    phone = people.person().phone if rng.random() < 0.45 else human.phone
    last = people.surname(human.culture) if human.sex == "F" and rng.random() < 0.06 else human.last
    names = {f.name for f in human.__dataclass_fields__.values()}
    values = {name: getattr(human, name) for name in names}
    street, city, postal = moved
    return Human(**{**values, "address": street, "city": city, "postal": postal, "phone": phone, "last": last})


def _typed(rng: random.Random, people: People, clerk: _Clerk, h: Human, id_: str) -> Row:
    given, last = h.given, h.last
    if given in NICK and rng.random() < 0.15:
        given = rng.choice(NICK[given].split())
    if given in VARIANT and rng.random() < 0.3:
        given = rng.choice(VARIANT[given].split())
    if " " in last and rng.random() < 0.4:
        last = rng.choice((last.split()[0], last.replace(" ", ""), last.replace(" ", "-")))
    given, last = (slip(rng, name) if rng.random() < clerk.slips else name for name in (given, last))
    year, month, day = h.dob
    if rng.random() < clerk.swaps_dates and day <= 12:
        month, day = day, month
    if rng.random() < clerk.slips:
        day = max(1, min(28, day + rng.choice((-1, 1, -10, 10))))
    dob = f"{year}-{month:02d}-{day:02d}"
    if rng.random() < clerk.guesses_dates:
        dob = rng.choice((f"{year}", f"{year}-{month:02d}", f"{year + rng.choice((-1, 0, 1))}-01-01"))
    roll = rng.random()
    ssn = h.ssn if roll < clerk.asks_numbers * 0.6 else f"XXXXX{h.ssn[5:]}" if roll < clerk.asks_numbers else ""
    phone = h.phone if rng.random() < 0.55 else clerk.office[0] if clerk.office else ""
    street, city, postal = (h.address, h.city, h.postal) if rng.random() < 0.6 else ("", "", "")
    if not street and clerk.office:
        street, city = clerk.office[1], "Riverton"
    return {
        "id": id_, "first": given[: clerk.longest_name], "last": last[: clerk.longest_name],
        "middle": h.middle if rng.random() < clerk.asks_middle else "",
        "suffix": h.suffix if rng.random() < 0.4 else "",
        "dob": dob, "sex": h.sex if rng.random() < 0.98 else "", "ssn": ssn,
        "health_no": h.health if rng.random() < clerk.asks_numbers * 0.5 else "",
        "phone": phone, "address": street, "city": city, "postal": postal,
        "multiple_birth": "Y" if h.twin and rng.random() < 0.2 else "",
    }  # fmt: skip
