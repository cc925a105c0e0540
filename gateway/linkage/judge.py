"""One arrival against its candidates: bits, rivals, guards, grades. The same for a stream and for the store."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log2
from typing import Final

from gateway.linkage.grades import RUNNER_UP_BITS, Grade, Guard, grade_of, guards_of
from gateway.linkage.scoring import Bounds, Score, Scorer
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
    rivals = _Rivals(scorer, [candidate for candidate, _ in scored])
    out = []
    for n, (candidate, score) in enumerate(scored):
        odds, best = 0.0, float("-inf")
        for m, (_, other_score) in enumerate(scored):
            if m == n or other_score.bits <= score.bits - _RIVAL_WITHIN or rivals.one_person(m, n):
                continue
            odds += 2.0 ** min(other_score.bits, 60.0)
            best = max(best, other_score.bits)
        bits = score.bits - log2(1.0 + odds)
        if bits < floor:
            continue
        guards = guards_of(scorer, score, candidate, person)
        if best > score.bits - RUNNER_UP_BITS:
            guards |= {Guard.RUNNER_UP}
        grade = grade_of(scorer, bits, guards)
        if grade is not Grade.CERTAINLY_NOT:
            out.append(Match(candidate, bits, grade, score, guards))
    return sorted(out, key=lambda m: (-m.bits, m.candidate.key))


class _Rivals:
    """Whether two candidates are probably doubles of one another; each pair is looked at once."""

    def __init__(self, scorer: Scorer, people: Sequence[Traits]) -> None:
        self._scorer = scorer
        self._people = people
        self._known: dict[tuple[int, int], bool] = {}
        self._bounds: dict[int, Bounds] = {}
        if len(people) > 1:
            scorer.frequencies.expect(people)

    def one_person(self, m: int, n: int) -> bool:
        pair = (m, n) if m < n else (n, m)
        known = self._known.get(pair)
        if known is None:
            first, second = self._people[pair[0]], self._people[pair[1]]
            bounds = self._bounds.get(pair[1])
            if bounds is None:
                bounds = self._bounds[pair[1]] = self._scorer.bounds(second)
            probable = self._scorer.model.grades.probable
            known = self._known[pair] = self._scorer.above(first, second, probable, bounds) is not None
        return known
