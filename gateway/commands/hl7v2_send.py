"""``doorway hl7v2 send``: the MLLP client."""

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from gateway.commands.hl7v2_peer import peer_address, tls_context

if TYPE_CHECKING:
    from gateway.adapters.mllp.client import Client


@click.command(epilog="Example: doorway hl7v2 send feed/*.hl7 --to 127.0.0.1:2575")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option("--to", "address", required=True, metavar="HOST:PORT", help="The listener.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0.05, 3600),
    default=30.0,
    show_default=True,
    help="Longest wait for each answer, seconds.",
)
@click.option("--tls", is_flag=True, help="Speak TLS; the server's name must be in its certificate.")
@click.option("--ca", type=click.Path(exists=True), help="Certificates of the authorities to trust (PEM).")
@click.option("--cert", type=click.Path(exists=True), help="Own certificate for mutual TLS (PEM).")
@click.option("--key", type=click.Path(exists=True), help="Its key (PEM).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a message on stdout.")
def send(
    files: tuple[str, ...],
    address: str,
    timeout_s: float,
    tls: bool,
    ca: str | None,
    cert: str | None,
    key: str | None,
    as_json: bool,
) -> None:
    """Send HL7 v2 messages over MLLP, one after the other, and check each answer.

    A file may hold several messages or a batch: each message is sent by itself, exactly as it stands. An answer counts
    only when its MSA-2 is the message's MSH-10. Messages that ask for no answer (MSH-15 and 16 NE) get none. Exit code
    1 when an answer is missing or negative.
    """
    from gateway.adapters.mllp.client import Client

    host, port = peer_address(address, "--to")
    client = Client(host, port, timeout_s=timeout_s, tls=tls_context(ca, cert, key) if tls else None)
    tally = {"sent": 0, "accepted": 0, "unasked": 0, "refused": 0, "unanswered": 0}
    try:
        for place, payload in _messages(files):
            said = _one(client, payload)
            tally["sent"] += 1
            tally[said["result"]] += 1
            click.echo(json.dumps({"message": place, **said}) if as_json else _line(place, said))
    finally:
        client.close()
    if not as_json:
        click.echo(", ".join(f"{number} {name}" for name, number in tally.items()), err=True)
    if tally["refused"] or tally["unanswered"] or not tally["sent"]:
        sys.exit(1)


def _messages(files: tuple[str, ...]) -> list[tuple[str, bytes]]:
    """(place, bytes) of every message, in order; framing bytes and white space around it are not sent."""
    from pathlib import Path

    from gateway.codecs.er7_batch import split_interchange

    out: list[tuple[str, bytes]] = []
    for file in files:
        found = split_interchange(Path(file).read_bytes()).messages
        if not found:
            out.append((file, b""))
        for number, message in enumerate(found, start=1):
            out.append((file if len(found) == 1 else f"{file}:{number}", message.strip(b"\x0b\x1c\n")))
    return out


def _one(client: "Client", payload: bytes) -> dict[str, Any]:
    from gateway.codecs.ack import Outcome
    from gateway.codecs.er7 import peek
    from gateway.kernel.errors import DoorwayError

    try:
        control_id = peek(payload)["MSH"].message.control_id
    except DoorwayError as error:
        return {"control_id": "", "result": "refused", "answer": "", "fault": f"not sent: {error}"}
    try:
        answered = client.send(payload)
    except DoorwayError as error:
        return {"control_id": control_id, "result": "unanswered", "answer": "", "fault": str(error)}
    last = answered.last
    codes = " ".join(one.code for one in answered.acknowledgements)
    if last is None:
        return {"control_id": control_id, "result": "unasked", "answer": "", "fault": ""}
    result = "accepted" if last.outcome is Outcome.OK else "refused"
    fault = " ".join(f"error {code}" for code in last.conditions)
    return {"control_id": control_id, "result": result, "answer": codes, "fault": fault}


def _line(place: str, said: dict[str, Any]) -> str:
    return "  ".join(part for part in (said["answer"] or "--", said["control_id"] or "-", place, said["fault"]) if part)
