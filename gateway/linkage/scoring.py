"""The compiled scorer: two records in, bits with their reasons out; the same weights as in batch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import log2
from typing import Final, Protocol, TypeAlias

from gateway.linkage.early import SOFT, Bind, Gate, gate_of
from gateway.linkage.ladders import FREQUENT, Ladder, ladder_of
from gateway.linkage.model import UNKNOWN, Model
from gateway.linkage.traits import Traits

Vector: TypeAlias = tuple[int, ...]  # for each comparison of the model the number of its level; 0 is unknown


class FrequencySource(Protocol):
    """Where the chance that another person has a value comes from."""

    @property
    def records(self) -> int:
        """Records that the counts are over."""
        ...

    def expect(self, people: Iterable[Traits]) -> None:
        """These records are about to be compared with one another: a store reads their counters in one go."""
        ...

    def count(self, name: str, value: str) -> int:
        """Records with the value."""
        ...

    def others(self, name: str, value: str, u: float, smoothing: float) -> float:
        """The chance that another person has the value."""
        ...


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one trait adds: the level that holds and its bits; no value of a record."""

    comparison: str
    level: str
    bits: float


@dataclass(frozen=True, slots=True)
class Score:
    """Bits are log2 of the odds that both records are one person; ``evidence`` adds up to bits without the prior."""

    bits: float
    vector: Vector
    prior_bits: float
    fellegi_sunter_bits: float  # the plain sum of log2(m/u), as Splink has it, without prior and kin
    evidence: tuple[Contribution, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class _Ladder:
    name: str
    labels: tuple[str, ...]
    weights: tuple[float, ...]  # log2(m/u), 0 for unknown
    u: tuple[float, ...]
    level: Ladder
    frequent: Mapping[int, str]  # level number -> trait whose frequency replaces u
    most: float  # of the weights whose value does not count
    smoothing: float
    others: tuple[tuple[float, ...], ...]  # by level, for each alternative: log2(chance/u)


Rare: TypeAlias = tuple[int, int, str, tuple[float, ...]]  # ladder, level, trait whose value counts, kin's bits


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A model made ready once; ``sums`` remembers what a vector adds up to, of which there are few."""

    ladders: tuple[_Ladder, ...]
    looked_at: tuple[int, ...]
    functions: tuple[Ladder, ...]
    bind: Bind
    names: tuple[str, ...]
    position: Mapping[str, int]
    rates: tuple[float, ...]  # log2 of the alternatives' rates
    sums: dict[Vector, tuple[float, tuple[float, ...], tuple[Rare, ...]]] = field(default_factory=dict)


_MOST_MODELS: Final = 16
_MOST_REMEMBERED: Final = 50_000
_CHEAP_FIRST: Final = ("ssn", "health", "phone", "suffix", "sex", "middle", "place", "dob", "given", "last")


class Scorer:
    """One model compiled for one index.

    Args:
        model: ladders and weights.
        frequencies: of the index that candidates come from.
        population: records in the index, for the prior: a threshold tuned at ten thousand is wrong at a million.
        share_matched: of arrivals, how many have a partner; None takes the model's.
    """

    def __init__(
        self, model: Model, frequencies: FrequencySource, *, population: int, share_matched: float | None = None
    ) -> None:
        self.model: Final = model
        self.frequencies: Final = frequencies
        share = model.share_matched if share_matched is None else share_matched
        size = max(population, 50)
        self.prior_bits: Final = log2(share / size)
        self._compiled: Final = _compiled(model)
        self._log_rates: Final = tuple([rate - log2(size) for rate in self._compiled.rates])
        self._ladders: Final = self._compiled.ladders
        self._functions: Final = self._compiled.functions
        self._sums: Final = self._compiled.sums
        self._rare: Final[dict[tuple[int, int, str], tuple[float, float]]] = {}
        self.names: Final = self._compiled.names
        self.position: Final = self._compiled.position

    def vector(self, a: Traits, b: Traits) -> Vector:
        """The level of each comparison."""
        if a.soft_name or b.soft_name or a.soft_dob or b.soft_dob or a.soft_ssn or b.soft_ssn:
            out = [function(a, b) for function in self._functions]
            self._soften(out, a, b)
            return tuple(out)
        return tuple([function(a, b) for function in self._functions])

    def above(self, a: Traits, b: Traits, floor: float, gate: Gate) -> Score | None:
        """:meth:`score` of a pair that may reach ``floor`` bits; None as soon as it is sure that it cannot.

        Args:
            gate: of ``b`` and the floor (:meth:`gate`), made once for all its candidates.
        """
        vector = gate(a)
        if vector is None:
            return None
        bits, plain = self.bits(vector, a, b)
        return Score(bits, vector, self.prior_bits, plain) if bits >= floor else None

    def at_most(self, a: Traits, b: Traits) -> float:
        """Bits that the pair can have at most, whatever is taken out of either: what disagrees counts as unknown."""
        bits = self.prior_bits
        for i, level in enumerate(self.vector(a, b)):
            ladder = self._ladders[i]
            trait = ladder.frequent.get(level)
            if trait is None:
                bits += max(ladder.weights[level], 0.0)
            else:
                bits += self.frequency_bits(i, level, getattr(a, trait))[0]
        return bits

    def gate(self, person: Traits, floor: float) -> Gate:
        """The record's own traits and the most that each level can add for it, bound for all its candidates.

        What shows little is looked at first and the names last, because they cost most; kin only take away.
        """
        ladders = self._ladders
        most: list[Sequence[float]] = [()] * len(ladders)
        later = [0.0] * len(ladders)
        rest = 0.0
        for i in reversed(self._compiled.looked_at):
            ladder = ladders[i]
            reach = ladder.most
            if ladder.frequent:
                most[i] = here = list(ladder.weights)
                for level, trait in ladder.frequent.items():
                    value = getattr(person, trait)
                    here[level] = found = self.frequency_bits(i, level, value)[0] if value else 0.0
                    if found > reach:
                        reach = found
            else:
                most[i] = ladder.weights
            later[i] = rest
            rest += reach
        return self._compiled.bind(person, self.prior_bits - floor, most, later)

    def _soften(self, vector: list[int], a: Traits, b: Traits) -> None:
        """A value that its source calls approximate may agree; that it disagrees says nothing."""
        for i, ladder in enumerate(self._ladders):
            flag = SOFT.get(ladder.name)
            if flag and (getattr(a, flag) or getattr(b, flag)) and ladder.weights[vector[i]] < 0:
                vector[i] = 0

    def frequency_bits(self, i: int, level: int, value: str) -> tuple[float, float]:
        """(bits of comparison ``i`` at ``level`` for this value, log2(level's u / the value's chance))."""
        known = self._rare.get((i, level, value))
        if known is None:
            if len(self._rare) >= _MOST_REMEMBERED:
                self._rare.clear()
            ladder = self._ladders[i]
            chance = self.frequencies.others(ladder.frequent[level], value, ladder.u[level], ladder.smoothing)
            shift = log2(ladder.u[level] / max(chance, 1e-12))
            known = self._rare[i, level, value] = max(ladder.weights[level] + shift, 0.0), shift
        return known

    def _summed(self, vector: Vector) -> tuple[float, tuple[float, ...], tuple[Rare, ...]]:
        """What the levels of a vector add up to where the value does not count, and the levels where it does."""
        total = 0.0
        kin = [0.0] * len(self._log_rates)
        rare: list[Rare] = []
        for i, level in enumerate(vector):
            if not level:
                continue
            ladder = self._ladders[i]
            trait = ladder.frequent.get(level)
            if trait is not None:
                rare.append((i, level, trait, ladder.others[level]))
                continue
            total += ladder.weights[level]
            for k, bits in enumerate(ladder.others[level]):
                kin[k] += bits
        found = total, tuple(kin), tuple(rare)
        if len(self._sums) >= _MOST_REMEMBERED:
            self._sums.clear()
        self._sums[vector] = found
        return found

    def parts(self, vector: Vector, a: Traits, b: Traits) -> tuple[float, list[float]]:
        """(plain Fellegi-Sunter bits, for each other explanation its bits against a stranger)."""
        total, base, rare = self._sums.get(vector) or self._summed(vector)
        kin = list(base)
        for i, level, trait, others in rare:
            weight, shift = self.frequency_bits(i, level, getattr(a, trait))
            total += weight
            for k, bits in enumerate(others):
                if bits:
                    kin[k] += min(bits + shift, weight)
        return total, kin

    def bits(self, vector: Vector, a: Traits, b: Traits) -> tuple[float, float]:
        """(bits with the prior and other explanations, plain Fellegi-Sunter bits without either)."""
        total, kin = self.parts(vector, a, b)
        against = 1.0
        for rate, bits in zip(self._log_rates, kin, strict=True):
            against += 2.0 ** (rate + bits)
        return self.prior_bits + total - log2(against), total

    def level_bits(self, vector: Vector) -> float:
        """The plain sum of log2(m/u) of the levels, before the frequency of values and without the prior."""
        return sum(ladder.weights[level] for ladder, level in zip(self._ladders, vector, strict=True))

    def score(self, a: Traits, b: Traits) -> Score:
        """Bits without the reasons; the hot path."""
        vector = self.vector(a, b)
        bits, plain = self.bits(vector, a, b)
        return Score(bits, vector, self.prior_bits, plain)

    def explain(self, a: Traits, b: Traits) -> Score:
        """As :meth:`score`, with what each trait contributes and what other explanations take away."""
        found = self.score(a, b)
        evidence = [Contribution(*told) for told in self.explain_levels(found.vector, a, b)]
        taken = found.bits - found.prior_bits - found.fellegi_sunter_bits
        evidence.append(Contribution("kin or namesake", "other explanation", taken))
        return Score(found.bits, found.vector, found.prior_bits, found.fellegi_sunter_bits, tuple(evidence))

    def explain_levels(self, vector: Vector, a: Traits, b: Traits) -> list[tuple[str, str, float]]:
        """(comparison, level, bits) of each trait."""
        out = []
        for i, level in enumerate(vector):
            ladder = self._ladders[i]
            trait = ladder.frequent.get(level)
            bits = ladder.weights[level] if trait is None else self.frequency_bits(i, level, getattr(a, trait))[0]
            out.append((ladder.name, ladder.labels[level], bits))
        return out

    def level(self, vector: Vector, comparison: str) -> str:
        """The name of the level that a comparison has in a vector; ``unknown`` when the model lacks it."""
        i = self.position.get(comparison)
        return UNKNOWN if i is None else self._ladders[i].labels[vector[i]]


def _kin_bits(m: float, u: float, chance: float | None) -> float:
    """log2(chance/u) of an alternative, held between strangers' and the same person's, so that no equal field lowers
    and no disagreeing field raises a score."""
    if chance is None:
        return 0.0
    bits = log2(max(chance, 1e-9) / u)
    weight = log2(m / u)
    return min(bits, weight) if weight > 0 else max(bits, weight)


def _compile(model: Model, name: str) -> _Ladder:
    comparison = model.comparison(name)
    labels = (UNKNOWN, *(w.level for w in comparison.levels))
    weights = (0.0, *(log2(w.m / w.u) for w in comparison.levels))
    chances = [a.chances.get(name) for a in model.alternatives]
    others = [(0.0,) * len(chances)]
    others += [
        tuple(_kin_bits(w.m, w.u, c.get(w.level, 0.0) if c else None) for c in chances) for w in comparison.levels
    ]
    frequent = {i: FREQUENT[name, label] for i, label in enumerate(labels) if (name, label) in FREQUENT}
    return _Ladder(
        name=name,
        labels=labels,
        weights=weights,
        u=(1.0, *(w.u for w in comparison.levels)),
        level=ladder_of(name, labels),
        frequent=frequent,
        most=max(weight for i, weight in enumerate(weights) if i not in frequent),
        smoothing=comparison.smoothing,
        others=tuple(others),
    )


_COMPILED: Final[dict[int, tuple[Model, _Compiled]]] = {}  # by identity; the model is held, so ids stay true


def _compiled(model: Model) -> _Compiled:
    """The model's ladders, compiled once: a scorer is made for every arrival."""
    found = _COMPILED.get(id(model))
    if found is None:
        if len(_COMPILED) >= _MOST_MODELS:
            _COMPILED.clear()
        ladders = tuple(_compile(model, c.name) for c in model.comparisons)
        position = {ladder.name: i for i, ladder in enumerate(ladders)}
        looked_at = tuple(position[name] for name in _CHEAP_FIRST if name in position)
        known = tuple((la.name, la.labels, tuple(i for i, w in enumerate(la.weights) if w < 0)) for la in ladders)
        made = _Compiled(
            ladders,
            looked_at,
            tuple(ladder.level for ladder in ladders),
            gate_of(known, looked_at),
            tuple(position),
            position,
            tuple(log2(a.rate) for a in model.alternatives),
        )
        found = _COMPILED[id(model)] = (model, made)
    return found[1]
