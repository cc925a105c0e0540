"""``doorway db …``."""

import click

from gateway.commands.unbuilt import unbuilt


@click.group()
def db() -> None:
    """The database."""


db.add_command(unbuilt("upgrade", "Apply migrations."))
