"""``doorway hmis …``."""

import click


@click.group()
def hmis() -> None:
    """HMIS exports: check, convert, import, export."""


@hmis.command(epilog="Example: doorway hmis convert export.zip --out fhir/")
@click.argument("export", type=click.Path(exists=True))
@click.option(
    "--out",
    "out",
    required=True,
    type=click.Path(file_okay=False),
    help="Folder for <Type>.ndjson and report.json; those of an earlier run are removed.",
)
@click.option(
    "--mapping",
    type=click.Choice(["2024", "2026", "hifis"]),
    help="Which tables; default: the format year that the export names. hifis: a HIFIS-like Canadian export.",
)
@click.option(
    "--processes", default=1, show_default=True, type=click.IntRange(1, 64), help="Convert blocks of rows side by side."
)
@click.option("--validate", is_flag=True, help="Check what is made against R4 and the profiles that it claims.")
@click.option("--json", "as_json", is_flag=True, help="Print report.json instead of a summary.")
def convert(export: str, out: str, mapping: str | None, processes: int, validate: bool, as_json: bool) -> None:
    """FHIR R4 from an HMIS CSV export (folder or zip): one NDJSON file a resource type, and report.json.

    Every row and every cell is kept: `doorway hmis export --from` gives the export back. Needs no database.
    --validate judges one resource of every shape as `doorway validate` does: the same codes and the same elements make
    a shape, whatever keys, days, amounts and names stand in them. Profiles come from `doorway package add`.
    Exit code 3: some rows could not be mapped (report.json says which and why; they are kept whole), or not valid.
    """
    from gateway.commands.hmis_run import convert_export

    convert_export(export, out, processes, as_json, mapping, validate)


@hmis.command(name="export", epilog="Example: doorway hmis export --from fhir/ --out back/ --version 2026")
@click.option("--from", "folder", type=click.Path(exists=True, file_okay=False), help="Folder of a conversion.")
@click.option("--out", "out", required=True, type=click.Path(file_okay=False), help="Folder for the CSV files.")
@click.option(
    "--version", type=click.Choice(["2024", "2026", "hifis"]), help="Format year; default: the one that came."
)
@click.option("--database", help="Without --from: export a source from this store.")
@click.option("--config", type=click.Path(exists=True, dir_okay=False), help="TOML file of settings.")
@click.option("--source", help="ImplementationID, when the store holds several sources.")
@click.option("--hash", "hash_", type=click.Choice(["sha256"]), help="Hash names and SSNs (HashStatus 4).")
@click.option(
    "--delta", is_flag=True, help="From the store: only what referrals brought (Event, CurrentLivingSituation)."
)
@click.option("--since", help="With --delta: changes from this day or instant on (2026-06-30, 2026-06-30T09:00:00Z).")
@click.option("--enroll-at", help="With --delta: ProjectID of coordinated entry where new Enrollments are allowed.")
@click.option("--purpose", help="With --delta: purpose of use (v3 code) that Consents are asked for; default TREAT.")
@click.option("--neutralise-formulas", is_flag=True, help="Put ' before cells that a spreadsheet would execute.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def export_(
    folder: str | None,
    out: str,
    version: str | None,
    database: str | None,
    config: str | None,
    source: str | None,
    hash_: str | None,
    delta: bool,
    since: str | None,
    enroll_at: str | None,
    purpose: str | None,
    neutralise_formulas: bool,
    as_json: bool,
) -> None:
    """FHIR back to HUD CSV: from a converted folder every cell of every row of every file, or a source of the store.

    Files are UTF-8 with CRLF line ends. A cell that FHIR has no form for comes back as it stood unless the resource was
    changed in FHIR. With --version what the other format year has no place for is printed and kept in Custom files.

    With --delta: a delta export of what came back through FHIR. New referrals to the source's projects become Events,
    outcomes are set on the Events they belong to, and housing statuses with a HUD code that were sent with a referral
    become CurrentLivingSituations. What HUD has no code for is never guessed: not-in-hmis.csv lists it with the
    reason, and the exit code is 3. It is a disclosure: what others wrote is told as far as the Organizations that get
    the row may see it (their agreement, the client's Consent, the law), and audited beforehand; notices.csv holds what
    the law sends along with a row.
    """
    from gateway.commands.hmis_run import export_delta, export_folder, export_store

    if not delta and (since or enroll_at or purpose):
        raise click.UsageError("--since, --enroll-at and --purpose belong to --delta")
    if delta:
        if folder is not None or hash_ is not None or neutralise_formulas:
            raise click.UsageError("--delta reads the store: not with --from, --hash or --neutralise-formulas")
        export_delta(out, version, database, config, source, since, enroll_at or "", purpose or "TREAT", as_json)
    elif folder is not None:
        export_folder(folder, out, version, neutralise_formulas, hash_ is not None, as_json)
    else:
        export_store(out, version, database, config, source, hash_ is not None, as_json)


