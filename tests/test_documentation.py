"""Documentation is tested: every command, setting, dependency and folder is named where a reader looks for it."""

import re
from pathlib import Path

import pytest

from gateway.commands.reference import leaves, reference
from gateway.commands.tree import cli
from gateway.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_command_reference_is_what_runs() -> None:
    written = (ROOT / "gateway/commands/README.md").read_text(encoding="utf-8")
    assert written == reference(), "run: python -m gateway.commands.reference > gateway/commands/README.md"


@pytest.mark.parametrize("path", [path for path, _ in leaves(cli, "doorway")])
def test_every_command_that_is_built_shows_an_example(path: str) -> None:
    command = dict(leaves(cli, "doorway"))[path]
    text = (command.help or "") + (command.epilog or "")
    assert "Example" in text or "Not built yet" in text, path


@pytest.mark.parametrize("setting", sorted(Settings.model_fields))
def test_every_setting_is_documented(setting: str) -> None:
    assert f"`{setting}`" in README


def test_every_direct_dependency_earns_its_line() -> None:
    names = re.findall(r"^([A-Za-z][\w.-]*)", (ROOT / "requirements/runtime.in").read_text(), re.M)
    missing = [name for name in names if f"| {name} |" not in README]
    assert missing == []


def test_the_readme_is_short_and_its_paths_exist() -> None:
    assert README.count("\n") < 250
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize(
    "folder", ["mappings", "profiles", "terminology", "docker", "gateway", "gateway/commands", "tests"]
)
def test_every_folder_that_people_change_says_how(folder: str) -> None:
    assert (ROOT / folder / "README.md").is_file()


def test_every_relative_command_in_the_readme_exists() -> None:
    known = {path for path, _ in leaves(cli, "doorway")} | {f"doorway {name}" for name in cli.list_commands(None)}  # type: ignore[arg-type]
    for line in re.findall(r"^\./(doorway [a-z0-9-]+(?: [a-z][a-z-]+)?)", README, re.M):
        words = line.split()
        assert line in known or " ".join(words[:2]) in known, line
