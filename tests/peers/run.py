"""hl7lw against the listener, outside the suite: ``python -m tests.peers.run``, where hl7lw is installed."""

import importlib
import importlib.util
import tempfile
from pathlib import Path

from tests.exam.test_kill import Process, kept
from tests.support.mllp import adt


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
        print("hl7lw", light(process.port), sep="\n")
        process.stop()
        print("kept", *sorted(kept(database)))


if __name__ == "__main__":
    main()
