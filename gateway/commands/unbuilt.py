"""Commands of the contract whose issue is still open: they say so in one line and exit 2; none pretends."""

import click


def unbuilt(name: str, purpose: str) -> click.Command:
    """A command that exists with its help, and says that it is not built yet."""

    @click.command(name=name, help=f"{purpose} Not built yet.", context_settings={"ignore_unknown_options": True})
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def command(arguments: tuple[str, ...]) -> None:
        click.echo(f"doorway: {name} is not built yet", err=True)
        raise SystemExit(2)

    return command
