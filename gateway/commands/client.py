"""``doorway client …``."""

import click

from gateway.commands.unbuilt import unbuilt


@click.group()
def client() -> None:
    """Registered API clients."""


client.add_command(unbuilt("add", "Register an API client."))
