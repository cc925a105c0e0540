"""The container files name commands, paths and settings that exist. (No engine is at hand, so this is a lint.)"""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
import yaml

from gateway.commands.tree import cli
from gateway.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
DOCKER = ROOT / "docker"


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    return loaded


def resolves(words: list[str]) -> bool:
    """Whether the words name a command of ours with options that it has."""
    command: click.Command = cli
    context = click.Context(cli)
    rest = list(words)
    while isinstance(command, click.Group) and rest:
        found = command.get_command(context, rest.pop(0))
        if found is None:
            return False
        command = found
    options = {name for parameter in command.params for name in parameter.opts}
    return all(word in options for word in rest if word.startswith("--"))


def test_every_copied_path_exists() -> None:
    for line in (DOCKER / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for path in line.split()[1:-1]:
                assert (ROOT / path).exists(), path


def test_the_image_runs_a_command_that_exists() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    found = re.search(r"^CMD (\[.*\])$", text, re.M)
    assert found is not None
    assert resolves(json.loads(found[1]))


def test_compose_variables_are_settings_and_its_commands_exist() -> None:
    services = compose()["services"]
    for name in services["gateway"]["environment"]:
        assert name.removeprefix("DOORWAY_").lower() in Settings.model_fields
    assert resolves(services["gateway"]["command"])
    for command in services["hospital"]["command"][0].split("&&"):
        words = shlex.split(command)
        assert words[0] == "doorway"
        assert resolves(words[1:]), command


def test_kubernetes_manifest_names_settings_and_probes_that_exist() -> None:
    documents = list(yaml.safe_load_all((DOCKER / "kubernetes.yaml").read_text()))
    container = documents[0]["spec"]["template"]["spec"]["containers"][0]
    assert resolves(container["args"])
    for variable in container["env"]:
        assert variable["name"].removeprefix("DOORWAY_").lower() in Settings.model_fields
    assert {container[p]["httpGet"]["path"] for p in ("livenessProbe", "readinessProbe")} == {"/livez", "/readyz"}
