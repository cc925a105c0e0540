"""The analyst's commands on files and on a live peer."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.codecs.ack import acknowledge
from gateway.codecs.er7 import Message
from gateway.codecs.mllp import FrameDecoder, encode_frame
from gateway.commands.feed import feed
from gateway.commands.hl7v2 import hl7v2
from gateway.commands.map import map_

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "hl7v2"
ADMIT = str(EXAMPLES / "admit" / "message.hl7")


def test_each_message_of_a_file_gives_a_line_in_order(tmp_path: Path) -> None:
    several = tmp_path / "several.hl7"
    several.write_bytes(
        Path(ADMIT).read_bytes() + b"MSH|^~\\&|A|B|||2025||ACK|9|P|2.5\rMSA|AA|1\r" + Path(ADMIT).read_bytes()
    )
    done = CliRunner().invoke(hl7v2, ["convert", str(several)])
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 3
    assert [line.get("resourceType", "error") for line in lines] == ["Bundle", "error", "Bundle"]
    assert (lines[1]["message"], lines[1]["at"]) == (2, "MSH-9")
    assert lines[0] == lines[2]


def test_explain_names_field_and_rows() -> None:
    done = CliRunner().invoke(hl7v2, ["convert", "--explain", ADMIT])
    explained = json.loads(done.stdout.splitlines()[1])["explain"]
    (born,) = [one for one in explained if one["element"].endswith(" birthDate")]
    assert born["source"] == "PID-7"
    assert born["row"].startswith("mappings/hl7v2/segments/PID-Patient.csv:")
    assert born["message_row"].startswith("mappings/hl7v2/messages/ADT_A01.csv:")


def test_a_file_without_a_message_is_an_error_line(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"hello")
    done = CliRunner().invoke(hl7v2, ["convert", str(tmp_path / "x")])
    assert done.exit_code == 3
    assert json.loads(done.stdout)["category"] == "malformed"


def test_check_says_what_to_mend_and_no_value() -> None:
    odd = str(EXAMPLES / "z-segment-and-odd-codes" / "message.hl7")
    done = CliRunner().invoke(hl7v2, ["check", "--json", odd])
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 3
    assert {"PV1-19", "PID-7", "PID-8", "ZPI"} <= {one["place"] for one in found}
    assert "zq" not in done.stdout.casefold()


def test_coverage_counts_what_a_feed_sends_and_nobody_maps() -> None:
    done = CliRunner().invoke(map_, ["coverage", "--json", ADMIT])
    assert (json.loads(done.stdout)["files"]["unmapped"], done.exit_code) == ([], 0)
    odd = str(EXAMPLES / "z-segment-and-odd-codes" / "message.hl7")
    done = CliRunner().invoke(map_, ["coverage", "--json", odd])
    assert {"ZPI-1", "PID-7"} <= {one["field"] for one in json.loads(done.stdout)["files"]["unmapped"]}
    assert done.exit_code == 3


def test_explain_filters_by_element() -> None:
    done = CliRunner().invoke(map_, ["explain", ADMIT, "--element", "Patient.birthDate", "--json"])
    assert json.loads(done.stdout)["source"] == "PID-7"


def test_the_specification_holds_every_event() -> None:
    told = CliRunner().invoke(feed, ["spec", "riverton"]).stdout
    assert "| ADT^A40 |" in told
    assert "### PID[Patient]" in told


@pytest.fixture(params=["good", "deaf"])
def peer(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A listener that answers every frame, and one that answers the first of a packet only and knows no CA."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        decoder = FrameDecoder(100_000)
        with connection:
            while data := connection.recv(65536):
                for frame in decoder.feed(data):
                    head = Message.parse(frame.payload).segments[0]
                    code = "CA" if request.param == "good" and head.raw(15) == "AL" else "AA"
                    connection.sendall(encode_frame(acknowledge(head, code, control_id="A", now_us=0)))
                    if request.param == "deaf":
                        break

    def listen() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=listen, daemon=True).start()
    yield request.param, f"127.0.0.1:{server.getsockname()[1]}"
    server.close()


def test_a_peer_is_asked_without_changing_anything(peer: tuple[str, str]) -> None:
    kind, address = peer
    done = CliRunner().invoke(hl7v2, ["check", "--peer", address, "--timeout", "0.3", "--json"])
    wrong = {json.loads(line)["place"] for line in done.stdout.splitlines() if json.loads(line)["severity"] != "note"}
    expected = set() if kind == "good" else {"two messages in one packet", "MSH-15 AL, MSH-16 NE"}
    assert wrong == expected
