"""Comparisons as ladders of levels: the first level that holds is what two records show in one trait.

Each level has a Python predicate for the real-time scorer and the same condition as DuckDB SQL for training in batch
(``{a}`` and ``{b}`` stand for the two records' columns), so that both engines see the same level for the same pair.
Which levels a model uses, in which order and with what weight, is data (mappings/linkage/*.json).
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeAlias

from rapidfuzz.distance import DamerauLevenshtein, JaroWinkler

from gateway.linkage.traits import Traits

Predicate: TypeAlias = Callable[[Traits, Traits], bool]
_edits: Final = DamerauLevenshtein.distance
_jw: Final = JaroWinkler.similarity


class Level(NamedTuple):
    """One rung: ``holds`` in Python, ``sql`` for Splink over columns named as the traits with ``_l`` and ``_r``."""

    holds: Predicate
    sql: str


def _near(field: str, at_most: int, shortest: int) -> str:
    return (
        f"damerau_levenshtein({field}_l, {field}_r) <= {at_most}"
        f" AND least(length({field}_l), length({field}_r)) >= {shortest}"
        f" AND left({field}_l, 1) <> '#' AND left({field}_r, 1) <> '#'"
    )


def _jw_sql(field: str, at_least: float) -> str:
    return (
        f"jaro_winkler_similarity({field}_l, {field}_r) >= {at_least}"
        f" AND left({field}_l, 1) <> '#' AND left({field}_r, 1) <> '#'"
    )


def _either_empty(field: str) -> str:
    return f"({field}_l = '' OR {field}_r = '')"


def _one_edit(x: str, y: str, shortest: int) -> bool:
    return min(len(x), len(y)) >= shortest and x[0] != "#" != y[0] and _edits(x, y, score_cutoff=1) <= 1


def _two_edits(x: str, y: str, shortest: int) -> bool:
    return min(len(x), len(y)) >= shortest and x[0] != "#" != y[0] and _edits(x, y, score_cutoff=2) <= 2


def _close(x: str, y: str, at_least: float) -> bool:
    return x[0] != "#" != y[0] and _jw(x, y) >= at_least


_SWAPPED_SQL: Final = "list_contains(lasts_r, given_l) AND list_contains(lasts_l, given_r)"


def _swapped(a: Traits, b: Traits) -> bool:
    return a.given in b.lasts and b.given in a.lasts


def _slipped(x: str, y: str) -> bool:
    return x == y or _one_edit(x, y, 5)


def _crossed(a: Traits, b: Traits) -> bool:
    """A given name stands as the other record's surname, up to one slip: names swapped and one of them wrong."""
    return bool(a.last and b.last and a.given and b.given) and (_slipped(a.given, b.last) or _slipped(a.last, b.given))


def _slipped_sql(x: str, y: str) -> str:
    return (
        f"({x} = {y} OR (damerau_levenshtein({x}, {y}) <= 1 AND least(length({x}), length({y})) >= 5"
        f" AND left({x}, 1) <> '#' AND left({y}, 1) <> '#'))"
    )


_CROSSED: Final = Level(
    _crossed,
    "given_l <> '' AND given_r <> '' AND last_l <> '' AND last_r <> '' AND "
    f"({_slipped_sql('given_l', 'last_r')} OR {_slipped_sql('last_l', 'given_r')})",
)

