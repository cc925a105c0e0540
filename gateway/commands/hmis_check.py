"""What ``doorway hmis check`` does; imported when it runs."""

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from gateway.adapters.files.data import read_data
from gateway.adapters.files.hmis_export import open_export
from gateway.adapters.files.hmis_tables import SqliteTables
from gateway.commands.hmis_run import EXIT_FINDINGS, disk_told, progress
from gateway.exchange.hmis_check import Checked, check_export, load_rules
from gateway.exchange.hmis_convert import Conversion
from gateway.exchange.hmis_quality import load_limits
from gateway.mapping.hmis.values import day_of

SHOWN_PLACES = 5
SHOWN_PROJECTS = 20
_RULE = ("id", "scope", "severity", "issue", "fix", "not_computed")


@disk_told()
def check_command(path: str, csv_file: str | None, unknowns: bool, limits: Sequence[str], as_json: bool) -> None:
    """Check, report, exit 3 when something was found."""
    conversion = Conversion(open_export(path), read_data, fallback_source=Path(path).stem)
    days = _limits(limits)
    with progress(sum(seen.bytes for seen in conversion.seen) or 1, "checking") as bar, SqliteTables(day_of) as tables:
        checked = check_export(conversion, read_data, tables, unknowns=unknowns, limits=days, tick=bar.update)
    if csv_file is not None:
        _write_csv(Path(csv_file), checked)
    if as_json:
        click.echo(json.dumps(checked.as_json()))
    else:
        _readable(checked)
    if checked.counts:
        sys.exit(EXIT_FINDINGS)


def rules_command(as_json: bool) -> None:
    """Which rules there are, and which cannot be told from an export, with the reason."""
    rules = load_rules(read_data)
    limits = load_limits(read_data, {})
    if as_json:
        told = [
            {name: getattr(rule, name) for name in _RULE} | {"computed": not rule.not_computed}
            for rule in rules.values()
        ]
        click.echo(json.dumps({"rules": told, "limits": limits}))
        return
    for scope in dict.fromkeys(rule.scope for rule in rules.values()):
        click.echo(f"{scope}")
        for rule in (rule for rule in rules.values() if rule.scope == scope):
            click.echo(f"  {rule.id:<10} {rule.severity:<14} {rule.issue}")
    click.echo("not computed from an export:")
    for rule in rules.values():
        if rule.not_computed:
            click.echo(f"  {rule.id:<10} {rule.issue}: {rule.not_computed}")
    click.echo("limits in days (--limit NAME=DAYS): " + ", ".join(f"{name}={days}" for name, days in limits.items()))


def _limits(given: Sequence[str]) -> dict[str, int]:
    out = {}
    for each in given:
        name, _, days = each.partition("=")
        if not days.isdecimal():
            raise click.UsageError("--limit takes NAME=DAYS, such as referral=30")
        out[name] = int(days)
    return out


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
    _projects(checked)
    if checked.delta:
        click.echo("\na delta export: rules that conclude from rows which are not there were not run")
    if checked.completeness:
        click.echo("\nunknown answers (counted, not findings):")
        for rule, count in sorted(checked.completeness.items(), key=lambda pair: -pair[1]):
            click.echo(f"  {count:>8,} x {checked.rules[rule].issue}")


def _projects(checked: Checked) -> None:
    told = sorted(checked.projects.items(), key=lambda pair: (-sum(pair[1].values()), pair[0]))
    if told:
        click.echo("\nfindings by project:")
    for project, counts in told[:SHOWN_PROJECTS]:
        most = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:SHOWN_PLACES]
        rules = ", ".join(f"{rule} ({count:,} x)" for rule, count in most)
        click.echo(f"  {project:<34} {sum(counts.values()):>8,}  rules {rules}")
    if len(told) > SHOWN_PROJECTS:
        click.echo(f"  and {len(told) - SHOWN_PROJECTS:,} more: --json has them all")
