"""``doorway link …``."""

import click

from gateway.commands.unbuilt import unbuilt


@click.group()
def link() -> None:
    """Linking: evaluate, train, review, undo."""


link.add_command(unbuilt("evaluate", "Precision, recall, F1 and time on labelled CSV."))
link.add_command(unbuilt("train", "A model from data."))
link.add_command(unbuilt("review", "The review queue."))
link.add_command(unbuilt("undo", "Exact undo of a link."))