@hmis.command(epilog="Example: doorway hmis check export.zip --csv findings.csv --limit referral=30")
@click.argument("export", type=click.Path(exists=True), required=False)
@click.option("--csv", "csv_file", type=click.Path(dir_okay=False), help="Write every finding to this CSV file.")
@click.option(
    "--unknowns", is_flag=True, help="List unknown answers (client does not know, not asked) as findings too."
)
@click.option(
    "--limit", "limits", multiple=True, metavar="NAME=DAYS", help="A local setting; `--rules` lists their names."
)
@click.option(
    "--rules", "rules", is_flag=True, help="List the rules, and those that an export cannot tell, with reason."
)
@click.option("--json", "as_json", is_flag=True, help="The whole report as JSON.")
def check(
    export: str | None, csv_file: str | None, unknowns: bool, limits: tuple[str, ...], rules: bool, as_json: bool
) -> None:
    """Rule check of an HMIS CSV export (folder or zip): file, row, column, rule and how to fix it; no personal data.

    Structure, references and codes follow HUD's specification of the export's format year; data-quality rules carry
    the ids of mappings/hmis/checks.csv. Rows are counted below the header. Unknown answers are counted, not listed.
    Memory stays flat: what rules join is kept in a private temporary file. Exit code 3: there are findings.
    """
    from gateway.commands.hmis_check import check_command, rules_command

    if rules:
        rules_command(as_json)
    elif export is None:
        raise click.UsageError("name the export, or ask for --rules")
    else:
        check_command(export, csv_file, unknowns, limits, as_json)


@hmis.command(name="import", epilog="Example: doorway hmis import export.zip --database sqlite:///doorway.db")
@click.argument("export", type=click.Path(exists=True))
@click.option("--database", help="Database URL; default: DOORWAY_DATABASE_URL or sqlite:///doorway.db.")
@click.option("--config", type=click.Path(exists=True, dir_okay=False), help="TOML file of settings.")
@click.option(
    "--refresh",
    type=click.Choice(["auto", "full", "delta"]),
    default="auto",
    show_default=True,
    help="Whether absent rows are deleted; auto: what Export.csv says (ExportDirective 2 is full).",
)
@click.option(
    "--max-deleted",
    type=click.FloatRange(0, 100),
    default=20.0,
    show_default=True,
    help="Percent of the rows in scope that a full refresh may delete by absence.",
)
@click.option(
    "--mapping", type=click.Choice(["2024", "2026", "hifis"]), help="Which tables; default: the format year it names."
)
@click.option("--dry-run", is_flag=True, help="Show what would change, and undo it.")
@click.option("--rejects", type=click.Path(dir_okay=False), help="CSV of rejected, refused and waiting rows.")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
def import_(
    export: str,
    database: str | None,
    config: str | None,
    refresh: str,
    max_deleted: float,
    mapping: str | None,
    dry_run: bool,
    rejects: str | None,
    as_json: bool,
) -> None:
    """An HMIS CSV export (folder or zip) into the store: delta or full refresh, deletes and restores.

    An older DateUpdated never overwrites; a second import of the same export changes nothing; an interrupted import is
    finished by running it again. Columns and files that HUD does not know are kept, disclosed to nobody, and come back
    with `doorway hmis export`. Client-level rows of victim service providers are refused. Rows whose client or
    enrollment has not come yet wait for it. Exit code 3: rows were rejected, refused or wait.
    """
    from gateway.commands.hmis_run import import_export

    import_export(export, database, config, refresh, max_deleted / 100, dry_run, rejects, as_json, mapping)
