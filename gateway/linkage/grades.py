"""Grades and guards: a high score is not enough to link; what a twin, a son or a namesake would also show caps it.

``certain`` is linked automatically: high, corroborated by something beyond given name, surname and birth date, and
without a guard. Guards never change the score; they cap the grade and are shown as reasons, as is what corroborates.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from gateway.linkage.ladders import BY_CUSTOM, consecutive
from gateway.linkage.scoring import Score, Scorer
from gateway.linkage.traits import Traits


class Grade(StrEnum):
    """FHIR match-grade (R4 http://terminology.hl7.org/CodeSystem/match-grade)."""

    CERTAIN = "certain"
    PROBABLE = "probable"
    POSSIBLE = "possible"
    CERTAINLY_NOT = "certainly-not"


class Guard(StrEnum):
    """Why a pair is not linked automatically however high its score; the value is the reason shown."""

    TWIN = "same birth date and surname, different given name: may be twins"
    MULTIPLE_BIRTH = "multiple birth, given names not the same"
    SUFFIX = "different suffix: may be parent and child"
    GENERATION = "birth dates a generation apart"
    SSN_CONFLICT = "different full social security numbers"
    SSN_NEIGHBOURS = "consecutive social security numbers"
    HEALTH_CONFLICT = "different health numbers of one authority"
    DOB_CONFLICT = "different birth dates"
    NAME_CONFLICT = "different given names"
    RUNNER_UP = "another record fits almost as well"
    NOT_CORROBORATED = "nothing beyond name and birth date agrees"
    VETO = "a person said that they are not the same"


RUNNER_UP_BITS: Final = 3.0
MIDDLE_TELLS_BITS: Final = 4.0  # of a middle name by how common it is: half a community's men are Singh in the middle
WEAK_SUPPORT_BITS: Final = 3.0  # what items that corroborate nothing by themselves must say together
WEAK_NEEDS_BITS: Final = 1.5  # above certain, where only weak items support the name and birth date
SLIPPED_SUPPORT_BITS: Final = 6.0  # the same where a name has a slip, a nickname or a part missing
SLIPPED_NEEDS_BITS: Final = 5.0
_CAPS_TO_POSSIBLE: Final = frozenset({Guard.VETO})
_CONTRADICTS: Final = frozenset({Guard.SSN_CONFLICT, Guard.HEALTH_CONFLICT, Guard.GENERATION})
_GIVEN_AGREES: Final = frozenset({"same", "alias", "nickname", "one_edit", "swapped", "middle", "two_edits", "near"})
_OF_KIN: Final = frozenset({"middle"})  # children are given a brother's or a parent's name as their second
_GIVEN_SAME: Final = frozenset({"same", "alias", "nickname", "swapped"})
_LAST_SAME: Final = frozenset({"same", "alias", "unknown"})  # unknown: swapped names are counted by the given name
_LAST_AGREES: Final = frozenset({"same", "alias", "part", "one_edit", "two_edits", "near"})
_DOB_AGREES: Final = frozenset({"same", "swapped", "one_edit", "month", "two_parts"})
_DOB_SAME: Final = frozenset({"same", "swapped"})
_GENERATION_YEARS: Final = 12
_DOB_LIKELY: Final = _DOB_AGREES | {"estimate", "year_known"}


def corroboration(scorer: Scorer, score: Score, a: Traits, b: Traits) -> frozenset[str]:
    """What beyond name and birth date agrees: ``number`` (full), ``last four``, ``phone``, ``address``.

    A phone or an address of more than the model's limit of people is none.
    """
    found = set()
    limit = scorer.model.shared_value_limit
    level = scorer.level
    if level(score.vector, "ssn") in {"same", "one_edit"} and not consecutive(a.ssn, b.ssn):
        found.add("number")
    if level(score.vector, "health") in {"same", "one_edit"} or not a.numbers.isdisjoint(b.numbers):
        found.add("number")
    if level(score.vector, "ssn") == "last_four":
        found.add("last four")
    if level(score.vector, "phone") == "same" and scorer.frequencies.count("phone", a.phone) <= limit:
        found.add("phone")
    if level(score.vector, "place") == "same" and scorer.frequencies.count("address", a.address) <= limit:
        found.add("address")
    return frozenset(found)


_BEYOND_NAME: Final[Mapping[str, frozenset[str]]] = {
    "place": frozenset({"same", "near", "postal", "city"}),
    "phone": frozenset({"local", "one_edit"}),
    "ssn": frozenset({"two_edits"}),
    "health": frozenset({"two_edits"}),
}


def weak_support_bits(scorer: Scorer, score: Score, a: Traits, b: Traits) -> float:
    """Bits of what agrees beyond given name, surname and birth date without being corroboration by itself: the
    model's ``weak_support``."""
    weak = scorer.model.weak_support
    explained = scorer.explain_levels(score.vector, a, b)
    return sum(bits for name, level, bits in explained if level in weak.get(name, ()) and bits > 0)


_IN_FULL: Final[Mapping[str, frozenset[str]]] = {  # beside a middle name spelled out by both: all else in full, too
    "given": frozenset({"same", "alias", "nickname"}),
    "last": frozenset({"same", "alias"}),
    "dob": frozenset({"same"}),
    "sex": frozenset({"same"}),
    "middle": frozenset({"same"}),
}


def _told_by_middle_name(scorer: Scorer, score: Score, a: Traits, b: Traits, level: Mapping[str, str]) -> bool:
    """Whether a middle name that both records spell out agrees beside given name, surname, whole birth date and sex.

    A namesake born on the day rarely bears it. It is none where it is part of the given name (Mary Ann in one box),
    where it is as common as a title, or where the birth date is one by custom.
    """
    if any(level.get(name) not in levels for name, levels in _IN_FULL.items()) or a.dob[4:] in BY_CUSTOM:
        return False
    if any(one.given != one.middle and one.given.endswith(one.middle) for one in (a, b)):
        return False
    if level.get("place") == "else" and level.get("phone") == "else":  # nothing of where and how to reach them agrees
        return False
    bits = next(bits for name, _, bits in scorer.explain_levels(score.vector, a, b) if name == "middle")
    return bits >= MIDDLE_TELLS_BITS and score.bits >= scorer.model.grades.certain + WEAK_NEEDS_BITS


def _weakly_supported(scorer: Scorer, score: Score, a: Traits, b: Traits, level: Mapping[str, str]) -> bool:
    """Whether a full birth date, both names and weak items together stand for what one strong item would.

    One of them is no name, be it the same city: a middle name is part of the name, which never links with a birth date
    alone. With a slip in a name, more is asked of the rest.
    """
    if level.get("dob") not in _DOB_SAME or level.get("sex") == "else":
        return False
    if not any(level.get(name) in levels for name, levels in _BEYOND_NAME.items()):
        return False
    given, last = level.get("given", ""), level.get("last", "")
    if given in _GIVEN_SAME and last in _LAST_SAME:
        support, needs = WEAK_SUPPORT_BITS, WEAK_NEEDS_BITS
    elif given in _GIVEN_AGREES - {"middle"} and last in _LAST_AGREES:
        support, needs = SLIPPED_SUPPORT_BITS, SLIPPED_NEEDS_BITS
    else:
        return False
    enough = score.bits >= scorer.model.grades.certain + needs
    return enough and weak_support_bits(scorer, score, a, b) >= support


def _levels(scorer: Scorer, score: Score) -> Mapping[str, str]:
    return {name: scorer.level(score.vector, name) for name in scorer.names}


def guards_of(scorer: Scorer, score: Score, a: Traits, b: Traits) -> frozenset[Guard]:
    """Every guard that the pair itself shows (the runner-up is known only beside other candidates)."""
    level = _levels(scorer, score)
    given, last, dob, ssn, health = (level.get(n, "unknown") for n in ("given", "last", "dob", "ssn", "health"))
    exact_number = ssn == "same" or health == "same" or not a.numbers.isdisjoint(b.numbers)
    out: set[Guard] = set()
    if given in {"else", "far"} or (given == "initial" and dob != "same"):
        out.add(Guard.NAME_CONFLICT)
        if dob in {"same", "swapped", "month", "year_known"} and last in _LAST_AGREES and not exact_number:
            out.add(Guard.TWIN)
    if (a.multiple_birth or b.multiple_birth) and given not in _GIVEN_SAME:
        out.add(Guard.MULTIPLE_BIRTH)
    if level.get("suffix") == "else":
        out.add(Guard.SUFFIX)
    if a.year and b.year and not exact_number and abs(int(a.year) - int(b.year)) >= _GENERATION_YEARS:
        out.add(Guard.GENERATION)
    elif dob not in _DOB_LIKELY and not (exact_number and dob in {"unknown", "two_edits", "same_year", "near_year"}):
        out.add(Guard.DOB_CONFLICT)
    if consecutive(a.ssn, b.ssn):
        out.add(Guard.SSN_NEIGHBOURS)
    elif ssn in {"else", "last_four_edit"}:
        out.add(Guard.SSN_CONFLICT)
    if health == "else":
        out.add(Guard.HEALTH_CONFLICT)
    if not grounds_of(scorer, score, a, b):
        out.add(Guard.NOT_CORROBORATED)
    return frozenset(out)


MIDDLE_NAME: Final = "middle name in full and sex"
WEAK_ITEMS: Final = "weak items together"


def grounds_of(scorer: Scorer, score: Score, a: Traits, b: Traits) -> frozenset[str]:
    """What beyond given name, surname and birth date tells the person from kin and namesakes, in the words that a
    link's reason uses (no values); empty when nothing does."""
    level = _levels(scorer, score)
    support = _strong(scorer, score, a, b, level)
    if support:
        return support
    if _told_by_middle_name(scorer, score, a, b, level):
        return frozenset({MIDDLE_NAME})
    return frozenset({WEAK_ITEMS}) if _weakly_supported(scorer, score, a, b, level) else frozenset()


def _strong(scorer: Scorer, score: Score, a: Traits, b: Traits, level: Mapping[str, str]) -> frozenset[str]:
    """:func:`corroboration` where it tells the person from kin; else empty."""
    support = corroboration(scorer, score, a, b)
    return support if _enough(support, level) else frozenset()


def _enough(support: frozenset[str], level: Mapping[str, str]) -> bool:
    """Whether what agrees tells the person from kin in one household, who share phone and address and surname."""
    given, last, dob = (level.get(name, "unknown") for name in ("given", "last", "dob"))
    if "number" in support:
        return given in _GIVEN_AGREES or dob in _DOB_AGREES
    if "last four" in support:
        return dob in _DOB_LIKELY and (given in _GIVEN_AGREES or last in _LAST_AGREES)
    if not support or given not in _GIVEN_AGREES - _OF_KIN or level.get("sex") == "else":
        return False
    # kin of one household and one given name are a generation apart, so that here an estimated date is enough
    return dob in _DOB_AGREES or (given in _GIVEN_SAME and last in _LAST_AGREES and dob in _DOB_LIKELY)


def contradicted(guards: frozenset[Guard]) -> bool:
    """Whether a full number or a generation speaks against the pair and nothing beyond name and birth date for it: a
    namesake far more often than a slip in both."""
    return Guard.NOT_CORROBORATED in guards and not _CONTRADICTS.isdisjoint(guards)


def grade_of(scorer: Scorer, bits: float, guards: frozenset[Guard], score: Score, a: Traits, b: Traits) -> Grade:
    """The grade of a pair under its guards; ``bits`` count its rivals, those of ``score`` do not."""
    grades = scorer.model.grades
    if bits < grades.possible:
        return Grade.CERTAINLY_NOT
    if bits < grades.probable or not _CAPS_TO_POSSIBLE.isdisjoint(guards):
        return Grade.POSSIBLE
    if bits < grades.contradicted and contradicted(guards):
        return Grade.POSSIBLE
    if guards or bits < min(grades.certain, grades.corroborated):
        return Grade.PROBABLE
    if bits < grades.certain and not _strong(scorer, score, a, b, _levels(scorer, score)):
        return Grade.PROBABLE
    return Grade.CERTAIN
