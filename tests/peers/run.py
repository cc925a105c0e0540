"""Foreign MLLP clients against the listener, outside the suite: ``python -m tests.peers.run NODE_MODULES``.

NODE_MODULES is a folder in which ``npm install node-hl7-client`` was run. hl7lw is used where it is installed.
"""

import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.exam.test_kill import Process, kept
from tests.support.mllp import adt

HERE = Path(__file__).resolve().parent


def node(port: int, modules: str) -> str:
    """What node-hl7-client printed."""
    program = shutil.which("node")
    if program is None:
        return "node is not installed"
    environment = {**os.environ, "NODE_PATH": str(Path(modules) / "node_modules")}
    done = subprocess.run(
        [program, HERE / "node_client.cjs", str(port)],
        env=environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def light(port: int) -> str:
    """What hl7lw was answered."""
    if importlib.util.find_spec("hl7lw") is None:
        return "hl7lw is not installed"
    client = importlib.import_module("hl7lw").MllpClient()

    client.connect("127.0.0.1", port)
    said = []
    for number in range(5):
        client.send(adt(f"L{number}"))
        said.append(client.recv().decode().split("\r")[1])
    client.close()
    return "\n".join(said)


def main() -> None:
    """Run what is there, and say what the store holds afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "peers.db"
        process = Process(database)
        print("node-hl7-client", node(process.port, sys.argv[1]), "hl7lw", light(process.port), sep="\n")
        process.stop()
        print("kept", *sorted(kept(database)))


if __name__ == "__main__":
    main()
