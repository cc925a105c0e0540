"""``doorway package …``."""

from pathlib import Path

import click


@click.group(epilog="Example: doorway package add hl7.fhir.us.core-7.0.0.tgz")
def package() -> None:
    """FHIR packages: profiles, value sets and search parameters beyond what ships."""


_FOLDER = click.option(
    "--package-folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where packages are kept. Default: packages/ in the data folder.",
)


def folder_of(given: Path | None) -> Path:
    """The folder of the option, else of the settings."""
    from gateway.settings import read_settings

    return given or Path(read_settings().data_folder) / "packages"


@package.command(epilog="Example: doorway package add hl7.fhir.r4.core-4.0.1.tgz hl7.fhir.us.core-7.0.0.tgz")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_FOLDER
@click.option("--json", "as_json", is_flag=True, help="One JSON object a package.")
def add(files: tuple[Path, ...], package_folder: Path | None, as_json: bool) -> None:
    """Load FHIR packages (.tgz) into the data folder; the same version again replaces the old one."""
    import sys

    import orjson

    from gateway.adapters.files.packages import PackageFolder

    folder = PackageFolder(folder_of(package_folder))
    with click.progressbar(files, label="adding", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        for file in bar:
            added, counts = folder.add(file)
            if as_json:
                click.echo(orjson.dumps({"name": added.name, "version": added.version, "definitions": counts}))
            else:
                said = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
                click.echo(f"{added.title}: {said}")


@package.command(name="list", epilog="Example: doorway package list --json")
@_FOLDER
@click.option("--json", "as_json", is_flag=True, help="One JSON object a package.")
def list_(package_folder: Path | None, as_json: bool) -> None:
    """List the packages that are loaded."""
    import orjson

    from gateway.adapters.files.packages import PackageFolder

    for one in PackageFolder(folder_of(package_folder)).packages():
        click.echo(orjson.dumps({"name": one.name, "version": one.version}) if as_json else one.title)
