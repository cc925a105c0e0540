"""``doorway db …``."""

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from gateway.adapters.db.store import DbStore
    from gateway.settings import Settings


@click.group()
def db() -> None:
    """The database: upgrade, status, reindex."""


def _settings(url: str | None, config: str | None) -> "Settings":
    from gateway.settings import read_settings

    return read_settings(config, database_url=url)


_URL = click.option("--database", "url", help="sqlite:///FILE or postgresql://HOST/NAME; default: the settings.")
_CONFIG = click.option("--config", help="Settings file (TOML).")
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object for machines.")


@db.command(epilog="Example: doorway db upgrade --database sqlite:///doorway.db")
@_URL
@_CONFIG
@_JSON
def upgrade(url: str | None, config: str | None, as_json: bool) -> None:
    """Create or upgrade the tables, and the search index when its definitions changed; else do nothing."""
    from gateway.adapters.db.migrate import revision_of
    from gateway.adapters.db.migrate import upgrade as apply
    from gateway.adapters.db.reindex import is_current
    from gateway.wiring import database_store

    store = database_store(_settings(url, config))
    changed = apply(store.database)
    derived = 0 if is_current(store) else _rebuild(store)
    revision = revision_of(store.database)
    store.close()
    if as_json:
        click.echo(json.dumps({"changed": changed, "revision": revision, "reindexed": derived}))
    else:
        click.echo(
            f"schema {revision}: {'upgraded' if changed else 'was up to date'}, {derived} resources indexed again"
        )


@db.command(epilog="Example: doorway db reindex --database postgresql://localhost/doorway")
@_URL
@_CONFIG
@_JSON
def reindex(url: str | None, config: str | None, as_json: bool) -> None:
    """Rebuild the search index and the facets from the stored resources."""
    from gateway.adapters.db.migrate import upgrade as apply
    from gateway.wiring import database_store

    store = database_store(_settings(url, config))
    apply(store.database)
    derived = _rebuild(store)
    store.close()
    click.echo(json.dumps({"reindexed": derived}) if as_json else f"{derived} resources indexed again")


def _rebuild(store: "DbStore") -> int:
    import sys

    from gateway.adapters.db.reindex import rebuild

    with click.progressbar(length=1, label="indexing", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = max(total, 1)
            bar.update(done - bar.pos)

        return rebuild(store, progress)


@db.command(epilog="Example: doorway db status --json. Exit code 3: an upgrade is needed.")
@_URL
@_CONFIG
@_JSON
def status(url: str | None, config: str | None, as_json: bool) -> None:
    """Which schema step the database has, which one this release expects, and whether the search index is current."""
    from gateway.adapters.db.migrate import revision_of
    from gateway.adapters.db.migrations import HEAD
    from gateway.adapters.db.reindex import is_current
    from gateway.wiring import database_store

    store = database_store(_settings(url, config))
    revision = revision_of(store.database)
    indexed = revision == HEAD and is_current(store)
    store.close()
    current = revision == HEAD and indexed
    if as_json:
        told = {"revision": revision, "expected": HEAD, "index_current": indexed, "current": current}
        click.echo(json.dumps(told))
    else:
        what = f"schema {revision or 'none'}, this release expects {HEAD}"
        click.echo(f"{what}; search index {'current' if indexed else 'to be built'}")
        if not current:
            click.echo("run: doorway db upgrade", err=True)
    if not current:
        raise SystemExit(3)
