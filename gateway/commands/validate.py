"""``doorway validate``."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from gateway.kernel.fhir import JsonObject
    from gateway.profiles.issues import Issue
    from gateway.profiles.validate import Validator

SOURCE_EXTENSION: Final = "http://hl7.org/fhir/StructureDefinition/operationoutcome-file"  # HL7's own for this purpose
_EXIT_FINDINGS: Final = 3


@click.command(
    epilog="Example: doorway validate patient.json export/*.ndjson --profile "
    "http://hl7.org/fhir/us/core/StructureDefinition/us-core-patient"
)
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="FILE...")
@click.option("--profile", "profiles", multiple=True, metavar="URL", help="Check against this profile too; repeatable.")
@click.option(
    "--package-folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where `doorway package add` keeps FHIR packages. Default: packages/ in the data folder.",
)
@click.option("--json", "as_json", is_flag=True, help="One OperationOutcome a line, also on a terminal.")
@click.option("--text", "as_text", is_flag=True, help="Plain lines `FILE: severity place: words`, also in a pipe.")
@click.option("--errors-only", is_flag=True, help="Leave out warnings and information.")
def validate(
    files: tuple[Path, ...],
    profiles: tuple[str, ...],
    package_folder: Path | None,
    as_json: bool,
    as_text: bool,
    errors_only: bool,
) -> None:
    """Validate FHIR R4 resources: an OperationOutcome a file, one a line for NDJSON.

    Structure, formats, cardinality, required codes, reference targets and the rules of R4 are checked with nothing
    loaded; profiles (those in meta.profile and of --profile) come from loaded packages and from Doorway itself.

    A folder stands for its .json, .ndjson and .xml files. In a pipe the outcomes are JSON, one a line, the file (and
    line) in the extension operationoutcome-file; on a terminal they are plain lines. No value of a record is printed.
    Exit code 3: errors were found.
    """
    from gateway.adapters.files.validation import open_validator
    from gateway.commands.package import folder_of

    validator = open_validator(folder_of(package_folder))
    missing = [url for url in profiles if not validator.knows(url)]
    if missing:
        raise click.UsageError(f"no loaded package defines {', '.join(missing)}; see doorway package add")
    plain = as_text or (sys.stdout.isatty() and not as_json)
    found_errors = False
    with click.progressbar(
        _resources(files, validator), label="validating", file=sys.stderr, hidden=not sys.stderr.isatty() or plain
    ) as resources:
        for source, resource in resources:
            issues = _judge(validator, resource, profiles)
            if errors_only:
                issues = [issue for issue in issues if issue.severity == "error"]
            found_errors = found_errors or any(issue.severity == "error" for issue in issues)
            _print(source, issues, plain=plain)
    sys.exit(_EXIT_FINDINGS if found_errors else 0)


def _judge(validator: "Validator", resource: "JsonObject | Issue", profiles: tuple[str, ...]) -> "list[Issue]":
    return list(validator.validate(resource, profiles)) if isinstance(resource, dict) else [resource]


def _resources(files: tuple[Path, ...], validator: "Validator") -> "Iterator[tuple[str, JsonObject | Issue]]":
    """Every resource with where it stands; an Issue in place of what cannot be read."""
    for file in files:
        if file.is_dir():
            inside = sorted(p for p in file.rglob("*") if p.suffix in (".json", ".ndjson", ".xml") and p.is_file())
            yield from _resources(tuple(inside), validator)
        elif file.suffix == ".ndjson" or _is_ndjson(file):
            with file.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        yield f"{file}:{number}", _read(line)
        else:
            yield str(file), _read_xml(file.read_bytes(), validator) if _is_xml(file) else _read(file.read_bytes())


_BOM: Final = b"\xef\xbb\xbf"  # Windows tools write it; a file may have it, a request may not


def _is_ndjson(file: Path) -> bool:
    """Two or more lines, the first of which is an object by itself."""
    with file.open("rb") as lines:
        first, second = lines.readline(), lines.readline()
    return bool(second.strip()) and isinstance(_read(first), dict)


def _is_xml(file: Path) -> bool:
    with file.open("rb") as content:
        return content.read(64).removeprefix(_BOM).lstrip().startswith(b"<")


def _read(data: bytes) -> "JsonObject | Issue":
    from gateway.codecs.json_text import parse
    from gateway.kernel.errors import DoorwayError
    from gateway.profiles.issues import Issue

    try:
        return parse(data.removeprefix(_BOM).strip(), at="JSON")
    except DoorwayError as error:
        return Issue("error", "structure", "", str(error))


def _read_xml(data: bytes, validator: "Validator") -> "JsonObject | Issue":
    from gateway.codecs.fhir_xml import XmlCodec
    from gateway.kernel.errors import DoorwayError
    from gateway.profiles.issues import Issue

    try:
        return XmlCodec(validator.facts.type).read(data)
    except DoorwayError as error:
        return Issue("error", "structure", error.at if error.at[:1].isupper() else "", str(error))


def _print(source: str, issues: "list[Issue]", *, plain: bool) -> None:
    import orjson

    from gateway.profiles.issues import outcome

    if plain:
        for issue in issues:
            place = f" {issue.expression}" if issue.expression else ""
            click.echo(f"{source}: {issue.severity}{place}: {issue.diagnostics}")
        if not issues:
            click.echo(f"{source}: no issues")
        return
    said = outcome(issues)
    said["extension"] = [{"url": SOURCE_EXTENSION, "valueString": source}]
    click.echo(orjson.dumps(said))
