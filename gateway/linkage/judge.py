"""One arrival against its candidates: bits, rivals, guards, grades. The same for a stream and for the store."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from math import log2
from typing import Final

from gateway.linkage.early import Gate
from gateway.linkage.grades import RUNNER_UP_BITS, Grade, Guard, grade_of, guards_of
from gateway.linkage.scoring import Score, Scorer
from gateway.linkage.traits import Traits, hashed_kind

_RIVAL_WITHIN: Final = 8.0  # bits; a record that fits this much worse takes nothing away


@dataclass(frozen=True, slots=True)
class Match:
    """A candidate with what it scored; ``bits`` counts its rivals, ``score`` does not."""

    candidate: Traits
    bits: float
    grade: Grade
    score: Score = field(repr=False)
    guards: frozenset[Guard] = frozenset()


def judge(
    scorer: Scorer,
    person: Traits,
    candidates: Sequence[Traits],
    *,
    least_bits: float = float("-inf"),
    always: Container[str] = (),
) -> list[Match]:
    """Every candidate from grade possible on, best first (ties by key).

    A candidate that fits worse than another, who is someone else, loses what the other has: at most one of several
    different people can be the arrival. Records that are probably doubles of one another are no rivals.

    Args:
        least_bits: what a candidate must score to be judged at all; below it, it is a rival of others only.
        always: keys of candidates that are judged whatever they score.
    """
    floor = scorer.model.grades.possible
    gate, kind, above = scorer.gate(person, floor), hashed_kind(person), scorer.above
    scored = [
        (candidate, score)
        for candidate in candidates
        if (kind is None or (of := hashed_kind(candidate)) is None or of is kind)
        and (score := above(candidate, person, floor, gate)) is not None
    ]
    rivals = _Rivals(scorer, [candidate for candidate, _ in scored])
    out = []
    for n, (candidate, score) in enumerate(scored):
        if score.bits < least_bits and candidate.key not in always:
            continue
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
        grade = grade_of(scorer, bits, guards, score, candidate, person)
        if grade is not Grade.CERTAINLY_NOT:
            out.append(Match(candidate, bits, grade, score, guards))
    return sorted(out, key=lambda m: (-m.bits, m.candidate.key))


class _Rivals:
    """Whether two candidates are probably doubles of one another; each pair is looked at once."""

    def __init__(self, scorer: Scorer, people: Sequence[Traits]) -> None:
        self._scorer = scorer
        self._people = people
        self._known: dict[tuple[int, int], bool] = {}
        self._gate: tuple[int, Gate] = -1, lambda _: None  # of the candidate that is judged at the moment

    def one_person(self, other: int, judged: int) -> bool:
        pair = (other, judged) if other < judged else (judged, other)
        known = self._known.get(pair)
        if known is None:
            if not self._known:
                self._scorer.frequencies.expect(self._people)
            person = self._people[judged]
            probable = self._scorer.model.grades.probable
            if self._gate[0] != judged:
                self._gate = judged, self._scorer.gate(person, probable)
            known = self._scorer.above(self._people[other], person, probable, self._gate[1]) is not None
            self._known[pair] = known
        return known
