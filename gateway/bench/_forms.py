"""A fourth synthetic community, kept for judging only: paper forms, scanned and read by a machine.

Letters are taken for others that look alike, boxes are too few for long names, a field slips into the next box, and
day and month change places. Most people have two surnames, of which each form asks one or both, or a surname of two
words in the language of their nation or in translation. Kin are named after one another, middle name and all. Nobody
tuned a weight on it.
"""

import random
from dataclasses import dataclass, replace
from typing import Final

from gateway.bench._communities import Community, Human, People, Row
from gateway.bench._community_names import NICK, VARIANT
from gateway.linkage.names import words

_LOOKS_LIKE: Final = (
    ("rn", "m"), ("m", "rn"), ("cl", "d"), ("d", "cl"), ("l", "i"), ("i", "l"), ("o", "0"), ("s", "5"), ("e", "c"),
    ("u", "v"), ("g", "q"), ("b", "h"), ("vv", "w"), ("t", "f"),
)  # fmt: skip
_DIGITS: Final = {"1": "7", "7": "1", "0": "6", "6": "0", "3": "8", "8": "3", "5": "6", "4": "9", "9": "4", "2": "7"}
_FIRST_WORDS: Final = words("running standing white many big little two red bear eagle crow good")
_LAST_WORDS: Final = words("wolf elk bear feather guns horses bird smoke chief robe plume striker")
_OWN: Final = {"wolf": "mahihkan", "bear": "maskwa", "bird": "piyesis", "horses": "mistatim", "elk": "wapiti"}
_NATION_OFFICE: Final = ("4035550160", "Box 60", "Northbank", "T0Z 0Z0")
_SHELTERS: Final = (("Drop-In Centre, 1 Ferry Way", "Riverton", ""), ("88 Lantern Road", "Riverton", "T0Z 1Z1"))


@dataclass(frozen=True, slots=True)
class _Form:
    boxes: int  # letters a name may have
    day_first: float  # how often the clerk at the scanner takes the other order
    misread: float  # how often a field is misread
    both_surnames: float
    middle: float
    numbers: float


def forms(
    seed: int, clients: int = 3000, arrivals: int = 3000, *, overlap: float = 0.45, kin: float = 0.2
) -> Community:
    """Shelter intake forms (left) and clinic registration forms (right)."""
    rng = random.Random(seed * 53 + 29)
    people = People(rng, {"spanish": 40, "indigenous": 34, "english": 20, "muslim": 6}, canadian=True)
    base = [_named(rng, people.person()) for _ in range(clients)]
    pool = [(human, "client") for human in rng.sample(base, min(int(arrivals * overlap), clients))]
    pool += [_kin(rng, people, rng.choice(base)) for _ in range(int(arrivals * kin))]
    pool += [(_named(rng, people.person()), "stranger") for _ in range(arrivals - len(pool))]
    rng.shuffle(pool)
    intake = [_Form(14, 0.03, 0.09, 0.5, 0.35, 0.45), _Form(24, 0.01, 0.05, 0.8, 0.6, 0.6)]
    clinic = [_Form(18, 0.02, 0.05, 0.6, 0.5, 0.75), _Form(40, 0.005, 0.03, 0.9, 0.7, 0.9)]
    at = {human.number: f"S{n}" for n, human in enumerate(base)}
    out = Community([_scanned(rng, people, rng.choice(intake), h, at[h.number], 0.4) for h in base], [], set())
    for n, (human, kind) in enumerate(pool):
        now = _moved(rng, people, human) if kind == "client" else human
        out.right.append(_scanned(rng, people, rng.choice(clinic), now, f"K{n}", 0.12))
        if kind == "client":
            out.truth.add((at[human.number], f"K{n}"))
        else:
            out.kind[f"K{n}"] = kind
    return out


def _named(rng: random.Random, human: Human) -> Human:
    """Two surnames for nearly everybody of Spanish names; surnames of two words for most of the nations'."""
    if human.culture == "spanish" and " " not in human.last and rng.random() < 0.7:
        human.last = f"{human.last} {rng.choice(('garcia', 'lopez', 'cruz', 'reyes', 'mendoza', 'santos', 'vega'))}"
    if human.culture == "spanish" and human.sex == "F" and rng.random() < 0.3:
        human.given, human.middle = "maria", human.given if human.given != "maria" else human.middle
    if human.culture == "indigenous" and rng.random() < 0.6:
        human.last = f"{rng.choice(_FIRST_WORDS)} {rng.choice(_LAST_WORDS)}"
    return human


