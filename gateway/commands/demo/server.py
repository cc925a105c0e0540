"""The demo's gateway: ``doorway serve`` as a process of its own, on free ports."""

import json
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from gateway.kernel.errors import Busy


@dataclass(slots=True)
class Server:
    """A running gateway."""

    process: subprocess.Popen[str]
    http: str  # HOST:PORT
    mllp: tuple[str, int]

    @property
    def fhir(self) -> str:
        """The FHIR base URL."""
        return f"http://{self.http}/fhir"

    def stop(self) -> None:
        """End it as an operator would, and wait."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def begin(database: str, log: Path) -> subprocess.Popen[str]:
    """Start the process; it makes itself ready while the caller goes on."""
    command = [sys.executable, "-m", "gateway", "serve", "--database", database, "--json"]
    command += ["--http", "127.0.0.1:0", "--mllp", "127.0.0.1:0"]
    with log.open("w", encoding="utf-8") as errors:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)


def await_ready(process: subprocess.Popen[str], *, timeout_s: float = 60.0) -> Server:
    """Wait until it serves.

    Raises:
        Busy: it ended, or was not ready in time.
    """
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line:
        raise Busy("the gateway did not start", at="doorway serve", fix="run doorway doctor")
    told = json.loads(line)
    mllp = next(part for part in told["listening"] if part.startswith("mllp on ")).removeprefix("mllp on ")
    host, _, port = mllp.rpartition(":")
    server = Server(process, told["fhir"].removeprefix("http://").removesuffix("/fhir"), (host, int(port)))
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if _ready(server.http):
            return server
        time.sleep(0.05)
    raise Busy("the gateway was not ready in time", at="/readyz", fix="run doorway doctor")


def _ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/readyz", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:  # nobody listens yet, or it says 503
        return False
