"""The tree of commands, each loaded only when it is called, so that ``--help`` is quick; and the exit codes."""

from importlib import import_module
from typing import Final

import click

from gateway import __version__

EXIT_FAILED: Final = 1
EXIT_FINDINGS: Final = 3

# name -> (module:attribute, one line); the line shows in --help without loading the module
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "demo": ("gateway.commands.demo:demo", "Everything embedded, with synthetic people: the story, told live."),
    "serve": ("gateway.commands.serve:serve", "FHIR API, console, MLLP listeners and workers."),
    "hmis": ("gateway.commands.hmis:hmis", "HMIS exports: check, convert, import, export."),
    "hl7v2": ("gateway.commands.hl7v2:hl7v2", "HL7 v2 messages: convert, send, check."),
    "consent": ("gateway.commands.consent:consent", "Consent: decide, explain, what-if, lint, expiring."),
    "link": ("gateway.commands.link:link", "Linking: evaluate, train, review, undo."),
    "validate": ("gateway.commands.validate:validate", "Validate FHIR files: an OperationOutcome a file."),
    "map": ("gateway.commands.map:map_", "Mapping tables: coverage, explain."),
    "feed": ("gateway.commands.feed:feed", "The interface specification of a feed, from what runs."),
    "package": ("gateway.commands.package:package", "FHIR packages: add, list."),
    "client": ("gateway.commands.client:client", "Registered API clients: add, list, revoke."),
    "db": ("gateway.commands.db:db", "The database: upgrade, status."),
    "trace": ("gateway.commands.trace:trace", "One message or row through all stages."),
    "replay": ("gateway.commands.trace:replay", "Process a message again, safely."),
    "audit": ("gateway.commands.audit:audit", "The audit trail: verify, export."),
    "sim": ("gateway.commands.sim:sim", "Synthetic feeds with a truth file: hospital, hmis."),
    "doctor": ("gateway.commands.doctor:doctor", "Disk, fsync, clock, migrations, mappings, secrets."),
    "bench": ("gateway.commands.bench:bench", "Benchmarks, as ratios against their floor in the same run."),
    "test": ("gateway.commands.test:test", "Format, lint, types, import contracts and all tests."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: doorway demo. Exit codes: 0 done, 1 failed, 2 usage, 3 done with findings.",
)
@click.version_option(__version__, prog_name="doorway")
def cli() -> None:
    """Doorway joins housing records (HMIS) and health records (HL7 v2, FHIR), and shows each partner what the person
    consented to share."""
