"""``doorway hmis …``."""

import click

from gateway.commands.unbuilt import unbuilt


@click.group()
def hmis() -> None:
    """HMIS exports: check, convert, import, export."""


hmis.add_command(unbuilt("check", "Rule check of an export: file, row, column, rule, how to fix."))
hmis.add_command(unbuilt("convert", "FHIR NDJSON and report.json from an export."))
hmis.add_command(unbuilt("import", "An export into the store."))
hmis.add_command(unbuilt("export", "FHIR back to HUD CSV."))
