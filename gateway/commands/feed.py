"""``doorway feed …``."""

import click

from gateway.commands.unbuilt import unbuilt


@click.group()
def feed() -> None:
    """Feeds."""


feed.add_command(unbuilt("spec", "The interface specification of a feed."))
