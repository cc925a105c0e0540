"""``doorway trace`` and ``doorway replay``."""

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from gateway.exchange.ports.outbox import Delivery
    from gateway.exchange.ports.store import Store
    from gateway.exchange.trace import Trace
    from gateway.settings import Settings


def _open(database: str | None, config: str | None) -> "tuple[Settings, Store]":
    from gateway.settings import read_settings
    from gateway.wiring import open_store

    settings = read_settings(config, database_url=database)
    return settings, open_store(settings)


@click.command(epilog="Example: doorway trace MSG00001 --database sqlite:///doorway.db")
@click.argument("wanted", metavar="ID")
@click.option("--database", metavar="URL", help="The gateway's database (default: the settings').")
@click.option("--config", type=click.Path(exists=True, dir_okay=False), metavar="FILE", help="Settings in TOML.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--raw", is_flag=True, help="The bytes of the message instead; they are personal data.")
def trace(wanted: str, database: str | None, config: str | None, as_json: bool, raw: bool) -> None:
    """One message through all stages: received, answered, every attempt, what it wrote, what it waits for.

    ID is our id of a message, its MSH-10, Type/id of a resource that it wrote, or the id or MSH-10 of an outgoing one.
    Exit code 1 when nothing has that id.
    """
    from gateway.exchange import trace as tracing

    _, store = _open(database, config)
    try:
        with store.reading() as reading:
            found, deliveries = tracing.trace(reading, wanted)
    finally:
        store.close()
    if raw:
        for one in found:
            sys.stdout.buffer.write(one.received.body)
        for delivery in deliveries:
            sys.stdout.buffer.write(delivery.body)
        return
    told = [_told(one) for one in found] + [_sent(one) for one in deliveries]
    if as_json:
        click.echo(json.dumps({"id": wanted, "found": told}))
        return
    for each in told:
        click.echo("\n".join(_lines(each)))


