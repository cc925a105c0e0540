"""Linking whole files: two sides, or duplicates within one; the same model, keys, scorer and guards as in real time."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import log2
from typing import Final

from gateway.linkage.blocking import MemoryIndex
from gateway.linkage.estimate import fit_m, fit_u, seen_of
from gateway.linkage.frequency import Frequencies, LargerOf
from gateway.linkage.grades import RUNNER_UP_BITS, Grade, Guard, grade_of, guards_of
from gateway.linkage.judge import Match, judge
from gateway.linkage.model import Model
from gateway.linkage.scoring import Score, Scorer, Vector
from gateway.linkage.traits import Traits, comparable, hashed_kind

_FIT_PAIRS: Final = 80_000  # candidate pairs that the fit looks at; more change nothing but the time
_RIVAL_WITHIN: Final = 8.0  # bits; a record that fits this much worse takes nothing away
_ALL_ARE_KNOWN: Final = 0.8  # share of arrivals with a partner, as fitted, from which strangers are an exception
_KIN_FROM: Final = 0.025  # share of records; 0.4 to 1.4 % in registers with slips, 4 to 7 % in communities
_MOST_IN_A_HOME: Final = 12  # more are a shelter's or a block's
_FIT_FROM: Final = 200  # records; a smaller file keeps the shipped weights


@dataclass(frozen=True, slots=True)
class Pair:
    """Two records by their number in their file, with bits, grade and guards."""

    left: int
    right: int
    bits: float
    grade: Grade
    guards: frozenset[Guard] = field(default=frozenset())


@dataclass(slots=True)
class Outcome:
    """Everything that a run found: pairs from grade ``possible`` on, and what blocking did."""

    scorer: Scorer
    pairs: list[Pair]
    compared: Iterable[tuple[int, int]] | None  # every pair that was scored; read as often as wanted
    candidates: int
    unbounded: int


Root = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class PairsCompared:
    """Record numbers of the pairs that were scored, eight bytes a pair."""

    left: "array[int]"
    right: "array[int]"

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self.left, self.right, strict=True)


class _Candidates:
    """Candidate pairs with their level vectors, compactly."""

    def __init__(self) -> None:
        self.left = array("i")
        self.right = array("i")
        self.vectors: list[Vector] = []
        self._interned: dict[Vector, Vector] = {}
        self.unbounded = 0

    def add(self, i: int, j: int, vector: Vector) -> None:
        self.left.append(i)
        self.right.append(j)
        self.vectors.append(self._interned.setdefault(vector, vector))

    def __len__(self) -> int:
        return len(self.vectors)

    def __iter__(self) -> Iterator[tuple[int, int, Vector]]:
        return zip(self.left, self.right, self.vectors, strict=True)


def link_two(
    left: Sequence[Traits],
    right: Sequence[Traits],
    model: Model,
    root: Root,
    *,
    fit: bool = True,
    step: Callable[[], None] = lambda: None,
) -> Outcome:
    """Compare every record of ``right`` with the index of ``left``.

    Args:
        fit: adapt m, u and prior to these files, without labels.
        step: called once a record of ``right``, for a progress bar.
    """
    frequencies = LargerOf(Frequencies.of(left), Frequencies.of(right))
    index = MemoryIndex(left, root)
    if fit and min(len(left), len(right)) >= _FIT_FROM:
        model = fit_u(model, frequencies, left, right, same=False)
    scorer = Scorer(model, frequencies, population=len(left))
    found = _Candidates()
    mixed = both_kinds(left, right)
    for j, person in enumerate(right):
        answer = index.candidates(person)
        found.unbounded += answer.unbounded
        for i in answer.ids:
            if not mixed or comparable(left[i], person):
                found.add(i, j, scorer.vector(left[i], person))
        step()
    return _finish(left, right, found, scorer, len(right), float(len(left)) * len(right), fit, one_file=False)


def both_kinds(*sides: Sequence[Traits]) -> bool:
    """Whether there are hashed records and clear ones, which are never compared with one another."""
    return {True, False} <= {hashed_kind(person) for side in sides for person in side}


def stream(
    left: Sequence[Traits], model: Model, root: Root, *, fit: bool = True
) -> tuple[Scorer, Callable[[Traits], tuple[list[Match], Sequence[int]]]]:
    """A matcher for arrivals one by one against the index of ``left``; only what the index shows is fitted (u).

    Returns:
        The scorer, and a function from an arrival to (matches best first, numbers of all candidates).
    """
    frequencies = Frequencies.of(left)
    if fit and len(left) >= _FIT_FROM:
        model = fit_u(model, frequencies, left, left, same=True)
    scorer = Scorer(model, frequencies, population=len(left))
    index = MemoryIndex(left, root)

    def arrive(person: Traits) -> tuple[list[Match], Sequence[int]]:
        ids = index.candidates(person).ids
        return judge(scorer, person, [left[i] for i in ids]), ids

    return scorer, arrive


def link_one(
    people: Sequence[Traits], model: Model, root: Root, *, fit: bool = True, step: Callable[[], None] = lambda: None
) -> Outcome:
    """Duplicates within one file; each pair once, ``left < right``."""
    frequencies = Frequencies.of(people)
    if not _kin_live_here(people):
        model = model.for_registers()
    if not _households_show(frequencies):
        model = model.for_bare_register()
    index = MemoryIndex(people, root)
    if fit and len(people) >= _FIT_FROM:
        model = fit_u(model, frequencies, people, people, same=True)
    scorer = Scorer(model, frequencies, population=len(people))
    found = _Candidates()
    mixed = both_kinds(people)
    asymmetric: set[tuple[int, int]] = set()  # found from one side only: split blocks and swapped dates
    for j, person in enumerate(people):
        answer = index.candidates(person)
        found.unbounded += answer.unbounded
        for i in answer.ids:
            if i == j or (mixed and not comparable(people[i], person)):
                continue
            pair = (min(i, j), max(i, j))
            if pair in asymmetric:
                asymmetric.discard(pair)  # seen from both sides: it cannot come again
                continue
            asymmetric.add(pair)
            found.add(*pair, scorer.vector(people[pair[0]], people[pair[1]]))
        step()
    size = float(len(people))
    return _finish(people, people, found, scorer, len(people), size * (size - 1) / 2, fit, one_file=True)


def _finish(
    left: Sequence[Traits],
    right: Sequence[Traits],
    found: _Candidates,
    scorer: Scorer,
    arrivals: int,
    space: float,
    fit: bool,
    *,
    one_file: bool,
) -> Outcome:
    if fit and min(len(left), len(right)) >= _FIT_FROM:
        stride = len(found) // _FIT_PAIRS + 1
        sample = (
            seen_of(scorer, vector, left[i], right[j]) for n, (i, j, vector) in enumerate(found) if n % stride == 0
        )
        model = fit_m(scorer.model, scorer.prior_bits, sample, arrivals=arrivals / stride, space=space / stride)
        if model.share_matched >= _ALL_ARE_KNOWN:
            model = model.for_registers()
        scorer = Scorer(model, scorer.frequencies, population=round(space / max(arrivals, 1)))
    scored: list[tuple[int, int, float, Vector]] = []
    floor = scorer.model.grades.possible
    for i, j, vector in found:
        bits, _ = scorer.bits(vector, left[i], right[j])
        if bits >= floor:
            scored.append((i, j, bits, vector))
    pairs = _graded(left, right, scored, scorer, one_file=one_file)
    return Outcome(scorer, pairs, PairsCompared(found.left, found.right), len(found), found.unbounded)


def scorer_population(scorer: Scorer, space: float, arrivals: int) -> int:
    """Records that an arrival is compared with, from the size of the cross product."""
    return max(round(space / max(arrivals, 1)), 1)


def _households_show(frequencies: Frequencies) -> bool:
    """Whether records tell of more than name and birth date, so that kin can be told from doubles at all."""
    beyond = max(frequencies.known.get(name, 0) for name in ("phone", "address", "ssn", "health"))
    return beyond >= 0.2 * frequencies.records


def _kin_live_here(people: Sequence[Traits]) -> bool:
    """Whether records at one address with one surname are of different people, by name and by birth date, as often as
    where families are served: an even chance is not enough then. Copies with slips in both are rarer."""
    homes: dict[tuple[str, str], list[Traits]] = {}
    for person in people:
        if person.address and person.last and person.dob:
            homes.setdefault((person.address, person.last), []).append(person)
    kin = sum(
        any(a.roots.isdisjoint(b.roots) and a.year != b.year and a.dob[4:] != b.dob[4:] for b in home)
        for home in homes.values()
        if 1 < len(home) <= _MOST_IN_A_HOME
        for a in home
    )
    return kin >= _KIN_FROM * len(people)


class Rivals:
    """What other records say about a pair: when another fits one side better and is someone else, this one is not.

    The odds of a pair are taken against its rivals too, as if at most one of several different people could be it;
    records of one person (doubles within a file) are no rivals.
    """

    def __init__(self, scorer: Scorer, people: Sequence[Traits]) -> None:
        self._scorer = scorer
        self._people = people
        self._known: dict[tuple[int, int], bool] = {}

    def one_person(self, x: int, y: int) -> bool:
        """Whether two records of this side are probably doubles."""
        pair = (x, y) if x < y else (y, x)
        found = self._known.get(pair)
        if found is None:
            bits = self._scorer.score(self._people[x], self._people[y]).bits
            found = self._known[pair] = bits >= self._scorer.model.grades.probable
        return found

    def against(self, chosen: int, bits: float, others: Sequence[tuple[float, int]]) -> tuple[float, float]:
        """(odds of the rivals, bits of the best rival) among candidates (bits, number) of one arrival."""
        odds, best = 0.0, float("-inf")
        for other_bits, other in others:
            if other != chosen and other_bits > bits - _RIVAL_WITHIN and other_bits > best - _RIVAL_WITHIN:
                if self.one_person(chosen, other):
                    continue
                odds += 2.0 ** min(other_bits, 60.0)
                best = max(best, other_bits)
        return odds, best


def _graded(
    left: Sequence[Traits],
    right: Sequence[Traits],
    scored: list[tuple[int, int, float, Vector]],
    scorer: Scorer,
    *,
    one_file: bool,
) -> list[Pair]:
    of_right: dict[int, list[tuple[float, int]]] = {}
    of_left: dict[int, list[tuple[float, int]]] = {}
    for i, j, bits, _ in scored:
        of_right.setdefault(j, []).append((bits, i))
        of_left.setdefault(i, []).append((bits, j))
    if one_file:
        return _graded_one_file(left, scored, scorer)
    on_left = Rivals(scorer, left)
    on_right = Rivals(scorer, right)
    out = []
    for i, j, plain, vector in scored:
        odds_left, best_left = on_left.against(i, plain, of_right[j])
        odds_right, best_right = on_right.against(j, plain, of_left[i])
        bits = plain - log2(1.0 + odds_left + odds_right)
        score = Score(plain, vector, scorer.prior_bits, 0.0)
        guards = guards_of(scorer, score, left[i], right[j])
        if max(best_left, best_right) > plain - RUNNER_UP_BITS:
            guards |= {Guard.RUNNER_UP}
        grade = grade_of(scorer, bits, guards, score, left[i], right[j])
        if grade is not Grade.CERTAINLY_NOT:
            out.append(Pair(i, j, bits, grade, guards))
    return out


_CHAIN_COSTS: Final = 3.0  # bits; two records joined by a third are that much less sure than the weaker join
_CHAIN_FLOOR: Final = -14.0  # a direct score below this breaks the chain


def _graded_one_file(
    people: Sequence[Traits], scored: list[tuple[int, int, float, Vector]], scorer: Scorer
) -> list[Pair]:
    """Doubles of doubles: two records that are both surely the same as a third are probably the same."""
    grades = scorer.model.grades
    strong: dict[int, dict[int, float]] = {}
    direct: dict[tuple[int, int], tuple[float, Vector]] = {}
    for i, j, bits, vector in scored:
        direct[i, j] = bits, vector
        if bits >= grades.probable + _CHAIN_COSTS:
            strong.setdefault(i, {})[j] = bits
            strong.setdefault(j, {})[i] = bits
    implied: dict[tuple[int, int], float] = {}
    for joined in strong.values():
        if not 1 < len(joined) <= 30:
            continue
        around = sorted(joined)
        for n, x in enumerate(around):
            for y in around[n + 1 :]:
                bits = min(joined[x], joined[y]) - _CHAIN_COSTS
                if bits > implied.get((x, y), grades.probable - 1):
                    implied[x, y] = bits
    out = []
    for pair in sorted(set(direct) | set(implied)):
        a, b = people[pair[0]], people[pair[1]]
        known = direct.get(pair)
        if known is None:
            found = scorer.score(a, b)
            known = found.bits, found.vector
        bits = max(known[0], implied.get(pair, known[0])) if known[0] >= _CHAIN_FLOOR else known[0]
        score = Score(known[0], known[1], scorer.prior_bits, 0.0)
        guards = guards_of(scorer, score, a, b)
        grade = grade_of(scorer, bits, guards, score, a, b)
        if grade is not Grade.CERTAINLY_NOT:
            out.append(Pair(*pair, bits, grade, guards))
    return out
