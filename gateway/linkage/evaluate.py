"""Figures of a linkage run against known pairs: precision and recall a grade, the best threshold, safety, blocking."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from gateway.linkage.batch import Outcome, Pair
from gateway.linkage.grades import Grade

Known: TypeAlias = Collection[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Quality:
    """Precision, recall and F1 of a choice of pairs; None where nothing was chosen or nothing is true."""

    precision: float | None
    recall: float | None
    f1: float | None

    def to_json(self) -> dict[str, float | None]:
        """Rounded to six digits."""
        return {
            k: None if v is None else round(v, 6)
            for k, v in (("precision", self.precision), ("recall", self.recall), ("f1", self.f1))
        }


def quality(chosen: Iterable[tuple[int, int]], truth: Known) -> Quality:
    """Figures of a set of pairs."""
    pairs = set(chosen)
    right = len(pairs & set(truth))
    precision = right / len(pairs) if pairs else None
    recall = right / len(truth) if truth else None
    f1 = 2 * right / (len(pairs) + len(truth)) if pairs or truth else None
    return Quality(precision, recall, f1)


def along_threshold(pairs: Sequence[Pair], truth: Known) -> dict[str, float | None]:
    """Best F1 with its threshold in bits, and the largest recall at precision 0.99 and 0.995; ties move together."""
    best, best_bits = 0.0, None
    recall_at = {0.99: 0.0, 0.995: 0.0}
    right = taken = 0
    ordered = sorted(pairs, key=lambda p: -p.bits)
    for n, pair in enumerate(ordered):
        taken += 1
        right += (pair.left, pair.right) in truth
        if n + 1 < len(ordered) and ordered[n + 1].bits == pair.bits:
            continue
        f1 = 2 * right / (taken + len(truth)) if truth else 0.0
        if f1 > best:
            best, best_bits = f1, pair.bits
        for floor in recall_at:
            if truth and right / taken >= floor:
                recall_at[floor] = max(recall_at[floor], right / len(truth))
    return {
        "best_f1": round(best, 6),
        "best_at_bits": None if best_bits is None else round(best_bits, 2),
        "recall_at_precision_0.99": round(recall_at[0.99], 6),
        "recall_at_precision_0.995": round(recall_at[0.995], 6),
    }


def calibration(pairs: Sequence[Pair], truth: Known) -> dict[str, Any]:
    """Brier score over the pairs from grade possible on, and how often each band of bits is right."""
    bands: dict[int, list[int]] = {}
    error = 0.0
    for pair in pairs:
        chance = 1.0 / (1.0 + 2.0**-pair.bits) if pair.bits > -50 else 0.0
        hit = (pair.left, pair.right) in truth
        error += (chance - hit) ** 2
        band = bands.setdefault(int(max(min(pair.bits, 19), -8) // 3 * 3), [0, 0])
        band[0] += 1
        band[1] += hit
    return {
        "brier": round(error / len(pairs), 6) if pairs else None,
        "bands": {
            f"{low}..{low + 3} bits": {"pairs": n, "true": round(hits / n, 4)}
            for low, (n, hits) in sorted(bands.items())
        },
    }


def figures(outcome: Outcome, truth: Known | None, *, arrivals: int, one_file: bool) -> dict[str, Any]:
    """Everything that the evaluation command prints but time and memory.

    Args:
        truth: pairs of record numbers, (left, right), or (smaller, larger) for one file; None when there is none.
        arrivals: records of the right file, or of the one file.
    """
    certain = [p for p in outcome.pairs if p.grade is Grade.CERTAIN]
    probable = [p for p in outcome.pairs if p.grade is Grade.PROBABLE]
    out: dict[str, Any] = {
        "model": outcome.scorer.model.name,
        "model_digest": outcome.scorer.model.digest,
        "pairs": {
            "certain": len(certain),
            "probable": len(probable),
            "possible": len(outcome.pairs) - len(certain) - len(probable),
        },
        "candidates_per_record": round(outcome.candidates / max(arrivals, 1), 3),
        "keys_too_common": outcome.unbounded,
        **_queue(len(queued(certain, probable)), arrivals, outcome.scorer.model.review_budget_per_1000),
    }
    if truth is None:
        return out
    found = None if outcome.compared is None else sum(pair in truth for pair in outcome.compared)
    out["certain"] = quality(((p.left, p.right) for p in certain), truth).to_json()
    out["certain_probable"] = quality(((p.left, p.right) for p in (*certain, *probable)), truth).to_json()
    out |= along_threshold(outcome.pairs, truth)
    out["blocking_recall"] = round(found / len(truth), 6) if found is not None and truth else None
    if not one_file:
        partnered = {right for _, right in truth}
        alone = arrivals - len(partnered)
        linked = {p.right for p in certain} - partnered
        out["without_partner"] = alone
        out["without_partner_linked"] = round(len(linked) / alone, 6) if alone else None
    out["calibration"] = calibration(outcome.pairs, truth)
    return out


def _queue(waiting: int, arrivals: int, budget: float) -> dict[str, float]:
    """What reviewers are given (best first, within the model's budget) and what waits behind it."""
    each = 1000 * waiting / max(arrivals, 1)
    return {"queue_per_1000": round(min(each, budget), 2), "waiting_per_1000": round(max(each - budget, 0.0), 2)}


def queued(certain: Sequence[Pair], probable: Sequence[Pair]) -> set[int]:
    """Arrivals that wait for a person: probable and not linked already."""
    done = {p.right for p in certain}
    return {p.right for p in probable} - done


def by_group(outcome: Outcome, truth: Known, groups: Mapping[int, str]) -> dict[str, dict[str, float]]:
    """Recall of certain and probable for each group of right records, with how many true pairs it has."""
    chosen = {(p.left, p.right) for p in outcome.pairs if p.grade in {Grade.CERTAIN, Grade.PROBABLE}}
    counts: dict[str, list[int]] = {}
    for pair in truth:
        group = counts.setdefault(groups.get(pair[1], "unknown"), [0, 0])
        group[0] += 1
        group[1] += pair in chosen
    return {name: {"pairs": n, "recall": round(hit / n, 4)} for name, (n, hit) in sorted(counts.items())}
