"""The work of ``doorway link evaluate``: read, link, measure, print."""

import csv
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from gateway.adapters.files.linkage import (
    Columns,
    check_columns,
    check_out,
    default_reader,
    load_model,
    read_pairs,
    read_people,
)
from gateway.kernel.errors import Invalid
from gateway.linkage.batch import Outcome, Pair, link_one, link_two, stream
from gateway.linkage.clk import Encoder, link_encoded
from gateway.linkage.evaluate import by_group, figures
from gateway.linkage.frequency import Frequencies
from gateway.linkage.grades import Grade, Guard
from gateway.linkage.model import Model
from gateway.linkage.scoring import Scorer
from gateway.linkage.traits import COLUMNS, Traits, hashed_kind

EXIT_FINDINGS = 3
_LINES_TOLD = 5
_MOST_GROUPS = 40  # a column with more is a trait of persons, which is not printed


@dataclass(frozen=True, slots=True)
class Asked:
    """The command's arguments."""

    left: str
    right: str | None
    truth: str | None
    out: str | None
    stream: bool
    columns: Columns
    model: str | None
    fit: bool
    group: str
    as_json: bool
    secret: str = ""


@contextmanager
def _progress(label: str, length: int) -> Iterator[Callable[[], None]]:
    if length < 5_000 or not sys.stderr.isatty():
        yield lambda: None
        return
    with click.progressbar(length=length, label=label, file=sys.stderr, update_min_steps=200) as bar:
        yield lambda: bar.update(1)


