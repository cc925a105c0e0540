"""``python -m gateway`` and the ``doorway`` command."""

import sys
from typing import Any

import click

from gateway.commands.tree import EXIT_FAILED, cli


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; errors of ours become one line on stderr and exit code 1, defects an incident line."""
    from gateway.kernel.errors import DoorwayError, trace_of

    try:
        return cli.main(args=arguments, prog_name="doorway", standalone_mode=True)
    except DoorwayError as error:
        click.echo(f"doorway: {error}", err=True)
        sys.exit(EXIT_FAILED)
    except BrokenPipeError:
        sys.exit(EXIT_FAILED)
    except Exception as error:
        click.echo(f"doorway: a defect of ours ({trace_of(error)})", err=True)
        sys.exit(EXIT_FAILED)


if __name__ == "__main__":
    main()