GIVEN: Final[Mapping[str, Level]] = {
    "unknown": Level(lambda a, b: not a.given or not b.given, _either_empty("given")),
    "same": Level(lambda a, b: a.given == b.given, "given_l = given_r"),
    "alias": Level(lambda a, b: not a.givens.isdisjoint(b.givens), "list_has_any(givens_l, givens_r)"),
    "nickname": Level(lambda a, b: not a.roots.isdisjoint(b.roots), "list_has_any(roots_l, roots_r)"),
    "one_edit": Level(lambda a, b: _one_edit(a.given, b.given, 4), _near("given", 1, 4)),
    "swapped": Level(lambda a, b: a.last != b.last and _swapped(a, b), f"last_l <> last_r AND {_SWAPPED_SQL}"),
    "middle": Level(
        lambda a, b: (len(a.given) > 1 and a.given == b.middle) or (len(b.given) > 1 and b.given == a.middle),
        "(length(given_l) > 1 AND given_l = middle_r) OR (length(given_r) > 1 AND given_r = middle_l)",
    ),
    "initial": Level(
        lambda a, b: (len(a.given) == 1 or len(b.given) == 1) and a.given[0] == b.given[0],
        "(length(given_l) = 1 OR length(given_r) = 1) AND left(given_l, 1) = left(given_r, 1)",
    ),
    "crossed": _CROSSED,
    "two_edits": Level(lambda a, b: _two_edits(a.given, b.given, 6), _near("given", 2, 6)),
    "near": Level(
        lambda a, b: a.given_sound == b.given_sound or _close(a.given, b.given, 0.88),
        f"given_sound_l = given_sound_r OR ({_jw_sql('given', 0.88)})",
    ),
    "far": Level(lambda a, b: _close(a.given, b.given, 0.75), _jw_sql("given", 0.75)),
}

LAST: Final[Mapping[str, Level]] = {
    "unknown": Level(
        lambda a, b: not a.last or not b.last or (a.last != b.last and a.given != b.given and _swapped(a, b)),
        f"{_either_empty('last')} OR (last_l <> last_r AND given_l <> given_r AND {_SWAPPED_SQL})",
    ),  # swapped names are counted once, by the given name
    "same": Level(lambda a, b: a.last == b.last, "last_l = last_r"),
    "alias": Level(lambda a, b: not a.lasts.isdisjoint(b.lasts), "list_has_any(lasts_l, lasts_r)"),
    "one_edit": Level(lambda a, b: _one_edit(a.last, b.last, 4), _near("last", 1, 4)),
    "part": Level(lambda a, b: not a.parts.isdisjoint(b.parts), "list_has_any(parts_l, parts_r)"),
    "two_edits": Level(lambda a, b: _two_edits(a.last, b.last, 6), _near("last", 2, 6)),
    "near": Level(
        lambda a, b: a.last_sound == b.last_sound or _close(a.last, b.last, 0.88),
        f"last_sound_l = last_sound_r OR ({_jw_sql('last', 0.88)})",
    ),
    "initial": Level(
        lambda a, b: (len(a.last) == 1 or len(b.last) == 1) and a.last[0] == b.last[0],
        "(length(last_l) = 1 OR length(last_r) = 1) AND left(last_l, 1) = left(last_r, 1)",
    ),
    "crossed": _CROSSED,
    "far": Level(lambda a, b: _close(a.last, b.last, 0.75), _jw_sql("last", 0.75)),
}

MIDDLE: Final[Mapping[str, Level]] = {
    "unknown": Level(lambda a, b: not a.middle or not b.middle, _either_empty("middle")),
    "same": Level(
        lambda a, b: a.middle == b.middle and len(a.middle) > 1, "middle_l = middle_r AND length(middle_l) > 1"
    ),
    "initial": Level(
        lambda a, b: a.middle[0] == b.middle[0] and (len(a.middle) == 1 or len(b.middle) == 1),
        "left(middle_l, 1) = left(middle_r, 1) AND (length(middle_l) = 1 OR length(middle_r) = 1)",
    ),
    "near": Level(lambda a, b: _close(a.middle, b.middle, 0.85), _jw_sql("middle", 0.85)),
}


def _known_parts_agree(a: Traits, b: Traits) -> bool:
    return a.year == b.year and (not a.month or not b.month or a.month == b.month)


def _swapped_day(a: Traits, b: Traits) -> bool:
    return bool(a.dob and b.dob) and a.year == b.year and a.month == b.day and a.day == b.month


def _two_of_three(a: Traits, b: Traits) -> bool:
    return bool(a.dob and b.dob) and (a.year == b.year) + (a.month == b.month) + (a.day == b.day) == 2


def _january_first(a: Traits, b: Traits) -> bool:
    """One side is an estimate by custom (1 January, 1 July, or stated so) and the years are at most two apart."""
    stated = a.dob[4:] in _BY_CUSTOM or b.dob[4:] in _BY_CUSTOM or a.soft_dob or b.soft_dob
    return stated and _years_apart(a, b) <= 2


_BY_CUSTOM: Final = frozenset({"0101", "0701"})


