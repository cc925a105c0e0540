"""The README's walks, run line by line as a newcomer types them: on free ports, in a folder of the test."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ASKED = {"id": "1", "now": "2026-03-01T12:00:00Z", "consents": [], "asker": {"actors": [], "purposes": ["TREAT"]}}


def walks() -> dict[str, list[str]]:
    """The commands of each walk, by the walk's title, without their remarks."""
    part = README.split("## Three walks", 1)[1].split("\n## ", 1)[0]
    found = re.findall(r"\*\*(.+?)\.\*\*.*?```sh\n(.*?)```", part, re.S)
    return {title: [line.split("  #")[0].strip() for line in block.splitlines()] for title, block in found}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Newcomer:
    """A shell in an empty folder whose gateway listens on ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.http, self.mllp, self.folder = free_port(), free_port(), folder
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DOORWAY_DATABASE_URL": f"sqlite:///{folder}/doorway.db",
            "DOORWAY_HTTP_ADDRESS": f"127.0.0.1:{self.http}",
            "DOORWAY_MLLP_ADDRESS": f"127.0.0.1:{self.mllp}",
        }
        self.server: subprocess.Popen[bytes] | None = None

    def types(self, line: str) -> str:
        """Run one line of the README; what it printed. A line that ends in ``&`` goes on until ``leaves``."""
        line = line.replace("/tmp/", f"{self.folder}/").replace("127.0.0.1:2575", f"127.0.0.1:{self.mllp}")
        line = line.replace("./doorway", f"{shlex.quote(sys.executable)} -m gateway")
        if line.endswith("&"):
            self.server = subprocess.Popen(
                ["sh", "-c", "exec " + line.rstrip("& ")], cwd=self.folder, env=self.environment
            )
            self._wait()
            return ""
        done = subprocess.run(
            ["sh", "-c", line], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip
        assert done.returncode in (0, 3), f"{line}: {done.returncode}: {done.stderr}"  # 3: done, with findings
        return done.stdout

    def leaves(self) -> None:
        if self.server is not None:
            self.server.terminate()
            assert self.server.wait(30) in (0, -signal.SIGTERM)  # it goes on with the signal when it has cleaned up

    def _wait(self) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/readyz", timeout=5) as answer:
                    assert answer.status == 200
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError("the gateway did not become ready")


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    one = Newcomer(tmp_path)
    yield one
    one.leaves()


def test_an_export_becomes_fhir_and_goes_back(newcomer: Newcomer) -> None:
    for line in walks()["An HMIS export becomes FHIR, and goes back"]:
        newcomer.types(line)
    sent, back = newcomer.folder / "export", newcomer.folder / "back"
    names = {one.name for one in sent.glob("*.csv")}
    assert names
    assert names == {one.name for one in back.glob("*.csv")}
    for name in names:
        assert (back / name).read_text().count("\n") == (sent / name).read_text().count("\n"), name


def test_a_hospitals_messages_become_fhir(newcomer: Newcomer) -> None:
    printed = {line: newcomer.types(line) for line in walks()["A hospital's messages become FHIR"] if "ID" not in line}
    bundles = next(text for line, text in printed.items() if "hl7v2 convert" in line).splitlines()
    assert len(bundles) > 50
    assert all(json.loads(one)["type"] == "transaction" for one in bundles)
    sent = next(text for line, text in printed.items() if "hl7v2 send" in line).splitlines()
    assert {one.split()[0] for one in sent} == {"AA"}
    trace = next(line for line in walks()["A hospital's messages become FHIR"] if line.endswith("ID"))
    assert "received" in newcomer.types(trace.replace("ID", sent[0].split()[1]))


def test_a_partner_asks_and_consent_decides(newcomer: Newcomer) -> None:
    (newcomer.folder / "requests.ndjson").write_text(json.dumps(ASKED) + "\n", encoding="utf-8")
    printed = [newcomer.types(line) for line in walks()["A partner asks, and Consent decides"]]
    assert "registered shelter-one for Organization/shelter-1" in printed[0]
    assert json.loads(printed[1])["decision"] == "none"
    assert "Usage:" in printed[2]
