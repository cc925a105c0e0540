"""Two more synthetic files with truth: a register of names and birth dates only, and FEBRL's kind of errors."""

import random
from typing import Final

from gateway.bench._communities import Community, People, Row, slip
from gateway.bench._community_names import CODA, NUCLEUS, ONSET
from gateway.linkage.names import words

_GIVEN: Final = tuple(
    words(
        "hans peter klaus juergen guenter uwe horst werner heinz gerhard manfred helmut dieter wolfgang "
        "rainer bernd frank thomas andreas stefan michael martin ursula renate monika ingrid helga karin "
        "brigitte gisela christa elke petra sabine susanne andrea claudia birgit heike martina gabriele "
        "angelika anna erika hildegard"
    )
)
_SURNAMES: Final = tuple(
    words(
        "mueller schmidt schneider fischer weber meyer wagner becker schulz hoffmann koch bauer richter klein "
        "wolf schroeder neumann schwarz zimmermann braun krueger hofmann hartmann lange schmitt werner "
        "schmitz krause meier lehmann schmid schulze maier koehler herrmann koenig walter mayer huber kaiser "
        "fuchs peters lang scholz moeller weiss jung hahn schubert vogel friedrich keller guenther frank "
        "berger winkler roth beck lorenz baumann franke albrecht schuster simon ludwig boehm winter kraus "
        "martin schumacher kraemer vogt stein jaeger otto sommer gross seidel heinrich brandt haas schreiber "
        "graf schulte dietrich ziegler kuhn kuehn pohl engel horn busch bergmann thomas voigt sauer arnold "
        "wolff pfeiffer"
    )
)


def registry(seed: int, people: int = 9000, doubles: int = 1000) -> Community:
    """One file of names and birth dates; each double differs from its original by one or two slips. Right is empty."""
    rng = random.Random(seed * 13 + 5)
    first, stems = list(_GIVEN), list(_SURNAMES)
    stems += [
        "".join(
            (
                rng.choice(ONSET),
                rng.choice(NUCLEUS),
                rng.choice(CODA),
                rng.choice(("mann", "er", "berg", "hoff", "stein", "inger")),
            )
        )
        for _ in range(1500)
    ]
    rows: list[Row] = []
    for i in range(people):
        given = first[min(int(rng.expovariate(4 / len(first))), len(first) - 1)]
        last = stems[min(int(rng.expovariate(6 / len(stems))), len(stems) - 1)]
        rows.append(
            {
                "id": f"P{i}",
                "first": given.upper(),
                "last": last.upper(),
                "dob": f"{rng.randrange(1925, 2005)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}",
            }
        )
    out = Community(rows, [], set())
    for i, n in enumerate(rng.sample(range(people), doubles)):
        row = dict(rows[n])
        for _ in range(1 if rng.random() < 0.8 else 2):
            name = rng.choice(("first", "last", "dob", "dob"))
            if name == "dob":
                y, m, d = row["dob"].split("-")
                y, m, d = rng.choice(
                    (
                        (str(int(y) + rng.choice((-1, 1, 2, 10))), m, d),
                        (y, f"{rng.randrange(1, 13):02d}", d),
                        (y, m, f"{rng.randrange(1, 29):02d}"),
                    )
                )
                row["dob"] = f"{y}-{m}-{d}"
            else:
                row[name] = slip(rng, row[name])
        row["id"] = f"D{i}"
        rows.append(row)
        out.truth.add((f"P{n}", f"D{i}"))
    rng.shuffle(rows)
    return out


def febrl(seed: int, originals: int = 2000) -> Community:
    """FEBRL's kind: a clean file and one double a record with up to four modifications, fields lost or replaced."""
    rng = random.Random(seed * 17 + 3)
    people = People(rng, {"english": 90, "slavic": 5, "asian": 5}, canadian=False)
    out = Community([], [], set())
    for i in range(originals):
        h = people.person()
        row = {
            "id": f"rec-{i}-org",
            "first": h.given,
            "last": h.last,
            "address": h.address,
            "city": h.city,
            "postal": h.postal,
            "dob": _compact(h.dob),
            "ssn": h.ssn[:7],
        }
        for name in ("first", "dob", "address"):
            if rng.random() < 0.03:
                row[name] = ""
        double = dict(row) | {"id": f"rec-{i}-dup-0"}
        for _ in range(rng.randrange(1, 5)):
            _modify(rng, people, double)
        out.left.append(row)
        out.right.append(double)
        out.truth.add((row["id"], double["id"]))
    rng.shuffle(out.right)
    return out


def _compact(dob: tuple[int, int, int]) -> str:
    return "".join((f"{dob[0]:04d}", f"{dob[1]:02d}", f"{dob[2]:02d}"))


def _modify(rng: random.Random, people: People, row: Row) -> None:
    name = rng.choice(("first", "last", "address", "city", "postal", "dob", "ssn", "first", "last", "address"))
    roll = rng.random()
    if roll < 0.12:
        row[name] = "" if name != "ssn" else row[name]
    elif roll < 0.2 and name in {"first", "last"}:
        row["first"], row["last"] = row["last"], row["first"]
    elif roll < 0.3:
        other = people.person()
        row[name] = {
            "first": other.given,
            "last": other.last,
            "address": other.address,
            "city": other.city,
            "postal": other.postal,
            "dob": _compact(other.dob),
            "ssn": other.ssn[:7],
        }[name]
    else:
        row[name] = slip(rng, row[name])