def _years_apart(a: Traits, b: Traits) -> int:
    return abs(int(a.year) - int(b.year))


_BOTH_FULL: Final = "dob_l <> '' AND dob_r <> ''"
_PART_UNKNOWN: Final = "(dob_l = '' OR dob_r = '')"
DOB: Final[Mapping[str, Level]] = {
    "unknown": Level(lambda a, b: not a.year or not b.year, _either_empty("year")),
    "same": Level(lambda a, b: bool(a.dob) and a.dob == b.dob, "dob_l <> '' AND dob_l = dob_r"),
    "swapped": Level(_swapped_day, f"{_BOTH_FULL} AND year_l = year_r AND month_l = day_r AND day_l = month_r"),
    "one_edit": Level(
        lambda a, b: bool(a.dob and b.dob) and _edits(a.dob, b.dob, score_cutoff=1) <= 1,
        f"{_BOTH_FULL} AND damerau_levenshtein(dob_l, dob_r) <= 1",
    ),
    "month": Level(
        lambda a, b: not (a.dob and b.dob) and bool(a.month and b.month) and _known_parts_agree(a, b),
        f"{_PART_UNKNOWN} AND month_l <> '' AND month_l = month_r AND year_l = year_r",
    ),
    "year_known": Level(
        lambda a, b: not (a.dob and b.dob) and not (a.month and b.month) and a.year == b.year,
        f"{_PART_UNKNOWN} AND (month_l = '' OR month_r = '') AND year_l = year_r",
    ),
    "two_parts": Level(
        _two_of_three,
        f"{_BOTH_FULL} AND (CASE WHEN year_l = year_r THEN 1 ELSE 0 END + CASE WHEN month_l = month_r THEN 1 ELSE 0 END"
        " + CASE WHEN day_l = day_r THEN 1 ELSE 0 END) = 2",
    ),
    "estimate": Level(
        _january_first,
        "(right(dob_l, 4) IN ('0101', '0701') OR right(dob_r, 4) IN ('0101', '0701') OR soft_dob_l OR soft_dob_r)"
        " AND abs(CAST(year_l AS INTEGER) - CAST(year_r AS INTEGER)) <= 2",
    ),
    "two_edits": Level(
        lambda a, b: bool(a.dob and b.dob) and _edits(a.dob, b.dob, score_cutoff=2) <= 2,
        f"{_BOTH_FULL} AND damerau_levenshtein(dob_l, dob_r) <= 2",
    ),
    "same_year": Level(lambda a, b: a.year == b.year, "year_l = year_r"),
    "near_year": Level(
        lambda a, b: _years_apart(a, b) <= 1, "abs(CAST(year_l AS INTEGER) - CAST(year_r AS INTEGER)) <= 1"
    ),
    "generation": Level(
        lambda a, b: _years_apart(a, b) >= 14, "abs(CAST(year_l AS INTEGER) - CAST(year_r AS INTEGER)) >= 14"
    ),
}  # year comes from read_dob as four digits, so the casts cannot fail


def consecutive(a: Traits, b: Traits) -> bool:
    """Whether two full SSNs lie within two of each other, as twins' and siblings' given together do."""
    if not (a.ssn.isdigit() and b.ssn.isdigit()) or a.ssn == b.ssn:
        return False
    return abs(int(a.ssn) - int(b.ssn)) <= 2


