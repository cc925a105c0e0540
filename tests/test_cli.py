"""The command line contract: every command exists, has help with an example or says that it is not built."""

import pytest
from click.testing import CliRunner

from gateway.commands.tree import COMMANDS, cli


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_contract_has_help(name: str) -> None:
    done = CliRunner().invoke(cli, [name, "--help"])
    assert done.exit_code == 0, done.output
