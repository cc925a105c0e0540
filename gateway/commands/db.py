"""``doorway db …``."""

import json
from typing import Any

import click


@click.group()
def db() -> None:
    """The database: upgrade, status."""


def _database(url: str | None, config: str | None) -> Any:
    from gateway.adapters.db.engine import Database
    from gateway.settings import read_settings

    return Database(read_settings(config, database_url=url).database_url)


_URL = click.option("--database", "url", help="sqlite:///FILE or postgresql://HOST/NAME; default: the settings.")
_CONFIG = click.option("--config", help="Settings file (TOML).")
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object for machines.")


@db.command(epilog="Example: doorway db upgrade --database sqlite:///doorway.db")
@_URL
@_CONFIG
@_JSON
def upgrade(url: str | None, config: str | None, as_json: bool) -> None:
    """Create or upgrade the tables; does nothing when they are up to date."""
    from gateway.adapters.db.migrate import revision_of
    from gateway.adapters.db.migrate import upgrade as apply

    database = _database(url, config)
    changed = apply(database)
    revision = revision_of(database)
    if as_json:
        click.echo(json.dumps({"changed": changed, "revision": revision}))
    else:
        click.echo(f"schema {revision}: {'upgraded' if changed else 'was up to date'}")


@db.command(epilog="Example: doorway db status --json. Exit code 3: an upgrade is needed.")
@_URL
@_CONFIG
@_JSON
def status(url: str | None, config: str | None, as_json: bool) -> None:
    """Which schema step the database has, and which one this release expects."""
    from gateway.adapters.db.migrate import revision_of
    from gateway.adapters.db.migrations import HEAD

    revision = revision_of(_database(url, config))
    current = revision == HEAD
    if as_json:
        click.echo(json.dumps({"revision": revision, "expected": HEAD, "current": current}))
    else:
        click.echo(f"schema {revision or 'none'}, this release expects {HEAD}" + ("" if current else ": upgrade"))
    if not current:
        raise SystemExit(3)
