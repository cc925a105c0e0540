"""Comparisons as ladders of levels: the first level that holds is what two records show in one trait.

Each level is written twice over the same columns, the traits with ``_l`` and ``_r`` for the two records: as a Python
expression for the real-time scorer and as DuckDB SQL for training in batch, so that both engines see the same level for
the same pair. Which levels a model uses, in which order and with what weight, is data (mappings/linkage/*.json).
:func:`ladder_of` compiles a ladder into one function; :func:`holds` tries one level by itself, slowly: its twin.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

from rapidfuzz.distance import OSA, DamerauLevenshtein, JaroWinkler

from gateway.linkage.traits import Traits

Ladder: TypeAlias = Callable[[Traits, Traits], int]
_edits: Final = OSA.distance  # four times as fast as Damerau and Levenshtein's, which it exceeds by one at most here
_true_edits: Final = DamerauLevenshtein.distance
_jw: Final = JaroWinkler.similarity
_FAR: Final = 4
_LEAST_ALIKE: Final = 0.75


class Level(NamedTuple):
    """One rung: the condition in ``python`` for the gateway, in ``sql`` for Splink."""

    python: str
    sql: str


def _near(field: str, at_most: int, shortest: int) -> Level:
    return Level(
        f"{_slips(field, at_most)} and len({field}_l) >= {shortest} and len({field}_r) >= {shortest}",
        f"damerau_levenshtein({field}_l, {field}_r) <= {at_most}"
        f" AND least(length({field}_l), length({field}_r)) >= {shortest}"
        f" AND left({field}_l, 1) <> '#' AND left({field}_r, 1) <> '#'",
    )


def _slips(field: str, at_most: int) -> str:
    """:func:`edits` of a field in Python; the compiler asks for the distance itself once for a whole ladder."""
    found = f"slips({field}_l, {field}_r)"
    if at_most == 1:
        return f"{found} <= 1"
    return f"({found} <= 2 or {found} == 3 and true_edits({field}_l, {field}_r, score_cutoff=2) <= 2)"


def _alike(field: str, at_least: float) -> Level:
    return Level(
        f"alike({field}_l, {field}_r) >= {at_least}",
        f"(jaro_winkler_similarity({field}_l, {field}_r) >= {at_least}"
        f" AND left({field}_l, 1) <> '#' AND left({field}_r, 1) <> '#')",
    )


def _sounding(field: str, at_least: float) -> Level:
    near = _alike(field, at_least)
    return Level(
        f"{field}_sound_l == {field}_sound_r or {near.python}", f"{field}_sound_l = {field}_sound_r OR {near.sql}"
    )


def _same(field: str) -> Level:
    return Level(f"{field}_l == {field}_r", f"{field}_l = {field}_r")


def _known_same(field: str) -> Level:
    return Level(f"{field}_l and {field}_l == {field}_r", f"{field}_l <> '' AND {field}_l = {field}_r")


def _common(field: str) -> Level:
    return Level(f"not {field}_l.isdisjoint({field}_r)", f"list_has_any({field}_l, {field}_r)")


def _either_empty(field: str) -> Level:
    return Level(f"not {field}_l or not {field}_r", f"({field}_l = '' OR {field}_r = '')")


def _initial(field: str) -> Level:
    return Level(
        f"(len({field}_l) == 1 or len({field}_r) == 1) and {field}_l[0] == {field}_r[0]",
        f"(length({field}_l) = 1 OR length({field}_r) = 1) AND left({field}_l, 1) = left({field}_r, 1)",
    )


def slips(x: str, y: str) -> int:
    """How many slips lie between two values, up to 3, and more than that when more do or one is a digest.

    Damerau's and Levenshtein's, but that no letter may move twice: letters that change places around an inserted one
    are two slips there and three here.
    """
    return _edits(x, y, score_cutoff=3) if x[:1] != "#" != y[:1] else _FAR


def edits(x: str, y: str, at_most: int) -> bool:
    """Whether two values are within so many slips (Damerau and Levenshtein; ``at_most`` 1 or 2)."""
    found = slips(x, y)
    return found <= at_most or (at_most == 2 and found == 3 and _true_edits(x, y, score_cutoff=2) <= 2)


def alike(x: str, y: str) -> float:
    """How similar two values are (Jaro, Winkler); 0 below what any level asks, and for digests."""
    return _jw(x, y, score_cutoff=_LEAST_ALIKE) if x[:1] != "#" != y[:1] else 0.0


def slipped(x: str, y: str) -> bool:
    """Whether two values are one with at most one slip."""
    return x == y or (len(x) >= 5 and len(y) >= 5 and slips(x, y) <= 1)


_SWAPPED: Final = "given_l in lasts_r and given_r in lasts_l"
_SWAPPED_SQL: Final = "list_contains(lasts_r, given_l) AND list_contains(lasts_l, given_r)"


def _slipped_sql(x: str, y: str) -> str:
    return (
        f"({x} = {y} OR (damerau_levenshtein({x}, {y}) <= 1 AND least(length({x}), length({y})) >= 5"
        f" AND left({x}, 1) <> '#' AND left({y}, 1) <> '#'))"
    )


_CROSSED: Final = Level(  # a given name stands as the other's surname, up to one slip: swapped, and one of them wrong
    "given_l and given_r and last_l and last_r and (slipped(given_l, last_r) or slipped(last_l, given_r))",
    "given_l <> '' AND given_r <> '' AND last_l <> '' AND last_r <> '' AND "
    f"({_slipped_sql('given_l', 'last_r')} OR {_slipped_sql('last_l', 'given_r')})",
)

GIVEN: Final[Mapping[str, Level]] = {
    "unknown": _either_empty("given"),
    "same": _same("given"),
    "alias": _common("givens"),
    "nickname": _common("roots"),
    "one_edit": _near("given", 1, 4),
    "swapped": Level(f"last_l != last_r and {_SWAPPED}", f"last_l <> last_r AND {_SWAPPED_SQL}"),
    "middle": Level(
        "(len(given_l) > 1 and given_l == middle_r) or (len(given_r) > 1 and given_r == middle_l)",
        "(length(given_l) > 1 AND given_l = middle_r) OR (length(given_r) > 1 AND given_r = middle_l)",
    ),
    "initial": _initial("given"),
    "crossed": _CROSSED,
    "two_edits": _near("given", 2, 6),
    "near": _sounding("given", 0.88),
    "far": _alike("given", 0.75),
}

LAST: Final[Mapping[str, Level]] = {
    "unknown": Level(  # swapped names are counted once, by the given name
        f"not last_l or not last_r or (last_l != last_r and given_l != given_r and {_SWAPPED})",
        f"{_either_empty('last').sql} OR (last_l <> last_r AND given_l <> given_r AND {_SWAPPED_SQL})",
    ),
    "same": _same("last"),
    "alias": _common("lasts"),
    "one_edit": _near("last", 1, 4),
    "part": _common("parts"),
    "two_edits": _near("last", 2, 6),
    "near": _sounding("last", 0.88),
    "initial": _initial("last"),
    "crossed": _CROSSED,
    "far": _alike("last", 0.75),
}

MIDDLE: Final[Mapping[str, Level]] = {
    "unknown": _either_empty("middle"),
    "same": Level("middle_l == middle_r and len(middle_l) > 1", "middle_l = middle_r AND length(middle_l) > 1"),
    "initial": _initial("middle"),
    "near": _alike("middle", 0.85),
}

_YEARS_APART: Final = "abs(int(year_l) - int(year_r))"
_YEARS_APART_SQL: Final = "abs(CAST(year_l AS INTEGER) - CAST(year_r AS INTEGER))"
_BOTH_FULL: Final = "dob_l <> '' AND dob_r <> ''"
_PART_UNKNOWN: Final = "(dob_l = '' OR dob_r = '')"
BY_CUSTOM: Final = frozenset({"0101", "0701"})  # days that stand for an estimate: 1 January, 1 July
DOB: Final[Mapping[str, Level]] = {
    "unknown": _either_empty("year"),
    "same": _known_same("dob"),
    "swapped": Level(
        "dob_l and dob_r and year_l == year_r and month_l == day_r and day_l == month_r",
        f"{_BOTH_FULL} AND year_l = year_r AND month_l = day_r AND day_l = month_r",
    ),
    "one_edit": Level(
        f"dob_l and dob_r and {_slips('dob', 1)}",
        f"{_BOTH_FULL} AND damerau_levenshtein(dob_l, dob_r) <= 1",
    ),
    "month": Level(
        "not (dob_l and dob_r) and month_l and month_l == month_r and year_l == year_r",
        f"{_PART_UNKNOWN} AND month_l <> '' AND month_l = month_r AND year_l = year_r",
    ),
    "year_known": Level(
        "not (dob_l and dob_r) and not (month_l and month_r) and year_l == year_r",
        f"{_PART_UNKNOWN} AND (month_l = '' OR month_r = '') AND year_l = year_r",
    ),
    "two_parts": Level(
        "dob_l and dob_r and (year_l == year_r) + (month_l == month_r) + (day_l == day_r) == 2",
        f"{_BOTH_FULL} AND (CASE WHEN year_l = year_r THEN 1 ELSE 0 END + CASE WHEN month_l = month_r THEN 1 ELSE 0 END"
        " + CASE WHEN day_l = day_r THEN 1 ELSE 0 END) = 2",
    ),
    "estimate": Level(  # one side is an estimate by custom, or stated so, and the years are at most two apart
        f"(dob_l[4:] in BY_CUSTOM or dob_r[4:] in BY_CUSTOM or soft_dob_l or soft_dob_r) and {_YEARS_APART} <= 2",
        "(right(dob_l, 4) IN ('0101', '0701') OR right(dob_r, 4) IN ('0101', '0701') OR soft_dob_l OR soft_dob_r)"
        f" AND {_YEARS_APART_SQL} <= 2",
    ),
    "two_edits": Level(
        f"dob_l and dob_r and {_slips('dob', 2)}",
        f"{_BOTH_FULL} AND damerau_levenshtein(dob_l, dob_r) <= 2",
    ),
    "same_year": _same("year"),
    "near_year": Level(f"{_YEARS_APART} <= 1", f"{_YEARS_APART_SQL} <= 1"),
    "generation": Level(f"{_YEARS_APART} >= 14", f"{_YEARS_APART_SQL} >= 14"),
}  # year comes from read_dob as four digits, so the casts cannot fail


def consecutive(x: str, y: str) -> bool:
    """Whether two full SSNs lie within two of each other, as twins' and siblings' given together do."""
    return x.isdigit() and y.isdigit() and x != y and abs(int(x) - int(y)) <= 2


_SSN_BOTH: Final = "ssn_l <> '' AND ssn_r <> ''"
SSN: Final[Mapping[str, Level]] = {
    "unknown": Level(
        "not (ssn4_l or ssn_l) or not (ssn4_r or ssn_r)",
        "(ssn_l = '' AND ssn4_l = '') OR (ssn_r = '' AND ssn4_r = '')",
    ),
    "same": _known_same("ssn"),
    "consecutive": Level(
        "consecutive(ssn_l, ssn_r)",
        f"{_SSN_BOTH} AND abs(TRY_CAST(ssn_l AS BIGINT) - TRY_CAST(ssn_r AS BIGINT)) <= 2",
    ),
    "one_edit": _near("ssn", 1, 5),
    "last_four": Level(
        "ssn4_l and ssn4_l == ssn4_r and not (ssn_l and ssn_r)",
        "ssn4_l <> '' AND ssn4_l = ssn4_r AND (ssn_l = '' OR ssn_r = '')",
    ),
    "two_edits": _near("ssn", 2, 7),
    "last_four_edit": Level(
        "not (ssn_l and ssn_r) and ssn4_l and ssn4_r and slips(ssn4_l, ssn4_r) <= 1",
        "(ssn_l = '' OR ssn_r = '') AND ssn4_l <> '' AND ssn4_r <> '' AND damerau_levenshtein(ssn4_l, ssn4_r) <= 1",
    ),
}

HEALTH: Final[Mapping[str, Level]] = {
    "unknown": Level(
        "not health_l or not health_r or health_of_l != health_of_r",
        f"{_either_empty('health').sql} OR health_of_l <> health_of_r",
    ),
    "same": _same("health"),
    "one_edit": _near("health", 1, 5),
    "two_edits": _near("health", 2, 7),
}

PHONE: Final[Mapping[str, Level]] = {
    "unknown": _either_empty("phone"),
    "same": _same("phone"),
    "local": Level("phone_l[-7:] == phone_r[-7:]", "right(phone_l, 7) = right(phone_r, 7)"),
    "one_edit": _near("phone", 1, 7),
}

PLACE: Final[Mapping[str, Level]] = {
    "unknown": Level(
        "not (address_l and address_r or postal_l and postal_r or city_l and city_r)",
        "NOT ((address_l <> '' AND address_r <> '') OR (postal_l <> '' AND postal_r <> '')"
        " OR (city_l <> '' AND city_r <> ''))",
    ),
    "same": _known_same("address"),
    "near": Level(
        "len(address_l) >= 5 and len(address_r) >= 5 and jaro_winkler(address_l, address_r, score_cutoff=0.9) >= 0.9",
        "least(length(address_l), length(address_r)) >= 5 AND jaro_winkler_similarity(address_l, address_r) >= 0.9",
    ),
    "postal": _known_same("postal"),
    "city": _known_same("city"),
}

SEX: Final[Mapping[str, Level]] = {"unknown": _either_empty("sex"), "same": _same("sex")}
SUFFIX: Final[Mapping[str, Level]] = {"unknown": _either_empty("suffix"), "same": _same("suffix")}

COMPARISONS: Final[Mapping[str, Mapping[str, Level]]] = {
    "given": GIVEN,
    "middle": MIDDLE,
    "last": LAST,
    "suffix": SUFFIX,
    "dob": DOB,
    "sex": SEX,
    "ssn": SSN,
    "health": HEALTH,
    "phone": PHONE,
    "place": PLACE,
}

FREQUENT: Final[Mapping[tuple[str, str], str]] = {
    ("given", "same"): "given",
    ("last", "same"): "last",
    ("middle", "same"): "middle",
    ("dob", "same"): "dob",
    ("phone", "same"): "phone",
    ("place", "same"): "address",
    ("place", "postal"): "postal",
    ("place", "city"): "city",
    ("ssn", "same"): "ssn",
    ("health", "same"): "health",
}  # the trait whose frequency replaces u when both records share the value


SCOPE: Final[Mapping[str, Any]] = {
    "alike": alike, "BY_CUSTOM": BY_CUSTOM, "consecutive": consecutive, "jaro_winkler": _jw, "slipped": slipped,
    "slips": slips, "true_edits": _true_edits,
}  # fmt: skip
_COLUMN: Final = re.compile(r"\b([a-z_0-9]+?)_([lr])\b")
_SHARED: Final = re.compile(r"\b(slips|alike)\((\w+), \w+\)")


def columns_of(comparison: str, labels: Sequence[str]) -> list[str]:
    """The traits that the levels look at."""
    text = " ".join(COMPARISONS[comparison][label].python for label in labels[:-1])
    return list(dict.fromkeys(name for name, _ in _COLUMN.findall(text)))


def chain(comparison: str, labels: Sequence[str], into: str, sides: str) -> list[str]:
    """Lines of Python that put the number of the first level that holds into ``into``.

    Args:
        labels: in order; the last is what is left when none before it holds.
        sides: the records whose traits are fetched here as they are needed, ``l`` from ``a`` and ``r`` from ``b``.
    """
    lines: list[str] = []
    fetched: set[str] = set()
    indent = ""
    for number, label in enumerate(labels[:-1]):
        condition = COMPARISONS[comparison][label].python
        for name, side in dict.fromkeys(_COLUMN.findall(condition)):
            column = f"{name}_{side}"
            if side in sides and column not in fetched:
                fetched.add(column)
                lines.append(f"{indent}{column} = {'a' if side == 'l' else 'b'}.{name}")
        lines.append(f"{indent}if {_sharing(condition, fetched)}: {into} = {number}")
        lines.append(f"{indent}else:")
        indent += " "
    lines.append(f"{indent}{into} = {len(labels) - 1}")
    return lines


def _sharing(condition: str, measured: set[str]) -> str:
    """A condition in which each distance is measured once: the first to ask keeps it for the levels after it, which
    stand behind the same conditions."""

    def once(found: re.Match[str]) -> str:
        name = f"{found[1]}_of_{found[2]}"
        if name in measured:
            return name
        measured.add(name)
        return f"({name} := {found[0]})"

    return _SHARED.sub(once, condition)


@lru_cache(maxsize=256)
def ladder_of(comparison: str, labels: Sequence[str]) -> Ladder:
    """One function for a ladder: of two records the number of the first level in ``labels`` that holds, else the last.

    Args:
        labels: in order; the last is what is left when none before it holds. A tuple, as it is remembered by it.
    """
    body = "\n ".join(chain(comparison, labels, "found", "lr"))
    made: dict[str, Any] = {}
    text = f"def level(a, b):\n {body}\n return found"
    exec(compile(text, f"<ladder {comparison}>", "exec"), dict(SCOPE), made)  # noqa: S102 - our own text
    function: Ladder = made["level"]
    return function


def holds(comparison: str, label: str, a: Traits, b: Traits) -> bool:
    """Whether one level's condition holds by itself: the slow twin of :func:`ladder_of`."""
    condition = COMPARISONS[comparison][label].python
    values = {f"{n}_{side}": getattr(a if side == "l" else b, n) for n, side in _COLUMN.findall(condition)}
    return bool(eval(condition, dict(SCOPE), values))  # noqa: S307 - our own text
