"""One arrival against its candidates: bits, rivals, guards, grades. The same for a stream and for the store."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log2
from typing import Final

from gateway.linkage.grades import RUNNER_UP_BITS, Grade, Guard, grade_of, guards_of
from gateway.linkage.scoring import Score, Scorer
from gateway.linkage.traits import Traits

_RIVAL_WITHIN: Final = 8.0  # bits; a record that fits this much worse takes nothing away


@dataclass(frozen=True, slots=True)
class Match:
    """A candidate with what it scored; ``bits`` counts its rivals, ``score`` does not."""

    candidate: Traits
    bits: float
    grade: Grade
    score: Score = field(repr=False)
    guards: frozenset[Guard] = frozenset()


def judge(scorer: Scorer, person: Traits, candidates: Sequence[Traits]) -> list[Match]:
    """Every candidate from grade possible on, best first (ties by key).

    A candidate that fits worse than another, who is someone else, loses what the other has: at most one of several
    different people can be the arrival. Records that are probably doubles of one another are no rivals.
    """
    floor = scorer.model.grades.possible
    bounds = scorer.bounds(person)
    scored = [
        (candidate, score)
        for candidate in candidates
        if (score := scorer.above(candidate, person, floor, bounds)) is not None
    ]
    out = []
    for candidate, score in scored:
        odds, best = 0.0, float("-inf")
        for other, other_score in scored:
            if other is candidate or other_score.bits <= score.bits - _RIVAL_WITHIN:
                continue
            if scorer.score(candidate, other).bits >= scorer.model.grades.probable:
                continue
            odds += 2.0 ** min(other_score.bits, 60.0)
            best = max(best, other_score.bits)
        bits = score.bits - log2(1.0 + odds)
        guards = guards_of(scorer, score, candidate, person)
        if best > score.bits - RUNNER_UP_BITS:
            guards |= {Guard.RUNNER_UP}
        grade = grade_of(scorer, bits, guards)
        if grade is not Grade.CERTAINLY_NOT:
            out.append(Match(candidate, bits, grade, score, guards))
    return sorted(out, key=lambda m: (-m.bits, m.candidate.key))
