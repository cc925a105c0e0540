"""Fitting a model to the files at hand without labels: u from pairs of strangers, m by expectation-maximisation.

Everything is deterministic: strangers pair by fixed strides, not by chance. What the model shipped believes counts
as a number of observations, so that a small file barely moves it and a large one of another kind can.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import log2
from typing import Final, TypeAlias

from gateway.linkage.frequency import Frequencies, LargerOf
from gateway.linkage.ladders import FREQUENT
from gateway.linkage.model import Comparison, LevelWeight, Model
from gateway.linkage.scoring import Scorer, Vector
from gateway.linkage.traits import Traits

_STRIDES: Final = (1, 7919, 104_729, 15_485_863, 32_452_843, 49_979_687, 67_867_967, 86_028_121)
_STRANGER_PAIRS: Final = 30_000
_U_BELIEF: Final = 2_000.0  # observations that the shipped u counts as
_U_EVENTS: Final = 3.0  # of a rare level, at least this many: not having seen it in a sample says nothing
_M_BELIEF: Final = 1000.0
_M_FREEDOM: Final = 4.0  # the factor by which files may move an m: beyond it the fit has begun to learn kin, not people
_FEWEST_KIN: Final = 0.03  # where nearly every arrival has a partner, hardly any is a partner's kin
_ROUNDS: Final = 12


def stranger_pairs(left: Sequence[Traits], right: Sequence[Traits], *, same: bool) -> Iterator[tuple[Traits, Traits]]:
    """Pairs that are almost all of two people: each record with ones at fixed strides from it."""
    made = 0
    size = len(right)
    for stride in _STRIDES:
        for i, a in enumerate(left):
            j = (i * 31 + stride + stride % size) % size
            if same and i == j:
                continue
            yield a, right[j]
            made += 1
            if made >= _STRANGER_PAIRS:
                return


def fit_u(
    model: Model, frequencies: Frequencies | LargerOf, left: Sequence[Traits], right: Sequence[Traits], *, same: bool
) -> Model:
    """The model with u observed on strangers of these files."""
    if len(right) < 100:
        return model
    scorer = Scorer(model, frequencies, population=len(right))
    seen: list[Counter[int]] = [Counter() for _ in scorer.names]
    for a, b in stranger_pairs(left, right, same=same):
        for counter, level in zip(seen, scorer.vector(a, b), strict=True):
            counter[level] += 1
    comparisons = []
    for comparison, counter in zip(model.comparisons, seen, strict=True):
        known = sum(n for level, n in counter.items() if level)
        levels = []
        for i, weight in enumerate(comparison.levels, start=1):
            belief = max(_U_BELIEF, _U_EVENTS / weight.u)
            u = (counter[i] + belief * weight.u) / (known + belief)
            trait = FREQUENT.get((comparison.name, weight.level))
            exact = frequencies.chance_of_agreement(trait) if trait else None
            if exact is not None:
                pairs = len(right) * len(right) / 2
                u = (exact * pairs + belief * weight.u) / (pairs + belief)
            levels.append(LevelWeight(weight.level, weight.m, u))
        total = sum(w.u for w in levels)
        comparisons.append(replace(comparison, levels=tuple(replace(w, u=w.u / total) for w in levels)))
    return model.with_comparisons(tuple(comparisons))


Seen: TypeAlias = tuple[Vector, int, tuple[int, ...]]  # levels; bits of rare values; bits of each other explanation


def seen_of(scorer: Scorer, vector: Vector, a: Traits, b: Traits) -> Seen:
    """What the fit needs of a candidate pair, in whole bits, so that equal ones are counted together."""
    plain, kin = scorer.parts(vector, a, b)
    return vector, round(plain - scorer.level_bits(vector)), tuple(max(round(bits), -40) for bits in kin)


def fit_m(model: Model, prior_bits: float, pairs: Iterable[Seen], *, arrivals: float, space: float) -> Model:
    """Expectation-maximisation of m and of the share matched; u is held, kin are as many as arrivals without partner.

    Args:
        prior_bits: where the first round starts.
        arrivals: records of the side that arrives.
        space: pairs in the whole cross product.
    """
    patterns = Counter(pairs)
    prior, current = prior_bits, model
    rates = [a.rate * arrivals / space for a in model.alternatives]  # not fitted: kin and doubles would trade places
    matches = model.share_matched * arrivals
    for _ in range(_ROUNDS):
        weights = [_weights(c) for c in current.comparisons]
        sums: list[Counter[int]] = [Counter() for _ in current.comparisons]
        expected = 0.0
        for (vector, extra, kin), count in patterns.items():
            bits = prior + extra + sum(w[level] for w, level in zip(weights, vector, strict=True))
            same = 2.0 ** min(bits, 200.0)
            chance = same / (same + 1.0 + sum(rate * 2.0**k for rate, k in zip(rates, kin, strict=True)))
            if chance < 1e-4:
                continue
            expected += chance * count
            for counter, level in zip(sums, vector, strict=True):
                counter[level] += chance * count
        current = _with_m(model, current, sums)
        matches = min(max(expected, 0.01 * arrivals), 4.0 * arrivals)
        prior = log2(matches / space)
    share = matches / max(arrivals, 1)
    unmatched = min(max((1.0 - share) / (1.0 - model.share_matched), _FEWEST_KIN), 1.0)
    kinds = tuple(replace(a, rate=a.rate * unmatched) for a in model.alternatives)
    return replace(current, share_matched=share, alternatives=kinds)


def _weights(comparison: Comparison) -> tuple[float, ...]:
    return (0.0, *(log2(w.m / w.u) for w in comparison.levels))


def _with_m(shipped: Model, current: Model, sums: Sequence[Mapping[int, float]]) -> Model:
    comparisons = []
    for believed, now, counter in zip(shipped.comparisons, current.comparisons, sums, strict=True):
        known = sum(n for level, n in counter.items() if level)
        fitted = [
            min(max((counter.get(i, 0.0) + _M_BELIEF * b.m) / (known + _M_BELIEF), b.m / _M_FREEDOM), b.m * _M_FREEDOM)
            for i, b in enumerate(believed.levels, start=1)
        ]
        total = sum(fitted)
        levels = tuple(
            replace(w, m=w.u if b.m == b.u else m / total)  # m = u in the shipped model means: never evidence
            for w, b, m in zip(now.levels, believed.levels, fitted, strict=True)
        )
        comparisons.append(replace(now, levels=levels))
    return current.with_comparisons(tuple(comparisons))