def run_evaluate(asked: Asked) -> None:
    """Link the files, write ``--out``, print the figures; exit code 3 when the truth names ids that no file has."""
    unknown = set(asked.columns) - set(COLUMNS)
    if unknown:
        raise Invalid(f"unknown name {sorted(unknown)[0]}", at="--columns", fix="one of " + ", ".join(COLUMNS))
    check_columns(asked.columns, asked.left, asked.right)
    if asked.out:
        check_out(asked.out, asked.left, asked.right, asked.truth, asked.model)
    start = time.perf_counter()
    reader = default_reader()
    model = load_model(asked.model)
    groups: dict[int, str] = {}
    left = _load(asked.left, asked, groups if asked.right is None else {})
    right = left if asked.right is None else _load(asked.right, asked, groups)
    _refuse_hashed_beside_clear(left, right)
    loaded = time.perf_counter()
    root = reader.nicknames.main_root
    latencies: list[float] = []
    if asked.right is None:
        with _progress("comparing", len(left)) as step:
            outcome = link_one(left, model, root, fit=asked.fit, step=step)
    elif asked.secret:
        outcome = _by_filters(asked, left, right, model)
    elif asked.stream:
        outcome = _arrivals(asked, left, model, root, latencies)
        right = _load(asked.right, asked, groups)
    else:
        with _progress("comparing", len(right)) as step:
            outcome = link_two(left, right, model, root, fit=asked.fit, step=step)
    done = time.perf_counter()
    if asked.out:
        _write(asked.out, outcome.pairs, left, right)
    truth, missing = _truth(asked.truth, left, right, one_file=asked.right is None)
    result = figures(outcome, truth, arrivals=len(right), one_file=asked.right is None)
    result = {
        "left": len(left),
        "right": None if asked.right is None else len(right),
        "truth": None if truth is None else len(truth),
        **result,
    }
    if missing:
        result |= {"truth_without_record": len(missing), "truth_without_record_lines": missing[:_LINES_TOLD]}
    if len(set(groups.values())) > _MOST_GROUPS:
        raise Invalid(
            "has too many different values for groups", at=f"--group {asked.group}", fix="choose a coarse column"
        )
    if asked.group and truth:
        result["groups"] = by_group(outcome, truth, groups)
    result["seconds"] = {
        "load": round(loaded - start, 3),
        "link": round(done - loaded, 3),
        "total": round(time.perf_counter() - start, 3),
    }
    if latencies:
        result["latency_ms"] = _percentiles(latencies)
    result["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    click.echo(json.dumps(result) if asked.as_json else _table(result))
    if missing:
        sys.exit(EXIT_FINDINGS)


def _refuse_hashed_beside_clear(left: Sequence[Traits], right: Sequence[Traits]) -> None:
    """A digest is like no name, so two such files have nothing in common that could be compared."""
    kinds = [{hashed_kind(person) for person in side} - {None} for side in (left, right)]
    if {True} in kinds and {False} in kinds:
        raise Invalid(
            "one file is of a hashed export, the other in clear: their records are never compared",
            at="LEFT RIGHT", fix="export both hashed with one key, or both in clear",
        )  # fmt: skip


def _load(file: str, asked: Asked, groups: dict[int, str]) -> list[Traits]:
    reader = default_reader()
    people = []
    columns = asked.columns
    for number, row in enumerate(read_people(file, columns, group=asked.group)):
        people.append(reader.row(row))
        if asked.group and "group" in row:
            groups[number] = row["group"]
    return people


def _arrivals(asked: Asked, left: Sequence[Traits], model: Any, root: Any, latencies: list[float]) -> Outcome:
    """Each row of RIGHT as it would arrive: standardised, searched, scored and graded, alone; all of it timed."""
    assert asked.right is not None
    reader = default_reader()
    scorer, arrive = stream(left, model, root, fit=asked.fit)
    numbers = {person.key: i for i, person in enumerate(left)}
    pairs: list[Pair] = []
    compared: set[tuple[int, int]] = set()
    candidates = 0
    for j, row in enumerate(read_people(asked.right, asked.columns)):
        begun = time.perf_counter()
        matches, ids = arrive(reader.row(row))
        latencies.append((time.perf_counter() - begun) * 1000)
        candidates += len(ids)
        compared.update((i, j) for i in ids)
        pairs.extend(Pair(numbers[m.candidate.key], j, m.bits, m.grade, m.guards) for m in matches)
    return Outcome(scorer, pairs, compared, candidates, 0)


def _by_filters(asked: Asked, left: Sequence[Traits], right: Sequence[Traits], model: Model) -> Outcome:
    """Keyed Bloom filters instead of values: the score is a similarity of 0 to 1, and no pair is more than probable."""
    encoder = Encoder(asked.secret.encode())
    found = link_encoded([encoder.encode(p) for p in left], [encoder.encode(p) for p in right])
    pairs = [Pair(i, j, score, Grade.PROBABLE, frozenset({Guard.NOT_CORROBORATED})) for i, j, score in found]
    scorer = Scorer(model, Frequencies.of(()), population=len(left))
    return Outcome(scorer, pairs, None, len(found), 0)


def _percentiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {f"p{p}": round(ordered[min(int(len(ordered) * p / 100), len(ordered) - 1)], 3) for p in (50, 95, 99)} | {
        "max": round(ordered[-1], 3)
    }


def _write(file: str, pairs: Sequence[Pair], left: Sequence[Traits], right: Sequence[Traits]) -> None:
    try:
        with Path(file).open("w", encoding="utf-8", newline="") as stream_:
            writer = csv.writer(stream_)
            writer.writerow(("left_id", "right_id", "score", "grade"))
            for pair in sorted(pairs, key=lambda p: (-p.bits, p.left, p.right)):
                writer.writerow((left[pair.left].key, right[pair.right].key, f"{pair.bits:.4f}", pair.grade.value))
    except OSError:
        raise Invalid("cannot be written", at=f"--out {file}", fix="a file in a folder that exists") from None


def _truth(
    file: str | None, left: Sequence[Traits], right: Sequence[Traits], *, one_file: bool
) -> tuple[set[tuple[int, int]] | None, list[int]]:
    """(pairs of record numbers, lines whose ids no file has); a header is what neither file knows, in the first row."""
    if file is None:
        return None, []
    of_left = {person.key: i for i, person in enumerate(left)}
    of_right = {person.key: i for i, person in enumerate(right)}
    pairs: set[tuple[int, int]] = set()
    missing: list[int] = []
    rows = read_pairs(file)
    turned = bool(rows) and "right" in rows[0][1].casefold() and "left" in rows[0][2].casefold()  # so the heading says
    for n, (line, first, second) in enumerate(rows):
        x, y = (second, first) if turned else (first, second)
        i, j = of_left.get(x), of_right.get(y)
        if i is None or j is None:
            i, j = of_left.get(y), of_right.get(x)  # some write the columns the other way round
        if i is None or j is None:
            if n or x in of_left or y in of_right:
                missing.append(line)
        elif one_file and i == j:
            raise Invalid("a pair of one record with itself", at=f"{file}:{line}", fix="leave it out")
        elif one_file:
            pairs.add((min(i, j), max(i, j)))
        else:
            pairs.add((i, j))
    return pairs, missing


_LABELS = (
    ("certain", "certain (linked automatically)"), ("certain_probable", "certain + probable"),
)  # fmt: skip


def _table(result: dict[str, Any]) -> str:
    lines = [
        f"records              {result['left']}"
        + (f" x {result['right']}" if result["right"] is not None else " (one file)")
    ]
    lines.append("pairs                " + ", ".join(f"{n} {grade}" for grade, n in result["pairs"].items()))
    for key, label in _LABELS:
        if key in result:
            q = result[key]
            told = ", ".join(
                f"{name} {q[name]:.4f}" if q[name] is not None else f"{name} -"
                for name in ("precision", "recall", "f1")
            )
            lines.append(f"{label:<31}{told}")
    if "best_f1" in result:
        lines.append(f"best threshold       F1 {result['best_f1']:.4f} at {result['best_at_bits']} bits")
        lines.append(
            f"recall               {result['recall_at_precision_0.99']:.4f} at precision 0.99,"
            f" {result['recall_at_precision_0.995']:.4f} at 0.995"
        )
    if result.get("blocking_recall") is not None:
        lines.append(f"blocking recall      {result['blocking_recall']:.4f}")
    lines.append(
        f"candidates a record  {result['candidates_per_record']} "
        f"(keys too common to search: {result['keys_too_common']})"
    )
    if result.get("without_partner_linked") is not None:
        lines.append(
            f"without a partner    {result['without_partner']},"
            f" of which linked {100 * result['without_partner_linked']:.2f} %"
        )
    lines.append(
        f"to review            {result['queue_per_1000']} per 1,000 records,"
        f" {result['waiting_per_1000']} more wait behind them"
    )
    for name, group in result.get("groups", {}).items():
        lines.append(f"  group {name:<14} recall {group['recall']:.4f} of {group['pairs']} pairs")
    if result.get("truth_without_record"):
        told = ", ".join(str(line) for line in result["truth_without_record_lines"])
        lines.append(
            f"finding: {result['truth_without_record']} true pairs name an id that no file has (--truth lines {told})"
        )
    seconds = result["seconds"]
    lines.append(f"seconds              {seconds['total']} (load {seconds['load']}, link {seconds['link']})")
    if "latency_ms" in result:
        lines.append("latency ms           " + ", ".join(f"{k} {v}" for k, v in result["latency_ms"].items()))
    lines.append(f"peak memory          {result['peak_memory_mb']} MB")
    lines.append(f"model                {result['model']} {result['model_digest']}")
    return "\n".join(lines)
