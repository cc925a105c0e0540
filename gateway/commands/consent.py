"""``doorway consent …``."""

import click

from gateway.commands.unbuilt import unbuilt


@click.group()
def consent() -> None:
    """Consent: decide, explain, what-if, lint, expiring."""


consent.add_command(unbuilt("decide", "NDJSON requests in, NDJSON decisions out."))
consent.add_command(unbuilt("explain", "Why a decision is as it is."))
consent.add_command(unbuilt("what-if", "What a draft Consent would change."))
consent.add_command(unbuilt("lint", "What is wrong with the Consents."))
consent.add_command(unbuilt("expiring", "What ends soon."))
