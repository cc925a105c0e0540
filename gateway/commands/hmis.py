"""``doorway hmis …``."""

import click

from gateway.commands.unbuilt import unbuilt


@click.group()
def hmis() -> None:
    """HMIS exports: check, convert, import, export."""


@hmis.command(epilog="Example: doorway hmis convert export.zip --out fhir/")
@click.argument("export", type=click.Path(exists=True))
@click.option(
    "--out", "out", required=True, type=click.Path(file_okay=False), help="Folder for <Type>.ndjson and report.json."
)
@click.option(
    "--processes", default=1, show_default=True, type=click.IntRange(1, 64), help="Convert files side by side."
)
@click.option("--json", "as_json", is_flag=True, help="Print report.json instead of a summary.")
def convert(export: str, out: str, processes: int, as_json: bool) -> None:
    """FHIR R4 from an HMIS CSV export (folder or zip): one NDJSON file a resource type, and report.json.

    Every row and every cell is kept: `doorway hmis export --from` gives the export back. Needs no database.
    Exit code 3: some rows could not be mapped (report.json says which and why); they are kept whole.
    """
    from gateway.commands.hmis_run import convert_export

    convert_export(export, out, processes, as_json)


@hmis.command(name="export", epilog="Example: doorway hmis export --from fhir/ --out back/")
@click.option(
    "--from", "source", type=click.Path(exists=True, file_okay=False), help="Folder of a conversion (NDJSON)."
)
@click.option("--out", "out", required=True, type=click.Path(file_okay=False), help="Folder for the CSV files.")
@click.option(
    "--neutralise-formulas", is_flag=True, help="Put ' before cells that a spreadsheet would execute (changes them)."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def export_(source: str | None, out: str, neutralise_formulas: bool, as_json: bool) -> None:
    """FHIR back to HUD CSV: every cell of every row of every file, as FHIR now says it.

    Files are UTF-8 with CRLF line ends, header and order as they came. A cell that FHIR has no form for comes back as
    it stood unless the resource was changed in FHIR.
    """
    from gateway.commands.hmis_run import export_folder

    if source is None:
        raise click.UsageError("give --from FOLDER")
    export_folder(source, out, neutralise_formulas, as_json)


hmis.add_command(unbuilt("check", "Rule check of an export: file, row, column, rule, how to fix."))
hmis.add_command(unbuilt("import", "An export into the store."))
