"""``doorway audit …``."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from gateway.adapters.db.store import DbStore
    from gateway.exchange.ports.audit import AuditRecord


@click.group()
def audit() -> None:
    """The audit trail: verify, export."""


_URL = click.option("--database", "url", help="sqlite:///FILE or postgresql://HOST/NAME; default: the settings.")
_CONFIG = click.option("--config", help="Settings file (TOML).")


def _store(url: str | None, config: str | None) -> "DbStore":
    from gateway.adapters.db.migrate import expect_current
    from gateway.settings import read_settings
    from gateway.wiring import database_store

    store = database_store(read_settings(config, database_url=url))
    expect_current(store.database)  # a mistyped name must not become a new database whose trail is whole
    return store


@audit.command(
    epilog="Example: doorway audit verify --anchor /mnt/other/anchors.jsonl. "
    "Exit codes: 0 whole, 3 something was changed, taken out or cut off."
)
@_URL
@_CONFIG
@click.option("--anchor", type=click.Path(dir_okay=False), help="File of anchors that 'audit export --anchor' wrote.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for machines.")
def verify(url: str | None, config: str | None, anchor: str | None, as_json: bool) -> None:
    """Check the hash chains: edits, deletions and reordering; with an anchor also a cut at the end."""
    from gateway.exchange.chain import Check, read_anchors

    try:
        anchors = read_anchors(Path(anchor).read_bytes(), at=anchor) if anchor else []
    except OSError:
        raise click.UsageError("the anchor file cannot be read") from None
    check = Check(anchors)
    store = _store(url, config)
    with store.reading() as reading:
        findings = list(check.walk(_counted(reading.audit.records())))
    store.close()
    if as_json:
        told = [{"lane": one.lane, "sequence": one.sequence, "what": one.what} for one in findings]
        summary = {"records": check.records, "lanes": len(check.heads), "anchored": bool(anchor), "findings": told}
        click.echo(json.dumps(summary))
    else:
        for one in findings:
            click.echo(f"lane {one.lane}, record {one.sequence}: {one.what}")
        state = f"{len(findings)} findings" if findings else "whole"
        click.echo(f"{check.records} records in {len(check.heads)} lanes: {state}")
        if not anchor:
            click.echo("no anchor was given: records cut off at the end would not show", err=True)
    if findings:
        raise SystemExit(3)


@audit.command(epilog="Example: doorway audit export --since 2026-01-01 --out events.ndjson --anchor anchors.jsonl")
@_URL
@_CONFIG
@click.option("--since", help="Only events recorded at this date or instant or later (FHIR dateTime).")
@click.option("--out", type=click.Path(dir_okay=False), help="Write here; default: standard output.")
@click.option("--anchor", type=click.Path(dir_okay=False), help="Append the heads of the chains; keep it elsewhere.")
@click.option("--json", "as_json", is_flag=True, help="A summary as one JSON object on standard error.")
def export(
    url: str | None, config: str | None, since: str | None, out: str | None, anchor: str | None, as_json: bool
) -> None:
    """AuditEvents as NDJSON, in the order of their chains; with --anchor also the heads to keep outside."""
    from gateway.exchange.chain import Head, write_anchor
    from gateway.profiles.search_values import span_of

    span = span_of(since) if since else (0, 0)
    if span is None:
        raise click.UsageError("--since is not a date: write YYYY-MM-DD or YYYY-MM-DDThh:mm:ssZ")
    heads: dict[int, Head] = {}
    written = 0
    store = _store(url, config)
    with store.reading() as reading, click.open_file(out or "-", "wb") as file:
        for record in _counted(reading.audit.records()):
            heads[record.lane] = Head(record.lane, record.sequence, record.digest)
            if record.recorded_us >= span[0]:
                written += 1
                file.write(record.text + b"\n")
    store.close()
    if anchor:
        with Path(anchor).open("ab") as file:
            file.write(write_anchor(heads.values()))
    if as_json:
        click.echo(json.dumps({"events": written, "lanes": len(heads), "anchored": bool(anchor)}), err=True)


def _counted(records: "Iterator[AuditRecord]") -> "Iterator[AuditRecord]":
    """The records, with a count on a terminal when it takes longer than two seconds."""
    import sys
    import time

    began, shown = time.monotonic(), 0.0
    for number, record in enumerate(records, 1):
        yield record
        if number % 5_000 == 0 and sys.stderr.isatty():
            now = time.monotonic()
            if now - began > 2 and now - shown > 0.2:
                shown = now
                click.echo(f"\r{number} records", nl=False, err=True)
    if shown:
        click.echo("", err=True)
