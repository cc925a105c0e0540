"""``doorway hl7v2 check``: messages in files, or a live peer."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

import click

from gateway.commands.hl7v2_peer import ask, peer_address, tls_context

_Findings: TypeAlias = Iterator[tuple[str, dict[str, str]]]  # place, and what is found there
_ADDRESS: Final = re.compile(r"[^/\\]+:\d+")


class _FileOrPeer(click.File):
    """A file to read, or the HOST:PORT of a peer where no file has that name."""

    name = "FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """An open file, or the address as it was typed."""
        if isinstance(value, str) and _ADDRESS.fullmatch(value) and not Path(value).exists():
            return value
        return super().convert(value, param, ctx)


@click.command(epilog="Example: doorway hl7v2 check feed.hl7; doorway hl7v2 check 127.0.0.1:2575")
@click.argument("files", nargs=-1, metavar="[FILE...|HOST:PORT]", type=_FileOrPeer("rb"))
@click.option(
    "--peer",
    metavar="HOST:PORT",
    help="A listener, as HOST:PORT alone: connection, framing, answers, charset, acknowledgement modes.",
)
@click.option("--tls", is_flag=True, help="Speak TLS to the peer.")
@click.option("--ca", type=click.Path(exists=True), help="Certificates of the authorities to trust (PEM).")
@click.option("--cert", type=click.Path(exists=True), help="Own certificate for mutual TLS (PEM).")
@click.option("--key", type=click.Path(exists=True), help="Its key (PEM).")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0.05, 600),
    default=5.0,
    show_default=True,
    help="Longest wait for each answer of the peer, seconds; all questions end within eight times that.",
)
@click.option("--site", default="", help="Overlay: a name below mappings/sites, or a folder.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a finding.")
def check(
    files: tuple[IO[bytes] | str, ...],
    peer: str | None,
    tls: bool,
    ca: str | None,
    cert: str | None,
    key: str | None,
    timeout_s: float,
    site: str,
    as_json: bool,
) -> None:
    """Conformance of message FILES or of a live peer: what is wrong, where, and how to mend it.

    A peer is asked with queries for a person who does not exist, so nothing changes there. Exit code 3 when there are
    errors or warnings.
    """
    import orjson

    given = [one for one in files if not isinstance(one, str)]
    peers = [one for one in files if isinstance(one, str)] + ([peer] if peer else [])
    if len(peers) > 1 or bool(given) == bool(peers):
        raise click.UsageError("give message files, or the HOST:PORT of one peer")
    if peers:
        address = peer_address(peers[0], "a peer")
        context = tls_context(ca, cert, key) if tls else None
        found: _Findings = ((peers[0], _finding(*told)) for told in ask(*address, timeout_s=timeout_s, tls=context))
    else:
        found = _of_files(given, site)
    worst = 0
    for place, finding in found:
        worst += finding["severity"] in ("error", "warning")
        if as_json:
            click.echo(orjson.dumps({"message": place, **finding}).decode())
        else:
            fix = f" ({finding['fix']})" if finding["fix"] else ""
            click.echo(f"{place}: {finding['severity']} {finding['place']}: {finding['problem']}{fix}")
    if worst:
        raise SystemExit(3)


def _of_files(files: list[IO[bytes]], site: str) -> _Findings:
    from gateway.adapters.files.hl7v2_tables import load_tables
    from gateway.codecs.er7 import Message
    from gateway.codecs.er7_batch import split_interchange
    from gateway.codecs.hl7_grammar import deviations
    from gateway.kernel.errors import DoorwayError
    from gateway.mapping.hl7v2.check import check_message
    from gateway.mapping.hl7v2.convert import Converter, Feed
    from gateway.settings import read_settings

    settings = read_settings()
    converter, feed = Converter(load_tables(site)), Feed(site, settings.jurisdiction, settings.time_zone)
    seen: dict[bytes, str] = {}
    for file in files:
        interchange = split_interchange(file.read())
        for problem in interchange.problems:
            yield file.name, _finding("warning", "file", problem, "mend the envelope")
        if not interchange.messages:
            yield file.name, _finding("error", "file", "no message in this file", "a message begins with MSH")
        for number, raw in enumerate(interchange.messages, 1):
            place = f"{file.name}:{number}"
            try:
                message = Message.parse(raw)
            except DoorwayError as error:
                yield place, _finding("error", error.at, error.message, error.fix)
                continue
            for one in check_message(message, converter, feed):
                yield place, _finding(one.severity, one.place, one.problem, one.fix)
            for deviation in deviations(message):
                yield (
                    place,
                    _finding("warning", deviation.place, deviation.what, "as the standard of this version says"),
                )
            key = (message.segments[0].raw(3) + "|" + message.segments[0].raw(10)).encode()
            if key in seen and message.segments[0].raw(10):
                yield (
                    place,
                    _finding("warning", "MSH-10", f"the control id of {seen[key]} again", "a control id is used once"),
                )
            seen.setdefault(key, place)


def _finding(severity: str, place: str, problem: str, fix: str) -> dict[str, str]:
    return {"severity": severity, "place": place, "problem": problem, "fix": fix}
