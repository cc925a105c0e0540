"""HAPI HL7v2 as an MLLP peer, outside the suite: ``python -m tests.peers.run LIB``.

LIB is a folder with HAPI HL7v2, made by ``mvn -f tests/peers/hapi
dependency:copy-dependencies -DoutputDirectory=LIB``; with it, HAPI drives the listener and receives from our client.
"""

import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from gateway.adapters.mllp.client import Client
from tests.exam.test_kill import Process, kept
from tests.support.mllp import adt

HERE = Path(__file__).resolve().parent


def hapi(port: int, library: str) -> str:
    """What HAPI was answered, what it answered, and what it says that it got."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        own = int(free.getsockname()[1])
    command = ["java", "-cp", f"{library}/*", str(HERE / "hapi" / "Hapi.java"), str(port), str(own)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        said = []
        for line in program.stdout:
            said.append(line.strip())
            if line.startswith("ready"):
                break
        client = Client("127.0.0.1", own, timeout_s=10)
        for number in range(5):
            last = client.send(adt(f"G{number}")).last
            said.append(f"{last.code} {last.control_id}" if last is not None else "no answer")
        client.close()
        rest, _ = program.communicate("\n", timeout=30)
    return "\n".join([*said, *rest.split("\n")])


def main() -> None:
    """Run what is there, and say what the store holds afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "peers.db"
        process = Process(database)
        print("HAPI", hapi(process.port, sys.argv[1]), sep="\n")
        process.stop()
        print("kept", *sorted(kept(database)))


if __name__ == "__main__":
    main()
