"""The command reference, written from the commands: ``python -m gateway.commands.reference > README.md`` beside it."""

from collections.abc import Iterator

import click

from gateway.commands.tree import COMMANDS, cli

HEAD = """# Commands

Written by `python -m gateway.commands.reference` from what runs; a test compares. Every command has `--help` with an
example. Exit codes: 0 done, 1 failed, 2 usage (or not built yet), 3 done with findings.

| command | does | options |
|---|---|---|
"""


def leaves(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that runs, with the words that call it."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None and not found.hidden:
                yield from leaves(found, f"{path} {name}")
    else:
        yield path, command


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _row(path: str, command: click.Command) -> str:
    arguments = " ".join(
        p.make_metavar(click.Context(command)) for p in command.params if isinstance(p, click.Argument)
    )
    first = _cell((command.help or "").split("\n\n")[0])
    options = [
        f"`{max(p.opts, key=len)}` {_cell(p.help or '')}".strip()
        for p in command.params
        if isinstance(p, click.Option) and not p.hidden
    ]
    return f"| `{path}{' ' + _cell(arguments) if arguments else ''}` | {first} | {'<br>'.join(options)} |"


def reference() -> str:
    """The whole page."""
    rows = [_row(path, command) for name in COMMANDS for path, command in _of(name)]
    return HEAD + "\n".join(rows) + "\n"


def _of(name: str) -> Iterator[tuple[str, click.Command]]:
    command = cli.get_command(click.Context(cli), name)
    if command is not None:
        yield from leaves(command, f"doorway {name}")


if __name__ == "__main__":
    click.echo(reference(), nl=False)
