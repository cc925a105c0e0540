"""``doorway map …``."""

import click

from gateway.commands.unbuilt import unbuilt


@click.group(name="map")
def map_() -> None:
    """Mapping tables: coverage, explain."""


map_.add_command(unbuilt("coverage", "Which rows and fields are executed, replaced, left out, and why."))
map_.add_command(unbuilt("explain", "Which row made an element."))
