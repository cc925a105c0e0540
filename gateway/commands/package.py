"""``doorway package …``."""

import click

from gateway.commands.unbuilt import unbuilt


@click.group()
def package() -> None:
    """FHIR packages."""


package.add_command(unbuilt("add", "Load a FHIR package."))
