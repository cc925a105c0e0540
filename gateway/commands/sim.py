"""``doorway sim …``."""

import click


@click.group()
def sim() -> None:
    """Synthetic feeds with a truth file."""


@sim.command(epilog="Example: doorway sim hospital --seed 1 --out feed/")
@click.option("--seed", default=1, show_default=True, help="Same seed, same feed; the people are those of sim hmis.")
@click.option("--patients", default=200, show_default=True, type=click.IntRange(1), help="People of the community.")
@click.option("--out", required=True, type=click.Path(file_okay=False), help="Folder for feed-*.hl7 and the truth.")
@click.option("--json", "as_json", is_flag=True, help="Counts as JSON.")
def hospital(seed: int, patients: int, out: str, as_json: bool) -> None:
    """A synthetic hospital's ADT feed with a truth file: 17 pathways, late and repeated messages, merges, newborns."""
    import json
    from pathlib import Path

    from gateway.sim.hospital import write_feed

    told = write_feed(Path(out), seed=seed, patients=patients)
    if as_json:
        counts = {"patients": told.patients, "messages": told.messages, "pathways": told.pathways, "files": told.files}
        click.echo(json.dumps(counts))
    else:
        click.echo(f"{told.messages:,} messages about {told.patients:,} patients in {out}")


@sim.command(epilog="Example: doorway sim hmis --seed 7 --clients 1000 --out export/")
@click.option("--seed", default=1, show_default=True, help="Same seed, same export.")
@click.option(
    "--clients", default=1000, show_default=True, type=click.IntRange(1), help="People; some have two records."
)
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False),
    help="Folder for the CSV files, truth.ndjson and truth.json.",
)
@click.option(
    "--version", "version", type=click.Choice(["2024", "2026"]), default="2026", show_default=True, help="Format year."
)
@click.option(
    "--oddity", "oddities", multiple=True, help="What real exports have wrong; repeatable. `--oddity list` names them."
)
@click.option("--json", "as_json", is_flag=True, help="Counts as JSON.")
def hmis(seed: int, clients: int, out: str, version: str, oddities: tuple[str, ...], as_json: bool) -> None:
    """A synthetic HMIS export with a truth file: households, missing SSNs, aliases, shelters as addresses, consents."""
    import json
    from pathlib import Path

    from gateway.adapters.files.data import read_data
    from gateway.sim.hmis import write_export
    from gateway.sim.hmis_files import ODDITIES

    if "list" in oddities:
        for name, line in ODDITIES.items():
            click.echo(f"{name:<18} {line}")
        return
    unknown = sorted(set(oddities) - set(ODDITIES))
    if unknown:
        raise click.UsageError(f"no oddity {unknown[0]!r}; see --oddity list")
    told = write_export(read_data, Path(out), seed=seed, clients=clients, version=version, oddities=oddities)
    if as_json:
        click.echo(json.dumps({"people": told.people, "clients": told.clients, "rows": told.rows}))
    else:
        click.echo(f"{told.people:,} people, {told.clients:,} clients, {sum(told.rows.values()):,} rows in {out}")