_SSN_BOTH: Final = "ssn_l <> '' AND ssn_r <> ''"
SSN: Final[Mapping[str, Level]] = {
    "unknown": Level(
        lambda a, b: (not a.ssn4 and not a.ssn) or (not b.ssn4 and not b.ssn),
        "(ssn_l = '' AND ssn4_l = '') OR (ssn_r = '' AND ssn4_r = '')",
    ),
    "same": Level(lambda a, b: bool(a.ssn) and a.ssn == b.ssn, f"{_SSN_BOTH} AND ssn_l = ssn_r"),
    "consecutive": Level(
        consecutive,
        f"{_SSN_BOTH} AND abs(TRY_CAST(ssn_l AS BIGINT) - TRY_CAST(ssn_r AS BIGINT)) <= 2",
    ),
    "one_edit": Level(
        lambda a, b: bool(a.ssn and b.ssn) and _one_edit(a.ssn, b.ssn, 5), f"{_SSN_BOTH} AND {_near('ssn', 1, 5)}"
    ),
    "last_four": Level(
        lambda a, b: bool(a.ssn4) and a.ssn4 == b.ssn4 and not (a.ssn and b.ssn),
        "ssn4_l <> '' AND ssn4_l = ssn4_r AND (ssn_l = '' OR ssn_r = '')",
    ),
    "two_edits": Level(
        lambda a, b: bool(a.ssn and b.ssn) and _two_edits(a.ssn, b.ssn, 7), f"{_SSN_BOTH} AND {_near('ssn', 2, 7)}"
    ),
    "last_four_edit": Level(
        lambda a, b: not (a.ssn and b.ssn) and bool(a.ssn4 and b.ssn4) and _edits(a.ssn4, b.ssn4, score_cutoff=1) <= 1,
        "(ssn_l = '' OR ssn_r = '') AND ssn4_l <> '' AND ssn4_r <> '' AND damerau_levenshtein(ssn4_l, ssn4_r) <= 1",
    ),
}

HEALTH: Final[Mapping[str, Level]] = {
    "unknown": Level(
        lambda a, b: not a.health or not b.health or a.health_of != b.health_of,
        f"{_either_empty('health')} OR health_of_l <> health_of_r",
    ),
    "same": Level(lambda a, b: a.health == b.health, "health_l = health_r"),
    "one_edit": Level(lambda a, b: _one_edit(a.health, b.health, 5), _near("health", 1, 5)),
    "two_edits": Level(lambda a, b: _two_edits(a.health, b.health, 7), _near("health", 2, 7)),
}

PHONE: Final[Mapping[str, Level]] = {
    "unknown": Level(lambda a, b: not a.phone or not b.phone, _either_empty("phone")),
    "same": Level(lambda a, b: a.phone == b.phone, "phone_l = phone_r"),
    "local": Level(lambda a, b: a.phone[-7:] == b.phone[-7:], "right(phone_l, 7) = right(phone_r, 7)"),
    "one_edit": Level(lambda a, b: _one_edit(a.phone, b.phone, 7), _near("phone", 1, 7)),
}


def _nothing_to_compare(a: Traits, b: Traits) -> bool:
    return not ((a.address and b.address) or (a.postal and b.postal) or (a.city and b.city))


def _near_address(a: Traits, b: Traits) -> bool:
    x, y = a.address, b.address
    return min(len(x), len(y)) >= 5 and _jw(x, y) >= 0.9


PLACE: Final[Mapping[str, Level]] = {
    "unknown": Level(
        _nothing_to_compare,
        "NOT ((address_l <> '' AND address_r <> '') OR (postal_l <> '' AND postal_r <> '')"
        " OR (city_l <> '' AND city_r <> ''))",
    ),
    "same": Level(lambda a, b: bool(a.address) and a.address == b.address, "address_l <> '' AND address_l = address_r"),
    "near": Level(
        _near_address,
        "least(length(address_l), length(address_r)) >= 5 AND jaro_winkler_similarity(address_l, address_r) >= 0.9",
    ),
    "postal": Level(lambda a, b: bool(a.postal) and a.postal == b.postal, "postal_l <> '' AND postal_l = postal_r"),
    "city": Level(lambda a, b: bool(a.city) and a.city == b.city, "city_l <> '' AND city_l = city_r"),
}

SEX: Final[Mapping[str, Level]] = {
    "unknown": Level(lambda a, b: not a.sex or not b.sex, _either_empty("sex")),
    "same": Level(lambda a, b: a.sex == b.sex, "sex_l = sex_r"),
}

SUFFIX: Final[Mapping[str, Level]] = {
    "unknown": Level(lambda a, b: not a.suffix or not b.suffix, _either_empty("suffix")),
    "same": Level(lambda a, b: a.suffix == b.suffix, "suffix_l = suffix_r"),
}

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
    ("dob", "same"): "dob",
    ("phone", "same"): "phone",
    ("place", "same"): "address",
    ("place", "postal"): "postal",
    ("place", "city"): "city",
    ("ssn", "same"): "ssn",
    ("health", "same"): "health",
}  # the trait whose frequency replaces u when both records share the value