def _kin(rng: random.Random, people: People, human: Human) -> tuple[Human, str]:
    """Half as elsewhere; the others bear the same given and middle name: a junior, a cousin, a namesake."""
    if rng.random() < 0.5:
        other, kind = people.kin_of(human)
        if kind == "twin" and human.middle and rng.random() < 0.4:
            other.middle = human.middle  # twins who share the second name
        return other, kind
    kind = rng.choice(("junior", "cousin", "namesake"))
    home = {"address": human.address, "city": human.city, "postal": human.postal} if kind == "junior" else {}
    year, month, _ = human.dob
    dob = {
        "junior": (year + rng.randrange(17, 36), rng.randrange(1, 13), rng.randrange(1, 29)),
        "cousin": (year + rng.choice((-2, -1, 0, 1, 2)), rng.randrange(1, 13), rng.randrange(1, 29)),
        "namesake": human.dob if rng.random() < 0.15 else (year, month, rng.randrange(1, 29)),
    }[kind]
    same = {"given": human.given, "middle": human.middle, "last": human.last, "sex": human.sex, "dob": dob}
    return people.person(culture=human.culture, **same, **home), kind


def _moved(rng: random.Random, people: People, human: Human) -> Human:
    now = replace(human)
    if rng.random() < 0.45:
        now.address, now.city, now.postal = people.place()
    if rng.random() < 0.45:
        now.phone = people.person().phone
    return now


def _misread(rng: random.Random, text: str) -> str:
    """One letter or digit taken for another that looks like it."""
    if text.isdigit():
        i = rng.randrange(len(text))
        return text[:i] + _DIGITS[text[i]] + text[i + 1 :]
    found = [(old, new) for old, new in _LOOKS_LIKE if old in text]
    if not found:
        return text[:-1]
    old, new = rng.choice(found)
    return text.replace(old, new, 1)


def _written_surname(rng: random.Random, form: _Form, h: Human) -> str:
    parts = h.last.split()
    if h.culture == "indigenous" and len(parts) == 2:
        own = " ".join(_OWN.get(part, part) for part in parts) if rng.random() < 0.08 else h.last
        return rng.choice((own, own.replace(" ", ""), own.replace(" ", "-")))
    if len(parts) == 2 and rng.random() > form.both_surnames:
        return parts[0] if rng.random() < 0.85 else parts[1]
    return rng.choice((h.last, h.last.replace(" ", "-"))) if h.last not in VARIANT else h.last


def _scanned(rng: random.Random, people: People, form: _Form, h: Human, id_: str, sheltered: float) -> Row:
    given, middle, last = h.given, h.middle if rng.random() < form.middle else "", _written_surname(rng, form, h)
    if given in NICK and rng.random() < 0.1:
        given = rng.choice(NICK[given].split())
    if middle and rng.random() < 0.25:
        middle = middle[:1]
    if middle and rng.random() < 0.12:
        given, middle = f"{given} {middle}", ""  # both in one box
    if rng.random() < 0.02:
        last, given = given, last
    given, middle, last = (_misread(rng, x) if x and rng.random() < form.misread else x for x in (given, middle, last))
    year, month, day = h.dob
    if rng.random() < form.day_first and day <= 12:
        month, day = day, month
    dob = f"{year:04d}{month:02d}{day:02d}"
    if rng.random() < form.misread * 0.5:
        dob = _misread(rng, dob)
    if rng.random() < 0.03 * (sheltered > 0.2):
        dob = rng.choice((dob[:4], dob[:6], f"{year + rng.choice((-1, 0, 1))}0101"))
    health = h.health if rng.random() < form.numbers * (0.35 if sheltered > 0.2 else 1) else ""
    phone = h.phone if rng.random() < 0.5 else ""
    street, city, postal = (h.address, h.city, h.postal) if rng.random() < 0.65 else ("", h.city, "")
    if rng.random() < sheltered:
        street, city, postal = rng.choice(_SHELTERS)
    elif h.culture == "indigenous" and rng.random() < 0.3:
        phone, street, city, postal = _NATION_OFFICE
    health, phone = (_misread(rng, x) if x and rng.random() < form.misread else x for x in (health, phone))
    return {
        "id": id_, "first": given.upper()[: form.boxes], "middle": middle.upper(), "last": last.upper()[: form.boxes],
        "suffix": h.suffix if rng.random() < 0.3 else "", "dob": dob, "sex": h.sex if rng.random() < 0.96 else "",
        "health_no": health, "phone": phone, "address": street, "city": city, "postal": postal,
        "multiple_birth": "Y" if h.twin and rng.random() < 0.2 else "",
    }  # fmt: skip