def _when(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _code(answer: bytes) -> str:
    from gateway.codecs.ack import read_acknowledgement
    from gateway.kernel.errors import DoorwayError

    try:
        return read_acknowledgement(answer).code if answer else ""
    except DoorwayError:
        return "response"


def _told(one: "Trace") -> dict[str, Any]:
    message = one.received
    out: dict[str, Any] = {
        "id": message.id,
        "direction": "in",
        "kind": message.kind,
        "control_id": message.control_id,
        "source": message.source,
        "peer": message.peer,
        "received": _when(message.received_us),
        "bytes": len(message.body),
        "sha256": message.digest.hex(),
        "answered": " ".join(code for code in (_code(message.answer), _code(message.result)) if code),
        "state": message.state.value,
        "attempts": [
            {
                "number": attempt.number,
                "at": _when(attempt.at_us),
                "state": attempt.state.value,
                **{k: v for k in ("stage", "category", "place", "fault", "reason") if (v := getattr(attempt, k))},
                "outputs": list(attempt.outputs),
            }
            for attempt in one.attempts
        ],
    }
    if message.fault:
        out["fault"] = {"category": message.category, "place": message.place, "message": message.fault}
    if one.behind:
        out["waits_behind"] = one.behind
    if one.asks:
        out["asks_nobody_here"] = list(one.asks)
    return out


def _sent(one: "Delivery") -> dict[str, Any]:
    return {
        "id": one.id,
        "direction": "out",
        "kind": one.kind,
        "control_id": one.control_id,
        "destination": one.destination,
        "queued": _when(one.created_us),
        "resources": list(one.references),
        "cause": one.cause,
        "answered": _code(one.answer),
        "state": one.state.value,
        "tries": one.attempts,
        "fault": one.fault,
    }


def _lines(one: dict[str, Any]) -> list[str]:
    out = [f"{one['kind'] or 'frame'} {one['control_id'] or '-'}  {one['state']}  {one['id']}"]
    for name, value in one.items():
        if name in {"id", "kind", "control_id", "state", "attempts", "asks_nobody_here"} or value in ("", [], None):
            continue
        out.append(
            f"  {name:<13} {value if not isinstance(value, dict) else ': '.join(v for v in value.values() if v)}"
        )
    for attempt in one.get("attempts", ()):
        words = [f"  attempt {attempt['number']:<6}", attempt["at"], attempt["state"]]
        words += [
            f"{name}={attempt[name]}" for name in ("stage", "category", "place", "fault", "reason") if name in attempt
        ]
        out.append(" ".join(words))
        out.extend(f"    wrote {output}" for output in attempt["outputs"])
    out.extend(
        f"  asks {reference}, which only its sender knows: nobody here is told. Agree on parties of the feed"
        " (mappings/README.md, Feeds), then replay"
        for reference in one.get("asks_nobody_here", ())
    )
    return out


@click.command(epilog="Example: doorway replay 0d5e… --dry-run")
@click.argument("message", metavar="ID")
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@click.option(
    "--set-aside", "aside", is_flag=True, help="Do not process: quarantine a parked message, its lane goes on."
)
@click.option("--reason", default="", help="Why; kept with the attempt. Required unless --dry-run.")
@click.option("--database", metavar="URL", help="The gateway's database (default: the settings').")
@click.option("--config", type=click.Path(exists=True, dir_okay=False), metavar="FILE", help="Settings in TOML.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def replay(
    message: str, dry_run: bool, aside: bool, reason: str, database: str | None, config: str | None, as_json: bool
) -> None:
    """Process a message again, safely: a new attempt tied to the old ones, replayed twice the same as once.

    ID is our id of the message, or its MSH-10 when one message only has it. What a replay causes to leave is decided by
    consent when it leaves. Exit code 1 when it fails again.
    """
    import secrets
    import time

    from gateway.exchange import trace as tracing
    from gateway.wiring import hl7v2_processing

    if not dry_run and not reason:
        raise click.UsageError("--reason is required: it is kept with the attempt")
    settings, store = _open(database, config)
    try:
        id_ = _one_message(store, message)
        now = time.time_ns() // 1000
        if aside:
            done = tracing.set_aside(store, id_, now_us=now, reason=reason)
            click.echo(json.dumps({"id": id_, "state": done.state.value}) if as_json else f"{id_} set aside")
            return
        processing = hl7v2_processing(settings)
        if dry_run:
            changes = tracing.preview(store, id_, processing, now_us=now)
            told = [{"resource": c.reference, "effect": c.effect, "elements": list(c.elements)} for c in changes]
            click.echo(json.dumps({"id": id_, "dry_run": True, "changes": told}) if as_json else _shown(told))
            return
        done = tracing.replay(store, id_, processing, now_us=lambda: now, ack_id=secrets.token_hex(10), reason=reason)
        with store.reading() as reading:
            outputs = list(reading.inbox.attempts(id_)[-1].outputs)
    finally:
        store.close()
    report = {"id": id_, "state": done.state.value, "attempt": done.attempts, "outputs": outputs}
    click.echo(
        json.dumps(report) if as_json else f"{id_} {done.state.value}, attempt {done.attempts}: " + ", ".join(outputs)
    )


def _one_message(store: "Store", wanted: str) -> str:
    from gateway.kernel.errors import Conflict, NotFound

    with store.reading() as reading:
        if reading.inbox.get(wanted) is not None:
            return wanted
        found = reading.inbox.find(wanted)
    if not found:
        raise NotFound("no such message", at=wanted)
    if len(found) > 1:
        raise Conflict(f"{len(found)} messages have this MSH-10", at=wanted, fix="give the id that doorway trace shows")
    return found[0].id


def _shown(changes: list[dict[str, Any]]) -> str:
    lines = [f"{c['effect']:<8} {c['resource']}  {' '.join(c['elements'])}".rstrip() for c in changes]
    return "\n".join(lines) or "nothing"
