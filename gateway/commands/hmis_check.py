"""What ``doorway hmis check`` does; imported when it runs."""

import csv
import json
import sys
from pathlib import Path

import click

from gateway.adapters.files.data import read_data
from gateway.adapters.files.hmis_export import open_export
from gateway.commands.hmis_run import EXIT_FINDINGS, progress
from gateway.exchange.hmis_check import Checked, check_export
from gateway.exchange.hmis_convert import Conversion

SHOWN_PLACES = 5


def check_command(path: str, csv_file: str | None, unknowns: bool, as_json: bool) -> None:
    """Check, report, exit 3 when something was found."""
    conversion = Conversion(open_export(path), read_data, fallback_source=Path(path).stem)
    with progress(sum(seen.bytes for seen in conversion.seen) or 1, "checking") as bar:
        checked = check_export(conversion, read_data, unknowns=unknowns, tick=bar.update)
    if csv_file is not None:
        _write_csv(Path(csv_file), checked)
    if as_json:
        click.echo(json.dumps(checked.as_json()))
    else:
        _readable(checked)
    if checked.counts:
        sys.exit(EXIT_FINDINGS)


def _write_csv(place: Path, checked: Checked) -> None:
    with place.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["rule", "severity", "file", "row", "line", "column", "project", "issue", "fix"])
        for f in checked.as_json()["findings"]:
            writer.writerow(
                [f[name] for name in ("rule", "severity", "file", "row", "line", "column", "project", "issue", "fix")]
            )


def _readable(checked: Checked) -> None:
    click.echo(f"{checked.rows:,} rows, format FY{checked.version}: {sum(checked.counts.values()):,} findings")
    order = {"High Priority": 0, "Error": 1, "Warning": 2}
    for rule in sorted(checked.counts, key=lambda r: (order[checked.rules[r].severity], -checked.counts[r])):
        told = checked.rules[rule]
        click.echo(f"\n{told.severity} {rule}: {told.issue} ({checked.counts[rule]:,} x). {told.fix}")
        places = [f for f in checked.found if f.rule == rule][:SHOWN_PLACES]
        for f in places:
            where = f" project {f.project}" if f.project else ""
            click.echo(f"  {f.file}.csv row {f.row} {f.column}{where}")
    if checked.completeness:
        click.echo("\nunknown answers (counted, not findings):")
        for rule, count in sorted(checked.completeness.items(), key=lambda pair: -pair[1]):
            click.echo(f"  {count:>8,} x {checked.rules[rule].issue}")
