"""``doorway hl7v2 convert``."""

import sys
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from gateway.mapping.hl7v2.convert import Conversion, Converter, Feed


@click.command(epilog="Example: doorway hl7v2 convert admit.hl7 --explain")
@click.argument("files", nargs=-1, required=True, type=click.File("rb"))
@click.option(
    "--explain", is_flag=True, help="After each Bundle a line that names the field and table rows behind each element."
)
@click.option("--site", default="", help="Overlay: a name below mappings/sites, or a folder.")
@click.option(
    "--jurisdiction",
    type=click.Choice(["us", "ca"]),
    help="Which extensions and identifiers apply. Default: the settings.",
)
@click.option("--zone", help="Zone of times without offset (IANA name or +hh:mm). Default: the settings.")
@click.option("--charset", default="utf-8", help="Charset where MSH-18 is empty (table 0211 or a codec name).")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON document a line is the only output; accepted for uniformity."
)
def convert(
    files: tuple[IO[bytes], ...],
    explain: bool,
    site: str,
    jurisdiction: str | None,
    zone: str | None,
    charset: str,
    as_json: bool,
) -> None:
    """FHIR R4 from HL7 v2 FILES (- is stdin): for each message, in order, one transaction Bundle a line.

    A file may hold one message, several, or a batch. A message that cannot be converted gives a line
    {"error": …, "file": …, "message": number, "at": place, "fix": …} in its place, and the exit code 3.
    """
    from gateway.adapters.files.hl7v2_tables import load_tables
    from gateway.mapping.hl7v2.convert import Converter, Feed, zone_named
    from gateway.settings import read_settings

    settings = read_settings(jurisdiction=jurisdiction, time_zone=zone)
    zone_named(settings.time_zone)  # a wrong zone is told once, before the first message
    feed = Feed(site, settings.jurisdiction, settings.time_zone)
    converter = Converter(load_tables(site), explain=explain)
    refused = 0
    out = sys.stdout.buffer
    watched = sys.stderr.isatty() and len(files) > 20
    with click.progressbar(files, label="Files", file=sys.stderr, hidden=not watched) as bar:
        for file in bar:
            for line, good in _lines(converter, feed, file, charset):
                refused += not good
                out.write(line + b"\n")
    out.flush()
    if refused:
        click.echo(f"{refused} refused", err=True)
        raise SystemExit(3)


def _lines(converter: "Converter", feed: "Feed", file: IO[bytes], charset: str) -> Iterator[tuple[bytes, bool]]:
    """Output lines of one file, each with whether it is a success."""
    import orjson

    from gateway.codecs.er7 import Message
    from gateway.codecs.er7_batch import split_interchange
    from gateway.kernel.errors import DoorwayError

    found = split_interchange(file.read())
    for problem in found.problems:
        click.echo(f"{file.name}: {problem}", err=True)
    if not found.messages:
        yield (
            orjson.dumps(
                _error(file.name, 0, "malformed", "no message in this file", "MSH", "a message begins with MSH")
            ),
            False,
        )
    for number, raw in enumerate(found.messages, 1):
        try:
            conversion = converter.convert(Message.parse(raw, default_charset=charset), feed)
        except DoorwayError as error:
            yield orjson.dumps(_error(file.name, number, error.category, error.message, error.at, error.fix)), False
            continue
        yield conversion.bundle_bytes(), True
        if converter.explain:
            yield orjson.dumps(_explained(conversion)), True


def _error(file: str, number: int, category: str, problem: str, at: str, fix: str) -> dict[str, Any]:
    return {"error": problem, "file": file, "message": number, "at": at, "fix": fix, "category": category}


def _explained(conversion: "Conversion") -> dict[str, Any]:
    return {
        "explain": [
            {"element": e.path, "source": e.source, "row": e.row, "message_row": e.message_row}
            for e in conversion.reasons
        ],
        "residue": [{"source": left.place, "reason": left.reason} for left in conversion.residue],
        "effects": [
            {"kind": e.kind, "survivor": e.survivor, "loser": e.loser, "detail": e.detail} for e in conversion.effects
        ],
        "deletions": dict(conversion.deletions),
    }
