"""``doorway audit …``."""

import click

from gateway.commands.unbuilt import unbuilt


@click.group()
def audit() -> None:
    """The audit trail."""


audit.add_command(unbuilt("verify", "Check the hash chain."))
audit.add_command(unbuilt("export", "AuditEvents as NDJSON."))
