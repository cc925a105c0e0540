"""The linkage model as data: ladders with m and u, kinds of people who look alike, priors, grades; versioned by hash.

Weights are Fellegi and Sunter's (JASA 1969): log2(m/u) for each level, added. The denominator also holds other
explanations of an agreement than chance (a twin, a parent, a namesake), so that a shared address and surname stop
counting twice; each contributes ``rate`` such people a record and its own chance of each level.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gateway.kernel.errors import Invalid
from gateway.linkage.ladders import COMPARISONS

FORMAT: Final = "doorway-linkage-model/1"
ELSE: Final = "else"
UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class LevelWeight:
    """One rung of a ladder with its chances: ``m`` among records of one person, ``u`` among two people's."""

    level: str
    m: float
    u: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """One trait's ladder, in order; ``unknown`` comes first without weight, ``else`` last."""

    name: str
    levels: tuple[LevelWeight, ...]
    smoothing: float = 0.0  # how many records' worth of belief in u the frequency of a single value starts with


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another explanation than one person or chance: ``rate`` such people for each record, with their own chances.

    A comparison that is not named behaves as for two strangers.
    """

    name: str
    rate: float
    chances: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Grades:
    """Bits (log2 of the odds that it is one person) from which a pair has a grade."""

    certain: float = 9.0
    corroborated: float = 9.0  # certain from here, where a number, a phone or an address corroborates
    probable: float = 0.0
    contradicted: float = 9.0  # from here a pair is probable that a number contradicts and nothing corroborates
    probable_in_registers: float = 0.0  # of one register or its copy no kin come in from outside: even odds are enough
    possible: float = -6.0


_WEAK_SUPPORT: Final[Mapping[str, tuple[str, ...]]] = {  # of a model file that names none
    "phone": ("local", "one_edit"), "place": ("near", "postal"), "ssn": ("two_edits",), "health": ("two_edits",),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Model:
    """Everything that scoring needs, as read from one file; ``digest`` names it in every link that it causes."""

    name: str
    version: str
    comparisons: tuple[Comparison, ...]
    alternatives: tuple[Alternative, ...]
    share_matched: float  # of arriving records, how many have a partner on the other side, before seeing any
    grades: Grades = Grades()
    kin_in_one_file: float = 0.2  # share of kin believed where one file tells of name and birth date only
    shared_value_limit: int = 12  # an address or phone of more people is no corroboration
    review_budget_per_1000: float = 80.0  # of arriving records, how many reviewers are given; more wait, and are told
    weak_support: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _WEAK_SUPPORT)  # comparison -> levels
    trained: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 (first 16 hex digits) over the canonical JSON."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]

    def comparison(self, name: str) -> Comparison:
        """The ladder of a trait; KeyError when the model has none."""
        return next(c for c in self.comparisons if c.name == name)

    def to_json(self) -> dict[str, Any]:
        """The model file's content."""
        return {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "trained": dict(self.trained),
            "share_matched": self.share_matched,
            "shared_value_limit": self.shared_value_limit,
            "kin_in_one_file": self.kin_in_one_file,
            "review_budget_per_1000": self.review_budget_per_1000,
            "weak_support": {name: list(levels) for name, levels in self.weak_support.items()},
            "grades": {
                "certain": self.grades.certain,
                "corroborated": self.grades.corroborated,
                "probable": self.grades.probable,
                "contradicted": self.grades.contradicted,
                "probable_in_registers": self.grades.probable_in_registers,
                "possible": self.grades.possible,
            },
            "comparisons": [
                {
                    "name": c.name,
                    "smoothing": c.smoothing,
                    "levels": [{"level": w.level, "m": w.m, "u": w.u} for w in c.levels],
                }
                for c in self.comparisons
            ],
            "alternatives": [
                {"name": a.name, "rate": a.rate, "chances": {k: dict(v) for k, v in a.chances.items()}}
                for a in self.alternatives
            ],
        }

    def for_registers(self) -> "Model":
        """The model for doubles of one register, or for two of which nearly everybody is in both."""
        even = self.grades.probable_in_registers
        return replace(self, grades=replace(self.grades, probable=even, contradicted=even))

    def for_bare_register(self) -> "Model":
        """The model for doubles within one file of names and birth dates: a near date is a slip, rarely a namesake."""
        kinds = tuple(replace(a, rate=a.rate * self.kin_in_one_file) for a in self.alternatives)
        return replace(self, alternatives=kinds)

    def with_comparisons(self, comparisons: tuple[Comparison, ...], **changes: Any) -> "Model":
        """A copy with other weights."""
        return replace(self, comparisons=comparisons, **changes)


def read_model(text: str, *, at: str) -> Model:
    """Read and check a model file.

    Raises:
        Invalid: not JSON of this format, an unknown comparison or level, or a chance outside (0, 1).
    """
    try:
        data = json.loads(text)
        if data["format"] != FORMAT:
            raise Invalid("not a linkage model of this format", at=at, fix=f"format must be {FORMAT}")
        comparisons = tuple(_read_comparison(c, at) for c in data["comparisons"])
        return Model(
            name=str(data["name"]),
            version=str(data["version"]),
            comparisons=comparisons,
            alternatives=tuple(
                Alternative(str(a["name"]), float(a["rate"]), {k: dict(v) for k, v in a["chances"].items()})
                for a in data["alternatives"]
            ),
            share_matched=float(data["share_matched"]),
            shared_value_limit=int(data["shared_value_limit"]),
            kin_in_one_file=float(data["kin_in_one_file"]),
            review_budget_per_1000=float(data["review_budget_per_1000"]),
            weak_support=_read_weak(data.get("weak_support", _WEAK_SUPPORT), at),
            grades=Grades(**{k: float(v) for k, v in data["grades"].items()}),
            trained=dict(data["trained"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Invalid(
            f"not a linkage model ({type(error).__name__})", at=at, fix="see mappings/linkage/README.md"
        ) from None


def _read_weak(data: Mapping[str, Any], at: str) -> Mapping[str, tuple[str, ...]]:
    for name, levels in data.items():
        if not set(levels) <= set(COMPARISONS.get(name, ())):
            raise Invalid(
                "unknown comparison or level", at=f"{at} weak_support.{name}", fix="see gateway/linkage/ladders"
            )
    return {name: tuple(levels) for name, levels in data.items()}


def _read_comparison(data: Mapping[str, Any], at: str) -> Comparison:
    name = str(data["name"])
    if name not in COMPARISONS:
        raise Invalid(f"unknown comparison {name}", at=at, fix="one of " + ", ".join(COMPARISONS))
    levels = tuple(LevelWeight(str(w["level"]), float(w["m"]), float(w["u"])) for w in data["levels"])
    for weight in levels:
        place = f"{at} {name}.{weight.level}"
        if weight.level not in COMPARISONS[name] and weight.level != ELSE:
            raise Invalid("unknown level", at=place, fix="one of " + ", ".join(COMPARISONS[name]))
        if not (0 < weight.m < 1 and 0 < weight.u < 1):
            raise Invalid("m and u lie between 0 and 1", at=place)
    if not levels or levels[-1].level != ELSE:
        raise Invalid("the last level is else", at=f"{at} {name}")
    return Comparison(name, levels, float(data.get("smoothing", 0)))
