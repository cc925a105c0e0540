"""The work of the ``doorway link`` commands that change or show a store."""

import csv
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import click

from gateway.exchange.link import Linker
from gateway.exchange.link_review import Case, Decision, case_of, decide, given_to_reviewers, undo
from gateway.exchange.ports.links import Edge
from gateway.exchange.ports.store import Store, Unit
from gateway.exchange.save import Saver
from gateway.kernel.errors import NotFound
from gateway.linkage.traits import COLUMNS

EXIT_FINDINGS = 3
_BATCH = 100


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything that a linking command works with."""

    store: Store
    linker: Linker
    saver: Saver
    now_us: int


@contextmanager
def _bench(url: str | None, config: str | None) -> Iterator[Bench]:
    from gateway import wiring
    from gateway.settings import read_settings

    settings = read_settings(config, database_url=url)
    store = wiring.open_store(settings)
    try:
        yield Bench(store, wiring.linker(settings), wiring.saver(settings), wiring.now_us())
    finally:
        store.close()


class _DryRun(Exception):
    """Undoes a transaction that was only tried."""


def run_dedupe(url: str | None, config: str | None, dry_run: bool, as_json: bool) -> None:
    """Compare all Patients again, a hundred a transaction; all in one when it is a dry run."""
    with _bench(url, config) as bench:
        with bench.store.reading() as reading:
            ids = [stored.id for stored in reading.resources.of_type("Patient")]
        linked: set[tuple[str, str]] = set()
        waiting: set[tuple[str, str]] = set()
        over: dict[str, int] = {}

        def index(unit: Unit, part: list[str]) -> int:
            stored = unit.resources.many(f"Patient/{id_}" for id_ in part)
            return bench.linker.index(unit, list(stored.values()), now_us=bench.now_us)

        def compare(unit: Unit, part: list[str]) -> None:
            for id_ in part:
                stored = unit.resources.get("Patient", id_)
                if stored is None or stored.deleted:
                    continue
                found = bench.linker.on_arrival(unit, stored, saver=bench.saver, now_us=bench.now_us, again=True)
                linked.update((min(stored.reference, o), max(stored.reference, o)) for o in found.linked)
                waiting.update((min(stored.reference, o), max(stored.reference, o)) for o in found.review)
                over[stored.reference] = found.passed_over

        def try_out(unit: Unit) -> None:
            index(unit, ids)
            compare(unit, ids)
            raise _DryRun

        if dry_run:
            with suppress(_DryRun):  # raised to undo everything
                bench.store.write(try_out)
        else:
            with click.progressbar(length=len(ids), label="comparing", file=sys.stderr, hidden=not _shown(ids)) as bar:
                for start in range(0, len(ids), 20 * _BATCH):
                    whole = ids[start : start + 20 * _BATCH]
                    bench.store.write(lambda unit, whole=whole: index(unit, whole))  # type: ignore[misc]
                for start in range(0, len(ids), _BATCH):
                    part = ids[start : start + _BATCH]
                    bench.store.write(lambda unit, part=part: compare(unit, part))  # type: ignore[misc]
                    bar.update(len(part))
    told = {"patients": len(ids), "linked": len(linked), "to_review": len(waiting - linked), "changed": not dry_run,
            "passed_over": sum(over.values())}  # fmt: skip
    if as_json:
        click.echo(json.dumps(told))
        return
    unchanged = " (nothing was changed)" if dry_run else ""
    over_told = f", {told['passed_over']} more passed over" if told["passed_over"] else ""
    click.echo(
        f"{told['patients']} patients: {told['linked']} pairs linked,"
        f" {told['to_review']} to review{over_told}{unchanged}"
    )


def _shown(ids: list[str]) -> bool:
    return len(ids) > 1_000 and sys.stderr.isatty()


def run_queue(url: str | None, config: str | None, limit: int, values: bool, as_json: bool) -> None:
    """Show what waits; exit code 3 when something does."""
    with _bench(url, config) as bench:
        cases: list[Case] = []

        def read(unit: Unit) -> tuple[int, int, int]:
            cases.clear()
            waiting, since_us = unit.links.backlog()
            given = given_to_reviewers(bench.linker, unit, waiting)
            for edge in unit.links.queue(limit=min(limit, given)):
                try:
                    cases.append(case_of(bench.linker, unit, edge, now_us=bench.now_us, values=values))
                except NotFound:
                    continue
            return waiting, since_us, given

        count, oldest, given = bench.store.write(read)
        age_h = (bench.now_us - oldest) / 3.6e9 if count else 0.0
    if as_json:
        told = {"waiting": count, "to_review": given, "behind": count - given, "oldest_hours": round(age_h, 1)}
        click.echo(json.dumps({**told, "pairs": [_case(c) for c in cases]}))
    else:
        behind = f"; {count - given} of them behind what reviewers are given" if count > given else ""
        click.echo(f"{count} pairs wait, the oldest for {age_h:.1f} h{behind}")
        for case in cases:
            click.echo(_shown_case(case))
    if count:
        sys.exit(EXIT_FINDINGS)


def _case(case: Case) -> dict[str, Any]:
    lines = [
        {"trait": line.comparison, "level": line.level, "bits": line.bits}
        | ({"one": line.one, "other": line.other} if line.one or line.other else {})
        for line in case.lines
        if line.level != "unknown"
    ]
    return {**_edge(case.edge), "waiting_s": case.waiting_s, "evidence": lines}


def _edge(edge: Edge) -> dict[str, Any]:
    return {
        "one": edge.one, "other": edge.other, "state": edge.state.value, "grade": edge.grade,
        "bits": round(edge.bits, 2), "by": edge.by, "first_signature": edge.seconds or None,
        "reasons": list(edge.reasons),
    }  # fmt: skip


def _shown_case(case: Case) -> str:
    edge = case.edge
    lines = [f"\n{edge.one}  {edge.other}  {edge.grade}, {edge.bits:.1f} bits"]
    for line in case.lines:
        if line.level == "unknown":
            continue
        values = f"   {line.one} | {line.other}" if line.one or line.other else ""
        lines.append(f"  {line.comparison:<16}{line.level:<18}{line.bits:+7.2f}{values}")
    lines.extend(f"  ! {reason}" for reason in edge.reasons)
    return "\n".join(lines)


def run_decide(
    url: str | None, config: str | None, one: str, other: str, decision: str, by: str, why: str, as_json: bool
) -> None:
    """Write a reviewer's decision."""
    one, other = _reference(one), _reference(other)
    with _bench(url, config) as bench:
        edge = bench.store.write(
            lambda unit: decide(
                bench.linker, unit, one, other, cast("Decision", decision),
                saver=bench.saver, by=by, why=why, now_us=bench.now_us,
            )
        )  # fmt: skip
    state = "waits for a second signature" if edge.seconds and edge.state.value == "review" else edge.state.value
    click.echo(json.dumps(_edge(edge)) if as_json else f"{edge.one} and {edge.other}: {state}")


