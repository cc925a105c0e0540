"""``doorway test``: everything that must be true before a change lands, in one command."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import click

ROOT = Path(__file__).resolve().parents[2]
NIGHTLY_REQUESTS = 100_000  # generated requests a store
TYPES = "types"  # one process for half a minute: beside the other steps, told at the end
NIGHTLY_HIDDEN = 24  # further hidden people, so that most searches narrow down what they look at


def _steps(paths: tuple[str, ...], workers: str) -> list[tuple[str, list[str]]]:
    python = [sys.executable, "-m"]
    scripts = Path(sys.executable).parent
    return [
        (TYPES, [*python, "mypy"]),
        ("format", [*python, "ruff", "format", "--check", "--quiet", "gateway", "tests"]),
        ("lint", [*python, "ruff", "check", "--quiet", "gateway", "tests"]),
        ("import contracts", [str(scripts / "lint-imports"), "--no-cache"]),
        ("tests", [*python, "pytest", "-n", workers, "--dist", "loadfile", "--no-loadscope-reorder", *paths]),
    ]


def _environment() -> dict[str, str]:
    """Who wants no bytecode beside the sources gets it in the virtual environment: without any, each of the many
    processes of a run compiles the gateway and rewrites the assertions of the tests again."""
    environment = dict(os.environ)
    if environment.pop("PYTHONDONTWRITEBYTECODE", ""):
        environment.setdefault("PYTHONPYCACHEPREFIX", str(Path(sys.prefix) / "bytecode"))
    return environment


def _nightly(seed: int, workers: str) -> list[tuple[str, list[str]]]:
    """The proof that what is hidden cannot be noticed, at length: other requests every night, a process a database."""
    os.environ |= {
        "DOORWAY_NON_INTERFERENCE": str(NIGHTLY_REQUESTS),
        "DOORWAY_NON_INTERFERENCE_SEED": str(seed),
        "DOORWAY_NON_INTERFERENCE_HIDDEN": str(NIGHTLY_HIDDEN),
    }
    files = ("tests/exchange/test_non_interference.py", "tests/exchange/test_non_interference_out.py")
    pytest = [sys.executable, "-m", "pytest", "-n", workers, "-k", "sqlite or postgres", *files]
    return [(f"non-interference, seed {seed}", pytest)]


@click.command()
@click.argument("paths", nargs=-1)
@click.option(
    "--workers",
    default=lambda: str((os.cpu_count() or 1) + 1),
    show_default="one more than processors",
    help="Test processes; many tests wait for processes of their own.",
)
@click.option(
    "--nightly", is_flag=True, help="Instead: 100,000 generated requests a database to notice what is hidden."
)
@click.option("--seed", type=int, help="Of the requests of --nightly; default: the day.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object with the outcome of each step.")
def test(paths: tuple[str, ...], workers: str, nightly: bool, seed: int | None, as_json: bool) -> None:
    """Format, lint, types, import contracts and all tests on memory, SQLite and PostgreSQL.

    Example: doorway test. Give test files or folders to run only those tests.
    """
    today = int(time.time()) // 86_400
    steps = _nightly(today if seed is None else seed, workers) if nightly else _steps(paths, workers)
    environment = _environment()
    outcome: dict[str, float] = {}
    failed = []

    def run(command: list[str], output: int | IO[str] | None) -> tuple[int, float]:
        began = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, check=False, stdout=output, stderr=output, env=environment)
        return done.returncode, round(time.monotonic() - began, 1)

    def told(name: str, code: int, seconds: float) -> None:
        outcome[name] = seconds
        if code != 0:
            failed.append(name)

    with ThreadPoolExecutor(1) as beside, TemporaryFile("w+", encoding="utf-8") as said:
        types = [beside.submit(run, command, said) for name, command in steps if name == TYPES]
        for name, command in steps:
            if name != TYPES:
                click.echo(f"== {name}", err=as_json)
                told(name, *run(command, sys.stderr if as_json else None))
        for one in types:
            click.echo(f"== {TYPES}", err=as_json)
            told(TYPES, *one.result())
            said.seek(0)
            click.echo(said.read(), nl=False, err=as_json)
    if as_json:
        import json

        click.echo(json.dumps({"seconds": outcome, "failed": failed}))
    else:
        click.echo("   ".join(f"{name} {seconds} s" for name, seconds in outcome.items()))
    if failed:
        click.echo(f"doorway: failed: {', '.join(failed)}", err=True)
        raise SystemExit(1)
