"""``doorway sim …``."""

import click

from gateway.commands.unbuilt import unbuilt


@click.group()
def sim() -> None:
    """Synthetic feeds with a truth file."""


sim.add_command(unbuilt("hospital", "A synthetic hospital feed with a truth file."))
sim.add_command(unbuilt("hmis", "A synthetic HMIS export with a truth file."))
