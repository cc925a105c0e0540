"""``doorway hl7v2 …``."""

import click

from gateway.commands.hl7v2_check import check
from gateway.commands.hl7v2_convert import convert
from gateway.commands.hl7v2_send import send


@click.group()
def hl7v2() -> None:
    """HL7 v2 messages: convert, send, check."""


hl7v2.add_command(convert)
hl7v2.add_command(send)
hl7v2.add_command(check)