def run_labels(out: str, url: str | None, config: str | None, as_json: bool) -> None:
    """Write the reviewers' decisions as files of the evaluation command."""
    from gateway.exchange.link_labels import Labels, labels_of

    found: list[Labels] = []
    with _bench(url, config) as bench, bench.store.reading() as reading:
        found.append(labels_of(reading))
    (labels,) = found
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("left", labels.left), ("right", labels.right)):
        _write(folder / f"{name}.csv", COLUMNS, [[row.get(column, "") for column in COLUMNS] for row in rows])
    _write(
        folder / "truth.csv", ("left_id", "right_id"), [(d.one, d.other) for d in labels.decisions if d.said == "same"]
    )
    _write(
        folder / "decisions.csv", ("left_id", "right_id", "decision", "by", "at"),
        [(d.one, d.other, d.said, d.by, _at(d.at_us)) for d in labels.decisions],
    )  # fmt: skip
    said = Counter(d.said for d in labels.decisions)
    told = {"decisions": len(labels.decisions), **{one: said[one] for one in ("same", "not-same", "cannot-tell")}}
    click.echo(json.dumps(told) if as_json else f"{told['decisions']} decisions written to {out}")


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A CSV file that only its owner may read."""
    with open(path, "w", encoding="utf-8", newline="", opener=lambda p, f: os.open(p, f, 0o600)) as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def run_explain(url: str | None, config: str | None, one: str, other: str, values: bool, as_json: bool) -> None:
    """The waterfall of a pair and its history."""
    one, other = sorted((_reference(one), _reference(other)))

    def read(unit: Unit) -> tuple[Case, list[Any]]:
        from gateway.exchange.ports.links import EdgeState

        held = unit.links.edge(one, other)
        asked = held or Edge(one, other, EdgeState.UNSURE, "", 0.0, bench.now_us, "")
        case = case_of(bench.linker, unit, asked, now_us=bench.now_us, values=values)
        bits = sum(line.bits for line in case.lines)
        prior = bench.linker.scorer(unit, _traits(unit, other)).prior_bits
        if held is None:
            case = replace(case, edge=replace(asked, bits=bits + prior, grade="not held"))
        return case, [e for e in unit.links.events(one) if other in (e.one, e.other)]

    with _bench(url, config) as bench:
        case, events = bench.store.write(read)
    told = [{"at": _at(e.at_us), "kind": e.kind, "by": e.by, "why": e.why, "model": e.model} for e in events]
    if as_json:
        click.echo(json.dumps({**_case(case), "events": told}))
        return
    click.echo(_shown_case(case).strip())
    for event in told:
        click.echo(f"  {event['at']}  {event['kind']} by {event['by']}: {event['why']} (model {event['model']})")


def _at(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat()


def _traits(unit: Unit, patient: str) -> Any:
    from gateway.linkage.traits import unpack

    return unpack(unit.links.known((patient,))[patient].traits)


def run_undo(url: str | None, config: str | None, one: str, other: str, by: str, why: str, as_json: bool) -> None:
    """Split a link and print what it caused."""
    one, other = _reference(one), _reference(other)
    with _bench(url, config) as bench:
        done = bench.store.write(
            lambda unit: undo(
                bench.linker, unit, one, other, saver=bench.saver, by=by, why=why, now_us=bench.now_us
            )
        )  # fmt: skip
    listed = [
        {"lane": r.lane, "sequence": r.sequence, "at": _at(r.recorded_us),
         "to": _who(r.event)}
        for r in done.disclosures
    ]  # fmt: skip
    sent = [
        {"id": m.id, "destination": m.destination, "kind": m.kind, "state": m.state.value, "at": _at(m.created_us)}
        for m in done.messages
    ]
    if as_json:
        told = {"undone": _edge(done.edge), "disclosures": listed, "messages": sent, "notice": done.notice}
        click.echo(json.dumps(told))
        return
    click.echo(f"{done.edge.one} and {done.edge.other} are apart, for good. {len(listed)} disclosures since the link:")
    for one_ in listed:
        click.echo(f"  audit record {one_['lane']}/{one_['sequence']} at {one_['at']} to {one_['to']}")
    for message in sent:
        click.echo(f"  message {message['id']} ({message['kind']}) to {message['destination']}: {message['state']}")
    click.echo(done.notice)


def _who(event: dict[str, Any]) -> str:
    for agent in event.get("agent", ()):
        who = agent.get("who", {})
        if agent.get("requestor"):
            return str(who.get("reference") or (who.get("identifier") or {}).get("value", "unknown"))
    return "unknown"


def _reference(text: str) -> str:
    return text if text.startswith("Patient/") else f"Patient/{text}"
